//! Unpacking all layers of an image to directories of the user's own, which overlayfs can stack.
//!
//! Separate from the store, which keeps trees by chain ID and for itself: here a person wants to look. A layer's
//! directory is its number; it has another name until it is complete.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::listing::{in_parallel, with_layer};
use super::source::Image;
use super::store::{Event, Progress, write_failed};
use super::unpack::{Below, Limits, Options, Unpacked, unpack};
use crate::error::{Error, Result};
use crate::sys::tree::{Called, Errno, Failed, Tally, remove_tree};

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
    let place = prepare(into)?;
    match unpack_into(&place, image, limits, progress) {
        Ok(mut all) => {
            let Place { dir, mut tally, .. } = place;
            tally.close(dir);
            all.iter_mut().take(1).for_each(|lowest| lowest.unpacked.counts.tally.add(&tally));
            Ok(all)
        }
        Err(error) => {
            remove(image, &place);
            Err(error)
        }
    }
}

/// The directory below which the layers go.
struct Place {
    path: PathBuf,
    dir: OwnedFd,
    /// Whether it was missing.
    made: bool,
    /// The calls that it took.
    tally: Tally,
}

/// Opens the directory, and makes it where it is missing.
fn prepare(into: &Path) -> Result<Place> {
    let (mut tally, cannot) = (Tally::default(), format!("cannot unpack below {}", into.display()));
    // The way to it is the user's own, and may lead through links.
    let path = fs::canonicalize(into).unwrap_or_else(|_| into.to_owned());
    let mut opened = tally.open_start(&path);
    let made = opened.as_ref().is_err_and(|failed| failed.errno == Errno::NOENT);
    if made {
        opened = make(&path, &mut tally);
    }
    let dir = opened.map_err(|failed| failed.error(cannot.clone(), &path.to_string_lossy()))?;
    let is_empty =
        tally.is_empty(dir.as_fd()).map_err(|failed| failed.error(cannot, &path.to_string_lossy()))?;
    if is_empty {
        return Ok(Place { path, dir, made, tally });
    }
    Err(Error::new(format!("{} is not empty", into.display()))
        .rule("layers are unpacked to a directory that holds nothing else")
        .remedy("name one that does not exist yet"))
}

/// Makes a directory in one that exists.
fn make(path: &Path, tally: &mut Tally) -> Called<OwnedFd> {
    let name = path.file_name().unwrap_or_default().as_bytes();
    let parent = path.parent().unwrap_or(Path::new("/"));
    let parent = tally.open_start(&fs::canonicalize(parent).unwrap_or_else(|_| parent.to_owned()))?;
    let made = tally.mkdirat(parent.as_fd(), name, 0o777);
    let opened = made.and_then(|()| tally.open_directory(parent.as_fd(), name));
    tally.close(parent);
    opened
}

fn unpack_into(
    place: &Place,
    image: &Image,
    limits: &Limits,
    progress: &dyn Progress,
) -> Result<Vec<Placed>> {
    let privileged = crate::probe::Host::read().is_privileged();
    progress.event(&Event::Planned { bytes: image.layer_bytes() });
    let mut all = in_parallel(image.layers.len(), &|at, stop| {
        let begun = Instant::now();
        let (name, mut tally) = (partial(at + 1), Tally::default());
        let dir = place.path.join(&name);
        tally
            .mkdirat(place.dir.as_fd(), name.as_bytes(), 0o777)
            .map_err(|failed| cannot_make(&failed, &dir))?;
        let own = if privileged { Options::privileged() } else { Options::unprivileged() };
        let goes_on = || !stop.load(Ordering::Relaxed) && !progress.cancelled();
        // Asked by what is read, and by what it becomes: a few stored bytes may be many files.
        let unpacking = |_| if goes_on() { Ok(()) } else { Err(Error::new("stopped before the end")) };
        let options = Options { lowest: at == 0, limits: limits.clone(), progress: Some(&unpacking), ..own };
        let watch = |bytes| {
            progress.event(&Event::Read { number: at + 1, bytes });
            goes_on()
        };
        let mut unpacked =
            with_layer(image, at, limits.ratio, &watch, |reader| unpack(reader, &dir, &options))?;
        unpacked.counts.tally.add(&tally);
        let us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        let bytes = image.layers[at].descriptor.size;
        Ok(Placed { number: at + 1, dir: place.path.join((at + 1).to_string()), unpacked, bytes, us })
    })?;
    let asking = all.iter().map(|layer| (layer.number, layer.unpacked.implicit.as_slice()));
    let mut below = Below::asked_by(asking);
    for layer in &mut all {
        complete(layer, &mut below, place)?;
    }
    Ok(all)
}

/// Gives directories that a layer only passes through the attributes they have below, and the layer its name.
fn complete(layer: &mut Placed, below: &mut Below, place: &Place) -> Result<()> {
    let (partial, name) = (partial(layer.number), layer.number.to_string());
    let Unpacked { counts, implicit, opaque_root } = &mut layer.unpacked;
    let tally = &mut counts.tally;
    below.lay((layer.number, &place.path.join(&partial)), (implicit, *opaque_root), tally)?;
    let renamed = tally.rename(place.dir.as_fd(), partial.as_bytes(), name.as_bytes());
    renamed.map_err(|failed| cannot_make(&failed, &layer.dir))
}

fn partial(number: usize) -> String {
    format!("{number}.partial")
}

fn cannot_make(failed: &Failed, dir: &Path) -> Error {
    write_failed(dir, &failed.errno.into())
}

/// Removes what was made. Its own failure is not told: the first one is the cause.
fn remove(image: &Image, place: &Place) {
    for number in 1..=image.layers.len() {
        for name in [partial(number), number.to_string()] {
            let _ = remove_tree(&place.path.join(name), &mut Tally::default());
        }
    }
    if place.made {
        let _ = fs::remove_dir(&place.path);
    }
}
