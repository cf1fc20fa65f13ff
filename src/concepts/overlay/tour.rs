//! The tour: what overlayfs does when a file is read, made, changed, deleted, renamed, and what the difference is
//! that shows in the directories below.

use std::path::{Path, PathBuf};

use super::Scene;
use super::cast::{Actor, Folder, SHOWN};
use crate::plan::{Call, Claim, FileClaim, Probe, Step, calls};
use crate::probe::Views;
use crate::sys::flags::{Access, AtFlags, OFlags, RenameFlags};
use crate::sys::syscall::Syscall;
use crate::sys::{Errno, Text, Value};

/// What is appended to a file.
const LINE: &str = "changed\n";
/// The name of the file that is made.
const NEW: &str = "cutaway-new";
/// What is added to a name.
const RENAMED: &str = "cutaway-renamed";
/// The descriptor of a file that is open while it changes.
const READER: &str = "reader";
/// Where its bytes are mapped.
const MAPPING: &str = "mapping";
/// The acting process's own memory.
const MEMORY: &str = "memory";
/// A descriptor of one step.
const FILE: &str = "file";
/// How much is mapped: a page.
const PAGE: u32 = 4096;

/// A part of the tour that nobody can play.
fn nobody(mut step: Step, what: &str) -> Step {
    step.look_at.clear();
    step.skip(format!("these layers have no {what}"))
}

fn merged(path: &Path) -> PathBuf {
    Path::new("merged").join(path)
}

fn upper(path: &Path) -> PathBuf {
    Path::new("upper").join(path)
}

/// Opens, appends, closes.
fn append(path: &Path) -> [Call; 3] {
    [
        calls::open(path, Access::O_WRONLY, OFlags::O_APPEND, FILE),
        Syscall::Write { fd: Value::later(FILE), data: LINE.into() }.into(),
        calls::close(FILE),
    ]
}

fn chmod(path: &Path, mode: u32) -> Syscall {
    Syscall::Fchmodat { dir: Value::CWD, path: path.into(), mode }
}

fn unlink(path: &Path) -> Syscall {
    Syscall::Unlinkat { dir: Value::CWD, path: path.into(), flags: AtFlags::empty() }
}

fn read(slot: &'static str, size: u64, offset: Value) -> Syscall {
    Syscall::Pread64 { fd: Value::later(slot), size: u32::try_from(size).unwrap_or(u32::MAX), offset }
}

fn rename(from: &Path, to: &Path) -> Syscall {
    Syscall::Renameat2 {
        from: Value::CWD,
        from_path: from.into(),
        to: Value::CWD,
        to_path: to.into(),
        flags: RenameFlags::empty(),
    }
}

/// The whole tour.
pub fn steps(scene: &Scene) -> Vec<Step> {
    let mut all = vec![read_through(scene), create(scene), write(scene), metadata(scene), delete(scene)];
    all.extend(remove(scene));
    all.push(rename_directory(scene));
    all.extend(links(scene));
    all.extend(open_file(scene));
    all
}

impl Scene {
    /// A step of the tour, with the directories before and after it.
    fn step(&self, say: &'static str) -> Step {
        Step::say(say).chapter("8").look_at([Probe::Overlay(self.views(""))])
    }

    /// What overlayfs shows as a file's inode number comes from below, where all directories are on one file system.
    fn keeps_inode(&self, actor: &Actor) -> Vec<Claim> {
        let same = FileClaim::same_inode(merged(&actor.path), actor.lower.clone());
        if self.one_file_system { vec![same] } else { Vec::new() }
    }

    /// The full name of a note of overlayfs's.
    fn note(&self, name: &str) -> String {
        format!("{}.overlay.{name}", if self.rootless { "user" } else { "trusted" })
    }
}

fn read_through(scene: &Scene) -> Step {
    let step = scene.step("Read a file through merged");
    let Some(actor) = &scene.cast.write else { return nobody(step, "small file") };
    let path = merged(&actor.path);
    step.why(
        "overlayfs looks for the name in upper, then in the lower layers from the top down, and hands out what it \
         finds first. Nothing is copied. The inode number is that of the file below.",
    )
    .call(calls::open(&path, Access::O_RDONLY, OFlags::empty(), FILE))
    .call(read(FILE, SHOWN, Value::Known(0)))
    .call(calls::close(FILE))
    .expect([FileClaim::absent(upper(&actor.path))])
    .expect(scene.keeps_inode(actor))
}

fn create(scene: &Scene) -> Step {
    let path = Path::new(NEW);
    scene
        .step("Make a file")
        .why("What is new goes to upper. In there it is an ordinary file, and the lower layers know nothing of it.")
        .calls(calls::create(merged(path), "new\n"))
        .expect([Claim::FileHolds { path: upper(path), text: "new".to_owned() }])
        .expect(scene.lower.iter().map(|layer| FileClaim::absent(layer.join(path))))
}

