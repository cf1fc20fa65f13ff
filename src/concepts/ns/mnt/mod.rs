//! `cutaway ns mnt`: two mount tables, and what passes from one mount to another.

use std::path::{Path, PathBuf};

use super::{Room, scratch, show_host, wait};
use crate::concepts::Context;
use crate::plan::calls::mount;
use crate::plan::{Bulk, Call, Claim, Plan, Probe, Step, calls};
use crate::sys::flags::{Access, AtFlags, CloneFlags, MountAttr, MsFlags, OFlags};
use crate::sys::{Errno, Syscall, Value};

const MNT: CloneFlags = CloneFlags::CLONE_NEWNS;

/// The places of the story, all below one directory.
struct Places {
    base: PathBuf,
}

impl Places {
    /// The directory on which the child mounts a file system for everything else.
    fn stage(&self) -> PathBuf {
        self.base.join("stage")
    }

    fn at(&self, name: &str) -> PathBuf {
        self.stage().join(name)
    }

    /// A file that the child writes outside of the stage.
    fn note(&self) -> PathBuf {
        self.base.join("written-inside")
    }

    /// A new directory with an empty file system on it.
    fn tmpfs(&self, name: &str) -> [Call; 2] {
        [self.mkdir(name), mount::tmpfs(self.at(name), MsFlags::empty(), "size=64k").into()]
    }

    fn mkdir(&self, name: &str) -> Call {
        calls::mkdir(self.at(name), 0o755).into()
    }

    /// The first in a second place.
    fn bind(&self, from: &str, to: &str, flags: MsFlags) -> [Call; 2] {
        [self.mkdir(to), mount::bind(self.at(from), self.at(to), flags).into()]
    }

    fn propagation(&self, name: &str, flags: MsFlags) -> Call {
        mount::propagation(self.at(name), flags).into()
    }

    fn mounted(&self, name: &str) -> Claim {
        Claim::Mounted { at: self.at(name), fstype: "tmpfs".to_owned() }
    }

    fn not_mounted(&self, name: &str) -> Claim {
        Claim::NotMounted(self.at(name))
    }

    /// A file is to be made, where the mount forbids it.
    fn read_only(&self, name: &str) -> Call {
        let flags = OFlags::O_CREAT | OFlags::O_EXCL;
        calls::open(self.at(name), Access::O_WRONLY, flags, "file").refused(Errno::EROFS)
    }
}

/// The story.
pub fn plan(room: &Room, context: &Context) -> Plan {
    let places = Places { base: scratch() };
    let (show, look) = show_host("mounted", "seen", vec![from_the_host(&places)]);
    let mut child = vec![start(), private(), stage(&places)];
    child.extend(show);
    child.extend([shared(&places), slave(&places), separate(&places), unbindable(&places), grid(&places)]);
    child.extend([bind(&places), half_read_only(&places)]);
    child.push(read_only(&places, context.here.kernel_at_least(5, 12)));
    child.extend(room.cross(
        Probe::Directory(places.stage()),
        vec![Claim::Mounted { at: places.stage(), fstype: "tmpfs".to_owned() }],
    ));
    child.extend(return_to_work(room));
    child.push(not_isolated(room, &places));
    child.extend(room.exec());
    room.plan(vec![
        before(),
        place(&places),
        room.keep_host(),
        room.child(birth(), MNT, look, child),
        wait(room),
        after(&places),
        room.let_go_of_host(),
    ])
}

fn before() -> Step {
    Step::say("Note the mount table before anything changes")
        .why(
            "A path leads through mounts: the table says which file system begins where. Behind each mount \
             stands its propagation, which decides whether what is mounted below it appears elsewhere.",
        )
        .chapter("5")
        .look_at([Probe::Namespaces(MNT), Probe::Mounts])
}

fn place(places: &Places) -> Step {
    Step::say("Make a directory to mount on")
        .why("An empty one, for this story alone.")
        .chapter("5")
        .calls([calls::mkdir(&places.base, 0o755), calls::mkdir(places.stage(), 0o755)])
        .undo([Bulk::RemoveTree { path: places.base.clone() }])
}

