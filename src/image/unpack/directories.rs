//! The directories of a layer while it is unpacked: which there are, what becomes of them at the end, and a few
//! of them open.
//!
//! The directory that a layer is unpacked into was empty, and everything in it was made here. So this table is the
//! whole truth about directories, and a name is resolved by walking the table: no component is ever looked up by
//! the kernel, and none twice. Only a component that the table does not know costs calls: it is new, or a link,
//! whose target is then walked **in the table** as well, where `/` is the image's root and the parent of the root
//! is the root. What the kernel gets to see is always a descriptor and one name, so there is nothing in an archive
//! that could lead it elsewhere. (openat2 with `RESOLVE_IN_ROOT` would resolve as safely, but each name from the
//! top, and it is not allowed inside every container.)

use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::Fault;
use super::names::{self, MOST_LINKS, Meaning, components};
use crate::sys::tree::{Errno, Failed, Tally, remove_below};

/// How many directories are kept open. Archives are written directory by directory, so a few are enough.
const SLOTS: usize = 48;

/// Permissions of a directory that the archive does not list, until a lower layer says better.
pub const IMPLICIT_MODE: u32 = 0o755;

/// A directory, by its place in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Id(u32);

impl Id {
    /// The root of the image.
    pub const ROOT: Self = Self(0);

    fn index(self) -> usize {
        self.0 as usize
    }
}

/// Owner, permissions and time of a directory, as its entry has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits.
    pub mode: u32,
    /// The owning user.
    pub uid: u32,
    /// The owning group.
    pub gid: u32,
    /// Seconds and nanoseconds since 1970.
    pub mtime: (i64, u32),
}

/// Extended attributes, names and values.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// One directory of the layer.
#[derive(Debug)]
pub struct Directory {
    /// Its name in its parent.
    pub name: Box<[u8]>,
    /// The directory it is in; the root is in itself.
    pub parent: Id,
    /// How far below the root it is.
    depth: usize,
    /// The permissions it was made with.
    pub made_mode: u32,
    /// What the archive says of it; `None` for one that it does not list.
    pub attributes: Option<Attributes>,
    /// Extended attributes to be set.
    pub xattrs: Option<Box<Xattrs>>,
    /// Whether nothing of the lower layers is to show in it.
    pub opaque: bool,
    /// Whether it has been replaced by something else.
    pub gone: bool,
    children: HashMap<Box<[u8]>, Id>,
    slot: Option<usize>,
}

/// An open directory.
struct Slot {
    id: Id,
    fd: OwnedFd,
    used: u64,
}

/// The table.
pub struct Directories {
    root: OwnedFd,
    table: Vec<Directory>,
    slots: Vec<Slot>,
    clock: u64,
    deepest: usize,
    /// The last name that was resolved, and to what: most entries are in the directory of the one before.
    last: Option<(Vec<u8>, Id)>,
    /// Names that the archive has and the directory lacks: what could not be made.
    left_out: HashSet<(Id, Box<[u8]>)>,
}

impl Directories {
    /// A table that knows the root, which is open as `root` and has these permissions.
    pub fn new(root: OwnedFd, made_mode: u32, deepest: usize) -> Self {
        let root_directory = Directory::new(Box::default(), Id::ROOT, 0, made_mode);
        Self {
            root,
            table: vec![root_directory],
            slots: Vec::with_capacity(SLOTS),
            clock: 0,
            deepest,
            last: None,
            left_out: HashSet::new(),
        }
    }

    /// A directory of the table.
    pub fn get(&self, id: Id) -> &Directory {
        &self.table[id.index()]
    }

    /// A directory of the table, to be changed.
    pub fn get_mut(&mut self, id: Id) -> &mut Directory {
        &mut self.table[id.index()]
    }

    /// All directories that are still there, children before their parents: what is made later is further down.
    pub fn children_first(&self) -> impl Iterator<Item = Id> + use<> {
        let alive: Vec<Id> = self.ids().filter(|&id| !self.get(id).gone).collect();
        alive.into_iter().rev()
    }

    fn ids(&self) -> impl Iterator<Item = Id> {
        (0_u32..).take(self.table.len()).map(Id)
    }

    /// The directory of this name in `parent`, if it is one that the table knows.
    pub fn child(&self, parent: Id, name: &[u8]) -> Option<Id> {
        self.get(parent).children.get(name).copied()
    }

    /// The path of a directory below the root.
    pub fn path(&self, mut id: Id) -> Vec<u8> {
        let mut names: Vec<&[u8]> = Vec::new();
        while id != Id::ROOT {
            names.push(&self.get(id).name);
            id = self.get(id).parent;
        }
        names.reverse();
        names.join(&b'/')
    }

    /// Whether a directory above this one, or itself, is opaque.
    pub fn is_below_opaque(&self, mut id: Id) -> bool {
        loop {
            if self.get(id).opaque {
                return true;
            }
            if id == Id::ROOT {
                return false;
            }
            id = self.get(id).parent;
        }
    }

