//! The same reports as JSON lines, with everything that is known.
//!
//! A name is bytes. Where it is UTF-8 it stands as it is; where not, with the odd bytes escaped (`\xff`), and its
//! bytes in base64 beside it.

use std::io::Write;

use serde_json::{Map, Value, json};

use super::diff::{Difference, shared};
use super::file::{Does, cause};
use super::wasted::{self, Lost};
use super::{Listed, Subject, anatomy, history as steps};
use crate::concepts::common::record::{base64, escaped, name};
use crate::error::{Error, Result};
use crate::image::listing::merge::{At, inode};
use crate::image::source::Image;
use crate::image::unpack::list::{Inode, What};

/// Writes a line.
fn line(out: &mut dyn Write, value: &Value) -> Result<()> {
    writeln!(out, "{value}").map_err(|cause| Error::io("could not write the report", &cause))
}

/// The image, its history, its layers and every entry of each.
pub fn all(subject: &Subject, listed: &Listed, out: &mut dyn Write) -> Result<()> {
    let image = &subject.image;
    line(out, &about(image, listed))?;
    history(image, out)?;
    let others = anatomy::others(subject);
    for (at, (layer, tree)) in image.layers.iter().zip(&listed.layers).enumerate() {
        line(
            out,
            &json!({
                "record": "layer", "layer": at + 1, "descriptor": layer.descriptor, "compression": layer.compression,
                "diff_id": layer.diff_id, "chain_id": layer.chain_id, "verified": true,
                "archive_bytes": tree.archive_bytes, "file_bytes": tree.file_bytes(), "entries": tree.entries,
                "left_out": tree.left_out.count, "shared_with": anatomy::sharing(&others, layer),
            }),
        )?;
    }
    (0..listed.layers.len()).try_for_each(|layer| layer_entries(listed, layer, out))
}

fn about(image: &Image, listed: &Listed) -> Value {
    json!({
        "record": "image", "name": image.name, "found": image.found, "origin": image.origin().display().to_string(),
        "indexes": image.indexes.iter().map(|index| &index.descriptor).collect::<Vec<_>>(),
        "manifest": image.manifest.descriptor, "config": image.config_document.descriptor,
        "platform": image.config.platform(), "settings": image.config, "layers": image.layers.len(),
        "stored_bytes": image.layer_bytes(), "file_bytes": listed.merged.stored,
        "wasted_bytes": listed.merged.wasted_bytes(), "efficiency_percent": listed.merged.efficiency(),
    })
}

/// The steps of the history.
pub fn history(image: &Image, out: &mut dyn Write) -> Result<()> {
    for (layer, step) in steps::paired(image) {
        line(out, &json!({ "record": "history", "layer": layer.map(|layer| layer + 1), "step": step }))?;
    }
    Ok(())
}

/// Every entry of a layer, in the order of its archive; also those that the same archive has replaced.
pub fn layer_entries(listed: &Listed, layer: usize, out: &mut dyn Write) -> Result<()> {
    let tree = &listed.layers[layer];
    let number = u32::try_from(layer).unwrap_or(u32::MAX);
    let visible = visible(listed);
    let mut first: Vec<Option<u32>> = vec![None; tree.inodes.len()];
    for (node, index) in tree.nodes.iter().zip(0_u32..).skip(1) {
        let inode = &tree.inodes[node.inode as usize];
        let at = At { layer: number, node: index };
        let mut entry = record("entry", &tree.path(index), inode);
        entry.insert("layer".into(), json!(layer + 1));
        let known = first[node.inode as usize].get_or_insert(index);
        if *known != index {
            name(&mut entry, "hard_link_to", &tree.path(*known));
        }
        if let Some(change) = listed.merged.change(at) {
            entry.insert("mark".into(), json!(change.mark));
            entry.insert("hides".into(), json!({ "names": change.hidden, "bytes": change.bytes }));
            let below = change.below.map(|below| below.layer + 1);
            entry.insert("below".into(), json!(below));
        } else {
            entry.insert("mark".into(), json!("replaced-in-archive"));
        }
        entry.insert("visible".into(), json!(visible[layer][index as usize]));
        line(out, &Value::Object(entry))?;
    }
    Ok(())
}

/// Which names a container sees.
fn visible(listed: &Listed) -> Vec<Vec<bool>> {
    let mut visible: Vec<Vec<bool>> =
        listed.layers.iter().map(|tree| vec![false; tree.nodes.len()]).collect();
    listed.merged.walk(|_, spot| visible[spot.at.layer as usize][spot.at.node as usize] = true);
    visible
}

