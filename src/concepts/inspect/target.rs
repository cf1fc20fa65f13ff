//! Which process is meant.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use crate::error::{Error, Result};
use crate::probe::subject::{self, Subject};
use crate::state::journal;

/// A process to look into.
#[derive(Debug, Clone)]
pub struct Target {
    /// As it was typed.
    pub typed: String,
    /// How the process was found, where that was not by its pid.
    pub found: Option<String>,
    /// The process.
    pub subject: Subject,
}

impl Target {
    /// Finds it: a number is a pid; a name is a running container of ours, or what another engine or systemd has put
    /// into a group of that name.
    pub fn find(typed: &OsStr, state: &Path) -> Result<Self> {
        let typed = typed.to_string_lossy().into_owned();
        if let Ok(pid) = typed.parse::<i32>() {
            return Ok(Self { subject: process(pid)?, typed, found: None });
        }
        if let Some(pid) = journal::process_of(state, &typed) {
            let found = Some(format!("the first process of cutaway's container {typed}"));
            return Ok(Self { subject: process(pid)?, typed, found });
        }
        let members = subject::in_group_named(&typed);
        let Some(first) = members.first() else { return Err(unknown(&typed, state)) };
        let others = members.len() - 1;
        let also = if others == 0 { String::new() } else { format!(", with {others} more in it") };
        let found = Some(format!("the first process in the group {typed}{also}"));
        Ok(Self { subject: process(*first)?, typed, found })
    }

    pub fn pid(&self) -> i32 {
        self.subject.pid
    }
}

fn process(pid: i32) -> Result<Subject> {
    Subject::find(pid).map_err(|cause| {
        let ended = matches!(cause.kind(), io::ErrorKind::NotFound) || cause.raw_os_error() == Some(3);
        if ended {
            return Error::new(format!("there is no process {pid}"))
                .rule(
                    "a pid belongs to a pid namespace: what another one calls by this number may have another number \
                     here, or cannot be seen from here at all",
                )
                .remedy("`ps -e` lists the processes that there are here")
                .chapter("1");
        }
        Error::io(format!("cannot look into process {pid}"), &cause)
            .rule("/proc hides the processes of other users here (its mount option hidepid)")
            .remedy("as root, or as the user whose process it is")
            .chapter("1")
    })
}

fn unknown(typed: &str, state: &Path) -> Error {
    let live = journal::live(state);
    let ours = if live.is_empty() {
        format!("no container runs whose state is in {}", state.display())
    } else {
        format!("these run whose state is in {}: {}", state.display(), live.join(", "))
    };
    Error::new(format!("there is no container {typed}"))
        .rule(format!("{ours}; and no process is in a group of that name"))
        .remedy("give a pid, the beginning of a container's id (6 digits or more), a unit of systemd, or --state DIR")
        .chapter("1")
}
