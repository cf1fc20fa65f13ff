//! What a student's own image is: its digests, computed again from the bytes, and what is left of a file that a layer
//! deletes.
//!
//! Separate from the other checks because nothing of the kernel's is looked at: the image is read as `cutaway layers`
//! reads it, and the same code compares every digest.

use std::path::Path;

use crate::error::Error;
use crate::image::digest::Digest;
use crate::image::listing;
use crate::image::listing::merge::Merged;
use crate::image::reference::{Form, PathReference};
use crate::image::source::{self, Found, Image, Options};
use crate::image::unpack::list::What;
use crate::image::unpack::{Limits, ListOptions, Tree, clean};

use super::check::Seen;

/// The fewest digits of a digest that name it.
const ENOUGH: usize = 12;

/// An image with its layers.
struct Opened {
    image: Image,
    layers: Vec<Tree>,
}

/// What is wrong, in one line.
fn said(error: &Error) -> String {
    let parts = error.parts();
    match &parts.rule {
        Some(rule) => format!("{}: {rule}", parts.what),
        None => parts.what.to_string(),
    }
}

fn open(path: &Path) -> Result<Opened, String> {
    let reference = PathReference { path: path.to_path_buf(), image: None, form: Some(Form::Oci) };
    let image = source::open(&reference, &Options::default()).map_err(|error| said(&error))?;
    let layers = listing::read(&image, &ListOptions { limits: Limits::default(), contents: true }, &());
    Ok(Opened { layers: layers.map_err(|error| said(&error))?, image })
}

/// Whether a folder is an image layout of so many layers. That it could be read says that every digest in it, every
/// diff ID and every size is that of the bytes.
pub fn is_image(path: &Path, layers: usize) -> Seen {
    let Opened { image, .. } = open(path)?;
    match image.layers.len() {
        seen if seen == layers && image.found == Found::OciLayout => {
            Ok(format!("{layers} layers, and every digest is that of the bytes: {}", image.digest().short()))
        }
        seen => Err(format!("the image has {seen} layers")),
    }
}

/// Whether a layer holds a file with this content, a later one deletes it, and no container sees it.
pub fn deleted_is_not_gone(path: &Path, name: &str, content: &str) -> Seen {
    let opened = open(path)?;
    let Some(at) = opened.holder(name, content) else {
        return Err(format!("no layer has a file {name} with that content"));
    };
    let file = cleaned(name);
    if Merged::of(&opened.layers).find(&file).is_some() {
        return Err(format!("layer {} has {name}, and a container still sees it", at + 1));
    }
    let hides = |tree: &Tree| tree.find(&file).is_some_and(|node| tree.inode(node).what == What::Whiteout);
    match opened.layers.iter().rposition(hides) {
        Some(by) if by > at => Ok(format!("layer {} has it, layer {} deletes it", at + 1, by + 1)),
        _ => Err(format!("layer {} has {name}, and no later layer has a whiteout of that name", at + 1)),
    }
}

/// Whether a text names the blob of the layer that holds a file with this content, by its digest.
pub fn names_blob(written: &str, path: &Path, name: &str, content: &str) -> Seen {
    let opened = open(path)?;
    let Some(at) = opened.holder(name, content) else {
        return Err(format!("no layer has a file {name} with that content"));
    };
    let digest: Digest = opened.image.layers[at].descriptor.digest;
    let typed = written.rsplit(['/', ':']).next().unwrap_or_default().trim();
    if typed.len() >= ENOUGH && digest.hex().starts_with(typed) {
        return Ok(format!("the blob {} is layer {}", digest.short(), at + 1));
    }
    Err(match typed {
        "" => "it names nothing".to_owned(),
        typed if typed.len() < ENOUGH => format!("{typed} is too short for a digest"),
        typed => format!("{} is not the blob that holds it", typed.chars().take(ENOUGH).collect::<String>()),
    })
}

fn cleaned(name: &str) -> Vec<u8> {
    let mut file = Vec::new();
    clean(name.as_bytes(), &mut file);
    file
}

impl Opened {
    /// The layer that has a file of this name with this content, white space at its ends apart.
    fn holder(&self, name: &str, content: &str) -> Option<usize> {
        let file = cleaned(name);
        (0..self.layers.len()).find(|&at| {
            let inode = self.layers[at].find(&file).map(|node| self.layers[at].inode(node));
            let Some(inode) = inode.filter(|inode| inode.what == What::File) else { return false };
            let mut bytes = Vec::new();
            let read = listing::extract(&self.image, at, inode.offset, Limits::default().ratio, &mut bytes);
            read.is_ok() && String::from_utf8_lossy(&bytes).trim() == content.trim()
        })
    }
}
