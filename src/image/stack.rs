//! Unpacking all layers of an image to directories of the user's own, which overlayfs can stack.
//!
//! Separate from the store, which keeps trees by chain ID and for itself: here a person wants to look. A layer's
//! directory is its number; it has another name until it is complete.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::listing::{in_parallel, with_layer};
use super::source::Image;
use super::store::{Event, Progress, write_failed};
use super::unpack::{Limits, Options, Unpacked, adopt, unpack};
use crate::error::{Error, Result};
use crate::sys::tree::{Tally, remove_tree};

/// A layer that was unpacked.
pub struct Placed {
    /// Counted from 1, the lowest first.
    pub number: usize,
    /// Where it is.
    pub dir: PathBuf,
    /// What was made, left out and not kept.
    pub unpacked: Unpacked,
    /// Bytes read as they are stored.
    pub bytes: u64,
    /// Microseconds.
    pub us: u64,
}

/// Unpacks every layer below `into`, which must not exist or be empty. If anything fails, all of it is removed.
pub fn unpack_all(
    image: &Image,
    into: &Path,
    limits: &Limits,
    progress: &dyn Progress,
) -> Result<Vec<Placed>> {
    let made = prepare(into)?;
    let done = place(image, into, limits, progress);
    if done.is_err() {
        remove(image, into, made);
    }
    done
}

/// Makes the directory; says whether it was missing.
fn prepare(into: &Path) -> Result<bool> {
    match fs::create_dir(into) {
        Ok(()) => return Ok(true),
        Err(cause) if cause.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(cause) => return Err(Error::io(format!("cannot make {}", into.display()), &cause)),
    }
    let mut entries =
        fs::read_dir(into).map_err(|cause| Error::io(format!("cannot list {}", into.display()), &cause))?;
    if entries.next().is_none() {
        return Ok(false);
    }
    Err(Error::new(format!("{} is not empty", into.display()))
        .rule("layers are unpacked to a directory that holds nothing else")
        .remedy("name one that does not exist yet"))
}

fn place(image: &Image, into: &Path, limits: &Limits, progress: &dyn Progress) -> Result<Vec<Placed>> {
    let privileged = crate::probe::Host::read().is_privileged();
    progress.event(&Event::Planned { bytes: image.layer_bytes() });
    let mut all = in_parallel(image.layers.len(), &|at, stop| {
        let begun = Instant::now();
        let dir = partial(into, at + 1);
        fs::create_dir(&dir).map_err(|cause| write_failed(&dir, &cause))?;
        let own = if privileged { Options::privileged() } else { Options::unprivileged() };
        let goes_on = || !stop.load(Ordering::Relaxed) && !progress.cancelled();
        // Asked by what is read, and by what it becomes: a few stored bytes may be many files.
        let unpacking = |_| if goes_on() { Ok(()) } else { Err(Error::new("stopped before the end")) };
        let options = Options { lowest: at == 0, limits: limits.clone(), progress: Some(&unpacking), ..own };
        let watch = |bytes| {
            progress.event(&Event::Read { number: at + 1, bytes });
            goes_on()
        };
        let unpacked = with_layer(image, at, limits.ratio, &watch, |reader| unpack(reader, &dir, &options))?;
        let us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        let bytes = image.layers[at].descriptor.size;
        Ok(Placed { number: at + 1, dir: into.join((at + 1).to_string()), unpacked, bytes, us })
    })?;
    for at in 0..all.len() {
        let (below, rest) = all.split_at_mut(at);
        complete(&mut rest[0], below, into)?;
    }
    Ok(all)
}

/// Gives directories that a layer only passes through the attributes they have below, and the layer its name.
fn complete(layer: &mut Placed, below: &[Placed], into: &Path) -> Result<()> {
    let partial = partial(into, layer.number);
    if !layer.unpacked.implicit.is_empty() && !layer.unpacked.opaque_root {
        let start = below.iter().rposition(|lower| lower.unpacked.opaque_root).unwrap_or(0);
        let lower: Vec<&Path> = below[start..].iter().rev().map(|lower| lower.dir.as_path()).collect();
        adopt(&partial, &layer.unpacked.implicit, &lower, &mut layer.unpacked.counts.tally)?;
    }
    fs::rename(&partial, &layer.dir).map_err(|cause| write_failed(&layer.dir, &cause))
}

fn partial(into: &Path, number: usize) -> PathBuf {
    into.join(format!("{number}.partial"))
}

/// Removes what was made. Its own failure is not told: the first one is the cause.
fn remove(image: &Image, into: &Path, made: bool) {
    for number in 1..=image.layers.len() {
        for dir in [partial(into, number), into.join(number.to_string())] {
            let _ = remove_tree(&dir, &mut Tally::default());
        }
    }
    if made {
        let _ = fs::remove_dir(into);
    }
}
