//! The anatomy of an image, told in the order in which one document leads to the next.

use std::collections::BTreeSet;
use std::io::Write;

use super::page::Page;
use super::{Listed, Subject, history, record};
use crate::error::Result;
use crate::image::digest::Digest;
use crate::image::manifest::{Descriptor, Index};
use crate::image::source::{Document, Found, Image, Layer};
use crate::image::store::Store;
use crate::image::unpack::list::{Tree, What};
use crate::report::style::{bytes, count, thousands};

/// Writes the whole anatomy.
pub fn report(subject: &Subject, listed: &Listed, out: &mut dyn Write) -> Result<()> {
    if subject.json {
        return record::all(subject, listed, out);
    }
    let mut page = Page::new(out, subject.style);
    subject.title(&mut page, "");
    page.prose(&first_line(&subject.image));
    indexes(subject, &mut page);
    manifest(subject, &mut page);
    config(subject, &mut page);
    layers(subject, listed, &mut page);
    page.heading(5, "The history: how it says it was made");
    page.prose(history::WHY);
    page.line("");
    history::table(subject, &mut page, false);
    verdict(subject, listed, &mut page);
    page.finish()
}

fn first_line(image: &Image) -> String {
    let form = match image.found {
        Found::OciLayout => "OCI image layout",
        Found::DockerArchive => "docker save archive",
        Found::DockerV1 => "docker save archive from before version 1.10",
    };
    let name = image.name.as_ref().map(|name| format!("{name} · ")).unwrap_or_default();
    format!("{name}{} · {form} · {}", image.config.platform(), image.origin().display())
}

/// The digest as it is shown: whole where asked for.
fn shown(subject: &Subject, digest: &Digest) -> String {
    if subject.verbose { digest.to_string() } else { format!("sha256:{}", digest.short()) }
}

fn document(subject: &Subject, page: &mut Page<'_>, document: &Document) {
    let Descriptor { media_type, size, digest, .. } = &document.descriptor;
    page.pair("media type", media_type);
    page.pair("size", &bytes(*size));
    // Documents are compared when the image is opened: one that does not match is refused there.
    page.checked("digest", &shown(subject, digest));
}

fn indexes(subject: &Subject, page: &mut Page<'_>) {
    let image = &subject.image;
    page.heading(1, "The index: where reading begins");
    if image.indexes.is_empty() {
        page.prose(
            "There is none. An archive of this form begins with a list of file names instead, which holds no \
             digest of anything: what follows can be compared with its own digests, but not with a root.",
        );
        return;
    }
    page.prose(
        "It names manifests by digest: one for each name and platform. A digest is an address and a seal at once: \
         it says where the bytes are, and the bytes must have it.",
    );
    for (at, index) in image.indexes.iter().enumerate() {
        page.line("");
        if at == 0 {
            page.pair("file", "index.json");
            page.pair("size", &bytes(index.descriptor.size));
            page.pair(
                "digest",
                &format!("{}, which nothing has promised", shown(subject, &index.descriptor.digest)),
            );
        } else {
            document(subject, page, index);
        }
        let next = image.indexes.get(at + 1).unwrap_or(&image.manifest).descriptor.digest;
        targets(subject, page, index, next);
    }
}

/// What an index points at; the one that is followed is named.
fn targets(subject: &Subject, page: &mut Page<'_>, index: &Document, next: Digest) {
    let Ok(parsed) = Index::parse("index", &index.bytes, None) else { return };
    let (mut others, mut told) = (0, false);
    for descriptor in &parsed.manifests {
        if descriptor.digest != next || told {
            others += 1;
            continue;
        }
        told = true;
        let platform = descriptor.platform.as_ref().map(|it| format!(" for {it}")).unwrap_or_default();
        page.pair("leads to", &format!("{}{platform}", shown(subject, &descriptor.digest)));
    }
    if others > 0 {
        page.pair("and", &format!("{} not followed here", count(others, "other")));
    }
}

fn manifest(subject: &Subject, page: &mut Page<'_>) {
    page.heading(2, "The manifest: one config and the layers, in order");
    page.prose(
        "Its digest is what registries call the digest of the image: pulling by it can only give these bytes, \
         because every digest below is part of what it seals.",
    );
    page.line("");
    if subject.image.found != Found::OciLayout {
        page.notice(
            "The archive has none. This one was written for it, from the files that the archive holds.",
        );
    }
    document(subject, page, &subject.image.manifest);
}

fn config(subject: &Subject, page: &mut Page<'_>) {
    let config = &subject.image.config;
    page.heading(3, "The config: what to run, and which layers it is made of");
    page.prose("Its digest is what Docker calls the image ID. It lists the layers again, by their diff IDs.");
    page.line("");
    document(subject, page, &subject.image.config_document);
    page.pair("platform", &config.platform().to_string());
    let optional = [("created", &config.created), ("author", &config.author)];
    for (label, value) in optional {
        if let Some(value) = value {
            page.pair(label, value);
        }
    }
    let words = [("entrypoint", &config.entrypoint), ("command", &config.cmd)];
    for (label, value) in words {
        if let Some(value) = value {
            page.pair(label, &value.join(" "));
        }
    }
    for (label, value) in [("user", &config.user), ("directory", &config.working_dir)] {
        if !value.is_empty() {
            page.pair(label, value);
        }
    }
    for value in &config.env {
        page.pair("environment", value);
    }
}

