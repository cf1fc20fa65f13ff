//! A place on disk: the writable layer of the container.

use crate::plan::{Bulk, Step, calls};
use crate::sys::Errno;

use super::settle::Settled;

/// The directories that all containers share, where they are missing.
pub fn shared(run: &Settled) -> Option<Step> {
    let missing: Vec<_> = run.missing_directories.iter().map(|path| calls::mkdir(path, 0o700)).collect();
    if missing.is_empty() {
        return None;
    }
    Some(
        Step::say("Make the folders of the state directory")
            .why(
                "This is the first container here. `containers` holds one directory for each, `stage` is an \
                 empty one on which every container mounts, in its own namespace, what it builds its root \
                 from. Both stay, and belong to you alone.",
            )
            .calls(missing.into_iter().map(|mkdir| crate::plan::Call::from(mkdir).or(Errno::EEXIST))),
    )
}

/// The container's own directory.
pub fn own(run: &Settled) -> Step {
    Step::say("Make a writable layer")
        .why(
            "An image is never written to. What the container changes goes to `upper`; `work` is overlayfs' \
             own scratch space. Both vanish with the container.",
        )
        .chapter("8")
        .calls([
            calls::mkdir(&run.directory, 0o700),
            // Modes are what they say from here on, whatever mask cutaway was started with.
            calls::umask(0o022),
            calls::mkdir(run.directory.join("upper"), 0o755),
            calls::mkdir(run.directory.join("work"), 0o700),
        ])
        .undo([Bulk::RemoveTree { path: run.directory.clone() }])
}
