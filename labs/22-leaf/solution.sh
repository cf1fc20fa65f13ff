#!/bin/sh
mkdir group/work group/manager
# Version 2: nobody is in the upper group yet, so that it may hand the
# controller down.
if [ -e group/cgroup.subtree_control ]; then
    echo +pids >group/cgroup.subtree_control
fi
echo 10 >group/work/pids.max
sh -c 'echo $$ >group/work/cgroup.procs; exec sleep 1000' &
sh -c 'echo $$ >group/manager/cgroup.procs; exec sleep 1000' &
sleep 1
