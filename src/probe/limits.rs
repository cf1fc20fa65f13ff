//! The limits in effect: what the groups of a process allow it in the end, each limit with the group that sets it.
//!
//! A limit holds for a group and all below it, so the one that counts is the tightest on the way up. A container's own
//! files may say `max` while a group above, which it cannot see, stops it.

use std::cmp::Ordering;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use super::cgroup::{self, Membership};
use super::meter::mebibytes;
use super::mounts::Mount;
use super::read;
use super::seat::{self, Seat};

/// Something that groups limit: its controller, the files of v1 and of v2, and how they are read.
#[derive(Debug)]
pub struct Resource {
    /// What it is called.
    pub name: &'static str,
    /// The controller that counts it.
    pub controller: &'static str,
    files: [&'static str; 2],
    used: [&'static str; 2],
    read: fn(&Path, &str) -> Result<Option<Limit>, String>,
    shown: fn(Limit) -> String,
}

/// Memory, in bytes.
pub static MEMORY: Resource = Resource {
    name: "memory",
    controller: "memory",
    files: ["memory.limit_in_bytes", "memory.max"],
    used: ["memory.usage_in_bytes", "memory.current"],
    read: bytes,
    shown: size,
};

/// Swap, in bytes. Version 1 counts memory and swap together.
pub static SWAP: Resource = Resource {
    name: "swap",
    controller: "memory",
    files: ["memory.memsw.limit_in_bytes", "memory.swap.max"],
    used: ["memory.memsw.usage_in_bytes", "memory.swap.current"],
    read: bytes,
    shown: size,
};

/// Processor time: a quota in each period.
pub static PROCESSORS: Resource = Resource {
    name: "processors",
    controller: "cpu",
    files: ["cpu.cfs_quota_us", "cpu.max"],
    used: ["", ""],
    read: quota,
    shown: Limit::processors,
};

/// Processes, threads included.
pub static PROCESSES: Resource = Resource {
    name: "processes",
    controller: "pids",
    files: ["pids.max", "pids.max"],
    used: ["pids.current", "pids.current"],
    read: count,
    shown: |limit| limit.amount.to_string(),
};

/// A limit: so much, or so much of something in each period of something else. Two of them compare by what they
/// allow: 50 ms in 100 ms is 500 ms in a second.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// How much.
    pub amount: u64,
    /// In what; 1 for what has no period.
    pub per: u64,
}

impl PartialEq for Limit {
    fn eq(&self, other: &Self) -> bool {
        self.partial_cmp(other) == Some(Ordering::Equal)
    }
}

impl PartialOrd for Limit {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        let cross = |one: u64, other: u64| u128::from(one) * u128::from(other);
        Some(cross(self.amount, other.per).cmp(&cross(other.amount, self.per)))
    }
}

impl Limit {
    const fn of(amount: u64) -> Self {
        Self { amount, per: 1 }
    }

    /// A quota in parts of a processor: `parts(100)` is in hundredths.
    #[must_use]
    pub fn parts(self, of_one: u64) -> u64 {
        let per = u128::from(self.per.max(1));
        let parts = (u128::from(self.amount) * u128::from(of_one) + per / 2) / per;
        u64::try_from(parts).unwrap_or(u64::MAX)
    }

    /// A quota as a number of processors: `1.50`.
    #[must_use]
    pub fn processors(self) -> String {
        match (self.parts(100), self.parts(1000)) {
            (0, thousandths) => format!("0.{thousandths:03}"),
            (hundredths, _) => format!("{}.{:02}", hundredths / 100, hundredths % 100),
        }
    }

    fn as_json(self) -> Json {
        #[expect(clippy::cast_precision_loss, reason = "microseconds, far below 2^52")]
        let ratio = || json!(self.amount as f64 / self.per as f64);
        if self.per == 1 { json!(self.amount) } else { ratio() }
    }
}

/// A limit that holds, and the group that sets it.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    /// The limit.
    pub limit: Limit,
    /// The group that sets it.
    pub by: PathBuf,
}

impl Resource {
    /// The limit that a group itself sets; none also where the group has no such file, because the controller is not
    /// enabled there or because it is the top.
    ///
    /// # Errors
    /// Why the file cannot be read or understood.
    pub fn set_in(&self, group: &Path, is_v2: bool) -> Result<Option<Limit>, String> {
        (self.read)(group, self.files[usize::from(is_v2)])
    }

