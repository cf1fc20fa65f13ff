//! What a container of these layers would see, found out without mounting anything.
//!
//! Separate from overlayfs, which does the same in the kernel, because `run` has to know the image's user, home
//! and command while it plans, before there is a mount, and without privilege. The rules are overlayfs's own
//! ([overlayfs, "Whiteouts and opaque directories"]): the topmost layer wins, directories are merged, a character
//! device 0:0 hides what is below it, an opaque directory hides the directories below it.
//!
//! Everything is resolved inside the layers: a symbolic link of the image that says `/etc/passwd` means the
//! image's. Each step opens one component without following links, so there is no moment at which a path of the
//! host is looked up.
//!
//! [overlayfs, "Whiteouts and opaque directories"]: https://docs.kernel.org/filesystems/overlayfs.html#whiteouts-and-opaque-directories

pub mod command;
pub mod user;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::error::{Error, Result};

/// How many symbolic links a path may lead through: the kernel's own limit.
const MAX_LINKS: usize = 40;

/// The longest link target that the kernel keeps.
const MAX_TARGET: usize = 4096;

/// How a component is opened: it may be of any kind, and nothing happens to it.
const LOOK: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The extended attributes that make a directory opaque, of a privileged mount and of one in a user namespace.
const OPAQUE: [&str; 2] = ["trusted.overlay.opaque", "user.overlay.opaque"];

/// The layers of an image, or of a container, seen as one tree.
pub struct MergedView {
    layers: Vec<PathBuf>,
    root: Rc<Dir>,
}

/// Something that was found.
#[derive(Debug)]
pub struct Found {
    /// The layer it is in, the topmost being 0.
    pub layer: usize,
    /// Its path in that layer's directory, on the host.
    pub path: PathBuf,
    /// Its path in the image, all links resolved.
    pub resolved: PathBuf,
    /// What it is.
    pub metadata: Stat,
    #[allow(dead_code)] // keeps the file alive, so that its inode number means it
    fd: OwnedFd,
}

impl Found {
    /// What kind of file it is.
    #[must_use]
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.metadata.st_mode)
    }

    /// Whether it is a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.kind() == FileType::Directory
    }

    /// Whether it is a regular file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.kind() == FileType::RegularFile
    }
}

/// A merged directory: the directories of the layers that take part, the topmost first.
struct Dir {
    name: OsString,
    parts: Vec<(usize, OwnedFd)>,
}

/// What one component is.
enum Step {
    Dir(Dir),
    Other { layer: usize, fd: OwnedFd, metadata: Stat },
}

impl MergedView {
    /// The view of these directories, the topmost first.
    pub fn new(layers: &[PathBuf]) -> Result<Self> {
        let open = |(at, layer): (usize, &PathBuf)| {
            let fd = rustix::fs::open(layer, LOOK | OFlags::DIRECTORY, Mode::empty());
            fd.map(|fd| (at, fd))
                .map_err(|errno| Error::io(format!("cannot open layer {}", layer.display()), &errno.into()))
        };
        let parts = layers.iter().enumerate().map(open).collect::<Result<_>>()?;
        let root = Rc::new(Dir { name: OsString::new(), parts });
        Ok(Self { layers: layers.to_vec(), root })
    }

    /// Finds what a path leads to, through symbolic links; `None` if there is nothing.
    pub fn lookup(&self, path: impl AsRef<Path>) -> Result<Option<Found>> {
        self.walk(path.as_ref(), true)
    }

    /// Finds a path itself: if the last component is a symbolic link, that link.
    pub fn lookup_nofollow(&self, path: impl AsRef<Path>) -> Result<Option<Found>> {
        self.walk(path.as_ref(), false)
    }

