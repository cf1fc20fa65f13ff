//! Two processes side by side: only what differs is shown, part by part.

use std::io::Write;

use serde_json::{Value as Json, json};

use super::document::{PARTS, compared};
use super::target::Target;
use crate::concepts::common::page::Page;
use crate::error::Result;
use crate::probe::{Change, How, diff};
use crate::report::style::{Glyph, Style};

/// Longer lists are shown in part.
const MOST: usize = 12;

fn changes(one: &Json, other: &Json, part: &str) -> Vec<Change> {
    diff(&compared(one, part), &compared(other, part))
}

/// Both documents, and what differs, for programs.
pub fn record(one: &Json, other: &Json) -> Json {
    let all = PARTS.iter().flat_map(|(part, _)| {
        changes(one, other, part).into_iter().map(move |change| {
            let (first, second) = sides(&change.how);
            json!({ "part": part, "what": change.what, "one": first, "other": second })
        })
    });
    json!({ "record": "inspect-diff", "version": 1, "differences": all.collect::<Vec<_>>(), "one": one, "other": other })
}

/// What each side has; none where it has nothing of the kind.
fn sides(how: &How) -> (Option<String>, Option<String>) {
    match how {
        How::New(text) => (None, Some(text.clone())),
        How::Gone(text) => (Some(text.clone()), None),
        How::Changed { from, to } => (Some(from.clone()), Some(to.clone())),
        How::Members { lost, gained } => {
            let some = |names: &[String]| (!names.is_empty()).then(|| names.join(", "));
            (some(lost), some(gained))
        }
    }
}

/// The page.
pub fn page(targets: &[Target], one: &Json, other: &Json, style: Style, out: &mut dyn Write) -> Result<()> {
    let mut page = Page::new(out, style);
    let typed: Vec<_> = targets.iter().map(|target| target.typed.as_str()).collect();
    page.title(&format!("cutaway inspect {}", typed.join(" --diff ")), "chapter 1");
    let pids: Vec<_> = targets.iter().map(|target| target.pid().to_string()).collect();
    page.prose(&format!("Left of the arrow process {}, right of it process {}.", pids[0], pids[1]));
    let mut same = Vec::new();
    for (part, heading) in PARTS {
        let all = changes(one, other, part);
        if all.is_empty() {
            same.push(heading.to_lowercase());
            continue;
        }
        page.subheading(heading);
        let rows = rows(&all);
        for (names, how) in rows.iter().take(MOST) {
            row(names, how, style, &mut page);
        }
        if let Some(more) = rows.len().checked_sub(MOST).filter(|more| *more > 0) {
            page.prose(&format!("… {more} more; --json - has them all"));
        }
    }
    let same = if same.is_empty() { "nothing".to_owned() } else { same.join(", ") };
    page.summary(&format!("The same in both: {same}"));
    page.finish()
}

/// What differs in the same way stands together: as a rule several capability sets do.
fn rows(all: &[Change]) -> Vec<(String, &How)> {
    let mut rows: Vec<(String, &How)> = Vec::new();
    for change in all {
        match rows.iter_mut().find(|(_, how)| matches!(how, How::Members { .. }) && **how == change.how) {
            Some((names, _)) => {
                names.push_str(", ");
                names.push_str(&change.what);
            }
            None => rows.push((change.what.clone(), &change.how)),
        }
    }
    rows
}

fn row(names: &str, how: &How, style: Style, page: &mut Page<'_>) {
    let (first, second) = sides(how);
    let nothing = || "–".to_owned();
    let arrow = style.glyph(Glyph::Arrow);
    let text = format!("{} {arrow} {}", first.unwrap_or_else(nothing), second.unwrap_or_else(nothing));
    page.labelled(names, &text);
}