fn layers(subject: &Subject, listed: &Listed, page: &mut Page<'_>) {
    let image = &subject.image;
    page.heading(4, "The layers, the lowest first: archives of what changed");
    page.prose(
        "Each has three names, because three questions are asked. The digest names the bytes as they are stored and \
         sent, compressed. The diff ID names the plain archive: it stays when another tool compresses it anew. \
         The chain ID names the archive with everything below it, a state of the file system: sha256 of \
         “chain ID below, space, diff ID”. An unpacked layer can be shared where that is equal.",
    );
    let others = others(subject);
    for (at, (layer, tree)) in image.layers.iter().zip(&listed.layers).enumerate() {
        page.line("");
        let size = format!(
            "{} stored ({}), {} as plain archive",
            bytes(layer.descriptor.size),
            packing(layer),
            bytes(tree.archive_bytes)
        );
        page.subheading_layer(at + 1, &size);
        if let Some(by) = history::of_layer(image, at) {
            page.pair("made by", &by);
        }
        page.pair("media type", &layer.descriptor.media_type);
        page.checked("digest", &shown(subject, &layer.descriptor.digest));
        page.checked("diff ID", &shown(subject, &layer.diff_id));
        let same = if at == 0 { ", the diff ID: nothing is below" } else { "" };
        page.pair("chain ID", &format!("{}{same}", shown(subject, &layer.chain_id)));
        page.pair("holds", &contents(tree));
        for text in sharing(&others, layer) {
            page.pair("shared with", &text);
        }
    }
}

fn packing(layer: &Layer) -> &'static str {
    match layer.compression {
        crate::image::Compression::None => "not compressed",
        crate::image::Compression::Gzip => "gzip",
        crate::image::Compression::Zstd => "zstd",
    }
}

/// How many of which kind a layer holds.
fn contents(tree: &Tree) -> String {
    let of = |wanted: &dyn Fn(&What) -> bool| {
        tree.inodes.iter().filter(|inode| inode.names > 0 && inode.listed && wanted(&inode.what)).count()
    };
    let files = of(&|what| *what == What::File);
    let mut parts = Vec::new();
    if files > 0 {
        parts.push(format!("{} of {}", counted(files, "file"), bytes(tree.file_bytes())));
    }
    // The root has no name in the tree.
    let directories = of(&|what| *what == What::Directory);
    let opaque = tree.inodes.iter().filter(|inode| inode.names > 0 && inode.opaque).count();
    for (number, one) in [
        (directories, "directory"),
        (of(&|what| *what == What::Symlink), "symbolic link"),
        (of(&|what| matches!(what, What::Char | What::Block)), "device"),
        (of(&|what| *what == What::Fifo), "named pipe"),
        (of(&|what| *what == What::Whiteout), "whiteout"),
    ] {
        if number > 0 {
            parts.push(counted(number, one));
        }
    }
    if opaque > 0 {
        parts.push(format!("{opaque} of the directories opaque"));
    }
    if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") }
}

fn counted(number: usize, one: &str) -> String {
    let shown = thousands(number as u64);
    match (number, one.strip_suffix('y')) {
        (1, _) => format!("1 {one}"),
        (_, Some(stem)) => format!("{shown} {stem}ies"),
        _ => format!("{shown} {one}s"),
    }
}

/// The other images of the store, by name.
pub fn others(subject: &Subject) -> Vec<(String, Image)> {
    let images = Store::open(&subject.state).images().unwrap_or_default();
    let name = |image: &Image| {
        image.name.clone().unwrap_or_else(|| format!("an image without a name ({})", image.id().short()))
    };
    let own = subject.image.digest();
    images.into_iter().filter(|image| image.digest() != own).map(|image| (name(&image), image)).collect()
}

/// Which other images have a layer, and in what sense.
pub fn sharing(others: &[(String, Image)], layer: &Layer) -> Vec<String> {
    let mut trees = BTreeSet::new();
    let mut archives = BTreeSet::new();
    for (name, image) in others {
        if image.layers.iter().any(|other| other.chain_id == layer.chain_id) {
            trees.insert(name.as_str());
        } else if image.layers.iter().any(|other| other.diff_id == layer.diff_id) {
            archives.insert(name.as_str());
        }
    }
    let joined = |names: BTreeSet<&str>| names.into_iter().collect::<Vec<_>>().join(", ");
    let mut texts = Vec::new();
    if !trees.is_empty() {
        texts.push(format!("{} (same chain ID: one unpacked tree for all)", joined(trees)));
    }
    if !archives.is_empty() {
        texts.push(format!("{} (same diff ID on another base: the archive, not the tree)", joined(archives)));
    }
    texts
}

fn verdict(subject: &Subject, listed: &Listed, page: &mut Page<'_>) {
    let image = &subject.image;
    let plain: u64 = listed.layers.iter().map(|tree| tree.archive_bytes).sum();
    page.verdict(
        true,
        &format!(
            "{}, {} stored, {} as plain archives; every digest and diff ID was computed from the bytes and matches. {} \
             of files, of which a container sees {}.",
            count(image.layers.len(), "layer"),
            bytes(image.layer_bytes()),
            bytes(plain),
            bytes(listed.merged.stored),
            bytes(listed.merged.stored - listed.merged.wasted_bytes()),
        ),
    );
    let command = subject.command();
    page.next(
        &["--tree".to_owned(), "--file PATH".to_owned(), "--wasted".to_owned()]
            .map(|flag| format!("{command} {flag}")),
    );
}

impl Page<'_> {
    /// The heading of a layer.
    fn subheading_layer(&mut self, number: usize, text: &str) {
        self.row(&format!("    layer {number:<8}"), text, crate::report::style::Paint::Bold);
    }
}
