//! `cutaway layers`, run as a student runs it: the demo image and its secret, images that other tools made, the
//! classic mistakes of those who merge layers, and images made to do harm.

#![allow(clippy::unwrap_used)] // the lint's exception for tests does not cover their helper functions

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cutaway::image::digest::Digest;
use cutaway::image::source::Options;
use cutaway::image::store::{Store, unpack_as_user};
use cutaway::image::write::LayoutWriter;
use cutaway::image::{Platform, Reference, demo, source};
use serde_json::{Value, json};

/// A directory of the test's own, with a state directory in it.
struct Lab(tempfile::TempDir);

/// What a command printed.
struct Said {
    code: i32,
    out: Vec<u8>,
    err: String,
}

impl Said {
    fn text(&self) -> String {
        String::from_utf8(self.out.clone()).unwrap()
    }

    fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// An entry of a layer: name, kind, and content or target. The names of whiteouts are those of the archive.
type Item<'a> = (&'a str, tar::EntryType, &'a str);

use tar::EntryType::{Directory as D, Link as L, Regular as F, Symlink as S};

impl Lab {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn store(&self) -> Store {
        Store::open(&self.path("state"))
    }

    /// A lab whose store has the demo image.
    fn with_demo() -> Self {
        let lab = Self::new();
        demo::ensure(&lab.store(), &unpack_as_user, &()).unwrap();
        lab
    }

    /// Runs `cutaway layers` with these words.
    fn layers(&self, words: &[&str]) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cutaway"));
        command.env("LC_ALL", "C.UTF-8").arg("--state").arg(self.path("state")).arg("layers").args(words);
        let Output { status, stdout, stderr } = command.output().unwrap();
        Said { code: status.code().unwrap(), out: stdout, err: String::from_utf8(stderr).unwrap() }
    }

    fn succeeds(&self, words: &[&str]) -> Said {
        let said = self.layers(words);
        assert_eq!(said.code, 0, "{words:?}: {}", said.err);
        said
    }

