//! A fake kernel for tests: it performs nothing, remembers everything, and fails one call on demand.
//!
//! A child is a thread here, with the same fake behind a lock; gates and reports go over real sockets between
//! the threads. For every plan and every n the n-th call fails, and then the undoing must be the right one.
//!
//! A new concept adds its command lines to [`LINES`].

#![allow(clippy::unwrap_used, reason = "tests may unwrap, and so may their helpers")]

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use cutaway::concepts::{self, Context, Stage};
use cutaway::engine::{Pace, Setup, perform};
use cutaway::error::{Error, exit};
use cutaway::plan::{Action, Gate, Plan, Spawn, Step, Undo, number};
use cutaway::report::Observer;
use cutaway::report::event::Event;
use cutaway::sys::flags::{CapSet, CloneFlags};
use cutaway::sys::process::{ChildMain, Processes};
use cutaway::sys::{Errno, Kernel, Returned, Slot, Syscall, manual};

/// How long a rehearsal may take: one that waits for ever has lost a gate.
const LIMIT: Duration = Duration::from_secs(20);

/// What all processes of a rehearsal share.
#[derive(Debug, Default)]
struct Shared {
    /// The calls in the order in which they were made.
    calls: Vec<Syscall>,
    /// Which of them fails, counted from 0.
    fails: Option<usize>,
    /// The threads that play processes.
    children: Vec<JoinHandle<i32>>,
    /// Descriptors that are open in fact.
    real: Vec<File>,
}

/// A kernel that performs nothing.
#[derive(Debug, Clone, Default)]
struct Fake(Arc<Mutex<Shared>>);

/// What every failing call answers.
const ERRNO: Errno = Errno::EPERM;

impl Fake {
    fn failing(call: Option<usize>) -> Self {
        Self(Arc::new(Mutex::new(Shared { fails: call, ..Shared::default() })))
    }

    /// Logs a call; the number of it, or the errno.
    fn log(&self, call: &Syscall) -> Result<usize, Errno> {
        let mut shared = self.0.lock().unwrap();
        let number = shared.calls.len();
        shared.calls.push(call.clone());
        if shared.fails == Some(number) { Err(ERRNO) } else { Ok(number) }
    }
}

impl Kernel for Fake {
    fn call(&mut self, call: &Syscall) -> Result<Returned, Errno> {
        let number = self.log(call)?;
        // A terminal's master travels over the report socket, which takes real descriptors only.
        if matches!(call, Syscall::Openat { path, .. } if *path == "/dev/pts/ptmx".into()) {
            let real = File::open("/dev/null").unwrap();
            let value = i64::from(real.as_raw_fd());
            self.0.lock().unwrap().real.push(real);
            return Ok(Returned { value, answer: Vec::new() });
        }
        // Descriptors that no process here has: nothing real can be hit.
        Ok(Returned { value: i64::try_from(100_000 + number).unwrap(), answer: Vec::new() })
    }
}

impl Processes for Fake {
    fn spawn(&mut self, call: &Syscall, _close: &[i32], main: ChildMain<Self>) -> Result<i64, Errno> {
        let number = self.log(call)?;
        let kernel = self.clone();
        let child = std::thread::spawn(move || main(kernel));
        self.0.lock().unwrap().children.push(child);
        Ok(i64::try_from(1_000_000 + number).unwrap())
    }

    fn is_real(&self) -> bool {
        false
    }
}

/// Keeps the events for the test.
#[derive(Clone, Default)]
struct Keeper(Arc<Mutex<Vec<Event>>>);

impl Observer for Keeper {
    fn observe(&mut self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }

    fn flush(&mut self) {}
}

/// What came of a rehearsal.
struct Rehearsal {
    code: u8,
    error: Option<Error>,
    left: Vec<String>,
    events: Vec<Event>,
    calls: Vec<Syscall>,
}

