//! The attempts: what `cutaway run` and the other commands do, done once in children that end at once.
//!
//! Mounts, namespaces and names die with their child. The two things that outlive a process, a directory below the
//! state directory and groups, are made by the parent, with their undo in the journal. No child waits for anything, so
//! none needs a tie to its parent.

use std::path::{Path, PathBuf};

use crate::concepts::Context;
use crate::concepts::common::devices;
use crate::plan::{Bulk, Call, Plan, Spawn, Step, Undo, Wait, calls};
use crate::probe::{Place, helpers};
use crate::sys::flags::{CloneFlags, MsFlags, OFlags, Signal};
use crate::sys::netlink::{Message, Request};
use crate::sys::{Slot, Syscall, Value};
use calls::mount;

// Each sentence is used once: the report finds a step by it.
pub const USER: &str = "Make a user namespace and become root in it";
pub const POWER: &str = "Use the power that this gives";
pub const PRIVATE: &str = "Keep mounts to yourself";
pub const TMPFS: &str = "Mount a file system in memory";
pub const DEVICE: &str = "Put a device in it";
pub const OVERLAY: &str = "Merge layers in memory";
pub const PIVOT: &str = "Swap the root mount";
pub const STATE: &str = "Merge layers in the state directory";
pub const PROC: &str = "Mount a proc file system of the new pid namespace";
pub const SYS: &str = "Mount a sysfs of the new network namespace";
pub const LOOPBACK: &str = "Bring the loopback interface up";
pub const JOIN: &str = "Move a process into the groups";
pub const RULES: &str = "Say which devices a group may use";

/// The kinds of namespace: the flag, the name and the sentence.
pub const KINDS: [(CloneFlags, &str, &str); 7] = [
    (CloneFlags::CLONE_NEWNS, "mnt", "Make a mount namespace"),
    (CloneFlags::CLONE_NEWUTS, "uts", "Make a UTS namespace"),
    (CloneFlags::CLONE_NEWIPC, "ipc", "Make an IPC namespace"),
    (CloneFlags::CLONE_NEWPID, "pid", "Make a pid namespace"),
    (CloneFlags::CLONE_NEWNET, "net", "Make a network namespace"),
    (CloneFlags::CLONE_NEWCGROUP, "cgroup", "Make a cgroup namespace"),
    (CloneFlags::CLONE_NEWTIME, "time", "Make a time namespace"),
];

/// The controllers, the sentence, and what is set in a group of each: the file of v1, that of v2, and the value.
pub const CONTROLLERS: [(&str, &str, [&str; 2], [&str; 2]); 3] = [
    ("memory", "Make a group that limits memory", ["memory.limit_in_bytes", "64M"], ["memory.max", "64M"]),
    (
        "cpu",
        "Make a group that limits processor time",
        ["cpu.cfs_quota_us", "50000"],
        ["cpu.max", "50000 100000"],
    ),
    ("pids", "Make a group that limits the number of processes", ["pids.max", "64"], ["pids.max", "64"]),
];

/// What the attempts are about on this host.
struct Trials<'a> {
    context: &'a Context,
    /// Whether everything is tried in a user namespace, as `run` would do it.
    rootless: bool,
    /// A directory that something can be mounted on.
    target: PathBuf,
    /// What is made on disk and in the tree of groups is named after this process.
    name: String,
}

/// The plan.
pub fn plan(context: &Context) -> Plan {
    let here = &context.here;
    let trials = Trials {
        context,
        rootless: !here.is_privileged(),
        target: target(),
        name: format!("doctor-{}", std::process::id()),
    };
    let mut plan = Plan::new("doctor");
    plan.fleeting = true;
    plan.notes
        .push("every call is an attempt: what the kernel refuses is what is to be found out".to_owned());
    plan.notes.push(if trials.rootless {
        "as an ordinary user: in a user namespace, where `run` would do it".to_owned()
    } else {
        "as root of the machine: without a user namespace, as `run` would do it".to_owned()
    });
    plan.steps.extend(trials.user());
    plan.steps.extend(trials.namespaces());
    plan.steps.extend(trials.mounts());
    plan.steps.extend(trials.proc());
    plan.steps.extend(trials.network());
    // Last, because these need a journal: where none can be written, the trials end.
    plan.steps.extend(trials.state());
    plan.steps.extend(trials.groups());
    plan
}

/// Any directory will do: what is mounted there is seen by the child alone.
fn target() -> PathBuf {
    let all = [std::env::temp_dir(), "/tmp".into(), "/mnt".into(), "/proc".into()];
    all.into_iter().find(|path| path.is_absolute() && path.is_dir()).unwrap_or_else(|| "/".into())
}

