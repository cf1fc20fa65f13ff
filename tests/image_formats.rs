//! Images in every form that is read, made by the tools that make them, and documents made to do harm.

#![allow(clippy::unwrap_used)] // the lint's exception for tests does not cover their helper functions

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use cutaway::error::Result;
use cutaway::image::digest::Digest;
use cutaway::image::reference::{PathReference, Reference};
use cutaway::image::source::{self, Image, Options};
use cutaway::image::store::unpack_as_user;
use cutaway::image::write::{Entry, LayoutWriter};
use cutaway::image::{Platform, Store};
use serde_json::{Value, json};

/// A directory of the test's own, with an image layout to change.
struct Lab {
    dir: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A good layout of two layers, named `test:1`.
    fn layout(&self) -> PathBuf {
        let dir = self.path("layout");
        let mut writer = LayoutWriter::create(&dir).unwrap();
        let entry =
            |name: &'static str| Entry { name: name.as_bytes(), mode: 0o755, owner: (0, 0), mtime: 1 };
        writer
            .layer(|tar| {
                entry("etc").dir(tar)?;
                entry("etc/motd").file(tar, 5, &b"lower"[..])
            })
            .unwrap();
        writer.layer(|tar| entry("etc/motd").file(tar, 5, &b"upper"[..])).unwrap();
        let host = Platform::host();
        let config =
            json!({ "os": "linux", "architecture": host.architecture, "config": { "Cmd": ["/bin/sh"] } });
        writer.finish(config, "test:1").unwrap();
        dir
    }

    /// A layout whose manifest and config were changed, with digests that fit.
    fn changed(&self, change: impl FnOnce(&mut Value, &mut Value)) -> PathBuf {
        let dir = self.layout();
        let mut index = read(&dir.join("index.json"));
        let mut manifest = read(&blob_of(&dir, &index["manifests"][0]));
        let mut config = read(&blob_of(&dir, &manifest["config"]));
        let before = config.clone();
        change(&mut manifest, &mut config);
        if config != before {
            put(&dir, &mut manifest["config"], &config.to_string());
        }
        put(&dir, &mut index["manifests"][0], &manifest.to_string());
        fs::write(dir.join("index.json"), index.to_string()).unwrap();
        dir
    }

    /// A layout whose index was changed.
    fn indexed(&self, change: impl FnOnce(&mut Value)) -> PathBuf {
        let dir = self.layout();
        let mut index = read(&dir.join("index.json"));
        change(&mut index);
        fs::write(dir.join("index.json"), index.to_string()).unwrap();
        dir
    }

    /// The path of a layer's blob.
    fn layer(dir: &Path, at: usize) -> PathBuf {
        let manifest = read(&blob_of(dir, &read(&dir.join("index.json"))["manifests"][0]));
        blob_of(dir, &manifest["layers"][at])
    }

    fn store(&self) -> Store {
        Store::open(&self.path("state"))
    }

    /// Loads what was typed, and reads /etc/motd from the unpacked layers.
    fn motd(&self, typed: &str) -> Result<String> {
        let image = open(typed)?;
        let store = self.store();
        store.load(&image, Some("loaded"), &unpack_as_user, &())?;
        let loaded = store.find(&"loaded".parse()?)?;
        let mut dirs = store.layer_dirs(&loaded);
        dirs.reverse();
        let view = cutaway::image::merged::MergedView::new(&dirs)?;
        let motd = view.read("/etc/motd", 100)?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&motd).into_owned())
    }

    /// Opening or loading is refused with these words, and the store stays empty.
    fn refuses(&self, dir: &Path, words: &str) {
        let error = match self.motd(dir.to_str().unwrap()) {
            Ok(_) => panic!("accepted, but {words:?} was expected"),
            Err(error) => error.to_string(),
        };
        assert!(error.contains(words), "{error}\n  does not contain {words:?}");
        assert_empty(&self.path("state"));
    }
}

