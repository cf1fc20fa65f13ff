//! What can be kept of an entry: its owner, its setuid bits, its extended attributes.
//!
//! Some of it an ordinary user may not set, some of it must not be set by anybody, because overlayfs itself would
//! act on it. Each is decided in one place here and counted when it is not kept. This is separate from making
//! the entries because the decision is the same for files, links, devices and directories; only the call differs.

use std::os::fd::BorrowedFd;

use super::{Counts, Fault, Options};
use crate::sys::tree::{Called, Errno, Tally};

/// Attributes by which overlayfs, in the kernel or in user space, remembers whiteouts, redirects and more. In an
/// archive they would act as what the image format does not have; podman 5.8 honours them.
const FORGED: [&[u8]; 4] =
    [b"trusted.overlay.", b"user.overlay.", b"user.fuseoverlayfs.", b"trusted.fuseoverlayfs."];

/// Attributes that only the host may decide on: labels of its own policy.
const HOSTS: [&[u8]; 4] = [b"security.selinux", b"security.SMACK64", b"security.ima", b"security.evm"];

/// The setuid and setgid bits.
const SETUID: u32 = 0o4000;
const SETGID: u32 = 0o2000;

/// What a new file gets without being asked: found out by making a directory and looking at it, since it depends
/// on the process (umask), the directory (setgid, ACL) and the mount (`grpid`).
#[derive(Debug, Clone, Copy)]
pub struct Birth {
    uid: u32,
    gid: u32,
    umask: u32,
}

impl Birth {
    /// Asks the kernel.
    pub fn observe(root: BorrowedFd<'_>, tally: &mut Tally) -> Called<Self> {
        const PROBE: &[u8] = b"probe";
        tally.mkdirat(root, PROBE, 0o777)?;
        let about = tally.about(root, PROBE)?;
        tally.rmdir(root, PROBE)?;
        Ok(Self { uid: about.uid, gid: about.gid, umask: !about.mode & 0o777 })
    }

    /// The permissions of what is made with `mode`.
    pub fn mode(self, mode: u32) -> u32 {
        mode & 0o777 & !self.umask
    }
}

/// Whether user and group of an entry could be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    user: bool,
    group: bool,
}

/// Decides what is kept, and counts.
pub struct Keeper {
    privileged: bool,
    /// What new files are like.
    pub birth: Birth,
    /// Everything that was counted so far.
    pub counts: Counts,
}

impl Keeper {
    /// A keeper that goes on with these counts.
    pub fn new(options: &Options<'_>, birth: Birth, counts: Counts) -> Self {
        Self { privileged: options.privileged, birth, counts }
    }

    /// Whether what is made has this owner without a call.
    pub fn is_born_with(&self, owner: (u32, u32)) -> bool {
        if self.privileged { owner == (self.birth.uid, self.birth.gid) } else { owner == (0, 0) }
    }

    /// Gives an entry its owner with `chown`, unless it was born with it.
    pub fn owner(
        &mut self,
        name: &[u8],
        (uid, gid): (u32, u32),
        chown: impl FnOnce(&mut Tally) -> Called<()>,
    ) -> Result<Kept, Fault> {
        let mut kept = Kept { user: true, group: true };
        if !self.privileged {
            // The image's root is this user, as it will be in the container's user namespace; nobody else is.
            kept = Kept { user: uid == 0, group: gid == 0 };
        } else if (uid, gid) != (self.birth.uid, self.birth.gid) {
            match chown(&mut self.counts.tally) {
                Ok(()) => {}
                // EINVAL: the id has no place in the map of this user namespace.
                Err(failed) if matches!(failed.errno, Errno::PERM | Errno::INVAL) => {
                    kept = Kept { user: uid == self.birth.uid, group: gid == self.birth.gid };
                }
                Err(failed) => return Err(failed.into()),
            }
        }
        if !(kept.user && kept.group) {
            self.counts.not_kept_owners.note(name);
        }
        Ok(kept)
    }

    /// The mode an entry may have: a setuid bit would act for whoever owns the file now instead.
    pub fn mode(&mut self, name: &[u8], mode: u32, kept: Kept) -> u32 {
        let lost = if kept.user { 0 } else { SETUID } | if kept.group { 0 } else { SETGID };
        if mode & lost != 0 {
            self.counts.not_kept_setids.note(name);
        }
        mode & !lost
    }

    /// Sets those extended attributes with `set` that may be set.
    pub fn xattrs(
        &mut self,
        name: &[u8],
        xattrs: &[(Vec<u8>, Vec<u8>)],
        mut set: impl FnMut(&mut Tally, &[u8], &[u8]) -> Called<()>,
    ) -> Result<(), Fault> {
        for (key, value) in xattrs {
            if FORGED.iter().any(|prefix| key.starts_with(prefix)) {
                self.counts.forged_xattrs.note(&labelled(name, key));
                continue;
            }
            let of_root = key.starts_with(b"trusted.") || key.starts_with(b"security.");
            if HOSTS.iter().any(|prefix| key.starts_with(prefix)) || of_root && !self.privileged {
                self.counts.not_kept_xattrs.note(&labelled(name, key));
                continue;
            }
            match set(&mut self.counts.tally, key, value) {
                Ok(()) => {}
                // Not for this user, this type of file, or this file system; or an ACL of ids without a place here.
                Err(failed) if matches!(failed.errno, Errno::PERM | Errno::OPNOTSUPP | Errno::INVAL) => {
                    self.counts.not_kept_xattrs.note(&labelled(name, key));
                }
                Err(failed) => return Err(failed.into()),
            }
        }
        Ok(())
    }
}

/// A name with what it is about, for an example.
pub fn labelled(name: &[u8], label: &[u8]) -> Vec<u8> {
    [name, b": ", label].concat()
}
