//! The calls of bulk work: real kernel calls, counted rather than told one by one.
//!
//! Unpacking a layer or removing a tree takes thousands of calls, and a line for each would hide the story.
//! They are therefore made through a [`Tally`], which performs a call and counts it in the same breath, so that
//! the one line the narrator prints instead ("Σ 3,412 calls: openat 900, write 2,800, …") is as true as the
//! lines of single calls: `strace -c` counts the same. This is separate from the calls that are told because
//! those are values that can be shown before they are made; these are only ever summed up after.
//!
//! Every function takes a directory descriptor and **one name**, never a path. The kernel then has nothing to
//! resolve: no `..`, no link in the middle, no race between a check and a use. What a name of several components
//! means is decided by the caller, one component at a time.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rustix::fs::{
    self, AtFlags, FileType, Gid, Mode, OFlags, RawDir, StatxFlags, Timestamps, Uid, XattrFlags,
};

/// The kernel's answer to a call that failed, for those who tell one from another.
pub use rustix::io::Errno;

use crate::error::{Error, Result};

/// A call that failed: its name and the kernel's answer. What it was about, the caller knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed {
    /// The system call, by the name that strace prints.
    pub call: &'static str,
    /// What the kernel answered.
    pub errno: Errno,
}

impl Failed {
    /// The failed call about `name` as a line: `openat(…, "passwd", …) = -1 ENOSPC`.
    #[must_use]
    pub fn line(&self, name: &str) -> String {
        format!("{}(…, \"{name}\", …) = -1 {}", self.call, self.errno_name())
    }

    /// The errno by name: `ENOSPC`.
    #[must_use]
    pub fn errno_name(&self) -> String {
        format!("{:?}", nix::errno::Errno::from_raw(self.errno.raw_os_error()))
    }

    /// This failure as the crate's error, saying what was tried.
    #[must_use]
    pub fn error(&self, what: String, name: &str) -> Error {
        Error::new(what).call(self.line(name), self.errno.raw_os_error())
    }
}

/// The result of one counted call.
pub type Called<T> = std::result::Result<T, Failed>;

/// Declares the [`Tally`]: one public field per system call, under the kernel's name for it.
macro_rules! tally {
    ($($call:ident),* $(,)?) => {
        /// How often each system call was made. A call is counted when the kernel is asked, whatever it answers.
        #[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        pub struct Tally {
            $(
                #[doc = concat!("How often `", stringify!($call), "` was called.")]
                #[serde(skip_serializing_if = "is_zero")]
                pub $call: u64,
            )*
        }

        impl Tally {
            /// Adds the counts of another tally.
            pub fn add(&mut self, other: &Self) {
                $( self.$call += other.$call; )*
            }

            /// Each call that was made at all, by name, with its count.
            pub fn rows(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$( (stringify!($call), self.$call) ),*].into_iter().filter(|(_, count)| *count > 0)
            }
        }
    };
}

tally!(
    close,
    fchmod,
    fchmodat,
    fchown,
    fchownat,
    fgetxattr,
    fremovexattr,
    fsetxattr,
    ftruncate,
    getdents64,
    linkat,
    lsetxattr,
    mkdirat,
    mknodat,
    openat,
    pwrite64,
    readlinkat,
    renameat2,
    statx,
    symlinkat,
    unlinkat,
    utimensat,
    write,
);

/// For serde: a call that was never made is left out.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// What a file system object is, as far as bulk work cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    /// Type and permission bits, as in `st_mode`.
    pub mode: u32,
    /// The owning user.
    pub uid: u32,
    /// The owning group.
    pub gid: u32,
    /// The inode's number.
    pub inode: u64,
    /// The mount it is on: differs even between two bind mounts of one file system.
    pub mount: u64,
    /// The time of the last change of its content.
    pub mtime: (i64, u32),
}

impl About {
    /// Whether it is a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFDIR
    }

    /// Whether it is a symbolic link.
    #[must_use]
    pub fn is_symlink(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFLNK
    }
}

/// What [`Tally::mknodat`] makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// A character device with its major and minor number. 0:0 is what overlayfs takes for a whiteout.
    Char(u32, u32),
    /// A block device with its major and minor number.
    Block(u32, u32),
    /// A named pipe.
    Fifo,
}

