//! Which cgroup layout this host has, and where a group of ours can be made
//! ([cgroups(7)](https://man7.org/linux/man-pages/man7/cgroups.7.html)).
//!
//! Three layouts exist. *v2*: one tree for all controllers. *v1*: one tree for each controller. *Hybrid*:
//! v1 trees that have the controllers, and a v2 tree beside them that has few or none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::sys::flags::Access;

/// The layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// No cgroup file system is mounted.
    None,
    /// A tree for each controller.
    V1,
    /// v1 trees, and a v2 tree beside them.
    Hybrid,
    /// One tree.
    V2,
}

/// The cgroup file systems of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroups {
    /// The layout.
    pub layout: Layout,
    /// Where the v1 tree of each controller is mounted.
    pub v1: BTreeMap<String, PathBuf>,
    /// Where the v2 tree is mounted.
    pub v2: Option<PathBuf>,
    /// The cgroup of this process: by v1 controller, and under the empty name for v2.
    own: BTreeMap<String, String>,
}

/// Where a group with a controller can be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Below this directory of the controller's v1 tree.
    V1(PathBuf),
    /// Below this directory of the v2 tree. The controllers must first be enabled for its children where
    /// `enable` says so.
    V2 {
        /// The directory.
        parent: PathBuf,
        /// Whether the controller has to be enabled first.
        enable: bool,
    },
    /// Nowhere, for this reason.
    Nowhere(String),
}

impl Cgroups {
    /// Reads the mount table and the cgroups of this process.
    #[must_use]
    pub fn read() -> Self {
        let mounts = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self::parse(&mounts, &own)
    }

    fn parse(mountinfo: &[u8], own: &str) -> Self {
        let (mut v1, mut v2) = (BTreeMap::new(), None);
        for line in mountinfo.split(|byte| *byte == b'\n') {
            // … mount point (5th) … - type source super-options: see proc_pid_mountinfo(5).
            let Ok(line) = std::str::from_utf8(line) else { continue };
            let Some((left, right)) = line.split_once(" - cgroup") else { continue };
            let Some(at) = left.split(' ').nth(4).map(PathBuf::from) else { continue };
            if right.starts_with("2 ") {
                v2.get_or_insert(at);
            } else if let Some(options) = right.rsplit(' ').next() {
                for name in options.split(',').filter(|name| !matches!(*name, "rw" | "ro")) {
                    v1.entry(name.to_owned()).or_insert_with(|| at.clone());
                }
            }
        }
        let layout = match (v1.is_empty(), v2.is_some()) {
            (true, false) => Layout::None,
            (true, true) => Layout::V2,
            (false, false) => Layout::V1,
            (false, true) => Layout::Hybrid,
        };
        Self { layout, v1, v2, own: parse_own(own) }
    }

    /// Where a group with this controller can be made by a process with or without privilege.
    ///
    /// Never below the caller's own group for a privileged caller: what limits the caller's session would
    /// limit the container too, and the other way round.
    #[must_use]
    pub fn place(&self, controller: &str, privileged: bool) -> Place {
        if let Some(mount) = self.v1.get(controller) {
            let own = self.own.get(controller).map_or("/", String::as_str);
            let parent = if privileged { mount.clone() } else { below(mount, own) };
            return if writable(&parent) {
                Place::V1(parent)
            } else {
                Place::Nowhere(format!("the v1 tree {} is not yours to change", mount.display()))
            };
        }
        match &self.v2 {
            Some(mount) => self.place_v2(mount, controller, privileged),
            None => Place::Nowhere(format!("no cgroup tree with the controller {controller} is mounted")),
        }
    }

    fn place_v2(&self, mount: &Path, controller: &str, privileged: bool) -> Place {
        let own = self.own.get("").map_or("/", String::as_str);
        // The sibling of our own group: our group holds processes, so it cannot have groups with controllers
        // below it (the rule of no internal processes), but its parent may.
        let parent = Path::new(own).parent().and_then(Path::to_str).unwrap_or("/");
        let candidates = if privileged { vec![mount.to_owned(), below(mount, parent)] } else { vec![below(mount, parent)] };
        for candidate in candidates {
            // To move a process, its mover must be able to write to the common ancestor's cgroup.procs.
            if !writable(&candidate) || !writable(&candidate.join("cgroup.procs")) {
                continue;
            }
            if lists(&candidate.join("cgroup.subtree_control"), controller) {
                return Place::V2 { parent: candidate, enable: false };
            }
            if lists(&candidate.join("cgroup.controllers"), controller) {
                return Place::V2 { parent: candidate, enable: true };
            }
        }
        Place::Nowhere(if privileged {
            format!("the v2 tree {} does not offer the controller {controller}", mount.display())
        } else {
            format!("no group of the v2 tree with the controller {controller} is delegated to you")
        })
    }
}

/// `/proc/self/cgroup`: number, controllers, path.
fn parse_own(text: &str) -> BTreeMap<String, String> {
    let mut own = BTreeMap::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        if let (Some(names), Some(path)) = (fields.next(), fields.next()) {
            names.split(',').for_each(|name| drop(own.insert(name.to_owned(), path.to_owned())));
        }
    }
    own
}

fn below(mount: &Path, path: &str) -> PathBuf {
    mount.join(path.trim_start_matches('/'))
}

fn lists(file: &Path, word: &str) -> bool {
    std::fs::read_to_string(file).is_ok_and(|text| text.split_whitespace().any(|entry| entry == word))
}

fn writable(path: &Path) -> bool {
    super::may(path, Access::O_WRONLY)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &[u8] = b"\
24 23 0:22 / /sys/fs/cgroup ro - tmpfs tmpfs ro
25 24 0:23 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
26 24 0:24 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
27 24 0:25 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    #[test]
    fn knows_the_layouts_apart() {
        let hybrid = Cgroups::parse(HYBRID, "3:cpu,cpuacct:/user\n0::/session\n");
        assert_eq!(hybrid.layout, Layout::Hybrid);
        assert_eq!(hybrid.v1["cpuacct"], PathBuf::from("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!((hybrid.own["cpu"].as_str(), hybrid.own[""].as_str()), ("/user", "/session"));
        let v2 = Cgroups::parse(b"30 29 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate", "0::/a\n");
        assert_eq!((v2.layout, v2.v2), (Layout::V2, Some("/sys/fs/cgroup".into())));
        assert_eq!(Cgroups::parse(b"", "").layout, Layout::None);
    }

    #[test]
    fn says_why_a_controller_is_nowhere() {
        let none = Cgroups::parse(b"", "");
        let Place::Nowhere(why) = none.place("memory", true) else { panic!("found a place") };
        assert!(why.contains("memory"), "{why}");
    }
}
