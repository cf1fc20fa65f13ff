//! An idmapped mount: a translation of owners that belongs to a mount and not to a process.

use std::path::PathBuf;

use super::{CHILD, Story, USERS};
use crate::concepts::common::birth::proc_of;
use crate::plan::calls::mount;
use crate::plan::{Claim, Gate, Probe, Spawn, Step, Wait, calls};
use crate::probe::{Host, mounts};
use crate::sys::flags::{Access, AtFlags, CloneFlags, MoveMountFlags, MsFlags, OFlags, OpenTreeFlags};
use crate::sys::{Slot, Syscall, Value};

const MNT: CloneFlags = CloneFlags::CLONE_NEWNS;
/// The process that mounts.
const MAPPER: Slot = Slot::new("mapper pid");
/// A copy of the tree, attached nowhere yet.
const TREE: &str = "tree";
/// The first release in which a file system can do it.
const SINCE: [(&str, (u32, u32)); 6] = [
    ("ext4", (5, 12)),
    ("vfat", (5, 12)),
    ("xfs", (5, 12)),
    ("btrfs", (5, 15)),
    ("overlay", (5, 19)),
    ("tmpfs", (6, 3)),
];

/// The host keeps a descriptor of the child's user namespace, for its map.
pub fn keep() -> Step {
    Step::say("Keep a descriptor of the child's user namespace")
        .why("For the map in it. A mount can be given the same one.")
        .chapter("9")
        .call(calls::open(proc_of(&CHILD, "ns/user"), Access::O_RDONLY, OFlags::empty(), USERS))
}

/// Why it cannot be shown here; none if it can.
fn obstacle(story: &Story, here: &Host) -> Option<String> {
    if !here.kernel_at_least(5, 12) {
        return Some("idmapped mounts exist since Linux 5.12".to_owned());
    }
    let fstype = &mounts::holding(here.mounts(), &story.directory)?.fstype;
    match SINCE.iter().find(|(name, _)| name == fstype) {
        Some((_, (major, minor))) if here.kernel_at_least(*major, *minor) => None,
        Some((_, (major, minor))) => {
            Some(format!("{fstype} can be mounted with other ids since Linux {major}.{minor}"))
        }
        None => Some(format!(
            "{} is on {fstype}, which cannot be mounted with other ids",
            story.directory.display()
        )),
    }
}

/// The steps, or one that says why not.
pub fn steps(story: &Story, here: &Host) -> Vec<Step> {
    let step = Step::say("Translate the owners of a whole tree, for one mount")
        .why(
            "An image's files belong to root. A container whose root is user 100000 outside sees them as nobody's, and \
             changing the owner of each file would take long and need a copy. A mount with a map does it as the files \
             are looked at.",
        )
        .chapter("9");
    let close = Step::say("Let go of the child's user namespace")
        .why("The map has been read from it.")
        .chapter("17")
        .call(calls::close(USERS));
    match obstacle(story, here) {
        Some(why) => vec![step.skip(why), close],
        None => vec![
            source(story),
            step.spawn(Spawn {
                clone: super::super::clone(MNT),
                into: MAPPER,
                actor: "mapper",
                child: mapper(story),
                meanwhile: Vec::new(),
            }),
            Step::say("Wait for its end")
                .why("The mount ends with its mount namespace. Not one owner on the disk was changed.")
                .chapter("9")
                .wait(Wait::end(MAPPER)),
            close,
        ],
    }
}

fn tree(story: &Story) -> PathBuf {
    story.directory.join("image")
}

fn shown(story: &Story) -> PathBuf {
    story.directory.join("mounted")
}

fn source(story: &Story) -> Step {
    let file = tree(story).join("file");
    Step::say("Make a tree that belongs to root, as an image does")
        .why("And an empty directory beside it, to mount it on.")
        .chapter("9")
        .calls([calls::mkdir(tree(story), 0o755), calls::mkdir(shown(story), 0o755)])
        .calls(calls::create(&file, "from an image"))
        .expect([Claim::Owner { path: file, uid: 0 }])
}

fn mapper(story: &Story) -> Vec<Step> {
    let empty = || Value::later(TREE);
    let mut copy = crate::plan::Call::from(Syscall::OpenTree {
        dir: Value::CWD,
        path: tree(story).into(),
        flags: OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
    });
    copy.into = Some(Slot::new(TREE));
    vec![
        Step::say("Die when cutaway dies")
            .why("Should cutaway be killed, the kernel kills this process too, and its mounts end with it.")
            .call(calls::die_with_parent())
            .expect([Claim::OwnNamespaces(MNT)]),
        Step::say("Make sure that it is not dead already")
            .why("A parent that died before the call above would never trigger it.")
            .gate(Gate::ParentLives),
        Step::say("Keep every mount to yourself")
            .why("What is mounted here is nobody else's business.")
            .chapter("5")
            .call(mount::propagation("/", MsFlags::MS_REC | MsFlags::MS_PRIVATE)),
        Step::say("Mount the tree a second time, with the map of the child's user namespace")
            .why(
                "The copy of the mount is attached nowhere when it gets its map: nobody may use it before. Through it, \
                 what belongs to user 0 on the disk belongs to whom the map calls 0, user 100000.",
            )
            .chapter("9")
            .call(copy)
            .call(Syscall::MountIdmap {
                dir: empty(),
                path: "".into(),
                flags: AtFlags::AT_EMPTY_PATH,
                users: Value::later(USERS),
            })
            .call(Syscall::MoveMount {
                from: empty(),
                from_path: "".into(),
                to: Value::CWD,
                to_path: shown(story).into(),
                flags: MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
            })
            .call(calls::close(TREE))
            .look_at([Probe::Directory(tree(story)), Probe::Directory(shown(story))])
            .expect([
                Claim::Owner { path: tree(story).join("file"), uid: 0 },
                Claim::Owner { path: shown(story).join("file"), uid: story.uid },
            ]),
    ]
}
