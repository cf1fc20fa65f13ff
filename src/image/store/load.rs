//! Loading: an image comes in, its blobs are copied, verified and unpacked in one pass over each layer.
//!
//! Separate from the store's reading side because this is where threads, temporary names and cleaning up are. Each
//! layer is one job; the jobs are taken, the largest first, by as many threads as there are processors. If one
//! fails the others stop, and everything that this load made is removed again.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Read};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use super::durable::{self, write_failed};
use super::lock::Lock;
use super::record::Record;
use super::{Event, Progress, Store};
use crate::error::{Error, Result};
use crate::image::digest::Digest;
use crate::image::manifest::{Descriptor, annotation};
use crate::image::reference::{Name, PathReference, familiar};
use crate::image::source::{self, Document, Image, Layer};
use crate::image::stream::{Copy, LayerReader, layer_name};
use crate::image::unpack::{Below, Counts, Limits, Options, Unpacked, unpack};
use crate::sys::tree::{Tally, remove_tree};

/// Unpacks a plain tar into an empty directory; the last argument says whether nothing will ever be below it.
pub type Unpack<'a> = &'a (dyn Fn(&mut dyn Read, &Path, bool) -> Result<Unpacked> + Sync);

/// Unpacks as much as this user may: root everything, an ordinary user what the user namespace of a rootless
/// container can show.
pub fn unpack_as_user(reader: &mut dyn Read, into: &Path, lowest: bool) -> Result<Unpacked> {
    unpack_within(&Limits::default(), reader, into, lowest)
}

/// The same with other limits.
pub fn unpack_within(limits: &Limits, reader: &mut dyn Read, into: &Path, lowest: bool) -> Result<Unpacked> {
    let privileged = crate::probe::Host::read().is_privileged();
    let options = if privileged { Options::privileged() } else { Options::unprivileged() };
    unpack(reader, into, &Options { lowest, limits: limits.clone(), ..options })
}

/// What loading an image did.
#[derive(Debug, Clone, serde::Serialize)]
pub struct LoadReport {
    /// The name that it has now.
    pub name: Option<String>,
    /// The digest of its manifest.
    pub digest: Digest,
    /// The digest of its config, the image ID.
    pub id: Digest,
    /// The layers, the lowest first.
    pub layers: Vec<LayerReport>,
    /// What was unpacked, all layers together.
    pub counts: Counts,
    /// The image that had the name before.
    pub replaced: Option<Digest>,
}

/// What was done for one layer.
#[derive(Debug, Clone, serde::Serialize)]
pub struct LayerReport {
    /// Counted from 1, the lowest layer first.
    pub number: usize,
    /// The digest of the bytes as they are stored.
    pub digest: Digest,
    /// The digest of the plain tar.
    pub diff_id: Digest,
    /// Names the layer together with all below it, and its directory in the store.
    pub chain_id: Digest,
    /// The number of stored bytes.
    pub bytes: u64,
    /// Whether its blob was copied into the store; otherwise it was there.
    pub copied: bool,
    /// What was unpacked; nothing if the tree was there.
    pub unpacked: Option<Counts>,
    /// How long it took.
    pub us: u64,
}

/// What has to be done for one layer.
struct Job<'a> {
    number: usize,
    layer: &'a Layer,
    /// The store has its blob already, so it is read from there.
    stored: bool,
    copy: bool,
    unpack: bool,
    /// Its blob was never seen to decompress to its diff ID.
    verify: bool,
}

impl Job<'_> {
    fn is_needed(&self) -> bool {
        self.copy || self.unpack || self.verify
    }
}

impl Store {
    /// Brings an image into the store under a name, verified and unpacked.
    ///
    /// An image that loses its name to this one stays, without a name, since a container may be using it.
    pub fn load(
        &self,
        image: &Image,
        name: Option<&str>,
        unpack: Unpack<'_>,
        progress: &dyn Progress,
    ) -> Result<LoadReport> {
        let name = checked(name)?;
        if let Some(report) = self.loaded_already(image, name.as_deref())? {
            return Ok(report);
        }
        let lock = self.begin_writing(progress)?;
        self.load_holding(&lock, image, name.as_deref(), unpack, progress)
    }

