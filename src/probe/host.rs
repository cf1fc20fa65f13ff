//! The host as a plan needs to know it: what decides which way is taken, read while planning.
//!
//! Planning a quiet run must cost next to nothing, so each fact is read when it is first asked for and kept.
//! A test plans for any host by setting the facts itself.

use std::cell::OnceCell;
use std::fs;
use std::path::{Path, PathBuf};

use super::cgroup::Cgroups;
use super::mounts::{self, Mount};
use super::{ids, read};
use crate::sys::flags::{CapSet, Capability};

/// Ids that belong to a user, from /etc/subuid and /etc/subgid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubIds {
    /// The first of them.
    pub first: u32,
    /// How many.
    pub count: u32,
}

/// A path that a container must not see or change, and that exists here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Present {
    /// The path.
    pub path: &'static str,
    /// A directory is hidden by an empty file system, a file by /dev/null.
    pub directory: bool,
}

/// What the OCI runtimes hide from a container: files and directories that tell about the host, or give power over it.
pub const MASKED: [&str; 13] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
];

/// What they leave visible but read-only: through these the whole host can be changed.
pub const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The host, each fact read when it is first asked for.
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// Effective user id: what counts in permission checks.
    pub euid: u32,
    /// Real user id.
    pub uid: u32,
    /// Real group id.
    pub gid: u32,
    /// Effective capabilities.
    pub capabilities: CapSet,
    /// The kernel's release, major and minor: (6, 1).
    pub kernel: (u32, u32),
    nested: OnceCell<bool>,
    mounts: OnceCell<Vec<Mount>>,
    cgroups: OnceCell<Cgroups>,
    overlay: OnceCell<bool>,
    masked: OnceCell<Vec<Present>>,
    read_only: OnceCell<Vec<Present>>,
    user_namespaces: OnceCell<Result<(), &'static str>>,
    container: OnceCell<bool>,
    subuids: OnceCell<Vec<SubIds>>,
    subgids: OnceCell<Vec<SubIds>>,
}

impl Host {
    /// Reads what nearly every plan needs: five system calls.
    #[must_use]
    pub fn read() -> Self {
        Self {
            euid: nix::unistd::geteuid().as_raw(),
            uid: nix::unistd::getuid().as_raw(),
            gid: nix::unistd::getgid().as_raw(),
            capabilities: capabilities(),
            kernel: release(&rustix::system::uname().release().to_string_lossy()),
            ..Self::default()
        }
    }

    /// Whether this process may administrate the machine: not by its uid, which says nothing, and not if its
    /// capabilities hold in a user namespace only.
    #[must_use]
    pub fn is_privileged(&self) -> bool {
        self.capabilities.has(Capability::CAP_SYS_ADMIN) && !*self.nested.get_or_init(in_user_namespace)
    }

    /// Whether the kernel is at least this release.
    #[must_use]
    pub fn kernel_at_least(&self, major: u32, minor: u32) -> bool {
        self.kernel >= (major, minor)
    }

    /// The mount table; empty if /proc is not mounted.
    pub fn mounts(&self) -> &[Mount] {
        self.mounts.get_or_init(|| mounts::table().unwrap_or_default())
    }

    /// The control groups.
    pub fn cgroups(&self) -> &Cgroups {
        self.cgroups.get_or_init(|| Cgroups::find(self.mounts()))
    }

    /// Whether the kernel has overlayfs built in or loaded. A module may still be loaded by the first mount.
    pub fn has_overlay(&self) -> bool {
        *self.overlay.get_or_init(|| {
            let all = read::text("/proc/filesystems").unwrap_or_default();
            all.lines().any(|line| line.split_whitespace().last() == Some("overlay"))
        })
    }

    /// The paths to hide that exist here.
    pub fn masked(&self) -> &[Present] {
        self.masked.get_or_init(|| present(&MASKED))
    }

    /// The paths to make read-only that exist here.
    pub fn read_only(&self) -> &[Present] {
        self.read_only.get_or_init(|| present(&READ_ONLY))
    }

