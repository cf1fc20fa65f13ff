//! The ordering lab: the steps of `cutaway run`, in the order that a student has given them.
//!
//! The file `order` names the steps, one a line. They become a plan like any other, so the kernel itself says what is
//! wrong with an order: the first call that fails is the lesson. Where an order fails nowhere and still builds
//! something else, the last step says what was to be reached and was not.
//!
//! Everything happens in a child with a mount namespace of its own, whose mounts are private before the first of the
//! student's steps: whatever the order, the host keeps its own.

use std::path::Path;

use crate::concepts::common::birth;
use crate::concepts::{Context, Stage};
use crate::error::{Error, Result};
use crate::lab::Lab;
use crate::plan::calls::{self, mount};
use crate::plan::{Call, Claim, Plan, Probe, Spawn, Step, Wait};
use crate::sys::flags::{CapSet, CloneFlags, MsFlags, Signal};
use crate::sys::{Errno, Slot, Syscall};

/// The child's pid, once there is one.
const CHILD: Slot = Slot::new("child pid");
/// The file with the order.
const FILE: &str = "order";
/// The directory that becomes the root.
const ROOT: &str = "root";
const NAME: &str = "box";

/// A step that the student puts into its place: its name in the file, and what it does with the lab's directory.
type Named = (&'static str, fn(&Path) -> Step);

/// The steps, in one order that works.
const STEPS: [Named; 9] = [
    ("tmpfs", tmpfs),
    ("folders", folders),
    ("pivot", pivot),
    ("proc", proc),
    ("leave", leave),
    ("hostname", hostname),
    ("read-only", read_only),
    ("powers", powers),
    ("no-new-privs", no_new_privs),
];

/// The order as a plan.
pub fn plan(lab: &Lab, directory: &Path, context: &Context) -> Result<Stage> {
    let path = directory.join(FILE);
    let text = std::fs::read_to_string(&path)
        .map_err(|cause| Error::io(format!("cannot read {}", path.display()), &cause))?;
    let chosen = parse(&text)?;
    let mut plan = Plan::new(format!("lab check {}", lab.number()));
    plan.notes
        .push("your order, performed step by step in a child; the host's mounts are not touched".to_owned());
    plan.steps = steps(&chosen, directory, context);
    Ok(plan.into())
}

/// The named steps, each once.
fn parse(text: &str) -> Result<Vec<Named>> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let words: Vec<&str> = lines.filter_map(|line| line.split_whitespace().next()).collect();
    let fault = |what: String, rule: &str| {
        let all: Vec<_> = STEPS.iter().map(|(name, _)| *name).collect();
        Err(Error::new(what).rule(rule.to_owned()).remedy(format!("the names are {}", all.join(", "))))
    };
    let mut chosen: Vec<Named> = Vec::new();
    for word in words {
        match STEPS.iter().find(|(name, _)| *name == word) {
            None => return fault(format!("the file {FILE} names a step {word}"), "there is no such step"),
            Some((name, _)) if chosen.iter().any(|(other, _)| other == name) => {
                return fault(
                    format!("the file {FILE} names the step {name} twice"),
                    "each step is made once",
                );
            }
            Some(step) => chosen.push(*step),
        }
    }
    match STEPS.iter().find(|(name, _)| !chosen.iter().any(|(other, _)| other == name)) {
        Some((name, _)) => fault(
            format!("the file {FILE} has no step {name}"),
            "each step is made once, and none is left out",
        ),
        None => Ok(chosen),
    }
}

fn steps(chosen: &[Named], directory: &Path, context: &Context) -> Vec<Step> {
    let here = &context.here;
    let rootless = !here.is_privileged();
    let mut flags = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWUTS;
    let mut meanwhile = Vec::new();
    if rootless {
        flags |= CloneFlags::CLONE_NEWUSER;
        meanwhile = birth::map_ids(&CHILD, here.euid, here.gid);
    }
    let mut child = birth::tie(arm(), rootless);
    child.push(private(directory));
    child.extend(chosen.iter().map(|(_, step)| step(directory)));
    child.push(result());
    let start = Step::say("Start a child in new namespaces")
        .why("Your steps are performed in there, in your order, until one of them fails.")
        .chapter("31")
        .spawn(Spawn {
            clone: Syscall::Clone3 { flags, exit_signal: Some(Signal::SIGCHLD), cgroup: None },
            into: CHILD,
            actor: "child",
            child,
            meanwhile,
        });
    let wait = Step::say("Wait for the end of the child")
        .why("Whatever it has built ends with its namespaces.")
        .wait(Wait::end(CHILD));
    vec![start, wait]
}

fn arm() -> Step {
    Step::say("Die when cutaway dies")
        .why("Should cutaway be killed, the kernel kills this process too, and its namespaces end with it.")
        .call(calls::die_with_parent())
}

