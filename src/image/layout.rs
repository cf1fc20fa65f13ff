//! The OCI image layout: `oci-layout`, `index.json` and `blobs/sha256/`, in a folder or a tar.
//!
//! Follows [the image layout specification](https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md).
//! Separate from the documents because choosing among several images and platforms is a question of its own.

use std::sync::Arc;

use super::digest::Digest;
use super::files::Files;
use super::json::{self, Field};
use super::manifest::{Descriptor, Index, Manifest, annotation, media_type};
use super::platform::Platform;
use super::reference::familiar;
use super::source::{Document, Found, Image, Parts, assemble, read_loose, read_verified};
use crate::error::{Error, Result};

/// The file that marks a layout and says its version.
pub const MARKER: &str = "oci-layout";

/// The index at the root of a layout.
pub const INDEX: &str = "index.json";

/// What the marker of a version 1 layout contains.
pub const MARKER_TEXT: &str = "{\"imageLayoutVersion\":\"1.0.0\"}";

/// An index may point at an index, and so on: this often.
const MAX_NESTING: usize = 4;

/// The name of a blob's file.
#[must_use]
pub fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Reads the index at the root.
pub fn read_index(files: &Files) -> Result<Index> {
    Ok(read_index_document(files)?.1)
}

/// Reads the index at the root, with its bytes.
fn read_index_document(files: &Files) -> Result<(Document, Index)> {
    check_marker(files)?;
    let what = format!("{INDEX} of {}", files.root().display());
    let bytes = read_loose(files, INDEX)?;
    let index = Index::parse(&what, &bytes, Some(media_type::INDEX))?;
    Ok((Document { descriptor: Descriptor::of(media_type::INDEX, &bytes), bytes }, index))
}

/// Refuses a layout of another version.
fn check_marker(files: &Files) -> Result<()> {
    let what = format!("{MARKER} of {}", files.root().display());
    let value = json::parse(&what, &read_loose(files, MARKER)?)?;
    let version = Field::document(what, &value).need("imageLayoutVersion")?;
    if version.text()?.starts_with("1.") {
        return Ok(());
    }
    Err(version
        .refuse(format!("version {:?} of the image layout is not known here, only 1", version.text()?)))
}

/// Opens one image of a layout.
pub fn open(files: Arc<Files>, wanted: Option<&str>, platform: &Platform) -> Result<Image> {
    let (document, index) = read_index_document(&files)?;
    let place = files.root().display().to_string();
    let (candidates, name) = named(&index, wanted, &place)?;
    let mut image = open_descriptor(files, candidates, name, platform)?;
    image.indexes.insert(0, document);
    Ok(image)
}

/// Puts the index at the root in front of those that led to an image.
pub fn with_root_index(mut image: Image) -> Result<Image> {
    let document = read_index_document(&image.files)?.0;
    image.indexes.insert(0, document);
    Ok(image)
}

/// Opens the image that one of these descriptors leads to.
pub fn open_descriptor(
    files: Arc<Files>,
    mut candidates: Vec<Descriptor>,
    name: Option<String>,
    platform: &Platform,
) -> Result<Image> {
    let place = files.root().display().to_string();
    let mut indexes = Vec::new();
    for _ in 0..=MAX_NESTING {
        let chosen = for_platform(&candidates, platform, &place)?;
        let document = read_verified(&files, &blob_name(&chosen.digest), &chosen)?;
        match chosen.media_type.as_str() {
            media_type::INDEX | media_type::DOCKER_INDEX => {
                let what = format!("index {} of {place}", chosen.digest.short());
                let index = Index::parse(&what, &document.bytes, Some(&chosen.media_type))?;
                candidates = index.manifests.into_iter().filter(Descriptor::can_run).collect();
                indexes.push(document);
            }
            media_type::MANIFEST | media_type::DOCKER_MANIFEST => {
                return Ok(Image { indexes, ..open_manifest(files, document, name)? });
            }
            other => {
                return Err(Error::new(format!("{place} points at a document of type {other:?}"))
                    .rule("an index leads to image manifests or further indexes"));
            }
        }
    }
    Err(Error::new(format!("{place} is refused"))
        .rule(format!("its indexes are nested more than {MAX_NESTING} deep")))
}

/// Reads the config of a manifest and puts the image together.
fn open_manifest(files: Arc<Files>, manifest: Document, name: Option<String>) -> Result<Image> {
    let what = format!("manifest {} of {}", manifest.descriptor.digest.short(), files.root().display());
    let parsed = Manifest::parse(&what, &manifest.bytes, Some(&manifest.descriptor.media_type))?;
    let config = read_verified(&files, &blob_name(&parsed.config.digest), &parsed.config)?;
    let members = parsed.layers.iter().map(|layer| blob_name(&layer.digest)).collect();
    assemble(files, Parts { name, found: Found::OciLayout, manifest, config, members })
}