    /// The tightest limit from a group to the top, and who sets it: of equal ones, the nearest.
    ///
    /// # Errors
    /// Why it is not known: a file on the way that cannot be read, or a group that has gone meanwhile, whose missing
    /// files would look as if nothing were set.
    pub fn held(&self, seat: &Seat) -> Result<Option<Held>, String> {
        let mut found: Option<Held> = None;
        for group in seat.upwards() {
            if let Some(limit) = self.set_in(group, seat.is_v2)?
                && found.as_ref().is_none_or(|held| limit < held.limit)
            {
                found = Some(Held { limit, by: group.to_owned() });
            }
            if self.ends_at(group, seat.is_v2) {
                break;
            }
        }
        seat.still_there()?;
        Ok(found)
    }

    /// Old kernels with version 1: a group without hierarchy is not held by the limits on memory above it (memory.rst of
    /// cgroup-v1).
    fn ends_at(&self, group: &Path, is_v2: bool) -> bool {
        !is_v2 && self.controller == "memory" && is(group, "memory.use_hierarchy", "0")
    }

    /// How much of it is used in a group.
    fn used_in(&self, seat: &Seat) -> Option<String> {
        let amount = seat.number(self.used[0], self.used[1])?;
        Some((self.shown)(Limit::of(amount)))
    }
}

/// The text of a group's file, if it has such a file and still is there.
fn text(group: &Path, file: &str) -> Result<Option<String>, String> {
    let path = group.join(file);
    match read::bytes(&path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).trim().to_owned())),
        // The latter where a file was open when its group was removed.
        Err(cause) if cause.kind() == ErrorKind::NotFound || cause.raw_os_error() == Some(GONE) => Ok(None),
        Err(cause) => Err(read::reason(&path, &cause)),
    }
}

const GONE: i32 = nix::errno::Errno::ENODEV as i32;

fn number(group: &Path, file: &str, text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{}: \"{text}\" is no number", group.join(file).display()))
}

fn count(group: &Path, file: &str) -> Result<Option<Limit>, String> {
    match text(group, file)?.as_deref() {
        None | Some("max") => Ok(None),
        Some(text) => Ok(Some(Limit::of(number(group, file, text)?))),
    }
}

/// What version 1 has where nothing is set: the most that a counter of pages holds, less with larger pages.
const UNSET: u64 = 0x7fff_ffff_ffff_0000;

fn bytes(group: &Path, file: &str) -> Result<Option<Limit>, String> {
    Ok(count(group, file)?.filter(|limit| limit.amount < UNSET))
}

/// Quota and period: in one file of v2, in two of v1, where a quota of -1 is none.
fn quota(group: &Path, file: &str) -> Result<Option<Limit>, String> {
    let Some(all) = text(group, file)? else { return Ok(None) };
    let mut words = all.split_whitespace();
    let quota = match words.next() {
        None | Some("max" | "-1") => return Ok(None),
        Some(quota) => number(group, file, quota)?,
    };
    let period = match words.next() {
        Some(period) => period.to_owned(),
        None => match text(group, PERIOD)? {
            Some(period) => period,
            // Gone between the two: whoever asks for what holds is told that.
            None => return Ok(None),
        },
    };
    Ok(Some(Limit { amount: quota, per: number(group, PERIOD, &period)?.max(1) }))
}

const PERIOD: &str = "cpu.cfs_period_us";

/// A size as people write it in a limit: `64 MiB`.
fn size(limit: Limit) -> String {
    mebibytes(limit.amount).replace(".0 ", " ")
}

fn is(group: &Path, file: &str, value: &str) -> bool {
    read::text(group.join(file)).is_ok_and(|text| text.trim() == value)
}

/// Every limit that holds for a process, seen through the mounts of this one.
#[must_use]
pub fn snapshot(pid: i32, table: &[Mount]) -> Json {
    match read::text(format!("/proc/{pid}/cgroup")) {
        Ok(text) => all(&cgroup::parse(&text), table),
        Err(why) => json!({ "unreadable": why }),
    }
}

fn all(memberships: &[Membership], table: &[Mount]) -> Json {
    let trees = seat::trees(table);
    let seat = |controller: &str| seat::with(controller, &trees, memberships, table);
    let one = |resource: &&Resource| {
        let found = seat(resource.controller).and_then(|seat| in_effect(resource, &seat));
        found.unwrap_or_else(|why| json!({ "resource": resource.name, "unreadable": why }))
    };
    let mut all: Vec<Json> = [&MEMORY, &SWAP, &PROCESSORS, &PROCESSES].iter().map(one).collect();
    all.extend(seat("cpuset").ok().and_then(|seat| processor_set(&seat)));
    all.extend(seat("cpu").ok().and_then(|seat| weight(&seat)));
    Json::Array(all)
}

