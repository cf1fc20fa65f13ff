//! The report of `cutaway cgroup stat`, for people and as JSON.

use std::path::Path;

use serde_json::{Value as Json, json};

use super::facts::{Cpu, InEffect, Memory, as_docker, facts};
use super::subject::Subject;
use crate::concepts::Context;
use crate::concepts::cgroup::sheet::Sheet;
use crate::probe::limits::Limit;
use crate::probe::meter::{behind, mebibytes};
use crate::probe::seat::Seat;

fn place(seat: Option<&Seat>) -> String {
    seat.map_or_else(String::new, |seat| format!("{} (version {})", seat.directory.display(), seat.version()))
}

/// Who sets a limit, seen from the group for which it holds.
fn setter(seat: Option<&Seat>, by: &Path) -> String {
    let own = seat.is_some_and(|seat| seat.directory == by);
    if own { "set by this group itself".to_owned() } else { format!("set above, by {}", by.display()) }
}

/// The report.
pub fn report(subject: &Subject, context: &Context) -> String {
    let mut sheet = Sheet::new(context.style);
    sheet.title("cutaway cgroup stat", &subject.title);
    let facts = facts(subject);
    sheet.heading("memory", &place(subject.seat("memory")));
    match &facts.memory {
        Some(memory) => memory_rows(memory, &facts.memory_limit, subject, &mut sheet),
        None => uncounted("memory", &facts.memory_limit, subject, amount_of_memory, &mut sheet),
    }
    sheet.heading("processor time", &place(subject.seat("cpu")));
    match &facts.cpu {
        Some(cpu) => cpu_rows(cpu, &facts.quota, subject, &mut sheet),
        None => sheet.prose("none of these groups is in a tree that counts processor time"),
    }
    sheet.heading("processes", &place(subject.seat("pids")));
    match facts.pids {
        Some(pids) => {
            sheet.row("now", &pids.to_string(), "pids.current; threads count too");
            limit_row(&mut sheet, &facts.pids_limit, subject.seat("pids"), number);
        }
        None => uncounted("pids", &facts.pids_limit, subject, number, &mut sheet),
    }
    pressure_rows(subject, &mut sheet);
    sheet.text
}

fn number(limit: Limit) -> String {
    limit.amount.to_string()
}

fn amount_of_memory(limit: Limit) -> String {
    mebibytes(limit.amount)
}

/// A group that does not count may still be held by one above it.
fn uncounted(
    controller: &str,
    held: &InEffect,
    subject: &Subject,
    shown: fn(Limit) -> String,
    sheet: &mut Sheet,
) {
    sheet.prose(&match subject.seat(controller) {
        None => format!("none of these groups is in a tree that has the controller {controller}"),
        Some(_) => {
            format!(
                "not counted here: this is the top group, or the controller {controller} is not enabled in it"
            )
        }
    });
    if !matches!(held, Ok(None)) {
        limit_row(sheet, held, subject.seat(controller), shown);
    }
}

fn limit_row(sheet: &mut Sheet, held: &InEffect, seat: Option<&Seat>, shown: impl Fn(Limit) -> String) {
    match held {
        Ok(Some(held)) => sheet.row("limit in effect", &shown(held.limit), &setter(seat, &held.by)),
        Ok(None) => sheet.row("limit in effect", "none", "no group from here to the top sets one"),
        Err(why) => sheet.row("limit in effect", "unknown", why),
    }
}

fn memory_rows(memory: &Memory, limit: &InEffect, subject: &Subject, sheet: &mut Sheet) {
    let seat = subject.seat("memory");
    let is_v2 = seat.is_some_and(|seat| seat.is_v2);
    let name = |one: &'static str, two: &'static str| if is_v2 { two } else { one };
    sheet.row("usage", &mebibytes(memory.usage), name("memory.usage_in_bytes", "memory.current"));
    sheet.row(
        "- inactive file pages",
        &mebibytes(memory.inactive_file),
        name("total_inactive_file of memory.stat", "inactive_file of memory.stat"),
    );
    sheet.row("= as docker stats has it", &mebibytes(as_docker(memory)), "a difference, kept nowhere");
    sheet.row(
        "of processes",
        &mebibytes(memory.anon),
        name("total_rss of memory.stat", "anon of memory.stat"),
    );
    sheet.row("of files", &mebibytes(memory.file), name("total_cache of memory.stat", "file of memory.stat"));
    if let Some(peak) = memory.peak {
        sheet.row("peak of usage", &mebibytes(peak), name("memory.max_usage_in_bytes", "memory.peak"));
    }
    if let Some(killed) = memory.killed {
        sheet.row(
            "killed for memory",
            &killed.to_string(),
            name("oom_kill of memory.oom_control", "oom_kill of memory.events"),
        );
    }
    limit_row(sheet, limit, seat, amount_of_memory);
    sheet.prose(
        "The limit is compared with the usage, page cache and all. `docker stats` leaves out the pages of files \
         that were not used lately: active ones stay in, although they would be given back too, so it says more \
         than the processes need and less than what counts.",
    );
}

