//! What can be said of one process, and how it is seen.
//!
//! All of it is read: from `/proc/PID`, or by a child that looks from inside. A process that may not be looked
//! into has none of these traits, and that is what is said of it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::sheet::Kind;
use crate::probe::work::Worker;
use crate::probe::{Probe, ids, inside, mounts, privileges, status};
use crate::sys::flags::CloneFlags;

/// Something that a process of a lab can be like.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Trait {
    /// It is in namespaces of these kinds that are not cutaway's.
    Own(Vec<Kind>),
    /// It is in the same namespaces of these kinds as cutaway.
    Shared(Vec<Kind>),
    /// This is the host name that it sees.
    Hostname(String),
    /// It has ended and has not been collected.
    Zombie,
    /// In its innermost pid namespace it has this number.
    InnermostPid(i32),
    /// What is mounted on its /proc shows at most so many processes.
    ProcShowsAtMost(usize),
    /// In its user namespace it is this user.
    UidInside(u32),
    /// This clock of its time namespace is ahead of cutaway's by so many seconds, to the nanosecond.
    ClockAhead {
        /// `monotonic` or `boottime`, as `timens_offsets` names them.
        clock: String,
        /// The seconds.
        seconds: i64,
    },
    /// Its root is this directory: of the host if it begins with a slash, of the lab if not.
    Root(String),
    /// Its root is not cutaway's.
    OtherRoot,
    /// Who goes into its mount namespace arrives in this directory, and finds nothing above it.
    NamespaceRoot(String),
    /// Its mount table does not have what is mounted on cutaway's root.
    HostDetached,
    /// Its working directory cannot be reached from its root.
    CwdOutside,
    /// No directory that it has open, its working directory included, lies where its root does not lead.
    NothingOutside,
    /// A directory that it has open, or its working directory, lies where its root does not lead.
    SomethingOutside,
    /// In its mount table, something is mounted there.
    Mounted {
        /// Where, as it sees it; a path without a slash in front is one of the lab's directory.
        at: String,
        /// The type of the file system.
        #[serde(default)]
        fstype: Option<String>,
        /// How it propagates: `private`, `shared`, `slave`, `unbindable`, or two with a comma.
        #[serde(default)]
        propagation: Option<String>,
        /// Whether it is read-only.
        #[serde(default)]
        read_only: Option<bool>,
    },
    /// In its mount table, something is mounted there, and it and every mount below it are read-only.
    ReadOnlyTree(String),
    /// As it sees them, these two paths lead to the same file or directory.
    Same(String, String),
    /// In its mount table, nothing is mounted at or below this.
    NotMounted(String),
    /// It is in the group of this directory of the lab.
    InGroup(String),
    /// These are its effective capabilities, no more and no fewer.
    Effective(Vec<String>),
    /// execve can never again grant it a privilege.
    NoNewPrivs,
}

/// Where a lab is, for paths in it.
pub struct Place<'a> {
    /// The lab's directory.
    pub directory: &'a Path,
}

impl Place<'_> {
    fn path(&self, text: &str) -> PathBuf {
        self.directory.join(text)
    }
}

impl Trait {
    /// Whether a process is like this.
    ///
    /// # Errors
    /// What it is like instead.
    pub fn holds(&self, one: &Worker, place: &Place<'_>) -> Result<(), String> {
        match self {
            Self::Own(kinds) => own(one.pid, kinds),
            Self::Shared(kinds) => shared(one.pid, kinds),
            Self::Hostname(name) => hostname(one.pid, name),
            Self::Zombie if one.zombie => Ok(()),
            Self::Zombie => Err("has not ended".to_owned()),
            Self::InnermostPid(pid) => innermost(one.pid, *pid),
            Self::ProcShowsAtMost(most) => proc_shows(one.pid, *most),
            Self::UidInside(uid) => uid_inside(one.pid, *uid),
            Self::ClockAhead { clock, seconds } => clock_ahead(one.pid, clock, *seconds),
            Self::Root(path) => root(one.pid, &place.path(path)),
            Self::OtherRoot => other_root(one.pid),
            Self::NamespaceRoot(path) => namespace_root(one.pid, &place.path(path)),
            Self::HostDetached => host_detached(one.pid),
            Self::CwdOutside => cwd_outside(one.pid),
            Self::NothingOutside => nothing_outside(one.pid),
            Self::SomethingOutside => match nothing_outside(one.pid) {
                Ok(()) => Err("has no directory open that its root does not lead to".to_owned()),
                Err(_) => Ok(()),
            },
            Self::Mounted { at, fstype, propagation, read_only } => {
                mounted(one.pid, &place.path(at), fstype.as_deref(), propagation.as_deref(), *read_only)
            }
            Self::ReadOnlyTree(at) => read_only_tree(&table_of(one.pid)?, &place.path(at)),
            Self::Same(one_path, other) => same(one.pid, &place.path(one_path), &place.path(other)),
            Self::NotMounted(at) => not_mounted(one.pid, &place.path(at)),
            Self::InGroup(group) => in_group(one.pid, &place.path(group)),
            Self::Effective(names) => effective(one.pid, names),
            Self::NoNewPrivs => {
                let set = privileges_of(one.pid)?.no_new_privs;
                if set { Ok(()) } else { Err("no_new_privs is not set".to_owned()) }
            }
        }
    }
}

