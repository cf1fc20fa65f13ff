//! `cutaway lab reset`: back to the start, and a look at whether anything is left.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::concepts::layers::page::Page;
use crate::concepts::{Context, Stage, cleanup};
use crate::error::{Error, Result};
use crate::lab::Lab;
use crate::plan::calls::{self, mount};
use crate::plan::{Bulk, Call, Plan, Step, Undo};
use crate::probe::{mounts, work};
use crate::report::style::count;
use crate::state::journal;
use crate::state::progress::Progress;
use crate::sys::flags::AtFlags;
use crate::sys::{Errno, Syscall, Value};

/// What must not be there any more.
struct Made {
    number: &'static str,
    directory: PathBuf,
    groups: Vec<PathBuf>,
}

/// Everything that has to be taken back.
pub fn plan(lab: &Lab, context: &Context) -> Result<Stage> {
    let (directory, place) = (lab.directory(&context.state), lab.journal(&context.state));
    if !place.exists() && !directory.exists() {
        return Ok(Stage::Report(format!("lab {} is not started: nothing to reset\n", lab.number())));
    }
    let entries = journal::kept(&place)?;
    let undos: Vec<Undo> = entries.into_iter().rev().flat_map(|entry| entry.undo).collect();
    let groups = groups(&undos);
    let mut plan = Plan::new(format!("lab reset {}", lab.number()));
    plan.steps.push(end_work(&directory));
    plan.steps.extend(unmount(&directory));
    plan.steps.extend(groups.iter().flat_map(|group| below(group)).map(|group| remove_group(&group)));
    // Whoever works there has ended with the first step.
    let rest = undos.iter().filter(|undo| !matches!(undo, Undo::Bulk(Bulk::EndWork { .. })));
    plan.steps.extend(rest.map(replay));
    if undos.is_empty() {
        plan.steps.push(replay(&Bulk::RemoveTree { path: directory.clone() }.into()));
    }
    plan.steps.push(forget(&place));
    context.pass_on(Made { number: lab.number(), directory, groups });
    Ok(plan.into())
}

fn end_work(directory: &Path) -> Step {
    Step::say("End who works in the lab's directory")
        .why(
            "Their namespaces end with them, and what is mounted there. The shell that this was typed in stays, and \
             so does the shell of any other terminal that is in the host's namespaces.",
        )
        .chapter("34")
        .bulk(Bulk::EndWork { within: directory.to_owned() })
}

/// What is mounted there in this mount namespace, the last first.
fn unmount(directory: &Path) -> Vec<Step> {
    let table = mounts::table().unwrap_or_default();
    let there = table.into_iter().rev().filter(|mount| mount.at.starts_with(directory));
    let step = |mount: mounts::Mount| {
        Step::say("Take down what is mounted there")
            .why("A mount of the host's namespace outlives every process. What it shows stays where it is.")
            .chapter("5")
            .call(mount::detach(mount.at))
    };
    there.map(step).collect()
}

/// The groups that the start has made.
fn groups(undos: &[Undo]) -> Vec<PathBuf> {
    let one = |undo: &Undo| match undo {
        Undo::Bulk(Bulk::EmptyGroup { path }) => Some(path.clone()),
        _ => None,
    };
    undos.iter().filter_map(one).collect()
}

/// The groups below a group, the deepest first.
fn below(group: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(group).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut all = Vec::new();
    for folder in folders {
        all.extend(below(&folder.path()));
        all.push(folder.path());
    }
    all
}

fn remove_group(group: &Path) -> Step {
    Step::say("Remove a group that you have made")
        .why("A group with a group below it cannot be removed: the deepest goes first.")
        .chapter("25")
        .call(Call::from(calls::rmdir(group)).or(Errno::ENOENT))
}

fn replay(undo: &Undo) -> Step {
    let mut step = cleanup::step(undo);
    (step.say, step.chapter) = ("Take back what the start has made", None);
    step
}

fn forget(place: &Path) -> Step {
    let flags = AtFlags::empty();
    let remove = Syscall::Unlinkat { dir: Value::CWD, path: place.into(), flags };
    Step::say("Forget how the start is undone")
        .why("Everything in its journal is undone. How far you are is noted elsewhere, and stays.")
        .call(Call::from(remove).or(Errno::ENOENT))
}

/// Whether anything is left.
pub fn prove(context: &Context) -> Stage {
    let Some(made) = context.passed_on::<Made>() else { return Stage::Nothing };
    let (state, style, as_json) = (context.state.clone(), context.style, context.json);
    Stage::Stream(Box::new(move |out| {
        let mut progress = Progress::load(&state)?;
        progress.note(made.number, |record| {
            (record.stages, record.hints, record.last) = (0, 0, None);
            record.facts.clear();
        });
        progress.save(&state)?;
        let left = left(&made);
        if let Some(first) = left.first() {
            return Err(Error::new(format!("lab {} has left something behind: {first}", made.number))
                .rule(format!("{} in all", left.len()))
                .remedy("`cutaway lab reset` once more; what it cannot remove it names"));
        }
        if as_json {
            return super::line(out, &json!({ "lab": made.number, "left": left }));
        }
        let mut page = Page::new(out, style);
        page.title(&format!("lab {} is as before its start", made.number), "");
        page.checked("directory", &format!("{} is gone", made.directory.display()));
        page.checked("processes", "nobody works there");
        page.checked("mounts", "nothing is mounted there");
        if !made.groups.is_empty() {
            page.checked("groups", "they are gone");
        }
        let dead = journal::dead(&state)?.len();
        if dead > 0 {
            let runs = count(dead, "run");
            page.line("");
            page.notice(&format!(
                "{runs} of cutaway that died here: `cutaway cleanup` removes what is left of them"
            ));
        }
        page.finish()
    }))
}

/// What is left, each in a few words. Who leads a terminal may still stand in the directory that is gone.
fn left(made: &Made) -> Vec<String> {
    let mut left = Vec::new();
    if made.directory.exists() {
        left.push(format!("the directory {}", made.directory.display()));
    }
    left.extend(
        work::to_end(&made.directory).iter().map(|one| format!("process {} ({})", one.pid, one.name)),
    );
    let table = mounts::table().unwrap_or_default();
    let there = table.iter().filter(|mount| mount.at.starts_with(&made.directory));
    left.extend(there.map(|mount| format!("a mount on {}", mount.at.display())));
    left.extend(
        made.groups
            .iter()
            .filter(|group| group.exists())
            .map(|group| format!("the group {}", group.display())),
    );
    left
}
