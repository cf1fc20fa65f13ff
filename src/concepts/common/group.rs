//! One group, wherever this host has its controller: the same story on version 1, hybrid and version 2, each
//! under its own file names.
//!
//! Where a group may be made is [`place`](crate::probe::Place)'s knowledge: as root at the top of a hierarchy,
//! never below the caller's own group, whose limits are somebody else's; as an ordinary user in a delegated
//! part of the tree.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{birth, devices};
use crate::concepts::Context;
use crate::error::Error;
use crate::plan::{Bulk, Call, Claim, Probe, Spawn, Step, Undo, Wait, calls};
use crate::probe::Place;
use crate::sys::flags::{CloneFlags, OFlags, Signal};
use crate::sys::{Slot, Syscall, Text, Value};
use crate::workload;

/// A group, and what its hierarchy wants.
#[derive(Debug, Clone)]
pub struct Group {
    /// The controller that it is for; empty for what every version 2 group can do.
    pub controller: &'static str,
    /// Whether it lies in the one hierarchy of version 2.
    pub is_v2: bool,
    /// Its directory.
    pub directory: PathBuf,
    /// The file above it in which the controller must be enabled first.
    enable: Option<PathBuf>,
}

impl Group {
    /// A place for a group of this name with this controller. `freezer` is a controller of version 1 only; in
    /// version 2 every group can be frozen.
    ///
    /// # Errors
    /// Why there is none.
    pub fn find(controller: &'static str, name: &str, context: &Context) -> Result<Self, Error> {
        let privileged = context.here.is_privileged();
        match context.here.cgroups().place(controller, privileged) {
            Place::V1(parent) => {
                Ok(Self { controller, is_v2: false, directory: parent.join(name), enable: None })
            }
            Place::V2 { parent, enable } => {
                let enable = enable.then(|| parent.join("cgroup.subtree_control"));
                Ok(Self { controller, is_v2: true, directory: parent.join(name), enable })
            }
            Place::Nowhere(why) => Err(nowhere(controller, why, privileged)),
        }
    }

    /// A group below this one, which must hand its controller down for that.
    #[must_use]
    pub fn below(&self, name: &str) -> Self {
        Self { directory: self.directory.join(name), enable: None, ..self.clone() }
    }

    /// One of the two, by version.
    #[must_use]
    pub fn either<T>(&self, one: T, two: T) -> T {
        if self.is_v2 { two } else { one }
    }

    /// A file of the group, by its name in version 1 and in version 2.
    #[must_use]
    pub fn file(&self, one: &str, two: &str) -> PathBuf {
        self.directory.join(self.either(one, two))
    }

    /// Which way was taken on this host.
    #[must_use]
    pub fn note(&self, context: &Context) -> String {
        let layout = context.here.cgroups().layout.name();
        let what =
            if self.is_v2 { "in the one tree of version 2" } else { "in a tree of its own (version 1)" };
        format!("cgroups: {layout}; {} {what}", self.controller)
    }

    /// Whether the controller is not enabled yet for groups here.
    #[must_use]
    pub fn must_enable(&self) -> bool {
        self.enable.is_some()
    }

    /// The step that enables the controller, where that is still to be done.
    #[must_use]
    pub fn enable(&self) -> Option<Step> {
        self.enable.as_ref().map(|file| enable(file, self.controller))
    }

    /// Makes the group as a part of this step, which is undone by killing what is in it and removing it.
    #[must_use]
    pub fn make(&self, step: Step) -> Step {
        let undo: [Undo; 2] =
            [Bulk::EmptyGroup { path: self.directory.clone() }.into(), calls::rmdir(&self.directory).into()];
        step.call(calls::mkdir(&self.directory, 0o755)).undo(undo)
    }

    /// Writes to a file of the group as a part of this step, and makes sure that it holds.
    #[must_use]
    pub fn set(&self, step: Step, files: (&str, &str), value: impl Into<String>) -> Step {
        let (file, value) = (self.file(files.0, files.1), value.into());
        step.calls(calls::write(&file, value.as_str())).expect([Claim::FileHolds { path: file, text: value }])
    }

    /// The step in which a process moves itself into the group. On version 2 it is born there.
    fn join(&self) -> Option<Step> {
        (!self.is_v2).then(|| {
            Step::say("Join the group")
                .why(
                    "0 stands for the thread that writes. A process of one thread is moved as a whole this way, \
                     and faster than through cgroup.procs.",
                )
                .chapter("25")
                .calls(calls::write(self.directory.join("tasks"), "0"))
                .look_at([Probe::Cgroups])
                .expect([Claim::InGroup(self.directory.clone())])
        })
    }

    /// The call that makes a process: on version 2 directly in the group that the slot's descriptor names.
    #[must_use]
    pub fn clone3(&self, group: &'static str) -> Syscall {
        let (flags, cgroup) = if self.is_v2 {
            (CloneFlags::CLONE_INTO_CGROUP, Some(Value::Later(Slot::new(group))))
        } else {
            (CloneFlags::empty(), None)
        };
        Syscall::Clone3 { flags, exit_signal: Some(Signal::SIGCHLD), cgroup }
    }

