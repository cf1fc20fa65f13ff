//! Bulk work: what takes thousands of calls is done by library code and told as a summary with counts that
//! were measured while it was done.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::plan::Bulk;
use crate::report::event::Event;
use crate::sys::process::Processes;

use super::Engine;

/// What bulk work came to.
#[derive(Debug, Default)]
pub(super) struct Summary {
    pub subject: String,
    pub counts: BTreeMap<String, u64>,
    /// How many system calls of which kind were made.
    pub calls: BTreeMap<String, u64>,
    pub remarks: Vec<String>,
}

impl<K: Processes + 'static> Engine<K> {
    /// Does bulk work and tells its summary. A rehearsal only pretends.
    pub(super) fn bulk(&mut self, id: &str, work: &Bulk, undo: bool) -> Result<()> {
        if !self.kernel.is_real() {
            return Ok(());
        }
        let begun = Instant::now();
        let summary = perform(work)?;
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
        Bulk::LoadImage { .. } => "load image",
        Bulk::BuildDemo { .. } => "build demo image",
        Bulk::UnpackImage { .. } => "unpack image",
        Bulk::RemoveImage { .. } => "remove image",
    }
}

fn perform(work: &Bulk) -> Result<Summary> {
    match work {
        Bulk::RemoveTree { path } => remove_tree(path),
        Bulk::EmptyGroup { path } => empty_group(path),
        Bulk::KillProcess { pid, started } => kill_process(*pid, *started),
        _ => Err(Error::new("not built yet")),
    }
}

fn remove_tree(path: &Path) -> Result<Summary> {
    let _ = std::fs::remove_dir_all(path);
    Ok(Summary { subject: path.display().to_string(), ..Summary::default() })
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