    /// Reads a regular file of at most `max` bytes; `None` if there is none.
    pub fn read(&self, path: impl AsRef<Path>, max: u64) -> Result<Option<Vec<u8>>> {
        let path = path.as_ref();
        let Some(found) = self.lookup(path)? else { return Ok(None) };
        let refuse =
            |rule: String| Error::new(format!("{} of the image is refused", path.display())).rule(rule);
        if !found.is_file() {
            return Err(refuse("it has to be a regular file; another kind could block or never end".into()));
        }
        let failed =
            |cause: std::io::Error| Error::io(format!("cannot read {} of the image", path.display()), &cause);
        let mut bytes = Vec::new();
        self.reopen(&found).map_err(failed)?.take(max + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > max {
            return Err(refuse(format!("it is longer than {max} bytes")));
        }
        Ok(Some(bytes))
    }

    /// Opens for reading what was found, and makes sure that it is the same file.
    fn reopen(&self, found: &Found) -> std::io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let below = found.path.strip_prefix(&self.layers[found.layer]).unwrap_or(&found.path);
        let mut dir: Option<OwnedFd> = None;
        let top = self.root.parts[found.layer].1.as_fd();
        let components: Vec<&OsStr> = below.iter().collect();
        let Some((last, parents)) = components.split_last() else { return Err(Errno::ISDIR.into()) };
        for parent in parents {
            let from = dir.as_ref().map_or(top, AsFd::as_fd);
            dir = Some(rustix::fs::openat(from, *parent, LOOK | OFlags::DIRECTORY, Mode::empty())?);
        }
        let fd = rustix::fs::openat(dir.as_ref().map_or(top, AsFd::as_fd), *last, flags, Mode::empty())?;
        let now = rustix::fs::fstat(&fd)?;
        if (now.st_dev, now.st_ino) != (found.metadata.st_dev, found.metadata.st_ino) {
            return Err(Errno::STALE.into());
        }
        Ok(File::from(fd))
    }

    /// Follows a path one component at a time.
    fn walk(&self, path: &Path, follow_last: bool) -> Result<Option<Found>> {
        let mut stack: Vec<Rc<Dir>> = vec![Rc::clone(&self.root)];
        let mut todo = components(path.as_os_str().as_bytes());
        let must_be_dir = path.as_os_str().as_bytes().ends_with(b"/");
        let mut links = 0;
        while let Some(name) = todo.pop() {
            if name == ".." {
                stack.truncate(stack.len().saturating_sub(1).max(1));
                continue;
            }
            let Some(here) = stack.last() else { return Ok(None) };
            let (layer, fd, metadata) = match here.step(&name).map_err(|errno| cannot_look(path, errno))? {
                None => return Ok(None),
                Some(Step::Dir(dir)) => {
                    stack.push(Rc::new(dir));
                    continue;
                }
                Some(Step::Other { layer, fd, metadata }) => (layer, fd, metadata),
            };
            let is_link = FileType::from_raw_mode(metadata.st_mode) == FileType::Symlink;
            if is_link && (follow_last || must_be_dir || !todo.is_empty()) {
                links += 1;
                if links > MAX_LINKS {
                    return Err(cannot_look(path, Errno::LOOP));
                }
                let target = read_link(fd.as_fd()).map_err(|errno| cannot_look(path, errno))?;
                if target.starts_with(b"/") {
                    stack.truncate(1);
                }
                todo.extend(components(&target));
                continue;
            }
            if !todo.is_empty() || must_be_dir {
                return Ok(None);
            }
            let resolved = resolved(&stack, Some(&name));
            return Ok(Some(Found { layer, path: self.on_host(layer, &resolved), resolved, metadata, fd }));
        }
        self.found_dir(path, &stack)
    }

    /// The directory that a walk ended at: its metadata are those of the topmost part.
    fn found_dir(&self, path: &Path, stack: &[Rc<Dir>]) -> Result<Option<Found>> {
        let Some((layer, fd)) = stack.last().and_then(|dir| dir.parts.first()) else { return Ok(None) };
        let look = || Ok((rustix::io::fcntl_dupfd_cloexec(fd, 0)?, rustix::fs::fstat(fd)?));
        let (fd, metadata) = look().map_err(|errno| cannot_look(path, errno))?;
        let resolved = resolved(stack, None);
        Ok(Some(Found { layer: *layer, path: self.on_host(*layer, &resolved), resolved, metadata, fd }))
    }

    /// The path in a layer's directory.
    fn on_host(&self, layer: usize, resolved: &Path) -> PathBuf {
        let below = resolved.strip_prefix("/").unwrap_or(resolved);
        if below.as_os_str().is_empty() { self.layers[layer].clone() } else { self.layers[layer].join(below) }
    }
}

