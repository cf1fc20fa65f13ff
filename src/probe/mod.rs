//! Read-only snapshots of kernel state, and their differences. Nothing here changes anything.
//!
//! A [`Probe`] names something to look at; a [`Claim`] is an effect that prose asserts and a snapshot proves.
//! Both are data, so that a plan can hold them; both are read by the process that acted, never derived from
//! the plan.

pub mod cgroups;
mod claim;
mod here;
mod process;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use claim::Claim;
pub use here::{Here, may};
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
    /// Capability sets, no_new_privs and the seccomp mode: `/proc/self/status`.
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

/// STUB
#[derive(Debug, Clone, Default)]
pub struct Origin;
impl Origin {
    /// STUB
    pub fn capture() -> Self { Self }
}
impl Probe {
    /// STUB
    pub fn read(&self) -> serde_json::Value { serde_json::Value::Null }
    /// STUB
    pub fn title(&self) -> String { format!("{self:?}") }
}
impl Claim {
    /// STUB
    pub fn check(&self, _: &Origin) -> Result<(), String> { Ok(()) }
}
