//! Unpacking one layer: from a tar stream to a directory that overlayfs can stack.
//!
//! A layer is written by strangers, and whoever unpacks it often is root. Three things follow, each with its own file:
//! nothing the archive says can lead outside the directory ([`directories`]); nothing in it can act on overlayfs
//! except what the image format allows to, which is to hide names of lower layers ([`extract`]); and what cannot be
//! kept is counted by kind instead of being lost in silence ([`counts`]). The archive itself is read by
//! [`archive`], which makes no call at all.
//!
//! A layer is unpacked on its own, with nothing below it, so that all layers of an image can be unpacked at the same
//! time. What this cannot know, the attributes of directories that only lower layers list, is returned as
//! [`Unpacked::implicit`] and made good by [`Below`] when all layers are there.

mod adopt;
pub mod archive;
mod counts;
mod directories;
mod extract;
mod header;
mod keep;
pub mod list;
mod names;
mod pax;
mod sparse;
mod stream;

use std::borrow::Cow;
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

pub use adopt::Below;
pub use counts::{Counts, Noted};
pub use list::{ListOptions, Tree, fetch, list};
pub use names::{clean, shown, shown_whole};

use crate::error::{Error, Result};
use crate::sys::tree::{Errno, Failed};
use archive::{Archive, Entry, Unreadable};
use extract::Extractor;
use stream::Short;

/// Which attribute marks an opaque directory for overlayfs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpaqueXattr {
    /// `trusted.overlay.opaque`: the usual one, which takes `CAP_SYS_ADMIN` to set.
    Trusted,
    /// `user.overlay.opaque`: for mounts with `userxattr`, as ordinary users make them.
    User,
}

impl OpaqueXattr {
    /// The attribute's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Trusted => "trusted.overlay.opaque",
            Self::User => "user.overlay.opaque",
        }
    }
}

/// Up to this size a plain archive may have any ratio: empty files and a few zeros compress to nearly nothing.
pub const RATIO_FROM: u64 = 1 << 30;

/// How much one layer may be. Real layers are far below; what is above is a mistake or an attack.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Limits {
    /// Entries of the archive (`--max-entries`).
    pub entries: u64,
    /// Bytes of all files together, holes counted as if they were data (`--max-bytes`).
    pub bytes: u64,
    /// Bytes of one name (`--max-path`).
    pub path: usize,
    /// Directories inside one another (`--max-depth`).
    pub depth: usize,
    /// How many times larger than it is stored a layer may become (`--max-ratio`), once it is so large that this
    /// matters ([`RATIO_FROM`]).
    pub ratio: u64,
}

impl Default for Limits {
    fn default() -> Self {
        // Gzip at its best makes 1 of 1032, which only a bomb needs for so much.
        // PATH_MAX for the path: programs in the container could not open longer ones.
        Self { entries: 5_000_000, bytes: 256 << 30, path: 4096, depth: 256, ratio: 1000 }
    }
}

impl Limits {
    /// Checks an entry, the `number`th of its layer, whose files are `bytes` together so far; gives what they are with it.
    fn admit(&self, entry: &Entry, number: u64, bytes: u64) -> Result<u64, Fault> {
        if number > self.entries {
            return Err(Fault::limit("the layer has more than", self.entries, "entries", "--max-entries"));
        }
        if entry.name.len() > self.path || entry.link.len() > self.path {
            let limit = self.path as u64;
            return Err(Fault::limit("its name or target is longer than", limit, "bytes", "--max-path"));
        }
        let bytes = bytes.saturating_add(entry.real_size());
        if bytes > self.bytes {
            return Err(Fault::limit("the layer's files are more than", self.bytes, "bytes", "--max-bytes"));
        }
        Ok(bytes)
    }
}