/// Turns a result of rustix into one that names the call.
fn named<T>(call: &'static str, result: rustix::io::Result<T>) -> Called<T> {
    result.map_err(|errno| Failed { call, errno })
}

/// A point in time for both atime and mtime: unpacking the same archive twice gives the same tree.
fn both_times((seconds, nanoseconds): (i64, u32)) -> Timestamps {
    let time = fs::Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}

/// Permission bits as rustix wants them.
fn bits(mode: u32) -> Mode {
    Mode::from_bits_truncate(mode & 0o7777)
}

impl Tally {
    /// How many calls were made altogether.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.rows().map(|(_, count)| count).sum()
    }

    /// `int openat(int dirfd, const char *path, int flags)`: the starting directory, the only call with a path.
    pub fn open_start(&mut self, path: &Path) -> Called<OwnedFd> {
        self.openat += 1;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        named("openat", fs::openat(fs::CWD, path, flags, Mode::empty()))
    }

    /// `int openat(int dirfd, const char *name, int flags)`: a directory, never through a link.
    ///
    /// Opened for reading rather than with `O_PATH`, so that the same descriptor serves fchmod, fchown and
    /// fsetxattr, which refuse `O_PATH` descriptors with EBADF.
    pub fn open_directory(&mut self, dir: BorrowedFd<'_>, name: &[u8]) -> Called<OwnedFd> {
        self.openat += 1;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        named("openat", fs::openat(dir, name, flags, Mode::empty()))
    }

    /// `int openat(int dirfd, const char *name, int flags, mode_t mode)`: a new file for writing.
    ///
    /// `O_EXCL` makes it fail with EEXIST when the name is taken, also by a dangling link.
    pub fn create_file(&mut self, dir: BorrowedFd<'_>, name: &[u8], mode: u32) -> Called<OwnedFd> {
        self.openat += 1;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        named("openat", fs::openat(dir, name, flags, bits(mode)))
    }

    /// `int close(int fd)`: dropping a descriptor closes it as well, but uncounted.
    pub fn close(&mut self, fd: OwnedFd) {
        self.close += 1;
        drop(fd);
    }

    /// `ssize_t write(int fd, const void *buf, size_t count)`, until all is written.
    pub fn write_all(&mut self, fd: BorrowedFd<'_>, mut data: &[u8]) -> Called<()> {
        while !data.is_empty() {
            self.write += 1;
            match rustix::io::write(fd, data) {
                Ok(written) => data = data.get(written..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Failed { call: "write", errno }),
            }
        }
        Ok(())
    }

    /// `ssize_t pwrite(int fd, const void *buf, size_t count, off_t offset)`, until all is written.
    pub fn write_all_at(&mut self, fd: BorrowedFd<'_>, mut data: &[u8], mut offset: u64) -> Called<()> {
        while !data.is_empty() {
            self.pwrite64 += 1;
            match rustix::io::pwrite(fd, data, offset) {
                Ok(written) => {
                    data = data.get(written..).unwrap_or_default();
                    offset += written as u64;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Failed { call: "pwrite64", errno }),
            }
        }
        Ok(())
    }

    /// `int ftruncate(int fd, off_t length)`
    pub fn ftruncate(&mut self, fd: BorrowedFd<'_>, length: u64) -> Called<()> {
        self.ftruncate += 1;
        named("ftruncate", fs::ftruncate(fd, length))
    }

    /// `int mkdirat(int dirfd, const char *name, mode_t mode)`
    pub fn mkdirat(&mut self, dir: BorrowedFd<'_>, name: &[u8], mode: u32) -> Called<()> {
        self.mkdirat += 1;
        named("mkdirat", fs::mkdirat(dir, name, bits(mode)))
    }

    /// `int symlinkat(const char *target, int dirfd, const char *name)`
    pub fn symlinkat(&mut self, target: &[u8], dir: BorrowedFd<'_>, name: &[u8]) -> Called<()> {
        self.symlinkat += 1;
        named("symlinkat", fs::symlinkat(target, dir, name))
    }

    /// `ssize_t readlinkat(int dirfd, const char *name, char *buf, size_t size)`
    ///
    /// EINVAL says that the name exists and is no link.
    pub fn readlinkat(&mut self, dir: BorrowedFd<'_>, name: &[u8]) -> Called<Vec<u8>> {
        self.readlinkat += 1;
        let mut target = vec![0_u8; 4096]; // PATH_MAX: the kernel keeps no longer target
        let length = named("readlinkat", fs::readlinkat_raw(dir, name, target.as_mut_slice()))?;
        target.truncate(length);
        Ok(target)
    }

    /// `int linkat(int olddirfd, const char *old, int newdirfd, const char *new, 0)`
    ///
    /// Without `AT_SYMLINK_FOLLOW`: a link to a symbolic link is a second name of that symbolic link.
    pub fn linkat(
        &mut self,
        (from, old): (BorrowedFd<'_>, &[u8]),
        (to, new): (BorrowedFd<'_>, &[u8]),
    ) -> Called<()> {
        self.linkat += 1;
        named("linkat", fs::linkat(from, old, to, new, AtFlags::empty()))
    }

    /// `int mknodat(int dirfd, const char *name, mode_t mode, dev_t dev)`
    pub fn mknodat(&mut self, dir: BorrowedFd<'_>, name: &[u8], node: Node, mode: u32) -> Called<()> {
        self.mknodat += 1;
        let (file_type, device) = match node {
            Node::Char(major, minor) => (FileType::CharacterDevice, fs::makedev(major, minor)),
            Node::Block(major, minor) => (FileType::BlockDevice, fs::makedev(major, minor)),
            Node::Fifo => (FileType::Fifo, 0),
        };
        named("mknodat", fs::mknodat(dir, name, file_type, bits(mode), device))
    }

    /// `int renameat2(int dirfd, const char *old, int dirfd, const char *new, RENAME_NOREPLACE)`: within a directory, over
    /// nothing that is there.
    pub fn rename(&mut self, dir: BorrowedFd<'_>, old: &[u8], new: &[u8]) -> Called<()> {
        self.renameat2 += 1;
        named("renameat2", fs::renameat_with(dir, old, dir, new, fs::RenameFlags::NOREPLACE))
    }

    /// `int unlinkat(int dirfd, const char *name, 0)`: anything but a directory.
    pub fn unlink(&mut self, dir: BorrowedFd<'_>, name: &[u8]) -> Called<()> {
        self.unlinkat += 1;
        named("unlinkat", fs::unlinkat(dir, name, AtFlags::empty()))
    }

    /// `int unlinkat(int dirfd, const char *name, AT_REMOVEDIR)`: an empty directory.
    pub fn rmdir(&mut self, dir: BorrowedFd<'_>, name: &[u8]) -> Called<()> {
        self.unlinkat += 1;
        named("unlinkat", fs::unlinkat(dir, name, AtFlags::REMOVEDIR))
    }

    /// `int fchown(int fd, uid_t owner, gid_t group)`
    pub fn fchown(&mut self, fd: BorrowedFd<'_>, uid: u32, gid: u32) -> Called<()> {
        self.fchown += 1;
        named("fchown", fs::fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))))
    }

    /// `int fchownat(int dirfd, const char *name, uid_t owner, gid_t group, AT_SYMLINK_NOFOLLOW)`
    pub fn fchownat(&mut self, dir: BorrowedFd<'_>, name: &[u8], uid: u32, gid: u32) -> Called<()> {
        self.fchownat += 1;
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        named("fchownat", fs::chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW))
    }

    /// `int fchmod(int fd, mode_t mode)`
    pub fn fchmod(&mut self, fd: BorrowedFd<'_>, mode: u32) -> Called<()> {
        self.fchmod += 1;
        named("fchmod", fs::fchmod(fd, bits(mode)))
    }

    /// `int fchmodat(int dirfd, const char *name, mode_t mode)`
    ///
    /// The one call here that follows a link, for want of a flag before Linux 6.6 (fchmodat2). It is only used on
    /// a name whose type is known: what was made a moment ago, or what getdents reported as a directory.
    pub fn fchmodat(&mut self, dir: BorrowedFd<'_>, name: &[u8], mode: u32) -> Called<()> {
        self.fchmodat += 1;
        named("fchmodat", fs::chmodat(dir, name, bits(mode), AtFlags::empty()))
    }

    /// `int futimens(int fd, const struct timespec times[2])`: utimensat(2) with the descriptor itself.
    pub fn futimens(&mut self, fd: BorrowedFd<'_>, time: (i64, u32)) -> Called<()> {
        self.utimensat += 1;
        named("utimensat", fs::futimens(fd, &both_times(time)))
    }

    /// `int utimensat(int dirfd, const char *name, const struct timespec times[2], AT_SYMLINK_NOFOLLOW)`
    pub fn utimensat(&mut self, dir: BorrowedFd<'_>, name: &[u8], time: (i64, u32)) -> Called<()> {
        self.utimensat += 1;
        named("utimensat", fs::utimensat(dir, name, &both_times(time), AtFlags::SYMLINK_NOFOLLOW))
    }

    /// `int fsetxattr(int fd, const char *name, const void *value, size_t size, 0)`
    pub fn fsetxattr(&mut self, fd: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> Called<()> {
        self.fsetxattr += 1;
        named("fsetxattr", fs::fsetxattr(fd, key, value, XattrFlags::empty()))
    }

    /// `int lsetxattr(const char *path, const char *name, const void *value, size_t size, 0)`
    ///
    /// There is no form of this call with a directory descriptor before Linux 6.13 (setxattrat), and links,
    /// devices and pipes cannot be opened to use fsetxattr: the descriptor's entry in /proc stands for it.
    pub fn lsetxattr(&mut self, dir: BorrowedFd<'_>, name: &[u8], key: &[u8], value: &[u8]) -> Called<()> {
        self.lsetxattr += 1;
        let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
        path.extend_from_slice(name);
        named("lsetxattr", fs::lsetxattr(path, key, value, XattrFlags::empty()))
    }

    /// `ssize_t fgetxattr(int fd, const char *name, void *value, size_t size)`: whether an attribute is the letter `y`,
    /// which is how overlayfs marks an opaque directory.
    pub fn is_marked(&mut self, fd: BorrowedFd<'_>, key: &str) -> Called<bool> {
        self.fgetxattr += 1;
        let mut value = [0; 2];
        match fs::fgetxattr(fd, key, &mut value[..]) {
            Ok(length) => Ok(value[..length] == *b"y"),
            // None, a longer one, or a file system without attributes.
            Err(Errno::NODATA | Errno::RANGE | Errno::OPNOTSUPP) => Ok(false),
            Err(errno) => Err(Failed { call: "fgetxattr", errno }),
        }
    }

    /// `int fremovexattr(int fd, const char *name)`
    pub fn fremovexattr(&mut self, fd: BorrowedFd<'_>, key: &[u8]) -> Called<()> {
        self.fremovexattr += 1;
        named("fremovexattr", fs::fremovexattr(fd, key))
    }

    /// `int statx(int dirfd, const char *name, AT_SYMLINK_NOFOLLOW, …)`
    pub fn about(&mut self, dir: BorrowedFd<'_>, name: &[u8]) -> Called<About> {
        self.stat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// `int statx(int fd, "", AT_EMPTY_PATH, …)`: the object a descriptor is open on.
    pub fn about_open(&mut self, fd: BorrowedFd<'_>) -> Called<About> {
        self.stat(fd, b"", AtFlags::EMPTY_PATH)
    }

    fn stat(&mut self, dir: BorrowedFd<'_>, name: &[u8], flags: AtFlags) -> Called<About> {
        self.statx += 1;
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
        let found = named("statx", fs::statx(dir, name, flags, wanted))?;
        Ok(About {
            mode: found.stx_mode.into(),
            uid: found.stx_uid,
            gid: found.stx_gid,
            inode: found.stx_ino,
            mount: found.stx_mnt_id,
            mtime: (found.stx_mtime.tv_sec, found.stx_mtime.tv_nsec),
        })
    }

    /// `ssize_t getdents64(int fd, void *dirp, size_t count)`, until it is at the end.
    ///
    /// `each` gets every name but `.` and `..`, with its type where the file system tells it.
    pub fn list(
        &mut self,
        dir: BorrowedFd<'_>,
        mut each: impl FnMut(&mut Self, &[u8], FileType) -> Called<()>,
    ) -> Called<()> {
        let mut space = Vec::with_capacity(32 * 1024);
        let mut entries = RawDir::new(dir, space.spare_capacity_mut());
        loop {
            if entries.is_buffer_empty() {
                self.getdents64 += 1;
            }
            let Some(entry) = entries.next() else { return Ok(()) };
            let entry = named("getdents64", entry)?;
            match entry.file_name().to_bytes() {
                b"." | b".." => {}
                name => each(self, name, entry.file_type())?,
            }
        }
    }

    /// Whether a directory has nothing in it.
    pub fn is_empty(&mut self, dir: BorrowedFd<'_>) -> Called<bool> {
        let mut empty = true;
        self.list(dir, |_, _, _| {
            empty = false;
            Ok(())
        })?;
        Ok(empty)
    }
}

/// How many directories of one branch are kept open while it is removed; deeper ones are found again by `..`.
const KEEP_OPEN: usize = 64;

/// Removes a file or a whole tree, as `rm -r` does, and nothing outside it. No such path is success.
///
/// No link is followed, and a directory on which something is mounted is refused: what is mounted belongs to
/// somebody else. Directories without permission for their owner (mode 0555 in an image; mode 000 of overlayfs'
/// `work/work`) are given it first, which only matters to an ordinary user.
pub fn remove_tree(path: &Path, tally: &mut Tally) -> Result<()> {
    let failed = |failed: Failed| removal_error(path, path.as_os_str(), failed);
    let Some(name) = path.file_name() else {
        return Err(Error::new(format!("cannot remove `{}`", path.display()))
            .rule("a path that ends in `..` or is the root names no entry of a directory"));
    };
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let parent = match tally.open_parent(parent) {
        Err(gone) if gone.errno == Errno::NOENT => return Ok(()),
        other => other.map_err(failed)?,
    };
    let result = remove_entry(parent.as_fd(), name, path, tally);
    tally.close(parent);
    result
}

impl Tally {
    /// `int openat(AT_FDCWD, const char *path, O_PATH | O_DIRECTORY)`: where the caller says the tree is. Links on
    /// the way there are the caller's own.
    fn open_parent(&mut self, path: &Path) -> Called<OwnedFd> {
        self.openat += 1;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        named("openat", fs::openat(fs::CWD, path, flags, Mode::empty()))
    }
}

/// Removes what `name` is in `parent`: with one call if it is no directory.
fn remove_entry(parent: BorrowedFd<'_>, name: &OsStr, path: &Path, tally: &mut Tally) -> Result<()> {
    match tally.unlink(parent, name.as_bytes()) {
        Ok(()) => Ok(()),
        Err(gone) if gone.errno == Errno::NOENT => Ok(()),
        // unlink(2): Linux says EISDIR for a directory, POSIX would have EPERM.
        Err(other) if matches!(other.errno, Errno::ISDIR | Errno::PERM) => {
            Removal::new(parent, path, tally).and_then(|mut removal| removal.run(name))
        }
        Err(failed) => Err(removal_error(path, name, failed)),
    }
}

/// Removes a directory and what is below it, for callers that hold the descriptor of its parent.
pub fn remove_below(parent: BorrowedFd<'_>, name: &[u8], path: &Path, tally: &mut Tally) -> Result<()> {
    remove_entry(parent, OsStr::from_bytes(name), path, tally)
}

/// One directory on the way down.
struct Level {
    /// Its name in the level above.
    name: OsString,
    /// Open, unless it is so far up that it was closed for the time being.
    fd: Option<OwnedFd>,
    /// To recognise it when it is opened again through `..`.
    inode: u64,
    /// Its directories that are still to be removed.
    left: Vec<OsString>,
    /// Whether it was listed a second time, after it turned out not to be empty.
    again: bool,
}

/// The removal of one directory: a stack of levels instead of recursion, because an archive may be deeper than
/// the stack and than the limit of open files.
struct Removal<'a> {
    parent: BorrowedFd<'a>,
    mount: u64,
    path: &'a Path,
    tally: &'a mut Tally,
    levels: Vec<Level>,
}