/// Calls that are tried one by one, whatever becomes of the others.
fn each<C: Into<Call>>(calls: impl IntoIterator<Item = C>) -> Vec<Call> {
    calls.into_iter().map(|call| call.into().attempt()).collect()
}

/// A child that tries something, and the wait for its end.
fn child(step: Step, actor: &'static str, steps: Vec<Step>) -> Vec<Step> {
    let pid = Slot::new(actor);
    let clone =
        Syscall::Clone3 { flags: CloneFlags::empty(), exit_signal: Some(Signal::SIGCHLD), cgroup: None };
    let spawn = Spawn { clone, into: pid.clone(), actor, child: steps, meanwhile: Vec::new() };
    vec![
        step.chapter("2").spawn(spawn),
        Step::say("Wait for its end")
            .why("With it ends all that it has made.")
            .chapter("2")
            .wait(Wait::end(pid)),
    ]
}

/// A user namespace whose root is the caller.
fn become_root(uid: u32, gid: u32) -> Vec<Call> {
    let mut all = vec![Call::from(calls::unshare(CloneFlags::CLONE_NEWUSER))];
    all.extend(calls::write("/proc/self/setgroups", "deny"));
    all.extend(calls::write("/proc/self/uid_map", format!("0 {uid} 1\n")));
    all.extend(calls::write("/proc/self/gid_map", format!("0 {gid} 1\n")));
    all
}

