//! Every namespace of the machine that can be seen, who is in it, and what keeps it alive.
//!
//! The kernel has no list of its namespaces. What can be found is what something in /proc leads to: the
//! namespaces of processes, descriptors of namespaces, files on which a namespace is mounted, and from each of
//! them its owner and what it is nested in. A namespace that only a socket keeps, or a descriptor on its way
//! through another one, is seen by nobody.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use super::mounts::{self, Mount};
use super::ns::KINDS;
use super::read;
use crate::sys::flags::CloneFlags;
use crate::sys::nsfs;

/// A namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// `uts`
    pub kind: &'static str,
    /// Its number.
    pub inode: u64,
    /// How many processes are in it.
    pub members: usize,
    /// The process of the lowest number that is in it, and the name of its program.
    pub lowest: Option<(i32, String)>,
    /// The user namespace that owns it; none if that is not for the caller to know.
    pub owner: Option<u64>,
    /// The namespace that a user or pid namespace is nested in.
    pub parent: Option<u64>,
    /// Who made a user namespace.
    pub maker: Option<u32>,
    /// What else keeps it alive, apart from its processes.
    pub keepers: Vec<Keeper>,
}

/// What keeps a namespace alive without being in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keeper {
    /// An open descriptor.
    Descriptor {
        /// Whose.
        pid: i32,
        /// Its number.
        fd: i32,
        /// The name of the process's program.
        command: String,
    },
    /// It is mounted on a file.
    Mount {
        /// The file.
        path: PathBuf,
        /// A process in whose mount table that is; none for the caller's own.
        of: Option<i32>,
    },
    /// A process will have its children in it.
    Children {
        /// The process.
        pid: i32,
        /// The name of its program.
        command: String,
    },
    /// Namespaces that it owns, or that are nested in it.
    Namespaces(usize),
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Census {
    /// Sorted by kind, as [`KINDS`] has them, and number.
    pub namespaces: Vec<Namespace>,
    /// How many processes could not be looked into.
    pub unreadable: usize,
    /// How many processes there are.
    pub processes: usize,
}

/// The place of a namespace in the map: kind, then number.
type Key = (usize, u64);

/// The census while it is taken.
#[derive(Default)]
struct Taking {
    found: BTreeMap<Key, Namespace>,
    /// Mount namespaces whose tables were read.
    tables: HashSet<u64>,
    unreadable: usize,
    processes: usize,
    /// Which mounts are shown in which table, so that a mount that was passed on is counted once.
    mounted: HashSet<(Key, PathBuf)>,
}

/// Takes the census.
#[must_use]
pub fn take() -> Census {
    let mut taking = Taking::default();
    let own = super::own_pid().unwrap_or(0);
    // The caller's own table first: a path in it needs no remark.
    taking.table(own, None);
    for pid in pids() {
        taking.process(pid, pid == own);
    }
    taking.count_dependents();
    Census {
        namespaces: taking.found.into_values().collect(),
        unreadable: taking.unreadable,
        processes: taking.processes,
    }
}

fn pids() -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids: Vec<i32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    pids
}

/// `net:[4026531833]`, as the links of /proc and the roots of mounts have it.
fn parse(text: &str) -> Option<Key> {
    let (kind, rest) = text.split_once(":[")?;
    let at = KINDS.iter().position(|(_, name)| *name == kind)?;
    Some((at, rest.strip_suffix(']')?.parse().ok()?))
}

fn key_of(path: impl AsRef<Path>) -> Option<Key> {
    parse(fs::read_link(path).ok()?.to_str()?)
}

/// The namespace behind a link in a `fd` directory. One that was opened through a mount has the path of that.
fn key_of_descriptor(link: &Path) -> Option<Key> {
    let target = fs::read_link(link).ok()?;
    if !target.is_absolute() {
        return parse(target.to_str()?);
    }
    let meta = fs::metadata(link).ok()?;
    let namespaces = fs::metadata("/proc/self/ns/mnt").ok()?.dev();
    if meta.dev() != namespaces {
        return None;
    }
    let flag = nsfs::kind(File::open(link).ok()?.as_fd()).ok()?;
    Some((KINDS.iter().position(|(kind, _)| kind.bits() == flag)?, meta.ino()))
}

fn command(pid: i32) -> String {
    read::text(format!("/proc/{pid}/comm")).map(|name| name.trim_end().to_owned()).unwrap_or_default()
}

impl Taking {
    fn process(&mut self, pid: i32, is_own: bool) {
        self.processes += 1;
        let mut mine = HashMap::new();
        for (_, kind) in KINDS {
            let path = format!("/proc/{pid}/ns/{kind}");
            match fs::read_link(&path) {
                Ok(target) => {
                    let Some(key) = target.to_str().and_then(parse) else { continue };
                    mine.insert(kind, key);
                    let namespace = self.meet(key, &path);
                    namespace.members += 1;
                    namespace.lowest.get_or_insert_with(|| (pid, command(pid)));
                }
                Err(cause) if cause.kind() == std::io::ErrorKind::PermissionDenied => {
                    self.unreadable += 1;
                    return;
                }
                // It has ended, or this kernel lacks the kind.
                Err(_) => {}
            }
        }
        self.for_children(pid, &mine);
        if !is_own {
            self.descriptors(pid);
        }
        if let Some((_, inode)) = mine.get("mnt")
            && !self.tables.contains(inode)
        {
            self.table(pid, Some(pid));
        }
    }

