//! Numbers over time: a line for each reading, with the time downwards, so that it can be followed live and
//! nothing has to be redrawn.
//!
//! On a terminal a meter that has a full bar is drawn as one. Elsewhere, and for a screen reader, the numbers
//! say the same.

use std::fmt::Write;

use serde_json::Value as Json;

use super::event::Scale;
use super::style::{Paint, Style};
use crate::probe::meter::{Unit, mebibytes};

/// How far the lines stand from the left edge, as states do.
const INDENT: usize = 6;
/// The column of the time.
const TIME: usize = 8;
/// Between two columns.
const GAP: usize = 2;
/// A bar has at most so many letters, and at least.
const BAR: (usize, usize) = (30, 6);

/// Meters that are being read.
#[derive(Debug)]
pub struct Chart {
    scales: Vec<Scale>,
    /// How many letters a full bar has; 0 where none is drawn.
    bar: usize,
    /// Whether readings are so close that tenths of a second do not tell them apart.
    close: bool,
}

impl Chart {
    /// A chart of these meters in this style.
    #[must_use]
    pub fn new(scales: &[Scale], every: u32, style: &Style) -> Self {
        let numbers: usize = scales.iter().map(|scale| width(scale) + GAP).sum();
        let bars = scales.iter().filter(|scale| scale.full.is_some()).count();
        let room = style.width.saturating_sub(1 + INDENT + TIME + numbers);
        let bar = (room / bars.max(1)).saturating_sub(GAP).min(BAR.0);
        let bar = if style.terminal && bar >= BAR.1 { bar } else { 0 };
        Self { scales: scales.to_vec(), bar, close: every < 100 }
    }

    /// The names above the columns.
    #[must_use]
    pub fn heading(&self, style: &Style) -> String {
        let mut line = format!("{:INDENT$}{:>TIME$}", "", "time");
        for scale in &self.scales {
            if let Some(bar) = self.bar(scale) {
                _ = write!(line, "{:GAP$}{:bar$}", "", "");
            }
            _ = write!(line, "{:GAP$}{:>width$}", "", scale.name, width = width(scale));
        }
        format!("{}\n", style.paint(Paint::Dim, line.trim_end()))
    }

    /// One reading.
    #[must_use]
    pub fn row(&self, ms: u64, values: &Json, style: &Style) -> String {
        let (seconds, rest) = (ms / 1000, ms % 1000);
        let time = if self.close {
            format!("{seconds}.{:02} s", rest / 10)
        } else {
            format!("{seconds}.{} s", rest / 100)
        };
        let mut line = format!("{:INDENT$}{time:>TIME$}", "");
        for (index, scale) in self.scales.iter().enumerate() {
            let value = values[&scale.name].as_u64();
            if let Some(width) = self.bar(scale) {
                let drawn = drawn(value.unwrap_or(0), scale.full.unwrap_or(1), width, style.unicode);
                _ = write!(line, "{:GAP$}{}", "", style.paint(Paint::Lane(index), &drawn));
            }
            _ = write!(line, "{:GAP$}{:>width$}", "", said(scale.unit, value), width = width(scale));
        }
        format!("{}\n", line.trim_end())
    }

    fn bar(&self, scale: &Scale) -> Option<usize> {
        scale.full.filter(|_| self.bar > 0).map(|_| self.bar)
    }
}

fn width(scale: &Scale) -> usize {
    let number = match scale.unit {
        Unit::Bytes => "1023.9 MiB".len(),
        Unit::Count => "123456".len(),
        Unit::Share | Unit::ShareOfNanoseconds => "100 %".len(),
    };
    number.max(scale.name.chars().count())
}

fn said(unit: Unit, value: Option<u64>) -> String {
    match (value, unit) {
        (None, _) => "-".to_owned(),
        (Some(bytes), Unit::Bytes) => mebibytes(bytes),
        (Some(count), Unit::Count) => count.to_string(),
        (Some(percent), _) => format!("{percent} %"),
    }
}

/// A bar as wide as `width` where the value is the full one, in eighths of a letter where that can be shown.
fn drawn(value: u64, full: u64, width: usize, unicode: bool) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = u128::from(value) * width as u128 * 8 / u128::from(full.max(1));
    let eighths = usize::try_from(eighths).unwrap_or(usize::MAX).min(width * 8);
    let (whole, part) = (eighths / 8, eighths % 8);
    let (block, part, rest) = if unicode { ("█", EIGHTHS[part], "·") } else { ("#", "", ".") };
    let used = whole + usize::from(!part.is_empty());
    block.repeat(whole) + part + &rest.repeat(width - used)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn chart(style: &Style) -> Chart {
        let scale = |name: &str, unit, full| Scale { name: name.to_owned(), unit, full };
        let all = [scale("memory.current", Unit::Bytes, Some(64 << 20)), scale("high", Unit::Count, None)];
        Chart::new(&all, 200, style)
    }

    #[test]
    fn without_a_terminal_there_are_numbers_only() {
        let style = Style::plain();
        let chart = chart(&style);
        assert_eq!(chart.heading(&style), "          time  memory.current    high\n");
        let row = chart.row(1250, &json!({"memory.current": 32 << 20, "high": 7}), &style);
        assert_eq!(row, "         1.2 s        32.0 MiB       7\n");
        let row = chart.row(0, &json!({"memory.current": null, "high": null}), &style);
        assert_eq!(row, "         0.0 s               -       -\n");
    }

    #[test]
    fn on_a_terminal_a_bar_stands_in_front_of_the_number() {
        let style = Style { terminal: true, ..Style::plain() };
        let row = chart(&style).row(0, &json!({"memory.current": 32 << 20, "high": 7}), &style);
        assert!(row.contains(&format!("{}{}  ", "█".repeat(15), "·".repeat(15))), "{row}");
        assert!(row.chars().count() <= 80, "{row}");
        assert_eq!(drawn(9, 4, 10, false), "##########", "more than full is full");
        assert_eq!(drawn(1, 16, 10, true), "▋·········");
    }
}
