//! Checking claims: what the prose asserts, compared with what the kernel says now.
//!
//! Nothing is tried out: a check reads, and where reading is impossible the claim does not hold and says why.

use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;

use super::root::{self, Identity};
use super::{
    Claim, Origin, census, cgroup, fds, files, ipc, known, links, mounts, privileges, process, read, wires,
};
use crate::sys::Value;
use crate::sys::flags::{CapSet, CloneFlags};
use crate::sys::netlink::dump;

impl Claim {
    /// Checks the claim for this process.
    ///
    /// # Errors
    /// What was seen instead.
    pub fn check(&self, origin: &Origin) -> Result<(), String> {
        match self {
            Self::Hostname(name) => hostname(name),
            Self::OwnNamespaces(kinds) => own_namespaces(*kinds, origin),
            Self::PidIs(pid) => same(pid, &nix::unistd::getpid().as_raw(), "pid"),
            Self::Mounted { at, fstype } => mounted(at, fstype),
            Self::NotMounted(path) => not_mounted(path),
            Self::NothingShared => nothing_shared(),
            Self::LinkUp(name) => link_up(name),
            Self::FileHolds { path, text } => file_holds(path, text),
            Self::Becomes { path, text } => soon(|| file_holds(path, text)),
            Self::Counts { path, word, least } => soon(|| counts(path, word, *least)),
            Self::Exists(path) => exists(path),
            Self::CapabilitiesWithin(set) => capabilities_within(*set),
            Self::NoNewPrivs => no_new_privs(),
            Self::Ids { uid, gid } => ids(*uid, *gid),
            Self::ReadOnly(path) => read_only(path),
            Self::DescriptorsCloseOnExec => descriptors_close(),
            Self::InGroup(path) => cgroup::is_in(path),
            Self::Domainname(name) => same(
                name.as_str(),
                &rustix::system::uname().domainname().to_string_lossy(),
                "the domain name",
            ),
            Self::SharedNamespaces(kinds) => shared_namespaces(*kinds, origin),
            Self::OwnForChildren(kinds) if origin.differs_for_children(*kinds) => Ok(()),
            Self::OwnForChildren(_) => Err("children get the same namespaces".to_owned()),
            Self::Innermost { pid, inside } => {
                let last = process::status(known(pid))?.pids.last().copied().unwrap_or_default();
                same(inside, &last, "pid")
            }
            Self::ProcSelf(pid) => same(pid, &super::own_pid().unwrap_or(0), "/proc/self:"),
            Self::Alive(pid) => state(pid, |one| !one.is_zombie()),
            Self::Zombie(pid) => state(pid, process::Status::is_zombie),
            Self::NoProcess(pid) => match process::status(known(pid)) {
                Ok(one) => Err(format!("{} {}", one.name, one.state)),
                Err(_) => Ok(()),
            },
            Self::ParentOf { pid, parent } => {
                same(&known(parent), &process::status(known(pid))?.parent.into(), "parent")
            }
            Self::NoMembers(fd) => no_members(known(fd)),
            Self::IpcObjects(count) => same(count, &ipc::count()?, "objects:"),
            Self::ClockAhead { clock, seconds } => ahead(*seconds, origin.clocks.ahead(*clock)),
            Self::ShownInGroup { pid, controller, path } => {
                let who = pid.as_ref().map_or_else(|| "self".to_owned(), ToString::to_string);
                let seen = cgroup::path_of(&who, controller)?;
                same(&path.display().to_string(), &seen.display().to_string(), "group")
            }
            Self::Owner { path, uid } => owner(path, *uid),
            Self::Files(claim) => claim.check(),
            Self::MemoryHolds { at, bytes } => memory_holds(known(at), bytes),
            Self::OpenSize { fd, bytes } => open_size(known(fd), *bytes),
            Self::HostRoot(pid) => root_is(pid.as_ref(), &host_root(origin)?),
            Self::OtherRoot(pid) => other_root(pid.as_ref(), &host_root(origin)?),
            Self::RootIs(fd) => root_is(None, &Identity::of_descriptor(known(fd))?),
            Self::DirectoryOutside => directory_outside(),
            Self::DirectoryInside => same("/", root::directory()?.as_str(), "the working directory is"),
            Self::SharesNamespaces { pid, kinds } => {
                none_differs(&origin.shared_with(&pid.to_string(), *kinds)?, *kinds)
            }
            Self::OneRootMount(pid) => root::one_mount(known(pid)),
            network => network.check_network(),
        }
    }