fn birth() -> Step {
    Step::say("Start a child that has a mount namespace of its own")
        .why(
            "It does not begin empty, as many expect, but as a copy: the same file systems in the same places. The \
             flag is called CLONE_NEWNS because this was the first kind of namespace, and nobody thought of more.",
        )
        .chapter("5")
}

fn start() -> Step {
    Step::say("Read the mount table of the copy")
        .why("The same lines. A mount that was shared is a peer of the host's now, in the same group.")
        .chapter("5")
        .look_at([Probe::Namespaces(MNT), Probe::Mounts])
        .expect([Claim::Mounted { at: "/proc".into(), fstype: "proc".into() }])
}

// ANCHOR: private
fn private() -> Step {
    Step::say("Keep every mount to yourself")
        .why(
            "Among peers each mount and unmount is repeated: what this process mounts would appear on the host. \
             So a new mount namespace alone isolates nothing where the host's mounts are shared, as systemd makes \
             them. Private cuts the tie. In a user namespace the copies are slaves already: the host's mounts \
             would still come in.",
        )
        .chapter("5")
        .call(mount::propagation("/", MsFlags::MS_REC | MsFlags::MS_PRIVATE))
        .expect([Claim::NothingShared])
}
// ANCHOR_END: private

fn stage(places: &Places) -> Step {
    Step::say("Mount an empty file system in memory")
        .why("Everything that follows happens on it. It is in this mount table and in no other.")
        .chapter("5")
        .call(mount::tmpfs(places.stage(), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, "mode=0755,size=1m"))
        .look_at([Probe::Mounts])
        .expect([Claim::Mounted { at: places.stage(), fstype: "tmpfs".to_owned() }])
}

fn from_the_host(places: &Places) -> Step {
    Step::say("Look for it on the host")
        .why("The same path leads to the empty directory. One tree of files, two tables.")
        .chapter("5")
        .look_at([Probe::Directory(places.stage()), Probe::Namespaces(MNT)])
        .expect([Claim::NotMounted(places.stage())])
}

fn shared(places: &Places) -> Step {
    Step::say("Try two shared mounts")
        .why(
            "A bind of a shared mount is its peer. What is mounted below either appears below the other: both \
             directions.",
        )
        .chapter("5")
        .calls(places.tmpfs("shared"))
        .call(places.propagation("shared", MsFlags::MS_SHARED))
        .calls(places.bind("shared", "peer", MsFlags::empty()))
        .calls(places.tmpfs("shared/there"))
        .calls(places.tmpfs("peer/back"))
        .look_at([Probe::Mounts])
        .expect([places.mounted("peer/there"), places.mounted("shared/back")])
}

fn slave(places: &Places) -> Step {
    Step::say("Try a master and its slave")
        .why(
            "What is mounted below the master appears below the slave, and never the other way round. A container \
             that must see a disk that the host mounts later gets its mounts as slaves.",
        )
        .chapter("5")
        .calls(places.tmpfs("master"))
        .call(places.propagation("master", MsFlags::MS_SHARED))
        .calls(places.bind("master", "slave", MsFlags::empty()))
        .call(places.propagation("slave", MsFlags::MS_SLAVE))
        .calls(places.tmpfs("master/there"))
        .calls(places.tmpfs("slave/back"))
        .look_at([Probe::Mounts])
        .expect([places.mounted("slave/there"), places.not_mounted("master/back")])
}

fn separate(places: &Places) -> Step {
    Step::say("Try two private mounts")
        .why("Nothing passes, in neither direction. The files on both are the same all the same.")
        .chapter("5")
        .calls(places.tmpfs("private"))
        .calls(places.bind("private", "copy", MsFlags::empty()))
        .calls(places.tmpfs("private/there"))
        .calls(places.tmpfs("copy/back"))
        .look_at([Probe::Mounts])
        .expect([places.not_mounted("copy/there"), places.not_mounted("private/back")])
        .expect([Claim::Exists(places.at("copy/there"))])
}

fn unbindable(places: &Places) -> Step {
    Step::say("Try an unbindable mount")
        .why("It is private, and cannot be bound to a second place either: EINVAL.")
        .chapter("5")
        .calls(places.tmpfs("unbindable"))
        .call(places.propagation("unbindable", MsFlags::MS_UNBINDABLE))
        .call(places.mkdir("nowhere"))
        .call(
            Call::from(mount::bind(places.at("unbindable"), places.at("nowhere"), MsFlags::empty()))
                .refused(Errno::EINVAL),
        )
        .look_at([Probe::Mounts])
        .expect([places.not_mounted("nowhere")])
}

