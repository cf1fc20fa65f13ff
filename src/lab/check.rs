//! What a check looks at, and the looking: the kernel's state now, the lab's files, and what was noted before.
//!
//! A predicate says what must be seen, never how it came about, so that every way to get there counts. Each answers
//! with what it saw, whether it holds or not.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::images;
use super::sheet::Kind;
use super::spaces;
use super::traits::{self, Place, Trait};
use super::trial::Trial;
use crate::probe::work::{self, Worker};
use crate::probe::{Probe, inside, overlay, tree};
use crate::state::journal;
use crate::sys::flags::CloneFlags;

/// Something that can be seen. Paths are those of the lab's directory.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Predicate {
    /// So many of the lab's processes have all of these traits.
    Processes {
        /// The traits, in the order in which a student gets them.
        with: Vec<Trait>,
        /// At least so many; 1 where nothing is said.
        #[serde(default)]
        at_least: Option<usize>,
        /// At most so many.
        #[serde(default)]
        at_most: Option<usize>,
        /// Count their namespaces of this kind instead of them.
        #[serde(default)]
        distinct: Option<Kind>,
        /// Note which they were under this name, for `gone` in a later stage.
        #[serde(default)]
        remember: Option<String>,
    },
    /// None of the processes that were noted under this name is there any more, not even as a zombie.
    Gone(String),
    /// One of the processes that were noted under this name, or one that descends from them, has cutaway's own root.
    Escaped(String),
    /// The file holds this text, white space at its ends apart.
    FileIs {
        /// The file.
        path: String,
        /// The text.
        text: String,
    },
    /// Two files hold the same text, white space at their ends apart, and it is not empty.
    SameText {
        /// The student's file.
        path: String,
        /// The other.
        like: String,
    },
    /// There is something of this name.
    Exists {
        /// The path; a link itself counts, not what it leads to.
        path: String,
        /// `file`, `directory`, `symlink`, `fifo`, `character device 0:0`.
        #[serde(default)]
        kind: Option<String>,
    },
    /// There is nothing of this name.
    Absent(String),
    /// The directory is marked: nothing of the layers below it counts.
    Opaque(String),
    /// A file holds a number within these bounds, as files of a group do; `max` is more than any number.
    Number {
        /// The file.
        path: String,
        /// The word in front of the number, in a file of several lines: `oom_kill`.
        #[serde(default)]
        key: Option<String>,
        /// The smallest number that will do.
        #[serde(default)]
        at_least: Option<u64>,
        /// The largest.
        #[serde(default)]
        at_most: Option<u64>,
    },
    /// One of these is so: where the files of a group have other names in another version.
    Either(Vec<Predicate>),
    /// The file has one owner here and another one for a process of the lab that is root in its user namespace.
    OwnedApart(String),
    /// Two processes of the lab in different namespaces of this kind have the same file, fifo or pipe open, or the
    /// same memory mapped, beyond their first three descriptors.
    SharedChannel(Kind),
    /// The host name is what it was when the lab was started.
    HostnameKept,
    /// The file `outside` has the groups of a process with a cgroup namespace of its own as the host sees them, the
    /// file `inside` as that process itself sees them.
    GroupPaths {
        /// The file with the host's view.
        outside: String,
        /// The file with its own view.
        inside: String,
    },
    /// The program `init`, run as PID 1, collects orphans.
    InitReaps,
    /// The program `init`, run as PID 1, passes SIGTERM on.
    InitForwards,
    /// The program `init`, run as PID 1, ends with this exit code after SIGTERM.
    InitExits(i32),
    /// At least so many runs of cutaway have died and left a journal.
    DeadRuns(usize),
    /// No run that has died has anything left.
    NoLeftovers,
    /// Nobody is in a namespace of this kind, and a process of the lab keeps it by a descriptor.
    Kept {
        /// The kind.
        kind: Kind,
        /// Note which one it was under this name, for `inhabited` in a later stage.
        #[serde(default)]
        remember: Option<String>,
    },
    /// A process of the lab is in the namespace that was noted under this name.
    Inhabited {
        /// Its kind.
        kind: Kind,
        /// The name.
        noted: String,
    },
    /// Two of the lab's processes are in network namespaces that a veth pair joins, and a packet has passed.
    Wired,
    /// Each line of a file holds the pids of those processes that `start` made which share their namespaces of these
    /// kinds; every one of them is in it once.
    Grouped {
        /// The file.
        path: String,
        /// The kinds.
        by: Vec<Kind>,
    },
    /// The last line of a file is a report of `doctor` about this machine, and each refusal in it has its rule.
    Doctor {
        /// The file.
        path: String,
        /// Whether it says that `run` works.
        #[serde(default)]
        works: Option<bool>,
        /// The layer that something was refused by.
        #[serde(default)]
        layer: Option<String>,
    },
    /// The folder is an image of so many layers, and every digest in it is that of its bytes.
    Image {
        /// The folder, an OCI image layout.
        path: String,
        /// How many layers.
        layers: usize,
    },
    /// In an image, a layer has a file, a later one deletes it, and no container sees it.
    DeletedNotGone {
        /// The folder of the image.
        image: String,
        /// The file's path in the image.
        file: String,
        /// The file of the lab with its content.
        like: String,
    },
    /// A file names the blob of the layer that holds such a file: its digest, or the beginning of it.
    NamesBlob {
        /// The student's file.
        path: String,
        /// The folder of the image.
        image: String,
        /// The file's path in the image.
        file: String,
        /// The file of the lab with its content.
        like: String,
    },
    /// The steps of the file `order` were performed in that order, and what they were to reach was reached.
    Performed,
}

