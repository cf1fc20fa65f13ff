//! How far a student is with the labs: one small file in the state directory.
//!
//! It is cutaway's own note, like a journal, and no part of what a lab is about. It is written whole to a second
//! file that then takes the first one's place, so that a crash leaves the old note or the new one.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::make_private;
use crate::error::{Error, Result};

/// What is known of all labs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The lab that was started last.
    pub current: Option<String>,
    /// Each lab that was ever started, by its number.
    pub labs: BTreeMap<String, Record>,
}

/// What is known of one lab.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// How many of its stages are done since it was started.
    pub stages: usize,
    /// Whether all of it was ever done. A reset does not take this back.
    pub passed: bool,
    /// How many of its hints have been shown.
    pub hints: usize,
    /// The hint that the last failed check called for.
    pub last: Option<String>,
    /// What an earlier moment saw that a later one compares with.
    pub facts: BTreeMap<String, Json>,
}

/// The folder of everything about labs.
#[must_use]
pub fn folder(state: &Path) -> PathBuf {
    state.join("labs")
}

fn file(state: &Path) -> PathBuf {
    folder(state).join("progress.json")
}

impl Progress {
    /// Reads the note; without one, nothing was ever started.
    pub fn load(state: &Path) -> Result<Self> {
        let path = file(state);
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|cause| {
                Error::new(format!("{} is not what cutaway wrote there", path.display()))
                    .rule(cause.to_string())
                    .remedy("remove the file: only the ticks of labs that were passed are lost")
            }),
            Err(cause) if matches!(cause.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                Ok(Self::default())
            }
            Err(cause) => Err(Error::io(format!("cannot read {}", path.display()), &cause)),
        }
    }

    /// Writes the note.
    pub fn save(&self, state: &Path) -> Result<()> {
        let (path, new) = (file(state), folder(state).join("progress.new"));
        if !folder(state).is_dir() {
            make_private(&folder(state))?;
        }
        let text = serde_json::to_string_pretty(self)
            .map_err(|cause| Error::new(format!("could not encode the progress: {cause}")))?;
        let written = std::fs::File::create(&new)
            .and_then(|mut to| to.write_all(text.as_bytes()))
            .and_then(|()| std::fs::rename(&new, &path));
        written.map_err(|cause| Error::io(format!("cannot write {}", path.display()), &cause))
    }

    /// The note of one lab.
    #[must_use]
    pub fn of(&self, number: &str) -> Record {
        self.labs.get(number).cloned().unwrap_or_default()
    }

    /// Changes the note of one lab.
    pub fn note(&mut self, number: &str, change: impl FnOnce(&mut Record)) {
        change(self.labs.entry(number.to_owned()).or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_read_again() {
        let state = tempfile::tempdir().unwrap();
        let mut progress = Progress::load(state.path()).unwrap();
        assert_eq!(progress, Progress::default());
        progress.note("10", |record| record.passed = true);
        progress.save(state.path()).unwrap();
        assert!(Progress::load(state.path()).unwrap().of("10").passed);
        assert!(!progress.of("11").passed);
        std::fs::write(file(state.path()), "{").unwrap();
        assert!(Progress::load(state.path()).unwrap_err().to_string().contains("is not what cutaway wrote"));
    }
}
