//! `cutaway cgroup stat`: what a group uses, which limits hold for it in the end and who sets them, how long its
//! processes have waited.

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches};
use serde_json::{Value as Json, json};

use super::sheet::Sheet;
use crate::concepts::{Context, Stage};
use crate::error::{Error, Result};
use crate::probe::limits::{self, Held, Limit};
use crate::probe::meter::{Meter, Unit, behind, mebibytes};
use crate::probe::seat::{self, Seat};
use crate::report::chart::Chart;
use crate::report::event::Scale;
use crate::state::journal;

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
        .arg(count.value_parser(clap::value_parser!(u32)).requires("watch"))
}

/// The flags of watching.
fn watching() -> [Arg; 2] {
    [
        Arg::new("watch").long("watch").action(ArgAction::SetTrue).help("Read again and again, until Ctrl-C"),
        Arg::new("every")
            .long("every")
            .value_name("SECONDS")
            .help("With --watch: how long between two readings")
            .default_value("1"),
    ]
}

/// Whose groups they are, and the groups.
pub struct Subject {
    /// `process 4711 (sh)`
    pub title: String,
    /// One for each tree.
    pub seats: Vec<Seat>,
}

impl Subject {
    /// The group that has a controller.
    #[must_use]
    pub fn seat(&self, controller: &str) -> Option<&Seat> {
        let has = |seat: &&Seat| seat.controllers.iter().any(|name| name == controller);
        self.seats.iter().find(has)
    }

    fn still_there(&self) -> Result<()> {
        let all: std::result::Result<(), String> = self.seats.iter().try_for_each(Seat::still_there);
        all.map_err(|why| Error::new(why).rule("it was removed, which is possible once no process is in it"))
    }
}

/// The report.
pub fn stage(matches: &ArgMatches, context: &Context) -> Result<Stage> {
    let what = matches.get_one::<std::ffi::OsString>("what");
    let subject = find(what.map(std::ffi::OsString::as_os_str), context)?;
    if matches.get_flag("watch") {
        let every = seconds(matches.get_one::<String>("every").map_or("1", String::as_str))?;
        let count = matches.get_one::<u32>("count").copied();
        return Ok(watch(&subject, every, count, context));
    }
    let text = if context.json { format!("{}\n", as_json(&subject)) } else { report(&subject, context) };
    // Numbers that a group has taken with it would be missing as if they were never counted.
    subject.still_there()?;
    Ok(Stage::Report(text))
}

fn seconds(text: &str) -> Result<Duration> {
    let number: f64 = text.parse().unwrap_or(0.0);
    if (0.1..=3600.0).contains(&number) {
        return Ok(Duration::from_secs_f64(number));
    }
    Err(Error::new(format!("--every {text} is refused")).rule("between 0.1 and 3600 seconds are taken"))
}

/// Finds what the user named.
fn find(what: Option<&OsStr>, context: &Context) -> Result<Subject> {
    let table = context.here.mounts();
    let Some(what) = what else { return process("self", "this process".to_owned(), context) };
    let word = what.to_string_lossy();
    if Path::new(what).is_absolute() {
        return directory(Path::new(what), context);
    }
    if !word.is_empty() && word.chars().all(|letter| letter.is_ascii_digit()) {
        return process(&word, format!("process {word}{}", program(&word)), context);
    }
    let own = format!("cutaway-{word}");
    // Docker and podman name the group of a container by its id, as a folder or as a scope of systemd.
    let foreign = |name: &str| word.len() >= 12 && name.contains(&*word) || name == word;
    let mut seats = seat::named(&|name| name == own, table);
    if seats.is_empty() {
        seats = seat::named(&foreign, table);
    }
    if seats.is_empty() {
        return Err(Error::new(format!("there is no group of a container {word}"))
            .rule("it is no pid, no directory, and no tree has a group of that name")
            .remedy(
                "`cutaway cgroup tree` lists the groups; a container without limits has none of its own",
            ));
    }
    Ok(Subject { title: format!("container {word}"), seats })
}

fn program(pid: &str) -> String {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    if name.is_empty() { name } else { format!(" ({})", name.trim()) }
}

fn process(pid: &str, title: String, context: &Context) -> Result<Subject> {
    let seats = seat::of_process(pid, context.here.mounts()).map_err(|why| {
        Error::new(format!("the groups of {title} cannot be read"))
            .rule(why)
            .remedy("name a process that lives, or a group's directory")
    })?;
    if seats.is_empty() {
        return Err(Error::new(format!("no group of {title} can be reached")).rule(
            "no tree of control groups is mounted here, or only a part of it that does not hold the group",
        ));
    }
    Ok(Subject { title, seats })
}

