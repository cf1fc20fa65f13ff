#!/bin/sh
# Runs inside the test machine, as root: `cutaway run` from end to end, as root and as an ordinary user.
# One line for each check; the exit status is the number of those that failed.
#
# A limit is proven by what happens at it, not by reading the file back alone.

. /vm/settings
release=$(uname -r)
failed=0 done=0
: "${CUTAWAY_ALL:=}"
out=/tmp/out

older_than() { # whether the kernel is older than MAJOR MINOR
    echo "$release" | awk -F '[.-]' -v major="$1" -v minor="$2" \
        '{ exit !($1 < major || ($1 == major && $2 < minor)) }'
}

verdict() { # NAME, after a command whose status says whether it holds
    if [ $? = 0 ]; then
        echo "ok    $1"
    else
        failed=$((failed + 1))
        echo "FAIL  $1"
        tail -n 12 $out | sed 's/^/      | /'
    fi
    done=$((done + 1))
}

run() { # CODE COMMAND…: runs a command whose exit status must be CODE; its output goes to $out
    wanted=$1
    shift
    "$@" >$out 2>&1
    code=$?
    [ $code = "$wanted" ] || echo "exit status $code and not $wanted: $*" >>$out
    [ $code = "$wanted" ]
}

says() { # whether each of these patterns is in the output, the width of the terminal apart
    for pattern; do
        tr '\n' ' ' <$out | tr -s ' ' | grep -q -- "$pattern" || {
            echo "nothing like this: $pattern" >>$out
            return 1
        }
    done
}

listing() { # everything that a run may not leave behind
    find /sys/fs/cgroup -type d | sort
    cat /proc/self/mountinfo
    for state in /var/lib/cutaway /home/student/.local/share/cutaway; do
        find $state/containers $state/journal -mindepth 1 2>/dev/null
    done
    ip -o link
    # The kernel's own processes are children of the second.
    ps -o ppid,pid,args | awk '$1 != 2 && $2 != 2 && !/ps -o|awk|guest.sh/'
}

# ---- what a container finds in its groups ----------------------------------------------------------
# v1 has a tree for each controller; newer kernels are built without the memory controller of v1.
if [ "$cgroups" = v2 ]; then
    name='version 2'
    facts='cd /sys/fs/cgroup; echo memory $(cat memory.max) cpu $(cat cpu.max) pids $(cat pids.max)'
    expected='memory 67108864 cpu 50000 100000 pids 20'
    throttled=/sys/fs/cgroup/cpu.stat
    limits='--memory 64m --cpus 0.5 --pids-limit 20'
else
    [ "$cgroups" = v1 ] && name='version 1' || name=hybrid
    facts='cd /sys/fs/cgroup; echo cpu $(cat cpu/cpu.cfs_quota_us) pids $(cat pids/pids.max)'
    expected='cpu 50000 pids 20'
    throttled=/sys/fs/cgroup/cpu/cpu.stat
    limits='--cpus 0.5 --pids-limit 20'
    if [ -d /sys/fs/cgroup/memory ]; then
        facts="$facts memory \$(cat memory/memory.limit_in_bytes)"
        expected="$expected memory 67108864"
        limits="$limits --memory 64m"
    fi
fi

# The forks of the shell at the limit: the 21st process must be refused with EAGAIN.
cat >/work/inside.sh <<END
$facts
sed 's/^[0-9]*:[^:]*:/group /' /proc/self/cgroup | sort -u
echo pid \$\$
i=0; while [ \$i -lt 3000 ]; do i=\$((i+1)); done
awk '/^nr_throttled/ && \$2 > 0 { print "throttled" }' $throttled 2>/dev/null ||
    grep -q '^nr_throttled 0' $throttled || echo throttled
cat /ro/note && echo changed >/ro/note
echo written >/rw/note
echo full >/scratch/file && echo scratch
(i=0; while [ \$i -lt 30 ]; do sleep 3 & i=\$((i+1)); done) 2>&1 | head -n 1
exit 7
END

