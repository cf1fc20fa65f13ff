//! Writing so that a name never stands for something half-written: temporary name, fsync, rename.
//!
//! Separate because every file of the store is written this way and in no other.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};

/// Makes a directory for this user only, if it is missing.
pub fn private_dir(dir: &Path) -> Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    patiently(|| DirBuilder::new().recursive(true).mode(0o700).create(dir))
        .map_err(|cause| write_failed(dir, &cause))
}

/// Tries again when a directory has vanished: whoever has made the state directory, and nothing in it, takes it away
/// again. It stays as soon as there is something in it.
pub fn patiently<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 0..50 {
        match attempt() {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
    }
    attempt()
}

/// A temporary name in the store that no other writer uses.
pub fn temporary(root: &Path, what: &str) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    root.join("tmp").join(format!("{what}.{}.{number}", std::process::id()))
}

/// Makes a new file for this user only.
pub fn create(path: &Path) -> Result<File> {
    let open = File::options().write(true).create_new(true).mode(0o600).open(path);
    open.map_err(|cause| write_failed(path, &cause))
}

/// Writes a small file, replacing the one that has the name.
pub fn replace(root: &Path, path: &Path, bytes: &[u8]) -> Result<()> {
    let partial = temporary(root, "file");
    let write = || {
        let mut file = create(&partial)?;
        file.write_all(bytes).map_err(|cause| write_failed(path, &cause))?;
        commit(&file, &partial, path)
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&partial);
    })
}

/// Puts a written file on the disk, then gives it its name.
pub fn commit(file: &File, partial: &Path, path: &Path) -> Result<()> {
    file.sync_all().and_then(|()| fs::rename(partial, path)).map_err(|cause| write_failed(path, &cause))
}

/// Puts the names in a directory on the disk.
pub fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|cause| write_failed(dir, &cause))
}

/// The error of a write that failed; a full disk is named as such.
pub fn write_failed(path: &Path, cause: &io::Error) -> Error {
    let error = Error::io(format!("cannot write {}", path.display()), cause);
    match cause.kind() {
        io::ErrorKind::StorageFull => error
            .rule("the file system that it is on is full; what was half-written is removed")
            .remedy("free some space there, or choose another place with --state DIR"),
        io::ErrorKind::QuotaExceeded => error
            .rule("your disk quota is used up")
            .remedy("free some space, or choose another place with --state DIR"),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            error.remedy("choose a place that you may write to with --state DIR")
        }
        _ => error,
    }
}
