//! What is only said: the list of labs, how far somebody is, hints, a solution.

use serde_json::json;

use crate::concepts::layers::page::Page;
use crate::concepts::{Context, Stage};
use crate::error::Result;
use crate::lab::Lab;
use crate::report::style::Paint;
use crate::state::progress::Progress;

/// How far somebody is with a lab, in a word or two.
fn state_of(lab: &Lab, progress: &Progress, context: &Context) -> String {
    let record = progress.of(lab.number());
    let stages = lab.sheet.stages.len();
    let started = lab.journal(&context.state).exists();
    match (record.passed, started) {
        (true, _) => "done".to_owned(),
        (false, true) if stages > 1 && record.stages > 0 => format!("stage {}", record.stages + 1),
        (false, true) => "started".to_owned(),
        (false, false) => String::new(),
    }
}

/// Why a lab cannot be done here; empty if it can.
fn obstacle(lab: &Lab, context: &Context) -> String {
    let error = lab.can_be_done(&context.here).err();
    error.and_then(|error| error.parts().rule.clone()).unwrap_or_default().into_owned()
}

/// The list.
pub fn all(context: &Context) -> Result<Stage> {
    let progress = Progress::load(&context.state)?;
    let row = |lab: Lab| (state_of(&lab, &progress, context), obstacle(&lab, context), lab);
    let rows: Vec<_> = Lab::all()?.into_iter().map(row).collect();
    if context.json {
        let line = |(state, obstacle, lab): &(String, String, Lab)| {
            let all = json!({
                "lab": lab.number(), "title": lab.sheet.title, "chapter": lab.sheet.chapter,
                "minutes": lab.sheet.minutes, "needs": lab.needs(), "state": state, "obstacle": obstacle,
                "done": progress.of(lab.number()).passed,
            });
            format!("{all}\n")
        };
        return Ok(Stage::Report(rows.iter().map(line).collect()));
    }
    let style = context.style;
    Ok(Stage::Stream(Box::new(move |out| {
        let mut page = Page::new(out, style);
        page.title("labs", "start one: cutaway lab start N");
        page.line("");
        for (state, obstacle, lab) in &rows {
            let minutes = format!("{} min", lab.sheet.minutes);
            let look = if obstacle.is_empty() { Paint::Plain } else { Paint::Dim };
            let text = format!("{:<57}{minutes:>7}  {state}", lab.sheet.title);
            page.entry(&format!(" {}  ", lab.number()), text.trim_end(), look);
            if !obstacle.is_empty() && state.is_empty() {
                page.row("     not here: ", obstacle, Paint::Dim);
            }
        }
        page.finish()
    })))
}

/// One line: what an instructor asks a class for.
pub fn status(context: &Context) -> Result<Stage> {
    let progress = Progress::load(&context.state)?;
    let labs = Lab::all()?;
    let done: Vec<_> = labs.iter().map(Lab::number).filter(|number| progress.of(number).passed).collect();
    let begun = labs.iter().filter(|lab| lab.journal(&context.state).exists());
    let begun: Vec<_> = begun.filter(|lab| !progress.of(lab.number()).passed).collect();
    if context.json {
        let numbers: Vec<_> = begun.iter().map(|lab| lab.number()).collect();
        let line = json!({ "labs": labs.len(), "done": done, "started": numbers });
        return Ok(Stage::Report(format!("{line}\n")));
    }
    let list = |numbers: &[&str]| if numbers.is_empty() { "none".to_owned() } else { numbers.join(" ") };
    let one = |lab: &&Lab| format!("; {} {}", lab.number(), state_of(lab, &progress, context));
    let rest: String = begun.iter().map(one).collect();
    let line = format!("labs done: {} of {} ({}){rest}\n", done.len(), labs.len(), list(&done));
    Ok(Stage::Report(line))
}

/// The next hint, behind the one that the last check called for.
pub fn hint(lab: &Lab, context: &Context) -> Result<Stage> {
    super::started(lab, context)?;
    let mut progress = Progress::load(&context.state)?;
    let record = progress.of(lab.number());
    let at = record.hints.min(lab.hints.len().saturating_sub(1));
    if !context.explain {
        progress.note(lab.number(), |record| record.hints = at + 1);
    }
    let (state, style, lab, explain) = (context.state.clone(), context.style, lab.clone(), context.explain);
    Ok(Stage::Stream(Box::new(move |out| {
        if !explain {
            progress.save(&state)?;
        }
        let mut page = Page::new(out, style);
        if let Some(last) = &record.last {
            page.subheading("For what the last check saw");
            page.prose(&one_line(last));
        }
        page.subheading(&format!("Hint {} of {}", at + 1, lab.hints.len()));
        for paragraph in lab.hints[at].split("\n\n") {
            page.prose(&one_line(paragraph));
        }
        if at + 1 == lab.hints.len() {
            page.line("");
            page.next(&[format!("cutaway lab solution {}", lab.number())]);
        }
        page.finish()
    })))
}

/// A paragraph without the line breaks of its source.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// One way to do it.
pub fn solution(lab: &Lab, context: &Context) -> Stage {
    let (style, lab) = (context.style, lab.clone());
    Stage::Stream(Box::new(move |out| {
        let mut page = Page::new(out, style);
        page.title(&format!("lab {}: one way to do it, in the lab's directory", lab.number()), "");
        page.line("");
        for line in lab.source.solution.lines().skip_while(|line| line.starts_with("#!")) {
            page.line(&format!("    {}", style.text(line)));
        }
        page.finish()
    }))
}
