//! The plan: everything a command is going to do, as a value.
//!
//! A command does not act while it talks. It builds a [`Plan`], and the engine either prints it
//! (`--explain`) or performs it, so that what is shown, what is done and what is recorded are one and the
//! same. Nothing here has an effect.
//!
//! Prose is `&'static str`: a sentence cannot carry a value, so no value can be wrong in it. Values appear
//! in calls, claims and probes only.

mod build;
pub mod calls;
mod check;
pub mod number;
mod undo;
pub mod watch;

use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use build::{Attempt, Call};
pub use undo::Undo;
pub use watch::{Ending, Finding, Until, Watch};

use crate::image::unpack::Limits;
pub use crate::probe::{Claim, FileClaim, Probe};
use crate::sys::{Slot, Syscall};

/// All that a command does, step by step, in the order in which it is read and performed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// What the steps do together, for the heading: `run demo`.
    pub title: String,
    /// The container or run that the journal is named after; a second live run of that name is refused.
    pub name: Option<String>,
    /// The digest of the image that must not be removed while the plan runs.
    pub uses: Option<String>,
    /// Which way was taken on this host and why: `cgroup: hybrid; memory and pids are v1 here`.
    pub notes: Vec<String>,
    /// The privileges without which some step will be refused.
    pub needs: Vec<&'static str>,
    /// Whether all children end by themselves, without waiting for anything: then none is written into the journal to be
    /// killed, and a plan that changes nothing else needs no state directory.
    #[serde(default)]
    pub fleeting: bool,
    /// Where the journal is kept when what the steps made is to outlast the command, whatever became of a program that it
    /// has run; without it, everything is undone at the end.
    pub stays: Option<PathBuf>,
    /// The steps.
    pub steps: Vec<Step>,
}

/// One sentence of the story, and the calls that prove it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// What is done: one imperative sentence without a full stop.
    pub say: &'static str,
    /// The reason, the same in `--explain` and when performed.
    pub why: &'static str,
    /// The chapter that explains it.
    pub chapter: Option<&'static str>,
    /// What is done.
    pub action: Action,
    /// How it is undone; written to the journal before the action, replayed in reverse.
    pub undo: Vec<Undo>,
    /// Effects that `why` asserts, checked after the step.
    pub expect: Vec<Claim>,
    /// State that is shown before and after.
    pub look_at: Vec<Probe>,
    /// What to try when an effect does not hold, where that is not a fault of cutaway.
    pub otherwise: Option<&'static str>,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum Action {
    /// System calls, one after the other.
    Calls(Vec<Call>),
    /// A child process that performs a plan of its own, while the parent performs another.
    Spawn(Box<Spawn>),
    /// Parent and child wait for each other.
    Gate(Gate),
    /// Thousands of calls, told as a summary with measured counts.
    Bulk(Bulk),
    /// The process becomes another program; nothing of the plan follows it.
    Exec(Vec<Syscall>),
    /// The process closes its report socket and makes this one call, which may last longer than its parent
    /// does; then it exits.
    Part(Syscall),
    /// Wait until the child ends, passing on signals and, with a terminal, what is typed and printed.
    Wait(Wait),
    /// Read meters again and again while something runs.
    Watch(Watch),
    /// Only look: show the state that `look_at` names.
    Look,
    /// Nothing, for a reason that was found while planning.
    Skip(String),
}

/// A child process and what both sides do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Spawn {
    /// The call that makes the child: clone3.
    pub clone: Syscall,
    /// Where the child's pid is stored.
    pub into: Slot,
    /// The name of the child's lane: `child`, `init`.
    pub actor: &'static str,
    /// What the child does. It ends with [`Action::Exec`], or the child exits with 0.
    pub child: Vec<Step>,
    /// What the parent does meanwhile.
    pub meanwhile: Vec<Step>,
}

/// How parent and child wait for each other. Gates are the engine's own plumbing: bytes on the report socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Gate {
    /// Let the other side pass the gate of this name.
    Open(&'static str),
    /// Wait until the other side opens the gate of this name.
    Pass(&'static str),
    /// Hand an open descriptor to the parent.
    Hand(Slot),
    /// Take the descriptor that the child hands over, and store it.
    Take(Slot),
    /// Make sure that the parent is still alive: its end of the report socket is open.
    ParentLives,
}

/// How the parent waits for the end of the child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Wait {
    /// The child.
    pub pid: Slot,
    /// The master side of the child's terminal, if it has one.
    pub terminal: Option<Slot>,
    /// Whether this process is PID 1 of the container and also reaps what is orphaned to it.
    pub as_init: bool,
    /// Only until the child has stopped reporting: with an exec, or because it parts.
    pub only_reports: bool,
}

impl Wait {
    /// Waits for the end of this child.
    #[must_use]
    pub const fn end(pid: Slot) -> Self {
        Self { pid, terminal: None, as_init: false, only_reports: false }
    }

