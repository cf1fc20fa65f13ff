//! Writing images: the documents, and a layout in a folder.
//!
//! Separate from reading because a writer has one form and makes promises, where the readers take many forms and
//! believe none. Used for the demo image, for archives that lack a manifest, and for the index of the store.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::digest::{Digest, Hasher};
use super::layout;
use super::manifest::{Descriptor, annotation, media_type};
use super::store::write_failed;
use crate::error::Result;

/// The bytes of a manifest ([image manifest]).
///
/// [image manifest]: https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md
#[must_use]
pub fn manifest(config: &Descriptor, layers: &[Descriptor]) -> Vec<u8> {
    let document =
        json!({ "schemaVersion": 2, "mediaType": media_type::MANIFEST, "config": config, "layers": layers });
    document.to_string().into_bytes()
}

/// The bytes of an index ([image index]).
///
/// [image index]: https://github.com/opencontainers/image-spec/blob/v1.1.1/image-index.md
#[must_use]
pub fn index(manifests: &[Descriptor]) -> Vec<u8> {
    json!({ "schemaVersion": 2, "mediaType": media_type::INDEX, "manifests": manifests })
        .to_string()
        .into_bytes()
}

/// Writes an image layout into a folder of its own.
pub struct LayoutWriter {
    dir: PathBuf,
    layers: Vec<Descriptor>,
    diff_ids: Vec<Digest>,
}

/// Where the entries of a layer go.
pub type LayerTar<'a> = tar::Builder<&'a mut dyn Write>;

impl LayoutWriter {
    /// Begins a layout in a folder that does not exist yet.
    pub fn create(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir.join("blobs/sha256")).map_err(|cause| write_failed(dir, &cause))?;
        let this = Self { dir: dir.to_path_buf(), layers: Vec::new(), diff_ids: Vec::new() };
        this.file(layout::MARKER, layout::MARKER_TEXT.as_bytes())?;
        Ok(this)
    }

    /// Writes a layer, gzip-compressed for speed; `fill` appends its entries.
    pub fn layer(&mut self, fill: impl FnOnce(&mut LayerTar<'_>) -> Result<()>) -> Result<()> {
        let path = self.dir.join("layer.partial");
        let failed = |cause: io::Error| write_failed(&path, &cause);
        let out = BufWriter::with_capacity(256 << 10, File::create(&path).map_err(failed)?);
        let mut compressed = GzEncoder::new(Hashing::new(out), flate2::Compression::fast());
        let diff_id = write_plain(&mut compressed, &path, fill)?;
        let mut stored = compressed.finish().map_err(failed)?;
        stored.flush().map_err(failed)?;
        let (digest, size) = stored.hasher.finish();
        fs::rename(&path, self.dir.join(layout::blob_name(&digest))).map_err(failed)?;
        let media_type = media_type::LAYER_GZIP.to_owned();
        self.layers.push(Descriptor { media_type, digest, size, platform: None, annotations: Vec::new() });
        self.diff_ids.push(diff_id);
        Ok(())
    }

    /// Writes the config, to which `rootfs` is added, the manifest and the index.
    pub fn finish(self, mut config: Value, name: &str) -> Result<Descriptor> {
        if let Some(config) = config.as_object_mut() {
            config.insert("rootfs".to_owned(), json!({ "type": "layers", "diff_ids": self.diff_ids }));
        }
        let config = self.blob(media_type::CONFIG, config.to_string().as_bytes())?;
        let mut manifest = self.blob(media_type::MANIFEST, &manifest(&config, &self.layers))?;
        manifest.annotations.push((annotation::REF_NAME.to_owned(), name.to_owned()));
        self.file(layout::INDEX, &index(std::slice::from_ref(&manifest)))?;
        Ok(manifest)
    }

    /// Writes a document as a blob.
    fn blob(&self, media_type: &str, bytes: &[u8]) -> Result<Descriptor> {
        let descriptor = Descriptor::of(media_type, bytes);
        self.file(&layout::blob_name(&descriptor.digest), bytes)?;
        Ok(descriptor)
    }

    /// Writes a file of the layout.
    fn file(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.dir.join(name);
        fs::write(&path, bytes).map_err(|cause| write_failed(&path, &cause))
    }
}

