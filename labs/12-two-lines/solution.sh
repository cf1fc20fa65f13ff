#!/bin/sh
# --fork: the child is PID 1. --mount-proc: a mount namespace and a new
# proc on /proc. `sleep` stands for the shell.
unshare --user --map-root-user --pid --fork --mount-proc sleep 1000 &
sleep 1
