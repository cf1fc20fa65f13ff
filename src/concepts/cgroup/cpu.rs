//! `cutaway cgroup cpu`: a weight matters between those who compete, a quota always.

use super::{Group, Member, before, end, group, story, watch};
use crate::concepts::Context;
use crate::concepts::common::amount::{self, PERIOD};
use crate::error::{Error, Result};
use crate::plan::watch::Finding;
use crate::plan::{Plan, Probe, Step, calls};
use crate::probe::meter::{Meter, Unit};
use crate::sys::Slot;

const LIGHT: Member = Member { actor: "light", pid: Slot::new("light pid"), group: "group of the light one" };
const HEAVY: Member = Member { actor: "heavy", pid: Slot::new("heavy pid"), group: "group of the heavy one" };

/// Weights, as version 1 counts them and as version 2 does. One is three times the other.
const WEIGHTS: [(&str, &str); 2] = [("1024", "100"), ("3072", "300")];
/// How often the numbers are read, in milliseconds: several periods of a quota.
const EVERY: u32 = 300;

/// The story.
pub fn plan(limit: Option<&str>, context: &Context) -> Result<Plan> {
    let quota = settle(limit.unwrap_or_default())?;
    let cpu = processor()?;
    let upper = Group::find("cpu", &group::name(), context)?;
    let (light, heavy) = (upper.below("light"), upper.below("heavy"));
    let mut steps = vec![before()];
    steps.extend(upper.enable());
    steps.push(make_upper(&upper));
    steps.push(make_one(
        Step::say("Make a light group in it").why("This is the usual weight.").chapter("24"),
        &light,
        WEIGHTS[0],
    ));
    steps.push(make_one(
        Step::say("Make a heavy group beside it").why("Three times that weight.").chapter("24"),
        &heavy,
        WEIGHTS[1],
    ));
    let spin = ["spin".to_owned(), cpu.to_string()];
    steps.extend(
        light.workload(
            Step::say("Start a process that computes, in the light group")
                .why("It stays on one processor, so that the other one will have to share it.")
                .chapter("24"),
            &LIGHT,
            &spin,
        ),
    );
    let meters = meters();
    steps.push(alone(&meters[..1]));
    steps.extend(
        heavy.workload(
            Step::say("Start the same in the heavy group, on the same processor")
                .why("Now there is competition.")
                .chapter("24"),
            &HEAVY,
            &spin,
        ),
    );
    steps.push(compete(&meters));
    steps.extend(cap(&upper, &meters, quota));
    steps.extend(end("End the light one", &LIGHT.pid));
    steps.extend(end("End the heavy one", &HEAVY.pid));
    Ok(story("cpu", &upper, context, steps))
}

fn settle(text: &str) -> Result<u64> {
    let quota = amount::quota("--limit", text)?;
    if !(PERIOD / 20..PERIOD).contains(&quota) {
        return Err(amount::refuse(
            "--limit",
            text,
            "the competitors share one processor, so this lesson takes at least 0.05 and less than 1",
        ));
    }
    Ok(quota)
}

/// The last processor that this process may use: the first one has most of the interrupts.
pub fn processor() -> Result<usize> {
    let allowed = rustix::thread::sched_getaffinity(None)
        .map_err(|errno| Error::io("cannot find out which processors may be used", &errno.into()))?;
    let last = (0..rustix::thread::CpuSet::MAX_CPU).rev().find(|cpu| allowed.is_set(*cpu));
    last.ok_or_else(|| Error::new("there is no processor to compute on"))
}

fn make_upper(upper: &Group) -> Step {
    let step = upper.make(
        Step::say("Make a group for both competitors")
            .why(
                "Groups nest. What the upper one may use is what those below it share. On version 2 it must \
                 hand the controller down to them, and then may hold no processes of its own.",
            )
            .chapter("24"),
    );
    if upper.is_v2 {
        return step.calls(calls::write(upper.directory.join("cgroup.subtree_control"), "+cpu"));
    }
    step
}

fn make_one(step: Step, group: &Group, weight: (&str, &str)) -> Step {
    group.set(group.make(step), ("cpu.shares", "cpu.weight"), group.either(weight.0, weight.1))
}

fn meters() -> [Meter; 2] {
    let of = |member: &Member| Meter::processor_time(member.actor, member.pid.clone(), 100);
    [of(&LIGHT), of(&HEAVY)]
}

fn alone(meters: &[Meter]) -> Step {
    Step::say("Watch it alone")
        .why(
            "A weight is no limit. As long as nobody else wants the processor, the light one may have all of \
             it. What is missing to 100 % here went to others on this machine.",
        )
        .chapter("24")
        .watch(watch(meters, EVERY, 5, vec![Finding::Grew(0)]))
}

// ANCHOR: compete
fn compete(meters: &[Meter]) -> Step {
    Step::say("Watch them compete")
        .why(
            "Both want all of it, and the weights decide: about three parts to one. If the light one stopped, \
             the heavy one would have everything, and the other way round.",
        )
        .chapter("24")
        .watch(watch(meters, EVERY, 8, vec![Finding::Times { more: 1, less: 0, tenths: 20 }]))
}
// ANCHOR_END: compete

fn cap(upper: &Group, meters: &[Meter], quota: u64) -> Vec<Step> {
    let stat = upper.directory.join("cpu.stat");
    let throttled = Meter::word("nr_throttled", &stat, "nr_throttled", Unit::Count);
    let time = Meter::word(
        "throttled",
        &stat,
        upper.either("throttled_time", "throttled_usec"),
        upper.either(Unit::ShareOfNanoseconds, Unit::Share),
    );
    let step = Step::say("Give both together a quota")
        .why(
            "In each period of 100 ms the group gets so many microseconds, and when they are used up it waits \
             for the next period, however idle the machine is. That is what --cpus of a container sets.",
        )
        .chapter("24");
    let step = if upper.is_v2 {
        upper.set(step, ("", "cpu.max"), format!("{quota} {PERIOD}"))
    } else {
        let step = upper.set(step, ("cpu.cfs_period_us", ""), PERIOD.to_string());
        upper.set(step, ("cpu.cfs_quota_us", ""), quota.to_string())
    };
    let mut all = meters.to_vec();
    all.push(throttled.clone());
    // A bar is full at the quota, and exact to a clock tick.
    let percent = quota * 100 / PERIOD + 8;
    let shows = vec![Finding::TogetherAtMost { meters: vec![0, 1], percent }, Finding::Grew(2)];
    vec![
        step,
        Step::say("Watch both against the quota")
            .why(
                "Together they do not get more than that, and what there is they still share by weight. \
                 `nr_throttled` counts the periods in which the group had to wait.",
            )
            .chapter("24")
            .watch(watch(&all, EVERY, 8, shows))
            .look_at([Probe::Numbers(vec![
                Meter::word("nr_periods", &stat, "nr_periods", Unit::Count),
                throttled,
                time,
            ])]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_that_could_not_bite_is_refused() {
        assert_eq!(settle("0.2").unwrap(), 20_000);
        for bad in ["1", "2", "0.01", "0", "half"] {
            assert!(settle(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn this_machine_has_a_processor() {
        assert!(processor().is_ok());
    }
}