/// What checks look at, read once for all checks of one command.
pub struct Bench<'a> {
    /// The lab's directory.
    directory: &'a Path,
    /// The state directory.
    state: &'a Path,
    /// What was noted before.
    facts: &'a BTreeMap<String, Json>,
    /// Whether a plan was performed before the check, as part of it.
    performed: bool,
    workers: OnceCell<Vec<Worker>>,
    trial: OnceCell<Result<Trial, String>>,
    noted: RefCell<BTreeMap<String, Json>>,
}

/// What was seen, as words behind a process or a file.
pub type Seen = Result<String, String>;

impl<'a> Bench<'a> {
    /// Nothing is looked at yet.
    #[must_use]
    pub fn new(
        directory: &'a Path,
        state: &'a Path,
        facts: &'a BTreeMap<String, Json>,
        performed: bool,
    ) -> Self {
        Self {
            directory,
            state,
            facts,
            performed,
            workers: OnceCell::new(),
            trial: OnceCell::new(),
            noted: RefCell::default(),
        }
    }

    /// What is to be noted for later stages.
    #[must_use]
    pub fn noted(self) -> BTreeMap<String, Json> {
        self.noted.into_inner()
    }

    fn workers(&self) -> &[Worker] {
        self.workers.get_or_init(|| work::within(self.directory))
    }

