//! Limits: groups for memory, processor time and processes, in whatever cgroup layout the host has.

use std::path::PathBuf;

use crate::concepts::Context;
use crate::plan::{Bulk, Call, Claim, Probe, Step, Undo, calls};
use crate::probe::Place;
use crate::probe::cgroup::Layout;
use crate::sys::flags::{CloneFlags, MsFlags, OFlags};
use crate::sys::{Slot, Value};

use super::settle::{Limits, Settled};
use calls::mount;

/// The slot of the v2 group's descriptor, for clone3.
const GROUP: &str = "group";

/// A controller and what it is to enforce, as file names and values of v1 and of v2.
struct Wanted {
    controller: &'static str,
    v1: Vec<(&'static str, String)>,
    v2: Vec<(&'static str, String)>,
}

/// The container's groups.
pub struct Groups {
    layout: Layout,
    /// One group for each v1 controller.
    v1: Vec<(Wanted, PathBuf)>,
    /// The one v2 group, whether controllers must be enabled for it, and what it enforces.
    v2: Option<(PathBuf, Vec<&'static str>, Vec<Wanted>)>,
    /// Why a controller has no group.
    missing: Vec<String>,
}

fn wanted(limits: &Limits) -> Vec<Wanted> {
    let mut all = Vec::new();
    if let Some(bytes) = limits.memory {
        all.push(Wanted {
            controller: "memory",
            v1: vec![("memory.limit_in_bytes", bytes.to_string())],
            v2: vec![("memory.max", bytes.to_string())],
        });
    }
    if let Some(quota) = limits.cpu_quota {
        all.push(Wanted {
            controller: "cpu",
            v1: vec![("cpu.cfs_period_us", "100000".into()), ("cpu.cfs_quota_us", quota.to_string())],
            v2: vec![("cpu.max", format!("{quota} 100000"))],
        });
    }
    if let Some(pids) = limits.pids {
        let value = vec![("pids.max", pids.to_string())];
        all.push(Wanted { controller: "pids", v1: value.clone(), v2: value });
    }
    all
}

impl Groups {
    /// Finds a place for each limit. A limit that was asked for and has no place was refused while settling.
    pub fn find(run: &Settled, context: &Context) -> Self {
        let host = context.here.cgroups();
        let name = format!("cutaway-{}", run.name);
        let mut groups = Self { layout: host.layout, v1: Vec::new(), v2: None, missing: Vec::new() };
        for wanted in wanted(&run.limits) {
            match host.place(wanted.controller, !run.rootless) {
                Place::V1(parent) => groups.v1.push((wanted, parent.join(&name))),
                Place::V2 { parent, enable } => {
                    let (_, enabled, all) =
                        groups.v2.get_or_insert_with(|| (parent.join(&name), Vec::new(), Vec::new()));
                    if enable {
                        enabled.push(wanted.controller);
                    }
                    all.push(wanted);
                }
                Place::Nowhere(why) => groups.missing.push(why),
            }
        }
        groups
    }

    /// Which way was taken on this host.
    pub fn notes(&self) -> Vec<String> {
        let layout = self.layout.name();
        let names = |wanted: &mut dyn Iterator<Item = &Wanted>| {
            wanted.map(|wanted| wanted.controller).collect::<Vec<_>>().join(", ")
        };
        let v1 = names(&mut self.v1.iter().map(|(wanted, _)| wanted));
        let v2 = names(&mut self.v2.iter().flat_map(|(_, _, all)| all));
        let mut note = format!("cgroups: {layout}");
        if !v1.is_empty() {
            note = format!("{note}; {v1}: v1 here, one tree each");
        }
        if !v2.is_empty() {
            note = format!("{note}; {v2}: v2 here");
        }
        std::iter::once(note).chain(self.missing.iter().map(|why| format!("no group: {why}"))).collect()
    }

    /// The steps that make the groups.
    pub fn make(&self) -> Vec<Step> {
        let mut steps: Vec<Step> = self.v1.iter().map(|(wanted, path)| make_v1(wanted, path)).collect();
        if let Some((path, enable, all)) = &self.v2 {
            steps.extend(enable_for_children(path, enable));
            steps.push(make_v2(path, all));
        }
        if steps.is_empty() {
            let why =
                if self.missing.is_empty() { "no limit is set".to_owned() } else { self.missing.join("; ") };
            steps.push(
                Step::say("Make groups for the limits")
                    .why("Without a group of its own the container shares the caller's limits.")
                    .chapter("22")
                    .skip(why),
            );
        }
        steps
    }

    /// The descriptor of the v2 group that clone3 puts the child into.
    pub fn descriptor(&self) -> Option<Value> {
        self.v2.as_ref().map(|_| Value::Later(Slot::new(GROUP)))
    }

    /// The child's step into its v1 groups.
    pub fn join(&self) -> Option<Step> {
        if self.v1.is_empty() {
            return None;
        }
        let join = self.v1.iter().flat_map(|(_, path)| calls::write(path.join("tasks"), "0"));
        let claims = self.v1.iter().map(|(_, path)| Claim::InGroup(path.clone()));
        Some(
            Step::say("Join the groups")
                .why(
                    "0 means: the thread that writes. A process that has one thread is moved as a whole this \
                     way, and faster than through cgroup.procs: for a thread that moves itself the kernel \
                     need not stop the others from forking.",
                )
                .chapter("25")
                .calls(join)
                .look_at([Probe::Cgroups])
                .expect(claims),
        )
    }

    /// The cgroup namespace, whose root is the group that the child is in now.
    pub fn own_namespace() -> Step {
        Step::say("Make this group the root of what is seen")
            .why(
                "A cgroup namespace hides the path above the group: /proc/self/cgroup says `/` in here. It \
                 limits nothing by itself; the limits hold as before.",
            )
            .chapter("16")
            .call(calls::unshare(CloneFlags::CLONE_NEWCGROUP))
    }

    /// The container's own groups, below /sys/fs/cgroup.
    pub fn show(&self) -> Step {
        let flags = mount::HARMLESS | MsFlags::MS_RDONLY;
        let step = Step::say("Show the container its own groups, read-only")
            .why("Programs read their limits there to size themselves. Changing them is the host's business.")
            .chapter("22");
        if self.v2.is_some() {
            return step.call(mount::new("cgroup2", "/sys/fs/cgroup", flags, None));
        }
        if self.v1.is_empty() {
            return step.skip("the container has no group of its own");
        }
        let mut all: Vec<Call> =
            vec![mount::tmpfs("/sys/fs/cgroup", mount::HARMLESS, "mode=0755,size=64k").into()];
        for (wanted, _) in &self.v1 {
            let at = format!("/sys/fs/cgroup/{}", wanted.controller);
            all.push(calls::mkdir(at.as_str(), 0o755).into());
            all.push(mount::new("cgroup", at.as_str(), flags, Some(wanted.controller.into())).into());
        }
        all.push(mount::remount_bind("/sys/fs/cgroup", flags).into());
        step.calls(all)
    }
}

/// A group that is taken back by killing what is left in it and removing its directory.
fn undo(path: &PathBuf) -> [Undo; 2] {
    [Bulk::EmptyGroup { path: path.clone() }.into(), calls::rmdir(path).into()]
}

fn set(path: &std::path::Path, values: &[(&'static str, String)]) -> Vec<Call> {
    values.iter().flat_map(|(file, value)| calls::write(path.join(file), value.as_str())).collect()
}

fn make_v1(wanted: &Wanted, path: &PathBuf) -> Step {
    let (say, why) = match wanted.controller {
        "memory" => (
            "Make a group that limits memory",
            "When its processes need more than the limit, the kernel first takes page cache back from them, \
             and then kills one of them.",
        ),
        "cpu" => (
            "Make a group that limits processor time",
            "In each period of 100 ms its processes together get the quota. What is left of the period they \
             wait, even if the processor is idle.",
        ),
        _ => (
            "Make a group that limits the number of processes",
            "A fork beyond the limit fails with EAGAIN. A fork bomb in here ends there, and the host goes on.",
        ),
    };
    Step::say(say)
        .why(why)
        .chapter(if wanted.controller == "memory" { "23" } else { "24" })
        .call(calls::mkdir(path, 0o755))
        .calls(set(path, &wanted.v1))
        .undo(undo(path))
}

fn enable_for_children(path: &std::path::Path, controllers: &[&'static str]) -> Option<Step> {
    let parent = path.parent()?;
    let text = controllers.iter().map(|name| format!("+{name}")).collect::<Vec<_>>().join(" ");
    (!controllers.is_empty()).then(|| {
        Step::say("Let groups have these controllers")
            .why(
                "On v2 a controller must be enabled in the parent before a group below can use it. It stays \
                 enabled: other groups may come to rely on it, and by itself it limits nothing.",
            )
            .chapter("22")
            .calls(calls::write(parent.join("cgroup.subtree_control"), text))
    })
}

fn make_v2(path: &PathBuf, all: &[Wanted]) -> Step {
    let values: Vec<Call> = all.iter().flat_map(|wanted| set(path, &wanted.v2)).collect();
    Step::say("Make a group with the limits")
        .why(
            "One directory, one file for each limit. The child will be born in it: clone3 takes a descriptor of \
             the directory, so that there is no moment in which the child is outside.",
        )
        .chapter("22")
        .call(calls::mkdir(path, 0o755))
        .calls(values)
        .call(calls::open_path(path, OFlags::O_DIRECTORY, GROUP))
        .undo(undo(path))
}
