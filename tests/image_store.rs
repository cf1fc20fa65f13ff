//! The store: sharing, removing, and what is left after failures, full disks and crowds.

#![allow(clippy::unwrap_used)] // the lint's exception for tests does not cover their helper functions

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use cutaway::error::{Error, Result};
use cutaway::image::merged::command::{self, Command};
use cutaway::image::merged::{MergedView, user};
use cutaway::image::reference::PathReference;
use cutaway::image::source::{self, Image, Options};
use cutaway::image::store::{Event, Progress, unpack_as_user};
use cutaway::image::unpack::Unpacked;
use cutaway::image::write::{Entry, LayoutWriter};
use cutaway::image::{Store, demo};
use serde_json::json;

/// An image of these layers, each one file: `(name, contents)`.
fn image(dir: &Path, layers: &[(&str, &[u8])]) -> Image {
    let mut writer = LayoutWriter::create(dir).unwrap();
    for (name, bytes) in layers {
        let entry = Entry { name: name.as_bytes(), mode: 0o644, owner: (0, 0), mtime: 1 };
        writer.layer(|tar| entry.file(tar, bytes.len() as u64, *bytes)).unwrap();
    }
    writer.finish(json!({ "os": "linux", "architecture": "amd64" }), "x").unwrap();
    source::open(&PathReference { path: dir.to_path_buf(), image: None, form: None }, &Options::default())
        .unwrap()
}

fn load(store: &Store, image: &Image, name: &str) -> cutaway::image::store::LoadReport {
    store.load(image, Some(name), &unpack_as_user, &()).unwrap()
}

fn count(dir: &Path) -> usize {
    fs::read_dir(dir).map_or(0, Iterator::count)
}

fn nobody(_: &cutaway::image::Digest) -> Option<String> {
    None
}

#[test]
fn reading_an_absent_store_creates_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let store = Store::open(&state);
    assert!(store.list().unwrap().is_empty() && store.names().unwrap().is_empty());
    assert!(!demo::is_there(&store) && store.leftovers().is_empty() && store.sweep().unwrap().is_empty());
    let error = store.find(&"demo".parse().unwrap()).err().unwrap();
    assert!(error.to_string().contains("the store is empty"), "{error}");
    assert!(!state.exists());
}

#[test]
fn images_share_their_lower_layers_until_the_last_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("state"));
    let one = image(&dir.path().join("one"), &[("base", b"b"), ("one", b"1")]);
    let two = image(&dir.path().join("two"), &[("base", b"b"), ("two", b"2")]);
    load(&store, &one, "one");
    let report = load(&store, &two, "two:1");
    assert_eq!(report.layers.iter().map(|layer| layer.copied).collect::<Vec<_>>(), [false, true]);
    assert!(report.layers[0].unpacked.is_none() && report.layers[1].unpacked.is_some());
    assert_eq!(store.list().unwrap().len(), 2);
    assert_eq!((count(&store.root().join("layers")), count(&store.root().join("blobs/sha256"))), (6, 7));

    let error = store.remove(&"one".parse().unwrap(), &|_| Some("web".into()), &()).unwrap_err();
    assert!(error.to_string().contains("in use by container web"), "{error}");
    let report = store.remove(&"one:latest".parse().unwrap(), &nobody, &()).unwrap();
    assert_eq!((report.removed, report.blobs, report.layers), (Some(one.digest()), 3, 1));
    assert!(store.missing_layers(&two).is_empty());
    let id: String = two.id().hex()[..12].to_owned();
    assert_eq!(store.find(&id.parse().unwrap()).unwrap().digest(), two.digest());
    store.remove(&id.parse().unwrap(), &nobody, &()).unwrap();
    assert_eq!((count(&store.root().join("layers")), count(&store.root().join("blobs/sha256"))), (0, 0));
    assert_eq!(count(&store.root().join("tmp")), 0);
}

