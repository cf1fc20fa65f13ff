//! Images: reading OCI layouts and `docker save` archives, verifying, unpacking, the store, the built-in demo.
//!
//! An image is four kinds of document that point at each other by digest: an index names manifests, a manifest
//! names one config and the layers. The submodules follow that order, and each reads as a page of the
//! [OCI image specification](https://github.com/opencontainers/image-spec/blob/v1.1.1/spec.md):
//!
//! ```text
//! reference   what the user typed            ./dir  image.tar:1.0  oci:DIR  debian:12
//! source      open it, whatever its form  →  Image
//!   files       a folder or a tar, as named byte ranges of regular files
//!   layout      index.json → index → manifest         (OCI image layout)
//!   docker      manifest.json, or the older v1 folders (docker save)
//!   manifest, config, platform, json                   the documents themselves, strictly read
//! stream      a layer's bytes, decompressed and verified while they flow
//! stack       all layers unpacked to directories of the user's own
//! store       the content-addressed store and its unpacked layers
//! listing     the layers listed and merged in memory, without unpacking
//! merged      what a container of these layers would see: files, users, commands
//! write, demo an image made from this machine's own programs
//! ```
//!
//! Whatever comes from a file is data to be judged: no document, size or name in it is believed before it is
//! checked, and nothing in it ever names a file outside the image.

pub mod compression;
pub mod config;
pub mod demo;
pub mod digest;
mod docker;
mod docker_v1;
pub mod files;
pub mod find;
mod json;
mod layout;
pub mod listing;
pub mod manifest;
pub mod merged;
pub mod platform;
pub mod reference;
pub mod source;
pub mod stack;
pub mod store;
pub mod stream;
pub mod unpack;
pub mod write;

pub use compression::Compression;
pub use config::Config;
pub use digest::Digest;
pub use manifest::Descriptor;
pub use platform::Platform;
pub use reference::Reference;
pub use source::{Document, Image, Layer};
pub use store::Store;
