#!/bin/sh
# checks.sh [KERNEL[:LAYOUT]]…: builds cutaway without shared libraries and runs guest.sh with it in a
# test machine for each kernel: 5.10, 6.1, 6.12, newest, with cgroups v2 unless :v1 or :hybrid says otherwise.
#
#   tests/vm/checks.sh            6.12
#   tests/vm/checks.sh all        every kernel, and the other layouts on two of them
#
# The exit status is not 0 where a check failed or a machine did not come up.
set -eu
cd "$(dirname "$0")/../.."

[ $# -gt 0 ] || set -- 6.12
[ "$*" != all ] || set -- 5.10 6.1 6.12 newest 5.10:hybrid 6.1:v1

target=x86_64-unknown-linux-gnu
# A target directory of its own: other flags would make the usual one be built anew each time.
RUSTFLAGS='-C target-feature=+crt-static' cargo build --quiet --profile vm --target $target --target-dir target/vm
cutaway=target/vm/$target/vm/cutaway

failed=
for machine; do
    kernel=${machine%%:*} layout=v2
    case $machine in *:*) layout=${machine#*:} ;; esac
    begin=$(date +%s)
    tests/vm/run -k "$kernel" -C "$layout" -f "$cutaway:/bin/cutaway" -f tests/vm/guest.sh 'sh guest.sh' ||
        failed="$failed $machine"
    echo "# $machine: $(($(date +%s) - begin)) s"
done
[ -z "$failed" ] || {
    echo "failed:$failed" >&2
    exit 1
}
