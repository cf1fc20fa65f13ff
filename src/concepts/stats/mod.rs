//! `cutaway stats`: what the containers that run now use, a line for each.
//!
//! The numbers are those of `cutaway cgroup stat`; processor time is measured over an interval.

use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches};
use serde_json::json;

use super::cgroup::stat::facts::{Facts, as_docker, effective, facts, processor_time};
use super::cgroup::stat::subject::{self, Subject};
use super::{Concept, Context, Stage};
use crate::error::{Error, Result, exit};
use crate::probe::meter::{Series, mebibytes};
use crate::state::journal;

/// The concept.
pub const CONCEPT: Concept = Concept { name: "stats", command, stages: &[stats], failure: exit::FAILED };

/// How long processor time is measured.
const INTERVAL: Duration = Duration::from_millis(500);

fn command() -> clap::Command {
    let names =
        Arg::new("names").value_name("CONTAINER").num_args(0..).help("Only these (default: all that run)");
    // Docker goes on for ever without this; here once is enough, and `cgroup stat --watch` goes on.
    let once = Arg::new("no-stream").long("no-stream").action(ArgAction::SetTrue).hide(true);
    clap::Command::new("stats").about("What the running containers use").args([names, once])
}

/// What one container uses.
struct Row {
    name: String,
    facts: Facts,
    /// The share of a processor since the first reading, in percent.
    share: Option<u64>,
}

impl Row {
    fn memory(&self) -> Option<(u64, u64)> {
        self.facts.memory.as_ref().map(|memory| (as_docker(memory), memory.usage))
    }

    /// The limit on memory; none also where the group has gone meanwhile.
    fn limit(&self) -> Option<u64> {
        Some(effective(&self.facts.memory_limit)?.limit.amount)
    }

    fn pids(&self) -> Option<u64> {
        self.facts.pids
    }
}

fn stats(matches: &ArgMatches, context: &Context) -> Result<Stage> {
    let wanted: Vec<&String> = matches.get_many("names").into_iter().flatten().collect();
    let mut all = subject::containers(context);
    if let Some(missing) = wanted.iter().find(|name| !all.iter().any(|(own, _)| own == **name)) {
        return Err(Error::new(format!("no container {missing} runs here"))
            .rule("stats are of containers of this state directory that run now")
            .remedy("`cutaway stats` lists them all; others are found by `cutaway cgroup stat ID`"));
    }
    all.retain(|(name, _)| wanted.is_empty() || wanted.contains(&name));
    let rows = measure(all, context);
    if context.json {
        return Ok(Stage::Report(rows.iter().map(as_json).collect()));
    }
    if rows.is_empty() {
        return Ok(Stage::Report("no container runs; `cutaway run` starts one\n".to_owned()));
    }
    Ok(Stage::Report(table(&rows)))
}

/// Reads twice, and leaves out the containers that have ended in between.
fn measure(all: Vec<(String, Subject)>, context: &Context) -> Vec<Row> {
    let mut times: Vec<Series> =
        all.iter().map(|(_, subject)| Series::new(processor_time(subject).into_iter().collect())).collect();
    for time in &mut times {
        time.read();
    }
    if !all.is_empty() {
        std::thread::sleep(INTERVAL);
    }
    let rows = all.into_iter().zip(times).map(|((name, subject), mut time)| {
        let (_, shown) = time.read();
        let share = time.meters.first().and_then(|meter| shown[&*meter.name].as_u64());
        Row { name, facts: facts(&subject), share }
    });
    rows.filter(|row| journal::is_alive(&context.state, &row.name)).collect()
}

fn as_json(row: &Row) -> String {
    let line = json!({
        "name": row.name,
        "cpu_percent": row.share,
        "memory": row.memory().map(|(shown, _)| shown),
        "memory_with_page_cache": row.memory().map(|(_, all)| all),
        "memory_limit": row.limit(),
        "pids": row.pids(),
    });
    format!("{line}\n")
}

fn table(rows: &[Row]) -> String {
    let none = || "-".to_owned();
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["CONTAINER", "CPU", "MEMORY", "LIMIT", "WITH PAGE CACHE", "PIDS"]);
    for row in rows {
        table.add_row([
            row.name.clone(),
            row.share.map_or_else(none, |percent| format!("{percent} %")),
            row.memory().map_or_else(none, |(shown, _)| mebibytes(shown)),
            row.limit().map_or_else(none, mebibytes),
            row.memory().map_or_else(none, |(_, all)| mebibytes(all)),
            row.pids().map_or_else(none, |pids| pids.to_string()),
        ]);
    }
    let lines = table.trim_fmt() + "\n";
    let missing = rows.iter().any(|row| row.memory().is_none() || row.share.is_none());
    if missing {
        lines + "\n- : the container has no group that counts this; a limit gives it one\n"
    } else {
        lines
    }
}