fn number(pid: i32, kind: Kind) -> Result<(u64, Option<u64>), String> {
    let theirs = inside::namespace(pid, kind.name())
        .ok_or_else(|| format!("its {} namespace may not be read", kind.name()))?;
    Ok((theirs, inside::own_namespace(kind.name())))
}

fn own(pid: i32, kinds: &[Kind]) -> Result<(), String> {
    for kind in kinds {
        let (theirs, ours) = number(pid, *kind)?;
        if Some(theirs) == ours {
            return Err(format!("is in the host's {} namespace", kind.name()));
        }
    }
    Ok(())
}

fn shared(pid: i32, kinds: &[Kind]) -> Result<(), String> {
    for kind in kinds {
        let (theirs, ours) = number(pid, *kind)?;
        if Some(theirs) != ours {
            return Err(format!("has a {} namespace of its own", kind.name()));
        }
    }
    Ok(())
}

fn hostname(pid: i32, name: &str) -> Result<(), String> {
    let seen = inside::look(pid, CloneFlags::CLONE_NEWUTS, || Probe::Hostname.read())?;
    let seen = seen["hostname"].as_str().unwrap_or_default();
    if seen == name { Ok(()) } else { Err(format!("sees the host name {seen}")) }
}

fn innermost(pid: i32, wanted: i32) -> Result<(), String> {
    let pids = status(pid.into())?.pids;
    match pids.last() {
        Some(last) if *last == wanted => Ok(()),
        _ => Err(format!("has NSpid {}", pids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))),
    }
}

fn proc_shows(pid: i32, most: usize) -> Result<(), String> {
    let path = format!("/proc/{pid}/root/proc");
    let names = fs::read_dir(&path).map_err(|cause| format!("its /proc cannot be listed: {cause}"))?;
    let count =
        names.flatten().filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok()).count();
    match count {
        0 => Err("has no processes in its /proc: no proc is mounted there".to_owned()),
        count if count <= most => Ok(()),
        count => Err(format!("sees {count} processes in its /proc")),
    }
}

/// The id by which its user namespace knows a user of this one.
pub fn id_inside(pid: i32, outside: u32) -> Result<Option<u32>, String> {
    let text = fs::read_to_string(format!("/proc/{pid}/uid_map")).map_err(|cause| cause.to_string())?;
    let ranges = ids::parse_map(&text);
    let holds = |range: &&ids::Range| outside >= range.outside && outside - range.outside < range.count;
    Ok(ranges.iter().find(holds).map(|range| range.inside + (outside - range.outside)))
}

fn uid_inside(pid: i32, wanted: u32) -> Result<(), String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).map_err(|cause| cause.to_string())?;
    let line = text.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    let outside: u32 = line.split_whitespace().nth(1).and_then(|uid| uid.parse().ok()).unwrap_or(u32::MAX);
    match id_inside(pid, outside)? {
        Some(inside) if inside == wanted => Ok(()),
        Some(inside) => Err(format!("is user {inside} in its user namespace")),
        None => Err("is nobody in its user namespace: its map has no line for it".to_owned()),
    }
}

