//! `cutaway ns`: every room performed for real, as root and as an ordinary user.
//!
//! The recording is the witness: every claim held, both namespaces are in it, the exit code is the command's.
//! What is outside is looked at by the test itself: nothing has changed and nothing is left.

#![allow(clippy::unwrap_used, reason = "tests may unwrap, and so may their helpers")]

use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

/// Every room.
const ROOMS: [&str; 8] = ["mnt", "uts", "ipc", "pid", "user", "net", "time", "cgroup"];
/// An id that no account has: an ordinary user, for a test that runs as root.
const ORDINARY: u32 = 54_321;

/// Reasons to skip are failures where everything must run.
fn skip(reason: &str) {
    assert!(std::env::var_os("CUTAWAY_MUST_RUN").is_none(), "skipped: {reason}");
    eprintln!("skipped: {reason}");
}

/// Who performs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Who {
    Root,
    Ordinary,
}

impl Who {
    /// Why this cannot be tried here.
    fn impossible(self) -> Option<&'static str> {
        let is =
            |path: &str, value: &str| std::fs::read_to_string(path).is_ok_and(|text| text.trim() == value);
        let root = nix::unistd::geteuid().is_root();
        match self {
            Self::Root if !root => Some("this test needs root"),
            Self::Ordinary if is("/proc/sys/user/max_user_namespaces", "0") => {
                Some("no user namespaces here")
            }
            Self::Ordinary if is("/proc/sys/kernel/unprivileged_userns_clone", "0") => {
                Some("no user namespaces for ordinary users here")
            }
            Self::Ordinary if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") => {
                Some("AppArmor forbids user namespaces to ordinary users here")
            }
            _ => None,
        }
    }
}

/// A run of a room with a state directory of its own.
struct Run {
    who: Who,
    state: tempfile::TempDir,
}

impl Run {
    fn new(who: Who) -> Self {
        let state = tempfile::tempdir().unwrap();
        if who == Who::Ordinary && nix::unistd::geteuid().is_root() {
            chown(state.path(), Some(ORDINARY), Some(ORDINARY)).unwrap();
        }
        std::fs::set_permissions(state.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { who, state }
    }

    fn recording(&self) -> PathBuf {
        self.state.path().join("recording")
    }

    fn command(&self, room: &str, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cutaway"));
        command.arg("--state").arg(self.state.path()).arg("--json").arg(self.recording()).args(["ns", room]);
        if !words.is_empty() {
            command.arg("--").args(words);
        }
        if self.who == Who::Ordinary && nix::unistd::geteuid().is_root() {
            command.uid(ORDINARY).gid(ORDINARY);
        }
        command.current_dir("/").stdin(Stdio::null());
        command
    }

    /// Performs a room; the exit code, the events and the pid that it had.
    fn perform(&self, room: &str, words: &[&str]) -> (Option<i32>, Vec<Json>, u32) {
        let child = self.command(room, words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let pid = child.id();
        let output = child.wait_with_output().unwrap();
        let text = std::fs::read_to_string(self.recording()).unwrap_or_default();
        let events: Vec<Json> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(!events.is_empty(), "{room}: {}", String::from_utf8_lossy(&output.stderr));
        (output.status.code(), events, pid)
    }
}

fn of<'a>(events: &'a [Json], kind: &'a str) -> impl Iterator<Item = &'a Json> {
    events.iter().filter(move |event| event["event"] == kind)
}

/// All names of namespaces of this kind that occur in a state, such as `uts:[4026531838]`.
fn namespaces(events: &[Json], kind: &str) -> BTreeSet<String> {
    fn strings(value: &Json, out: &mut Vec<String>) {
        match value {
            Json::String(text) => out.push(text.clone()),
            Json::Array(all) => all.iter().for_each(|one| strings(one, out)),
            Json::Object(all) => all.values().for_each(|one| strings(one, out)),
            _ => {}
        }
    }
    let mut all = Vec::new();
    of(events, "state").for_each(|event| strings(&event["value"], &mut all));
    let prefix = format!("{kind}:[");
    all.into_iter().filter(|text| text.starts_with(&prefix)).collect()
}

fn kept(room: &str, who: Who, events: &[Json]) {
    let place = format!("{room} as {who:?}");
    for claim in of(events, "claim") {
        assert_eq!(claim["held"], true, "{place}: {claim}");
    }
    assert!(of(events, "claim").count() >= 5, "{place}");
    assert_eq!(of(events, "error").count(), 0, "{place}");
    let found = namespaces(events, room);
    assert!(found.len() >= 2, "{place}: {found:?}");
    let own =
        of(events, "claim").filter(|claim| claim["claim"].as_str().unwrap().starts_with("own namespaces"));
    assert!(own.count() >= 1, "{place}");
    let left = of(events, "undone").last().unwrap();
    assert_eq!(left["left"].as_array().unwrap().len(), 0, "{place}: {left}");
    // The last step before the command says what is not isolated, and proves it.
    let limits = of(events, "step").find(|step| step["say"].as_str().unwrap().contains("does not isolate"));
    let limits = limits.unwrap_or_else(|| panic!("{place}: no step says what is not isolated"));
    assert!(of(events, "claim").any(|claim| claim["step"] == limits["id"]), "{place}");
    // Something was tried that the kernel refused, or that root alone may do.
    let refused = of(events, "call").any(|call| call["allowed"] == true && !call["errno"].is_null());
    let over = of(events, "call").any(|call| call["syscall"] == "setns");
    let unheard = of(events, "call").any(|call| call["text"] == "kill(1, SIGKILL)");
    assert!(refused || over || unheard, "{place}: nothing tried to cross");
}

/// What a run of this pid would have left.
fn nothing_left(room: &str, run: &Run, pid: u32) {
    let name = format!("cutaway-ns-{pid}");
    assert!(!std::env::temp_dir().join(&name).exists(), "{room}");
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!table.contains(&name), "{room}");
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        assert!(!hierarchy.path().join(&name).exists(), "{room}: a group is left");
    }
    assert!(!Path::new("/sys/fs/cgroup").join(&name).exists(), "{room}");
    let told = std::fs::read_to_string(run.recording()).unwrap_or_default();
    for file in told.split("\\\"").filter(|text| text.starts_with("/dev/shm/cutaway-")) {
        assert!(!Path::new(file).exists(), "{room}: {file} is left");
    }
    assert_eq!(processes(&run.state.path().to_string_lossy()), Vec::<i32>::new(), "{room}");
    let journals = std::fs::read_dir(run.state.path().join("journal")).into_iter().flatten().count();
    assert_eq!(journals, 0, "{room}: a journal is left");
}

