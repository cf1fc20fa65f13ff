//! Completion records: what says that a layer's tree is whole.
//!
//! Separate because the record is the only thing that makes a directory under `layers/` a layer: it is written
//! after the tree has its name and removed before the tree is.

use std::path::{Path, PathBuf};

use serde_json::value::RawValue;

use super::durable;
use crate::error::{Error, Result};
use crate::image::digest::Digest;
use crate::image::source::Layer;
use crate::image::unpack::Unpacked;

/// The form of records and trees; trees of another form are unpacked again.
const VERSION: u64 = 1;

/// A record is small.
const MAX_BYTES: u64 = 64 << 10;

/// What is known about a tree.
#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    version: u64,
    chain_id: Digest,
    /// The digest of the plain tar.
    diff_id: Digest,
    /// The user who unpacked it: an ordinary user's tree has other owners and lacks devices.
    uid: u32,
    /// The blobs that were seen to decompress to this layer.
    pub blobs: Vec<Digest>,
    /// Nothing below it is to be seen: overlayfs cannot be told so about a root, the layers below are left out.
    pub opaque_root: bool,
    /// What unpacking created, as JSON.
    pub counts: Box<RawValue>,
}

/// The name of a layer's tree: the beginning of its chain ID, so that many of them fit into the one page of options
/// that mount(2) takes, and into a line. The record has the whole.
pub fn tree_name(chain_id: &Digest) -> String {
    chain_id.hex()[..16].to_owned()
}

/// Whether a file name can be that of a tree.
pub fn is_tree_name(name: &str) -> bool {
    name.len() == 16 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl Record {
    /// The record of a tree that this user just unpacked.
    pub fn new(layer: &Layer, unpacked: &Unpacked) -> Self {
        Self {
            version: VERSION,
            chain_id: layer.chain_id,
            diff_id: layer.diff_id,
            uid: rustix::process::geteuid().as_raw(),
            blobs: vec![layer.descriptor.digest],
            opaque_root: unpacked.opaque_root,
            counts: serde_json::value::to_raw_value(&unpacked.counts).unwrap_or_default(),
        }
    }

    /// Where the record of a layer is.
    pub fn path(root: &Path, chain_id: &Digest) -> PathBuf {
        root.join("layers").join(format!("{}.json", tree_name(chain_id)))
    }

    /// Reads a record; whatever is wrong with it means that there is none.
    pub fn read(root: &Path, chain_id: &Digest) -> Option<Self> {
        let bytes = std::fs::read(Self::path(root, chain_id)).ok()?;
        if bytes.len() as u64 > MAX_BYTES {
            return None;
        }
        let record = Self::parse(&bytes).ok()?;
        (record.chain_id == *chain_id).then_some(record)
    }

    /// Whether its tree can be used by this user and this version.
    pub fn suits(&self) -> bool {
        self.version == VERSION && self.uid == rustix::process::geteuid().as_raw()
    }

    /// Writes it, which makes its tree a layer.
    pub fn write(&self, root: &Path) -> Result<()> {
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        durable::replace(root, &Self::path(root, &self.chain_id), &bytes)
    }

    /// Reads the fields. The counts stay the text they are: most readers only ask whether the tree is there.
    fn parse(bytes: &[u8]) -> Result<Self> {
        let damaged = |_| Error::new("the record of a layer is damaged");
        let fields: Fields<'_> = serde_json::from_slice(bytes).map_err(damaged)?;
        Ok(Self {
            version: fields.version,
            chain_id: fields.chain_id.parse()?,
            diff_id: fields.diff_id.parse()?,
            uid: fields.uid,
            blobs: fields.blobs.iter().map(|blob| blob.parse()).collect::<Result<_>>()?,
            opaque_root: fields.opaque_root,
            counts: fields.counts.to_owned(),
        })
    }
}

/// A record as it is written.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields<'a> {
    version: u64,
    chain_id: &'a str,
    diff_id: &'a str,
    uid: u32,
    #[serde(borrow)]
    blobs: Vec<&'a str>,
    opaque_root: bool,
    #[serde(borrow)]
    counts: &'a RawValue,
}
