//! Read-only snapshots of kernel state, and their differences. Nothing here changes anything.
//!
//! A [`Probe`] names something to look at; a [`Claim`] is an effect that prose asserts and a snapshot proves.
//! Both are data, so that a plan can hold them; both are read by the process that acted, never derived from
//! the plan.

pub mod census;
pub mod cgroup;
mod check;
mod claim;
pub mod clocks;
pub mod devices;
mod diff;
pub mod disk;
pub mod fds;
pub mod files;
pub mod helpers;
pub mod host;
pub mod ids;
pub mod inside;
pub mod interfaces;
pub mod ipc;
pub mod limits;
pub mod links;
pub mod meter;
pub mod mounts;
pub mod ns;
mod origin;
pub mod overlay;
pub mod place;
pub mod privileges;
mod process;
mod read;
pub mod rights;
pub mod root;
pub mod seat;
pub mod security;
pub mod stack;
pub mod subject;
pub mod surroundings;
pub mod sysctl;
pub mod tree;
pub mod wires;
pub mod words;
pub mod work;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

pub use claim::Claim;
pub use diff::{Change, How, Line, diff, lines};
pub use files::FileClaim;
pub use host::Host;
pub use origin::Origin;
pub use overlay::Views;
pub use place::Place;
pub use process::{Status, handles_signal, own_pid, start_time, status};

