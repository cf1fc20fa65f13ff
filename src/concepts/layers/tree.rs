//! The tree of one layer with what it does to each name, or the tree of all layers merged.

use std::collections::BTreeMap;
use std::io::Write;

use super::page::Page;
use super::{Listed, Subject, record, words};
use crate::error::Result;
use crate::image::listing::merge::{At, inode};
use crate::image::listing::{Change, Mark};
use crate::image::unpack::list::{Inode, What};
use crate::image::unpack::shown_whole as shown;
use crate::report::style::{Paint, bytes, count, thousands};

/// Writes the tree of a layer, counted from 0, or of all.
pub fn report(subject: &Subject, listed: &Listed, layer: Option<usize>, out: &mut dyn Write) -> Result<()> {
    match (layer, subject.json) {
        (Some(layer), true) => record::layer_entries(listed, layer, out),
        (None, true) => record::merged_entries(listed, out),
        (Some(layer), false) => {
            let mut page = Page::new(out, subject.style);
            of_layer(subject, listed, layer, &mut page);
            page.finish()
        }
        (None, false) => {
            let mut page = Page::new(out, subject.style);
            merged(subject, listed, &mut page);
            page.finish()
        }
    }
}

fn of_layer(subject: &Subject, listed: &Listed, layer: usize, page: &mut Page<'_>) {
    subject.title(page, &format!(" --tree {}", layer + 1));
    for line in words::LEGEND {
        page.line(&format!(" {line}"));
    }
    page.line("");
    let tree = &listed.layers[layer];
    let number = u32::try_from(layer).unwrap_or(u32::MAX);
    let below = tree.sums();
    let mut sums: BTreeMap<char, u64> = BTreeMap::new();
    for node in tree.walk() {
        let inode = tree.inode(node);
        let change = listed.merged.change(At { layer: number, node });
        let sign = change.map_or('A', |change| words::sign(change.mark, inode));
        *sums.entry(sign).or_default() += 1;
        let depth = tree.nodes[node as usize].depth - 1;
        let name = format!("{}{}", shown(&tree.nodes[node as usize].name), words::tail(inode));
        let cells = cells(sign, inode, below[node as usize], None, depth);
        page.entry(&cells, &format!("{name}{}", hides(change, inode)), paint(sign));
    }
    let told = sums.iter().map(|(sign, sum)| format!("{sign} {}", thousands(*sum))).collect::<Vec<_>>();
    page.summary(&format!("{}; {} of files", told.join(", "), bytes(tree.file_bytes())));
    if tree.left_out.count > 0 {
        let examples = tree.left_out.examples.join(", ");
        page.notice(&format!("left out, as every unpacker does: {} ({examples})", tree.left_out.count));
    }
}

fn merged(subject: &Subject, listed: &Listed, page: &mut Page<'_>) {
    subject.title(page, " --tree");
    page.prose("What a container sees. The number is the layer that a file, or what is known of a directory, is from.");
    page.line("");
    let (mut names, mut seen) = (0, 0);
    let below = listed.merged.sums(&listed.layers);
    listed.merged.walk_numbered(|path, number| {
        let spot = &listed.merged.spots[number as usize];
        let inode = inode(&listed.layers, spot.attributes);
        let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        let depth = path.split(|&byte| byte == b'/').count() - 1;
        let from = Some(spot.attributes.layer + 1);
        let cells = cells(' ', inode, below[number as usize], from, depth);
        page.entry(&cells, &format!("{}{}", shown(name), words::tail(inode)), Paint::Plain);
        names += 1;
        seen += u64::from(inode.what == What::File);
    });
    let wasted = listed.merged.wasted_bytes();
    page.summary(&format!(
        "{}, {} of them files, {}; {} more are stored and not seen",
        count(names, "name"),
        thousands(seen),
        bytes(listed.merged.stored - wasted),
        bytes(wasted)
    ));
    let command = subject.command();
    page.next(&[format!("{command} --tree 1"), format!("{command} --wasted")]);
}

/// Mark, mode, owner, size (of a directory, of all files below it), perhaps the layer, and the indentation.
fn cells(sign: char, inode: &Inode, below: u64, layer: Option<u32>, depth: usize) -> String {
    let size = match inode.what {
        What::File => bytes(inode.size),
        What::Directory if below > 0 => bytes(below),
        _ => "–".to_owned(),
    };
    let owner = format!("{}:{}", inode.uid, inode.gid);
    let owner = if inode.what == What::Whiteout { "–".to_owned() } else { owner };
    let layer = layer.map_or(String::new(), |layer| format!("{layer:>3}  "));
    format!(" {sign} {} {owner:>9} {size:>10}  {layer}{:width$}", words::mode(inode), "", width = depth * 2)
}

/// What a name hides, behind it.
pub fn hides(change: Option<&Change>, inode: &Inode) -> String {
    match change {
        Some(change) if change.mark == Mark::Moot => "  (hides nothing)".to_owned(),
        Some(change) if change.hidden > 0 && (inode.opaque || change.mark != Mark::Changed) => {
            let names = usize::try_from(change.hidden).unwrap_or(usize::MAX);
            format!("  (hides {}, {})", count(names, "name"), bytes(change.bytes))
        }
        _ if inode.opaque => "  (hides nothing)".to_owned(),
        _ => String::new(),
    }
}

/// The look of a letter.
pub fn paint(sign: char) -> Paint {
    match sign {
        'A' => Paint::Good,
        'D' | 'O' => Paint::Bad,
        'C' | 'M' | 'R' => Paint::Notice,
        _ => Paint::Dim,
    }
}
