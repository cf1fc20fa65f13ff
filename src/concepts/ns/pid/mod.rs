//! `cutaway ns pid`: one process, two numbers, and the duties of number 1.
//!
//! ```text
//!   host     the host's pid namespace
//!   child    the same; it calls unshare, and is not moved by it
//!   init     the first process that child starts: PID 1 of the new namespace
//!   other    PID 2: signals PID 1, starts PID 3 and ends before it
//!   orphan   PID 3: sleeps, is adopted by PID 1, killed, left as a zombie, collected
//!   last     PID 4: sleeps, and dies because PID 1 ends
//! ```
//!
//! In a fresh namespace the numbers are counted from 1, so that they are known while planning.

use super::{CHILD, Room, clone, show_host, wait};
use crate::concepts::Context;
use crate::plan::calls::mount;
use crate::plan::{Call, Claim, Gate, Plan, Probe, Spawn, Step, Wait, calls};
use crate::sys::flags::{Access, CloneFlags, MsFlags, OFlags, SigHow, Signal, WaitFlags};
use crate::sys::{Errno, Slot, Syscall, Value};

const PID: CloneFlags = CloneFlags::CLONE_NEWPID;
/// PID 1, by its number outside.
const INIT: Slot = Slot::new("init pid");
const OTHER: Slot = Slot::new("other pid");
const ORPHAN_SLOT: Slot = Slot::new("orphan pid");
const LAST_SLOT: Slot = Slot::new("last pid");
/// A descriptor of the new namespace, which shows it even when it is dead.
const NAMESPACE: &str = "pid namespace";
/// The pid of the orphan in the new namespace.
const ORPHAN: Value = Value::Known(3);
const FIRST: Value = Value::Known(1);
/// So long an orphan sleeps at most, should nobody kill it.
const SLEEP: Syscall = Syscall::ClockNanosleep { seconds: 60 };

/// The story.
pub fn plan(room: &Room, _: &Context) -> Plan {
    let step = Step::say("Start a child that will ask for a pid namespace")
        .why(
            "cutaway itself stays as it is. The child is an ordinary process of the host, with one number, as \
             all of its processes have.",
        )
        .chapter("12");
    room.plan(vec![
        before(),
        room.child(step, CloneFlags::empty(), Vec::new(), in_child(room)),
        wait(room),
        after(),
    ])
}

fn before() -> Step {
    Step::say("Note the numbers before anything changes")
        .why("A process has one number in its own pid namespace, and one in each namespace around that.")
        .chapter("12")
        .look_at([Probe::Pids, Probe::Namespaces(PID), Probe::Proc])
}

/// The process that makes the namespace and stays outside.
fn in_child(room: &Room) -> Vec<Step> {
    let (show, look) = show_host("numbered", "seen", vec![two_numbers(), keep()]);
    let init = Spawn {
        clone: clone(CloneFlags::empty()),
        into: INIT,
        actor: "init",
        child: in_init(room, show),
        meanwhile: look,
    };
    vec![
        ask(),
        Step::say("Start the first process of the new namespace")
            .why(
                "clone3 has no flag for it: the namespace is the one that this process prepared for its \
                 children. The kernel numbers from 1 in there. This process gets the number that the child has \
                 out here.",
            )
            .chapter("12")
            .spawn(init),
        Step::say("Wait for the end of PID 1")
            .why("From out here it is a process like any other: its parent collects it.")
            .chapter("12")
            .wait(Wait::end(INIT)),
        all_ended(),
        dead(),
    ]
}

fn ask() -> Step {
    Step::say("Ask for a new pid namespace")
        .why(
            "unshare moves a process into most namespaces. Not into this one: a process keeps its number for \
             life, and programs rely on that. Only the children will be in the new namespace.",
        )
        .chapter("12")
        .call(calls::unshare(PID))
        .look_at([Probe::Pids, Probe::ForChildren(PID)])
        .expect([Claim::SharedNamespaces(PID)])
}

