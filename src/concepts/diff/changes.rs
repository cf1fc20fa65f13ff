//! What a writable layer says about the layers below it.
//!
//! Most of a directory in upper is merged with the one below: what is not named in upper is unchanged, and is not
//! looked at. An opaque directory and a renamed one have other contents than the directory of that name had before,
//! so there both sides are listed. What counts as a change is what counts for Docker: mode, owner, and for files size,
//! time, link target, device and capabilities; of a directory, that something in it changed.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::probe::overlay;

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Added,
    Changed,
    Deleted,
}

impl Kind {
    /// The letter that Docker prints.
    pub const fn letter(self) -> &'static str {
        match self {
            Self::Added => "A",
            Self::Changed => "C",
            Self::Deleted => "D",
        }
    }
}

/// A line of the listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub kind: Kind,
    /// From the container's root on.
    pub path: PathBuf,
    /// What has changed, in words.
    pub what: Vec<&'static str>,
}

/// Every change, sorted by path.
pub fn between(upper: &Path, lower: &[PathBuf]) -> Result<Vec<Change>> {
    let mut walk = Walk { upper, lower, changes: Vec::new() };
    walk.directory(Path::new(""), Some(Path::new("")))?;
    walk.changes.sort_by(|one, other| one.path.as_os_str().as_bytes().cmp(other.path.as_os_str().as_bytes()));
    Ok(walk.changes)
}

struct Walk<'a> {
    upper: &'a Path,
    lower: &'a [PathBuf],
    changes: Vec<Change>,
}

/// What a path is now.
enum Now {
    Nothing,
    /// A file of upper, or a directory of upper with the path that it is merged with below.
    Upper(Metadata, Option<PathBuf>),
    /// What is at this path below.
    Lower(PathBuf),
}

impl Walk<'_> {
    /// Goes through a merged directory, whose part below is at `below`.
    fn directory(&mut self, path: &Path, below: Option<&Path>) -> Result<()> {
        for name in self.names(path, below)? {
            let one = path.join(&name);
            let beneath = below.map(|below| below.join(&name));
            let was = overlay::found(self.lower, &one).map(|(_, was)| was);
            let now = self.now(&one, beneath)?;
            self.compare(&one, was.as_deref(), now)?;
        }
        Ok(())
    }

    /// The names that have to be looked at.
    fn names(&self, path: &Path, below: Option<&Path>) -> Result<BTreeSet<OsString>> {
        let here = self.upper.join(path);
        let mut names = match fs::read_dir(&here) {
            Ok(entries) => entries.flatten().map(|entry| entry.file_name()).collect(),
            // A container goes on while it is looked at; and a renamed directory is below only.
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => BTreeSet::new(),
            Err(cause) => return Err(cannot_read(&here, &cause)),
        };
        if below != Some(path) {
            names.extend(overlay::listed(self.lower, path));
            names.extend(below.map(|below| overlay::listed(self.lower, below)).unwrap_or_default());
        }
        Ok(names)
    }

    fn now(&self, path: &Path, beneath: Option<PathBuf>) -> Result<Now> {
        let here = self.upper.join(path);
        let meta = match fs::symlink_metadata(&here) {
            Ok(meta) => meta,
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
                let there = beneath.filter(|below| overlay::found(self.lower, below).is_some());
                return Ok(there.map_or(Now::Nothing, Now::Lower));
            }
            Err(cause) => return Err(cannot_read(&here, &cause)),
        };
        let marked = || here.parent().is_some_and(overlay::hides_marked);
        if overlay::is_whiteout(&meta) || overlay::is_marked_whiteout(&here, &meta) && marked() {
            return Ok(Now::Nothing);
        }
        if !meta.is_dir() || overlay::is_opaque(&here) {
            return Ok(Now::Upper(meta, None));
        }
        let below = match (overlay::note(&here, "redirect"), beneath) {
            (Some(to), beneath) => redirected(&to, beneath.as_deref()),
            (None, beneath) => beneath,
        };
        let is_dir = |below: &PathBuf| {
            overlay::found(self.lower, below).is_some_and(|(_, there)| there.is_dir() && !there.is_symlink())
        };
        Ok(Now::Upper(meta, below.filter(is_dir)))
    }

    fn compare(&mut self, path: &Path, was: Option<&Path>, now: Now) -> Result<()> {
        let (meta, below) = match now {
            Now::Nothing => {
                if was.is_some() {
                    self.note(Kind::Deleted, path, Vec::new());
                }
                return Ok(());
            }
            Now::Upper(meta, below) => (meta, below),
            // Unmoved: the same file as ever.
            Now::Lower(there) if there == path => return Ok(()),
            Now::Lower(there) => {
                let Some((_, file)) = overlay::found(self.lower, &there) else { return Ok(()) };
                let meta = fs::symlink_metadata(&file).map_err(|cause| cannot_read(&file, &cause))?;
                (meta, Some(there))
            }
        };
        let here = Some(self.upper.join(path)).filter(|here| here.symlink_metadata().is_ok());
        let Some(was) = was else {
            self.note(Kind::Added, path, Vec::new());
            return if meta.is_dir() { self.directory(path, below.as_deref()) } else { Ok(()) };
        };
        let old = fs::symlink_metadata(was).map_err(|cause| cannot_read(was, &cause))?;
        let mut what = differences((was, &old), (here.as_deref(), &meta));
        let place = self.changes.len();
        if meta.is_dir() {
            self.directory(path, below.as_deref())?;
            if self.changes.len() > place {
                what.push("content");
            }
        }
        if !what.is_empty() {
            self.note(Kind::Changed, path, what);
        }
        Ok(())
    }

    fn note(&mut self, kind: Kind, path: &Path, what: Vec<&'static str>) {
        self.changes.push(Change { kind, path: Path::new("/").join(path), what });
    }
}

