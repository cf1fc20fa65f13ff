//! Read-only snapshots of kernel state, and their differences. Nothing here changes anything.
//!
//! A [`Probe`] names something to look at; a [`Claim`] is an effect that prose asserts and a snapshot proves.
//! Both are data, so that a plan can hold them; both are read by the process that acted, never derived from
//! the plan.

pub mod cgroup;
mod check;
mod claim;
mod diff;
pub mod fds;
pub mod host;
pub mod ids;
pub mod links;
pub mod mounts;
pub mod ns;
mod origin;
pub mod place;
pub mod privileges;
mod process;
mod read;
pub mod tree;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

pub use claim::Claim;
pub use diff::{Change, How, Line, diff, lines};
pub use host::Host;
pub use origin::Origin;
pub use place::Place;
pub use process::{handles_signal, own_pid, start_time};

use crate::sys::flags::CloneFlags;

/// Kernel state that can be read and shown. Reading never changes anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Probe {
    /// The namespaces of the acting process: `/proc/self/ns`.
    Namespaces(CloneFlags),
    /// The mount table of the acting process: `/proc/self/mountinfo`.
    Mounts,
    /// Host name and domain name, as uname(2) gives them.
    Hostname,
    /// User and group ids, their maps, and the supplementary groups.
    Ids,
    /// The pid of the acting process in its namespaces, innermost last.
    Pids,
    /// The cgroups of the acting process: `/proc/self/cgroup`.
    Cgroups,
    /// Capability sets, `no_new_privs` and the seccomp mode: `/proc/self/status`.
    Privileges,
    /// Network interfaces with their flags.
    Links,
    /// The names in a directory, with kind, mode and owner.
    Directory(PathBuf),
    /// The content of a small file, such as a limit of a cgroup.
    File(PathBuf),
    /// Open descriptors and what they refer to.
    Descriptors,
}

impl Probe {
    /// What is looked at, for a heading and for the recording.
    #[must_use]
    pub fn title(&self) -> String {
        match self {
            Self::Namespaces(_) => "namespaces".to_owned(),
            Self::Mounts => "mounts".to_owned(),
            Self::Hostname => "names".to_owned(),
            Self::Ids => "users and groups".to_owned(),
            Self::Pids => "pids".to_owned(),
            Self::Cgroups => "cgroups".to_owned(),
            Self::Privileges => "privileges".to_owned(),
            Self::Links => "network interfaces".to_owned(),
            Self::Directory(path) => format!("directory {}", path.display()),
            Self::File(path) => format!("file {}", path.display()),
            Self::Descriptors => "descriptors".to_owned(),
        }
    }

    /// Reads the state as this process sees it now. What cannot be read is said in the value.
    #[must_use]
    pub fn read(&self) -> Json {
        match self {
            Self::Namespaces(kinds) => ns::namespaces(*kinds),
            Self::Mounts => mounts::snapshot(),
            Self::Hostname => names(),
            Self::Ids => ids::snapshot(),
            Self::Pids => ns::pids(),
            Self::Cgroups => cgroup::snapshot(),
            Self::Privileges => privileges::snapshot(),
            Self::Links => links::snapshot(),
            Self::Directory(path) => tree::directory(path),
            Self::File(path) => tree::file(path),
            Self::Descriptors => fds::snapshot(),
        }
    }
}

fn names() -> Json {
    let names = rustix::system::uname();
    json!({ "hostname": names.nodename().to_string_lossy(), "domainname": names.domainname().to_string_lossy() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_probe_can_be_read_and_equals_itself() {
        let all = [
            Probe::Namespaces(CloneFlags::all()),
            Probe::Mounts,
            Probe::Hostname,
            Probe::Ids,
            Probe::Pids,
            Probe::Cgroups,
            Probe::Privileges,
            Probe::Links,
            Probe::Directory("/dev".into()),
            Probe::File("/proc/sys/kernel/ostype".into()),
        ];
        for probe in all {
            let value = probe.read();
            assert!(!value.is_null() && value.get("unreadable").is_none(), "{}: {value}", probe.title());
            assert!(!lines(&value).is_empty(), "{}", probe.title());
        }
    }
}
