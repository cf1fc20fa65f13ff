//! Claims: effects that the prose of a step asserts, checked after the step by reading kernel state.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::clocks::Clock;
use super::files::FileClaim;
use crate::sys::flags::{CapSet, CloneFlags};
use crate::sys::{Slots, Text, Value};

/// An effect that can be checked. Its `Display` is the sentence that is told with a tick or a cross.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Claim {
    /// uname(2) gives this host name.
    Hostname(String),
    /// Every one of these namespaces of the acting process differs from the ones cutaway was started in.
    OwnNamespaces(CloneFlags),
    /// The acting process is this pid in its innermost pid namespace.
    PidIs(i32),
    /// A file system of this type is mounted on this path.
    Mounted {
        /// The mount point.
        at: PathBuf,
        /// Its type, as /proc/self/mountinfo names it.
        fstype: String,
    },
    /// No mount of the acting process lies at or below this path.
    NotMounted(PathBuf),
    /// No mount of the acting process is shared with another namespace.
    NothingShared,
    /// The interface is up.
    LinkUp(String),
    /// The file holds exactly this text, white space at its end apart.
    FileHolds {
        /// The file.
        path: PathBuf,
        /// The text.
        text: String,
    },
    /// The file comes to hold this text: at once, or within a second.
    Becomes {
        /// The file.
        path: PathBuf,
        /// The text.
        text: String,
    },
    /// The number behind a word in the file is at least this: at once, or within a second.
    Counts {
        /// The file.
        path: PathBuf,
        /// The word.
        word: std::borrow::Cow<'static, str>,
        /// The least number.
        least: u64,
    },
    /// The path exists.
    Exists(PathBuf),
    /// The effective and the bounding set hold nothing beyond these capabilities.
    CapabilitiesWithin(CapSet),
    /// execve(2) can never again grant a privilege.
    NoNewPrivs,
    /// The acting process has this user and group id.
    Ids {
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
    },
    /// Writing to the path is refused because its file system is read-only.
    ReadOnly(PathBuf),
    /// Every descriptor above 2, the report socket apart, closes on exec.
    DescriptorsCloseOnExec,
    /// The acting process is in the cgroup of this directory.
    InGroup(PathBuf),
    /// uname(2) gives this NIS domain name.
    Domainname(String),
    /// Every one of these namespaces is still the one that cutaway was started in.
    SharedNamespaces(CloneFlags),
    /// Children of the acting process will be in namespaces of their own, of these kinds.
    OwnForChildren(CloneFlags),
    /// The process that has this pid here has another one in its innermost pid namespace.
    Innermost {
        /// The pid that it has here.
        pid: Value,
        /// The pid that it has there.
        inside: i32,
    },
    /// /proc/self is this pid.
    ProcSelf(i32),
    /// The process exists and has not ended.
    Alive(Value),
    /// The process has ended and has not been collected.
    Zombie(Value),
    /// No process has this pid.
    NoProcess(Value),
    /// The process has this parent.
    ParentOf {
        /// The process.
        pid: Value,
        /// Its parent.
        parent: Value,
    },
    /// No process is in the pid namespace that the descriptor refers to.
    NoMembers(Value),
    /// The IPC namespace holds so many System V objects.
    IpcObjects(usize),
    /// A clock is ahead of where it would be by so many seconds.
    ClockAhead {
        /// The clock.
        clock: Clock,
        /// By how much; 0 for a clock that nothing was done to.
        seconds: i64,
    },
    /// A process is shown in this group of a controller's hierarchy; the empty controller is version 2.
    ShownInGroup {
        /// The process; none for the acting one.
        pid: Option<Value>,
        /// The controller.
        controller: String,
        /// The path that is shown.
        path: PathBuf,
    },
    /// The file belongs to this user, as the acting process sees it.
    Owner {
        /// The file.
        path: PathBuf,
        /// The user.
        uid: u32,
    },
    /// Something about files, whoever looks at them.
    Files(FileClaim),
    /// The file behind a descriptor has so many bytes.
    OpenSize {
        /// The descriptor.
        fd: Value,
        /// The size of its file.
        bytes: u64,
    },
    /// The acting process's memory holds these bytes.
    MemoryHolds {
        /// From this address on.
        at: Value,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// A descriptor refers to this namespace.
    Namespace {
        /// The descriptor.
        fd: Value,
        /// Its kind.
        kind: String,
        /// Its number.
        number: u64,
    },
    /// The interface is there and down.
    LinkDown(String),
    /// The network namespace has no interface of this name.
    NoLink(String),
    /// The other end of the interface is in another network namespace and has this index there.
    Peer {
        /// The interface.
        link: String,
        /// The index of the other end.
        index: u32,
    },
    /// Whether somebody is known to have this address.
    Neighbour {
        /// The address.
        address: Ipv4Addr,
        /// Whether it was answered for.
        known: bool,
    },
    /// The bridges of the netlink socket's network namespace know this many hardware addresses behind their ports,
    /// or more.
    Learned {
        /// The socket.
        socket: Value,
        /// How many.
        least: usize,
    },
    /// The root of a process, or of the acting one, is the directory that cutaway's root was at the start.
    HostRoot(Option<Value>),
    /// The root of a process, or of the acting one, is another directory than that.
    OtherRoot(Option<Value>),
    /// The root of the acting process is the directory that the descriptor refers to.
    RootIs(Value),
    /// The working directory of the acting process is not below its root.
    DirectoryOutside,
    /// The working directory of the acting process is its root.
    DirectoryInside,
    /// Every one of these namespaces of a process is the one that cutaway was started in.
    SharesNamespaces {
        /// The process.
        pid: Value,
        /// Which of its namespaces.
        kinds: CloneFlags,
    },
    /// A process has one mount at its root, and none stacked on it.
    OneRootMount(Value),
}