    /// The report of a load that has nothing to do: it takes no lock, so those who run an image by its path do not
    /// wait for each other.
    fn loaded_already(&self, image: &Image, name: Option<&str>) -> Result<Option<LoadReport>> {
        let (digest, wanted) = (image.digest(), name.map(familiar));
        let is_it = |descriptor: &Descriptor| {
            let own = descriptor.annotation(annotation::REF_NAME).map(familiar);
            descriptor.digest == digest && (wanted.is_none() || own == wanted)
        };
        let jobs = self.plan(image);
        let documents = [&image.manifest, &image.config_document];
        let complete = jobs.iter().all(|job| !job.is_needed())
            && documents.iter().all(|document| self.has_blob(&document.descriptor))
            && self.index()?.manifests.iter().any(is_it);
        let layers: Vec<LayerReport> = jobs.iter().map(Job::report).collect();
        let (name, id, counts) = (name.map(str::to_owned), image.id(), Counts::default());
        Ok(complete.then_some(LoadReport { name, digest, id, layers, counts, replaced: None }))
    }

    /// Makes an image in a temporary directory and loads it, unless it is no longer missing when this process is
    /// the one that may write: of many that want it at once, one makes it.
    pub fn make_and_load<T>(
        &self,
        name: &str,
        still_missing: impl Fn() -> bool,
        make: impl FnOnce(&Path) -> Result<T>,
        unpack: Unpack<'_>,
        progress: &dyn Progress,
    ) -> Result<Option<(T, LoadReport)>> {
        let name = checked(Some(name))?;
        let lock = self.begin_writing(progress)?;
        if !still_missing() {
            return Ok(None);
        }
        let partial = Partial::new(&self.root, "layout");
        let told = make(&partial.path)?;
        let reference = PathReference { path: partial.path.clone(), image: None, form: None };
        let image = source::open(&reference, &source::Options::default())?;
        let report = self.load_holding(&lock, &image, name.as_deref(), unpack, progress)?;
        Ok(Some((told, report)))
    }

    /// Loads an image as the one writer.
    fn load_holding(
        &self,
        _lock: &Lock,
        image: &Image,
        name: Option<&str>,
        unpack: Unpack<'_>,
        progress: &dyn Progress,
    ) -> Result<LoadReport> {
        let made = Made::default();
        let layers = self.take_layers(image, unpack, progress, &made)?;
        self.put(&image.config_document, &made)?;
        self.put(&image.manifest, &made)?;
        durable::sync_dir(&self.root.join("blobs/sha256"))?;
        let replaced = self.add_to_index(image, name)?;
        made.keep();
        let counts = total(&layers);
        Ok(LoadReport {
            name: name.map(str::to_owned),
            digest: image.digest(),
            id: image.id(),
            layers,
            counts,
            replaced,
        })
    }

    /// Unpacks those layers of a stored image that are not unpacked yet.
    pub fn unpack_missing(
        &self,
        image: &Image,
        unpack: Unpack<'_>,
        progress: &dyn Progress,
    ) -> Result<Vec<LayerReport>> {
        if self.missing_layers(image).is_empty() {
            return Ok(Vec::new());
        }
        let _lock = self.begin_writing(progress)?;
        let made = Made::default();
        let reports = self.take_layers(image, unpack, progress, &made)?;
        made.keep();
        Ok(reports)
    }

    /// Removes what a dead writer left. Only for the holder of the lock.
    pub(super) fn sweep_tmp(&self) -> Result<Vec<PathBuf>> {
        let tmp = self.root.join("tmp");
        let entries = match fs::read_dir(&tmp) {
            Ok(entries) => entries,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(cause) => return Err(Error::io(format!("cannot list {}", tmp.display()), &cause)),
        };
        let mut swept = Vec::new();
        for entry in entries.flatten() {
            remove_any(&entry.path())?;
            swept.push(entry.path());
        }
        Ok(swept)
    }

    /// Does what is missing for every layer of an image.
    fn take_layers(
        &self,
        image: &Image,
        unpack: Unpack<'_>,
        progress: &dyn Progress,
        made: &Made,
    ) -> Result<Vec<LayerReport>> {
        let jobs = self.plan(image);
        let mut order: Vec<&Job<'_>> = jobs.iter().filter(|job| job.is_needed()).collect();
        order.sort_by_key(|job| std::cmp::Reverse(job.layer.descriptor.size));
        progress.event(&Event::Planned { bytes: order.iter().map(|job| job.layer.descriptor.size).sum() });
        let work = Work { store: self, image, unpack, progress, made, stop: AtomicBool::new(false) };
        let mut done = work.run(&order)?;
        done.sort_by_key(|done| done.report.number);
        self.keep_all(image, &mut done, made)?;
        let mut reports: Vec<LayerReport> = done.into_iter().map(|done| done.report).collect();
        reports.extend(jobs.iter().filter(|job| !job.is_needed()).map(Job::report));
        reports.sort_by_key(|report| report.number);
        Ok(reports)
    }

