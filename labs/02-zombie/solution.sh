#!/bin/sh
# A shell starts a child and stops itself: it cannot collect anybody now.
sh -c 'sleep 0.1 & kill -STOP $$; wait; exec sleep 1000' &
parent=$!
sleep 1
cutaway lab check 02

# It goes on. `wait` is its next command, and the zombie is gone.
kill -CONT $parent
sleep 0.5
