//! Directories that a layer only passes through take after those of the layers below.
//!
//! An archive may hold `a/b/c` without `a/` and `a/b/`. Both must exist to hold `c`, but overlayfs shows a merged
//! directory with the owner, mode, time and attributes that it has in the **topmost** layer: a `/tmp` that was
//! made on the way to `/tmp/x` would lose its mode 1777 (podman resets such directories to 0755). So they are
//! given the attributes of the directory that they will cover. This is separate from unpacking because it takes
//! all layers, and these are unpacked at the same time.
//!
//! The layers are gone through once, from the lowest up, and what has been seen so far is remembered, but only for
//! the names that a layer asks about. To look each name up in one layer after the other would take layers times
//! layers calls: five hundred that all put a directory of their own into `srv/` would take a hundred thousand walks.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{OpaqueXattr, path_of};
use crate::error::Result;
use crate::sys::tree::{About, Called, Tally};

/// The place of the image's root.
const ROOT: usize = 0;

/// What the layers that were laid on each other so far show at the directories that a layer above may pass through.
pub struct Below {
    /// A tree of names, which begins with the root.
    places: Vec<Place>,
}

/// A name that some layer asks about, or that leads to one.
struct Place {
    parent: usize,
    name: Box<[u8]>,
    children: HashMap<Box<[u8]>, usize>,
    /// The highest layer that asks about it or about something in it.
    asked_by: usize,
    /// The highest layer that asks about something in it; 0 for none.
    inside: usize,
    /// The directory that is to be seen there. Without one nothing is seen in it either.
    seen: Option<About>,
}

/// A directory of a layer on the way through it.
struct Level {
    place: usize,
    dir: OwnedFd,
    about: About,
    /// What is in it and asked about.
    todo: Vec<usize>,
}

impl Below {
    /// Knows what will be asked: the directories that layers pass through. Layers have numbers from 1, the lowest.
    pub fn asked_by<'a>(layers: impl IntoIterator<Item = (usize, &'a [PathBuf])>) -> Self {
        let mut below = Self { places: vec![Place::new(ROOT, Box::default())] };
        for (number, implicit) in layers {
            for path in implicit {
                below.ask(path, number);
            }
        }
        below
    }

    fn ask(&mut self, path: &Path, number: usize) {
        let mut here = ROOT;
        for name in names(path) {
            let next = self.places.len();
            let above = &mut self.places[here];
            above.asked_by = above.asked_by.max(number);
            above.inside = above.inside.max(number);
            let place = *above.children.entry(name.into()).or_insert(next);
            if place == next {
                self.places.push(Place::new(here, name.into()));
            }
            here = place;
        }
        let place = &mut self.places[here];
        place.asked_by = place.asked_by.max(number);
    }

    /// Whether this layer or a higher one asks about anything.
    #[must_use]
    pub fn is_asked(&self, number: usize) -> bool {
        self.places[ROOT].asked_by >= number
    }

    /// Lays the next higher layer on those below, and gives the directories that it passes through the owner, mode and
    /// time of what they cover: those of `implicit`, or none in a layer for which this was done before.
    ///
    /// A layer that was changed so fits only on these lower layers: it must not be shared with an image that has others.
    pub fn lay(
        &mut self,
        (number, layer): (usize, &Path),
        (implicit, opaque_root): (&[PathBuf], bool),
        tally: &mut Tally,
    ) -> Result<()> {
        if !self.is_asked(number) {
            return Ok(());
        }
        if opaque_root {
            self.forget(ROOT);
        }
        let implicit = implicit.iter().filter_map(|path| self.place_of(path)).collect();
        let mut walk = Walk { below: self, number, implicit, at: ROOT, tally };
        walk.whole(layer).map_err(|failed| {
            let path = layer.join(walk.below.path(walk.at));
            let what = format!("cannot lay `{}` on the layers below", path.display());
            failed.error(what, &path.file_name().unwrap_or_default().to_string_lossy())
        })
    }

    fn place_of(&self, path: &Path) -> Option<usize> {
        names(path).try_fold(ROOT, |here, name| self.places[here].children.get(name).copied())
    }

    fn path(&self, mut place: usize) -> PathBuf {
        let mut names: Vec<&[u8]> = Vec::new();
        while place != ROOT {
            names.push(&self.places[place].name);
            place = self.places[place].parent;
        }
        names.reverse();
        path_of(names.join(&b'/'))
    }

    /// Nothing is seen there any more, nor in it.
    fn forget(&mut self, place: usize) {
        if self.places[place].seen.take().is_some() {
            self.forget_inside(place);
        }
    }

    fn forget_inside(&mut self, place: usize) {
        let mut doomed: Vec<usize> = self.places[place].children.values().copied().collect();
        while let Some(place) = doomed.pop() {
            let place = &mut self.places[place];
            if place.seen.take().is_some() {
                doomed.extend(place.children.values());
            }
        }
    }
}

