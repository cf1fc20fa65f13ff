#!/bin/sh
# book.sh: performs in test machines the chapters of the book that name a layout of cgroups, in those layouts that
# this machine does not have, and then asks whether every block of the book was performed by somebody.
#
#   tests/vm/book.sh                              after `cargo test`, which performs this machine's part
#   CUTAWAY_CHAPTER="22 23" tests/vm/book.sh      these chapters only; nobody is asked then
#   CUTAWAY_BOOK=rewrite tests/vm/book.sh         writes what was printed there into the chapters
#
# v2 is always performed, with kernel 6.12: the delegated group that some blocks need is made there. The exit status
# is not 0 where a chapter is wrong, a machine did not come up, or a block was performed nowhere.
set -eu
cd "$(dirname "$0")/../.."
root=$PWD

# Programs of Debian that the commands of these chapters are, in place of busybox's. The demo image is made of them, too:
# the fewer there are, the sooner it is made.
programs='sh:dash cat echo grep head hostname id ls mknod mount pgrep sleep stat timeout touch true umount unshare wc'

chapters=${CUTAWAY_CHAPTER:-}
layouts=$({ echo v2; sed -n 's/^```console,//p' chapters/*.md; } | tr ',' '\n' | grep -xE 'v1|v2|hybrid' | sort -u)
[ -n "$chapters" ] ||
    chapters=$(grep -lE '^```console,.*(v1|v2|hybrid)' chapters/*.md | sed 's|chapters/||' | tr '\n' ' ')

here=none
grep -q ' cgroup2 ' /proc/mounts && here=v2
grep -q ' cgroup ' /proc/mounts && { [ $here = v2 ] && here=hybrid || here=v1; }

# ---- what is brought ----------------------------------------------------------------------------------------------
# Said again, and not by way of /dev/stderr: to open that anew would empty the file that it may be.
said=$(cargo test --test book --no-run 2>&1) || {
    echo "$said" >&2
    exit 1
}
echo "$said" >&2
test=$(echo "$said" | sed -n 's|.*Executable tests/book.rs (\(.*\))$|\1|p')
built=$(dirname "$test")/../cutaway
mkdir -p target/vm
strip -o target/vm/cutaway "$built"
strip -o target/vm/book "$test"
case $built in /*) ;; *) built=$root/$built ;; esac

# What has to lie under the same paths as here is put there by reader.sh: on some of them (/tmp) something is mounted when
# the machine comes up.
set -- -p target/vm/book:/work/book -p "target/vm/cutaway:/work/brought$(realpath "$built")" \
    -f "chapters:/work/brought$root/chapters" \
    -f tests/vm/reader.sh -f /etc/ld.so.conf:/etc/ld.so.conf -f /etc/ld.so.conf.d:/etc/ld.so.conf.d
set -- "$@" -p "$(realpath "$(which dash)"):/bin/sh"
for pair in $programs; do
    program=$(which "${pair#*:}") || {
        echo "tests/vm: the book needs ${pair#*:}" >&2
        exit 125
    }
    set -- "$@" -p "$(realpath "$program"):/usr/bin/${pair%%:*}"
done

# ---- two machines for each layout, side by side: an emulated one uses a single processor --------------------------
back=$(mktemp -d) machines=
finish() {
    # shellcheck disable=SC2086 # several words
    [ -z "$machines" ] || kill $machines 2>/dev/null || :
    wait
    rm -rf "$back"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

part() { # REST: every second chapter: 1 for the first, the third and so on, 0 for the others
    echo "$chapters" | awk -v rest="$1" '{ for (at = 1; at <= NF; at++) if (at % 2 == rest) printf "%s ", $at }'
}

failed=
for layout in $layouts; do
    [ "$layout" = v2 ] || [ "$layout" != $here ] || continue
    begin=$(date +%s)
    # Later kernels of Debian are built without the memory controller of v1.
    [ "$layout" = v2 ] && kernel=6.12 || kernel=6.1
    for rest in 1 0; do
        some=$(part $rest)
        [ -n "$some" ] || continue
        mkdir "$back/$rest"
        tests/vm/run -k $kernel -C "$layout" -t 600 "$@" \
            "CUTAWAY_CHAPTER='$some' CUTAWAY_BOOK=${CUTAWAY_BOOK:-} sh reader.sh $root" \
            >"$back/$rest/tar" 2>"$back/$rest/said" &
        machines="$machines $!"
    done
    for machine in $machines; do wait "$machine" || failed="$failed $layout"; done
    machines=
    cat "$back"/*/said
    echo "# the book with $layout, chapters $chapters: $(($(date +%s) - begin)) s"
    for tar in "$back"/*/tar; do
        [ ! -s "$tar" ] || tar -C "${tar%/tar}" -xf "$tar"
    done
    mkdir -p target/tmp/book
    find "$back" -path "*/target/tmp/book/$layout" -exec cat {} + >"target/tmp/book/$layout"
    [ "${CUTAWAY_BOOK:-}" != rewrite ] || find "$back" -path '*/chapters/*.md' -exec cp {} chapters/ ';'
    rm -r "${back:?}"/*
done
[ -z "$failed" ] || {
    echo "failed:$failed" >&2
    exit 1
}

# ---- is anything left out? ----------------------------------------------------------------------------------------
[ -z "${CUTAWAY_CHAPTER:-}${CUTAWAY_BOOK:-}" ] || exit 0
cargo test --quiet --test book -- --ignored --nocapture every_block_is_performed_somewhere
