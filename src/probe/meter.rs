//! Meters: numbers of the kernel that change while something runs, such as the memory that a group uses.
//!
//! A probe shows state at one moment. A meter is read again and again, and says in which unit, so that what it
//! shows can be drawn over time.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::{process, read};
use crate::sys::{Slots, Value};

/// A number that is read again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meter {
    /// What it is called in the heading of its column.
    pub name: Cow<'static, str>,
    /// Where it is read.
    pub source: Source,
    /// What it counts.
    pub unit: Unit,
    /// The number at which its bar is full; none for a meter without a bar.
    pub full: Option<u64>,
}

/// Where a number is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// It is the whole content of the file.
    File(PathBuf),
    /// It stands in a file of many numbers, behind these words: `oom_kill`; `some total` for
    /// `some avg10=0.00 … total=7`.
    Word {
        /// The file.
        file: PathBuf,
        /// The words.
        word: Cow<'static, str>,
    },
    /// The processor time of a process, in microseconds.
    ProcessorTime(Value),
}

/// What a meter counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Things or events.
    Count,
    /// A time in microseconds that goes on; shown is its growth, in percent of the time that has passed.
    Share,
    /// The same, read in nanoseconds.
    ShareOfNanoseconds,
}

impl Unit {
    /// Whether what is shown is the growth and not the number itself.
    #[must_use]
    pub const fn is_share(self) -> bool {
        matches!(self, Self::Share | Self::ShareOfNanoseconds)
    }

    /// How many of what is read are one microsecond.
    const fn divisor(self) -> u64 {
        if matches!(self, Self::ShareOfNanoseconds) { 1000 } else { 1 }
    }
}

impl Meter {
    /// A number that fills a file.
    pub fn file(name: &'static str, file: impl Into<PathBuf>, unit: Unit) -> Self {
        Self { name: name.into(), source: Source::File(file.into()), unit, full: None }
    }

    /// A number behind a word in a file.
    pub fn word(
        name: &'static str,
        file: impl Into<PathBuf>,
        word: impl Into<Cow<'static, str>>,
        unit: Unit,
    ) -> Self {
        let source = Source::Word { file: file.into(), word: word.into() };
        Self { name: name.into(), source, unit, full: None }
    }

    /// The processor time of a process.
    pub fn processor_time(name: &'static str, pid: impl Into<Value>, full: u64) -> Self {
        let source = Source::ProcessorTime(pid.into());
        Self { name: name.into(), source, unit: Unit::Share, full: Some(full) }
    }

    /// The number at which the bar is full.
    #[must_use]
    pub fn full(mut self, full: u64) -> Self {
        self.full = Some(full);
        self
    }

    /// The same meter with its slot read.
    #[must_use]
    pub fn resolve(&self, slots: &Slots) -> Self {
        let mut meter = self.clone();
        if let Source::ProcessorTime(pid) = &mut meter.source {
            *pid = pid.resolve(slots);
        }
        meter
    }

    /// The file it is read from, where it is one.
    #[must_use]
    pub fn file_read(&self) -> Option<&Path> {
        match &self.source {
            Source::File(file) | Source::Word { file, .. } => Some(file),
            Source::ProcessorTime(_) => None,
        }
    }

    /// Whether no slot is left in it.
    #[must_use]
    pub fn is_known(&self) -> bool {
        !matches!(self.source, Source::ProcessorTime(Value::Later(_)))
    }

    /// The number now; shares in microseconds. Nothing where there is none, as in `max`, or where what it
    /// belongs to has gone.
    #[must_use]
    pub fn read(&self) -> Option<u64> {
        let number = match &self.source {
            Source::File(path) => read::text(path).ok()?.trim().parse().ok(),
            Source::Word { file, word } => behind(&read::text(file).ok()?, word),
            Source::ProcessorTime(Value::Known(pid)) => process::processor_time(*pid),
            Source::ProcessorTime(Value::Later(_)) => None,
        };
        number.map(|number: u64| number / self.unit.divisor())
    }
}

/// Meters that are read again and again. A share is told as the percentage since the reading before.
#[derive(Debug)]
pub struct Series {
    /// What is read.
    pub meters: Vec<Meter>,
    last: Option<(Instant, Vec<Option<u64>>)>,
}

impl Series {
    /// Nothing has been read yet.
    #[must_use]
    pub const fn new(meters: Vec<Meter>) -> Self {
        Self { meters, last: None }
    }

