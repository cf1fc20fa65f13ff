//! Named byte ranges: the files of a folder or the members of a tar, opened the same way.
//!
//! Separate so that the readers of layouts and archives never touch a path of the host. A folder is walked
//! without following any symbolic link, and what is opened has to be a regular file: a fifo would wait for ever
//! and a link to `/dev/zero` would never end. A tar is indexed once and then read at offsets; links in it are
//! looked up in it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};

use super::compression::Decoder;
use super::digest::{Digest, Hasher};
use crate::error::{Error, Result};

/// A tar with more members than this is not an image.
const MAX_MEMBERS: usize = 200_000;

/// How many links a member may lead through.
const MAX_LINKS: usize = 16;

/// How a file is opened whose contents are not trusted to be a file.
const CAREFULLY: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// The files of an image.
pub struct Files {
    /// Where they are, for errors.
    root: PathBuf,
    kind: Kind,
}

enum Kind {
    Folder(OwnedFd),
    Archive { file: Arc<File>, members: HashMap<Vec<u8>, Member> },
}

/// What a tar has under a name.
enum Member {
    File {
        offset: u64,
        len: u64,
    },
    /// A symbolic or hard link, by the name of its target from the root of the archive.
    Link(Vec<u8>),
    Other,
}

impl Files {
    /// The files below a folder.
    pub fn folder(root: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(root, flags, Mode::empty()).map_err(|errno| {
            Error::io(format!("cannot open the folder {}", root.display()), &errno.into())
        })?;
        Ok(Self { root: root.to_path_buf(), kind: Kind::Folder(fd) })
    }

    /// The members of a tar, which may be compressed as a whole; then it is decompressed once into an unnamed
    /// file in `spool`, since layers are read at offsets.
    pub fn archive(root: &Path, spool: &Path) -> Result<Self> {
        let file = open_regular(root)?;
        let mut start = [0; 4];
        let read = file.read_at(&mut start, 0).map_err(|cause| cannot_read(root, &cause))?;
        let file = match super::Compression::sniff(&start[..read]) {
            super::Compression::None => file,
            _ => decompressed(root, file, spool)?,
        };
        let members = index(root, &file)?;
        Ok(Self { root: root.to_path_buf(), kind: Kind::Archive { file: Arc::new(file), members } })
    }

    /// Where the files are.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether they are in a folder.
    #[must_use]
    pub fn is_folder(&self) -> bool {
        matches!(self.kind, Kind::Folder(_))
    }

    /// Opens a file by its name from the root; `None` if there is none.
    pub fn open(&self, name: &str) -> Result<Option<Blob>> {
        let what = format!("{name} in {}", self.root.display());
        match &self.kind {
            Kind::Folder(fd) => open_beneath(fd, &what, name),
            Kind::Archive { file, members } => look_up(members, &what, name.as_bytes()).map(|range| {
                range.map(|(offset, len)| Blob { file: Arc::clone(file), offset, len, at: 0, what })
            }),
        }
    }

    /// Opens a file that has to be there.
    pub fn need(&self, name: &str) -> Result<Blob> {
        self.open(name)?.ok_or_else(|| {
            Error::new(format!("{name} is missing in {}", self.root.display()))
                .rule("every file that an image points at has to be in it")
        })
    }

    /// Opens the blob that a descriptor points at and compares its length.
    pub fn blob(&self, name: &str, digest: &Digest, size: u64) -> Result<Blob> {
        let blob = self.need(name)?;
        if blob.len == size {
            return Ok(blob);
        }
        Err(Error::new(format!("{} has {} bytes", blob.what, blob.len))
            .rule(format!("its descriptor ({digest}) says that it has {size}")))
    }

    /// The first components of all members' names; empty for a folder.
    #[must_use]
    pub fn top_level(&self) -> Vec<String> {
        let Kind::Archive { members, .. } = &self.kind else { return Vec::new() };
        let first = |name: &Vec<u8>| name.split(|byte| *byte == b'/').next().map(<[u8]>::to_vec);
        let mut names: Vec<Vec<u8>> = members.keys().filter_map(first).collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().filter_map(|name| String::from_utf8(name).ok()).collect()
    }
}

/// Opens a regular file of the host, which the user named: links are followed, nothing else than a file is read.
pub fn open_regular(path: &Path) -> Result<File> {
    let fd =
        rustix::fs::open(path, CAREFULLY, Mode::empty()).map_err(|errno| cannot_open(path, &errno.into()))?;
    regular(File::from(fd), &path.display().to_string())
}

