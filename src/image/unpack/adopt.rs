//! Directories that a layer only passes through take after those of the layers below.
//!
//! An archive may hold `a/b/c` without `a/` and `a/b/`. Both must exist to hold `c`, but overlayfs shows a merged
//! directory with the owner, mode, time and attributes that it has in the **topmost** layer: a `/tmp` that was
//! made on the way to `/tmp/x` would lose its mode 1777 (podman resets such directories to 0755). So they are
//! given the attributes of the directory that they will cover. This is separate from unpacking because it takes
//! all layers, and these are unpacked at the same time.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::OpaqueXattr;
use crate::error::{Error, Result};
use crate::sys::tree::{About, Called, Errno, Tally};

/// Gives the `implicit` directories of the unpacked layer `layer` the owner, mode and time of what they cover in
/// `lower`, the layers below it, topmost first. Returns those that cover something else than a directory, such
/// as a link: in the merged tree it is replaced by the directory.
///
/// A layer that was changed so fits only on these lower layers: it must not be shared with an image that has others.
pub fn adopt(layer: &Path, implicit: &[PathBuf], lower: &[&Path], tally: &mut Tally) -> Result<Vec<PathBuf>> {
    let mut covering = Vec::new();
    // Children first: a directory's time is not changed by what is done to its children, but its mode may keep
    // an ordinary user from reaching them.
    for path in implicit.iter().rev() {
        let error = |failed: crate::sys::tree::Failed| {
            let what =
                format!("cannot give `{}` the attributes of the layers below", layer.join(path).display());
            failed.error(what, &path.to_string_lossy())
        };
        match find(lower, path, tally).map_err(error)? {
            Below::Nothing => {}
            Below::Other => covering.push(path.clone()),
            Below::Directory(about) => {
                let Way::There(directory) = walk(layer, path, tally).map_err(error)? else {
                    let missing = format!("`{}` is not in the unpacked layer", layer.join(path).display());
                    return Err(Error::new(missing));
                };
                take_after(&directory, &about, tally).map_err(error)?;
                tally.close(directory);
            }
        }
    }
    covering.reverse();
    Ok(covering)
}

/// What the layers below have at a path.
enum Below {
    Directory(About),
    Other,
    Nothing,
}

/// The topmost of the lower layers that has something there decides.
fn find(lower: &[&Path], path: &Path, tally: &mut Tally) -> Called<Below> {
    for layer in lower {
        match walk(layer, path, tally) {
            Ok(Way::There(directory)) => {
                let about = tally.about_open(directory.as_fd());
                tally.close(directory);
                return Ok(Below::Directory(about?));
            }
            Ok(Way::Missing) => {}
            Ok(Way::Hidden) => return Ok(Below::Nothing),
            // A link, a file, or a whiteout on the way.
            Err(failed) if matches!(failed.errno, Errno::LOOP | Errno::NOTDIR) => return Ok(Below::Other),
            Err(failed) => return Err(failed),
        }
    }
    Ok(Below::Nothing)
}

/// Where a path leads in one layer.
enum Way {
    /// To this directory.
    There(OwnedFd),
    /// To nothing: a lower layer may have it.
    Missing,
    /// To nothing, in an opaque directory: what lower layers have there is not seen.
    Hidden,
}

/// Opens a directory below another, one component at a time and through no link.
fn walk(top: &Path, path: &Path, tally: &mut Tally) -> Called<Way> {
    let mut here = tally.open_start(top)?;
    let mut passed: Vec<OwnedFd> = Vec::new();
    let reached: Called<()> = path.components().try_for_each(|component| {
        let next = tally.open_directory(here.as_fd(), component.as_os_str().as_bytes())?;
        passed.push(std::mem::replace(&mut here, next));
        Ok(())
    });
    if reached.is_ok() {
        close(passed, tally);
        return Ok(Way::There(here));
    }
    passed.push(here);
    let way = match reached {
        Err(failed) if failed.errno != Errno::NOENT => Err(failed),
        _ => hidden(&passed, tally),
    };
    close(passed, tally);
    way
}

/// Whether one of the directories on the way, the layer's root apart, is opaque.
fn hidden(passed: &[OwnedFd], tally: &mut Tally) -> Called<Way> {
    for directory in passed.iter().skip(1) {
        for kind in [OpaqueXattr::Trusted, OpaqueXattr::User] {
            if tally.is_marked(directory.as_fd(), kind.name())? {
                return Ok(Way::Hidden);
            }
        }
    }
    Ok(Way::Missing)
}

fn close(all: Vec<OwnedFd>, tally: &mut Tally) {
    for fd in all {
        tally.close(fd);
    }
}

/// Owner first, since chown(2) clears bits of the mode; time last.
fn take_after(directory: &OwnedFd, about: &About, tally: &mut Tally) -> Called<()> {
    let fd = directory.as_fd();
    let now = tally.about_open(fd)?;
    if (now.uid, now.gid) != (about.uid, about.gid) {
        tally.fchown(fd, about.uid, about.gid)?;
    }
    if now.mode != about.mode {
        tally.fchmod(fd, about.mode)?;
    }
    tally.futimens(fd, about.mtime)
}
