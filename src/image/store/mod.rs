//! The store: every image that was loaded, once, under the state directory.
//!
//! It is itself an OCI image layout, so other tools can read it (`skopeo inspect oci:DIR:demo`), with the unpacked
//! layers beside:
//!
//! ```text
//! oci-layout  index.json  blobs/sha256/<hex>     the layout; a name is an annotation in index.json
//! layers/<beginning of the chain ID>/            a layer's tree, an overlay's lowerdir
//! layers/<beginning of the chain ID>.json        its completion record, written last
//! tmp/                                           what is being written, owned by whoever holds `lock`
//! lock                                           held by the one writer
//! pins                                           held, shared, by those who are about to use an image
//! ```
//!
//! Trees go by chain ID, which names a layer together with all below it, and not by diff ID: a directory that a
//! layer only passes through takes its owner and mode from the layers below, so the same tar unpacks differently
//! on another base. Images that share their lower layers, as those of one base do, share the trees.
//!
//! Three rules keep 50 runs at once and a `kill -9` harmless. A file gets its name when it is complete and on the
//! disk, never before. Whoever holds `lock` owns `tmp/`, so whatever is found there was left by the dead. Readers
//! take no lock at all: `index.json` is replaced, not changed.

mod collect;
mod durable;
mod load;
mod lock;
mod record;

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use collect::RemoveReport;
pub(super) use durable::write_failed;
pub use load::{LayerReport, LoadReport, Unpack, unpack_as_user, unpack_within};
pub use lock::Pin;

use super::digest::Digest;
use super::files::Files;
use super::layout;
use super::manifest::{Descriptor, Index, annotation, media_type};
use super::platform::Platform;
use super::reference::{Name, familiar};
use super::source::{Image, Layer};
use super::unpack::Limits;
use crate::error::{Error, Result};

/// Told of what goes on while an image is loaded, and asked whether to go on. Called from several threads.
pub trait Progress: Sync {
    /// Something happened.
    fn event(&self, event: &Event<'_>) {
        let _ = event;
    }

    /// Whether to stop as soon as possible, because of a signal for example.
    fn cancelled(&self) -> bool {
        false
    }
}

impl Progress for () {}

/// What goes on.
#[derive(Debug)]
pub enum Event<'a> {
    /// Another process writes to the store; this one waits for it.
    Waiting,
    /// So many stored bytes are going to be read.
    Planned {
        /// How many.
        bytes: u64,
    },
    /// A layer is begun.
    Started {
        /// Counted from 1, the lowest layer first.
        number: usize,
        /// How many there are.
        of: usize,
        /// The layer.
        layer: &'a Layer,
    },
    /// Stored bytes of a layer were read.
    Read {
        /// Of which layer.
        number: usize,
        /// How many since the last time.
        bytes: u64,
    },
    /// A layer is done.
    Finished(&'a LayerReport),
}

/// The store at a directory. Making one touches nothing.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    /// How many times larger than it is stored a layer may become.
    ratio: u64,
}

/// An image in the store, for listing.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Stored {
    /// Its name; none if another image took it.
    pub name: Option<String>,
    /// The digest of its manifest.
    pub digest: Digest,
    /// The digest of its config, the image ID.
    pub id: Digest,
    /// When it was made, RFC 3339.
    pub created: Option<String>,
    /// Where it runs.
    pub platform: Platform,
    /// The number of layers.
    pub layers: usize,
    /// The number of layers that are unpacked.
    pub unpacked: usize,
    /// The bytes of its layers as they are stored.
    pub bytes: u64,
}

impl Store {
    /// The store at this directory, which need not exist: reading an absent store finds no images.
    #[must_use]
    pub fn open(root: &Path) -> Self {
        Self { root: root.to_path_buf(), ratio: Limits::default().ratio }
    }

    /// The same store, for layers that may become larger than usual, or only less large.
    #[must_use]
    pub fn within(self, limits: &Limits) -> Self {
        Self { ratio: limits.ratio, ..self }
    }

    /// The directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The names of all images.
    pub fn names(&self) -> Result<Vec<String>> {
        Ok(self.index()?.manifests.iter().filter_map(layout::name_of).collect())
    }

    /// All images, each with the error that reading it gave, if it gave one.
    pub fn list(&self) -> Result<Vec<Result<Stored>>> {
        let index = self.index()?;
        Ok(index.manifests.iter().map(|descriptor| self.describe(descriptor)).collect())
    }