/// Not the student's to place: an order that mounted first could reach the host.
fn private(directory: &Path) -> Step {
    Step::say("Keep every mount to yourself, and go to the lab's directory")
        .why("This one is done for you: whatever your order is, nothing of it is seen outside.")
        .chapter("5")
        .call(mount::propagation("/", MsFlags::MS_REC | MsFlags::MS_PRIVATE))
        .call(calls::chdir(directory))
}

fn tmpfs(directory: &Path) -> Step {
    Step::say("tmpfs: mount an empty file system")
        .why("It is to become the root. pivot_root takes nothing but a mount point.")
        .chapter("6")
        .call(mount::tmpfs(directory.join(ROOT), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, "mode=0755,size=1m"))
}

fn folders(directory: &Path) -> Step {
    Step::say("folders: make a directory for /proc")
        .why("A file system is mounted on a directory that is there. The path leads through the host's root.")
        .chapter("6")
        .call(Call::from(calls::mkdir(directory.join(ROOT).join("proc"), 0o755)).or(Errno::EEXIST))
}

fn pivot(directory: &Path) -> Step {
    Step::say("pivot: swap the root mount")
        .why("The new root takes the place of the old one, which lies on top of it until it is detached.")
        .chapter("6")
        .call(calls::chdir(directory.join(ROOT)))
        .call(calls::pivot_root(".", "."))
}

fn proc(_: &Path) -> Step {
    Step::say("proc: mount the processes on /proc")
        .why(
            "The path begins at whatever is the root now. In a user namespace the kernel gives a new proc only to \
             those who can see one already.",
        )
        .chapter("12")
        .call(mount::proc("/proc"))
}

fn leave(_: &Path) -> Step {
    Step::say("leave: detach the host's root")
        .why("Nothing leads to the host's files any more. Detached is what is mounted on the working directory.")
        .chapter("6")
        .call(mount::detach("."))
        .call(calls::chdir("/"))
}

fn hostname(_: &Path) -> Step {
    Step::say("hostname: rename the machine, seen from inside")
        .why("It takes CAP_SYS_ADMIN in the user namespace that owns the UTS namespace.")
        .chapter("10")
        .call(Syscall::Sethostname { name: NAME.into() })
}

fn read_only(_: &Path) -> Step {
    Step::say("read-only: let nobody write to the root")
        .why("The mount at `/` refuses writes from now on.")
        .chapter("9")
        .call(mount::remount_bind("/", MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV))
}

fn powers(_: &Path) -> Step {
    let none = CapSet::default();
    Step::say("powers: give up every capability")
        .why("What comes after it has to do without.")
        .chapter("26")
        .call(Syscall::Capset { effective: none, permitted: none, inheritable: none })
}

fn no_new_privs(_: &Path) -> Step {
    Step::say("no-new-privs: never again gain a privilege")
        .why("From now on execve grants nothing, not by the set-user-ID bit and not by file capabilities.")
        .chapter("26")
        .call(calls::no_new_privs())
}

/// What the steps were to reach. Here a command would take over.
fn result() -> Step {
    Step::say("See what has come of it")
        .why(
            "The root is the tmpfs, and nobody can write to it; /proc shows this pid namespace; the name is box; no \
             privilege can be gained. In `cutaway run` the command begins here.",
        )
        .chapter("31")
        .look_at([Probe::Mounts, Probe::Hostname])
        .expect([
            Claim::Mounted { at: "/proc".into(), fstype: "proc".into() },
            Claim::Mounted { at: "/".into(), fstype: "tmpfs".into() },
            Claim::ReadOnly("/".into()),
            Claim::Hostname(NAME.to_owned()),
            Claim::NoNewPrivs,
        ])
        .otherwise("every call succeeded, and something else was built: which of your steps came too early?")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context {
        Context::new("/nonexistent".into(), true, false)
    }

    #[test]
    fn every_order_is_a_sound_plan() {
        let mut plan = Plan::new("lab check 31");
        plan.steps = steps(&STEPS, Path::new("/nonexistent"), &context());
        assert_eq!(plan.check(), Vec::<String>::new());
        let mut reversed = STEPS;
        reversed.reverse();
        plan.steps = steps(&reversed, Path::new("/nonexistent"), &context());
        assert_eq!(plan.check(), Vec::<String>::new());
    }

    #[test]
    fn an_order_names_each_step_once() {
        let all: Vec<_> = STEPS.iter().map(|(name, _)| format!("{name}  # what it does")).collect();
        assert_eq!(parse(&all.join("\n")).unwrap().len(), STEPS.len());
        let fault = |text: &str| parse(text).err().map(|error| error.parts().what.to_string()).unwrap();
        assert_eq!(fault(&all[1..].join("\n")), "the file order has no step tmpfs");
        assert_eq!(fault("tmpfs\ntmpfs"), "the file order names the step tmpfs twice");
        assert_eq!(fault("exec"), "the file order names a step exec");
    }
}
