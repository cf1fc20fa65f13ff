//! What `docker save` writes: a tar with `manifest.json`, a config and the layers.
//!
//! Separate from the layout because these archives have no manifest of their own and no digests of the layers'
//! stored bytes. One is written here ([image manifest]), so that everything behind sees the same kind of image;
//! the config, and with it the image ID, stays as it is. Since Docker 25 such an archive is an OCI layout too, and
//! is then read as one.
//!
//! [image manifest]: https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md

use std::sync::Arc;

use super::compression::Compression;
use super::config::Config;
use super::digest::Digest;
use super::files::Files;
use super::json::{self, Field};
use super::manifest::{Descriptor, media_type};
use super::platform::Platform;
use super::reference::familiar;
use super::source::{Document, Found, Image, Parts, assemble, read_loose, starts_with};
use crate::error::{Error, Result};

/// The list of images.
pub const MANIFEST: &str = "manifest.json";

/// One image in the list.
struct Entry {
    config: String,
    names: Vec<String>,
    layers: Vec<String>,
}

/// Opens one image of an archive.
pub fn open(files: Arc<Files>, wanted: Option<&str>, platform: &Platform) -> Result<Image> {
    let entry = choose(read_entries(&files)?, wanted, &files, platform)?;
    let bytes = read_loose(&files, &entry.config)?;
    let digest = Digest::of(&bytes);
    check_config_name(&entry.config, &digest, &files)?;
    let what = format!("{} of {}", entry.config, files.root().display());
    let diff_ids = Config::parse(&what, &bytes)?.diff_ids;
    if diff_ids.len() != entry.layers.len() {
        return Err(Error::new(format!("{what} is refused")).rule(format!(
            "it has {} diff IDs, but {MANIFEST} lists {} layers",
            diff_ids.len(),
            entry.layers.len()
        )));
    }
    let layers =
        entry.layers.iter().zip(&diff_ids).map(|(layer, diff_id)| describe(&files, layer, Some(diff_id)));
    let layers = layers.collect::<Result<Vec<_>>>()?;
    let config = Document { descriptor: Descriptor::of(media_type::CONFIG, &bytes), bytes };
    let name = entry.names.iter().find(|name| wanted.is_none_or(|wanted| names_it(name, wanted)));
    let name = name.or(entry.names.first()).cloned();
    let manifest = write_manifest(&config.descriptor, &layers);
    assemble(files, Parts { name, found: Found::DockerArchive, manifest, config, members: entry.layers })
}

/// The names of all images.
pub fn names(files: &Files) -> Result<Vec<String>> {
    Ok(read_entries(files)?.into_iter().flat_map(|entry| entry.names).collect())
}

/// Reads `manifest.json`.
fn read_entries(files: &Files) -> Result<Vec<Entry>> {
    let what = format!("{MANIFEST} of {}", files.root().display());
    let value = json::parse(&what, &read_loose(files, MANIFEST)?)?;
    let read = |entry: &Field<'_>| {
        Ok(Entry {
            config: entry.need("Config")?.kernel_text()?,
            names: entry.get("RepoTags")?.map_or(Ok(Vec::new()), |names| names.texts())?,
            layers: entry.get("Layers")?.map_or(Ok(Vec::new()), |layers| layers.texts())?,
        })
    };
    Field::document(what, &value).items()?.iter().map(read).collect()
}

/// Whether a name in the archive is the one that was typed: the same in any form, or its tag.
fn names_it(name: &str, wanted: &str) -> bool {
    familiar(name) == familiar(wanted) || name.rsplit_once(':').is_some_and(|(_, tag)| tag == wanted)
}

/// Chooses the image that is meant.
fn choose(
    mut entries: Vec<Entry>,
    wanted: Option<&str>,
    files: &Files,
    platform: &Platform,
) -> Result<Entry> {
    let place = files.root().display().to_string();
    let list = entries.iter().flat_map(|entry| entry.names.clone()).take(50).collect::<Vec<_>>().join(", ");
    if let Some(at) =
        wanted.and_then(|wanted| wanted.strip_prefix('@')).and_then(|at| at.parse::<usize>().ok())
        && at < entries.len()
    {
        return Ok(entries.swap_remove(at));
    }
    if let Some(wanted) = wanted {
        entries.retain(|entry| entry.names.iter().any(|name| names_it(name, wanted)));
    }
    if entries.len() > 1 {
        entries = for_platform(entries, files, platform)?;
    }
    let more = entries.len() > 1;
    match (entries.pop(), wanted) {
        (Some(entry), _) if !more => Ok(entry),
        (None, Some(wanted)) => {
            Err(Error::new(format!("{place} holds no image {wanted:?}")).rule(format!("it holds {list}")))
        }
        (None, None) => {
            Err(Error::new(format!("{place} holds no image")).rule(format!("its {MANIFEST} is empty")))
        }
        _ => Err(Error::new(format!("{place} holds several images"))
            .rule(format!("it holds {list}"))
            .remedy("add the name to the path: FILE:NAME:TAG, or FILE:@NUMBER, counted from 0")),
    }
}

/// Keeps the one entry whose config is for a platform, if the entries are one image for several platforms.
fn for_platform(entries: Vec<Entry>, files: &Files, platform: &Platform) -> Result<Vec<Entry>> {
    if entries.windows(2).any(|pair| pair[0].names != pair[1].names) {
        return Ok(entries);
    }
    let mut suiting = Vec::new();
    for entry in entries {
        let config = Config::parse(&entry.config, &read_loose(files, &entry.config)?)?;
        if platform.suits(&config.platform()).is_some() {
            suiting.push(entry);
        }
    }
    Ok(suiting)
}

/// A config that is named by a digest must have it.
fn check_config_name(name: &str, actual: &Digest, files: &Files) -> Result<()> {
    let stem = name.rsplit('/').next().unwrap_or(name);
    let named = Digest::from_hex(stem.strip_suffix(".json").unwrap_or(stem));
    match named.filter(|named| named != actual) {
        None => Ok(()),
        Some(_) => {
            Err(Error::new(format!("{name} of {} is not what its name promises", files.root().display()))
                .rule(format!("its bytes have the digest {actual}"))
                .remedy("the file was damaged or changed: save the image again"))
        }
    }
}

/// Describes a layer's file. A plain tar has its diff ID as digest, which is verified when it is read; a
/// compressed one is read now, since no document of the archive knows its digest.
pub(super) fn describe(files: &Files, member: &str, diff_id: Option<&Digest>) -> Result<Descriptor> {
    let blob = files.need(member)?;
    let size = blob.len();
    let compression = Compression::sniff(&starts_with(files.need(member)?)?);
    let media_type = match compression {
        Compression::None => media_type::LAYER,
        Compression::Gzip => media_type::LAYER_GZIP,
        Compression::Zstd => media_type::LAYER_ZSTD,
    };
    let digest = match (compression, diff_id) {
        (Compression::None, Some(diff_id)) => *diff_id,
        _ => blob.digest()?.0,
    };
    Ok(Descriptor {
        media_type: media_type.to_owned(),
        digest,
        size,
        platform: None,
        annotations: Vec::new(),
    })
}

/// Writes the manifest that such an archive lacks.
pub(super) fn write_manifest(config: &Descriptor, layers: &[Descriptor]) -> Document {
    let bytes = super::write::manifest(config, layers);
    Document { descriptor: Descriptor::of(media_type::MANIFEST, &bytes), bytes }
}
