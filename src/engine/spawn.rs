//! Starting a child that performs its own part of the plan, and the conversation between the two.
//!
//! ```text
//!   parent                                    child
//!     │  clone3 ─────────────────────────────▶ │  closes what is the parent's
//!     │                                        │  prctl(PR_SET_PDEATHSIG, SIGKILL)
//!     │ ◀──────────────────── gate "armed" ─── │
//!     │  (maps ids)                            │  waits: had the parent died before the prctl, this read
//!     │ ─── gate "go" ───────────────────────▶ │  would end here, and the child with it
//!     │ ◀──────────── event, event, … ──────── │  works
//!     │ ◀── ask (told or stepped: each step) ─ │
//!     │ ─── leave ───────────────────────────▶ │
//!     │ ◀──── hand over (a terminal's master)─ │
//!     │ ◀───────── end of stream: execve ───── │  is another program now
//!     │  waits for the end, passes signals on  │
//! ```
//!
//! The process that spawns has one thread. The child never returns from here: it becomes another program or
//! exits. A child that fails says so with its error before it exits.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::error::{Error, exit};
use crate::plan::number::Numbered;
use crate::plan::{Bulk, Probe, Spawn, Step, Undo};
use crate::report::event::Event;
use crate::report::step::{Answer, State, Upcoming};
use crate::state::journal::Journal;
use crate::sys::flags::CloneFlags;
use crate::sys::process::Processes;
use crate::sys::syscall::EXECVE;
use crate::sys::{Slot, Slots, Syscall};

use super::link::{Link, Message};
use super::{Engine, Flow, Pace, Stop, Where, call_error, wait};

/// A child, as its parent sees it.
pub(super) struct Child {
    pub pid: i32,
    pub actor: &'static str,
    /// The namespaces that it does not share with its parent.
    namespaces: CloneFlags,
    /// The report socket; `None` once the child has closed its end.
    pub link: Option<Link>,
    /// Gates that the child has opened.
    opened: HashSet<String>,
    /// Descriptors that the child has handed over, by slot name.
    handed: HashMap<String, OwnedFd>,
    /// The execve that the child has entered and not returned from.
    pub entered: Option<Event>,
    /// Whether its end has been collected.
    pub reaped: bool,
}

