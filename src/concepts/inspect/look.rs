//! What only a process inside can see: names and interfaces of other namespaces.
//!
//! For each namespace a child of its own, which goes there and looks. Where the kernel lets nobody in, the attempt ends
//! there and the report says so. Nothing is changed but the child, and that ends.

use crate::concepts::Context;
use crate::plan::{Call, Plan, Probe, Spawn, Step, Wait, calls};
use crate::sys::flags::{Access, CloneFlags, OFlags, Signal};
use crate::sys::{Slot, Syscall, Value};

use super::target::Target;

/// The sentences, for the process and for the one that it is compared with: the report finds a step by its sentence.
pub const HERE: [&str; 2] = ["Look at what you see yourself", "Look at it once more, for the other process"];
pub const INTO_NAMES: [&str; 2] = ["Go where its names are", "Go where the other's names are"];
pub const NAMES: [&str; 2] = ["Read the names in there", "Read the other's names"];
pub const INTO_NETWORK: [&str; 2] =
    ["Go into its network namespace", "Go into the other's network namespace"];
pub const NETWORK: [&str; 2] = ["Read the interfaces in there", "Read the other's interfaces"];

const ACTORS: [[&str; 2]; 2] = [["names", "network"], ["names-2", "network-2"]];

/// The plan.
pub fn plan(targets: &[Target], context: &Context) -> Plan {
    let typed: Vec<_> = targets.iter().map(|target| target.typed.as_str()).collect();
    let mut plan = Plan::new(format!("inspect {}", typed.join(" --diff ")));
    plan.fleeting = true;
    for (at, target) in targets.iter().enumerate() {
        plan.steps.push(
            Step::say(HERE[at])
                .why("The other end of an interface in there may be out here.")
                .chapter("18")
                .look_at([Probe::Hostname, Probe::Interfaces(Some(target.pid()))]),
        );
        for kind in [Kind::Uts, Kind::Net] {
            plan.steps.extend(visit(target, at, kind, context));
        }
    }
    plan
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Uts,
    Net,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Uts => "uts",
            Self::Net => "net",
        }
    }

    const fn flag(self) -> CloneFlags {
        match self {
            Self::Uts => CloneFlags::CLONE_NEWUTS,
            Self::Net => CloneFlags::CLONE_NEWNET,
        }
    }
}

/// A namespace that the caller is in, or whose file cannot be read, is not visited.
fn visit(target: &Target, at: usize, kind: Kind, context: &Context) -> Vec<Step> {
    let differs = |name: &str| {
        let theirs = target.subject.namespace(name).ok()?;
        Some(crate::probe::ns::inodes().get(name) != Some(&theirs))
    };
    if differs(kind.name()) != Some(true) {
        return Vec::new();
    }
    let through_user = !context.here.is_privileged() && differs("user") == Some(true);
    let steps = match kind {
        Kind::Uts => vec![
            enter(INTO_NAMES[at], target, kind, through_user).chapter("10"),
            Step::say(NAMES[at])
                .why("The kernel tells each process the names of the namespace that it is in.")
                .chapter("10")
                .look_at([Probe::Hostname]),
        ],
        Kind::Net => vec![
            enter(INTO_NETWORK[at], target, kind, through_user).chapter("17"),
            Step::say(NETWORK[at])
                .why("A netlink socket belongs to the network namespace in which it was made.")
                .chapter("18")
                .look_at([Probe::Interfaces(None)]),
        ],
    };
    child(ACTORS[at][kind as usize], steps)
}

fn enter(say: &'static str, target: &Target, kind: Kind, through_user: bool) -> Step {
    let file = |name: &str| format!("/proc/{}/ns/{name}", target.pid());
    let open = |name: &str, slot| calls::open(file(name), Access::O_RDONLY, OFlags::empty(), slot);
    let enter = |slot, kind| Call::from(Syscall::Setns { fd: Value::later(slot), kind });
    let step = Step::say(say);
    if !through_user {
        return step
            .why("Only a process that is in a namespace is told what is in it.")
            .attempts([open(kind.name(), "namespace"), enter("namespace", kind.flag())]);
    }
    step.why(
        "The user namespace that owns it comes first: who made that has every power in it, and so may go on.",
    )
    .attempts([
        open("user", "user namespace"),
        open(kind.name(), "namespace"),
        enter("user namespace", CloneFlags::CLONE_NEWUSER),
        enter("namespace", kind.flag()),
    ])
}

fn child(actor: &'static str, steps: Vec<Step>) -> Vec<Step> {
    let pid = Slot::new(actor);
    let clone =
        Syscall::Clone3 { flags: CloneFlags::empty(), exit_signal: Some(Signal::SIGCHLD), cgroup: None };
    let spawn = Spawn { clone, into: pid.clone(), actor, child: steps, meanwhile: Vec::new() };
    vec![
        Step::say("Start a child that goes there")
            .why("This process stays where it is.")
            .chapter("17")
            .spawn(spawn),
        Step::say("Wait for its end").why("It has told what it saw.").chapter("2").wait(Wait::end(pid)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_in_is_sound_directly_and_through_a_user_namespace() {
        let subject = crate::probe::subject::Subject::find(std::process::id().cast_signed()).unwrap();
        let target = Target { typed: "x".to_owned(), found: None, subject };
        for through_user in [false, true] {
            let step = enter(INTO_NETWORK[0], &target, Kind::Net, through_user);
            let look = Step::say(NETWORK[0]).look_at([Probe::Interfaces(None)]);
            let mut plan = Plan::new("inspect x");
            plan.steps = child(ACTORS[0][1], vec![step, look]);
            assert_eq!(plan.check(), Vec::<String>::new());
            let crate::plan::Action::Spawn(spawn) = &plan.steps[0].action else { panic!("no child") };
            let crate::plan::Action::Calls(calls) = &spawn.child[0].action else { panic!("no calls") };
            assert_eq!(calls.len(), if through_user { 4 } else { 2 });
            assert!(calls.iter().all(|call| call.attempt.is_some()), "whoever is refused has found that out");
        }
    }
}
