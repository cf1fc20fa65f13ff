//! The directories of an overlay, seen next to each other: what is in a lower layer, in upper, and in merged.
//!
//! For each path it says what the path is in each of the three, with mode, size, disk use, inode number and the
//! attributes in which overlayfs keeps its notes. The rows are the paths that were asked for and everything that
//! is in upper: what overlayfs has done shows there.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};

use super::read;

/// More entries of upper than this are counted, not listed.
const MOST: usize = 200;
/// A longer value of an attribute is told by its length.
const LONGEST: usize = 40;

/// The namespaces of the attributes in which overlayfs keeps its notes: the privileged one, and the one that
/// `userxattr` chooses.
pub const NOTES: [&str; 2] = ["trusted.overlay.", "user.overlay."];

/// The directories of an overlay, as the acting process names them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Views {
    /// The lower layers, the topmost first.
    pub lower: Vec<PathBuf>,
    /// The writable layer.
    pub upper: PathBuf,
    /// The scratch space of overlayfs.
    pub work: PathBuf,
    /// Where the overlay is mounted.
    pub merged: PathBuf,
    /// Paths to look at wherever they are, relative to the root of the tree.
    pub paths: Vec<PathBuf>,
    /// Whether to look at everything in upper too.
    pub whole: bool,
}

impl Views {
    /// The snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Json {
        let mut rows: BTreeSet<PathBuf> = self.paths.iter().cloned().collect();
        let mut left_out = 0;
        if self.whole {
            below(&self.upper, Path::new(""), &mut rows, &mut left_out);
        }
        let mut all: Vec<Json> = rows.iter().map(|path| self.row(path)).collect();
        if left_out > 0 {
            all.push(json!({ "path": format!("and {left_out} more in upper") }));
        }
        let mut work = BTreeSet::new();
        below(&self.work, Path::new(""), &mut work, &mut left_out);
        let work: Vec<Json> = work.iter().map(|path| named(path, &cell(&self.work.join(path)))).collect();
        json!({ "rows": all, "work": work })
    }

    fn row(&self, path: &Path) -> Json {
        let lower = found(&self.lower, path).map_or(Json::Null, |(layer, path)| {
            let mut cell = cell(&path);
            if self.lower.len() > 1 {
                // As an image counts them: 1 is the lowest.
                cell["layer"] = json!(self.lower.len() - layer);
            }
            cell
        });
        json!({
            "path": path.to_string_lossy(),
            "lower": lower,
            "upper": cell(&self.upper.join(path)),
            "merged": cell(&self.merged.join(path)),
        })
    }
}

fn named(path: &Path, cell: &Json) -> Json {
    json!({ "path": path.to_string_lossy(), "mode": cell["mode"], "inode": cell["inode"] })
}

/// Everything below a directory, by paths relative to it.
fn below(root: &Path, path: &Path, all: &mut BTreeSet<PathBuf>, left_out: &mut usize) {
    let entries = fs::read_dir(root.join(path)).into_iter().flatten().flatten();
    for entry in entries {
        if all.len() >= MOST {
            *left_out += 1;
            continue;
        }
        let path = path.join(entry.file_name());
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        all.insert(path.clone());
        if is_dir {
            below(root, &path, all, left_out);
        }
    }
}

/// What overlayfs finds of a path in the lower layers: the number of the layer, counted from 0, and the path there.
///
/// A whiteout ends the search, a file hides what is below it, an opaque directory everything in the layers below.
#[must_use]
pub fn found(layers: &[PathBuf], path: &Path) -> Option<(usize, PathBuf)> {
    for (number, layer) in layers.iter().enumerate() {
        let mut here = layer.clone();
        let mut is_last = false;
        let mut parts = path.iter().peekable();
        loop {
            let Some(part) = parts.next() else { return Some((number, here)) };
            let marked = hides_marked(&here);
            here.push(part);
            let Ok(meta) = fs::symlink_metadata(&here) else { break };
            if is_whiteout(&meta) || marked && is_marked_whiteout(&here, &meta) {
                return None;
            }
            if !meta.is_dir() && parts.peek().is_some() {
                return None;
            }
            is_last |= meta.is_dir() && is_opaque(&here);
        }
        if is_last {
            return None;
        }
    }
    None
}

