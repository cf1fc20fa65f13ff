#!/bin/sh
# reader.sh ROOT: runs inside the test machine, as root: performs the book's console blocks as tests/book.rs does
# everywhere, on a machine that looks like a reader's. ROOT is where the source is on the machine outside.
#
# What the test says goes to stderr. On stdout is an archive with the record of what was performed, and with the chapters
# that were written anew.
root=$1

cp -a /work/brought/. /
hostname laptop
# Where the processor is emulated, a `sleep 1` is over before what it waits for has begun.
export CUTAWAY_SLOW=3
modprobe -q overlay
# Pids as long as those that the book has in their place: how many bytes a number has is printed too.
echo 4000 >/proc/sys/kernel/ns_last_pid
# The user that the tests are performed by, where somebody has a name for it already.
echo 'cutaway-test:x:1000:1000::/home/student:/bin/sh' >>/etc/passwd

# Where systemd puts a login, and where it puts a program that a desktop starts: the one group belongs to root, the
# other one to the user.
top=/sys/fs/cgroup
if [ -e $top/cgroup.procs ]; then
    slice=$top/user.slice/user-1000.slice
    own=$slice/user@1000.service
    export CUTAWAY_DELEGATED=$own/app.slice/run-r5eed.scope
    mkdir -p $slice/session-1.scope $CUTAWAY_DELEGATED
    for group in $top/user.slice $slice $own $own/app.slice; do
        for controller in memory pids cpu; do echo +$controller; done >$group/cgroup.subtree_control
    done
    chown -R 1000:1000 $own
    chown root:root $own/*.max $own/*.high $own/*.low $own/*.min $own/*.weight
    echo $$ >$slice/session-1.scope/cgroup.procs
fi

cd "$root" || exit 1
cp -r chapters /work/before
chmod 755 /work/book
/work/book --test-threads 1 every_console_block_is_what_happens >&2
code=$?
new=$(for page in chapters/*.md; do cmp -s "$page" "/work/before/${page##*/}" || echo "$page"; done)
# shellcheck disable=SC2086 # several words
tar -cf - target/tmp/book $new || exit 1
exit $code
