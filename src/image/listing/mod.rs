//! The layers of an image, listed and merged in memory: who brought a file, who changed it, who hid it.
//!
//! Separate from the store because nothing is unpacked and nothing has to be loaded: each layer is read once, in
//! several threads, decompressed, compared with its digest and its diff ID, and listed while it flows by. What
//! stays is a table of names. [`merge`] then lays the tables on each other by the rules of the image format.

pub mod merge;

use std::io::Write;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

pub use merge::{Change, Mark, Merged, Waste};

use super::source::Image;
use super::store::{Event, Progress};
use super::stream::{LayerReader, layer_name};
use super::unpack::list::{ListOptions, Tree};
use super::unpack::{fetch, list};
use crate::error::{Error, Result};

/// Lists every layer of an image, the lowest first. All digests, diff IDs and lengths have been compared when this
/// returns.
pub fn read(image: &Image, options: &ListOptions, progress: &dyn Progress) -> Result<Vec<Tree>> {
    progress.event(&Event::Planned { bytes: image.layer_bytes() });
    in_parallel(image.layers.len(), &|at, stop| {
        let watch = |bytes| {
            progress.event(&Event::Read { number: at + 1, bytes });
            !stop.load(Ordering::Relaxed) && !progress.cancelled()
        };
        with_layer(image, at, options.limits.ratio, &watch, |reader| list(reader, options))
    })
}

/// Lists one layer.
pub fn read_one(image: &Image, at: usize, options: &ListOptions) -> Result<Tree> {
    with_layer(image, at, options.limits.ratio, &|_| true, |reader| list(reader, options))
}

/// Writes the content of the file whose header is at `offset` of a layer's plain archive.
pub fn extract(image: &Image, at: usize, offset: u64, ratio: u64, out: &mut dyn Write) -> Result<()> {
    with_layer(image, at, ratio, &|_| true, |reader| fetch(reader, offset, out))
}

/// Reads one layer through its digests; an error names it, and is the true cause.
pub fn with_layer<T>(
    image: &Image,
    at: usize,
    ratio: u64,
    watch: &(dyn Fn(u64) -> bool + Sync),
    work: impl FnOnce(&mut LayerReader<'_>) -> Result<T>,
) -> Result<T> {
    let layer = &image.layers[at];
    let what = layer_name(at + 1, image.layers.len(), &layer.descriptor.digest);
    let mut reader = LayerReader::new(what, layer, image.open_layer(layer)?, None, watch)?;
    reader.bound(ratio);
    match work(&mut reader) {
        Ok(done) => reader.finish().map(|_| done),
        Err(error) => Err(reader.why(error)),
    }
}

/// Does a job for each number below `count`, with as many threads as there are processors. When one fails the others
/// are told to stop; the error is the one that came first.
pub fn in_parallel<T: Send>(
    count: usize,
    job: &(dyn Fn(usize, &AtomicBool) -> Result<T> + Sync),
) -> Result<Vec<T>> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(count);
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let results = Mutex::new(Vec::with_capacity(count));
    let worker = || {
        while !stop.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count {
                break;
            }
            let result = job(at, &stop);
            // Only the first failure is a cause; the others are layers that were told to stop.
            let late = result.is_err() && stop.swap(true, Ordering::Relaxed);
            results.lock().unwrap_or_else(PoisonError::into_inner).push((late, at, result));
        }
    };
    let panicked = thread::scope(|scope| {
        let spawned: Vec<_> = (1..threads)
            .map_while(|_| thread::Builder::new().name("layer".into()).spawn_scoped(scope, worker).ok())
            .collect();
        worker();
        // Every thread is joined, also after one that panicked.
        spawned.into_iter().filter_map(|thread| thread.join().err()).count() > 0
    });
    if panicked {
        return Err(Error::new("a thread that read a layer panicked"));
    }
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(late, at, result)| (result.is_ok(), *late, *at));
    results.into_iter().map(|(_, _, result)| result).collect()
}
