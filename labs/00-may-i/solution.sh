#!/bin/sh
# The report for programs is the last line.
cutaway doctor --json - >report
cutaway lab check 00

# In a user namespace of your own you are root, and its limits are yours.
unshare --user --map-root-user sh -c '
    echo 0 >/proc/sys/user/max_user_namespaces
    cutaway doctor --json - >spoilt'
true