/// Writes the plain tar of a layer and gives its digest.
fn write_plain(
    into: &mut dyn Write,
    path: &Path,
    fill: impl FnOnce(&mut LayerTar<'_>) -> Result<()>,
) -> Result<Digest> {
    let failed = |cause: io::Error| write_failed(path, &cause);
    let mut plain = BufWriter::with_capacity(64 << 10, Hashing::new(into));
    let mut tar: LayerTar<'_> = tar::Builder::new(&mut plain);
    fill(&mut tar)?;
    tar.finish().map_err(failed)?;
    drop(tar);
    let plain = plain.into_inner().map_err(|cause| failed(cause.into_error()))?;
    Ok(plain.hasher.finish().0)
}

/// Hashes what passes through.
struct Hashing<W: Write> {
    inner: W,
    hasher: Hasher,
}

impl<W: Write> Hashing<W> {
    fn new(inner: W) -> Self {
        Self { inner, hasher: Hasher::default() }
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..len]);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Appends one entry with everything in it fixed but what is given: the same entries give the same bytes.
pub struct Entry<'a> {
    /// The name, without a slash in front.
    pub name: &'a [u8],
    /// The permission bits.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u64, u64),
    /// Seconds since 1970.
    pub mtime: u64,
}

impl Entry<'_> {
    /// A directory.
    pub fn dir(&self, tar: &mut LayerTar<'_>) -> Result<()> {
        self.append(tar, tar::EntryType::Directory, None, 0, &[][..])
    }

    /// A regular file of `len` bytes.
    pub fn file(&self, tar: &mut LayerTar<'_>, len: u64, bytes: impl io::Read) -> Result<()> {
        self.append(tar, tar::EntryType::Regular, None, len, bytes)
    }

    /// A symbolic link.
    pub fn symlink(&self, tar: &mut LayerTar<'_>, target: &[u8]) -> Result<()> {
        self.append(tar, tar::EntryType::Symlink, Some(target), 0, &[][..])
    }

    /// Writes the header and the bytes.
    fn append(
        &self,
        tar: &mut LayerTar<'_>,
        kind: tar::EntryType,
        target: Option<&[u8]>,
        len: u64,
        bytes: impl io::Read,
    ) -> Result<()> {
        use std::os::unix::ffi::OsStrExt;
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(self.mode);
        header.set_uid(self.owner.0);
        header.set_gid(self.owner.1);
        header.set_mtime(self.mtime);
        header.set_size(len);
        let path = |bytes| Path::new(std::ffi::OsStr::from_bytes(bytes));
        let written = match target {
            Some(target) => tar.append_link(&mut header, path(self.name), path(target)),
            None => tar.append_data(&mut header, path(self.name), bytes.take(len)),
        };
        written.map_err(|cause| {
            let what = format!("{} into a layer", super::files::shown(self.name));
            super::store::write_failed(Path::new(&what), &cause)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{reference::PathReference, source};

    fn write(dir: &Path) -> Descriptor {
        let mut writer = LayoutWriter::create(dir).unwrap();
        let entry = Entry { name: b"hello", mode: 0o644, owner: (0, 0), mtime: 1 };
        writer.layer(|tar| entry.file(tar, 2, &b"hi"[..])).unwrap();
        writer.layer(|tar| Entry { name: b"link", ..entry }.symlink(tar, b"hello")).unwrap();
        writer.finish(json!({ "architecture": "amd64", "os": "linux" }), "test:1").unwrap()
    }

    #[test]
    fn what_is_written_is_read_and_is_the_same_twice() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        assert_eq!(write(&one), write(&two));
        let reference = PathReference { path: one, image: Some("1".into()), form: None };
        let image = source::open(&reference, &source::Options::default()).unwrap();
        assert_eq!((image.layers.len(), image.name.as_deref()), (2, Some("test:1")));
    }
}
