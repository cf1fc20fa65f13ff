//! `cutaway lab`: what a student does by hand, prepared, looked at, and taken back.
//!
//! `start` and `reset` are plans like any other: what is made is told, its undo is in a journal, and the journal is
//! kept until the reset replays it. `check` looks: at namespaces, mounts, groups, processes and files. What was
//! typed is nowhere asked.

mod check;
mod list;
mod order;
mod reset;
mod start;

use std::io::Write;
use std::path::PathBuf;

use clap::{ArgMatches, Args, FromArgMatches, Subcommand};

use super::{Concept, Context, Stage};
use crate::error::{Error, Result, exit};
use crate::lab::Lab;
use crate::state::progress::Progress;

/// The concept.
pub const CONCEPT: Concept =
    Concept { name: "lab", command, stages: &[first, second], failure: exit::FAILED };

#[derive(Debug, Args)]
struct LabArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the labs, what they need, and how far you are
    Ls,
    /// Prepare a lab and show its task
    Start {
        /// The number of the lab
        #[arg(value_name = "N")]
        lab: String,
    },
    /// Look whether it is done
    Check {
        /// The number of the lab (default: the one that was started last)
        #[arg(value_name = "N")]
        lab: Option<String>,
    },
    /// Show the next of three hints, and one for what the last check saw
    Hint {
        /// The number of the lab (default: the one that was started last)
        #[arg(value_name = "N")]
        lab: Option<String>,
    },
    /// Show one way to do it
    Solution {
        /// The number of the lab
        #[arg(value_name = "N")]
        lab: String,
    },
    /// End what works there, and remove what was made
    Reset {
        /// The number of the lab (default: the one that was started last)
        #[arg(value_name = "N")]
        lab: Option<String>,
    },
    /// Say in one line how far you are
    Status,
    /// Print the lab's directory: cd "$(cutaway lab dir 10)"
    Dir {
        /// The number of the lab (default: the one that was started last)
        #[arg(value_name = "N")]
        lab: Option<String>,
    },
}

fn command() -> clap::Command {
    LabArgs::augment_args(
        clap::Command::new("lab").about("Try it yourself: tasks that are checked by the kernel's state").long_about(
            "A lab is a task for your own hands: `start` prepares it, `check` looks at namespaces, mounts, groups \
             and processes and says what it saw, `reset` takes everything back. How you get there is up to you.",
        ),
    )
    .arg_required_else_help(true)
}

fn parse(matches: &ArgMatches) -> Result<Verb> {
    let args = LabArgs::from_arg_matches(matches)
        .map_err(|error| Error::new(error.to_string()).exit(exit::USAGE))?;
    Ok(args.verb)
}

/// What has to be done before anything can be said: a plan, if there is one.
fn first(matches: &ArgMatches, context: &Context) -> Result<Stage> {
    match parse(matches)? {
        Verb::Ls => list::all(context),
        Verb::Status => list::status(context),
        Verb::Solution { lab } => Ok(list::solution(&Lab::find(&lab)?, context)),
        Verb::Hint { lab } => list::hint(&chosen(lab, context)?, context),
        Verb::Dir { lab } => {
            let directory = started(&chosen(lab, context)?, context)?;
            Ok(Stage::Report(format!("{}\n", directory.display())))
        }
        Verb::Start { lab } => start::plan(&Lab::find(&lab)?, context),
        Verb::Check { lab } => check::plan(&chosen(lab, context)?, context),
        Verb::Reset { lab } => reset::plan(&chosen(lab, context)?, context),
    }
}

/// What is said after it.
fn second(matches: &ArgMatches, context: &Context) -> Result<Stage> {
    if context.explain {
        return Ok(Stage::Nothing);
    }
    match parse(matches)? {
        Verb::Start { lab } => start::task(&Lab::find(&lab)?, context),
        Verb::Check { lab } => check::look(&chosen(lab, context)?, context),
        Verb::Reset { .. } => Ok(reset::prove(context)),
        _ => Ok(Stage::Nothing),
    }
}

/// The lab that was named, or else the one that was started last.
fn chosen(word: Option<String>, context: &Context) -> Result<Lab> {
    if let Some(word) = word {
        return Lab::find(&word);
    }
    match Progress::load(&context.state)?.current {
        Some(number) => Lab::find(&number),
        None => Err(Error::new("no lab was started yet")
            .rule("without a number, the lab that was started last is meant")
            .remedy("`cutaway lab ls` lists them, `cutaway lab start N` starts one")),
    }
}

/// A report as one line of JSON.
fn line(out: &mut dyn Write, value: &serde_json::Value) -> Result<()> {
    writeln!(out, "{value}").map_err(|cause| Error::io("could not write to stdout", &cause))
}

/// The directory of a lab that is started.
fn started(lab: &Lab, context: &Context) -> Result<PathBuf> {
    if lab.journal(&context.state).exists() {
        return Ok(lab.directory(&context.state));
    }
    Err(Error::new(format!("lab {} is not started", lab.number()))
        .remedy(format!("`cutaway lab start {}` prepares it and shows its task", lab.number())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }
}