    /// The claims about networks, and about namespaces as such.
    fn check_network(&self) -> Result<(), String> {
        match self {
            Self::Namespace { fd, kind, number } => {
                let (found, seen) = census::of_descriptor(known(fd)).ok_or("no namespace")?;
                same(&format!("{kind}:[{number}]"), &format!("{found}:[{seen}]"), "it is")
            }
            Self::LinkDown(name) => match links::is_up(name) {
                Ok(Some(false)) => Ok(()),
                Ok(Some(true)) => Err(format!("{name} is up")),
                _ => link_up(name),
            },
            Self::NoLink(name) => match links::is_up(name) {
                Ok(None) => Ok(()),
                Ok(Some(_)) => Err(format!("{name} is there")),
                Err(_) => link_up(name),
            },
            Self::Peer { link, index } => peer(link, *index),
            Self::Neighbour { address, known } => neighbour(*address, *known),
            Self::Learned { socket, least } => learned(known(socket), *least),
            other => Err(format!("nothing is known of: {other}")),
        }
    }
}

fn state(pid: &Value, fits: impl Fn(&process::Status) -> bool) -> Result<(), String> {
    let one = process::status(known(pid))?;
    if fits(&one) { Ok(()) } else { Err(one.state) }
}

fn shared_namespaces(kinds: CloneFlags, origin: &Origin) -> Result<(), String> {
    none_differs(&origin.still_shared(kinds)?, kinds)
}

fn none_differs(shared: &[&str], kinds: CloneFlags) -> Result<(), String> {
    let asked = super::ns::KINDS.iter().filter(|(flag, _)| kinds.contains(*flag)).map(|(_, name)| *name);
    let own: Vec<_> = asked.filter(|name| !shared.contains(name)).collect();
    if own.is_empty() { Ok(()) } else { Err(format!("different: {}", own.join(", "))) }
}

fn no_members(fd: i64) -> Result<(), String> {
    let all = process::members(fd);
    if all.is_empty() { Ok(()) } else { Err(format!("processes {all:?}")) }
}

/// How long a whole command may take before a clock that runs is mistaken for one that was moved.
const SLOW: i64 = 3600;

fn ahead(seconds: i64, found: i64) -> Result<(), String> {
    if (seconds..seconds + SLOW).contains(&found) { Ok(()) } else { Err(format!("{found} s")) }
}

fn owner(path: &Path, uid: u32) -> Result<(), String> {
    same(&uid, &files::metadata(path)?.uid(), "user")
}

fn open_size(fd: i64, bytes: u64) -> Result<(), String> {
    let path = format!("/proc/self/fd/{fd}");
    let meta = std::fs::metadata(&path).map_err(|cause| read::reason(Path::new(&path), &cause))?;
    same(&bytes, &meta.len(), "bytes:")
}

fn memory_holds(at: i64, bytes: &[u8]) -> Result<(), String> {
    use std::os::unix::fs::FileExt;
    let path = Path::new("/proc/self/mem");
    let mut found = vec![0; bytes.len()];
    let read = std::fs::File::open(path).and_then(|file| file.read_exact_at(&mut found, at.cast_unsigned()));
    read.map_err(|cause| read::reason(path, &cause))?;
    if found == bytes { Ok(()) } else { Err(String::from_utf8_lossy(&found).into_owned()) }
}

fn host_root(origin: &Origin) -> Result<Identity, String> {
    origin.root.ok_or_else(|| "the root at the start could not be read".to_owned())
}

fn root_is(pid: Option<&Value>, expected: &Identity) -> Result<(), String> {
    same(expected, &Identity::of_root(pid.map(known))?, "the root is")
}

fn other_root(pid: Option<&Value>, host: &Identity) -> Result<(), String> {
    let found = Identity::of_root(pid.map(known))?;
    if found == *host { Err(format!("the root is {found}, the host's")) } else { Ok(()) }
}

fn directory_outside() -> Result<(), String> {
    let path = root::directory()?;
    if root::is_outside(&path) { Ok(()) } else { Err(format!("the working directory is {path}")) }
}