    /// Waits until this child has stopped reporting.
    #[must_use]
    pub const fn reports(pid: Slot) -> Self {
        Self { pid, terminal: None, as_init: false, only_reports: true }
    }
}

/// Work of thousands of calls, which is told as a summary with measured counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bulk {
    /// Remove a directory and everything below it.
    RemoveTree {
        /// The directory.
        #[serde(with = "crate::sys::value::path")]
        path: PathBuf,
    },
    /// Kill every process of a cgroup and wait until it is empty.
    EmptyGroup {
        /// The directory of the cgroup.
        #[serde(with = "crate::sys::value::path")]
        path: PathBuf,
    },
    /// End every process that works in a directory: its working directory, its root or an open file is there.
    EndWork {
        /// The directory.
        #[serde(with = "crate::sys::value::path")]
        within: PathBuf,
    },
    /// Kill a process, if it still is the one that was started then.
    KillProcess {
        /// Its pid.
        pid: i32,
        /// Its start time in clock ticks after boot (field 22 of `proc_pid_stat(5)`); no later process shares it.
        started: u64,
    },
    /// Put a terminal's settings back.
    RestoreTerminal {
        /// The terminal's device.
        #[serde(with = "crate::sys::value::path")]
        path: PathBuf,
        /// Its settings, as tcgetattr(3) gave them.
        settings: crate::sys::terminal::Settings,
    },
    /// Copy an image into the store, verify every digest, and unpack its layers.
    LoadImage {
        /// What the user named: a path, a transport and path.
        source: OsString,
        /// The name it gets in the store.
        name: Option<String>,
        /// How much a layer may hold.
        limits: Limits,
        /// The state directory.
        #[serde(with = "crate::sys::value::path")]
        state: PathBuf,
    },
    /// Build the demo image from programs of this machine, into the store, and unpack its layers.
    BuildDemo {
        /// The state directory.
        #[serde(with = "crate::sys::value::path")]
        state: PathBuf,
    },
    /// Unpack the layers of an image of the store that are not unpacked yet.
    UnpackImage {
        /// Its name in the store.
        name: String,
        /// The state directory.
        #[serde(with = "crate::sys::value::path")]
        state: PathBuf,
    },
    /// Unpack every layer of an image to a directory of its own, below one that is made or empty.
    UnpackLayers {
        /// What the user named.
        source: OsString,
        /// For which platform.
        platform: Option<String>,
        /// The directory.
        #[serde(with = "crate::sys::value::path")]
        into: PathBuf,
        /// How much a layer may hold.
        limits: Limits,
        /// The state directory.
        #[serde(with = "crate::sys::value::path")]
        state: PathBuf,
    },
    /// Copy one file out of one layer.
    ExtractFile {
        /// What the user named.
        source: OsString,
        /// For which platform.
        platform: Option<String>,
        /// The layer, counted from 1.
        layer: usize,
        /// The place of the file's header in the plain archive.
        offset: u64,
        /// How many times larger than it is stored the layer may become.
        ratio: u64,
        /// The file to make.
        #[serde(with = "crate::sys::value::path")]
        to: PathBuf,
        /// The state directory.
        #[serde(with = "crate::sys::value::path")]
        state: PathBuf,
    },
    /// Remove the journal of a dead run: everything in it is undone.
    ForgetJournal {
        /// The name of the run.
        name: String,
        /// The state directory.
        #[serde(with = "crate::sys::value::path")]
        state: PathBuf,
    },
    /// Remove what interrupted loads have left in the store.
    SweepStore {
        /// The state directory.
        #[serde(with = "crate::sys::value::path")]
        state: PathBuf,
    },
    /// Remove an image from the store, with everything that no other image uses.
    RemoveImage {
        /// Its name in the store.
        name: String,
        /// The state directory.
        #[serde(with = "crate::sys::value::path")]
        state: PathBuf,
    },
}

impl Plan {
    /// A plan with this title and no steps yet.
    #[must_use]
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            name: None,
            uses: None,
            notes: Vec::new(),
            needs: Vec::new(),
            fleeting: false,
            stays: None,
            steps: Vec::new(),
        }
    }

    /// How many steps it has, those of children included.
    #[must_use]
    pub fn count(&self) -> usize {
        fn count(steps: &[Step]) -> usize {
            steps.iter().map(|step| 1 + step.children().map(count).sum::<usize>()).sum()
        }
        count(&self.steps)
    }
}

impl Step {
    /// The plans below this step: what the parent does meanwhile, then what the child does.
    pub fn children(&self) -> impl Iterator<Item = &[Step]> {
        let spawn = match &self.action {
            Action::Spawn(spawn) => Some(spawn),
            _ => None,
        };
        spawn.into_iter().flat_map(|spawn| [spawn.meanwhile.as_slice(), spawn.child.as_slice()])
    }
}
