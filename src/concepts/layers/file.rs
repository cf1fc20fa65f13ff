//! The life of one file: what each layer does to it, and what of it is left in each.

use std::ffi::OsStr;
use std::io::Write;

use super::page::Page;
use super::{Listed, Subject, clean_path, record, words};
use crate::error::{Error, Result};
use crate::image::listing::merge::{At, Merged, inode};
use crate::image::listing::{Mark, merge};
use crate::image::unpack::list::{Tree, What};
use crate::image::unpack::shown_whole as shown;
use crate::report::style::{Paint, bytes};

/// What a layer does to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Does {
    /// Nothing.
    Nothing,
    /// It has the name.
    Has(At, Mark),
    /// It hides the name by what it does at this one: the name itself or a directory above.
    Hides(At),
}

/// The life of a path, one thing for each layer.
pub fn life(listed: &Listed, path: &[u8]) -> Vec<Does> {
    let mut there = false;
    let mut life = Vec::new();
    for (tree, layer) in listed.layers.iter().zip(0_u32..) {
        let does = does(tree, &listed.merged, layer, path, there);
        there = match does {
            Does::Nothing => there,
            Does::Has(..) => true,
            Does::Hides(_) => false,
        };
        life.push(does);
    }
    life
}

fn does(tree: &Tree, merged: &Merged, layer: u32, path: &[u8], there: bool) -> Does {
    let mut here = At { layer, node: 0 };
    let mut hider = tree.inodes[0].opaque.then_some(here);
    let parts: Vec<&[u8]> = path.split(|&byte| byte == b'/').filter(|part| !part.is_empty()).collect();
    for (at, part) in parts.iter().enumerate() {
        let Some(node) = tree.child(here.node, part) else {
            return hider.filter(|_| there).map_or(Does::Nothing, Does::Hides);
        };
        here.node = node;
        let inode = tree.inode(node);
        let is_last = at + 1 == parts.len();
        match inode.what {
            What::Whiteout if there || is_last => return Does::Hides(here),
            What::Whiteout => return Does::Nothing,
            _ if is_last => {
                let mark = merged.change(here).map_or(Mark::Added, |change| change.mark);
                return Does::Has(here, mark);
            }
            What::Directory if inode.opaque || replaces(merged, here) => hider = Some(here),
            What::Directory => {}
            _ => return if there { Does::Hides(here) } else { Does::Nothing },
        }
    }
    Does::Has(here, Mark::Attributes)
}

fn replaces(merged: &Merged, at: At) -> bool {
    merged.change(at).is_some_and(|change| change.mark == Mark::Replaced)
}

/// Writes the life of a path.
pub fn report(subject: &Subject, listed: &Listed, typed: &OsStr, out: &mut dyn Write) -> Result<()> {
    let asked = clean_path(typed);
    let path = known(listed, &asked)?;
    let life = life(listed, &path);
    if subject.json {
        return record::life(listed, &path, &life, out);
    }
    let mut page = Page::new(out, subject.style);
    subject.title(&mut page, &format!(" --file {}", shown(typed.as_encoded_bytes())));
    if path != asked {
        page.notice(&format!("A link on its way leads to /{}", shown(&path)));
    }
    page.line("");
    for (at, does) in life.iter().enumerate() {
        row(listed, &path, at, *does, &mut page);
    }
    conclusion(subject, listed, &path, &life, &mut page);
    page.finish()
}

/// The path under which layers know a file: as asked, or behind links of the merged tree.
fn known(listed: &Listed, asked: &[u8]) -> Result<Vec<u8>> {
    let mentioned =
        |path: &[u8]| life(listed, path).iter().any(|does| !matches!(does, Does::Nothing | Does::Hides(_)));
    if asked.is_empty() || mentioned(asked) {
        return Ok(asked.to_vec());
    }
    if let Some(path) = follow(listed, asked).filter(|path| mentioned(path)) {
        return Ok(path);
    }
    Err(Error::new(format!("no layer has /{}", shown(asked)))
        .rule("neither as a file nor as a directory, not even one that was deleted")
        .remedy("list what there is with --tree"))
}

/// Follows the links of the directories above a path, in the merged tree.
fn follow(listed: &Listed, path: &[u8]) -> Option<Vec<u8>> {
    let mut pending: Vec<Vec<u8>> = path.split(|&byte| byte == b'/').rev().map(<[u8]>::to_vec).collect();
    let mut done: Vec<Vec<u8>> = Vec::new();
    for _ in 0..1000 {
        let Some(part) = pending.pop() else { return Some(done.join(&b'/')) };
        match part.as_slice() {
            b"" | b"." => continue,
            b".." => {
                done.pop();
                continue;
            }
            _ => done.push(part),
        }
        let spot = listed.merged.find(&done.join(&b'/'));
        let Some(spot) = spot.map(|spot| &listed.merged.spots[spot as usize]) else { continue };
        let inode = inode(&listed.layers, spot.at);
        if inode.what == What::Symlink && !pending.is_empty() {
            done.pop();
            if inode.link.starts_with(b"/") {
                done.clear();
            }
            pending.extend(inode.link.split(|&byte| byte == b'/').rev().map(<[u8]>::to_vec));
        }
    }
    None
}

