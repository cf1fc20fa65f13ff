//! The rules of the kernel behind the errnos, call by call.
//!
//! Rules are tried from top to bottom, so the special case (`if`) stands above the general one. What is said here
//! was checked against the man pages' ERRORS sections, cgroups(7), `user_namespaces(7)`, `mount_namespaces(7)`
//! and the kernel's sources (`fs/namespace.c`, `fs/overlayfs/super.c`, `kernel/fork.c`, `kernel/cgroup/`).

use nix::errno::Errno::{
    self, E2BIG, EACCES, EADDRINUSE, EADDRNOTAVAIL, EAGAIN, EBADF, EBUSY, EDQUOT, EEXIST, EFBIG,
    EHOSTUNREACH, EINTR, EINVAL, EIO, EISDIR, ELIBBAD, ELOOP, EMFILE, EMLINK, ENAMETOOLONG, ENETUNREACH,
    ENFILE, ENODEV, ENOENT, ENOEXEC, ENOMEM, ENOSPC, ENOSYS, ENOTDIR, ENOTEMPTY, ENOTTY, ENXIO, EOPNOTSUPP,
    EPERM, EPIPE, EPROTONOSUPPORT, EROFS, ESPIPE, ESRCH, ESTALE, ETXTBSY, EXDEV,
};

use super::Hint;
use super::hints::{
    Row, always, bind, control_group, cpu_limit, cpuset_procs, create, device, file, id_map, idmap,
    in_cgroup, into_cgroup, layer, magic_link, memory_limit, new_user, overlay, present, proc, procs,
    propagation, remount, setgroups_file, subtree_control, sysfs,
};

// The numbers of the chapters that explain a rule.
const OVERLAY: &str = "8";
const MOUNTS: &str = "5";
const CHROOT: &str = "3";
const PIVOT: &str = "6";
const USERNS: &str = "14";
const NAMESPACES: &str = "17";
const CGROUPS: &str = "22";
const CAPABILITIES: &str = "26";
const DEVICES: &str = "28";
const EXEC: &str = "2";
const NETWORK: &str = "18";
const STORE: &str = "7";

/// `EBUSY if remount => "the rule" try "what to try" read CHAPTER;` for the call that heads the block.
macro_rules! rules {
    ($($name:ident { $($errno:ident $(if $when:ident)? =>
        $rule:literal $(try $remedy:literal)? $(read $chapter:ident)?;)* })*) => {
        &[$($(Row {
            name: stringify!($name),
            errno: $errno,
            when: rules!(@when $($when)?),
            hint: rules!(@hint $rule $(try $remedy)? $(read $chapter)?),
        },)*)*]
    };
    (@when) => { always };
    (@when $when:ident) => { $when };
    (@hint $rule:literal $(try $remedy:literal)? $(read $chapter:ident)?) => {
        Hint { rule: $rule, remedy: rules!(@option $($remedy)?), chapter: rules!(@option $($chapter)?) }
    };
    (@option) => { None };
    (@option $text:expr) => { Some($text) };
    (general $($errno:ident => $rule:literal $(try $remedy:literal)? $(read $chapter:ident)?;)*) => {
        &[$(($errno, rules!(@hint $rule $(try $remedy)? $(read $chapter)?)),)*]
    };
}