fn grid(places: &Places) -> Step {
    let pairs = [("shared", "peer"), ("master", "slave"), ("private", "copy"), ("unbindable", "nowhere")];
    let pairs = pairs.map(|(first, second)| (first.to_owned(), second.to_owned())).to_vec();
    Step::say("Put what was tried into one grid")
        .why("Read from the mount table, pair by pair: what was mounted below each, and whether the other has it.")
        .chapter("5")
        .look_at([Probe::Passed { base: places.stage(), pairs }])
}

fn bind(places: &Places) -> Step {
    Step::say("Bind a tree, once without and once with what is mounted in it")
        .why(
            "A bind copies one mount. What is mounted below it stays behind, and the directory under it shows. \
             MS_REC copies the whole tree of mounts. No file is copied by either.",
        )
        .chapter("9")
        .calls(places.tmpfs("tree"))
        .calls(places.tmpfs("tree/inner"))
        .calls(places.bind("tree", "plain", MsFlags::empty()))
        .calls(places.bind("tree", "whole", MsFlags::MS_REC))
        .look_at([Probe::Mounts])
        .expect([places.not_mounted("plain/inner"), places.mounted("whole/inner")])
}

fn half_read_only(places: &Places) -> Step {
    Step::say("Make the bound tree read-only, and write to it")
        .why(
            "A remount changes one mount. The top refuses writes with EROFS, and the mount below takes them: a \
             `:ro` that is made this way is only half one. The original can be written to anyway.",
        )
        .chapter("9")
        .call(mount::remount_bind(places.at("whole"), MsFlags::MS_RDONLY))
        .call(places.read_only("whole/file"))
        .calls(calls::create(places.at("whole/inner/file"), "written"))
        .expect([Claim::ReadOnly(places.at("whole")), Claim::Exists(places.at("tree/inner/file"))])
}

fn read_only(places: &Places, has_setattr: bool) -> Step {
    let step = Step::say("Make all of the tree read-only")
        .why("mount_setattr with AT_RECURSIVE reaches every mount of the tree in one call.")
        .chapter("9");
    if !has_setattr {
        return step.skip("mount_setattr exists since Linux 5.12");
    }
    step.call(Syscall::MountSetattr {
        dir: Value::CWD,
        path: places.at("whole").into(),
        flags: AtFlags::AT_RECURSIVE,
        set: MountAttr::MOUNT_ATTR_RDONLY,
        clear: MountAttr::empty(),
    })
    .call(places.read_only("whole/inner/more"))
    .expect([Claim::ReadOnly(places.at("whole/inner"))])
}

/// setns into a mount namespace puts the root and the working directory at the root of that namespace.
fn return_to_work(room: &Room) -> Option<Step> {
    let directory = std::env::current_dir().ok().filter(|_| !room.rootless)?;
    Some(
        Step::say("Return to the working directory")
            .why("setns has put it at the root: a directory is a place in a mount table, and the table was changed.")
            .chapter("17")
            .call(calls::chdir(directory)),
    )
}

fn not_isolated(room: &Room, places: &Places) -> Step {
    Step::say("See what this namespace does not isolate")
        .why(
            "The files. Both tables lead to the same file systems: what is written in here is written out there. A \
             container gets files of its own by another root, not by this namespace.",
        )
        .chapter("5")
        .calls(calls::create(places.note(), "from inside"))
        .expect([Claim::Exists(Path::new("/proc/1").into()), room.shares_the_rest(MNT)])
}

fn after(places: &Places) -> Step {
    Step::say("Look at the host again")
        .why("No mount has to be undone: they are gone with their table. The file that was written is here.")
        .chapter("5")
        .look_at([Probe::Directory(places.base.clone()), Probe::Directory(places.stage())])
        .expect([
            Claim::NotMounted(places.base.clone()),
            Claim::FileHolds { path: places.note(), text: "from inside".to_owned() },
            Claim::SharedNamespaces(MNT),
        ])
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_story_is_sound() {
        super::super::tests::is_sound("mnt");
    }
}