/// Passes a regular file and refuses everything else.
fn regular(file: File, what: &str) -> Result<File> {
    let kind =
        file.metadata().map_err(|cause| Error::io(format!("cannot look at {what}"), &cause))?.file_type();
    if kind.is_file() {
        return Ok(file);
    }
    Err(Error::new(format!("{what} is refused"))
        .rule("it has to be a regular file; another kind could block or never end"))
}

/// The error of a file that does not open.
fn cannot_open(path: &Path, cause: &io::Error) -> Error {
    let error = Error::io(format!("cannot open {}", path.display()), cause);
    match cause.kind() {
        io::ErrorKind::NotFound => error
            .rule("there is no such file")
            .remedy("check the path; a name without \"/\" is looked up in the store"),
        _ => error,
    }
}

/// The error of a file that does not read.
fn cannot_read(path: &Path, cause: &io::Error) -> Error {
    Error::io(format!("cannot read {}", path.display()), cause)
}

/// Opens a file below a folder, one component at a time, so that no link is followed at any of them.
fn open_beneath(root: &OwnedFd, what: &str, name: &str) -> Result<Option<Blob>> {
    let components: Vec<&str> = name.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    let Some((last, parents)) = components.split_last().filter(|_| !components.contains(&"..")) else {
        return Err(Error::new(format!("{what} is refused")).rule("the name leads out of the image"));
    };
    let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut dir: Option<OwnedFd> = None;
    for parent in parents {
        let from = dir.as_ref().map_or(root.as_fd(), AsFd::as_fd);
        match rustix::fs::openat(from, *parent, step, Mode::empty()) {
            Ok(next) => dir = Some(next),
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(refused_link(what, errno)),
        }
    }
    let from = dir.as_ref().map_or(root.as_fd(), AsFd::as_fd);
    match rustix::fs::openat(from, *last, CAREFULLY | OFlags::NOFOLLOW, Mode::empty()) {
        Ok(fd) => {
            let file = regular(File::from(fd), what)?;
            let len =
                file.metadata().map_err(|cause| Error::io(format!("cannot look at {what}"), &cause))?.len();
            Ok(Some(Blob { file: Arc::new(file), offset: 0, len, at: 0, what: what.to_owned() }))
        }
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(errno) => Err(refused_link(what, errno)),
    }
}

/// The error of a component that does not open; `ELOOP` and `ENOTDIR` are how the kernel says "a link".
fn refused_link(what: &str, errno: rustix::io::Errno) -> Error {
    let error = Error::io(format!("cannot open {what}"), &errno.into());
    match errno {
        rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR => error
            .rule("the files of an image are regular files in real folders; symbolic links are not followed"),
        rustix::io::Errno::NXIO => {
            error.rule("it has to be a regular file; another kind could block or never end")
        }
        _ => error,
    }
}

/// Decompresses an archive into a file without a name, which vanishes with its descriptor.
fn decompressed(path: &Path, file: File, spool: &Path) -> Result<File> {
    let mut out = unnamed_file(spool)?;
    let from = BufReader::with_capacity(256 << 10, file);
    let mut from = Decoder::sniffing(from).map_err(|cause| cannot_read(path, &cause))?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        let len = match from.read(&mut buffer) {
            Ok(0) => return Ok(out),
            Ok(len) => len,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
            Err(cause) => {
                return Err(
                    Error::new(format!("cannot decompress {}", path.display())).rule(cause.to_string())
                );
            }
        };
        io::Write::write_all(&mut out, &buffer[..len]).map_err(|cause| {
            Error::io(format!("cannot decompress {} into {}", path.display(), spool.display()), &cause)
                .remedy("an archive that is compressed as a whole needs room for its plain form: free some, or decompress it first")
        })?;
    }
}

/// A file without a name.
fn unnamed_file(dir: &Path) -> Result<File> {
    let failed =
        |cause: &io::Error| Error::io(format!("cannot make a temporary file in {}", dir.display()), cause);
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    if let Ok(fd) = rustix::fs::open(dir, flags, Mode::RUSR | Mode::WUSR) {
        return Ok(File::from(fd));
    }
    // A file system without O_TMPFILE: the name lives for a moment only.
    let name = dir.join(format!(".cutaway-{}-spool", std::process::id()));
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&name)
        .map_err(|cause| failed(&cause))?;
    std::fs::remove_file(&name).map_err(|cause| failed(&cause))?;
    Ok(file)
}

