#!/bin/sh
freeze() { # 1 or 0
    if [ -e group/cgroup.freeze ]; then
        echo "$1" >group/cgroup.freeze
    elif [ "$1" = 1 ]; then
        echo FROZEN >group/freezer.state
    else
        echo THAWED >group/freezer.state
    fi
}
sleep 1000 &
pid=$!
echo $pid >group/cgroup.procs
freeze 1
sleep 1
cutaway lab check 25

kill -KILL $pid
freeze 0
wait $pid
sleep 0.5
