//! Who works in a directory: processes whose working directory, root or an open file is below it, and their
//! descendants.
//!
//! This is how the processes of a lab are told from all others, without a list that somebody would have to keep:
//! a shell that was started in the lab's directory passes the directory on to what it starts, through unshare and
//! exec. What moves its root elsewhere is still found as a descendant.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::ns;

/// A process, as `/proc/PID/stat` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// Its pid.
    pub pid: i32,
    /// Its start time in clock ticks after boot: with the pid it names one process for good.
    pub started: u64,
    /// The name of its program.
    pub name: String,
    /// The pid of its parent.
    pub parent: i32,
    /// Whether it has ended and only waits to be collected.
    pub zombie: bool,
    /// Whether it leads a session with a terminal, as the shell in a terminal's window does.
    pub leads_terminal: bool,
}

impl Worker {
    /// Parses `/proc/PID/stat`; a name in brackets may hold anything, so fields are counted from its end.
    fn parse(stat: &str) -> Option<Self> {
        let (begin, end) = (stat.find('(')?, stat.rfind(')')?);
        let pid = stat[..begin].trim().parse().ok()?;
        let fields: Vec<&str> = stat.get(end + 2..)?.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<i32>().ok();
        Some(Self {
            pid,
            started: fields.get(19)?.parse().ok()?,
            name: stat[begin + 1..end].to_owned(),
            parent: number(1)?,
            zombie: matches!(*fields.first()?, "Z" | "X"),
            leads_terminal: number(3)? == pid && number(4)? != 0,
        })
    }

    /// Whether it still is there, as a zombie at least.
    #[must_use]
    pub fn is_there(&self) -> bool {
        one(self.pid).is_some_and(|now| now.started == self.started)
    }
}

/// One process.
#[must_use]
pub fn one(pid: i32) -> Option<Worker> {
    Worker::parse(&String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/stat")).ok()?))
}

/// Every process that /proc shows.
#[must_use]
pub fn everybody() -> Vec<Worker> {
    super::process::shown().into_iter().filter_map(|pid| one(i32::try_from(pid).ok()?)).collect()
}

/// Whether a process has its working directory, its root or an open file in the directory. Of a process that may
/// not be looked into, nothing is known.
fn is_at(pid: i32, directory: &Path) -> bool {
    let there = |name: &str| {
        fs::read_link(format!("/proc/{pid}/{name}")).is_ok_and(|target| target.starts_with(directory))
    };
    if there("cwd") || there("root") {
        return true;
    }
    let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    open.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|target| target.starts_with(directory))
}

/// The path as the links of /proc show it. One that is gone has nobody in it, by whatever name.
fn resolved(directory: &Path) -> PathBuf {
    directory.canonicalize().unwrap_or_else(|_| directory.to_owned())
}

/// Adds the descendants of those who are in already.
fn with_descendants(all: &[Worker], mut chosen: BTreeSet<i32>, never: &BTreeSet<i32>) -> Vec<Worker> {
    loop {
        let new: Vec<i32> = all
            .iter()
            .filter(|one| chosen.contains(&one.parent) && !chosen.contains(&one.pid))
            .filter(|one| !never.contains(&one.pid))
            .map(|one| one.pid)
            .collect();
        if new.is_empty() {
            return all.iter().filter(|one| chosen.contains(&one.pid)).cloned().collect();
        }
        chosen.extend(new);
    }
}

/// Who works in the directory, this process apart.
#[must_use]
pub fn within(directory: &Path) -> Vec<Worker> {
    let (all, directory) = (everybody(), &resolved(directory));
    let never = BTreeSet::from([std::process::id().cast_signed()]);
    let there = all.iter().map(|one| one.pid).filter(|pid| !never.contains(pid) && is_at(*pid, directory));
    with_descendants(&all, there.collect(), &never)
}

/// Who has to end so that nobody works there any more: not this process, not those that it descends from, and not
/// the shell of another terminal, as long as that is in the same namespaces as this process.
#[must_use]
pub fn to_end(directory: &Path) -> Vec<Worker> {
    let (all, directory) = (everybody(), &resolved(directory));
    let spared = spared(&all);
    let there = all.iter().map(|one| one.pid).filter(|pid| !spared.contains(pid) && is_at(*pid, directory));
    let found = with_descendants(&all, there.collect(), &spared);
    // A zombie has ended; its parent or an init collects it.
    found.into_iter().filter(|one| !one.zombie).collect()
}

fn spared(all: &[Worker]) -> BTreeSet<i32> {
    let mut spared = BTreeSet::new();
    let mut next = std::process::id().cast_signed();
    while next != 0 && spared.insert(next) {
        next = all.iter().find(|one| one.pid == next).map_or(0, |one| one.parent);
    }
    let shells = all.iter().filter(|one| one.leads_terminal && shares_all(one.pid));
    spared.extend(shells.map(|one| one.pid));
    spared
}

/// Whether a process is in all the namespaces that this one is in.
fn shares_all(pid: i32) -> bool {
    ns::KINDS.iter().all(|(_, name)| {
        let inode = |who: &str| fs::metadata(format!("/proc/{who}/ns/{name}")).map(|meta| meta.ino()).ok();
        inode("self") == inode(&pid.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_brackets_and_blanks() {
        let stat = "42 (a) b) Z 7 42 42 34816 42 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        let one = Worker::parse(stat).unwrap();
        assert_eq!((one.pid, one.parent, one.started, one.name.as_str()), (42, 7, 4711, "a) b"));
        assert!(one.zombie && one.leads_terminal);
    }

    #[test]
    fn this_process_never_counts_and_never_has_to_end() {
        let own = std::process::id().cast_signed();
        let here = std::env::current_dir().unwrap();
        assert!(within(&here).iter().all(|one| one.pid != own));
        let spared = spared(&everybody());
        assert!(spared.contains(&own) && spared.contains(&1));
    }

    #[test]
    fn who_works_in_a_directory_is_found_and_has_to_end() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().canonicalize().unwrap();
        let mut child = std::process::Command::new("sleep").arg("60").current_dir(&place).spawn().unwrap();
        let pid = child.id().cast_signed();
        let pids = |all: Vec<Worker>| all.iter().map(|one| one.pid).collect::<Vec<_>>();
        assert_eq!((pids(within(&place)), pids(to_end(&place))), (vec![pid], vec![pid]));
        let worker = one(pid).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!worker.is_there() && within(&place).is_empty());
    }
}
