//! The clocks of this process
//! ([clock_gettime(2)](https://man7.org/linux/man-pages/man2/clock_gettime.2.html)).

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::read;

/// A clock of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Clock {
    /// The time of day, which `date` prints.
    Realtime,
    /// Time that never jumps, with an arbitrary beginning.
    Monotonic,
    /// Time since boot, with the time in suspend.
    Boottime,
}

impl Clock {
    /// The kernel's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Realtime => "CLOCK_REALTIME",
            Self::Monotonic => "CLOCK_MONOTONIC",
            Self::Boottime => "CLOCK_BOOTTIME",
        }
    }

    /// What it says now, in whole seconds.
    #[must_use]
    pub fn now(self) -> i64 {
        let id = match self {
            Self::Realtime => ClockId::CLOCK_REALTIME,
            Self::Monotonic => ClockId::CLOCK_MONOTONIC,
            Self::Boottime => ClockId::CLOCK_BOOTTIME,
        };
        // These three exist on every Linux that cutaway runs on.
        clock_gettime(id).map_or(0, |time| time.tv_sec())
    }
}

/// What the three clocks said at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Clocks {
    realtime: i64,
    monotonic: i64,
    boottime: i64,
}

impl Clocks {
    /// Reads them.
    #[must_use]
    pub fn read() -> Self {
        Self {
            realtime: Clock::Realtime.now(),
            monotonic: Clock::Monotonic.now(),
            boottime: Clock::Boottime.now(),
        }
    }

    /// How many seconds a clock shows more than it showed then.
    #[must_use]
    pub fn ahead(&self, clock: Clock) -> i64 {
        clock.now()
            - match clock {
                Clock::Realtime => self.realtime,
                Clock::Monotonic => self.monotonic,
                Clock::Boottime => self.boottime,
            }
    }
}

/// The snapshot: the clocks in seconds, and what `uptime` reads.
#[must_use]
pub fn snapshot() -> Json {
    let uptime = read::text("/proc/uptime").unwrap_or_else(|why| why);
    json!({
        "CLOCK_REALTIME": format!("{} s since 1970", Clock::Realtime.now()),
        "CLOCK_MONOTONIC": seconds(Clock::Monotonic.now()),
        "CLOCK_BOOTTIME": seconds(Clock::Boottime.now()),
        "/proc/uptime": uptime.split_whitespace().next(),
    })
}

/// `93784 s (1 d 2 h 3 min 4 s)`.
fn seconds(all: i64) -> String {
    let (days, rest) = (all / 86_400, all % 86_400);
    format!("{all} s ({days} d {} h {} min {} s)", rest / 3600, rest % 3600 / 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_told_as_days_and_hours() {
        assert_eq!(seconds(93_784), "93784 s (1 d 2 h 3 min 4 s)");
    }

    #[test]
    fn a_clock_that_was_just_read_is_not_ahead() {
        let then = Clocks::read();
        assert!((0..60).contains(&then.ahead(Clock::Boottime)));
    }
}
