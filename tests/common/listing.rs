//! What is there: mounts, groups, interfaces, processes, files. Taken before and after, it must be the same.
//!
//! Other programs use the machine at the same time. A difference therefore counts if it carries the tag or the
//! directory of the bed, or, with `CUTAWAY_TEST_ALONE=1`, always.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Bed;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing(BTreeSet<String>);

impl Listing {
    pub fn take(bed: &Bed) -> Self {
        let mut all = BTreeSet::new();
        for line in fs::read_to_string("/proc/self/mountinfo").unwrap().lines() {
            all.insert(format!("mount {line}"));
        }
        for tree in group_trees() {
            groups(&tree, 3, &mut all);
        }
        for entry in fs::read_dir("/sys/class/net").into_iter().flatten().flatten() {
            all.insert(format!("interface {}", entry.file_name().display()));
        }
        for (pid, line) in processes(&bed.dir().to_string_lossy()) {
            all.insert(format!("process {pid} {line}"));
        }
        files(&bed.state(), &bed.state(), &mut all);
        Self(all)
    }

    /// Everything is as it was. What is still dying gets a moment.
    #[track_caller]
    pub fn is_still(&self, bed: &Bed, after: &str) {
        let begun = Instant::now();
        loop {
            let different = self.differences(&Self::take(bed), bed);
            if different.is_empty() {
                return;
            }
            assert!(
                begun.elapsed() <= Duration::from_secs(3),
                "left behind, or gone, after {after}:\n{}",
                different.join("\n")
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn differences(&self, after: &Self, bed: &Bed) -> Vec<String> {
        let alone = std::env::var_os("CUTAWAY_TEST_ALONE").is_some();
        let dir = bed.dir().to_string_lossy().into_owned();
        let ours = |line: &&String| {
            alone || line.contains(&bed.tag) || line.contains(&dir) || line.starts_with("file")
        };
        let left = after.0.difference(&self.0).filter(ours).map(|line| format!("+ {line}"));
        left.chain(self.0.difference(&after.0).filter(ours).map(|line| format!("- {line}"))).collect()
    }
}

/// The processes of a bed or a container: those that have its directory or name on their command line, and those
/// that have it in their mount table, because the container's writable layer is there.
pub fn processes(mark: &str) -> Vec<(i32, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let read = |file: &str| fs::read(entry.path().join(file)).unwrap_or_default();
        let line = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
        // A zombie holds nothing any more.
        let stat = String::from_utf8_lossy(&read("stat")).into_owned();
        let is_zombie = stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(['Z', 'X']));
        let mounts = String::from_utf8_lossy(&read("mountinfo")).into_owned();
        if !is_zombie && (line.contains(mark) || mounts.contains(mark)) {
            found.push((pid, line));
        }
    }
    found
}

/// The places where cgroup trees are mounted.
pub fn group_trees() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    fields.filter(|fields| fields[2].starts_with("cgroup")).map(|fields| fields[1].into()).collect()
}

fn groups(dir: &Path, depth: u32, all: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        // Groups in which the machine keeps its own things may be huge, and are nobody's business here.
        let foreign = entry.file_name() == "process_api";
        if !foreign && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            all.insert(format!("group {}", entry.path().display()));
            if depth > 1 {
                groups(&entry.path(), depth - 1, all);
            }
        }
    }
}

/// Everything below the state directory, but not what is in the images and layers.
fn files(root: &Path, dir: &Path, all: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let below = path.strip_prefix(root).unwrap();
        if below.starts_with("blobs") || below.starts_with("layers") {
            continue;
        }
        all.insert(format!("file {}", below.display()));
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            files(root, &path, all);
        }
    }
}