impl<'a> Removal<'a> {
    fn new(parent: BorrowedFd<'a>, path: &'a Path, tally: &'a mut Tally) -> Result<Self> {
        let about =
            tally.about_open(parent).map_err(|failed| removal_error(path, path.as_os_str(), failed))?;
        Ok(Self { parent, mount: about.mount, path, tally, levels: Vec::new() })
    }

    /// Goes down into every directory, removes its files at once and itself on the way back up.
    fn run(&mut self, name: &OsStr) -> Result<()> {
        self.enter(name.to_owned())?;
        while let Some(level) = self.levels.last_mut() {
            match level.left.pop() {
                Some(name) => self.enter(name)?,
                None => self.leave()?,
            }
        }
        Ok(())
    }

    /// Opens a directory of the last level and removes everything in it but its directories.
    fn enter(&mut self, name: OsString) -> Result<()> {
        let fd = match self.open(&name) {
            Ok(Some(fd)) => fd,
            Ok(None) => return Ok(()),
            Err(failed) => return Err(self.error(&name, failed)),
        };
        let about = self.tally.about_open(fd.as_fd()).map_err(|failed| self.error(&name, failed))?;
        if about.mount != self.mount {
            return Err(Error::new(format!(
                "cannot remove `{}`",
                self.path.join(self.below(&name)).display()
            ))
            .rule("something is mounted there, and what is mounted is not part of the tree")
            .remedy("unmount it first: findmnt shows what it is"));
        }
        if about.mode & 0o700 != 0o700 {
            // Only the owner may, and root need not; if it fails, the next call says why.
            let _ = self.tally.fchmod(fd.as_fd(), 0o700);
        }
        let left = self.empty(fd.as_fd()).map_err(|failed| self.error(&name, failed))?;
        self.levels.push(Level { name, fd: Some(fd), inode: about.inode, left, again: false });
        self.close_far_level();
        Ok(())
    }

