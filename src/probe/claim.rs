//! Claims: effects that the prose of a step asserts, checked after the step by reading kernel state.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::sys::flags::{CapSet, CloneFlags};

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
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hostname(name) => write!(f, "the host name is {name}"),
            Self::OwnNamespaces(flags) => {
                let names: Vec<_> = flags.iter_names().map(|(name, _)| name).collect();
                write!(f, "own namespaces: {}", names.join(", "))
            }
            Self::PidIs(pid) => write!(f, "this process is PID {pid} in its own pid namespace"),
            Self::Mounted { at, fstype } => write!(f, "{fstype} is mounted on {}", at.display()),
            Self::NotMounted(path) => write!(f, "nothing is mounted on {}", path.display()),
            Self::NothingShared => write!(f, "no mount is shared with another namespace"),
            Self::LinkUp(name) => write!(f, "{name} is up"),
            Self::FileHolds { path, text } => write!(f, "{} holds {text}", path.display()),
            Self::Exists(path) => write!(f, "{} exists", path.display()),
            Self::CapabilitiesWithin(set) => {
                write!(f, "at most {} capabilities are left", set.0.count_ones())
            }
            Self::NoNewPrivs => write!(f, "no_new_privs is set"),
            Self::Ids { uid, gid } => write!(f, "this process is user {uid}, group {gid}"),
            Self::ReadOnly(path) => write!(f, "{} is read-only", path.display()),
            Self::DescriptorsCloseOnExec => write!(f, "no inherited descriptor survives exec"),
            Self::InGroup(path) => write!(f, "this process is in {}", path.display()),
        }
    }
}
