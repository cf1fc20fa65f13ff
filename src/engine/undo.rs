//! Taking back what was done: in reverse, on an error, on a signal, and at the normal end.

use std::path::Path;
use std::time::Duration;

use crate::error::Error;
use crate::plan::{Call, Undo};
use crate::report::event::Event;
use crate::state::{self, journal::Journal};
use crate::sys::process::Processes;
use crate::sys::{Errno, Syscall};

use super::{Engine, Flow, Stop};

/// How long a group that is emptying may still be busy: this many times [`PAUSE`].
const PATIENCE: u32 = 200;
const PAUSE: Duration = Duration::from_millis(5);

impl<K: Processes + 'static> Engine<K> {
    /// Writes down how a step is undone, before it is performed.
    pub(super) fn prepare_undo(&mut self, id: &str, undo: Vec<Undo>) -> Flow {
        if undo.is_empty() {
            return Ok(());
        }
        if self.journal.is_none() && self.kernel.is_real() {
            let name = self.journal_name.clone().unwrap_or_else(|| format!("command-{}", self.pid));
            self.journal =
                Some(Journal::claim(&self.state, &name, None).map_err(|error| Stop::Failed(None, error))?);
        }
        if let Some(journal) = &mut self.journal {
            journal.record(id, &undo).map_err(|error| Stop::Failed(Some(id.to_owned()), error))?;
        }
        self.done.push((id.to_owned(), undo));
        Ok(())
    }

    /// The step turned out to have done nothing.
    pub(super) fn forget_undo(&mut self, id: &str) {
        if self.done.last().is_some_and(|(step, _)| step == id) {
            self.done.pop();
        }
    }

    /// Undoes everything in reverse and removes the journal. Returns what could not be undone.
    pub(super) fn undo_all(&mut self, failed: bool) -> Vec<String> {
        self.end_children();
        let done = std::mem::take(&mut self.done);
        let (steps, mut undone, mut left) = (done.len(), 0, Vec::new());
        if steps > 0 {
            let because = if failed { "a step failed" } else { "the command has ended" };
            self.emit(|_| Event::Undo { steps, because: because.to_owned() });
        }
        for (id, undo) in done.into_iter().rev() {
            let before = left.len();
            for deed in &undo {
                if let Err(error) = self.undo(&id, deed) {
                    left.push(error.to_string());
                }
            }
            undone += usize::from(left.len() == before);
        }
        if left.is_empty()
            && let Some(journal) = self.journal.take()
            && let Err(error) = journal.finish()
        {
            left.push(error.to_string());
        }
        if steps > 0 {
            self.emit(|_| Event::Undone { steps: undone, of: steps, left: left.clone() });
        }
        left
    }

    /// Leaves what was made as it is, and puts the journal where its owner will look for it. If that cannot be
    /// done, everything is undone: nobody would know how to do it later.
    pub(super) fn keep(&mut self, place: &Path) -> Vec<String> {
        self.end_children();
        let steps = self.done.len();
        let for_cleanup = self.journal.as_ref().is_some_and(|journal| journal.is_at(place));
        let kept = self.journal.take().map_or(Ok(()), |journal| journal.keep(place));
        match kept {
            Ok(()) => {
                if for_cleanup {
                    let remedy = cleanup_command(&self.state);
                    self.emit(|_| Event::Kept { steps, remedy });
                }
                Vec::new()
            }
            Err(error) => {
                let mut left = self.undo_all(true);
                left.push(error.to_string());
                left
            }
        }
    }

    fn undo(&mut self, id: &str, deed: &Undo) -> Result<(), Error> {
        match deed {
            Undo::Bulk(work) => self.bulk(id, work, true),
            Undo::Call(syscall) => self.undo_call(id, syscall),
        }
    }

    /// A directory of a cgroup stays busy for a moment after its last process has died, so a removal that is
    /// refused with EBUSY is tried again. Every attempt is told.
    fn undo_call(&mut self, id: &str, syscall: &Syscall) -> Result<(), Error> {
        let call = gone_is_fine(syscall.clone());
        let mut attempt = 0;
        loop {
            match self.call(id, &call, true) {
                Err(error) if error.parts().errno == Some(Errno::EBUSY as i32) && attempt < PATIENCE => {
                    attempt += 1;
                    std::thread::sleep(PAUSE);
                }
                other => return other,
            }
        }
    }
}

/// The command that undoes what was kept.
fn cleanup_command(state: &Path) -> String {
    let is_default = state::default_directory(nix::unistd::geteuid().is_root()).is_ok_and(|dir| dir == state);
    if is_default {
        "cutaway cleanup".to_owned()
    } else {
        format!("cutaway --state {} cleanup", state.display())
    }
}

/// What an undo removes may already be gone. To unmount what is not mounted is EINVAL.
#[must_use]
pub fn gone_is_fine(syscall: Syscall) -> Call {
    let unmounts = matches!(syscall, Syscall::Umount2 { .. });
    let call = Call::from(syscall).or(Errno::ENOENT).or(Errno::ESRCH);
    if unmounts { call.or(Errno::EINVAL) } else { call }
}