    /// Opens a directory of the last level; `None` if it is gone.
    fn open(&mut self, name: &OsStr) -> Called<Option<OwnedFd>> {
        let above = self.levels.last().and_then(|level| level.fd.as_ref()).map_or(self.parent, AsFd::as_fd);
        let name = name.as_bytes();
        let opened = match self.tally.open_directory(above, name) {
            Err(denied) if denied.errno == Errno::ACCESS => {
                self.tally.fchmodat(above, name, 0o700)?;
                self.tally.open_directory(above, name)
            }
            other => other,
        };
        match opened {
            Ok(fd) => Ok(Some(fd)),
            Err(gone) if gone.errno == Errno::NOENT => Ok(None),
            Err(failed) => Err(failed),
        }
    }

    /// Removes what is not a directory, and returns the names of the directories.
    fn empty(&mut self, fd: BorrowedFd<'_>) -> Called<Vec<OsString>> {
        let mut directories = Vec::new();
        self.tally.list(fd, |tally, name, file_type| {
            let own = || OsString::from_vec(name.to_vec());
            if file_type == FileType::Directory {
                directories.push(own());
                return Ok(());
            }
            match tally.unlink(fd, name) {
                Err(gone) if gone.errno == Errno::NOENT => Ok(()),
                // Some file systems do not tell types while listing.
                Err(dir) if dir.errno == Errno::ISDIR => {
                    directories.push(own());
                    Ok(())
                }
                other => other,
            }
        })?;
        Ok(directories)
    }