/// The offsets of a time namespace, as `clock seconds nanoseconds` on each line.
fn offset(who: &str, clock: &str) -> Result<(i64, i64), String> {
    let path = format!("/proc/{who}/timens_offsets");
    let text = fs::read_to_string(&path).map_err(|cause| format!("{path}: {cause}"))?;
    let line = text.lines().find(|line| line.split_whitespace().next() == Some(clock));
    let mut numbers = line.into_iter().flat_map(str::split_whitespace).skip(1).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(seconds)), Some(Ok(nanoseconds))) => Ok((seconds, nanoseconds)),
        _ => Err(format!("{path} has no line for {clock}")),
    }
}

fn clock_ahead(pid: i32, clock: &str, seconds: i64) -> Result<(), String> {
    let (theirs, ours) = (offset(&pid.to_string(), clock)?, offset("self", clock)?);
    let ahead = (theirs.0 - ours.0, theirs.1 - ours.1);
    if ahead == (seconds, 0) {
        return Ok(());
    }
    let rest = if ahead.1 == 0 { String::new() } else { format!(" and {} ns", ahead.1) };
    Err(format!("has its {clock} clock ahead by {} s{rest}", ahead.0))
}

/// A directory, by file system and inode.
fn identity(path: &Path) -> Result<(u64, u64), String> {
    fs::metadata(path)
        .map(|meta| (meta.dev(), meta.ino()))
        .map_err(|cause| format!("{}: {cause}", path.display()))
}

fn root(pid: i32, wanted: &Path) -> Result<(), String> {
    if identity(&proc_root(pid))? == identity(wanted)? {
        return Ok(());
    }
    let seen = fs::read_link(format!("/proc/{pid}/root")).unwrap_or_default();
    Err(format!("has the root {}, which is not {}", seen.display(), wanted.display()))
}

const HOST_ROOT: &str = "has the host's root";

fn other_root(pid: i32) -> Result<(), String> {
    if identity(&proc_root(pid))? == identity(Path::new("/"))? { Err(HOST_ROOT.to_owned()) } else { Ok(()) }
}

/// setns(2) puts who comes in at the root of the namespace, wherever the others in there have their roots.
fn namespace_root(pid: i32, wanted: &Path) -> Result<(), String> {
    let (device, inode) = identity(wanted)?;
    let seen = inside::look(pid, CloneFlags::CLONE_NEWNS, || {
        let above = identity(Path::new("/..")).ok();
        serde_json::json!([identity(Path::new("/")).ok(), above])
    })?;
    let wanted = serde_json::json!([device, inode]);
    if seen[0] == wanted && seen[1] == wanted {
        return Ok(());
    }
    Err("is in a mount namespace with another root".to_owned())
}

/// The file system that is mounted on the root of this process, and which part of it.
fn host_detached(pid: i32) -> Result<(), String> {
    let root = |table: &[mounts::Mount]| table.iter().rfind(|mount| mount.at == Path::new("/")).cloned();
    let host = root(&mounts::table()?).ok_or("cutaway is in a chroot itself: it has no root mount")?;
    let same = |mount: &&mounts::Mount| {
        (&mount.fstype, &mount.source, &mount.root) == (&host.fstype, &host.source, &host.root)
    };
    match table_of(pid)?.iter().find(same) {
        None => Ok(()),
        Some(mount) => Err(format!("has the root of the host on {}", mount.at.display())),
    }
}

/// Whether the root of a process is this one's.
pub fn has_host_root(pid: i32) -> bool {
    other_root(pid).is_err_and(|why| why == HOST_ROOT)
}

fn proc_root(pid: i32) -> PathBuf {
    format!("/proc/{pid}/root/").into()
}

/// Whether an open directory of a process lies where its root does not lead: on a mount that its table does not
/// have, or beside the root on the same mount.
fn is_outside(pid: i32, link: &Path, table: &[mounts::Mount]) -> bool {
    let Some(mount) = inside::mount_of(link) else { return false };
    if !table.iter().any(|one| one.id == mount) {
        return true;
    }
    // Within one mount namespace the links say it; a path of another one begins at that one's root.
    let (root, there) = (fs::read_link(format!("/proc/{pid}/root")), fs::read_link(link));
    matches!((root, there), (Ok(root), Ok(there)) if !there.starts_with(&root))
}

