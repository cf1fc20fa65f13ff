//! The recorder writes every event as one line of JSON, for programs.
//!
//! It leaves nothing out and folds nothing: the recording is what the tests compare with strace.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, Write};

use super::Observer;
use super::event::Event;
use crate::error::{Error, Result};

/// Writes events as JSON lines.
pub struct Recorder {
    out: BufWriter<Box<dyn Write>>,
    name: String,
    /// The first error of writing.
    failure: Option<io::Error>,
    /// Whether somebody has asked for it.
    told: bool,
}

impl Recorder {
    /// A recorder that writes to this file, which is emptied first, or to stdout where `path` is `-`.
    pub fn open(path: &OsStr) -> Result<Self> {
        if path == "-" {
            return Ok(Self::new(Box::new(io::stdout()), "stdout"));
        }
        let name = path.display().to_string();
        // The standard library opens with O_CLOEXEC: the workload does not inherit the recording.
        let file = File::create(path).map_err(|cause| {
            Error::io(format!("cannot write the recording to {name}"), &cause)
                .remedy("name a file in a directory that you may write to, or - for stdout")
        })?;
        Ok(Self::new(Box::new(file), name))
    }

    /// A recorder that writes to `out`, which errors call `name`.
    #[must_use]
    pub fn new(out: Box<dyn Write>, name: impl Into<String>) -> Self {
        Self { out: BufWriter::with_capacity(64 * 1024, out), name: name.into(), failure: None, told: false }
    }

    fn write(&mut self, event: &Event) -> io::Result<()> {
        self.out.write_all(event.line()?.as_bytes())?;
        self.out.write_all(b"\n")
    }

    /// After the first error nothing more is written: a recording with a hole would be read as a whole one.
    fn keep(&mut self, result: io::Result<()>) {
        if let Err(cause) = result
            && self.failure.is_none()
        {
            self.failure = Some(cause);
        }
    }
}

impl Observer for Recorder {
    fn observe(&mut self, event: &Event) {
        if self.failure.is_some() {
            return;
        }
        let result = self.write(event);
        self.keep(result);
        if matches!(event, Event::Done { .. } | Event::Error { .. }) {
            self.flush();
        }
    }

    /// Without a caller who asks, it is told on stderr at the end.
    fn failure(&mut self) -> Option<Error> {
        let cause = self.failure.as_ref().filter(|_| !self.told)?;
        self.told = true;
        let what = format!("the recording in {} is incomplete", self.name);
        Some(Error::io(what, cause).remedy("record to a file system with free space, with --json FILE"))
    }

    fn flush(&mut self) {
        if self.failure.is_none() {
            let result = self.out.flush();
            self.keep(result);
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.flush();
        if let Some(error) = self.failure() {
            let _ = writeln!(io::stderr(), "cutaway: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_for_each_event_and_the_same_events_back() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let events = [
            Event::StepDone { id: "1".into(), actor: "parent".into() },
            Event::Signal { actor: "parent".into(), signal: "SIGINT".into(), text: "line\nbreak".into() },
            Event::Done { status: 0, us: 12 },
        ];
        let mut recorder = Recorder::open(path.path().as_os_str()).unwrap();
        for event in &events {
            recorder.observe(event);
        }
        let text = std::fs::read_to_string(path.path()).unwrap();
        let back: Vec<Event> = text.lines().map(|line| Event::from_line(line).unwrap()).collect();
        assert_eq!(back, events);
    }

    #[test]
    fn a_full_disk_is_told_once_and_is_no_panic() {
        let mut recorder = Recorder::open(OsStr::new("/dev/full")).unwrap();
        recorder.observe(&Event::Done { status: 0, us: 1 });
        recorder.observe(&Event::Done { status: 0, us: 2 });
        let error = recorder.failure().unwrap();
        assert_eq!(error.parts().errno, Some(nix::errno::Errno::ENOSPC as i32));
        assert_eq!(error.parts().what, "the recording in /dev/full is incomplete");
        assert!(recorder.failure().is_none());
    }

    #[test]
    fn a_file_that_cannot_be_made_is_a_clear_error() {
        let error = Recorder::open(OsStr::new("/nonexistent/x.json")).err().unwrap();
        assert_eq!(error.parts().what, "cannot write the recording to /nonexistent/x.json");
    }
}
