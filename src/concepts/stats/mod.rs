//! `cutaway stats`: what the containers that run now use, a line for each.
//!
//! The numbers are those of `cutaway cgroup stat`; processor time is measured over an interval.

use std::time::{Duration, Instant};

use clap::{Arg, ArgAction, ArgMatches};
use serde_json::json;

use super::cgroup::stat::{self, Row};
use super::{Concept, Context, Stage};
use crate::error::{Error, Result, exit};
use crate::probe::meter::mebibytes;

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

fn stats(matches: &ArgMatches, context: &Context) -> Result<Stage> {
    let wanted: Vec<&String> = matches.get_many("names").into_iter().flatten().collect();
    let before = stat::containers(context);
    if let Some(missing) = wanted.iter().find(|name| !before.iter().any(|row| row.name == ***name)) {
        return Err(Error::new(format!("no container {missing} runs here"))
            .rule("stats are of containers of this state directory that run now")
            .remedy("`cutaway stats` lists them all; others are found by `cutaway cgroup stat ID`"));
    }
    let begun = Instant::now();
    if !before.is_empty() {
        std::thread::sleep(INTERVAL);
    }
    let mut rows = stat::containers(context);
    let passed = begun.elapsed();
    rows.retain(|row| wanted.is_empty() || wanted.iter().any(|name| **name == row.name));
    let share = |row: &Row| {
        let then = before.iter().find(|one| one.name == row.name)?.cpu_us?;
        let us = u64::try_from(passed.as_micros()).unwrap_or(u64::MAX).max(1);
        Some(row.cpu_us?.saturating_sub(then) * 100 / us)
    };
    if context.json {
        return Ok(Stage::Report(rows.iter().map(|row| as_json(row, share(row))).collect()));
    }
    if rows.is_empty() {
        return Ok(Stage::Report("no container runs; `cutaway run` starts one\n".to_owned()));
    }
    Ok(Stage::Report(table(&rows, &share)))
}

fn as_json(row: &Row, share: Option<u64>) -> String {
    let line = json!({
        "name": row.name,
        "cpu_percent": share,
        "memory": row.memory.map(|(shown, _)| shown),
        "memory_with_page_cache": row.memory.map(|(_, all)| all),
        "memory_limit": row.limit,
        "pids": row.pids,
    });
    format!("{line}\n")
}

fn table(rows: &[Row], share: &dyn Fn(&Row) -> Option<u64>) -> String {
    let none = || "-".to_owned();
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["CONTAINER", "CPU", "MEMORY", "LIMIT", "WITH PAGE CACHE", "PIDS"]);
    for row in rows {
        table.add_row([
            row.name.clone(),
            share(row).map_or_else(none, |percent| format!("{percent} %")),
            row.memory.map_or_else(none, |(shown, _)| mebibytes(shown)),
            row.limit.map_or_else(none, mebibytes),
            row.memory.map_or_else(none, |(_, all)| mebibytes(all)),
            row.pids.map_or_else(none, |pids| pids.to_string()),
        ]);
    }
    let lines = table.trim_fmt() + "\n";
    let missing = rows.iter().any(|row| row.memory.is_none() || row.cpu_us.is_none());
    if missing {
        lines + "\n- : the container has no group that counts this; a limit gives it one\n"
    } else {
        lines
    }
}