/// Performs a plan on the fake kernel; fails the test if it does not end.
fn rehearse(plan: &Plan, fails: Option<usize>, pace: Pace, watched: bool) -> Rehearsal {
    let (plan, what) = (plan.clone(), format!("{} with call {fails:?} failing", plan.title));
    let (send, receive) = mpsc::channel();
    let test = std::thread::spawn(move || {
        let (kernel, keeper) = (Fake::failing(fails), Keeper::default());
        // Without a name there is no journal, and nothing is written anywhere.
        let plan = Plan { name: None, steps: blind(plan.steps), ..plan };
        let observers: Vec<Box<dyn Observer>> =
            if watched { vec![Box::new(keeper.clone())] } else { Vec::new() };
        let setup = Setup {
            pace,
            observers,
            asker: None,
            state: "/nowhere".into(),
            kept: Vec::new(),
            command: Vec::new(),
            failure: exit::CUTAWAY,
        };
        let outcome = perform(kernel.clone(), plan, setup);
        let children = std::mem::take(&mut kernel.0.lock().unwrap().children);
        for child in children {
            child.join().unwrap();
        }
        let calls = kernel.0.lock().unwrap().calls.clone();
        let events = keeper.0.lock().unwrap().clone();
        let (code, error, left) = (outcome.code, outcome.error, outcome.left);
        let _ = send.send(Rehearsal { code, error, left, events, calls });
    });
    let rehearsal = receive.recv_timeout(LIMIT).ok();
    let how = if test.is_finished() { "panicked" } else { "hangs" };
    rehearsal.unwrap_or_else(|| panic!("{what} {how}"))
}

/// The same steps without looking at this machine, which takes most of a rehearsal's time.
fn blind(mut steps: Vec<Step>) -> Vec<Step> {
    for step in &mut steps {
        step.look_at.clear();
        if let Action::Spawn(spawn) = &mut step.action {
            spawn.child = blind(std::mem::take(&mut spawn.child));
            spawn.meanwhile = blind(std::mem::take(&mut spawn.meanwhile));
        }
    }
    steps
}

/// The undo of each step of the parent, with the number of its step.
fn undos(plan: &Plan) -> Vec<(String, Vec<Undo>)> {
    let all = number::walk(plan).into_iter();
    all.filter(|one| !one.step.undo.is_empty()).map(|one| (one.id, one.step.undo.clone())).collect()
}

/// The steps whose first call was made and did not fail at once, in order.
fn begun(rehearsal: &Rehearsal, plan: &Plan) -> Vec<String> {
    let mut seen: Vec<String> = Vec::new();
    let mut refused = BTreeSet::new();
    for event in &rehearsal.events {
        let Event::Call { step, errno, undo: false, .. } = event else { continue };
        if !seen.contains(step) {
            seen.push(step.clone());
            if errno.is_some() {
                refused.insert(step.clone());
            }
        }
    }
    undos(plan)
        .into_iter()
        .map(|(id, _)| id)
        .filter(|id| seen.contains(id) && !refused.contains(id))
        .collect()
}

