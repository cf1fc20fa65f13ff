//! Listing one layer: the tree that unpacking it would make, without making it.
//!
//! The rules are those of [`super::extract`], and so are the errors: what is listed can be unpacked, and a name that
//! leads through a link leads to the same place. Separate from extraction because nothing here makes a call: the
//! tree is a table in memory, its size proportional to the number of entries and not to their data.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read, Write};
use std::sync::Arc;

use super::archive::{Archive, Entry, Kind};
use super::names::{self, MOST_LINKS, Meaning, components};
use super::{Fault, Limits, check_device, counts::Noted};
use crate::error::{Error, Result};
use crate::image::digest::{Digest, Hasher};

/// The most bytes of names, targets and attributes that are kept of one layer.
const MOST_TEXT: u64 = 1 << 30;

/// The root of a tree, by its place in the table.
pub const ROOT: u32 = 0;

/// What a name of a layer stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// A regular file.
    #[default]
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A character device.
    Char,
    /// A block device.
    Block,
    /// A named pipe.
    Fifo,
    /// Nothing: the name of a lower layer is hidden.
    Whiteout,
}

/// A file of a layer, whatever the number of its names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inode {
    /// What it is.
    pub what: What,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// The owning user.
    pub uid: u32,
    /// The owning group.
    pub gid: u32,
    /// Seconds and nanoseconds since 1970.
    pub mtime: (i64, u32),
    /// Its size, holes included.
    pub size: u64,
    /// The bytes of it in the archive.
    pub stored: u64,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Where a symbolic link points.
    pub link: Box<[u8]>,
    /// Extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The digest of its content, if that was asked for and the file has no holes.
    pub digest: Option<Digest>,
    /// Where its header is in the plain archive.
    pub offset: u64,
    /// How many names it has in the end; none if the same archive has replaced it.
    pub names: u32,
    /// Whether a directory hides what lower layers have in it.
    pub opaque: bool,
    /// Whether the archive lists it; a directory may only be passed through.
    pub listed: bool,
}

/// A name in a layer.
#[derive(Debug, Clone)]
pub struct Node {
    /// The last component of its name.
    pub name: Arc<[u8]>,
    /// The directory it is in; the root is in itself.
    pub parent: u32,
    /// What it stands for, by its place in [`Tree::inodes`].
    pub inode: u32,
    /// What is in it, by name.
    pub children: BTreeMap<Arc<[u8]>, u32>,
    /// How far below the root it is.
    pub depth: usize,
    gone: bool,
}

/// What a layer holds.
#[derive(Debug, Clone)]
pub struct Tree {
    /// Every name, the root first. Those that the same archive replaced are still there, but nothing leads to them.
    pub nodes: Vec<Node>,
    /// Every file.
    pub inodes: Vec<Inode>,
    /// Entries of the archive.
    pub entries: u64,
    /// Bytes of the plain archive.
    pub archive_bytes: u64,
    /// Entries that mean nothing to a container: AUFS's own files, and devices 0:0.
    pub left_out: Noted,
}

/// How a layer is listed.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    /// How much it may be.
    pub limits: Limits,
    /// Whether to digest the content of each file, which is what tells a change of attributes from one of content.
    pub contents: bool,
}

/// Lists one layer, an uncompressed tar archive, to the end of the stream.
pub fn list(reader: &mut dyn Read, options: &ListOptions) -> Result<Tree> {
    let mut archive = Archive::new(reader);
    let mut lister = Lister::new(options);
    let mut entry = Entry::default();
    loop {
        let taken = match archive.next(&mut entry) {
            Ok(true) => lister.entry(&mut archive, &mut entry),
            Ok(false) => break,
            Err(unreadable) => Err(unreadable.into()),
        };
        taken.map_err(|fault| about(fault, &entry))?;
    }
    Ok(lister.finish(archive.offset()))
}

/// Writes the content of the file whose header is at `offset` of a plain archive, holes as zeros, and reads on to the
/// end of the stream.
pub fn fetch(reader: &mut dyn Read, offset: u64, out: &mut dyn Write) -> Result<()> {
    let mut archive = Archive::new(reader);
    let mut entry = Entry::default();
    loop {
        match archive.next(&mut entry) {
            Ok(true) if entry.offset == offset => write(&mut archive, &entry, out)?,
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(unreadable) => return Err(about(unreadable.into(), &entry)),
        }
    }
}

