//! Who says no: from a refused call, its errno and the facts to the layer, its rule and the remedy.
//!
//! EPERM is what a missing capability, a sysctl, a seccomp filter, a security module and half of the mount rules
//! answer. What tells them apart is what this process holds, and which switches are set.

use super::facts::Facts;
use super::trials::KINDS;
use crate::concepts::common::trials::Refusal;
use crate::error::Text;
use crate::probe::cgroup::Layout;
use crate::sys::flags::{CloneFlags, MsFlags};
use crate::sys::{Errno, Syscall};

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// What says no: `AppArmor`, `a seccomp filter`.
    pub layer: &'static str,
    /// The rule that it goes by.
    pub rule: Text,
    /// What to do about it.
    pub remedy: Option<Text>,
    /// A file to write for that, line by line.
    pub file: Vec<String>,
    /// The chapter.
    pub chapter: Text,
}

impl Judgement {
    fn new(
        layer: &'static str,
        rule: impl Into<Text>,
        remedy: impl Into<Text>,
        chapter: &'static str,
    ) -> Self {
        Self {
            layer,
            rule: rule.into(),
            remedy: Some(remedy.into()),
            file: Vec::new(),
            chapter: chapter.into(),
        }
    }
}

/// Judges a refusal.
pub fn judge(refusal: &Refusal, facts: &Facts) -> Judgement {
    let special = user_namespace(refusal, facts)
        .or_else(|| private_mounts(refusal, facts))
        .or_else(|| limit(refusal, facts))
        .or_else(|| state_directory(refusal, facts))
        .or_else(|| filter(refusal, facts));
    special.unwrap_or_else(|| general(refusal))
}

/// Judges what was found out without a call: there is no group in which one could be made.
pub fn no_groups(facts: &Facts) -> Judgement {
    let layer = "the owner of the groups";
    match facts.cgroups.layout {
        Layout::V2 => Judgement::new(
            layer,
            "a group may be made by whom the group around it was handed to (delegated), and such a process must be in \
             that part of the tree already",
            "log in through systemd, or: systemd-run --user --scope -p Delegate=yes cutaway doctor",
            "22",
        ),
        Layout::None => Judgement::new(
            "the mounts",
            "no cgroup file system is mounted here",
            "as root: mount -t cgroup2 cgroup2 /sys/fs/cgroup",
            "22",
        ),
        _ => Judgement::new(
            layer,
            "the controllers have hierarchies of version 1 here, and those belong to root unless it gives a part away",
            "as root, for each controller: make a group, chown it to yourself, and move your shell into it; or start \
             the machine with version 2 (kernel parameter systemd.unified_cgroup_hierarchy=1)",
            "25",
        ),
    }
}

/// Whether the call makes a user namespace, gives it its ids, or is the first to use its power.
fn is_about_user_namespace(refusal: &Refusal) -> bool {
    let makes =
        matches!(&refusal.call, Syscall::Unshare { flags } if flags.contains(CloneFlags::CLONE_NEWUSER));
    let maps = ["uid_map", "gid_map", "setgroups"].iter().any(|file| refusal.path.ends_with(file));
    makes || maps
}

fn user_namespace(refusal: &Refusal, facts: &Facts) -> Option<Judgement> {
    let no = matches!(refusal.errno, Errno::EPERM | Errno::EACCES);
    if no && facts.is("kernel.apparmor_restrict_unprivileged_userns", "1") && !facts.privileged {
        return Some(apparmor(facts));
    }
    if !is_about_user_namespace(refusal) || !no {
        return None;
    }
    if facts.chroot {
        return Some(Judgement::new(
            "the chroot",
            "in a chroot the kernel makes no user namespaces: their root could get out with a second chroot",
            "run outside of the chroot",
            "4",
        ));
    }
    if facts.is("kernel.unprivileged_userns_clone", "0") {
        return Some(Judgement::new(
            "a sysctl",
            "kernel.unprivileged_userns_clone is 0: only root may make user namespaces",
            "as root: sysctl -w kernel.unprivileged_userns_clone=1",
            "14",
        ));
    }
    None
}