/// The rules of each call.
pub const ROWS: &[Row] = rules! {
    mount {
        EINVAL if overlay => "overlayfs refused the set of directories: the upper one must be on a file \
            system that can hold whiteouts and extended attributes (not overlay itself, not NFS, not \
            FAT), upper and work must be on the same mount and apart from each other, and the options \
            must be known to this kernel"
            try "--state DIR on ext4, xfs, btrfs or tmpfs; the kernel log (dmesg) names the reason"
            read OVERLAY;
        ENOENT if overlay => "a lower, upper or work directory does not exist, or is not visible from here"
            read OVERLAY;
        EBUSY if overlay => "the upper or work directory is in use by another overlay mount"
            try "end the run that uses it, or: cutaway cleanup" read OVERLAY;
        EPERM if overlay => "mounting an overlay needs CAP_SYS_ADMIN; with that of a user namespace, \
            Linux allows it since 5.11" try "run as root, or on a newer kernel" read OVERLAY;
        ENODEV if overlay => "this kernel has no overlayfs, and no module for it could be loaded"
            try "as root: modprobe overlay" read OVERLAY;
        ESTALE if overlay => "the upper or work directory was used with other lower directories before, \
            or was copied"
            try "remove the upper and work directories and start again" read OVERLAY;
        ELOOP if overlay => "upper, work or lower directories lie within each other, or one is named twice" read OVERLAY;
        EPERM if proc => "in a user namespace proc may be mounted only by a process whose pid namespace \
            that user namespace owns, and only where a proc that nothing covers is visible already; in \
            most containers parts of /proc are covered"
            try "start the outer container with its /proc unmasked, or run on the host" read USERNS;
        EPERM if sysfs => "in a user namespace sysfs may be mounted only by a process whose network \
            namespace that user namespace owns, and only where a sysfs that nothing covers is visible \
            already"
            try "run with a network namespace of its own, or bind the host's /sys" read USERNS;
        EPERM if control_group => "in a user namespace a cgroup file system may be mounted only in a \
            cgroup namespace that it owns; version 1 not at all" read CGROUPS;
        EBUSY if control_group => "the controller is in use in another hierarchy, or the same hierarchy \
            is mounted here already" read CGROUPS;
        EPERM if remount => "the mount came from a more privileged namespace, and the kernel locked its \
            read-only, nosuid, nodev, noexec and atime flags: a remount must keep those that are set"
            try "repeat the flags that /proc/self/mountinfo shows for it" read USERNS;
        EBUSY if remount => "a file on it is open for writing, so it cannot become read-only"
            try "close the file, or end the process that writes" read MOUNTS;
        EINVAL if remount => "the path is no mount point, or the file system does not know an option"
            read MOUNTS;
        EINVAL if propagation => "the path is no mount point, or is not in this mount namespace"
            read MOUNTS;
        EINVAL if bind => "the source lies in another mount namespace, is unbindable, or, in a user \
            namespace, hides mounts below it that a bind without MS_REC would reveal"
            try "bind with MS_REC" read MOUNTS;
        ENOENT if bind => "the source or the target of the bind does not exist; a bind makes neither"
            read MOUNTS;
        ENOTDIR if bind => "a directory can be bound only on a directory, and a file only on a file"
            read MOUNTS;
        EPERM => "mounting needs CAP_SYS_ADMIN in the user namespace that owns this mount namespace, and \
            there only some file systems"
            try "run as root, or in a user namespace of its own" read MOUNTS;
        EACCES => "a security module (AppArmor, SELinux) forbids the mount, or a directory on the way \
            may not be searched"
            try "look for DENIED in dmesg; on Ubuntu see the sysctl \
                kernel.apparmor_restrict_unprivileged_userns" read USERNS;
        EBUSY => "the same file system is mounted on this very place already, or is in use in a way that \
            forbids it" read MOUNTS;
        ENODEV => "this kernel does not know the file system type"
            try "grep the type in /proc/filesystems; as root: modprobe it" read MOUNTS;
        EINVAL => "the file system does not accept this source or one of these options"
            try "the kernel log (dmesg) often names the option" read MOUNTS;
        ENOSPC => "the mount namespace holds as many mounts as the sysctl fs.mount-max allows"
            try "as root: raise fs.mount-max" read MOUNTS;
    }
    umount2 {
        EBUSY => "a process has its working directory, its root or an open file on it, or something is \
            mounted below"
            try "end that process (fuser -m PATH), or detach with MNT_DETACH" read MOUNTS;
        EINVAL => "the path is no mount point of this mount namespace, or the mount is locked: it came \
            from a more privileged namespace" read MOUNTS;
        EPERM => "unmounting needs CAP_SYS_ADMIN in the user namespace that owns this mount namespace"
            read MOUNTS;
    }
    pivot_root {
        EBUSY => "the new root, or the place for the old one, is on the mount that is the root now"
            try "bind the new root on itself first: it then is a mount of its own" read PIVOT;
        EINVAL => "one of five conditions does not hold: the new root is a mount point; the old root's \
            place is at or below it; the current root is a mount point; it is not the initial ramfs; and \
            neither the mount on which the old root is put, nor the new root's parent mount, nor the \
            current root's parent mount is shared"
            try "make propagation private first (MS_REC|MS_PRIVATE on /); on an initial ramfs use \
                another root file system" read PIVOT;
        EPERM => "pivot_root needs CAP_SYS_ADMIN in the user namespace that owns this mount namespace"
            read PIVOT;
        ENOTDIR => "both paths must be directories" read PIVOT;
    }
    chroot {
        EPERM => "chroot needs CAP_SYS_CHROOT in this user namespace"
            try "run as root, or in a user namespace of its own" read CAPABILITIES;
        EACCES => "the directory, or one on the way to it, may not be searched by this user"
            try "chmod +x the directory" read CHROOT;
        ENOENT => "the directory does not exist, as seen from the root that counts until now" read CHROOT;
        ENOTDIR => "only a directory can be a root" read CHROOT;
    }
    fsopen {
        ENODEV => "this kernel does not know the file system type"
            try "grep the type in /proc/filesystems; as root: modprobe it" read MOUNTS;
        EPERM => "configuring a file system needs CAP_SYS_ADMIN in the user namespace that owns this \
            mount namespace" read MOUNTS;
    }
    fsconfig {
        ENOENT if layer => "this lower, upper or work directory does not exist, or is not visible from here"
            read OVERLAY;
        ENOTDIR if layer => "a layer must be a directory" read OVERLAY;
        EINVAL if layer => "overlayfs refused this directory: there are more than 500 lower ones, its path \
            has more than 255 bytes, or the upper one is on a file system that cannot hold whiteouts and \
            extended attributes (overlay itself, NFS, FAT)"
            try "--state DIR on ext4, xfs, btrfs or tmpfs" read OVERLAY;
        EINVAL if create => "the parameters do not go together: for overlayfs, upper and work must be on the \
            same mount and apart from each other, on a file system that can hold whiteouts and extended \
            attributes"
            try "the kernel log (dmesg) names the reason" read OVERLAY;
        ELOOP if create => "upper, work or lower directories lie within each other, or one is named twice" read OVERLAY;
        ESTALE if create => "the upper or work directory was used with other lower directories before, \
            or was copied"
            try "remove the upper and work directories and start again" read OVERLAY;
        EINVAL => "the file system does not accept this parameter, or not this value"
            try "read the messages of the descriptor: they name the parameter" read MOUNTS;
        EBUSY => "the file system is being created, or its directories are in use by another mount"
            read MOUNTS;
        EPERM => "this file system cannot be created in a user namespace"
            try "run as root" read USERNS;
    }
    fsmount {
        EPERM => "a mount like this may not be made here: for proc and sysfs in a user namespace, one \
            that nothing covers must be visible already" read USERNS;
        EBUSY => "the file system has not been created yet, or a mount of it is made already" read MOUNTS;
    }
    move_mount {
        EINVAL => "the source is no mount, or its parent is shared, or source and target are not in this \
            mount namespace" read MOUNTS;
        ELOOP => "the target lies below the source" read MOUNTS;
        EPERM => "attaching a mount needs CAP_SYS_ADMIN in the user namespace that owns this mount \
            namespace" read MOUNTS;
    }
    open_tree {
        EPERM => "copying a mount needs CAP_SYS_ADMIN in the user namespace that owns this mount namespace"
            read MOUNTS;
        EINVAL => "the path is not in this mount namespace, is unbindable, or hides mounts below it that \
            a copy would reveal"
            try "copy with AT_RECURSIVE" read MOUNTS;
    }
    mount_setattr {
        EINVAL if idmap => "this file system cannot be mounted with other ids (ext4 and xfs can since Linux 5.12, \
            btrfs 5.15, tmpfs 6.3), or the mount is attached already, or the user namespace is the first one"
            read MOUNTS;
        EPERM if idmap => "an idmapped mount needs CAP_SYS_ADMIN in the user namespace that mounted the file \
            system first: that of the host, for its disks"
            try "run as root" read MOUNTS;
        EINVAL => "the path is no mount point, or an attribute cannot be set this way" read MOUNTS;
        EPERM => "the mount came from a more privileged namespace, and its attributes are locked"
            read USERNS;
        EBUSY => "a file on it is open for writing, so it cannot become read-only"
            try "close the file, or end the process that writes" read MOUNTS;
    }
    openat {
        EACCES if in_cgroup => "you may not write to this group: its files belong to somebody else, as \
            long as no group was delegated to you"
            try "run as root, or in a delegated group: systemd-run --user --scope -p Delegate=yes cutaway …"
            read CGROUPS;
        ENOENT if in_cgroup => "the group does not exist, or its parent does not pass this controller on \
            (cgroup.subtree_control)" read CGROUPS;
        EROFS if in_cgroup => "the cgroup file system is mounted read-only, as in most containers"
            try "run on the host" read CGROUPS;
        EACCES if id_map => "only the owner of the user namespace and its parent's privileged users may \
            write its maps" read USERNS;
        EACCES if magic_link => "this link of /proc leads into another process by itself: to follow it takes \
            the right to trace that process, which root of a user namespace has over that namespace only"
            read CHROOT;
        EACCES => "a directory on the way may not be searched, or the file's mode does not allow this \
            access";
        EPERM => "the device rules of this process's group do not allow it, or the file is marked immutable or \
            append-only" try "cutaway cgroup devices shows how such rules are made" read DEVICES;
        ENXIO => "no driver answers for this device node, or nobody reads the fifo" read DEVICES;
        ELOOP => "a symbolic link stands where none may be (O_NOFOLLOW), or links lead in a circle";
    }
    openat2 {
        EXDEV => "the path leads out of the directory it must stay in" read STORE;
        ELOOP => "a symbolic link stands on a path where none may be" read STORE;
        ENOSYS => "openat2 exists since Linux 5.6, and seccomp filters of old container engines refuse it"
            try "use a newer kernel or container engine" read STORE;
        EAGAIN => "something on the path was renamed or mounted while it was looked up, so the kernel \
            could not prove that it stays inside"
            try "try again" read STORE;
    }
    write {
        EPERM if id_map => "a map may be written once, by a process with CAP_SETUID or CAP_SETGID over \
            the new namespace, and without privilege outside only one line that maps your own id; a \
            security module (AppArmor's kernel.apparmor_restrict_unprivileged_userns) may also have \
            taken those capabilities away"
            try "map only your own id, or use newuidmap and newgidmap with ranges of /etc/subuid; before \
                gid_map write deny to setgroups" read USERNS;
        EINVAL if id_map => "a map needs at least one line of three numbers, whose ranges do not overlap \
            and, outside, are mapped in the parent namespace; before Linux 4.15 at most five lines"
            read USERNS;
        EPERM if setgroups_file => "setgroups can be denied only before gid_map is written, and never be \
            allowed again" read USERNS;
        ENOSPC if cpuset_procs => "the cpuset group has no CPUs or no memory nodes yet: a new group of \
            version 1 begins with empty cpuset.cpus and cpuset.mems"
            try "copy both values from the parent group first" read CGROUPS;
        EBUSY if procs => "the group passes controllers on (cgroup.subtree_control): in version 2 such a \
            group may hold no processes"
            try "put the process into a group below it" read CGROUPS;
        EOPNOTSUPP if procs => "the group is in an invalid state: a threaded group stands above it"
            read CGROUPS;
        ESRCH if procs => "the process has ended" read CGROUPS;
        EACCES if procs => "moving a process needs write access to cgroup.procs of the target and of the \
            lowest group above both places"
            try "be in the delegated subtree before you move within it: systemd-run --user --scope -p \
                Delegate=yes cutaway …" read CGROUPS;
        ENOENT if procs => "the process would cross the border of a cgroup namespace (nsdelegate)"
            read CGROUPS;
        EINVAL if procs => "the value is no pid, or the process is a kernel thread or has real-time \
            scheduling that the cpu controller does not allow here" read CGROUPS;
        EBUSY if subtree_control => "the group holds processes: in version 2 a group either holds \
            processes or passes controllers on"
            try "move the processes to a group below it first" read CGROUPS;
        ENOENT if subtree_control => "the controller is not among this group's cgroup.controllers: the \
            parent does not pass it on, or a version 1 hierarchy has it" read CGROUPS;
        EINVAL if subtree_control => "the kernel does not know a controller of this name" read CGROUPS;
        EBUSY if memory_limit => "the group uses more memory than this, and not enough of it can be \
            taken back"
            try "choose a higher limit" read CGROUPS;
        EINVAL if memory_limit => "the value is no size, or memory plus swap would be limited below memory"
            read CGROUPS;
        EINVAL if cpu_limit => "the quota is shorter than 1 ms, or the period is not between 1 ms and 1 \
            s, or the group above allows less"
            try "choose --cpus of at least 0.01" read CGROUPS;
        EINVAL if in_cgroup => "the controller does not accept this value" read CGROUPS;
        EPERM if in_cgroup => "the files of a cgroup namespace's own root belong to the outside"
            read CGROUPS;
        ENOSPC => "the file system is full"
            try "free space, or --state DIR on another file system" read STORE;
        EDQUOT => "your quota on this file system is used up"
            try "free space, or --state DIR on another file system" read STORE;
        EPIPE => "nobody reads from the other end any more";
        EFBIG => "the file would exceed the limit on file sizes (RLIMIT_FSIZE)"
            try "raise it: ulimit -f";
    }
    mkdirat {
        EACCES if in_cgroup => "you may not make a group here: no group was delegated to you"
            try "run as root, or in a delegated group: systemd-run --user --scope -p Delegate=yes cutaway …"
            read CGROUPS;
        EPERM if in_cgroup => "you may not make a group here: no group was delegated to you"
            try "run as root, or in a delegated group" read CGROUPS;
        EROFS if in_cgroup => "the cgroup file system is mounted read-only, as in most containers"
            try "run on the host" read CGROUPS;
        EAGAIN if in_cgroup => "a group above limits how many groups may be below it, or how deep \
            (cgroup.max.descendants, cgroup.max.depth)" read CGROUPS;
        ENOSPC if in_cgroup => "the kernel holds as many groups as it can number"
            try "remove groups that nobody uses: cutaway cleanup" read CGROUPS;
        ENOSPC => "the file system has no room or no inodes left"
            try "free space (df, df -i), or --state DIR on another file system" read STORE;
        EDQUOT => "your quota on this file system is used up"
            try "free space, or --state DIR on another file system" read STORE;
        EROFS => "the file system is mounted read-only"
            try "--state DIR on a file system that can be written to" read STORE;
        EACCES => "the parent directory does not allow you to make names in it"
            try "--state DIR in a directory of your own" read STORE;
        EEXIST => "the name is taken";
    }
    unlinkat {
        EBUSY if in_cgroup => "the group still holds processes or groups"
            try "end them first" read CGROUPS;
        EBUSY => "something is mounted there, in this mount namespace"
            try "unmount it first" read MOUNTS;
        ENOTEMPTY => "the directory is not empty";
        EPERM => "the directory has the sticky bit and neither it nor the file is yours, or the file is \
            immutable";
    }
    symlinkat {
        EEXIST => "the name is taken";
    }
    linkat {
        EXDEV => "a file's names are all on one mount" read OVERLAY;
        EPERM => "the file is a directory, its file system has no hard links, or the sysctl \
            fs.protected_hardlinks keeps you from naming a file that is not yours";
        EMLINK => "the file has as many names as its file system allows";
        EEXIST => "the name is taken";
    }
    renameat2 {
        EXDEV => "both names must be on one mount; and overlayfs does not rename a directory that comes from a \
            lower layer, as long as redirect_dir is off: it would have to copy everything below it"
            try "copy the directory and remove the old one, as mv(1) does" read OVERLAY;
        ENOTEMPTY => "the new name is a directory that is not empty";
        EINVAL => "a directory cannot be moved below itself, or the file system does not know the flag";
    }
    pread64 {
        EISDIR => "the descriptor is a directory's";
        ESPIPE => "the descriptor has no offset: it is a pipe, a socket or a terminal";
        EIO => "nothing is mapped at this address of the process's memory, or the disk failed";
    }
    sendfile {
        EINVAL => "one of the descriptors cannot be copied from or to in the kernel: the target was opened \
            with O_APPEND, or the source cannot be mapped into memory";
        ENOSPC => "the file system is full"
            try "free space, or --state DIR on another file system" read STORE;
        EDQUOT => "your quota on this file system is used up"
            try "free space, or --state DIR on another file system" read STORE;
    }
    mmap {
        EACCES => "the descriptor is not open for reading, or is no regular file";
        ENODEV => "the file system of this file does not support mappings";
        ENOMEM => "the process has as many mappings as the sysctl vm.max_map_count allows, or no address \
            space is left";
    }
    mknodat {
        EPERM if device => "device nodes may be made only with CAP_MKNOD in the initial user namespace: \
            being root in a user namespace is not enough"
            try "bind the host's node instead" read DEVICES;
        EPERM if file => "the file system does not support this kind of node" read DEVICES;
        EEXIST => "the name is taken" read DEVICES;
    }
    fchmodat {
        EPERM => "only the owner of a file, or a process with CAP_FOWNER over it, may set its mode"
            read CAPABILITIES;
    }
    fchownat {
        EPERM => "giving a file away needs CAP_CHOWN over it, and its ids must be mapped in this user \
            namespace" read USERNS;
        EINVAL => "the user or group id is not mapped in this user namespace, so the kernel has no \
            number to store"
            try "map a range of ids: /etc/subuid and /etc/subgid with newuidmap and newgidmap" read USERNS;
    }
    dup3 {
        EINVAL => "both descriptors are the same";
    }
    chdir {
        ENOENT => "the directory does not exist in this root"
            try "make it, or choose another with -w" read EXEC;
        EACCES => "a directory on the way may not be searched by this user" read EXEC;
    }
    close_range {
        EINVAL => "the kernel is older than Linux 5.11 and does not know CLOSE_RANGE_CLOEXEC, or the \
            range is empty"
            try "use a newer kernel" read EXEC;
        ENOSYS => "close_range exists since Linux 5.9"
            try "use a newer kernel" read EXEC;
    }
    fcntl {
        EBADF => "the descriptor is not open, or was opened with O_PATH and this request needs more"
            read EXEC;
    }
    ioctl {
        ENOTTY => "the descriptor is no terminal, or the device does not know this request" read DEVICES;
        EPERM => "the terminal is another session's already, or this process leads no session" read DEVICES;
        EIO => "the terminal's other end is closed or locked" read DEVICES;
    }
    clone3 {
        EPERM if new_user => "no user namespace may be made here: the process is in a chroot, or its ids \
            are not mapped in its own user namespace, or the host forbids it to ordinary users \
            (kernel.unprivileged_userns_clone, a seccomp filter, a security module)"
            try "as root: sysctl kernel.unprivileged_userns_clone=1; leave the chroot; in a container \
                allow it in the seccomp profile" read USERNS;
        EACCES if new_user => "a security module forbids user namespaces to ordinary users (on Ubuntu \
            the sysctl kernel.apparmor_restrict_unprivileged_userns)"
            try "as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile \
                for cutaway" read USERNS;
        EACCES if into_cgroup => "starting a child in a group needs write access to its cgroup.procs and \
            to that of the lowest group above both"
            try "be in the delegated subtree before you start a child within it" read CGROUPS;
        EBUSY if into_cgroup => "the group passes controllers on: in version 2 such a group may hold no \
            processes"
            try "start the child in a group below it" read CGROUPS;
        EOPNOTSUPP if into_cgroup => "the group is in an invalid state: a threaded group stands above it"
            read CGROUPS;
        EBADF if into_cgroup => "the descriptor is not one of a version 2 group's directory" read CGROUPS;
        EPERM => "new namespaces need CAP_SYS_ADMIN in the current user namespace; only a user namespace \
            needs no privilege"
            try "run as root, or add a user namespace" read NAMESPACES;
        ENOSPC => "a limit on namespaces is reached: one of /proc/sys/user/max_*_namespaces, or 32 user \
            or pid namespaces within each other"
            try "as root: raise the limit, for example sysctl user.max_user_namespaces=15000"
            read NAMESPACES;
        EAGAIN => "a limit on processes is reached: the pids controller of the group or of one above it \
            (pids.max), RLIMIT_NPROC, or the pids of the machine"
            try "choose a higher --pids-limit, or end processes" read CGROUPS;
        ENOMEM => "memory is short, or the first process of the pid namespace has ended: then nothing \
            can be started in it any more"
            try "start a new container" read NAMESPACES;
        EINVAL => "the kernel was built without one of these namespaces, or two flags exclude each other"
            try "compare with ls /proc/self/ns; time namespaces exist since Linux 5.6" read NAMESPACES;
        ENOSYS => "clone3 exists since Linux 5.3, and seccomp filters of old container engines refuse it"
            try "use a newer kernel or container engine" read NAMESPACES;
        E2BIG => "the kernel does not know a field of clone_args: CLONE_INTO_CGROUP exists since Linux 5.7"
            try "use a newer kernel" read NAMESPACES;
    }
    unshare {
        EPERM if new_user => "no user namespace may be made here: the process is in a chroot, or its ids \
            are not mapped in its own user namespace, or the host forbids it to ordinary users"
            try "as root: sysctl kernel.unprivileged_userns_clone=1; leave the chroot" read USERNS;
        EACCES if new_user => "a security module forbids user namespaces to ordinary users (on Ubuntu \
            the sysctl kernel.apparmor_restrict_unprivileged_userns)"
            try "as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile \
                for cutaway" read USERNS;
        EPERM => "new namespaces need CAP_SYS_ADMIN in the current user namespace; only a user namespace \
            needs no privilege"
            try "run as root, or add a user namespace" read NAMESPACES;
        ENOSPC => "a limit on namespaces is reached: one of /proc/sys/user/max_*_namespaces, or 32 user \
            or pid namespaces within each other"
            try "as root: raise the limit, for example sysctl user.max_user_namespaces=15000"
            read NAMESPACES;
        EINVAL => "the kernel was built without one of these namespaces, or the process has more than \
            one thread"
            try "compare with ls /proc/self/ns" read NAMESPACES;
        ENOMEM => "memory is short, or the first process of the pid namespace has ended" read NAMESPACES;
    }
    setns {
        EPERM => "joining a namespace needs CAP_SYS_ADMIN in the user namespace that owns it, and for a \
            mount namespace CAP_SYS_CHROOT too"
            try "join the user namespace first, or run as root" read NAMESPACES;
        EINVAL => "the descriptor is a namespace of another kind, or the process is in that user \
            namespace already, or has more than one thread, or would join an outer pid namespace"
            read NAMESPACES;
        ESRCH => "the process of this pidfd has ended" read NAMESPACES;
    }
    execve {
        ENOENT if present => "the program is there, and its interpreter is not: ENOENT speaks of the dynamic loader \
            that the program names, or of the program that a script names after #!"
            try "look with: readelf -l PROGRAM (\"Requesting program interpreter\"), head -n 1 SCRIPT; put \
                that file into the root too" read CHROOT;
        ENOENT => "the program does not exist in this root; or it does, but its interpreter does not: \
            the dynamic loader that it names, or the program after #!"
            try "look with: file PROGRAM, readelf -l PROGRAM, head -n 1 SCRIPT" read EXEC;
        EACCES => "the file has no execute bit for this user, is no regular file, is on a mount with \
            noexec, or a directory on the way may not be searched"
            try "chmod +x, or mount it without noexec" read EXEC;
        ENOEXEC => "the file is no program of this machine's architecture and does not begin with #!"
            try "look with: file PROGRAM" read EXEC;
        E2BIG => "arguments and environment together exceed a quarter of the stack limit, or one of them \
            128 KiB"
            try "pass less, or raise ulimit -s" read EXEC;
        ETXTBSY => "the program is open for writing somewhere"
            try "close it there" read EXEC;
        ENOTDIR => "a part of the path is no directory" read EXEC;
        ELIBBAD => "the program's loader is damaged or of another architecture"
            try "look with: readelf -l PROGRAM" read EXEC;
        EPERM => "the file grants capabilities that this process may not get: they are outside of its \
            bounding set, or no_new_privs forbids them" read CAPABILITIES;
        EAGAIN => "the user has more processes than RLIMIT_NPROC allows"
            try "raise it: ulimit -u" read EXEC;
    }
    kill {
        EPERM => "a signal needs the same user, or CAP_KILL in the target's user namespace"
            read CAPABILITIES;
        ESRCH => "no process has this pid any more";
    }
    pidfd_open {
        ESRCH => "no process has this pid any more";
        ENOSYS => "pidfd_open exists since Linux 5.3"
            try "use a newer kernel";
        EINVAL => "the pid is not that of a whole process, but of a thread";
    }
    pidfd_send_signal {
        ESRCH => "the process has ended";
        EPERM => "a signal needs the same user, or CAP_KILL in the target's user namespace"
            read CAPABILITIES;
    }
    setsid {
        EPERM => "the process leads a process group already, and then cannot leave it for a new session";
    }
    sethostname {
        EINVAL => "a host name has at most 64 bytes"
            try "choose a shorter --hostname" read NAMESPACES;
        EPERM => "the host name belongs to the UTS namespace: changing it needs CAP_SYS_ADMIN in the \
            user namespace that owns it"
            try "run with a UTS namespace of its own" read NAMESPACES;
    }
    setdomainname {
        EINVAL => "a domain name has at most 64 bytes"
            try "choose a shorter name" read NAMESPACES;
        EPERM => "the domain name belongs to the UTS namespace: changing it needs CAP_SYS_ADMIN in the \
            user namespace that owns it"
            try "run with a UTS namespace of its own" read NAMESPACES;
    }
    setgroups {
        EPERM => "the process lacks CAP_SETGID, or this user namespace has setgroups denied, as it must \
            have where an ordinary user wrote its gid_map" read USERNS;
        EINVAL => "a group id is not mapped in this user namespace, or there are more than 65536"
            try "map a range of ids: /etc/subgid with newgidmap" read USERNS;
    }
    setresuid {
        EINVAL => "the user id is not mapped in this user namespace"
            try "choose a mapped user with -u, or map a range of ids: /etc/subuid with newuidmap"
            read USERNS;
        EPERM => "changing to another user needs CAP_SETUID in this user namespace" read CAPABILITIES;
        EAGAIN => "the kernel could not account the process to the new user" read CAPABILITIES;
    }
    setresgid {
        EINVAL => "the group id is not mapped in this user namespace"
            try "choose a mapped group with -u, or map a range of ids: /etc/subgid with newgidmap"
            read USERNS;
        EPERM => "changing to another group needs CAP_SETGID in this user namespace" read CAPABILITIES;
    }
    prctl {
        EPERM => "changing the bounding set needs CAP_SETPCAP"
            try "drop capabilities before CAP_SETPCAP is gone" read CAPABILITIES;
        EINVAL => "the kernel does not know this request or this capability"
            try "use a newer kernel" read CAPABILITIES;
    }
    capset {
        EPERM => "a set can gain nothing that the permitted set lacks, and the inheritable set nothing \
            that the bounding set lacks" read CAPABILITIES;
    }
    bpf {
        EPERM => "loading a device program needs CAP_BPF and CAP_NET_ADMIN (or CAP_SYS_ADMIN) of the host, a user \
            namespace's are not enough; it is also refused where a group above allows no other program beside its \
            own, and before Linux 5.11 where RLIMIT_MEMLOCK is used up"
            try "run as root on the host; on an old kernel: ulimit -l unlimited" read DEVICES;
        EINVAL => "the kernel was built without programs for groups (CONFIG_CGROUP_BPF), or the verifier does not \
            accept the program: one that could read beyond what it is given, or might not end" read DEVICES;
        EACCES => "the verifier does not accept the program: it could read beyond what it is given" read DEVICES;
        EBADF => "the descriptor is no group of version 2, or no program" read DEVICES;
        E2BIG => "the program is longer than the kernel takes, or 64 programs are attached to the group already"
            read DEVICES;
        ENOSYS => "the kernel was built without bpf (CONFIG_BPF_SYSCALL), or a seccomp filter hides it" read DEVICES;
    }
    socket {
        EPROTONOSUPPORT => "the kernel was built without this netlink family" read NETWORK;
    }
    sendto {
        EPERM => "changing the network needs CAP_NET_ADMIN in the user namespace that owns the network \
            namespace"
            try "run as root, or in a network namespace of its own" read NETWORK;
        ENETUNREACH => "no route of this network namespace leads there: no interface that is up has an \
            address in that network, and there is no default route" read NETWORK;
        EHOSTUNREACH => "a route leads there, but nobody answered for the address" read NETWORK;
    }
    recvfrom {
        EPERM => "changing the network needs CAP_NET_ADMIN in the user namespace that owns the network \
            namespace"
            try "run as root, or in a network namespace of its own" read NETWORK;
        ENODEV => "there is no interface of this index in the network namespace" read NETWORK;
        EOPNOTSUPP => "the kernel knows no interface of this kind: veth and bridge are modules, and this one \
            was built without it or may not load it"
            try "as root: modprobe veth bridge" read NETWORK;
        EEXIST => "the network namespace has an interface, an address or a route like this already" read NETWORK;
        ENETUNREACH => "no route of the network namespace leads to the gateway" read NETWORK;
        EADDRNOTAVAIL => "the interface does not have this address" read NETWORK;
        EAGAIN => "nothing arrived in the time that the socket waits" read NETWORK;
    }
    bind {
        EADDRINUSE => "another socket of this network namespace has this port"
            try "end the program that listens there" read NETWORK;
        EADDRNOTAVAIL => "no interface of this network namespace has this address" read NETWORK;
        EACCES => "ports below 1024 need CAP_NET_BIND_SERVICE in the user namespace that owns the network \
            namespace"
            try "choose a higher port" read NETWORK;
    }
};

