#!/bin/sh
# A process in a network namespace of its own, and in the user namespace
# that owns it.
unshare --user --map-root-user --net sleep 1000 &
first=$!
sleep 1

# Another process, outside, holds a descriptor of both.
(
    exec 8<"/proc/$first/ns/user" 9<"/proc/$first/ns/net"
    exec sleep 1000
) &
holder=$!
sleep 1

# Nobody is in there any more.
kill "$first"
wait "$first"
cutaway lab check 17

# Back in, by the descriptors.
nsenter --user="/proc/$holder/fd/8" --net="/proc/$holder/fd/9" \
    --preserve-credentials sleep 1000 &
sleep 1
