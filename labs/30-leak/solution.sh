#!/bin/sh
# Out: descriptor 7 is the host's directory that the runtime began in.
./runtime sh -c 'cd /proc/self/fd/7 && exec sleep 1000' &
container=$!
sleep 1
cutaway lab check 30

# Closed: that container ends, and the next one gets no such descriptor.
kill -KILL $container
sed -i '/^exec 7/d' runtime
./runtime sleep 1000 &
sleep 1
