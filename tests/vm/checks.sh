#!/bin/sh
# checks.sh [KERNEL[:LAYOUT]]…: runs guest.sh with cutaway in a test machine for each kernel: 5.10, 6.1, 6.12
# or newest, with cgroups v2 unless :v1 or :hybrid says otherwise.
#
#   tests/vm/checks.sh            6.12
#   tests/vm/checks.sh all        every kernel, and the other layouts on two of them
#
# The program is that of `cargo build`, as the other tests use it, with its libraries and without its debug
# information; or what CUTAWAY names. The exit status is not 0 where a check failed or a machine did not come
# up.
set -eu
cd "$(dirname "$0")/../.."

# Everything takes its time only where everything is asked for.
all=
[ "$*" != all ] || all=1
[ $# -gt 0 ] || set -- 6.12
[ "$*" != all ] || set -- 5.10 6.1 6.12 newest 5.10:hybrid 6.1:v1

if [ -z "${CUTAWAY:-}" ]; then
    cargo build --quiet
    mkdir -p target/vm
    CUTAWAY=target/vm/cutaway
    strip -o $CUTAWAY target/debug/cutaway
fi

failed=
for machine; do
    kernel=${machine%%:*} layout=v2
    case $machine in *:*) layout=${machine#*:} ;; esac
    begin=$(date +%s)
    tests/vm/run -k "$kernel" -C "$layout" -p "$CUTAWAY:/bin/cutaway" -f tests/vm/guest.sh -t 300 \
        "CUTAWAY_ALL=$all sh guest.sh" ||
        failed="$failed $machine"
    echo "# $machine: $(($(date +%s) - begin)) s"
done
[ -z "$failed" ] || {
    echo "failed:$failed" >&2
    exit 1
}