fn table_of(pid: i32) -> Result<Vec<mounts::Mount>, String> {
    let path = format!("/proc/{pid}/mountinfo");
    fs::read(&path).map(|table| mounts::parse(&table)).map_err(|cause| format!("{path}: {cause}"))
}

fn cwd_outside(pid: i32) -> Result<(), String> {
    let cwd = PathBuf::from(format!("/proc/{pid}/cwd"));
    if is_outside(pid, &cwd, &table_of(pid)?) {
        return Ok(());
    }
    let seen = fs::read_link(&cwd).map_err(|cause| cause.to_string())?;
    Err(format!("is at {}, which its root leads to", seen.display()))
}

fn nothing_outside(pid: i32) -> Result<(), String> {
    let table = table_of(pid)?;
    let open = fs::read_dir(format!("/proc/{pid}/fd")).map_err(|cause| cause.to_string())?;
    let mut links: Vec<PathBuf> = open.flatten().map(|entry| entry.path()).collect();
    links.push(format!("/proc/{pid}/cwd").into());
    let directories = links.iter().filter(|link| fs::metadata(link).is_ok_and(|meta| meta.is_dir()));
    match directories.clone().find(|link| is_outside(pid, link, &table)) {
        None => Ok(()),
        Some(link) => {
            let to = fs::read_link(link).unwrap_or_default();
            Err(format!(
                "has a directory open that its root does not lead to: {} is {}",
                link.display(),
                to.display()
            ))
        }
    }
}

fn mounted(
    pid: i32,
    at: &Path,
    fstype: Option<&str>,
    propagation: Option<&str>,
    read_only: Option<bool>,
) -> Result<(), String> {
    let table = table_of(pid)?;
    // The topmost mount on a path is what a lookup finds.
    let Some(mount) = table.iter().rfind(|mount| mount.at == at) else {
        return Err(format!("has nothing mounted on {}", at.display()));
    };
    if fstype.is_some_and(|wanted| wanted != mount.fstype) {
        return Err(format!("has a {} on {}", mount.fstype, at.display()));
    }
    let seen = propagation_of(mount);
    if propagation.is_some_and(|wanted| wanted != seen) {
        return Err(format!("has {} mounted {seen}", at.display()));
    }
    if read_only.is_some_and(|wanted| wanted != mount.is_read_only()) {
        let how = if mount.is_read_only() { "read-only" } else { "writable" };
        return Err(format!("has {} mounted {how}", at.display()));
    }
    // The table lists what another mount covers, too.
    match inside::mount_of(&seen_at(pid, at)) {
        Some(found) if found != mount.id => {
            Err(format!("has what is mounted on {} covered by another mount", at.display()))
        }
        _ => Ok(()),
    }
}

/// `shared:3 master:1` is `shared,slave`; no field at all is `private`.
fn propagation_of(mount: &mounts::Mount) -> String {
    let one = |field: &String| match field.split(':').next() {
        Some("shared") => Some("shared"),
        Some("master") => Some("slave"),
        Some("unbindable") => Some("unbindable"),
        _ => None,
    };
    let all: Vec<_> = mount.propagation.iter().filter_map(one).collect();
    if all.is_empty() { "private".to_owned() } else { all.join(",") }
}

/// What is covered by another mount on the same path cannot be reached by it, and counts all the same: it can be
/// uncovered.
fn read_only_tree(table: &[mounts::Mount], at: &Path) -> Result<(), String> {
    if !table.iter().any(|mount| mount.at == at) {
        return Err(format!("has nothing mounted on {}", at.display()));
    }
    match table.iter().find(|mount| mount.at.starts_with(at) && !mount.is_read_only()) {
        None => Ok(()),
        Some(mount) => Err(format!("has {} mounted writable", mount.at.display())),
    }
}

/// A path of the process, as a path of this one.
fn seen_at(pid: i32, path: &Path) -> PathBuf {
    proc_root(pid).join(path.strip_prefix("/").unwrap_or(path))
}

fn same(pid: i32, one: &Path, other: &Path) -> Result<(), String> {
    let (here, there) = (seen_at(pid, one), seen_at(pid, other));
    if identity(&here)? == identity(&there)? {
        return Ok(());
    }
    let what = if here.is_dir() { "directory" } else { "file" };
    Err(format!("sees another {what} in {} than in {}", one.display(), other.display()))
}

