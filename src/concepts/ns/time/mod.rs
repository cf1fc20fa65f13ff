//! `cutaway ns time`: two of the clocks can be moved, for processes that are not born yet.

use super::{Room, clone, show_host, wait};
use crate::concepts::Context;
use crate::plan::{Call, Claim, Gate, Plan, Probe, Spawn, Step, Wait, calls};
use crate::probe::clocks::Clock;
use crate::sys::flags::{Access, CloneFlags, OFlags};
use crate::sys::{Errno, Slot, Syscall, Value};

const TIME: CloneFlags = CloneFlags::CLONE_NEWTIME;
/// The process whose clocks are moved, by its number outside.
const LATER: Slot = Slot::new("later pid");
/// A day.
const DAY: i64 = 86_400;
const OFFSETS: &str = "/proc/self/timens_offsets";

/// The story.
pub fn plan(room: &Room, _: &Context) -> Plan {
    let step = Step::say("Start a child that will ask for a time namespace")
        .why(
            "It stays in the host's time itself. Like a pid namespace, this one is for the children of the \
             process that asks for it.",
        )
        .chapter("15");
    room.plan(vec![
        before(),
        room.child(step, CloneFlags::empty(), Vec::new(), in_child(room)),
        wait(room),
        after(),
    ])
}

fn unchanged() -> [Claim; 3] {
    [Clock::Realtime, Clock::Monotonic, Clock::Boottime].map(|clock| Claim::ClockAhead { clock, seconds: 0 })
}

fn before() -> Step {
    Step::say("Note the clocks before anything changes")
        .why(
            "CLOCK_REALTIME is the time of day. CLOCK_MONOTONIC and CLOCK_BOOTTIME count from about the boot, and \
             differ by the time that the machine was suspended.",
        )
        .chapter("15")
        .look_at([Probe::Clocks, Probe::Namespaces(TIME)])
}

fn in_child(room: &Room) -> Vec<Step> {
    let (show, look) = show_host("born", "seen", vec![from_outside(), too_late()]);
    let mut later = vec![
        Step::say("Die when the child dies")
            .why("It must not outlive the story.")
            .call(calls::die_with_parent())
            .expect([Claim::OwnNamespaces(TIME)]),
        Step::say("Make sure that it is not dead already")
            .why("A parent that died before the call above would never trigger it.")
            .gate(Gate::ParentLives),
        inside(),
    ];
    later.extend(show);
    later.push(not_isolated(room));
    later.extend(room.exec());
    let spawn = Spawn {
        clone: clone(CloneFlags::empty()),
        into: LATER,
        actor: "later",
        child: later,
        meanwhile: look,
    };
    vec![
        ask(),
        set(),
        Step::say("Start the first process in the new namespace")
            .why("Its clocks are the host's plus the offsets. From this moment on the offsets are fixed.")
            .chapter("15")
            .spawn(spawn),
        Step::say("Wait for its end")
            .why("With it the namespace loses its only member.")
            .chapter("2")
            .wait(Wait::end(LATER)),
    ]
}

fn ask() -> Step {
    Step::say("Ask for a new time namespace")
        .why("This process stays where it is: `time` is the old one, `time_for_children` is the new one.")
        .chapter("15")
        .call(calls::unshare(TIME))
        .look_at([Probe::ForChildren(TIME)])
        .expect([Claim::SharedNamespaces(TIME), Claim::OwnForChildren(TIME)])
}

// ANCHOR: offsets
fn set() -> Step {
    Step::say("Move two clocks by a day")
        .why(
            "As long as nobody is in the namespace, its offsets can be written: the clock, seconds, nanoseconds. \
             It needs CAP_SYS_TIME, in the user namespace that owns this time namespace. This process's own \
             clocks do not move.",
        )
        .chapter("15")
        .calls(calls::write(OFFSETS, format!("monotonic {DAY} 0\nboottime {DAY} 0\n")))
        .look_at([Probe::File(OFFSETS.into()), Probe::Clocks])
        .expect(unchanged())
}
// ANCHOR_END: offsets

fn inside() -> Step {
    let ahead = |clock| Claim::ClockAhead { clock, seconds: DAY };
    Step::say("Read the clocks in the new namespace")
        .why(
            "The machine seems to run for a day longer, for uptime(1) too. The time of day is the host's: there \
             is no namespace for it, so that `date` says the same everywhere.",
        )
        .chapter("15")
        .look_at([Probe::Clocks, Probe::Namespaces(TIME)])
        .expect([
            ahead(Clock::Monotonic),
            ahead(Clock::Boottime),
            Claim::ClockAhead { clock: Clock::Realtime, seconds: 0 },
        ])
}

fn from_outside() -> Step {
    Step::say("Read the clocks outside, at the same time")
        .why(
            "This process made the namespace and still has the host's time. Containers that move to another \
             machine are what the offsets are for: their monotonic clock must not jump back.",
        )
        .chapter("15")
        .look_at([Probe::Clocks, Probe::NamespacesOf { pid: LATER.into(), kinds: TIME }])
        .expect(unchanged())
}

fn too_late() -> Step {
    Step::say("Try to move the clocks once more")
        .why("There is a process in the namespace now. A clock that never jumps must not jump under it: EACCES.")
        .chapter("15")
        .call(calls::open(OFFSETS, Access::O_WRONLY, OFlags::empty(), "file"))
        .call(
            Call::from(Syscall::Write { fd: Value::later("file"), data: "boottime 0 0\n".into() })
                .refused(Errno::EACCES),
        )
        .call(calls::close("file"))
}

fn not_isolated(room: &Room) -> Step {
    Step::say("See what this namespace does not isolate")
        .why(
            "Most of time is not in it: not the time of day, not the speed of the clocks, not the processor time \
             of a process. A container cannot have a date of its own.",
        )
        .chapter("15")
        .look_at([Probe::Clocks])
        .expect([Claim::ClockAhead { clock: Clock::Realtime, seconds: 0 }])
        .expect([room.shares_the_rest(TIME)])
}

fn after() -> Step {
    Step::say("Look at the host again")
        .why("Its clocks went on as ever.")
        .chapter("15")
        .look_at([Probe::Clocks])
        .expect(unchanged())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_story_is_sound() {
        super::super::tests::is_sound("time");
    }
}
