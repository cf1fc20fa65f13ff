//! Seats: a process or a container has one group in each tree. What is used there, and what holds there in the end.
//!
//! A limit holds for a group and all below it, so the one that counts is the tightest on the way up; a group may
//! itself say `max` and be held by one above.

use std::path::{Path, PathBuf};

use super::mounts::Mount;
use super::{cgroup, meter, read};

/// A group in one tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// The controllers that are to be had there.
    pub controllers: Vec<String>,
    /// Whether the tree is that of version 2.
    pub is_v2: bool,
    /// Where the tree is mounted.
    pub top: PathBuf,
    /// The group's directory.
    pub directory: PathBuf,
}

/// A limit that holds, and the group that sets it.
#[derive(Debug, Clone, PartialEq)]
pub struct Held<T> {
    /// The limit.
    pub limit: T,
    /// The group that sets it.
    pub by: PathBuf,
}

/// What is read of a limit: its file, and how.
type Reader<T> = fn(&Path, bool) -> Option<T>;

impl Seat {
    /// Its place in the tree, beginning with `/`.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new("/").join(self.directory.strip_prefix(&self.top).unwrap_or(&self.directory))
    }

    /// The text of a file of the group, by its name in version 1 and in version 2.
    #[must_use]
    pub fn text(&self, one: &str, two: &str) -> Option<String> {
        let name = if self.is_v2 { two } else { one };
        if name.is_empty() { None } else { read::text(self.directory.join(name)).ok() }
    }

    /// The number that fills such a file.
    #[must_use]
    pub fn number(&self, one: &str, two: &str) -> Option<u64> {
        self.text(one, two)?.trim().parse().ok()
    }

    /// The number behind a word in such a file; the words may differ too.
    #[must_use]
    pub fn word(&self, one: (&str, &str), two: (&str, &str)) -> Option<u64> {
        let word = if self.is_v2 { two.1 } else { one.1 };
        meter::behind(&self.text(one.0, two.0)?, word)
    }

    /// The tightest limit from here to the top.
    #[must_use]
    pub fn held<T: PartialOrd>(&self, reader: Reader<T>) -> Option<Held<T>> {
        let mut found: Option<Held<T>> = None;
        let groups = self.directory.ancestors().take_while(|group| group.starts_with(&self.top));
        for group in groups {
            let Some(limit) = reader(group, self.is_v2) else { continue };
            if found.as_ref().is_none_or(|held| limit < held.limit) {
                found = Some(Held { limit, by: group.to_owned() });
            }
        }
        found
    }
}

/// The limit on memory that a group itself sets, in bytes.
#[must_use]
pub fn memory_limit(group: &Path, is_v2: bool) -> Option<u64> {
    /// What version 1 has where nothing is set: the most that a counter of pages holds.
    const UNSET: u64 = 0x7fff_ffff_ffff_0000;
    let file = if is_v2 { "memory.max" } else { "memory.limit_in_bytes" };
    let limit: u64 = read::text(group.join(file)).ok()?.trim().parse().ok()?;
    (limit < UNSET).then_some(limit)
}

/// The quota that a group itself sets, in hundredths of a processor.
#[must_use]
pub fn quota(group: &Path, is_v2: bool) -> Option<u64> {
    let (quota, period): (u64, u64) = if is_v2 {
        let text = read::text(group.join("cpu.max")).ok()?;
        let mut fields = text.split_whitespace();
        (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?)
    } else {
        // Without a quota it is -1.
        let number = |file| read::text(group.join(file)).ok()?.trim().parse().ok();
        (number("cpu.cfs_quota_us")?, number("cpu.cfs_period_us")?)
    };
    Some(quota * 100 / period.max(1))
}

/// The limit on processes that a group itself sets.
#[must_use]
pub fn pids_limit(group: &Path, _: bool) -> Option<u64> {
    read::text(group.join("pids.max")).ok()?.trim().parse().ok()
}

/// The trees that are mounted: each with its controllers, as far as groups directly below its top have them.
#[must_use]
pub fn trees(table: &[Mount]) -> Vec<Seat> {
    let cgroups = cgroup::Cgroups::find(table);
    let mut all: Vec<Seat> = Vec::new();
    for one in &cgroups.v1 {
        match all.iter_mut().find(|seat| seat.top == one.mount) {
            Some(seat) => seat.controllers.push(one.controller.clone()),
            None => all.push(Seat {
                controllers: vec![one.controller.clone()],
                is_v2: false,
                top: one.mount.clone(),
                directory: one.mount.clone(),
            }),
        }
    }
    if let Some(v2) = &cgroups.v2 {
        let controllers = v2.available.clone();
        all.push(Seat { controllers, is_v2: true, top: v2.mount.clone(), directory: v2.mount.clone() });
    }
    all
}