/// Where a renamed directory is below: a path from the root, or a name beside it.
fn redirected(to: &[u8], beneath: Option<&Path>) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let to = PathBuf::from(OsString::from_vec(to.to_vec()));
    match to.strip_prefix("/") {
        Ok(path) => Some(path.to_owned()),
        Err(_) => Some(beneath?.parent()?.join(to)),
    }
}

/// What is different, in words.
fn differences(old: (&Path, &Metadata), new: (Option<&Path>, &Metadata)) -> Vec<&'static str> {
    let ((was, old), (here, new)) = (old, new);
    if overlay::kind(old) != overlay::kind(new) {
        return vec!["kind"];
    }
    // The bytes of a file of which only the metadata were copied up are those below.
    let same_bytes = here.is_some_and(|here| overlay::note(here, "metacopy").is_some());
    let time = |meta: &Metadata| (meta.mtime(), meta.mtime_nsec());
    let is_file = !new.is_dir();
    let link = |path: &Path| fs::read_link(path).ok();
    let capability = |path: &Path| overlay::attribute(path, "security.capability");
    let here = here.unwrap_or(was);
    let all = [
        ("mode", old.mode() != new.mode()),
        ("owner", (old.uid(), old.gid()) != (new.uid(), new.gid())),
        ("size", is_file && !same_bytes && old.size() != new.size()),
        ("time", is_file && time(old) != time(new)),
        ("device", old.rdev() != new.rdev()),
        ("target", new.is_symlink() && link(was) != link(here)),
        ("capabilities", is_file && capability(was) != capability(here)),
    ];
    all.into_iter().filter(|(_, differs)| *differs).map(|(what, _)| what).collect()
}

