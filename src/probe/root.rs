//! The root directory and the working directory of a process: the two places where a lookup of a path begins.
//!
//! A directory is told apart from any other by its device and inode number, which two processes see alike
//! whatever path leads there ([inode(7)](https://man7.org/linux/man-pages/man7/inode.7.html)). A path can be no
//! proof: every process calls its own root `/`.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use super::{mounts, read};

/// A directory, told apart from any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// The directory that a path leads to, or why that cannot be told.
    pub fn of(path: impl AsRef<Path>) -> Result<Self, String> {
        let path = path.as_ref();
        let meta = std::fs::metadata(path).map_err(|cause| read::reason(path, &cause))?;
        Ok(Self { device: meta.dev(), inode: meta.ino() })
    }

    /// The directory that a descriptor of this process refers to; no /proc is needed for that.
    pub fn of_descriptor(fd: i64) -> Result<Self, String> {
        let closed = || format!("descriptor {fd} is not open");
        let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(closed)?;
        let meta = nix::sys::stat::fstat(crate::sys::process::borrow(fd)).map_err(|_| closed())?;
        Ok(Self { device: meta.st_dev, inode: meta.st_ino })
    }

    /// The root directory of a process: none for the acting one.
    pub fn of_root(pid: Option<i64>) -> Result<Self, String> {
        Self::of(place("root", pid))
    }
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (major, minor) = (libc::major(self.device), libc::minor(self.device));
        write!(f, "{major}:{minor} inode {}", self.inode)
    }
}

/// A path to the root (`root`) or the working directory (`cwd`) of a process.
fn place(which: &str, pid: Option<i64>) -> PathBuf {
    match pid {
        Some(pid) => format!("/proc/{pid}/{which}").into(),
        // Without /proc, which a new root does not have.
        None if which == "root" => "/".into(),
        None => ".".into(),
    }
}

/// The path of the working directory as the kernel gives it: one that is not below the root begins with
/// `(unreachable)` ([getcwd(2)](https://man7.org/linux/man-pages/man2/getcwd.2.html)).
pub fn directory() -> Result<String, String> {
    let path = rustix::process::getcwd(Vec::new()).map_err(|errno| format!("getcwd: {errno}"))?;
    Ok(path.to_string_lossy().into_owned())
}

/// Whether that path says so.
#[must_use]
pub fn is_outside(directory: &str) -> bool {
    directory.starts_with("(unreachable)")
}

/// The snapshot: of the acting process, or of another as the acting one sees it.
#[must_use]
pub fn snapshot(pid: Option<i64>) -> Json {
    let identity =
        |which| Identity::of(place(which, pid)).map_or_else(|why| json!(why), |one| json!(one.to_string()));
    let link = |which| {
        let path = place(which, pid);
        std::fs::read_link(&path)
            .map_or_else(|cause| read::reason(&path, &cause), |to| to.display().to_string())
    };
    let path = if pid.is_some() { link("cwd") } else { directory().unwrap_or_else(|why| why) };
    let mut all = json!({
        "root": identity("root"),
        "working directory": identity("cwd"),
        "its path": path,
    });
    if pid.is_some() {
        all["path of the root"] = json!(link("root"));
    }
    all
}

/// Whether a process can reach one file system at its root, and nothing that is stacked there.
pub fn one_mount(pid: i64) -> Result<(), String> {
    let count = mounts::table_of(&pid.to_string())?.iter().filter(|mount| mount.at == Path::new("/")).count();
    if count == 1 { Ok(()) } else { Err(format!("{count} mounts on /")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_itself_under_every_name() {
        let own = i64::from(std::process::id());
        assert_eq!(Identity::of_root(None), Identity::of_root(Some(own)));
        assert_eq!(Identity::of("/"), Identity::of("/usr/.."));
        assert_ne!(Identity::of("/"), Identity::of("/proc"));
        assert_eq!(Identity::of("/nonexistent"), Err("/nonexistent: ENOENT".to_owned()));
    }

    #[test]
    fn here_the_working_directory_is_below_the_root() {
        let path = directory().unwrap();
        assert_eq!(Path::new(&path), std::env::current_dir().unwrap());
        assert!(!is_outside(&path) && is_outside("(unreachable)/tmp"));
        assert!(snapshot(None)["root"].as_str().unwrap().contains(" inode "));
    }
}
