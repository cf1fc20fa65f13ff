#!/bin/sh
unshare --user --map-root-user --cgroup sh -c '
    cat /proc/self/cgroup >inside
    exec sleep 1000' &
pid=$!
sleep 1

# The same process, read by somebody outside of its cgroup namespace.
cat /proc/$pid/cgroup >real
