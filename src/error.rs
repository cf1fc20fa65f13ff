//! The one error of the project: what was tried, what the kernel answered, which rule that means, what to try.
//!
//! An error is written once, where the cause is known, and printed once, by the narrator. It is lower case,
//! has no full stop, and names the path or flag it is about.

use std::borrow::Cow;
use std::fmt;

/// Result whose error is the project's one [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Text that is usually a constant.
pub type Text = Cow<'static, str>;

/// Exit codes that cutaway itself decides on; everything else is the workload's own.
pub mod exit {
    /// A command other than `run`, `exec` or `ns` failed.
    pub const FAILED: u8 = 1;
    /// The command line could not be understood.
    pub const USAGE: u8 = 2;
    /// `run`, `ns`: cutaway itself failed, so that the code cannot be the workload's.
    pub const CUTAWAY: u8 = 125;
    /// `run`: the workload's program is there but cannot be executed.
    pub const CANNOT_EXECUTE: u8 = 126;
    /// `run`: the workload's program does not exist.
    pub const NOT_FOUND: u8 = 127;
    /// Ended by signal `n`: `128 + n`.
    pub const SIGNAL: u8 = 128;
}

/// What failed and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(Box<Parts>);

/// The fields of an [`Error`], public because it is plain data.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Parts {
    /// What was tried, naming the path, flag, layer or entry it is about.
    pub what: Text,
    /// The failed call in strace notation with its result: `mount("proc", …) = -1 EPERM`.
    pub call: Option<String>,
    /// The number of the errno behind it, if a system call failed.
    pub errno: Option<i32>,
    /// The kernel's own words, where it has any (the log of an `fsopen` descriptor, the kernel log).
    pub kernel: Option<String>,
    /// The rule that the errno means here.
    pub rule: Option<Text>,
    /// What to try next.
    pub remedy: Option<Text>,
    /// The chapter of the book that explains it.
    pub chapter: Option<Text>,
    /// The exit code that follows, when it is not the command's usual one.
    pub exit: Option<u8>,
}

impl Error {
    /// An error that says what failed.
    pub fn new(what: impl Into<Text>) -> Self {
        Self(Box::new(Parts { what: what.into(), ..Parts::default() }))
    }

    /// An error from an I/O failure, keeping its errno.
    pub fn io(what: impl Into<Text>, cause: &std::io::Error) -> Self {
        let mut error = Self::new(what);
        error.0.errno = cause.raw_os_error();
        if cause.raw_os_error().is_none() {
            error.0.kernel = None;
            error.0.rule = Some(cause.to_string().into());
        }
        error
    }

    /// Adds the rule that was broken.
    #[must_use]
    pub fn rule(mut self, rule: impl Into<Text>) -> Self {
        self.0.rule = Some(rule.into());
        self
    }

    /// Adds what to try next.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<Text>) -> Self {
        self.0.remedy = Some(remedy.into());
        self
    }

    /// Adds the chapter that explains it.
    #[must_use]
    pub fn chapter(mut self, chapter: impl Into<Text>) -> Self {
        self.0.chapter = Some(chapter.into());
        self
    }

    /// Adds the kernel's own words.
    #[must_use]
    pub fn kernel(mut self, words: impl Into<String>) -> Self {
        self.0.kernel = Some(words.into());
        self
    }

    /// Sets the exit code that follows from it.
    #[must_use]
    pub fn exit(mut self, code: u8) -> Self {
        self.0.exit = Some(code);
        self
    }

    /// Adds the failed call in strace notation and its errno.
    #[must_use]
    pub fn call(mut self, text: impl Into<String>, errno: i32) -> Self {
        self.0.call = Some(text.into());
        self.0.errno = Some(errno);
        self
    }

    /// The fields.
    #[must_use]
    pub fn parts(&self) -> &Parts {
        &self.0
    }
}

impl From<Parts> for Error {
    fn from(parts: Parts) -> Self {
        Self(Box::new(parts))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.what)?;
        match (&self.0.call, self.0.errno) {
            (Some(call), _) => write!(f, ": {call}")?,
            (None, Some(errno)) => write!(f, ": {}", nix::errno::Errno::from_raw(errno))?,
            _ => {}
        }
        if let Some(rule) = &self.0.rule {
            write!(f, ": {rule}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
