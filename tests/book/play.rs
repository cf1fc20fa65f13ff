//! Where the commands of a chapter are performed: a stage with two state directories, root's and an ordinary user's.
//!
//! Its path is as long as the one that a reader has, so that lines break at the same places. Only one chapter of one
//! test is performed at a time on a machine: names of containers and groups in the book are plain ones.

use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::common::{Bed, Who, need};
use super::rules::{Run, Seen};

/// What a reader sees in place of the stage.
const HOME: &str = "/home/student";
/// What a reader sees in place of root's state directory.
const STATE: &str = "/var/lib/cutaway";
/// What a reader sees in place of the group of version 2 that the tests are in: that of a login.
const GROUP: &str = "/user.slice/user-1000.slice/session-1.scope";
/// How many seconds a command may take.
const LIMIT: u32 = 60;
/// The word of a block that is performed in a terminal, where numbers over time have bars.
const TERMINAL: &str = "terminal";
/// The word of a block whose user is in a delegated group.
const DELEGATED: &str = "delegated";

pub struct Stage {
    dir: PathBuf,
    /// One for each user who may play, with the binary that this user can reach.
    root: Option<Bed>,
    user: Option<Bed>,
    /// The last pid before the chapter.
    since: u32,
    _alone: Option<nix::fcntl::Flock<fs::File>>,
}

/// What came of a command.
pub struct Played {
    /// What it printed, made comparable with the book.
    pub printed: String,
    pub exit: i32,
}

impl Stage {
    /// A stage for a chapter.
    pub fn new() -> Self {
        let tmp = fs::File::open("/tmp").unwrap();
        let alone = nix::fcntl::Flock::lock(tmp, nix::fcntl::FlockArg::LockExclusive).ok();
        let dir = tempfile::Builder::new().prefix("cut-").rand_bytes(4).tempdir_in("/tmp").unwrap().keep();
        assert_eq!(dir.as_os_str().len(), HOME.len(), "the stage's path is as long as a reader's");
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        Self { dir, root: None, user: None, since: last_pid(), _alone: alone }
    }

    /// Whether a block can be performed here. If not, that is said, and where everything must run it is a failure;
    /// other control groups than this machine has are none, because another machine has them (`record.rs`).
    pub fn can(&mut self, words: &[String], place: &str) -> bool {
        words.iter().all(|word| match word.as_str() {
            "root" => self.prepare(Who::Root),
            "user" => self.prepare(Who::User),
            "v1" | "v2" | "hybrid" => {
                let kind = cgroups();
                if kind != word {
                    eprintln!("skipped: {place} needs cgroups {word}, and this machine has {kind}");
                }
                kind == word
            }
            DELEGATED => {
                let there = delegated().is_some();
                if !there {
                    eprintln!("skipped: {place} needs a group that the user owns: see tests/vm/book.sh");
                }
                there
            }
            TERMINAL => true,
            program => {
                let program = program.strip_prefix("needs=");
                need(
                    program
                        .unwrap_or_else(|| panic!("{place}: {words:?} is no need that tests/book.rs knows")),
                )
            }
        })
    }

    fn prepare(&mut self, who: Who) -> bool {
        let slot = if who == Who::Root { &mut self.root } else { &mut self.user };
        if slot.is_some() {
            return true;
        }
        let Some(bed) = Bed::new(who) else { return false };
        let state =
            if who == Who::Root { format!(" --state {}/st", self.dir.display()) } else { String::new() };
        let script = format!("#!/bin/sh\nexec {}{state} \"$@\"\n", bed.program().display());
        bed.folder("bin");
        bed.file("bin/cutaway", script, 0o755);
        if let Some((uid, gid)) = bed.ids() {
            std::os::unix::fs::chown(&self.dir, Some(uid), Some(gid)).unwrap();
        }
        *slot = Some(bed);
        true
    }

    fn bed(&self, words: &[String]) -> &Bed {
        let bed = if words.iter().any(|word| word == "root") { &self.root } else { &self.user };
        bed.as_ref().expect("a block that can be performed has somebody who does it")
    }