/// Called now and then with the bytes of the archive read so far; an error ends the unpacking.
pub type Progress<'a> = &'a (dyn Fn(u64) -> Result<()> + 'a);

/// How to unpack.
#[derive(Clone)]
pub struct Options<'a> {
    /// Whether to try what an ordinary user may not: other owners, devices, `trusted.` and `security.` attributes.
    /// What the kernel then still refuses is counted as not kept.
    pub privileged: bool,
    /// Which attribute makes a directory opaque.
    pub opaque: OpaqueXattr,
    /// Whether nothing will ever be below this layer: then there is nothing to hide, and whiteouts are left out.
    pub lowest: bool,
    /// How much the layer may be.
    pub limits: Limits,
    /// Called now and then.
    pub progress: Option<Progress<'a>>,
}

impl Options<'_> {
    /// What root unpacks with.
    #[must_use]
    pub fn privileged() -> Self {
        Self {
            privileged: true,
            opaque: OpaqueXattr::Trusted,
            lowest: false,
            limits: Limits::default(),
            progress: None,
        }
    }

    /// What an ordinary user unpacks with. The image's root is then that user, as in the user namespace that
    /// the container will run in.
    #[must_use]
    pub fn unprivileged() -> Self {
        Self { privileged: false, opaque: OpaqueXattr::User, ..Self::privileged() }
    }
}

/// What became of a layer.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Unpacked {
    /// What was made, left out and not kept.
    pub counts: Counts,
    /// The directories that the archive does not list but puts something into, parents first; empty for the root.
    ///
    /// overlayfs shows a directory with the attributes it has in the topmost layer. These were made with
    /// mode 0755, so a lower layer's attributes would be hidden: see [`Below`]. When this is empty, the unpacked
    /// layer depends on nothing below it.
    pub implicit: Vec<PathBuf>,
    /// Whether the archive makes the root opaque. overlayfs has no such thing (it merges the roots of
    /// all layers whatever they are marked with): the layers below must be left out of the mount instead.
    pub opaque_root: bool,
}

/// Unpacks one layer, an uncompressed tar archive, into an existing empty directory.
///
/// The stream is read to its end, also what follows the archive, so that a reader which computes a digest sees all
/// of it. On an error the directory holds a part of the layer: the caller removes it
/// ([`crate::sys::tree::remove_tree`]). While layers are unpacked, no thread may change the process' umask.
pub fn unpack(reader: &mut dyn Read, into: &Path, options: &Options<'_>) -> Result<Unpacked> {
    let mut archive = Archive::new(reader);
    let mut extractor = Extractor::new(into, options).map_err(|fault| fault.about_directory(into))?;
    let mut entry = Entry::default();
    loop {
        match archive.next(&mut entry) {
            Ok(true) => {}
            Ok(false) => break,
            Err(unreadable) => return Err(Fault::from(unreadable).about_entry(&entry, into)),
        }
        extractor.entry(&mut archive, &mut entry).map_err(|fault| fault.about_entry(&entry, into))?;
    }
    extractor.finish(archive.offset()).map_err(|fault| fault.about_directory(into))
}

/// Why an entry cannot be unpacked, before it is known which.
#[derive(Debug)]
enum Fault {
    /// The kernel refused a call.
    Call(Failed),
    /// A rule of this project or of the format, and what to try.
    Rule(Cow<'static, str>, Option<Cow<'static, str>>),
    /// The archive cannot be read on.
    Unreadable(Unreadable),
    /// Another part has said it all.
    Whole(Error),
}

impl From<Failed> for Fault {
    fn from(failed: Failed) -> Self {
        Self::Call(failed)
    }
}

impl From<Unreadable> for Fault {
    fn from(unreadable: Unreadable) -> Self {
        Self::Unreadable(unreadable)
    }
}

impl Fault {
    /// A broken rule.
    fn rule(text: &'static str) -> Self {
        Self::Rule(text.into(), None)
    }

