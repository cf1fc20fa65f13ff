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

/// Makes a directory below the state directory, for the owner alone.
pub fn make_private(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|cause| {
        Error::io(format!("cannot make the directory {}", path.display()), &cause)
            .remedy("name another place with --state DIR")
    })
}