everything() { # AS: one container with everything that has an effect, and all of it looked at
    as=$1 home=$2
    mkdir -p $home/ro $home/rw
    echo from outside >$home/ro/note
    cp /work/inside.sh $home/rw/inside.sh
    [ "$as" = '' ] || chown -R 1000:1000 $home
    # shellcheck disable=SC2086 # several words
    run 7 $as cutaway -q run $limits -v $home/ro:/ro:ro -v $home/rw:/rw --tmpfs /scratch:size=1m \
        -- /bin/sh /rw/inside.sh
    verdict "$who: a container runs, with its exit status"
    says "$expected"
    verdict "$who: the limits arrive"
    says 'group / ' 'pid 1 ' && ! says 'group /[^ ]'
    verdict "$who: it is the root of its own group, and PID 1"
    says ' throttled'
    verdict "$who: processor time is cut off"
    says "can't fork: Resource temporarily unavailable"
    verdict "$who: a fork beyond the limit is refused"
    says 'from outside' 'Read-only file system' && [ "$(cat $home/ro/note)" = 'from outside' ]
    verdict "$who: a read-only volume can be read and not written to"
    says scratch && [ "$(cat $home/rw/note 2>&1)" = written ]
    verdict "$who: a volume and a tmpfs can be written to"

    # In a hybrid layout a controller that has no tree of v1 is in that of v2, as far as root is concerned.
    if says 'memory 67108864' || { [ "$as" = '' ] && [ "$cgroups" = hybrid ]; }; then
        run 137 $as cutaway -q run --memory 64m -- dd if=/dev/zero of=/dev/null bs=100M count=1
        verdict "$who: memory beyond the limit ends with SIGKILL"
    fi
}

rest() {
    as=$1
    marks='close_range(3, 4294967295, CLOSE_RANGE_CLOEXEC) = 0'
    older_than 5 11 && marks='fcntl(9, F_SETFD, FD_CLOEXEC) = 0'
    run 5 $as cutaway --color never run --init -t --read-only -- /bin/sh -c \
        'tty; echo x >/new; echo descriptors $(ls /proc/self/fd) end; exit 5' 9</etc/passwd
    told=$?
    [ $told = 0 ] && says '/dev/pts/0' 'Read-only file system' 'descriptors 0 1 2 3 end'
    verdict "$who: terminal, init, read-only root; no descriptor comes through"
    [ $told = 0 ] && ! grep -q '^ *FAILED ' $out &&
        says 'Become the command' 'nothing left behind, exit code 5' "$marks" 'ok no inherited descriptor'
    verdict "$who: told, and every claim holds"

    run 0 $as cutaway --explain --color never run --pids-limit 20 &&
        says "cgroups: $name" 'clone3(' 'pids\.max'
    verdict "$who: --explain names $name"
}

killed() { # AS: nothing may outlive cutaway itself, and what it could not take back is taken back later
    as=$1
    $as cutaway -q run --name victim --memory 64m -- sleep 98765 &
    victim=$!
    for _ in $(seq 50); do
        ps -o args | grep -q '^sleep 98765' && break
        usleep 100000
    done
    ps -o args | grep -q '^sleep 98765' && kill -9 $victim
    wait $victim 2>/dev/null
    usleep 300000
    ps -o args | grep '^sleep 98765' >$out
    [ $? = 1 ]
    verdict "$who: killed, cutaway takes its container with it"
    run 0 $as cutaway -q cleanup
    verdict "$who: the rest is cleaned up"
}

roots() { # AS: another root, every way out of it, and the root without one
    as=$1
    run 0 $as cutaway --color never chroot && says 'unshare(CLONE_NEWUSER) = -1 EPERM' 'ok the working directory is not below /'
    verdict "$who: another root, and nothing else is another"
    for way in double-chroot fd proc; do
        run 0 $as cutaway --color never chroot --escape $way && says "ok / is the host's root directory"
        verdict "$who: out of it again: $way"
    done
    run 7 $as cutaway --color never chroot --pivot -- sh -c 'echo pid $$; exit 7' &&
        says 'pivot_root(".", ".") = -1 E' '= -1 EBADF' 'ok nothing is stacked on the root' 'pid 1'
    verdict "$who: the root is swapped, and no way leads out"
}