fn write(scene: &Scene) -> Step {
    let step = scene.step("Append a line to a file from below");
    let Some(actor) = &scene.cast.write else { return nobody(step, "small file") };
    let (up, bytes) = (upper(&actor.path), actor.size + LINE.len() as u64);
    step.why(
        "A lower layer is never written to. Opening the file for writing copies all of it up first, and the line \
         goes to the copy. A note on the copy says where it came from, so that merged keeps showing the inode number \
         of the original.",
    )
    .calls(append(&merged(&actor.path)))
    .expect([FileClaim::size(up.clone(), bytes), FileClaim::size(actor.lower.clone(), actor.size)])
    .expect([FileClaim::attribute(up.clone(), scene.note("origin"), None)])
    .expect(scene.keeps_inode(actor))
    .expect(scene.one_file_system.then(|| FileClaim::other_inode(up, actor.lower.clone())))
}

fn metadata(scene: &Scene) -> Step {
    let step = scene.step("Change the mode of a large file");
    let Some(actor) = &scene.cast.big else { return nobody(step, "file of its own to change") };
    let up = upper(&actor.path);
    step.why(
        "The bytes stay as they are, and still all of them are copied up: a file is in upper whole or not at all. A \
         `RUN chmod` in a Dockerfile stores the file a second time for this reason.",
    )
    .call(chmod(&merged(&actor.path), actor.mode ^ 0o004))
    .expect([
        FileClaim::size(up.clone(), actor.size),
        FileClaim::disk_use(up, actor.disk, u64::MAX),
        FileClaim::size(actor.lower.clone(), actor.size),
    ])
    .expect(scene.keeps_inode(actor))
}

fn delete(scene: &Scene) -> Step {
    let step = scene.step("Delete a file from below");
    let Some(actor) = &scene.cast.delete else { return nobody(step, "second small file") };
    step.why(
        "The lower layer keeps its file. In upper a whiteout takes the name: a character device 0:0, which no \
         driver answers. It hides what is below it, and cannot be seen in merged.",
    )
    .call(unlink(&merged(&actor.path)))
    .expect([
        FileClaim::whiteout(upper(&actor.path)),
        FileClaim::absent(merged(&actor.path)),
        Claim::Exists(actor.lower.clone()),
    ])
}

fn remove(scene: &Scene) -> Vec<Step> {
    let empty = scene.step("Remove a directory from below");
    let again = scene.step("Make a directory of the same name");
    let what = "directory of few files";
    let Some(Folder { path, names, inside }) = &scene.cast.remove else {
        return vec![nobody(empty, what), nobody(again, what)];
    };
    vec![
        empty
            .why(
                "The names in it have to go first, as anywhere. Each leaves a whiteout in a copy of the directory in \
                 upper; then one whiteout for the directory takes the place of them all.",
            )
            .calls(names.iter().map(|name| unlink(&merged(name))))
            .call(calls::rmdir(merged(path)))
            .expect([
                FileClaim::whiteout(upper(path)),
                FileClaim::absent(merged(path)),
                Claim::Exists(inside.clone()),
            ]),
        again
            .why(
                "An ordinary directory in upper would be merged with the one below, and the deleted files would be \
                 back. So it is marked opaque: an attribute says that nothing below it counts.",
            )
            .call(calls::mkdir(merged(path), 0o755))
            .expect([
                FileClaim::attribute(upper(path), scene.note("opaque"), Some("y")),
                FileClaim::empty(merged(path)),
                Claim::Exists(inside.clone()),
            ]),
    ]
}

fn rename_directory(scene: &Scene) -> Step {
    let step = scene.step("Try to rename a directory from below");
    let Some(folder) = &scene.cast.rename else { return nobody(step, "second directory of few files") };
    step.why(
        "It would have to be copied up with everything in it, and the kernel does not do that behind your back: it \
         answers as if the two names were on different file systems. mv(1) then copies and deletes, and most programs \
         do not.",
    )
    .call(Call::from(rename(&merged(&folder.path), &merged(Path::new(RENAMED)))).refused(Errno::EXDEV))
    .expect([Claim::Exists(merged(&folder.path)), FileClaim::absent(upper(&folder.path))])
}

fn links(scene: &Scene) -> Vec<Step> {
    let two_names = Step::say("Look at a file with two names").chapter("8");
    let broken = scene.step("Append a line to one of the two");
    let Some((one, two)) = &scene.cast.links else {
        let what = "file with two names";
        return vec![nobody(two_names, what), nobody(broken, what)];
    };
    let (first, second) = (merged(&one.path), merged(&two.path));
    let both = Views { paths: vec![one.path.clone(), two.path.clone()], whole: false, ..scene.views("") };
    vec![
        two_names
            .look_at([Probe::Overlay(both)])
            .why("Below, both names lead to one inode, and merged shows that. A change through one name should be \
                  seen through the other.")
            .expect([FileClaim::same_inode(first.clone(), second.clone())]),
        broken
            .why(
                "It is not. One name is copied up, and the other still leads to the file below: the hard link is \
                 broken. With `index=on` the kernel would keep the two together.",
            )
            .calls(append(&first))
            .expect([
                FileClaim::other_inode(first, second.clone()),
                FileClaim::size(upper(&one.path), one.size + LINE.len() as u64),
                FileClaim::size(second, two.size),
                FileClaim::absent(upper(&two.path)),
            ]),
    ]
}