    /// Performs one command.
    pub fn play(&self, words: &[String], shell: &str, seen: &mut Seen) -> Played {
        let bed = self.bed(words);
        let has = |wanted: &str| words.iter().any(|word| word == wanted);
        let (reader, writer) = if has(TERMINAL) { terminal() } else { pipe() };
        let path = format!(
            "{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            bed.path("bin").display()
        );
        let slowness = slowness();
        let (limit, shell) = ((LIMIT * slowness).to_string(), slowed(shell, slowness));
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", &limit, "sh", "-c", &shell]).env_clear().env("PATH", path);
        command.env("HOME", &self.dir).env("LC_ALL", "C.UTF-8").current_dir(&self.dir);
        command.stdin(Stdio::null()).stdout(writer.try_clone().unwrap()).stderr(writer);
        if let Some((uid, gid)) = bed.ids() {
            command.uid(uid).gid(gid);
        }
        let before = last_pid();
        let mut child = if has(DELEGATED) { spawn_delegated(&mut command) } else { command.spawn().unwrap() };
        drop(command);
        let bytes = all_of(reader);
        let status = child.wait().unwrap();
        let run = self.run(bed, (self.since, before, last_pid()));
        let printed = seen.replace(&without_colours(&String::from_utf8_lossy(&bytes)), &run);
        Played { printed, exit: status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)) }
    }

    fn run(&self, bed: &Bed, pids: (u32, u32, u32)) -> Run {
        let dir = self.dir.display().to_string();
        // A path that is opened below a descriptor of the root has no slash in front.
        let bare = |path: &str| path.trim_start_matches('/').to_owned();
        let below = (bare(&dir), bare(HOME));
        let mut literal = vec![(format!("{dir}/st"), STATE.to_owned()), (dir, HOME.to_owned()), below];
        literal.extend(own_group().map(|group| (group, GROUP.to_owned())));
        let about = nix::sys::utsname::uname().unwrap();
        let mut words = vec![
            (about.release().to_string_lossy().into_owned(), "6.12.0".to_owned()),
            (about.nodename().to_string_lossy().into_owned(), "laptop".to_owned()),
        ];
        let own = || (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
        let ids = bed.ids().unwrap_or_else(own);
        if bed.who == Who::User {
            let name = nix::unistd::User::from_uid(ids.0.into()).ok().flatten().map(|user| user.name);
            words.push((name.unwrap_or_default(), "student".to_owned()));
            words.extend([ids.0, ids.1].map(|id| (id.to_string(), "1000".to_owned())));
        }
        words.retain(|(from, _)| !from.is_empty());
        let stores = [self.dir.join("st"), self.dir.join(".local/share/cutaway")];
        Run { literal, words, pids, digests: stores.iter().flat_map(|store| digests(store)).collect() }
    }

    /// Takes the stage away, and says what of the chapter is left on the machine.
    pub fn strike(self) -> Vec<String> {
        let mut left = Vec::new();
        for bed in [&self.root, &self.user].into_iter().flatten() {
            let words = [if bed.who == Who::Root { "root" } else { "user" }.to_owned()];
            let cleanup = self.play(&words, "cutaway -q cleanup", &mut Seen::default());
            if cleanup.exit != 0 {
                left.push(format!("cutaway cleanup: {}", cleanup.printed));
            }
        }
        let mark = self.dir.display().to_string();
        std::thread::sleep(Duration::from_millis(20));
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        left.extend(mounts.lines().filter(|line| line.contains(&mark)).map(|line| format!("mount {line}")));
        let processes = super::common::listing::processes(&mark);
        left.extend(processes.into_iter().map(|(pid, line)| format!("process {pid} {line}")));
        if left.is_empty() {
            fs::remove_dir_all(&self.dir).unwrap();
        }
        left
    }
}

/// How many times longer than a reader one has to wait here until something has happened: an emulated machine is slow.
fn slowness() -> u32 {
    std::env::var("CUTAWAY_SLOW").ok().and_then(|times| times.parse().ok()).unwrap_or(1)
}