fn cpu_rows(cpu: &Cpu, quota: &InEffect, subject: &Subject, sheet: &mut Sheet) {
    let time = |us: u64| format!("{}.{:02} s", us / 1_000_000, us % 1_000_000 / 10_000);
    if let Some(used) = cpu.used_us {
        let source =
            if subject.seat("cpuacct").is_some() { "cpuacct.usage" } else { "usage_usec of cpu.stat" };
        sheet.row("used", &time(used), source);
    }
    if let (Some(periods), Some(us)) = (cpu.throttled, cpu.throttled_us) {
        sheet.row("throttled", &time(us), &format!("in {periods} periods, by cpu.stat"));
    }
    if let Some(weight) = cpu.weight {
        let is_v2 = subject.seat("cpu").is_some_and(|seat| seat.is_v2);
        let source = if is_v2 { "cpu.weight; 100 is usual" } else { "cpu.shares; 1024 is usual" };
        sheet.row("weight", &weight.to_string(), source);
    }
    limit_row(sheet, quota, subject.seat("cpu"), |limit| format!("{} cpus", limit.processors()));
}

/// The share of the last ten seconds in which some process waited, as the kernel writes it.
fn pressure_rows(subject: &Subject, sheet: &mut Sheet) {
    let own = subject.seats.iter().find(|seat| seat.is_v2 && seat.directory.join("memory.pressure").exists());
    let (folder, what) = match own {
        Some(seat) => (seat.directory.clone(), seat.directory.display().to_string()),
        None => ("/proc".into(), "of the whole machine: version 1 knows no pressure of a group".to_owned()),
    };
    let file = |name: &str| match own {
        Some(_) => folder.join(format!("{name}.pressure")),
        None => folder.join("pressure").join(name),
    };
    let read = |name: &str| -> Option<(String, u64)> {
        let text = std::fs::read_to_string(file(name)).ok()?;
        let average = text.split_whitespace().find_map(|field| field.strip_prefix("avg10="))?.to_owned();
        Some((average, behind(&text, "some total")?))
    };
    sheet.heading("pressure", &what);
    let all: Vec<_> = ["memory", "cpu", "io"].iter().filter_map(|name| Some((*name, read(name)?))).collect();
    if all.is_empty() {
        sheet.prose("This kernel counts no pressure: it was built or started without it (psi=1).");
        return;
    }
    for (name, (average, total)) in all {
        let source = format!("{}.{:01} s in all", total / 1_000_000, total % 1_000_000 / 100_000);
        sheet.row(name, &format!("{average} %"), &format!("of the last 10 s somebody waited; {source}"));
    }
}

/// The same as JSON.
pub fn as_json(subject: &Subject) -> Json {
    let facts = facts(subject);
    let held = |held: &InEffect, number: fn(Limit) -> u64| match held {
        Ok(Some(held)) => json!({ "limit": number(held.limit), "by": held.by.to_string_lossy() }),
        Ok(None) => Json::Null,
        Err(why) => json!({ "unreadable": why }),
    };
    let amount = |limit: Limit| limit.amount;
    let seats: Vec<Json> = subject
        .seats
        .iter()
        .map(|seat| {
            json!({
                "directory": seat.directory.to_string_lossy(),
                "version": seat.version(),
                "controllers": seat.controllers,
            })
        })
        .collect();
    json!({
        "subject": subject.title,
        "groups": seats,
        "memory": counted(facts.memory.map(|memory| json!({
            "usage": memory.usage,
            "inactive_file": memory.inactive_file,
            "as_docker_stats": as_docker(&memory),
            "anon": memory.anon,
            "file": memory.file,
            "peak": memory.peak,
            "oom_kill": memory.killed,
        })), "in_effect", held(&facts.memory_limit, amount)),
        "cpu": counted(facts.cpu.map(|cpu| json!({
            "used_us": cpu.used_us,
            "nr_throttled": cpu.throttled,
            "throttled_us": cpu.throttled_us,
            "weight": cpu.weight,
        })), "quota_in_hundredths", held(&facts.quota, |limit| limit.parts(100))),
        "pids": counted(
            facts.pids.map(|pids| json!({ "current": pids })),
            "in_effect",
            held(&facts.pids_limit, amount),
        ),
    })
}

/// What is counted, with the limit; null where there is neither.
fn counted(numbers: Option<Json>, name: &str, limit: Json) -> Json {
    if numbers.is_none() && limit.is_null() {
        return Json::Null;
    }
    let mut all = numbers.unwrap_or_else(|| json!({}));
    all[name] = limit;
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_does_not_count_may_be_held_from_above() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        std::fs::write(dir.path().join("a/memory.max"), "67108864\n").unwrap();
        let seat = Seat {
            controllers: ["memory", "pids"].map(str::to_owned).to_vec(),
            is_v2: true,
            top: dir.path().to_owned(),
            directory: dir.path().join("a/b"),
        };
        let subject = Subject { title: "x".to_owned(), seats: vec![seat] };
        let text = report(&subject, &Context::new("/nonexistent".into(), false, false));
        assert!(text.contains("not counted here") && text.contains("64.0 MiB  set above, by"), "{text}");
        let json = as_json(&subject);
        let memory = &json["memory"];
        assert_eq!((&memory["in_effect"]["limit"], &memory["usage"]), (&json!(64 << 20), &Json::Null));
        assert_eq!(json["pids"], Json::Null);
    }
}