    /// A namespace, with what can be asked of it when it is met for the first time.
    fn meet(&mut self, key: Key, path: &str) -> &mut Namespace {
        if !self.found.contains_key(&key) {
            let opened = File::open(path).ok().map(OwnedFd::from);
            // A link may lead to another namespace by the time it is opened.
            let opened = opened.filter(|fd| inode(fd) == Some(key.1));
            self.add(key, opened.as_ref());
        }
        self.found.entry(key).or_insert_with(|| bare(key))
    }

    /// Adds a namespace, and those that it leads to.
    fn add(&mut self, key: Key, fd: Option<&OwnedFd>) {
        let mut namespace = bare(key);
        let mut more = Vec::new();
        if let Some(fd) = fd {
            let related = [(nsfs::owner(fd.as_fd()), 0), (nsfs::parent(fd.as_fd()), key.0)];
            let [owner, parent] = related.map(|(answer, kind)| {
                let fd = answer.ok()?;
                let number = inode(&fd)?;
                more.push(((kind, number), fd));
                Some(number)
            });
            (namespace.owner, namespace.parent) = (owner, parent);
            namespace.maker = nsfs::maker(fd.as_fd()).ok();
        }
        self.found.insert(key, namespace);
        for (key, fd) in more {
            if !self.found.contains_key(&key) {
                self.add(key, Some(&fd));
            }
        }
    }

    /// Where the children of a process will be, if that is elsewhere.
    fn for_children(&mut self, pid: i32, mine: &HashMap<&str, Key>) {
        for kind in ["pid", "time"] {
            let path = format!("/proc/{pid}/ns/{kind}_for_children");
            let Some(key) = key_of(&path).filter(|key| mine.get(kind) != Some(key)) else { continue };
            let keeper = Keeper::Children { pid, command: command(pid) };
            self.meet(key, &path).keepers.push(keeper);
        }
    }

    fn descriptors(&mut self, pid: i32) {
        let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return };
        for entry in entries.flatten() {
            let (Some(key), Some(fd)) = (key_of_descriptor(&entry.path()), number(&entry.file_name())) else {
                continue;
            };
            let keeper = Keeper::Descriptor { pid, fd, command: command(pid) };
            self.meet(key, &entry.path().to_string_lossy()).keepers.push(keeper);
        }
    }

    /// The namespaces that are mounted on files, in the mount table of a process.
    fn table(&mut self, pid: i32, of: Option<i32>) {
        let Some((_, inode)) = key_of(format!("/proc/{pid}/ns/mnt")) else { return };
        let Ok(bytes) = read::bytes(Path::new(&format!("/proc/{pid}/mountinfo"))) else { return };
        self.tables.insert(inode);
        for mount in mounts::parse(&bytes).into_iter().filter(|mount| mount.fstype == "nsfs") {
            let Some(key) = mount.root.to_str().and_then(parse) else { continue };
            if !self.mounted.insert((key, mount.at.clone())) {
                continue;
            }
            let seen = seen_at(&mount, of);
            self.meet(key, &seen).keepers.push(Keeper::Mount { path: mount.at, of });
        }
    }

    /// What owns others, or has others nested in it, lives as long as they do.
    fn count_dependents(&mut self) {
        let mut counts: HashMap<Key, usize> = HashMap::new();
        for ((kind, inode), namespace) in &self.found {
            let related = [namespace.owner.map(|owner| (0, owner)), namespace.parent.map(|up| (*kind, up))];
            // The owner of a user namespace is the one that it is nested in: it counts once.
            let related: HashSet<Key> = related.into_iter().flatten().collect();
            for key in related.into_iter().filter(|key| *key != (*kind, *inode)) {
                *counts.entry(key).or_default() += 1;
            }
        }
        for (key, count) in counts {
            if let Some(namespace) = self.found.get_mut(&key) {
                namespace.keepers.push(Keeper::Namespaces(count));
            }
        }
    }
}

/// The path by which this process reaches what is mounted in the table of another.
fn seen_at(mount: &Mount, of: Option<i32>) -> String {
    let at = mount.at.to_string_lossy();
    of.map_or_else(|| at.clone().into_owned(), |pid| format!("/proc/{pid}/root{at}"))
}

fn inode(fd: &OwnedFd) -> Option<u64> {
    File::from(fd.try_clone().ok()?).metadata().ok().map(|meta| meta.ino())
}

fn number(name: &std::ffi::OsStr) -> Option<i32> {
    name.to_str()?.parse().ok()
}

