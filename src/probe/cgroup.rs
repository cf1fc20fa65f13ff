//! Control groups: which layout this machine has, where its hierarchies are mounted, where we are in them.
//!
//! A machine has version 1 (a hierarchy for each controller), version 2 (one for all), or both at once,
//! with each controller in one of them ("hybrid"). See
//! [cgroups(7)](https://man7.org/linux/man-pages/man7/cgroups.7.html).

use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};
use serde_json::{Value as Json, json};

use super::mounts::Mount;
use super::read;

/// Which versions are mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Controllers in hierarchies of their own; no version 2.
    V1,
    /// Controllers in version 1 hierarchies, and a version 2 hierarchy beside them.
    Hybrid,
    /// One hierarchy for all controllers.
    V2,
    /// No cgroup file system is mounted.
    None,
}

impl Layout {
    /// How it is called in a sentence.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1 => "version 1",
            Self::Hybrid => "hybrid",
            Self::V2 => "version 2",
            Self::None => "none",
        }
    }
}

/// A controller with a hierarchy of version 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct V1 {
    /// Its name: `memory`, `pids`.
    pub controller: String,
    /// Where its hierarchy is mounted.
    pub mount: PathBuf,
    /// The directory of our own group in it, if it can be reached from that mount.
    pub own: Option<PathBuf>,
    /// Whether we may make a group below the mount point.
    pub writable: bool,
    /// Whether we may make a group below our own.
    pub delegated: bool,
}

/// The hierarchy of version 2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct V2 {
    /// Where it is mounted.
    pub mount: PathBuf,
    /// The directory of our own group, if it can be reached from that mount.
    pub own: Option<PathBuf>,
    /// The controllers that the top group has: those that no version 1 hierarchy took.
    pub available: Vec<String>,
    /// The controllers that groups directly below the top have.
    pub enabled: Vec<String>,
    /// The controllers that our own group has.
    pub own_available: Vec<String>,
    /// Whether we may make a group below the mount point.
    pub writable: bool,
    /// The highest group, ours or above ours, in which we may make groups and move our processes.
    pub delegated: Option<PathBuf>,
}

/// What there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroups {
    /// Which versions are mounted.
    pub layout: Layout,
    /// The controllers that have a hierarchy of version 1.
    pub v1: Vec<V1>,
    /// The hierarchy of version 2.
    pub v2: Option<V2>,
}

impl Cgroups {
    /// Finds the hierarchies in the mount table and our places in `/proc/self/cgroup`.
    #[must_use]
    pub fn find(table: &[Mount]) -> Self {
        let memberships = read::text("/proc/self/cgroup").unwrap_or_default();
        let memberships = parse(&memberships);
        let v1 = v1(table, &memberships);
        let v2 = table.iter().find(|mount| mount.fstype == "cgroup2").map(|mount| v2(mount, &memberships));
        let layout = match (v1.is_empty(), &v2) {
            (true, None) => Layout::None,
            (true, Some(_)) => Layout::V2,
            (false, None) => Layout::V1,
            (false, Some(_)) => Layout::Hybrid,
        };
        Self { layout, v1, v2 }
    }

    /// The version 1 hierarchy of a controller.
    #[must_use]
    pub fn v1(&self, controller: &str) -> Option<&V1> {
        self.v1.iter().find(|one| one.controller == controller)
    }
}

/// A line of `/proc/PID/cgroup`: the controllers (none for version 2), and the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// `memory`, `cpu,cpuacct`, `name=systemd`; empty for version 2.
    pub controllers: String,
    /// The path from the top of the hierarchy as our cgroup namespace shows it.
    pub path: PathBuf,
}

/// Parses `/proc/PID/cgroup`; a path may itself hold colons.
#[must_use]
pub fn parse(text: &str) -> Vec<Membership> {
    let one = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1);
        Some(Membership { controllers: fields.next()?.to_owned(), path: fields.next()?.into() })
    };
    text.lines().filter_map(one).collect()
}

fn v1(table: &[Mount], memberships: &[Membership]) -> Vec<V1> {
    let mut all: Vec<V1> = Vec::new();
    for mount in table.iter().filter(|mount| mount.fstype == "cgroup") {
        for controller in mount.super_options.split(',').filter(|option| is_controller(option)) {
            if all.iter().any(|one| one.controller == controller) {
                continue;
            }
            let holds = |one: &&Membership| one.controllers.split(',').any(|name| name == controller);
            let own = memberships.iter().find(holds).and_then(|one| own(mount, &one.path));
            all.push(V1 {
                controller: controller.to_owned(),
                writable: may_write(&mount.at),
                delegated: own.as_deref().is_some_and(may_write),
                mount: mount.at.clone(),
                own,
            });
        }
    }
    all
}

/// Mount options of version 1 that name no controller.
pub(super) fn is_controller(option: &str) -> bool {
    let other = [
        "rw",
        "ro",
        "none",
        "noprefix",
        "xattr",
        "clone_children",
        "cpuset_v2_mode",
        "seclabel",
        "favordynmods",
    ];
    !option.is_empty() && !option.contains('=') && !other.contains(&option)
}

