//! The engine: the only loop that performs a plan.
//!
//! Parent and child both run it. For each step it writes the undo to the journal, reads the state that the
//! step wants to show, performs the action, reads the state again, and checks the claims; every one of these
//! is an event, and all observers see the same ones. On an error, on a signal and at the normal end the undo
//! runs in reverse.
//!
//! Three paces. *Quiet*: nothing is looked at that nobody asked for, and parent and child run side by side.
//! *Told*: one step at a time across both processes, so that the telling has the true order. *Stepped*: the
//! same, but the leave for each step comes from the person at the terminal.

mod bulk;
mod link;
mod spawn;
mod undo;
mod wait;
mod watch;

use std::collections::HashMap;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::error::{Error, Parts, exit};
use crate::plan::{Action, Attempt, Call, Gate, Plan, Probe, Step, Undo, number};
use crate::probe::{Origin, words};
use crate::report::Observer;
use crate::report::event::{Event, VERSION, When};
use crate::report::explain::gate_text;
use crate::report::step::{Answer, State, Upcoming};
use crate::state::journal::Journal;
use crate::sys::flags::Signal;
use crate::sys::process::Processes;
use crate::sys::{Errno, Returned, Slots, Syscall, Text, Value, manual};

use link::{Link, Message};
use spawn::Child;

/// How fast a plan is performed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Parent and child side by side.
    Quiet,
    /// One step at a time across both, for the telling.
    Told,
    /// One step at a time, each when the person says so.
    Stepped,
}