impl Trials<'_> {
    /// The way into a user namespace, where there has to be one: the first step of a child.
    fn enter(&self, say: &'static str) -> Option<Step> {
        let here = &self.context.here;
        self.rootless.then(|| {
            Step::say(say)
                .why("Without a privilege of the machine, this is where the power for all that follows comes from.")
                .chapter("14")
                .attempts(become_root(here.euid, here.gid))
        })
    }

    fn user(&self) -> Vec<Step> {
        let here = &self.context.here;
        let make = Step::say(USER)
            .why(
                "The one namespace that needs no privilege, unless the host forbids it. The maps say who its root \
                 is outside: you.",
            )
            .chapter("14")
            .attempts(become_root(here.euid, here.gid));
        // ANCHOR: power
        let power = Step::say(POWER)
            .why(
                "Root of a user namespace may rename a machine of its own. Where AppArmor lets the namespace be \
                 made and takes its power away, this is what fails.",
            )
            .chapter("14")
            .attempts([
                calls::unshare(CloneFlags::CLONE_NEWUTS),
                Syscall::Sethostname { name: "cutaway-doctor".into() },
            ]);
        // ANCHOR_END: power
        child(
            Step::say("Start a child to try user namespaces")
                .why("A process can leave a user namespace only by ending."),
            "user",
            vec![make, power],
        )
    }

    fn namespaces(&self) -> Vec<Step> {
        let mut steps: Vec<Step> =
            self.enter("Become root of a user namespace, for the others").into_iter().collect();
        steps.extend(KINDS.iter().map(|(flag, _, say)| {
            Step::say(say)
                .why("A kernel may be built without a kind, and each user may have so many of each.")
                .chapter("1")
                .calls(each([calls::unshare(*flag)]))
        }));
        child(
            Step::say("Start a child to try each kind of namespace").why("It moves from one into the next."),
            "kinds",
            steps,
        )
    }

    fn own_mounts(&self, say: &'static str, also: CloneFlags) -> Step {
        let _ = self;
        Step::say(say)
            .why("What is mounted from here on is seen by this child alone, and ends with it.")
            .chapter("5")
            .attempts([
                calls::unshare(CloneFlags::CLONE_NEWNS | also),
                mount::propagation("/", MsFlags::MS_REC | MsFlags::MS_PRIVATE),
            ])
    }

    fn mounts(&self) -> Vec<Step> {
        let mut steps: Vec<Step> =
            self.enter("Become root of a user namespace, for mounts").into_iter().collect();
        steps.push(self.own_mounts(PRIVATE, CloneFlags::empty()));
        steps.push(Step::say(TMPFS).why("`run` builds the container's root on one.").chapter("9").attempts(
            [mount::tmpfs(&self.target, MsFlags::MS_NOSUID, "mode=0755,size=1m"), calls::chdir(&self.target)],
        ));
        steps.push(self.device());
        steps.push(
            Step::say(OVERLAY)
                .why("This says whether the kernel has overlayfs, and lets you mount it. Where its layers may lie is \
                      tried apart.")
                .chapter("8")
                .calls(each(self.overlay(true))),
        );
        steps.push(
            Step::say(PIVOT)
                .why("On an initial ramfs, and where mounts are shared, the kernel refuses.")
                .chapter("6")
                .calls(each([calls::pivot_root(".", ".")])),
        );
        child(
            Step::say("Start a child to try mounts")
                .why("They need a mount namespace, which no process can give back."),
            "mounts",
            steps,
        )
    }

    fn device(&self) -> Step {
        let step = Step::say(DEVICE).chapter("28");
        if self.rootless {
            return step.why("In a user namespace no device can be made; the host's are bound.").calls(each(
                [calls::empty_file("null"), mount::bind("/dev/null", "null", MsFlags::empty())],
            ));
        }
        step.why("A container without /dev/null is of little use.").calls(each([calls::device("null", 1, 3)]))
    }

    /// The calls that merge two layers in the working directory.
    fn overlay(&self, folders: bool) -> Vec<Syscall> {
        let mut all: Vec<Syscall> = if folders {
            FOLDERS.iter().map(|name| calls::mkdir(*name, 0o755)).collect()
        } else {
            Vec::new()
        };
        let options = if self.rootless { ",userxattr" } else { "" };
        let data = format!("lowerdir=lower,upperdir=upper,workdir=work{options}");
        all.push(mount::new("overlay", "merged", MsFlags::MS_NODEV, Some(data.into())));
        all
    }

    fn state(&self) -> Vec<Step> {
        let state = &self.context.state;
        let make = Step::say("Make folders in the state directory")
            .why("A container's writable layer will be there, and not every file system can hold one.")
            .chapter("8");
        if let Err(why) = writable(state) {
            return vec![make.skip(why.clone()), Step::say(STATE).chapter("8").skip(why)];
        }
        let scratch = state.join(&self.name);
        let make = make
            .attempts([calls::mkdir(&scratch, 0o700)])
            .attempts(FOLDERS.iter().map(|name| calls::mkdir(scratch.join(name), 0o755)))
            .undo([Bulk::RemoveTree { path: scratch.clone() }]);
        let mut steps: Vec<Step> =
            self.enter("Become root of a user namespace, for the state directory").into_iter().collect();
        steps.push(self.own_mounts("Keep this mount to yourself", CloneFlags::empty()));
        steps.push(
            Step::say(STATE)
                .why("Overlay upon overlay, NFS and FAT cannot be written to in this way.")
                .chapter("8")
                .attempts([calls::chdir(&scratch)])
                .attempts(self.overlay(false)),
        );
        let start = Step::say("Start a child to try an overlay there").why("The mount ends with it.");
        std::iter::once(make).chain(child(start, "state", steps)).collect()
    }

    fn proc(&self) -> Vec<Step> {
        let mut steps: Vec<Step> =
            self.enter("Become root of a user namespace, for /proc").into_iter().collect();
        steps.push(self.own_mounts("Let the next child be PID 1", CloneFlags::CLONE_NEWPID));
        let inside = Step::say(PROC)
            .why("In a container whose engine has covered parts of /proc, the kernel refuses a second one that would \
                  show them.")
            .chapter("12")
            .attempts([mount::proc(&self.target)]);
        steps.extend(child(
            Step::say("Start a child in the pid namespace")
                .why("Its maker stays outside; only children are in it."),
            "first",
            vec![inside],
        ));
        child(
            Step::say("Start a child to try /proc").why("A proc shows the pid namespace of its mounter."),
            "proc",
            steps,
        )
    }

    fn network(&self) -> Vec<Step> {
        let mut steps: Vec<Step> =
            self.enter("Become root of a user namespace, for a network").into_iter().collect();
        steps.push(self.own_mounts("Take a network of your own", CloneFlags::CLONE_NEWNET));
        let flags = mount::HARMLESS | MsFlags::MS_RDONLY;
        steps.push(
            Step::say(SYS)
                .why("A sysfs belongs to a network namespace, and is refused for the same reason as /proc.")
                .chapter("28")
                .calls(each([mount::new("sysfs", &*self.target.to_string_lossy(), flags, None)])),
        );
        let fd = || Value::later("netlink");
        let message = Message { sequence: 1, request: Request::LinkUp { index: 1, name: "lo".to_owned() } };
        steps.push(
            Step::say(LOOPBACK)
                .why("It is asked for by a message to the kernel, as every change of the network is.")
                .chapter("18")
                .attempts([calls::route_socket("netlink")])
                .attempts([Syscall::Sendto { fd: fd(), message }, Syscall::Recvfrom { fd: fd() }])
                .attempts([calls::close("netlink")]),
        );
        child(
            Step::say("Start a child to try a network").why("The network namespace ends with it."),
            "network",
            steps,
        )
    }

    fn groups(&self) -> Vec<Step> {
        let cgroups = self.context.here.cgroups();
        let mut steps = Vec::new();
        let mut join: Vec<PathBuf> = Vec::new();
        for (controller, say, v1, v2) in CONTROLLERS {
            let step = Step::say(say).chapter(if controller == "memory" { "23" } else { "24" }).why(
                "A limit is a file in a directory. Where none may be made, containers run without this limit.",
            );
            let (group, [file, value], members) = match cgroups.place(controller, !self.rootless) {
                Place::V1(parent) => (parent.join(format!("cutaway-{}", self.name)), v1, "tasks"),
                // A controller that has yet to be enabled stays as it is: that would outlive this command.
                Place::V2 { parent, enable } => {
                    let group = parent.join(format!("cutaway-{}", self.name));
                    (group, if enable { ["cgroup.max.depth", "1"] } else { v2 }, "cgroup.procs")
                }
                Place::Nowhere(why) => {
                    steps.push(step.skip(why));
                    continue;
                }
            };
            let known = join.contains(&group.join(members));
            let step =
                if known { step } else { step.attempts([calls::mkdir(&group, 0o755)]).undo(undo(&group)) };
            if !known {
                join.push(group.join(members));
            }
            steps.push(step.attempts(calls::write(group.join(file), value)));
        }
        // Only root of the host sets rules for devices; in a user namespace none are needed.
        if !self.rootless {
            steps.push(self.device_rules(&join));
        }
        if join.is_empty() {
            steps.push(Step::say(JOIN).chapter("22").skip("there is no group"));
            return steps;
        }
        let enter = Step::say(JOIN)
            .why("Making a group is one right, moving a process into it another: it takes the groups above both \
                  places.")
            .chapter("22")
            .attempts(join.into_iter().flat_map(|file| calls::write(file, "0")));
        let start = Step::say("Start a child to put into the groups").why("It leaves them by ending.");
        steps.extend(child(start, "member", vec![enter]));
        steps
    }
}

