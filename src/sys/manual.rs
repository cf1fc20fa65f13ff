//! The manual: for each system call its man page and what it means, and for an errno of a call the rule of
//! the kernel that it stands for *here*.
//!
//! An errno alone says little: EINVAL of pivot_root(2) has five meanings, and none of them is "invalid
//! argument". The knowledge is a table, so that the narrator, the errors and the book's errno index read the
//! same words.

use super::syscall::Syscall;
use nix::errno::Errno;

mod hints;
mod pages;

/// What the manual says of a system call.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// The kernel's name.
    pub name: &'static str,
    /// The man page: `mount(2)`.
    pub page: &'static str,
    /// What the call does, in one sentence without a subject and without a full stop.
    pub meaning: &'static str,
    /// Whether it changes anything but the caller's table of descriptors.
    pub changes: bool,
}

/// A rule of the kernel behind an errno.
#[derive(Debug, Clone, Copy)]
pub struct Hint {
    /// The rule, in one sentence.
    pub rule: &'static str,
    /// What to try.
    pub remedy: Option<&'static str>,
    /// The chapter that explains it.
    pub chapter: Option<&'static str>,
}

/// What the manual says of the call of this name.
#[must_use]
pub fn entry(name: &str) -> Option<&'static Entry> {
    pages::ENTRIES.iter().find(|entry| entry.name == name)
}

/// Whether a call, given as strace prints it, changes anything but the caller's table of descriptors.
/// Opening a file changes something only where it creates or empties one.
#[must_use]
pub fn changes(name: &str, text: &str) -> bool {
    let creates = text.contains("O_CREAT") || text.contains("O_TRUNC");
    entry(name).is_none_or(|entry| entry.changes || entry.page == pages::OPEN && creates)
}

/// Which rule an errno means for this call: the first hint that fits, or what the errno means in general.
#[must_use]
pub fn hint(call: &Syscall, errno: Errno) -> Option<&'static Hint> {
    hints::find(call, errno)
}
