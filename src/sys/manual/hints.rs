//! Which rule of the kernel an errno means, call by call.
//!
//! Rows are tried from top to bottom, so the special case stands above the general one. What is said here
//! was checked against the man pages' ERRORS sections, cgroups(7), `user_namespaces(7)`, `mount_namespaces(7)`
//! and the kernel's sources (`fs/namespace.c`, `fs/overlayfs/super.c`, `kernel/fork.c`, `kernel/cgroup/`).

use nix::errno::Errno::{
    self, E2BIG, EACCES, EAGAIN, EBADF, EBUSY, EDQUOT, EEXIST, EFBIG, EINTR, EINVAL, EIO, EISDIR, ELIBBAD,
    ELOOP, EMFILE, ENAMETOOLONG, ENFILE, ENODEV, ENOENT, ENOEXEC, ENOMEM, ENOSPC, ENOSYS, ENOTDIR, ENOTEMPTY,
    ENOTTY, ENXIO, EOPNOTSUPP, EPERM, EPIPE, EPROTONOSUPPORT, EROFS, ESRCH, ESTALE, ETXTBSY, EXDEV,
};

use super::Hint;
use crate::sys::Syscall;
use crate::sys::flags::{CloneFlags, MsFlags};

/// Whether a row is about this call. The second argument is the path that the call is about, if it has one.
type When = fn(&Syscall, &str) -> bool;

struct Row {
    name: &'static str,
    errno: Errno,
    when: When,
    hint: Hint,
}

/// The first row that fits, or what the errno means for any call.
pub fn find(call: &Syscall, errno: Errno, path: &str) -> Option<&'static Hint> {
    let name = call.name();
    let fits = |row: &&Row| row.errno == errno && row.name == name && (row.when)(call, path);
    let general = || GENERAL.iter().find(|(other, _)| *other == errno).map(|(_, hint)| hint);
    ROWS.iter().find(fits).map(|row| &row.hint).or_else(general)
}

fn always(_: &Syscall, _: &str) -> bool {
    true
}

fn mount_of(call: &Syscall, kind: &str) -> bool {
    let Syscall::Mount { fstype: Some(fstype), .. } = call else { return false };
    fstype.known().is_some_and(|fstype| fstype == kind.as_bytes())
}

fn mount_flags(call: &Syscall, flags: MsFlags) -> bool {
    matches!(call, Syscall::Mount { flags: has, .. } if has.contains(flags))
}

fn overlay(call: &Syscall, _: &str) -> bool {
    mount_of(call, "overlay")
}

fn proc(call: &Syscall, _: &str) -> bool {
    mount_of(call, "proc")
}

fn sysfs(call: &Syscall, _: &str) -> bool {
    mount_of(call, "sysfs")
}

fn control_group(call: &Syscall, _: &str) -> bool {
    mount_of(call, "cgroup") || mount_of(call, "cgroup2")
}

fn remount(call: &Syscall, _: &str) -> bool {
    mount_flags(call, MsFlags::MS_REMOUNT)
}

fn bind(call: &Syscall, _: &str) -> bool {
    mount_flags(call, MsFlags::MS_BIND)
}

fn propagation(call: &Syscall, _: &str) -> bool {
    [MsFlags::MS_PRIVATE, MsFlags::MS_SLAVE, MsFlags::MS_SHARED].iter().any(|flag| mount_flags(call, *flag))
}

fn clones(call: &Syscall, flag: CloneFlags) -> bool {
    matches!(call, Syscall::Clone3 { flags, .. } | Syscall::Unshare { flags } if flags.contains(flag))
}

fn new_user(call: &Syscall, _: &str) -> bool {
    clones(call, CloneFlags::CLONE_NEWUSER)
}

fn into_cgroup(call: &Syscall, _: &str) -> bool {
    clones(call, CloneFlags::CLONE_INTO_CGROUP)
}

fn in_cgroup(_: &Syscall, path: &str) -> bool {
    path.starts_with("/sys/fs/cgroup")
}

fn procs(_: &Syscall, path: &str) -> bool {
    path.ends_with("/cgroup.procs")
}

fn cpuset_procs(call: &Syscall, path: &str) -> bool {
    procs(call, path) && path.contains("/cpuset/")
}

fn subtree_control(_: &Syscall, path: &str) -> bool {
    path.ends_with("/cgroup.subtree_control")
}

fn memory_limit(_: &Syscall, path: &str) -> bool {
    path.contains("/memory.")
}

fn cpu_limit(_: &Syscall, path: &str) -> bool {
    path.contains("/cpu.")
}

fn uid_map(_: &Syscall, path: &str) -> bool {
    path.ends_with("/uid_map")
}

fn gid_map(_: &Syscall, path: &str) -> bool {
    path.ends_with("/gid_map")
}

fn id_map(call: &Syscall, path: &str) -> bool {
    uid_map(call, path) || gid_map(call, path)
}

fn setgroups_file(_: &Syscall, path: &str) -> bool {
    path.ends_with("/setgroups")
}

fn device(call: &Syscall, _: &str) -> bool {
    matches!(call, Syscall::Mknodat { node: crate::sys::syscall::Node::Char(..), .. })
}

