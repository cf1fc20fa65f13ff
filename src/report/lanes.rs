//! Lanes: who makes a call stands in front of it, in words and in a colour of its own.
//!
//! The narrator and `--explain` print the same lines, so that a plan and its performance can be compared.

use super::style::{Paint, Style};
use super::wrap;
use crate::plan::number::PARENT;

/// How far lanes stand from the left edge.
pub const INDENT: usize = 4;
/// A lane is at least this wide: `host` and `child` then stand under each other from the start.
const NARROWEST: usize = 5;
const WIDEST: usize = 16;

/// The lanes in the order of their appearance; the host is always the first.
#[derive(Debug, Clone)]
pub struct Lanes {
    names: Vec<String>,
}

impl Default for Lanes {
    fn default() -> Self {
        Self { names: vec![PARENT.to_owned()] }
    }
}

/// The name under which an actor is shown: the process that the user started is the host's.
#[must_use]
pub fn shown(actor: &str) -> &str {
    if actor == PARENT { "host" } else { actor }
}

impl Lanes {
    /// The lane's name, painted and padded, and the column where its text begins.
    pub fn label(&mut self, actor: &str, style: &Style) -> (String, usize) {
        let index = self.names.iter().position(|name| name == actor).unwrap_or_else(|| {
            self.names.push(actor.to_owned());
            self.names.len() - 1
        });
        let size = |name: &str| style.text(shown(name)).chars().count();
        let widest = self.names.iter().map(|name| size(name)).max().unwrap_or(0);
        let width = widest.clamp(NARROWEST, WIDEST).max(size(actor));
        let padding = width - size(actor) + 2;
        let name = style.paint(Paint::Lane(index), shown(actor));
        (format!("{:INDENT$}{name}{:padding$}", "", ""), INDENT + width + 2)
    }

    /// A sentence in an actor's lane.
    pub fn said(&mut self, actor: &str, text: &str, paint: Paint, style: &Style) -> String {
        let (label, left) = self.label(actor, style);
        paragraph(text, &label, left, paint, style)
    }

    /// A call in an actor's lane, wrapped after arguments, its time at the right.
    pub fn call(&mut self, actor: &str, text: &str, paint: Paint, us: Option<u64>, style: &Style) -> String {
        let (label, left) = self.label(actor, style);
        let room = style.width.saturating_sub(left + 1);
        let text = style.text(text).into_owned();
        let mut lines = wrap::call(&text, room);
        if lines.len() > 1 {
            lines = wrap::call(&text, room.saturating_sub(4));
        }
        let last = lines.len() - 1;
        let mut out = String::new();
        for (index, line) in lines.iter().enumerate() {
            let indent = if index == 0 { left } else { left + 4 };
            let before = if index == 0 { label.clone() } else { " ".repeat(indent) };
            let painted = format!("{before}{}", style.paint(paint, line));
            let time = us.filter(|_| index == last).map(|us| style.duration(us));
            let width = indent + line.chars().count();
            out.push_str(&time.map_or_else(|| painted.clone(), |time| style.beside(&painted, width, &time)));
            out.push('\n');
        }
        out
    }
}

/// Prose behind a label, its lines under each other at column `left`.
#[must_use]
pub fn paragraph(text: &str, label: &str, left: usize, paint: Paint, style: &Style) -> String {
    let mut out = String::new();
    let lines = wrap::prose(&style.text(text), style.width.saturating_sub(left + 1));
    for (index, line) in lines.iter().enumerate() {
        out.push_str(&if index == 0 { label.to_owned() } else { " ".repeat(left) });
        out.push_str(&style.paint(paint, line));
        out.push('\n');
    }
    out
}

/// Prose without a label.
#[must_use]
pub fn indented(text: &str, left: usize, paint: Paint, style: &Style) -> String {
    paragraph(text, &" ".repeat(left), left, paint, style)
}

/// Prose behind a sign at column `indent`.
#[must_use]
pub fn signed(indent: usize, sign: &str, paint: Paint, text: &str, style: &Style) -> String {
    let label = format!("{:indent$}{} ", "", style.paint(paint, sign));
    paragraph(text, &label, indent + sign.chars().count() + 1, Paint::Plain, style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_wraps_after_an_argument_and_its_time_stands_at_the_right() {
        let style = Style { width: 60, ..Style::plain() };
        let text = r#"mount("overlay", "/run/merged", "overlay", 0, "lowerdir=/a") = 0"#;
        let lines = Lanes::default().call("parent", text, Paint::Plain, Some(31), &style);
        let expected = "    host   mount(\"overlay\", \"/run/merged\", \"overlay\",\n               \
                        0, \"lowerdir=/a\") = 0                  31 µs\n";
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_lane_is_as_wide_as_its_longest_name_so_far() {
        let style = Style::plain();
        let mut lanes = Lanes::default();
        assert_eq!(lanes.said("parent", "waits", Paint::Plain, &style), "    host   waits\n");
        assert_eq!(lanes.said("workload", "runs", Paint::Plain, &style), "    workload  runs\n");
        assert_eq!(lanes.said("parent", "waits", Paint::Plain, &style), "    host      waits\n");
    }
}