fn directory(path: &Path, context: &Context) -> Result<Subject> {
    let real = path
        .canonicalize()
        .map_err(|cause| Error::io(format!("cannot look at the group {}", path.display()), &cause))?;
    let seats = seat::of_directory(&real, context.here.mounts());
    if seats.is_empty() || !real.is_dir() {
        return Err(Error::new(format!("{} is no group", path.display()))
            .rule("a group is a directory below a mounted cgroup file system")
            .remedy("`cutaway cgroup tree` lists the groups"));
    }
    Ok(Subject { title: format!("group {}", path.display()), seats })
}

/// A limit in effect, or why it is not known.
type InEffect = std::result::Result<Option<Held>, String>;

/// What is used and what holds.
struct Facts {
    memory: Option<Memory>,
    cpu: Option<Cpu>,
    pids: Option<Pids>,
}

struct Memory {
    usage: u64,
    inactive_file: u64,
    anon: u64,
    file: u64,
    peak: Option<u64>,
    killed: Option<u64>,
    limit: InEffect,
}

struct Cpu {
    used_us: Option<u64>,
    throttled: Option<u64>,
    throttled_us: Option<u64>,
    quota: InEffect,
    weight: Option<u64>,
}

struct Pids {
    current: u64,
    limit: InEffect,
}

/// Reads the memory of a group, if it has the controller.
fn memory(seat: &Seat) -> Option<Memory> {
    let stat = |one: &str, two: &str| seat.word(("memory.stat", one), ("memory.stat", two)).unwrap_or(0);
    Some(Memory {
        usage: usage(seat)?,
        inactive_file: stat("total_inactive_file", "inactive_file"),
        anon: stat("total_rss", "anon"),
        file: stat("total_cache", "file"),
        peak: seat.number("memory.max_usage_in_bytes", "memory.peak"),
        killed: seat.word(("memory.oom_control", "oom_kill"), ("memory.events", "oom_kill")),
        limit: limits::MEMORY.held(seat),
    })
}

/// The top group of version 2 has no such file: there the machine's own numbers hold.
fn usage(seat: &Seat) -> Option<u64> {
    seat.number("memory.usage_in_bytes", "memory.current")
}

/// What `docker stats` shows of it.
fn as_docker(memory: &Memory) -> u64 {
    memory.usage.saturating_sub(memory.inactive_file)
}

/// The processor time in microseconds: version 1 counts it in nanoseconds, in a tree that may be another one.
fn processor_time(subject: &Subject) -> Option<u64> {
    if let Some(seat) = subject.seat("cpuacct") {
        return seat.number("cpuacct.usage", "").map(|ns| ns / 1000);
    }
    let seat = subject.seats.iter().find(|seat| seat.is_v2)?;
    seat.word(("", ""), ("cpu.stat", "usage_usec"))
}

fn cpu(subject: &Subject) -> Option<Cpu> {
    let used_us = processor_time(subject);
    let seat = subject.seat("cpu");
    let word = |one, two| seat.and_then(|seat| seat.word(("cpu.stat", one), ("cpu.stat", two)));
    (used_us.is_some() || seat.is_some()).then(|| Cpu {
        used_us,
        throttled: word("nr_throttled", "nr_throttled"),
        throttled_us: word("throttled_time", "throttled_usec")
            .map(|time| if seat.is_some_and(|seat| seat.is_v2) { time } else { time / 1000 }),
        quota: seat.map_or(Ok(None), |seat| limits::PROCESSORS.held(seat)),
        weight: seat.and_then(|seat| seat.number("cpu.shares", "cpu.weight")),
    })
}

fn pids(seat: &Seat) -> Option<Pids> {
    let current = seat.number("pids.current", "pids.current")?;
    Some(Pids { current, limit: limits::PROCESSES.held(seat) })
}

fn facts(subject: &Subject) -> Facts {
    Facts {
        memory: subject.seat("memory").and_then(memory),
        cpu: cpu(subject),
        pids: subject.seat("pids").and_then(pids),
    }
}

fn place(seat: Option<&Seat>) -> String {
    seat.map_or_else(String::new, |seat| format!("{} (version {})", seat.directory.display(), seat.version()))
}

/// Who sets a limit, seen from the group for which it holds.
fn setter(seat: Option<&Seat>, by: &Path) -> String {
    let own = seat.is_some_and(|seat| seat.directory == by);
    if own { "set by this group itself".to_owned() } else { format!("set above, by {}", by.display()) }
}