    /// Whether this process may make a user namespace; if not, which switch of the host forbids it.
    pub fn user_namespaces(&self) -> Result<(), &'static str> {
        *self.user_namespaces.get_or_init(|| user_namespaces(self.is_privileged(), self.in_chroot()))
    }

    /// Whether the process is in a chroot: its root is no mount point. The kernel refuses user namespaces there.
    pub fn in_chroot(&self) -> bool {
        let mounts = self.mounts();
        !mounts.is_empty() && !mounts.iter().any(|mount| mount.at == Path::new("/"))
    }

    /// Whether this already is a container, going by the marks that container engines leave.
    pub fn in_container(&self) -> bool {
        *self.container.get_or_init(|| {
            ["/.dockerenv", "/run/.containerenv"].iter().any(|path| Path::new(path).exists())
                || std::env::var_os("container").is_some_and(|value| !value.is_empty())
                || in_user_namespace()
        })
    }

    /// The ranges of /etc/subuid that belong to the user.
    pub fn subuids(&self) -> &[SubIds] {
        self.subuids.get_or_init(|| subids("/etc/subuid", self.uid))
    }

    /// The ranges of /etc/subgid that belong to the user.
    pub fn subgids(&self) -> &[SubIds] {
        self.subgids.get_or_init(|| subids("/etc/subgid", self.uid))
    }

    /// The same host with these mounts: for tests.
    #[must_use]
    pub fn with_mounts(self, mounts: Vec<Mount>) -> Self {
        Self { mounts: mounts.into(), ..self }
    }

    /// The same host with these control groups: for tests.
    #[must_use]
    pub fn with_cgroups(self, cgroups: Cgroups) -> Self {
        Self { cgroups: cgroups.into(), ..self }
    }

    /// The same host with or without overlayfs: for tests.
    #[must_use]
    pub fn with_overlay(self, has: bool) -> Self {
        Self { overlay: has.into(), ..self }
    }

    /// The same host with these paths to hide and to make read-only: for tests.
    #[must_use]
    pub fn with_present(self, masked: Vec<Present>, read_only: Vec<Present>) -> Self {
        Self { masked: masked.into(), read_only: read_only.into(), ..self }
    }

    /// The same host with user namespaces, or with the reason against them: for tests.
    #[must_use]
    pub fn with_user_namespaces(self, works: Result<(), &'static str>) -> Self {
        Self { user_namespaces: works.into(), ..self }
    }

    /// The same host, in a container or not: for tests.
    #[must_use]
    pub fn with_container(self, inside: bool) -> Self {
        Self { container: inside.into(), ..self }
    }

    /// The same host with these subordinate ids: for tests.
    #[must_use]
    pub fn with_subids(self, uids: Vec<SubIds>, gids: Vec<SubIds>) -> Self {
        Self { subuids: uids.into(), subgids: gids.into(), ..self }
    }
}

fn capabilities() -> CapSet {
    let sets = rustix::thread::capabilities(None);
    CapSet(sets.map_or(0, |sets| sets.effective.bits()))
}

/// `6.1.0-13-amd64` is (6, 1).
fn release(text: &str) -> (u32, u32) {
    let mut numbers =
        text.split(|letter: char| !letter.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn present(paths: &[&'static str]) -> Vec<Present> {
    let one = |path: &&'static str| {
        let meta = fs::metadata(path).ok()?;
        Some(Present { path, directory: meta.is_dir() })
    };
    paths.iter().filter_map(one).collect()
}

fn user_namespaces(privileged: bool, chroot: bool) -> Result<(), &'static str> {
    let is = |path: &str, value: &str| read::text(path).is_ok_and(|text| text.trim() == value);
    if chroot {
        return Err("this process is in a chroot, where the kernel makes no user namespaces");
    }
    if !Path::new("/proc/self/ns/user").exists() {
        return Err("this kernel has no user namespaces, or /proc is not mounted");
    }
    if is("/proc/sys/user/max_user_namespaces", "0") {
        return Err("the sysctl user.max_user_namespaces is 0");
    }
    if privileged {
        return Ok(());
    }
    if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        return Err("the sysctl kernel.unprivileged_userns_clone is 0");
    }
    if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        return Err("the sysctl kernel.apparmor_restrict_unprivileged_userns is 1");
    }
    Ok(())
}

