//! `cutaway doctor`: what this machine lets you do, found out by trying.
//!
//! The kernel says no in many places, and nearly always with the same errno. So nothing is guessed: a plan of attempts
//! makes each kind of thing that the commands need, in children that end at once and take it with them ([`trials`]).
//! The report is made of what came of them ([`page`], [`record`]): for each refusal the layer that said no, its rule
//! and the remedy ([`judge`]), and which commands and chapters work here ([`works`]). What only needs reading is read
//! ([`facts`]).

mod facts;
mod judge;
mod page;
mod record;
mod trials;
mod works;

use clap::{ArgMatches, Command};

use super::{Concept, Context, Stage, Tried};
use crate::error::{Error, Result, exit};
use facts::Facts;
use works::Findings;

/// The concept.
pub const CONCEPT: Concept =
    Concept { name: "doctor", command, stages: &[attempt, report], failure: exit::FAILED };

fn command() -> Command {
    Command::new("doctor").about("Find out what works on this machine, by trying it").long_about(
        "Tries what the commands need (namespaces, mounts, overlays, groups) in children that end at once, and \
         leaves nothing behind. For everything that is refused it names the layer that says no, its rule, what to \
         do about it and the chapter to read, and which commands and chapters work here. -v tells every call. The \
         exit code is 0 if `cutaway run` works, and 1 if not.",
    )
}

/// First stage: the attempts.
#[expect(clippy::unnecessary_wraps, reason = "the form of every stage")]
fn attempt(_: &ArgMatches, context: &Context) -> Result<Stage> {
    Ok(Stage::Trials(Box::new(trials::plan(context))))
}

/// Second stage: what they came to.
#[expect(clippy::unnecessary_wraps, reason = "the form of every stage")]
fn report(_: &ArgMatches, context: &Context) -> Result<Stage> {
    // With --explain nothing was tried, and there is nothing to report.
    let Some(tried) = context.passed_on::<Tried>() else { return Ok(Stage::Nothing) };
    let facts = Facts::read(context);
    let findings = Findings::of(&tried, &facts, context);
    let (json, style, verbose) = (context.json, context.style, context.verbose);
    Ok(Stage::Stream(Box::new(move |out| {
        if json {
            record::write(&findings, &facts, &tried, out)?;
        } else {
            page::write(&findings, &facts, &tried, style, verbose, out)?;
        }
        verdict(&findings)
    })))
}

/// The exit code follows from this.
fn verdict(findings: &Findings) -> Result<()> {
    let Err(lacking) = findings.run() else { return Ok(()) };
    Err(Error::new("cutaway run does not work here")
        .rule(format!("it needs what was refused: {}", lacking.join(", ")))
        .remedy("see above what each refusal means, and what to do about it")
        .chapter("0"))
}