fn report(subject: &Subject, context: &Context) -> String {
    let mut sheet = Sheet::new(context.style);
    sheet.title("cutaway cgroup stat", &subject.title);
    let facts = facts(subject);
    let missing = |name: &str| format!("no group here counts {name}");
    sheet.heading("memory", &place(subject.seat("memory")));
    match &facts.memory {
        Some(memory) => memory_rows(memory, subject, &mut sheet),
        None => {
            sheet
                .prose(&missing("memory: the top group has no such numbers, or the controller is not there"));
        }
    }
    sheet.heading("processor time", &place(subject.seat("cpu")));
    match &facts.cpu {
        Some(cpu) => cpu_rows(cpu, subject, &mut sheet),
        None => sheet.prose(&missing("processor time")),
    }
    sheet.heading("processes", &place(subject.seat("pids")));
    match &facts.pids {
        Some(pids) => {
            sheet.row("now", &pids.current.to_string(), "pids.current; threads count too");
            limit_row(&mut sheet, &pids.limit, subject.seat("pids"), |limit| limit.amount.to_string());
        }
        None => sheet
            .prose(&missing("processes: the top group has no such number, or the controller is not there")),
    }
    pressure_rows(subject, &mut sheet);
    sheet.text
}

fn limit_row(sheet: &mut Sheet, held: &InEffect, seat: Option<&Seat>, shown: impl Fn(Limit) -> String) {
    match held {
        Ok(Some(held)) => sheet.row("limit in effect", &shown(held.limit), &setter(seat, &held.by)),
        Ok(None) => sheet.row("limit in effect", "none", "no group from here to the top sets one"),
        Err(why) => sheet.row("limit in effect", "unknown", why),
    }
}

fn memory_rows(memory: &Memory, subject: &Subject, sheet: &mut Sheet) {
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
    limit_row(sheet, &memory.limit, seat, |limit| mebibytes(limit.amount));
    sheet.prose(
        "The limit is compared with the usage, page cache and all. `docker stats` leaves out the pages of files \
         that were not used lately: active ones stay in, although they would be given back too, so it says more \
         than the processes need and less than what counts.",
    );
}

fn cpu_rows(cpu: &Cpu, subject: &Subject, sheet: &mut Sheet) {
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
    limit_row(sheet, &cpu.quota, subject.seat("cpu"), |limit| format!("{} cpus", limit.processors()));
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

fn as_json(subject: &Subject) -> Json {
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
        "memory": facts.memory.map(|memory| json!({
            "usage": memory.usage,
            "inactive_file": memory.inactive_file,
            "as_docker_stats": as_docker(&memory),
            "anon": memory.anon,
            "file": memory.file,
            "peak": memory.peak,
            "oom_kill": memory.killed,
            "in_effect": held(&memory.limit, amount),
        })),
        "cpu": facts.cpu.map(|cpu| json!({
            "used_us": cpu.used_us,
            "nr_throttled": cpu.throttled,
            "throttled_us": cpu.throttled_us,
            "weight": cpu.weight,
            "quota_in_hundredths": held(&cpu.quota, |limit| limit.parts(100)),
        })),
        "pids": facts.pids.map(|pids| json!({
            "current": pids.current,
            "in_effect": held(&pids.limit, amount),
        })),
    })
}

/// The meters of a group, for watching.
fn meters(subject: &Subject) -> Vec<Meter> {
    let mut all = Vec::new();
    if let Some(seat) = subject.seat("memory") {
        let file = seat.directory.join(if seat.is_v2 { "memory.current" } else { "memory.usage_in_bytes" });
        let meter = Meter::file("memory", file, Unit::Bytes);
        all.push(match limits::MEMORY.held(seat) {
            Ok(Some(held)) => meter.full(held.limit.amount),
            _ => meter,
        });
    }
    let cpu = match (subject.seat("cpuacct"), subject.seats.iter().find(|seat| seat.is_v2)) {
        (Some(seat), _) => {
            Some(Meter::file("cpu", seat.directory.join("cpuacct.usage"), Unit::ShareOfNanoseconds))
        }
        (None, Some(seat)) => {
            Some(Meter::word("cpu", seat.directory.join("cpu.stat"), "usage_usec", Unit::Share))
        }
        (None, None) => None,
    };
    all.extend(cpu.map(|meter| meter.full(100)));
    if let Some(seat) = subject.seat("pids") {
        all.push(Meter::file("pids", seat.directory.join("pids.current"), Unit::Count));
    }
    all
}