    fn trial(&self) -> Result<&Trial, String> {
        let trial = self.trial.get_or_init(|| Trial::run(self.directory));
        trial.as_ref().map_err(Clone::clone)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The trimmed text of a file of the lab.
    fn text(&self, name: &str) -> Result<String, String> {
        let bytes = fs::read(self.path(name)).map_err(|cause| reason(name, &cause))?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// Why one of the processes is not as it should be, for the one that comes nearest; those that are.
    fn matching(&self, with: &[Trait]) -> (Vec<Worker>, String) {
        let place = Place { directory: self.directory };
        let zombies = with.contains(&Trait::Zombie);
        let mut nearest: Option<(usize, String)> = None;
        let mut found = Vec::new();
        for one in self.workers().iter().filter(|one| zombies || !one.zombie) {
            let failed = with.iter().enumerate().find_map(|(at, one_trait)| {
                one_trait.holds(one, &place).err().map(|why| (at, format!("{} {why}", name(one))))
            });
            match failed {
                None => found.push(one.clone()),
                Some((at, why)) => {
                    if nearest.as_ref().is_none_or(|(best, _)| at > *best) {
                        nearest = Some((at, why));
                    }
                }
            }
        }
        let none = || "no process works in the lab's directory".to_owned();
        (found, nearest.map_or_else(none, |(_, why)| why))
    }
}

/// `process 4711 (sh)`
fn name(one: &Worker) -> String {
    format!("process {} ({})", one.pid, one.name)
}

fn names(all: &[Worker]) -> String {
    const FEW: usize = 3;
    if all.is_empty() {
        return "no such process".to_owned();
    }
    let shown = all.iter().take(FEW).map(|one| format!("{} ({})", one.pid, one.name)).collect::<Vec<_>>();
    let more = if all.len() > FEW { format!(" and {} more", all.len() - FEW) } else { String::new() };
    format!("process{} {}{more}", if all.len() == 1 { "" } else { "es" }, shown.join(", "))
}

fn reason(name: &str, cause: &std::io::Error) -> String {
    match cause.kind() {
        std::io::ErrorKind::NotFound => format!("there is nothing called {name} in the lab's directory"),
        _ => format!("{name}: {cause}"),
    }
}

impl Predicate {
    /// The file that it is about, if it is about one.
    fn path(&self) -> Option<&str> {
        match self {
            Self::FileIs { path, .. } | Self::Number { path, .. } | Self::SameText { path, .. } => Some(path),
            _ => None,
        }
    }

    /// Looks.
    ///
    /// # Errors
    /// What is seen instead.
    pub fn look(&self, bench: &Bench<'_>) -> Seen {
        match self {
            Self::Processes { with, at_least, at_most, distinct, remember } => {
                processes(bench, with, (at_least.unwrap_or(1), *at_most), *distinct, remember.as_deref())
            }
            Self::Gone(noted) => gone(bench, noted),
            Self::Escaped(noted) => escaped(bench, noted),
            Self::FileIs { path, text } => match bench.text(path)? {
                seen if seen == text.trim() => Ok(format!("{path} holds it")),
                seen => Err(format!("{path} holds {}", quoted(&seen))),
            },
            Self::SameText { path, like } => same_text(bench, path, like),
            Self::Exists { path, kind } => exists(bench, path, kind.as_deref()),
            Self::Absent(path) => match fs::symlink_metadata(bench.path(path)) {
                Err(_) => Ok(format!("there is no {path}")),
                Ok(meta) => Err(format!("{path} is there: a {}", tree::kind(&meta))),
            },
            Self::Opaque(path) => opaque(bench, path),
            Self::Number { path, key, at_least, at_most } => {
                number(bench, path, key.as_deref(), *at_least, *at_most)
            }
            Self::Either(all) => either(bench, all),
            Self::OwnedApart(path) => owned_apart(bench, path),
            Self::SharedChannel(kind) => shared_channel(bench, *kind),
            Self::HostnameKept => hostname_kept(bench),
            Self::GroupPaths { outside, inside } => group_paths(bench, outside, inside),
            Self::InitReaps => bench.trial()?.reaps(),
            Self::InitForwards => bench.trial()?.forwards(),
            Self::InitExits(code) => bench.trial()?.exits(*code),
            Self::DeadRuns(least) => dead_runs(bench, *least),
            Self::NoLeftovers => no_leftovers(bench),
            Self::Kept { kind, remember } => kept(bench, *kind, remember.as_deref()),
            Self::Inhabited { kind, noted } => match bench.facts.get(noted).and_then(Json::as_u64) {
                Some(number) => spaces::inhabited(*kind, number, bench.workers()),
                None => Err("an earlier stage has noted nothing".to_owned()),
            },
            Self::Wired => spaces::wired(bench.workers()),
            Self::Grouped { path, by } => grouped(bench, path, by),
            Self::Doctor { path, works, layer } => doctor(bench, path, *works, layer.as_deref()),
            Self::Image { path, layers } => images::is_image(&bench.path(path), *layers),
            Self::DeletedNotGone { image, file, like } => {
                images::deleted_is_not_gone(&bench.path(image), file, &bench.text(like)?)
            }
            Self::NamesBlob { path, image, file, like } => {
                images::names_blob(&bench.text(path)?, &bench.path(image), file, &bench.text(like)?)
            }
            Self::Performed if bench.performed => Ok("every step, one after the other".to_owned()),
            Self::Performed => Err("the order was not performed".to_owned()),
        }
    }
}

fn processes(
    bench: &Bench<'_>,
    with: &[Trait],
    (least, most): (usize, Option<usize>),
    distinct: Option<Kind>,
    remember: Option<&str>,
) -> Seen {
    let (found, nearest) = bench.matching(with);
    if found.is_empty() && least > 0 {
        return Err(nearest);
    }
    let (count, counted) = match distinct {
        None => (found.len(), String::new()),
        Some(kind) => {
            let numbers = found.iter().filter_map(|one| inside::namespace(one.pid, kind.name()));
            let count = numbers.collect::<BTreeSet<_>>().len();
            (count, format!("{count} {} namespace{}: ", kind.name(), if count == 1 { "" } else { "s" }))
        }
    };
    let text = format!("{counted}{}", names(&found));
    if count < least {
        return Err(format!("only {text}"));
    }
    if most.is_some_and(|most| count > most) {
        return Err(text);
    }
    if let Some(noted) = remember {
        let all: Vec<_> = found.iter().map(|one| json!([one.pid, one.started])).collect();
        bench.noted.borrow_mut().insert(noted.to_owned(), Json::Array(all));
    }
    Ok(names(&found))
}

fn kept(bench: &Bench<'_>, kind: Kind, remember: Option<&str>) -> Seen {
    let (number, text) = spaces::kept(kind, bench.workers())?;
    if let Some(noted) = remember {
        bench.noted.borrow_mut().insert(noted.to_owned(), json!(number));
    }
    Ok(text)
}

/// Those that were noted as pid and start time.
fn gone(bench: &Bench<'_>, noted: &str) -> Seen {
    let all = noted_as(bench, noted)?;
    let left = all.iter().filter_map(|(pid, started)| work::one(*pid).filter(|one| one.started == *started));
    match left.collect::<Vec<_>>().first() {
        None => {
            let pids: Vec<_> = all.iter().map(|(pid, _)| pid.to_string()).collect();
            Ok(format!("no process {} any more", pids.join(", ")))
        }
        Some(one) => {
            let how = if one.zombie { "is still a zombie" } else { "is still there" };
            Err(format!("{} {how}; its parent is process {}", name(one), one.parent))
        }
    }
}

/// Those that were noted, and those that they have started.
fn escaped(bench: &Bench<'_>, noted: &str) -> Seen {
    let all = noted_as(bench, noted)?;
    let noted = |one: &Worker| all.contains(&(one.pid, one.started));
    let everybody = work::everybody();
    let mut found: Vec<Worker> = everybody.iter().filter(|one| noted(one)).cloned().collect();
    let mut at = 0;
    while at < found.len() {
        let parent = found[at].pid;
        found.extend(everybody.iter().filter(|one| one.parent == parent).cloned());
        at += 1;
    }
    match found.iter().find(|one| traits::has_host_root(one.pid)) {
        Some(one) => Ok(format!("{} has the host's root", name(one))),
        None if found.is_empty() => Err("none of the processes that were in there is left".to_owned()),
        None => Err(format!("still inside: {}", names(&found))),
    }
}

/// The pids and start times that an earlier stage has noted.
fn noted_as(bench: &Bench<'_>, noted: &str) -> Result<Vec<(i32, u64)>, String> {
    let Some(Json::Array(all)) = bench.facts.get(noted) else {
        return Err("an earlier stage has noted nothing".to_owned());
    };
    let numbers = |one: &Json| Some((i32::try_from(one.get(0)?.as_i64()?).ok()?, one.get(1)?.as_u64()?));
    Ok(all.iter().filter_map(numbers).collect())
}

/// A text as it is shown: its first line, and not more of it than fits.
fn quoted(text: &str) -> String {
    const MOST: usize = 60;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return "nothing".to_owned();
    }
    let cut: String = line.chars().take(MOST).collect();
    let more = if cut.len() < text.len() { " and more" } else { "" };
    format!("\"{cut}\"{more}")
}

fn same_text(bench: &Bench<'_>, path: &str, like: &str) -> Seen {
    let (own, other) = (bench.text(path)?, bench.text(like)?);
    if !own.is_empty() && own == other {
        return Ok(format!("{path} and {like} hold the same"));
    }
    Err(format!("{path} holds {}, {like} holds {}", quoted(&own), quoted(&other)))
}

fn opaque(bench: &Bench<'_>, path: &str) -> Seen {
    let whole = bench.path(path);
    let meta = fs::symlink_metadata(&whole).map_err(|cause| reason(path, &cause))?;
    if !meta.is_dir() {
        return Err(format!("{path} is a {}", tree::kind(&meta)));
    }
    if overlay::is_opaque(&whole) {
        return Ok(format!("{path} is marked"));
    }
    Err(format!("{path} is a directory that is not marked"))
}

fn exists(bench: &Bench<'_>, path: &str, wanted: Option<&str>) -> Seen {
    let meta = fs::symlink_metadata(bench.path(path)).map_err(|cause| reason(path, &cause))?;
    let seen = tree::kind(&meta);
    match wanted {
        Some(wanted) if wanted != seen => Err(format!("{path} is a {seen}")),
        _ => Ok(format!("{path} is a {seen}")),
    }
}

fn number(bench: &Bench<'_>, path: &str, key: Option<&str>, least: Option<u64>, most: Option<u64>) -> Seen {
    let text = bench.text(path)?;
    let word = match key {
        None => text.split_whitespace().next(),
        Some(key) => text.lines().find_map(|line| line.strip_prefix(key)?.split_whitespace().next()),
    };
    let shown = key.map_or_else(|| path.to_owned(), |key| format!("{key} in {path}"));
    let Some(word) = word else { return Err(format!("there is no {shown}")) };
    let seen = if word == "max" { Some(u64::MAX) } else { word.parse().ok() };
    let Some(seen) = seen else { return Err(format!("{shown} is {}", quoted(word))) };
    let fits = least.is_none_or(|least| seen >= least) && most.is_none_or(|most| seen <= most);
    if fits { Ok(format!("{shown} is {word}")) } else { Err(format!("{shown} is {word}")) }
}

/// The first that is so. If none is, what is seen of one whose file is there says more than a file that is not.
fn either(bench: &Bench<'_>, all: &[Predicate]) -> Seen {
    let mut failed = Vec::new();
    for one in all {
        match one.look(bench) {
            Ok(seen) => return Ok(seen),
            Err(seen) => failed.push((one.path().is_none_or(|path| bench.path(path).exists()), seen)),
        }
    }
    let shown = failed.iter().find(|(is_there, _)| *is_there).or(failed.first());
    Err(shown.map_or_else(|| "nothing was looked for".to_owned(), |(_, seen)| seen.clone()))
}

/// The processes that are root in a user namespace of their own.
fn roots_inside(bench: &Bench<'_>) -> Result<Vec<Worker>, String> {
    let (found, nearest) = bench.matching(&[Trait::Own(vec![Kind::User]), Trait::UidInside(0)]);
    if found.is_empty() { Err(nearest) } else { Ok(found) }
}

fn owned_apart(bench: &Bench<'_>, path: &str) -> Seen {
    let file = bench.path(path);
    let outside = fs::symlink_metadata(&file).map_err(|cause| reason(path, &cause))?.uid();
    let caller = nix::unistd::geteuid().as_raw();
    if outside == caller || outside == 0 {
        return Err(format!("from here, {path} belongs to user {outside}"));
    }
    let mut last = String::new();
    for one in roots_inside(bench)? {
        let at = file.clone();
        // Read by a child that really is in there: the kernel does the translation, not this program.
        let seen = inside::look(one.pid, CloneFlags::CLONE_NEWUSER, move || {
            json!(fs::symlink_metadata(&at).map(|meta| meta.uid()).ok())
        })?;
        let mapped = traits::id_inside(one.pid, outside)?;
        match (seen.as_u64(), mapped) {
            (Some(seen), Some(mapped)) if seen == u64::from(mapped) && seen != u64::from(outside) => {
                return Ok(format!("user {outside} from here, user {seen} for process {}", one.pid));
            }
            (Some(seen), _) => {
                last = format!("user {outside} from here, user {seen} for {}", name(&one));
            }
            (None, _) => last = format!("{} cannot see {path}", name(&one)),
        }
    }
    Err(last)
}

/// What a process has open beyond its first three descriptors, and what memory it shares with others, by device
/// and inode. Devices such as a terminal are everybody's.
fn channels(pid: i32) -> BTreeSet<(u64, u64)> {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let beyond = open.filter(|entry| {
        entry.file_name().to_str().and_then(|number| number.parse::<u32>().ok()).is_some_and(|fd| fd > 2)
    });
    let mut all: BTreeSet<_> = beyond.filter_map(|entry| channel(&entry.path())).collect();
    // A shared mapping has an `s`, and a link of its own below map_files. One that nobody may write to passes nothing
    // on: the C library maps some of its tables this way.
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let shared = maps.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let (range, mode) = (fields.next()?, fields.next()?);
        let file = fields.nth(3)?;
        (mode.starts_with("rw") && mode.ends_with('s') && file.starts_with('/'))
            .then(|| (range.to_owned(), file.to_owned()))
    });
    all.extend(shared.filter_map(|(range, file)| {
        let link = PathBuf::from(format!("/proc/{pid}/map_files/{range}"));
        channel(&link).or_else(|| channel(Path::new(&file)))
    }));
    all
}