/// Nothing of an image is in the store.
fn assert_empty(state: &Path) {
    for dir in ["tmp", "layers", "blobs/sha256"] {
        let left: Vec<_> =
            fs::read_dir(state.join(dir)).into_iter().flatten().flatten().map(|it| it.path()).collect();
        assert!(left.is_empty(), "left behind: {left:?}");
    }
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn blob_of(dir: &Path, descriptor: &Value) -> PathBuf {
    dir.join("blobs/sha256").join(&descriptor["digest"].as_str().unwrap()[7..])
}

/// Writes a blob and makes a descriptor fit.
fn put(dir: &Path, descriptor: &mut Value, text: &str) {
    let digest = Digest::of(text.as_bytes());
    fs::write(dir.join("blobs/sha256").join(digest.hex()), text).unwrap();
    descriptor["digest"] = json!(digest.to_string());
    descriptor["size"] = json!(text.len());
}

fn open(typed: &str) -> Result<Image> {
    match Reference::parse(OsStr::new(typed))? {
        Reference::Path(path) => source::open(&path, &Options::default()),
        Reference::Name(name) => panic!("{name} was taken for a name"),
    }
}

fn open_path(path: &Path) -> Result<Image> {
    source::open(&PathReference { path: path.to_path_buf(), image: None, form: None }, &Options::default())
}

/// Whether these programs are there; if not, says so, and fails where nothing may be skipped.
fn have(programs: &[&str]) -> bool {
    let missing: Vec<_> =
        programs.iter().filter(|name| Command::new(name).arg("--version").output().is_err()).collect();
    if missing.is_empty() {
        return true;
    }
    println!("skipped: {missing:?} not installed");
    assert!(std::env::var_os("CUTAWAY_MUST_RUN").is_none(), "{missing:?} must be installed");
    false
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Copies with skopeo, without looking for its policy file.
fn skopeo(from: &str, to: &str, more: &[&str]) {
    run(Command::new("skopeo").args(["--insecure-policy", "copy", "-q"]).args(more).args([from, to]));
}

/// A tar of these files.
fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

// ---- every form ----

#[test]
fn a_layout_in_a_folder_is_loaded() {
    let lab = Lab::new();
    let dir = lab.layout();
    assert_eq!(lab.motd(dir.to_str().unwrap()).unwrap(), "upper");
    let image = open(&format!("{}:1", dir.display())).unwrap();
    assert_eq!((image.name.as_deref(), image.layers.len()), (Some("test:1"), 2));
    assert!(open(&format!("oci:{}:test:1", dir.display())).is_ok());
    let error = open(&format!("{}:2", dir.display())).err().unwrap().to_string();
    assert!(error.contains("test:1"), "{error}");
}

#[test]
fn a_layout_in_a_tar_is_loaded_plain_and_compressed() {
    let lab = Lab::new();
    let dir = lab.layout();
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_dir_all(".", &dir).unwrap();
    let plain = builder.into_inner().unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let zstd = zstd::encode_all(&plain[..], 1).unwrap();
    for (name, bytes) in [("a.tar", plain), ("a.tar.gz", gzip.finish().unwrap()), ("a.tar.zst", zstd)] {
        fs::write(lab.path(name), bytes).unwrap();
        assert_eq!(lab.motd(lab.path(name).to_str().unwrap()).unwrap(), "upper", "{name}");
        assert!(open(&format!("oci-archive:{}:test:1", lab.path(name).display())).is_ok());
    }
}

#[test]
fn what_skopeo_writes_is_loaded() {
    if !have(&["skopeo"]) {
        return;
    }
    let lab = Lab::new();
    let dir = lab.layout();
    let from = format!("oci:{}:test:1", dir.display());
    let docker = format!("docker-archive:{}", lab.path("docker.tar").display());
    skopeo(&from, &format!("{docker}:example.org/team/app:7"), &[]);
    let oci = format!("oci-archive:{}", lab.path("oci.tar").display());
    skopeo(&from, &format!("{oci}:latest"), &[]);
    let zstd = format!("oci:{}:zstd", lab.path("zstd").display());
    skopeo(&from, &zstd, &["--dest-compress-format", "zstd", "--dest-compress"]);
    for typed in [&docker, &format!("{docker}:example.org/team/app:7"), &oci, &format!("{oci}:latest"), &zstd]
    {
        assert_eq!(lab.motd(typed).unwrap(), "upper", "{typed}");
    }
    let image = open(&docker).unwrap();
    assert_eq!(image.name.as_deref(), Some("example.org/team/app:7"));
    assert!(open(&format!("{docker}:other:1")).is_err());
    // The store is a layout that skopeo reads.
    let inspect = format!("oci:{}:loaded", lab.path("state").display());
    run(Command::new("skopeo").args(["inspect", "--raw", &inspect]));
    skopeo(&inspect, &format!("oci:{}:back", lab.path("back").display()), &[]);
}

#[test]
fn what_umoci_writes_is_loaded() {
    if !have(&["umoci"]) {
        return;
    }
    let lab = Lab::new();
    let oci = lab.path("umoci");
    let image = format!("{}:two", oci.display());
    run(Command::new("umoci").arg("init").arg("--layout").arg(&oci));
    run(Command::new("umoci").args(["new", "--image", &image]));
    let bundle = lab.path("bundle");
    run(Command::new("umoci").args(["unpack", "--rootless", "--image", &image]).arg(&bundle));
    fs::create_dir(bundle.join("rootfs/etc")).unwrap();
    fs::write(bundle.join("rootfs/etc/motd"), "by umoci").unwrap();
    run(Command::new("umoci").args(["repack", "--image", &image]).arg(&bundle));
    run(Command::new("umoci").args([
        "config",
        "--image",
        &image,
        "--config.user",
        "7:8",
        "--config.cmd",
        "/x",
    ]));
    assert_eq!(lab.motd(oci.to_str().unwrap()).unwrap(), "by umoci");
    let image = open(&image).unwrap();
    assert_eq!((image.config.user.as_str(), image.config.cmd), ("7:8", Some(vec!["/x".to_owned()])));
}

#[test]
fn what_buildah_writes_is_loaded() {
    if !have(&["buildah"]) {
        return;
    }
    let lab = Lab::new();
    fs::write(lab.path("motd"), "by buildah").unwrap();
    let buildah = || {
        let mut command = Command::new("buildah");
        command
            .arg("--root")
            .arg(lab.path("c"))
            .arg("--runroot")
            .arg(lab.path("r"))
            .args(["--storage-driver", "vfs"]);
        command
    };
    let probe = buildah().args(["from", "--name", "w", "scratch"]).output().unwrap();
    if !probe.status.success() {
        println!("skipped: buildah cannot work here: {}", String::from_utf8_lossy(&probe.stderr));
        assert!(std::env::var_os("CUTAWAY_MUST_RUN").is_none());
        return;
    }
    run(buildah().args(["copy", "w"]).arg(lab.path("motd")).arg("/etc/motd"));
    run(buildah().args(["config", "--entrypoint", "[\"/bin/x\"]", "--env", "A=b c", "w"]));
    for to in ["oci-archive:", "docker-archive:", "oci:"] {
        let typed = format!("{to}{}", lab.path(&format!("out-{}", &to[..to.len() - 1])).display());
        run(buildah().args(["commit", "-q", "w", &format!("{typed}:b:1")]));
        assert_eq!(lab.motd(&typed).unwrap(), "by buildah", "{typed}");
        assert!(open(&typed).unwrap().config.env.contains(&"A=b c".to_owned()));
    }
    run(buildah().args(["rm", "w"]));
}

/// A `docker save` archive before version 25: `manifest.json`, the config by its digest, plain layers.
fn docker_archive(config_name: Option<&str>, layers: &[(&str, &[u8])], listed: &[&str]) -> Vec<u8> {
    let diff_ids: Vec<Digest> = layers.iter().map(|(_, bytes)| Digest::of(bytes)).collect();
    let config = json!({
        "architecture": Platform::host().architecture, "os": "linux",
        "config": { "Cmd": ["/bin/sh"], "Healthcheck": { "Test": ["NONE"] } },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    })
    .to_string();
    let own = format!("{}.json", Digest::of(config.as_bytes()).hex());
    let name = config_name.unwrap_or(&own);
    let manifest = json!([{ "Config": name, "RepoTags": ["app:1", "app:2"], "Layers": listed }]).to_string();
    let mut files = layers.to_vec();
    files.push((name, config.as_bytes()));
    files.push(("manifest.json", manifest.as_bytes()));
    tar_of(&files)
}

#[test]
fn an_old_docker_archive_is_loaded() {
    let lab = Lab::new();
    let (one, two) = (tar_of(&[("etc/motd", b"one")]), tar_of(&[("etc/motd", b"two")]));
    let listed = ["a/layer.tar", "b/layer.tar"];
    let archive = docker_archive(None, &[("a/layer.tar", &one), ("b/layer.tar", &two)], &listed);
    fs::write(lab.path("d.tar"), archive).unwrap();
    let typed = lab.path("d.tar").display().to_string();
    assert_eq!(lab.motd(&typed).unwrap(), "two");
    assert_eq!(open(&format!("{typed}:app:2")).unwrap().name.as_deref(), Some("app:2"));
    assert_eq!(open(&format!("{typed}:2")).unwrap().name.as_deref(), Some("app:2"));
    assert!(open(&format!("oci-archive:{typed}")).is_err());
}

#[test]
fn a_legacy_archive_with_a_folder_for_each_layer_is_loaded() {
    let lab = Lab::new();
    let (one, two) = (tar_of(&[("etc/motd", b"one")]), tar_of(&[("etc/motd", b"two")]));
    let (low, top) = ("1".repeat(64), "2".repeat(64));
    let low_json = json!({ "id": low, "container_config": { "Cmd": ["ADD", "x"] } }).to_string();
    let top_json = json!({ "id": top, "parent": low, "os": "linux", "architecture": "amd64",
        "config": { "Cmd": ["/top"], "Env": ["A=b"] } })
    .to_string();
    let repositories = json!({ "old": { "1": top } }).to_string();
    let names = [
        format!("{low}/json"),
        format!("{low}/layer.tar"),
        format!("{top}/json"),
        format!("{top}/layer.tar"),
    ];
    let bodies: [&[u8]; 4] = [low_json.as_bytes(), &one, top_json.as_bytes(), &two];
    let mut files: Vec<(&str, &[u8])> = names.iter().map(String::as_str).zip(bodies).collect();
    fs::write(lab.path("unnamed.tar"), tar_of(&files)).unwrap();
    files.push(("repositories", repositories.as_bytes()));
    fs::write(lab.path("named.tar"), tar_of(&files)).unwrap();
    for name in ["named.tar", "unnamed.tar"] {
        assert_eq!(lab.motd(lab.path(name).to_str().unwrap()).unwrap(), "two", "{name}");
    }
    let image = open(&format!("{}:old:1", lab.path("named.tar").display())).unwrap();
    assert_eq!((image.config.cmd.clone(), image.layers.len()), (Some(vec!["/top".to_owned()]), 2));
    assert_eq!(image.config.history[0].created_by.as_deref(), Some("ADD x"));

    let circle = json!({ "id": low, "parent": top }).to_string();
    files[0].1 = circle.as_bytes();
    fs::write(lab.path("circle.tar"), tar_of(&files)).unwrap();
    assert!(open(lab.path("circle.tar").to_str().unwrap()).err().unwrap().to_string().contains("circle"));
}

#[test]
fn the_image_for_this_machine_is_chosen_among_several() {
    let lab = Lab::new();
    let dir = lab.indexed(|index| {
        let mut other = index["manifests"][0].clone();
        other["platform"] = json!({ "os": "linux", "architecture": "riscv128" });
        other["digest"] = json!(Digest::of(b"absent").to_string());
        let mut attestation = other.clone();
        attestation["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
        index["manifests"][0]["platform"] =
            json!({ "os": "linux", "architecture": Platform::host().architecture });
        let own = index["manifests"][0].clone();
        index["manifests"] = json!([attestation, other, own]);
    });
    assert!(open_path(&dir).is_ok());
    let reference = PathReference { path: dir, image: None, form: None };
    let for_platform = |text: &str| {
        source::open(&reference, &Options { platform: text.parse().unwrap(), ..Options::default() })
    };
    assert!(for_platform("linux/riscv128").err().unwrap().to_string().contains("missing"));
    let error = for_platform("linux/s390x").err().unwrap().to_string();
    assert!(error.contains("linux/riscv128"), "{error}");
}

#[test]
fn an_index_in_an_index_is_followed_but_not_for_ever() {
    let lab = Lab::new();
    assert!(open_path(&nested(&lab, 2)).is_ok());
    assert!(open_path(&nested(&lab, 6)).err().unwrap().to_string().contains("nested"));
}

/// A layout whose index leads through this many others.
fn nested(lab: &Lab, depth: usize) -> PathBuf {
    let _ = fs::remove_dir_all(lab.path("layout"));
    let dir = lab.layout();
    for _ in 0..depth {
        let inner = fs::read_to_string(dir.join("index.json")).unwrap();
        let kind = "application/vnd.oci.image.index.v1+json";
        let mut descriptor = json!({ "mediaType": kind });
        put(&dir, &mut descriptor, &inner);
        fs::write(
            dir.join("index.json"),
            json!({ "schemaVersion": 2, "manifests": [descriptor] }).to_string(),
        )
        .unwrap();
    }
    dir
}

#[test]
fn several_images_need_a_tag() {
    let lab = Lab::new();
    let dir = lab.layout();
    let mut index = read(&dir.join("index.json"));
    let manifest = fs::read_to_string(blob_of(&dir, &index["manifests"][0])).unwrap();
    let mut other = index["manifests"][0].clone();
    put(&dir, &mut other, &format!("{manifest} "));
    other["annotations"] = json!({ "org.opencontainers.image.ref.name": "2" });
    index["manifests"].as_array_mut().unwrap().push(other);
    fs::write(dir.join("index.json"), index.to_string()).unwrap();
    let error = open_path(&dir).err().unwrap().to_string();
    assert!(error.contains("test:1, 2"), "{error}");
    assert!(open(&format!("{}:2", dir.display())).is_ok());
}

// ---- documents and blobs made to do harm ----

#[test]
fn a_wrong_digest_or_size_of_a_layer_is_refused() {
    let lab = Lab::new();
    let dir = lab.layout();
    let layer = Lab::layer(&dir, 1);
    let mut bytes = fs::read(&layer).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&layer, &bytes).unwrap();
    lab.refuses(&dir, "layer 2 of 2");
    lab.refuses(&dir, "not what its descriptor promises");
    bytes.pop();
    fs::write(&layer, &bytes).unwrap();
    lab.refuses(&dir, "its descriptor");
    fs::remove_file(&layer).unwrap();
    lab.refuses(&dir, "missing");
}

#[test]
fn a_truncated_layer_with_a_digest_that_fits_is_refused() {
    let lab = Lab::new();
    let dir = lab.changed(|_, _| {});
    let bytes = fs::read(Lab::layer(&dir, 0)).unwrap();
    let cut = &bytes[..bytes.len() / 2];
    fs::remove_dir_all(&dir).unwrap();
    let dir = lab.changed(|manifest, _| {
        manifest["layers"][0]["digest"] = json!(Digest::of(cut).to_string());
        manifest["layers"][0]["size"] = json!(cut.len());
    });
    fs::write(Lab::layer(&dir, 0), cut).unwrap();
    lab.refuses(&dir, "layer 1 of 2");
}

#[test]
fn a_layer_that_the_config_does_not_name_is_refused() {
    let lab = Lab::new();
    let other = Digest::of(b"other").to_string();
    let dir = lab.changed(|_, config| config["rootfs"]["diff_ids"][0] = json!(other));
    lab.refuses(&dir, "diff ID");
}

#[test]
fn counts_that_differ_are_refused() {
    let lab = Lab::new();
    let dir = lab.changed(|manifest, _| drop(manifest["layers"].as_array_mut().unwrap().pop()));
    lab.refuses(&dir, "diff IDs");
}

#[test]
fn ambiguous_and_mistyped_documents_are_refused() {
    for (words, change) in [
        ("ambiguous", (|m, _| m["manifests"] = json!([])) as fn(&mut Value, &mut Value)),
        ("spells", |m, _| m["Layers"] = json!([])),
        ("its descriptor says", |m, _| m["mediaType"] = json!("application/vnd.oci.image.index.v1+json")),
        ("whole number", |m, _| m["layers"][0]["size"] = json!(-1)),
        ("whole number", |m, _| m["layers"][0]["size"] = json!("12")),
        ("hexadecimal", |m, _| m["layers"][0]["digest"] = json!("sha256:../../../../etc/passwd")),
        ("hexadecimal", |m, _| m["config"]["digest"] = json!("sha512:00")),
        ("text", |m, _| m["config"]["mediaType"] = json!(7)),
        ("array", |m, _| m["layers"] = json!({})),
        ("media type", |m, _| m["layers"][0]["mediaType"] = json!("text/plain")),
        ("array", |_, c| c["config"]["Cmd"] = json!("sh")),
        ("object", |_, c| c["config"] = json!([])),
        ("NUL", |_, c| c["config"]["Env"] = json!(["A=\0"])),
    ] {
        let lab = Lab::new();
        let dir = lab.changed(change);
        lab.refuses(&dir, words);
    }
}

#[test]
fn a_config_that_is_no_plain_json_is_refused() {
    for text in ["not json", "", "[]", "{\"os\":1,\"os\":2}", &"[".repeat(100_000), "{\"a\":"] {
        let lab = Lab::new();
        let dir = lab.changed(|_, _| {});
        let mut index = read(&dir.join("index.json"));
        let mut manifest = read(&blob_of(&dir, &index["manifests"][0]));
        put(&dir, &mut manifest["config"], text);
        put(&dir, &mut index["manifests"][0], &manifest.to_string());
        fs::write(dir.join("index.json"), index.to_string()).unwrap();
        lab.refuses(&dir, "config");
    }
}

#[test]
fn a_damaged_config_is_refused_by_its_digest() {
    let lab = Lab::new();
    let dir = lab.layout();
    let manifest = read(&blob_of(&dir, &read(&dir.join("index.json"))["manifests"][0]));
    let path = blob_of(&dir, &manifest["config"]);
    let text = fs::read_to_string(&path).unwrap().replace("linux", "minux");
    fs::write(path, text).unwrap();
    lab.refuses(&dir, "not what its descriptor promises");
}

#[test]
fn blobs_and_documents_that_are_no_regular_files_are_refused() {
    for name in ["index.json", "oci-layout", "layer"] {
        for kind in ["fifo", "zero", "dir"] {
            let lab = Lab::new();
            let dir = lab.layout();
            let path = if name == "layer" { Lab::layer(&dir, 0) } else { dir.join(name) };
            fs::remove_file(&path).unwrap();
            match kind {
                "fifo" => run(Command::new("mkfifo").arg(&path)),
                "zero" => symlink("/dev/zero", &path).unwrap(),
                _ => fs::create_dir(&path).unwrap(),
            }
            let typed = format!("oci:{}", dir.display());
            assert!(lab.motd(&typed).is_err(), "{name} as {kind}");
            assert_empty(&lab.path("state"));
        }
    }
}

#[test]
fn documents_above_the_limit_are_not_read() {
    let lab = Lab::new();
    let dir = lab.layout();
    File::options().write(true).open(dir.join("index.json")).unwrap().set_len(1 << 40).unwrap();
    lab.refuses(&dir, "read up to");
}

#[test]
fn an_index_that_points_at_itself_or_nothing_is_refused() {
    let lab = Lab::new();
    let dir = lab.indexed(|index| index["manifests"] = json!([]));
    lab.refuses(&dir, "no image");
    let text = fs::read_to_string(dir.join("index.json")).unwrap();
    let kind = "application/vnd.oci.image.index.v1+json";
    let mut descriptor = json!({ "mediaType": kind });
    put(&dir, &mut descriptor, &text);
    let own = json!({ "schemaVersion": 2, "manifests": [descriptor] }).to_string();
    fs::write(blob_of(&dir, &descriptor), &own).unwrap();
    fs::write(dir.join("index.json"), own).unwrap();
    lab.refuses(&dir, "its descriptor");
}

#[test]
fn a_docker_archive_cannot_name_files_of_the_host() {
    let lab = Lab::new();
    let layer = tar_of(&[("x", b"x")]);
    for (config, listed) in [
        (Some("/etc/hostname"), "a.tar"),
        (Some("../../../../etc/hostname"), "a.tar"),
        (None, "/etc/hostname"),
        (None, "../../../etc/hostname"),
    ] {
        let mut archive = docker_archive(config.map(|_| "c.json"), &[("a.tar", &layer)], &[listed]);
        if let Some(config) = config {
            let manifest = json!([{ "Config": config, "RepoTags": null, "Layers": [listed] }]).to_string();
            archive = tar_of(&[("a.tar", &layer), ("manifest.json", manifest.as_bytes())]);
        }
        fs::write(lab.path("evil.tar"), archive).unwrap();
        lab.refuses(&lab.path("evil.tar"), "etc/hostname");
    }
}

#[test]
fn a_docker_config_must_have_the_digest_in_its_name() {
    let lab = Lab::new();
    let name = format!("{}.json", Digest::of(b"another").hex());
    let layer = tar_of(&[("x", b"x")]);
    fs::write(lab.path("d.tar"), docker_archive(Some(&name), &[("a.tar", &layer)], &["a.tar"])).unwrap();
    lab.refuses(&lab.path("d.tar"), "not what its name promises");
}

#[test]
fn a_layer_of_a_docker_archive_that_was_changed_is_refused() {
    let lab = Lab::new();
    let (layer, other) = (tar_of(&[("x", b"x")]), tar_of(&[("x", b"y")]));
    let archive = docker_archive(None, &[("a.tar", &layer), ("b.tar", &other)], &["b.tar", "a.tar"]);
    fs::write(lab.path("d.tar"), archive).unwrap();
    lab.refuses(&lab.path("d.tar"), "not what its descriptor promises");
}

#[test]
fn what_is_no_image_says_so() {
    let lab = Lab::new();
    fs::create_dir(lab.path("empty")).unwrap();
    fs::write(lab.path("text.tar"), "hello").unwrap();
    fs::write(lab.path("files.tar"), tar_of(&[("x", b"x")])).unwrap();
    for (name, words) in [
        ("empty", "holds no image"),
        ("text.tar", "not an image archive"),
        ("files.tar", "holds no image"),
        ("none.tar", "no such file"),
    ] {
        lab.refuses(&lab.path(name), words);
    }
}
