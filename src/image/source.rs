//! Opening an image, whatever its form, and what all forms have in common.
//!
//! The readers of the forms ([`super::layout`], [`super::docker`]) end here: an [`Image`] is a verified manifest,
//! a verified config, and a way to each layer's bytes. The bytes of the two documents are kept as they came:
//! writing parsed JSON again would lose fields and change the digest.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::compression::Compression;
use super::config::Config;
use super::digest::Digest;
use super::files::{Blob, Files};
use super::manifest::{Descriptor, Manifest, layer_compression};
use super::platform::Platform;
use super::reference::{Form, PathReference};
use super::{docker, docker_v1, json, layout};
use crate::error::{Error, Result};

/// A document and the descriptor that its bytes match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The bytes as they came.
    pub bytes: Vec<u8>,
    /// What it is, its digest and its length.
    pub descriptor: Descriptor,
}

/// A layer: a tar of what changed, and where its bytes are.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Layer {
    /// The digest, length and media type of the bytes as they are stored.
    pub descriptor: Descriptor,
    /// The compression that the media type declares; the bytes themselves decide when it is read.
    pub compression: Compression,
    /// The digest of the plain tar.
    pub diff_id: Digest,
    /// Names this layer together with all below it.
    pub chain_id: Digest,
    /// The name of the file it is in, below [`Files::root`].
    #[serde(skip)]
    pub member: String,
}

/// The form in which an image was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Found {
    /// An OCI image layout, in a folder or a tar.
    OciLayout,
    /// What `docker save` writes: `manifest.json`.
    DockerArchive,
    /// What `docker save` wrote before 1.10: a folder for each layer.
    DockerV1,
}

/// An image that can be read.
#[derive(Clone)]
pub struct Image {
    /// Its name where it was found, if it had one.
    pub name: Option<String>,
    /// The form it was found in.
    pub found: Found,
    /// The indexes that led to it, that at the root first; none where the form has none.
    pub indexes: Vec<Document>,
    /// The manifest.
    pub manifest: Document,
    /// The config as it came.
    pub config_document: Document,
    /// The config, read.
    pub config: Config,
    /// The layers, the lowest first.
    pub layers: Vec<Layer>,
    /// Where the bytes are.
    pub(super) files: Arc<Files>,
}

impl Layer {
    /// Whether nothing is below it.
    #[must_use]
    pub fn is_lowest(&self) -> bool {
        self.chain_id == self.diff_id
    }
}

impl Image {
    /// The digest of the manifest: what registries call the image's digest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.manifest.descriptor.digest
    }

    /// The digest of the config: what Docker calls the image ID.
    #[must_use]
    pub fn id(&self) -> Digest {
        self.config_document.descriptor.digest
    }

    /// The bytes of a layer as they are stored, not yet verified.
    pub fn open_layer(&self, layer: &Layer) -> Result<Blob> {
        self.files.blob(&layer.member, &layer.descriptor.digest, layer.descriptor.size)
    }

    /// The folder or archive it comes from.
    #[must_use]
    pub fn origin(&self) -> &Path {
        self.files.root()
    }

    /// The platform it is for, if that is not this machine's: its programs need an emulator to run here.
    #[must_use]
    pub fn foreign_platform(&self) -> Option<Platform> {
        let platform = self.config.platform();
        (Platform::host().suits(&platform).is_none() && !platform.architecture.is_empty()).then_some(platform)
    }

    /// The bytes of all layers as they are stored.
    #[must_use]
    pub fn layer_bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.descriptor.size).fold(0, u64::saturating_add)
    }
}

/// How an image is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// The platform to choose where there are several: this machine's unless asked otherwise.
    pub platform: Platform,
    /// Where an archive that is compressed as a whole is decompressed, into a file without a name.
    pub spool: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        Self { platform: Platform::host(), spool: std::env::temp_dir() }
    }
}

/// Opens the image that a path and perhaps a tag lead to, and verifies its documents.
pub fn open(reference: &PathReference, options: &Options) -> Result<Image> {
    let files = open_files(reference, options)?;
    let image = reference.image.as_deref();
    let has = |name| files.open(name).map(|file| file.is_some());
    let docker_asked = reference.form == Some(Form::DockerArchive);
    if !docker_asked && has(layout::MARKER)? {
        return layout::open(files, image, &options.platform);
    }
    if has(docker::MANIFEST)? {
        refuse_other_form(reference, docker_asked)?;
        return docker::open(files, image, &options.platform);
    }
    if let Some(tree) = docker_v1::Tree::find(&files)? {
        refuse_other_form(reference, docker_asked)?;
        return tree.open(files, image);
    }
    Err(no_image(&files))
}

/// The names of the images in a folder or archive.
pub fn names(reference: &PathReference, options: &Options) -> Result<Vec<String>> {
    let files = open_files(reference, options)?;
    if files.open(layout::MARKER)?.is_some() {
        return layout::names(&files);
    }
    if files.open(docker::MANIFEST)?.is_some() {
        return docker::names(&files);
    }
    docker_v1::Tree::find(&files)?.map_or_else(|| Err(no_image(&files)), |tree| Ok(tree.names()))
}