fn channel(path: &Path) -> Option<(u64, u64)> {
    let meta = fs::metadata(path).ok()?;
    let kind = meta.file_type();
    let passes = kind.is_file() || kind.is_fifo() || kind.is_socket();
    passes.then(|| (meta.dev(), meta.ino()))
}

/// The pipes and sockets that this process has inherited: whoever started it gives them to everybody.
fn inherited() -> BTreeSet<(u64, u64)> {
    let open = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let nameless = open.filter(|entry| fs::read_link(entry.path()).is_ok_and(|to| !to.starts_with("/")));
    nameless.filter_map(|entry| channel(&entry.path())).collect()
}

fn shared_channel(bench: &Bench<'_>, kind: Kind) -> Seen {
    let everybodys = inherited();
    let own_channels = |pid| channels(pid).difference(&everybodys).copied().collect::<BTreeSet<_>>();
    let all: Vec<_> = bench
        .workers()
        .iter()
        .filter(|one| !one.zombie)
        .filter_map(|one| Some((one, inside::namespace(one.pid, kind.name())?, own_channels(one.pid))))
        .collect();
    for (at, (one, own, open)) in all.iter().enumerate() {
        for (other, others, theirs) in &all[at + 1..] {
            if own != others && !open.is_disjoint(theirs) {
                return Ok(format!("{} and {}", name(one), name(other)));
            }
        }
    }
    let namespaces: BTreeSet<_> = all.iter().map(|(_, namespace, _)| namespace).collect();
    Err(format!(
        "{} processes in {} {} namespaces, and none of them has open what one in another has",
        all.len(),
        namespaces.len(),
        kind.name()
    ))
}

