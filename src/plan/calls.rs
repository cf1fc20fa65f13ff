//! Calls by the idea they stand for, so that a concept reads as its story: `mount::proc("/proc")`.

use crate::sys::flags::{
    Access, AtFlags, Capability, CloneFlags, CloseRangeFlags, MntFlags, MountAttr, MoveMountFlags, MsFlags,
    OFlags, OpenTreeFlags, ResolveFlags, Signal,
};
use crate::sys::netlink::{Message, Request};
use crate::sys::syscall::{Fcntl, Ioctl, Netlink, Node, Prctl};
use crate::sys::{Slot, Syscall, Text, Value};

use super::Call;

/// Mounts.
pub mod mount {
    use super::{MntFlags, MsFlags, Syscall, Text};

    /// `nosuid,nodev,noexec`: what a file system that only shows kernel data needs.
    pub const HARMLESS: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);

    /// A new file system of this type.
    pub fn new(fstype: &str, target: impl Into<Text>, flags: MsFlags, data: Option<Text>) -> Syscall {
        Syscall::Mount {
            source: Some(fstype.into()),
            target: target.into(),
            fstype: Some(fstype.into()),
            flags,
            data,
        }
    }

    /// The proc file system of the caller's pid namespace.
    pub fn proc(target: impl Into<Text>) -> Syscall {
        new("proc", target, HARMLESS, None)
    }

    /// An empty file system in memory.
    pub fn tmpfs(target: impl Into<Text>, flags: MsFlags, options: &str) -> Syscall {
        new("tmpfs", target, flags, (!options.is_empty()).then(|| options.into()))
    }

    /// The same tree in a second place.
    pub fn bind(source: impl Into<Text>, target: impl Into<Text>, flags: MsFlags) -> Syscall {
        let (source, target) = (Some(source.into()), target.into());
        Syscall::Mount { source, target, fstype: None, flags: MsFlags::MS_BIND | flags, data: None }
    }

    /// Other flags for a bind mount. Which flags it had must be repeated, or they are lost.
    pub fn remount_bind(target: impl Into<Text>, flags: MsFlags) -> Syscall {
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | flags;
        Syscall::Mount { source: None, target: target.into(), fstype: None, flags, data: None }
    }

    /// The propagation of a mount, or with `MS_REC` of a whole tree.
    pub fn propagation(target: impl Into<Text>, flags: MsFlags) -> Syscall {
        Syscall::Mount { source: None, target: target.into(), fstype: None, flags, data: None }
    }

    /// Takes a mount out of the tree at once, even while it is in use; it ends with its last user.
    pub fn detach(target: impl Into<Text>) -> Syscall {
        Syscall::Umount2 { target: target.into(), flags: MntFlags::MNT_DETACH }
    }
}

/// Opens a path and stores the descriptor.
pub fn open(path: impl Into<Text>, access: Access, flags: OFlags, slot: &'static str) -> Call {
    let (path, flags) = (path.into(), flags | OFlags::O_CLOEXEC);
    Call::from(Syscall::Openat { dir: Value::CWD, path, access, flags, mode: 0o644 }).into_slot(slot)
}

/// Opens a path only to name it: neither for reading nor for writing.
pub fn open_path(path: impl Into<Text>, flags: OFlags, slot: &'static str) -> Call {
    open(path, Access::O_RDONLY, flags | OFlags::O_PATH, slot)
}

/// Opens a path only to name it, following neither a link out of the root nor a magic link of /proc.
pub fn open_in_root(path: impl Into<Text>, slot: Slot) -> Call {
    let mut call = Call::from(Syscall::Openat2 {
        dir: Value::CWD,
        path: path.into(),
        access: Access::O_RDONLY,
        flags: OFlags::O_PATH | OFlags::O_CLOEXEC,
        resolve: ResolveFlags::RESOLVE_IN_ROOT | ResolveFlags::RESOLVE_NO_MAGICLINKS,
    });
    call.into = Some(slot);
    call
}

/// Closes the descriptor in a slot.
#[must_use]
pub fn close(slot: &'static str) -> Call {
    Syscall::Close { fd: Value::later(slot) }.into()
}

/// Writes a text to a file that exists: open, write, close.
pub fn write(path: impl Into<Text>, text: impl Into<Text>) -> [Call; 3] {
    write_with(path, text, OFlags::empty())
}

/// Writes a text to a new file: open, write, close.
pub fn create(path: impl Into<Text>, text: impl Into<Text>) -> [Call; 3] {
    write_with(path, text, OFlags::O_CREAT | OFlags::O_EXCL)
}

fn write_with(path: impl Into<Text>, text: impl Into<Text>, flags: OFlags) -> [Call; 3] {
    [
        open(path, Access::O_WRONLY, flags, "file"),
        Syscall::Write { fd: Value::later("file"), data: text.into() }.into(),
        close("file"),
    ]
}

/// Makes a directory.
pub fn mkdir(path: impl Into<Text>, mode: u32) -> Syscall {
    Syscall::Mkdirat { dir: Value::CWD, path: path.into(), mode }
}

