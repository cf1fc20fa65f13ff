//! Inputs to begin with: small, valid, and with everything in them that a reader knows.

use std::fs;
use std::io::Write;
use std::path::Path;

use cutaway::image::write::{Entry, LayoutWriter};
use serde_json::json;

use super::tar_writer::{Tar, extended, of_all_kinds};

/// The seeds of a target.
pub fn of(target: &str) -> Vec<Vec<u8>> {
    match target {
        "archive" => archives(),
        "whiteouts" => vec![
            b"\x02\x00\x02\x0b\x00\x04\x00\x04\x00\x02\x00".to_vec(),
            b"\x00\x00\x02\x1a\x02\x1b\x00\x04\x06\x02\x1a\x00\x01\x20".to_vec(),
            b"\x02\x44\x02\x45\x00\x04\x05\x03\x47\x00\x04\x04\x02\x44".to_vec(),
        ],
        "documents" => documents(),
        "compressed" => {
            let plain = archives().concat();
            vec![
                gzip(&plain),
                zstd::encode_all(&plain[..], 3).expect("zstd"),
                gzip(&[0; 4 << 20]),
                plain[..2048].to_vec(),
            ]
        }
        "image" => images(),
        other => panic!("no seeds for {other}"),
    }
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(plain).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

fn archives() -> Vec<Vec<u8>> {
    let names = of_all_kinds("../e").file("d/a", "again").end();
    let extended = extended()
        .with(b'K', "K", |header| header.data = b"a/target/that/is/long\0".to_vec())
        .symlink("k", "short")
        .end();
    let links = Tar::default()
        .symlink("a", "b/c")
        .symlink("b", "/d/..")
        .file("a/x", "x")
        .dir("a")
        .file(".wh.a", "")
        .symlink("loop", "loop")
        .hard_link("again", "loop")
        .end();
    vec![names, extended, links]
}

fn documents() -> Vec<Vec<u8>> {
    let digest = format!("sha256:{}", "ab".repeat(32));
    let descriptor = |kind: &str| json!({ "mediaType": kind, "digest": digest, "size": 7 });
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json"),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip"), descriptor("application/vnd.oci.image.layer.v1.tar")],
        "annotations": { "a": "b" },
    });
    let mut one = descriptor("application/vnd.oci.image.manifest.v1+json");
    one["platform"] = json!({ "os": "linux", "architecture": "arm64", "variant": "v8" });
    one["annotations"] = json!({ "org.opencontainers.image.ref.name": "latest" });
    let index = json!({ "schemaVersion": 2, "manifests": [one, descriptor("application/vnd.oci.image.index.v1+json")] });
    let config = json!({
        "created": "2026-01-01T00:00:00Z", "architecture": "amd64", "os": "linux",
        "config": {
            "User": "1000:1000", "Env": ["PATH=/bin", "A=b"], "Entrypoint": ["/bin/sh"], "Cmd": ["-c", "true"],
            "WorkingDir": "/srv", "ExposedPorts": { "80/tcp": {} }, "Volumes": { "/data": {} }, "Labels": { "a": "b" },
            "StopSignal": "SIGINT",
        },
        "rootfs": { "type": "layers", "diff_ids": [digest] },
        "history": [{ "created_by": "one" }, { "created_by": "two", "empty_layer": true }],
    });
    let with = |kind: u8, text: String| [&[kind][..], text.as_bytes()].concat();
    vec![
        with(0, manifest.to_string()),
        with(1, index.to_string()),
        with(2, config.to_string()),
        with(3, "oci:./dir:tag@sha256:0".to_owned()),
        with(3, "docker-archive:image.tar:registry.example:5000/name/of:1".to_owned()),
    ]
}

/// A folder as an archive.
fn packed(dir: &Path) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_dir_all(".", dir).expect("memory takes it");
    builder.into_inner().expect("memory takes it")
}

fn images() -> Vec<Vec<u8>> {
    let dir = tempfile::tempdir().expect("a directory");
    let layout = dir.path().join("layout");
    let mut writer = LayoutWriter::create(&layout).expect("a layout");
    for names in [&["a", "d/b"][..], &["d/.wh.b", "c"]] {
        writer
            .layer(|tar| {
                names.iter().try_for_each(|name| {
                    let entry = Entry { name: name.as_bytes(), mode: 0o644, owner: (0, 0), mtime: 1 };
                    entry.file(tar, 1, &b"x"[..])
                })
            })
            .expect("a layer");
    }
    writer.finish(json!({ "os": "linux", "architecture": "amd64" }), "x").expect("a layout");
    vec![packed(&layout), docker(&dir.path().join("docker"))]
}

/// What `docker save` wrote before it wrote layouts.
fn docker(dir: &Path) -> Vec<u8> {
    let layer = Tar::default().file("a", "a").end();
    let diff_id = cutaway::image::Digest::of(&layer);
    fs::create_dir_all(dir.join("one")).expect("a folder");
    fs::write(dir.join("one/layer.tar"), &layer).expect("a layer");
    let config = json!({ "os": "linux", "architecture": "amd64", "rootfs": { "type": "layers", "diff_ids": [diff_id] } });
    fs::write(dir.join("config.json"), config.to_string()).expect("a config");
    let manifest = json!([{ "Config": "config.json", "RepoTags": ["a:b"], "Layers": ["one/layer.tar"] }]);
    fs::write(dir.join("manifest.json"), manifest.to_string()).expect("a manifest");
    packed(dir)
}
