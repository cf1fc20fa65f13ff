//! What the tests that run the binary share: a bed for containers, a command line, a listing of what is there.
//!
//! A test reads as one sentence: `bed.run(["--", "/bin/sh", "-c", "exit 7"]).done().exits(7)`. Each bed is a
//! directory of its own with a state directory in it; what belongs to a bed carries its tag in its name, so that
//! tests can run side by side and still find what they have left behind.

#![allow(dead_code, clippy::unwrap_used, reason = "every test uses a part of this; tests may unwrap")]

pub mod listing;
pub mod sleeper;
pub mod trace;
pub mod window;

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use cutaway::report::event::Event;

pub use listing::Listing;

/// Long enough for every command here, on a busy machine too; a test that hangs ends with this.
pub const LIMIT: Duration = Duration::from_secs(60);

/// The ordinary user that tests make for themselves.
const USER: &str = "cutaway-test";

/// Says why a test does not run. Where everything must run, that is a failure.
pub fn skipped(reason: &str) {
    assert!(std::env::var_os("CUTAWAY_MUST_RUN").is_none(), "skipped: {reason}");
    eprintln!("skipped: {reason}");
}

/// Whether this machine has what a test needs: `root`, or a program. If not, that is said.
pub fn need(what: &str) -> bool {
    let there = if what == "root" {
        nix::unistd::geteuid().is_root()
    } else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|dir| dir.join(what).is_file())
    };
    if !there {
        skipped(&format!("needs {what}"));
    }
    there
}

/// Who runs cutaway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Root,
    User,
}

pub const BOTH: [Who; 2] = [Who::Root, Who::User];

/// An account that another account may become: its ids and its home.
#[derive(Debug, Clone, Copy)]
struct Ids {
    uid: u32,
    gid: u32,
}

/// The test user's ids, made where it is missing.
fn test_user() -> Option<Ids> {
    static ONCE: OnceLock<Option<Ids>> = OnceLock::new();
    *ONCE.get_or_init(|| {
        let find = || nix::unistd::User::from_name(USER).ok().flatten();
        if find().is_none() {
            let _ = Command::new("useradd").args(["--create-home", "--shell", "/bin/sh", USER]).output();
        }
        find().map(|user| Ids { uid: user.uid.as_raw(), gid: user.gid.as_raw() })
    })
}

/// A directory for a test, with a state directory, on behalf of root or of an ordinary user.
pub struct Bed {
    dir: tempfile::TempDir,
    pub who: Who,
    /// The account to become; `None` where this process already is the right one.
    become_user: Option<Ids>,
    program: PathBuf,
    /// Part of the name of every container of this bed, and of nothing else on this machine.
    pub tag: String,
    count: AtomicU32,
}

impl Bed {
    /// A bed, or nothing where this machine cannot have it; then that has been said.
    pub fn new(who: Who) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let is_root = nix::unistd::geteuid().is_root();
        let become_user = match (who, is_root) {
            (Who::Root, false) => {
                need("root");
                return None;
            }
            (Who::User, true) => {
                let Some(user) = test_user() else {
                    skipped("no ordinary user: useradd failed");
                    return None;
                };
                Some(user)
            }
            _ => None,
        };
        let tag = format!("t{}x{}x", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let dir = tempfile::Builder::new().prefix(&format!("cutaway-{tag}")).tempdir().unwrap();
        let mut bed =
            Self { dir, who, become_user, program: PathBuf::new(), tag, count: AtomicU32::default() };
        bed.give(bed.dir.path());
        bed.program = bed.reachable_program();
        Some(bed)
    }

    /// The binary. Where the user may not reach the one that was built, a copy of it.
    fn reachable_program(&self) -> PathBuf {
        let built = PathBuf::from(env!("CARGO_BIN_EXE_cutaway"));
        let open = |dir: &Path| fs::metadata(dir).is_ok_and(|about| about.permissions().mode() & 1 != 0);
        if self.become_user.is_none() || built.ancestors().all(open) {
            return built;
        }
        let copy = self.path("cutaway");
        fs::hard_link(&built, &copy).or_else(|_| fs::copy(&built, &copy).map(drop)).unwrap();
        copy
    }