    /// Removes the last level itself, from the level above.
    fn leave(&mut self) -> Result<()> {
        let Some(mut level) = self.levels.pop() else { return Ok(()) };
        self.open_level_above(&level)?;
        let above = self.levels.last().and_then(|level| level.fd.as_ref()).map_or(self.parent, AsFd::as_fd);
        match self.tally.rmdir(above, level.name.as_bytes()) {
            Ok(()) => {}
            Err(gone) if gone.errno == Errno::NOENT => {}
            // Something was made meanwhile, or the listing skipped an entry while others were removed.
            Err(full) if full.errno == Errno::NOTEMPTY && !level.again => {
                if let Some(fd) = level.fd.take() {
                    self.tally.close(fd);
                }
                self.enter(level.name)?;
                if let Some(level) = self.levels.last_mut() {
                    level.again = true;
                }
                return Ok(());
            }
            Err(failed) => return Err(self.error(&level.name, failed)),
        }
        if let Some(fd) = level.fd {
            self.tally.close(fd);
        }
        Ok(())
    }

    /// Closes the level that has become too far up to keep.
    fn close_far_level(&mut self) {
        let far = self.levels.len().checked_sub(KEEP_OPEN).and_then(|index| self.levels[index].fd.take());
        if let Some(fd) = far {
            self.tally.close(fd);
        }
    }

