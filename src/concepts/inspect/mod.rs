//! `cutaway inspect`: what is inside a container, and what is shared with the host, for any process.
//!
//! The kernel has no containers, only processes with properties. So this asks of a process, whoever has started it:
//! which namespaces are its own ([`document`]), what its root is made of, which limits hold and who sets them, what it
//! may do, and what it holds that reaches out. Nearly all of that is read from /proc. The names and interfaces of
//! another namespace are seen only by a process in it: a child that goes there, looks and ends ([`look`]).

mod differences;
mod document;
mod look;
mod page;
mod target;

use std::ffi::OsString;

use clap::{ArgMatches, Args, FromArgMatches};
use serde_json::{Value as Json, json};

use super::{Concept, Context, Stage, Tried};
use crate::error::{Error, Result, exit};
use target::Target;

/// The concept.
pub const CONCEPT: Concept =
    Concept { name: "inspect", command, stages: &[look, report], failure: exit::FAILED };

#[derive(Debug, Clone, Args)]
struct InspectArgs {
    /// A pid, the name of a running container of cutaway's, the beginning of another engine's container id, or a unit
    /// of systemd
    #[arg(value_name = "PID|CONTAINER")]
    target: OsString,
    /// Compare with another process
    #[arg(long, value_name = "PID|CONTAINER")]
    diff: Option<OsString>,
}

fn command() -> clap::Command {
    InspectArgs::augment_args(clap::Command::new("inspect"))
        .about("Look into any process: what is its own, what it shares with the host")
        .long_about(
            "Shows what makes a process a container, or not: its namespaces, root, layers, mounts, limits with the \
             group that sets each, ids, capabilities, seccomp, network interfaces with their other ends, and the open \
             descriptors that reach out. Works on any process, whoever has started it. What cannot be read without \
             a privilege says so. -v shows everything; --json - is for programs.",
        )
        .arg_required_else_help(true)
}

fn targets(matches: &ArgMatches, context: &Context) -> Result<Vec<Target>> {
    let args = InspectArgs::from_arg_matches(matches)
        .map_err(|error| Error::new(error.to_string()).exit(exit::USAGE))?;
    std::iter::once(&args.target).chain(&args.diff).map(|typed| Target::find(typed, &context.state)).collect()
}

/// First stage: what only a process inside can see.
fn look(matches: &ArgMatches, context: &Context) -> Result<Stage> {
    let targets = targets(matches, context)?;
    Ok(Stage::Trials(Box::new(look::plan(&targets, context))))
}

/// Second stage: all of it.
fn report(matches: &ArgMatches, context: &Context) -> Result<Stage> {
    let Some(tried) = context.passed_on::<Tried>() else { return Ok(Stage::Nothing) };
    if let Some(error) = tried.error {
        return Err(error);
    }
    let targets = targets(matches, context)?;
    let all: Vec<Json> =
        targets.iter().enumerate().map(|(at, target)| document::of(target, &tried, at, context)).collect();
    let (json, style, verbose) = (context.json, context.style, context.verbose);
    Ok(Stage::Stream(Box::new(move |out| match all.as_slice() {
        [one, other] if json => line(out, &differences::record(one, other)),
        [one, other] => differences::page(&targets, one, other, style, out),
        [one, ..] if json => line(out, one),
        [one, ..] => page::write(&targets[0], one, style, verbose, out),
        [] => Ok(()),
    })))
}

fn line(out: &mut dyn std::io::Write, value: &Json) -> Result<()> {
    writeln!(out, "{value}").map_err(|cause| Error::io("could not write the report", &cause))
}

/// Why a value is not there, if it is not.
fn unreadable(value: &Json) -> Option<&str> {
    value.get("unreadable").and_then(Json::as_str)
}

/// A value that could not be read, for this reason.
fn no(why: impl Into<String>) -> Json {
    json!({ "unreadable": why.into() })
}
