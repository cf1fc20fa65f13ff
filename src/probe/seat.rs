//! Seats: a process or a container has one group in each tree. Where it is, and what is used there.

use std::path::{Path, PathBuf};

use super::cgroup::Membership;
use super::mounts::Mount;
use super::{cgroup, meter, read};
use crate::error::Error;

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

impl Seat {
    /// Its place in the tree, beginning with `/`.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new("/").join(self.directory.strip_prefix(&self.top).unwrap_or(&self.directory))
    }

    /// A file of the group, by its name in version 1 and in version 2.
    #[must_use]
    pub fn file(&self, one: &str, two: &str) -> PathBuf {
        self.directory.join(if self.is_v2 { two } else { one })
    }

    /// The text of such a file; the name is empty where there is none.
    #[must_use]
    pub fn text(&self, one: &str, two: &str) -> Option<String> {
        let name = if self.is_v2 { two } else { one };
        if name.is_empty() { None } else { read::text(self.file(one, two)).ok() }
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

    /// The version of its tree.
    #[must_use]
    pub const fn version(&self) -> u8 {
        if self.is_v2 { 2 } else { 1 }
    }

    /// The group and those above it, up to the top.
    pub fn upwards(&self) -> impl Iterator<Item = &Path> {
        self.directory.ancestors().take_while(|group| group.starts_with(&self.top))
    }

    /// Makes sure that the group has not been removed since it was found.
    ///
    /// # Errors
    /// That it was.
    pub fn still_there(&self) -> Result<(), String> {
        if self.directory.is_dir() { Ok(()) } else { Err(gone(&self.directory)) }
    }
}

/// What is said of a group that was removed.
fn gone(group: &Path) -> String {
    format!("the group {} is gone", group.display())
}

/// Makes sure that none of these groups has been removed.
///
/// # Errors
/// That one was.
pub fn all_there<'a>(groups: impl IntoIterator<Item = &'a PathBuf>) -> crate::error::Result<()> {
    let removed = groups.into_iter().find(|group| !group.is_dir());
    removed.map_or(Ok(()), |group| {
        Err(Error::new(gone(group)).rule("it was removed, which is possible once no process is in it"))
    })
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
    Ok(trees(table).iter().filter_map(|tree| within(tree, &memberships, table).ok()).collect())
}

/// The group of a process in the tree that has a controller.
///
/// # Errors
/// Why it has none here.
pub fn with(
    controller: &str,
    trees: &[Seat],
    memberships: &[Membership],
    table: &[Mount],
) -> Result<Seat, String> {
    let has = |tree: &&Seat| tree.controllers.iter().any(|name| name == controller);
    let tree = trees.iter().find(has).ok_or("no tree that is mounted here has the controller")?;
    within(tree, memberships, table)
}

/// The group of a process in a tree, or why it has no directory here.
fn within(tree: &Seat, memberships: &[Membership], table: &[Mount]) -> Result<Seat, String> {
    let is_its = |one: &&Membership| {
        let mut names = one.controllers.split(',');
        if tree.is_v2 {
            one.controllers.is_empty()
        } else {
            names.any(|name| tree.controllers.iter().any(|own| own == name))
        }
    };
    let path = &memberships.iter().find(is_its).ok_or("the process is in no group of it")?.path;
    let mount = table.iter().rfind(|mount| mount.at == tree.top);
    let directory = mount
        .and_then(|mount| cgroup::own(mount, path))
        .ok_or_else(|| format!("its group {} is out of sight here", path.display()))?;
    let seat = Seat { directory, ..tree.clone() };
    seat.still_there().map(|()| seat)
}

/// The group that is this directory; none where no tree holds it.
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

    #[test]
    fn a_seat_has_a_path_and_a_way_up() {
        let (top, directory) = (PathBuf::from("/g"), PathBuf::from("/g/a/b"));
        let seat = Seat { controllers: Vec::new(), is_v2: true, top, directory };
        assert_eq!(seat.path(), Path::new("/a/b"));
        assert_eq!(seat.upwards().collect::<Vec<_>>(), ["/g/a/b", "/g/a", "/g"].map(Path::new));
        assert!(seat.still_there().unwrap_err().contains("/g/a/b is gone"));
    }

    #[test]
    fn this_process_has_its_seats() {
        let table = super::super::mounts::table().unwrap();
        let own = of_process("self", &table).unwrap();
        assert!(own.iter().all(|seat| seat.directory.starts_with(&seat.top)));
        assert!(of_process("0", &table).is_err());
    }
}
