//! The journal: what has to be undone, written down before it is done.
//!
//! One file per run, below the state directory, one JSON object a line. The run holds a lock on it
//! ([flock(2)](https://man7.org/linux/man-pages/man2/flock.2.html)) that dies with the process. A journal
//! whose lock is free belongs to a run that was killed: `cutaway cleanup` replays it in reverse. The file
//! lives below the state directory and not below /run, so that what a power failure leaves on disk is found
//! as well.
//!
//! The file's name is the name of the run, which also makes names exclusive: the second run of a name finds
//! the lock taken.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::plan::{Bulk, Undo};

use super::{give_back, make_private};

/// The undo of one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The step's id.
    pub step: String,
    /// What undoes it.
    pub undo: Vec<Undo>,
}

/// The first line of a journal.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Head {
    /// The image that the run uses.
    uses: Option<String>,
}

/// The journal of a live run.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    /// The directories that were made for it.
    made: Vec<PathBuf>,
}

/// A journal whose run has died.
#[derive(Debug)]
pub struct Dead {
    /// The run's name.
    pub name: String,
    /// What has to be undone, in the order in which it was done.
    pub entries: Vec<Entry>,
    /// Holds the lock.
    _journal: Journal,
}

/// Stands for a step in the journal of a run whose work stays.
const KEPT: &str = "kept";

impl Dead {
    /// Whether the run ended well, and its work was to stay.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.entries.last().is_some_and(|entry| entry.step == KEPT)
    }
}

/// How often a lock that is held only for a moment is tried again.
const PATIENCE: u32 = 50;

fn folder(state: &Path) -> PathBuf {
    state.join("journal")
}

impl Journal {
    /// Opens the journal of this name and takes its lock.
    ///
    /// # Errors
    /// When a live run has the name, when a dead one has left it, or when the file cannot be written.
    pub fn claim(state: &Path, name: &str, uses: Option<&str>) -> Result<Self> {
        let folder = folder(state);
        let path = folder.join(name);
        let mut made = Vec::new();
        let mut open = || open_or_make(&path, &folder, &mut made);
        let mut file = open()?;
        let mut patience = PATIENCE;
        loop {
            if !try_lock(&file, &path)? {
                // A cleanup may be looking at it: then it is free again in a moment.
                if patience > 0 && file.metadata().is_ok_and(|about| about.len() == 0) {
                    patience -= 1;
                    std::thread::sleep(std::time::Duration::from_millis(2));
                    continue;
                }
                return Err(Error::new(format!("container {name} already exists"))
                    .rule("a run of that name is alive and holds the lock on its journal")
                    .remedy("choose another --name, or end the other run first"));
            }
            // Between open and lock, its former owner may have removed the file: then the name is free.
            if is_still_at(&file, &path) {
                break;
            }
            file = open()?;
        }
        if file.metadata().map_err(|cause| cannot_write(&path, &cause))?.len() > 0 {
            if read_entries(&file).last().is_some_and(|entry| entry.step == KEPT) {
                return Err(Error::new(format!("{name} is there already: an earlier command has kept it"))
                    .remedy("`cutaway cleanup` removes it; or choose another --name"));
            }
            return Err(Error::new(format!("container {name} was left behind by a run that died"))
                .rule("its journal still says what has to be undone")
                .remedy("`cutaway cleanup` undoes it"));
        }
        let mut journal = Self { file, path, made };
        journal.write(&Head { uses: uses.map(ToOwned::to_owned) })?;
        Ok(journal)
    }

    fn write(&mut self, line: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_vec(line)
            .map_err(|cause| Error::new(format!("could not encode a journal entry: {cause}")))?;
        line.push(b'\n');
        self.file
            .write_all(&line)
            .map_err(|cause| Error::io(format!("cannot write the journal {}", self.path.display()), &cause))
    }

    /// Writes down how a step is undone. Called before the step is performed.
    pub fn record(&mut self, step: &str, undo: &[Undo]) -> Result<()> {
        self.write(&Entry { step: step.to_owned(), undo: undo.to_vec() })
    }

    /// Whether this is the place of the journal.
    #[must_use]
    pub fn is_at(&self, place: &Path) -> bool {
        self.path == place
    }

