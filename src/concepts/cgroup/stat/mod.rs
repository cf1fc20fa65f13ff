//! `cutaway cgroup stat`: what a group uses, which limits hold for it in the end and who sets them, how long its
//! processes have waited.

pub mod facts;
mod page;
pub mod subject;

use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches};

use crate::concepts::{Context, Stage};
use crate::error::{Error, Result};
use crate::plan::{Plan, Step, Until, Watch};
use crate::probe::meter::Meter;
use crate::probe::seat;
use subject::Subject;

/// Its arguments.
#[must_use]
pub fn command() -> clap::Command {
    let what = Arg::new("what")
        .value_name("PATH|PID|CONTAINER")
        .help("A group's directory, a process, or a container (default: this process)")
        .value_parser(clap::value_parser!(std::ffi::OsString));
    let count =
        Arg::new("count").long("count").value_name("NUMBER").help("With --watch: end after so many readings");
    clap::Command::new("stat")
        .about("What a group uses, which limits hold for it, and who sets them")
        .arg(what)
        .args(watching())
        .arg(count.value_parser(clap::value_parser!(u32).range(1..)).requires("watch"))
}

/// The flags of watching.
fn watching() -> [Arg; 2] {
    [
        Arg::new("watch").long("watch").action(ArgAction::SetTrue).help("Read again and again, until Ctrl-C"),
        Arg::new("every")
            .long("every")
            .value_name("SECONDS")
            .help("With --watch: how long between two readings")
            .requires("watch")
            .default_value("1"),
    ]
}

/// The report, or the plan that watches.
pub fn stage(matches: &ArgMatches, context: &Context) -> Result<Stage> {
    let what = matches.get_one::<std::ffi::OsString>("what");
    let subject = subject::find(what.map(std::ffi::OsString::as_os_str), context)?;
    if matches.get_flag("watch") {
        let every = every(matches.get_one::<String>("every").map_or("1", String::as_str))?;
        return watch(&subject, every, matches.get_one::<u32>("count").copied());
    }
    let text =
        if context.json { format!("{}\n", page::as_json(&subject)) } else { page::report(&subject, context) };
    // Numbers that a group has taken with it would be missing as if they were never counted.
    seat::all_there(subject.directories())?;
    Ok(Stage::Report(text))
}

/// The time between two readings, in milliseconds.
fn every(text: &str) -> Result<u32> {
    let seconds: f64 = text.parse().unwrap_or(0.0);
    let range = 0.1..=3600.0;
    let ms = range.contains(&seconds).then(|| Duration::from_secs_f64(seconds).as_millis());
    ms.and_then(|ms| u32::try_from(ms).ok()).ok_or_else(|| {
        Error::new(format!("--every {text} is refused")).rule("between 0.1 and 3600 seconds are taken")
    })
}

/// A plan of one step that reads again and again.
fn watch(subject: &Subject, every: u32, most: Option<u32>) -> Result<Stage> {
    let meters = facts::meters(subject);
    if meters.is_empty() {
        seat::all_there(subject.directories())?;
        return Err(Error::new(format!("{} has no numbers to watch", subject.title))
            .rule("watched are memory, processor time and processes, where a controller counts them")
            .remedy("`cutaway cgroup tree` says which controllers each tree has"));
    }
    let mut plan = Plan::new("cgroup stat --watch");
    plan.fleeting = true;
    plan.notes = notes(subject, &meters);
    plan.steps = vec![
        Step::say("Read what its groups use, again and again")
            .why(
                "Nothing is changed: every reading opens files of the groups anew. Processor time is a total that only \
                 grows; shown is its growth since the reading before, in percent of one processor. A bar is full \
                 at the limit in effect; that of processor time without a quota, at one processor.",
            )
            .chapter("25")
            .watch(Watch {
                meters,
                every,
                until: Until::Enough { most },
                shows: Vec::new(),
                of: subject.directories().cloned().collect(),
            }),
    ];
    Ok(Stage::Live(Box::new(plan)))
}

/// Whose groups they are, and where that is read.
fn notes(subject: &Subject, meters: &[Meter]) -> Vec<String> {
    let place = |meter: &Meter| {
        let group = meter.file_read()?.parent()?;
        Some(format!("{}: {}", meter.name, group.display()))
    };
    std::iter::once(subject.title.clone()).chain(meters.iter().filter_map(place)).collect()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn this_process_has_a_report() {
        let context = Context::new("/nonexistent".into(), false, false);
        let find = |what: Option<&str>| subject::find(what.map(OsStr::new), &context);
        let Ok(subject) = find(None) else { return };
        let text = page::report(&subject, &context);
        assert!(text.contains("memory") && text.contains("pressure"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() < 80 || line.contains('/')), "{text}");
        assert!(page::as_json(&subject)["groups"].is_array());
        for bad in ["no-such-container", "/etc", "./nowhere", "999999999"] {
            assert!(find(Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn watching_is_a_plan() {
        let context = Context::new("/nonexistent".into(), false, false);
        let Ok(subject) = subject::find(None, &context) else { return };
        let Ok(Stage::Live(plan)) = watch(&subject, 1000, Some(3)) else { return };
        assert_eq!(plan.check(), Vec::<String>::new());
        let none = Subject { title: "group /x".into(), seats: Vec::new() };
        assert!(watch(&none, 1000, None).is_err());
    }

    #[test]
    fn seconds_have_a_range() {
        assert_eq!(every("0.5").unwrap(), 500);
        for bad in ["0", "-1", "x", "1e9", "nan"] {
            assert!(every(bad).is_err(), "{bad}");
        }
    }
}