fn cannot_read(path: &Path, cause: &std::io::Error) -> Error {
    let error = Error::io(format!("cannot read {}", path.display()), cause);
    if cause.kind() == std::io::ErrorKind::PermissionDenied {
        return error
            .rule("the writable layer belongs to whoever runs the container, and a mode in it may keep others out")
            .remedy("run it as that user, or as root");
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{XattrFlags, setxattr};

    struct Trees(tempfile::TempDir);

    impl Trees {
        fn new(files: &[&str]) -> Self {
            let trees = Self(tempfile::tempdir().unwrap());
            for folder in ["upper", "1", "2"] {
                fs::create_dir(trees.at(folder)).unwrap();
            }
            files.iter().for_each(|file| trees.file(file, "x"));
            trees
        }

        fn at(&self, path: &str) -> PathBuf {
            self.0.path().join(path)
        }

        fn file(&self, path: &str, text: &str) {
            fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
            fs::write(self.at(path), text).unwrap();
        }

        fn mark(&self, path: &str, note: &str, value: &[u8]) {
            fs::create_dir_all(self.at(path)).unwrap();
            setxattr(self.at(path), format!("user.overlay.{note}"), value, XattrFlags::empty()).unwrap();
        }

        fn diff(&self) -> Vec<String> {
            let all = between(&self.at("upper"), &[self.at("1"), self.at("2")]).unwrap();
            all.iter().map(|one| format!("{} {}", one.kind.letter(), one.path.display())).collect()
        }
    }

    #[test]
    fn files_are_added_and_changed_and_their_directories_with_them() {
        let trees = Trees::new(&["2/etc/a", "1/etc/b", "2/usr/x"]);
        trees.file("upper/etc/a", "longer");
        trees.file("upper/etc/c", "x");
        trees.file("upper/new/d", "x");
        assert_eq!(trees.diff(), ["C /etc", "C /etc/a", "A /etc/c", "A /new", "A /new/d"]);
    }

    #[test]
    fn a_copy_without_a_difference_is_no_change() {
        let trees = Trees::new(&["2/etc/a", "upper/etc/a"]);
        let time = fs::metadata(trees.at("2/etc/a")).unwrap().modified().unwrap();
        fs::File::options().write(true).open(trees.at("upper/etc/a")).unwrap().set_modified(time).unwrap();
        assert_eq!(trees.diff(), Vec::<String>::new());
    }

    #[test]
    fn an_opaque_directory_deletes_what_it_does_not_repeat() {
        let trees = Trees::new(&["2/etc/a", "2/etc/sub/b", "1/etc/c", "upper/etc/c", "upper/etc/d"]);
        trees.file("upper/etc/c", "longer");
        trees.mark("upper/etc", "opaque", b"y");
        assert_eq!(trees.diff(), ["C /etc", "D /etc/a", "C /etc/c", "A /etc/d", "D /etc/sub"]);
    }

    #[test]
    fn whiteouts_in_their_marked_form_delete() {
        let trees = Trees::new(&["2/etc/a", "2/etc/b"]);
        trees.mark("upper/etc", "opaque", b"x");
        trees.file("upper/etc/a", "");
        setxattr(trees.at("upper/etc/a"), "user.overlay.whiteout", b"", XattrFlags::empty()).unwrap();
        assert_eq!(trees.diff(), ["C /etc", "D /etc/a"]);
    }

    #[test]
    fn a_renamed_directory_is_new_with_everything_in_it() {
        let trees = Trees::new(&["2/old/a", "2/old/sub/b", "2/other"]);
        trees.mark("upper/new", "redirect", b"old");
        trees.mark("upper/far", "redirect", b"/old/sub");
        assert_eq!(trees.diff(), ["A /far", "A /far/b", "A /new", "A /new/a", "A /new/sub", "A /new/sub/b"]);
    }

    #[test]
    fn a_file_in_place_of_a_directory_is_a_change() {
        let trees = Trees::new(&["2/etc/a", "upper/etc", "2/b", "upper/b/c"]);
        assert_eq!(trees.diff(), ["C /b", "A /b/c", "C /etc"]);
    }
}
