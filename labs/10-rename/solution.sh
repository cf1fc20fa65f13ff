#!/bin/sh
# Two shells in the host's UTS namespace. `sleep` keeps them there.
sh -c 'sleep 1000' &
sh -c 'sleep 1000' &

# The third: a user namespace, where you are root, owns a UTS namespace.
unshare --user --map-root-user --uts sh -c 'hostname box; sleep 1000' &
sleep 1