    /// Reads every meter: the numbers themselves, and what is told of them, by name.
    pub fn read(&mut self) -> (Vec<Option<u64>>, Json) {
        let now = Instant::now();
        let numbers: Vec<Option<u64>> = self.meters.iter().map(Meter::read).collect();
        let shown = self.meters.iter().enumerate().map(|(at, meter)| {
            let value = if meter.unit.is_share() { self.share(at, numbers[at], now) } else { numbers[at] };
            (meter.name.to_string(), value.map_or(Json::Null, Json::from))
        });
        let shown = Json::Object(shown.collect());
        self.last = Some((now, numbers.clone()));
        (numbers, shown)
    }

    /// When it was read last.
    #[must_use]
    pub fn last(&self) -> Option<Instant> {
        self.last.as_ref().map(|(when, _)| *when)
    }

    /// The growth since the reading before, in percent of the time since then.
    fn share(&self, at: usize, number: Option<u64>, now: Instant) -> Option<u64> {
        let (then, before) = self.last.as_ref()?;
        let passed = u64::try_from(now.duration_since(*then).as_micros()).unwrap_or(u64::MAX).max(1);
        Some(number?.saturating_sub(before.get(at).copied().flatten()?) * 100 / passed)
    }
}

/// What meters say now, in words.
#[must_use]
pub fn snapshot(meters: &[Meter]) -> Json {
    let shown = |meter: &Meter| {
        let value = match (meter.read(), meter.unit) {
            (None, _) => json!("not there"),
            (Some(bytes), Unit::Bytes) => json!(mebibytes(bytes)),
            (Some(number), Unit::Count) => json!(number),
            (Some(us), _) => json!(format!("{}.{:03} s", us / 1_000_000, us % 1_000_000 / 1000)),
        };
        (meter.name.to_string(), value)
    };
    Json::Object(meters.iter().map(shown).collect())
}

/// A size in binary units, in which limits are set: `64.0 MiB`.
#[must_use]
pub fn mebibytes(bytes: u64) -> String {
    let (unit, name) = match bytes {
        0..0x400 => return format!("{bytes} B"),
        0x400..0x10_0000 => (0x400, "KiB"),
        0x10_0000..0x4000_0000 => (0x10_0000, "MiB"),
        _ => (0x4000_0000, "GiB"),
    };
    format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit)
}

/// The number behind a word at the beginning of a line, or, with two words, behind `second=` or `second ` on such a
/// line.
#[must_use]
pub fn behind(text: &str, word: &str) -> Option<u64> {
    let (first, second) = word.split_once(' ').map_or((word, None), |(first, second)| (first, Some(second)));
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.filter(|fields| fields.first() == Some(&first)).find_map(|fields| match second {
        None => fields.get(1)?.parse().ok(),
        Some(key) if fields.get(1) == Some(&key) => fields.get(2)?.parse().ok(),
        Some(key) => fields.iter().find_map(|field| field.strip_prefix(key)?.strip_prefix('=')?.parse().ok()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stands_behind_its_word() {
        let events = "low 0\nhigh 12\nmax 3\noom_kill 1\n";
        assert_eq!(behind(events, "high"), Some(12));
        assert_eq!(behind(events, "oom"), None, "a word is a whole word");
        let pressure = "some avg10=0.00 avg60=0.00 avg300=0.00 total=77\nfull avg10=0.00 total=5\n";
        assert_eq!(behind(pressure, "some total"), Some(77));
        assert_eq!(behind(pressure, "full total"), Some(5));
        assert_eq!(behind("8:0 rbytes=5 wbytes=7\n", "8:0 wbytes"), Some(7));
        assert_eq!(behind("8:0 Read 5\n8:0 Write 7\n9:0 Write 1\n", "8:0 Write"), Some(7));
    }

    #[test]
    fn sizes_are_said_in_the_units_in_which_limits_are_set() {
        assert_eq!(mebibytes(64 << 20), "64.0 MiB");
        assert_eq!(mebibytes(1536), "1.5 KiB");
        assert_eq!(mebibytes(7), "7 B");
    }

    #[test]
    fn this_process_has_used_processor_time() {
        let pid = i64::from(std::process::id());
        let meter = Meter::processor_time("own", Value::Known(pid), 100);
        assert!(meter.is_known() && meter.read().is_some());
        assert_eq!(Meter::file("none", "/nonexistent", Unit::Count).read(), None);
    }
}