fn open_file(scene: &Scene) -> Vec<Step> {
    let open = scene.step("Open a file from below, and map it");
    let change = scene.step("Change the file through a second descriptor");
    let look = scene.step("Read what the first descriptor and the mapping show");
    let Some(actor) = scene.cast.open.as_ref().filter(|actor| !actor.text.is_empty()) else {
        let what = "third small file that can be read";
        return vec![nobody(open, what), nobody(change, what), nobody(look, what)];
    };
    let path = merged(&actor.path);
    let bytes = actor.size + LINE.len() as u64;
    let mapping = || Value::later(MAPPING);
    vec![
        open.why("Both refer to the file in the lower layer now, as nothing has been copied up.")
            .call(calls::open(&path, Access::O_RDONLY, OFlags::empty(), READER))
            .call(
                Call::from(Syscall::MmapShared { fd: Value::later(READER), size: PAGE }).into_slot(MAPPING),
            )
            .expect([
                FileClaim::absent(upper(&actor.path)),
                Claim::MemoryHolds { at: mapping(), bytes: actor.text.clone() },
            ]),
        change
            .why("Opening for writing copies the file up, while the first descriptor stays open.")
            .calls(append(&path))
            .expect([FileClaim::size(upper(&actor.path), bytes)]),
        look.why(
            "The descriptor has followed: since Linux 4.19 each read asks overlayfs where the file is now. Before, it \
             went on showing the lower file. A mapping still does, because its pages belong to the inode that was \
             mapped: a program that maps a file to see changes in it is misled.",
        )
        .call(read(READER, bytes.min(SHOWN), Value::Known(0)))
        .call(calls::open(Text::from("/proc/self/mem"), Access::O_RDONLY, OFlags::empty(), MEMORY))
        .call(read(MEMORY, actor.text.len() as u64, mapping()))
        .call(calls::close(MEMORY))
        .expect([
            Claim::OpenSize { fd: Value::later(READER), bytes },
            Claim::MemoryHolds { at: mapping(), bytes: actor.text.clone() },
        ]),
    ]
}

/// The same file system once more, with two features that only root may have.
pub fn features(scene: &Scene) -> Vec<Step> {
    let mount = Step::say("Mount the same layers again, with redirect_dir and metacopy").chapter("8");
    if scene.rootless {
        return vec![mount.skip(
            "an ordinary user cannot have them: whoever may write to upper could forge the notes that they leave, \
             and reach files through them",
        )];
    }
    let again = |name: &str| PathBuf::from("again").join(name);
    let stack = scene.again();
    let mut folders = vec!["again", "again/upper", "again/work", "again/merged"];
    folders.extend(scene.links_folder("again/l"));
    let look = || Probe::Overlay(scene.views("again"));
    let mut all = vec![
        mount
            .why(
                "Other upper and work directories, the same lower ones. Both features leave notes in upper in place of \
                 copies. They are off above because a kernel may have them on by default.",
            )
            .calls(folders.into_iter().map(|folder| calls::mkdir(folder, 0o755)))
            .calls(stack.calls(scene.way))
            .expect([Claim::Mounted { at: scene.base.join("again/merged"), fstype: "overlay".to_owned() }]),
    ];
    if let Some(actor) = &scene.cast.big {
        let up = again("upper").join(&actor.path);
        all.push(
            Step::say("Change the mode of the large file")
                .why(
                    "With metacopy, upper gets an inode with the new mode and a note that its bytes are still below. \
                     It shows the whole size and takes up next to nothing.",
                )
                .chapter("8")
                .call(chmod(&again("merged").join(&actor.path), actor.mode ^ 0o004))
                .expect([
                    FileClaim::attribute(up.clone(), scene.note("metacopy"), None),
                    FileClaim::size(up.clone(), actor.size),
                    FileClaim::disk_use(up, 0, 8192),
                ])
                .look_at([look()]),
        );
    }
    if let Some(folder) = &scene.cast.rename {
        let to = folder.path.with_file_name(RENAMED);
        let first = folder.names.first().and_then(|name| name.file_name()).map(Path::new);
        all.push(
            Step::say("Rename the directory")
                .why(
                    "With redirect_dir, upper gets an empty directory of the new name and a note of the old one, under \
                     which overlayfs goes on looking below. The old name becomes a whiteout.",
                )
                .chapter("8")
                .call(rename(&again("merged").join(&folder.path), &again("merged").join(&to)))
                .expect([
                    FileClaim::attribute(again("upper").join(&to), scene.note("redirect"), None),
                    FileClaim::whiteout(again("upper").join(&folder.path)),
                    FileClaim::empty(again("upper").join(&to)),
                    Claim::Exists(again("merged").join(&to).join(first.unwrap_or(Path::new("")))),
                ])
                .look_at([look()]),
        );
    }
    all
}
