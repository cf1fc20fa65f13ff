//! A Debian root of several layers, written by buildah: what cutaway makes of it, next to what umoci, skopeo with tar, and
//! podman make of it. `tests/fixtures/make-debian` makes it, once, below the target directory.

#![allow(clippy::unwrap_used, reason = "a step of the test that fails is its failure")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{BOTH, Bed, Who, need};
use cutaway::image::Digest;
use serde_json::Value;

/// The image, made where it is missing or older than what makes it.
fn debian() -> Option<PathBuf> {
    if !["root", "python3", "dpkg-query", "buildah", "tar"].into_iter().all(need) {
        return None;
    }
    static MADE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one_makes_it = MADE.lock();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/make-debian");
    let image = Path::new(env!("CARGO_TARGET_TMPDIR")).join("debian");
    let made = |path: &Path| fs::metadata(path).and_then(|about| about.modified()).ok();
    if made(&image.join("index.json")) < made(&script) {
        ran(Command::new(script).arg(&image));
    }
    Some(image)
}

/// Runs a program that has to succeed; gives what it printed.
#[track_caller]
fn ran(command: &mut Command) -> String {
    let done = command.output().unwrap();
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// A tree: for each path its kind, mode, owner, and by kind its size, time and digest, its target, its device.
type Listing = BTreeMap<Vec<u8>, String>;

/// What is below a directory.
fn on_disk(root: &Path) -> Listing {
    let mut all = Listing::new();
    let mut pending = vec![root.to_path_buf()];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let about = path.symlink_metadata().unwrap();
            let kind = about.file_type();
            let what = if kind.is_dir() {
                pending.push(path.clone());
                "directory".to_owned()
            } else if kind.is_file() {
                file(
                    about.len(),
                    about.mtime(),
                    &Digest::of(&fs::read(&path).unwrap()).to_string(),
                    &colour(&path),
                )
            } else if kind.is_symlink() {
                format!("-> {}", fs::read_link(&path).unwrap().display())
            } else {
                format!("{kind:?} {}", about.rdev())
            };
            // A link's mode is of no use to anybody, and archives have it in several ways.
            let mode = if kind.is_symlink() { 0 } else { about.mode() & 0o7777 };
            let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
            all.insert(name, format!("{mode:04o} {}:{} {what}", about.uid(), about.gid()));
        }
    }
    all
}

fn file(size: u64, mtime: i64, digest: &str, colour: &str) -> String {
    format!("{size} bytes of {mtime}, {digest}{colour}")
}

/// The one extended attribute that the image has.
fn colour(path: &Path) -> String {
    let mut value = [0; 100];
    let length = rustix::fs::lgetxattr(path, "user.colour", &mut value[..]).unwrap_or(0);
    if length == 0 { String::new() } else { format!(" {:?}", String::from_utf8_lossy(&value[..length])) }
}

/// What cutaway says that a container sees.
fn listed(bed: &Bed, image: &Path) -> Listing {
    let mut words: Vec<std::ffi::OsString> = vec!["layers".into(), image.into()];
    words.extend(["--tree", "--json", "-"].map(Into::into));
    let text = bed.cutaway(words).done().exits(0).text();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|line| (line["path"].as_str().unwrap().as_bytes().to_vec(), as_on_disk(&line))).collect()
}

fn as_on_disk(line: &Value) -> String {
    let text = |key: &str| line[key].as_str().unwrap_or_default();
    let (mode, what) = match text("kind") {
        "directory" => (text("mode"), "directory".to_owned()),
        "file" => {
            // In base64: `green`.
            let colour = if line["xattrs"][0]["value_base64"] == "Z3JlZW4=" { " \"green\"" } else { "" };
            let (size, mtime) = (line["size"].as_u64().unwrap(), line["mtime"].as_i64().unwrap());
            (text("mode"), file(size, mtime, text("digest"), colour))
        }
        "symlink" => ("0000", format!("-> {}", text("target"))),
        other => panic!("{other} in {line}"),
    };
    format!("{mode} {}:{} {what}", line["uid"], line["gid"])
}