    /// Opens the level above again, if it was closed, and makes sure that `..` is still what it was.
    fn open_level_above(&mut self, level: &Level) -> Result<()> {
        let Some(above) = self.levels.last() else { return Ok(()) };
        let (None, Some(fd)) = (&above.fd, &level.fd) else { return Ok(()) };
        let inode = above.inode;
        let up = self.tally.open_directory(fd.as_fd(), b"..").map_err(|f| self.error(&level.name, f))?;
        let about = self.tally.about_open(up.as_fd()).map_err(|f| self.error(&level.name, f))?;
        if about.inode != inode || about.mount != self.mount {
            return Err(Error::new(format!("cannot remove `{}`", self.path.display()))
                .rule("one of its directories was moved while the tree was being removed")
                .remedy("end what works in that tree and try again"));
        }
        if let Some(above) = self.levels.last_mut() {
            above.fd = Some(up);
        }
        Ok(())
    }

    /// The path of `name`, relative to the tree's own root.
    fn below(&self, name: &OsStr) -> std::path::PathBuf {
        self.levels
            .iter()
            .skip(1)
            .map(|level| level.name.as_os_str())
            .chain(self.levels.first().map(|_| name))
            .collect()
    }

    fn error(&self, name: &OsStr, failed: Failed) -> Error {
        removal_error(&self.path.join(self.below(name)), name, failed)
    }
}

