//! `cutaway diff`: what a container has changed, read from its writable layer.
//!
//! Two parts: where the writable layer and the layers below it are ([`sources`]), and what the one says about the
//! others ([`changes`]). The listing is Docker's: A, C or D and a path. Nothing is mounted and nothing is changed.

mod changes;
mod sources;

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::{ArgMatches, Args, FromArgMatches};
use serde_json::{Map, Value as Json, json};

use super::common::record;
use super::{Concept, Context, Stage};
use crate::error::{Error, Result, exit};
use crate::report::style::Style;
use changes::Change;
use sources::Source;

/// The concept.
pub const CONCEPT: Concept = Concept { name: "diff", command, stages: &[diff], failure: exit::FAILED };

/// The arguments.
#[derive(Debug, Clone, Args)]
struct DiffArgs {
    /// A container that runs, an overlay that was kept, or a directory that is an overlay's upper
    #[arg(value_name = "CONTAINER|UPPER-DIR", required = true)]
    subjects: Vec<OsString>,

    /// What lies below UPPER-DIR, the topmost first (default: what its mount says)
    #[arg(long, value_name = "DIR", num_args = 1..)]
    lower: Vec<PathBuf>,
}

fn command() -> clap::Command {
    DiffArgs::augment_args(clap::Command::new("diff"))
        .about("List what a container has added, changed and deleted")
        .long_about(
            "Lists what the writable layer of a container says about the layers below it: A for added, C for \
             changed, D for deleted, as `docker diff` does; with -v also what has changed. A container's writable \
             layer exists while it runs.",
        )
        .override_usage("cutaway diff [OPTIONS] <CONTAINER|UPPER-DIR>… [--lower DIR…]")
}

fn diff(matches: &ArgMatches, context: &Context) -> Result<Stage> {
    let args = DiffArgs::from_arg_matches(matches)
        .map_err(|error| Error::new(error.to_string()).exit(exit::USAGE))?;
    let find = |subject: &OsString| Source::find(subject, &args.lower, context);
    let sources = args.subjects.iter().map(find).collect::<Result<Vec<_>>>()?;
    let page = Page {
        style: context.style,
        raw: !std::io::stdout().is_terminal(),
        headings: sources.len() > 1,
        verbose: context.verbose,
        json: context.json,
    };
    Ok(Stage::Stream(Box::new(move |out| {
        for source in &sources {
            let changes = changes::between(&source.upper, &source.lower)?;
            page.write(source, &changes, out)
                .map_err(|cause| Error::io("could not write the listing", &cause))?;
        }
        Ok(())
    })))
}

/// How the listing looks.
struct Page {
    style: Style,
    /// Whether names go out as they are: to a program, not to a terminal.
    raw: bool,
    headings: bool,
    verbose: bool,
    json: bool,
}

impl Page {
    fn write(&self, source: &Source, changes: &[Change], out: &mut dyn Write) -> std::io::Result<()> {
        if self.json {
            return self.record(source, changes, out);
        }
        if self.headings {
            writeln!(out, "{}:", source.subject.display())?;
        }
        changes.iter().try_for_each(|change| self.line(change, out))
    }

    fn line(&self, change: &Change, out: &mut dyn Write) -> std::io::Result<()> {
        write!(out, "{} ", change.kind.letter())?;
        if self.raw {
            out.write_all(change.path.as_os_str().as_bytes())?;
        } else {
            write!(out, "{}", self.style.text(&change.path.to_string_lossy()))?;
        }
        if self.verbose && !change.what.is_empty() {
            write!(out, "  ({})", change.what.join(", "))?;
        }
        writeln!(out)
    }

    /// One object for the subject, one for each change.
    fn record(&self, source: &Source, changes: &[Change], out: &mut dyn Write) -> std::io::Result<()> {
        let _ = self;
        let mut about = Map::from_iter([("record".to_owned(), json!("diff"))]);
        record::name(&mut about, "subject", source.subject.as_bytes());
        record::name(&mut about, "upper", source.upper.as_os_str().as_bytes());
        let lower: Vec<Json> = source.lower.iter().map(|layer| json!(layer.to_string_lossy())).collect();
        about.insert("lower".to_owned(), lower.into());
        about.insert("changes".to_owned(), json!(changes.len()));
        writeln!(out, "{}", Json::from(about))?;
        changes.iter().try_for_each(|change| {
            let mut one = Map::from_iter([
                ("record".to_owned(), json!("change")),
                ("kind".to_owned(), json!(change.kind.letter())),
            ]);
            record::name(&mut one, "path", change.path.as_os_str().as_bytes());
            one.insert("what".to_owned(), json!(change.what));
            writeln!(out, "{}", Json::from(one))
        })
    }
}
