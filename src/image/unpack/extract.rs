//! Entries into calls: for each kind of entry the few calls that make it, in the only order that keeps everything.
//!
//! ```text
//! a file:  openat O_CREAT|O_EXCL   write …   [fchown]   [fsetxattr …]   [fchmod]   utimensat   close
//! ```
//!
//! write(2) and chown(2) clear setuid bits and file capabilities, so the owner comes first. Attributes come before
//! the mode, because `user.` attributes of a read-only file cannot be set, not even by its owner (xattr(7)), and
//! chmod(2) takes nothing away from them. The time comes last. Calls in brackets are made only if the file was not
//! created that way already, which the kernel was asked about once ([`Birth`]). Whiteouts wait until the end of the
//! archive: they hide names of **lower** layers, wherever they stand in this one, so whether a real entry of the
//! same name takes their place is only known then. Modes and times of directories wait as well, because making
//! entries in a directory takes permission and changes its time.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use super::archive::{Archive, Entry, Kind};
use super::directories::{Attributes, Directories, IMPLICIT_MODE, Id};
use super::keep::{self, Birth, Keeper};
use super::names::{self, Meaning};
use super::sparse::Map;
use super::{Counts, Fault, Options, Unpacked, check_device, path_of};
use crate::sys::tree::{Called, Errno, Failed, Node, Tally};

/// How many bytes of the archive are read between two calls of the progress function.
const PROGRESS_EVERY: u64 = 1 << 20;

/// The attribute by which a directory gives permissions to what is made in it.
const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";

/// A layer being unpacked.
pub struct Extractor<'o> {
    options: &'o Options<'o>,
    directories: Directories,
    keep: Keeper,
    /// Names to hide, with their directories.
    whiteouts: Vec<(Id, Box<[u8]>)>,
    opaque_root: bool,
    /// Bytes of all files, holes counted.
    claimed: u64,
    /// Up to where progress was reported.
    reported: u64,
    /// The cleaned name of the current entry; taken out while it is in use.
    clean: Vec<u8>,
}

impl<'o> Extractor<'o> {
    /// Opens the directory, makes sure that it is empty, and finds out what files are made like in it.
    pub fn new(into: &Path, options: &'o Options<'o>) -> Result<Self, Fault> {
        let mut counts = Counts::default();
        let tally = &mut counts.tally;
        let root = tally.open_start(into)?;
        if !tally.is_empty(root.as_fd())? {
            return Err(Fault::rule(
                "the directory is not empty, and a layer shares its directory with nothing",
            ));
        }
        // Without setgid and default ACL, what is made in it has the process' own group and plain permissions.
        tally.fchmod(root.as_fd(), 0o700)?;
        match tally.fremovexattr(root.as_fd(), DEFAULT_ACL) {
            Err(failed) if !matches!(failed.errno, Errno::NODATA | Errno::OPNOTSUPP) => {
                return Err(failed.into());
            }
            _ => {}
        }
        let birth = Birth::observe(root.as_fd(), tally)?;
        Ok(Self {
            options,
            directories: Directories::new(root, 0o700, options.limits.depth),
            keep: Keeper::new(options, birth, counts),
            whiteouts: Vec::new(),
            opaque_root: false,
            claimed: 0,
            reported: 0,
            clean: Vec::new(),
        })
    }

    /// Makes what one entry says.
    pub fn entry(&mut self, archive: &mut Archive, entry: &mut Entry) -> Result<(), Fault> {
        self.keep.counts.entries += 1;
        self.claimed = self.options.limits.admit(entry, self.keep.counts.entries, self.claimed)?;
        let mut clean = std::mem::take(&mut self.clean);
        if names::clean(&entry.name, &mut clean) {
            self.keep.counts.dotdot_names.note(&entry.name);
        }
        let made = self.named_entry(archive, entry, &clean);
        self.clean = clean;
        made?;
        self.report_progress(archive.offset())
    }

