//! What a lab needs of the machine and of the user, and whether it is there.

use std::path::Path;

use serde::Deserialize;

use super::sheet::{Kind, User};
use super::{Lab, Sheet};
use crate::error::{Error, Result};
use crate::probe::{Host, Place};

/// Something that a lab cannot do without.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// The right to make a user namespace.
    UserNamespaces,
    /// A kind of namespace, which a kernel may lack.
    Namespace(Kind),
    /// Version 2 of the control groups.
    CgroupV2,
    /// A place where a group with this controller can be made, in either version.
    Controller(String),
    /// The right to mount a new proc: without privilege, only where no part of the present one is covered.
    NewProc,
    /// Ids beside one's own that may be mapped.
    SubordinateIds,
    /// overlayfs.
    Overlay,
    /// A program, found by the PATH.
    Program(String),
    /// A kernel of at least this release: `5.11`.
    Kernel(String),
}

impl Need {
    /// What it is, in a few words.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::UserNamespaces => "user namespaces".to_owned(),
            Self::Namespace(kind) => format!("{} namespaces", kind.name()),
            Self::CgroupV2 => "cgroup v2".to_owned(),
            Self::Controller(name) => format!("a group with the controller {name}"),
            Self::NewProc => "a new proc".to_owned(),
            Self::SubordinateIds => "subordinate ids".to_owned(),
            Self::Overlay => "overlayfs".to_owned(),
            Self::Program(name) => format!("the program {name}"),
            Self::Kernel(release) => format!("Linux {release}"),
        }
    }

    /// Whether it is there; if not, why.
    fn met(&self, host: &Host) -> Result<(), String> {
        let or = |there: bool, why: &str| if there { Ok(()) } else { Err(why.to_owned()) };
        match self {
            Self::UserNamespaces => host.user_namespaces().map_err(str::to_owned),
            Self::Namespace(kind) => or(
                Path::new(&format!("/proc/self/ns/{}", kind.name())).exists(),
                &format!("this kernel has no {} namespaces", kind.name()),
            ),
            Self::CgroupV2 => or(host.cgroups().v2.is_some(), "no cgroup2 file system is mounted"),
            Self::Controller(name) => match host.cgroups().place(name, host.is_privileged()) {
                Place::Nowhere(why) => Err(why),
                _ => Ok(()),
            },
            Self::NewProc => new_proc(host),
            Self::SubordinateIds => subordinate_ids(host),
            Self::Overlay => overlay(host),
            Self::Program(name) => or(find(name), &format!("{name} is in no directory of PATH")),
            Self::Kernel(release) => {
                or(at_least(host, release), &format!("this is Linux {}.{}", host.kernel.0, host.kernel.1))
            }
        }
    }
}

/// The kernel gives a user namespace a new proc only where it sees all of one already: what is mounted over a part
/// would be uncovered by it. An empty directory that is mounted on covers nothing.
fn new_proc(host: &Host) -> Result<(), String> {
    let empty = Path::new("/proc/sys/fs/binfmt_misc");
    let covers = |at: &Path| at.starts_with("/proc") && at != Path::new("/proc") && !at.starts_with(empty);
    match host.mounts().iter().find(|mount| covers(&mount.at)) {
        Some(mount) if !host.is_privileged() => {
            Err(format!("{} is covered by a mount: this is a container", mount.at.display()))
        }
        _ => Ok(()),
    }
}

fn overlay(host: &Host) -> Result<(), String> {
    if !host.has_overlay() && !is_module("overlay") {
        return Err("/proc/filesystems does not list overlay, and there is no such module to load".to_owned());
    }
    if !host.is_privileged() && !host.kernel_at_least(5, 11) {
        return Err("Linux allows it in a user namespace since 5.11".to_owned());
    }
    Ok(())
}

/// Whether the running kernel has a module of this name, which the first mount loads.
fn is_module(name: &str) -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let list = std::fs::read_to_string(format!("/lib/modules/{release}/modules.dep")).unwrap_or_default();
    let files = list.lines().filter_map(|line| line.split(':').next()?.rsplit('/').next());
    files.filter_map(|file| file.split_once(".ko")).any(|(module, _)| module == name)
}

fn subordinate_ids(host: &Host) -> Result<(), String> {
    if host.is_privileged() {
        return Ok(());
    }
    if host.subuids().is_empty() || host.subgids().is_empty() {
        return Err("/etc/subuid and /etc/subgid have no line for you".to_owned());
    }
    if find("newuidmap") { Ok(()) } else { Err("newuidmap is in no directory of PATH".to_owned()) }
}

fn find(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

fn at_least(host: &Host, release: &str) -> bool {
    let mut numbers = release.split('.').map(|part| part.parse().unwrap_or(u32::MAX));
    host.kernel_at_least(numbers.next().unwrap_or(u32::MAX), numbers.next().unwrap_or(0))
}

impl Sheet {
    /// What is missing here, each with its reason.
    #[must_use]
    pub fn missing(&self, host: &Host) -> Vec<String> {
        let unmet = |need: &Need| need.met(host).err().map(|why| format!("{}: {why}", need.name()));
        self.needs.iter().filter_map(unmet).collect()
    }

    /// Whether this user is one of those that can do it.
    #[must_use]
    pub fn is_for(&self, host: &Host) -> bool {
        let kind = if host.is_privileged() { User::Root } else { User::Ordinary };
        self.users.contains(&kind)
    }
}

impl Lab {
    /// What the lab needs, for the heading.
    #[must_use]
    pub fn needs(&self) -> Vec<String> {
        let users = match self.sheet.users.as_slice() {
            [User::Root] => "root",
            [User::Ordinary] => "an ordinary user",
            _ => "root or an ordinary user",
        };
        let rest = self.sheet.needs.iter().map(Need::name);
        std::iter::once(users.to_owned()).chain(rest).collect()
    }

    /// Makes sure that the lab can be done here.
    ///
    /// # Errors
    /// What is missing, and what can be done about it.
    pub fn can_be_done(&self, host: &Host) -> Result<()> {
        let cannot = Error::new(format!("lab {} cannot be done here", self.number()));
        if !self.sheet.is_for(host) {
            let (needs, remedy) = if host.is_privileged() {
                ("it is about what an ordinary user can do", "start it as an ordinary user")
            } else {
                ("it needs the rights of root", "start it with sudo, and work in a root shell")
            };
            return Err(cannot.rule(needs).remedy(remedy));
        }
        let missing = self.sheet.missing(host);
        if missing.is_empty() {
            return Ok(());
        }
        Err(cannot
            .rule(format!("missing: {}", missing.join("; ")))
            .remedy("read its task all the same: `cutaway lab start --explain` shows what it would prepare")
            .chapter("0"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_its_reason() {
        let host = Host::read().with_user_namespaces(Err("because"));
        assert_eq!(Need::UserNamespaces.met(&host), Err("because".to_owned()));
        assert!(Need::Kernel("4.0".to_owned()).met(&host).is_ok());
        assert!(Need::Kernel("99.1".to_owned()).met(&host).unwrap_err().starts_with("this is Linux"));
        assert!(Need::Program("sh".to_owned()).met(&host).is_ok());
        assert!(Need::Program("surely-not-there".to_owned()).met(&host).is_err());
    }
}
