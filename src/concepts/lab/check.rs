//! `cutaway lab check`: what must be seen, what is seen, and where to read when they differ.

use serde_json::json;

use super::{order, started};
use crate::concepts::layers::page::Page;
use crate::concepts::{Context, Stage};
use crate::error::{Error, Result};
use crate::lab::Lab;
use crate::lab::check::{Bench, Predicate, Seen};
use crate::lab::sheet::Check;
use crate::report::style::{Glyph, Paint, Style};
use crate::state::progress::{Progress, Record};

/// What is performed before the look: nothing but for a lab whose task is a plan.
pub fn plan(lab: &Lab, context: &Context) -> Result<Stage> {
    if context.explain {
        return Ok(Stage::Report(expectations(lab)));
    }
    let directory = started(lab, context)?;
    let performs = |check: &Check| matches!(check.that, Predicate::Performed);
    if lab.sheet.stages.iter().flat_map(|part| &part.checks).any(performs) {
        return order::plan(lab, &directory, context);
    }
    Ok(Stage::Nothing)
}

/// What would be looked at.
fn expectations(lab: &Lab) -> String {
    let mut lines = vec![format!("lab {}: {}", lab.number(), lab.sheet.title)];
    for (at, part) in lab.sheet.stages.iter().enumerate() {
        lines.push(format!("stage {}: {}", at + 1, part.goal));
        lines.extend(part.checks.iter().map(|check| format!("  - {}", check.expect)));
    }
    lines.join("\n") + "\n"
}

/// What came of one check.
struct Found<'a> {
    check: &'a Check,
    seen: Seen,
}

/// Looks, notes what came of it, and says it.
pub fn look(lab: &Lab, context: &Context) -> Result<Stage> {
    let directory = started(lab, context)?;
    let (state, style, as_json, lab) = (context.state.clone(), context.style, context.json, lab.clone());
    Ok(Stage::Stream(Box::new(move |out| {
        let mut progress = Progress::load(&state)?;
        let record = progress.of(lab.number());
        let at = record.stages.min(lab.sheet.stages.len().saturating_sub(1));
        let part = &lab.sheet.stages[at];
        let bench = Bench::new(&directory, &state, &record.facts, true);
        let found: Vec<Found<'_>> =
            part.checks.iter().map(|check| Found { check, seen: check.that.look(&bench) }).collect();
        let noted = bench.noted();
        let missing = found.iter().find(|one| one.seen.is_err());
        let done = missing.is_none() && at + 1 == lab.sheet.stages.len();
        progress.note(lab.number(), |record| note(record, at, missing, done, noted));
        progress.save(&state)?;
        if as_json {
            super::line(out, &as_json_line(&lab, at, &found, done))?;
        } else {
            tell(Page::new(out, style), &lab, at, &found, &style)?;
        }
        not_yet(&lab, &found)
    })))
}

fn note(
    record: &mut Record,
    at: usize,
    missing: Option<&Found<'_>>,
    done: bool,
    noted: std::collections::BTreeMap<String, serde_json::Value>,
) {
    record.last = missing.map(|one| one.check.hint.clone());
    if missing.is_none() {
        record.stages = at + 1;
        record.facts.extend(noted);
    }
    record.passed |= done;
}

fn as_json_line(lab: &Lab, at: usize, found: &[Found<'_>], done: bool) -> serde_json::Value {
    let one = |one: &Found<'_>| {
        let (held, seen) = match &one.seen {
            Ok(seen) => (true, seen),
            Err(seen) => (false, seen),
        };
        json!({ "expect": one.check.expect, "held": held, "seen": seen })
    };
    json!({
        "lab": lab.number(),
        "stage": at + 1,
        "stages": lab.sheet.stages.len(),
        "checks": found.iter().map(one).collect::<Vec<_>>(),
        "done": done,
    })
}

fn tell(mut page: Page<'_>, lab: &Lab, at: usize, found: &[Found<'_>], style: &Style) -> Result<()> {
    let stages = lab.sheet.stages.len();
    let right = if stages > 1 { format!("stage {} of {stages}", at + 1) } else { String::new() };
    page.title(&format!("lab {}: {}", lab.number(), lab.sheet.title), &right);
    if stages > 1 {
        page.prose(&lab.sheet.stages[at].goal);
    }
    page.line("");
    for one in found {
        let (glyph, paint, label, seen) = match &one.seen {
            Ok(seen) => (Glyph::Tick, Paint::Good, "", seen),
            Err(seen) => (Glyph::Cross, Paint::Bad, "seen: ", seen),
        };
        let sign = style.glyph(glyph);
        page.row(
            &format!("   {sign}  "),
            &one.check.expect,
            if one.seen.is_ok() { Paint::Plain } else { paint },
        );
        let indent = " ".repeat(sign.chars().count() + 5);
        let look = if one.seen.is_ok() { Paint::Dim } else { Paint::Plain };
        page.row(&format!("{indent}  {label}"), seen, look);
        if one.seen.is_err() {
            let chapter = one.check.chapter.as_deref().unwrap_or(&lab.sheet.chapter);
            page.row(&format!("{indent}  read: "), &format!("cutaway book {chapter}"), Paint::Plain);
        }
    }
    if found.iter().all(|one| one.seen.is_ok()) {
        reached(&mut page, lab, at);
    } else {
        page.line("");
    }
    page.finish()
}

/// The good end: all of it, or on to the next stage.
fn reached(page: &mut Page<'_>, lab: &Lab, at: usize) {
    let (number, stages) = (lab.number(), lab.sheet.stages.len());
    if let Some(next) = lab.sheet.stages.get(at + 1) {
        page.verdict(true, &format!("stage {} of {stages} is done", at + 1));
        page.line("");
        page.prose(&format!("Now: {}", next.goal));
        return;
    }
    page.verdict(true, &format!("lab {number} is done"));
    page.next(&[format!("cutaway lab reset {number}")]);
}

/// The other end: not yet.
fn not_yet(lab: &Lab, found: &[Found<'_>]) -> Result<()> {
    let missing = found.iter().filter(|one| one.seen.is_err()).count();
    if missing == 0 {
        return Ok(());
    }
    let number = lab.number();
    let does = if missing == 1 { "does" } else { "do" };
    Err(Error::new(format!("lab {number} is not done: {missing} of {} {does} not hold yet", found.len()))
        .remedy(format!("`cutaway lab hint {number}` helps without telling")))
}
