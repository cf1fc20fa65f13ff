//! The events: what the engine says while it performs a plan. Each is one line of the JSON recording.
//!
//! This is a public contract: fields may be added, never renamed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::error::Parts;
use crate::probe::meter::Unit;

/// The version of the contract, in the `plan` event.
pub const VERSION: u32 = 1;

/// One event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the fields are described in the book's chapter on the recording")]
pub enum Event {
    /// A plan begins.
    Plan {
        command: Vec<String>,
        title: String,
        version: u32,
        steps: usize,
        notes: Vec<String>,
        needs: Vec<String>,
    },
    /// A step begins. `id` is hierarchical: `3`, and `3.1` for the first step of the child that 3 starts.
    Step { id: String, actor: String, say: String, why: String, chapter: Option<String> },
    /// A step has ended.
    StepDone { id: String, actor: String },
    /// A call was entered; its `call` event follows when it has returned.
    Entered { step: String, actor: String, pid: i32, syscall: String, text: String },
    /// A call returned. `undo` marks calls that take something back.
    Call {
        step: String,
        actor: String,
        pid: i32,
        syscall: String,
        /// What strace prints, up to the closing bracket.
        text: String,
        /// What strace prints after ` = `: the number, or `-1`.
        result: String,
        /// The errno's name.
        errno: Option<String>,
        /// Microseconds.
        us: u64,
        #[serde(default)]
        undo: bool,
        /// The errno is expected here and the plan goes on.
        #[serde(default)]
        allowed: bool,
        /// The result was not seen but concluded: exec's success from the closing of the report socket.
        #[serde(default)]
        inferred: bool,
    },
    /// Kernel state, read by the process that acted.
    State { step: String, actor: String, when: When, probe: String, value: Json },
    /// A claim was checked. `saw` is what was found instead when it does not hold.
    Claim { step: String, actor: String, claim: String, held: bool, saw: Option<String> },
    /// A step was not done, for a reason found while planning.
    Skipped { step: String, actor: String, why: String },
    /// A gate between parent and child was opened or passed, or a descriptor handed over.
    Gate { step: String, actor: String, text: String },
    /// Bulk work has ended: measured counts by name, and how many calls of which kind it took.
    Bulk {
        step: String,
        actor: String,
        what: String,
        subject: String,
        counts: BTreeMap<String, u64>,
        calls: BTreeMap<String, u64>,
        us: u64,
        #[serde(default)]
        undo: bool,
        /// What could not be kept or was left out, as sentences.
        #[serde(default)]
        remarks: Vec<String>,
    },
    /// Meters are about to be read again and again; the readings follow.
    Watch { step: String, actor: String, every: u32, meters: Vec<Scale> },
    /// The meters were read: milliseconds after the first reading, and the numbers by their names. Of a share, the
    /// percentage since the reading before.
    Reading { step: String, actor: String, ms: u64, values: Json },
    /// A signal arrived and was passed on or acted on.
    Signal { actor: String, signal: String, text: String },
    /// Undoing begins: how many steps will be taken back, and why.
    Undo { steps: usize, because: String },
    /// Undoing has ended.
    Undone { steps: usize, of: usize, left: Vec<String> },
    /// What was done stays: so many steps can be undone by this command.
    Kept { steps: usize, remedy: String },
    /// A process ended: the workload's wait status, then (actor `parent`) the command's exit code.
    Exit { actor: String, pid: i32, status: i32, signal: Option<String>, text: String },
    /// Something failed.
    Error { step: Option<String>, actor: String, error: Parts },
    /// The command is finished.
    Done { status: i32, us: u64 },
}

/// A meter as those see it who draw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scale {
    /// Its name.
    pub name: String,
    /// What it counts.
    pub unit: Unit,
    /// The number at which its bar is full.
    pub full: Option<u64>,
}

/// What stands in front of the name in a line of the recording.
const HEAD: &str = "{\"event\":\"";

impl Event {
    /// The line of the recording: `{"event":"call","step":…}`.
    ///
    /// Between processes an event travels as serde writes it by itself, `{"call":{"step":…}}`, because that is read
    /// back without looking for the name first: with hundreds of events in a run, that matters. The line holds the
    /// same name and the same fields.
    pub fn line(&self) -> serde_json::Result<String> {
        let outer = serde_json::to_string(self)?;
        let (name, fields) = outer[2..].split_once("\":{").unwrap_or_default();
        let fields = fields.strip_suffix('}').unwrap_or(fields);
        Ok([HEAD, name, "\",", fields].concat())
    }

    /// Reads a line of the recording.
    pub fn from_line(line: &str) -> serde_json::Result<Self> {
        let whole = line.trim_end().strip_prefix(HEAD).and_then(|rest| rest.split_once("\","));
        match whole {
            Some((name, fields)) => serde_json::from_str(&["{\"", name, "\":{", fields, "}"].concat()),
            // Not a line of a recording: serde says what is wrong with it.
            None => serde_json::from_str(line),
        }
    }
}

/// Whether state was read before or after the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Before the step's action.
    Before,
    /// After it.
    After,
    /// The step only looks.
    Now,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_its_event_first_and_is_read_back() {
        let done = Event::Done { status: 7, us: 12 };
        assert_eq!(done.line().unwrap(), r#"{"event":"done","status":7,"us":12}"#);
        let tricky = Event::Signal {
            actor: "\":{".to_owned(),
            signal: "}\",\"".to_owned(),
            text: "{\"event\":\"done\",".to_owned(),
        };
        for event in [done, tricky] {
            let line = event.line().unwrap();
            assert!(serde_json::from_str::<Json>(&line).unwrap()["event"].is_string());
            assert_eq!(Event::from_line(&line).unwrap(), event);
        }
        assert!(Event::from_line("{}").is_err());
    }
}
