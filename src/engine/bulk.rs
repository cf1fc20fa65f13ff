//! Bulk work: what takes thousands of calls is done by library code and told as a summary with counts that
//! were measured while it was done.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::image::find::find;
use crate::image::reference::{Name, Reference};
use crate::image::source::Image;
use crate::image::stack::{self, Placed};
use crate::image::store::{self, LayerReport, Progress, Store, unpack_as_user, unpack_within};
use crate::image::unpack::Limits;
use crate::image::{demo, listing, source, unpack};
use crate::plan::Bulk;
use crate::report::event::Event;
use crate::report::gauge::Gauge;
use crate::state;
use crate::sys::process::Processes;
use crate::sys::tree::{self, Tally};

use super::{Engine, Flow, wait};

/// What bulk work came to.
#[derive(Debug, Default)]
struct Summary {
    subject: String,
    /// What was done, by name.
    counts: BTreeMap<String, u64>,
    /// How many system calls of which kind were made.
    calls: BTreeMap<String, u64>,
    /// What could not be kept or was left out.
    remarks: Vec<String>,
    /// How long it took, where one piece of work has several summaries.
    us: Option<u64>,
}

impl<K: Processes + 'static> Engine<K> {
    /// Does the bulk work of a step.
    pub(super) fn work(&mut self, id: &str, work: &Bulk) -> Flow {
        let done = self.bulk(id, work, false);
        // Work that stopped because of a signal failed for that reason and no other.
        if done.is_err() {
            self.check_signals()?;
        }
        done.map_err(|error| self.failed(id, error))
    }

    /// Does bulk work and tells its summary. A rehearsal only pretends.
    pub(super) fn bulk(&mut self, id: &str, work: &Bulk, undo: bool) -> Result<()> {
        if !self.kernel.is_real() {
            return Ok(());
        }
        let begun = Instant::now();
        // Undoing is not interrupted.
        let signals = if undo { None } else { self.signals.as_ref().map(wait::Signals::raw) };
        let gauge = self.observers.iter().find_map(|observer| observer.gauge(what(work)));
        let summaries = perform(work, &Watch { signals, gauge })?;
        let us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        for summary in summaries {
            self.emit(|engine| Event::Bulk {
                step: id.to_owned(),
                actor: engine.actor.to_owned(),
                what: what(work).to_owned(),
                subject: summary.subject,
                counts: summary.counts,
                calls: summary.calls,
                us: summary.us.unwrap_or(us),
                undo,
                remarks: summary.remarks,
            });
        }
        Ok(())
    }
}

/// The name of the work in the recording.
fn what(work: &Bulk) -> &'static str {
    match work {
        Bulk::RemoveTree { .. } => "remove tree",
        Bulk::EmptyGroup { .. } => "empty cgroup",
        Bulk::EndWork { .. } => "end work in",
        Bulk::KillProcess { .. } => "kill process",
        Bulk::RestoreTerminal { .. } => "restore terminal",
        Bulk::LoadImage { .. } => "load image",
        Bulk::BuildDemo { .. } => "build demo image",
        Bulk::UnpackImage { .. } => "unpack image",
        Bulk::UnpackLayers { .. } => "unpack",
        Bulk::ExtractFile { .. } => "extract file",
        Bulk::ForgetJournal { .. } => "remove journal",
        Bulk::RemoveImage { .. } => "remove image",
        Bulk::SweepStore { .. } => "sweep store",
    }
}

/// Does the work. Its summary is one, except where layers are told one by one.
fn perform(work: &Bulk, watch: &Watch) -> Result<Vec<Summary>> {
    if let Bulk::UnpackLayers { source, platform, into, limits, state } = work {
        let image = find(source, state, platform.as_deref())?;
        let placed = stack::unpack_all(&image, into, limits, watch)?;
        return Ok(placed.iter().map(of_placed).collect());
    }
    perform_one(work, watch).map(|summary| vec![summary])
}

