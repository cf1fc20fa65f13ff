#!/bin/sh
echo 10 >group/pids.max
# The shell of the bomb is refused a fork, says so, and ends. What it
# has started sleeps on.
sh -c 'echo $$ >group/cgroup.procs; exec ./bomb' 2>/dev/null
sleep 1