impl Claim {
    /// The same claim with its slots read.
    #[must_use]
    pub fn resolve(&self, slots: &Slots) -> Self {
        let mut claim = self.clone();
        claim.values().into_iter().for_each(|value| *value = value.resolve(slots));
        claim
    }

    /// Whether no slot is left in it.
    #[must_use]
    pub fn is_known(&self) -> bool {
        !self.clone().values().iter().any(|value| matches!(value, Value::Later(_)))
    }

    fn values(&mut self) -> Vec<&mut Value> {
        match self {
            Self::Innermost { pid: value, .. }
            | Self::Alive(value)
            | Self::Zombie(value)
            | Self::NoProcess(value)
            | Self::NoMembers(value)
            | Self::OpenSize { fd: value, .. }
            | Self::MemoryHolds { at: value, .. }
            | Self::Learned { socket: value, .. }
            | Self::Namespace { fd: value, .. }
            | Self::ShownInGroup { pid: Some(value), .. }
            | Self::HostRoot(Some(value))
            | Self::OtherRoot(Some(value))
            | Self::RootIs(value)
            | Self::SharesNamespaces { pid: value, .. }
            | Self::OneRootMount(value) => vec![value],
            Self::ParentOf { pid, parent } => vec![pid, parent],
            _ => Vec::new(),
        }
    }
}

fn names(flags: CloneFlags) -> String {
    flags.iter_names().map(|(name, _)| name).collect::<Vec<_>>().join(", ")
}