/// The error for a fault in an entry.
fn about(fault: Fault, entry: &Entry) -> Error {
    let what = match entry.name.as_slice() {
        b"" => format!("cannot read the layer's archive at byte {}", entry.offset),
        name => {
            format!("entry `{}` of the layer (at byte {}) is refused", names::shown(name), entry.offset)
        }
    };
    fault.error(what, b"", std::path::Path::new(""))
}

/// Writes one file.
fn write(archive: &mut Archive<'_>, entry: &Entry, out: &mut dyn Write) -> Result<()> {
    let Some(map) = &entry.sparse else {
        let copied = archive.data(|piece| out.write_all(piece).map_err(failed));
        return copied.map_err(|fault| about(fault, entry));
    };
    let mut extents = map.extents.iter().copied().filter(|extent| extent.length > 0);
    let (mut position, mut current) = (0, extents.next());
    let copied = archive.data(|mut piece| {
        while let (Some(extent), false) = (&mut current, piece.is_empty()) {
            zeros(out, extent.offset - position).map_err(failed)?;
            let take = piece.len().min(usize::try_from(extent.length).unwrap_or(usize::MAX));
            out.write_all(&piece[..take]).map_err(failed)?;
            piece = &piece[take..];
            extent.offset += take as u64;
            extent.length -= take as u64;
            position = extent.offset;
            if extent.length == 0 {
                current = extents.next();
            }
        }
        Ok(())
    });
    copied.map_err(|fault: Fault| about(fault, entry))?;
    zeros(out, map.size.saturating_sub(position)).map_err(|cause| about(failed(cause), entry))
}

/// Writes a hole.
fn zeros(out: &mut dyn Write, count: u64) -> io::Result<()> {
    io::copy(&mut io::repeat(0).take(count), out).map(drop)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn failed(cause: io::Error) -> Fault {
    Fault::Whole(Error::io("cannot write the file's content", &cause))
}

/// A layer being listed.
struct Lister<'o> {
    options: &'o ListOptions,
    tree: Tree,
    whiteouts: Vec<(u32, Box<[u8]>)>,
    claimed: u64,
    text: u64,
    /// The last directory that was resolved: most entries are in the directory of the one before.
    last: Option<(Vec<u8>, u32)>,
}

impl<'o> Lister<'o> {
    fn new(options: &'o ListOptions) -> Self {
        let root = Node {
            name: Arc::from([]),
            parent: ROOT,
            inode: 0,
            children: BTreeMap::new(),
            depth: 0,
            gone: false,
        };
        let inode = Inode { what: What::Directory, mode: 0o755, names: 1, ..Inode::default() };
        let tree = Tree {
            nodes: vec![root],
            inodes: vec![inode],
            entries: 0,
            archive_bytes: 0,
            left_out: Noted::default(),
        };
        Self { options, tree, whiteouts: Vec::new(), claimed: 0, text: 0, last: None }
    }

    fn entry(&mut self, archive: &mut Archive<'_>, entry: &mut Entry) -> Result<(), Fault> {
        self.tree.entries += 1;
        self.check_limits(entry)?;
        let mut clean = Vec::new();
        names::clean(&entry.name, &mut clean);
        if clean.is_empty() {
            return self.root_entry(entry);
        }
        let (directory, base) = names::split(&clean);
        if let Some(reserved) = directory.split(|&byte| byte == b'/').find(|part| part.starts_with(b".wh.")) {
            if names::meaning(reserved) == Meaning::Aufs {
                self.tree.left_out.note(&clean);
                return Ok(());
            }
            return Err(Fault::rule("a whiteout (`.wh.`) is a file of its own, nothing can be in it"));
        }
        match names::meaning(base) {
            Meaning::Real(base) => {
                let parent = self.make_directory(directory)?;
                self.real_entry(archive, entry, parent, base)
            }
            Meaning::Aufs => {
                self.tree.left_out.note(&clean);
                Ok(())
            }
            Meaning::Forbidden => Err(Fault::rule(
                "it is a whiteout (`.wh.`) of nothing, of `.` or of `..`, which cannot be hidden",
            )),
            Meaning::Whiteout(hidden) => {
                let parent = self.make_directory(directory)?;
                self.whiteouts.push((parent, hidden.into()));
                Ok(())
            }
            Meaning::Opaque => {
                let parent = self.make_directory(directory)?;
                self.inode_mut(parent).opaque = true;
                Ok(())
            }
        }
    }

