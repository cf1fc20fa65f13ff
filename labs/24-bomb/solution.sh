#!/bin/sh
echo 10 >group/pids.max
# The bomb's shell is refused a fork and ends. Its children sleep on.
sh -c 'echo $$ >group/cgroup.procs; exec ./bomb' 2>/dev/null
sleep 1