    /// The descriptor that a child has to close, because it would keep the lock.
    #[must_use]
    pub fn raw(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Moves the journal to where its owner will look for it: what it undoes is to stay for now.
    pub fn keep(mut self, place: &Path) -> Result<()> {
        if self.is_at(place) {
            return self.record(KEPT, &[]);
        }
        std::fs::rename(&self.path, place)
            .map_err(|cause| Error::io(format!("cannot keep the journal as {}", place.display()), &cause))
    }

    /// Removes the journal: everything is undone. The state directory goes with it if it was made for it and nothing else
    /// is in it; where it is kept, so is the folder of journals, which the next run would have to make.
    pub fn finish(self) -> Result<()> {
        remove(&self.path)?;
        if let [.., state, folder] = &self.made[..]
            && holds_nothing_but(state, folder)
        {
            give_back(&self.made);
        }
        Ok(())
    }
}

fn holds_nothing_but(dir: &Path, entry: &Path) -> bool {
    std::fs::read_dir(dir).is_ok_and(|entries| entries.flatten().all(|one| one.path() == entry))
}

/// Opens a journal. The folder is there on all runs but the first, unless the one that has made it takes it away right now.
fn open_or_make(path: &Path, folder: &Path, made: &mut Vec<PathBuf>) -> Result<File> {
    let open = || OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path);
    for _ in 0..PATIENCE {
        match open() {
            Err(cause) if cause.kind() == ErrorKind::NotFound => made.extend(make_private(folder)?),
            Err(cause) => return Err(cannot_write(path, &cause)),
            Ok(file) => return Ok(file),
        }
    }
    open().map_err(|cause| cannot_write(path, &cause))
}

fn cannot_write(path: &Path, cause: &std::io::Error) -> Error {
    Error::io(format!("cannot write the journal {}", path.display()), cause)
        .remedy("name another place with --state DIR")
}

/// Whether the run of this name is alive: somebody holds the lock on its journal.
#[must_use]
pub fn is_alive(state: &Path, name: &str) -> bool {
    let path = place(state, name);
    File::open(&path).is_ok_and(|file| matches!(try_lock(&file, &path), Ok(false)))
}

/// The first process of a live run of this name: the child that its journal would kill. `None` if there is no such run,
/// or its child is not born yet.
#[must_use]
pub fn process_of(state: &Path, name: &str) -> Option<i32> {
    if !is_alive(state, name) {
        return None;
    }
    let file = File::open(place(state, name)).ok()?;
    let undo = read_entries(&file).into_iter().flat_map(|entry| entry.undo);
    let process = |undo| match undo {
        Undo::Bulk(Bulk::KillProcess { pid, started }) => Some((pid, started)),
        _ => None,
    };
    // Whoever has the pid now must be the one that was started then.
    undo.filter_map(process)
        .find(|(pid, started)| crate::probe::start_time(*pid) == Some(*started))
        .map(|(pid, _)| pid)
}

/// The names of the live runs.
#[must_use]
pub fn live(state: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder(state)).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> = names.filter(|name| is_alive(state, name)).collect();
    names.sort();
    names
}

/// Where the journal of this name is. A run whose work stays until a cleanup keeps its journal there.
#[must_use]
pub fn place(state: &Path, name: &str) -> PathBuf {
    folder(state).join(name)
}

/// What a journal says of its run, whether that lives or not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// The digest of the image that it uses.
    pub uses: Option<String>,
    /// The processes that it has started.
    pub pids: Vec<i32>,
}

/// Reads what the journal of this name says; nothing if there is none that this user may read.
#[must_use]
pub fn about(state: &Path, name: &str) -> Option<About> {
    let file = File::open(place(state, name)).ok()?;
    let mut lines = BufReader::new(file).lines();
    let head: Head = serde_json::from_str(&lines.next()?.ok()?).ok()?;
    let entries = lines.map_while(|line| serde_json::from_str::<Entry>(&line.ok()?).ok());
    let pids = entries.flat_map(|entry| entry.undo).filter_map(|undo| match undo {
        Undo::Bulk(Bulk::KillProcess { pid, .. }) => Some(pid),
        _ => None,
    });
    Some(About { uses: head.uses, pids: pids.collect() })
}

/// What a kept journal undoes, in the order in which it was done; nothing where there is no such file.
pub fn kept(place: &Path) -> Result<Vec<Entry>> {
    match File::open(place) {
        Ok(file) => Ok(read_entries(&file)),
        Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(cause) => Err(Error::io(format!("cannot read the journal {}", place.display()), &cause)),
    }
}

/// Removes the journal of a dead run.
pub fn forget(state: &Path, name: &str) -> Result<()> {
    remove(&place(state, name))
}

/// The live run that uses this image.
#[must_use]
pub fn user_of(state: &Path, image: &str) -> Option<String> {
    let uses = |name: &String| about(state, name).and_then(|about| about.uses);
    live(state).into_iter().find(|name| uses(name).as_deref() == Some(image))
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(cause) if cause.kind() != ErrorKind::NotFound => {
            Err(Error::io(format!("cannot remove the journal {}", path.display()), &cause))
        }
        _ => Ok(()),
    }
}