fn in_user_namespace() -> bool {
    let map = ids::parse_map(&read::text("/proc/self/uid_map").unwrap_or_default());
    !matches!(map.as_slice(), [] | [ids::Range { inside: 0, outside: 0, count: u32::MAX }])
}

/// The ranges of a user, who is named or numbered in the file.
fn subids(file: &str, uid: u32) -> Vec<SubIds> {
    let Ok(text) = read::text(file) else { return Vec::new() };
    parse_subids(&text, uid, user_name(uid).as_deref())
}

fn parse_subids(text: &str, uid: u32, name: Option<&str>) -> Vec<SubIds> {
    let number = uid.to_string();
    let one = |line: &str| {
        let mut fields = line.trim().split(':');
        let who = fields.next()?;
        if who != number && Some(who) != name {
            return None;
        }
        Some(SubIds { first: fields.next()?.parse().ok()?, count: fields.next()?.parse().ok()? })
    };
    text.lines().filter_map(one).collect()
}

/// The user's name by /etc/passwd: a name service would load libraries and open sockets.
fn user_name(uid: u32) -> Option<String> {
    let passwd = fs::read(PathBuf::from("/etc/passwd")).ok()?;
    let passwd = String::from_utf8_lossy(&passwd);
    let found =
        passwd.lines().find(|line| line.split(':').nth(2).is_some_and(|field| field.parse() == Ok(uid)))?;
    found.split(':').next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_may_have_any_suffix() {
        assert_eq!(release("6.1.0-13-amd64"), (6, 1));
        assert_eq!(release("5.10+"), (5, 10));
        assert_eq!(release("nonsense"), (0, 0));
    }

    #[test]
    fn subordinate_ids_go_by_name_or_number() {
        let text = "student:100000:65536\nother:165536:65536\n1000:300000:10\nbroken:1\n";
        let expected = [SubIds { first: 100_000, count: 65_536 }, SubIds { first: 300_000, count: 10 }];
        assert_eq!(parse_subids(text, 1000, Some("student")), expected);
        assert_eq!(parse_subids(text, 7, None), []);
    }

    #[test]
    fn a_fact_that_was_set_is_not_read() {
        let host = Host::default().with_overlay(false).with_user_namespaces(Err("because"));
        assert!(!host.has_overlay());
        assert_eq!(host.user_namespaces(), Err("because"));
    }

    #[test]
    fn the_real_host_can_be_read() {
        let host = Host::read();
        assert!(host.kernel_at_least(4, 0));
        assert!(!host.mounts().is_empty());
        assert!(host.read_only().contains(&Present { path: "/proc/sys", directory: true }));
    }

    /// Not a test of speed: prints what planning a run costs, with `cargo test --release -- --ignored --nocapture`.
    #[test]
    #[ignore = "measures, asserts nothing"]
    fn what_planning_costs() {
        let measure = |name: &str, fact: &dyn Fn(&Host)| {
            let hosts: Vec<_> = (0..1000).map(|_| Host::read()).collect();
            let begin = std::time::Instant::now();
            hosts.iter().for_each(fact);
            println!("{name}: {:?}", begin.elapsed() / 1000);
        };
        measure("reading", &|_| drop(Host::read()));
        measure("mounts", &|host| _ = host.mounts());
        measure("mounts and cgroups", &|host| _ = host.cgroups());
        measure("overlay", &|host| _ = host.has_overlay());
        measure("masked and read-only paths", &|host| _ = (host.masked(), host.read_only()));
        measure("user namespaces, with mounts", &|host| _ = host.user_namespaces());
    }
}