/// The command with every `sleep` so many times longer.
fn slowed(shell: &str, times: u32) -> String {
    let mut parts = shell.split("sleep ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |slow, part| {
        let end = part.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(part.len());
        let number = part[..end]
            .parse()
            .map_or(part[..end].to_owned(), |seconds: f64| (seconds * f64::from(times)).to_string());
        slow + "sleep " + &number + &part[end..]
    })
}

#[test]
fn all_of_a_command_waits_longer() {
    let typed = "run -- sleep 61.5 & sleep 1; pgrep -fx 'sleep 61.5' || echo no sleep here";
    assert_eq!(slowed(typed, 1), typed);
    let slow = "run -- sleep 184.5 & sleep 3; pgrep -fx 'sleep 184.5' || echo no sleep here";
    assert_eq!(slowed(typed, 3), slow);
}

/// Both ends of a pipe.
fn pipe() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = std::io::pipe().unwrap();
    (reader.into(), writer.into())
}

/// Both ends of a terminal of 80 columns.
fn terminal() -> (OwnedFd, OwnedFd) {
    let size = nix::pty::Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    let ends = nix::pty::openpty(&size, None).unwrap();
    for end in [&ends.master, &ends.slave] {
        nix::fcntl::fcntl(end, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC)).unwrap();
    }
    (ends.master, ends.slave)
}

/// Everything that is written to the other end, until nobody holds it any more.
fn all_of(reader: OwnedFd) -> Vec<u8> {
    let mut bytes = Vec::new();
    let end = fs::File::from(reader).read_to_end(&mut bytes);
    // A terminal that nobody holds any more says so by this error.
    assert!(end.is_ok() || end.is_err_and(|error| error.raw_os_error() == Some(nix::libc::EIO)));
    bytes
}

/// What was printed on a terminal, without the sequences that colour it.
fn without_colours(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let plain = parts.next().unwrap_or_default().to_owned();
    parts.fold(plain, |plain, part| plain + part.split_once('m').map_or(part, |(_, rest)| rest))
}

/// The directory of the group that is delegated to the test user, if somebody has made such a group.
fn delegated() -> Option<PathBuf> {
    std::env::var_os("CUTAWAY_DELEGATED").map(PathBuf::from)
}

/// Starts a command in the delegated group: where its parent is at that moment.
fn spawn_delegated(command: &mut Command) -> std::process::Child {
    let join = |group: &Path| fs::write(group.join("cgroup.procs"), "0").unwrap();
    let home = Path::new("/sys/fs/cgroup").join(own_group().unwrap().trim_start_matches('/'));
    join(&delegated().unwrap());
    let child = command.spawn();
    join(&home);
    child.unwrap()
}

/// The group of version 2 that the tests are in, if it is not the top one.
fn own_group() -> Option<String> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap();
    let group = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    (group != "/").then(|| group.to_owned())
}

/// The kind of control groups that this machine has.
pub fn cgroups() -> &'static str {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let has = |kind: &str| mounts.lines().any(|line| line.split(' ').nth(2) == Some(kind));
    match (has("cgroup"), has("cgroup2")) {
        (true, true) => "hybrid",
        (true, false) => "v1",
        (false, true) => "v2",
        (false, false) => "none",
    }
}

/// The last pid that the kernel has given in this pid namespace.
fn last_pid() -> u32 {
    let text = fs::read_to_string("/proc/loadavg").unwrap();
    text.split_whitespace().last().and_then(|last| last.parse().ok()).unwrap_or(0)
}

/// The digests in a store: names of blobs and layers, and what the small blobs, which are documents, name.
fn digests(store: &Path) -> Vec<String> {
    let names = |dir: PathBuf| {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let blobs = names(store.join("blobs/sha256"));
    let mut all: Vec<String> = names(store.join("layers"))
        .iter()
        .chain(&blobs)
        .filter_map(|path| path.file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    for blob in blobs.iter().filter(|blob| fs::metadata(blob).is_ok_and(|about| about.len() < 65536)) {
        let text = String::from_utf8_lossy(&fs::read(blob).unwrap_or_default()).into_owned();
        let found = text.split("sha256:").skip(1).filter_map(|rest| rest.get(..64));
        all.extend(found.map(str::to_owned));
    }
    all
}
