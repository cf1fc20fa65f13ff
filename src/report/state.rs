//! Kernel state on the screen: what changed between two snapshots, or a snapshot as a whole.

use serde_json::Value as Json;

use super::lanes::indented;
use super::style::{Glyph, Paint, Style};
use super::{picture, views, wrap};
use crate::probe::{Change, How, Line, diff, lines};

/// Longer lists are shown in part; `-v` shows them all.
const MOST: usize = 12;
/// Names wider than this push their values to the right on their own line only.
const WIDEST_NAME: usize = 24;
const INDENT: usize = 6;

/// What changed, below a heading that names the view; one line when nothing did.
#[must_use]
pub fn changes(heading: &str, before: &Json, after: &Json, style: &Style, whole: bool) -> String {
    if views::is_one(after) {
        return views::changes(heading, before, after, style, whole);
    }
    let changes = diff(before, after);
    if changes.is_empty() {
        let mut out = said(heading, "unchanged", style);
        if whole {
            out.push_str(&rows(lines(after), style, usize::MAX));
        }
        return out;
    }
    if let Some(picture) = picture::draw(after, style) {
        return head(heading, style) + &picture;
    }
    let most = if whole { usize::MAX } else { MOST };
    let width = column(changes.iter().map(|change| change.what.as_str()));
    let mut out = head(heading, style);
    for change in changes.iter().take(most) {
        out.push_str(&one(change, width, style));
    }
    out.push_str(&rest(changes.len(), most, style));
    if whole {
        out.push_str(&head(&format!("{heading}, the whole"), style));
        out.push_str(&rows(lines(after), style, most));
    }
    out
}

/// The snapshot as a whole.
#[must_use]
pub fn snapshot(heading: &str, value: &Json, style: &Style, whole: bool) -> String {
    if views::is_one(value) {
        return views::snapshot(heading, value, style, whole);
    }
    if let Some(picture) = picture::draw(value, style) {
        return head(heading, style) + &picture;
    }
    let all = lines(value);
    if all.is_empty() {
        return said(heading, "none", style);
    }
    head(heading, style) + &rows(all, style, if whole { usize::MAX } else { MOST })
}

pub(super) fn head(heading: &str, style: &Style) -> String {
    indented(heading, INDENT, Paint::Dim, style)
}

/// A heading with the one word that there is to say.
pub(super) fn said(heading: &str, word: &str, style: &Style) -> String {
    let heading = style.text(heading);
    let width = INDENT + heading.chars().count() + 2 + word.chars().count();
    if width >= style.width {
        return indented(&format!("{heading}: {word}"), INDENT, Paint::Plain, style);
    }
    format!("{:INDENT$}{heading}: {}\n", "", style.paint(Paint::Dim, word))
}

fn column<'a>(names: impl Iterator<Item = &'a str>) -> usize {
    names.map(|name| name.chars().count()).max().unwrap_or(0).min(WIDEST_NAME)
}

fn rows(all: Vec<(String, Line)>, style: &Style, most: usize) -> String {
    let width = column(all.iter().map(|(name, _)| name.as_str()));
    let total = all.len();
    let shown = all.into_iter().take(most);
    let mut out: String =
        shown.map(|(name, line)| row(' ', &name, &line.to_string(), width, Paint::Plain, style)).collect();
    out.push_str(&rest(total, most, style));
    out
}

fn rest(total: usize, most: usize, style: &Style) -> String {
    match total.checked_sub(most) {
        None | Some(0) => String::new(),
        Some(more) => {
            let dots = style.glyph(Glyph::Dots);
            format!(
                "{:INDENT$}  {}\n",
                "",
                style.paint(Paint::Dim, &format!("{dots} {more} more; -v shows all"))
            )
        }
    }
}

fn one(change: &Change, width: usize, style: &Style) -> String {
    let what = &change.what;
    match &change.how {
        How::New(text) => row('+', what, text, width, Paint::Good, style),
        How::Gone(text) => row('-', what, text, width, Paint::Notice, style),
        How::Changed { from, to } => {
            let quiet = |text: &str| if text.is_empty() { "(empty)".to_owned() } else { text.to_owned() };
            let text = format!("{} {} {}", quiet(from), style.glyph(Glyph::Arrow), quiet(to));
            row(' ', what, &text, width, Paint::Plain, style)
        }
        How::Members { lost, gained } => {
            let side = |sign, names: &[String], paint| {
                if names.is_empty() {
                    return String::new();
                }
                row(sign, what, &names.join(", "), width, paint, style)
            };
            side('-', lost, Paint::Notice) + &side('+', gained, Paint::Good)
        }
    }
}

/// A sign, a name and a text, whose lines stand under each other.
fn row(sign: char, name: &str, text: &str, width: usize, paint: Paint, style: &Style) -> String {
    let left = INDENT + 2 + width + 2;
    let name = style.text(name);
    let mut out = format!("{:INDENT$}{} {name}", "", style.paint(paint, &sign.to_string()));
    let used = INDENT + 2 + name.chars().count();
    let text: Vec<_> = text
        .lines()
        .flat_map(|line| wrap::prose(&style.text(line), style.width.saturating_sub(left + 1)))
        .collect();
    for (index, line) in text.iter().enumerate() {
        let mut gap = left.saturating_sub(used).max(2);
        // A long name has its line for itself where its text would go beyond the edge.
        if index > 0 || used + gap + line.chars().count() > style.width {
            out.push('\n');
            gap = left;
        }
        out.push_str(&" ".repeat(gap));
        out.push_str(line);
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_changed_is_shown() {
        let before = json!({"hostname": "laptop", "domain": "(none)", "caps": ["CAP_CHOWN", "CAP_KILL"]});
        let after = json!({"hostname": "box", "domain": "(none)", "caps": ["CAP_KILL"]});
        let expected =
            "      names, seen by child\n        hostname  laptop → box\n      - caps      CAP_CHOWN\n";
        assert_eq!(changes("names, seen by child", &before, &after, &Style::plain(), false), expected);
    }

    #[test]
    fn a_long_name_has_a_line_for_itself() {
        let name = "x".repeat(60);
        let text = row('+', &name, "overlay rw,nodev,relatime", WIDEST_NAME, Paint::Good, &Style::plain());
        assert_eq!(text, format!("      + {name}\n{:34}overlay rw,nodev,relatime\n", ""));
    }

    #[test]
    fn nothing_changed_is_said() {
        let value = json!({"hostname": "laptop"});
        let expected = "      names, seen by child: unchanged\n";
        assert_eq!(changes("names, seen by child", &value, &value, &Style::plain(), false), expected);
    }

    #[test]
    fn a_long_list_is_shown_in_part_and_says_so() {
        let all: Vec<_> = (0..15).map(|index| json!({"at": format!("/m{index}"), "type": "tmpfs"})).collect();
        let text = snapshot("mounts", &json!(all), &Style::plain(), false);
        assert_eq!(text.lines().count(), 1 + MOST + 1);
        assert!(text.ends_with("        … 3 more; -v shows all\n"), "{text}");
        assert_eq!(snapshot("mounts", &json!(all), &Style::plain(), true).lines().count(), 16);
    }
}