fn v2(mount: &Mount, memberships: &[Membership]) -> V2 {
    let own = memberships.iter().find(|one| one.controllers.is_empty()).and_then(|one| own(mount, &one.path));
    let words = |path: &Path| -> Vec<String> {
        read::text(path).unwrap_or_default().split_whitespace().map(str::to_owned).collect()
    };
    V2 {
        available: words(&mount.at.join("cgroup.controllers")),
        enabled: words(&mount.at.join("cgroup.subtree_control")),
        own_available: own.as_ref().map(|own| words(&own.join("cgroup.controllers"))).unwrap_or_default(),
        writable: may_write(&mount.at),
        delegated: own.as_deref().and_then(|own| delegated(&mount.at, own)),
        mount: mount.at.clone(),
        own,
    }
}

/// Our group's directory: the path of the membership, below the mount, which itself may show only a part.
pub(super) fn own(mount: &Mount, path: &Path) -> Option<PathBuf> {
    let below = path.strip_prefix(&mount.root).ok()?;
    // Outside of our cgroup namespace the path begins with `/..`: such a group has no name here.
    if below.components().any(|part| part == std::path::Component::ParentDir) {
        return None;
    }
    Some(if below.as_os_str().is_empty() { mount.at.clone() } else { mount.at.join(below) })
}

/// Moving a process needs write access to `cgroup.procs` of the target and of the group above both places.
fn delegated(top: &Path, own: &Path) -> Option<PathBuf> {
    let usable = |group: &&Path| may_write(group) && may_write(&group.join("cgroup.procs"));
    let above = own.ancestors().take_while(|group| group.starts_with(top));
    above.take_while(usable).last().map(Path::to_owned)
}

fn may_write(path: &Path) -> bool {
    accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS).is_ok()
}

/// The snapshot: our place in each hierarchy.
#[must_use]
pub fn snapshot() -> Json {
    snapshot_of("self")
}

/// The path that `/proc/PID/cgroup` shows for a controller; the empty name stands for version 2.
pub fn path_of(pid: &str, controller: &str) -> Result<PathBuf, String> {
    let all = parse(&read::text(format!("/proc/{pid}/cgroup"))?);
    let holds = |one: &Membership| one.controllers.split(',').any(|name| name == controller);
    all.into_iter().find(holds).map(|one| one.path).ok_or_else(|| format!("no hierarchy with {controller:?}"))
}

/// The snapshot of another process.
#[must_use]
pub fn snapshot_of(pid: &str) -> Json {
    let memberships = match read::text(format!("/proc/{pid}/cgroup")) {
        Ok(text) => parse(&text),
        Err(why) => return json!({ "unreadable": why }),
    };
    let named = |one: &Membership| {
        let name = if one.controllers.is_empty() { "version 2" } else { &one.controllers };
        (name.to_owned(), json!(one.path.to_string_lossy()))
    };
    Json::Object(memberships.iter().map(named).collect())
}

/// The snapshot: in which tree each controller is.
#[must_use]
pub fn controllers() -> Json {
    let cgroups = Cgroups::find(&super::mounts::table().unwrap_or_default());
    let one = cgroups
        .v1
        .iter()
        .map(|v1| (v1.controller.clone(), json!(format!("version 1, {}", v1.mount.display()))));
    let two = cgroups.v2.iter().flat_map(|v2| {
        v2.available.iter().map(|name| (name.clone(), json!(format!("version 2, {}", v2.mount.display()))))
    });
    let all: serde_json::Map<_, _> = one.chain(two).collect();
    if all.is_empty() {
        json!({ "controllers": "none: no cgroup file system is mounted" })
    } else {
        Json::Object(all)
    }
}

/// Whether this process is in the group of this directory, or what is seen instead.
pub fn is_in(directory: &Path) -> Result<(), String> {
    let file = directory.join("cgroup.procs");
    let procs = read::text(&file)?;
    // 0 stands for a process of another pid namespace; ours is listed under its number in our namespace.
    let us = std::process::id();
    if procs.lines().any(|line| line.parse() == Ok(us)) {
        return Ok(());
    }
    let places: Vec<_> = parse(&read::text("/proc/self/cgroup")?)
        .iter()
        .map(|one| format!("{}:{}", one.controllers, one.path.display()))
        .collect();
    Err(format!("process {us} is in {}", places.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::mounts;

    const HYBRID: &[u8] = b"31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
        32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
        35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
        40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn a_membership_may_have_colons_in_its_path() {
        let all = parse("5:cpu,cpuacct:/a:b\n0::/user.slice\n");
        assert_eq!(all[0], Membership { controllers: "cpu,cpuacct".into(), path: "/a:b".into() });
        assert_eq!(all[1], Membership { controllers: String::new(), path: "/user.slice".into() });
    }

    #[test]
    fn controllers_are_found_in_the_options_of_their_hierarchies() {
        let found = v1(&mounts::parse(HYBRID), &parse("2:memory:/x\n"));
        let names: Vec<_> = found.iter().map(|one| one.controller.as_str()).collect();
        assert_eq!(names, ["cpu", "cpuacct", "memory"], "name=systemd is no controller");
        assert_eq!(found[2].own, Some("/sys/fs/cgroup/memory/x".into()));
    }

    #[test]
    fn a_mount_of_a_part_of_the_hierarchy_is_taken_into_account() {
        let line = b"35 31 0:32 /docker/1 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory";
        let mount = Mount::parse(line).unwrap();
        assert_eq!(own(&mount, Path::new("/docker/1/a")), Some("/sys/fs/cgroup/memory/a".into()));
        assert_eq!(own(&mount, Path::new("/docker/1")), Some("/sys/fs/cgroup/memory".into()));
        assert_eq!(own(&mount, Path::new("/elsewhere")), None);
    }
}
