//! The flags that every command has, and what they set up. A command's own arguments are in its room.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::concepts;
use crate::engine::{Asker, Pace};
use crate::error::Result;
use crate::report::Observer;
use crate::report::narrator::Narrator;
use crate::report::readings::{Readings, WithoutReadings};
use crate::report::recorder::Recorder;
use crate::report::step::Prompt;
use crate::report::style::{ColorChoice, Style};
use crate::state;

/// Flags of every command.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Print what would be done, and do nothing
    #[arg(long, global = true)]
    pub explain: bool,

    /// Record every event as JSON lines, to a file or to stdout (-)
    #[arg(long, global = true, value_name = "FILE|-")]
    pub json: Option<OsString>,

    /// Ask before each step
    #[arg(long, global = true)]
    pub step: bool,

    /// Tell nothing but errors
    #[arg(short, long, global = true)]
    pub quiet: bool,

    /// Tell more: man pages, whole states (short: -v, except where -v means a volume)
    #[arg(long, global = true)]
    pub verbose: bool,

    /// When to use colour
    #[arg(long, global = true, value_enum, default_value_t)]
    pub color: ColorChoice,

    /// Where images, containers and journals are kept
    #[arg(long, global = true, value_name = "DIR")]
    pub state: Option<PathBuf>,
}

const ABOUT: &str = "Opens containers up: real kernel operations, told call by call";

/// Parses the command line. Most runs name one command, and building the others would cost more than parsing: they
/// are built only where the line cannot be understood without them, which is where help or an error lists them.
pub fn parse() -> std::result::Result<ArgMatches, clap::Error> {
    let line: Vec<OsString> = std::env::args_os().collect();
    let named = |word: &OsString| concepts::ALL.iter().find(|concept| *word == *concept.name);
    if let Some(concept) = line.iter().skip(1).find_map(named)
        && let Ok(matches) = with_concepts([concept]).try_get_matches_from(&line)
    {
        return Ok(matches);
    }
    command().try_get_matches_from(line)
}

/// The whole command line.
#[must_use]
pub fn command() -> Command {
    with_concepts(concepts::ALL)
}

fn with_concepts<'a>(all: impl IntoIterator<Item = &'a concepts::Concept>) -> Command {
    // Said after the flags, which bring words of their own.
    let base = Global::augment_args(Command::new("cutaway"))
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .long_about(None)
        .subcommand_required(true)
        .arg_required_else_help(true);
    let base = with_short_verbose(base);
    base.subcommands(all.into_iter().map(|concept| with_short_verbose((concept.command)())))
}

/// The name of the argument behind `-v`.
const SHORT_VERBOSE: &str = "v";

/// Adds `-v` to a command, unless it means something else there: to a Docker user, `run -v` is a volume.
fn with_short_verbose(command: Command) -> Command {
    if command.get_arguments().any(|arg| arg.get_short() == Some('v')) {
        return command;
    }
    command.arg(Arg::new(SHORT_VERBOSE).short('v').action(ArgAction::SetTrue).hide(true))
}

impl Global {
    /// Reads the flags, wherever on the command line they stood.
    pub fn from(matches: &ArgMatches) -> std::result::Result<Self, clap::Error> {
        let mut global = Self::from_arg_matches(matches)?;
        let given =
            |matches: &ArgMatches| matches!(matches.try_get_one::<bool>(SHORT_VERBOSE), Ok(Some(true)));
        global.verbose |= given(matches) || matches.subcommand().is_some_and(|(_, matches)| given(matches));
        Ok(global)
    }

    /// The state directory, as an absolute path: the child changes its working directory.
    pub fn state_directory(&self) -> Result<PathBuf> {
        let given = match &self.state {
            Some(state) => state.clone(),
            None => state::default_directory(rustix::process::geteuid().is_root())?,
        };
        std::path::absolute(&given)
            .map_err(|cause| crate::error::Error::io(format!("cannot use {}", given.display()), &cause))
    }

    /// How errors and the telling look, on stderr.
    #[must_use]
    pub fn style(&self) -> Style {
        Style::decide(self.color, std::io::stderr())
    }

    /// How plans and reports look, on stdout.
    #[must_use]
    pub fn style_of_stdout(&self) -> Style {
        Style::decide(self.color, std::io::stdout())
    }

    /// Whether work that takes long has a bar: somebody is told, and sees it on a terminal.
    #[must_use]
    pub fn bars(&self) -> bool {
        !self.quiet && rustix::termios::isatty(std::io::stderr())
    }

    /// Who is told.
    pub fn observers(&self) -> Result<Vec<Box<dyn Observer>>> {
        let mut all: Vec<Box<dyn Observer>> = Vec::new();
        if !self.quiet {
            let narrator = Narrator::new(Box::new(std::io::stderr()), self.style(), self.verbose);
            all.push(Box::new(narrator.bars(self.bars())));
        }
        if let Some(path) = &self.json {
            all.push(Box::new(Recorder::open(path)?));
        }
        Ok(all)
    }

    /// The same, where readings go to stdout and not into the telling. A recording that goes to stdout has them already.
    #[must_use]
    pub fn readings_apart(&self, all: Vec<Box<dyn Observer>>) -> Vec<Box<dyn Observer>> {
        if self.json.as_ref().is_some_and(|path| path == "-") {
            return all;
        }
        let narrated = usize::from(!self.quiet);
        let mut all = all.into_iter();
        let mut apart: Vec<Box<dyn Observer>> = Vec::new();
        apart
            .extend(all.by_ref().take(narrated).map(|it| Box::new(WithoutReadings(it)) as Box<dyn Observer>));
        apart.push(Box::new(Readings::new(Box::new(std::io::stdout()), self.style_of_stdout())));
        apart.extend(all);
        apart
    }

    /// How fast.
    #[must_use]
    pub fn pace(&self) -> Pace {
        match (self.step, self.quiet) {
            (true, _) => Pace::Stepped,
            (false, false) => Pace::Told,
            (false, true) => Pace::Quiet,
        }
    }

    /// Whom to ask before each step.
    pub fn asker(&self) -> Result<Option<Asker>> {
        if !self.step {
            return Ok(None);
        }
        let mut prompt = Prompt::open(self.style())?;
        Ok(Some(Box::new(move |upcoming, look| prompt.ask(upcoming, look))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_says_what_it_does_and_not_what_its_options_are() {
        let root = command();
        assert_eq!(root.get_about().map(ToString::to_string).as_deref(), Some(ABOUT));
        for command in root.get_subcommands() {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            let of_options =
                ["options", "arguments", "flags"].iter().any(|word| about.to_lowercase().contains(word));
            assert!(!about.is_empty() && !of_options, "{}: {about}", command.get_name());
        }
    }

    #[test]
    fn a_command_by_itself_is_parsed_as_among_all() {
        for concept in concepts::ALL {
            let names = |command: Command| {
                command.get_subcommands().map(|one| one.get_name().to_owned()).collect::<Vec<_>>()
            };
            assert_eq!(names(with_concepts([concept])), [concept.name]);
            assert!(names(command()).contains(&concept.name.to_owned()));
        }
    }
}