/// The names in a layout, for listing.
pub fn names(files: &Files) -> Result<Vec<String>> {
    let index = read_index(files)?;
    let mut names: Vec<String> = index.manifests.iter().filter_map(name_of).collect();
    names.dedup();
    Ok(names)
}

/// The name of an image: the full one if there is one.
pub fn name_of(descriptor: &Descriptor) -> Option<String> {
    let full = descriptor.annotation(annotation::IMAGE_NAME);
    full.or_else(|| descriptor.annotation(annotation::REF_NAME)).map(str::to_owned)
}

/// Whether a descriptor has the name that was typed: its tag, its full name in any form, or its digest.
fn is_named(descriptor: &Descriptor, wanted: &str) -> bool {
    let names = [annotation::REF_NAME, annotation::IMAGE_NAME];
    let names: Vec<&str> = names.iter().filter_map(|key| descriptor.annotation(key)).collect();
    names.contains(&wanted)
        || names.iter().any(|name| name.contains(['/', ':']) && familiar(name) == familiar(wanted))
        || descriptor.digest.to_string() == wanted.trim_start_matches('@')
}

/// The descriptors of the one image that is meant, and its name.
fn named(index: &Index, wanted: Option<&str>, place: &str) -> Result<(Vec<Descriptor>, Option<String>)> {
    let images = || index.manifests.iter().filter(|descriptor| descriptor.can_run());
    if images().next().is_none() {
        return Err(
            Error::new(format!("{place} holds no image")).rule("its index.json points at no image manifest")
        );
    }
    let Some(wanted) = wanted else { return the_only_one(images().collect(), place) };
    let exact: Vec<Descriptor> =
        images().filter(|descriptor| is_named(descriptor, wanted)).cloned().collect();
    let found = if exact.is_empty() { by_tag_alone(images(), wanted) } else { exact };
    match found.first().map(name_of) {
        Some(name) => Ok((found, name)),
        None => Err(Error::new(format!("{place} holds no image {wanted:?}"))
            .rule(format!("it holds {}", listed(images())))),
    }
}

/// The images whose full name ends with this tag.
fn by_tag_alone<'a>(images: impl Iterator<Item = &'a Descriptor>, tag: &str) -> Vec<Descriptor> {
    let ends = |name: String| name.rsplit_once(':').is_some_and(|(_, end)| end == tag);
    images.filter(|descriptor| name_of(descriptor).is_some_and(ends)).cloned().collect()
}

/// Without a tag there has to be one image, though it may be there for several platforms or under several names.
fn the_only_one(images: Vec<&Descriptor>, place: &str) -> Result<(Vec<Descriptor>, Option<String>)> {
    let first = images.first().and_then(|first| name_of(first));
    let one_name = images.iter().all(|descriptor| name_of(descriptor) == first);
    let one_image = images.windows(2).all(|pair| pair[0].digest == pair[1].digest);
    let by_platform = images.iter().all(|descriptor| descriptor.platform.is_some());
    if one_image || one_name && by_platform {
        return Ok((images.into_iter().cloned().collect(), first));
    }
    let list = listed(images.into_iter());
    Err(Error::new(format!("{place} holds several images"))
        .rule(format!("it holds {list}"))
        .remedy("add the tag to the path: PATH:TAG, or PATH:@DIGEST where there is no tag"))
}

/// The names of images, or digests where there are none.
fn listed<'a>(images: impl Iterator<Item = &'a Descriptor>) -> String {
    let shown =
        |descriptor: &Descriptor| name_of(descriptor).unwrap_or_else(|| format!("@{}", descriptor.digest));
    let mut names: Vec<String> = images.map(shown).take(50).collect();
    names.dedup();
    names.join(", ")
}

/// Chooses the descriptor for a platform.
fn for_platform(candidates: &[Descriptor], platform: &Platform, place: &str) -> Result<Descriptor> {
    if let [only] = candidates
        && only.platform.is_none()
    {
        return Ok(only.clone());
    }
    let same = candidates.windows(2).all(|pair| pair[0].digest == pair[1].digest);
    if let Some(first) = candidates.first().filter(|first| same && first.platform.is_none()) {
        return Ok(first.clone());
    }
    let suiting =
        |candidate: &&Descriptor| candidate.platform.as_ref().and_then(|offered| platform.suits(offered));
    let best = candidates.iter().filter(|candidate| suiting(candidate).is_some()).min_by_key(suiting);
    best.cloned().ok_or_else(|| {
        let offered = |candidate: &Descriptor| {
            candidate.platform.as_ref().map_or("one without a platform".to_owned(), Platform::to_string)
        };
        let mut list: Vec<String> = candidates.iter().map(offered).collect();
        list.dedup();
        let list = if list.is_empty() { "none at all".to_owned() } else { list.join(", ") };
        Error::new(format!("{place} has no image for {platform}"))
            .rule(format!("it has {list}"))
            .remedy("choose another one with --platform if this machine can run it")
    })
}