fn two_numbers() -> Step {
    Step::say("Look at the new process from outside")
        .why(
            "One process, two numbers. Nothing is hidden from the outer namespace: it sees the process under a \
             number of its own, and can signal it by that. Only the view from inside is narrow.",
        )
        .chapter("12")
        .look_at([
            Probe::Process(INIT.into()),
            Probe::NamespacesOf { pid: INIT.into(), kinds: PID },
            Probe::Pids,
        ])
        .expect([Claim::Innermost { pid: INIT.into(), inside: 1 }, Claim::OwnForChildren(PID)])
}

fn keep() -> Step {
    let path = super::birth::proc_of(&INIT, "ns/pid");
    Step::say("Keep a descriptor of the new namespace")
        .why("By it the members of the namespace can be listed, even when none is left.")
        .chapter("17")
        .call(calls::open(path, Access::O_RDONLY, OFlags::empty(), NAMESPACE))
        .look_at([Probe::Members(Value::later(NAMESPACE))])
}

/// PID 1.
fn in_init(room: &Room, show: Vec<Step>) -> Vec<Step> {
    let mut steps = vec![
        Step::say("Die when the child dies")
            .why("Should it be killed, the kernel kills PID 1, and with PID 1 all others in here.")
            .call(calls::die_with_parent())
            .look_at([Probe::Namespaces(PID)])
            .expect([Claim::PidIs(1), Claim::OwnNamespaces(PID)]),
        Step::say("Make sure that it is not dead already")
            .why("A parent that died before the call above would never trigger it.")
            .gate(Gate::ParentLives),
    ];
    steps.extend(show);
    steps.extend(own_proc());
    steps.extend(signals());
    steps.extend(orphans());
    if room.command.is_some() {
        steps.push(not_isolated(room));
        steps.extend(room.exec());
    } else {
        steps.extend([last(), last_sleeps(), not_isolated(room), before_the_end()]);
    }
    steps
}

/// The wrong /proc, and the right one.
fn own_proc() -> Vec<Step> {
    vec![
        Step::say("Look into the /proc that is mounted")
            .why(
                "It still is the host's: a proc file system shows the pid namespace that it was mounted in, not \
                 the one of the process that reads it. ps would list the host's processes, under numbers that \
                 mean nothing in here.",
            )
            .chapter("12")
            .look_at([Probe::Pids, Probe::Proc]),
        Step::say("Get a mount table of your own")
            .why("The next mount would otherwise cover the host's /proc. Private: nothing is passed on to it.")
            .chapter("5")
            .call(calls::unshare(CloneFlags::CLONE_NEWNS))
            .call(mount::propagation("/", MsFlags::MS_REC | MsFlags::MS_PRIVATE))
            .expect([Claim::OwnNamespaces(CloneFlags::CLONE_NEWNS), Claim::NothingShared]),
        Step::say("Mount a proc of this pid namespace")
            .why(
                "The new /proc belongs to the namespace of the process that mounts it. Now the numbers fit: \
                 /proc/self is 1, and ps shows who is in here.",
            )
            .chapter("12")
            .call(mount::proc("/proc"))
            .look_at([Probe::Proc])
            .expect([Claim::ProcSelf(1), Claim::Mounted { at: "/proc".into(), fstype: "proc".into() }]),
    ]
}