    /// A hard link to what the archive does not have.
    fn no_target(link: &[u8]) -> Self {
        let target = shown(link);
        Self::Rule(
            format!("the target `{target}` of the hard link is not in this layer").into(),
            Some(
                "a hard link names a file of its own archive; one of a lower layer must be repeated in full"
                    .into(),
            ),
        )
    }

    /// A name that leads through something else than a directory or a link.
    fn no_directory(name: &[u8]) -> Self {
        Self::Rule(format!("`{}` on its way is no directory in this layer", shown(name)).into(), None)
    }

    /// A limit that is exceeded, with the flag that sets it.
    fn limit(exceeded: &str, limit: u64, unit: &str, flag: &str) -> Self {
        let remedy = format!("raise the limit with {flag} if you trust the image");
        Self::Rule(format!("{exceeded} {limit} {unit} ({flag})").into(), Some(remedy.into()))
    }

    /// The error for a fault in an entry, or in front of the next one if the entry has no name yet.
    fn about_entry(self, entry: &Entry, into: &Path) -> Error {
        let place = entry.offset;
        let what = match entry.name.as_slice() {
            b"" => format!("cannot read the layer's archive at byte {place}"),
            name => format!("cannot unpack entry `{}` of the layer (at byte {place})", shown(name)),
        };
        let base = entry.name.rsplit(|&byte| byte == b'/').find(|part| !part.is_empty()).unwrap_or_default();
        self.error(what, base, into)
    }

    /// The error for a fault before the first entry or after the last.
    fn about_directory(self, into: &Path) -> Error {
        self.error(format!("cannot unpack a layer into `{}`", into.display()), b"", into)
    }

    fn error(self, what: String, name: &[u8], into: &Path) -> Error {
        match self {
            Self::Call(failed) => explain(&failed, failed.error(what, &shown(name)), into),
            Self::Rule(rule, None) => Error::new(what).rule(rule),
            Self::Rule(rule, Some(remedy)) => Error::new(what).rule(rule).remedy(remedy),
            Self::Unreadable(Unreadable::Broken(broken)) => Error::new(what).rule(broken),
            Self::Unreadable(Unreadable::Short(Short::End(_))) => Error::new(what)
                .rule("the archive ends in the middle of an entry")
                .remedy("it was cut off when it was written or copied: fetch the image again"),
            Self::Unreadable(Unreadable::Short(Short::Failed(cause))) => Error::io(what, &cause),
            Self::Whole(error) => error,
        }
    }
}

/// What an errno means while unpacking.
fn explain(failed: &Failed, error: Error, into: &Path) -> Error {
    match failed.errno {
        Errno::NOSPC => error
            .rule(format!("the file system of `{}` is full", into.display()))
            .remedy("free space there (df shows how much is left), or keep the store elsewhere with --state"),
        Errno::DQUOT => error
            .rule(format!("your quota on the file system of `{}` is used up", into.display()))
            .remedy("free space there, or keep the store elsewhere with --state"),
        Errno::NAMETOOLONG => error.rule("a component of a name has at most 255 bytes, a link's target 4095"),
        Errno::ROFS => error.rule(format!("the file system of `{}` is read-only", into.display())),
        Errno::MFILE => {
            error.rule("this process may not open more files").remedy("raise the limit: ulimit -n")
        }
        Errno::FBIG => error.rule("the file is larger than the file system or the limit (ulimit -f) allows"),
        Errno::MLINK => error.rule("the file has as many hard links as its file system can count"),
        _ => error,
    }
}

/// The kernel keeps 12 and 20 bits of a device number. More would be cut off, and 4096:0 become the 0:0 of a whiteout.
fn check_device((major, minor): (u32, u32)) -> Result<(), Fault> {
    if major < 1 << 12 && minor < 1 << 20 {
        return Ok(());
    }
    Err(Fault::rule("its device number is larger than the kernel's 12 and 20 bits"))
}

/// A path below the image's root, from its bytes.
fn path_of(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes))
}