    fn report_progress(&mut self, offset: u64) -> Result<(), Fault> {
        let Some(progress) = self.options.progress else { return Ok(()) };
        if offset - self.reported < PROGRESS_EVERY {
            return Ok(());
        }
        self.reported = offset;
        progress(offset).map_err(Fault::Whole)
    }

    fn named_entry(&mut self, archive: &mut Archive, entry: &mut Entry, clean: &[u8]) -> Result<(), Fault> {
        if clean.is_empty() {
            return self.root_entry(entry);
        }
        let (directory, base) = names::split(clean);
        if let Some(reserved) = directory.split(|&byte| byte == b'/').find(|part| part.starts_with(b".wh.")) {
            if names::meaning(reserved) == Meaning::Aufs {
                self.keep.counts.aufs_files.note(clean);
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
                self.keep.counts.aufs_files.note(clean);
                Ok(())
            }
            Meaning::Forbidden => Err(Fault::rule(
                "it is a whiteout (`.wh.`) of nothing, of `.` or of `..`, which cannot be hidden",
            )),
            Meaning::Whiteout(_) | Meaning::Opaque if self.options.lowest => {
                self.keep.counts.moot_whiteouts.note(clean);
                Ok(())
            }
            Meaning::Whiteout(hidden) => {
                let parent = self.make_directory(directory)?;
                self.whiteouts.push((parent, hidden.into()));
                Ok(())
            }
            Meaning::Opaque => {
                let parent = self.make_directory(directory)?;
                self.opaque_root |= parent == Id::ROOT;
                self.directories.get_mut(parent).opaque = true;
                Ok(())
            }
        }
    }

    /// The entry of the image's root, which only says what the root is like (CVE-2021-29136).
    fn root_entry(&mut self, entry: &mut Entry) -> Result<(), Fault> {
        if entry.kind != Kind::Directory {
            return Err(Fault::rule("it names the root of the image, which must be a directory"));
        }
        self.keep.counts.directories += u64::from(self.directories.get(Id::ROOT).attributes.is_none());
        self.describe_directory(Id::ROOT, entry);
        Ok(())
    }

    /// The directory that an entry is in, made if the archive has not listed it.
    fn make_directory(&mut self, name: &[u8]) -> Result<Id, Fault> {
        let found = self.directories.resolve(name, true, &mut self.keep.counts.tally)?;
        found.ok_or_else(|| Fault::rule("its directory cannot be made"))
    }

    fn real_entry(
        &mut self,
        archive: &mut Archive,
        entry: &mut Entry,
        parent: Id,
        base: &[u8],
    ) -> Result<(), Fault> {
        if entry.textual_acl {
            self.keep.counts.not_kept_xattrs.note(&keep::labelled(&entry.name, b"ACL as text"));
        }
        match entry.kind {
            Kind::File => self.file(archive, entry, parent, base),
            Kind::Directory => self.directory(entry, parent, base),
            Kind::Symlink => self.symlink(entry, parent, base),
            Kind::HardLink => self.hard_link(entry, parent, base),
            Kind::Char | Kind::Block => self.device(entry, parent, base),
            Kind::Fifo => {
                self.node(entry, parent, base, Node::Fifo)?;
                self.keep.counts.fifos += 1;
                self.describe_at(entry, parent, base)
            }
        }
    }