    /// An image layout of these layers.
    fn image(&self, name: &str, layers: &[&[Item<'_>]]) -> String {
        self.image_for(name, layers, &Platform::host().architecture)
    }

    fn image_for(&self, name: &str, layers: &[&[Item<'_>]], architecture: &str) -> String {
        let dir = self.path(name);
        let mut writer = LayoutWriter::create(&dir).unwrap();
        for items in layers {
            writer
                .layer(|tar| {
                    items.iter().for_each(|item| append(tar, item));
                    Ok(())
                })
                .unwrap();
        }
        let config = json!({ "os": "linux", "architecture": architecture });
        writer.finish(config, name).unwrap();
        dir.to_str().unwrap().to_owned()
    }

    /// The paths of the merged tree.
    fn merged(&self, image: &str) -> Vec<String> {
        let lines = self.succeeds(&[image, "--tree", "--json", "-"]).lines();
        lines.iter().map(|line| line["path"].as_str().unwrap().to_owned()).collect()
    }

    /// The marks of a layer, by path.
    fn marks(&self, image: &str, layer: &str) -> Vec<(String, String)> {
        let lines = self.succeeds(&[image, "--tree", layer, "--json", "-"]).lines();
        let text = |line: &Value, key: &str| line[key].as_str().unwrap().to_owned();
        lines.iter().map(|line| (text(line, "path"), text(line, "mark"))).collect()
    }
}

fn append(tar: &mut tar::Builder<&mut dyn Write>, (name, kind, text): &Item<'_>) {
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(*kind);
    header.set_mode(0o755);
    let data = if *kind == F { text.as_bytes() } else { b"" };
    if *kind != F {
        header.set_link_name_literal(text).unwrap();
    }
    header.set_size(data.len() as u64);
    header.set_cksum();
    tar.append(&header, data).unwrap();
}

// ---- the demo image ----

#[test]
fn the_anatomy_has_the_digests_that_the_bytes_have() {
    let lab = Lab::with_demo();
    let said = lab.succeeds(&["demo", "--verbose"]).text();
    let blobs: Vec<_> = fs::read_dir(lab.path("state/blobs/sha256")).unwrap().map(Result::unwrap).collect();
    assert_eq!(blobs.len(), 5);
    for blob in blobs {
        let digest = Digest::of(&fs::read(blob.path()).unwrap()).to_string();
        assert!(said.contains(&digest), "{digest} is not in\n{said}");
    }
    let at = |words: &str| said.find(words).unwrap_or_else(|| panic!("{words:?} is not in\n{said}"));
    assert!(at("1  The index") < at("2  The manifest") && at("2  The manifest") < at("3  The config"));
    assert!(at("4  The layers") < at("layer 3 ") && at("layer 3 ") < at("5  The history"));
    assert!(at("–      empty") > 0 && at("<missing>") > 0);
}

#[test]
fn the_anatomy_fits_into_eighty_columns_and_needs_no_colour() {
    let lab = Lab::with_demo();
    let said = lab.succeeds(&["demo"]).text();
    assert!(!said.contains('\x1b'));
    // A word that is wider than the line sticks out: the demo's PATH.
    let wide =
        said.lines().filter(|line| line.chars().count() > 80 && !line.contains("PATH=")).collect::<Vec<_>>();
    assert!(wide.is_empty(), "{wide:#?}");
}

#[test]
fn deleted_is_not_gone() {
    let lab = Lab::with_demo();
    let said = lab.succeeds(&["demo", "--file", "/srv/story/secret"]).text();
    for words in [
        "layer 2    added",
        "layer 3    hidden",
        "srv/story/.wh.secret",
        "Deleted is not gone: layer 2 still holds",
        "cutaway layers demo --extract 2:/srv/story/secret",
    ] {
        assert!(said.contains(words), "{words:?} is not in\n{said}");
    }
    assert!(lab.succeeds(&["demo", "--extract", "2:/srv/story/secret"]).text().contains("swordfish"));
    let copy = lab.path("copy");
    lab.succeeds(&["demo", "--extract", "2:srv/story/secret", "-o", copy.to_str().unwrap()]);
    assert!(fs::read_to_string(&copy).unwrap().contains("swordfish"));
    let again = lab.layers(&["demo", "--extract", "2:srv/story/secret", "-o", copy.to_str().unwrap()]);
    assert!(again.code == 1 && again.err.contains("EEXIST"), "{}", again.err);
    let whiteout = lab.layers(&["demo", "--extract", "3:/srv/story/secret"]);
    assert!(whiteout.code == 1 && whiteout.err.contains("it is a whiteout"), "{}", whiteout.err);
}

#[test]
fn a_link_on_the_way_to_a_file_is_followed_and_told() {
    let lab = Lab::with_demo();
    let said = lab.succeeds(&["demo", "--file", "/bin/sh"]).text();
    assert!(said.contains("leads to /usr/bin/sh"), "{said}");
    assert_eq!(lab.layers(&["demo", "--file", "/no/such/file"]).code, 1);
}

#[test]
fn the_documents_are_printed_as_they_are() {
    let lab = Lab::with_demo();
    let image = lab.store().find(&"demo".parse().unwrap()).unwrap();
    assert_eq!(Digest::of(&lab.succeeds(&["demo", "--manifest"]).out), image.digest());
    assert_eq!(Digest::of(&lab.succeeds(&["demo", "--config"]).out), image.id());
}

#[test]
fn efficiency_is_a_gate() {
    let lab = Lab::new();
    let image = lab.image("half", &[&[("a", F, "12345")], &[("a", F, "67890")]]);
    let said = lab.succeeds(&[&image, "--wasted", "--fail-under", "50"]).text();
    assert!(said.contains("efficiency 50.0 %") && said.contains("(10 - 5) / 10"), "{said}");
    let said = lab.layers(&[&image, "--wasted", "--fail-under", "50.1"]);
    assert!(said.code == 1 && said.err.contains("its efficiency is 50.0 %"), "{}", said.err);
    assert!(said.text().contains("overwritten by layer 2"), "the report is printed all the same");
    assert_eq!(lab.layers(&[&image, "--wasted", "--fail-under", "many"]).code, 2);
}

// ---- the classic mistakes ----

#[test]
fn a_file_deleted_by_one_layer_and_made_again_by_the_next_is_there_once() {
    let lab = Lab::new();
    let image = lab.image("again", &[&[("a", F, "1")], &[(".wh.a", F, "")], &[("a", F, "3")]]);
    assert_eq!(lab.merged(&image), ["a"]);
    assert_eq!(lab.marks(&image, "2"), [("a".to_owned(), "deleted".to_owned())]);
    assert_eq!(lab.marks(&image, "3"), [("a".to_owned(), "added".to_owned())]);
    assert_eq!(lab.succeeds(&[&image, "--extract", "3:a"]).out, b"3");
}

#[test]
fn a_whiteout_beside_the_file_of_its_own_layer_hides_the_lower_one_only() {
    let lab = Lab::new();
    let lower: &[Item<'_>] = &[("d", D, ""), ("d/a", F, "old"), ("d/b", F, "old")];
    let upper: &[Item<'_>] = &[("d/a", F, "new"), ("d/.wh.a", F, ""), ("d/.wh.b", F, "")];
    let image = lab.image("beside", &[lower, upper]);
    assert_eq!(lab.merged(&image), ["d", "d/a"]);
}

#[test]
fn an_opaque_directory_keeps_what_its_own_layer_has_wherever_the_mark_stands() {
    let lab = Lab::new();
    let lower: &[Item<'_>] = &[("d", D, ""), ("d/old", F, "old")];
    let upper: &[Item<'_>] = &[("d/before", F, ""), ("d/.wh..wh..opq", F, ""), ("d/after", F, "")];
    let image = lab.image("opaque", &[lower, upper]);
    assert_eq!(lab.merged(&image), ["d", "d/after", "d/before"]);
    let said = lab.succeeds(&[&image, "--file", "d/old"]).text();
    assert!(said.contains("opaque") && said.contains("Deleted is not gone"), "{said}");
}

#[test]
fn a_hard_link_is_one_file_and_its_bytes_count_once() {
    let lab = Lab::new();
    let image = lab.image("hard", &[&[("a", F, "four"), ("b", L, "a")], &[(".wh.a", F, "")]]);
    assert_eq!(lab.merged(&image), ["b"]);
    let last = lab.succeeds(&[&image, "--wasted", "--json", "-"]).lines().pop().unwrap();
    assert_eq!((&last["file_bytes"], &last["wasted_bytes"]), (&json!(4), &json!(0)));
    assert_eq!(lab.succeeds(&[&image, "--extract", "1:b"]).out, b"four");
}

#[test]
fn a_directory_replaced_by_a_link_is_gone_with_what_was_in_it() {
    let lab = Lab::new();
    let lower: &[Item<'_>] = &[("lib", D, ""), ("lib/a", F, "x"), ("usr/lib", D, "")];
    let image = lab.image("link", &[lower, &[("lib", S, "usr/lib")]]);
    assert_eq!(lab.merged(&image), ["lib", "usr", "usr/lib"]);
    let said = lab.succeeds(&[&image, "--file", "lib/a"]).text();
    assert!(said.contains("/lib is a symbolic link here"), "{said}");
}

// ---- two images ----

#[test]
fn two_images_are_compared_by_layer_and_by_tree() {
    let lab = Lab::new();
    let base: &[Item<'_>] = &[("kept", F, "1"), ("gone", F, "2"), ("changed", F, "3")];
    let one = lab.image("one", &[base]);
    let other = lab.image("other", &[base, &[(".wh.gone", F, ""), ("changed", F, "44"), ("new", F, "5")]]);
    let said = lab.succeeds(&[&one, "--diff", &other]).text();
    for words in
        [" = layer 1", " + layer 2", " - /gone", " + /new", " ~ /changed  (content, 1 bytes → 2 bytes)"]
    {
        assert!(said.contains(words), "{words:?} is not in\n{said}");
    }
    assert!(!said.contains("/kept"));
    assert_eq!(lab.succeeds(&[&one, "--diff", &one, "--json", "-"]).lines().len(), 1);
}

#[test]
fn images_that_share_a_layer_are_named() {
    let lab = Lab::new();
    let base: &[Item<'_>] = &[("base", F, "1")];
    for (name, own) in [("one", "x"), ("other", "y")] {
        let path = lab.image(name, &[base, &[(own, F, "")]]);
        let Reference::Path(path) = Reference::parse(path.as_ref()).unwrap() else { panic!("no path") };
        let image = source::open(&path, &Options::default()).unwrap();
        lab.store().load(&image, Some(name), &unpack_as_user, &()).unwrap();
    }
    let said = lab.succeeds(&["one"]).text();
    assert_eq!(said.matches("shared with other").count(), 1, "{said}");
}

#[test]
fn an_image_for_another_platform_is_refused_by_name() {
    let lab = Lab::new();
    let image = lab.image("here", &[&[("a", F, "")]]);
    let said = lab.layers(&[&image, "--platform", "linux/s390x"]);
    assert!(said.code == 1 && said.err.contains("linux/s390x"), "{}", said.err);
}

#[test]
fn an_index_of_an_index_leads_to_the_platform_that_was_asked_for() {
    let lab = Lab::new();
    let read = |path: &Path| serde_json::from_slice::<Value>(&fs::read(path).unwrap()).unwrap();
    let mut manifests = Vec::new();
    for (name, architecture) in [("one", "amd64"), ("two", "arm64")] {
        let dir = PathBuf::from(lab.image_for(name, &[&[(name, F, "")]], architecture));
        let mut descriptor = read(&dir.join("index.json"))["manifests"][0].clone();
        descriptor["platform"] = json!({ "os": "linux", "architecture": architecture });
        descriptor.as_object_mut().unwrap().remove("annotations");
        manifests.push(descriptor);
    }
    for blob in fs::read_dir(lab.path("two/blobs/sha256")).unwrap().flatten() {
        fs::copy(blob.path(), lab.path("one/blobs/sha256").join(blob.file_name())).unwrap();
    }
    let kind = "application/vnd.oci.image.index.v1+json";
    let inner = json!({ "schemaVersion": 2, "mediaType": kind, "manifests": manifests }).to_string();
    let digest = Digest::of(inner.as_bytes());
    fs::write(lab.path("one/blobs/sha256").join(digest.hex()), &inner).unwrap();
    let descriptor = json!({ "mediaType": kind, "digest": digest, "size": inner.len() });
    let outer = json!({ "schemaVersion": 2, "mediaType": kind, "manifests": [descriptor] });
    fs::write(lab.path("one/index.json"), outer.to_string()).unwrap();

    let image = lab.path("one");
    let image = image.to_str().unwrap();
    for (platform, name) in [("linux/amd64", "one"), ("linux/arm64", "two"), ("linux/arm64/v8", "two")] {
        let lines = lab.succeeds(&[image, "--platform", platform, "--tree", "--json", "-"]).lines();
        assert_eq!(lines[0]["path"], name, "{platform}");
    }
    let said = lab.succeeds(&[image, "--platform", "linux/arm64"]).text();
    assert!(said.contains("for linux/arm64") && said.contains("1 other not followed here"), "{said}");
    assert_eq!(said.matches("leads to").count(), 2, "{said}");
    let said = lab.layers(&[image, "--platform", "linux/riscv64"]);
    assert!(said.code == 1 && said.err.contains("linux/amd64, linux/arm64"), "{}", said.err);
}

// ---- unpacking ----

#[test]
fn layers_are_unpacked_to_directories_that_overlayfs_can_stack() {
    let lab = Lab::with_demo();
    let into = lab.path("unpacked");
    let said = lab.succeeds(&["demo", "--unpack", into.to_str().unwrap()]);
    assert!(said.err.contains("Σ unpack layer 3 to"), "{}", said.err);
    assert!(said.text().contains("lowerdir=3:2:1"), "{}", said.text());
    assert!(fs::read_to_string(into.join("2/srv/story/secret")).unwrap().contains("swordfish"));
    let whiteout = fs::symlink_metadata(into.join("3/srv/story/secret")).unwrap();
    assert!(whiteout.file_type().is_char_device() && whiteout.rdev() == 0);
    let again = lab.layers(&["demo", "--unpack", into.to_str().unwrap()]);
    assert!(again.code == 1 && again.err.contains("is not empty"), "{}", again.err);
}

#[test]
fn a_layer_that_cannot_be_unpacked_leaves_nothing() {
    let lab = Lab::new();
    let image = lab.image("bad", &[&[("a", F, "1")], &[("b", L, "nowhere")]]);
    let into = lab.path("unpacked");
    let said = lab.layers(&[&image, "--unpack", into.to_str().unwrap()]);
    assert!(said.code == 1 && said.err.contains("layer 2 of 2"), "{}", said.err);
    assert!(!into.exists());
}

#[test]
fn explaining_unpacks_nothing() {
    let lab = Lab::with_demo();
    let into = lab.path("unpacked");
    let said = lab.succeeds(&["demo", "--unpack", into.to_str().unwrap(), "--explain"]).text();
    assert!(said.contains("Unpack each layer") && !into.exists(), "{said}");
}

// ---- images made to do harm ----

#[test]
fn what_is_wrong_is_named_by_layer_and_entry() {
    let lab = Lab::new();
    for (name, items, words) in [
        ("missing", vec![("b", L, "a")], "is not in this layer"),
        ("through", vec![("a", F, ""), ("a/b", F, "")], "no directory in this layer"),
        ("loop", vec![("a", S, "b"), ("b", S, "a"), ("a/x", F, "")], "more than 40 symbolic links"),
        ("whiteout", vec![(".wh...", F, "")], "cannot be hidden"),
        ("inside", vec![(".wh.a/b", F, "")], "nothing can be in it"),
    ] {
        let image = lab.image(name, &[&[("fine", F, "")], &items]);
        let said = lab.layers(&[&image]);
        let err = said.err.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(said.code, 1, "{name}");
        assert!(err.contains("layer 2 of 2") && err.contains("entry `") && err.contains(words), "{err}");
    }
}

#[test]
fn names_that_lead_outside_stay_inside() {
    let lab = Lab::new();
    let items: &[Item<'_>] =
        &[("../../../tmp/x", F, "1"), ("/abs", F, "2"), ("up", S, "../../.."), ("up/y", F, "3")];
    let image = lab.image("outside", &[items]);
    assert_eq!(lab.merged(&image), ["abs", "tmp", "tmp/x", "up", "y"]);
}

#[test]
fn a_damaged_layer_is_refused() {
    let lab = Lab::new();
    let image = lab.image("damaged", &[&[("a", F, "1")], &[("b", F, "2")]]);
    let Reference::Path(path) = Reference::parse(image.as_ref()).unwrap() else { panic!("no path") };
    let opened = source::open(&path, &Options::default()).unwrap();
    let blob = Path::new(&image).join("blobs/sha256").join(opened.layers[1].descriptor.digest.hex());
    let mut bytes = fs::read(&blob).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    fs::write(&blob, bytes).unwrap();
    let said = lab.layers(&[&image]);
    let err = said.err.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.code == 1 && err.contains("layer 2 of 2"), "{err}");
    assert!(err.contains("not what its descriptor promises"), "{err}");
}

#[test]
fn limits_have_flags() {
    let lab = Lab::new();
    let image = lab.image("large", &[&[("d/e", F, "12345"), ("f", F, "6")]]);
    for (flag, value) in
        [("--max-entries", "1"), ("--max-bytes", "5"), ("--max-path", "2"), ("--max-depth", "0")]
    {
        let said = lab.layers(&[&image, flag, value]);
        assert!(said.code == 1 && said.err.contains(flag), "{flag}: {}", said.err);
    }
}

/// An image of one small file, whose archive goes on with zeros up to a length; and how many times as large as it is
/// stored that makes its layer.
fn bomb(lab: &Lab, name: &str, length: u64) -> (String, u64) {
    let dir = lab.path(name);
    let mut writer = LayoutWriter::create(&dir).unwrap();
    let fill = |tar: &mut tar::Builder<&mut dyn Write>| {
        append(tar, &("file", F, "content"));
        tar.finish().unwrap();
        // The header, the content, and the two blocks of zeros that end an archive.
        let written = 4 * 512;
        std::io::copy(&mut std::io::repeat(0).take(length - written), tar.get_mut()).unwrap();
        Ok(())
    };
    writer.layer(fill).unwrap();
    let manifest = writer.finish(json!({ "os": "linux" }), name).unwrap();
    let manifest = fs::read(dir.join("blobs/sha256").join(manifest.digest.hex())).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let stored = manifest["layers"][0]["size"].as_u64().unwrap();
    (dir.to_str().unwrap().to_owned(), length / stored)
}

#[test]
fn a_layer_that_becomes_too_many_times_as_large_is_refused() {
    let lab = Lab::new();
    let from: u64 = 1 << 30;
    let (small, _) = bomb(&lab, "small", from);
    let (large, times) = bomb(&lab, "large", from + 512);
    assert!(times > 2, "{times}");
    let into = lab.path("into");
    let ways: [&[&str]; 2] = [&[], &["--unpack", into.to_str().unwrap()]];
    for way in ways {
        let read = |image: &str, ratio: u64| {
            let said = lab.layers(&[&[image, "--max-ratio", &ratio.to_string()], way].concat());
            assert_eq!(into.join("1/file").exists(), said.code == 0 && !way.is_empty(), "{way:?}");
            // Nothing of a layer that is refused is left, nor the directory that was made for it.
            assert!(said.code == 0 || !into.exists(), "{way:?}");
            let _ = fs::remove_dir_all(&into);
            said
        };
        // Up to 1 GiB any ratio will do, from there on the one that was asked for.
        assert_eq!(read(&small, 1).code, 0, "{way:?}");
        assert_eq!(read(&large, times).code, 0, "{way:?}");
        let said = read(&large, times - 1);
        let err = said.err.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(said.code, 1, "{way:?}: {err}");
        for words in [
            "layer 1 of 1",
            &format!("becomes more than {} times as large as it is stored", times - 1),
            &format!("(--max-ratio {})", times - 1),
            "raise the limit with --max-ratio",
        ] {
            assert!(err.contains(words), "{words:?} is not in {err}");
        }
    }
}

// ---- what other tools make and read ----

fn missing(programs: &[&str]) -> bool {
    let missing: Vec<_> =
        programs.iter().filter(|name| Command::new(name).arg("--version").output().is_err()).collect();
    if missing.is_empty() {
        return false;
    }
    println!("skipped: {missing:?} not installed");
    assert!(std::env::var_os("CUTAWAY_MUST_RUN").is_none(), "{missing:?} must be installed");
    true
}

/// Makes these images with the tools that make them.
fn fixtures(lab: &Lab, names: &[&str]) -> PathBuf {
    let into = lab.path("images");
    fs::create_dir(&into).unwrap();
    let make = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/make-images");
    let done = Command::new(make).arg(&into).args(names).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    into
}

/// A name as `--json` has it.
fn escaped(bytes: &[u8]) -> String {
    bytes.utf8_chunks().fold(String::new(), |mut text, chunk| {
        text.push_str(chunk.valid());
        text.push_str(&chunk.invalid().escape_ascii().to_string());
        text
    })
}

/// The merged tree in the form of `expected`: kind, mode, owner, size and digest or target, name.
fn as_expected(lines: &[Value]) -> Vec<String> {
    let mut all: Vec<String> = lines.iter().map(|line| expected_line(line, true)).collect();
    all.sort();
    all
}

fn expected_line(line: &Value, with_digest: bool) -> String {
    let text = |key: &str| line[key].as_str().unwrap_or_default();
    let (letter, what) = match text("kind") {
        "directory" => ('d', "-".to_owned()),
        "file" if with_digest => {
            ('f', format!("{} {}", line["size"], text("digest").trim_start_matches("sha256:")))
        }
        "file" => ('f', format!("{} {}", line["size"], line["mtime"])),
        "symlink" => ('l', format!("-> {}", text("target"))),
        "char" => ('c', format!("{}:{}", line["device"][0], line["device"][1])),
        "fifo" => ('p', "-".to_owned()),
        other => panic!("{other}"),
    };
    format!("{letter} {} {}:{} {what} {}", text("mode"), line["uid"], line["gid"], text("path"))
}

#[test]
fn the_merged_tree_is_the_same_for_every_tool_that_writes_images() {
    if missing(&["python3", "skopeo", "podman", "busybox"]) {
        return;
    }
    let names = [
        "oci",
        "oci-plain",
        "oci-zstd",
        "oci-archive.tar",
        "docker-archive.tar",
        "docker-save.tar",
        "docker-save.tar.gz",
        "docker-legacy.tar",
        "podman-oci",
        "podman-docker.tar",
    ];
    let lab = Lab::new();
    let images = fixtures(&lab, &names);
    let expected = escaped(&fs::read(images.join("expected")).unwrap());
    let mut expected: Vec<&str> = expected.lines().collect();
    expected.sort_unstable();
    for name in names {
        let image = images.join(name);
        let lines = lab.succeeds(&[image.to_str().unwrap(), "--tree", "--json", "-"]).lines();
        assert_eq!(as_expected(&lines), expected, "{name}");
    }
}

/// What is below a directory, in the same form but with the time instead of a digest.
fn on_disk(root: &Path) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let mut pending = vec![root.to_path_buf()];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let about = path.symlink_metadata().unwrap();
            let (letter, what) = match about.file_type() {
                kind if kind.is_dir() => ('d', "-".to_owned()),
                kind if kind.is_file() => ('f', format!("{} {}", about.len(), about.mtime())),
                kind if kind.is_symlink() => {
                    ('l', format!("-> {}", escaped(fs::read_link(&path).unwrap().as_os_str().as_bytes())))
                }
                kind if kind.is_fifo() => ('p', "-".to_owned()),
                _ => {
                    ('c', format!("{}:{}", rustix::fs::major(about.rdev()), rustix::fs::minor(about.rdev())))
                }
            };
            let name = escaped(path.strip_prefix(root).unwrap().as_os_str().as_bytes());
            let (mode, uid, gid) = (about.mode() & 0o7777, about.uid(), about.gid());
            all.insert(format!("{letter} {mode:04o} {uid}:{gid} {what} {name}"));
            if about.is_dir() {
                pending.push(path);
            }
        }
    }
    all
}

#[test]
fn the_merged_tree_is_what_umoci_unpacks() {
    if missing(&["python3", "skopeo", "umoci", "buildah", "busybox"]) {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        println!("skipped: umoci keeps owners as root only");
        return;
    }
    let lab = Lab::new();
    let images = fixtures(&lab, &["oci", "umoci", "buildah"]);
    for name in ["oci", "umoci", "buildah"] {
        let image = format!("{}:latest", images.join(name).display());
        let bundle = lab.path(&format!("bundle-{name}"));
        let done = Command::new("umoci").args(["unpack", "--image", &image]).arg(&bundle).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let lines = lab.succeeds(&[&image, "--tree", "--json", "-"]).lines();
        let ours: BTreeSet<String> = lines.iter().map(|line| expected_line(line, false)).collect();
        assert_eq!(ours, on_disk(&bundle.join("rootfs")), "{name}");
    }
}

#[test]
fn every_entry_that_tar_lists_is_in_the_json() {
    if missing(&["python3", "tar", "busybox"]) {
        return;
    }
    let lab = Lab::new();
    let image = fixtures(&lab, &["oci-plain"]).join("oci-plain");
    let lines = lab.succeeds(&[image.to_str().unwrap(), "--json", "-"]).lines();
    let of = |kind: &str| lines.iter().filter(|line| line["record"] == kind).cloned().collect::<Vec<_>>();
    let entry = |path: &str| of("entry").into_iter().find(|entry| entry["path"] == path).unwrap();
    assert_eq!(
        entry("data/attributed")["xattrs"],
        json!([{ "name": "user.colour", "value_base64": "Z3JlZW4=" }])
    );
    assert_eq!(entry("data/other")["hard_link_to"], "data/one");
    assert_eq!(entry("data/not-utf-8-\\xff\\xfe")["path_base64"], "ZGF0YS9ub3QtdXRmLTgt//4=");
    for layer in of("layer") {
        let hex = layer["descriptor"]["digest"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
        let listed = Command::new("tar")
            .args(["--quoting-style=literal", "-tf"])
            .arg(image.join("blobs/sha256").join(hex))
            .output()
            .unwrap();
        let names = escaped(&listed.stdout);
        let names: BTreeSet<String> =
            names.lines().map(|name| name.trim_end_matches('/').to_owned()).collect();
        let mut ours = BTreeSet::new();
        for entry in of("entry").iter().filter(|entry| entry["layer"] == layer["layer"]) {
            let path = entry["path"].as_str().unwrap();
            let (parent, base) = path.rsplit_once('/').map_or(("", path), |(parent, base)| (parent, base));
            match entry["kind"].as_str().unwrap() {
                "whiteout" => drop(ours.insert(format!("{parent}/.wh.{base}"))),
                _ if entry["listed"] == true => drop(ours.insert(path.to_owned())),
                _ => {}
            }
            if entry["opaque"] == true {
                ours.insert(format!("{path}/.wh..wh..opq"));
            }
        }
        assert_eq!(ours, names, "layer {}", layer["layer"]);
    }
}

#[test]
fn the_holes_of_a_sparse_file_are_extracted_as_zeros() {
    if missing(&["tar"]) {
        return;
    }
    let lab = Lab::new();
    let mut content = vec![0; 1 << 20];
    content[70_000..70_006].copy_from_slice(b"middle");
    content[900_000..900_003].copy_from_slice(b"end");
    let file = fs::File::create(lab.path("sparse")).unwrap();
    file.set_len(content.len() as u64).unwrap();
    for at in [70_000, 900_000] {
        std::os::unix::fs::FileExt::write_all_at(&file, &content[at..at + 6], at as u64).unwrap();
    }
    for format in ["gnu", "posix"] {
        let tar = Command::new("tar")
            .args(["--sparse", "--hole-detection=raw", "-b1", "-H", format, "-cf", "-", "-C"])
            .arg(lab.path("").as_os_str())
            .arg("sparse")
            .output()
            .unwrap();
        assert!(tar.status.success() && tar.stdout.len() < 200_000, "{}", tar.stdout.len());
        let dir = lab.path(format);
        let mut writer = LayoutWriter::create(&dir).unwrap();
        // Without the two blocks of zeros at its end, which the writer adds.
        let entries = &tar.stdout[..tar.stdout.len() - 1024];
        let raw = |builder: &mut tar::Builder<&mut dyn Write>| {
            builder.get_mut().write_all(entries).unwrap();
            Ok(())
        };
        writer.layer(raw).unwrap();
        let config = json!({ "os": "linux", "architecture": Platform::host().architecture });
        writer.finish(config, "sparse").unwrap();
        let image = dir.to_str().unwrap();
        assert!(lab.succeeds(&[image, "--extract", "1:sparse"]).out == content, "{format}");
        let line = lab.succeeds(&[image, "--tree", "--json", "-"]).lines().remove(0);
        assert!(line["size"] == 1 << 20 && line["stored"].as_u64().unwrap() < 100_000, "{line}");
    }
}
