//! Limits: groups for memory, processor time and processes, in whatever cgroup layout the host has.

use std::path::{Path, PathBuf};

use crate::concepts::Context;
use crate::plan::{Bulk, Call, Claim, Probe, Step, Undo, calls};
use crate::probe::Place;
use crate::probe::cgroup::Layout;
use crate::sys::flags::{CloneFlags, MsFlags, OFlags};
use crate::sys::{Slot, Value};

use super::amount::PERIOD;
use super::devices::{self, Rule};
use super::limits::{Limits, cpu_max, cpu_weight, io_weight};
use calls::mount;

/// The slot of the v2 group's descriptor, for clone3.
const GROUP: &str = "group";

/// Files of a group and what is written to them, in this order.
type Values = Vec<(&'static str, String)>;

/// A controller and what it is to enforce, as file names and values of v1 and of v2.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The controller.
    pub controller: &'static str,
    v1: Values,
    v2: Values,
    /// Which devices may be used: no file of version 2, but a program.
    devices: Vec<Rule>,
    /// All controllers of its version 1 tree, as a mount of that tree must name them.
    tree: String,
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

fn memory(limits: &Limits) -> (Values, Values) {
    let (mut v1, mut v2): (Values, Values) = (Vec::new(), Vec::new());
    if let Some(bytes) = limits.memory {
        v1.push(("memory.limit_in_bytes", bytes.to_string()));
        v2.push(("memory.max", bytes.to_string()));
    }
    if let Some(swap) = limits.swap {
        let both = limits.memory.unwrap_or(0).checked_add(swap);
        v1.push(("memory.memsw.limit_in_bytes", both.map_or("-1".to_owned(), |both| both.to_string())));
        v2.push(("memory.swap.max", if swap == u64::MAX { "max".to_owned() } else { swap.to_string() }));
    }
    (v1, v2)
}

fn cpu(limits: &Limits) -> (Values, Values) {
    let (mut v1, mut v2): (Values, Values) = (Vec::new(), Vec::new());
    if let Some(quota) = limits.cpu_quota {
        v1.push(("cpu.cfs_period_us", PERIOD.to_string()));
        v1.push(("cpu.cfs_quota_us", quota.to_string()));
        v2.push(("cpu.max", cpu_max(quota)));
    }
    if let Some(shares) = limits.cpu_shares {
        v1.push(("cpu.shares", shares.to_string()));
        v2.push(("cpu.weight", cpu_weight(shares).to_string()));
    }
    (v1, v2)
}

/// A new group of version 1 has neither processors nor memory nodes, and nobody can join it before it has both.
fn cpuset(limits: &Limits, context: &Context) -> (Values, Values) {
    let Some(list) = &limits.cpuset else { return (Vec::new(), Vec::new()) };
    let above = match context.here.cgroups().place("cpuset", context.here.is_privileged()) {
        Place::V1(above) => above,
        _ => PathBuf::new(),
    };
    let nodes = std::fs::read_to_string(above.join("cpuset.mems")).unwrap_or_default().trim().to_owned();
    let v1 = vec![("cpuset.mems", nodes), ("cpuset.cpus", list.clone())];
    (v1, vec![("cpuset.cpus", list.clone())])
}

/// Which of its files sets a weight depends on the I/O scheduler that the kernel was built with.
fn blkio(limits: &Limits, context: &Context) -> (Values, Values) {
    let (Some(weight), Ok(file)) = (limits.blkio_weight, weight_file(context)) else {
        return (Vec::new(), Vec::new());
    };
    let value = if file == "io.weight" { io_weight(weight) } else { weight };
    let all = vec![(file, value.to_string())];
    (all.clone(), all)
}

/// The file that takes a weight in a group of this host. The top group has none itself, but others that tell of it.
///
/// # Errors
/// Why there is none.
pub fn weight_file(context: &Context) -> Result<&'static str, String> {
    let above = match context.here.cgroups().place(io_controller(context), context.here.is_privileged()) {
        Place::V1(above) | Place::V2 { parent: above, .. } => above,
        Place::Nowhere(why) => return Err(why),
    };
    let signs = [("blkio.bfq.io_serviced", "blkio.bfq.weight"), ("io.cost.qos", "io.weight")];
    if let Some((_, file)) = signs.into_iter().find(|(sign, _)| above.join(sign).exists()) {
        return Ok(file);
    }
    let mut groups = std::fs::read_dir(&above).into_iter().flatten().flatten().map(|entry| entry.path());
    let files = ["io.weight", "io.bfq.weight", "blkio.weight", "blkio.bfq.weight"];
    groups
        .find_map(|group| files.into_iter().find(|file| group.join(file).exists()))
        .ok_or_else(|| format!("no group below {} has a file for a weight of block I/O", above.display()))
}

/// The controller of block I/O, which has two names.
#[must_use]
pub fn io_controller(context: &Context) -> &'static str {
    if context.here.cgroups().v1("blkio").is_some() { "blkio" } else { "io" }
}

/// `cpu,cpuacct` where both are in one tree: the kernel mounts no part of it.
fn tree(controller: &str, context: &Context) -> String {
    let cgroups = context.here.cgroups();
    let Some(own) = cgroups.v1(controller) else { return controller.to_owned() };
    let same = cgroups.v1.iter().filter(|one| one.mount == own.mount);
    same.map(|one| one.controller.as_str()).collect::<Vec<_>>().join(",")
}

