//! A lab's sheet: what it needs, what `start` prepares, and what is looked at when it is checked.

use serde::{Deserialize, Serialize};

use super::check::Predicate;
use super::need::Need;
use crate::sys::flags::CloneFlags;

/// The file `lab.json`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sheet {
    /// What is to be done, in a few words.
    pub title: String,
    /// The chapter that explains it.
    pub chapter: String,
    /// How long it takes.
    pub minutes: u32,
    /// Who can do it.
    pub users: Vec<User>,
    /// What the machine must have.
    pub needs: Vec<Need>,
    /// What `start` makes.
    #[serde(default)]
    pub prepare: Vec<Prepare>,
    /// What must be seen, one stage after the other.
    pub stages: Vec<Part>,
}

/// A kind of user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum User {
    /// Somebody without privilege.
    Ordinary,
    /// The administrator.
    Root,
}

/// A kind of namespace, by its name in `/proc/PID/ns`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Users and groups.
    User,
    /// Mounts.
    Mnt,
    /// Process numbers.
    Pid,
    /// Host name.
    Uts,
    /// System V objects and message queues.
    Ipc,
    /// Network.
    Net,
    /// The view of the groups.
    Cgroup,
    /// Clocks.
    Time,
}

impl Kind {
    /// Its name in `/proc/PID/ns`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Mnt => "mnt",
            Self::Pid => "pid",
            Self::Uts => "uts",
            Self::Ipc => "ipc",
            Self::Net => "net",
            Self::Cgroup => "cgroup",
            Self::Time => "time",
        }
    }

    /// Its flag.
    #[must_use]
    pub const fn flag(self) -> CloneFlags {
        match self {
            Self::User => CloneFlags::CLONE_NEWUSER,
            Self::Mnt => CloneFlags::CLONE_NEWNS,
            Self::Pid => CloneFlags::CLONE_NEWPID,
            Self::Uts => CloneFlags::CLONE_NEWUTS,
            Self::Ipc => CloneFlags::CLONE_NEWIPC,
            Self::Net => CloneFlags::CLONE_NEWNET,
            Self::Cgroup => CloneFlags::CLONE_NEWCGROUP,
            Self::Time => CloneFlags::CLONE_NEWTIME,
        }
    }

    /// Several names in a sentence.
    #[must_use]
    pub fn names(kinds: &[Self]) -> String {
        kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ")
    }
}

/// What `start` makes in the lab's directory, or beside it and undone by `reset`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Prepare {
    /// An empty directory.
    Directory(String),
    /// One of the lab's files.
    File(String),
    /// One of the lab's files, to be run.
    Program(String),
    /// A group with this controller, and a link `group` to it.
    Group(String),
    /// Processes that only sleep, in namespaces of their own that they share among each other.
    Sleepers {
        /// How many.
        count: usize,
        /// In which namespaces of their own.
        own: Vec<Kind>,
        /// The host name that they set, if they have a UTS namespace of their own.
        #[serde(default)]
        hostname: Option<String>,
    },
}

/// One stage: what the student has done when all of its checks hold.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// What is to be reached, in a sentence.
    pub goal: String,
    /// What must be seen.
    pub checks: Vec<Check>,
}

/// One thing that must be seen.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// What must be so, as a sentence without a full stop.
    pub expect: String,
    /// How it is seen.
    pub that: Predicate,
    /// What may help when it is not so.
    pub hint: String,
    /// The chapter that helps, if it is another than the lab's.
    #[serde(default)]
    pub chapter: Option<String>,
}