/// Asks the person whether a step may begin; it may look at the state that the step is about.
pub type Asker = Box<dyn FnMut(&Upcoming<'_>, &mut dyn FnMut() -> State) -> Result<Answer, Error>>;

/// How the engine is to perform a plan.
pub struct Setup {
    /// How fast.
    pub pace: Pace,
    /// Who is told; empty when nobody is.
    pub observers: Vec<Box<dyn Observer>>,
    /// Whom to ask when stepping.
    pub asker: Option<Asker>,
    /// Where the journal is kept.
    pub state: PathBuf,
    /// What is held until the name of the run is claimed, such as a pin on its image.
    pub kept: Vec<Box<dyn std::any::Any>>,
    /// The words of the command line, for the recording.
    pub command: Vec<String>,
    /// The exit code when cutaway itself fails.
    pub failure: u8,
}

/// Why a plan ended before its last step.
#[derive(Debug)]
enum Stop {
    /// A step failed. The second field says that the failure has been told already.
    Failed(Option<String>, Error),
    /// A signal asked for the end.
    Signalled(Signal),
    /// The person at the terminal quit.
    Quit,
    /// The process became another program. Only a rehearsal sees this.
    Executed,
    /// The kernel refused an attempt that the rest rests on. That is what was to be found out: no failure.
    Refused,
}

/// Result of what can end a plan.
type Flow<T = ()> = Result<T, Stop>;

/// What a run of the engine came to.
pub struct Outcome {
    /// The exit code of the command.
    pub code: u8,
    /// What failed.
    pub error: Option<Error>,
    /// What could not be undone.
    pub left: Vec<String>,
    /// Whether what was made stays, for a later command to undo.
    pub kept: bool,
    /// Who was told, for the next plan of the same command.
    pub observers: Vec<Box<dyn Observer>>,
}

/// A process that performs its part of a plan.
struct Engine<K> {
    kernel: K,
    /// The name of this process's lane: `parent`, `child`, `init`.
    actor: &'static str,
    pid: i32,
    pace: Pace,
    /// Whether anybody is told: if not, no event is even built.
    watched: bool,
    observers: Vec<Box<dyn Observer>>,
    asker: Option<Asker>,
    /// The steps by their ids, for showing one before it begins.
    script: HashMap<String, (&'static str, Step)>,
    /// The report socket to the parent; `None` in the process that was started by hand.
    link: Option<Link>,
    /// Gates that the parent has opened for this process.
    opened: Vec<String>,
    children: Vec<Child>,
    slots: Slots,
    /// Descriptors that came over a report socket, kept open while the plan runs.
    held: HashMap<i64, OwnedFd>,
    state: PathBuf,
    journal_name: Option<String>,
    /// Whether children are left out of the journal.
    fleeting: bool,
    journal: Option<Journal>,
    /// Where the journal goes at the end, if what was made is to stay.
    stays: Option<PathBuf>,
    /// What has been done and how it is undone, by step.
    done: Vec<(String, Vec<Undo>)>,
    signals: Option<wait::Signals>,
    /// The signal mask to put back before another program takes over.
    mask_before: Option<nix::sys::signal::SigSet>,
    origin: Origin,
    /// The exit status of the workload, once it has ended.
    status: Option<u8>,
}

/// Performs a plan and undoes what has to be undone.
pub fn perform<K: Processes + 'static>(kernel: K, plan: Plan, mut setup: Setup) -> Outcome {
    let begun = Instant::now();
    let failure = setup.failure;
    let kept = std::mem::take(&mut setup.kept);
    let mut engine = Engine::parent(kernel, &plan, setup);
    let claimed = engine.begin(&plan);
    drop(kept);
    let flow = claimed.and_then(|()| engine.steps(plan.steps, &Where::Top));
    engine.end(flow, failure, begun)
}

/// Where a list of steps stands, for the numbers of its steps.
#[derive(Debug, Clone)]
enum Where {
    /// The plan's own steps.
    Top,
    /// The steps of the child that this step started.
    Child(String),
    /// What the parent does meanwhile.
    Meanwhile(String),
}

impl Where {
    fn id(&self, index: usize) -> String {
        match self {
            Self::Top => number::top(index),
            Self::Child(step) => number::child(step, index),
            Self::Meanwhile(step) => number::meanwhile(step, index),
        }
    }
}

impl<K: Processes + 'static> Engine<K> {
    fn parent(kernel: K, plan: &Plan, setup: Setup) -> Self {
        let mut engine = Self::bare(kernel, "parent", setup.pace);
        engine.watched = !setup.observers.is_empty();
        engine.observers = setup.observers;
        engine.asker = setup.asker;
        if engine.asker.is_some() {
            let all = number::walk(plan).into_iter();
            engine.script = all.map(|one| (one.id, (one.actor, one.step.clone()))).collect();
        }
        engine.state = setup.state;
        engine.journal_name.clone_from(&plan.name);
        engine.fleeting = plan.fleeting;
        engine.stays.clone_from(&plan.stays);
        if engine.kernel.is_real() {
            engine.signals = wait::Signals::take();
        }
        if engine.watched {
            engine.origin = Origin::capture();
        }
        engine.introduce(plan, setup.command)
    }

    /// An engine that has nobody to tell and nothing to undo yet.
    fn bare(kernel: K, actor: &'static str, pace: Pace) -> Self {
        Self {
            kernel,
            actor,
            pid: nix::unistd::getpid().as_raw(),
            pace,
            watched: false,
            observers: Vec::new(),
            asker: None,
            script: HashMap::new(),
            link: None,
            opened: Vec::new(),
            children: Vec::new(),
            slots: Slots::default(),
            held: HashMap::new(),
            state: PathBuf::new(),
            journal_name: None,
            fleeting: false,
            journal: None,
            stays: None,
            done: Vec::new(),
            signals: None,
            mask_before: None,
            origin: Origin::default(),
            status: None,
        }
    }

    fn introduce(mut self, plan: &Plan, command: Vec<String>) -> Self {
        self.emit(|_| Event::Plan {
            command,
            title: plan.title.clone(),
            version: VERSION,
            steps: plan.count(),
            notes: plan.notes.clone(),
            needs: plan.needs.iter().map(ToString::to_string).collect(),
        });
        self
    }

    /// Claims the name of the run, if the plan has one.
    fn begin(&mut self, plan: &Plan) -> Flow {
        match &plan.name {
            Some(name) => {
                let claimed = Journal::claim(&self.state, name, plan.uses.as_deref());
                self.journal = Some(claimed.map_err(|error| Stop::Failed(None, error))?);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Performs steps in order.
    fn steps(&mut self, steps: Vec<Step>, place: &Where) -> Flow {
        for (index, step) in steps.into_iter().enumerate() {
            let id = if self.watched || !step.undo.is_empty() || self.link.is_some() {
                place.id(index)
            } else {
                String::new()
            };
            self.step(id, step)?;
        }
        Ok(())
    }

    fn step(&mut self, id: String, mut step: Step) -> Flow {
        // While it waits for a child, a signal may be the child's: waiting decides.
        if !matches!(step.action, Action::Wait(_)) {
            self.check_signals()?;
        }
        self.ask(&id, &step)?;
        let actor = self.actor.to_owned();
        self.emit(|_| Event::Step {
            id: id.clone(),
            actor: actor.clone(),
            say: step.say.to_owned(),
            why: step.why.to_owned(),
            chapter: step.chapter.map(ToOwned::to_owned),
        });
        let only_looks = matches!(step.action, Action::Look);
        self.look(&id, &step.look_at, if only_looks { When::Now } else { When::Before });
        self.prepare_undo(&id, std::mem::take(&mut step.undo))?;
        match self.act(&id, step.action) {
            // The step is not done, and no event says so. The steps of the first process stand side by side.
            Err(Stop::Refused) if self.link.is_none() => return Ok(()),
            other => other?,
        }
        if !only_looks {
            self.look(&id, &step.look_at, When::After);
        }
        for claim in &step.expect {
            self.claim(&id, claim, step.otherwise)?;
        }
        self.emit(|engine| Event::StepDone { id, actor: engine.actor.to_owned() });
        Ok(())
    }

    fn act(&mut self, id: &str, action: Action) -> Flow {
        match action {
            Action::Calls(calls) => self.calls(id, &calls),
            Action::Spawn(spawn) => self.spawn(id, *spawn),
            Action::Gate(gate) => self.gate(id, &gate),
            Action::Bulk(work) => self.work(id, &work),
            Action::Exec(candidates) => self.exec(id, &candidates),
            Action::Part(syscall) => {
                self.part(id, &syscall);
                Ok(())
            }
            Action::Wait(wait) => self.wait(id, &wait),
            Action::Watch(watch) => self.watch(id, &watch),
            Action::Look => Ok(()),
            Action::Skip(why) => {
                self.emit(|engine| Event::Skipped {
                    step: id.to_owned(),
                    actor: engine.actor.to_owned(),
                    why,
                });
                Ok(())
            }
        }
    }

    fn calls(&mut self, id: &str, calls: &[Call]) -> Flow {
        for (index, call) in calls.iter().enumerate() {
            if let Err(error) = self.call(id, call, false) {
                // The first call of the step failed: the step did nothing, and nothing of it is undone.
                if index == 0 {
                    self.forget_undo(id);
                }
                match call.attempt {
                    None => return Err(self.failed(id, error)),
                    Some(Attempt::Base) => return Err(Stop::Refused),
                    Some(Attempt::Alone) => {}
                }
            }
        }
        Ok(())
    }

    /// Performs one call and tells it.
    fn call(&mut self, id: &str, call: &Call, undo: bool) -> Result<(), Error> {
        let syscall = call.syscall.resolve(&self.slots);
        self.entered(id, &syscall);
        let begun = self.watched.then(Instant::now);
        let returned = self.make(&syscall);
        let us = begun.map_or(0, |begun| u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
        let answer = returned.as_ref().map(|returned| returned.answer.clone()).unwrap_or_default();
        let value = returned.map(|returned| returned.value);
        let text = || match &syscall {
            // At the end of a file nothing is read, and that is an answer too.
            Syscall::Pread64 { .. } if value.is_ok() => syscall.answered(&quoted(&answer)),
            _ if answer.is_empty() => syscall.to_string(),
            Syscall::Recvfrom { .. } => syscall.answered(&describe_answer(&answer)),
            Syscall::ReceiveDatagram { .. } => syscall.answered(&quoted(&answer)),
            _ => syscall.to_string(),
        };
        // Netlink refuses in its answer, and the call that receives it succeeds.
        let errno = value.err().or_else(|| refusal(&syscall, &answer));
        let refused = errno.is_some_and(|errno| call.refused == Some(errno as i32));
        let tolerated = refused || errno.is_some_and(|errno| call.allowed.contains(&(errno as i32)));
        let allowed = tolerated || call.attempt.is_some() && errno.is_some();
        self.emit(|engine| engine.call_event(id, &syscall, text(), value, us, undo, allowed));
        match value {
            _ if tolerated => Ok(()),
            Ok(_) if call.refused.is_some() && self.kernel.is_real() => Err(not_refused(&syscall, call)),
            Ok(value) => {
                if let Some(slot) = &call.into {
                    self.slots.set(slot, value);
                }
                check_answer(&syscall, &answer)
            }
            Err(errno) => {
                let passed = begun.map_or(RECENT, |begun| begun.elapsed());
                let words = if self.kernel.is_real() { kernel_words(&syscall, passed) } else { None };
                let error = call_error(&syscall, errno);
                Err(words.into_iter().fold(error, Error::kernel))
            }
        }
    }

    /// Makes a call. A clone3 that is a mere call starts a process that does nothing and exits: what it shows is
    /// whether the kernel makes one.
    fn make(&mut self, syscall: &Syscall) -> Result<Returned, Errno> {
        match syscall {
            Syscall::Clone3 { .. } => {
                let value = self.kernel.spawn(syscall, &[], Box::new(|_| 0))?;
                Ok(Returned { value, answer: Vec::new() })
            }
            other => self.kernel.call(other),
        }
    }

    fn entered(&mut self, id: &str, syscall: &Syscall) {
        self.emit(|engine| {
            let lowered = syscall.lower();
            Event::Entered {
                step: id.to_owned(),
                actor: engine.actor.to_owned(),
                pid: engine.pid,
                syscall: lowered.name.to_owned(),
                text: lowered.to_string(),
            }
        });
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of one event")]
    fn call_event(
        &self,
        id: &str,
        syscall: &Syscall,
        text: String,
        value: Result<i64, Errno>,
        us: u64,
        undo: bool,
        allowed: bool,
    ) -> Event {
        Event::Call {
            step: id.to_owned(),
            actor: self.actor.to_owned(),
            pid: self.pid,
            syscall: syscall.name().to_owned(),
            text,
            result: value.map_or_else(|_| "-1".to_owned(), |value| syscall.result(value)),
            errno: value.err().map(|errno| format!("{errno:?}")),
            us,
            undo,
            allowed,
            inferred: false,
        }
    }

    fn gate(&mut self, id: &str, gate: &Gate) -> Flow {
        let text = gate_text(gate, self.actor);
        match gate {
            Gate::Open(name) => self.open_gate(name)?,
            Gate::Pass(name) => self.pass_gate(name)?,
            Gate::Hand(slot) => self.hand(slot)?,
            Gate::ParentLives => self.parent_lives()?,
            Gate::Take(slot) => {
                let fd = self.take(slot)?;
                let raw = i64::from(fd.into_raw_fd());
                self.slots.set(slot, raw);
                self.hold(raw);
            }
        }
        self.emit(|engine| Event::Gate { step: id.to_owned(), actor: engine.actor.to_owned(), text });
        Ok(())
    }

    /// Becomes another program. Whether that worked is seen by the parent only.
    fn exec(&mut self, id: &str, candidates: &[Syscall]) -> Flow {
        self.before_exec();
        let mut last = None;
        for candidate in candidates {
            let syscall = candidate.resolve(&self.slots);
            self.entered(id, &syscall);
            // Nothing can be sent any more once it succeeds.
            self.flush_reports();
            match self.kernel.call(&syscall) {
                Ok(_) => return Err(Stop::Executed),
                Err(errno) => {
                    self.emit(|engine| {
                        engine.call_event(id, &syscall, syscall.to_string(), Err(errno), 0, false, false)
                    });
                    let missing = matches!(errno, Errno::ENOENT | Errno::ENOTDIR);
                    let code = if missing { exit::NOT_FOUND } else { exit::CANNOT_EXECUTE };
                    // A program that is there but cannot be run says more than one that is nowhere.
                    if last.is_none() || !missing {
                        last = Some(call_error(&syscall, errno).exit(code));
                    }
                }
            }
        }
        let error = last.unwrap_or_else(|| Error::new("there is no command to run").exit(exit::NOT_FOUND));
        Err(self.failed(id, error))
    }

    /// The last call of a process whose parent may end before it.
    fn part(&mut self, id: &str, syscall: &Syscall) {
        let syscall = syscall.resolve(&self.slots);
        self.entered(id, &syscall);
        self.emit(|engine| Event::Gate {
            step: id.to_owned(),
            actor: engine.actor.to_owned(),
            text: "closes its report socket: how its last call ends is not told".to_owned(),
        });
        // strace's mark for a call whose result it did not see.
        let call = self.call_event(id, &syscall, syscall.to_string(), Ok(0), 0, false, false);
        self.emit(|_| unseen(call));
        self.flush_reports();
        self.link = None;
        self.watched = false;
        // Whatever it returns, nobody is left to be told.
        let _ = self.kernel.call(&syscall);
    }

    fn look(&mut self, id: &str, probes: &[Probe], when: When) {
        if !self.watched {
            return;
        }
        for probe in probes {
            let probe = probe.resolve(&self.slots);
            // Before the call that makes it there may be nothing to look at yet.
            if when == When::Before && !probe.is_known() {
                continue;
            }
            let value = probe.read();
            self.emit(|engine| Event::State {
                step: id.to_owned(),
                actor: engine.actor.to_owned(),
                when,
                probe: probe.title(),
                value,
            });
        }
    }

    /// Checks a claim. One that does not hold makes the command fail: the prose would be a lie.
    fn claim(&mut self, id: &str, claim: &crate::plan::Claim, otherwise: Option<&'static str>) -> Flow {
        // Unwatched, only what a person has put together is doubted.
        if !self.watched && otherwise.is_none() || !self.kernel.is_real() {
            return Ok(());
        }
        let claim = &claim.resolve(&self.slots);
        let checked = claim.check(&self.origin);
        let saw = checked.err();
        self.emit(|engine| Event::Claim {
            step: id.to_owned(),
            actor: engine.actor.to_owned(),
            claim: claim.to_string(),
            held: saw.is_none(),
            saw: saw.clone(),
        });
        match saw {
            None => Ok(()),
            Some(saw) => {
                let fault = "this is a fault of cutaway or of its picture of this kernel: please report it";
                let error = Error::new(format!("this does not hold: {claim}"))
                    .rule(format!("found instead: {saw}"))
                    .remedy(otherwise.unwrap_or(fault));
                Err(self.failed(id, error))
            }
        }
    }

    /// Tells an event to whoever watches; builds it only then.
    fn emit(&mut self, event: impl FnOnce(&Self) -> Event) {
        if !self.watched {
            return;
        }
        let event = event(self);
        match &mut self.link {
            // A parent that no longer listens is dead, and its death kills this process.
            Some(link) => {
                let _ = link.queue(&Message::Event(Box::new(event)));
            }
            None => self.observers.iter_mut().for_each(|observer| observer.observe(&event)),
        }
    }

    fn failed(&self, id: &str, error: Error) -> Stop {
        let _ = self;
        Stop::Failed(Some(id.to_owned()), error)
    }

    /// Keeps a descriptor that a slot refers to open until the plan ends.
    fn hold(&mut self, raw: i64) {
        if let Ok(fd) = i32::try_from(raw) {
            self.held.insert(raw, crate::sys::process::adopt(fd));
        }
    }

    /// Undoes, removes the journal, tells the end, and says what the command came to.
    fn end(mut self, flow: Flow, failure: u8, begun: Instant) -> Outcome {
        // How a program of the user's has ended, which the exit code tells, is no failure of a step: it may be the very
        // reason to look at what there is.
        let performed = matches!(flow, Ok(()) | Err(Stop::Executed | Stop::Refused));
        let (mut code, mut error) = match flow {
            Ok(()) | Err(Stop::Executed | Stop::Refused) => (self.status.unwrap_or(0), None),
            Err(Stop::Quit) => (self.status.unwrap_or(exit::FAILED), None),
            Err(Stop::Signalled(signal)) => (exit::SIGNAL + u8::try_from(signal.number()).unwrap_or(0), None),
            Err(Stop::Failed(step, error)) => {
                let parts: Parts = error.parts().clone();
                self.emit(|engine| Event::Error { step, actor: engine.actor.to_owned(), error: parts });
                (error.parts().exit.unwrap_or(failure), Some(error))
            }
        };
        let stays = self.stays.take().filter(|_| performed);
        let mut kept = stays.is_some();
        let left = match stays {
            Some(place) => self.keep(&place),
            None => self.undo_all(error.is_some()),
        };
        if !left.is_empty() {
            kept = false;
            code = if code == 0 { failure } else { code };
            error = error.or_else(|| {
                Some(Error::new("not everything could be undone").remedy("`cutaway cleanup` tries again"))
            });
        }
        let us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.emit(|_| Event::Done { status: code.into(), us });
        self.observers.iter_mut().for_each(|observer| observer.flush());
        Outcome { code, error, left, kept, observers: std::mem::take(&mut self.observers) }
    }
}

/// How long ago a call may have begun that nobody has timed.
const RECENT: Duration = Duration::from_millis(50);

/// What the kernel itself says of a failed mount, where it says anything.
fn kernel_words(syscall: &Syscall, passed: Duration) -> Option<String> {
    match syscall {
        Syscall::Fsconfig { fd: Value::Known(fd), .. } | Syscall::Fsmount { fd: Value::Known(fd), .. } => {
            words::of_descriptor(*fd).or_else(|| words::of_overlay(passed))
        }
        Syscall::Mount { fstype: Some(fstype), .. } if *fstype == "overlay".into() => {
            words::of_overlay(passed)
        }
        _ => None,
    }
}

/// The error of a failed call: the call itself, its errno, and what the manual says about it.
fn call_error(syscall: &Syscall, errno: Errno) -> Error {
    let entry = manual::entry(syscall.name());
    let what =
        entry.map_or_else(|| "a system call failed".to_owned(), |entry| format!("{} failed", entry.page));
    let mut error = Error::new(what).call(format!("{syscall} = -1 {}", manual::errno(errno)), errno as i32);
    let Some(hint) = manual::hint(syscall, errno) else { return error.rule(errno.desc()) };
    error = error.rule(hint.rule);
    if let Some(remedy) = hint.remedy {
        error = error.remedy(remedy);
    }
    match hint.chapter {
        Some(chapter) => error.chapter(chapter),
        None => error,
    }
}

/// The same call, with the result that nobody saw.
fn unseen(mut call: Event) -> Event {
    if let Event::Call { result, .. } = &mut call {
        "?".clone_into(result);
    }
    call
}

/// A call that the kernel was to refuse and did not.
fn not_refused(syscall: &Syscall, call: &Call) -> Error {
    let errno = Errno::from_raw(call.refused.unwrap_or_default());
    Error::new(format!("the kernel did not refuse {syscall}"))
        .rule(format!("expected was {}", manual::errno(errno)))
        .remedy("this is a fault of cutaway or of its picture of this kernel: please report it")
}

/// Netlink answers in its messages, not in errno: a refusal is found in the acknowledgement.
fn check_answer(syscall: &Syscall, answer: &[u8]) -> Result<(), Error> {
    let Syscall::Recvfrom { .. } = syscall else { return Ok(()) };
    match crate::sys::netlink::Ack::decode(answer) {
        Some(ack) => match ack.error {
            None => Ok(()),
            Some(errno) => {
                let error = call_error(syscall, errno);
                Err(match ack.words {
                    Some(words) => error.kernel(words),
                    None => error,
                })
            }
        },
        // Only a fake kernel gives no answer at all.
        None if answer.is_empty() => Ok(()),
        None => Err(Error::new("the kernel's answer to a netlink request is not an acknowledgement")),
    }
}

/// The errno in the kernel's answer to a netlink request.
fn refusal(syscall: &Syscall, answer: &[u8]) -> Option<Errno> {
    let Syscall::Recvfrom { .. } = syscall else { return None };
    crate::sys::netlink::Ack::decode(answer)?.error
}

/// The bytes of a datagram, as strace quotes them.
fn quoted(bytes: &[u8]) -> String {
    let mut text = String::new();
    Text::bytes(bytes).quote(&mut text);
    text
}

fn describe_answer(answer: &[u8]) -> String {
    crate::sys::netlink::answer(answer).unwrap_or_else(|| "<answer>".to_owned())
}