    /// Every image that can be read.
    pub fn images(&self) -> Result<Vec<Image>> {
        let index = self.index()?;
        Ok(index.manifests.iter().filter_map(|descriptor| self.image(descriptor).ok()).collect())
    }

    /// The image of this name with the index that led to it.
    pub fn find_with_index(&self, name: &Name) -> Result<Image> {
        layout::with_root_index(self.find(name)?)
    }

    /// The image of this name, digest, or unambiguous beginning of a digest or image ID.
    pub fn find(&self, name: &Name) -> Result<Image> {
        self.image(&self.find_descriptor(name)?)
    }

    /// The directory of a layer's tree, by chain ID, whether it is there or not.
    #[must_use]
    pub fn layer_dir(&self, chain_id: &Digest) -> PathBuf {
        self.root.join("layers").join(record::tree_name(chain_id))
    }

    /// The directories to merge for an image, the lowest first: those of its layers, without the ones that a layer
    /// above hides whole.
    #[must_use]
    pub fn layer_dirs(&self, image: &Image) -> Vec<PathBuf> {
        let hides = |layer: &Layer| {
            record::Record::read(&self.root, &layer.chain_id).is_some_and(|it| it.opaque_root)
        };
        let start = image.layers.iter().rposition(hides).unwrap_or(0);
        image.layers[start..].iter().map(|layer| self.layer_dir(&layer.chain_id)).collect()
    }

    /// The directories to merge for an image, as [`Store::layer_dirs`] gives them, if every layer is unpacked.
    /// Reads each record once.
    #[must_use]
    pub fn ready_dirs(&self, image: &Image) -> Option<Vec<PathBuf>> {
        let mut dirs = Vec::with_capacity(image.layers.len());
        for layer in &image.layers {
            let record = record::Record::read(&self.root, &layer.chain_id).filter(record::Record::suits)?;
            if record.opaque_root {
                dirs.clear();
            }
            dirs.push(self.layer_dir(&layer.chain_id));
        }
        Some(dirs)
    }

    /// Whether a layer's tree is there, complete, and was unpacked by this user.
    #[must_use]
    pub fn is_unpacked(&self, chain_id: &Digest) -> bool {
        record::Record::read(&self.root, chain_id).is_some_and(|record| record.suits())
    }

