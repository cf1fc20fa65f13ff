#!/bin/sh
# --fork: only a child is in the new time namespace.
unshare --user --map-root-user --time --boottime 86400 --fork sleep 1000 &
sleep 1