/// Reads again and again, and writes a line for each reading. It only looks: Ctrl-C may end it at any moment.
fn watch(subject: &Subject, every: Duration, count: Option<u32>, context: &Context) -> Stage {
    let (style, json, meters) = (context.style, context.json, meters(subject));
    let ms = u32::try_from(every.as_millis()).unwrap_or(u32::MAX);
    let gone: Vec<_> = subject.seats.iter().map(|seat| seat.directory.clone()).collect();
    Stage::Stream(Box::new(move |out: &mut dyn Write| {
        let scales: Vec<Scale> = meters
            .iter()
            .map(|meter| {
                let unit = if meter.unit.is_share() { Unit::Share } else { meter.unit };
                Scale { name: meter.name.to_string(), unit, full: meter.full }
            })
            .collect();
        let chart = Chart::new(&scales, ms, &style);
        let mut series = crate::probe::meter::Series::new(meters);
        let begun = std::time::Instant::now();
        let write = |out: &mut dyn Write, text: &str| {
            let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
            written.map_err(|cause| Error::io("could not write to stdout", &cause))
        };
        if !json {
            write(out, &chart.heading(&style))?;
        }
        for number in 0.. {
            if let Some(group) = gone.iter().find(|group| !group.exists()) {
                return Err(Error::new(format!("the group {} is gone", group.display()))
                    .rule("it was removed, which is possible once no process is in it"));
            }
            let (_, values) = series.read();
            let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            let line = if json {
                format!("{}\n", json!({ "ms": ms, "values": values }))
            } else {
                chart.row(ms, &values, &style)
            };
            write(out, &line)?;
            if count.is_some_and(|count| number + 1 >= count) {
                break;
            }
            std::thread::sleep(every);
        }
        Ok(())
    }))
}

/// One line of `cutaway stats`.
pub struct Row {
    /// The container.
    pub name: String,
    /// Its processor time now, in microseconds.
    pub cpu_us: Option<u64>,
    /// Its memory as `docker stats` has it, and all of it.
    pub memory: Option<(u64, u64)>,
    /// The limit in effect.
    pub limit: Option<u64>,
    /// Its processes.
    pub pids: Option<u64>,
}

/// The containers that run now, with the groups that they have.
pub fn containers(context: &Context) -> Vec<Row> {
    let names = std::fs::read_dir(context.state.join("containers")).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| journal::is_alive(&context.state, name));
    names.sort();
    names.into_iter().map(|name| row(name, context)).collect()
}

/// The limit on memory; none also where the group has gone meanwhile.
fn limit(memory: &Memory) -> Option<u64> {
    memory.limit.as_ref().ok()?.as_ref().map(|held| held.limit.amount)
}

fn row(name: String, context: &Context) -> Row {
    let own = format!("cutaway-{name}");
    let seats = seat::named(&|found| found == own, context.here.mounts());
    let subject = Subject { title: String::new(), seats };
    let facts = facts(&subject);
    Row {
        name,
        cpu_us: facts.cpu.and_then(|cpu| cpu.used_us),
        limit: facts.memory.as_ref().and_then(limit),
        memory: facts.memory.map(|memory| (as_docker(&memory), memory.usage)),
        pids: facts.pids.map(|pids| pids.current),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_docker_shows_is_usage_without_inactive_file_pages() {
        let memory = Memory {
            usage: 100,
            inactive_file: 30,
            anon: 0,
            file: 0,
            peak: None,
            killed: None,
            limit: Ok(None),
        };
        assert_eq!(as_docker(&memory), 70);
        assert_eq!(as_docker(&Memory { usage: 10, ..memory }), 0, "the numbers are not read at one moment");
    }

    #[test]
    fn this_process_has_a_report() {
        let context = Context::new("/nonexistent".into(), false, false);
        let Ok(subject) = find(None, &context) else { return };
        let text = report(&subject, &context);
        assert!(text.contains("memory") && text.contains("pressure"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() < 80 || line.contains('/')), "{text}");
        assert!(as_json(&subject)["groups"].is_array());
        assert!(find(Some(OsStr::new("no-such-container")), &context).is_err());
        assert!(find(Some(OsStr::new("/etc")), &context).is_err());
        assert!(find(Some(OsStr::new("999999999")), &context).is_err());
    }

    #[test]
    fn seconds_have_a_range() {
        assert_eq!(seconds("0.5").unwrap(), Duration::from_millis(500));
        for bad in ["0", "-1", "x", "1e9", "nan"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
