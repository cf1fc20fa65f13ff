#!/bin/sh
for number in 1 2 3; do
    name=lab34-$$-$number
    cutaway -q run --name $name -- sleep 1000 &
    # Its journal says that it has begun.
    until [ -s ../../journal/$name ]; do sleep 0.1; done
    sleep 0.$number
    kill -KILL $!
done
cutaway lab check 34

cutaway -q cleanup