#[test]
fn a_name_moves_and_the_image_that_lost_it_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("state"));
    let one = image(&dir.path().join("one"), &[("one", b"1")]);
    let two = image(&dir.path().join("two"), &[("two", b"2")]);
    load(&store, &one, "app");
    assert_eq!(load(&store, &two, "app:latest").replaced, Some(one.digest()));
    let names: Vec<_> = store.list().unwrap().into_iter().map(|it| it.unwrap().name).collect();
    assert_eq!(names, [None, Some("app:latest".to_owned())]);
    assert!(store.find(&format!("app@{}", one.digest()).parse().unwrap()).is_ok());
    assert_eq!(load(&store, &one, "app").replaced, Some(two.digest()));
    assert_eq!(load(&store, &one, "second").replaced, None);
    let report = store.remove(&"app".parse().unwrap(), &|_| Some("busy".into()), &()).unwrap();
    assert_eq!(report.removed, None, "another name is left, so nothing is deleted");
    assert!(store.find(&"second".parse().unwrap()).is_ok());
    for bad in ["Upper", "a@sha256:00", "../x", ""] {
        assert!(store.load(&one, Some(bad), &unpack_as_user, &()).is_err(), "{bad}");
    }
}

#[test]
fn a_failing_layer_takes_the_whole_load_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("state"));
    let layers: Vec<(String, Vec<u8>)> = (0..6u8).map(|n| (format!("f{n}"), vec![n; 9])).collect();
    let layers: Vec<(&str, &[u8])> =
        layers.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    let image = image(&dir.path().join("i"), &layers);
    let calls = AtomicUsize::new(0);
    let unpack = |reader: &mut dyn Read, into: &Path, lowest: bool| -> Result<Unpacked> {
        if calls.fetch_add(1, Ordering::SeqCst) == 3 {
            return Err(Error::new("entry x is refused"));
        }
        unpack_as_user(reader, into, lowest)
    };
    let error = store.load(&image, Some("x"), &unpack, &()).unwrap_err().to_string();
    assert!(error.starts_with("layer ") && error.contains("entry x is refused"), "{error}");
    for part in ["layers", "blobs/sha256", "tmp"] {
        assert_eq!(count(&store.root().join(part)), 0, "{part}");
    }
    assert!(store.names().unwrap().is_empty());
    load(&store, &image, "x");
}

#[test]
fn an_unpacker_that_panics_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("state"));
    let image = image(&dir.path().join("i"), &[("a", b"a"), ("b", b"b"), ("c", b"c")]);
    let unpack = |_: &mut dyn Read, _: &Path, _: bool| -> Result<Unpacked> { panic!("on purpose") };
    let result =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| store.load(&image, None, &unpack, &())));
    assert!(result.is_err() || result.is_ok_and(|result| result.is_err()));
    assert_eq!(count(&store.root().join("tmp")) + count(&store.root().join("layers")), 0);
}

/// Stops after the first event.
struct Impatient;

impl Progress for Impatient {
    fn cancelled(&self) -> bool {
        true
    }
}

#[test]
fn a_cancelled_load_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("state"));
    let image = image(&dir.path().join("i"), &[("a", &vec![7; 100_000])]);
    let error = store.load(&image, None, &unpack_as_user, &Impatient).unwrap_err().to_string();
    assert!(error.contains("stopped"), "{error}");
    assert_eq!(count(&store.root().join("tmp")) + count(&store.root().join("blobs/sha256")), 0);
}