    /// Goes through the layers from the lowest up, and completes the trees that were unpacked: that takes those below.
    fn keep_all(&self, image: &Image, done: &mut [Done], made: &Made) -> Result<()> {
        let mut below = Below::asked_by(done.iter().filter_map(Done::implicit));
        // What it takes to look at trees that were there is counted for the next that was not.
        let mut looking = Tally::default();
        let mut done = done.iter_mut().peekable();
        for (number, layer) in (1..).zip(&image.layers) {
            let mut own = done.next_if(|done| done.report.number == number);
            let Some(Tree { partial, mut unpacked }) = own.as_mut().and_then(|own| own.tree.take()) else {
                self.lay_stored(&mut below, number, layer, &mut looking)?;
                own.map_or(Ok(()), |_| self.keep_blob_known(layer))?;
                continue;
            };
            let Unpacked { counts, implicit, opaque_root } = &mut unpacked;
            counts.tally.add(&std::mem::take(&mut looking));
            below.lay((number, &partial.path), (implicit, *opaque_root), &mut counts.tally)?;
            self.keep(layer, &partial, &unpacked, made)?;
            if let Some(own) = own {
                own.report.unpacked = Some(unpacked.counts);
            }
        }
        Ok(())
    }

    /// Lays a tree that the store has on those below it, if a layer above asks.
    fn lay_stored(&self, below: &mut Below, number: usize, layer: &Layer, tally: &mut Tally) -> Result<()> {
        if !below.is_asked(number) {
            return Ok(());
        }
        let record = Record::read(&self.root, &layer.chain_id);
        let opaque_root = record.is_some_and(|record| record.opaque_root);
        below.lay((number, &self.layer_dir(&layer.chain_id)), (&[], opaque_root), tally)
    }

    /// Gives a complete tree its name and writes its record.
    fn keep(&self, layer: &Layer, partial: &Partial, unpacked: &Unpacked, made: &Made) -> Result<()> {
        let tree = self.layer_dir(&layer.chain_id);
        remove_any(&Record::path(&self.root, &layer.chain_id))?;
        remove_any(&tree)?;
        fs::rename(&partial.path, &tree).map_err(|cause| write_failed(&tree, &cause))?;
        made.add(tree);
        Record::new(layer, unpacked).write(&self.root)?;
        made.add(Record::path(&self.root, &layer.chain_id));
        Ok(())
    }

    /// Notes that a blob decompresses to a layer whose tree was there.
    fn keep_blob_known(&self, layer: &Layer) -> Result<()> {
        let Some(mut record) = Record::read(&self.root, &layer.chain_id).filter(Record::suits) else {
            return Ok(());
        };
        if record.blobs.contains(&layer.descriptor.digest) {
            return Ok(());
        }
        record.blobs.push(layer.descriptor.digest);
        record.write(&self.root)
    }

