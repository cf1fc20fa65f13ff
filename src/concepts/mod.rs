//! One room per idea, in teaching order. A room holds its command line and the plan it makes; the engine
//! does the rest.
//!
//! To add one: a folder here, a line in [`ALL`], a chapter, a lab. The tidy test names what is missing.

pub mod book;
pub mod cgroup;
pub mod chroot;
pub mod cleanup;
mod common;
pub mod diff;
pub mod doctor;
pub mod image;
pub mod inspect;
pub mod lab;
pub mod layers;
pub mod limits;
pub mod ns;
pub mod onward;
pub mod overlay;
pub mod run;
pub mod stats;

pub use common::devices;

use std::any::Any;
use std::cell::RefCell;
use std::io::Write;
use std::path::PathBuf;

use clap::ArgMatches;

use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::probe::Host;
use crate::report::event::Event;
use crate::report::screen::Show;
use crate::report::style::Style;

/// A command.
pub struct Concept {
    /// Its name on the command line, and the name of its folder.
    pub name: &'static str,
    /// Its arguments.
    pub command: fn() -> clap::Command,
    /// What it does, one stage after the other: a later stage may need what an earlier one has made.
    pub stages: &'static [fn(&ArgMatches, &Context) -> Result<Stage>],
    /// The exit code when cutaway itself fails.
    pub failure: u8,
}

/// Writes a report.
pub type Writer = Box<dyn FnOnce(&mut dyn Write) -> Result<()>>;

/// What a stage of a command comes to.
pub enum Stage {
    /// Steps to explain or perform.
    Plan(Box<Plan>),
    /// Steps that find something out for the report of the next stage, which gets them with what came of them as
    /// [`Tried`]. They are told with `-v`; without, the report says what there is to say.
    Trials(Box<Plan>),
    /// Steps whose readings are what was asked for: they go to stdout, as reports do, and the telling has the rest.
    Live(Box<Plan>),
    /// A report for stdout; nothing is changed.
    Report(String),
    /// The same, written piece by piece: for what may be long, is no text, or ends in an error of its own.
    Stream(Writer),
    /// Something to look through on the whole screen; nothing is changed.
    Screen(Box<dyn Show>),
    /// Nothing has to be done.
    Nothing,
}

/// Steps that were performed to find something out, and what came of them.
pub struct Tried {
    /// The steps.
    pub plan: Plan,
    /// Everything that happened, in order.
    pub events: Vec<Event>,
    /// Why they ended before the last.
    pub error: Option<Error>,
}

impl From<Plan> for Stage {
    fn from(plan: Plan) -> Self {
        Self::Plan(Box::new(plan))
    }
}

/// What a concept may know while it plans.
pub struct Context {
    /// The state directory.
    pub state: PathBuf,
    /// The host and the caller.
    pub here: Host,
    /// Whether the plan is only shown.
    pub explain: bool,
    /// Whether the recording goes to stdout, so that reports should be JSON.
    pub json: bool,
    /// How reports look.
    pub style: Style,
    /// Whether to tell more.
    pub verbose: bool,
    /// Whether reading that takes long has a bar on stderr.
    pub bars: bool,
    kept: RefCell<Vec<Box<dyn Any>>>,
    pins: RefCell<Vec<Box<dyn Any>>>,
    /// What an earlier stage of the command has found out for a later one.
    found: RefCell<Option<Box<dyn Any>>>,
}

impl Context {
    /// A context for planning.
    #[must_use]
    pub fn new(state: PathBuf, explain: bool, json: bool) -> Self {
        Self {
            state,
            here: Host::read(),
            explain,
            json,
            style: Style::plain(),
            verbose: false,
            bars: false,
            kept: RefCell::default(),
            pins: RefCell::default(),
            found: RefCell::default(),
        }
    }

    /// Keeps something until the engine has claimed the name of the run.
    pub fn pin(&self, thing: impl Any) {
        self.pins.borrow_mut().push(Box::new(thing));
    }

    /// What was pinned.
    #[must_use]
    pub fn take_pins(&self) -> Vec<Box<dyn Any>> {
        self.pins.take()
    }

    /// Passes something on to the next stage.
    pub fn pass_on(&self, thing: impl Any) {
        *self.found.borrow_mut() = Some(Box::new(thing));
    }

    /// What the stage before has passed on, if it is of this type.
    pub fn passed_on<T: Any>(&self) -> Option<T> {
        self.found.take()?.downcast().ok().map(|thing| *thing)
    }

    /// Keeps something, such as a lock, until the command has ended.
    pub fn keep(&self, thing: impl Any) {
        self.kept.borrow_mut().push(Box::new(thing));
    }
}

/// Every command, in teaching order.
pub const ALL: &[Concept] = &[
    doctor::CONCEPT,
    inspect::CONCEPT,
    chroot::CONCEPT,
    layers::CONCEPT,
    overlay::CONCEPT,
    image::CONCEPT,
    ns::CONCEPT,
    cgroup::CONCEPT,
    run::CONCEPT,
    diff::CONCEPT,
    stats::CONCEPT,
    lab::CONCEPT,
    cleanup::CONCEPT,
    book::CONCEPT,
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks at commands that are listed below each other in a terminal of 80 columns.
    fn look(commands: &[clap::Command], faults: &mut Vec<String>) {
        let width = commands.iter().map(|command| command.get_name().len()).max().unwrap_or(0);
        for command in commands {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            let phrase = !about.is_empty() && !about.contains(". ") && !about.ends_with('.');
            if !phrase || 2 + width + 2 + about.chars().count() > 80 {
                faults.push(format!("{}: {about:?}", command.get_name()));
            }
            look(&command.get_subcommands().cloned().collect::<Vec<_>>(), faults);
        }
    }

    /// A struct of arguments brings its comment along, which is no description of a command.
    #[test]
    fn every_command_is_described_in_one_phrase() {
        let mut faults = Vec::new();
        look(&ALL.iter().map(|concept| (concept.command)()).collect::<Vec<_>>(), &mut faults);
        assert!(faults.is_empty(), "{faults:#?}");
    }
}