use crate::sys::flags::CloneFlags;
use crate::sys::{Slots, Value};

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
    /// The namespaces of another process.
    NamespacesOf {
        /// The process.
        pid: Value,
        /// Which of its namespaces.
        kinds: CloneFlags,
    },
    /// The namespaces that children of the acting process will be in.
    ForChildren(CloneFlags),
    /// Name, state, parent and pids of a process.
    Process(Value),
    /// What the mounted /proc shows of processes.
    Proc,
    /// The processes of the pid namespace that a descriptor refers to.
    Members(Value),
    /// The clocks.
    Clocks,
    /// The System V objects of the acting process's IPC namespace.
    Ipc,
    /// The cgroups of another process.
    CgroupsOf(Value),
    /// The directories of an overlay next to each other.
    Overlay(Views),
    /// Network namespaces and the wires between them, the first drawn in the middle.
    Wires(Vec<wires::Space>),
    /// The routes of the acting process's network namespace.
    Routes,
    /// Who has which address in the networks that the acting process's network namespace is in.
    Neighbours,
    /// What the bridges have learned in the network namespace of a netlink socket.
    Learned(Value),
    /// What keeps the namespace alive that is mounted on a file.
    Kept(PathBuf),
    /// What passed between pairs of mounts.
    Passed {
        /// The directory that they are in.
        base: PathBuf,
        /// The pairs.
        pairs: Vec<(String, String)>,
    },
    /// What meters say at this moment.
    Numbers(Vec<meter::Meter>),
    /// The programs that decide about devices for a group of version 2.
    DevicePrograms(PathBuf),
    /// In which tree each controller of control groups is.
    Controllers,
    /// Network interfaces with their addresses, and what each is tied to; and the number that the network namespace of
    /// a process has here.
    Interfaces(Option<i32>),
    /// The root and the working directory of the acting process.
    Root,
    /// The root and the working directory of another process.
    RootOf(Value),
    /// The mount table of another process: what it can reach from its root.
    MountsOf(Value),
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
            Self::NamespacesOf { pid, .. } => format!("namespaces of {pid}"),
            Self::ForChildren(_) => "namespaces for children".to_owned(),
            Self::Process(pid) => format!("process {pid}"),
            Self::Proc => "/proc".to_owned(),
            Self::Members(_) => "processes of the pid namespace".to_owned(),
            Self::Clocks => "clocks".to_owned(),
            Self::Ipc => "System V objects".to_owned(),
            Self::CgroupsOf(pid) => format!("cgroups of {pid}"),
            Self::Overlay(_) => "lower, upper and merged".to_owned(),
            Self::Wires(_) => "network namespaces".to_owned(),
            Self::Routes => "routes".to_owned(),
            Self::Neighbours => "neighbours".to_owned(),
            Self::Learned(_) => "what the bridge has learned".to_owned(),
            Self::Kept(path) => format!("namespace on {}", path.display()),
            Self::Passed { .. } => "what was mounted, and whether it passes to the other".to_owned(),
            Self::Numbers(_) => "numbers of the group".to_owned(),
            Self::DevicePrograms(path) => format!("device programs of {}", path.display()),
            Self::Controllers => "controllers".to_owned(),
            Self::Interfaces(_) => "interfaces".to_owned(),
            Self::Root => "root and working directory".to_owned(),
            Self::RootOf(pid) => format!("root and working directory of {pid}"),
            Self::MountsOf(pid) => format!("mounts of {pid}"),
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
            Self::NamespacesOf { pid, kinds } => ns::namespaces_of(&pid.to_string(), *kinds),
            Self::ForChildren(kinds) => ns::for_children(*kinds),
            Self::Process(pid) => process::snapshot(known(pid)),
            Self::Proc => process::proc_snapshot(),
            Self::Members(fd) => process::members_snapshot(known(fd)),
            Self::Clocks => clocks::snapshot(),
            Self::Ipc => ipc::snapshot(),
            Self::CgroupsOf(pid) => cgroup::snapshot_of(&pid.to_string()),
            Self::Overlay(views) => views.snapshot(),
            Self::Wires(spaces) => wires::snapshot(spaces),
            Self::Routes => wires::routes(),
            Self::Neighbours => wires::neighbours_snapshot(),
            Self::Learned(socket) => wires::learned(socket),
            Self::Kept(path) => census::snapshot_of_file(path),
            Self::Passed { base, pairs } => mounts::passed(base, pairs),
            Self::Numbers(meters) => meter::snapshot(meters),
            Self::DevicePrograms(path) => devices::snapshot(path),
            Self::Controllers => cgroup::controllers(),
            Self::Interfaces(of) => interfaces::snapshot(*of),
            Self::Root => root::snapshot(None),
            Self::RootOf(pid) => root::snapshot(Some(known(pid))),
            Self::MountsOf(pid) => mounts::snapshot_of(&pid.to_string()),
        }
    }

    /// The same probe with its slots read.
    #[must_use]
    pub fn resolve(&self, slots: &Slots) -> Self {
        let mut probe = self.clone();
        probe.values().into_iter().for_each(|value| *value = value.resolve(slots));
        probe
    }

    /// Whether no slot is left in it.
    #[must_use]
    pub fn is_known(&self) -> bool {
        !self.clone().values().iter().any(|value| matches!(value, Value::Later(_)))
    }

    fn values(&mut self) -> Vec<&mut Value> {
        match self {
            Self::NamespacesOf { pid: value, .. }
            | Self::Process(value)
            | Self::Members(value)
            | Self::Learned(value)
            | Self::CgroupsOf(value)
            | Self::RootOf(value)
            | Self::MountsOf(value) => vec![value],
            Self::Wires(spaces) => {
                spaces.iter_mut().flat_map(|space| [&mut space.namespace, &mut space.socket]).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// The number; -1, which no process and no descriptor has, while it is not known.
fn known(value: &Value) -> i64 {
    match value {
        Value::Known(number) => *number,
        Value::Later(_) => -1,
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
            Probe::NamespacesOf { pid: Value::Known(std::process::id().into()), kinds: CloneFlags::all() },
            Probe::ForChildren(CloneFlags::CLONE_NEWPID),
            Probe::Process(Value::Known(std::process::id().into())),
            Probe::Proc,
            Probe::Clocks,
            Probe::Ipc,
            Probe::CgroupsOf(Value::Known(std::process::id().into())),
            Probe::Numbers(vec![meter::Meter::file(
                "threads",
                "/proc/sys/kernel/threads-max",
                meter::Unit::Count,
            )]),
            Probe::Controllers,
            Probe::Interfaces(Some(std::process::id().cast_signed())),
            Probe::Root,
            Probe::RootOf(Value::Known(std::process::id().into())),
            Probe::MountsOf(Value::Known(std::process::id().into())),
        ];
        for probe in all {
            let value = probe.read();
            assert!(!value.is_null() && value.get("unreadable").is_none(), "{}: {value}", probe.title());
            assert!(!lines(&value).is_empty(), "{}", probe.title());
        }
    }
}