/// Reads the headers of a tar and notes where each member's bytes are.
fn index(path: &Path, file: &File) -> Result<HashMap<Vec<u8>, Member>> {
    let not_a_tar = |cause: io::Error| match cause.raw_os_error() {
        Some(_) => cannot_read(path, &cause),
        None => Error::new(format!("{} is not an image archive", path.display()))
            .rule(format!("it has to be a tar, plain or compressed with gzip or zstd: {cause}")),
    };
    let total = file.metadata().map_err(|cause| cannot_read(path, &cause))?.len();
    let mut members = HashMap::new();
    let mut archive = tar::Archive::new(file);
    io::Seek::rewind(&mut { file }).map_err(|cause| cannot_read(path, &cause))?;
    for entry in archive.entries_with_seek().map_err(not_a_tar)? {
        let entry = entry.map_err(not_a_tar)?;
        let (offset, len) = (entry.raw_file_position(), entry.size());
        let kind = entry.header().entry_type();
        if kind.is_file() && offset.checked_add(len).is_none_or(|end| end > total) {
            return Err(Error::new(format!("{} is cut off", path.display()))
                .rule(format!("it ends inside of {}", String::from_utf8_lossy(&entry.path_bytes()))));
        }
        let Some(name) = normal(&[], &entry.path_bytes()) else { continue };
        let target = entry.link_name_bytes();
        let member = match target {
            _ if kind.is_file() || kind.is_contiguous() => Member::File { offset, len },
            Some(target) if kind.is_hard_link() => normal(&[], &target).map_or(Member::Other, Member::Link),
            Some(target) if kind.is_symlink() => {
                normal(parent(&name), &target).map_or(Member::Other, Member::Link)
            }
            _ => Member::Other,
        };
        members.insert(name, member);
        if members.len() > MAX_MEMBERS {
            return Err(Error::new(format!("{} is not an image archive", path.display()))
                .rule(format!("it has more than {MAX_MEMBERS} members")));
        }
    }
    Ok(members)
}

/// The folder that a member is in.
fn parent(name: &[u8]) -> &[u8] {
    name.iter().rposition(|byte| *byte == b'/').map_or(&[], |at| &name[..at])
}

/// A name from the root of the archive, without `.` and `..`; `None` if it leads out.
fn normal(from: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let from = if name.starts_with(b"/") { &[] } else { from };
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in from.split(|byte| *byte == b'/').chain(name.split(|byte| *byte == b'/')) {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join(&b'/'))
}

/// Finds the bytes of a member, through links.
fn look_up(members: &HashMap<Vec<u8>, Member>, what: &str, name: &[u8]) -> Result<Option<(u64, u64)>> {
    let Some(mut name) = normal(&[], name) else {
        return Err(Error::new(format!("{what} is refused")).rule("the name leads out of the archive"));
    };
    for _ in 0..MAX_LINKS {
        match members.get(&name) {
            None => return Ok(None),
            Some(Member::File { offset, len }) => return Ok(Some((*offset, *len))),
            Some(Member::Link(target)) => name.clone_from(target),
            Some(Member::Other) => {
                return Err(Error::new(format!("{what} is refused"))
                    .rule("it has to be a regular file of the archive"));
            }
        }
    }
    Err(Error::new(format!("{what} is refused")).rule("its links lead in a circle"))
}

/// The bytes of one file, read at their own position: several blobs share one descriptor.
pub struct Blob {
    file: Arc<File>,
    offset: u64,
    len: u64,
    at: u64,
    what: String,
}

impl Blob {
    /// How many bytes it has.
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // an empty blob is nothing special
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Its name and where it is, for errors.
    #[must_use]
    pub fn what(&self) -> &str {
        &self.what
    }

    /// Reads a document whole, if it is no longer than `max`.
    pub fn read_whole(mut self, max: u64) -> Result<Vec<u8>> {
        if self.len > max {
            return Err(Error::new(format!("{} has {} bytes", self.what, self.len))
                .rule(format!("documents of an image are read up to {max} bytes")));
        }
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes)
            .map_err(|cause| Error::io(format!("cannot read {}", self.what), &cause))?;
        Ok(bytes)
    }

    /// Reads it to the end for its digest.
    pub fn digest(mut self) -> Result<(Digest, u64)> {
        let mut hasher = Hasher::default();
        copy(&mut self, &mut hasher)?;
        Ok(hasher.finish())
    }
}