deep() { # paths that do not fit in the page of options that mount(2) takes
    part=$(printf 'x%.0s' $(seq 200))
    place=/var/tmp
    for _ in 1 2 3 4 5 6 7; do place=$place/$part; done
    mkdir -p $place/root/bin
    cp /bin/busybox $place/root/bin/sh
    run 3 cutaway -q --state $place run --rootfs $place/root -- /bin/sh -c 'echo x >/new && exit 3'
    verdict "$who: layers with paths too long for mount(2)"
    rm -rf /var/tmp/$part
}

# Controllers that no group below has yet are enabled by whoever needs them first.
own=/sys/fs/cgroup/user.slice/user@1000.service
without_cpu() {
    [ "$cgroups" = v2 ] || return 0
    for group in $own /sys/fs/cgroup/user.slice /sys/fs/cgroup; do echo -cpu >$group/cgroup.subtree_control; done
}

cpu_is_handed_down() {
    [ "$cgroups" = v2 ] || return 0
    run 125 student cutaway -q run --cpus 0.5 -- true && says '--cpus cannot be kept' 'controller cpu'
    verdict "$who: a controller that the delegated group does not have is no place for a limit"
    echo +cpu >/sys/fs/cgroup/user.slice/cgroup.subtree_control
}

lesson() { # AS NAME PATTERN…: a lesson of cutaway cgroup ends well, and these things were seen
    as=$1 what=$2
    shift 2
    run 0 $as cutaway --color never cgroup $what && ! grep -q '^ *FAILED ' $out &&
        says 'nothing left behind' "$@"
    verdict "$who: cgroup $what"
}

groups() { # limits that are watched while they bite; the slow ones only where all kernels are tried
    as=$1
    lesson "$as" pids 'fork ended in EAGAIN' 'neighbour exit status 0' 'bomb killed by SIGKILL'
    # Both refusals are rules of version 2.
    [ "$cgroups" != v2 ] && lesson "$as" rules || lesson "$as" rules 'EBUSY'
    lesson "$as" 'memory --limit 24m' 'reader exit status 0' 'grower killed by SIGKILL' 'process [0-9]* is alive'
    [ "$cgroups" != v2 ] || says 'ok high has risen'
    verdict "$who: cgroup memory slows down before it kills, where it can"
    lesson "$as" freeze 'ok processor has not changed' 'spinner killed by SIGKILL'
    if [ -n "$CUTAWAY_ALL" ]; then
        lesson "$as" cpu 'ok heavy gets at least' 'ok nr_throttled has risen'
        lesson "$as" io 'ok written rose by at most'
    fi
    run 137 $as cutaway --color never cgroup run --memory 24m --pids 20 -- \
        dd if=/dev/zero of=/dev/null bs=60M count=1 && says 'killed for memory 1'
    verdict "$who: cgroup run, with its account"
    run 0 $as cutaway cgroup stat && says 'limit in effect' 'docker stats'
    verdict "$who: cgroup stat"
    run 0 $as cutaway --color never cgroup stat --watch --every 0.1 --count 2 &&
        says 'time .*cpu' '0.1 s .*%' '0 calls that change something'
    verdict "$who: cgroup stat --watch"
}

devices() { # rules for devices: the lesson, and a disk's node that opens nothing until a rule says so
    lesson '' devices 'EPERM' 'member exit status 0'
    # shellcheck disable=SC2046 # two numbers
    disk=$(printf 'b %d:%d r' $(stat -c '0x%t 0x%T' /dev/vda))
    read_it='head -c 1 /disk >/dev/null && echo read; : >/dev/null && head -c 1 /dev/zero | wc -c'
    run 0 cutaway -q run -v /dev/vda:/disk -- sh -c "$read_it" && says 'Operation not permitted' 1
    verdict "$who: a disk's node opens nothing in a container"
    run 0 cutaway -q run -v /dev/vda:/disk --device-cgroup-rule "$disk" -- sh -c "$read_it" && says read
    verdict "$who: with a rule for it, it does"
    run 0 cutaway -q run --device /dev/vda:/dev/disk/one:r -- sh -c \
        'head -c 1 /dev/disk/one >/dev/null && echo read; sh -c ": >/dev/disk/one" || true' &&
        says read 'Operation not permitted'
    verdict "$who: a device that was asked for is there, with the access that was asked for"
}