/// The names of a directory in the lower layers, merged. Some of them may be whiteouts: [`found`] knows.
#[must_use]
pub fn listed(layers: &[PathBuf], directory: &Path) -> BTreeSet<OsString> {
    let mut all = BTreeSet::new();
    for layer in layers {
        let here = layer.join(directory);
        all.extend(fs::read_dir(&here).into_iter().flatten().flatten().map(|entry| entry.file_name()));
        if is_opaque(&here) {
            break;
        }
    }
    all
}

/// Whether this is a whiteout as the kernel makes it: a character device 0:0.
#[must_use]
pub fn is_whiteout(meta: &Metadata) -> bool {
    meta.file_type().is_char_device() && meta.rdev() == 0
}

/// Whether this is a whiteout in its other form, since Linux 6.7: an empty file that is marked by an attribute. It
/// counts in a directory that says so ([`hides_marked`]). Tools make it where no device can be made; the kernel
/// only reads it.
#[must_use]
pub fn is_marked_whiteout(path: &Path, meta: &Metadata) -> bool {
    meta.is_file() && meta.size() == 0 && note(path, "whiteout").is_some()
}

/// Whether marked whiteouts count in this directory.
#[must_use]
pub fn hides_marked(directory: &Path) -> bool {
    note(directory, "opaque").is_some_and(|value| value == b"x")
}

/// Whether this directory hides those of the layers below it.
#[must_use]
pub fn is_opaque(directory: &Path) -> bool {
    note(directory, "opaque").is_some_and(|value| value == b"y")
}

/// A note of overlayfs's, in whichever namespace it is.
#[must_use]
pub fn note(path: &Path, name: &str) -> Option<Vec<u8>> {
    NOTES.iter().find_map(|namespace| attribute(path, &format!("{namespace}{name}")))
}

/// The value of an extended attribute; a link is not followed.
#[must_use]
pub fn attribute(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = Vec::with_capacity(256);
    rustix::fs::lgetxattr(path, name, rustix::buffer::spare_capacity(&mut value)).ok()?;
    Some(value)
}

/// What a path is; nothing if there is nothing.
fn cell(path: &Path) -> Json {
    let Ok(meta) = fs::symlink_metadata(path) else { return Json::Null };
    let mut value = json!({ "mode": mode(&meta) });
    if meta.file_type().is_char_device() || meta.file_type().is_block_device() {
        value["device"] = json!(format!("{}:{}", libc::major(meta.rdev()), libc::minor(meta.rdev())));
    } else if !meta.is_dir() {
        value["size"] = json!(meta.size());
    }
    value["disk"] = json!(meta.blocks() * 512);
    value["inode"] = json!(meta.ino());
    // The kernel makes one whiteout and links it to every name that it hides: how often says nothing of this name.
    if meta.nlink() > 1 && !meta.is_dir() && !is_whiteout(&meta) {
        value["names"] = json!(meta.nlink());
    }
    let notes = notes(path);
    if !notes.is_empty() {
        value["notes"] = notes.into();
    }
    value
}

/// The bits of a mode that say what kind of file it is.
#[must_use]
pub fn kind(meta: &Metadata) -> u32 {
    meta.mode() & libc::S_IFMT
}

/// The mode as ls(1) prints it: `-rw-r--r--`.
#[must_use]
pub fn mode(meta: &Metadata) -> String {
    let kind = meta.file_type();
    let kinds = [
        (kind.is_dir(), 'd'),
        (kind.is_symlink(), 'l'),
        (kind.is_char_device(), 'c'),
        (kind.is_block_device(), 'b'),
        (kind.is_fifo(), 'p'),
        (kind.is_socket(), 's'),
    ];
    let mut text = String::from(kinds.iter().find(|(is, _)| *is).map_or('-', |(_, letter)| *letter));
    let bits = meta.mode();
    let special = [(libc::S_ISUID, 's'), (libc::S_ISGID, 's'), (libc::S_ISVTX, 't')];
    for (index, (bit, letter)) in special.into_iter().enumerate() {
        let of = bits >> (6 - 3 * index);
        text.push(if of & 4 == 0 { '-' } else { 'r' });
        text.push(if of & 2 == 0 { '-' } else { 'w' });
        text.push(match (of & 1 != 0, bits & bit != 0) {
            (true, false) => 'x',
            (false, false) => '-',
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
        });
    }
    text
}

