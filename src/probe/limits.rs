//! What the groups of a process allow it in the end: each limit with the group that sets it.
//!
//! A limit holds for a group and all below it, so the one that counts is the tightest on the way up. A container's own
//! files may say `max` while a group above, which it cannot see, stops it.

use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use super::cgroup::{self, Membership};
use super::mounts::Mount;
use super::read;

/// A resource: its controller, the files of v1 and of v2, and how they are read.
struct Resource {
    name: &'static str,
    controller: &'static str,
    v1: &'static str,
    v2: &'static str,
    used: [&'static str; 2],
    read: fn(&Path, &str) -> Option<f64>,
    shown: fn(f64) -> String,
}

const RESOURCES: [Resource; 4] = [
    Resource {
        name: "memory",
        controller: "memory",
        v1: "memory.limit_in_bytes",
        v2: "memory.max",
        used: ["memory.usage_in_bytes", "memory.current"],
        read: bytes,
        shown: size,
    },
    Resource {
        name: "swap",
        controller: "memory",
        // Version 1 counts memory and swap together.
        v1: "memory.memsw.limit_in_bytes",
        v2: "memory.swap.max",
        used: ["memory.memsw.usage_in_bytes", "memory.swap.current"],
        read: bytes,
        shown: size,
    },
    Resource {
        name: "processors",
        controller: "cpu",
        v1: "cpu.cfs_quota_us",
        v2: "cpu.max",
        used: ["", ""],
        read: processors,
        shown: |count| format!("{count:.2}"),
    },
    Resource {
        name: "processes",
        controller: "pids",
        v1: "pids.max",
        v2: "pids.max",
        used: ["pids.current", "pids.current"],
        read: number,
        shown: |count| format!("{count:.0}"),
    },
];

/// What holds for one resource.
#[derive(Debug, Clone, PartialEq)]
struct Tightest {
    limit: f64,
    group: PathBuf,
}

/// From here on a number of v1 stands for "no limit": the largest that fits, less than a page.
const UNLIMITED: f64 = 9.2e18;

fn number(group: &Path, file: &str) -> Option<f64> {
    read::text(group.join(file)).ok()?.trim().parse().ok()
}

fn bytes(group: &Path, file: &str) -> Option<f64> {
    number(group, file).filter(|bytes| *bytes < UNLIMITED)
}

/// Quota over period: in one file of v2, in two of v1, where a negative quota is none.
fn processors(group: &Path, file: &str) -> Option<f64> {
    let text = read::text(group.join(file)).ok()?;
    let mut words = text.split_whitespace().map(str::parse::<f64>);
    let quota = words.next()?.ok().filter(|quota| *quota > 0.0)?;
    let period = match words.next() {
        Some(period) => period.ok()?,
        None => number(group, "cpu.cfs_period_us")?,
    };
    Some(quota / period)
}

fn size(bytes: f64) -> String {
    let (unit, name) = match bytes {
        ..1024.0 => return format!("{bytes:.0} bytes"),
        ..1_048_576.0 => (1024.0, "KiB"),
        ..1_073_741_824.0 => (1_048_576.0, "MiB"),
        _ => (1_073_741_824.0, "GiB"),
    };
    let number = format!("{:.1}", bytes / unit);
    format!("{} {name}", number.trim_end_matches(".0"))
}

/// Where a process is in the hierarchy of a controller: its directory, the top, and the version.
struct Position {
    group: PathBuf,
    top: PathBuf,
    version: u8,
}

/// Finds it in this process's mounts, or says why it has no directory here.
fn position(table: &[Mount], memberships: &[Membership], controller: &str) -> Result<Position, String> {
    let has = |mount: &&Mount| {
        mount.fstype == "cgroup" && mount.super_options.split(',').any(|it| it == controller)
    };
    let (mount, version) = if let Some(mount) = table.iter().find(has) {
        (mount, 1)
    } else if let Some(mount) = table.iter().find(|mount| mount.fstype == "cgroup2") {
        (mount, 2)
    } else {
        return Err("no hierarchy is mounted here".to_owned());
    };
    let is_it = |one: &&Membership| match version {
        1 => one.controllers.split(',').any(|name| name == controller),
        _ => one.controllers.is_empty(),
    };
    let member = memberships.iter().find(is_it).ok_or("the process is in no group of it")?;
    let group = cgroup::own(mount, &member.path)
        .ok_or_else(|| format!("its group {} is out of sight here", member.path.display()))?;
    Ok(Position { group, top: mount.at.clone(), version })
}

/// The tightest limit on the way up.
fn tightest(resource: &Resource, at: &Position) -> Option<Tightest> {
    let file = if at.version == 1 { resource.v1 } else { resource.v2 };
    let mut found: Option<Tightest> = None;
    for group in at.group.ancestors().take_while(|group| group.starts_with(&at.top)) {
        if let Some(limit) = (resource.read)(group, file)
            && found.as_ref().is_none_or(|found| limit < found.limit)
        {
            found = Some(Tightest { limit, group: group.to_owned() });
        }
        // Old kernels with v1: a group without it is not held by the limits above (memory.rst of cgroup-v1).
        if at.version == 1 && resource.controller == "memory" && is(group, "memory.use_hierarchy", "0") {
            break;
        }
    }
    found
}

fn is(group: &Path, file: &str, value: &str) -> bool {
    read::text(group.join(file)).is_ok_and(|text| text.trim() == value)
}

/// Every limit that holds for a process, seen through the mounts of this one.
#[must_use]
pub fn snapshot(pid: i32, table: &[Mount]) -> Json {
    let memberships = match read::text(format!("/proc/{pid}/cgroup")) {
        Ok(text) => cgroup::parse(&text),
        Err(why) => return json!({ "unreadable": why }),
    };
    let mut all: Vec<Json> = RESOURCES.iter().map(|resource| one(resource, table, &memberships)).collect();
    all.extend(processor_set(table, &memberships));
    all.extend(weight(table, &memberships));
    Json::Array(all)
}

fn one(resource: &Resource, table: &[Mount], memberships: &[Membership]) -> Json {
    let at = match position(table, memberships, resource.controller) {
        Ok(at) => at,
        Err(why) => return json!({ "resource": resource.name, "unreadable": why }),
    };
    let limit = tightest(resource, &at);
    let used = resource.used[usize::from(at.version != 1)];
    let used = number(&at.group, used).filter(|_| !used.is_empty());
    json!({
        "resource": resource.name,
        "limit": limit.as_ref().map_or_else(|| "none".to_owned(), |limit| (resource.shown)(limit.limit)),
        "value": limit.as_ref().map(|limit| limit.limit),
        "set_by": limit.as_ref().map(|limit| limit.group.to_string_lossy()),
        "own": limit.as_ref().map(|limit| limit.group == at.group),
        "used": used.map(|used| (resource.shown)(used)),
        "group": at.group.to_string_lossy(),
        "version": at.version,
    })
}

/// The processors that it may run on: the kernel keeps the result in the group's own file.
fn processor_set(table: &[Mount], memberships: &[Membership]) -> Option<Json> {
    let at = position(table, memberships, "cpuset").ok()?;
    let file = if at.version == 1 { "cpuset.effective_cpus" } else { "cpuset.cpus.effective" };
    // The top group of v2 has the file too; a group without the controller has none, and runs where the one above does.
    let mut above = at.group.ancestors().take_while(|group| group.starts_with(&at.top));
    let (group, text) = above.find_map(|group| Some((group, read::text(group.join(file)).ok()?)))?;
    Some(json!({
        "resource": "on processors",
        "limit": text.trim(),
        "set_by": group.to_string_lossy(),
        "own": group == at.group,
        "group": at.group.to_string_lossy(),
        "version": at.version,
    }))
}

/// A weight is no limit: it counts only while others want the processor too.
fn weight(table: &[Mount], memberships: &[Membership]) -> Option<Json> {
    let at = position(table, memberships, "cpu").ok()?;
    let file = if at.version == 1 { "cpu.shares" } else { "cpu.weight" };
    let weight = number(&at.group, file)?;
    let usual = if at.version == 1 { 1024 } else { 100 };
    Some(json!({
        "resource": "weight",
        "limit": format!("{weight:.0} ({usual} is usual)"),
        "value": weight,
        "set_by": at.group.to_string_lossy(),
        "own": true,
        "group": at.group.to_string_lossy(),
        "version": at.version,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::mounts;

    /// A tree of groups of ordinary files: `/a/b` below the top.
    fn tree(v1: bool, files: &[(&str, &str)]) -> (tempfile::TempDir, Vec<Mount>, Vec<Membership>) {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        let (fstype, options) = if v1 { ("cgroup", "rw,memory,cpu,pids") } else { ("cgroup2", "rw") };
        let line = format!("1 0 0:1 / {} rw - {fstype} x {options}\n", dir.path().display());
        let members = cgroup::parse(if v1 { "2:memory,cpu,pids:/a/b\n" } else { "0::/a/b\n" });
        (dir, mounts::parse(line.as_bytes()), members)
    }

    fn found(name: &str, table: &[Mount], members: &[Membership]) -> Json {
        one(RESOURCES.iter().find(|resource| resource.name == name).unwrap(), table, members)
    }

    #[test]
    fn the_tightest_limit_on_the_way_up_counts() {
        let (dir, table, members) = tree(
            false,
            &[
                ("a/memory.max", "67108864"),
                ("a/b/memory.max", "max"),
                ("a/b/cpu.max", "max 100000"),
                ("a/cpu.max", "150000 100000"),
                ("a/pids.max", "100"),
                ("a/b/pids.max", "7"),
            ],
        );
        let memory = found("memory", &table, &members);
        assert_eq!((memory["limit"].as_str(), memory["own"].as_bool()), (Some("64 MiB"), Some(false)));
        assert_eq!(memory["set_by"], json!(dir.path().join("a").to_string_lossy()));
        assert_eq!(found("processors", &table, &members)["limit"], "1.50");
        let pids = found("processes", &table, &members);
        assert_eq!((pids["limit"].as_str(), pids["own"].as_bool()), (Some("7"), Some(true)));
    }

    #[test]
    fn version_1_has_its_own_words_for_no_limit() {
        let (_dir, table, members) = tree(
            true,
            &[
                ("a/b/memory.limit_in_bytes", "9223372036854771712"),
                ("a/b/cpu.cfs_quota_us", "-1"),
                ("a/cpu.cfs_quota_us", "50000"),
                ("a/cpu.cfs_period_us", "100000"),
            ],
        );
        assert_eq!(found("memory", &table, &members)["limit"], "none");
        assert_eq!(found("processors", &table, &members)["limit"], "0.50");
    }

    #[test]
    fn a_group_without_hierarchy_is_not_held_from_above() {
        let files = [
            ("a/memory.limit_in_bytes", "4096"),
            ("a/b/memory.limit_in_bytes", "9223372036854771712"),
            ("a/b/memory.use_hierarchy", "0"),
        ];
        let (_dir, table, members) = tree(true, &files);
        assert_eq!(found("memory", &table, &members)["limit"], "none");
    }

    #[test]
    fn a_group_that_is_out_of_sight_is_said() {
        let (_dir, table, _) = tree(false, &[]);
        let members = cgroup::parse("0::/../elsewhere\n");
        assert!(found("memory", &table, &members)["unreadable"].as_str().unwrap().contains("out of sight"));
    }
}