    /// Makes something of this name with one call, after removing what had the name before.
    fn place<T>(
        &mut self,
        parent: Id,
        base: &[u8],
        mut make: impl FnMut(&mut Tally, BorrowedFd<'_>) -> Called<T>,
    ) -> Result<T, Fault> {
        let tally = &mut self.keep.counts.tally;
        let directory = self.directories.open(parent, tally)?;
        match make(tally, directory) {
            Err(taken) if taken.errno == Errno::EXIST => {}
            placed => {
                let placed = placed?;
                self.directories.made(parent, base);
                return Ok(placed);
            }
        }
        self.directories.remove(parent, base, tally)?;
        self.keep.counts.replaced += 1;
        let directory = self.directories.open(parent, tally)?;
        Ok(make(tally, directory)?)
    }

    fn file(&mut self, archive: &mut Archive, entry: &Entry, parent: Id, base: &[u8]) -> Result<(), Fault> {
        // Attributes of the `user.` kind take write permission on the file, also of its owner.
        let first = if entry.xattrs.is_empty() { entry.mode & 0o777 } else { entry.mode & 0o777 | 0o600 };
        let fd = self.place(parent, base, |tally, directory| tally.create_file(directory, base, first))?;
        self.write(archive, entry, &fd)?;
        self.describe_file(entry, fd.as_fd(), first)?;
        self.keep.counts.tally.close(fd);
        self.keep.counts.files += 1;
        self.keep.counts.bytes += entry.size;
        Ok(())
    }

    /// The data: in one piece for most files, at its places for sparse ones.
    fn write(&mut self, archive: &mut Archive, entry: &Entry, fd: &OwnedFd) -> Result<(), Fault> {
        if let Some(map) = &entry.sparse {
            return write_sparse(archive, map, fd.as_fd(), &mut self.keep.counts.tally);
        }
        let mut offset = archive.offset();
        archive.data(|piece| {
            self.keep.counts.tally.write_all(fd.as_fd(), piece)?;
            offset += piece.len() as u64;
            self.report_progress(offset)
        })
    }

    fn describe_file(&mut self, entry: &Entry, fd: BorrowedFd<'_>, first: u32) -> Result<(), Fault> {
        let keep = &mut self.keep;
        let owner = (entry.uid, entry.gid);
        let kept = keep.owner(&entry.name, owner, |tally| tally.fchown(fd, entry.uid, entry.gid))?;
        keep.xattrs(&entry.name, &entry.xattrs, |tally, key, value| tally.fsetxattr(fd, key, value))?;
        let mode = keep.mode(&entry.name, entry.mode, kept);
        if mode != keep.birth.mode(first) || has_acl(&entry.xattrs) {
            keep.counts.tally.fchmod(fd, mode)?;
        }
        Ok(keep.counts.tally.futimens(fd, entry.mtime)?)
    }

    fn directory(&mut self, entry: &mut Entry, parent: Id, base: &[u8]) -> Result<(), Fault> {
        let known = self.directories.child(parent, base);
        let id = known.map_or_else(|| self.new_directory(entry.mode, parent, base), Ok)?;
        self.keep.counts.directories += u64::from(self.directories.get(id).attributes.is_none());
        self.describe_directory(id, entry);
        Ok(())
    }

    fn new_directory(&mut self, mode: u32, parent: Id, base: &[u8]) -> Result<Id, Fault> {
        // A mode that would keep its owner out, or that new entries would inherit from, waits for the end.
        let first = if mode & 0o700 == 0o700 { mode & 0o777 } else { 0o700 };
        self.place(parent, base, |tally, directory| tally.mkdirat(directory, base, first))?;
        self.directories.add(parent, base, self.keep.birth.mode(first))
    }

    /// Remembers what a directory is to be like. A later entry for the same directory wins.
    fn describe_directory(&mut self, id: Id, entry: &mut Entry) {
        let xattrs = std::mem::take(&mut entry.xattrs);
        let directory = self.directories.get_mut(id);
        directory.attributes =
            Some(Attributes { mode: entry.mode, uid: entry.uid, gid: entry.gid, mtime: entry.mtime });
        directory.xattrs = if xattrs.is_empty() { None } else { Some(Box::new(xattrs)) };
    }

    fn symlink(&mut self, entry: &Entry, parent: Id, base: &[u8]) -> Result<(), Fault> {
        if entry.link.is_empty() {
            return Err(Fault::rule("it is a symbolic link to nothing"));
        }
        self.place(parent, base, |tally, directory| tally.symlinkat(&entry.link, directory, base))?;
        self.keep.counts.symlinks += 1;
        self.describe_at(entry, parent, base)
    }

    /// A second name. Owner, mode and time belong to the file, and its own entry has said what they are: applying
    /// them again through a link would change a file by another name.
    fn hard_link(&mut self, entry: &Entry, parent: Id, base: &[u8]) -> Result<(), Fault> {
        let missing = || Fault::no_target(&entry.link);
        let mut target = Vec::new();
        names::clean(&entry.link, &mut target);
        let (directory, old) = names::split(&target);
        let Some(from) = self.directories.resolve(directory, false, &mut self.keep.counts.tally)? else {
            return Err(missing());
        };
        if old.is_empty() || self.directories.child(from, old).is_some() {
            return Err(Fault::rule("it is a hard link to a directory, which no file system has"));
        }
        if (from, old) == (parent, base) {
            return Err(Fault::rule("it is a hard link to itself"));
        }
        let link = |extractor: &mut Self| -> Result<Called<()>, Fault> {
            let tally = &mut extractor.keep.counts.tally;
            let (old_directory, new_directory) = extractor.directories.open_both((from, parent), tally)?;
            Ok(tally.linkat((old_directory, old), (new_directory, base)))
        };
        let mut linked = link(self)?;
        if linked.is_err_and(|failed| failed.errno == Errno::EXIST) {
            self.directories.remove(parent, base, &mut self.keep.counts.tally)?;
            self.keep.counts.replaced += 1;
            if self.directories.get(from).gone {
                return Err(missing());
            }
            linked = link(self)?;
        }
        match linked {
            Ok(()) => {
                self.directories.made(parent, base);
                self.keep.counts.hard_links += 1;
                Ok(())
            }
            Err(failed) if failed.errno == Errno::NOENT && self.directories.is_left_out(from, old) => {
                self.leave_out_device(entry, parent, base)?;
                if self.directories.get(from).gone { Err(missing()) } else { Ok(()) }
            }
            Err(failed) if failed.errno == Errno::NOENT => Err(missing()),
            Err(failed) => Err(failed.into()),
        }
    }

    fn device(&mut self, entry: &Entry, parent: Id, base: &[u8]) -> Result<(), Fault> {
        let (major, minor) = entry.device;
        check_device(entry.device)?;
        let node = match entry.kind {
            Kind::Char if entry.device == (0, 0) => {
                self.keep.counts.forged_whiteouts.note(&entry.name);
                return Ok(());
            }
            Kind::Char => Node::Char(major, minor),
            _ => Node::Block(major, minor),
        };
        if !self.options.privileged {
            return self.leave_out_device(entry, parent, base);
        }
        match self.node(entry, parent, base, node) {
            Err(Fault::Call(Failed { errno: Errno::PERM, .. })) => self.leave_out_device(entry, parent, base),
            made => {
                made?;
                self.keep.counts.devices += 1;
                self.describe_at(entry, parent, base)
            }
        }
    }

    /// A name of a device that this user may not make: its own, or that of a hard link to it. Apart from that the layer
    /// becomes what it is for root: an earlier entry of the name is replaced, and nothing can be in it. (umoci makes an
    /// empty file without permissions in its place, and links to that. Nothing is the more honest device: a program that
    /// looks for one finds out that it is missing.)
    fn leave_out_device(&mut self, entry: &Entry, parent: Id, base: &[u8]) -> Result<(), Fault> {
        let keep = &mut self.keep;
        let replaced = self.directories.leave_out(parent, base, &mut keep.counts.tally)?;
        keep.counts.replaced += u64::from(replaced);
        keep.counts.not_kept_devices.note(&entry.name);
        Ok(())
    }

    fn node(&mut self, entry: &Entry, parent: Id, base: &[u8], node: Node) -> Result<(), Fault> {
        self.place(parent, base, |tally, directory| tally.mknodat(directory, base, node, entry.mode & 0o777))
    }

    /// Owner, mode, attributes and time of what cannot be opened, by its name. A link has no mode of its own.
    fn describe_at(&mut self, entry: &Entry, parent: Id, base: &[u8]) -> Result<(), Fault> {
        let keep = &mut self.keep;
        let directory = self.directories.open(parent, &mut keep.counts.tally)?;
        let owner = (entry.uid, entry.gid);
        let kept =
            keep.owner(&entry.name, owner, |tally| tally.fchownat(directory, base, entry.uid, entry.gid))?;
        keep.xattrs(&entry.name, &entry.xattrs, |tally, key, value| {
            tally.lsetxattr(directory, base, key, value)
        })?;
        if entry.kind != Kind::Symlink {
            let mode = keep.mode(&entry.name, entry.mode, kept);
            if mode != keep.birth.mode(entry.mode) {
                keep.counts.tally.fchmodat(directory, base, mode)?;
            }
        }
        Ok(keep.counts.tally.utimensat(directory, base, entry.mtime)?)
    }

    /// What had to wait for the end of the archive, `archive_bytes` long.
    pub fn finish(mut self, archive_bytes: u64) -> Result<Unpacked, Fault> {
        self.keep.counts.archive_bytes = archive_bytes;
        let whiteouts = std::mem::take(&mut self.whiteouts);
        self.hide_directories(&whiteouts);
        for (parent, name) in &whiteouts {
            self.whiteout(*parent, name)?;
        }
        let mut implicit = Vec::new();
        for id in self.directories.children_first() {
            self.finish_directory(id)?;
            if self.directories.get(id).attributes.is_none() {
                implicit.push(path_of(self.directories.path(id)));
            }
        }
        implicit.reverse();
        self.keep.counts.implicit_directories = implicit.len() as u64;
        self.directories.close(&mut self.keep.counts.tally);
        Ok(Unpacked { counts: self.keep.counts, implicit, opaque_root: self.opaque_root })
    }

    /// A whiteout of a directory that this layer has as well hides what lower layers have **in** it.
    fn hide_directories(&mut self, whiteouts: &[(Id, Box<[u8]>)]) {
        for (parent, name) in whiteouts {
            if !self.directories.get(*parent).gone
                && let Some(id) = self.directories.child(*parent, name)
            {
                self.directories.get_mut(id).opaque = true;
            }
        }
    }

    /// A character device 0:0, which overlayfs takes for "not here, and look no further down". Every user may make
    /// this one device since Linux 5.8.
    fn whiteout(&mut self, parent: Id, name: &[u8]) -> Result<(), Fault> {
        if self.directories.get(parent).gone || self.directories.child(parent, name).is_some() {
            return Ok(());
        }
        if self.directories.is_below_opaque(parent) {
            // In a directory that is not merged, overlayfs would list the device under its name.
            self.keep.counts.moot_whiteouts.note(name);
            return Ok(());
        }
        let tally = &mut self.keep.counts.tally;
        let directory = self.directories.open(parent, tally)?;
        match tally.mknodat(directory, name, Node::Char(0, 0), 0) {
            Ok(()) => self.keep.counts.whiteouts += 1,
            // Something real of this name is in the layer, and hides the lower ones by being there.
            Err(taken) if taken.errno == Errno::EXIST => {}
            Err(failed) if failed.errno == Errno::PERM => {
                let what = "the whiteouts of the layer cannot be made".to_owned();
                let error = failed.error(what, &names::shown(name));
                return Err(Fault::Whole(
                    error
                        .rule("an ordinary user may make the device 0:0 since Linux 5.8, on file systems that allow devices")
                        .remedy("run it as root, or on a newer kernel"),
                ));
            }
            Err(failed) => return Err(failed.into()),
        }
        Ok(())
    }

    /// Owner, mode, attributes, opacity and time of a directory, now that nothing more is made in it.
    fn finish_directory(&mut self, id: Id) -> Result<(), Fault> {
        let directory = self.directories.get_mut(id);
        let (attributes, made_mode, opaque) = (directory.attributes, directory.made_mode, directory.opaque);
        let xattrs = directory.xattrs.take();
        let name = self.directories.path(id);
        let Some(Attributes { mode, uid, gid, mtime }) = attributes else {
            if made_mode != IMPLICIT_MODE || opaque {
                let fd = self.directories.open(id, &mut self.keep.counts.tally)?;
                self.keep.counts.tally.fchmod(fd, IMPLICIT_MODE)?;
                self.mark_opaque(id, opaque)?;
            }
            return Ok(());
        };
        let as_made = mode == made_mode && xattrs.is_none() && !opaque && self.keep.is_born_with((uid, gid));
        if as_made && id != Id::ROOT {
            let (parent, base) = (self.directories.get(id).parent, names::split(&name).1);
            let parent = self.directories.open(parent, &mut self.keep.counts.tally)?;
            return Ok(self.keep.counts.tally.utimensat(parent, base, mtime)?);
        }
        let keep = &mut self.keep;
        let fd = self.directories.open(id, &mut keep.counts.tally)?;
        let kept = keep.owner(&name, (uid, gid), |tally| tally.fchown(fd, uid, gid))?;
        let xattrs = xattrs.unwrap_or_default();
        keep.xattrs(&name, &xattrs, |tally, key, value| tally.fsetxattr(fd, key, value))?;
        self.mark_opaque(id, opaque)?;
        let keep = &mut self.keep;
        let fd = self.directories.open(id, &mut keep.counts.tally)?;
        let mode = keep.mode(&name, mode, kept);
        if mode != made_mode || has_acl(&xattrs) {
            keep.counts.tally.fchmod(fd, mode)?;
        }
        Ok(keep.counts.tally.futimens(fd, mtime)?)
    }

    /// Hides everything that lower layers have in a directory.
    fn mark_opaque(&mut self, id: Id, opaque: bool) -> Result<(), Fault> {
        if !opaque {
            return Ok(());
        }
        let key = self.options.opaque.name();
        let tally = &mut self.keep.counts.tally;
        let fd = self.directories.open(id, tally)?;
        match tally.fsetxattr(fd, key.as_bytes(), b"y") {
            Ok(()) => {
                self.keep.counts.opaque += 1;
                Ok(())
            }
            Err(failed) if matches!(failed.errno, Errno::OPNOTSUPP | Errno::PERM) => {
                let error =
                    failed.error(format!("a directory of the layer cannot be marked with {key}"), key);
                Err(Fault::Whole(
                    error
                        .rule("trusted attributes take CAP_SYS_ADMIN; user attributes take a file system that has them (tmpfs since Linux 6.6)")
                        .remedy("keep the store on another file system with --state"),
                ))
            }
            Err(failed) => Err(failed.into()),
        }
    }
}

/// Whether an access ACL is among the attributes: setting it has set the group's permission bits as well.
fn has_acl(xattrs: &[(Vec<u8>, Vec<u8>)]) -> bool {
    xattrs.iter().any(|(key, _)| key == b"system.posix_acl_access")
}

/// Writes the data of a sparse file where its map says, and leaves the rest a hole.
fn write_sparse(
    archive: &mut Archive,
    map: &Map,
    fd: BorrowedFd<'_>,
    tally: &mut Tally,
) -> Result<(), Fault> {
    tally.ftruncate(fd, map.size)?;
    let mut extents = map.extents.iter().copied().filter(|extent| extent.length > 0);
    let mut current = extents.next();
    archive.data(|mut piece| {
        while let (Some(extent), false) = (&mut current, piece.is_empty()) {
            let most = usize::try_from(extent.length).unwrap_or(usize::MAX).min(piece.len());
            let (now, later) = piece.split_at(most);
            tally.write_all_at(fd, now, extent.offset)?;
            extent.offset += most as u64;
            extent.length -= most as u64;
            if extent.length == 0 {
                current = extents.next();
            }
            piece = later;
        }
        Ok(())
    })
}