/// Opens the folder or the archive.
fn open_files(reference: &PathReference, options: &Options) -> Result<Arc<Files>> {
    let is_folder = reference.path.is_dir();
    match (reference.form, is_folder) {
        (Some(Form::OciArchive | Form::DockerArchive), true) => {
            return Err(Error::new(format!("{} is a folder", reference.path.display()))
                .rule("the transport that was typed reads an archive")
                .remedy("use oci:DIR for an image layout in a folder"));
        }
        (Some(Form::Oci), false) if reference.path.exists() => {
            return Err(Error::new(format!("{} is not a folder", reference.path.display()))
                .rule("the transport oci: reads an image layout in a folder")
                .remedy("use oci-archive:FILE for one in a tar"));
        }
        _ => {}
    }
    let files = if is_folder {
        Files::folder(&reference.path)
    } else {
        Files::archive(&reference.path, &options.spool)
    };
    files.map(Arc::new)
}

/// Refuses a Docker archive where a transport promised a layout.
fn refuse_other_form(reference: &PathReference, docker_asked: bool) -> Result<()> {
    if reference.form.is_none() || docker_asked {
        return Ok(());
    }
    Err(Error::new(format!("{} is not an image layout", reference.path.display()))
        .rule("it has no file oci-layout; it looks like what docker save writes")
        .remedy("use docker-archive:FILE, or the path alone"))
}

/// The error of a place that holds nothing known.
fn no_image(files: &Files) -> Error {
    Error::new(format!("{} holds no image", files.root().display()))
        .rule("an image layout has a file oci-layout, an archive of docker save has manifest.json or repositories")
        .remedy("for a plain folder of files use --rootfs DIR")
}

/// What the readers of the forms hand over: verified documents, and the name of each layer's file.
pub(super) struct Parts {
    pub name: Option<String>,
    pub found: Found,
    pub manifest: Document,
    pub config: Document,
    pub members: Vec<String>,
}

/// Reads the two documents and checks them against each other.
pub(super) fn assemble(files: Arc<Files>, parts: Parts) -> Result<Image> {
    let place = files.root().display().to_string();
    let manifest_what = format!("manifest {} of {place}", parts.manifest.descriptor.digest.short());
    let kind = parts.manifest.descriptor.media_type.as_str();
    let manifest = Manifest::parse(&manifest_what, &parts.manifest.bytes, Some(kind))?;
    let config = Config::parse(
        &format!("config {} of {place}", parts.config.descriptor.digest.short()),
        &parts.config.bytes,
    )?;
    if manifest.layers.len() != config.diff_ids.len() {
        return Err(Error::new(format!("{manifest_what} is refused")).rule(format!(
            "it lists {} layers, but its config has {} diff IDs",
            manifest.layers.len(),
            config.diff_ids.len()
        )));
    }
    let chain = config.diff_ids.iter().zip(config.chain_ids());
    let mut layers = Vec::with_capacity(manifest.layers.len());
    for (at, ((descriptor, (diff_id, chain_id)), member)) in
        manifest.layers.into_iter().zip(chain).zip(parts.members).enumerate()
    {
        let compression = layer_compression(&format!("layer {} of {place}", at + 1), &descriptor)?;
        layers.push(Layer { descriptor, compression, diff_id: *diff_id, chain_id, member });
    }
    let Parts { name, found, manifest, config: config_document, .. } = parts;
    Ok(Image { name, found, indexes: Vec::new(), manifest, config_document, config, layers, files })
}

/// Reads a document of an image that no descriptor points at.
pub(super) fn read_loose(files: &Files, name: &str) -> Result<Vec<u8>> {
    files.need(name)?.read_whole(json::MAX_BYTES)
}

/// Reads and verifies the document that a descriptor points at.
pub(super) fn read_verified(files: &Files, name: &str, descriptor: &Descriptor) -> Result<Document> {
    let blob = files.blob(name, &descriptor.digest, descriptor.size)?;
    let what = blob.what().to_owned();
    let mut bytes = blob.read_whole(json::MAX_BYTES)?;
    bytes.shrink_to_fit();
    let actual = Digest::of(&bytes);
    if actual != descriptor.digest {
        return Err(Error::new(format!("{what} is not what its descriptor promises"))
            .rule(format!("its bytes have the digest {actual}"))
            .remedy("the file was damaged or changed: make or fetch the image again"));
    }
    Ok(Document { bytes, descriptor: descriptor.clone() })
}

/// Reads the first bytes of a blob.
pub(super) fn starts_with(mut blob: Blob) -> Result<[u8; 4]> {
    let mut start = [0; 4];
    let len = usize::try_from(blob.len().min(4)).unwrap_or(4);
    let what = blob.what().to_owned();
    blob.read_exact(&mut start[..len]).map_err(|cause| Error::io(format!("cannot read {what}"), &cause))?;
    Ok(start)
}