    /// The call that opens the group's directory for clone3; version 1 has no use for it.
    #[must_use]
    pub fn open(&self, slot: &'static str) -> Option<Call> {
        self.is_v2.then(|| calls::open_path(&self.directory, OFlags::O_DIRECTORY, slot))
    }

    /// A process in the group: `step` starts it, and its last steps are these.
    #[must_use]
    pub fn process(&self, step: Step, who: &Member, last: Vec<Step>) -> Vec<Step> {
        self.process_beside(step, who, last, Vec::new())
    }

    /// The same, with what this process does meanwhile.
    #[must_use]
    pub fn process_beside(
        &self,
        step: Step,
        who: &Member,
        last: Vec<Step>,
        meanwhile: Vec<Step>,
    ) -> Vec<Step> {
        let mut steps = Vec::new();
        if let Some(open) = self.open(who.group) {
            steps.push(
                Step::say("Open the group's directory")
                    .why("clone3 takes its descriptor, so that the next process is born in the group.")
                    .chapter("22")
                    .call(open),
            );
        }
        let mut child = tied();
        child.extend(self.join());
        child.extend(last);
        let clone = self.clone3(who.group);
        steps.push(step.spawn(Spawn { clone, into: who.pid.clone(), actor: who.actor, child, meanwhile }));
        steps
    }

    /// A process in the group that becomes one of the built-in workloads, and the wait until it has.
    #[must_use]
    pub fn workload(&self, step: Step, who: &Member, words: &[String]) -> Vec<Step> {
        let mut steps = self.process(step, who, vec![become_workload(words)]);
        steps.push(
            Step::say("Hear it until it is that program")
                .why("Its report socket closes on exec. From then on it is watched from outside only.")
                .wait(Wait::reports(who.pid.clone())),
        );
        steps
    }
}

/// The step that lets the groups below use a controller, by this `cgroup.subtree_control`.
pub fn enable(file: &Path, controller: &str) -> Step {
    Step::say("Let groups have this controller")
        .why(
            "On v2 a controller must be enabled in the group above before a group can use it. It stays \
             enabled: other groups may come to rely on it, and by itself it limits nothing.",
        )
        .chapter("22")
        .calls(calls::write(file, format!("+{controller}")))
}

/// A process of a lesson: the name of its lane, and the slots of its pid and of its group's descriptor.
#[derive(Debug, Clone)]
pub struct Member {
    /// The name of its lane.
    pub actor: &'static str,
    /// Its pid.
    pub pid: Slot,
    /// The descriptor of its group.
    pub group: &'static str,
}

/// The first steps of every child.
#[must_use]
pub fn tied() -> Vec<Step> {
    let arm = Step::say("Die when cutaway dies")
        .why("Should cutaway be killed, the kernel kills this process too. The tie survives exec.")
        .call(calls::die_with_parent());
    birth::tie(arm, false)
}

/// The step in which a process becomes a built-in workload.
fn become_workload(words: &[String]) -> Step {
    let fixed = ["cutaway", workload::NAME].into_iter().map(Text::from);
    let argv = fixed.chain(words.iter().map(|word| Text::from(word.as_str()))).collect();
    let pair =
        |(key, value): (OsString, OsString)| Text::bytes(&[key.as_bytes(), b"=", value.as_bytes()].concat());
    let envp = std::env::vars_os().map(pair).collect();
    Step::say("Become the workload")
        .why(
            "A program of cutaway's own, and no part of what is told: what it does from here on is its own \
             business, and the group's limits are what it meets.",
        )
        .exec(vec![Syscall::Execve { path: "/proc/self/exe".into(), argv, envp }])
}

/// The error where a group cannot be made.
fn nowhere(controller: &str, why: String, privileged: bool) -> Error {
    let remedy = if controller == devices::CONTROLLER {
        "run it as root of the host; a container of an ordinary user needs no such rules, because no file system \
         that is mounted in a user namespace opens a device node"
    } else if privileged {
        "mount the controller's tree: `mount -t cgroup2 none /sys/fs/cgroup`, or see `cutaway cgroup tree`"
    } else {
        "as an ordinary user you need a delegated group: on version 2 \
         `systemd-run --user --scope -p Delegate=yes cutaway …`; or run it as root"
    };
    Error::new(format!("no group with the controller {controller} can be made here"))
        .rule(why)
        .remedy(remedy)
        .chapter("22")
}

/// The name of a lesson's group: it carries the pid, so that two lessons never meet.
#[must_use]
pub fn name() -> String {
    format!("cutaway-cgroup-{}", std::process::id())
}

/// Whether the path lies on a file system that keeps its files on a disk: pages of others cannot be dropped.
#[must_use]
pub fn is_on_disk(context: &Context, path: &Path) -> bool {
    let mount = crate::probe::mounts::holding(context.here.mounts(), path);
    mount.is_some_and(|mount| !matches!(mount.fstype.as_str(), "tmpfs" | "ramfs" | "devtmpfs" | "rootfs"))
}
