//! Where cutaway was started: what claims compare with.

use std::collections::HashMap;

use super::clocks::Clocks;
use super::ns;
use super::root::Identity;
use crate::sys::flags::CloneFlags;

/// The namespaces of the process at the start, before anything was changed. Children inherit the memory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origin {
    namespaces: HashMap<&'static str, u64>,
    /// What the clocks said.
    pub clocks: Clocks,
    /// The root directory.
    pub root: Option<Identity>,
}

impl Origin {
    /// Remembers the namespaces that this process is in now.
    #[must_use]
    pub fn capture() -> Self {
        Self { namespaces: ns::inodes(), clocks: Clocks::read(), root: Identity::of_root(None).ok() }
    }

    /// Whether children of this process will be in other namespaces of these kinds than the start was.
    #[must_use]
    pub fn differs_for_children(&self, kinds: CloneFlags) -> bool {
        let mut asked = ns::KINDS.iter().filter(|(flag, _)| kinds.contains(*flag));
        asked.all(|(_, name)| {
            ns::inode_for_children(name).is_some_and(|inode| self.namespaces.get(name) != Some(&inode))
        })
    }

    /// Those of the given kinds that this process still shares with the start, by name; or why that cannot be told.
    pub fn still_shared(&self, kinds: CloneFlags) -> Result<Vec<&'static str>, String> {
        self.shared_with("self", kinds)
    }

    /// The same for any process.
    pub fn shared_with(&self, pid: &str, kinds: CloneFlags) -> Result<Vec<&'static str>, String> {
        let now = ns::inodes_of(pid);
        if now.is_empty() {
            let why = if pid == "self" { "; /proc is not mounted here" } else { "" };
            return Err(format!("/proc/{pid}/ns cannot be read{why}"));
        }
        let asked = ns::KINDS.iter().filter(|(flag, _)| kinds.contains(*flag));
        Ok(asked.map(|(_, name)| *name).filter(|name| now.get(name) == self.namespaces.get(name)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_did_nothing_shares_everything() {
        let kinds = CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWPID;
        assert_eq!(Origin::capture().still_shared(kinds).unwrap(), ["pid", "uts"]);
    }
}
