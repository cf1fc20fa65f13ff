//! Watching: meters are read again and again while something runs, and what they have shown is checked.
//!
//! A claim is about one moment. That a limit bites is seen over time only: memory that stops growing, two
//! processes of which one gets three times as much. Such findings are data too, checked after the watching.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::probe::meter::{Meter, Unit, mebibytes};
use crate::sys::Slot;
use crate::sys::flags::Signal;

/// Meters, how often they are read, until when, and what they must have shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Watch {
    /// What is read; the first of them that has a full bar is drawn.
    pub meters: Vec<Meter>,
    /// Milliseconds between two readings.
    pub every: u32,
    /// When it ends.
    pub until: Until,
    /// What the readings must have shown.
    pub shows: Vec<Finding>,
    /// Groups that must be there: one that is removed has no numbers any more, and the step has failed.
    pub of: Vec<PathBuf>,
}

/// When watching ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Until {
    /// After so many readings.
    Readings(u32),
    /// When this meter has reached this number. If it has not after so many readings, the step has failed.
    Reached {
        /// Which of the meters.
        meter: usize,
        /// The number.
        at: u64,
        /// At most so many readings.
        most: u32,
    },
    /// When the child has ended. Then its end is collected; another end than this is a failure.
    Ended {
        /// The child.
        pid: Slot,
        /// How it must end.
        how: Ending,
    },
    /// When the person has seen enough: on Ctrl-C, or when whoever the readings are written for has gone.
    Enough {
        /// At most so many readings, if it may not go on for ever.
        most: Option<u32>,
    },
}

/// How a process must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// By itself, with this status.
    Exited(u8),
    /// By this signal.
    Killed(Signal),
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "exit status {status}"),
            Self::Killed(signal) => write!(f, "killed by {}", signal.name()),
        }
    }
}

/// Something that the readings must have shown. Meters are named by their place in the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Finding {
    /// One has grown at least so many times (in tenths) as much as the other.
    Times {
        /// The one that grows more.
        more: usize,
        /// The one that grows less.
        less: usize,
        /// How many times as much, in tenths.
        tenths: u64,
    },
    /// These have together grown by at most this percentage of the time that has passed.
    TogetherAtMost {
        /// The meters.
        meters: Vec<usize>,
        /// The percentage.
        percent: u64,
    },
    /// It has grown by at most so much in a second.
    PerSecondAtMost(usize, u64),
    /// It has grown.
    Grew(usize),
    /// It has not changed.
    Still(usize),
    /// It was never above this.
    NeverAbove(usize, u64),
    /// It has been at this, or above.
    Reached(usize, u64),
}

/// What was read of one meter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// The first number.
    pub first: Option<u64>,
    /// The last one.
    pub last: Option<u64>,
    /// The highest.
    pub highest: u64,
}

impl Seen {
    /// Takes a reading in.
    pub fn take(&mut self, number: Option<u64>) {
        let Some(number) = number else { return };
        self.first = self.first.or(Some(number));
        self.last = Some(number);
        self.highest = self.highest.max(number);
    }

    fn growth(self) -> u64 {
        self.last.unwrap_or(0).saturating_sub(self.first.unwrap_or(0))
    }
}

impl Finding {
    /// The sentence that is told with a tick or a cross.
    #[must_use]
    pub fn text(&self, meters: &[Meter]) -> String {
        let name = |at: &usize| meters.get(*at).map_or("?", |meter| meter.name.as_ref());
        let amount = |at: &usize, number: u64| match meters.get(*at).map(|meter| meter.unit) {
            Some(Unit::Bytes) => mebibytes(number),
            _ => number.to_string(),
        };
        match self {
            Self::Times { more, less, tenths } => {
                let (whole, part) = (tenths / 10, tenths % 10);
                format!("{} gets at least {whole}.{part} times as much as {}", name(more), name(less))
            }
            Self::TogetherAtMost { meters: which, percent } => {
                let names: Vec<_> = which.iter().map(name).collect();
                format!("{} together get at most {percent} % of a processor", names.join(" and "))
            }
            Self::PerSecondAtMost(at, most) => {
                format!("{} rose by at most {} in a second", name(at), amount(at, *most))
            }
            Self::Grew(at) => format!("{} has risen", name(at)),
            Self::Still(at) => format!("{} has not changed", name(at)),
            Self::NeverAbove(at, most) => format!("{} was never above {}", name(at), amount(at, *most)),
            Self::Reached(at, least) => format!("{} reached {}", name(at), amount(at, *least)),
        }
    }

    /// Whether the readings have shown it, or what they have shown instead.
    ///
    /// # Errors
    /// What was seen instead.
    pub fn check(&self, seen: &[Seen], us: u64) -> Result<(), String> {
        let of = |at: &usize| seen.get(*at).copied().unwrap_or_default();
        let verdict = |holds: bool, saw: String| if holds { Ok(()) } else { Err(saw) };
        match self {
            Self::Times { more, less, tenths } => {
                let (more, less) = (of(more).growth(), of(less).growth());
                verdict(more * 10 >= less * tenths && more > 0, format!("{more} and {less}"))
            }
            Self::TogetherAtMost { meters, percent } => {
                let all: u64 = meters.iter().map(|at| of(at).growth()).sum();
                let share = all * 100 / us.max(1);
                verdict(share <= *percent, format!("{share} %"))
            }
            Self::PerSecondAtMost(at, most) => {
                let speed = u128::from(of(at).growth()) * 1_000_000 / u128::from(us.max(1));
                verdict(speed <= u128::from(*most), format!("{speed} in a second"))
            }
            Self::Grew(at) => {
                verdict(of(at).growth() > 0, format!("it stayed at {}", of(at).last.unwrap_or(0)))
            }
            Self::Still(at) => {
                let one = of(at);
                let saw = format!("{} and then {}", one.first.unwrap_or(0), one.last.unwrap_or(0));
                verdict(one.first == one.last && one.first.is_some(), saw)
            }
            Self::NeverAbove(at, most) => verdict(of(at).highest <= *most, of(at).highest.to_string()),
            Self::Reached(at, least) => verdict(of(at).highest >= *least, of(at).highest.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(numbers: &[u64]) -> Seen {
        let mut seen = Seen::default();
        numbers.iter().for_each(|number| seen.take(Some(*number)));
        seen
    }

    #[test]
    fn findings_are_about_what_was_read() {
        let all = [seen(&[100, 400, 700]), seen(&[0, 200]), seen(&[5, 9, 5])];
        let holds = |finding: &Finding| finding.check(&all, 1000).is_ok();
        assert!(holds(&Finding::Times { more: 0, less: 1, tenths: 30 }));
        assert!(!holds(&Finding::Times { more: 0, less: 1, tenths: 31 }));
        assert!(holds(&Finding::TogetherAtMost { meters: vec![0, 1], percent: 80 }));
        assert!(!holds(&Finding::TogetherAtMost { meters: vec![0, 1], percent: 79 }));
        assert!(
            holds(&Finding::PerSecondAtMost(0, 600_000)) && !holds(&Finding::PerSecondAtMost(0, 599_999))
        );
        assert!(holds(&Finding::Grew(1)) && !holds(&Finding::Grew(2)));
        assert!(holds(&Finding::Still(2)) && !holds(&Finding::Still(0)));
        assert!(holds(&Finding::NeverAbove(2, 9)) && !holds(&Finding::NeverAbove(2, 8)));
        assert!(holds(&Finding::Reached(2, 9)) && !holds(&Finding::Reached(2, 10)));
        assert!(!holds(&Finding::Still(7)), "what was never read has not stood still");
    }
}