/// The groups of a process, one for each tree.
///
/// # Errors
/// Why they cannot be read.
pub fn of_process(pid: &str, table: &[Mount]) -> Result<Vec<Seat>, String> {
    let memberships = cgroup::parse(&read::text(format!("/proc/{pid}/cgroup"))?);
    let own = |tree: Seat| {
        let is_its = |one: &&cgroup::Membership| {
            let mut names = one.controllers.split(',');
            if tree.is_v2 {
                one.controllers.is_empty()
            } else {
                names.any(|name| tree.controllers.iter().any(|own| own == name))
            }
        };
        let path = &memberships.iter().find(is_its)?.path;
        let mount = table.iter().rfind(|mount| mount.at == tree.top)?;
        let below = path.strip_prefix(&mount.root).ok()?;
        let directory = if below.as_os_str().is_empty() { tree.top.clone() } else { tree.top.join(below) };
        directory.is_dir().then_some(Seat { directory, ..tree })
    };
    Ok(trees(table).into_iter().filter_map(own).collect())
}

/// The group that is this directory, and those of the same path in the other trees of version 1.
#[must_use]
pub fn of_directory(directory: &Path, table: &[Mount]) -> Vec<Seat> {
    let all = trees(table);
    let Some(own) = all
        .iter()
        .filter(|tree| directory.starts_with(&tree.top))
        .max_by_key(|tree| tree.top.as_os_str().len())
    else {
        return Vec::new();
    };
    vec![Seat { directory: directory.to_owned(), ..own.clone() }]
}

/// The groups of this name, in every tree: directly below its top, or anywhere down to this depth.
#[must_use]
pub fn named(fits: &dyn Fn(&str) -> bool, table: &[Mount]) -> Vec<Seat> {
    const DEPTH: usize = 6;
    let find = |tree: Seat| {
        let directory = find_below(&tree.top, fits, DEPTH)?;
        Some(Seat { directory, ..tree })
    };
    trees(table).into_iter().filter_map(find).collect()
}

fn find_below(group: &Path, fits: &dyn Fn(&str) -> bool, depth: usize) -> Option<PathBuf> {
    let below = groups(group);
    let own = below.iter().find(|one| one.file_name().is_some_and(|name| fits(&name.to_string_lossy())));
    if own.is_some() || depth == 1 {
        return own.cloned();
    }
    below.iter().find_map(|one| find_below(one, fits, depth - 1))
}

/// The groups directly below one, by name.
#[must_use]
pub fn groups(group: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(group).into_iter().flatten().flatten();
    let dirs = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut all: Vec<PathBuf> = dirs.map(|entry| entry.path()).collect();
    all.sort();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seat(top: &Path, below: &str, is_v2: bool) -> Seat {
        Seat { controllers: Vec::new(), is_v2, top: top.to_owned(), directory: top.join(below) }
    }

    #[test]
    fn the_tightest_limit_on_the_way_up_holds() {
        let dir = tempfile::tempdir().unwrap();
        let leaf = dir.path().join("a/b");
        std::fs::create_dir_all(&leaf).unwrap();
        let write = |path: &str, text: &str| std::fs::write(dir.path().join(path), text).unwrap();
        write("a/memory.max", "1000\n");
        write("a/b/memory.max", "max\n");
        write("a/cpu.max", "max 100000\n");
        write("a/b/cpu.max", "50000 100000\n");
        let seat = seat(dir.path(), "a/b", true);
        assert_eq!(seat.path(), Path::new("/a/b"));
        assert_eq!(seat.held(memory_limit), Some(Held { limit: 1000, by: dir.path().join("a") }));
        assert_eq!(seat.held(quota), Some(Held { limit: 50, by: leaf.clone() }));
        assert_eq!(seat.held(pids_limit), None);
        write("a/b/memory.max", "10\n");
        assert_eq!(seat.held(memory_limit), Some(Held { limit: 10, by: leaf }));
    }

    #[test]
    fn what_version_1_has_where_nothing_is_set_is_no_limit() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("memory.limit_in_bytes"), "9223372036854771712\n").unwrap();
        std::fs::write(dir.path().join("cpu.cfs_quota_us"), "-1\n").unwrap();
        std::fs::write(dir.path().join("cpu.cfs_period_us"), "100000\n").unwrap();
        let seat = seat(dir.path(), "", false);
        assert_eq!((seat.held(memory_limit), seat.held(quota)), (None, None));
    }

    #[test]
    fn this_process_has_its_seats() {
        let table = super::super::mounts::table().unwrap();
        let own = of_process("self", &table).unwrap();
        assert!(own.iter().all(|seat| seat.directory.starts_with(&seat.top)));
        assert!(of_process("0", &table).is_err());
    }
}