/// The notes of overlayfs on a file, by their names.
fn notes(path: &Path) -> Map<String, Json> {
    let mut list = Vec::with_capacity(4096);
    let listed = rustix::fs::llistxattr(path, rustix::buffer::spare_capacity(&mut list));
    if listed.is_err() {
        return Map::new();
    }
    let names = list.split(|byte| *byte == 0).filter_map(|name| std::str::from_utf8(name).ok());
    let ours = names.filter(|name| NOTES.iter().any(|namespace| name.starts_with(namespace)));
    ours.filter_map(|name| Some((name.to_owned(), shown(&attribute(path, name)?).into()))).collect()
}

/// A value as text, or how long it is.
fn shown(value: &[u8]) -> String {
    match std::str::from_utf8(value) {
        Ok("") => "(empty)".to_owned(),
        Ok(text) if value.len() <= LONGEST && !text.contains(char::is_control) => text.to_owned(),
        _ => format!("({} bytes)", value.len()),
    }
}

/// What is in a directory, by name; an error as it is told.
pub fn names(directory: &Path) -> Result<Vec<String>, String> {
    let entries = fs::read_dir(directory).map_err(|cause| read::reason(directory, &cause))?;
    let name = |name: &OsStr| name.to_string_lossy().into_owned();
    Ok(entries.flatten().map(|entry| name(&entry.file_name())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(entries: &[&str]) -> (tempfile::TempDir, Vec<PathBuf>) {
        let dir = tempfile::tempdir().unwrap();
        for entry in entries {
            let path = dir.path().join(entry);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            if entry.ends_with('/') {
                fs::create_dir_all(&path).unwrap();
            } else {
                fs::write(&path, "x").unwrap();
            }
        }
        let layers = ["1", "2"].map(|name| dir.path().join(name)).into();
        (dir, layers)
    }

    #[test]
    fn the_topmost_layer_that_has_a_path_is_found() {
        let (dir, layers) = tree(&["1/a", "2/a", "2/b", "1/file", "2/file/in", "1/dir/", "2/dir/in"]);
        let layer = |path: &str| found(&layers, Path::new(path)).map(|(layer, _)| layer);
        assert_eq!((layer("a"), layer("b"), layer("c")), (Some(0), Some(1), None));
        assert_eq!(layer("file/in"), None, "a file hides the directory below it");
        assert_eq!(layer("dir/in"), Some(1));
        rustix::fs::setxattr(
            dir.path().join("1/dir"),
            "user.overlay.opaque",
            b"y",
            rustix::fs::XattrFlags::empty(),
        )
        .unwrap();
        assert_eq!((layer("dir"), layer("dir/in")), (Some(0), None), "an opaque directory hides");
    }

    #[test]
    fn a_marked_whiteout_counts_in_a_directory_that_says_so() {
        let (dir, layers) = tree(&["1/dir/", "2/dir/in"]);
        let set = |path: &str, name: &str, value: &[u8]| {
            let path = dir.path().join(path);
            rustix::fs::setxattr(path, name, value, rustix::fs::XattrFlags::empty()).unwrap();
        };
        fs::write(dir.path().join("1/dir/in"), "").unwrap();
        set("1/dir/in", "user.overlay.whiteout", b"");
        assert_eq!(found(&layers, Path::new("dir/in")).unwrap().0, 0, "an empty file");
        set("1/dir", "user.overlay.opaque", b"x");
        assert_eq!(found(&layers, Path::new("dir/in")), None);
    }

    #[test]
    fn a_snapshot_has_the_views_next_to_each_other() {
        let (dir, layers) = tree(&["1/a", "2/b", "upper/c", "work/", "merged/a"]);
        let at = |name: &str| dir.path().join(name);
        let views = Views {
            lower: layers,
            upper: at("upper"),
            work: at("work"),
            merged: at("merged"),
            paths: vec!["a".into()],
            whole: true,
        };
        let value = views.snapshot();
        assert_eq!(value["rows"].as_array().unwrap().len(), 2);
        let row = &value["rows"][0];
        assert_eq!(
            (&row["path"], &row["lower"]["layer"], &row["upper"]),
            (&json!("a"), &json!(2), &Json::Null)
        );
        assert_eq!(row["merged"]["mode"].as_str().map(str::len), Some(10));
        assert_eq!(value["rows"][1]["upper"]["size"], 1);
    }
}