#[track_caller]
fn assert_same(ours: &Listing, theirs: &Listing, whose: &str) {
    let differs = |path: &&Vec<u8>| ours.get(*path) != theirs.get(*path);
    let all: std::collections::BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    let different: Vec<String> = all
        .into_iter()
        .filter(differs)
        .map(|path| {
            let path_shown = String::from_utf8_lossy(path);
            format!("{path_shown}\n  ours   {:?}\n  theirs {:?}", ours.get(path), theirs.get(path))
        })
        .collect();
    assert!(different.is_empty(), "{} names differ from {whose}:\n{}", different.len(), different.join("\n"));
}

#[test]
fn the_merged_tree_of_a_debian_root_is_that_of_the_others() {
    let Some(image) = debian() else { return };
    if !["umoci", "skopeo", "podman"].into_iter().all(need) {
        return;
    }
    let Some(bed) = Bed::new(Who::Root) else { return };
    let ours = listed(&bed, &image);
    assert!(ours.len() > 1000 && ours.contains_key(&b"usr/bin/perl"[..]), "{} names", ours.len());
    // Deleted by the third layer, with everything in them; changed; replaced by a link, and by another directory.
    assert!(!ours.keys().any(|path| path.starts_with(b"usr/share/doc/")));
    assert!(ours[&b"etc/motd"[..]].ends_with("\"green\""), "{}", ours[&b"etc/motd"[..]]);
    assert!(ours[&b"opt/old"[..]].ends_with("-> renewed") && !ours.contains_key(&b"opt/old/deep"[..]));
    assert!(ours.contains_key(&b"opt/renewed/after"[..]) && !ours.contains_key(&b"opt/renewed/before"[..]));
    assert_same(&ours, &by_umoci(&bed, &image), "umoci's");
    assert_same(&ours, &by_skopeo_and_tar(&bed, &image), "skopeo's with tar's");
    assert_same(&ours, &by_podman(&bed, &image), "podman's");
    assert_same(&ours, &stacked(&bed, &image), "our own, unpacked and stacked");
}

fn by_umoci(bed: &Bed, image: &Path) -> Listing {
    let bundle = bed.path("bundle");
    let tagged = format!("{}:latest", image.display());
    ran(Command::new("umoci").args(["unpack", "--image", &tagged]).arg(&bundle));
    on_disk(&bundle.join("rootfs"))
}

/// Each layer unpacked over the one below by tar, and then its whiteouts applied: the slow and obvious way.
fn by_skopeo_and_tar(bed: &Bed, image: &Path) -> Listing {
    let (dir, root) = (bed.path("dir"), bed.folder("by-tar"));
    let (from, to) = (format!("oci:{}:latest", image.display()), format!("dir:{}", dir.display()));
    ran(Command::new("skopeo").args(["--insecure-policy", "copy", "--quiet", &from, &to]));
    let manifest: Value = serde_json::from_slice(&fs::read(dir.join("manifest.json")).unwrap()).unwrap();
    for layer in manifest["layers"].as_array().unwrap() {
        let archive = dir.join(layer["digest"].as_str().unwrap().trim_start_matches("sha256:"));
        let names = ran(Command::new("tar").args(["--quoting-style=literal", "-tf"]).arg(&archive));
        for name in names.lines() {
            let (parent, base) = name.rsplit_once('/').unwrap_or(("", name));
            let directory = root.join(parent);
            let doomed: Vec<PathBuf> = match base.strip_prefix(".wh.") {
                Some(".wh..opq") => {
                    fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect()
                }
                Some(hidden) => vec![directory.join(hidden)],
                // tar does not put anything else in the place of a directory that is not empty.
                None if !name.ends_with('/') && is_directory(&root.join(name)) => vec![root.join(name)],
                None => Vec::new(),
            };
            for path in doomed {
                if is_directory(&path) { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }.unwrap();
            }
        }
        let mut tar = Command::new("tar");
        tar.args(["--numeric-owner", "--xattrs", "--xattrs-include=*", "--exclude=.wh.*", "-xpf"]);
        ran(tar.arg(&archive).arg("-C").arg(&root));
    }
    on_disk(&root)
}

