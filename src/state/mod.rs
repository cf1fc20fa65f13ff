//! The state directory: where images, containers and journals are kept between runs.
//!
//! It belongs to its owner alone (mode 0700): layers hold set-user-ID programs that other users of the host
//! must not reach.
//!
//! ```text
//! STATE/
//!   oci-layout  index.json  blobs/   the image store, itself a valid OCI image layout
//!   layers/<chain ID>/               one unpacked layer each
//!   containers/<name>/               init, upper, work and merged of one container
//!   overlays/<name>/                 lower, upper, work and merged of one `cutaway overlay`
//!   journal/<name>                   what has to be undone should its run die
//!   labs/<lab>/                      where a student works on a lab, and beside it <lab>.journal
//!   labs/progress.json               how far the student is
//! ```

pub mod journal;
pub mod progress;

use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Where the state directory is when `--state` does not say: below /var/lib for root, below the user's data
/// directory (`XDG_DATA_HOME`, or `~/.local/share`) otherwise.
pub fn default_directory(is_root: bool) -> Result<PathBuf> {
    if is_root {
        return Ok("/var/lib/cutaway".into());
    }
    let data =
        std::env::var_os("XDG_DATA_HOME").filter(|dir| Path::new(dir).is_absolute()).map(PathBuf::from);
    let home = std::env::var_os("HOME").filter(|dir| Path::new(dir).is_absolute()).map(PathBuf::from);
    data.or_else(|| home.map(|home| home.join(".local/share"))).map(|dir| dir.join("cutaway")).ok_or_else(
        || {
            Error::new("no place for the state directory")
                .rule("neither XDG_DATA_HOME nor HOME names an absolute directory")
                .remedy("name one with --state DIR")
        },
    )
}

/// The directory of one container.
#[must_use]
pub fn container(state: &Path, name: &str) -> PathBuf {
    state.join("containers").join(name)
}

/// How often a directory is made again that another cutaway has taken away.
const PATIENCE: usize = 50;

/// Makes a directory below the state directory, for the owner alone. Returns what was missing and is made, the outermost
/// first.
pub fn make_private(path: &Path) -> Result<Vec<PathBuf>> {
    // Each directory that is missing takes one attempt in vain.
    let (mut made, mut patience) = (Vec::new(), PATIENCE + path.components().count());
    make(path, &mut made, &mut patience).map(|()| made).map_err(|cause| {
        Error::io(format!("cannot make the directory {}", path.display()), &cause)
            .remedy("name another place with --state DIR")
    })
}

/// A cutaway that has made the state directory takes it away again at its end, if it is empty ([`give_back`]). So the
/// directory in which another one is to be made may vanish at any moment, until there is something in it.
fn make(path: &Path, made: &mut Vec<PathBuf>, patience: &mut usize) -> io::Result<()> {
    loop {
        match std::fs::DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => {
                made.push(path.to_owned());
                return Ok(());
            }
            Err(cause) if cause.kind() == ErrorKind::AlreadyExists && path.is_dir() => return Ok(()),
            Err(cause) if cause.kind() == ErrorKind::NotFound && *patience > 0 => {
                *patience -= 1;
                let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                make(parent.ok_or(cause)?, made, patience)?;
            }
            Err(cause) => return Err(cause),
        }
    }
}

/// Takes away what [`make_private`] has made, as far as it is empty: what has something in it belongs to whoever put it
/// there.
pub fn give_back(made: &[PathBuf]) {
    for path in made.iter().rev() {
        match std::fs::remove_dir(path) {
            Err(cause) if cause.kind() != ErrorKind::NotFound => return,
            _ => {}
        }
    }
}