/// Removes an empty directory.
pub fn rmdir(path: impl Into<Text>) -> Syscall {
    Syscall::Unlinkat { dir: Value::CWD, path: path.into(), flags: AtFlags::AT_REMOVEDIR }
}

/// Makes a symbolic link.
pub fn symlink(target: impl Into<Text>, path: impl Into<Text>) -> Syscall {
    Syscall::Symlinkat { target: target.into(), dir: Value::CWD, path: path.into() }
}

/// Makes a character device that everybody may read and write.
pub fn device(path: impl Into<Text>, major: u32, minor: u32) -> Syscall {
    Syscall::Mknodat { dir: Value::CWD, path: path.into(), node: Node::Char(major, minor), mode: 0o666 }
}

/// Makes an empty file, to mount something on.
pub fn empty_file(path: impl Into<Text>) -> Syscall {
    Syscall::Mknodat { dir: Value::CWD, path: path.into(), node: Node::File, mode: 0o644 }
}

/// Changes the working directory.
pub fn chdir(path: impl Into<Text>) -> Syscall {
    Syscall::Chdir { path: path.into() }
}

/// Swaps the root mount.
#[must_use]
pub fn pivot_root(new_root: &str, put_old: &str) -> Syscall {
    Syscall::PivotRoot { new_root: new_root.into(), put_old: put_old.into() }
}

/// The signal that the caller gets when its parent dies.
#[must_use]
pub const fn die_with_parent() -> Syscall {
    Syscall::Prctl(Prctl::ParentDeathSignal(Signal::SIGKILL))
}

/// Never again a privilege by execve.
#[must_use]
pub const fn no_new_privs() -> Syscall {
    Syscall::Prctl(Prctl::NoNewPrivs)
}

/// Hides the caller from those who look through /proc.
#[must_use]
pub const fn not_dumpable() -> Syscall {
    Syscall::Prctl(Prctl::Dumpable(false))
}

/// Takes a capability out of the bounding set.
#[must_use]
pub const fn drop_bounding(cap: Capability) -> Syscall {
    Syscall::Prctl(Prctl::DropBounding(cap))
}

/// Moves the caller into new namespaces.
#[must_use]
pub const fn unshare(flags: CloneFlags) -> Syscall {
    Syscall::Unshare { flags }
}

/// Marks every descriptor from `first` on close-on-exec.
#[must_use]
pub const fn close_on_exec_from(first: u32) -> Syscall {
    Syscall::CloseRange { first, last: u32::MAX, flags: CloseRangeFlags::CLOSE_RANGE_CLOEXEC }
}

/// Marks one descriptor close-on-exec.
#[must_use]
pub fn close_on_exec(fd: i32) -> Syscall {
    Syscall::Fcntl { fd: fd.into(), request: Fcntl::CloseOnExec(true) }
}

/// A request about a terminal.
#[must_use]
pub const fn ioctl(slot: &'static str, request: Ioctl) -> Syscall {
    Syscall::Ioctl { fd: Value::later(slot), request }
}

/// Makes a standard descriptor refer to what the slot refers to.
#[must_use]
pub fn dup_to(slot: &'static str, to: i32) -> Syscall {
    Syscall::Dup3 { from: Value::later(slot), to: to.into(), flags: OFlags::empty() }
}

/// A netlink socket for links, addresses and routes.
#[must_use]
pub fn route_socket(slot: &'static str) -> Call {
    Call::from(Syscall::Socket { protocol: Netlink::Route }).into_slot(slot)
}

/// A request over a netlink socket, and the kernel's answer to it.
#[must_use]
pub fn ask(slot: &'static str, sequence: u32, request: Request) -> [Call; 2] {
    let fd = || Value::later(slot);
    let message = Message { sequence, request };
    [Syscall::Sendto { fd: fd(), message }.into(), Syscall::Recvfrom { fd: fd() }.into()]
}

/// A detached copy of a mount tree.
pub fn clone_tree(dir: Value, path: impl Into<Text>, slot: Slot) -> Call {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let mut call = Call::from(Syscall::OpenTree { dir, path: path.into(), flags });
    call.into = Some(slot);
    call
}

/// Sets attributes on every mount of a detached tree.
#[must_use]
pub fn set_tree(tree: Slot, set: MountAttr) -> Syscall {
    let flags = AtFlags::AT_EMPTY_PATH | AtFlags::AT_RECURSIVE;
    Syscall::MountSetattr { dir: tree.into(), path: "".into(), flags, set, clear: MountAttr::empty() }
}

/// Attaches a detached tree to the place that a descriptor names.
#[must_use]
pub fn attach_tree(tree: Slot, place: Slot) -> Syscall {
    Syscall::MoveMount {
        from: tree.into(),
        from_path: "".into(),
        to: place.into(),
        to_path: "".into(),
        flags: MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
    }
}

/// The permissions that new files do not get.
#[must_use]
pub const fn umask(mask: u32) -> Syscall {
    Syscall::Umask { mask }
}