fn hostname_kept(bench: &Bench<'_>) -> Seen {
    let now = Probe::Hostname.read()["hostname"].clone();
    let before = bench.facts.get(HOSTNAME).cloned().unwrap_or_default();
    if now == before { Ok(format!("it is {now}")) } else { Err(format!("it was {before} and is {now}")) }
}

/// The fact that [`Predicate::HostnameKept`] compares with.
const HOSTNAME: &str = "hostname";

/// What is noted when a lab is started.
#[must_use]
pub fn facts_at_start() -> BTreeMap<String, Json> {
    [(HOSTNAME.to_owned(), Probe::Hostname.read()[HOSTNAME].clone())].into()
}

/// Whether every line that the student has written is one of `/proc/PID/cgroup`, or the path of one.
fn are_lines_of(written: &str, truth: &str) -> bool {
    let is = |line: &str| {
        truth
            .lines()
            .any(|whole| whole == line || whole.splitn(3, ':').nth(2).is_some_and(|path| path == line))
    };
    !written.is_empty() && written.lines().map(str::trim).all(is)
}

fn group_paths(bench: &Bench<'_>, outside: &str, inside: &str) -> Seen {
    let (found, nearest) = bench.matching(&[Trait::Own(vec![Kind::Cgroup])]);
    if found.is_empty() {
        return Err(nearest);
    }
    let (here, there) = (bench.text(outside)?, bench.text(inside)?);
    let mut last = String::new();
    for one in found {
        let file = format!("/proc/{}/cgroup", one.pid);
        let seen = fs::read_to_string(&file).map_err(|cause| format!("{file}: {cause}"))?;
        if !are_lines_of(&here, &seen) {
            last = format!("{outside} holds {}, {file} holds {}", quoted(&here), quoted(&seen));
            continue;
        }
        let own = inside::look(one.pid, CloneFlags::CLONE_NEWCGROUP, move || {
            json!(fs::read_to_string(file).unwrap_or_default())
        })?;
        let own = own.as_str().unwrap_or_default().to_owned();
        if are_lines_of(&there, &own) {
            return Ok(format!("{} reads {} of itself", name(&one), quoted(&there)));
        }
        last = format!("{inside} holds {}, from inside it is {}", quoted(&there), quoted(&own));
    }
    Err(last)
}

