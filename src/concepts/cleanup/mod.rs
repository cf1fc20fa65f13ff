//! `cutaway cleanup`: what dead runs have left is taken back, from their journals.

use std::path::PathBuf;

use clap::{ArgMatches, Command};

use super::{Concept, Context, Stage};
use crate::error::{Result, exit};
use crate::image::Store;
use crate::plan::{Bulk, Call, Plan, Step, Undo};
use crate::state::journal::{self, Dead};
use crate::sys::{Errno, Syscall};

/// The concept.
pub const CONCEPT: Concept = Concept { name: "cleanup", command, stages: &[cleanup], failure: exit::FAILED };

/// What is said of a step of a run that has died.
const DEAD: &str = "Undo a step of a dead run";

fn command() -> Command {
    Command::new("cleanup").about("Remove what dead runs have left").long_about(
        "Removes what runs that were killed have left behind. Each run writes down how its steps are undone \
         before it performs them, and holds a lock on that journal while it lives. The journals whose lock is \
         free are replayed in reverse. Runs that are alive are not touched.",
    )
}

fn cleanup(_: &ArgMatches, context: &Context) -> Result<Stage> {
    let dead = journal::dead(&context.state)?;
    let half_loaded = Store::open(&context.state).leftovers();
    let orphans = orphans(context, &dead);
    if dead.is_empty() && half_loaded.is_empty() && orphans.is_empty() {
        return Ok(Stage::Report("nothing to clean up: no run has died here\n".to_owned()));
    }
    let mut plan = Plan::new("cleanup");
    for (what, kept) in [("dead runs", false), ("kept until now", true)] {
        let names = names(dead.iter().filter(|run| run.is_kept() == kept));
        if !names.is_empty() {
            plan.notes.push(format!("{what}: {names}"));
        }
    }
    for run in &dead {
        let say = if run.is_kept() { "Undo a step of what was kept" } else { DEAD };
        plan.steps.extend(
            run.entries
                .iter()
                .rev()
                .flat_map(|entry| entry.undo.iter().map(|undo| Step { say, ..step(undo) })),
        );
        let forget = Bulk::ForgetJournal { name: run.name.clone(), state: context.state.clone() };
        plan.steps.push(
            Step::say("Forget the run")
                .why("Everything in its journal is undone. Its name is free again.")
                .chapter("34")
                .bulk(forget),
        );
    }
    plan.steps.extend(orphans.into_iter().map(|path| {
        Step::say("Remove a directory that no journal knows")
            .why("Its run wrote its journal to a disk that lost it: the machine went down.")
            .chapter("34")
            .bulk(Bulk::RemoveTree { path })
    }));
    if !half_loaded.is_empty() {
        plan.steps.push(
            Step::say("Remove what interrupted loads have left")
                .why("A blob or layer gets its name only when it is complete: what has none yet is nobody's.")
                .chapter("34")
                .bulk(Bulk::SweepStore { state: context.state.clone() }),
        );
    }
    // Their locks are held until the end: no second cleanup gets in between.
    context.keep(dead);
    Ok(plan.into())
}

/// Directories of containers and overlays that belong neither to a live run nor to a dead one.
fn orphans(context: &Context, dead: &[Dead]) -> Vec<PathBuf> {
    let folders = ["containers", "overlays"].map(|folder| std::fs::read_dir(context.state.join(folder)));
    let entries = folders.into_iter().flatten().flatten().flatten();
    let known = |name: &str| dead.iter().any(|run| run.name == name) || journal::exists(&context.state, name);
    let unknown = entries.filter(|entry| !known(&entry.file_name().to_string_lossy()));
    let mut paths: Vec<_> = unknown.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn names<'a>(dead: impl Iterator<Item = &'a Dead>) -> String {
    dead.map(|run| run.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// To unmount what is not mounted is EINVAL.
fn gone_is_fine(call: &Syscall) -> Call {
    let fine = Call::from(call.clone()).or(Errno::ENOENT).or(Errno::ESRCH);
    if matches!(call, Syscall::Umount2 { .. }) { fine.or(Errno::EINVAL) } else { fine }
}

/// The step that replays an undo from a journal.
pub(super) fn step(undo: &Undo) -> Step {
    let step = Step::say(DEAD).chapter("34");
    match undo {
        Undo::Call(call) => step
            .why("It may be undone already, or never have been done: then there is nothing to find.")
            .call(gone_is_fine(call)),
        Undo::Bulk(work) => step.why("What is gone already is passed over.").bulk(work.clone()),
    }
}