fn in_effect(resource: &Resource, seat: &Seat) -> Result<Json, String> {
    let held = resource.held(seat)?;
    Ok(json!({
        "resource": resource.name,
        "limit": held.as_ref().map_or_else(|| "none".to_owned(), |held| (resource.shown)(held.limit)),
        "value": held.as_ref().map(|held| held.limit.as_json()),
        "set_by": held.as_ref().map(|held| held.by.to_string_lossy()),
        "own": held.as_ref().map(|held| held.by == seat.directory),
        "used": resource.used_in(seat),
        "group": seat.directory.to_string_lossy(),
        "version": seat.version(),
    }))
}

/// The processors that it may run on. The kernel keeps the result in a file of each group, so the group that sets it
/// is the highest that has the same result; where that is the top, none has taken any away.
fn processor_set(seat: &Seat) -> Option<Json> {
    let file = if seat.is_v2 { "cpuset.cpus.effective" } else { "cpuset.effective_cpus" };
    // A group of v2 without the controller has no such file, and runs where the one above does.
    let mut above = seat.upwards().filter_map(|group| Some((group, text(group, file).ok()??)));
    let (nearest, processors) = above.next()?;
    let highest =
        above.take_while(|(_, text)| *text == processors).last().map_or(nearest, |(group, _)| group);
    let setter = (highest != seat.top).then_some(highest);
    Some(json!({
        "resource": "on processors",
        "limit": processors,
        "set_by": setter.map(Path::to_string_lossy),
        "own": setter.map(|setter| setter == seat.directory),
        "group": seat.directory.to_string_lossy(),
        "version": seat.version(),
    }))
}