    /// Finds out what each layer needs.
    fn plan<'a>(&self, image: &'a Image) -> Vec<Job<'a>> {
        let mut blobs = HashSet::new();
        let job = |(at, layer): (usize, &'a Layer)| {
            let record = Record::read(&self.root, &layer.chain_id).filter(Record::suits);
            let known = record.as_ref().is_some_and(|record| record.blobs.contains(&layer.descriptor.digest));
            let stored = self.has_blob(&layer.descriptor);
            let copy = blobs.insert(layer.descriptor.digest) && !stored;
            Job { number: at + 1, layer, stored, copy, unpack: record.is_none(), verify: !known }
        };
        image.layers.iter().enumerate().map(job).collect()
    }

    /// Whether a blob is there, whole.
    fn has_blob(&self, descriptor: &Descriptor) -> bool {
        let file = self.blob_path(&descriptor.digest).symlink_metadata();
        file.is_ok_and(|file| file.is_file() && file.len() == descriptor.size)
    }

    /// Writes a document as a blob.
    fn put(&self, document: &Document, made: &Made) -> Result<()> {
        if self.has_blob(&document.descriptor) {
            return Ok(());
        }
        let path = self.blob_path(&document.descriptor.digest);
        durable::replace(&self.root, &path, &document.bytes)?;
        made.add(path);
        Ok(())
    }

    /// Gives the image its name and says which one had it before.
    fn add_to_index(&self, image: &Image, name: Option<&str>) -> Result<Option<Digest>> {
        let mut manifests = self.index()?.manifests;
        let digest = image.digest();
        let wanted = name.map(familiar);
        let has_name = |descriptor: &Descriptor| descriptor.annotation(annotation::REF_NAME).map(familiar);
        let holder =
            manifests.iter().position(|descriptor| wanted.is_some() && has_name(descriptor) == wanted);
        let mut replaced = None;
        if let Some(at) = holder {
            let old = manifests.remove(at);
            let has_other_name = manifests.iter().any(|descriptor| descriptor.digest == old.digest);
            replaced = (old.digest != digest).then_some(old.digest);
            if replaced.is_some() && !has_other_name {
                manifests.push(Descriptor { annotations: Vec::new(), ..old });
            }
        }
        // A name for an image that was there without one, or again without one: no second entry.
        if wanted.is_some() {
            manifests.retain(|descriptor| descriptor.digest != digest || has_name(descriptor).is_some());
        } else if manifests.iter().any(|descriptor| descriptor.digest == digest) {
            return Ok(None);
        }
        let mut descriptor = image.manifest.descriptor.clone();
        descriptor.platform = Some(image.config.platform()).filter(|platform| !platform.os.is_empty());
        descriptor.annotations =
            name.map(|name| (annotation::REF_NAME.to_owned(), name.to_owned())).into_iter().collect();
        manifests.push(descriptor);
        self.write_index(&manifests)?;
        durable::sync_dir(&self.root)?;
        Ok(replaced)
    }
}

/// Passes a name that an image can be given.
fn checked(name: Option<&str>) -> Result<Option<String>> {
    let Some(text) = name else { return Ok(None) };
    let name = text.parse::<Name>()?;
    if name.digest.is_some() {
        return Err(Error::new(format!("image name {text:?} is refused"))
            .rule("a digest cannot be given, it follows from the image"));
    }
    Ok(Some(name.to_string()))
}

/// The counts of all layers together.
fn total(layers: &[LayerReport]) -> Counts {
    let mut counts = Counts::default();
    for unpacked in layers.iter().filter_map(|layer| layer.unpacked.as_ref()) {
        counts.add(unpacked);
    }
    counts
}

impl Job<'_> {
    /// The report of a layer for which nothing was done yet.
    fn report(&self) -> LayerReport {
        LayerReport {
            number: self.number,
            digest: self.layer.descriptor.digest,
            diff_id: self.layer.diff_id,
            chain_id: self.layer.chain_id,
            bytes: self.layer.descriptor.size,
            copied: self.copy,
            unpacked: None,
            us: 0,
        }
    }
}

/// A job that was done: its tree still has a temporary name.
struct Done {
    report: LayerReport,
    tree: Option<Tree>,
}

impl Done {
    /// The layer's number and what its tree passes through.
    fn implicit(&self) -> Option<(usize, &[PathBuf])> {
        self.tree.as_ref().map(|tree| (self.report.number, tree.unpacked.implicit.as_slice()))
    }
}

/// A tree and what is known about it.
struct Tree {
    partial: Partial,
    unpacked: Unpacked,
}

/// What all threads share.
struct Work<'a> {
    store: &'a Store,
    image: &'a Image,
    unpack: Unpack<'a>,
    progress: &'a dyn Progress,
    made: &'a Made,
    stop: AtomicBool,
}

