//! Where on this host a group with a controller can be made.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use super::cgroup::{Cgroups, V2};
use crate::sys::Errno;
use crate::sys::bpf::loaded;

/// Where a group with a controller can be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Below this directory of the controller's v1 hierarchy.
    V1(PathBuf),
    /// Below this directory of the v2 hierarchy. The controller must first be enabled for its children where
    /// `enable` says so.
    V2 {
        /// The directory.
        parent: PathBuf,
        /// Whether the controller has to be enabled first.
        enable: bool,
    },
    /// Nowhere, for this reason.
    Nowhere(String),
}

impl Cgroups {
    /// Where a group with this controller can be made by a process with or without privilege.
    ///
    /// For a privileged process never below its own group: what limits its session would limit the container
    /// too, and the other way round.
    #[must_use]
    pub fn place(&self, controller: &str, privileged: bool) -> Place {
        // A group of version 1 may be delegated; its rules are for CAP_SYS_ADMIN of the host all the same
        // (devcgroup_update_access).
        if controller == "devices" && !privileged {
            return Place::Nowhere("rules for devices: only root of the host sets them".to_owned());
        }
        if let Some(v1) = self.v1(controller) {
            return match (privileged && v1.writable, &v1.own, v1.delegated) {
                (true, ..) => Place::V1(v1.mount.clone()),
                (false, Some(own), true) => Place::V1(own.clone()),
                _ => Place::Nowhere(format!(
                    "{controller} is v1 here, and its hierarchy {} is not yours to change",
                    v1.mount.display()
                )),
            };
        }
        // Every group of version 2 can be frozen, and have programs decide for it: there these are no controllers.
        match controller {
            "freezer" => return self.place_bare(privileged),
            "devices" => return self.place_for_programs(),
            _ => {}
        }
        match &self.v2 {
            Some(v2) => v2.place(controller, privileged),
            None => Place::Nowhere(format!("no hierarchy with the controller {controller} is mounted")),
        }
    }
}

impl Cgroups {
    /// Where a version 2 group can be made that needs no controller.
    fn place_bare(&self, privileged: bool) -> Place {
        let Some(v2) = &self.v2 else {
            return Place::Nowhere("no version 2 hierarchy is mounted".to_owned());
        };
        let parent = if privileged && v2.writable { Some(v2.mount.clone()) } else { v2.beside_own() };
        match parent {
            Some(parent) => Place::V2 { parent, enable: false },
            None => Place::Nowhere(format!("no group of {} is delegated to you", v2.mount.display())),
        }
    }
}

impl Cgroups {
    /// Where a group can be made that a program decides about. Only root of the host loads such programs, and the
    /// kernel must have been built for them: asked about the topmost group, it says so.
    fn place_for_programs(&self) -> Place {
        let nowhere = |why: &str| Place::Nowhere(format!("rules for devices: {why}"));
        let place = self.place_bare(true);
        let Place::V2 { parent, .. } = &place else { return place };
        let asked = std::fs::File::open(parent).map(|group| loaded::device_programs(group.as_fd()));
        match asked {
            Ok(Ok(_)) => place,
            Ok(Err(Errno::EPERM)) => {
                nowhere("a program that decides needs CAP_BPF and CAP_NET_ADMIN of the host")
            }
            Ok(Err(Errno::EINVAL | Errno::ENOSYS)) => {
                nowhere("this kernel was built without programs for groups (CONFIG_CGROUP_BPF)")
            }
            Ok(Err(errno)) => {
                nowhere(&format!("asked for programs of {}, the kernel says {errno:?}", parent.display()))
            }
            Err(cause) => nowhere(&format!("{} cannot be opened: {cause}", parent.display())),
        }
    }
}

impl V2 {
    fn place(&self, controller: &str, privileged: bool) -> Place {
        let has = |list: &[String]| list.iter().any(|name| name == controller);
        if privileged && self.writable && has(&self.available) {
            return Place::V2 { parent: self.mount.clone(), enable: !has(&self.enabled) };
        }
        // Beside our own group, not below it: ours holds processes, and a group that holds processes cannot
        // hand controllers down (the rule of no internal processes, cgroup-v2.rst).
        if let Some(parent) = self.beside_own() {
            if lists(&parent.join("cgroup.subtree_control"), controller) {
                return Place::V2 { parent, enable: false };
            }
            if lists(&parent.join("cgroup.controllers"), controller) {
                return Place::V2 { parent, enable: true };
            }
        }
        Place::Nowhere(if privileged {
            format!("the hierarchy {} does not offer the controller {controller}", self.mount.display())
        } else {
            format!("no group with the controller {controller} is delegated to you")
        })
    }

    /// The group above ours, if it is delegated to us as well.
    fn beside_own(&self) -> Option<PathBuf> {
        let (own, delegated) = (self.own.as_deref()?, self.delegated.as_deref()?);
        let parent = own.parent()?;
        parent.starts_with(delegated).then(|| parent.to_owned())
    }
}

fn lists(file: &Path, word: &str) -> bool {
    std::fs::read_to_string(file).is_ok_and(|text| text.split_whitespace().any(|entry| entry == word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::cgroup::{Layout, V1};

    fn cgroups(v1: Vec<V1>, v2: Option<V2>) -> Cgroups {
        Cgroups { layout: Layout::Hybrid, v1, v2 }
    }

    #[test]
    fn a_privileged_group_never_lies_below_the_callers_own() {
        let memory = V1 {
            controller: "memory".into(),
            mount: "/cg/memory".into(),
            own: Some("/cg/memory/session".into()),
            writable: true,
            delegated: true,
        };
        let all = cgroups(vec![memory], None);
        assert_eq!(all.place("memory", true), Place::V1("/cg/memory".into()));
        assert_eq!(all.place("memory", false), Place::V1("/cg/memory/session".into()));
        let Place::Nowhere(why) = all.place("io", true) else { panic!("found a place") };
        assert!(why.contains("io"), "{why}");
    }

    #[test]
    fn rules_for_devices_are_not_delegated_with_the_group() {
        let devices = V1 {
            controller: "devices".into(),
            mount: "/cg/devices".into(),
            own: Some("/cg/devices/session".into()),
            writable: true,
            delegated: true,
        };
        let all = cgroups(vec![devices], None);
        assert_eq!(all.place("devices", true), Place::V1("/cg/devices".into()));
        let Place::Nowhere(why) = all.place("devices", false) else { panic!("found a place") };
        assert!(why.contains("root of the host"), "{why}");
    }
}
