#!/bin/sh
# Two numbers of each process; who has the same ones comes into one line.
for dir in /proc/[0-9]*; do
    [ "$(readlink "$dir/cwd")" = "$PWD" ] || continue
    [ "$(cat "$dir/comm")" = cutaway ] || continue
    uts=$(readlink "$dir/ns/uts")
    net=$(readlink "$dir/ns/net")
    echo "$uts-$net ${dir#/proc/}"
done | awk '
    { line[$1] = line[$1] " " $2 }
    END { for (key in line) print line[key] }' >groups
