//! Claims about files: what stat(2), the extended attributes and the disk say of a path.
//!
//! They are apart from the other claims because they are about a path alone: nothing of the acting process matters.

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Claim, overlay, read, tree};

/// What is asserted of a file. Its `Display` is the sentence that is told with a tick or a cross.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileClaim {
    /// The path does not exist.
    Absent(PathBuf),
    /// The path is a whiteout: a character device 0:0.
    Whiteout(PathBuf),
    /// The file has this extended attribute.
    Attribute {
        /// The file.
        path: PathBuf,
        /// The attribute.
        name: String,
        /// Its value, or any.
        value: Option<String>,
    },
    /// The file has so many bytes.
    Size {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// The file takes up at least and at most so many bytes of the disk.
    DiskUse {
        /// The file.
        path: PathBuf,
        /// At least.
        least: u64,
        /// At most.
        most: u64,
    },
    /// Both paths show the same inode number.
    SameInode(PathBuf, PathBuf),
    /// The paths show different inode numbers.
    OtherInode(PathBuf, PathBuf),
    /// The directory is empty.
    Empty(PathBuf),
}

impl fmt::Display for FileClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent(path) => write!(f, "{} does not exist", path.display()),
            Self::Whiteout(path) => write!(f, "{} is a character device 0:0", path.display()),
            Self::Attribute { path, name, value: Some(value) } => {
                write!(f, "{} has {name} = {value}", path.display())
            }
            Self::Attribute { path, name, value: None } => write!(f, "{} has {name}", path.display()),
            Self::Size { path, bytes: 1 } => write!(f, "{} has 1 byte", path.display()),
            Self::Size { path, bytes } => write!(f, "{} has {bytes} bytes", path.display()),
            Self::DiskUse { path, least: 0, most } => {
                write!(f, "{} takes up at most {most} bytes of the disk", path.display())
            }
            Self::DiskUse { path, least, .. } => {
                write!(f, "{} takes up {least} bytes of the disk or more", path.display())
            }
            Self::SameInode(one, other) => {
                write!(f, "{} and {} show the same inode number", one.display(), other.display())
            }
            Self::OtherInode(one, other) => {
                write!(f, "{} and {} show different inode numbers", one.display(), other.display())
            }
            Self::Empty(path) => write!(f, "{} is empty", path.display()),
        }
    }
}

/// As claims of a step.
impl FileClaim {
    /// The path does not exist.
    pub fn absent(path: impl Into<PathBuf>) -> Claim {
        Claim::Files(Self::Absent(path.into()))
    }

    /// The path is a whiteout.
    pub fn whiteout(path: impl Into<PathBuf>) -> Claim {
        Claim::Files(Self::Whiteout(path.into()))
    }

    /// The file has this extended attribute, with this value or any.
    pub fn attribute(path: impl Into<PathBuf>, name: String, value: Option<&str>) -> Claim {
        Claim::Files(Self::Attribute { path: path.into(), name, value: value.map(str::to_owned) })
    }

    /// The file has so many bytes.
    pub fn size(path: impl Into<PathBuf>, bytes: u64) -> Claim {
        Claim::Files(Self::Size { path: path.into(), bytes })
    }

    /// The file takes up so much of the disk.
    pub fn disk_use(path: impl Into<PathBuf>, least: u64, most: u64) -> Claim {
        Claim::Files(Self::DiskUse { path: path.into(), least, most })
    }

    /// Both paths show the same inode number.
    pub fn same_inode(one: impl Into<PathBuf>, other: impl Into<PathBuf>) -> Claim {
        Claim::Files(Self::SameInode(one.into(), other.into()))
    }

    /// The paths show different inode numbers.
    pub fn other_inode(one: impl Into<PathBuf>, other: impl Into<PathBuf>) -> Claim {
        Claim::Files(Self::OtherInode(one.into(), other.into()))
    }

