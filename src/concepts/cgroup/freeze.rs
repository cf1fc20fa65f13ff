//! `cutaway cgroup freeze`: a group is stopped, goes on as if nothing had been, and is killed as a whole.

use super::{Group, Member, before, busy, group, kill_all, killed, story, watch, watch_to_end};
use crate::concepts::Context;
use crate::error::Result;
use crate::plan::watch::Finding;
use crate::plan::{Claim, Ending, Plan, Probe, Step, calls};
use crate::probe::meter::Meter;
use crate::sys::flags::Signal;
use crate::sys::{Slot, Syscall};

const SPINNER: Member =
    Member { actor: "spinner", pid: Slot::new("spinner pid"), group: "group of the spinner" };
const EVERY: u32 = 200;

/// The story.
pub fn plan(_: Option<&str>, context: &Context) -> Result<Plan> {
    let group = Group::find("freezer", &group::name(), context)?;
    let cpu = super::cpu::processor()?;
    let mut steps = vec![before(), make(&group)];
    steps.extend(
        group.workload(
            Step::say("Start a process that computes, in the group")
                .why("Whether it moves can be seen by the processor time that it uses.")
                .chapter("25"),
            &SPINNER,
            &["spin".to_owned(), cpu.to_string()],
        ),
    );
    steps.push(Step::say("Watch it run").why("Its processor time grows.").chapter("25").watch(watch(
        &time(),
        EVERY,
        4,
        vec![Finding::Grew(0)],
    )));
    steps.push(freeze(&group));
    steps.push(still());
    steps.push(thaw(&group));
    steps.push(
        Step::say("Watch it go on")
            .why("It does not know that it was stopped; the clock has gone on without it.")
            .chapter("25")
            .watch(watch(&time(), EVERY, 4, vec![Finding::Grew(0)])),
    );
    steps.push(busy(&group));
    steps.extend(end(&group, context));
    let mut plan = story("freeze", &group, context, steps);
    if group.is_v2 {
        plan.notes = vec!["cgroups: a group of version 2 can be frozen without any controller".to_owned()];
    }
    Ok(plan)
}

fn time() -> [Meter; 1] {
    [Meter::processor_time("processor", SPINNER.pid.clone(), 100)]
}

fn make(group: &Group) -> Step {
    group.make(
        Step::say("Make a group")
            .why("It limits nothing. A group also is a handle: a name for a set of processes.")
            .chapter("25"),
    )
}

/// What the state is read in, and what it says then.
fn frozen(group: &Group) -> Claim {
    if group.is_v2 {
        return Claim::Counts {
            path: group.directory.join("cgroup.events"),
            word: "frozen".into(),
            least: 1,
        };
    }
    Claim::Becomes { path: group.directory.join("freezer.state"), text: "FROZEN".to_owned() }
}

fn state(group: &Group) -> Probe {
    Probe::File(group.file("freezer.state", "cgroup.events"))
}

fn freeze(group: &Group) -> Step {
    Step::say("Freeze the group")
        .why(
            "Each of its processes stops where it is, and no signal is involved: a process that asks whether \
             it was stopped finds nothing, and its parent is not told. `docker pause` is this.",
        )
        .chapter("25")
        .calls(calls::write(group.file("freezer.state", "cgroup.freeze"), group.either("FROZEN", "1")))
        .look_at([state(group)])
        .expect([frozen(group)])
}

fn still() -> Step {
    Step::say("Watch it stand still")
        .why("Not a tick of processor time is used.")
        .chapter("25")
        .watch(watch(&time(), EVERY, 4, vec![Finding::Still(0)]))
        .look_at([Probe::Process(SPINNER.pid.into())])
        .expect([Claim::Alive(SPINNER.pid.into())])
}

fn thaw(group: &Group) -> Step {
    Step::say("Thaw it")
        .why("All of them go on at once.")
        .chapter("25")
        .calls(calls::write(group.file("freezer.state", "cgroup.freeze"), group.either("THAWED", "0")))
        .look_at([state(group)])
}

/// The end differs: what version 1 has frozen does not die.
fn end(group: &Group, context: &Context) -> Vec<Step> {
    if group.is_v2 {
        return vec![
            freeze(group),
            kill_all(group, context),
            killed("See it die, frozen as it is", &SPINNER.pid),
        ];
    }
    let kill = Syscall::Kill { pid: SPINNER.pid.into(), signal: Signal::SIGKILL };
    vec![
        freeze(group),
        Step::say("Kill it while it is frozen")
            .why(
                "The signal is sent, and nothing happens: what the freezer of version 1 holds cannot act on a \
                 signal, not even on SIGKILL. Version 2 wakes it up for that, and has cgroup.kill besides.",
            )
            .chapter("25")
            .call(kill)
            .look_at([Probe::Process(SPINNER.pid.into())])
            .expect([Claim::Alive(SPINNER.pid.into())]),
        thaw(group),
        Step::say("See it die now")
            .why(
                "Freeze, send SIGKILL to each, thaw: this is how runtimes end a group on version 1, so that no \
                 process can fork away meanwhile.",
            )
            .chapter("25")
            .watch(watch_to_end(&time(), EVERY, &SPINNER.pid, Ending::Killed(Signal::SIGKILL))),
    ]
}