/// Ubuntu's restriction (since 23.10, by default since 24.04): programs without a profile get a user namespace without
/// any power in it.
fn apparmor(facts: &Facts) -> Judgement {
    let program = facts.program.display();
    let rule = "the sysctl kernel.apparmor_restrict_unprivileged_userns is 1: a program without an AppArmor profile \
                that allows `userns` gets no power in its user namespaces";
    let remedy = "as root, either give this program a profile: write the file below as /etc/apparmor.d/cutaway and \
                  load it with apparmor_parser -r /etc/apparmor.d/cutaway; or, for all programs until the next boot, \
                  sysctl -w kernel.apparmor_restrict_unprivileged_userns=0";
    let file = vec![
        "abi <abi/4.0>,".to_owned(),
        "include <tunables/global>".to_owned(),
        format!("profile cutaway \"{program}\" flags=(unconfined) {{"),
        "  userns,".to_owned(),
        "  include if exists <local/cutaway>".to_owned(),
        "}".to_owned(),
    ];
    Judgement { file, ..Judgement::new("AppArmor", rule, remedy, "14") }
}

fn limit(refusal: &Refusal, facts: &Facts) -> Option<Judgement> {
    let Syscall::Unshare { flags } = &refusal.call else { return None };
    if refusal.errno != Errno::ENOSPC {
        return None;
    }
    let user = [(CloneFlags::CLONE_NEWUSER, "user", "")];
    let asked = user.iter().chain(&KINDS).filter(|(flag, ..)| flags.contains(*flag));
    let names: Vec<_> = asked.map(|(_, name, _)| format!("user.max_{name}_namespaces")).collect();
    let values: Vec<_> = names
        .iter()
        .map(|name| format!("{name} is {}", facts.sysctl(name).unwrap_or("not to be seen")))
        .collect();
    let raise = names.first().map(|name| format!("as root: sysctl -w {name}=15000")).unwrap_or_default();
    let rule = format!(
        "so many namespaces there are already, of this user, in this user namespace or one around it ({}), or 32 lie \
         within each other",
        values.join(", ")
    );
    Some(Judgement::new("a limit on namespaces", rule, raise, "14"))
}

fn private_mounts(refusal: &Refusal, facts: &Facts) -> Option<Judgement> {
    let private =
        matches!(&refusal.call, Syscall::Mount { flags, .. } if flags.contains(MsFlags::MS_PRIVATE));
    (private && refusal.errno == Errno::EINVAL && facts.chroot).then(|| {
        Judgement::new(
            "the chroot",
            "propagation belongs to mounts, and the root of this process is a directory that is none",
            "run outside of the chroot, or make its root a mount first: mount --bind DIR DIR",
            "6",
        )
    })
}

fn state_directory(refusal: &Refusal, facts: &Facts) -> Option<Judgement> {
    let is_mount = matches!(&refusal.call, Syscall::Mount { target, .. } if *target == "merged".into());
    let about = refusal.text.contains("\"overlay\"") && is_mount;
    let unfit = ["overlay", "nfs", "nfs4", "vfat", "msdos", "exfat", "9p", "fuseblk"]
        .contains(&facts.state_type.as_str());
    if !about || refusal.errno != Errno::EINVAL || !unfit {
        return None;
    }
    Some(Judgement::new(
        "the file system of the state directory",
        format!(
            "{} is on {}, which cannot be the writable layer of an overlay",
            facts.state.display(),
            facts.state_type
        ),
        "--state DIR on ext4, xfs, btrfs or tmpfs; /dev/shm or /tmp may be one",
        "8",
    ))
}

/// A process that holds the capability and is refused all the same.
fn filter(refusal: &Refusal, facts: &Facts) -> Option<Judgement> {
    // Mounts have rules of their own for processes in user namespaces, and errnos of their own where a layer forbids.
    let own_rules =
        matches!(refusal.call, Syscall::Mount { .. } | Syscall::Openat { .. } | Syscall::Mkdirat { .. });
    let no = matches!(refusal.errno, Errno::EPERM | Errno::ENOSYS);
    if facts.seccomp != 2 || !no || own_rules {
        return None;
    }
    Some(Judgement::new(
        "a seccomp filter",
        "a filter is in force for this process, as container engines set one, and it answers in the kernel's place",
        "start the outer container with a profile that allows the call, such as --security-opt seccomp=unconfined",
        "27",
    ))
}