/// The merged tree.
pub fn merged_entries(listed: &Listed, out: &mut dyn Write) -> Result<()> {
    let mut written = Ok(());
    listed.merged.walk(|path, spot| {
        if written.is_ok() {
            let mut entry = record("merged", path, inode(&listed.layers, spot.attributes));
            entry.insert("layer".into(), json!(spot.attributes.layer + 1));
            written = line(out, &Value::Object(entry));
        }
    });
    written
}

/// The life of a file.
pub fn life(listed: &Listed, path: &[u8], life: &[Does], out: &mut dyn Write) -> Result<()> {
    let seen = listed.merged.find(path).map(|spot| listed.merged.spots[spot as usize].at);
    for (at, does) in life.iter().enumerate() {
        let mut entry = match does {
            Does::Has(name, mark) => {
                let mut entry = record("version", path, inode(&listed.layers, *name));
                entry.insert("mark".into(), json!(mark));
                entry.insert("visible".into(), json!(seen == Some(*name)));
                entry
            }
            Does::Hides(by) => {
                let mut entry = Map::new();
                entry.insert("record".into(), json!("hidden"));
                name(&mut entry, "path", path);
                name(&mut entry, "by", &listed.layers[at].path(by.node));
                entry.insert("cause".into(), json!(cause(&listed.layers[at], *by, path)));
                entry
            }
            Does::Nothing => continue,
        };
        entry.insert("layer".into(), json!(at + 1));
        line(out, &Value::Object(entry))?;
    }
    Ok(())
}

/// What is wasted, and the score.
pub fn wasted(listed: &Listed, paths: &[Lost], out: &mut dyn Write) -> Result<()> {
    for path in paths {
        let mut entry = Map::new();
        entry.insert("record".into(), json!("wasted"));
        name(&mut entry, "path", &path.path);
        entry.insert("bytes".into(), json!(path.bytes));
        let versions = path.versions.iter().map(|waste| {
            json!({ "layer": waste.at.layer + 1, "bytes": waste.bytes, "by": waste.by + 1, "how": wasted::how(waste) })
        });
        entry.insert("versions".into(), versions.collect());
        line(out, &Value::Object(entry))?;
    }
    let merged = &listed.merged;
    let score = merged.efficiency();
    line(
        out,
        &json!({ "record": "efficiency", "percent": score, "file_bytes": merged.stored, "wasted_bytes": merged.wasted_bytes() }),
    )
}

/// Two images.
pub fn differences(one: &Image, other: &Image, all: &[Difference], out: &mut dyn Write) -> Result<()> {
    let layers = |image: &Image| image.layers.iter().map(|layer| layer.chain_id).collect::<Vec<_>>();
    line(
        out,
        &json!({ "record": "layers", "shared": shared(one, other), "one": layers(one), "other": layers(other) }),
    )?;
    for difference in all {
        let mut entry = Map::new();
        entry.insert("record".into(), json!("difference"));
        name(&mut entry, "path", &difference.path);
        for (key, side) in [("one", &difference.one), ("other", &difference.other)] {
            let attributes = side.as_ref().map(|inode| {
                let mut about = Map::new();
                attributes(&mut about, inode);
                about
            });
            entry.insert(key.into(), json!(attributes));
        }
        entry.insert("what".into(), json!(difference.what));
        line(out, &Value::Object(entry))?;
    }
    Ok(())
}

/// A record about a file.
fn record(kind: &str, path: &[u8], inode: &Inode) -> Map<String, Value> {
    let mut entry = Map::new();
    entry.insert("record".into(), json!(kind));
    name(&mut entry, "path", path);
    attributes(&mut entry, inode);
    entry
}

fn attributes(entry: &mut Map<String, Value>, inode: &Inode) {
    entry.insert("kind".into(), json!(inode.what));
    if inode.what == What::Whiteout {
        return;
    }
    let fields = json!({
        "mode": format!("{:04o}", inode.mode), "uid": inode.uid, "gid": inode.gid, "size": inode.size,
        "stored": inode.stored, "mtime": inode.mtime.0, "mtime_ns": inode.mtime.1, "names": inode.names,
        "listed": inode.listed,
    });
    if let Value::Object(fields) = fields {
        entry.extend(fields);
    }
    match inode.what {
        What::Symlink => name(entry, "target", &inode.link),
        What::Char | What::Block => {
            entry.insert("device".into(), json!([inode.device.0, inode.device.1]));
        }
        What::Directory => {
            entry.insert("opaque".into(), json!(inode.opaque));
        }
        _ => {}
    }
    if let Some(digest) = inode.digest {
        entry.insert("digest".into(), json!(digest));
    }
    if !inode.xattrs.is_empty() {
        let one = |(key, value): &(Vec<u8>, Vec<u8>)| json!({ "name": escaped(key), "value_base64": base64(value) });
        entry.insert("xattrs".into(), inode.xattrs.iter().map(one).collect());
    }
}