/// The living processes whose command line has this text.
fn processes(text: &str) -> Vec<i32> {
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let has = |pid: &i32| {
        std::fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains(text))
    };
    pids.filter(has).collect()
}

fn every_room(who: Who) {
    if let Some(why) = who.impossible() {
        return skip(why);
    }
    let host = nix::unistd::gethostname().unwrap();
    for room in ROOMS {
        if !Path::new("/proc/self/ns").join(room).exists() {
            skip(&format!("this kernel has no {room} namespaces"));
            continue;
        }
        let run = Run::new(who);
        for (words, expected) in [(&[][..], 0), (&["sh", "-c", "exit 7"], 7)] {
            let (code, events, pid) = run.perform(room, words);
            kept(room, who, &events);
            assert_eq!(code, Some(expected), "{room} as {who:?}");
            nothing_left(room, &run, pid);
        }
        assert_eq!(nix::unistd::gethostname().unwrap(), host, "{room}");
    }
}

#[test]
fn every_room_keeps_its_claims_as_root() {
    every_room(Who::Root);
}

#[test]
fn every_room_keeps_its_claims_as_an_ordinary_user() {
    every_room(Who::Ordinary);
}

/// However many processes deep the command is, it does not outlive cutaway.
fn dies_with_cutaway(who: Who) {
    if let Some(why) = who.impossible() {
        return skip(why);
    }
    for room in ROOMS.into_iter().filter(|room| Path::new("/proc/self/ns").join(room).exists()) {
        let run = Run::new(who);
        // A number that no other process has on its command line.
        let mark = format!("{}.{}", 7000 + std::process::id(), run.state.path().file_name().unwrap().len());
        let mark = format!("{mark}{}", u32::from(who == Who::Root));
        let mut child =
            run.command(room, &["sleep", &mark]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let pid = child.id();
        let begun = Instant::now();
        let sleeps = || {
            let all = processes(&mark).into_iter();
            all.filter(|pid| {
                std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "sleep")
            })
            .count()
        };
        while sleeps() == 0 {
            assert!(begun.elapsed() < Duration::from_secs(30), "{room} as {who:?}: the command does not run");
            std::thread::sleep(Duration::from_millis(10));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let begun = Instant::now();
        while sleeps() > 0 {
            assert!(
                begun.elapsed() < Duration::from_secs(10),
                "{room} as {who:?}: the command outlives cutaway"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        let cleanup = Command::new(env!("CARGO_BIN_EXE_cutaway"))
            .args(["-q", "--state"])
            .arg(run.state.path())
            .arg("cleanup")
            .status();
        assert!(cleanup.unwrap().success(), "{room}");
        nothing_left(room, &run, pid);
    }
}

#[test]
fn the_command_dies_with_cutaway_as_root() {
    dies_with_cutaway(Who::Root);
}

#[test]
fn the_command_dies_with_cutaway_as_an_ordinary_user() {
    dies_with_cutaway(Who::Ordinary);
}

#[test]
fn a_missing_program_has_its_own_exit_code() {
    let run = Run::new(if nix::unistd::geteuid().is_root() { Who::Root } else { Who::Ordinary });
    let output = run.command("uts", &["surely-not-there"]).output().unwrap();
    if let Some(why) = run.who.impossible() {
        return skip(why);
    }
    assert_eq!(output.status.code(), Some(127));
    assert!(String::from_utf8_lossy(&output.stderr).contains("surely-not-there"));
}

#[test]
fn explaining_changes_nothing() {
    for room in ROOMS {
        let run = Run::new(if nix::unistd::geteuid().is_root() { Who::Root } else { Who::Ordinary });
        if let Some(why) = run.who.impossible() {
            return skip(why);
        }
        let output = Command::new(env!("CARGO_BIN_EXE_cutaway"))
            .args(["--explain", "--state"])
            .arg(run.state.path())
            .args(["ns", room])
            .output()
            .unwrap();
        assert!(output.status.success(), "{room}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("does not isolate"), "{room}: {text}");
        assert_eq!(std::fs::read_dir(run.state.path()).unwrap().count(), 0, "{room}");
    }
}