/// Whether there is a journal of this name, of a live run or a dead one.
#[must_use]
pub fn exists(state: &Path, name: &str) -> bool {
    place(state, name).exists()
}

/// The journals whose runs have died, each locked for the caller.
pub fn dead(state: &Path) -> Result<Vec<Dead>> {
    let folder = folder(state);
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(cause) => return Err(Error::io(format!("cannot read {}", folder.display()), &cause)),
    };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(file) = OpenOptions::new().read(true).append(true).open(&path) else { continue };
        if try_lock(&file, &path)? && is_still_at(&file, &path) {
            let name = entry.file_name().to_string_lossy().into_owned();
            let entries = read_entries(&file);
            found.push(Dead { name, entries, _journal: Journal { file, path, made: Vec::new() } });
        }
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

/// The entries that were written whole. A line that its writer was killed over belongs to a step that had
/// not begun.
fn read_entries(file: &File) -> Vec<Entry> {
    let lines = BufReader::new(file).lines().skip(1);
    lines.map_while(|line| serde_json::from_str(&line.ok()?).ok()).collect()
}

/// Takes the lock if it is free. It belongs to the open file, not to the process: it is released when the
/// last descriptor of that open file is closed.
fn try_lock(file: &File, path: &Path) -> Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(std::fs::TryLockError::WouldBlock) => Ok(false),
        Err(std::fs::TryLockError::Error(cause)) => {
            Err(Error::io(format!("cannot lock the journal {}", path.display()), &cause))
        }
    }
}

fn is_still_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(open), Ok(there)) => open.ino() == there.ino() && open.dev() == there.dev(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_belongs_to_one_live_run_and_a_dead_one_is_found() {
        let state = tempfile::tempdir().unwrap();
        let mut journal = Journal::claim(state.path(), "box", None).unwrap();
        let undo = vec![Undo::Bulk(Bulk::RemoveTree { path: "/nowhere".into() })];
        journal.record("1", &undo).unwrap();
        assert!(
            Journal::claim(state.path(), "box", None).unwrap_err().to_string().contains("already exists")
        );
        assert!(is_alive(state.path(), "box"));
        assert!(dead(state.path()).unwrap().is_empty(), "its lock is held");

        drop(journal); // as the kernel does when the process dies
        assert!(Journal::claim(state.path(), "box", None).unwrap_err().to_string().contains("left behind"));
        let mut left = dead(state.path()).unwrap();
        let one = left.remove(0);
        assert_eq!((one.name.as_str(), &one.entries[0].undo), ("box", &undo));
        drop(one);
        forget(state.path(), "box").unwrap();
        Journal::claim(state.path(), "box", None).unwrap().finish().unwrap();
    }

    #[test]
    fn a_state_directory_that_was_made_for_the_journal_goes_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let (above, state) = (dir.path().join("above"), dir.path().join("above/state"));
        let journal = || Journal::claim(&state, "box", None).unwrap();
        journal().finish().unwrap();
        assert!(!above.exists() && dir.path().exists());
        // What is in it keeps it, and what was there stays.
        let first = journal();
        std::fs::write(state.join("more"), "").unwrap();
        first.finish().unwrap();
        assert_eq!(std::fs::read_dir(&state).unwrap().count(), 2);
        std::fs::remove_file(state.join("more")).unwrap();
        journal().finish().unwrap();
        assert!(folder(&state).exists());
    }

    #[test]
    fn the_state_directory_may_go_while_another_run_begins() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("above/state");
        let runs = |name: &str| {
            for _ in 0..500 {
                Journal::claim(&state, name, None).unwrap().finish().unwrap();
            }
        };
        let others = || {
            for number in 0..500 {
                let other = state.join(format!("other/{number}"));
                make_private(&other).unwrap();
                std::fs::remove_dir(&other).unwrap();
                let _ = std::fs::remove_dir(state.join("other"));
            }
        };
        std::thread::scope(|scope| {
            for name in ["one", "two"] {
                scope.spawn(move || runs(name));
            }
            scope.spawn(others);
        });
    }

    #[test]
    fn a_line_that_was_not_written_whole_is_not_replayed() {
        let state = tempfile::tempdir().unwrap();
        let mut journal = Journal::claim(state.path(), "box", None).unwrap();
        journal.record("1", &[Undo::Bulk(Bulk::RemoveTree { path: "/a".into() })]).unwrap();
        journal.file.write_all(b"{\"step\":\"2\",\"undo\":[{\"Bul").unwrap();
        drop(journal);
        assert_eq!(dead(state.path()).unwrap()[0].entries.len(), 1);
    }
}
