//! Where this process really is: on a machine of its own, in a container, in a chroot, under WSL.
//!
//! Engines leave marks, and marks may be missing or stale. What cannot be forged are the numbers of the machine's
//! first namespaces, which the kernel gives out before anything else runs (`include/linux/proc_ns.h`).

use std::path::Path;

use super::{Host, ns, read, sysctl};

/// The inode numbers of the namespaces that every machine starts with. Mount and network namespaces had none that is
/// the same everywhere until Linux 6.18.
const FIRST: [(&str, u64); 6] = [
    ("time", 0xEFFF_FFFA),
    ("cgroup", 0xEFFF_FFFB),
    ("pid", 0xEFFF_FFFC),
    ("user", 0xEFFF_FFFD),
    ("uts", 0xEFFF_FFFE),
    ("ipc", 0xEFFF_FFFF),
];

/// The kinds of this process's namespaces that are not the machine's first ones.
#[must_use]
pub fn own_namespaces() -> Vec<&'static str> {
    let mine = ns::inodes();
    let own = FIRST.iter().filter(|(name, first)| mine.get(name).is_some_and(|inode| inode != first));
    own.map(|(name, _)| *name).collect()
}

/// Marks that container engines leave.
#[must_use]
pub fn container_marks() -> Vec<String> {
    let files = ["/.dockerenv", "/run/.containerenv"].into_iter().filter(|path| Path::new(path).exists());
    let variable = std::env::var("container").ok().filter(|value| !value.is_empty());
    let group = read::text("/proc/1/cgroup").unwrap_or_default();
    let engine = ["docker", "libpod", "kubepods", "lxc", "machine.slice"];
    let named = engine.into_iter().filter(|name| group.contains(name));
    files
        .map(|path| format!("the file {path}"))
        .chain(variable.map(|value| format!("the variable container={value}")))
        .chain(named.map(|name| format!("{name} in /proc/1/cgroup")))
        .collect()
}

/// Whether this is the Windows subsystem for Linux, which has no systemd, and other defaults, by itself.
#[must_use]
pub fn is_wsl() -> bool {
    let release = sysctl::value("kernel.osrelease").unwrap_or_default().to_lowercase();
    release.contains("microsoft") || Path::new("/proc/sys/fs/binfmt_misc/WSLInterop").exists()
}

/// Whether nothing of a container or a chroot is to be seen.
#[must_use]
pub fn is_plain(host: &Host) -> bool {
    own_namespaces().is_empty() && container_marks().is_empty() && !host.in_chroot()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_kinds_are_named() {
        let kinds: Vec<_> = ns::KINDS.iter().map(|(_, name)| *name).collect();
        assert!(FIRST.iter().all(|(name, _)| kinds.contains(name)));
        assert!(own_namespaces().iter().all(|name| kinds.contains(name)));
    }
}