impl<K: Processes + 'static> Engine<K> {
    /// Starts a child and does the parent's part meanwhile.
    pub(super) fn spawn(&mut self, id: &str, spawn: Spawn) -> Flow {
        let (ours, theirs) = Link::pair().map_err(|error| self.failed(id, error))?;
        self.observers.iter_mut().for_each(|observer| observer.flush());
        let clone = spawn.clone.resolve(&self.slots);
        let close = self.parents_own(&ours);
        let main = self.child_main(&spawn, theirs, id);
        self.entered(id, &clone);
        let begun = std::time::Instant::now();
        let returned = self.kernel.spawn(&clone, &close, main);
        let us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.emit(|engine| engine.call_event(id, &clone, clone.to_string(), returned, us, false, false));
        let pid = returned.map_err(|errno| self.failed(id, call_error(&clone, errno)))?;
        self.slots.set(&spawn.into, pid);
        let pid = i32::try_from(pid).unwrap_or(0);
        self.children.push(Child::new(pid, spawn.actor, &clone, ours));
        self.record_child(id, pid)?;
        self.steps(spawn.meanwhile, &Where::Meanwhile(id.to_owned()))
    }

    /// Descriptors of the parent that would do harm in the child: they would keep the journal locked, or hide
    /// the parent's death from a child that waits for a message.
    fn parents_own(&self, link: &Link) -> Vec<i32> {
        let journal = self.journal.as_ref().map(Journal::raw);
        let signals = self.signals.as_ref().map(wait::Signals::raw);
        let others = self.children.iter().filter_map(|child| child.link.as_ref().map(Link::raw));
        let up = self.link.as_ref().map(Link::raw);
        [Some(link.raw()), journal, signals, up].into_iter().flatten().chain(others).collect()
    }

    /// What the child runs: an engine of its own, over its part of the plan.
    fn child_main(&self, spawn: &Spawn, link: Link, id: &str) -> crate::sys::process::ChildMain<K> {
        let steps: Vec<Step> = spawn.child.clone();
        let place = Where::Child(id.to_owned());
        let (actor, pace, watched) = (spawn.actor, self.pace, self.watched);
        let (slots, origin) = (self.slots.clone(), self.origin.clone());
        let mask = self.signals.as_ref().map(wait::Signals::before).or(self.mask_before);
        Box::new(move |kernel| {
            let mut child = Engine::bare(kernel, actor, pace);
            (child.watched, child.slots, child.origin) = (watched, slots, origin);
            (child.link, child.mask_before) = (Some(link), mask);
            if watched {
                // The number by which the host knows this process: /proc is still the host's.
                child.pid = crate::probe::own_pid().unwrap_or(child.pid);
            }
            child.live(steps, &place)
        })
    }

    /// Writes the child into the journal, so that a cleanup finds it should it outlive this process.
    fn record_child(&mut self, id: &str, pid: i32) -> Flow {
        if self.link.is_some() || self.fleeting || !self.kernel.is_real() {
            return Ok(());
        }
        let Some(started) = crate::probe::start_time(pid) else { return Ok(()) };
        self.prepare_undo(id, vec![Undo::Bulk(Bulk::KillProcess { pid, started })])
    }

    /// Sends the reports that wait for company.
    pub(super) fn flush_reports(&mut self) {
        if let Some(link) = &mut self.link {
            // A parent that no longer listens is dead, and its death kills this process.
            let _ = link.flush(None);
        }
    }

    /// The life of a child: its steps, then its end.
    fn live(mut self, steps: Vec<Step>, place: &Where) -> i32 {
        let flow = self.steps(steps, place);
        self.flush_reports();
        match flow {
            Ok(()) => i32::from(self.status.unwrap_or(0)),
            Err(Stop::Executed | Stop::Quit | Stop::Refused) => 0,
            Err(Stop::Signalled(signal)) => {
                i32::from(exit::SIGNAL) + i32::try_from(signal.number()).unwrap_or(0)
            }
            Err(Stop::Failed(step, error)) => {
                let code = error.parts().exit.unwrap_or(exit::CUTAWAY);
                self.end_children();
                if let Some(link) = &mut self.link {
                    // If the parent no longer listens, it is dead, and so will this process be.
                    let _ = link.send(&Message::Failed { step, error: error.parts().clone() }, None);
                }
                i32::from(code)
            }
        }
    }

    // The child's side of the conversation.

    /// Asks for leave to begin a step.
    pub(super) fn ask(&mut self, id: &str, step: &Step) -> Flow {
        match (self.pace, self.link.is_some()) {
            (Pace::Quiet, _) | (Pace::Told, false) => Ok(()),
            (Pace::Stepped, false) => self.ask_person(id, None),
            (_, true) => self.ask_parent(id, &step.look_at),
        }
    }

    fn ask_parent(&mut self, id: &str, look_at: &[Probe]) -> Flow {
        self.tell_parent(&Message::Ask(id.to_owned()), None)?;
        loop {
            match self.hear_parent()? {
                Message::Leave => return Ok(()),
                Message::Gate(name) => self.opened.push(name),
                Message::Look => self.tell_parent(&Message::Looked(read_all(look_at, &self.slots)), None)?,
                _ => {}
            }
        }
    }

    fn tell_parent(&mut self, message: &Message, hand: Option<BorrowedFd<'_>>) -> Flow {
        match &mut self.link {
            Some(link) => link.send(message, hand).map_err(|_| Stop::Quit),
            None => Ok(()),
        }
    }

    /// The parent's next message. If there is none any more, the parent is dead: so is this process.
    fn hear_parent(&mut self) -> Flow<Message> {
        self.flush_reports();
        match self.link.as_mut().map(Link::receive) {
            Some(Ok(Some(message))) => Ok(message),
            _ => Err(Stop::Quit),
        }
    }

    // Gates, from either side.

    pub(super) fn open_gate(&mut self, name: &str) -> Flow {
        let message = Message::Gate(name.to_owned());
        match self.children.iter_mut().rfind(|child| !child.reaped) {
            Some(child) => {
                let sent = child.link.as_mut().map(|link| link.send(&message, None));
                match sent {
                    Some(Ok(())) => Ok(()),
                    // The child has gone: its error is waiting in the socket.
                    _ => self.pass_gate(name),
                }
            }
            None => self.tell_parent(&message, None),
        }
    }

    pub(super) fn pass_gate(&mut self, name: &str) -> Flow {
        if self.children.iter().all(|child| child.reaped) {
            loop {
                if let Some(at) = self.opened.iter().position(|open| open == name) {
                    self.opened.swap_remove(at);
                    return Ok(());
                }
                match self.hear_parent()? {
                    Message::Gate(name) => self.opened.push(name),
                    _ => return Err(Stop::Quit),
                }
            }
        }
        let last = |child: &&mut Child| !child.reaped;
        while !self.children.iter_mut().rfind(last).is_some_and(|child| child.opened.remove(name)) {
            self.hear_child_or_fail()?;
        }
        Ok(())
    }

    /// A parent that died before this process asked to die with it has closed its end of the socket: the
    /// kernel closes a dying process's descriptors before it tells the children (`do_exit`).
    pub(super) fn parent_lives(&self) -> Flow {
        match &self.link {
            Some(link) if link.is_closed() => Err(Stop::Quit),
            _ => Ok(()),
        }
    }

    pub(super) fn hand(&mut self, slot: &Slot) -> Flow {
        let raw = self.slots.get(slot).and_then(|fd| i32::try_from(fd).ok()).unwrap_or(-1);
        // The descriptor stays this process's own; the kernel installs a copy in the parent.
        let fd = crate::sys::process::adopt(raw);
        let sent = self.tell_parent(&Message::Hand(slot.0.to_string()), Some(fd.as_fd()));
        let _ = std::os::fd::IntoRawFd::into_raw_fd(fd);
        sent
    }

    pub(super) fn take(&mut self, slot: &Slot) -> Flow<OwnedFd> {
        loop {
            if let Some(fd) = self.children.last_mut().and_then(|child| child.handed.remove(slot.0.as_ref()))
            {
                return Ok(fd);
            }
            self.hear_child_or_fail()?;
        }
    }

    // The parent's side of the conversation.

    /// Hears the last child that has not been collected, which must still have something to say before its part can be
    /// done.
    fn hear_child_or_fail(&mut self) -> Flow {
        let alive = self.children.iter().rposition(|child| !child.reaped);
        let last = alive.unwrap_or(self.children.len().saturating_sub(1));
        if self.hear_child(last)? {
            return Ok(());
        }
        let text = self.collect(last);
        Err(Stop::Failed(None, Error::new(format!("the child ended before its part was done: {text}"))))
    }

    /// Receives one message of a child and acts on it; `false` once the child has closed its end.
    pub(super) fn hear_child(&mut self, index: usize) -> Flow<bool> {
        let Some(child) = self.children.get_mut(index) else { return Ok(false) };
        let Some(link) = &mut child.link else { return Ok(false) };
        let message = link.receive().map_err(|error| Stop::Failed(None, error))?;
        match message {
            None => child.link = None,
            Some(Message::Gate(name)) => {
                child.opened.insert(name);
            }
            Some(Message::Hand(name)) => {
                if let Some(fd) = link.take_handed() {
                    child.handed.insert(name, fd);
                }
            }
            Some(Message::Event(event)) => self.relay(index, *event),
            Some(Message::Ask(id)) => self.grant(index, &id)?,
            Some(Message::Failed { step, error }) => {
                self.collect(index);
                return Err(Stop::Failed(step, error.into()));
            }
            Some(Message::Leave | Message::Look | Message::Looked(_)) => {}
        }
        Ok(self.children.get(index).is_some_and(|child| child.link.is_some()))
    }

    /// Passes a child's event on, and remembers an execve that has been entered.
    fn relay(&mut self, index: usize, event: Event) {
        let is_exec = matches!(&event, Event::Entered { syscall, .. } if syscall == EXECVE);
        let returned = matches!(&event, Event::Call { syscall, .. } if syscall == EXECVE);
        if let Some(child) = self.children.get_mut(index) {
            if is_exec {
                child.entered = Some(event.clone());
            } else if returned {
                child.entered = None;
            }
        }
        self.emit(|_| event);
    }

    fn grant(&mut self, index: usize, id: &str) -> Flow {
        match (self.pace, self.link.is_some()) {
            (Pace::Stepped, false) => self.ask_person(id, Some(index))?,
            // An init asks its own parent for its child.
            (Pace::Stepped, true) => self.ask_parent(id, &[])?,
            _ => {}
        }
        if let Some(link) = self.children.get_mut(index).and_then(|child| child.link.as_mut()) {
            // A child that has gone is noticed when it is heard next.
            let _ = link.send(&Message::Leave, None);
        }
        Ok(())
    }

    /// Asks the person at the terminal whether a step of this process, or of a child, may begin.
    fn ask_person(&mut self, id: &str, child: Option<usize>) -> Flow {
        self.observers.iter_mut().for_each(|observer| observer.flush());
        let Some(mut asker) = self.asker.take() else { return Ok(()) };
        let Some((actor, step)) = self.script.get(id).cloned() else { return Ok(()) };
        let child = child.and_then(|index| self.children.get_mut(index));
        let (pid, namespaces) =
            child.as_ref().map_or((self.pid, CloneFlags::empty()), |child| (child.pid, child.namespaces));
        let mut link = child.and_then(|child| child.link.as_mut());
        let slots = self.slots.clone();
        let mut look = || match &mut link {
            None => read_all(&step.look_at, &slots),
            Some(link) => {
                let asked = link.send(&Message::Look, None);
                match asked.and_then(|()| link.receive()) {
                    Ok(Some(Message::Looked(state))) => state,
                    _ => Vec::new(),
                }
            }
        };
        let numbered = Numbered { id: id.to_owned(), actor, step: &step };
        let answer = asker(&Upcoming { step: &numbered, pid, namespaces }, &mut look);
        match answer.map_err(|error| Stop::Failed(None, error))? {
            Answer::Go => self.asker = Some(asker),
            // Nobody is asked any more.
            Answer::GoOn => {}
            Answer::Quit => return Err(Stop::Quit),
        }
        Ok(())
    }
}

