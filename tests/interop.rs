//! Images that other tools have written load and run: layouts and archives of umoci, skopeo, buildah and podman, and
//! what `docker save` has written over the years. `tests/fixtures/make-images` makes them.

#![allow(clippy::unwrap_used, reason = "a step of the test that fails is its failure")]

mod common;

use std::path::Path;
use std::process::Command;

use common::{Bed, Who, need};

/// The images of the script that have the same three layers, entrypoint and environment: all but umoci's and
/// buildah's.
const SAME: [&str; 10] = [
    "docker-archive.tar",
    "docker-legacy.tar",
    "docker-save.tar",
    "docker-save.tar.gz",
    "oci",
    "oci-archive.tar",
    "oci-plain",
    "oci-zstd",
    "podman-docker.tar",
    "podman-oci",
];

fn make_images(into: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/make-images");
    let made = Command::new(script).arg(into).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

#[test]
fn images_of_other_tools_run() {
    if !["root", "umoci", "skopeo", "buildah", "podman", "busybox"].into_iter().all(need) {
        return;
    }
    let images = tempfile::tempdir().unwrap();
    make_images(images.path());
    let images = images.path();
    let Some(bed) = Bed::new(Who::Root) else { return };
    for name in SAME {
        let image = images.join(name);
        bed.run([image.as_os_str()])
            .quiet()
            .done()
            .exits(0)
            .prints("green\n0\n/data\nfrom the second layer\n");
    }
    for name in ["umoci", "buildah"] {
        bed.run([images.join(name).as_os_str()]).quiet().done().prints("from the second layer\n");
    }
    // Seen from inside, every file has the mode and the owner that it had when the image was made.
    let expected = std::fs::read(images.join("expected")).unwrap();
    // One name is not UTF-8; a shell's `read` is not to be trusted with it.
    let lines: Vec<&str> =
        expected.split(|byte| *byte == b'\n').filter_map(|line| str::from_utf8(line).ok()).collect();
    // The kernel's own file systems lie on these.
    let kernels = |line: &str| [" dev", " proc", " sys"].iter().any(|name| line.ends_with(name));
    let kept = lines.iter().filter(|line| !line.is_empty() && !kernels(line));
    let fields: Vec<Vec<&str>> = kept.map(|line| line.splitn(6, ' ').collect()).collect();
    let name = |field: &Vec<&str>| field[if field[0] == "f" || field[0] == "l" { 5 } else { 4 }].to_owned();
    let names: String = fields.iter().map(|field| name(field) + "\n").collect();
    let line =
        |field: &Vec<&str>| format!("{} {} {}", field[1].trim_start_matches('0'), field[2], name(field));
    let told = fields.iter().map(line).collect::<Vec<_>>().join("\n") + "\n";
    let script = "cd /; while IFS= read -r name; do stat -c '%a %u:%g %n' \"$name\"; done";
    for image in ["oci", "oci-zstd", "docker-legacy.tar"] {
        let image = images.join(image).into_os_string();
        let words = ["-i", "--entrypoint", "/bin/sh"].map(Into::into).into_iter().chain([image]);
        let words = words.chain(["-c".into(), script.into()]);
        bed.run(words).quiet().input(&names).done().prints(&told);
    }
    one_is_loaded_listed_and_removed(images);
}

/// An image has a name in the store, and goes with everything that is its own.
fn one_is_loaded_listed_and_removed(images: &Path) {
    let Some(bed) = Bed::new(Who::Root) else { return };
    let path = images.join("docker-save.tar").into_os_string();
    let words = ["image".into(), "load".into(), path, "--name".into(), "app:1".into()];
    bed.cutaway(words).quiet().done().exits(0);
    assert!(bed.cutaway(["image", "ls"]).quiet().done().text().contains("app:1"));
    assert!(bed.run(["app:1"]).quiet().done().text().starts_with("green\n"));
    bed.cutaway(["image", "rm", "app:1"]).quiet().done().exits(0);
    for folder in ["layers", "blobs/sha256", "tmp"] {
        let left = std::fs::read_dir(bed.state().join(folder)).unwrap().count();
        assert_eq!(left, 0, "{folder} still holds something");
    }
}