/// A removal that the kernel refused.
fn removal_error(path: &Path, name: &OsStr, failed: Failed) -> Error {
    let error = failed.error(format!("cannot remove `{}`", path.display()), &name.to_string_lossy());
    match failed.errno {
        Errno::BUSY => error
            .rule("something is mounted there, and what is mounted is not part of the tree")
            .remedy("unmount it first: findmnt shows what it is"),
        Errno::PERM => error
            .rule("it is immutable (chattr +i), append-only, or in a sticky directory of somebody else")
            .remedy("lsattr shows the flags"),
        Errno::ACCESS => {
            error.rule("it belongs to another user, and removing needs write permission in its directory")
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_tally_sums_names_and_leaves_out_what_was_not_called() {
        let mut tally = Tally { openat: 2, write: 3, ..Tally::default() };
        tally.add(&Tally { write: 1, ..Tally::default() });
        assert_eq!(tally.rows().collect::<Vec<_>>(), [("openat", 2), ("write", 4)]);
        assert_eq!(tally.total(), 6);
        assert_eq!(serde_json::to_string(&tally).unwrap(), r#"{"openat":2,"write":4}"#);
        assert_eq!(serde_json::from_str::<Tally>(r#"{"openat":2,"write":4}"#).unwrap(), tally);
    }

    #[test]
    fn removing_what_is_not_there_is_success() {
        let dir = tempfile::tempdir().unwrap();
        remove_tree(&dir.path().join("a/b"), &mut Tally::default()).unwrap();
        remove_tree(&dir.path().join("a"), &mut Tally::default()).unwrap();
    }

    #[test]
    fn removing_follows_no_link_and_removes_read_only_directories() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        let tree = dir.path().join("tree");
        std::fs::create_dir_all(tree.join("work/work")).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("kept"), "kept").unwrap();
        symlink(&outside, tree.join("link")).unwrap();
        std::fs::write(tree.join("work/file"), "").unwrap();
        std::fs::set_permissions(tree.join("work/work"), std::fs::Permissions::from_mode(0o000)).unwrap();
        std::fs::set_permissions(tree.join("work"), std::fs::Permissions::from_mode(0o555)).unwrap();
        remove_tree(&tree, &mut Tally::default()).unwrap();
        assert!(!tree.exists());
        assert_eq!(std::fs::read(outside.join("kept")).unwrap(), b"kept");
    }

    #[test]
    fn removing_goes_deeper_than_the_limit_of_open_files() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        let mut tally = Tally::default();
        let mut here = tally.open_start(&tree).unwrap();
        for _ in 0..3000 {
            tally.mkdirat(here.as_fd(), b"d", 0o755).unwrap();
            here = tally.open_directory(here.as_fd(), b"d").unwrap();
        }
        drop(here);
        remove_tree(&tree, &mut tally).unwrap();
        assert!(!tree.exists());
    }

    #[test]
    fn removing_a_link_removes_the_link() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("kept")).unwrap();
        symlink("kept", dir.path().join("link")).unwrap();
        remove_tree(&dir.path().join("link"), &mut Tally::default()).unwrap();
        assert!(dir.path().join("kept").is_dir() && !dir.path().join("link").exists());
    }
}
