//! The person's terminal and the workload's: bytes are carried between the two.
//!
//! The person's terminal is set to raw mode, so that it neither edits lines nor turns ^C into a signal: the
//! workload's own terminal does both. Every way out puts it back: the end, an error, a signal. After a
//! SIGKILL of cutaway it is `cutaway cleanup` that does it, from the journal.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;

use nix::poll::PollFlags;
use rustix::termios::{tcgetwinsize, tcsetwinsize};

use crate::error::{Error, Result};
use crate::plan::Bulk;
use crate::sys::terminal::Settings;

/// The workload's terminal while it is served.
pub(super) struct Session {
    master: OwnedFd,
    /// The settings to put back, if the person sits at a terminal.
    before: Option<Settings>,
    raw: bool,
    /// Typed, not yet taken by the workload's terminal.
    typed: VecDeque<u8>,
    input_open: bool,
    output_open: bool,
}

fn stdin() -> BorrowedFd<'static> {
    crate::sys::process::borrow(0)
}

fn stdout() -> BorrowedFd<'static> {
    crate::sys::process::borrow(1)
}

/// How the person's terminal is put back, should this process be killed.
pub(super) fn undo() -> Option<Bulk> {
    let settings = Settings::read(stdin())?;
    let path: PathBuf = std::fs::read_link("/proc/self/fd/0").ok()?;
    Some(Bulk::RestoreTerminal { path, settings })
}

impl Session {
    /// Gives the workload's terminal the size of the person's.
    pub fn begin(master: OwnedFd) -> Result<Self> {
        let mut session = Self {
            master,
            before: Settings::read(stdin()),
            raw: false,
            typed: VecDeque::new(),
            input_open: true,
            output_open: true,
        };
        rustix::io::ioctl_fionbio(&session.master, true)
            .map_err(|errno| Error::io("could not prepare the terminal", &errno.into()))?;
        session.resize();
        Ok(session)
    }

    /// Sets the person's terminal to raw mode, or for a moment back, so that a line can be told.
    pub fn set_raw(&mut self, raw: bool) {
        let Some(before) = self.before.as_ref().filter(|_| self.raw != raw) else { return };
        // A terminal that has gone cannot be set, and nobody would see it.
        let _ = if raw { Settings::make_raw(stdin()) } else { before.apply(stdin()) };
        self.raw = raw;
    }

    /// Gives the workload's terminal the size of the person's; the kernel tells the workload by SIGWINCH.
    pub fn resize(&mut self) {
        if let Ok(size) = tcgetwinsize(stdin()).or_else(|_| tcgetwinsize(stdout())) {
            // A workload that has closed its terminal needs no size.
            let _ = tcsetwinsize(&self.master, size);
        }
    }

    /// What to poll for: whether it is input, the descriptor, and the condition.
    pub fn wants(&self) -> impl Iterator<Item = (bool, RawFd, PollFlags)> {
        let mut flags = PollFlags::POLLIN;
        if !self.typed.is_empty() {
            flags |= PollFlags::POLLOUT;
        }
        let output = self.output_open.then(|| (false, self.master.as_raw_fd(), flags));
        let input = (self.input_open && self.output_open && self.typed.len() < 65536).then_some((
            true,
            0,
            PollFlags::POLLIN,
        ));
        output.into_iter().chain(input)
    }

    /// Carries what was typed towards the workload.
    pub fn input(&mut self) {
        let mut buffer = [0_u8; 4096];
        match rustix::io::read(stdin(), &mut buffer) {
            Ok(0) | Err(rustix::io::Errno::IO | rustix::io::Errno::BADF) => self.input_open = false,
            Ok(count) => self.typed.extend(&buffer[..count]),
            Err(_) => {}
        }
        self.feed();
    }

    fn feed(&mut self) {
        while !self.typed.is_empty() {
            let (front, _) = self.typed.as_slices();
            match rustix::io::write(&self.master, front) {
                Ok(count) if count > 0 => drop(self.typed.drain(..count)),
                _ => return,
            }
        }
    }

    /// Carries what the workload printed to the person, and what is left of the typing to the workload.
    pub fn output(&mut self) {
        self.feed();
        let mut buffer = [0_u8; 16384];
        match rustix::io::read(&self.master, &mut buffer) {
            // The last descriptor of the other side was closed: read(2) says EIO.
            Ok(0) | Err(rustix::io::Errno::IO) => self.output_open = false,
            Ok(count) => write_all(stdout(), &buffer[..count]),
            Err(_) => {}
        }
    }

    /// Carries what is still in the terminal.
    pub fn finish(&mut self) {
        let mut buffer = [0_u8; 16384];
        while let Ok(count @ 1..) = rustix::io::read(&self.master, &mut buffer) {
            write_all(stdout(), &buffer[..count]);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.set_raw(false);
    }
}

fn write_all(to: impl AsFd, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match rustix::io::write(&to, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => std::thread::sleep(std::time::Duration::from_millis(1)),
            // Nobody reads any more.
            Err(_) => return,
        }
    }
}