    /// Gives a file to the user of this bed.
    pub fn give(&self, path: &Path) {
        if let Some(ids) = self.become_user {
            std::os::unix::fs::lchown(path, Some(ids.uid), Some(ids.gid)).unwrap();
        }
    }

    /// The binary that the bed's user may run.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The user and group to become, where it is another one than this process has.
    pub fn ids(&self) -> Option<(u32, u32)> {
        self.become_user.map(|ids| (ids.uid, ids.gid))
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// Makes a file of the bed's user.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>, mode: u32) -> PathBuf {
        let path = self.path(name);
        for missing in path
            .parent()
            .unwrap()
            .ancestors()
            .take_while(|dir| !dir.exists())
            .collect::<Vec<_>>()
            .iter()
            .rev()
        {
            fs::create_dir(missing).unwrap();
            self.give(missing);
        }
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        self.give(&path);
        path
    }

    /// Makes a directory of the bed's user.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir(&path).unwrap();
        self.give(&path);
        path
    }

    /// A name for a container that no other test uses.
    pub fn name(&self) -> String {
        format!("{}{:04}", self.tag, self.count.fetch_add(1, Ordering::Relaxed))
    }

    /// `cutaway --state STATE ARGS`.
    pub fn cutaway<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Cutaway<'_> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        Cutaway {
            bed: self,
            global: vec!["--state".into(), self.state().into()],
            args: args.into_iter().map(|arg| arg.as_ref().to_owned()).collect(),
            env: Vec::new(),
            input: None,
            files: self.path(&format!("io-{number}")),
            wrapper: Vec::new(),
            recorded: false,
            dir: None,
            limit: LIMIT,
        }
    }

    /// `cutaway --state STATE run --name NAME ARGS`, with a name of this bed.
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Cutaway<'_> {
        let args: Vec<OsString> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        let mut all: Vec<OsString> = vec!["run".into()];
        let before = args.iter().position(|arg| arg == "--").unwrap_or(args.len());
        if !args[..before].iter().any(|arg| arg == "--name") {
            all.extend(["--name".into(), self.name().into()]);
        }
        all.extend(args);
        self.cutaway(all)
    }

    /// Makes the demo image and the folders that stay, so that a listing before has them.
    pub fn with_demo(self) -> Self {
        self.run(["--", "/bin/true"]).quiet().done().exits(0);
        self
    }

    /// What is there now.
    pub fn listing(&self) -> Listing {
        Listing::take(self)
    }

    /// What there is of one container: processes, groups, files. A live one has some of each.
    pub fn remains(&self, name: &str) -> Vec<String> {
        let folders = ["containers", "journal"].map(|folder| self.state().join(folder).join(name));
        let files = folders.into_iter().filter(|path| path.exists()).map(|path| path.display().to_string());
        let groups = listing::group_trees().into_iter().map(|tree| tree.join(format!("cutaway-{name}")));
        let groups = groups.filter(|group| group.exists()).map(|group| group.display().to_string());
        files.chain(groups).chain(self.alive(name)).collect()
    }

    /// The processes of one container, cutaway's own among them.
    #[allow(clippy::unused_self, reason = "it reads as one: the bed's processes")]
    pub fn alive(&self, name: &str) -> Vec<String> {
        listing::processes(name).into_iter().map(|(pid, line)| format!("process {pid} {line}")).collect()
    }

    /// Waits until no process of a container is left: a second is more than the kernel needs.
    #[track_caller]
    pub fn dies_at_once(&self, name: &str, after: &str) {
        let begun = Instant::now();
        while !self.alive(name).is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(1), "alive after {after}: {:?}", self.alive(name));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Nothing of a container is left.
    #[track_caller]
    pub fn nothing_remains(&self, name: &str, after: &str) {
        let remains = self.remains(name);
        assert!(remains.is_empty(), "left behind after {after}: {remains:#?}");
    }

    /// Replays what dead runs have left.
    pub fn cleanup(&self) -> Done {
        self.cutaway(["cleanup"]).quiet().done()
    }
}

