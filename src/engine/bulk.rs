//! Bulk work: what takes thousands of calls is done by library code and told as a summary with counts that
//! were measured while it was done.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::RawFd;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::image::reference::{Name, Reference};
use crate::image::store::{LayerReport, Progress, Store, unpack_as_user, unpack_within};
use crate::image::unpack::Limits;
use crate::image::{demo, source, unpack};
use crate::plan::Bulk;
use crate::report::event::Event;
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
        let summary = perform(work, signals)?;
        let us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.emit(|engine| Event::Bulk {
            step: id.to_owned(),
            actor: engine.actor.to_owned(),
            what: what(work).to_owned(),
            subject: summary.subject,
            counts: summary.counts,
            calls: summary.calls,
            us,
            undo,
            remarks: summary.remarks,
        });
        Ok(())
    }
}

/// The name of the work in the recording.
fn what(work: &Bulk) -> &'static str {
    match work {
        Bulk::RemoveTree { .. } => "remove tree",
        Bulk::EmptyGroup { .. } => "empty cgroup",
        Bulk::KillProcess { .. } => "kill process",
        Bulk::RestoreTerminal { .. } => "restore terminal",
        Bulk::LoadImage { .. } => "load image",
        Bulk::BuildDemo { .. } => "build demo image",
        Bulk::UnpackImage { .. } => "unpack image",
        Bulk::ForgetJournal { .. } => "remove journal",
        Bulk::RemoveImage { .. } => "remove image",
        Bulk::SweepStore { .. } => "sweep store",
    }
}

fn perform(work: &Bulk, signals: Option<RawFd>) -> Result<Summary> {
    let watch = Watch(signals);
    match work {
        Bulk::RemoveTree { path } => remove_tree(path),
        Bulk::EmptyGroup { path } => empty_group(path),
        Bulk::KillProcess { pid, started } => kill_process(*pid, *started),
        Bulk::LoadImage { source, name, limits, state } => {
            load(source, name.as_deref(), limits, state, &watch)
        }
        Bulk::RestoreTerminal { path, settings } => {
            settings.restore(path);
            Ok(Summary { subject: path.display().to_string(), ..Summary::default() })
        }
        Bulk::BuildDemo { state } => build_demo(state, &watch),
        Bulk::UnpackImage { name, state } => unpack_image(name, state, &watch),
        Bulk::RemoveImage { name, state } => remove_image(name, state),
        Bulk::SweepStore { state } => sweep_store(state),
        Bulk::ForgetJournal { name, state } => {
            state::journal::forget(state, name)?;
            Ok(Summary { subject: name.clone(), ..Summary::default() })
        }
    }
}

/// Stops long work when a signal is waiting to be read.
struct Watch(Option<RawFd>);

impl Progress for Watch {
    fn cancelled(&self) -> bool {
        self.0.is_some_and(wait::is_readable)
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
    let report = Store::open(state).load(&image, name, &unpack, watch)?;
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

fn of_layers(reports: &[LayerReport]) -> Summary {
    let mut total = unpack::Counts::default();
    let mut summary = Summary::default();
    for report in reports {
        if let Some(counts) = &report.unpacked {
            total.add(counts);
        }
        *summary.counts.entry("bytes read".to_owned()).or_default() += report.bytes;
    }
    summary.counts.insert("layers".to_owned(), reports.len() as u64);
    let kinds = total.kinds().filter(|(_, count)| *count > 0);
    summary.counts.extend(kinds.map(|(name, count)| (name.replace('_', " "), count)));
    summary.calls = calls_of(&total.tally);
    summary.remarks = total.noted().map(|(name, noted)| remark(name, noted)).collect();
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