    /// The directory is empty.
    pub fn empty(path: impl Into<PathBuf>) -> Claim {
        Claim::Files(Self::Empty(path.into()))
    }
}

impl FileClaim {
    /// Checks the claim.
    ///
    /// # Errors
    /// What was seen instead.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self::Absent(path) => absent(path),
            Self::Whiteout(path) => {
                let meta = metadata(path)?;
                holds(overlay::is_whiteout(&meta), || format!("a {}", tree::kind(&meta)))
            }
            Self::Attribute { path, name, value } => attribute(path, name, value.as_deref()),
            Self::Size { path, bytes } => {
                let found = metadata(path)?.len();
                holds(found == *bytes, || format!("{found} bytes"))
            }
            // What stat(2) counts in blocks of 512 bytes, whatever the file system's own block is.
            Self::DiskUse { path, least, most } => {
                let found = metadata(path)?.blocks() * 512;
                holds((*least..=*most).contains(&found), || format!("{found} bytes"))
            }
            Self::SameInode(one, other) => {
                let (one, other) = (metadata(one)?.ino(), metadata(other)?.ino());
                holds(one == other, || format!("{one} and {other}"))
            }
            Self::OtherInode(one, other) => {
                let (one, other) = (metadata(one)?.ino(), metadata(other)?.ino());
                holds(one != other, || format!("{one} twice"))
            }
            Self::Empty(path) => {
                let names = overlay::names(path)?;
                holds(names.is_empty(), || format!("in it: {}", names.join(", ")))
            }
        }
    }
}

fn holds(is_so: bool, seen: impl FnOnce() -> String) -> Result<(), String> {
    if is_so { Ok(()) } else { Err(seen()) }
}

/// What a path is; a link is not followed.
pub fn metadata(path: &Path) -> Result<Metadata, String> {
    std::fs::symlink_metadata(path).map_err(|cause| read::reason(path, &cause))
}

fn absent(path: &Path) -> Result<(), String> {
    match std::fs::symlink_metadata(path) {
        Ok(meta) => Err(format!("{} is a {}", path.display(), tree::kind(&meta))),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(read::reason(path, &cause)),
    }
}

fn attribute(path: &Path, name: &str, value: Option<&str>) -> Result<(), String> {
    let found = overlay::attribute(path, name).ok_or_else(|| format!("{} has none", path.display()))?;
    let found = String::from_utf8_lossy(&found);
    holds(value.is_none_or(|value| value == found), || format!("the value {found}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_so_holds_and_what_is_not_says_what_was_seen() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| dir.path().join(name);
        std::fs::write(file("a"), "text").unwrap();
        std::fs::hard_link(file("a"), file("b")).unwrap();
        std::fs::write(file("c"), "other").unwrap();
        rustix::fs::setxattr(file("a"), "user.x", b"y", rustix::fs::XattrFlags::empty()).unwrap();
        let value = |value: &str| FileClaim::Attribute {
            path: file("a"),
            name: "user.x".into(),
            value: Some(value.into()),
        };
        for claim in [
            FileClaim::Absent(file("d")),
            FileClaim::Size { path: file("a"), bytes: 4 },
            FileClaim::SameInode(file("a"), file("b")),
            FileClaim::OtherInode(file("a"), file("c")),
            FileClaim::DiskUse { path: file("a"), least: 0, most: 1 << 20 },
            value("y"),
        ] {
            assert_eq!(claim.check(), Ok(()), "{claim}");
        }
        let seen = |claim: FileClaim| claim.check().unwrap_err();
        assert!(seen(FileClaim::Absent(file("a"))).ends_with("is a file"));
        assert_eq!(seen(FileClaim::Whiteout(file("a"))), "a file");
        assert_eq!(seen(FileClaim::Size { path: file("a"), bytes: 5 }), "4 bytes");
        assert!(seen(FileClaim::Empty(dir.path().into())).starts_with("in it: "));
        assert_eq!(seen(value("z")), "the value y");
    }
}