impl Dir {
    /// Looks one name up as overlayfs does; `None` if it is absent or hidden.
    fn step(&self, name: &OsStr) -> Result<Option<Step>, Errno> {
        let mut parts: Vec<(usize, OwnedFd)> = Vec::new();
        for (at, (layer, dir)) in self.parts.iter().enumerate() {
            let fd = match rustix::fs::openat(dir, name, LOOK, Mode::empty()) {
                Ok(fd) => fd,
                Err(Errno::NOENT) => continue,
                Err(Errno::NAMETOOLONG) => return Ok(None),
                Err(errno) => return Err(errno),
            };
            let metadata = rustix::fs::fstat(&fd)?;
            let kind = FileType::from_raw_mode(metadata.st_mode);
            if kind == FileType::Directory {
                let is_lowest = at + 1 == self.parts.len();
                let opaque = !is_lowest && is_opaque(fd.as_fd())?;
                parts.push((*layer, fd));
                if opaque {
                    break;
                }
            } else if parts.is_empty() && !is_whiteout(kind, &metadata) {
                return Ok(Some(Step::Other { layer: *layer, fd, metadata }));
            } else {
                // A whiteout, or a file that is hidden by a directory above it, ends the search.
                break;
            }
        }
        Ok((!parts.is_empty()).then(|| Step::Dir(Dir { name: name.to_owned(), parts })))
    }
}

/// Whether this hides what is below it.
fn is_whiteout(kind: FileType, metadata: &Stat) -> bool {
    kind == FileType::CharacterDevice && metadata.st_rdev == 0
}

