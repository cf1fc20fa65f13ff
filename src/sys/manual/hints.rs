//! Which calls a rule is about: the conditions that the table of rules names, and the search in it.
//!
//! They are apart from the table so that the table reads as text.

use nix::errno::Errno;

use super::Hint;
use super::rules::{GENERAL, ROWS};
use crate::sys::Syscall;
use crate::sys::flags::{CloneFlags, FsconfigCmd, MsFlags};
use crate::sys::syscall::Node;

/// Whether a row is about this call. The second argument is the path that the call is about, if it has one.
pub type When = fn(&Syscall, &str) -> bool;

/// A rule: the call and the errno it is for, a further condition, and what it says.
pub struct Row {
    /// The call's name.
    pub name: &'static str,
    /// The errno.
    pub errno: Errno,
    /// What else must be so.
    pub when: When,
    /// What it says.
    pub hint: Hint,
}

/// The first row that fits, or what the errno means for any call.
pub fn find(call: &Syscall, errno: Errno, path: &str) -> Option<&'static Hint> {
    let name = call.name();
    let fits = |row: &&Row| row.errno == errno && row.name == name && (row.when)(call, path);
    let general = || GENERAL.iter().find(|(other, _)| *other == errno).map(|(_, hint)| hint);
    ROWS.iter().find(fits).map(|row| &row.hint).or_else(general)
}

/// Fits every call.
pub fn always(_: &Syscall, _: &str) -> bool {
    true
}

fn mount_of(call: &Syscall, kind: &str) -> bool {
    let Syscall::Mount { fstype: Some(fstype), .. } = call else { return false };
    fstype.known().is_some_and(|fstype| fstype == kind.as_bytes())
}

fn mount_flags(call: &Syscall, flags: MsFlags) -> bool {
    matches!(call, Syscall::Mount { flags: has, .. } if has.contains(flags))
}

pub fn overlay(call: &Syscall, _: &str) -> bool {
    mount_of(call, "overlay")
}

/// A directory of an overlay that is being configured.
pub fn layer(call: &Syscall, _: &str) -> bool {
    let Syscall::Fsconfig { key: Some(key), .. } = call else { return false };
    key.known().is_some_and(|key| matches!(key.as_slice(), b"lowerdir+" | b"upperdir" | b"workdir"))
}

/// The creation of the file system that was configured.
pub fn create(call: &Syscall, _: &str) -> bool {
    matches!(call, Syscall::Fsconfig { cmd: FsconfigCmd::FSCONFIG_CMD_CREATE, .. })
}

pub fn proc(call: &Syscall, _: &str) -> bool {
    mount_of(call, "proc")
}

pub fn sysfs(call: &Syscall, _: &str) -> bool {
    mount_of(call, "sysfs")
}

pub fn control_group(call: &Syscall, _: &str) -> bool {
    mount_of(call, "cgroup") || mount_of(call, "cgroup2")
}

pub fn remount(call: &Syscall, _: &str) -> bool {
    mount_flags(call, MsFlags::MS_REMOUNT)
}

pub fn bind(call: &Syscall, _: &str) -> bool {
    mount_flags(call, MsFlags::MS_BIND)
}

pub fn propagation(call: &Syscall, _: &str) -> bool {
    [MsFlags::MS_PRIVATE, MsFlags::MS_SLAVE, MsFlags::MS_SHARED].iter().any(|flag| mount_flags(call, *flag))
}

fn clones(call: &Syscall, flag: CloneFlags) -> bool {
    matches!(call, Syscall::Clone3 { flags, .. } | Syscall::Unshare { flags } if flags.contains(flag))
}

pub fn new_user(call: &Syscall, _: &str) -> bool {
    clones(call, CloneFlags::CLONE_NEWUSER)
}

pub fn into_cgroup(call: &Syscall, _: &str) -> bool {
    clones(call, CloneFlags::CLONE_INTO_CGROUP)
}

pub fn in_cgroup(_: &Syscall, path: &str) -> bool {
    path.starts_with("/sys/fs/cgroup")
}

pub fn procs(_: &Syscall, path: &str) -> bool {
    path.ends_with("/cgroup.procs")
}

pub fn cpuset_procs(call: &Syscall, path: &str) -> bool {
    procs(call, path) && path.contains("/cpuset/")
}

pub fn subtree_control(_: &Syscall, path: &str) -> bool {
    path.ends_with("/cgroup.subtree_control")
}

pub fn memory_limit(_: &Syscall, path: &str) -> bool {
    path.contains("/memory.")
}

pub fn cpu_limit(_: &Syscall, path: &str) -> bool {
    path.contains("/cpu.")
}

pub fn uid_map(_: &Syscall, path: &str) -> bool {
    path.ends_with("/uid_map")
}

pub fn gid_map(_: &Syscall, path: &str) -> bool {
    path.ends_with("/gid_map")
}

pub fn id_map(call: &Syscall, path: &str) -> bool {
    uid_map(call, path) || gid_map(call, path)
}

pub fn idmap(call: &Syscall, _: &str) -> bool {
    matches!(call, Syscall::MountIdmap { .. })
}

pub fn setgroups_file(_: &Syscall, path: &str) -> bool {
    path.ends_with("/setgroups")
}

/// Whether the path is there, as seen by this process: the one whose call failed.
pub fn present(_: &Syscall, path: &str) -> bool {
    std::fs::metadata(path).is_ok()
}

/// A link of /proc that leads to a directory of another process by itself, and not by a path.
pub fn magic_link(_: &Syscall, path: &str) -> bool {
    path.starts_with("/proc/") && (path.ends_with("/root") || path.ends_with("/cwd"))
}

pub fn device(call: &Syscall, _: &str) -> bool {
    matches!(call, Syscall::Mknodat { node: Node::Char(..) | Node::Block(..), .. })
}

pub fn file(call: &Syscall, path: &str) -> bool {
    !device(call, path)
}