/// What must hold of a rehearsal in which call `n` failed.
fn check(plan: &Plan, n: usize, pace: Pace) {
    let rehearsal = rehearse(plan, Some(n), pace, true);
    let what = format!("{}: call {n}, {}", plan.title, rehearsal.calls[n]);
    let failed = failure(&rehearsal);
    let Some((text, is_undo, is_allowed)) = failed else {
        // A child that is killed in the middle of a call says nothing more.
        let text = rehearsal.calls[n].to_string();
        let entered = |event: &Event| matches!(event, Event::Entered { text: begun, .. } if *begun == text);
        assert!(rehearsal.events.iter().any(entered), "{what}: no event of the failure");
        return;
    };
    assert_eq!(text, rehearsal.calls[n].to_string(), "{what}");
    if is_undo {
        assert!(rehearsal.left.iter().any(|left| left.contains(&text)), "{what}: {:?}", rehearsal.left);
        assert_ne!(rehearsal.code, 0, "{what}");
    } else if !is_allowed {
        let error = rehearsal.error.as_ref().unwrap_or_else(|| panic!("{what}: no error"));
        let parts = error.parts();
        assert_eq!(
            parts.call.as_deref(),
            Some(format!("{text} = -1 {}", manual::errno(ERRNO)).as_str()),
            "{what}"
        );
        assert!(parts.rule.is_some(), "{what} has no rule");
        let code = if becomes(plan, &rehearsal.calls[n]) { exit::CANNOT_EXECUTE } else { exit::CUTAWAY };
        assert_eq!(rehearsal.code, code, "{what}");
        assert!(rehearsal.left.is_empty(), "{what}: {:?}", rehearsal.left);
    }
    // The undoing calls that were made are those of the begun steps, in reverse.
    let begun = begun(&rehearsal, plan);
    let wanted: Vec<String> = undos(plan)
        .into_iter()
        .rev()
        .filter(|(id, _)| begun.contains(id))
        .flat_map(|(_, undo)| undo)
        .filter_map(|undo| if let Undo::Call(call) = undo { Some(call.to_string()) } else { None })
        .collect();
    let made: Vec<String> = rehearsal
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Call { text, undo: true, syscall, .. } if syscall != "kill" => Some(text.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(made, wanted, "{what}");
    let told = rehearsal.events.iter().rev().find_map(|event| match event {
        Event::Undone { of, .. } => Some(*of),
        _ => None,
    });
    assert_eq!(told.unwrap_or(0), begun.len(), "{what}: the steps that were undone");
}

/// Whether by this call a process becomes its command. An execve can be an attempt too, that is to fail.
fn becomes(plan: &Plan, call: &Syscall) -> bool {
    number::walk(plan)
        .iter()
        .any(|one| matches!(&one.step.action, Action::Exec(calls) if calls.contains(call)))
}

/// The text of the call that failed, whether it was one that undoes, and whether the plan allows the failure.
fn failure(rehearsal: &Rehearsal) -> Option<(String, bool, bool)> {
    rehearsal.events.iter().find_map(|event| match event {
        Event::Call { text, errno: Some(_), undo, allowed, .. } => Some((text.clone(), *undo, *allowed)),
        _ => None,
    })
}

/// The command lines whose plans are rehearsed, as root and as an ordinary user.
const LINES: &[&[&str]] = &[
    &["run"],
    &["run", "--init"],
    &["run", "-t"],
    &["run", "--network", "host", "--read-only", "--tmpfs", "/scratch", "-v", "/tmp:/mnt:ro"],
    &["run", "--memory", "64m", "--cpus", "0.5", "--init", "-t"],
    &["chroot"],
    &["chroot", "--escape", "double-chroot"],
    &["chroot", "--escape", "fd", "--", "/bin/true"],
    &["chroot", "--escape", "proc"],
    &["chroot", "--pivot", "--shell"],
    &["chroot", "/usr"],
    &["chroot", "/usr", "--escape", "double-chroot"],
    &["chroot", "demo", "--pivot"],
    &["ns", "mnt"],
    &["ns", "uts"],
    &["ns", "ipc"],
    &["ns", "pid"],
    &["ns", "user"],
    &["ns", "net"],
    &["ns", "time"],
    &["ns", "cgroup"],
    &["overlay"],
    &["overlay", "demo"],
    &["overlay", "--do", "true"],
    &["overlay", "--keep", "--do", "true"],
    &["ns", "uts", "--with", "mnt,pid,net"],
    &["ns", "enter", "SELF", "--type", "all", "--", "/bin/true"],
    &["ns", "pin", "net", "web"],
    &["ns", "pin", "user", "web"],
    &["cgroup", "rules"],
    &["cgroup", "memory"],
    &["cgroup", "cpu"],
    &["cgroup", "pids"],
    &["cgroup", "freeze"],
    &["cgroup", "io"],
    &["cgroup", "run", "--memory", "64m", "--cpus", "0.5", "--cpuset-cpus", "0", "--", "/bin/true"],
    &["doctor"],
    &["lab", "start", "10"],
];

/// All plans that can be made here: a limit, for one, has no place for a user to whom no group was delegated.
fn plans() -> Vec<Plan> {
    let all: Vec<Plan> =
        LINES.iter().flat_map(|line| [true, false].map(|root| plan(line, root))).flatten().collect();
    assert!(all.len() > LINES.len(), "{} plans", all.len());
    all
}

/// The last plan of a command, or the attempts that its report is made of, made as `--explain` makes it, and as if the caller were root or not.
fn plan(line: &[&str], root: bool) -> Option<Plan> {
    let concept = concepts::ALL.iter().find(|concept| concept.name == line[0])?;
    // A process that exists: the test's own.
    let own = std::process::id().to_string();
    let line: Vec<&str> = line.iter().map(|word| if *word == "SELF" { own.as_str() } else { word }).collect();
    let matches = (concept.command)().get_matches_from(line);
    let mut context = Context::new("/nowhere".into(), true, false);
    context.here.capabilities = if root { CapSet(u64::MAX) } else { CapSet::default() };
    (context.here.euid, context.here.uid, context.here.gid) =
        if root { (0, 0, 0) } else { (1000, 1000, 1000) };
    // A later stage of a command may only say what came of an earlier one.
    let plan = |stage: &fn(&_, &_) -> _| match stage(&matches, &context) {
        Ok(Stage::Plan(plan) | Stage::Trials(plan)) => Some(*plan),
        _ => None,
    };
    concept.stages.iter().rev().find_map(plan)
}

fn assert_all<T: Debug>(found: &[T]) {
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn every_plan_is_sound() {
    for plan in plans() {
        assert_all(&plan.check());
    }
}

#[test]
fn without_a_failure_every_step_is_told_and_everything_undone() {
    for plan in plans() {
        for pace in [Pace::Quiet, Pace::Told] {
            let rehearsal = rehearse(&plan, None, pace, true);
            assert!(rehearsal.error.is_none(), "{:?}", rehearsal.error);
            assert_all(&rehearsal.left);
            let steps = |event: &&Event| matches!(event, Event::Step { .. });
            assert_eq!(rehearsal.events.iter().filter(steps).count(), plan.count(), "{}", plan.title);
        }
    }
}

#[test]
fn unwatched_and_watched_make_the_same_calls() {
    for plan in plans() {
        let made = |watched| {
            let calls = rehearse(&plan, None, Pace::Told, watched).calls;
            let mut names: Vec<&str> = calls.iter().map(Syscall::name).collect();
            names.sort_unstable();
            names
        };
        assert_eq!(made(true), made(false), "{}", plan.title);
    }
}

#[test]
fn whichever_call_fails_the_begun_steps_are_undone_in_reverse() {
    for plan in plans() {
        let calls = rehearse(&plan, None, Pace::Told, true).calls.len();
        for n in 0..calls {
            check(&plan, n, Pace::Told);
        }
    }
}

#[test]
fn side_by_side_a_failure_of_any_call_ends_both_processes() {
    for plan in plans() {
        let calls = rehearse(&plan, None, Pace::Quiet, true).calls.len();
        for n in 0..calls {
            let rehearsal = rehearse(&plan, Some(n), Pace::Quiet, true);
            // Some calls are attempts: that they fail is what they show. Of a killed child nothing is heard.
            if failure(&rehearsal).is_none_or(|(_, _, is_allowed)| is_allowed) {
                continue;
            }
            let failed = rehearsal.error.is_some() || !rehearsal.left.is_empty();
            assert!(failed && rehearsal.code != 0, "{}: call {n}, {}", plan.title, rehearsal.calls[n]);
        }
    }
}

#[test]
fn a_plan_with_a_gate_that_nobody_answers_is_refused() {
    let clone = Syscall::Clone3 { flags: CloneFlags::empty(), exit_signal: None, cgroup: None };
    let into = Slot::new("pid");
    let child = vec![Step::say("Wait for ever").gate(Gate::Pass("never"))];
    let mut plan = Plan::new("gates");
    plan.steps.push(Step::say("Start").spawn(Spawn {
        clone,
        into,
        actor: "child",
        child,
        meanwhile: Vec::new(),
    }));
    assert_eq!(plan.check().len(), 1);
}