fn same<T: PartialEq + std::fmt::Display + ?Sized>(
    expected: &T,
    found: &T,
    what: &str,
) -> Result<(), String> {
    if expected == found { Ok(()) } else { Err(format!("{what} {found}")) }
}

fn hostname(name: &str) -> Result<(), String> {
    same(name, &rustix::system::uname().nodename().to_string_lossy(), "the host name")
}

fn own_namespaces(kinds: CloneFlags, origin: &Origin) -> Result<(), String> {
    let shared = origin.still_shared(kinds)?;
    if shared.is_empty() { Ok(()) } else { Err(format!("still shared: {}", shared.join(", "))) }
}

/// The topmost mount on the path counts: it is what a lookup finds.
fn mounted(at: &Path, fstype: &str) -> Result<(), String> {
    let table = mounts::table()?;
    match table.iter().rfind(|mount| mount.at == at) {
        Some(mount) => same(fstype, &mount.fstype, "a mount of type"),
        None => Err(format!("nothing mounted on {}", at.display())),
    }
}

fn not_mounted(path: &Path) -> Result<(), String> {
    let table = mounts::table()?;
    match table.iter().find(|mount| mount.at.starts_with(path)) {
        Some(mount) => Err(format!("{} on {}", mount.fstype, mount.at.display())),
        None => Ok(()),
    }
}

fn nothing_shared() -> Result<(), String> {
    let table = mounts::table()?;
    let shared: Vec<_> = table.iter().filter(|mount| mount.is_shared()).collect();
    match shared.first() {
        None => Ok(()),
        Some(first) => Err(format!("{} shared, the first on {}", shared.len(), first.at.display())),
    }
}

fn link_up(name: &str) -> Result<(), String> {
    match links::is_up(name) {
        Ok(Some(true)) => Ok(()),
        Ok(Some(false)) => Err(format!("{name} is down")),
        Ok(None) => Err(format!("no interface {name}")),
        Err(errno) => Err(format!("network interfaces cannot be read: {errno:?}")),
    }
}

fn peer(name: &str, index: u32) -> Result<(), String> {
    let unreadable = |errno| format!("network interfaces cannot be read: {errno:?}");
    let link = wires::interface(name).map_err(unreadable)?.ok_or_else(|| format!("no interface {name}"))?;
    match (link.peer, link.peer_namespace) {
        (Some(peer), Some(_)) => same(&index, &peer, "interface"),
        (Some(peer), None) => Err(format!("interface {peer} of the same network namespace")),
        _ => Err(format!("{name} has no other end")),
    }
}

fn neighbour(address: Ipv4Addr, known: bool) -> Result<(), String> {
    let found = wires::neighbours()?.into_iter().find(|one| one.address == address);
    match (found.and_then(|one| one.hardware), known) {
        (Some(_), true) | (None, false) => Ok(()),
        (Some(hardware), false) => Err(format!("{hardware} has it")),
        (None, true) => Err("nobody has answered".to_owned()),
    }
}

fn learned(socket: i64, least: usize) -> Result<(), String> {
    let fd = i32::try_from(socket).map_err(|_| "no socket".to_owned())?;
    let all = dump::learned(fd).map_err(|errno| format!("the bridge cannot be read: {errno:?}"))?;
    if all.len() >= least { Ok(()) } else { Err(all.len().to_string()) }
}

fn file_holds(path: &Path, text: &str) -> Result<(), String> {
    let found = read::text(path)?;
    same(text.trim_end(), found.trim_end(), &format!("{}:", path.display()))
}