    /// The layers of an image that are not unpacked yet.
    #[must_use]
    pub fn missing_layers<'a>(&self, image: &'a Image) -> Vec<&'a Layer> {
        image.layers.iter().filter(|layer| !self.is_unpacked(&layer.chain_id)).collect()
    }

    /// Keeps images from being removed while it is held: take it before looking one up, drop it when the container
    /// that uses it is registered. Not to be held while removing.
    pub fn pin(&self) -> Result<Pin> {
        self.prepare()?;
        Pin::shared(&self.root)
    }

    /// The index; empty if there is no store yet.
    fn index(&self) -> Result<Index> {
        match self.files()? {
            Some(files) if files.open(layout::INDEX)?.is_some() => layout::read_index(&files),
            _ => Ok(Index { manifests: Vec::new() }),
        }
    }

    /// The files of the store, if it exists.
    fn files(&self) -> Result<Option<Arc<Files>>> {
        match self.root.symlink_metadata() {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            _ => Files::folder(&self.root).map(|files| Some(Arc::new(files))),
        }
    }

    /// The image that a descriptor of the index leads to.
    fn image(&self, descriptor: &Descriptor) -> Result<Image> {
        let files = self
            .files()?
            .ok_or_else(|| Error::new(format!("there is no store at {}", self.root.display())))?;
        let name = descriptor.annotation(annotation::REF_NAME).map(str::to_owned);
        let platform = descriptor.platform.clone().unwrap_or_else(Platform::host);
        layout::open_descriptor(files, vec![descriptor.clone()], name, &platform)
    }

    /// A line of the list.
    fn describe(&self, descriptor: &Descriptor) -> Result<Stored> {
        let image = self.image(descriptor)?;
        Ok(Stored {
            digest: image.digest(),
            id: image.id(),
            created: image.config.created.clone(),
            platform: image.config.platform(),
            layers: image.layers.len(),
            unpacked: image.layers.iter().filter(|layer| self.is_unpacked(&layer.chain_id)).count(),
            bytes: image.layer_bytes(),
            name: image.name,
        })
    }

    /// The entry of the index that is meant.
    fn find_descriptor(&self, name: &Name) -> Result<Descriptor> {
        let index = self.index()?;
        let wanted = name.familiar();
        let named = |descriptor: &&Descriptor| {
            layout::name_of(descriptor).is_some_and(|name| familiar(&name) == wanted)
        };
        if name.digest.is_none()
            && let Some(found) = index.manifests.iter().find(named)
        {
            return Ok(found.clone());
        }
        let mut found = self.by_digest(&index, name);
        found.dedup_by_key(|descriptor| descriptor.digest);
        match (found.pop(), found.is_empty()) {
            (Some(descriptor), true) => Ok(descriptor),
            (Some(_), false) => {
                Err(Error::new(format!("{name} begins more than one image ID")).remedy("type more of it"))
            }
            (None, _) => Err(self.not_found(name, &index)),
        }
    }

    /// The entries whose digest or image ID begins as typed.
    fn by_digest(&self, index: &Index, name: &Name) -> Vec<Descriptor> {
        let tag = name.tag.as_deref().unwrap_or_default();
        let whole =
            name.digest.or_else(|| (name.repository == "sha256").then(|| Digest::from_hex(tag)).flatten());
        let start = whole.map_or_else(|| name.repository.clone(), |digest| digest.hex());
        let is_hex = start.len() >= 6 && start.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_hex || whole.is_none() && name.tag.is_some() {
            return Vec::new();
        }
        let mut found = Vec::new();
        for descriptor in &index.manifests {
            let is_it = descriptor.digest.hex().starts_with(&start)
                || self.image(descriptor).is_ok_and(|image| image.id().hex().starts_with(&start));
            if is_it {
                found.push(descriptor.clone());
            }
        }
        found
    }

    /// The error of a name that no image has.
    fn not_found(&self, name: &Name, index: &Index) -> Error {
        let mut names: Vec<String> = index.manifests.iter().filter_map(layout::name_of).collect();
        names.sort();
        let error = Error::new(format!("there is no image {name} in the store at {}", self.root.display()));
        if names.is_empty() {
            return error
                .rule("the store is empty")
                .remedy("load one with `cutaway image load PATH`, or give a path such as ./image.tar");
        }
        let shown = names.iter().take(20).cloned().collect::<Vec<_>>().join(", ");
        let more = if names.len() > 20 { format!(" and {} more", names.len() - 20) } else { String::new() };
        error
            .rule(format!("it has {shown}{more}"))
            .remedy("load it with `cutaway image load PATH`, or give a path such as ./image.tar")
    }

    /// Makes the directories where they are missing. Everything is for this user only: the
    /// trees contain setuid programs and device files that other users of the host must not reach.
    fn prepare(&self) -> Result<()> {
        let owner = durable::patiently(|| {
            if !self.root.is_dir() {
                DirBuilder::new().recursive(true).mode(0o700).create(&self.root)?;
            }
            self.root.metadata()
        });
        let owner = owner.map_err(|cause| write_failed(&self.root, &cause))?.uid();
        let user = rustix::process::geteuid().as_raw();
        if owner != user {
            return Err(Error::new(format!("the store at {} belongs to user {owner}", self.root.display()))
                .rule(format!(
                    "only its owner writes to it, and this is user {user}: trees of two owners do not mix"
                ))
                .remedy("use another one with --state DIR"));
        }
        for dir in ["blobs", "blobs/sha256", "layers", "tmp"] {
            durable::private_dir(&self.root.join(dir))?;
        }
        Ok(())
    }

    /// Becomes the one writer: what the dead left in `tmp/` is removed, and an empty store becomes a layout.
    fn begin_writing(&self, progress: &dyn Progress) -> Result<lock::Lock> {
        self.prepare()?;
        let lock = lock::Lock::exclusive(&self.root, progress)?;
        self.sweep_tmp()?;
        let marker = self.root.join(layout::MARKER);
        if !marker.exists() {
            durable::replace(&self.root, &marker, layout::MARKER_TEXT.as_bytes())?;
        }
        if !self.root.join(layout::INDEX).exists() {
            self.write_index(&[])?;
        }
        Ok(lock)
    }

    /// Replaces the index.
    fn write_index(&self, manifests: &[Descriptor]) -> Result<()> {
        durable::replace(&self.root, &self.root.join(layout::INDEX), &super::write::index(manifests))
    }

    /// The path of a blob.
    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join(layout::blob_name(digest))
    }
}

/// The media types of the manifests that the store keeps.
fn is_manifest(descriptor: &Descriptor) -> bool {
    [media_type::MANIFEST, media_type::DOCKER_MANIFEST].contains(&descriptor.media_type.as_str())
}