    fn check_limits(&mut self, entry: &Entry) -> Result<(), Fault> {
        self.claimed = self.options.limits.admit(entry, self.tree.entries, self.claimed)?;
        if entry.name.split(|&byte| byte == b'/').any(|component| component.len() > 255) {
            return Err(Fault::rule("a component of a name has at most 255 bytes"));
        }
        let attributes: usize = entry.xattrs.iter().map(|(key, value)| key.len() + value.len()).sum();
        self.text += (entry.name.len() + entry.link.len() + attributes) as u64;
        if self.text > MOST_TEXT {
            return Err(Fault::rule("the names, targets and attributes of the layer are more than 1 GiB"));
        }
        Ok(())
    }

    /// The entry of the image's root, which only says what the root is like.
    fn root_entry(&mut self, entry: &mut Entry) -> Result<(), Fault> {
        if entry.kind != Kind::Directory {
            return Err(Fault::rule("it names the root of the image, which must be a directory"));
        }
        self.describe(0, entry);
        Ok(())
    }

    fn real_entry(
        &mut self,
        archive: &mut Archive<'_>,
        entry: &mut Entry,
        parent: u32,
        base: &[u8],
    ) -> Result<(), Fault> {
        match entry.kind {
            Kind::HardLink => return self.hard_link(entry, parent, base),
            Kind::Directory => return self.directory(entry, parent, base),
            Kind::Symlink if entry.link.is_empty() => {
                return Err(Fault::rule("it is a symbolic link to nothing"));
            }
            Kind::Char | Kind::Block => {
                check_device(entry.device)?;
                if entry.kind == Kind::Char && entry.device == (0, 0) {
                    self.tree.left_out.note(&entry.name);
                    return Ok(());
                }
            }
            _ => {}
        }
        let inode = self.new_inode()?;
        self.describe(inode, entry);
        if entry.kind == Kind::File && self.options.contents && entry.sparse.is_none() {
            let mut hasher = Hasher::default();
            archive.data(|piece| {
                hasher.update(piece);
                Ok::<(), Fault>(())
            })?;
            self.tree.inodes[inode as usize].digest = Some(hasher.finish().0);
        }
        self.remove(parent, base);
        self.add(parent, base, inode).map(drop)
    }

    fn directory(&mut self, entry: &mut Entry, parent: u32, base: &[u8]) -> Result<(), Fault> {
        let known = self.tree.child(parent, base).filter(|&node| self.tree.is_directory(node));
        let node = if let Some(node) = known {
            node
        } else {
            self.remove(parent, base);
            self.new_directory(parent, base)?
        };
        self.describe(self.tree.nodes[node as usize].inode, entry);
        Ok(())
    }

    fn new_directory(&mut self, parent: u32, base: &[u8]) -> Result<u32, Fault> {
        let deepest = self.options.limits.depth;
        if self.tree.nodes[parent as usize].depth + 1 > deepest {
            return Err(Fault::limit("it is deeper than", deepest as u64, "directories", "--max-depth"));
        }
        let inode = self.new_inode()?;
        self.tree.inodes[inode as usize] = Inode { what: What::Directory, mode: 0o755, ..Inode::default() };
        self.add(parent, base, inode)
    }

    /// A second name for what the archive has made before.
    fn hard_link(&mut self, entry: &Entry, parent: u32, base: &[u8]) -> Result<(), Fault> {
        let missing = || Fault::no_target(&entry.link);
        let mut target = Vec::new();
        names::clean(&entry.link, &mut target);
        let (directory, old) = names::split(&target);
        let Some(from) = self.resolve(directory, false)? else { return Err(missing()) };
        if old.is_empty() {
            return Err(Fault::rule("it is a hard link to a directory, which no file system has"));
        }
        if (from, old) == (parent, base) {
            return Err(Fault::rule("it is a hard link to itself"));
        }
        let Some(node) = self.tree.child(from, old) else { return Err(missing()) };
        if self.tree.is_directory(node) {
            return Err(Fault::rule("it is a hard link to a directory, which no file system has"));
        }
        let inode = self.tree.nodes[node as usize].inode;
        self.remove(parent, base);
        if self.tree.nodes[node as usize].gone {
            return Err(missing());
        }
        self.add(parent, base, inode).map(drop)
    }

