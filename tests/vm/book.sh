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

# Programs of Debian for the commands of the chapters and for the demo image, in place of busybox's.
programs='sh:dash awk:mawk bash cat chmod chown chroot clear cp cut date dd df dirname du echo env false find findmnt
fold free grep head hostname id ip ipcmk ipcrm kill ldd ln ls lsns mkdir mkfifo mknod mount mv nproc nsenter pgrep
pivot_root pkill printf ps pwd readlink rm rmdir sed seq setpriv setsid sha256sum sleep sort stat stty tail tar tee
test timeout touch tr true tty umount uname uniq unshare wc whoami yes'

chapters=${CUTAWAY_CHAPTER:-}
layouts=$({ echo v2; sed -n 's/^```console,//p' chapters/*.md; } | tr ',' '\n' | grep -xE 'v1|v2|hybrid' | sort -u)
[ -n "$chapters" ] ||
    chapters=$(grep -lE '^```console,.*(v1|v2|hybrid)' chapters/*.md | sed 's|chapters/||' | tr '\n' ' ')

here=none
grep -q ' cgroup2 ' /proc/mounts && here=v2
grep -q ' cgroup ' /proc/mounts && { [ $here = v2 ] && here=hybrid || here=v1; }

# ---- what is brought ----------------------------------------------------------------------------------------------
test=$(cargo test --test book --no-run 2>&1 | tee /dev/stderr | sed -n 's|.*Executable tests/book.rs (\(.*\))$|\1|p')
built=$(dirname "$test")/../cutaway
mkdir -p target/vm
strip -o target/vm/cutaway "$built"
strip -o target/vm/book "$test"
case $built in /*) ;; *) built=$root/$built ;; esac

set -- -p target/vm/book:/work/book -p "target/vm/cutaway:$(realpath "$built")" -f "chapters:$root/chapters" \
    -f tests/vm/reader.sh -f /etc/ld.so.conf:/etc/ld.so.conf -f /etc/ld.so.conf.d:/etc/ld.so.conf.d
for pair in $programs; do
    program=$(PATH=$PATH:/sbin:/usr/sbin env which "${pair#*:}") || continue
    set -- "$@" -p "$(realpath "$program"):/usr/bin/${pair%%:*}"
done
set -- "$@" -p "$(realpath "$(which dash)"):/bin/sh"

# ---- two machines for each layout, side by side: an emulated one uses a single processor -------------------------------
back=$(mktemp -d)
trap 'rm -rf "$back"' EXIT
# shellcheck disable=SC2086 # several words
set_apart() { # REST: every second chapter: 1 for the first, third and so on, 0 for the others
    echo $chapters | awk -v rest="$1" '{ for (at = 1; at <= NF; at++) if (at % 2 == rest) printf "%s ", $at }'
}
perform() { # LAYOUT CHAPTERS ARGUMENT…: performs these chapters; everything about it is in $back/CHAPTERS
    layout=$1 some=$2 result=$back/${2%% *}
    shift 2
    # Later kernels of Debian are built without the memory controller of v1.
    [ "$layout" = v2 ] && kernel=6.12 || kernel=6.1
    mkdir "$result"
    tests/vm/run -k $kernel -C "$layout" -t 600 "$@" \
        "CUTAWAY_CHAPTER='$some' CUTAWAY_BOOK=${CUTAWAY_BOOK:-} sh reader.sh $root" >"$result/tar" 2>"$result/said" ||
        echo "failed: chapters ${some}with $layout" >>"$result/said"
    [ ! -s "$result/tar" ] || tar -C "$result" -xf "$result/tar"
}

failed=
for layout in $layouts; do
    [ "$layout" = v2 ] || [ "$layout" != $here ] || continue
    begin=$(date +%s)
    for rest in 1 0; do
        some=$(set_apart $rest)
        [ -z "$some" ] || perform "$layout" "$some" "$@" &
    done
    wait
    cat "$back"/*/said
    ! grep -q '^failed: ' "$back"/*/said || failed=1
    echo "# the book with $layout, chapters $chapters: $(($(date +%s) - begin)) s"
    mkdir -p target/tmp/book
    cat "$back"/*/target/tmp/book/"$layout" >target/tmp/book/"$layout"
    [ "${CUTAWAY_BOOK:-}" != rewrite ] || find "$back" -path '*/chapters/*.md' -exec cp {} chapters/ ';'
    rm -r "${back:?}"/*
done
[ -z "$failed" ] || exit 1

# ---- is anything left out? ----------------------------------------------------------------------------------------
[ -z "${CUTAWAY_CHAPTER:-}${CUTAWAY_BOOK:-}" ] || exit 0
cargo test --quiet --test book -- --ignored every_block_is_performed_somewhere