/// What an errno means where no rule says more.
pub const GENERAL: &[(Errno, Hint)] = rules! {
    general
        EPERM => "the process lacks the privilege for this, or a security module or seccomp filter \
            forbids it"
            try "run as root; cutaway -v shows the man page of the call" read CAPABILITIES;
        EACCES => "the permissions of a path, or a security module, forbid this to the process"
            read CAPABILITIES;
        ENOENT => "a part of the path does not exist, as seen from this process's root";
        EEXIST => "the name is taken";
        ENOTDIR => "a part of the path is no directory";
        EISDIR => "the path is a directory";
        EINVAL => "the kernel does not accept this combination of arguments"
            try "cutaway -v shows the man page of the call";
        EBADF => "the descriptor is not open, or not for this";
        EBUSY => "something else uses it";
        EROFS => "the file system is mounted read-only" read MOUNTS;
        ENOSPC => "there is no room left"
            try "free space (df, df -i), or --state DIR on another file system";
        EDQUOT => "your quota on this file system is used up"
            try "free space";
        EMFILE => "the process has as many descriptors as RLIMIT_NOFILE allows"
            try "raise it: ulimit -n";
        ENFILE => "the machine has as many open files as the sysctl fs.file-max allows";
        ENOMEM => "the kernel has no memory for this, or a limit on memory is reached" read CGROUPS;
        EAGAIN => "a limit is reached, or the kernel could not do it now"
            try "try again";
        ENOSYS => "this kernel does not have the call, or a seccomp filter hides it"
            try "use a newer kernel";
        EOPNOTSUPP => "the file system or device does not support this";
        ENAMETOOLONG => "a name has more than 255 bytes, or a path more than 4095";
        ELOOP => "too many symbolic links, or one where none may be";
        EXDEV => "source and target are on different mounts" read MOUNTS;
        ESRCH => "the process has ended";
        EINTR => "a signal interrupted the call";
        EIO => "the device failed"
            try "look at the kernel log (dmesg)";
        ENODEV => "the kernel has no such device or file system" read DEVICES;
        ENXIO => "no driver answers for this device" read DEVICES;
        E2BIG => "the arguments are larger than this kernel accepts";
        ETXTBSY => "the file is a program that is running";
};