    /// Takes what an entry says. A later entry for the same directory wins.
    fn describe(&mut self, inode: u32, entry: &mut Entry) {
        let old = &mut self.tree.inodes[inode as usize];
        *old = Inode {
            what: match entry.kind {
                Kind::File | Kind::HardLink => What::File,
                Kind::Symlink => What::Symlink,
                Kind::Char => What::Char,
                Kind::Block => What::Block,
                Kind::Directory => What::Directory,
                Kind::Fifo => What::Fifo,
            },
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
            size: entry.real_size(),
            stored: entry.size,
            device: entry.device,
            link: if entry.kind == Kind::Symlink { entry.link.as_slice().into() } else { Box::default() },
            xattrs: std::mem::take(&mut entry.xattrs),
            digest: None,
            offset: entry.offset,
            names: old.names,
            opaque: old.opaque,
            listed: true,
        };
    }

    fn new_inode(&mut self) -> Result<u32, Fault> {
        let id =
            u32::try_from(self.tree.inodes.len()).map_err(|_| Fault::rule("there are too many entries"))?;
        self.tree.inodes.push(Inode::default());
        Ok(id)
    }

    fn inode_mut(&mut self, node: u32) -> &mut Inode {
        let inode = self.tree.nodes[node as usize].inode;
        &mut self.tree.inodes[inode as usize]
    }

    fn add(&mut self, parent: u32, base: &[u8], inode: u32) -> Result<u32, Fault> {
        let id =
            u32::try_from(self.tree.nodes.len()).map_err(|_| Fault::rule("there are too many entries"))?;
        let name: Arc<[u8]> = base.into();
        let depth = self.tree.nodes[parent as usize].depth + 1;
        let children = BTreeMap::new();
        self.tree.nodes.push(Node { name: name.clone(), parent, inode, children, depth, gone: false });
        self.tree.nodes[parent as usize].children.insert(name, id);
        self.tree.inodes[inode as usize].names += 1;
        Ok(id)
    }

    /// Removes whatever has this name, with everything in it.
    fn remove(&mut self, parent: u32, base: &[u8]) {
        let Some(node) = self.tree.nodes[parent as usize].children.remove(base) else { return };
        // Any name may have led through what is removed.
        self.last = None;
        let mut doomed = vec![node];
        while let Some(node) = doomed.pop() {
            self.inode_mut(node).names -= 1;
            let node = &mut self.tree.nodes[node as usize];
            node.gone = true;
            doomed.extend(std::mem::take(&mut node.children).into_values());
        }
    }

    fn make_directory(&mut self, name: &[u8]) -> Result<u32, Fault> {
        if let Some((last, node)) = &self.last
            && last.as_slice() == name
        {
            return Ok(*node);
        }
        let found = self.resolve(name, true)?.ok_or_else(|| Fault::rule("its directory cannot be made"))?;
        self.last = Some((name.to_vec(), found));
        Ok(found)
    }

    /// Walks a name, through links, where `/` is the image's root and nothing is above that.
    fn resolve(&mut self, name: &[u8], make: bool) -> Result<Option<u32>, Fault> {
        let (mut here, mut links) = (ROOT, 0);
        let mut pending: VecDeque<Box<[u8]>> = components(name).collect();
        while let Some(component) = pending.pop_front() {
            if *component == *b".." {
                here = self.tree.nodes[here as usize].parent;
                continue;
            }
            let Some(child) = self.tree.child(here, &component) else {
                if !make {
                    return Ok(None);
                }
                if !matches!(names::meaning(&component), Meaning::Real(_)) {
                    return Err(Fault::rule(
                        "a directory on its way would have a name of a whiteout (`.wh.`)",
                    ));
                }
                here = self.new_directory(here, &component)?;
                continue;
            };
            let inode = self.tree.inode(child);
            match inode.what {
                What::Directory => here = child,
                What::Symlink => {
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(Fault::rule("its name leads through more than 40 symbolic links"));
                    }
                    if inode.link.starts_with(b"/") {
                        here = ROOT;
                    }
                    let target: Vec<_> = components(&inode.link).collect();
                    target.into_iter().rev().for_each(|component| pending.push_front(component));
                }
                _ => return Err(Fault::no_directory(&component)),
            }
        }
        Ok(Some(here))
    }

    /// Whiteouts wait until the end of the archive: they hide names of lower layers, wherever they stand in this one.
    /// One of a directory that this layer has as well hides what lower layers have in it.
    fn finish(mut self, archive_bytes: u64) -> Tree {
        for (parent, name) in std::mem::take(&mut self.whiteouts) {
            if self.tree.nodes[parent as usize].gone {
                continue;
            }
            match self.tree.child(parent, &name) {
                Some(node) if self.tree.is_directory(node) => self.inode_mut(node).opaque = true,
                // Something real of this name hides the lower ones by being there.
                Some(_) => {}
                None => {
                    let Ok(inode) = self.new_inode() else { continue };
                    self.tree.inodes[inode as usize] =
                        Inode { what: What::Whiteout, listed: true, ..Inode::default() };
                    let _ = self.add(parent, &name, inode);
                }
            }
        }
        self.tree.archive_bytes = archive_bytes;
        self.tree
    }
}

