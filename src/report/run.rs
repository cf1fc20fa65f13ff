//! Runs of the same call: 27 times `prctl(PR_CAPBSET_DROP, …)` is one fact, not 27.
//!
//! A run is folded only where nothing is hidden by it: same call, same result, and one argument, always the
//! same one, that differs. The fold lists what that argument was each time.

use super::wrap;

/// A run of this many calls or more is folded.
const FOLD: usize = 6;

/// A finished call, as it is told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Told {
    /// The step it belongs to.
    pub step: String,
    /// Who made it.
    pub actor: String,
    /// Its name.
    pub syscall: String,
    /// strace's text up to the closing bracket.
    pub text: String,
    /// strace's text after ` = `.
    pub result: String,
    /// Microseconds.
    pub us: u64,
}

/// Calls that are held back until it is clear whether they form a run. The first was told already.
#[derive(Debug, Default)]
pub struct Run {
    first: Option<Told>,
    held: Vec<Told>,
    position: Option<usize>,
}

/// What became of a run.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// Too short to fold: tell these one by one.
    Each(Vec<Told>),
    /// Tell one line for all of them.
    Folded {
        /// How many were held back.
        count: usize,
        /// The call with the argument that differs left out: `prctl(PR_CAPBSET_DROP, …)`.
        text: String,
        /// What that argument was each time.
        values: Vec<String>,
        /// One of them, for the lane and the result.
        sample: Told,
        /// The time of all of them.
        us: u64,
    },
}

impl Run {
    /// Whether the call goes on with the run; then it is held back. If not, the run must be ended first.
    pub fn takes(&mut self, call: &Told) -> bool {
        let Some(first) = &self.first else { return false };
        let same = first.step == call.step
            && first.actor == call.actor
            && first.syscall == call.syscall
            && first.result == call.result;
        let position = if same { differs_at(&first.text, &call.text) } else { None };
        if position.is_none() || self.position.is_some() && self.position != position {
            return false;
        }
        self.position = position;
        self.held.push(call.clone());
        true
    }

    /// Whether a call of this name, entered now, may go on with the run.
    #[must_use]
    pub fn may_take(&self, step: &str, actor: &str, syscall: &str) -> bool {
        self.first
            .as_ref()
            .is_some_and(|first| first.step == step && first.actor == actor && first.syscall == syscall)
    }

    /// Begins a run with a call that has been told.
    pub fn begin(&mut self, call: Told) {
        *self = Self { first: Some(call), held: Vec::new(), position: None };
    }

    /// Ends the run; `None` if nothing was held back.
    pub fn end(&mut self, dots: &str) -> Option<Ended> {
        let Self { first, held, position } = std::mem::take(self);
        let sample = held.first()?.clone();
        let position = position?;
        if first.is_none() || held.len() + 1 < FOLD {
            return Some(Ended::Each(held));
        }
        let value = |told: &Told| wrap::split(&told.text).map(|(_, args)| args[position].to_owned());
        let values = held.iter().filter_map(value).collect();
        let (name, mut args) = wrap::split(&sample.text)?;
        args[position] = dots;
        let text = format!("{name}({})", args.join(", "));
        let us = held.iter().map(|told| told.us).sum();
        Some(Ended::Folded { count: held.len(), text, values, us, sample })
    }
}

/// The one argument in which two calls differ; `None` if there is none, or more than one.
fn differs_at(one: &str, other: &str) -> Option<usize> {
    let ((_, one), (_, other)) = (wrap::split(one)?, wrap::split(other)?);
    if one.len() != other.len() {
        return None;
    }
    let mut places = (0..one.len()).filter(|index| one[*index] != other[*index]);
    let place = places.next()?;
    places.next().is_none().then_some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Told {
        Told {
            step: "1".into(),
            actor: "child".into(),
            syscall: "prctl".into(),
            text: text.into(),
            result: "0".into(),
            us: 1,
        }
    }

    fn run_of(count: usize) -> Option<Ended> {
        let mut run = Run::default();
        run.begin(told("prctl(PR_CAPBSET_DROP, CAP_0)"));
        for index in 1..count {
            assert!(run.takes(&told(&format!("prctl(PR_CAPBSET_DROP, CAP_{index})"))));
        }
        run.end("…")
    }

    #[test]
    fn a_long_run_is_folded_and_names_what_differed() {
        let Some(Ended::Folded { count, text, values, us, .. }) = run_of(7) else { panic!("not folded") };
        assert_eq!((count, text.as_str(), us), (6, "prctl(PR_CAPBSET_DROP, …)", 6));
        assert_eq!(values, ["CAP_1", "CAP_2", "CAP_3", "CAP_4", "CAP_5", "CAP_6"]);
    }

    #[test]
    fn a_short_run_is_not() {
        assert!(matches!(run_of(5), Some(Ended::Each(each)) if each.len() == 4));
        assert_eq!(run_of(1), None);
    }

    #[test]
    fn a_call_that_differs_elsewhere_or_failed_ends_the_run() {
        let mut run = Run::default();
        run.begin(told("prctl(PR_CAPBSET_DROP, CAP_0)"));
        assert!(run.takes(&told("prctl(PR_CAPBSET_DROP, CAP_1)")));
        assert!(!run.takes(&told("prctl(PR_SET_KEEPCAPS, CAP_0)")));
        assert!(!run.takes(&Told { result: "-1".into(), ..told("prctl(PR_CAPBSET_DROP, CAP_2)") }));
    }
}