fn perform_one(work: &Bulk, watch: &Watch) -> Result<Summary> {
    match work {
        Bulk::RemoveTree { path } => remove_tree(path),
        Bulk::EmptyGroup { path } => empty_group(path),
        Bulk::EndWork { within } => end_work(within),
        Bulk::KillProcess { pid, started } => kill_process(*pid, *started),
        Bulk::LoadImage { source, name, limits, state } => {
            load(source, name.as_deref(), limits, state, watch)
        }
        Bulk::RestoreTerminal { path, settings } => {
            settings.restore(path);
            let counts = one("terminals");
            Ok(Summary { subject: path.display().to_string(), counts, ..Summary::default() })
        }
        Bulk::BuildDemo { state } => build_demo(state, watch),
        Bulk::UnpackImage { name, state } => unpack_image(name, state, watch),
        Bulk::RemoveImage { name, state } => remove_image(name, state),
        Bulk::SweepStore { state } => sweep_store(state),
        Bulk::ExtractFile { source, platform, layer, offset, ratio, to, state } => {
            let image = find(source, state, platform.as_deref())?;
            extract_file(&image, *layer, (*offset, *ratio), to)
        }
        // Told layer by layer.
        Bulk::UnpackLayers { .. } => Ok(Summary::default()),
        Bulk::ForgetJournal { name, state } => {
            state::journal::forget(state, name)?;
            Ok(Summary { subject: name.clone(), counts: one("journals"), ..Summary::default() })
        }
    }
}

/// One thing was worked on.
fn one(what: &str) -> BTreeMap<String, u64> {
    BTreeMap::from([(what.to_owned(), 1)])
}

/// Stops long work when a signal is waiting to be read, and shows how far it is.
struct Watch {
    signals: Option<RawFd>,
    gauge: Option<Gauge>,
}

impl Progress for Watch {
    fn event(&self, event: &store::Event<'_>) {
        let Some(gauge) = &self.gauge else { return };
        match event {
            store::Event::Waiting => gauge.wait_for("waiting for another cutaway, which writes to the store"),
            store::Event::Planned { bytes } => gauge.expect(*bytes),
            store::Event::Read { bytes, .. } => gauge.add(*bytes),
            store::Event::Started { .. } | store::Event::Finished(_) => {}
        }
    }

    fn cancelled(&self) -> bool {
        self.signals.is_some_and(wait::is_readable)
    }
}

fn calls_of(tally: &Tally) -> BTreeMap<String, u64> {
    tally.rows().filter(|(_, count)| *count > 0).map(|(name, count)| (name.to_owned(), count)).collect()
}

fn remove_tree(path: &Path) -> Result<Summary> {
    let mut tally = Tally::default();
    tree::remove_tree(path, &mut tally)?;
    Ok(Summary { subject: path.display().to_string(), calls: calls_of(&tally), ..Summary::default() })
}