impl Tree {
    /// What has this name in a directory.
    #[must_use]
    pub fn child(&self, parent: u32, name: &[u8]) -> Option<u32> {
        self.nodes[parent as usize].children.get(name).copied()
    }

    /// What a name stands for.
    #[must_use]
    pub fn inode(&self, node: u32) -> &Inode {
        &self.inodes[self.nodes[node as usize].inode as usize]
    }

    /// Whether a name is that of a directory.
    #[must_use]
    pub fn is_directory(&self, node: u32) -> bool {
        self.inode(node).what == What::Directory
    }

    /// The path of a name below the root, without a slash in front.
    #[must_use]
    pub fn path(&self, mut node: u32) -> Vec<u8> {
        let mut names: Vec<&[u8]> = Vec::new();
        while node != ROOT {
            names.push(&self.nodes[node as usize].name);
            node = self.nodes[node as usize].parent;
        }
        names.reverse();
        names.join(&b'/')
    }

    /// The name at a clean path; links are not followed.
    #[must_use]
    pub fn find(&self, path: &[u8]) -> Option<u32> {
        components(path).try_fold(ROOT, |here, component| self.child(here, &component))
    }

    /// Every name but the root that is there in the end, parents first, in the order of their names.
    #[must_use]
    pub fn walk(&self) -> Vec<u32> {
        let mut all = Vec::new();
        let mut pending: Vec<u32> = self.nodes[0].children.values().rev().copied().collect();
        while let Some(node) = pending.pop() {
            all.push(node);
            pending.extend(self.nodes[node as usize].children.values().rev());
        }
        all
    }

    /// For each directory, by its place in the table, the bytes of all files in and below it. A file with several names
    /// counts where its first name is.
    #[must_use]
    pub fn sums(&self) -> Vec<u64> {
        let mut sums = vec![0; self.nodes.len()];
        let mut counted = vec![false; self.inodes.len()];
        let all = self.walk();
        for &node in &all {
            let inode = self.nodes[node as usize].inode;
            if !std::mem::replace(&mut counted[inode as usize], true) {
                sums[node as usize] = self.inodes[inode as usize].stored;
            }
        }
        // Parents come first: from the end, what is below a directory is complete when it is added.
        for &node in all.iter().rev() {
            sums[self.nodes[node as usize].parent as usize] += sums[node as usize];
        }
        sums
    }

    /// The bytes of all files in the archive.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.inodes.iter().map(|inode| inode.stored).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Item<'a> = (&'a str, tar::EntryType, &'a str);

