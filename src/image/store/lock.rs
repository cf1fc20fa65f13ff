//! The two locks of the store. The kernel releases them with their holder, however it dies.
//!
//! Separate from the store because who may hold which, and in which order, is easiest to see alone. The order is
//! always `pins`, then `lock`: a user of an image holds `pins` together with others and may then become the writer to
//! unpack it; what deletes waits for `pins` alone before it becomes the writer. Taken the other way round, the two
//! would wait for each other for ever.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::durable::write_failed;
use super::{Event, Progress};
use crate::error::{Error, Result};

/// Held by the one process that writes to the store.
pub struct Lock(#[allow(dead_code)] File); // held for what closing it does

/// Held, shared, by those who are about to use an image; alone, by the one that deletes.
pub struct Pin(#[allow(dead_code)] File); // held for what closing it does

impl Lock {
    /// Waits until no other process writes.
    pub fn exclusive(root: &Path, progress: &dyn Progress) -> Result<Self> {
        let path = root.join("lock");
        let file = open(&path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Self(file)),
            Err(Errno::WOULDBLOCK) => progress.event(&Event::Waiting),
            Err(errno) => return Err(failed(&path, errno)),
        }
        wait(&path, &file, FlockOperation::LockExclusive, progress).map(|()| Self(file))
    }

    /// Takes the lock if nobody has it.
    pub fn if_free(root: &Path) -> Result<Option<Self>> {
        let path = root.join("lock");
        Ok(try_lock(&path, open(&path)?)?.map(Self))
    }
}

impl Pin {
    /// Together with others.
    pub(super) fn shared(root: &Path) -> Result<Self> {
        let path = root.join("pins");
        let file = open(&path)?;
        wait(&path, &file, FlockOperation::LockShared, &()).map(|()| Self(file))
    }

    /// Alone. Before the lock, never after it.
    pub(super) fn alone(root: &Path, progress: &dyn Progress) -> Result<Self> {
        let path = root.join("pins");
        let file = open(&path)?;
        wait(&path, &file, FlockOperation::LockExclusive, progress).map(|()| Self(file))
    }

    /// Alone, if nobody else has it.
    pub(super) fn alone_if_free(root: &Path) -> Result<Option<Self>> {
        let path = root.join("pins");
        Ok(try_lock(&path, open(&path)?)?.map(Self))
    }
}

/// Takes a lock alone if nobody has it.
fn try_lock(path: &Path, file: File) -> Result<Option<File>> {
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(failed(path, errno)),
    }
}

/// Opens a lock file.
fn open(path: &Path) -> Result<File> {
    let open = File::options().write(true).create(true).truncate(false).mode(0o600).open(path);
    open.map_err(|cause| write_failed(path, &cause))
}

/// Waits for a lock; a signal wakes it up, and then it asks whether to go on.
fn wait(path: &Path, file: &File, operation: FlockOperation, progress: &dyn Progress) -> Result<()> {
    loop {
        match flock(file, operation) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) if progress.cancelled() => {
                return Err(Error::new("stopped while waiting for the store"));
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(failed(path, errno)),
        }
    }
}

/// The error of a lock that cannot be had at all.
fn failed(path: &Path, errno: Errno) -> Error {
    Error::io(format!("cannot lock {}", path.display()), &errno.into())
}