impl Trials<'_> {
    /// Rules for devices, in a group of their own or in one that is there already; `made` are files of those.
    fn device_rules(&self, made: &[PathBuf]) -> Step {
        const GROUP: &str = "group for devices";
        let step = Step::say(RULES).chapter("28").why(
            "Without rules, a device node that finds its way into a container opens the host's device: lines of text \
             on version 1, a program for the kernel on version 2.",
        );
        let place = self.context.here.cgroups().place(devices::CONTROLLER, true);
        let (parent, is_v2) = match place {
            Place::V1(parent) => (parent, false),
            Place::V2 { parent, .. } => (parent, true),
            Place::Nowhere(why) => return step.skip(why),
        };
        let group = parent.join(format!("cutaway-{}", self.name));
        let step = if made.iter().any(|file| file.starts_with(&group)) {
            step
        } else {
            step.attempts([calls::mkdir(&group, 0o755)]).undo(undo(&group))
        };
        if is_v2 {
            step.attempts([calls::open_path(&group, OFlags::O_DIRECTORY, GROUP)])
                .attempts(devices::attach_program(GROUP, &devices::harmless()))
                .attempts([calls::close(GROUP)])
        } else {
            step.attempts(devices::write_rules(&group, &devices::harmless()))
        }
    }
}

const FOLDERS: [&str; 4] = ["lower", "upper", "work", "merged"];

fn undo(group: &Path) -> [Undo; 2] {
    [Bulk::EmptyGroup { path: group.to_owned() }.into(), calls::rmdir(group).into()]
}

/// Whether the state directory is there or can be made, and files in it.
pub fn writable(state: &Path) -> Result<(), String> {
    let there = state.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    if !there.is_dir() {
        return Err(format!("{} is no directory", there.display()));
    }
    if helpers::may_fill(there) { Ok(()) } else { Err(format!("you may not write to {}", there.display())) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::plan::number;
    use crate::sys::flags::CapSet;

    #[test]
    fn the_plan_is_sound_and_every_trial_has_a_sentence_of_its_own() {
        for capabilities in [CapSet(0), CapSet(u64::MAX)] {
            let mut context = Context::new("/nonexistent".into(), true, false);
            context.here.capabilities = capabilities;
            let plan = plan(&context);
            assert_eq!(plan.check(), Vec::<String>::new());
            let all = number::walk(&plan);
            let says: Vec<_> =
                all.iter().map(|one| one.step.say).filter(|say| *say != "Wait for its end").collect();
            assert_eq!(says.len(), says.iter().collect::<BTreeSet<_>>().len(), "{says:#?}");
            for say in [USER, POWER, TMPFS, DEVICE, OVERLAY, PIVOT, STATE, PROC, SYS, LOOPBACK, JOIN] {
                assert!(says.contains(&say), "{say}");
            }
            assert_eq!(says.contains(&RULES), context.here.is_privileged());
        }
    }

    #[test]
    fn a_state_directory_is_judged_by_what_is_there() {
        assert_eq!(writable(&std::env::temp_dir().join("a/b/c")), Ok(()));
        assert!(writable(Path::new("/etc/passwd/x")).unwrap_err().contains("no directory"));
    }
}