fn bare((kind, inode): Key) -> Namespace {
    Namespace {
        kind: KINDS[kind].1,
        inode,
        members: 0,
        lowest: None,
        owner: None,
        parent: None,
        maker: None,
        keepers: Vec::new(),
    }
}

/// Kind and number of a namespace by its name, such as `net:[4026531833]`.
#[must_use]
pub fn named(text: &str) -> Option<(&'static str, u64)> {
    parse(text).map(|(at, number)| (KINDS[at].1, number))
}

/// Kind and number of the namespace that a descriptor of this process refers to.
#[must_use]
pub fn of_descriptor(fd: i64) -> Option<(&'static str, u64)> {
    key_of_descriptor(Path::new(&format!("/proc/self/fd/{fd}"))).map(|(at, number)| (KINDS[at].1, number))
}

/// The snapshot of what keeps the namespace that is mounted on a file.
#[must_use]
pub fn snapshot_of_file(path: &Path) -> Json {
    let table = mounts::table().unwrap_or_default();
    let mount = table.iter().rfind(|mount| mount.at == path && mount.fstype == "nsfs");
    let Some(name) = mount.map(|mount| mount.root.to_string_lossy().into_owned()) else {
        return json!({ "namespace": "none is mounted here" });
    };
    let found = take().namespaces.into_iter().find(|one| named(&name) == Some((one.kind, one.inode)));
    let processes = match found.as_ref().map_or(0, |one| one.members) {
        0 => "none".to_owned(),
        many => many.to_string(),
    };
    let keepers: Vec<String> =
        found.iter().flat_map(|one| one.keepers.iter().map(Keeper::to_string)).collect();
    json!({ "namespace": name, "processes": processes, "kept by": keepers.join(", ") })
}

impl std::fmt::Display for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Descriptor { pid, fd, command } => write!(f, "descriptor {fd} of {pid} {command}"),
            Self::Mount { path, of: None } => write!(f, "the mount on {}", path.display()),
            Self::Mount { path, of: Some(pid) } => {
                write!(f, "the mount on {} in the mount table of {pid}", path.display())
            }
            Self::Children { pid, command } => write!(f, "the next children of {pid} {command}"),
            Self::Namespaces(1) => write!(f, "a namespace that it owns or contains"),
            Self::Namespaces(number) => write!(f, "{number} namespaces that it owns or contains"),
        }
    }
}

/// The number of the caller's own namespace of a kind.
#[must_use]
pub fn own(kind: &str) -> Option<u64> {
    key_of(format!("/proc/self/ns/{kind}")).map(|(_, inode)| inode)
}

/// What is known of the namespaces of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The namespaces: kind and number, of those that this kernel has.
    pub namespaces: Vec<(CloneFlags, &'static str, u64)>,
}

/// Why the namespaces of a process cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// There is no process of this number.
    Gone,
    /// It has ended and was not collected yet.
    Zombie,
    /// It is not the caller's to look into.
    Forbidden {
        /// The user whom it belongs to.
        uid: Option<u32>,
    },
}

/// The namespaces of a process.
///
/// # Errors
/// Why they cannot be read.
pub fn standing(pid: i32) -> Result<Standing, Unreadable> {
    let Ok(meta) = fs::metadata(format!("/proc/{pid}")) else { return Err(Unreadable::Gone) };
    let mut namespaces = Vec::new();
    for (flag, kind) in KINDS {
        match fs::read_link(format!("/proc/{pid}/ns/{kind}")) {
            Ok(target) => {
                let key = target.to_str().and_then(parse);
                namespaces.extend(key.map(|(_, inode)| (flag, kind, inode)));
            }
            Err(cause) if cause.kind() == std::io::ErrorKind::PermissionDenied => {
                return Err(Unreadable::Forbidden { uid: Some(meta.uid()) });
            }
            Err(_) => {}
        }
    }
    if super::status(pid.into()).is_ok_and(|status| status.is_zombie()) || namespaces.is_empty() {
        return Err(Unreadable::Zombie);
    }
    Ok(Standing { namespaces })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_namespaces_are_in_it_with_a_member_and_an_owner() {
        let census = take();
        for (_, kind) in KINDS.iter().filter(|(_, kind)| own(kind).is_some()) {
            let found =
                census.namespaces.iter().find(|one| Some(one.inode) == own(kind) && one.kind == *kind);
            let found = found.unwrap_or_else(|| panic!("{kind} is missing"));
            assert!(found.members > 0 && found.lowest.is_some(), "{found:?}");
        }
    }

    #[test]
    fn a_descriptor_keeps_a_namespace() {
        let text = "net:[4026531833]";
        assert_eq!(parse(text), Some((5, 4_026_531_833)));
        assert_eq!(parse("socket:[1]"), None);
        assert_eq!(parse("net:[x]"), None);
    }

    #[test]
    fn a_process_that_is_not_there_is_gone() {
        assert_eq!(standing(-1), Err(Unreadable::Gone));
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(standing(own).unwrap().namespaces.len() >= 6);
    }
}