/// What the controllers are to enforce. Those in `accounts` get a group in any case, so that it can be read what was
/// used in the end.
fn wanted(limits: &Limits, accounts: &[&'static str], context: &Context) -> Vec<Wanted> {
    let mut all: Vec<Wanted> = Vec::new();
    let wants = |controller, (v1, v2): (Values, Values), devices| Wanted {
        controller,
        v1,
        v2,
        devices,
        tree: tree(controller, context),
    };
    let mut add = |controller: &'static str, values: (Values, Values)| {
        if !values.1.is_empty() || accounts.contains(&controller) {
            all.push(wants(controller, values, Vec::new()));
        }
    };
    add("memory", memory(limits));
    add("cpu", cpu(limits));
    add("cpuset", cpuset(limits, context));
    let pids: Values = limits.pids.iter().map(|pids| ("pids.max", pids.to_string())).collect();
    add("pids", (pids.clone(), pids));
    add(io_controller(context), blkio(limits, context));
    // Version 2 counts processor time with the controller cpu.
    if context.here.cgroups().v1("cpuacct").is_some() {
        add("cpuacct", (Vec::new(), Vec::new()));
    }
    if !limits.devices.is_empty() {
        all.push(wants(devices::CONTROLLER, (Vec::new(), Vec::new()), limits.devices.clone()));
    }
    all
}

impl Groups {
    /// Finds a place for each limit. A limit that was asked for and has no place was refused while settling.
    pub fn find(limits: &Limits, accounts: &[&'static str], name: &str, context: &Context) -> Self {
        let host = context.here.cgroups();
        let name = format!("cutaway-{name}");
        let mut groups = Self { layout: host.layout, v1: Vec::new(), v2: None, missing: Vec::new() };
        for wanted in wanted(limits, accounts, context) {
            match host.place(wanted.controller, context.here.is_privileged()) {
                Place::V1(parent) => groups.add_v1(wanted, parent.join(&name)),
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

    /// Two controllers of version 1 may share a tree, as cpu and cpuacct often do: then they share the group.
    fn add_v1(&mut self, wanted: Wanted, path: PathBuf) {
        match self.v1.iter_mut().find(|(_, known)| *known == path) {
            Some((other, _)) => {
                other.v1.extend(wanted.v1);
                other.devices.extend(wanted.devices);
            }
            None => self.v1.push((wanted, path)),
        }
    }

    /// Whether there is no group at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v1.is_empty() && self.v2.is_none()
    }

    /// The group's directory for a controller, and whether it is one of version 2.
    #[must_use]
    pub fn directory(&self, controller: &str) -> Option<(&Path, bool)> {
        let one = self.v1.iter().find(|(wanted, _)| wanted.controller == controller);
        let two = self.v2.iter().find(|(_, _, all)| all.iter().any(|wanted| wanted.controller == controller));
        one.map(|(_, path)| (path.as_path(), false)).or(two.map(|(path, ..)| (path.as_path(), true)))
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
            let rules = all.iter().find(|wanted| !wanted.devices.is_empty()).map(|wanted| &wanted.devices);
            steps.extend(rules.map(|rules| decide_v2(rules)));
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
            all.push(mount::new("cgroup", at.as_str(), flags, Some(wanted.tree.as_str().into())).into());
        }
        all.push(mount::remount_bind("/sys/fs/cgroup", flags).into());
        step.calls(all)
    }
}

/// A group that is taken back by killing what is left in it and removing its directory.
fn undo(path: &PathBuf) -> [Undo; 2] {
    [Bulk::EmptyGroup { path: path.clone() }.into(), calls::rmdir(path).into()]
}

fn set(path: &Path, values: &[(&'static str, String)]) -> Vec<Call> {
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
        "pids" => (
            "Make a group that limits the number of processes",
            "A fork beyond the limit fails with EAGAIN. A fork bomb in here ends there, and the host goes on.",
        ),
        "cpuset" => (
            "Make a group that may use some processors only",
            "A new group of version 1 has neither processors nor memory nodes, and nobody can join it before it \
             has both: the nodes are those of the group above.",
        ),
        devices::CONTROLLER => (
            "Make a group with rules for devices",
            "First everything is denied, then something allowed line by line: any node may be made (m), and, \
             beside what you asked for, null, zero, full, random, urandom and terminals may be opened. A disk's \
             node, wherever it comes from, opens nothing.",
        ),
        "cpuacct" => (
            "Make a group that counts processor time",
            "On version 1 counting is a controller of its own. It limits nothing.",
        ),
        _ => (
            "Make a group with a weight for block I/O",
            "Like every weight it matters only between groups that compete for the same disk.",
        ),
    };
    let (say, why) = match wanted.controller {
        controller if wanted.v1.is_empty() && !["cpuacct", devices::CONTROLLER].contains(&controller) => (
            "Make a group to count what is used",
            "No limit is set in it. That a group counts what is used in it is half of its purpose.",
        ),
        _ => (say, why),
    };
    let chapter = match wanted.controller {
        "memory" => "23",
        devices::CONTROLLER => "28",
        _ => "24",
    };
    let step = Step::say(say)
        .why(why)
        .chapter(chapter)
        .call(calls::mkdir(path, 0o755))
        .calls(set(path, &wanted.v1))
        .undo(undo(path));
    if wanted.devices.is_empty() { step } else { step.calls(devices::write_rules(path, &wanted.devices)) }
}

fn enable_for_children(path: &Path, controllers: &[&'static str]) -> Option<Step> {
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

/// The rules for devices in version 2.
fn decide_v2(rules: &[Rule]) -> Step {
    Step::say("Let a program decide which devices the group may use")
        .why(
            "Version 2 has no file for devices: when a node is opened or made, the kernel runs a program, whose 0 is \
             EPERM. Any node may be made, and, beside what you asked for, null, zero, full, random, urandom and \
             terminals may be opened. The program is gone with the group.",
        )
        .chapter("28")
        .calls(devices::attach_program(GROUP, rules))
}