/// Whether a directory hides the directories below it. Attributes cannot be read from a descriptor that was
/// opened with `O_PATH`, but through its name in /proc they can.
fn is_opaque(dir: BorrowedFd<'_>) -> Result<bool, Errno> {
    let path = format!("/proc/self/fd/{}", dir.as_raw_fd());
    for name in OPAQUE {
        let mut value = [0; 2];
        match rustix::fs::getxattr(path.as_str(), name, &mut value) {
            Ok(1) if value[0] == b'y' => return Ok(true),
            Ok(_) | Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::PERM | Errno::ACCESS | Errno::RANGE) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(false)
}

/// The target of a link that was opened with `O_PATH`.
fn read_link(link: BorrowedFd<'_>) -> Result<Vec<u8>, Errno> {
    let target = rustix::fs::readlinkat(link, "", Vec::with_capacity(256))?.into_bytes();
    if target.is_empty() || target.len() > MAX_TARGET { Err(Errno::NOENT) } else { Ok(target) }
}

/// The components of a path, the last one first, ready to be popped.
fn components(path: &[u8]) -> Vec<OsString> {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    let mut parts: Vec<OsString> = parts.map(|part| OsString::from_vec(part.to_vec())).collect();
    parts.reverse();
    parts
}

/// The path in the image of where a walk is.
fn resolved(stack: &[Rc<Dir>], last: Option<&OsStr>) -> PathBuf {
    let mut path = PathBuf::from("/");
    path.extend(stack.iter().skip(1).map(|dir| dir.name.as_os_str()));
    path.extend(last);
    path
}

/// The error of a path that cannot be looked up.
fn cannot_look(path: &Path, errno: Errno) -> Error {
    let error = Error::io(format!("cannot look up {} in the image", path.display()), &errno.into());
    match errno {
        Errno::LOOP => error.rule(format!("it leads through more than {MAX_LINKS} symbolic links")),
        Errno::ACCESS => error.rule(
            "a directory of the image denies search to its owner, which is you: as root it would be passed",
        ),
        _ => error,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// Layers made of `(path, contents)`; a path that ends in `/` is a directory, contents `-> x` a link, `!` a
    /// whiteout, `=` on a directory makes it opaque.
    pub fn layers(layers: &[&[(&str, &str)]]) -> (tempfile::TempDir, MergedView) {
        let dir = tempfile::tempdir().unwrap();
        let mut paths = Vec::new();
        for (at, entries) in layers.iter().enumerate() {
            let layer = dir.path().join(at.to_string());
            fs::create_dir(&layer).unwrap();
            for (name, contents) in *entries {
                make(&layer.join(name), name.ends_with('/'), contents);
            }
            paths.push(layer);
        }
        let view = MergedView::new(&paths).unwrap();
        (dir, view)
    }

    fn make(path: &Path, is_dir: bool, contents: &str) {
        let parent = if is_dir { path } else { path.parent().unwrap() };
        fs::create_dir_all(parent).unwrap();
        match contents.strip_prefix("-> ") {
            Some(target) => symlink(target, path).unwrap(),
            None if contents == "=" => {
                let set = |name| rustix::fs::setxattr(path, name, b"y", rustix::fs::XattrFlags::empty());
                set("user.overlay.opaque").or_else(|_| set("trusted.overlay.opaque")).unwrap();
            }
            None if contents == "!" => {
                rustix::fs::mknodat(rustix::fs::CWD, path, FileType::CharacterDevice, Mode::empty(), 0)
                    .unwrap();
            }
            None if !is_dir => fs::write(path, contents).unwrap(),
            None => {}
        }
    }

    fn text(view: &MergedView, path: &str) -> Option<String> {
        view.read(path, 100).unwrap().map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn the_topmost_file_wins_and_directories_merge() {
        let (_dir, view) = layers(&[&[("etc/a", "top")], &[("etc/a", "low"), ("etc/b", "b")]]);
        assert_eq!(
            (text(&view, "/etc/a").unwrap(), text(&view, "etc/b").unwrap()),
            ("top".into(), "b".into())
        );
        assert!(view.lookup("/etc").unwrap().unwrap().is_dir());
        assert_eq!(view.lookup("/etc/b").unwrap().unwrap().layer, 1);
        assert!(view.lookup("/etc/a/x").unwrap().is_none());
        assert!(view.lookup("/etc/a/").unwrap().is_none());
        assert_eq!(view.lookup("/").unwrap().unwrap().resolved, Path::new("/"));
    }

    #[test]
    fn whiteouts_and_opaque_directories_hide() {
        let (_dir, view) = layers(&[
            &[("d/", "="), ("d/new", "n"), ("gone", "!"), ("gone2", "!"), ("was-file/x", "x")],
            &[("d/old", "o"), ("gone", "g"), ("gone2/x", "g"), ("was-file", "f")],
            &[("was-file/y", "hidden by the file above")],
        ]);
        assert_eq!(text(&view, "/d/new").unwrap(), "n");
        for hidden in ["/d/old", "/gone", "/gone2/x", "/was-file/y"] {
            assert!(view.lookup(hidden).unwrap().is_none(), "{hidden}");
        }
    }

    #[test]
    fn links_stay_inside_across_layers() {
        let (_dir, view) = layers(&[
            &[
                ("bin", "-> usr/bin"),
                ("abs", "-> /etc/motd"),
                ("up", "-> ../../../../etc/motd"),
                ("loop", "-> loop"),
            ],
            &[("usr/bin/sh", "#!"), ("etc/motd", "hello")],
        ]);
        assert_eq!(view.lookup("/bin/sh").unwrap().unwrap().resolved, Path::new("/usr/bin/sh"));
        for path in ["abs", "up", "../../etc/motd", "/bin/../../etc/./motd"] {
            assert_eq!(text(&view, path).unwrap(), "hello", "{path}");
        }
        assert!(view.lookup("loop").is_err());
        assert_eq!(view.lookup_nofollow("abs").unwrap().unwrap().kind(), FileType::Symlink);
    }

    #[test]
    fn only_regular_files_of_bounded_size_are_read() {
        let (dir, view) = layers(&[&[("zero", "-> /dev/zero"), ("long", &"x".repeat(101)), ("d/", "")]]);
        let fifo = dir.path().join("0/fifo");
        rustix::fs::mknodat(rustix::fs::CWD, fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(view.read("zero", 100).unwrap().is_none());
        for bad in ["long", "d", "fifo"] {
            assert!(view.read(bad, 100).is_err(), "{bad}");
        }
    }
}