fn not_mounted(pid: i32, at: &Path) -> Result<(), String> {
    match table_of(pid)?.iter().find(|mount| mount.at.starts_with(at)) {
        None => Ok(()),
        Some(mount) => Err(format!("has a {} on {}", mount.fstype, mount.at.display())),
    }
}

fn in_group(pid: i32, group: &Path) -> Result<(), String> {
    let procs = group.join("cgroup.procs");
    let text = fs::read_to_string(&procs).map_err(|cause| format!("{}: {cause}", procs.display()))?;
    if text.lines().any(|line| line.parse() == Ok(pid)) {
        Ok(())
    } else {
        Err(format!("is not in {}", group.display()))
    }
}

fn privileges_of(pid: i32) -> Result<privileges::Privileges, String> {
    let path = format!("/proc/{pid}/status");
    fs::read_to_string(&path).map(|text| privileges::parse(&text)).map_err(|cause| format!("{path}: {cause}"))
}

fn effective(pid: i32, names: &[String]) -> Result<(), String> {
    let mut seen = privileges::names(privileges_of(pid)?.effective);
    let mut wanted = names.to_vec();
    seen.sort();
    wanted.sort();
    if seen == wanted {
        return Ok(());
    }
    let seen = if seen.is_empty() { "none".to_owned() } else { seen.join(", ") };
    Err(format!("has these effective capabilities: {seen}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::work;

    #[test]
    fn what_this_process_is_like() {
        let own = work::one(std::process::id().cast_signed()).unwrap();
        let place = Place { directory: Path::new("/nonexistent") };
        let holds = |one: Trait| one.holds(&own, &place);
        assert_eq!(holds(Trait::Shared(vec![Kind::Uts, Kind::Time])), Ok(()));
        assert_eq!(holds(Trait::Own(vec![Kind::Uts])), Err("is in the host's uts namespace".to_owned()));
        assert_eq!(holds(Trait::Root("/".to_owned())), Ok(()));
        assert_eq!(holds(Trait::OtherRoot), Err("has the host's root".to_owned()));
        let same = |one: &str, other: &str| holds(Trait::Same(one.to_owned(), other.to_owned()));
        assert_eq!(same("/usr", "/usr/."), Ok(()));
        assert_eq!(same("/usr", "/"), Err("sees another directory in /usr than in /".to_owned()));
        assert_eq!(
            same("/proc/version", "/dev/null"),
            Err("sees another file in /proc/version than in /dev/null".to_owned())
        );
        assert_eq!(holds(Trait::Zombie), Err("has not ended".to_owned()));
        assert_eq!(holds(Trait::NothingOutside), Ok(()));
        assert!(holds(Trait::CwdOutside).unwrap_err().contains("which its root leads to"));
        assert!(holds(Trait::ProcShowsAtMost(0)).unwrap_err().starts_with("sees "));
        let clock = |seconds| Trait::ClockAhead { clock: "boottime".to_owned(), seconds };
        assert_eq!(holds(clock(0)), Ok(()));
        assert_eq!(holds(clock(1)), Err("has its boottime clock ahead by 0 s".to_owned()));
    }

    #[test]
    fn one_writable_mount_below_makes_a_tree_writable() {
        let line = |at: &str, options: &str, of_fs: &str| {
            format!("25 1 0:22 / {at} {options},relatime - tmpfs none {of_fs}\n")
        };
        let table = |inner: (&str, &str)| {
            let whole = line("/t", "ro", "rw") + &line("/t/in", inner.0, inner.1) + &line("/tea", "rw", "rw");
            mounts::parse(whole.as_bytes())
        };
        let holds = |table: &[mounts::Mount], at: &str| read_only_tree(table, Path::new(at));
        assert_eq!(holds(&table(("ro", "rw")), "/t"), Ok(()));
        assert_eq!(holds(&table(("rw", "ro")), "/t"), Ok(()));
        assert_eq!(holds(&table(("rw", "rw")), "/t"), Err("has /t/in mounted writable".to_owned()));
        assert_eq!(holds(&table(("ro", "rw")), "/u"), Err("has nothing mounted on /u".to_owned()));
    }
}