/// Kills what is left in a cgroup. A directory that is gone holds nothing.
fn empty_group(path: &Path) -> Result<Summary> {
    let begun = Instant::now();
    let mut summary = Summary { subject: path.display().to_string(), ..Summary::default() };
    thaw(path, &mut summary);
    loop {
        let Ok(text) = std::fs::read_to_string(path.join("cgroup.procs")) else { return Ok(summary) };
        let pids: Vec<i32> = text.lines().filter_map(|line| line.parse().ok()).collect();
        if pids.is_empty() {
            return Ok(summary);
        }
        if begun.elapsed() > Duration::from_secs(5) {
            return Err(Error::new(format!("processes in {} do not die: {pids:?}", path.display())));
        }
        for pid in pids {
            kill(pid, &mut summary);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The file that thaws a group, where the freezer of version 1 holds it.
pub(super) fn held(group: &Path) -> Option<PathBuf> {
    let file = group.join("freezer.state");
    std::fs::read_to_string(&file).is_ok_and(|state| state.trim() != "THAWED").then_some(file)
}

/// A process that the freezer of version 1 holds does not die before it is thawed.
fn thaw(path: &Path, summary: &mut Summary) {
    if let Some(file) = held(path)
        && let Ok(mut open) = std::fs::OpenOptions::new().write(true).open(&file)
    {
        *summary.calls.entry("write".to_owned()).or_default() += 1;
        // If it is refused, the processes do not die, and that is said.
        let _ = open.write_all(b"THAWED");
    }
}

/// Kills a process, unless its number belongs to another one by now.
fn kill_process(pid: i32, started: u64) -> Result<Summary> {
    let begun = Instant::now();
    let mut summary = Summary { subject: format!("pid {pid}"), ..Summary::default() };
    while crate::probe::start_time(pid) == Some(started) {
        if begun.elapsed() > Duration::from_secs(5) {
            return Err(Error::new(format!("process {pid} does not die")));
        }
        kill(pid, &mut summary);
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(summary)
}

/// Kills whoever works in a directory. Who dies may leave children behind that work there too, so it is looked
/// again until nobody is found.
fn end_work(within: &Path) -> Result<Summary> {
    let begun = Instant::now();
    let mut summary = Summary { subject: within.display().to_string(), ..Summary::default() };
    // A lab's group may be frozen, by the link that leads to it.
    thaw(&within.join("group"), &mut summary);
    let mut told = BTreeSet::new();
    let mut sure = false;
    loop {
        let all = crate::probe::work::to_end(within);
        // What was forked in the moment of a killing, or becomes another program right now, is seen by a second look.
        if all.is_empty() && !told.is_empty() && !sure {
            sure = true;
            std::thread::sleep(Duration::from_millis(2));
            continue;
        }
        sure = false;
        if all.is_empty() {
            summary.counts.insert("processes".to_owned(), told.len() as u64);
            return Ok(summary);
        }
        if begun.elapsed() > Duration::from_secs(5) {
            let names: Vec<_> = all.iter().map(|one| format!("{} ({})", one.pid, one.name)).collect();
            return Err(Error::new(format!("processes in {} do not die", within.display()))
                .rule(format!("still there: {}", names.join(", "))));
        }
        for one in all {
            told.insert((one.pid, one.started));
            let _ = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(one.pid),
                nix::sys::signal::Signal::SIGKILL,
            );
            *summary.calls.entry("kill".to_owned()).or_default() += 1;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn kill(pid: i32, summary: &mut Summary) {
    let killed = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    *summary.calls.entry("kill".to_owned()).or_default() += 1;
    // A process that has died meanwhile is what was wanted.
    if killed.is_ok() {
        *summary.counts.entry("processes".to_owned()).or_default() += 1;
    }
}

fn load(typed: &OsStr, name: Option<&str>, limits: &Limits, state: &Path, watch: &Watch) -> Result<Summary> {
    let Reference::Path(path) = Reference::parse(typed)? else {
        return Err(Error::new(format!("cannot load {}", typed.display())).rule("it is not a path"));
    };
    let image = source::open(&path, &source::Options::default())?;
    let unpack = |reader: &mut dyn Read, into: &Path, lowest| unpack_within(limits, reader, into, lowest);
    let report = Store::open(state).within(limits).load(&image, name, &unpack, watch)?;
    let mut summary = of_layers(&report.layers);
    summary.subject = report.name.unwrap_or_else(|| report.digest.to_string());
    Ok(summary)
}

fn build_demo(state: &Path, watch: &Watch) -> Result<Summary> {
    let demo = demo::ensure(&Store::open(state), &unpack_as_user, watch)?;
    let Some((taken, report)) = demo.made else {
        return Ok(Summary { subject: demo::NAME.to_owned(), ..Summary::default() });
    };
    let mut summary = of_layers(&report.layers);
    demo::NAME.clone_into(&mut summary.subject);
    summary.counts.insert("programs taken".to_owned(), taken.programs.len() as u64);
    summary.counts.insert("libraries taken".to_owned(), taken.libraries as u64);
    if !taken.missing.is_empty() {
        summary.remarks.push(format!("not on this machine: {}", taken.missing.join(", ")));
    }
    summary.remarks.extend(taken.skipped.iter().map(|(name, why)| format!("not taken: {name}, {why}")));
    Ok(summary)
}

fn unpack_image(name: &str, state: &Path, watch: &Watch) -> Result<Summary> {
    let store = Store::open(state);
    let image = store.find(&name.parse::<Name>()?)?;
    let reports = store.unpack_missing(&image, &unpack_as_user, watch)?;
    Ok(Summary { subject: name.to_owned(), ..of_layers(&reports) })
}

/// Copies one file to a new file, which is removed again if that fails.
fn extract_file(image: &Image, layer: usize, (offset, ratio): (u64, u64), to: &Path) -> Result<Summary> {
    let mut tally = Tally::default();
    let cannot = format!("cannot make {}", to.display());
    let name = to.file_name().ok_or_else(|| Error::new(cannot.clone()).rule("it is no name of a file"))?;
    let made = tally
        .open_start(to.parent().unwrap_or(Path::new("/")))
        .and_then(|dir| {
            let file = tally.create_file(dir.as_fd(), name.as_bytes(), 0o644);
            tally.close(dir);
            file
        })
        .map_err(|failed| {
            let error = failed.error(cannot, &name.to_string_lossy());
            match failed.errno {
                tree::Errno::EXIST => {
                    error.remedy("name a file that does not exist, or write to stdout: -o - > FILE")
                }
                _ => error,
            }
        })?;
    let mut copy = Counted { file: made, tally, bytes: 0 };
    if let Err(error) = listing::extract(image, layer.saturating_sub(1), offset, ratio, &mut copy) {
        // The first failure is the cause.
        let _ = std::fs::remove_file(to);
        return Err(error);
    }
    let counts = [("files".to_owned(), 1), ("bytes".to_owned(), copy.bytes)].into();
    copy.tally.close(copy.file);
    let calls = calls_of(&copy.tally);
    Ok(Summary { subject: to.display().to_string(), counts, calls, ..Summary::default() })
}

/// A file that is written with counted calls.
struct Counted {
    file: OwnedFd,
    tally: Tally,
    bytes: u64,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.tally.write_all(self.file.as_fd(), bytes);
        written.map_err(|failed| io::Error::from_raw_os_error(failed.errno.raw_os_error()))?;
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn of_placed(placed: &Placed) -> Summary {
    let mut summary = of_counts(&placed.unpacked.counts);
    summary.subject = format!("layer {} to {}", placed.number, placed.dir.display());
    summary.counts.insert("bytes read".to_owned(), placed.bytes);
    summary.us = Some(placed.us);
    if placed.unpacked.opaque_root {
        summary
            .remarks
            .push("it hides everything below it: leave the lower layers out of the mount".to_owned());
    }
    summary
}

fn of_layers(reports: &[LayerReport]) -> Summary {
    let mut total = unpack::Counts::default();
    reports.iter().filter_map(|report| report.unpacked.as_ref()).for_each(|counts| total.add(counts));
    let mut summary = of_counts(&total);
    if !reports.is_empty() {
        summary.counts.insert("bytes read".to_owned(), reports.iter().map(|report| report.bytes).sum());
    }
    summary.counts.insert("layers".to_owned(), reports.len() as u64);
    summary
}

/// `not_kept_owners` becomes `owners not kept: 1 (home/student)`.
fn remark(name: &str, noted: &unpack::Noted) -> String {
    let what = match name.strip_prefix("not_kept_") {
        Some(kept) => format!("{kept} not kept"),
        None => name.replace('_', " "),
    };
    let more = if noted.count > noted.examples.len() as u64 { ", …" } else { "" };
    format!("{what}: {} ({}{more})", noted.count, noted.examples.join(", "))
}

fn sweep_store(state: &Path) -> Result<Summary> {
    let swept = Store::open(state).sweep()?;
    let mut summary = Summary { subject: state.display().to_string(), ..Summary::default() };
    summary.counts.insert("entries".to_owned(), swept.len() as u64);
    Ok(summary)
}

fn of_counts(total: &unpack::Counts) -> Summary {
    let kinds = total.kinds().filter(|(_, count)| *count > 0);
    Summary {
        counts: kinds.map(|(name, count)| (name.replace('_', " "), count)).collect(),
        calls: calls_of(&total.tally),
        remarks: total.noted().map(|(name, noted)| remark(name, noted)).collect(),
        ..Summary::default()
    }
}

fn remove_image(name: &str, state: &Path) -> Result<Summary> {
    let in_use = |digest: &crate::image::Digest| state::journal::user_of(state, &digest.to_string());
    let report = Store::open(state).remove(&name.parse::<Name>()?, &in_use, &())?;
    let mut summary = Summary { subject: name.to_owned(), ..Summary::default() };
    summary.counts.insert("blobs".to_owned(), report.blobs);
    summary.counts.insert("bytes".to_owned(), report.blob_bytes);
    summary.counts.insert("layers".to_owned(), report.layers);
    summary.calls = calls_of(&report.tally);
    Ok(summary)
}