/// A weight is no limit: it counts only while others want the processor too.
fn weight(seat: &Seat) -> Option<Json> {
    let weight = seat.number("cpu.shares", "cpu.weight")?;
    let usual = if seat.is_v2 { 100 } else { 1024 };
    Some(json!({
        "resource": "weight",
        "limit": format!("{weight} ({usual} is usual)"),
        "value": weight,
        "set_by": seat.directory.to_string_lossy(),
        "own": true,
        "group": seat.directory.to_string_lossy(),
        "version": seat.version(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::mounts;

    /// How a made-up machine has its groups.
    #[derive(Clone, Copy, PartialEq)]
    enum Layout {
        /// Every controller in a tree of version 1.
        V1,
        /// Memory and processors in version 1, the rest in version 2.
        Hybrid,
        V2,
    }

    /// Trees of groups of ordinary files, with a process in `/a/b` of each.
    struct Fake {
        dir: tempfile::TempDir,
        table: Vec<Mount>,
        members: Vec<Membership>,
    }

    impl Fake {
        fn new(layout: Layout, files: &[(&str, &str)]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let (v1, v2, members) = match layout {
                Layout::V1 => (Some("memory,cpu,pids,cpuset"), None, "2:memory,cpu,pids,cpuset:/a/b\n"),
                Layout::Hybrid => (Some("memory,cpu"), Some("pids cpuset"), "2:memory,cpu:/a/b\n0::/a/b\n"),
                Layout::V2 => (None, Some("memory cpu pids cpuset"), "0::/a/b\n"),
            };
            let mut lines = String::new();
            let (one, two) = (dir.path().join("one"), dir.path().join("two"));
            if let Some(options) = v1 {
                std::fs::create_dir_all(one.join("a/b")).unwrap();
                lines += &format!("1 0 0:1 / {} rw - cgroup x rw,{options}\n", one.display());
            }
            if let Some(controllers) = v2 {
                std::fs::create_dir_all(two.join("a/b")).unwrap();
                std::fs::write(two.join("cgroup.controllers"), controllers).unwrap();
                lines += &format!("2 0 0:2 / {} rw - cgroup2 x rw\n", two.display());
            }
            for (path, text) in files {
                std::fs::write(dir.path().join(path), format!("{text}\n")).unwrap();
            }
            Self { dir, table: mounts::parse(lines.as_bytes()), members: cgroup::parse(members) }
        }

        fn found(&self, name: &str) -> Json {
            let all = all(&self.members, &self.table);
            all.as_array().unwrap().iter().find(|one| one["resource"] == name).cloned().unwrap_or(Json::Null)
        }

        /// The limit, and the group that sets it as a path below the fake's directory.
        fn held(&self, name: &str) -> (String, String) {
            let found = self.found(name);
            let by = Path::new(found["set_by"].as_str().unwrap_or("")).strip_prefix(self.dir.path());
            let by = by.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
            (found["limit"].as_str().unwrap_or("?").to_owned(), by)
        }

        fn seat(&self, controller: &str) -> Seat {
            seat::with(controller, &seat::trees(&self.table), &self.members, &self.table).unwrap()
        }
    }

    fn pair(limit: &str, by: &str) -> (String, String) {
        (limit.to_owned(), by.to_owned())
    }

    #[test]
    fn nothing_is_set_anywhere() {
        let none: [(Layout, &[(&str, &str)]); 3] = [
            (
                Layout::V1,
                &[
                    ("one/memory.limit_in_bytes", "9223372036854771712"),
                    ("one/a/memory.limit_in_bytes", "9223372036854771712"),
                    // With pages of 64 KiB.
                    ("one/a/b/memory.limit_in_bytes", "9223372036854710272"),
                    ("one/a/b/cpu.cfs_quota_us", "-1"),
                    ("one/a/b/cpu.cfs_period_us", "100000"),
                    ("one/a/b/pids.max", "max"),
                ],
            ),
            (
                Layout::Hybrid,
                &[
                    ("one/a/b/memory.limit_in_bytes", "9223372036854771712"),
                    ("one/a/b/cpu.cfs_quota_us", "-1"),
                    ("two/a/b/pids.max", "max"),
                ],
            ),
            (
                Layout::V2,
                &[
                    ("two/a/memory.max", "max"),
                    ("two/a/b/memory.max", "max"),
                    ("two/a/b/memory.swap.max", "max"),
                    ("two/a/b/cpu.max", "max 100000"),
                    ("two/a/b/pids.max", "max"),
                ],
            ),
        ];
        for (layout, files) in none {
            let fake = Fake::new(layout, files);
            for name in ["memory", "swap", "processors", "processes"] {
                assert_eq!(fake.held(name), pair("none", ""), "{name}");
            }
        }
    }

    #[test]
    fn the_tightest_limit_on_the_way_up_counts() {
        let v2 = Fake::new(
            Layout::V2,
            &[
                ("two/a/memory.max", "67108864"),
                ("two/a/b/memory.max", "max"),
                ("two/a/b/cpu.max", "max 100000"),
                ("two/a/cpu.max", "150000 100000"),
                ("two/a/pids.max", "100"),
                ("two/a/b/pids.max", "7"),
                ("two/a/b/pids.current", "3"),
            ],
        );
        assert_eq!(v2.held("memory"), pair("64 MiB", "two/a"));
        assert_eq!(
            (v2.found("memory")["value"].as_u64(), &v2.found("memory")["own"]),
            (Some(64 << 20), &json!(false))
        );
        assert_eq!(v2.held("processors"), pair("1.50", "two/a"));
        assert_eq!(v2.held("processes"), pair("7", "two/a/b"));
        assert_eq!(
            (&v2.found("processes")["own"], &v2.found("processes")["used"]),
            (&json!(true), &json!("3"))
        );
        let v1 = Fake::new(
            Layout::V1,
            &[
                ("one/a/memory.limit_in_bytes", "1000"),
                ("one/a/b/memory.limit_in_bytes", "4096"),
                ("one/a/b/pids.max", "50"),
                ("one/pids.max", "9"),
            ],
        );
        assert_eq!(v1.held("memory"), pair("1000 B", "one/a"));
        assert_eq!(v1.held("processes"), pair("9", "one"));
        let hybrid = Fake::new(
            Layout::Hybrid,
            &[
                ("one/a/memory.limit_in_bytes", "1536"),
                ("two/a/b/memory.max", "1"),
                ("one/a/b/pids.max", "1"),
                ("two/a/b/pids.max", "20"),
            ],
        );
        assert_eq!(hybrid.held("memory"), pair("1.5 KiB", "one/a"));
        assert_eq!(hybrid.held("processes"), pair("20", "two/a/b"));
        assert_eq!(
            (&hybrid.found("memory")["version"], &hybrid.found("processes")["version"]),
            (&json!(1), &json!(2))
        );
    }

    #[test]
    fn quotas_are_compared_by_what_they_allow_whatever_their_period() {
        let files = |own, above| [("two/a/b/cpu.max", own), ("two/a/cpu.max", above)];
        let held = |own, above| Fake::new(Layout::V2, &files(own, above)).held("processors");
        assert_eq!(held("200000 400000", "30000 100000"), pair("0.30", "two/a"));
        assert_eq!(held("20000 100000", "30000 300000"), pair("0.10", "two/a"));
        assert_eq!(held("33000 100000", "333 1000"), pair("0.33", "two/a/b"), "less than a hundredth apart");
        assert_eq!(
            held("50000 100000", "500000 1000000"),
            pair("0.50", "two/a/b"),
            "of equal ones, the nearest"
        );
        assert_eq!(held("1000 1000000", "max 1000000"), pair("0.001", "two/a/b"));
        let v1 = Fake::new(
            Layout::V1,
            &[
                ("one/a/b/cpu.cfs_quota_us", "100000"),
                ("one/a/b/cpu.cfs_period_us", "100000"),
                ("one/a/cpu.cfs_quota_us", "150000"),
                ("one/a/cpu.cfs_period_us", "300000"),
            ],
        );
        assert_eq!(v1.held("processors"), pair("0.50", "one/a"));
        assert_eq!(v1.found("processors")["value"], json!(0.5));
    }

    #[test]
    fn processors_are_taken_away_by_the_highest_group_that_has_no_more() {
        for (layout, tree, file) in [
            (Layout::V1, "one", "cpuset.effective_cpus"),
            (Layout::Hybrid, "two", "cpuset.cpus.effective"),
            (Layout::V2, "two", "cpuset.cpus.effective"),
        ] {
            let held = |top: &str, a: &str, b: Option<&str>| {
                let path = |below: &str| format!("{tree}/{below}{file}");
                let (one, two, three) = (path(""), path("a/"), path("a/b/"));
                let mut files = vec![(&*one, top), (&*two, a)];
                files.extend(b.map(|b| (&*three, b)));
                Fake::new(layout, &files).held("on processors")
            };
            assert_eq!(held("0-3", "0-1", Some("0-1")), pair("0-1", &format!("{tree}/a")));
            assert_eq!(held("0-3", "0-1", Some("1")), pair("1", &format!("{tree}/a/b")));
            assert_eq!(held("0-3", "2", None), pair("2", &format!("{tree}/a")), "without the controller");
            assert_eq!(held("0-3", "0-3", Some("0-3")), pair("0-3", ""), "no group takes any away");
        }
    }

    #[test]
    fn a_group_without_hierarchy_is_not_held_from_above() {
        let files = [
            ("one/a/memory.limit_in_bytes", "4096"),
            ("one/a/b/memory.limit_in_bytes", "9223372036854771712"),
            ("one/a/b/memory.use_hierarchy", "0"),
        ];
        assert_eq!(Fake::new(Layout::V1, &files).held("memory"), pair("none", ""));
    }

    #[test]
    fn a_group_that_vanishes_meanwhile_is_no_group_without_limits() {
        for (layout, controller, file) in [
            (Layout::V1, "memory", "one/a/memory.limit_in_bytes"),
            (Layout::Hybrid, "memory", "one/a/memory.limit_in_bytes"),
            (Layout::V2, "memory", "two/a/memory.max"),
        ] {
            let fake = Fake::new(layout, &[(file, "4096")]);
            let seat = fake.seat(controller);
            assert!(MEMORY.held(&seat).unwrap().is_some());
            std::fs::remove_dir(&seat.directory).unwrap();
            let why = MEMORY.held(&seat).unwrap_err();
            assert!(why.contains("a/b is gone"), "{why}");
            assert!(fake.found("memory")["unreadable"].as_str().unwrap().contains("/a/b"));
        }
    }

    #[test]
    fn what_cannot_be_read_or_understood_is_not_taken_for_no_limit() {
        let fake = Fake::new(Layout::V2, &[("two/a/memory.max", "12x"), ("two/a/b/memory.max", "7")]);
        assert!(MEMORY.held(&fake.seat("memory")).unwrap_err().contains("\"12x\" is no number"));
        std::fs::create_dir(fake.dir.path().join("two/a/pids.max")).unwrap();
        assert!(fake.found("processes")["unreadable"].as_str().unwrap().contains("EISDIR"));
    }

    #[test]
    fn a_group_that_is_out_of_sight_is_said() {
        let mut fake = Fake::new(Layout::V2, &[]);
        fake.members = cgroup::parse("0::/../elsewhere\n");
        assert!(fake.found("memory")["unreadable"].as_str().unwrap().contains("out of sight"));
        fake.members = cgroup::parse("");
        assert!(fake.found("memory")["unreadable"].as_str().unwrap().contains("in no group of it"));
        fake.table.clear();
        assert!(fake.found("memory")["unreadable"].as_str().unwrap().contains("no tree"));
    }
}