impl Claim {
    /// The sentences about networks, and about namespaces as such.
    fn network_text(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespace { fd, kind, number } => write!(f, "descriptor {fd} is {kind}:[{number}]"),
            Self::LinkDown(name) => write!(f, "{name} is down"),
            Self::NoLink(name) => write!(f, "there is no interface {name} here"),
            Self::Peer { link, index } => {
                write!(f, "the other end of {link} is interface {index} of another network namespace")
            }
            Self::Neighbour { address, known: true } => write!(f, "it is known who has {address}"),
            Self::Neighbour { address, known: false } => write!(f, "it is not known who has {address}"),
            Self::Learned { least, .. } => {
                write!(f, "the bridge knows {least} hardware addresses or more behind its ports")
            }
            other => write!(f, "{other:?}"),
        }
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hostname(name) => write!(f, "the host name is {name}"),
            Self::OwnNamespaces(flags) => write!(f, "own namespaces: {}", names(*flags)),
            Self::PidIs(pid) => write!(f, "this process is PID {pid} in its own pid namespace"),
            Self::Mounted { at, fstype } => write!(f, "{fstype} is mounted on {}", at.display()),
            Self::NotMounted(path) => write!(f, "nothing is mounted on {}", path.display()),
            Self::NothingShared => write!(f, "no mount is shared with another namespace"),
            Self::LinkUp(name) => write!(f, "{name} is up"),
            Self::FileHolds { path, text } | Self::Becomes { path, text } => {
                write!(f, "{} holds {text}", path.display())
            }
            Self::Counts { path, word, least } => {
                write!(f, "{} counts {word} {least} or more", path.display())
            }
            Self::Exists(path) => write!(f, "{} exists", path.display()),
            Self::CapabilitiesWithin(set) => {
                write!(f, "at most {} capabilities are left", set.0.count_ones())
            }
            Self::NoNewPrivs => write!(f, "no_new_privs is set"),
            Self::Ids { uid, gid } => write!(f, "this process is user {uid}, group {gid}"),
            Self::ReadOnly(path) => write!(f, "{} is read-only", path.display()),
            Self::DescriptorsCloseOnExec => write!(f, "no inherited descriptor survives exec"),
            Self::InGroup(path) => write!(f, "this process is in {}", path.display()),
            Self::Domainname(name) => write!(f, "the domain name is {name}"),
            Self::SharedNamespaces(flags) => write!(f, "still the host's: {}", names(*flags)),
            Self::OwnForChildren(flags) => write!(f, "own namespaces for children: {}", names(*flags)),
            Self::Innermost { pid, inside } => {
                write!(f, "process {pid} has the pid {inside} in its own pid namespace")
            }
            Self::ProcSelf(pid) => write!(f, "/proc/self is {pid}"),
            Self::Alive(pid) => write!(f, "process {pid} is alive"),
            Self::Zombie(pid) => write!(f, "process {pid} is a zombie"),
            Self::NoProcess(pid) => write!(f, "there is no process {pid}"),
            Self::ParentOf { pid, parent } => write!(f, "the parent of process {pid} is {parent}"),
            Self::NoMembers(_) => write!(f, "no process is left in the pid namespace"),
            Self::IpcObjects(count) => write!(f, "this IPC namespace holds {count} System V objects"),
            Self::ClockAhead { clock, seconds: 0 } => write!(f, "{} is unchanged", clock.name()),
            Self::ClockAhead { clock, seconds } => {
                write!(f, "{} is {seconds} s ahead of the host's", clock.name())
            }
            Self::ShownInGroup { pid, controller, path } => {
                let who =
                    pid.as_ref().map_or_else(|| "this process".to_owned(), |pid| format!("process {pid}"));
                let tree = if controller.is_empty() { "version 2" } else { controller };
                write!(f, "{who} is shown in {tree}:{}", path.display())
            }
            Self::Owner { path, uid } => write!(f, "{} belongs to user {uid}", path.display()),
            Self::Files(claim) => claim.fmt(f),
            Self::OpenSize { fd, bytes } => write!(f, "the file of descriptor {fd} has {bytes} bytes"),
            Self::MemoryHolds { bytes, .. } => {
                let mut text = String::new();
                Text::bytes(bytes).quote(&mut text);
                write!(f, "the mapping holds {text}")
            }
            Self::HostRoot(None) => write!(f, "/ is the host's root directory"),
            Self::HostRoot(Some(pid)) => write!(f, "the root of process {pid} is the host's"),
            Self::OtherRoot(None) => write!(f, "/ is another directory than the host's root"),
            Self::OtherRoot(Some(pid)) => write!(f, "the root of process {pid} is another than the host's"),
            Self::RootIs(fd) => write!(f, "/ is the directory that descriptor {fd} refers to"),
            Self::DirectoryOutside => write!(f, "the working directory is not below /"),
            Self::DirectoryInside => write!(f, "the working directory is /"),
            Self::SharesNamespaces { pid, kinds } => {
                write!(f, "process {pid} is in the host's namespaces: {}", names(*kinds))
            }
            Self::OneRootMount(pid) => write!(f, "nothing is stacked on the root of process {pid}"),
            network => network.network_text(f),
        }
    }
}