fn is_directory(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|about| about.is_dir())
}

fn by_podman(bed: &Bed, image: &Path) -> Listing {
    // An own configuration: the machine's may ask for limits that this process may not set.
    let conf = bed.file(
        "containers.conf",
        "[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n",
        0o644,
    );
    let dir = |name: &str| bed.path(name).display().to_string();
    let podman = |words: &[&str]| {
        let mut command = Command::new("podman");
        command.args([
            "--root",
            &dir("podman"),
            "--runroot",
            &dir("podman-run"),
            "--tmpdir",
            &dir("podman-tmp"),
        ]);
        command.args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"]).args(words);
        // It makes a name of the path, and takes not every one: a relative one it is.
        command
            .env("CONTAINERS_CONF", &conf)
            .env("STORAGE_DRIVER", "vfs")
            .current_dir(image.parent().unwrap());
        ran(&mut command).trim().to_owned()
    };
    let id = podman(&["pull", "--quiet", "oci:debian:latest"]);
    let mounted = podman(&["image", "mount", &id]);
    let listing = on_disk(Path::new(&mounted));
    podman(&["image", "umount", &id]);
    podman(&["rmi", &id]);
    listing
}

/// `--unpack`, and overlayfs in a mount namespace of its own.
fn stacked(bed: &Bed, image: &Path) -> Listing {
    let (into, mnt) = (bed.path("layers"), bed.folder("mnt"));
    let words: [std::ffi::OsString; 4] =
        ["layers".into(), image.into(), "--unpack".into(), into.clone().into()];
    let said = bed.cutaway(words).done().exits(0).text();
    assert!(said.contains("lowerdir=3:2:1"), "{said}");
    std::thread::scope(|scope| {
        let own_mounts = || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS | nix::sched::CloneFlags::CLONE_FS)
                .unwrap();
            use nix::mount::MsFlags;
            let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            nix::mount::mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).unwrap();
            let dirs: Vec<String> =
                (1..=3).rev().map(|layer| into.join(layer.to_string()).display().to_string()).collect();
            let options = format!("lowerdir={}", dirs.join(":"));
            nix::mount::mount(
                Some("overlay"),
                &mnt,
                Some("overlay"),
                MsFlags::MS_RDONLY,
                Some(options.as_str()),
            )
            .unwrap();
            on_disk(&mnt)
        };
        scope.spawn(own_mounts).join().unwrap()
    })
}

#[test]
fn perl_and_python_run_in_it() {
    let Some(image) = debian() else { return };
    for who in BOTH {
        let Some(bed) = Bed::new(who) else { continue };
        // The ordinary user may not reach below the target directory.
        let own = bed.path("debian");
        ran(Command::new("cp").arg("-r").arg(&image).arg(&own));
        ran(Command::new("chmod").args(["-R", "a+rX"]).arg(&own));
        let loaded =
            ["image".into(), "load".into(), own.clone().into_os_string(), "--name".into(), "debian".into()];
        bed.cutaway::<std::ffi::OsString>(loaded).quiet().done().exits(0);
        let run =
            |words: &[&str]| bed.run([&["debian", "--"], words].concat()).quiet().done().exits(0).text();
        assert_eq!(run(&["perl", "-e", "print 6 * 7, qq(\\n)"]), "42\n");
        assert_eq!(
            run(&["python3", "-c", "import sys, hashlib; print(hashlib.sha256(b'').hexdigest()[:8])"]),
            "e3b0c442\n"
        );
        let inside = run(&["bash", "-c", "cat /etc/motd /opt/old/after; ls /usr/share/doc 2>&1 | tail -n 1"]);
        assert_eq!(
            inside,
            "changed by the third layer\nthe only one\nls: cannot access '/usr/share/doc': No such file or directory\n"
        );
        bed.cutaway(["image", "rm", "debian"]).quiet().done().exits(0);
    }
}