/// The sleepers are cutaway itself: nothing else in the lab's directory has its name, but for the one that looks.
fn sleepers(bench: &Bench<'_>) -> Vec<i32> {
    let me = std::process::id().cast_signed();
    let own = work::one(me).map(|one| one.name).unwrap_or_default();
    let all = bench.workers().iter().filter(|one| one.pid != me && !one.zombie && one.name == own);
    all.map(|one| one.pid).collect()
}

fn grouped(bench: &Bench<'_>, path: &str, by: &[Kind]) -> Seen {
    let text = bench.text(path)?;
    let plate = |pid: i32| -> Result<Vec<PathBuf>, String> {
        let link = |kind: &Kind| fs::read_link(format!("/proc/{pid}/ns/{}", kind.name()));
        by.iter().map(link).collect::<Result<_, _>>().map_err(|cause| format!("process {pid}: {cause}"))
    };
    let mut left: BTreeSet<i32> = sleepers(bench).into_iter().collect();
    if left.is_empty() {
        return Err("the processes of the lab are gone: `cutaway lab reset` makes others".to_owned());
    }
    let mut seen: BTreeMap<Vec<PathBuf>, usize> = BTreeMap::new();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    for (number, line) in (1..).zip(lines) {
        let pids: Result<Vec<i32>, _> = line.split_whitespace().map(str::parse).collect();
        let pids = pids
            .map_err(|_| format!("{path} has in line {number} something that is no pid: {}", quoted(line)))?;
        for pid in &pids {
            if !left.remove(pid) {
                return Err(format!("{path} has {pid} twice, or it is no process that the lab has started"));
            }
            let plates = plate(*pid)?;
            if plate(pids[0])? != plates {
                return Err(format!("{} and {pid} stand in one line and differ in a namespace", pids[0]));
            }
            if *seen.entry(plates).or_insert(number) != number {
                return Err(format!(
                    "{pid} shares all of {} with a process of another line",
                    Kind::names(by)
                ));
            }
        }
    }
    match left.first() {
        Some(pid) => Err(format!("{path} does not have process {pid}")),
        None => Ok(format!("{} groups, as the kernel has them", seen.len())),
    }
}