/// A command that is being put together.
pub struct Cutaway<'bed> {
    bed: &'bed Bed,
    global: Vec<OsString>,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    input: Option<Vec<u8>>,
    files: PathBuf,
    wrapper: Vec<OsString>,
    recorded: bool,
    dir: Option<PathBuf>,
    limit: Duration,
}

impl<'bed> Cutaway<'bed> {
    pub fn quiet(self) -> Self {
        self.global("-q")
    }

    /// A flag of every command.
    pub fn global(mut self, flag: impl AsRef<OsStr>) -> Self {
        self.global.push(flag.as_ref().to_owned());
        self
    }

    /// Without the bed's state directory, for a command that names another.
    pub fn without_state(mut self) -> Self {
        self.global.clear();
        self
    }

    /// With a recording.
    pub fn recorded(mut self) -> Self {
        self.recorded = true;
        self
    }

    /// With this on standard input; without, it is /dev/null.
    pub fn input(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.input = Some(bytes.as_ref().to_owned());
        self
    }

    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.env.push((key.into(), value.as_ref().to_owned()));
        self
    }

    /// In this working directory.
    pub fn within(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// Under another program, whose last arguments are the command.
    pub fn under<S: AsRef<OsStr>>(mut self, wrapper: impl IntoIterator<Item = S>) -> Self {
        self.wrapper = wrapper.into_iter().map(|word| word.as_ref().to_owned()).collect();
        self
    }

    /// Under strace with these options. The trace is `Done::trace`.
    pub fn traced<S: AsRef<OsStr>>(self, options: impl IntoIterator<Item = S>) -> Self {
        let mut words: Vec<OsString> = vec!["strace".into(), "-o".into(), with(&self.files, "trace").into()];
        words.extend(options.into_iter().map(|option| option.as_ref().to_owned()));
        // strace stays root: a process that hides from its own user is hidden from that user's tracer too.
        if self.bed.become_user.is_some() {
            words.extend(["-u".into(), USER.into()]);
        }
        self.under(words)
    }

    fn command(&self) -> Command {
        let mut words = self.wrapper.clone();
        words.push(self.bed.program.clone().into());
        words.extend(self.global.iter().cloned());
        if self.recorded {
            words.extend(["--json".into(), self.recording().into()]);
        }
        words.extend(self.args.iter().cloned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env("HOME", self.bed.dir()).env_remove("XDG_DATA_HOME");
        command.env_remove("NO_COLOR").envs(self.env.iter().map(|(key, value)| (key, value)));
        command.current_dir(self.dir.as_deref().unwrap_or(self.bed.dir()));
        let strace = self.wrapper.first().is_some_and(|word| word == "strace");
        if let Some(ids) = self.bed.become_user.filter(|_| !strace) {
            command.uid(ids.uid).gid(ids.gid);
        }
        command
    }

    fn recording(&self) -> PathBuf {
        with(&self.files, "json")
    }

    /// Starts it, and goes on while it runs.
    pub fn start(self) -> Running<'bed> {
        let file = |kind: &str| {
            let path = with(&self.files, kind);
            let file = File::create(&path).unwrap();
            self.bed.give(&path);
            file
        };
        if self.recorded {
            file("json");
        }
        let mut command = self.command();
        command.stdout(file("out")).stderr(file("err"));
        command.stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = command.spawn().unwrap();
        if let Some(input) = &self.input {
            // A command that does not read is no failure of the test.
            let _ = child.stdin.take().unwrap().write_all(input);
        }
        Running { child, files: self.files, limit: self.limit, line: format!("{command:?}"), bed: self.bed }
    }

    /// Runs it to its end.
    pub fn done(self) -> Done {
        self.start().done()
    }
}

fn with(files: &Path, kind: &str) -> PathBuf {
    files.with_extension(kind)
}

