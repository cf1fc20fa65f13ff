#!/bin/sh
# A path, and not an object of an IPC namespace.
mkfifo channel

unshare --user --map-root-user --ipc sh -c '
    exec 3>channel
    cat word >&3
    exec sleep 1000' &

unshare --user --map-root-user --ipc sh -c '
    exec 4<channel
    head -n 1 <&4 >received
    exec sleep 1000' &
sleep 1