/// Copies a blob in large pieces.
fn copy(blob: &mut Blob, into: &mut Hasher) -> Result<()> {
    let mut buffer = vec![0; 256 << 10];
    loop {
        match blob.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(len) => into.update(&buffer[..len]),
            Err(cause) => return Err(Error::io(format!("cannot read {}", blob.what), &cause)),
        }
    }
}

impl Read for Blob {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(self.len - self.at).unwrap_or(usize::MAX);
        let want = into.len().min(rest);
        if want == 0 {
            return Ok(0);
        }
        loop {
            match self.file.read_at(&mut into[..want], self.offset + self.at) {
                Ok(0) => {
                    let missing = format!("it became shorter while it was read, {rest} bytes are missing");
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, missing));
                }
                Ok(len) => {
                    self.at += len as u64;
                    return Ok(len);
                }
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(cause),
            }
        }
    }
}

/// Text from a path, for errors.
#[must_use]
pub fn shown(bytes: &[u8]) -> String {
    std::ffi::OsStr::from_bytes(bytes).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn tar_of(entries: &[(&str, tar::EntryType, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, kind, body) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            if kind.is_file() {
                header.set_size(body.len() as u64);
                header.set_cksum();
                builder.append(&header, body.as_bytes()).unwrap();
            } else {
                header.set_size(0);
                header.as_gnu_mut().unwrap().linkname[..body.len()].copy_from_slice(body.as_bytes());
                header.set_cksum();
                builder.append(&header, &[][..]).unwrap();
            }
        }
        builder.into_inner().unwrap()
    }

    fn open(bytes: &[u8]) -> Result<(tempfile::TempDir, Files)> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tar");
        std::fs::write(&path, bytes).unwrap();
        let files = Files::archive(&path, dir.path())?;
        Ok((dir, files))
    }

    fn text(files: &Files, name: &str) -> String {
        String::from_utf8(files.need(name).unwrap().read_whole(100).unwrap()).unwrap()
    }

    #[test]
    fn members_are_found_through_links_inside_the_archive() {
        use tar::EntryType::{Link, Regular, Symlink};
        let (_dir, files) = open(&tar_of(&[
            ("./a/layer.tar", Regular, "bytes"),
            ("b/layer.tar", Symlink, "../a/layer.tar"),
            ("c", Link, "a/layer.tar"),
            ("out", Symlink, "../../etc/passwd"),
            ("abs", Symlink, "/etc/passwd"),
            ("loop", Symlink, "loop"),
        ]))
        .unwrap();
        assert_eq!((text(&files, "b/layer.tar"), text(&files, "c")), ("bytes".into(), "bytes".into()));
        assert!(files.open("abs").unwrap().is_none());
        assert!(files.open("/etc/passwd").unwrap().is_none());
        for bad in ["out", "loop", "../x"] {
            assert!(files.open(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_compressed_archive_is_read_through_an_unnamed_file() {
        let plain = tar_of(&[("x", tar::EntryType::Regular, "inside")]);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&plain).unwrap();
        for bytes in [gzip.finish().unwrap(), zstd::encode_all(&plain[..], 1).unwrap()] {
            let (dir, files) = open(&bytes).unwrap();
            assert_eq!(text(&files, "x"), "inside");
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left in the spool");
        }
    }

    #[test]
    fn what_is_cut_off_or_no_tar_is_refused() {
        let whole = tar_of(&[("x", tar::EntryType::Regular, &"y".repeat(2000))]);
        assert!(open(&whole[..1024]).err().unwrap().to_string().contains("cut off"));
        assert!(open(&[b'z'; 2000]).err().unwrap().to_string().contains("not an image archive"));
    }

    #[test]
    fn only_regular_files_of_a_folder_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("file"), "fine").unwrap();
        std::os::unix::fs::symlink("/dev/zero", path("zero")).unwrap();
        std::os::unix::fs::symlink(".", path("here")).unwrap();
        std::fs::create_dir(path("dir")).unwrap();
        let fifo =
            rustix::fs::mknodat(rustix::fs::CWD, path("fifo"), rustix::fs::FileType::Fifo, Mode::RUSR, 0);
        fifo.unwrap();
        let files = Files::folder(dir.path()).unwrap();
        assert_eq!(text(&files, "./file"), "fine");
        assert!(files.open("none").unwrap().is_none());
        for bad in ["zero", "here/file", "dir", "fifo", "../x", ""] {
            assert!(files.open(bad).is_err(), "{bad:?}");
        }
    }
}