fn doctor(bench: &Bench<'_>, path: &str, works: Option<bool>, layer: Option<&str>) -> Seen {
    let text = bench.text(path)?;
    let report: Json = serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap_or_default();
    let Some(all) = report["findings"].as_array().filter(|_| report["record"] == "doctor") else {
        return Err(format!("the last line of {path} is no report of `cutaway doctor --json -`"));
    };
    let kernel = crate::probe::sysctl::value("kernel.osrelease").unwrap_or_default();
    if report["machine"]["kernel"] != kernel {
        return Err(format!("{path} is about another kernel: {}", report["machine"]["kernel"]));
    }
    let refused = || all.iter().filter(|one| one["came"] == "refused");
    if let Some(one) = refused().find(|one| !one["rule"].is_string()) {
        return Err(format!("{path} has a refusal without a rule: {}", one["name"]));
    }
    if works.is_some_and(|works| report["run_works"] != works) {
        return Err(format!("in {path} run_works is {}", report["run_works"]));
    }
    if let Some(layer) = layer.filter(|layer| refused().all(|one| one["layer"] != *layer)) {
        let layers: BTreeSet<_> = refused().filter_map(|one| one["layer"].as_str()).collect();
        let layers = if layers.is_empty() {
            "nobody".into()
        } else {
            layers.into_iter().collect::<Vec<_>>().join(", ")
        };
        return Err(format!("in {path} it is not {layer} that says no, but {layers}"));
    }
    let says = if report["run_works"] == true { "works" } else { "does not work" };
    Ok(format!("{path} says that run {says} here; {} refused", refused().count()))
}

/// The names of the runs that have died, labs apart.
fn dead(bench: &Bench<'_>) -> Result<Vec<String>, String> {
    let all = journal::dead(bench.state).map_err(|error| error.to_string())?;
    Ok(all.iter().map(|one| one.name.clone()).collect())
}

