//! From what was typed to an opened image, wherever it is: a path, or a name in the store.

use std::ffi::OsStr;
use std::path::Path;

use super::demo;
use super::platform::Platform;
use super::reference::Reference;
use super::source::{self, Image};
use super::store::Store;
use crate::error::{Error, Result};

/// Opens the image that is meant, for a platform if one was asked for. Nothing is loaded.
pub fn find(typed: &OsStr, state: &Path, platform: Option<&str>) -> Result<Image> {
    let platform = platform.map(str::parse::<Platform>).transpose()?;
    let image = match Reference::parse(typed)? {
        Reference::Path(path) => {
            let own = source::Options::default();
            let platform = platform.clone().unwrap_or(own.platform);
            source::open(&path, &source::Options { platform, ..own })?
        }
        Reference::Name(name) => Store::open(state).find_with_index(&name).map_err(|error| {
            let is_demo = name.to_string() == demo::NAME && !demo::is_there(&Store::open(state));
            if is_demo { error.remedy("make the demo image first: cutaway run -- true") } else { error }
        })?,
    };
    match platform.filter(|asked| asked.suits(&image.config.platform()).is_none()) {
        None => Ok(image),
        Some(asked) => Err(Error::new(format!("{} has no image for {asked}", typed.display()))
            .rule(format!("it is for {}", image.config.platform()))),
    }
}