kinds() { # AS: each kind of namespace by itself, every claim of its story checked
    as=$1
    bad=
    for kind in mnt uts ipc pid user net time cgroup; do
        run 0 $as cutaway -q ns $kind || bad="$bad $kind"
    done
    [ -z "$bad" ] || echo "not:$bad" >>$out
    [ -z "$bad" ]
    verdict "$who: each kind of namespace keeps the claims of its story"
    run 0 $as cutaway -q --json - ns ls && says '"type":"net"' '"type":"time"'
    verdict "$who: the namespaces of the machine are listed"
    run 0 $as sh -c 'cutaway inspect $$' && says 'mnt:\['
    verdict "$who: a process is looked into"
}

seen_through() { # AS CODE: what doctor says of this machine, and the tour of overlayfs
    as=$1
    run "$2" $as cutaway doctor && says "groups $name"
    verdict "$who: doctor ends with $2 and names $name"
    if [ "$2" = 0 ]; then
        run 0 $as cutaway -q overlay
        verdict "$who: overlayfs keeps the claims of its tour"
    else
        run 125 $as cutaway -q overlay && says 'Linux allows it since 5.11'
        verdict "$who: an overlay is refused with the rule"
    fi
}

# ---- the checks ------------------------------------------------------------------------------------
echo "# $release, cgroups $cgroups, AppArmor $(cat /sys/module/apparmor/parameters/enabled 2>/dev/null)"
[ "$(cat /sys/module/apparmor/parameters/enabled 2>/dev/null)" = Y ]
verdict 'AppArmor is on'
student -n true
modprobe -q overlay

who=root
without_cpu
# The first run makes what all runs share: folders and, on v2, enabled controllers.
run 0 cutaway -q run -- true
verdict "$who: the demo image is made of this machine's programs"
listing >/tmp/before
everything '' /root
rest ''
killed ''
roots ''
groups ''
devices
kinds ''
seen_through '' 0
deep
listing >/tmp/after
cmp -s /tmp/before /tmp/after || diff /tmp/before /tmp/after >$out
[ $? = 0 ] && cmp -s /tmp/before /tmp/after
verdict "$who: nothing is left"

who=student
if older_than 5 11; then
    run 125 student cutaway -q run -- true && says 'EPERM' 'Linux allows it since 5.11' 'run as root'
    verdict "$who: an overlay in a user namespace is refused, with the rule and the remedy"
    works=1
else
    cpu_is_handed_down
    run 0 student cutaway -q run -- true
    verdict "$who: the demo image is made of this machine's programs"
    listing >/tmp/before
    everything student /home/student
    rest student
    killed student
    works=0
fi
roots student
groups student
kinds student
seen_through student $works
[ "$cgroups" = v2 ] && refusal='is delegated to you' || refusal='is not yours to change'
run 125 student -n cutaway -q cgroup pids && says "$refusal" 'Delegate=yes'
verdict "$who: without a delegated group, a lesson is refused with the remedy"
run 125 student cutaway -q cgroup devices && says 'root of the host'
verdict "$who: rules for devices are refused with the reason"
run 125 student -n cutaway -q run --memory 64m -- true &&
    says '--memory cannot be kept' 'delegate' 'cutaway as root'
verdict "$who: without a delegated group, a limit is refused with the remedy"
listing >/tmp/after
cmp -s /tmp/before /tmp/after || diff /tmp/before /tmp/after >$out
cmp -s /tmp/before /tmp/after
verdict "$who: nothing is left"

echo "# $done checks, $failed failed"
[ $failed = 0 ]
