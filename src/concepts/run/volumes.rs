//! Volumes: paths of the host inside the container, and empty file systems in memory.

use std::path::PathBuf;

use crate::plan::{Call, Step, calls};
use crate::sys::flags::{MountAttr, MsFlags};
use crate::sys::{Slot, Syscall, Text, Value};

use super::HOST_ROOT;
use super::settle::Settled;
use calls::mount;

/// A path of the host that is shown in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// On the host, without symbolic links, without the leading slash.
    pub source: Text,
    /// Inside.
    pub target: Text,
    /// Directories, and a file at the end, that must be made for it to be mounted on.
    pub make: Vec<Place>,
    /// Whether the container may only read it.
    pub read_only: bool,
    /// The flags that a remount must repeat on kernels without `mount_setattr`.
    pub source_flags: MsFlags,
}

/// A mount point that the image lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Directory(PathBuf),
    File(PathBuf),
}

/// An empty file system in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tmpfs {
    pub target: Text,
    pub make: Vec<Place>,
    pub flags: MsFlags,
    pub options: String,
}

/// One step for each.
pub fn all(run: &Settled) -> Vec<Step> {
    let volumes = run.volumes.iter().map(|volume| bind(volume, run.has_mount_setattr));
    volumes.chain(run.tmpfs.iter().map(tmpfs)).collect()
}

fn make(places: &[Place]) -> impl Iterator<Item = Syscall> {
    places.iter().map(|place| match place {
        Place::Directory(path) => calls::mkdir(path, 0o755),
        Place::File(path) => calls::empty_file(path),
    })
}

fn bind(volume: &Volume, has_mount_setattr: bool) -> Step {
    let (tree, place) = (Slot::new("volume"), Slot::new("place"));
    let mut all: Vec<Call> = make(&volume.make).map(Call::from).collect();
    // ANCHOR: bind
    all.push(calls::clone_tree(Value::later(HOST_ROOT), volume.source.clone(), tree.clone()));
    if volume.read_only && has_mount_setattr {
        all.push(calls::set_tree(tree.clone(), MountAttr::MOUNT_ATTR_RDONLY).into());
    }
    all.push(calls::open_in_root(volume.target.clone(), place.clone()));
    all.push(calls::attach_tree(tree, place).into());
    // ANCHOR_END: bind
    all.extend([calls::close("volume"), calls::close("place")]);
    if volume.read_only && !has_mount_setattr {
        let flags = MsFlags::MS_RDONLY | volume.source_flags;
        all.push(mount::remount_bind(volume.target.clone(), flags).into());
    }
    let step = Step::say("Mount a volume").chapter("9").calls(all);
    if !volume.read_only {
        return step.why(
            "A bind mount shows the same files in a second place: nothing is copied, and what the container \
             writes is on the host at once. The target is opened first, without leaving the root and without \
             the magic links of /proc, and the mount goes where that descriptor points.",
        );
    }
    if has_mount_setattr {
        step.why(
            "A bind mount shows the same files in a second place. Every mount of the copied tree is made \
             read-only before it is attached, so that there is no moment in which it could be written to. The \
             target is opened first, without leaving the root, and the mount goes where that descriptor points.",
        )
    } else {
        step.why(
            "A bind mount shows the same files in a second place. This kernel cannot make a whole tree \
             read-only (mount_setattr came with 5.12): the volume itself becomes read-only, mounts below it \
             keep what they are.",
        )
    }
}

fn tmpfs(tmpfs: &Tmpfs) -> Step {
    let place = Slot::new("place");
    let target = Text::from("/proc/self/fd/").then_later(place.clone());
    Step::say("Mount an empty file system in memory")
        .why("What is written there takes memory, counts towards the container's limit, and is gone at its end.")
        .chapter("9")
        .calls(make(&tmpfs.make))
        .call(calls::open_in_root(tmpfs.target.clone(), place))
        .call(mount::tmpfs(target, tmpfs.flags, &tmpfs.options))
        .call(calls::close("place"))
}