/// A command that runs.
pub struct Running<'bed> {
    child: Child,
    files: PathBuf,
    limit: Duration,
    line: String,
    bed: &'bed Bed,
}

impl Running<'_> {
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// What it has printed so far.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&fs::read(with(&self.files, "out")).unwrap()).into_owned()
    }

    /// Waits until it has printed this.
    pub fn prints(&self, text: &str) -> &Self {
        until(
            || self.stdout().contains(text),
            || format!("{:?} in {:?} of {}", text, self.stdout(), self.line),
        );
        self
    }

    /// Waits for its end.
    pub fn done(mut self) -> Done {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if begun.elapsed() > self.limit {
                let _ = self.child.kill();
                panic!("still running after {:?}: {}", self.limit, self.line);
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let read = |kind: &str| fs::read(with(&self.files, kind)).unwrap_or_default();
        let recording = String::from_utf8(read("json")).unwrap();
        let done = Done {
            code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
            stdout: read("out"),
            stderr: String::from_utf8_lossy(&read("err")).into_owned(),
            recording,
            trace: String::from_utf8_lossy(&read("trace")).into_owned(),
            line: self.line.clone(),
        };
        for kind in ["out", "err", "json", "trace"] {
            let _ = fs::remove_file(with(&self.files, kind));
        }
        let _ = self.bed;
        done
    }
}

/// A command that has ended.
#[derive(Debug)]
pub struct Done {
    /// Its exit code, or 128 and the signal that killed it.
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
    pub recording: String,
    pub trace: String,
    pub line: String,
}

impl Done {
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}\nstdout: {}\nstderr: {}", self.line, self.text(), self.stderr);
        self
    }

    /// What it printed, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    #[track_caller]
    pub fn prints(self, text: &str) -> Self {
        assert_eq!(self.text(), text, "{}\nstderr: {}", self.line, self.stderr);
        self
    }

    /// Every one of these is in what it says on stderr.
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Self {
        let said = self.words();
        for word in words {
            assert!(said.contains(word), "no {word:?} in the message of {}:\n{}", self.line, self.stderr);
        }
        self
    }

    /// What it said, with the line breaks of the layout taken out.
    pub fn words(&self) -> String {
        self.stderr.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    pub fn events(&self) -> Vec<Event> {
        self.recording
            .lines()
            .map(|line| Event::from_line(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect()
    }
}

/// Waits until something holds.
#[track_caller]
pub fn until(holds: impl Fn() -> bool, what: impl Fn() -> String) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(20), "waited in vain for {}", what());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Does the same for many inputs, by as many threads as there are processors, each with a bed of its own.
pub fn in_parallel<T: Send>(
    who: Who,
    inputs: Vec<T>,
    furnish: impl Fn(&Bed) + Sync,
    deed: impl Fn(&Bed, T) + Sync,
) {
    let inputs = Mutex::new(inputs.into_iter());
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get).min(8);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let Some(bed) = Bed::new(who) else { return };
                furnish(&bed);
                let bed = bed.with_demo();
                let before = bed.listing();
                loop {
                    let next = inputs.lock().unwrap().next();
                    let Some(next) = next else { break };
                    deed(&bed, next);
                }
                before.is_still(&bed, "all of it");
            });
        }
    });
}

/// Writes a small image with two layers, as an OCI image layout.
pub fn layout(dir: &Path) {
    use cutaway::image::write::{Entry, LayoutWriter};
    let mut writer = LayoutWriter::create(dir).unwrap();
    for (name, content) in [("one", "1\n"), ("two", "2\n")] {
        let entry = Entry { name: name.as_bytes(), mode: 0o644, owner: (0, 0), mtime: 1 };
        writer.layer(|tar| entry.file(tar, content.len() as u64, content.as_bytes())).unwrap();
    }
    let config = serde_json::json!({ "os": "linux", "architecture": std::env::consts::ARCH.replace("x86_64", "amd64").replace("aarch64", "arm64") });
    writer.finish(config, "small").unwrap();
}