    /// An open descriptor of a directory.
    pub fn open(&mut self, id: Id, tally: &mut Tally) -> Result<BorrowedFd<'_>, Fault> {
        if id == Id::ROOT {
            return Ok(self.root.as_fd());
        }
        let slot = match self.get(id).slot {
            Some(slot) => slot,
            None => self.open_chain(id, tally)?,
        };
        self.clock += 1;
        self.slots[slot].used = self.clock;
        Ok(self.slots[slot].fd.as_fd())
    }

    /// Opens a directory from the closest one above it that is open, step by step.
    fn open_chain(&mut self, id: Id, tally: &mut Tally) -> Result<usize, Fault> {
        let mut chain = vec![id];
        let mut above = self.get(id).parent;
        while above != Id::ROOT && self.get(above).slot.is_none() {
            chain.push(above);
            above = self.get(above).parent;
        }
        let mut opened = 0;
        while let Some(id) = chain.pop() {
            let directory = self.get(id);
            let parent = match self.get(directory.parent).slot {
                Some(slot) => self.slots[slot].fd.as_fd(),
                None => self.root.as_fd(),
            };
            let fd = tally.open_directory(parent, &directory.name)?;
            opened = self.keep(id, fd, tally);
        }
        Ok(opened)
    }

    /// Keeps a descriptor, in the place of the one that was not used for longest.
    fn keep(&mut self, id: Id, fd: OwnedFd, tally: &mut Tally) -> usize {
        self.clock += 1;
        let new = Slot { id, fd, used: self.clock };
        let slot = if self.slots.len() < SLOTS {
            self.slots.push(new);
            self.slots.len() - 1
        } else {
            let oldest = (0..SLOTS).min_by_key(|&slot| self.slots[slot].used).unwrap_or(0);
            let old = std::mem::replace(&mut self.slots[oldest], new);
            self.get_mut(old.id).slot = None;
            tally.close(old.fd);
            oldest
        };
        self.get_mut(id).slot = Some(slot);
        slot
    }

    /// Open descriptors of two directories at once.
    pub fn open_both(
        &mut self,
        (first, second): (Id, Id),
        tally: &mut Tally,
    ) -> Result<(BorrowedFd<'_>, BorrowedFd<'_>), Fault> {
        self.open(first, tally)?;
        // Opening the second may close others, but not one that was just used in the distant future.
        if let Some(slot) = self.get(first).slot {
            self.slots[slot].used = u64::MAX;
        }
        self.open(second, tally)?;
        self.clock += 1;
        if let Some(slot) = self.get(first).slot {
            self.slots[slot].used = self.clock;
        }
        Ok((self.opened(first), self.opened(second)))
    }

    fn opened(&self, id: Id) -> BorrowedFd<'_> {
        self.get(id).slot.map_or(self.root.as_fd(), |slot| self.slots[slot].fd.as_fd())
    }

    /// Closes everything.
    pub fn close(self, tally: &mut Tally) {
        for slot in self.slots {
            tally.close(slot.fd);
        }
        tally.close(self.root);
    }

    /// Closes the descriptor of a directory, if it is open.
    fn close_slot(&mut self, id: Id, tally: &mut Tally) {
        let Some(slot) = self.get_mut(id).slot.take() else { return };
        let old = self.slots.swap_remove(slot);
        tally.close(old.fd);
        if let Some(moved) = self.slots.get(slot).map(|moved| moved.id) {
            self.get_mut(moved).slot = Some(slot);
        }
    }

    /// Adds a directory that was just made.
    pub fn add(&mut self, parent: Id, name: &[u8], made_mode: u32) -> Result<Id, Fault> {
        let id = u32::try_from(self.table.len())
            .map(Id)
            .map_err(|_| Fault::rule("there are too many directories"))?;
        let depth = self.get(parent).depth + 1;
        if depth > self.deepest {
            return Err(Fault::limit("it is deeper than", self.deepest as u64, "directories", "--max-depth"));
        }
        let name: Box<[u8]> = name.into();
        self.get_mut(parent).children.insert(name.clone(), id);
        self.table.push(Directory::new(name, parent, depth, made_mode));
        Ok(id)
    }

    /// Leaves out what would have this name. What had it before goes all the same, so that nothing else is found there.
    /// Returns whether there was something.
    pub fn leave_out(&mut self, parent: Id, name: &[u8], tally: &mut Tally) -> Result<bool, Fault> {
        self.left_out.insert((parent, name.into()));
        match self.remove(parent, name, tally) {
            Err(Fault::Call(Failed { errno: Errno::NOENT, .. })) => Ok(false),
            removed => removed.map(|()| true),
        }
    }

    /// Whether what has this name in the archive was left out.
    pub fn is_left_out(&self, parent: Id, name: &[u8]) -> bool {
        // Most layers have no such names, and a key takes an allocation.
        !self.left_out.is_empty() && self.left_out.contains(&(parent, name.into()))
    }

    /// Something that can be made has taken the name.
    pub fn made(&mut self, parent: Id, name: &[u8]) {
        if !self.left_out.is_empty() {
            self.left_out.remove(&(parent, name.into()));
        }
    }

    /// Removes whatever has this name, with everything in it, so that something else can take its place.
    pub fn remove(&mut self, parent: Id, name: &[u8], tally: &mut Tally) -> Result<(), Fault> {
        // Any name may have led through what is removed.
        self.last = None;
        let Some(id) = self.get_mut(parent).children.remove(name) else {
            let parent = self.open(parent, tally)?;
            return Ok(tally.unlink(parent, name)?);
        };
        let mut doomed = vec![id];
        while let Some(id) = doomed.pop() {
            self.close_slot(id, tally);
            let directory = self.get_mut(id);
            directory.gone = true;
            doomed.extend(std::mem::take(&mut directory.children).into_values());
        }
        let parent = self.open(parent, tally)?;
        remove_below(parent, name, Path::new(OsStr::from_bytes(name)), tally).map_err(Fault::Whole)
    }

    /// Resolves a clean name to a directory, making what is missing; `None` if it is missing and not to be made.
    pub fn resolve(&mut self, name: &[u8], make: bool, tally: &mut Tally) -> Result<Option<Id>, Fault> {
        if let Some((last, id)) = &self.last
            && last.as_slice() == name
        {
            return Ok(Some(*id));
        }
        let found = self.walk(name, make, tally)?;
        if let Some(id) = found {
            let mut last = self.last.take().map_or_else(Vec::new, |(name, _)| name);
            last.clear();
            last.extend_from_slice(name);
            self.last = Some((last, id));
        }
        Ok(found)
    }

    /// Walks a name through the table as far as that knows it, which for most names is to the end.
    fn walk(&mut self, name: &[u8], make: bool, tally: &mut Tally) -> Result<Option<Id>, Fault> {
        let mut here = Id::ROOT;
        let mut rest = name;
        while !rest.is_empty() {
            let (component, after) = first_component(rest);
            match self.child(here, component) {
                Some(child) => here = child,
                None => return self.walk_unknown(here, rest, make, tally),
            }
            rest = after;
        }
        Ok(Some(here))
    }

    /// Walks on from a component that is missing or a link.
    fn walk_unknown(
        &mut self,
        mut here: Id,
        rest: &[u8],
        make: bool,
        tally: &mut Tally,
    ) -> Result<Option<Id>, Fault> {
        let mut links = 0;
        // What is still to be walked: the rest of the name, in front of it the targets of links on the way.
        let mut pending: VecDeque<Box<[u8]>> = components(rest).collect();
        while let Some(component) = pending.pop_front() {
            if *component == *b".." {
                here = self.get(here).parent;
                continue;
            }
            if let Some(child) = self.child(here, &component) {
                here = child;
                continue;
            }
            match self.unknown(here, &component, make, tally)? {
                Unknown::Made(id) => here = id,
                Unknown::Missing => return Ok(None),
                Unknown::Link(target) => {
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(Fault::rule("its name leads through more than 40 symbolic links"));
                    }
                    if target.starts_with(b"/") {
                        here = Id::ROOT;
                    }
                    for component in components(&target).collect::<Vec<_>>().into_iter().rev() {
                        pending.push_front(component);
                    }
                }
            }
        }
        Ok(Some(here))
    }

    /// A component that is no directory of the table: made now, a link, or an error.
    fn unknown(&mut self, here: Id, name: &[u8], make: bool, tally: &mut Tally) -> Result<Unknown, Fault> {
        if make {
            if !matches!(names::meaning(name), Meaning::Real(_)) {
                return Err(Fault::rule("a directory on its way would have a name of a whiteout (`.wh.`)"));
            }
            if self.is_left_out(here, name) {
                return Err(Fault::no_directory(name));
            }
            let parent = self.open(here, tally)?;
            match tally.mkdirat(parent, name, IMPLICIT_MODE) {
                Ok(()) => return Ok(Unknown::Made(self.add(here, name, IMPLICIT_MODE)?)),
                Err(taken) if taken.errno == Errno::EXIST => {}
                Err(failed) => return Err(failed.into()),
            }
        }
        let parent = self.open(here, tally)?;
        match tally.readlinkat(parent, name) {
            Ok(target) => Ok(Unknown::Link(target)),
            Err(missing) if missing.errno == Errno::NOENT => Ok(Unknown::Missing),
            Err(other) if other.errno == Errno::INVAL => Err(Fault::no_directory(name)),
            Err(failed) => Err(failed.into()),
        }
    }
}

/// A clean name as its first component and what comes after it.
fn first_component(name: &[u8]) -> (&[u8], &[u8]) {
    match name.iter().position(|&byte| byte == b'/') {
        Some(slash) => (&name[..slash], &name[slash + 1..]),
        None => (name, b""),
    }
}

/// What a component turned out to be that the table did not know.
enum Unknown {
    Made(Id),
    Link(Vec<u8>),
    Missing,
}

impl Directory {
    fn new(name: Box<[u8]>, parent: Id, depth: usize, made_mode: u32) -> Self {
        Self {
            name,
            parent,
            depth,
            made_mode,
            attributes: None,
            xattrs: None,
            opaque: false,
            gone: false,
            children: HashMap::new(),
            slot: None,
        }
    }
}