fn row(listed: &Listed, path: &[u8], at: usize, does: Does, page: &mut Page<'_>) {
    let lead = |text: &str| format!("    layer {:<4} {text:<16}", at + 1);
    match does {
        Does::Nothing => page.row(&lead("–"), "does not touch it", Paint::Dim),
        Does::Hides(by) => {
            page.row(&lead("hidden"), &cause(&listed.layers[at], by, path), Paint::Bad);
        }
        Does::Has(name, mark) => {
            let inode = inode(&listed.layers, name);
            let size =
                if inode.what == What::File { format!("  {}", bytes(inode.size)) } else { String::new() };
            let text = format!(
                "{} {}:{}{size}  {}{}",
                words::mode(inode),
                inode.uid,
                inode.gid,
                words::time(inode.mtime.0),
                if inode.what == What::Symlink { words::tail(inode) } else { String::new() }
            );
            page.row(&lead(words::verb(mark)), &text, Paint::Plain);
            if let Some(digest) = &inode.digest {
                page.row(&lead_blank(), &format!("content sha256:{}", digest.short()), Paint::Dim);
            }
            if inode.names > 1 {
                page.row(&lead_blank(), &format!("one file with {} names", inode.names), Paint::Dim);
            }
        }
    }
}

fn lead_blank() -> String {
    " ".repeat(31)
}

/// Why a layer hides a path.
pub fn cause(tree: &Tree, by: At, path: &[u8]) -> String {
    let name = tree.path(by.node);
    let at = if name == path { "it".to_owned() } else { format!("/{}", shown(&name)) };
    match tree.inode(by.node).what {
        What::Whiteout => {
            let (directory, base) = name
                .iter()
                .rposition(|&byte| byte == b'/')
                .map_or((&b""[..], &name[..]), |slash| (&name[..=slash], &name[slash + 1..]));
            format!("a whiteout deletes {at}: the empty file {}.wh.{}", shown(directory), shown(base))
        }
        What::Directory if tree.inode(by.node).opaque => {
            format!("{at} is opaque here: nothing of lower layers shows in it")
        }
        What::Directory => format!("{at} is a new directory here, in place of something else"),
        what => format!("{at} is a {} here", words::kind(what)),
    }
}

fn conclusion(subject: &Subject, listed: &Listed, path: &[u8], life: &[Does], page: &mut Page<'_>) {
    let visible = listed.merged.find(path).map(|spot| listed.merged.spots[spot as usize].at);
    let held: Vec<At> = life
        .iter()
        .filter_map(|does| match does {
            Does::Has(at, _) if inode(&listed.layers, *at).what == What::File => Some(*at),
            _ => None,
        })
        .collect();
    let hidden: Vec<At> = held.iter().copied().filter(|at| Some(*at) != visible).collect();
    match visible {
        Some(at) => page.summary(&format!("A container sees it as layer {} has it.", at.layer + 1)),
        None => page.summary("A container does not see it."),
    }
    for at in &hidden {
        let size = bytes(inode(&listed.layers, *at).size);
        let later = life[at.layer as usize + 1..].iter().find(|does| **does != Does::Nothing);
        let fate = if matches!(later, Some(Does::Has(..))) { "Overwritten" } else { "Deleted" };
        page.prose(&format!(
            "{fate} is not gone: layer {} still holds {size} of it, and whoever has the image has them.",
            at.layer + 1
        ));
    }
    if hidden.is_empty() && held.is_empty() {
        return;
    }
    let offered = if hidden.is_empty() { &held } else { &hidden };
    let offer = |at: &At| format!("{} --extract {}:/{}", subject.command(), at.layer + 1, shown(path));
    page.line("");
    page.next(&offered.iter().map(offer).collect::<Vec<_>>());
}

/// Whether two versions of a file are the same in everything but time.
#[must_use]
pub fn differences(
    one: &crate::image::unpack::list::Inode,
    other: &crate::image::unpack::list::Inode,
) -> Vec<String> {
    let mut all = Vec::new();
    if one.what != other.what {
        return vec![format!("{} → {}", words::kind(one.what), words::kind(other.what))];
    }
    if !merge::same_content(one, other) {
        all.push(match one.what {
            What::Symlink => format!("target {} → {}", shown(&one.link), shown(&other.link)),
            What::File if one.size != other.size => {
                format!("content, {} → {}", bytes(one.size), bytes(other.size))
            }
            _ => "content of the same size".to_owned(),
        });
    }
    if one.what != What::Symlink && one.mode != other.mode {
        all.push(format!("mode {:04o} → {:04o}", one.mode, other.mode));
    }
    if (one.uid, one.gid) != (other.uid, other.gid) {
        all.push(format!("owner {}:{} → {}:{}", one.uid, one.gid, other.uid, other.gid));
    }
    if one.xattrs != other.xattrs {
        all.push("extended attributes".to_owned());
    }
    all
}