/// What the manual says.
fn general(refusal: &Refusal) -> Judgement {
    let in_groups = refusal.path.starts_with("/sys/fs/cgroup") || refusal.text.contains("\"/sys/fs/cgroup");
    let layer = match (&refusal.call, refusal.errno) {
        (_, Errno::EPERM) if is_about_user_namespace(refusal) => {
            "a chroot, an id without a map, or a security module"
        }
        (_, Errno::EPERM | Errno::EACCES | Errno::EROFS | Errno::EBUSY) if in_groups => {
            "the owner of the groups"
        }
        (Syscall::Mount { .. }, Errno::EPERM) => "a mount rule of the kernel",
        (_, Errno::EPERM) => "a capability that is missing",
        (_, Errno::EACCES) => "permissions, or a security module",
        (_, Errno::ENOSYS | Errno::ENODEV | Errno::EPROTONOSUPPORT | Errno::EOPNOTSUPP)
        | (Syscall::Unshare { .. }, Errno::EINVAL) => "the kernel, which was built without it",
        _ => "the kernel",
    };
    let hint = refusal.hint();
    Judgement {
        layer,
        rule: hint.map_or_else(|| refusal.errno.desc().into(), |hint| hint.rule.into()),
        remedy: hint.and_then(|hint| hint.remedy).map(Into::into),
        file: Vec::new(),
        chapter: hint.and_then(|hint| hint.chapter).unwrap_or("1").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::concepts::Context;
    use crate::plan::calls;

    fn facts() -> Facts {
        let mut facts = Facts::read(&Context::new("/nonexistent".into(), true, false));
        (facts.chroot, facts.privileged, facts.seccomp) = (false, false, 0);
        facts.sysctls = vec![("user.max_user_namespaces", "0".to_owned())];
        facts
    }

    fn refusal(call: Syscall, errno: Errno) -> Refusal {
        Refusal { text: format!("{call} = -1"), errno, call, path: String::new() }
    }

    fn layer(refusal: &Refusal, facts: &Facts) -> &'static str {
        judge(refusal, facts).layer
    }

    #[test]
    fn the_same_errno_comes_from_different_layers() {
        let user = refusal(calls::unshare(CloneFlags::CLONE_NEWUSER), Errno::EPERM);
        let mut here = facts();
        assert_eq!(layer(&user, &here), "a chroot, an id without a map, or a security module");
        here.seccomp = 2;
        assert_eq!(layer(&user, &here), "a seccomp filter");
        here.chroot = true;
        assert_eq!(layer(&user, &here), "the chroot");
        here.chroot = false;
        here.sysctls.push(("kernel.unprivileged_userns_clone", "0".to_owned()));
        assert_eq!(layer(&user, &here), "a sysctl");
        here.sysctls.push(("kernel.apparmor_restrict_unprivileged_userns", "1".to_owned()));
        let found = judge(&user, &here);
        assert_eq!(found.layer, "AppArmor");
        let program = here.program.display().to_string();
        assert!(found.file.iter().any(|line| line.contains(&program)), "{:?}", found.file);
    }

    #[test]
    fn apparmor_takes_the_power_and_not_the_namespace() {
        let mut here = facts();
        here.sysctls.push(("kernel.apparmor_restrict_unprivileged_userns", "1".to_owned()));
        let map = Refusal { path: "/proc/self/uid_map".into(), ..refusal(Syscall::Setsid, Errno::EPERM) };
        assert_eq!(layer(&map, &here), "AppArmor");
        let name = refusal(Syscall::Sethostname { name: "x".into() }, Errno::EPERM);
        assert_eq!(layer(&name, &here), "AppArmor");
    }

    #[test]
    fn a_limit_is_named_with_its_value() {
        let found = judge(&refusal(calls::unshare(CloneFlags::CLONE_NEWUSER), Errno::ENOSPC), &facts());
        assert_eq!(found.layer, "a limit on namespaces");
        assert!(found.rule.contains("user.max_user_namespaces is 0"), "{}", found.rule);
    }

    #[test]
    fn an_upper_directory_on_overlay_is_told_from_a_kernel_without_it() {
        let overlay = calls::mount::new("overlay", "merged", crate::sys::flags::MsFlags::empty(), None);
        let mut here = facts();
        here.state_type = "overlay".to_owned();
        let unfit = refusal(overlay.clone(), Errno::EINVAL);
        assert_eq!(layer(&unfit, &here), "the file system of the state directory");
        assert_eq!(layer(&refusal(overlay, Errno::ENODEV), &here), "the kernel, which was built without it");
    }
}
