//! The container's root: layers merged by overlayfs, and a root mount that is swapped for the host's.

use std::path::Path;

use crate::concepts::common::overlay::Stack;
use crate::plan::{Call, Claim, Probe, Step, calls};
use crate::sys::Text;
use crate::sys::flags::{MsFlags, OFlags};

use super::HOST_ROOT;
use super::settle::Settled;
use calls::mount;

/// No mount of the container may show up on the host.
pub fn private() -> Step {
    Step::say("Keep every mount to yourself")
        .why(
            "The new mount namespace began as a copy of the host's, and the copies are still tied together \
             where the host says `shared`. Private cuts the tie: nothing mounted from here on is seen outside.",
        )
        .chapter("5")
        .call(mount::propagation("/", MsFlags::MS_REC | MsFlags::MS_PRIVATE))
        .expect([Claim::NothingShared])
}

/// The topmost read-only layer, in memory.
pub fn stage(run: &Settled) -> Step {
    let mut all: Vec<Call> = vec![
        mount::tmpfs(&run.stage, MsFlags::MS_NOSUID | MsFlags::MS_NODEV, "mode=0755,size=4m").into(),
        calls::chdir(&run.stage).into(),
    ];
    let folders = ["root", "init", "init/proc", "init/sys", "init/dev", "init/etc"];
    all.extend(folders.map(|folder| Call::from(calls::mkdir(folder, 0o755))));
    for (name, content) in &run.etc_files {
        all.extend(calls::create(format!("init/etc/{name}"), content.clone()));
    }
    Step::say("Prepare a layer of mount points and names")
        .why(
            "One more layer goes on top of the image: the directories that /proc, /sys and /dev are mounted \
             on, whatever the image has there, and the files that tell the container its own name. It lives in \
             memory, in this mount namespace, and is gone with it.",
        )
        .chapter("8")
        .calls(all)
}

/// The layers become one tree.
pub fn merge(run: &Settled) -> Step {
    Step::say("Merge the layers")
        .why(
            "overlayfs shows the layers as one tree. A file is looked for in `upperdir`, then from left to \
             right in `lowerdir`. Writes copy the file up first. `volatile` leaves out the flushing to disk: \
             this layer does not outlive the container. Devices are not opened from an image.",
        )
        .chapter("8")
        .calls(run.overlay.calls(run.way))
        .look_at([Probe::Mounts])
}

/// The merged tree becomes the root.
pub fn pivot() -> Step {
    Step::say("Swap the root mount")
        .why(
            "pivot_root makes the merged tree the root of this mount namespace and puts the host's root on \
             top of the same place, where a later step takes it away. chroot would only move a pointer, and \
             a root process can move it back.",
        )
        .chapter("6")
        .calls([
            calls::open_path("/", OFlags::O_DIRECTORY, HOST_ROOT),
            calls::chdir("root").into(),
            calls::pivot_root(".", ".").into(),
        ])
}

/// The host's tree goes out of sight.
pub fn leave_host() -> Step {
    Step::say("Let go of the host's file system")
        .why(
            "The host's mounts were still there, below the new root. Detached, and with the last descriptor \
             closed, no path leads to them any more: there is nothing to escape to.",
        )
        .chapter("6")
        .calls([Call::from(mount::detach(".")), calls::close(HOST_ROOT), calls::chdir("/").into()])
        .look_at([Probe::Mounts])
        .expect([Claim::Mounted { at: "/".into(), fstype: "overlay".into() }])
}

/// With `--read-only`, the last change to the root.
pub fn read_only(run: &Settled) -> Option<Step> {
    run.read_only.then(|| {
        Step::say("Make the root read-only")
            .why(
                "The mount refuses writes now, to the container's layer as well. What is mounted below it, \
                 volumes and tmpfs, keeps its own setting.",
            )
            .chapter("9")
            .call(mount::remount_bind("/", MsFlags::MS_RDONLY | MsFlags::MS_NODEV))
            .expect([Claim::ReadOnly("/".into())])
    })
}

/// The overlay: the layer of mount points, the image's layers, and the container's own directories.
pub fn overlay(layers: &[Text], directory: &Path, rootless: bool) -> Stack {
    let mut options = vec!["volatile"];
    options.extend(rootless.then_some("userxattr"));
    Stack {
        lower: std::iter::once(Text::from("init")).chain(layers.iter().cloned()).collect(),
        upper: directory.join("upper").into(),
        work: directory.join("work").into(),
        target: "root".into(),
        options,
        flags: MsFlags::MS_NODEV,
        links: "",
    }
}