    /// A tar of these entries: name, kind, and content or target.
    fn archive(items: &[Item<'_>]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, kind, text) in items {
            let mut header = tar::Header::new_ustar();
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(0o644);
            let data = if kind.is_file() { text.as_bytes() } else { b"" };
            if *kind == C {
                header.set_device_major(1).unwrap();
                header.set_device_minor(3).unwrap();
            } else if !kind.is_file() {
                header.set_link_name_literal(text).unwrap();
            }
            header.set_size(data.len() as u64);
            header.set_cksum();
            builder.append(&header, data).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn listed(items: &[Item<'_>]) -> Result<Tree> {
        let options = ListOptions { contents: true, ..ListOptions::default() };
        list(&mut archive(items).as_slice(), &options)
    }

    fn names_of(tree: &Tree) -> Vec<String> {
        let shown = |node: u32| {
            let inode = tree.inode(node);
            let mark = match inode.what {
                What::Whiteout => "!",
                What::Directory if inode.opaque => "/#",
                What::Directory => "/",
                What::Symlink => "@",
                _ => "",
            };
            String::from_utf8(tree.path(node)).unwrap() + mark
        };
        tree.walk().into_iter().map(shown).collect()
    }

    use tar::EntryType::{Char as C, Directory as D, Link as L, Regular as F, Symlink as S};

    #[test]
    fn names_lead_through_links_and_never_out() {
        let tree = listed(&[("lib", S, "usr/lib"), ("lib/x", F, "1"), ("../../etc/p", F, "2")]).unwrap();
        assert_eq!(names_of(&tree), ["etc/", "etc/p", "lib@", "usr/", "usr/lib/", "usr/lib/x"]);
        let tree = listed(&[("up", S, "/../.."), ("up/x", F, "1")]).unwrap();
        assert_eq!(names_of(&tree), ["up@", "x"]);
    }

    #[test]
    fn whiteouts_hide_lower_names_only() {
        let tree =
            listed(&[("d/a", F, "1"), ("d/.wh.a", F, ""), ("d/.wh.b", F, ""), (".wh.d", F, "")]).unwrap();
        assert_eq!(names_of(&tree), ["d/#", "d/a", "d/b!"]);
        let tree = listed(&[("d/.wh..wh..opq", F, ""), ("d/.wh..wh.plnk", F, "")]).unwrap();
        assert_eq!(names_of(&tree), ["d/#"]);
        assert_eq!(tree.left_out.count, 1);
    }

    #[test]
    fn hard_links_are_names_of_one_file() {
        let tree = listed(&[("a", F, "data"), ("b", L, "a"), ("a", F, "new")]).unwrap();
        let (a, b) = (tree.find(b"a").unwrap(), tree.find(b"b").unwrap());
        assert_eq!((tree.inode(a).size, tree.inode(b).size), (3, 4));
        assert_eq!((tree.inode(a).names, tree.inode(b).names), (1, 1));
        assert_eq!(tree.file_bytes(), 7);
    }

    #[test]
    fn what_cannot_be_unpacked_is_not_listed() {
        for (items, words) in [
            (vec![("b", L, "a")], "is not in this layer"),
            (vec![("d/", D, ""), ("b", L, "d")], "hard link to a directory"),
            (vec![("a", F, ""), ("a/b", F, "")], "no directory in this layer"),
            (vec![("a", S, "b"), ("b", S, "a"), ("a/x", F, "")], "more than 40"),
            (vec![(".wh.x/y", F, "")], "nothing can be in it"),
            (vec![(".wh...", F, "")], "cannot be hidden"),
            (vec![("a", S, "")], "link to nothing"),
            (vec![("./", F, "")], "must be a directory"),
        ] {
            let error = listed(&items).err().unwrap().to_string();
            assert!(error.contains(words) && error.contains("entry `"), "{error}\n  lacks {words:?}");
        }
    }

    #[test]
    fn limits_are_kept() {
        let limits = |limits| ListOptions { limits, contents: false };
        let bytes = archive(&[("d/e/f", F, "12345"), ("g", F, "")]);
        for (limits, flag) in [
            (limits(Limits { entries: 1, ..Limits::default() }), "--max-entries"),
            (limits(Limits { bytes: 4, ..Limits::default() }), "--max-bytes"),
            (limits(Limits { path: 4, ..Limits::default() }), "--max-path"),
            (limits(Limits { depth: 1, ..Limits::default() }), "--max-depth"),
        ] {
            let error = list(&mut bytes.as_slice(), &limits).err().unwrap();
            assert!(error.to_string().contains(flag), "{error}");
        }
    }

    #[test]
    fn a_file_is_fetched_by_the_place_of_its_header() {
        let bytes = archive(&[("a", F, "first"), ("a", F, "second")]);
        let tree = list(&mut bytes.as_slice(), &ListOptions::default()).unwrap();
        let mut out = Vec::new();
        let at = tree.inode(tree.find(b"a").unwrap()).offset;
        fetch(&mut bytes.as_slice(), at, &mut out).unwrap();
        assert_eq!(out, b"second");
    }

    // ---- what is listed is what is unpacked ----

    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    use std::path::Path;

    use proptest::prelude::*;

    use crate::image::unpack::{Options, unpack};

    /// Every name below a directory: its kind, its size or target, how many names it has.
    fn on_disk(root: &Path, dir: &Path, into: &mut BTreeMap<String, String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let about = path.symlink_metadata().unwrap();
            let name =
                String::from_utf8(path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec()).unwrap();
            let what = if about.is_dir() {
                on_disk(root, &path, into);
                "directory".to_owned()
            } else if about.is_symlink() {
                format!("-> {} x{}", std::fs::read_link(&path).unwrap().display(), about.nlink())
            } else if about.file_type().is_char_device() {
                "whiteout".to_owned()
            } else {
                format!("{} x{}", about.len(), about.nlink())
            };
            into.insert(name, what);
        }
    }

    fn as_listed(tree: &Tree) -> BTreeMap<String, String> {
        let below_opaque = |mut node: u32| loop {
            node = tree.nodes[node as usize].parent;
            if tree.inode(node).opaque {
                break true;
            }
            if node == ROOT {
                break false;
            }
        };
        let mut all = BTreeMap::new();
        for node in tree.walk() {
            let inode = tree.inode(node);
            let what = match inode.what {
                What::Directory => "directory".to_owned(),
                What::Symlink => format!("-> {} x{}", String::from_utf8_lossy(&inode.link), inode.names),
                // In an opaque directory there is nothing to hide, and overlayfs would show the device.
                What::Whiteout if below_opaque(node) => continue,
                What::Whiteout => "whiteout".to_owned(),
                // An ordinary user makes no devices.
                What::Char => continue,
                _ => format!("{} x{}", inode.size, inode.names),
            };
            all.insert(String::from_utf8(tree.path(node)).unwrap(), what);
        }
        all
    }

    fn any_item() -> impl Strategy<Value = Item<'static>> {
        let name = || {
            prop::sample::select(
                &["a", "b", "a/b", "a/b/c", "b/../c", "../a", "l", "l/a", "l/l/b", "./b/a"][..],
            )
        };
        let device_or_not = || prop::sample::select(&["c", "a", "a/b", "l/d", "c/x"][..]);
        let hidden = [".wh.a", "a/.wh.b", "l/.wh.a", "a/.wh..wh..opq", "a/b/.wh.c", ".wh.l"];
        let target = prop::sample::select(&["a", "/b", "../a/b", "l", "a/..", "nowhere/at/all"][..]);
        prop_oneof![
            4 => (name(), prop::sample::select(&["", "1", "22"][..])).prop_map(|(name, text)| (name, F, text)),
            3 => name().prop_map(|name| (name, D, "")),
            3 => (name(), target).prop_map(|(name, target)| (name, S, target)),
            2 => (name(), name()).prop_map(|(name, target)| (name, L, target)),
            2 => prop::sample::select(hidden.to_vec()).prop_map(|name| (name, F, "")),
            2 => prop::sample::select(&["c", "a/b", "l/d"][..]).prop_map(|name| (name, C, "")),
            2 => (device_or_not(), device_or_not()).prop_map(|(name, target)| (name, L, target)),
            1 => device_or_not().prop_map(|name| (name, F, "333")),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn what_is_listed_is_what_is_unpacked(items in prop::collection::vec(any_item(), 0..9)) {
            let bytes = archive(&items);
            let dir = tempfile::tempdir().unwrap();
            let listed = list(&mut bytes.as_slice(), &ListOptions::default());
            let unpacked = unpack(&mut bytes.as_slice(), dir.path(), &Options::unprivileged());
            match (&listed, unpacked) {
                (Ok(tree), Ok(unpacked)) => {
                    let mut found = BTreeMap::new();
                    on_disk(dir.path(), dir.path(), &mut found);
                    // What has no device does not hide the name of one below either, as far as the layer does not say so.
                    let is_device = |name: &str| tree.find(name.as_bytes()).is_some_and(|it| tree.inode(it).what == What::Char);
                    found.retain(|name, what| what != "whiteout" || !is_device(name));
                    prop_assert_eq!(as_listed(tree), found, "{:?}", items);
                    prop_assert_eq!(tree.inodes[0].opaque, unpacked.opaque_root);
                }
                (Err(_), Err(_)) => {}
                (listed, unpacked) => {
                    prop_assert!(false, "{items:?}: listed {:?}, unpacked {:?}", listed.as_ref().err(), unpacked.err());
                }
            }
        }
    }
}