fn file(call: &Syscall, path: &str) -> bool {
    !device(call, path)
}

const fn row(
    name: &'static str,
    errno: Errno,
    when: When,
    rule: &'static str,
    remedy: &'static str,
    chapter: &'static str,
) -> Row {
    Row { name, errno, when, hint: hint(rule, remedy, chapter) }
}

/// An empty remedy or chapter is none.
const fn hint(rule: &'static str, remedy: &'static str, chapter: &'static str) -> Hint {
    let remedy = if remedy.is_empty() { None } else { Some(remedy) };
    let chapter = if chapter.is_empty() { None } else { Some(chapter) };
    Hint { rule, remedy, chapter }
}

const OVERLAY: &str = "overlay";
const MOUNTS: &str = "mounts";
const PIVOT: &str = "pivot_root";
const USERNS: &str = "user namespaces";
const NAMESPACES: &str = "namespaces";
const CGROUPS: &str = "cgroups";
const CAPABILITIES: &str = "capabilities";
const DEVICES: &str = "devices";
const EXEC: &str = "exec";
const NETWORK: &str = "network";
const STORE: &str = "the store";

const ROWS: &[Row] = &[
    // mount(2)
    row(
        "mount",
        EINVAL,
        overlay,
        "overlayfs refused the set of directories: the upper one must be on a file system that can hold whiteouts and extended attributes (not overlay itself, not NFS, not FAT), upper and work must be on the same mount and apart from each other, and the options must be known to this kernel",
        "--state DIR on ext4, xfs, btrfs or tmpfs; the kernel log (dmesg) names the reason",
        OVERLAY,
    ),
    row(
        "mount",
        ENOENT,
        overlay,
        "a lower, upper or work directory does not exist, or is not visible from here",
        "",
        OVERLAY,
    ),
    row(
        "mount",
        EBUSY,
        overlay,
        "the upper or work directory is in use by another overlay mount",
        "end the run that uses it, or: cutaway cleanup",
        OVERLAY,
    ),
    row(
        "mount",
        EPERM,
        overlay,
        "before Linux 5.11 an overlay cannot be mounted in a user namespace",
        "run as root, or on a newer kernel",
        OVERLAY,
    ),
    row(
        "mount",
        ENODEV,
        overlay,
        "this kernel has no overlayfs, and no module for it could be loaded",
        "as root: modprobe overlay",
        OVERLAY,
    ),
    row(
        "mount",
        ESTALE,
        overlay,
        "the upper or work directory was used with other lower directories before, or was copied",
        "remove the upper and work directories and start again",
        OVERLAY,
    ),
    row("mount", ELOOP, overlay, "upper, work or lower directories lie within each other", "", OVERLAY),
    row(
        "mount",
        EPERM,
        proc,
        "in a user namespace proc may be mounted only by a process whose pid namespace that user namespace owns, and only where a proc that nothing covers is visible already; in most containers parts of /proc are covered",
        "start the outer container with its /proc unmasked, or run on the host",
        USERNS,
    ),
    row(
        "mount",
        EPERM,
        sysfs,
        "in a user namespace sysfs may be mounted only by a process whose network namespace that user namespace owns, and only where a sysfs that nothing covers is visible already",
        "run with a network namespace of its own, or bind the host's /sys",
        USERNS,
    ),
    row(
        "mount",
        EPERM,
        control_group,
        "in a user namespace a cgroup file system may be mounted only in a cgroup namespace that it owns; version 1 not at all",
        "",
        CGROUPS,
    ),
    row(
        "mount",
        EBUSY,
        control_group,
        "the controller is in use in another hierarchy, or the same hierarchy is mounted here already",
        "",
        CGROUPS,
    ),
    row(
        "mount",
        EPERM,
        remount,
        "the mount came from a more privileged namespace, and the kernel locked its read-only, nosuid, nodev, noexec and atime flags: a remount must keep those that are set",
        "repeat the flags that /proc/self/mountinfo shows for it",
        USERNS,
    ),
    row(
        "mount",
        EBUSY,
        remount,
        "a file on it is open for writing, so it cannot become read-only",
        "close the file, or end the process that writes",
        MOUNTS,
    ),
    row(
        "mount",
        EINVAL,
        remount,
        "the path is no mount point, or the file system does not know an option",
        "",
        MOUNTS,
    ),
    row(
        "mount",
        EINVAL,
        propagation,
        "the path is no mount point, or is not in this mount namespace",
        "",
        MOUNTS,
    ),
    row(
        "mount",
        EINVAL,
        bind,
        "the source lies in another mount namespace, is unbindable, or, in a user namespace, hides mounts below it that a bind without MS_REC would reveal",
        "bind with MS_REC",
        MOUNTS,
    ),
    row(
        "mount",
        ENOENT,
        bind,
        "the source or the target of the bind does not exist; a bind makes neither",
        "",
        MOUNTS,
    ),
    row(
        "mount",
        ENOTDIR,
        bind,
        "a directory can be bound only on a directory, and a file only on a file",
        "",
        MOUNTS,
    ),
    row(
        "mount",
        EPERM,
        always,
        "mounting needs CAP_SYS_ADMIN in the user namespace that owns this mount namespace, and there only some file systems",
        "run as root, or in a user namespace of its own",
        MOUNTS,
    ),
    row(
        "mount",
        EACCES,
        always,
        "a security module (AppArmor, SELinux) forbids the mount, or a directory on the way may not be searched",
        "look for DENIED in dmesg; on Ubuntu see the sysctl kernel.apparmor_restrict_unprivileged_userns",
        USERNS,
    ),
    row(
        "mount",
        EBUSY,
        always,
        "the same file system is mounted on this very place already, or is in use in a way that forbids it",
        "",
        MOUNTS,
    ),
    row(
        "mount",
        ENODEV,
        always,
        "this kernel does not know the file system type",
        "grep the type in /proc/filesystems; as root: modprobe it",
        MOUNTS,
    ),
    row(
        "mount",
        EINVAL,
        always,
        "the file system does not accept this source or one of these options",
        "the kernel log (dmesg) often names the option",
        MOUNTS,
    ),
    row(
        "mount",
        ENOSPC,
        always,
        "the mount namespace holds as many mounts as the sysctl fs.mount-max allows",
        "as root: raise fs.mount-max",
        MOUNTS,
    ),
    // umount2(2)
    row(
        "umount2",
        EBUSY,
        always,
        "a process has its working directory, its root or an open file on it, or something is mounted below",
        "end that process (fuser -m PATH), or detach with MNT_DETACH",
        MOUNTS,
    ),
    row(
        "umount2",
        EINVAL,
        always,
        "the path is no mount point of this mount namespace, or the mount is locked: it came from a more privileged namespace",
        "",
        MOUNTS,
    ),
    row(
        "umount2",
        EPERM,
        always,
        "unmounting needs CAP_SYS_ADMIN in the user namespace that owns this mount namespace",
        "",
        MOUNTS,
    ),
    // pivot_root(2), chroot(2)
    row(
        "pivot_root",
        EBUSY,
        always,
        "the new root, or the place for the old one, is on the mount that is the root now",
        "bind the new root on itself first: it then is a mount of its own",
        PIVOT,
    ),
    row(
        "pivot_root",
        EINVAL,
        always,
        "one of five conditions does not hold: the new root is a mount point; the old root's place is at or below it; the current root is a mount point; it is not the initial ramfs; and neither the new root's mount, nor its parent, nor the current root's parent is shared",
        "make propagation private first (MS_REC|MS_PRIVATE on /); on an initial ramfs use another root file system",
        PIVOT,
    ),
    row(
        "pivot_root",
        EPERM,
        always,
        "pivot_root needs CAP_SYS_ADMIN in the user namespace that owns this mount namespace",
        "",
        PIVOT,
    ),
    row("pivot_root", ENOTDIR, always, "both paths must be directories", "", PIVOT),
    row(
        "chroot",
        EPERM,
        always,
        "chroot needs CAP_SYS_CHROOT in this user namespace",
        "run as root, or in a user namespace of its own",
        CAPABILITIES,
    ),
    // The mount API of Linux 5.2 and later
    row(
        "fsopen",
        ENODEV,
        always,
        "this kernel does not know the file system type",
        "grep the type in /proc/filesystems; as root: modprobe it",
        MOUNTS,
    ),
    row(
        "fsopen",
        EPERM,
        always,
        "configuring a file system needs CAP_SYS_ADMIN in the user namespace that owns this mount namespace",
        "",
        MOUNTS,
    ),
    row(
        "fsconfig",
        EINVAL,
        always,
        "the file system does not accept this parameter, or not this value",
        "read the messages of the descriptor: they name the parameter",
        MOUNTS,
    ),
    row(
        "fsconfig",
        EBUSY,
        always,
        "the file system is being created, or its directories are in use by another mount",
        "",
        MOUNTS,
    ),
    row(
        "fsconfig",
        EPERM,
        always,
        "this file system cannot be created in a user namespace",
        "run as root",
        USERNS,
    ),
    row(
        "fsmount",
        EPERM,
        always,
        "a mount like this may not be made here: for proc and sysfs in a user namespace, one that nothing covers must be visible already",
        "",
        USERNS,
    ),
    row(
        "fsmount",
        EBUSY,
        always,
        "the file system has not been created yet, or a mount of it is made already",
        "",
        MOUNTS,
    ),
    row(
        "move_mount",
        EINVAL,
        always,
        "the source is no mount, or its parent is shared, or source and target are not in this mount namespace",
        "",
        MOUNTS,
    ),
    row("move_mount", ELOOP, always, "the target lies below the source", "", MOUNTS),
    row(
        "move_mount",
        EPERM,
        always,
        "attaching a mount needs CAP_SYS_ADMIN in the user namespace that owns this mount namespace",
        "",
        MOUNTS,
    ),
    row(
        "open_tree",
        EPERM,
        always,
        "copying a mount needs CAP_SYS_ADMIN in the user namespace that owns this mount namespace",
        "",
        MOUNTS,
    ),
    row(
        "open_tree",
        EINVAL,
        always,
        "the path is not in this mount namespace, is unbindable, or hides mounts below it that a copy would reveal",
        "copy with AT_RECURSIVE",
        MOUNTS,
    ),
    row(
        "mount_setattr",
        EINVAL,
        always,
        "the path is no mount point, or an attribute cannot be set this way",
        "",
        MOUNTS,
    ),
    row(
        "mount_setattr",
        EPERM,
        always,
        "the mount came from a more privileged namespace, and its attributes are locked",
        "",
        USERNS,
    ),
    row(
        "mount_setattr",
        EBUSY,
        always,
        "a file on it is open for writing, so it cannot become read-only",
        "close the file, or end the process that writes",
        MOUNTS,
    ),
    // Files
    row(
        "openat",
        EACCES,
        in_cgroup,
        "you may not write to this group: its files belong to somebody else, as long as no group was delegated to you",
        "run as root, or in a delegated group: systemd-run --user --scope -p Delegate=yes cutaway …",
        CGROUPS,
    ),
    row(
        "openat",
        ENOENT,
        in_cgroup,
        "the group does not exist, or its parent does not pass this controller on (cgroup.subtree_control)",
        "",
        CGROUPS,
    ),
    row(
        "openat",
        EROFS,
        in_cgroup,
        "the cgroup file system is mounted read-only, as in most containers",
        "run on the host",
        CGROUPS,
    ),
    row(
        "openat",
        EACCES,
        id_map,
        "only the owner of the user namespace and its parent's privileged users may write its maps",
        "",
        USERNS,
    ),
    row(
        "openat",
        EACCES,
        always,
        "a directory on the way may not be searched, or the file's mode does not allow this access",
        "",
        "",
    ),
    row(
        "openat",
        ENXIO,
        always,
        "no driver answers for this device node, or nobody reads the fifo",
        "",
        DEVICES,
    ),
    row(
        "openat",
        ELOOP,
        always,
        "a symbolic link stands where none may be (O_NOFOLLOW), or links lead in a circle",
        "",
        "",
    ),
    row("openat2", EXDEV, always, "the path leads out of the directory it must stay in", "", STORE),
    row("openat2", ELOOP, always, "a symbolic link stands on a path where none may be", "", STORE),
    row(
        "openat2",
        ENOSYS,
        always,
        "openat2 exists since Linux 5.6, and seccomp filters of old container engines refuse it",
        "use a newer kernel or container engine",
        STORE,
    ),
    row(
        "openat2",
        EAGAIN,
        always,
        "something on the path was renamed or mounted while it was looked up, so the kernel could not prove that it stays inside",
        "try again",
        STORE,
    ),
    row(
        "write",
        EPERM,
        id_map,
        "a map may be written once, by a process with CAP_SETUID or CAP_SETGID over the new namespace, and without privilege outside only one line that maps your own id; a security module (AppArmor's kernel.apparmor_restrict_unprivileged_userns) may also have taken those capabilities away",
        "map only your own id, or use newuidmap and newgidmap with ranges of /etc/subuid; before gid_map write deny to setgroups",
        USERNS,
    ),
    row(
        "write",
        EINVAL,
        id_map,
        "a map needs at least one line of three numbers, whose ranges do not overlap and, outside, are mapped in the parent namespace; before Linux 4.15 at most five lines",
        "",
        USERNS,
    ),
    row(
        "write",
        EPERM,
        setgroups_file,
        "setgroups can be denied only before gid_map is written, and never be allowed again",
        "",
        USERNS,
    ),
    row(
        "write",
        ENOSPC,
        cpuset_procs,
        "the cpuset group has no CPUs or no memory nodes yet: a new group of version 1 begins with empty cpuset.cpus and cpuset.mems",
        "copy both values from the parent group first",
        CGROUPS,
    ),
    row(
        "write",
        EBUSY,
        procs,
        "the group passes controllers on (cgroup.subtree_control): in version 2 such a group may hold no processes",
        "put the process into a group below it",
        CGROUPS,
    ),
    row(
        "write",
        EOPNOTSUPP,
        procs,
        "the group is in an invalid state: a threaded group stands above it",
        "",
        CGROUPS,
    ),
    row("write", ESRCH, procs, "the process has ended", "", CGROUPS),
    row(
        "write",
        EACCES,
        procs,
        "moving a process needs write access to cgroup.procs of the target and of the lowest group above both places",
        "be in the delegated subtree before you move within it: systemd-run --user --scope -p Delegate=yes cutaway …",
        CGROUPS,
    ),
    row(
        "write",
        ENOENT,
        procs,
        "the process would cross the border of a cgroup namespace (nsdelegate)",
        "",
        CGROUPS,
    ),
    row(
        "write",
        EINVAL,
        procs,
        "the value is no pid, or the process is a kernel thread or has real-time scheduling that the cpu controller does not allow here",
        "",
        CGROUPS,
    ),
    row(
        "write",
        EBUSY,
        subtree_control,
        "the group holds processes: in version 2 a group either holds processes or passes controllers on",
        "move the processes to a group below it first",
        CGROUPS,
    ),
    row(
        "write",
        ENOENT,
        subtree_control,
        "the controller is not among this group's cgroup.controllers: the parent does not pass it on, or a version 1 hierarchy has it",
        "",
        CGROUPS,
    ),
    row("write", EINVAL, subtree_control, "the kernel does not know a controller of this name", "", CGROUPS),
    row(
        "write",
        EBUSY,
        memory_limit,
        "the group uses more memory than this, and not enough of it can be taken back",
        "choose a higher limit",
        CGROUPS,
    ),
    row(
        "write",
        EINVAL,
        memory_limit,
        "the value is no size, or memory plus swap would be limited below memory",
        "",
        CGROUPS,
    ),
    row(
        "write",
        EINVAL,
        cpu_limit,
        "the quota is shorter than 1 ms, or the period is not between 1 ms and 1 s, or the group above allows less",
        "choose --cpus of at least 0.01",
        CGROUPS,
    ),
    row("write", EINVAL, in_cgroup, "the controller does not accept this value", "", CGROUPS),
    row(
        "write",
        EPERM,
        in_cgroup,
        "the files of a cgroup namespace's own root belong to the outside",
        "",
        CGROUPS,
    ),
    row(
        "write",
        ENOSPC,
        always,
        "the file system is full",
        "free space, or --state DIR on another file system",
        STORE,
    ),
    row(
        "write",
        EDQUOT,
        always,
        "your quota on this file system is used up",
        "free space, or --state DIR on another file system",
        STORE,
    ),
    row("write", EPIPE, always, "nobody reads from the other end any more", "", ""),
    row(
        "write",
        EFBIG,
        always,
        "the file would exceed the limit on file sizes (RLIMIT_FSIZE)",
        "raise it: ulimit -f",
        "",
    ),
    row(
        "mkdirat",
        EACCES,
        in_cgroup,
        "you may not make a group here: no group was delegated to you",
        "run as root, or in a delegated group: systemd-run --user --scope -p Delegate=yes cutaway …",
        CGROUPS,
    ),
    row(
        "mkdirat",
        EPERM,
        in_cgroup,
        "you may not make a group here: no group was delegated to you",
        "run as root, or in a delegated group",
        CGROUPS,
    ),
    row(
        "mkdirat",
        EROFS,
        in_cgroup,
        "the cgroup file system is mounted read-only, as in most containers",
        "run on the host",
        CGROUPS,
    ),
    row(
        "mkdirat",
        EAGAIN,
        in_cgroup,
        "a group above limits how many groups may be below it, or how deep (cgroup.max.descendants, cgroup.max.depth)",
        "",
        CGROUPS,
    ),
    row(
        "mkdirat",
        ENOSPC,
        in_cgroup,
        "the kernel holds as many groups as it can number",
        "remove groups that nobody uses: cutaway cleanup",
        CGROUPS,
    ),
    row(
        "mkdirat",
        ENOSPC,
        always,
        "the file system has no room or no inodes left",
        "free space (df, df -i), or --state DIR on another file system",
        STORE,
    ),
    row(
        "mkdirat",
        EDQUOT,
        always,
        "your quota on this file system is used up",
        "free space, or --state DIR on another file system",
        STORE,
    ),
    row(
        "mkdirat",
        EROFS,
        always,
        "the file system is mounted read-only",
        "--state DIR on a file system that can be written to",
        STORE,
    ),
    row(
        "mkdirat",
        EACCES,
        always,
        "the parent directory does not allow you to make names in it",
        "--state DIR in a directory of your own",
        STORE,
    ),
    row("mkdirat", EEXIST, always, "the name is taken", "", ""),
    row("unlinkat", EBUSY, in_cgroup, "the group still holds processes or groups", "end them first", CGROUPS),
    row(
        "unlinkat",
        EBUSY,
        always,
        "something is mounted there, in this mount namespace",
        "unmount it first",
        MOUNTS,
    ),
    row("unlinkat", ENOTEMPTY, always, "the directory is not empty", "", ""),
    row(
        "unlinkat",
        EPERM,
        always,
        "the directory has the sticky bit and neither it nor the file is yours, or the file is immutable",
        "",
        "",
    ),
    row("symlinkat", EEXIST, always, "the name is taken", "", ""),
    row(
        "mknodat",
        EPERM,
        device,
        "device nodes may be made only with CAP_MKNOD in the initial user namespace: being root in a user namespace is not enough",
        "bind the host's node instead",
        DEVICES,
    ),
    row("mknodat", EPERM, file, "the file system does not support this kind of node", "", DEVICES),
    row("mknodat", EEXIST, always, "the name is taken", "", DEVICES),
    row(
        "fchmodat",
        EPERM,
        always,
        "only the owner of a file, or a process with CAP_FOWNER over it, may set its mode",
        "",
        CAPABILITIES,
    ),
    row(
        "fchownat",
        EPERM,
        always,
        "giving a file away needs CAP_CHOWN over it, and its ids must be mapped in this user namespace",
        "",
        USERNS,
    ),
    row(
        "fchownat",
        EINVAL,
        always,
        "the user or group id is not mapped in this user namespace, so the kernel has no number to store",
        "map a range of ids: /etc/subuid and /etc/subgid with newuidmap and newgidmap",
        USERNS,
    ),
    row("dup3", EINVAL, always, "both descriptors are the same", "", ""),
    row(
        "chdir",
        ENOENT,
        always,
        "the directory does not exist in this root",
        "make it, or choose another with -w",
        EXEC,
    ),
    row("chdir", EACCES, always, "a directory on the way may not be searched by this user", "", EXEC),
    row(
        "close_range",
        EINVAL,
        always,
        "the kernel is older than Linux 5.11 and does not know CLOSE_RANGE_CLOEXEC, or the range is empty",
        "use a newer kernel",
        EXEC,
    ),
    row("close_range", ENOSYS, always, "close_range exists since Linux 5.9", "use a newer kernel", EXEC),
    row(
        "ioctl",
        ENOTTY,
        always,
        "the descriptor is no terminal, or the device does not know this request",
        "",
        DEVICES,
    ),
    row(
        "ioctl",
        EPERM,
        always,
        "the terminal is another session's already, or this process leads no session",
        "",
        DEVICES,
    ),
    row("ioctl", EIO, always, "the terminal's other end is closed or locked", "", DEVICES),
    // Processes and namespaces
    row(
        "clone3",
        EPERM,
        new_user,
        "no user namespace may be made here: the process is in a chroot, or its ids are not mapped in its own user namespace, or the host forbids it to ordinary users (kernel.unprivileged_userns_clone, a seccomp filter, a security module)",
        "as root: sysctl kernel.unprivileged_userns_clone=1; leave the chroot; in a container allow it in the seccomp profile",
        USERNS,
    ),
    row(
        "clone3",
        EACCES,
        new_user,
        "a security module forbids user namespaces to ordinary users (on Ubuntu the sysctl kernel.apparmor_restrict_unprivileged_userns)",
        "as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for cutaway",
        USERNS,
    ),
    row(
        "clone3",
        EACCES,
        into_cgroup,
        "starting a child in a group needs write access to its cgroup.procs and to that of the lowest group above both",
        "be in the delegated subtree before you start a child within it",
        CGROUPS,
    ),
    row(
        "clone3",
        EBUSY,
        into_cgroup,
        "the group passes controllers on: in version 2 such a group may hold no processes",
        "start the child in a group below it",
        CGROUPS,
    ),
    row(
        "clone3",
        EOPNOTSUPP,
        into_cgroup,
        "the group is in an invalid state: a threaded group stands above it",
        "",
        CGROUPS,
    ),
    row(
        "clone3",
        EBADF,
        into_cgroup,
        "the descriptor is not one of a version 2 group's directory",
        "",
        CGROUPS,
    ),
    row(
        "clone3",
        EPERM,
        always,
        "new namespaces need CAP_SYS_ADMIN in the current user namespace; only a user namespace needs no privilege",
        "run as root, or add a user namespace",
        NAMESPACES,
    ),
    row(
        "clone3",
        ENOSPC,
        always,
        "a limit on namespaces is reached: one of /proc/sys/user/max_*_namespaces, or 32 user or pid namespaces within each other",
        "as root: raise the limit, for example sysctl user.max_user_namespaces=15000",
        NAMESPACES,
    ),
    row(
        "clone3",
        EAGAIN,
        always,
        "a limit on processes is reached: the pids controller of the group or of one above it (pids.max), RLIMIT_NPROC, or the pids of the machine",
        "choose a higher --pids-limit, or end processes",
        CGROUPS,
    ),
    row(
        "clone3",
        ENOMEM,
        always,
        "memory is short, or the first process of the pid namespace has ended: then nothing can be started in it any more",
        "start a new container",
        NAMESPACES,
    ),
    row(
        "clone3",
        EINVAL,
        always,
        "the kernel was built without one of these namespaces, or two flags exclude each other",
        "compare with ls /proc/self/ns; time namespaces exist since Linux 5.6",
        NAMESPACES,
    ),
    row(
        "clone3",
        ENOSYS,
        always,
        "clone3 exists since Linux 5.3, and seccomp filters of old container engines refuse it",
        "use a newer kernel or container engine",
        NAMESPACES,
    ),
    row(
        "clone3",
        E2BIG,
        always,
        "the kernel does not know a field of clone_args: CLONE_INTO_CGROUP exists since Linux 5.7",
        "use a newer kernel",
        NAMESPACES,
    ),
    row(
        "unshare",
        EPERM,
        new_user,
        "no user namespace may be made here: the process is in a chroot, or its ids are not mapped in its own user namespace, or the host forbids it to ordinary users",
        "as root: sysctl kernel.unprivileged_userns_clone=1; leave the chroot",
        USERNS,
    ),
    row(
        "unshare",
        EACCES,
        new_user,
        "a security module forbids user namespaces to ordinary users (on Ubuntu the sysctl kernel.apparmor_restrict_unprivileged_userns)",
        "as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for cutaway",
        USERNS,
    ),
    row(
        "unshare",
        EPERM,
        always,
        "new namespaces need CAP_SYS_ADMIN in the current user namespace; only a user namespace needs no privilege",
        "run as root, or add a user namespace",
        NAMESPACES,
    ),
    row(
        "unshare",
        ENOSPC,
        always,
        "a limit on namespaces is reached: one of /proc/sys/user/max_*_namespaces, or 32 user or pid namespaces within each other",
        "as root: raise the limit, for example sysctl user.max_user_namespaces=15000",
        NAMESPACES,
    ),
    row(
        "unshare",
        EINVAL,
        always,
        "the kernel was built without one of these namespaces, or the process has more than one thread",
        "compare with ls /proc/self/ns",
        NAMESPACES,
    ),
    row(
        "unshare",
        ENOMEM,
        always,
        "memory is short, or the first process of the pid namespace has ended",
        "",
        NAMESPACES,
    ),
    row(
        "setns",
        EPERM,
        always,
        "joining a namespace needs CAP_SYS_ADMIN in the user namespace that owns it, and for a mount namespace CAP_SYS_CHROOT too",
        "join the user namespace first, or run as root",
        NAMESPACES,
    ),
    row(
        "setns",
        EINVAL,
        always,
        "the descriptor is a namespace of another kind, or the process is in that user namespace already, or has more than one thread, or would join an outer pid namespace",
        "",
        NAMESPACES,
    ),
    row("setns", ESRCH, always, "the process of this pidfd has ended", "", NAMESPACES),
    row(
        "execve",
        ENOENT,
        always,
        "the program does not exist in this root; or it does, but its interpreter does not: the dynamic loader that it names, or the program after #!",
        "look with: file PROGRAM, readelf -l PROGRAM, head -n 1 SCRIPT",
        EXEC,
    ),
    row(
        "execve",
        EACCES,
        always,
        "the file has no execute bit for this user, is no regular file, is on a mount with noexec, or a directory on the way may not be searched",
        "chmod +x, or mount it without noexec",
        EXEC,
    ),
    row(
        "execve",
        ENOEXEC,
        always,
        "the file is no program of this machine's architecture and does not begin with #!",
        "look with: file PROGRAM",
        EXEC,
    ),
    row(
        "execve",
        E2BIG,
        always,
        "arguments and environment together exceed a quarter of the stack limit, or one of them 128 KiB",
        "pass less, or raise ulimit -s",
        EXEC,
    ),
    row("execve", ETXTBSY, always, "the program is open for writing somewhere", "close it there", EXEC),
    row("execve", ENOTDIR, always, "a part of the path is no directory", "", EXEC),
    row(
        "execve",
        ELIBBAD,
        always,
        "the program's loader is damaged or of another architecture",
        "look with: readelf -l PROGRAM",
        EXEC,
    ),
    row(
        "execve",
        EPERM,
        always,
        "the file grants capabilities that this process may not get: they are outside of its bounding set, or no_new_privs forbids them",
        "",
        CAPABILITIES,
    ),
    row(
        "execve",
        EAGAIN,
        always,
        "the user has more processes than RLIMIT_NPROC allows",
        "raise it: ulimit -u",
        EXEC,
    ),
    row(
        "kill",
        EPERM,
        always,
        "a signal needs the same user, or CAP_KILL in the target's user namespace",
        "",
        CAPABILITIES,
    ),
    row("kill", ESRCH, always, "no process has this pid any more", "", ""),
    row("pidfd_open", ESRCH, always, "no process has this pid any more", "", ""),
    row("pidfd_open", ENOSYS, always, "pidfd_open exists since Linux 5.3", "use a newer kernel", ""),
    row("pidfd_open", EINVAL, always, "the pid is not that of a whole process, but of a thread", "", ""),
    row("pidfd_send_signal", ESRCH, always, "the process has ended", "", ""),
    row(
        "pidfd_send_signal",
        EPERM,
        always,
        "a signal needs the same user, or CAP_KILL in the target's user namespace",
        "",
        CAPABILITIES,
    ),
    row(
        "setsid",
        EPERM,
        always,
        "the process leads a process group already, and then cannot leave it for a new session",
        "",
        "",
    ),
    row(
        "sethostname",
        EINVAL,
        always,
        "a host name has at most 64 bytes",
        "choose a shorter --hostname",
        NAMESPACES,
    ),
    row(
        "sethostname",
        EPERM,
        always,
        "the host name belongs to the UTS namespace: changing it needs CAP_SYS_ADMIN in the user namespace that owns it",
        "run with a UTS namespace of its own",
        NAMESPACES,
    ),
    row(
        "setdomainname",
        EINVAL,
        always,
        "a domain name has at most 64 bytes",
        "choose a shorter name",
        NAMESPACES,
    ),
    row(
        "setdomainname",
        EPERM,
        always,
        "the domain name belongs to the UTS namespace: changing it needs CAP_SYS_ADMIN in the user namespace that owns it",
        "run with a UTS namespace of its own",
        NAMESPACES,
    ),
    // Identity and privilege
    row(
        "setgroups",
        EPERM,
        always,
        "the process lacks CAP_SETGID, or this user namespace has setgroups denied, as it must have where an ordinary user wrote its gid_map",
        "",
        USERNS,
    ),
    row(
        "setgroups",
        EINVAL,
        always,
        "a group id is not mapped in this user namespace, or there are more than 65536",
        "map a range of ids: /etc/subgid with newgidmap",
        USERNS,
    ),
    row(
        "setresuid",
        EINVAL,
        always,
        "the user id is not mapped in this user namespace",
        "choose a mapped user with -u, or map a range of ids: /etc/subuid with newuidmap",
        USERNS,
    ),
    row(
        "setresuid",
        EPERM,
        always,
        "changing to another user needs CAP_SETUID in this user namespace",
        "",
        CAPABILITIES,
    ),
    row(
        "setresuid",
        EAGAIN,
        always,
        "the kernel could not account the process to the new user",
        "",
        CAPABILITIES,
    ),
    row(
        "setresgid",
        EINVAL,
        always,
        "the group id is not mapped in this user namespace",
        "choose a mapped group with -u, or map a range of ids: /etc/subgid with newgidmap",
        USERNS,
    ),
    row(
        "setresgid",
        EPERM,
        always,
        "changing to another group needs CAP_SETGID in this user namespace",
        "",
        CAPABILITIES,
    ),
    row(
        "prctl",
        EPERM,
        always,
        "changing the bounding set needs CAP_SETPCAP",
        "drop capabilities before CAP_SETPCAP is gone",
        CAPABILITIES,
    ),
    row(
        "prctl",
        EINVAL,
        always,
        "the kernel does not know this request or this capability",
        "use a newer kernel",
        CAPABILITIES,
    ),
    row(
        "capset",
        EPERM,
        always,
        "a set can gain nothing that the permitted set lacks, and the inheritable set nothing that the bounding set lacks",
        "",
        CAPABILITIES,
    ),
    // Netlink
    row("socket", EPROTONOSUPPORT, always, "the kernel was built without this netlink family", "", NETWORK),
    row(
        "sendto",
        EPERM,
        always,
        "changing the network needs CAP_NET_ADMIN in the user namespace that owns the network namespace",
        "run as root, or in a network namespace of its own",
        NETWORK,
    ),
    row(
        "recvfrom",
        EPERM,
        always,
        "changing the network needs CAP_NET_ADMIN in the user namespace that owns the network namespace",
        "run as root, or in a network namespace of its own",
        NETWORK,
    ),
    row(
        "recvfrom",
        ENODEV,
        always,
        "there is no interface of this index in the network namespace",
        "",
        NETWORK,
    ),
];

