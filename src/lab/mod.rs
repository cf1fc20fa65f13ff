//! The labs: what a student does by hand, and how the kernel's state shows that it is done.
//!
//! A lab is a folder below `labs/`: the task, hints, a solution, and a sheet (`lab.json`) that says what the lab
//! needs, what `start` prepares, and what must be seen when it is done. All of it travels in the binary. The sheet
//! is written in a closed vocabulary ([`need`], [`sheet`], [`check`]): a check reads what the kernel says now, and
//! nothing here knows which commands somebody typed.

pub mod check;
mod images;
pub mod need;
pub mod sheet;
mod spaces;
mod traits;
mod trial;

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::state::progress;

pub use sheet::Sheet;

/// The files of a lab, as they were built in.
#[derive(Debug, Clone, Copy)]
pub struct Source {
    /// The name of its folder: `10-rename`.
    pub name: &'static str,
    /// The task.
    pub readme: &'static str,
    /// The sheet.
    pub sheet: &'static str,
    /// Three hints, each below a heading of its own.
    pub hints: &'static str,
    /// A shell script that solves it.
    pub solution: &'static str,
    /// Files that `start` puts into the lab's directory: names and contents.
    pub files: &'static [(&'static str, &'static str)],
}

impl Source {
    /// The number of its chapter, two digits.
    #[must_use]
    pub fn number(&self) -> &'static str {
        number(self.name)
    }
}

/// Reads the files of a lab's folder at build time: `lab!("13-init", "workload")` has one file in `files/`.
macro_rules! lab {
    ($name:literal $(, $file:literal)*) => {
        Source {
            name: $name,
            readme: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/labs/", $name, "/README.md")),
            sheet: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/labs/", $name, "/lab.json")),
            hints: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/labs/", $name, "/hints.md")),
            solution: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/labs/", $name, "/solution.sh")),
            files: &[$((
                $file,
                include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/labs/", $name, "/files/", $file)),
            )),*],
        }
    };
}

/// Every lab, by its number: one line for each folder of `labs/`.
pub const ALL: &[Source] = &[
    lab!("00-may-i"),
    lab!("01-six-processes"),
    lab!("02-zombie"),
    lab!("03-first-program"),
    lab!("04-way-out", "enter"),
    lab!("05-grid", "grid"),
    lab!("06-three-bugs", "swap"),
    lab!("07-deleted", "secret"),
    lab!("08-upper", "lower/conf/a", "lower/docs/readme", "lower/motd", "lower/old", "prediction"),
    lab!("09-read-only", "source/page"),
    lab!("10-rename"),
    lab!("11-channel", "word"),
    lab!("12-two-lines"),
    lab!("13-init", "workload"),
    lab!("14-owners"),
    lab!("15-a-day"),
    lab!("16-real-path"),
    lab!("17-kept"),
    lab!("18-cable"),
    lab!("22-leaf"),
    lab!("23-page-cache", "reader"),
    lab!("24-bomb", "bomb"),
    lab!("25-frozen"),
    lab!("28-hidden"),
    lab!("30-leak", "runtime"),
    lab!("31-order", "order"),
    lab!("34-nothing-left"),
];

/// A lab, read.
#[derive(Debug, Clone)]
pub struct Lab {
    /// Its files.
    pub source: Source,
    /// Its sheet.
    pub sheet: Sheet,
    /// Its hints, from a first direction to nearly the command.
    pub hints: Vec<&'static str>,
}

impl Lab {
    /// Reads a lab's files.
    ///
    /// # Errors
    /// The sheet is not in the vocabulary: a fault of cutaway, which its tests find.
    pub fn read(source: &Source) -> Result<Self> {
        let sheet = serde_json::from_str(source.sheet).map_err(|cause| {
            Error::new(format!("the sheet of lab {} cannot be read", source.name))
                .rule(format!("labs/{}/lab.json: {cause}", source.name))
                .remedy("this is a fault of cutaway: please report it")
        })?;
        let tiers = source.hints.split("\n## ").skip(1);
        let text = |tier: &'static str| tier.split_once('\n').map_or("", |(_, text)| text.trim());
        Ok(Self { source: *source, sheet, hints: tiers.map(text).collect() })
    }

    /// All of them.
    pub fn all() -> Result<Vec<Self>> {
        ALL.iter().map(Self::read).collect()
    }

    /// The lab of this number; its whole name will do as well.
    pub fn find(word: &str) -> Result<Self> {
        let wanted = format!("{word:0>2}");
        let is = |source: &&Source| source.name == word || number(source.name) == wanted;
        let Some(source) = ALL.iter().find(is) else {
            let all: Vec<_> = ALL.iter().map(|source| number(source.name)).collect();
            return Err(Error::new(format!("there is no lab {word}"))
                .rule(format!("there are labs for the chapters {}", all.join(", ")))
                .remedy("`cutaway lab ls` lists them"));
        };
        Self::read(source)
    }

    /// The number of its chapter, two digits.
    #[must_use]
    pub fn number(&self) -> &'static str {
        self.source.number()
    }

    /// Where the student works: by a path without symbolic links, as /proc and the mount table name it.
    #[must_use]
    pub fn directory(&self, state: &Path) -> PathBuf {
        let state = state.canonicalize().unwrap_or_else(|_| state.to_owned());
        progress::folder(&state).join(self.source.name)
    }

    /// Where the journal of what `start` made is kept until the reset.
    #[must_use]
    pub fn journal(&self, state: &Path) -> PathBuf {
        progress::folder(state).join(format!("{}.journal", self.source.name))
    }
}

/// `10-rename` has the number 10.
fn number(name: &str) -> &str {
    name.split('-').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lab_can_be_read_and_found_by_its_number() {
        for lab in Lab::all().unwrap() {
            assert_eq!(Lab::find(lab.number()).unwrap().source.name, lab.source.name);
            assert_eq!(lab.hints.len(), 3, "{} has other than three hints", lab.source.name);
            assert!(!lab.sheet.stages.is_empty(), "{} has no stage", lab.source.name);
        }
        assert!(Lab::find("99").unwrap_err().to_string().contains("there is no lab 99"));
    }
}
