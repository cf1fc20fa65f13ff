//! How a concept writes its story: constructors that read as sentences.

use serde::{Deserialize, Serialize};

use super::{Action, Bulk, Claim, Gate, Probe, Spawn, Step, Undo, Wait, Watch};
use crate::sys::{Errno, Slot, Syscall};

/// A system call of a plan: the call, and what becomes of its result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The call.
    pub syscall: Syscall,
    /// Where its result is stored for later calls.
    pub into: Option<Slot>,
    /// Errnos (their numbers) after which the plan goes on, because they are no failure here.
    pub allowed: Vec<i32>,
    /// The errno (its number) that the story is about: with any other result the prose would be wrong.
    #[serde(default)]
    pub refused: Option<i32>,
    /// For a call that is made to find out whether the kernel allows it: what a refusal ends.
    #[serde(default)]
    pub attempt: Option<Attempt>,
}

/// What follows when the kernel refuses a call that was an attempt. It never is a failure of the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Attempt {
    /// What comes next is tried all the same.
    Alone,
    /// The step ends, and in a child all that it still had to do: it rests on this call.
    Base,
}

impl Call {
    /// Stores the result under this name.
    #[must_use]
    pub fn into_slot(mut self, slot: &'static str) -> Self {
        self.into = Some(Slot::new(slot));
        self
    }

    /// Goes on when the call fails with this errno.
    #[must_use]
    pub fn or(mut self, errno: Errno) -> Self {
        self.allowed.push(errno as i32);
        self
    }

    /// Must fail with this errno; that the kernel refuses it is what the step shows.
    #[must_use]
    pub fn refused(mut self, errno: Errno) -> Self {
        self.refused = Some(errno as i32);
        self
    }

    /// Finds out whether the kernel allows it; what follows does not depend on that.
    #[must_use]
    pub fn attempt(mut self) -> Self {
        self.attempt = Some(Attempt::Alone);
        self
    }

    /// Finds out whether the kernel allows it; the rest of the step, and of a child's story, rests on it.
    #[must_use]
    pub fn attempt_or_end(mut self) -> Self {
        self.attempt = Some(Attempt::Base);
        self
    }
}

impl From<Syscall> for Call {
    fn from(syscall: Syscall) -> Self {
        Self { syscall, into: None, allowed: Vec::new(), refused: None, attempt: None }
    }
}

impl Step {
    /// Begins a step with its sentence. Until it is told what to do, it only looks.
    #[must_use]
    pub fn say(say: &'static str) -> Self {
        Self {
            say,
            why: "",
            chapter: None,
            action: Action::Look,
            undo: Vec::new(),
            expect: Vec::new(),
            look_at: Vec::new(),
            otherwise: None,
        }
    }

    /// Gives the reason.
    #[must_use]
    pub fn why(mut self, why: &'static str) -> Self {
        self.why = why;
        self
    }

    /// Names the chapter that explains it.
    #[must_use]
    pub fn chapter(mut self, chapter: &'static str) -> Self {
        self.chapter = Some(chapter);
        self
    }

    /// Makes these calls.
    #[must_use]
    pub fn calls<C: Into<Call>>(mut self, calls: impl IntoIterator<Item = C>) -> Self {
        let mut all: Vec<Call> = match self.action {
            Action::Calls(before) => before,
            _ => Vec::new(),
        };
        all.extend(calls.into_iter().map(Into::into));
        self.action = Action::Calls(all);
        self
    }

    /// Makes this one call (more).
    #[must_use]
    pub fn call(self, call: impl Into<Call>) -> Self {
        self.calls([call.into()])
    }

    /// Makes these calls to find out whether the kernel allows them: the first that it refuses ends the step,
    /// and in a child all that follows.
    #[must_use]
    pub fn attempts<C: Into<Call>>(self, calls: impl IntoIterator<Item = C>) -> Self {
        self.calls(calls.into_iter().map(|call| call.into().attempt_or_end()))
    }

    /// Starts a child.
    #[must_use]
    pub fn spawn(mut self, spawn: Spawn) -> Self {
        self.action = Action::Spawn(Box::new(spawn));
        self
    }

    /// Stands at a gate between parent and child.
    #[must_use]
    pub fn gate(mut self, gate: Gate) -> Self {
        self.action = Action::Gate(gate);
        self
    }

    /// Does bulk work.
    #[must_use]
    pub fn bulk(mut self, bulk: Bulk) -> Self {
        self.action = Action::Bulk(bulk);
        self
    }

    /// Becomes another program: the first of these that can be executed.
    #[must_use]
    pub fn exec(mut self, candidates: Vec<Syscall>) -> Self {
        self.action = Action::Exec(candidates);
        self
    }

    /// Stops reporting and makes one last call, of which only the beginning can be told.
    #[must_use]
    pub fn part(mut self, call: Syscall) -> Self {
        self.action = Action::Part(call);
        self
    }

    /// Waits for the child.
    #[must_use]
    pub fn wait(mut self, wait: Wait) -> Self {
        self.action = Action::Wait(wait);
        self
    }

    /// Watches meters.
    #[must_use]
    pub fn watch(mut self, watch: Watch) -> Self {
        self.action = Action::Watch(watch);
        self
    }

    /// Does nothing, for this reason.
    #[must_use]
    pub fn skip(mut self, reason: impl Into<String>) -> Self {
        self.action = Action::Skip(reason.into());
        self
    }

    /// How it is undone, in the order in which the undoing happens.
    #[must_use]
    pub fn undo<U: Into<Undo>>(mut self, undo: impl IntoIterator<Item = U>) -> Self {
        self.undo.extend(undo.into_iter().map(Into::into));
        self
    }

    /// Effects that must hold afterwards.
    #[must_use]
    pub fn expect(mut self, claims: impl IntoIterator<Item = Claim>) -> Self {
        self.expect.extend(claims);
        self
    }

    /// What to try when an effect does not hold: for a step whose order or values a person chose.
    #[must_use]
    pub fn otherwise(mut self, remedy: &'static str) -> Self {
        self.otherwise = Some(remedy);
        self
    }

    /// State to show before and after.
    #[must_use]
    pub fn look_at(mut self, probes: impl IntoIterator<Item = Probe>) -> Self {
        self.look_at.extend(probes);
        self
    }
}