#[test]
fn what_the_dead_left_is_swept() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("state"));
    let image = image(&dir.path().join("i"), &[("a", b"a")]);
    load(&store, &image, "x");
    let tree = store.layer_dir(&image.layers[0].chain_id);
    fs::create_dir_all(store.root().join("tmp/tree.1.0/deep/er")).unwrap();
    fs::write(store.root().join("tmp/blob.1.1"), "half").unwrap();
    fs::write(store.root().join("blobs/sha256").join("0".repeat(64)), "of no image").unwrap();
    fs::create_dir(store.root().join("layers").join("0".repeat(16))).unwrap();
    assert_eq!(store.leftovers().len(), 2);
    assert_eq!(store.sweep().unwrap().len(), 2);
    assert_eq!((count(&store.root().join("layers")), count(&store.root().join("blobs/sha256"))), (2, 3));
    // A tree without its record is not a layer.
    fs::remove_file(tree.with_extension("json")).unwrap();
    assert_eq!(store.missing_layers(&image).len(), 1);
    let stored = store.find(&"x".parse().unwrap()).unwrap();
    assert_eq!(store.unpack_missing(&stored, &unpack_as_user, &()).unwrap().len(), 1);
    assert!(store.missing_layers(&image).is_empty());
    // Damage in the store is found when it matters.
    fs::remove_file(tree.with_extension("json")).unwrap();
    let blob = store.root().join("blobs/sha256").join(image.layers[0].descriptor.digest.hex());
    let mut bytes = fs::read(&blob).unwrap();
    bytes[20] ^= 1;
    fs::write(&blob, bytes).unwrap();
    let error = store.unpack_missing(&stored, &unpack_as_user, &()).unwrap_err().to_string();
    assert!(error.contains("not what its descriptor promises"), "{error}");
}

#[test]
fn fifty_at_once_load_once() {
    let dir = tempfile::tempdir().unwrap();
    let image = image(&dir.path().join("i"), &[("a", &vec![7; 50_000]), ("b", b"b")]);
    let state = dir.path().join("state");
    let unpacked = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|| {
                let report = Store::open(&state).load(&image, Some("x"), &unpack_as_user, &()).unwrap();
                unpacked.fetch_add(
                    report.layers.iter().filter(|layer| layer.unpacked.is_some()).count(),
                    Ordering::SeqCst,
                );
            });
        }
    });
    assert_eq!(unpacked.load(Ordering::SeqCst), 2);
    assert_eq!(Store::open(&state).names().unwrap(), ["x"]);
    assert_eq!(count(&state.join("tmp")), 0);
}

#[test]
fn a_pinned_image_is_removed_only_when_it_is_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("state"));
    let image = image(&dir.path().join("i"), &[("a", b"a")]);
    load(&store, &image, "x");
    let pin = store.pin().unwrap();
    std::thread::scope(|scope| {
        let remover = scope.spawn(|| store.remove(&"x".parse().unwrap(), &nobody, &()).unwrap());
        std::thread::sleep(std::time::Duration::from_millis(50));
        // Who holds a pin may still unpack, although someone waits to delete.
        let tree = store.layer_dir(&image.layers[0].chain_id);
        fs::remove_file(tree.with_extension("json")).unwrap();
        let stored = store.find(&"x".parse().unwrap()).unwrap();
        assert_eq!(store.unpack_missing(&stored, &unpack_as_user, &()).unwrap().len(), 1);
        assert!(store.find(&"x".parse().unwrap()).is_ok());
        drop(pin);
        assert_eq!(remover.join().unwrap().layers, 1);
    });
}

#[test]
fn loading_again_takes_no_lock() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("state"));
    let image = image(&dir.path().join("i"), &[("a", b"a")]);
    load(&store, &image, "x");
    let lock = fs::File::options().write(true).open(store.root().join("lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let report = load(&store, &image, "x:latest");
    assert!(!report.layers[0].copied && report.layers[0].unpacked.is_none());
}

/// Notes what it is told.
#[derive(Default)]
struct Told {
    finished: AtomicUsize,
    bytes: AtomicUsize,
}

impl Progress for Told {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Finished(_) => {
                self.finished.fetch_add(1, Ordering::SeqCst);
            }
            Event::Read { bytes, .. } => {
                self.bytes.fetch_add(usize::try_from(*bytes).unwrap(), Ordering::SeqCst);
            }
            _ => {}
        }
    }
}

