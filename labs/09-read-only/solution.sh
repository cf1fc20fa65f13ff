#!/bin/sh
mkdir tree
unshare --user --map-root-user --mount sh -c '
    mount -t tmpfs none source/logs
    mount --rbind source tree
    # One call for each mount: a remount reaches one.
    mount -o remount,bind,ro tree
    mount -o remount,bind,ro tree/logs
    exec sleep 1000' &
sleep 1
