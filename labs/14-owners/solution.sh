#!/bin/sh
first() { sed -n "s/^$(id -un):\([0-9]*\):.*/\1/p" "$1" | head -n 1; }

# A user namespace without a map, and a process that keeps it.
unshare --user sleep 1000 &
pid=$!
sleep 1

# 0 in there is you; 1 and more are the first of the ids lent to you.
newuidmap $pid 0 "$(id -u)" 1 1 "$(first /etc/subuid)" 1000
newgidmap $pid 0 "$(id -g)" 1 1 "$(first /etc/subgid)" 1000

nsenter --target $pid --user sh -c 'touch theirs; chown 5 theirs'