// ANCHOR: attack
/// What process 2 does: signals from inside do not reach PID 1.
fn attack() -> Vec<Step> {
    let kill = |signal| Syscall::Kill { pid: FIRST, signal };
    vec![
        Step::say("Ask PID 1 to end")
            .why(
                "The call succeeds and nothing happens. From inside, only signals for which PID 1 has set up a \
                 handler reach it, and it has none for SIGTERM.",
            )
            .chapter("13")
            .call(kill(Signal::SIGTERM))
            .expect([Claim::Alive(FIRST)]),
        Step::say("Kill PID 1")
            .why(
                "SIGKILL cannot be handled, so from inside it never arrives. From an outer namespace SIGKILL and \
                 SIGSTOP do; a SIGTERM without a handler does not. That is why `docker stop` so often waits \
                 until its patience ends.",
            )
            .chapter("13")
            .call(kill(Signal::SIGKILL))
            .look_at([Probe::Process(FIRST)])
            .expect([Claim::Alive(FIRST)]),
        bereave(),
    ]
}
// ANCHOR_END: attack

/// Process 2 starts process 3 and ends before it.
fn bereave() -> Step {
    Step::say("Start a process that will lose its parent")
        .why("It is number 3. Its parent, this process, ends before it.")
        .chapter("13")
        .spawn(Spawn {
            clone: clone(CloneFlags::empty()),
            into: ORPHAN_SLOT,
            actor: "orphan",
            child: vec![
                Step::say("Sleep")
                    .why("Whoever is meant to wait for this process will be gone when it ends.")
                    .look_at([Probe::Process(ORPHAN)])
                    .part(SLEEP),
            ],
            meanwhile: vec![
                Step::say("Hear it until it sleeps")
                    .why("After this it reports nothing.")
                    .wait(Wait::reports(ORPHAN_SLOT)),
                Step::say("See whose child it is")
                    .why("A parent can collect its children. This one ends now and does not.")
                    .chapter("13")
                    .look_at([Probe::Process(ORPHAN)])
                    .expect([Claim::ParentOf { pid: ORPHAN, parent: Value::Known(2) }]),
            ],
        })
}

/// PID 1 is attacked, and an orphan is made.
fn signals() -> Vec<Step> {
    vec![
        Step::say("Let SIGTERM through")
            .why(
                "cutaway holds signals back while it works, and a signal that is held back proves nothing. From \
                 here on only the kernel's rule for PID 1 stands in the way.",
            )
            .chapter("13")
            .call(Syscall::RtSigprocmask { how: SigHow::SIG_UNBLOCK, set: vec![Signal::SIGTERM] }),
        Step::say("Start another process, which attacks PID 1")
            .why("It is number 2, and as far as permissions go it may signal PID 1.")
            .chapter("13")
            .spawn(Spawn {
                clone: clone(CloneFlags::empty()),
                into: OTHER,
                actor: "other",
                child: attack(),
                meanwhile: Vec::new(),
            }),
        Step::say("Watch, and wait until it has nothing more to tell")
            .why("SIGTERM is not held back meanwhile. PID 1 lives or dies by the kernel's rule alone.")
            .chapter("13")
            .wait(Wait::reports(OTHER)),
        Step::say("Collect the process that has ended")
            .why("Its parent does that with one call. Its own child is still asleep, without a parent now.")
            .chapter("13")
            .wait(Wait::end(OTHER)),
    ]
}

/// PID 1 adopts, leaves a zombie, and collects it.
fn orphans() -> Vec<Step> {
    let wait = |options| Syscall::Waitid { pid: ORPHAN, options };
    vec![
        Step::say("See who adopted the orphan")
            .why(
                "A process whose parent ends becomes a child of PID 1 of its pid namespace. On the host that is \
                 the init system, which knows the duty. In here it is whatever program happens to be PID 1.",
            )
            .chapter("13")
            .look_at([Probe::Proc])
            .expect([Claim::ParentOf { pid: ORPHAN, parent: FIRST }]),
        Step::say("End the orphan, and do not collect it")
            .why(
                "What stays is a zombie: no memory, no files, only the number and the exit status, kept for a \
                 parent that asks. A PID 1 that never asks piles them up. WNOWAIT waits for the end and leaves \
                 the zombie as it is.",
            )
            .chapter("13")
            .call(Syscall::Kill { pid: ORPHAN, signal: Signal::SIGKILL })
            .call(wait(WaitFlags::WEXITED | WaitFlags::WNOWAIT))
            .look_at([Probe::Proc])
            .expect([Claim::Zombie(ORPHAN)]),
        Step::say("Do the duty of PID 1")
            .why("One waitid, and the zombie is gone. This loop is most of what an init in a container does.")
            .chapter("13")
            .call(wait(WaitFlags::WEXITED))
            .look_at([Probe::Proc])
            .expect([Claim::NoProcess(ORPHAN)]),
    ]
}

