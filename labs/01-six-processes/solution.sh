#!/bin/sh
# The two numbers of each process of the lab; who has the same ones
# comes into one line.
for dir in /proc/[0-9]*; do
    [ "$(readlink "$dir/cwd")" = "$PWD" ] &&
        [ "$(cat "$dir/comm")" = cutaway ] || continue
    echo "$(readlink "$dir/ns/uts")-$(readlink "$dir/ns/net") ${dir#/proc/}"
done | awk '{ line[$1] = line[$1] " " $2 }
    END { for (key in line) print line[key] }' >groups
