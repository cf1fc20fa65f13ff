//! What a plan of attempts has found out, step by step: read from the events, never from the plan.
//!
//! A step is known by its sentence, which a plan of attempts uses once. It was done if an event says so. If not, the
//! first call that the kernel refused in it is the reason, or the refusal of an earlier step that it rested on.

use serde_json::Value as Json;

use crate::concepts::Tried;
use crate::error::Error;
use crate::plan::{Action, Call, number};
use crate::report::event::Event;
use crate::sys::manual::{self, Hint};
use crate::sys::{Errno, Syscall};

/// A call that the kernel refused.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// The call as it was told, with its result: `unshare(CLONE_NEWUSER) = -1 EPERM (Operation not permitted)`.
    pub text: String,
    /// The errno.
    pub errno: Errno,
    /// The call of the plan.
    pub call: Syscall,
    /// The file that it was about, where an earlier call of the step has opened it.
    pub path: String,
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq)]
pub enum Came {
    /// It was done.
    Done,
    /// The kernel refused a call.
    Refused(Refusal),
    /// Not done, for a reason that was found while planning.
    Skipped(String),
    /// An earlier step that it rests on was refused.
    NotReached,
}

impl Refusal {
    /// The rule of the kernel behind it.
    pub fn hint(&self) -> Option<&'static Hint> {
        manual::hint_at(&self.call, self.errno, &self.path)
    }
}

impl Tried {
    /// What became of the step that says this.
    #[must_use]
    pub fn came(&self, say: &str) -> Came {
        let Some(id) = self.id(say) else { return Came::NotReached };
        if let Some(refusal) = self.refused(&id, say).into_iter().next() {
            return Came::Refused(refusal);
        }
        let of = |step: &String| *step == id;
        for event in &self.events {
            match event {
                Event::Skipped { step, why, .. } if of(step) => return Came::Skipped(why.clone()),
                Event::StepDone { id: step, .. } if of(step) => return Came::Done,
                _ => {}
            }
        }
        Came::NotReached
    }

    fn refused(&self, id: &str, say: &str) -> Vec<Refusal> {
        let planned = self.planned(say);
        let made = self.events.iter().filter_map(|event| match event {
            Event::Call { step, text, result, errno, undo: false, .. } if step == id => {
                Some((text, result, errno))
            }
            _ => None,
        });
        let both = made.zip(&planned).enumerate();
        both.filter_map(|(at, ((text, result, errno), call))| {
            let name = errno.as_ref()?;
            let errno = (1..=133).map(Errno::from_raw).find(|errno| format!("{errno:?}") == *name)?;
            let path = path_before(&planned[..at]);
            let text = format!("{text} = {result} {}", manual::errno(errno));
            Some(Refusal { text, errno, call: call.syscall.clone(), path })
        })
        .collect()
    }

    /// Every call of a step as it was told, with its result.
    #[must_use]
    pub fn calls(&self, say: &str) -> Vec<String> {
        let id = self.id(say);
        let told = self.events.iter().filter_map(|event| match event {
            Event::Call { step, text, result, errno, undo: false, .. } if Some(step) == id.as_ref() => {
                let errno =
                    errno.as_ref().map(|name| format!(" {}", manual::errno_named(name))).unwrap_or_default();
                Some(format!("{text} = {result}{errno}"))
            }
            _ => None,
        });
        told.collect()
    }

    /// What a step has seen of something: the last time that it looked.
    #[must_use]
    pub fn saw(&self, say: &str, title: &str) -> Option<&Json> {
        let id = self.id(say)?;
        self.events.iter().rev().find_map(|event| match event {
            Event::State { step, probe, value, .. } if *step == id && probe == title => Some(value),
            _ => None,
        })
    }

    /// How long all of it took, in microseconds.
    #[must_use]
    pub fn took(&self) -> u64 {
        let done = self.events.iter().rev().find_map(|event| match event {
            Event::Done { us, .. } => Some(*us),
            _ => None,
        });
        done.unwrap_or_default()
    }

    /// What ended the trials before the last.
    #[must_use]
    pub fn ended(&self) -> Option<&Error> {
        self.error.as_ref()
    }

    fn id(&self, say: &str) -> Option<String> {
        number::walk(&self.plan).into_iter().find(|one| one.step.say == say).map(|one| one.id)
    }

    fn planned(&self, say: &str) -> Vec<Call> {
        let step = number::walk(&self.plan).into_iter().find(|one| one.step.say == say).map(|one| one.step);
        match step.map(|step| &step.action) {
            Some(Action::Calls(calls)) => calls.clone(),
            _ => Vec::new(),
        }
    }
}

/// The path that the last of these calls has opened.
fn path_before(calls: &[Call]) -> String {
    let opened = calls.iter().rev().find_map(|call| match &call.syscall {
        Syscall::Openat { path, .. } => path.known_path(),
        _ => None,
    });
    opened.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Plan, Step, calls};
    use crate::sys::flags::CloneFlags;

    const FLAG: CloneFlags = CloneFlags::CLONE_NEWUSER;

    fn call(step: &str, text: &str, errno: Option<&str>) -> Event {
        Event::Call {
            step: step.into(),
            actor: "parent".into(),
            pid: 1,
            syscall: String::new(),
            text: text.into(),
            result: if errno.is_some() { "-1" } else { "0" }.into(),
            errno: errno.map(Into::into),
            us: 1,
            undo: false,
            allowed: true,
            inferred: false,
        }
    }

    #[test]
    fn a_step_came_to_what_the_events_say() {
        let mut plan = Plan::new("test");
        plan.steps = vec![
            Step::say("One").attempts([calls::unshare(FLAG)]),
            Step::say("Two").attempts(calls::write("/proc/self/uid_map", "0 1 1")),
            Step::say("Three").attempts([calls::unshare(FLAG)]),
        ];
        let events = vec![
            call("1", "unshare(CLONE_NEWUSER)", None),
            Event::StepDone { id: "1".into(), actor: "parent".into() },
            call("2", "openat()", None),
            call("2", "write()", Some("EPERM")),
        ];
        let tried = Tried { plan, events, error: None };
        assert_eq!(tried.came("One"), Came::Done);
        let Came::Refused(refusal) = tried.came("Two") else { panic!("{:?}", tried.came("Two")) };
        assert_eq!(refusal.text, "write() = -1 EPERM (Operation not permitted)");
        assert_eq!(refusal.path, "/proc/self/uid_map");
        assert!(refusal.hint().unwrap().rule.contains("map"), "{:?}", refusal.hint());
        assert_eq!(tried.came("Three"), Came::NotReached);
        assert_eq!(tried.came("Four"), Came::NotReached);
    }
}
