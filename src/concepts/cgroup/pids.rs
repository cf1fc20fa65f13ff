//! `cutaway cgroup pids`: a fork bomb, and what stops it.

use super::{Group, Member, before, busy, group, kill_all, killed, story, watch_to_end};
use crate::concepts::Context;
use crate::concepts::common::amount;
use crate::error::Result;
use crate::plan::{Call, Claim, Ending, Finding, Plan, Probe, Spawn, Step, Until, Watch};
use crate::probe::meter::{Meter, Unit};
use crate::sys::flags::{CloneFlags, Signal};
use crate::sys::{Errno, Slot, Syscall};

const BOMB: Member = Member { actor: "bomb", pid: Slot::new("bomb pid"), group: "group of the bomb" };
const LATE: Member = Member { actor: "late", pid: Slot::new("late pid"), group: "group of the late one" };
const NEIGHBOUR: Slot = Slot::new("neighbour pid");

/// How many processes the lesson allows: enough to see growth, not so many that the list is long.
const RANGE: (u64, u64) = (3, 1000);

/// How long each process of the bomb waits before it makes the next, in milliseconds; read twice as often.
const PAUSE: u32 = 100;

/// The story.
pub fn plan(limit: Option<&str>, context: &Context) -> Result<Plan> {
    let limit = settle(limit.unwrap_or_default())?;
    let group = Group::find("pids", &group::name(), context)?;
    let mut steps = vec![before()];
    steps.extend(group.enable());
    steps.push(make(&group, limit));
    steps.extend(bomb(&group));
    steps.push(fills(&group, limit));
    steps.extend(refused(&group));
    steps.extend(neighbour());
    steps.push(busy(&group));
    steps.push(kill_all(&group, context));
    steps.push(killed("Collect the first process of the bomb", &BOMB.pid));
    Ok(story("pids", &group, context, steps))
}

fn settle(text: &str) -> Result<u64> {
    let number: u64 =
        text.parse().map_err(|_| amount::refuse("--limit", text, "a number of processes is wanted"))?;
    if !(RANGE.0..=RANGE.1).contains(&number) {
        return Err(amount::refuse("--limit", text, "this lesson takes between 3 and 1000"));
    }
    Ok(number)
}

fn make(group: &Group, limit: u64) -> Step {
    let step = group.make(
        Step::say("Make a group with a limit on its processes")
            .why(
                "Threads count too. Without such a limit, processes are limited by the machine alone: a fork \
                 bomb in one container then takes the pids of all.",
            )
            .chapter("24"),
    );
    group.set(step, ("pids.max", "pids.max"), limit.to_string())
}

fn bomb(group: &Group) -> Vec<Step> {
    group.workload(
        Step::say("Start a fork bomb in it")
            .why("Each of its processes makes new ones, without end, until it is refused one.")
            .chapter("24"),
        &BOMB,
        &["bomb".to_owned(), PAUSE.to_string()],
    )
}

fn current(group: &Group, limit: u64) -> Meter {
    Meter::file("pids.current", group.directory.join("pids.current"), Unit::Count).full(limit)
}

fn events(group: &Group) -> Meter {
    Meter::word("refused", group.directory.join("pids.events"), "max", Unit::Count)
}

fn fills(group: &Group, limit: u64) -> Step {
    let meters = vec![current(group, limit), events(group)];
    // Each process stops at its first refusal, so that there are as many of these as processes.
    let until = Until::Reached { meter: 1, at: limit, most: 600 };
    Step::say("Watch it fill the group, and end there")
        .why(
            "At the limit fork fails with EAGAIN, and that is all that happens: nobody is killed. `refused` \
             counts how often the kernel had to say no.",
        )
        .chapter("24")
        .watch(Watch {
            meters,
            every: PAUSE / 2,
            until,
            shows: vec![Finding::Reached(0, limit)],
            of: Vec::new(),
        })
        .look_at([Probe::Numbers(vec![events(group)])])
        .expect([Claim::Counts { path: group.directory.join("pids.events"), word: "max".into(), least: 1 }])
}

/// One more process is refused, seen from a process whose calls are told.
fn refused(group: &Group) -> Vec<Step> {
    if let Some(open) = group.open(LATE.group) {
        return vec![
            Step::say("Try to start one more process in the group")
                .why(
                    "A process that is to be born in the full group is not born at all. Nobody is exempt, not \
                     even root.",
                )
                .chapter("24")
                .call(open)
                .call(Call::from(group.clone3(LATE.group)).refused(Errno::EAGAIN)),
        ];
    }
    let fork =
        Syscall::Clone3 { flags: CloneFlags::empty(), exit_signal: Some(Signal::SIGCHLD), cgroup: None };
    let try_it = Step::say("Try to make a process from in there")
        .why("Making a process is refused, with EAGAIN and nothing else. Nobody is exempt, not even root.")
        .chapter("24")
        .call(Call::from(fork).refused(Errno::EAGAIN));
    let count = Step::say("Count who is in the group")
        .why("One more than the limit: moving into a full group is allowed, because it makes no process.")
        .chapter("24")
        .look_at([Probe::Numbers(vec![
            Meter::file("pids.max", group.directory.join("pids.max"), Unit::Count),
            Meter::file("pids.current", group.directory.join("pids.current"), Unit::Count),
        ])]);
    let step = Step::say("Start one more process, for that group")
        .why("It comes late: the group is full already.")
        .chapter("24");
    let mut steps = group.process(step, &LATE, vec![count, try_it]);
    steps.push(Step::say("Wait for its end").why("It had nothing else to do.").watch(watch_to_end(
        &[],
        100,
        &LATE.pid,
        Ending::Exited(0),
    )));
    steps
}

/// The host does not notice.
fn neighbour() -> Vec<Step> {
    let clone =
        Syscall::Clone3 { flags: CloneFlags::empty(), exit_signal: Some(Signal::SIGCHLD), cgroup: None };
    let child = vec![
        Step::say("Say where it was born")
            .why("Its parent is not in the full group, and so it is not either.")
            .look_at([Probe::Cgroups]),
    ];
    vec![
        Step::say("Make a process beside the group")
            .why("Meanwhile the rest of the machine makes processes as it likes.")
            .chapter("24")
            .spawn(Spawn { clone, into: NEIGHBOUR, actor: "neighbour", child, meanwhile: Vec::new() }),
        Step::say("Wait for its end").why("It ends by itself.").watch(watch_to_end(
            &[],
            100,
            &NEIGHBOUR,
            Ending::Exited(0),
        )),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_processes_has_a_range() {
        assert_eq!(settle("20").unwrap(), 20);
        for bad in ["0", "2", "1001", "-1", "many"] {
            assert!(settle(bad).is_err(), "{bad}");
        }
    }
}
