//! Removing images, and everything that only they used.
//!
//! Separate because deleting has to be more careful than anything else here: what is in use stays, and if any
//! image cannot be read then nobody knows what it uses, so nothing is collected.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::lock::{Lock, Pin};
use super::record::{is_tree_name, tree_name};
use super::{Progress, Store, is_manifest};
use crate::error::{Error, Result};
use crate::image::digest::Digest;
use crate::image::layout;
use crate::image::manifest::Descriptor;
use crate::image::reference::Name;
use crate::sys::tree::{Tally, remove_tree};

/// What removing an image did.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct RemoveReport {
    /// The name that was removed, if it had one.
    pub name: Option<String>,
    /// The image that was removed; nothing if it has another name.
    pub removed: Option<Digest>,
    /// How many blobs were removed.
    pub blobs: u64,
    /// The bytes of those blobs.
    pub blob_bytes: u64,
    /// How many unpacked layers were removed.
    pub layers: u64,
    /// The calls that removed those layers.
    #[serde(skip)]
    pub tally: Tally,
    /// The image because of which nothing could be collected: it cannot be read, so what it uses is not known.
    pub unreadable: Option<Digest>,
}

/// What the images of the store use.
#[derive(Default)]
struct Used {
    blobs: HashSet<String>,
    layers: HashSet<String>,
}

impl Store {
    /// Removes a name, and the image with it if that was its last one. `in_use` says which container uses an image.
    pub fn remove(
        &self,
        name: &Name,
        in_use: &dyn Fn(&Digest) -> Option<String>,
        progress: &dyn Progress,
    ) -> Result<RemoveReport> {
        let found = self.find_descriptor(name)?;
        self.prepare()?;
        let _alone = Pin::alone(&self.root, progress)?;
        let _lock = self.begin_writing(progress)?;
        let mut manifests = self.index()?.manifests;
        let at = manifests.iter().position(|descriptor| *descriptor == found);
        let at = at.ok_or_else(|| Error::new(format!("image {name} was removed by another process")))?;
        manifests.remove(at);
        let last = manifests.iter().all(|descriptor| descriptor.digest != found.digest);
        if let Some(container) = in_use(&found.digest).filter(|_| last) {
            return Err(Error::new(format!("image {name} is in use by container {container}"))
                .rule("its layers are the lower directories of that container's root file system")
                .remedy("remove the container first"));
        }
        self.write_index(&manifests)?;
        let removed = last.then_some(found.digest);
        let mut report = RemoveReport { name: layout::name_of(&found), removed, ..RemoveReport::default() };
        self.collect(&manifests, &mut report)?;
        Ok(report)
    }

    /// Removes what interrupted writers left: temporary files, and blobs and trees that no image uses. Does nothing
    /// while another process writes, since then nothing is left yet. Without a store, none is made.
    pub fn sweep(&self) -> Result<Vec<PathBuf>> {
        if !self.root.join("tmp").exists() {
            return Ok(Vec::new());
        }
        let Some(_lock) = Lock::if_free(&self.root)? else { return Ok(Vec::new()) };
        let swept = self.sweep_tmp()?;
        if let Some(_alone) = Pin::alone_if_free(&self.root)? {
            self.collect(&self.index()?.manifests, &mut RemoveReport::default())?;
        }
        Ok(swept)
    }

    /// What [`Store::sweep`] would find under temporary names.
    #[must_use]
    pub fn leftovers(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.root.join("tmp"));
        let mut found: Vec<PathBuf> =
            entries.map_or(Vec::new(), |entries| entries.flatten().map(|entry| entry.path()).collect());
        found.sort();
        found
    }

    /// Removes every blob and tree that none of these images uses.
    fn collect(&self, manifests: &[Descriptor], report: &mut RemoveReport) -> Result<()> {
        let mut used = Used::default();
        for descriptor in manifests {
            if self.add_used(descriptor, &mut used).is_err() {
                report.unreadable = Some(descriptor.digest);
                return Ok(());
            }
        }
        for (path, name) in entries(&self.root.join("blobs/sha256"))? {
            if !used.blobs.contains(&name) {
                report.blob_bytes += path.symlink_metadata().map_or(0, |file| file.len());
                report.blobs += 1;
                fs::remove_file(&path)
                    .map_err(|cause| Error::io(format!("cannot remove {}", path.display()), &cause))?;
            }
        }
        self.collect_layers(&used, report)
    }

    /// Removes the trees that no image uses, each record before its tree.
    fn collect_layers(&self, used: &Used, report: &mut RemoveReport) -> Result<()> {
        let layers = entries(&self.root.join("layers"))?;
        for (_, name) in &layers {
            let Some(tree) = name.strip_suffix(".json").filter(|tree| is_tree_name(tree)) else { continue };
            if !used.layers.contains(tree) {
                let path = self.root.join("layers").join(name);
                fs::remove_file(&path)
                    .map_err(|cause| Error::io(format!("cannot remove {}", path.display()), &cause))?;
            }
        }
        for (path, name) in layers {
            if is_tree_name(&name) && !used.layers.contains(&name) {
                remove_tree(&path, &mut report.tally)?;
                report.layers += 1;
            }
        }
        Ok(())
    }

    /// Adds what an image uses.
    fn add_used(&self, descriptor: &Descriptor, used: &mut Used) -> Result<()> {
        if !is_manifest(descriptor) {
            return Err(Error::new(format!("{descriptor} is no manifest")));
        }
        let image = self.image(descriptor)?;
        used.blobs.extend([image.digest().hex(), image.id().hex()]);
        for layer in &image.layers {
            used.blobs.insert(layer.descriptor.digest.hex());
            used.layers.insert(tree_name(&layer.chain_id));
        }
        Ok(())
    }
}

/// The entries of a directory and their names; names that are not text are none of ours.
fn entries(dir: &Path) -> Result<Vec<(PathBuf, String)>> {
    let failed = |cause| Error::io(format!("cannot list {}", dir.display()), &cause);
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if let Ok(name) = entry.file_name().into_string() {
            found.push((entry.path(), name));
        }
    }
    Ok(found)
}