impl Work<'_> {
    /// Does the jobs with as many threads as there are processors; the error is that of the lowest layer.
    fn run(&self, jobs: &[&Job<'_>]) -> Result<Vec<Done>> {
        let threads = thread::available_parallelism().map_or(2, NonZero::get).max(2).min(jobs.len());
        let next = AtomicUsize::new(0);
        let results = Mutex::new(Vec::new());
        let worker = || {
            while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                if self.stop.load(Ordering::Relaxed) {
                    break;
                }
                let result = self.layer(job);
                if result.is_err() {
                    // Only the first failure is a cause; the others are layers that were told to stop.
                    let first = !self.stop.swap(true, Ordering::Relaxed);
                    lock(&results).push((!first, job.number, result));
                } else {
                    lock(&results).push((true, job.number, result));
                }
            }
        };
        thread::scope(|scope| {
            let spawned: Vec<_> = (1..threads)
                .map_while(|_| thread::Builder::new().name("layer".into()).spawn_scoped(scope, worker).ok())
                .collect();
            worker();
            for thread in spawned {
                if thread.join().is_err() {
                    self.stop.store(true, Ordering::Relaxed);
                    lock(&results).push((
                        false,
                        0,
                        Err(Error::new("a thread that unpacked a layer panicked")),
                    ));
                }
            }
        });
        let mut results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        results.sort_by_key(|(late, number, _)| (*late, *number));
        results.into_iter().map(|(_, _, result)| result).collect()
    }

    /// Does one job.
    fn layer(&self, job: &Job<'_>) -> Result<Done> {
        let begun = Instant::now();
        let of = self.image.layers.len();
        self.progress.event(&Event::Started { number: job.number, of, layer: job.layer });
        let tree = self.read(job, &layer_name(job.number, of, &job.layer.descriptor.digest))?;
        let mut report = job.report();
        report.us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        report.unpacked = tree.as_ref().map(|tree| tree.unpacked.counts.clone());
        self.progress.event(&Event::Finished(&report));
        Ok(Done { report, tree })
    }

    /// Reads a layer once: into a blob, a tree, both, or only past the hashes.
    fn read(&self, job: &Job<'_>, what: &str) -> Result<Option<Tree>> {
        let root = &self.store.root;
        let watch = |bytes: u64| {
            self.progress.event(&Event::Read { number: job.number, bytes });
            !self.stop.load(Ordering::Relaxed) && !self.progress.cancelled()
        };
        let blob = if job.stored { self.stored(job.layer)? } else { self.image.open_layer(job.layer)? };
        let partial_blob = Partial::new(root, "blob");
        let copy = job.copy.then(|| {
            let path = partial_blob.path.clone();
            durable::create(&path).map(|file| Copy { file, path })
        });
        let mut reader = LayerReader::new(what.to_owned(), job.layer, blob, copy.transpose()?, &watch)?;
        reader.bound(self.store.ratio);
        let mut tree = None;
        if job.unpack {
            let partial = Partial::new(root, "tree");
            fs::create_dir(&partial.path).map_err(|cause| write_failed(&partial.path, &cause))?;
            match (self.unpack)(&mut reader, &partial.path, job.layer.is_lowest()) {
                Ok(unpacked) => tree = Some(Tree { partial, unpacked }),
                Err(error) => return Err(reader.why(error)),
            }
        }
        if let Some(copy) = reader.finish()? {
            let path = self.store.blob_path(&job.layer.descriptor.digest);
            durable::commit(&copy.file, &copy.path, &path)?;
            self.made.add(path);
        }
        Ok(tree)
    }

    /// The store's own copy of a layer's bytes.
    fn stored(&self, layer: &Layer) -> Result<crate::image::files::Blob> {
        let files = crate::image::files::Files::folder(&self.store.root)?;
        files.blob(
            &crate::image::layout::blob_name(&layer.descriptor.digest),
            &layer.descriptor.digest,
            layer.descriptor.size,
        )
    }
}

/// Locks a mutex; a thread that panicked while holding it left nothing half-done.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Removes a file or a tree.
fn remove_any(path: &Path) -> Result<()> {
    remove_tree(path, &mut Tally::default())
}

/// A temporary name; what still has it at the end is removed.
pub(super) struct Partial {
    pub path: PathBuf,
}

impl Partial {
    pub fn new(root: &Path, what: &str) -> Self {
        Self { path: durable::temporary(root, what) }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if self.path.symlink_metadata().is_ok() {
            let _ = remove_any(&self.path);
        }
    }
}

/// What this load made; removed again unless it is kept.
#[derive(Default)]
struct Made(Mutex<Vec<PathBuf>>);

impl Made {
    fn add(&self, path: PathBuf) {
        lock(&self.0).push(path);
    }

    fn keep(&self) {
        lock(&self.0).clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        // Records go before their trees.
        for path in lock(&self.0).drain(..).rev() {
            let _ = remove_any(&path);
        }
    }
}