fn read_all(probes: &[Probe], slots: &Slots) -> State {
    let known = probes.iter().map(|probe| probe.resolve(slots)).filter(Probe::is_known);
    known.map(|probe| (probe.title(), probe.read())).collect()
}

impl Child {
    fn new(pid: i32, actor: &'static str, clone: &Syscall, link: Link) -> Self {
        let namespaces = match clone {
            Syscall::Clone3 { flags, .. } => *flags,
            _ => CloneFlags::empty(),
        };
        Self {
            pid,
            actor,
            namespaces,
            link: Some(link),
            opened: HashSet::new(),
            handed: HashMap::new(),
            entered: None,
            reaped: false,
        }
    }

    /// The execve that the child entered, as a finished call: its success is concluded, not seen.
    pub(super) fn executed(&mut self) -> Option<Event> {
        let Some(Event::Entered { step, actor, pid, syscall, text }) = self.entered.take() else {
            return None;
        };
        Some(Event::Call {
            step,
            actor,
            pid,
            syscall,
            text,
            result: "0".to_owned(),
            errno: None,
            us: 0,
            undo: false,
            allowed: false,
            inferred: true,
        })
    }

    /// The descriptor to poll for the child's messages.
    pub(super) fn link_raw(&self) -> Option<i32> {
        self.link.as_ref().map(Link::raw)
    }
}