/// What the kernel does in its own time, such as freezing, holds a moment later.
fn soon(check: impl Fn() -> Result<(), String>) -> Result<(), String> {
    const PAUSE: std::time::Duration = std::time::Duration::from_millis(5);
    for _ in 0..200 {
        if check().is_ok() {
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
    check()
}

fn counts(path: &Path, word: &str, least: u64) -> Result<(), String> {
    let found = super::meter::behind(&read::text(path)?, word);
    match found {
        Some(number) if number >= least => Ok(()),
        Some(number) => Err(format!("{word} {number}")),
        None => Err(format!("no {word} in {}", path.display())),
    }
}

fn exists(path: &Path) -> Result<(), String> {
    std::fs::symlink_metadata(path).map(|_| ()).map_err(|cause| read::reason(path, &cause))
}

fn capabilities_within(set: CapSet) -> Result<(), String> {
    let now = privileges::now()?;
    let beyond = CapSet((now.effective.0 | now.bounding.0) & !set.0);
    if beyond.0 == 0 { Ok(()) } else { Err(format!("also {}", privileges::names(beyond).join(", "))) }
}

fn no_new_privs() -> Result<(), String> {
    match rustix::thread::no_new_privs() {
        Ok(true) => Ok(()),
        Ok(false) => Err("no_new_privs is not set".to_owned()),
        Err(errno) => Err(errno.to_string()),
    }
}

fn ids(uid: u32, gid: u32) -> Result<(), String> {
    let found = format!("{}, group {}", nix::unistd::geteuid(), nix::unistd::getegid());
    same(&format!("{uid}, group {gid}"), &found, "user")
}

/// `faccessat2(2)` answers EROFS before it looks at permissions, for everybody. It says nothing of sockets,
/// fifos and devices, which can be written to on a read-only file system.
/// What the mount or its file system says: a refused access could have other reasons, such as a mode.
fn read_only(path: &Path) -> Result<(), String> {
    match rustix::fs::statvfs(path) {
        Ok(stat) if stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) => Ok(()),
        Ok(_) => Err(format!("{} can be written to", path.display())),
        Err(errno) => Err(format!("{}: {:?}", path.display(), Errno::from_raw(errno.raw_os_error()))),
    }
}

fn descriptors_close() -> Result<(), String> {
    let staying: Vec<_> = fds::all()?
        .into_iter()
        .filter(|one| one.fd > 2 && !one.cloexec)
        .map(|one| format!("{} ({})", one.fd, one.target))
        .collect();
    if staying.is_empty() { Ok(()) } else { Err(format!("open: {}", staying.join(", "))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(claim: &Claim) -> Result<(), String> {
        claim.check(&Origin::capture())
    }

    #[test]
    fn what_is_so_holds() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("limit");
        std::fs::write(&file, "67108864\n").unwrap();
        let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        let claims = [
            Claim::Hostname(nix::unistd::gethostname().unwrap().to_string_lossy().into_owned()),
            Claim::PidIs(std::process::id().cast_signed()),
            Claim::Mounted { at: "/proc".into(), fstype: "proc".into() },
            Claim::NotMounted(dir.path().into()),
            Claim::FileHolds { path: file.clone(), text: "67108864".into() },
            Claim::Exists(file),
            Claim::CapabilitiesWithin(CapSet(u64::MAX)),
            Claim::Ids { uid, gid },
            Claim::HostRoot(None),
            Claim::HostRoot(Some(Value::Known(std::process::id().into()))),
        ];
        for claim in claims {
            assert_eq!(holds(&claim), Ok(()), "{claim}");
        }
    }

    #[test]
    fn what_is_not_so_says_what_was_seen() {
        assert_eq!(holds(&Claim::PidIs(0)).unwrap_err(), format!("pid {}", std::process::id()));
        let seen = holds(&Claim::Mounted { at: "/proc".into(), fstype: "tmpfs".into() });
        assert_eq!(seen, Err("a mount of type proc".into()));
        let seen = holds(&Claim::Mounted { at: "/nonexistent".into(), fstype: "proc".into() });
        assert_eq!(seen, Err("nothing mounted on /nonexistent".into()));
        assert_eq!(holds(&Claim::OwnNamespaces(CloneFlags::CLONE_NEWUTS)), Err("still shared: uts".into()));
        assert_eq!(holds(&Claim::LinkUp("none0".into())), Err("no interface none0".into()));
        assert_eq!(holds(&Claim::Exists("/nonexistent".into())), Err("/nonexistent: ENOENT".into()));
        assert_eq!(holds(&Claim::ReadOnly("/tmp".into())), Err("/tmp can be written to".into()));
        assert!(holds(&Claim::InGroup("/nonexistent".into())).is_err());
        assert!(holds(&Claim::OtherRoot(None)).unwrap_err().ends_with("the host's"));
        assert!(holds(&Claim::DirectoryOutside).unwrap_err().starts_with("the working directory is /"));
        assert!(holds(&Claim::RootIs(Value::Known(-1))).is_err());
    }
}
