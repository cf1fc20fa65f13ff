//! The kernel's flag words and constants, under the kernel's names.
//!
//! The names that are printed come from these constants and from nowhere else. The order of declaration is
//! the order in which strace prints them. The values are the kernel's (`include/uapi/linux`), written out
//! where the C library lacks or mangles them: glibc's `CLONE_INTO_CGROUP` does not fit its type and is 0.

use bitflags::bitflags;
use serde::{Deserialize, Serialize};

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident: $bits:ty { $($flag:ident = $value:expr;)* })*) => {$(
        bitflags! {
            $(#[$doc])*
            #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
            pub struct $name: $bits {
                $(#[doc = concat!("`", stringify!($flag), "`")] const $flag = $value;)*
            }
        }
        impl Word for $name {
            fn word(&self) -> (u64, Vec<&'static str>) {
                let names = self.iter_names().map(|(name, _)| name).collect();
                (u64::from(self.bits()), names)
            }
        }
    )*};
}

/// A flag word: its bits, and the names of those set, in strace's order.
pub trait Word {
    /// The bits and the names.
    fn word(&self) -> (u64, Vec<&'static str>);
}

words! {
    /// `mountflags` of [mount(2)](https://man7.org/linux/man-pages/man2/mount.2.html).
    MsFlags: u32 {
        MS_RDONLY = 1; MS_NOSUID = 2; MS_NODEV = 4; MS_NOEXEC = 8; MS_SYNCHRONOUS = 16; MS_REMOUNT = 32;
        MS_MANDLOCK = 64; MS_DIRSYNC = 128; MS_NOSYMFOLLOW = 256; MS_NOATIME = 1024; MS_NODIRATIME = 2048;
        MS_BIND = 4096; MS_MOVE = 8192; MS_REC = 16384; MS_SILENT = 32768; MS_UNBINDABLE = 1 << 17;
        MS_PRIVATE = 1 << 18; MS_SLAVE = 1 << 19; MS_SHARED = 1 << 20; MS_RELATIME = 1 << 21;
        MS_STRICTATIME = 1 << 24; MS_LAZYTIME = 1 << 25;
    }
    /// `flags` of [umount2(2)](https://man7.org/linux/man-pages/man2/umount.2.html).
    MntFlags: u32 { MNT_FORCE = 1; MNT_DETACH = 2; MNT_EXPIRE = 4; UMOUNT_NOFOLLOW = 8; }
    /// `flags` of [clone(2)](https://man7.org/linux/man-pages/man2/clone.2.html), clone3 and unshare.
    CloneFlags: u64 {
        CLONE_VM = 0x100; CLONE_FS = 0x200; CLONE_FILES = 0x400; CLONE_SIGHAND = 0x800;
        CLONE_PIDFD = 0x1000; CLONE_VFORK = 0x4000; CLONE_PARENT = 0x8000; CLONE_NEWNS = 0x2_0000;
        CLONE_NEWCGROUP = 0x200_0000; CLONE_NEWUTS = 0x400_0000; CLONE_NEWIPC = 0x800_0000;
        CLONE_NEWUSER = 0x1000_0000; CLONE_NEWPID = 0x2000_0000; CLONE_NEWNET = 0x4000_0000;
        CLONE_NEWTIME = 0x80; CLONE_INTO_CGROUP = 0x2_0000_0000;
    }
    /// `flags` of [open(2)](https://man7.org/linux/man-pages/man2/open.2.html) without the access mode.
    OFlags: u32 {
        O_CREAT = 0o100; O_EXCL = 0o200; O_NOCTTY = 0o400; O_TRUNC = 0o1000; O_APPEND = 0o2000;
        O_NONBLOCK = 0o4000; O_NOFOLLOW = libc::O_NOFOLLOW as u32; O_CLOEXEC = 0o2_000_000;
        O_PATH = 0o10_000_000; O_DIRECTORY = libc::O_DIRECTORY as u32;
    }
    /// `resolve` of [openat2(2)](https://man7.org/linux/man-pages/man2/openat2.2.html).
    ResolveFlags: u64 {
        RESOLVE_NO_XDEV = 1; RESOLVE_NO_MAGICLINKS = 2; RESOLVE_NO_SYMLINKS = 4; RESOLVE_BENEATH = 8;
        RESOLVE_IN_ROOT = 16; RESOLVE_CACHED = 32;
    }
    /// `AT_*` flags of the calls that take a directory descriptor.
    AtFlags: u32 {
        AT_SYMLINK_NOFOLLOW = 0x100; AT_REMOVEDIR = 0x200; AT_SYMLINK_FOLLOW = 0x400;
        AT_NO_AUTOMOUNT = 0x800; AT_EMPTY_PATH = 0x1000; AT_RECURSIVE = 0x8000;
    }
    /// `flags` of [open_tree(2)](https://man7.org/linux/man-pages/man2/open_tree.2.html).
    OpenTreeFlags: u32 {
        OPEN_TREE_CLONE = 1; OPEN_TREE_CLOEXEC = 0o2_000_000; AT_SYMLINK_NOFOLLOW = 0x100;
        AT_NO_AUTOMOUNT = 0x800; AT_EMPTY_PATH = 0x1000; AT_RECURSIVE = 0x8000;
    }
    /// `flags` of [move_mount(2)](https://man7.org/linux/man-pages/man2/move_mount.2.html).
    MoveMountFlags: u32 {
        MOVE_MOUNT_F_SYMLINKS = 1; MOVE_MOUNT_F_AUTOMOUNTS = 2; MOVE_MOUNT_F_EMPTY_PATH = 4;
        MOVE_MOUNT_T_SYMLINKS = 0x10; MOVE_MOUNT_T_AUTOMOUNTS = 0x20; MOVE_MOUNT_T_EMPTY_PATH = 0x40;
        MOVE_MOUNT_SET_GROUP = 0x100; MOVE_MOUNT_BENEATH = 0x200;
    }
    /// `flags` of [fsopen(2)](https://man7.org/linux/man-pages/man2/fsopen.2.html).
    FsopenFlags: u32 { FSOPEN_CLOEXEC = 1; }
    /// `flags` of [fsmount(2)](https://man7.org/linux/man-pages/man2/fsmount.2.html).
    FsmountFlags: u32 { FSMOUNT_CLOEXEC = 1; }
    /// Attributes of a mount, for fsmount and
    /// [mount_setattr(2)](https://man7.org/linux/man-pages/man2/mount_setattr.2.html).
    MountAttr: u64 {
        MOUNT_ATTR_RDONLY = 1; MOUNT_ATTR_NOSUID = 2; MOUNT_ATTR_NODEV = 4; MOUNT_ATTR_NOEXEC = 8;
        MOUNT_ATTR_NOATIME = 0x10; MOUNT_ATTR_STRICTATIME = 0x20; MOUNT_ATTR_NODIRATIME = 0x80;
        MOUNT_ATTR_IDMAP = 0x10_0000; MOUNT_ATTR_NOSYMFOLLOW = 0x20_0000;
    }
    /// `flags` of [renameat2(2)](https://man7.org/linux/man-pages/man2/rename.2.html).
    RenameFlags: u32 { RENAME_NOREPLACE = 1; RENAME_EXCHANGE = 2; RENAME_WHITEOUT = 4; }
    /// `msgflg` of [msgget(2)](https://man7.org/linux/man-pages/man2/msgget.2.html) and of shmget(2), without the mode.
    IpcFlags: u32 { IPC_CREAT = 0o1000; IPC_EXCL = 0o2000; }
    /// `options` of [waitid(2)](https://man7.org/linux/man-pages/man2/waitid.2.html).
    WaitFlags: u32 { WNOHANG = 1; WEXITED = 4; WNOWAIT = 0x100_0000; }
    /// `flags` of [close_range(2)](https://man7.org/linux/man-pages/man2/close_range.2.html).
    CloseRangeFlags: u32 { CLOSE_RANGE_UNSHARE = 2; CLOSE_RANGE_CLOEXEC = 4; }
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident { $($item:ident = $value:expr;)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[allow(non_camel_case_types, clippy::upper_case_acronyms, reason = "the kernel's own names")]
        pub enum $name { $(#[doc = concat!("`", stringify!($item), "`")] $item,)* }
        impl $name {
            /// Every constant, in the kernel's order.
            pub const ALL: &'static [Self] = &[$(Self::$item,)*];
            /// The kernel's number.
            #[must_use]
            pub const fn number(self) -> u64 { match self { $(Self::$item => $value as u64,)* } }
            /// The kernel's name.
            #[must_use]
            pub const fn name(self) -> &'static str { match self { $(Self::$item => stringify!($item),)* } }
            /// The constant that has this number.
            #[must_use]
            pub fn from_number(number: u64) -> Option<Self> {
                Self::ALL.iter().copied().find(|item| item.number() == number)
            }
        }
    )*};
}

names! {
    /// The access mode of open(2).
    Access { O_RDONLY = 0; O_WRONLY = 1; O_RDWR = 2; }
    /// Signals ([signal(7)](https://man7.org/linux/man-pages/man7/signal.7.html)).
    Signal {
        SIGHUP = libc::SIGHUP; SIGINT = libc::SIGINT; SIGQUIT = libc::SIGQUIT; SIGILL = libc::SIGILL;
        SIGTRAP = libc::SIGTRAP; SIGABRT = libc::SIGABRT; SIGBUS = libc::SIGBUS; SIGFPE = libc::SIGFPE;
        SIGKILL = libc::SIGKILL; SIGUSR1 = libc::SIGUSR1; SIGSEGV = libc::SIGSEGV; SIGUSR2 = libc::SIGUSR2;
        SIGPIPE = libc::SIGPIPE; SIGALRM = libc::SIGALRM; SIGTERM = libc::SIGTERM;
        SIGSTKFLT = libc::SIGSTKFLT; SIGCHLD = libc::SIGCHLD; SIGCONT = libc::SIGCONT;
        SIGSTOP = libc::SIGSTOP; SIGTSTP = libc::SIGTSTP; SIGTTIN = libc::SIGTTIN; SIGTTOU = libc::SIGTTOU;
        SIGURG = libc::SIGURG; SIGXCPU = libc::SIGXCPU; SIGXFSZ = libc::SIGXFSZ;
        SIGVTALRM = libc::SIGVTALRM; SIGPROF = libc::SIGPROF; SIGWINCH = libc::SIGWINCH;
        SIGIO = libc::SIGIO; SIGPWR = libc::SIGPWR; SIGSYS = libc::SIGSYS;
    }
    /// `how` of [sigprocmask(2)](https://man7.org/linux/man-pages/man2/sigprocmask.2.html).
    SigHow { SIG_BLOCK = 0; SIG_UNBLOCK = 1; SIG_SETMASK = 2; }
    /// `cmd` of [fsconfig(2)](https://man7.org/linux/man-pages/man2/fsconfig.2.html).
    FsconfigCmd {
        FSCONFIG_SET_FLAG = 0; FSCONFIG_SET_STRING = 1; FSCONFIG_SET_BINARY = 2; FSCONFIG_SET_PATH = 3;
        FSCONFIG_SET_PATH_EMPTY = 4; FSCONFIG_SET_FD = 5; FSCONFIG_CMD_CREATE = 6;
        FSCONFIG_CMD_RECONFIGURE = 7;
    }
    /// Capabilities ([capabilities(7)](https://man7.org/linux/man-pages/man7/capabilities.7.html)).
    Capability {
        CAP_CHOWN = 0; CAP_DAC_OVERRIDE = 1; CAP_DAC_READ_SEARCH = 2; CAP_FOWNER = 3; CAP_FSETID = 4;
        CAP_KILL = 5; CAP_SETGID = 6; CAP_SETUID = 7; CAP_SETPCAP = 8; CAP_LINUX_IMMUTABLE = 9;
        CAP_NET_BIND_SERVICE = 10; CAP_NET_BROADCAST = 11; CAP_NET_ADMIN = 12; CAP_NET_RAW = 13;
        CAP_IPC_LOCK = 14; CAP_IPC_OWNER = 15; CAP_SYS_MODULE = 16; CAP_SYS_RAWIO = 17; CAP_SYS_CHROOT = 18;
        CAP_SYS_PTRACE = 19; CAP_SYS_PACCT = 20; CAP_SYS_ADMIN = 21; CAP_SYS_BOOT = 22; CAP_SYS_NICE = 23;
        CAP_SYS_RESOURCE = 24; CAP_SYS_TIME = 25; CAP_SYS_TTY_CONFIG = 26; CAP_MKNOD = 27; CAP_LEASE = 28;
        CAP_AUDIT_WRITE = 29; CAP_AUDIT_CONTROL = 30; CAP_SETFCAP = 31; CAP_MAC_OVERRIDE = 32;
        CAP_MAC_ADMIN = 33; CAP_SYSLOG = 34; CAP_WAKE_ALARM = 35; CAP_BLOCK_SUSPEND = 36;
        CAP_AUDIT_READ = 37; CAP_PERFMON = 38; CAP_BPF = 39; CAP_CHECKPOINT_RESTORE = 40;
    }
}

/// A set of capabilities, one bit each, as the kernel keeps them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CapSet(pub u64);

impl CapSet {
    /// The set of these capabilities.
    #[must_use]
    pub fn of(caps: &[Capability]) -> Self {
        Self(caps.iter().fold(0, |set, cap| set | 1 << cap.number()))
    }

    /// Whether the capability is in the set.
    #[must_use]
    pub const fn has(self, cap: Capability) -> bool {
        self.0 & (1 << cap.number()) != 0
    }

    /// The capabilities of the set that have a name.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        Capability::ALL.iter().copied().filter(move |cap| self.has(*cap))
    }
}