/// One more process, which lives when PID 1 ends.
fn last() -> Step {
    Step::say("Start a process that nobody will end")
        .why("It is number 4. It sleeps for a minute, if it is left alone.")
        .chapter("13")
        .spawn(Spawn {
            clone: clone(CloneFlags::empty()),
            into: LAST_SLOT,
            actor: "last",
            child: vec![
                Step::say("Sleep").why("It will not wake up: PID 1 ends before the minute does.").part(SLEEP),
            ],
            meanwhile: Vec::new(),
        })
}

fn last_sleeps() -> Step {
    Step::say("Hear it until it sleeps").why("After this it reports nothing.").wait(Wait::reports(LAST_SLOT))
}

fn before_the_end() -> Step {
    Step::say("See who is alive before PID 1 ends")
        .why("Nobody will tell the sleeper. PID 1 has nothing more to do and ends.")
        .chapter("13")
        .look_at([Probe::Proc])
        .expect([Claim::Alive(Value::Known(4))])
}

fn not_isolated(room: &Room) -> Step {
    let load = "/proc/loadavg";
    Step::say("See what this namespace does not isolate")
        .why(
            "Numbers, and with them who can be signalled: nothing else. The new /proc hides other processes but \
             still shows the host's memory and load. Files, users and the network are the host's.",
        )
        .chapter("12")
        .look_at([Probe::File(load.into())])
        .expect([room.shares_the_rest(CloneFlags::CLONE_NEWNS)])
}

/// PID 1 is gone, and so is everybody else.
fn all_ended() -> Step {
    Step::say("See who is left in the namespace")
        .why(
            "When PID 1 ends, the kernel kills every other process of its namespace and waits for them. There \
             is nothing like a new PID 1: this end is the end of a container.",
        )
        .chapter("13")
        .look_at([Probe::Members(Value::later(NAMESPACE))])
        .expect([Claim::NoMembers(Value::later(NAMESPACE))])
}

// ANCHOR: dead
fn dead() -> Step {
    Step::say("Try to start a second process in it")
        .why(
            "This process still prepares its children for that namespace. But a pid namespace without PID 1 takes \
             nobody in any more, and the kernel says so with ENOMEM, though memory is not what is missing. \
             `unshare --pid` without `--fork` leads a shell into exactly this.",
        )
        .chapter("12")
        .call(Call::from(clone(CloneFlags::empty())).refused(Errno::ENOMEM))
        .call(calls::close(NAMESPACE))
        .expect([Claim::SharedNamespaces(PID)])
}
// ANCHOR_END: dead

fn after() -> Step {
    Step::say("Look at the host again")
        .why("Its numbers are what they were. The namespace has died with its last process and descriptor.")
        .chapter("12")
        .look_at([Probe::Pids, Probe::Namespaces(PID)])
        .expect([Claim::NoProcess(CHILD.into()), Claim::SharedNamespaces(PID)])
}

#[cfg(test)]
mod tests {
    use super::super::tests::{is_sound, rooms};
    use crate::plan::number;

    #[test]
    fn the_story_is_sound() {
        is_sound("pid");
    }

    #[test]
    fn only_a_story_without_a_command_leaves_a_sleeper() {
        for (room, plan) in rooms("pid") {
            let sleeps = number::walk(&plan).iter().any(|one| one.actor == "last");
            assert_eq!(sleeps, room.command.is_none());
        }
    }
}