/// What an errno means where no row says more.
const GENERAL: &[(Errno, Hint)] = &[
    (
        EPERM,
        hint(
            "the process lacks the privilege for this, or a security module or seccomp filter forbids it",
            "run as root; cutaway -v shows the man page of the call",
            CAPABILITIES,
        ),
    ),
    (
        EACCES,
        hint("the permissions of a path, or a security module, forbid this to the process", "", CAPABILITIES),
    ),
    (ENOENT, hint("a part of the path does not exist, as seen from this process's root", "", "")),
    (EEXIST, hint("the name is taken", "", "")),
    (ENOTDIR, hint("a part of the path is no directory", "", "")),
    (EISDIR, hint("the path is a directory", "", "")),
    (
        EINVAL,
        hint(
            "the kernel does not accept this combination of arguments",
            "cutaway -v shows the man page of the call",
            "",
        ),
    ),
    (EBADF, hint("the descriptor is not open, or not for this", "", "")),
    (EBUSY, hint("something else uses it", "", "")),
    (EROFS, hint("the file system is mounted read-only", "", MOUNTS)),
    (
        ENOSPC,
        hint("there is no room left", "free space (df, df -i), or --state DIR on another file system", ""),
    ),
    (EDQUOT, hint("your quota on this file system is used up", "free space", "")),
    (EMFILE, hint("the process has as many descriptors as RLIMIT_NOFILE allows", "raise it: ulimit -n", "")),
    (ENFILE, hint("the machine has as many open files as the sysctl fs.file-max allows", "", "")),
    (ENOMEM, hint("the kernel has no memory for this, or a limit on memory is reached", "", CGROUPS)),
    (EAGAIN, hint("a limit is reached, or the kernel could not do it now", "try again", "")),
    (
        ENOSYS,
        hint("this kernel does not have the call, or a seccomp filter hides it", "use a newer kernel", ""),
    ),
    (EOPNOTSUPP, hint("the file system or device does not support this", "", "")),
    (ENAMETOOLONG, hint("a name has more than 255 bytes, or a path more than 4095", "", "")),
    (ELOOP, hint("too many symbolic links, or one where none may be", "", "")),
    (EXDEV, hint("source and target are on different mounts", "", MOUNTS)),
    (ESRCH, hint("the process has ended", "", "")),
    (EINTR, hint("a signal interrupted the call", "", "")),
    (EIO, hint("the device failed", "look at the kernel log (dmesg)", "")),
    (ENODEV, hint("the kernel has no such device or file system", "", DEVICES)),
    (ENXIO, hint("no driver answers for this device", "", DEVICES)),
    (E2BIG, hint("the arguments are larger than this kernel accepts", "", "")),
    (ETXTBSY, hint("the file is a program that is running", "", "")),
];
