//! `cutaway cleanup`: what dead runs have left is taken back, from their journals.

use clap::{ArgMatches, Command};

use super::{Concept, Context, Stage};
use crate::error::{Result, exit};
use crate::plan::{Bulk, Plan, Step, Undo};
use crate::state::journal::{self, Dead};
use crate::sys::Errno;

/// The concept.
pub const CONCEPT: Concept = Concept { name: "cleanup", command, stages: &[cleanup], failure: exit::FAILED };

fn command() -> Command {
    Command::new("cleanup").about("Remove what dead runs have left").long_about(
        "Removes what runs that were killed have left behind. Each run writes down how its steps are undone \
         before it performs them, and holds a lock on that journal while it lives. The journals whose lock is \
         free are replayed in reverse. Runs that are alive are not touched.",
    )
}

fn cleanup(_: &ArgMatches, context: &Context) -> Result<Stage> {
    let dead = journal::dead(&context.state)?;
    if dead.is_empty() {
        return Ok(Stage::Report("nothing to clean up: no run has died here\n".to_owned()));
    }
    let mut plan = Plan::new("cleanup");
    plan.notes = vec![format!("dead runs: {}", names(&dead))];
    for run in &dead {
        plan.steps.extend(run.entries.iter().rev().flat_map(|entry| entry.undo.iter().map(step)));
        let forget = Bulk::ForgetJournal { name: run.name.clone(), state: context.state.clone() };
        plan.steps.push(
            Step::say("Forget the run")
                .why("Everything in its journal is undone. Its name is free again.")
                .chapter("34")
                .bulk(forget),
        );
    }
    // Their locks are held until the end: no second cleanup gets in between.
    context.keep(dead);
    Ok(plan.into())
}

fn names(dead: &[Dead]) -> String {
    dead.iter().map(|run| run.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn step(undo: &Undo) -> Step {
    let step = Step::say("Undo a step of a dead run").chapter("34");
    match undo {
        Undo::Call(call) => step
            .why("It may be undone already, or never have been done: then there is nothing to find.")
            .call(crate::plan::Call::from(call.clone()).or(Errno::ENOENT).or(Errno::ESRCH)),
        Undo::Bulk(work) => step.why("What is gone already is passed over.").bulk(work.clone()),
    }
}