#[test]
fn progress_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let image = image(&dir.path().join("i"), &[("a", &vec![7; 50_000]), ("b", b"b")]);
    let told = Told::default();
    Store::open(&dir.path().join("state")).load(&image, None, &unpack_as_user, &told).unwrap();
    assert_eq!(told.finished.into_inner(), 2);
    assert_eq!(told.bytes.into_inner() as u64, image.layer_bytes());
}

/// A small file system of the test's own, if this process may mount one.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn new(at: &Path) -> Option<Self> {
        fs::create_dir(at).unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=300k", "tmpfs"])
            .arg(at)
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(at.to_path_buf()));
        }
        println!("skipped: this user cannot mount a small tmpfs");
        assert!(std::env::var_os("CUTAWAY_MUST_RUN").is_none() || !rustix::process::geteuid().is_root());
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_is_named_and_what_was_half_written_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let noise: Vec<u8> =
        (0..2_000_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let (blob_too_large, tree_too_large) = (noise, vec![0; 5_000_000]);
    let Some(disk) = SmallDisk::new(&dir.path().join("disk")) else { return };
    let store = Store::open(&disk.0.join("state"));
    for (name, bytes) in [("blob", blob_too_large), ("tree", tree_too_large)] {
        let image = image(&dir.path().join(name), &[("big", &bytes)]);
        let error = store.load(&image, None, &unpack_as_user, &()).unwrap_err();
        assert!(error.to_string().contains("ENOSPC"), "{error}");
        assert!(error.parts().remedy.is_some(), "{error:?}");
        assert_eq!(count(&store.root().join("tmp")) + count(&store.root().join("blobs/sha256")), 0);
    }
}

#[test]
fn the_demo_image_is_made_once_and_has_its_lesson() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("state"));
    let first = demo::ensure(&store, &unpack_as_user, &()).unwrap();
    let (taken, report) = first.made.unwrap();
    println!("{taken:?}");
    assert_eq!(report.layers.len(), 3);
    assert!(demo::ensure(&store, &unpack_as_user, &()).unwrap().made.is_none());
    assert_eq!(count(&store.root().join("tmp")), 0);

    let mut dirs = store.layer_dirs(&first.image);
    dirs.reverse();
    let view = MergedView::new(&dirs).unwrap();
    assert!(view.lookup("/srv/story/secret").unwrap().is_none());
    assert!(fs::read_to_string(dirs[1].join("srv/story/secret")).unwrap().contains("swordfish"));
    assert!(view.read("/etc/motd", 1000).unwrap().unwrap().starts_with(b"This file is from layer 2"));
    assert_eq!(user::resolve("student", &view).unwrap().home, PathBuf::from("/home/student"));
    let sh = command::find("sh".as_ref(), "/usr/sbin:/bin".as_ref(), Path::new("/"), &view).unwrap();
    assert_eq!(sh, Command::Found("/bin/sh".into()));
}

#[test]
fn the_programs_of_the_demo_image_run() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: chroot needs root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("state"));
    let demo = demo::ensure(&store, &unpack_as_user, &()).unwrap();
    let base = store.layer_dirs(&demo.image).remove(0);
    let (taken, _) = demo.made.unwrap();
    for program in taken.programs.iter().filter(|name| *name != "yes") {
        // Nearly all understand `--help`; a program whose library is missing says that instead.
        let mut run = std::process::Command::new("chroot");
        let output =
            run.arg(&base).args([program, "--help"]).stdin(std::process::Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !said.contains("shared librar") && !matches!(output.status.code(), Some(126 | 127)),
            "{program}: {said}"
        );
    }
    let mut shell = std::process::Command::new("chroot");
    let output = shell
        .arg(&base)
        .args(["sh", "-c", "ls -l /home | tail -n 1; id student; cat /etc/motd"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("student student") && said.contains("uid=1000(student)"), "{said} {output:?}");
}
