//! Where archives are unpacked in tests: an empty target, and next to it a sentinel that must stay as it is.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use cutaway::error::Error;
use cutaway::image::unpack::{Options, Unpacked, shown, unpack};
use rustix::fs::{Gid, Uid};

/// A user that owns nothing.
const NOBODY: u32 = 65_534;

/// Who unpacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The user that runs the tests, trying everything: root, in most places that run these.
    Privileged,
    /// A thread of another user.
    Ordinary,
}

pub struct World {
    dir: tempfile::TempDir,
}

impl World {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let world = Self { dir };
        fs::create_dir(world.target()).unwrap();
        fs::create_dir(world.sentinel()).unwrap();
        fs::write(world.sentinel().join("kept"), "kept").unwrap();
        fs::set_permissions(world.sentinel(), fs::Permissions::from_mode(0o751)).unwrap();
        world
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn target(&self) -> PathBuf {
        self.dir.path().join("target")
    }

    /// A directory that archives try to reach.
    pub fn sentinel(&self) -> PathBuf {
        self.dir.path().join("sentinel")
    }

    /// Unpacks, and makes sure that nothing but the target changed.
    pub fn unpack(&self, archive: &[u8], who: Who) -> Result<Unpacked, Error> {
        let before = listing(&self.sentinel());
        let result = match who {
            Who::Privileged => unpack(&mut &archive[..], &self.target(), &Options::privileged()),
            Who::Ordinary => self.unpack_as_nobody(archive),
        };
        assert_eq!(listing(&self.sentinel()), before, "the sentinel was changed");
        let mut beside: Vec<_> =
            fs::read_dir(self.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        beside.retain(|name| name != "target" && name != "sentinel");
        assert!(beside.is_empty(), "something was made beside the target: {beside:?}");
        for line in listing(&self.target()) {
            let name = line.split(" -> ").next().unwrap();
            assert!(
                !name.contains("/.wh.") && !name.contains(" .wh."),
                "a whiteout's name is in the result: {line}"
            );
        }
        result
    }

    fn unpack_as_nobody(&self, archive: &[u8]) -> Result<Unpacked, Error> {
        std::os::unix::fs::chown(self.target(), Some(NOBODY), Some(NOBODY)).unwrap();
        Self::as_nobody(|| unpack(&mut &archive[..], &self.target(), &Options::unprivileged()))
    }

    /// Works in a thread of another user: Linux has the ids and capabilities per thread, and it is only the C
    /// library that changes them for all threads at once.
    pub fn as_nobody<T: Send>(work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let ordinary = scope.spawn(|| {
                let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
                rustix::thread::set_thread_groups(&[]).unwrap();
                rustix::thread::set_thread_res_gid(group, group, group).unwrap();
                rustix::thread::set_thread_res_uid(user, user, user).unwrap();
                assert!(fs::read("/etc/shadow").is_err(), "this thread is still root");
                work()
            });
            ordinary.join().unwrap()
        })
    }
}

/// Everything in a directory, one line each: type, mode, name, and what there is to it.
pub fn listing(dir: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    list(dir, dir, &mut lines);
    lines.sort_by(|a, b| a.split_once(' ').unwrap().1.cmp(b.split_once(' ').unwrap().1));
    lines
}

fn list(top: &Path, dir: &Path, lines: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let about = fs::symlink_metadata(&path).unwrap();
        let name = shown(path.strip_prefix(top).unwrap().as_os_str().as_bytes());
        let (kind, mode) = (about.file_type(), about.mode() & 0o7777);
        let device = (rustix::fs::major(about.rdev()), rustix::fs::minor(about.rdev()));
        let names = if about.nlink() > 1 { format!(" x{}", about.nlink()) } else { String::new() };
        lines.push(if kind.is_dir() {
            format!("d{mode:o} {name}")
        } else if kind.is_symlink() {
            format!("l {name} -> {}{names}", shown(fs::read_link(&path).unwrap().as_os_str().as_bytes()))
        } else if kind.is_char_device() {
            format!("c{mode:o} {name} {}:{}", device.0, device.1)
        } else if kind.is_block_device() {
            format!("b{mode:o} {name} {}:{}", device.0, device.1)
        } else if kind.is_fifo() {
            format!("p{mode:o} {name}")
        } else if about.len() > 100 {
            format!("f{mode:o} {name} {} bytes{names}", about.len())
        } else {
            format!("f{mode:o} {name} = {}{names}", shown(&fs::read(&path).unwrap()))
        });
        if kind.is_dir() {
            list(top, &path, lines);
        }
    }
}

/// The value of an extended attribute, if it is there.
pub fn xattr(path: &Path, key: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 4096];
    let length = rustix::fs::lgetxattr(path, key, &mut value[..]).ok()?;
    value.truncate(length);
    Some(value)
}

/// Whether a test that takes root can run; if not, says so, and fails where nothing may be skipped.
pub fn root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip(test, "it takes root");
    }
    root
}

/// A test that cannot run says why.
pub fn skip(test: &str, why: &str) {
    eprintln!("{test} cannot run: {why}");
    assert!(std::env::var_os("CUTAWAY_MUST_RUN").is_none(), "{test} cannot run, but must: {why}");
}

/// Runs `work` in a thread with mounts of its own, on which nothing outside depends.
pub fn with_own_mounts<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    use nix::mount::MsFlags;
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
            let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            nix::mount::mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).unwrap();
            work()
        });
        thread.join().unwrap()
    })
}

/// Mounts something, in such a thread.
pub fn mount(kind: &str, target: &Path, options: &str) -> nix::Result<()> {
    nix::mount::mount(Some(kind), target, Some(kind), nix::mount::MsFlags::empty(), Some(options))
}