fn dead_runs(bench: &Bench<'_>, least: usize) -> Seen {
    let all = dead(bench)?;
    let text = match all.len() {
        0 => "no journal of a run that has died".to_owned(),
        1 => format!("one journal of a run that has died: {}", all[0]),
        count => format!("{count} journals of runs that have died: {}", all.join(", ")),
    };
    if all.len() >= least { Ok(text) } else { Err(text) }
}

/// What is left of runs that are not alive: journals, directories, groups, mounts of this namespace.
fn no_leftovers(bench: &Bench<'_>) -> Seen {
    let alive = |name: &str| journal::is_alive(bench.state, name);
    let mut left: Vec<String> =
        dead(bench)?.into_iter().map(|name| format!("the journal of {name}")).collect();
    let directories = fs::read_dir(bench.state.join("containers")).into_iter().flatten().flatten();
    let names: Vec<String> =
        directories.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    left.extend(names.iter().filter(|name| !alive(name)).map(|name| format!("the directory of {name}")));
    let mounts = crate::probe::mounts::table()?;
    let below = mounts.iter().filter(|mount| mount.at.starts_with(bench.state));
    left.extend(below.map(|mount| format!("a mount on {}", mount.at.display())));
    match left.first() {
        None => Ok("no journal, no directory, no mount".to_owned()),
        Some(first) if left.len() == 1 => Err(first.clone()),
        Some(first) => Err(format!("{first}, and {} more", left.len() - 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(predicate: &Predicate, directory: &Path) -> Seen {
        let facts = facts_at_start();
        predicate.look(&Bench::new(directory, directory, &facts, false))
    }

    #[test]
    fn files_are_looked_at_and_what_is_seen_is_said() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("events"), "low 0\noom_kill 3\n").unwrap();
        let number = |least, most| Predicate::Number {
            path: "events".to_owned(),
            key: Some("oom_kill".to_owned()),
            at_least: least,
            at_most: most,
        };
        assert_eq!(look(&number(Some(1), None), dir.path()), Ok("oom_kill in events is 3".to_owned()));
        assert_eq!(look(&number(None, Some(2)), dir.path()), Err("oom_kill in events is 3".to_owned()));
        let is = Predicate::FileIs { path: "none".to_owned(), text: "x".to_owned() };
        assert_eq!(
            look(&is, dir.path()),
            Err("there is nothing called none in the lab's directory".to_owned())
        );
        let exists = Predicate::Exists { path: "events".to_owned(), kind: Some("fifo".to_owned()) };
        assert_eq!(look(&exists, dir.path()), Err("events is a file".to_owned()));
        assert!(look(&Predicate::HostnameKept, dir.path()).is_ok());
        assert!(look(&Predicate::NoLeftovers, dir.path()).is_ok());
        assert!(look(&Predicate::DeadRuns(1), dir.path()).unwrap_err().starts_with("no journal"));
    }

    #[test]
    fn who_was_never_inside_has_not_escaped() {
        let dir = tempfile::tempdir().unwrap();
        let own = work::one(std::process::id().cast_signed()).unwrap();
        let look = |facts: &BTreeMap<String, Json>| {
            Predicate::Escaped("inside".to_owned()).look(&Bench::new(dir.path(), dir.path(), facts, false))
        };
        assert!(look(&BTreeMap::new()).unwrap_err().contains("noted nothing"));
        let noted = |started: u64| BTreeMap::from([("inside".to_owned(), json!([[own.pid, started]]))]);
        assert!(look(&noted(own.started)).unwrap().contains("has the host's root"));
        assert!(look(&noted(own.started + 1)).unwrap_err().contains("none of the processes"));
    }

    #[test]
    fn without_a_process_that_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let any = Predicate::Processes {
            with: vec![Trait::Own(vec![Kind::Uts])],
            at_least: None,
            at_most: None,
            distinct: None,
            remember: None,
        };
        assert_eq!(look(&any, dir.path()), Err("no process works in the lab's directory".to_owned()));
    }

    #[test]
    fn a_line_of_proc_or_its_path_will_do() {
        let truth = "4:memory:/a:b\n0::/user.slice\n";
        assert!(are_lines_of("/user.slice", truth) && are_lines_of("4:memory:/a:b", truth));
        assert!(!are_lines_of("/user", truth) && !are_lines_of("", truth));
    }
}