impl Place {
    fn new(parent: usize, name: Box<[u8]>) -> Self {
        Self { parent, name, children: HashMap::new(), asked_by: 0, inside: 0, seen: None }
    }
}

/// The way through one layer, along the names that are asked about.
struct Walk<'a> {
    below: &'a mut Below,
    /// The layer's.
    number: usize,
    /// What it passes through.
    implicit: HashSet<usize>,
    /// What the last call was about.
    at: usize,
    tally: &'a mut Tally,
}

impl Walk<'_> {
    fn whole(&mut self, layer: &Path) -> Called<()> {
        let dir = self.tally.open_start(layer)?;
        let about = self.tally.about_open(dir.as_fd())?;
        let mut levels = vec![self.enter(ROOT, dir, about)?];
        while let Some(level) = levels.last_mut() {
            if let Some(place) = level.todo.pop() {
                let next = self.look(place, level.dir.as_fd())?;
                levels.extend(next);
            } else if let Some(level) = levels.pop() {
                self.leave(level)?;
            }
        }
        Ok(())
    }

    /// Looks at what the layer has under a name. It is opened only if there is more to do in it or to it.
    fn look(&mut self, place: usize, parent: BorrowedFd<'_>) -> Called<Option<Level>> {
        self.at = place;
        let name = &self.below.places[place].name;
        let about = self.tally.about(parent, name)?;
        if !about.is_dir() {
            // A file, a link or a whiteout: from here up nothing of the layers below is seen under this name.
            self.below.forget(place);
            return Ok(None);
        }
        if !self.implicit.contains(&place) && self.below.places[place].inside < self.number {
            self.below.places[place].seen = Some(about);
            return Ok(None);
        }
        let dir = self.tally.open_directory(parent, name)?;
        self.enter(place, dir, about).map(Some)
    }

    /// Finds out what of a directory is asked about, by this layer or a higher one.
    fn enter(&mut self, place: usize, dir: OwnedFd, about: About) -> Called<Level> {
        self.at = place;
        let (places, number) = (&self.below.places, self.number);
        let mut todo = Vec::new();
        if places[place].inside >= number {
            self.tally.list(dir.as_fd(), |_, name, _| {
                let child = places[place].children.get(name).copied();
                todo.extend(child.filter(|child| places[*child].asked_by >= number));
                Ok(())
            })?;
        }
        if place != ROOT && self.hides(place, dir.as_fd())? {
            self.below.forget_inside(place);
        }
        Ok(Level { place, dir, about, todo })
    }

    /// Whether a directory is opaque, if that makes a difference. A root cannot be.
    fn hides(&mut self, place: usize, dir: BorrowedFd<'_>) -> Called<bool> {
        let places = &self.below.places;
        if places[place].children.values().all(|child| places[*child].seen.is_none()) {
            return Ok(false);
        }
        for kind in [OpaqueXattr::Trusted, OpaqueXattr::User] {
            if self.tally.is_marked(dir, kind.name())? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A directory takes after the one it covers when all in it have: its mode may keep an ordinary user from reaching
    /// them, and its time is not changed by what is done to its children.
    fn leave(&mut self, level: Level) -> Called<()> {
        let Level { place, dir, about, .. } = level;
        self.at = place;
        match self.below.places[place].seen {
            Some(covered) if self.implicit.contains(&place) => {
                take_after(dir.as_fd(), &about, &covered, self.tally)?;
            }
            _ => self.below.places[place].seen = Some(about),
        }
        self.tally.close(dir);
        Ok(())
    }
}

/// Owner first, since chown(2) clears bits of the mode; time last.
fn take_after(dir: BorrowedFd<'_>, now: &About, covered: &About, tally: &mut Tally) -> Called<()> {
    if (now.uid, now.gid) != (covered.uid, covered.gid) {
        tally.fchown(dir, covered.uid, covered.gid)?;
    }
    if now.mode != covered.mode {
        tally.fchmod(dir, covered.mode)?;
    }
    tally.futimens(dir, covered.mtime)
}

/// The components of a path below the root.
fn names(path: &Path) -> impl Iterator<Item = &[u8]> {
    path.components().map(|component| component.as_os_str().as_bytes())
}
