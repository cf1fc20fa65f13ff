//! The labs, each proven three ways, as every kind of user that it declares: unsolved it fails, its solution passes,
//! and after the reset it fails again and nothing of it is left on the machine.
//!
//! `CUTAWAY_LAB=10` tries one lab only.

#![allow(clippy::unwrap_used, reason = "tests may unwrap, and so may their helpers")]

mod common;

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{BOTH, Bed, Done, Who, skipped};
use cutaway::lab::Lab;
use cutaway::lab::sheet::User;

/// Longer than any solution takes.
const LIMIT: Duration = Duration::from_secs(60);

/// The labs that are asked for.
fn labs() -> Vec<Lab> {
    let only = std::env::var("CUTAWAY_LAB").ok();
    let asked = |lab: &Lab| only.as_ref().is_none_or(|number| lab.number() == number);
    let labs: Vec<_> = Lab::all().unwrap().into_iter().filter(asked).collect();
    assert!(!labs.is_empty(), "there is no lab {only:?}");
    labs
}

#[test]
fn as_root_every_lab_fails_unsolved_passes_solved_and_leaves_nothing() {
    prove_all(Who::Root, User::Root);
}

#[test]
fn as_an_ordinary_user_every_lab_fails_unsolved_passes_solved_and_leaves_nothing() {
    prove_all(Who::User, User::Ordinary);
}

fn prove_all(who: Who, user: User) {
    for lab in labs().iter().filter(|lab| lab.sheet.users.contains(&user)) {
        let Some(bed) = Bed::new(who) else { return };
        // What the first container makes stays, and is not the lab's.
        let bed = if lab.source.solution.contains(" run ") { bed.with_demo() } else { bed };
        Student { bed, lab }.prove();
    }
}

/// Somebody who does one lab.
struct Student<'a> {
    bed: Bed,
    lab: &'a Lab,
}

impl Student<'_> {
    fn prove(&self) {
        let begun = self.says(&["start"]);
        if begun.stderr.contains("cannot be done here") {
            skipped(&format!("lab {} as {:?}: {}", self.lab.number(), self.bed.who, begun.words()));
            return;
        }
        begun.exits(0);
        // A first round leaves the folders and the note that stay.
        self.says(&["reset"]).exits(0);
        let before = self.bed.listing();

        self.says(&["start"]).exits(0);
        self.fails("unsolved");
        self.solve();
        let done = self.says(&["check"]).exits(0);
        let whole = format!("lab {} is done", self.lab.number());
        assert!(done.text().contains(&whole), "{}", done.text());
        self.says(&["reset"]).exits(0);
        before.is_still(&self.bed, &format!("lab {}", self.lab.number()));
        self.nobody_works_there();

        let again = self.says(&["check"]).exits(1);
        assert!(again.stderr.contains("is not started"), "{}", again.stderr);
        self.says(&["start"]).exits(0);
        self.fails("after a reset");
        self.says(&["reset"]).exits(0);
        before.is_still(&self.bed, &format!("lab {}, started again", self.lab.number()));
        assert!(self.bed.cutaway(["lab", "status"]).done().exits(0).text().contains("labs done: 1 of"));
    }

    /// `cutaway lab VERB N`
    fn says(&self, verb: &[&str]) -> Done {
        let words = ["lab"].iter().chain(verb).copied().chain([self.lab.number()]);
        self.bed.cutaway(words).quiet().done()
    }

    /// The check fails, and says of everything that is not so what it has seen and where to read.
    fn fails(&self, when: &str) {
        let failed = self.says(&["check"]).exits(1);
        let text = failed.text();
        if self.lab.source.sheet.contains("\"performed\"") {
            // The kernel says it: the first call that failed, and the rule.
            assert!(failed.stderr.contains(" = -1 E") && failed.stderr.contains("Rule"), "{}", failed.stderr);
            return;
        }
        assert!(text.contains("seen:") && text.contains("read:"), "{when}: {text}");
        assert!(failed.stderr.contains("is not done"), "{when}: {}", failed.stderr);
    }

    fn directory(&self) -> PathBuf {
        self.lab.directory(&self.bed.state())
    }

    /// Runs the solution in the lab's directory, as the student.
    fn solve(&self) {
        self.run(self.lab.source.solution);
    }

    /// Runs a script there.
    fn run(&self, script: &str) {
        let program = self.bed.program().display();
        let caller = format!("#!/bin/sh\nexec {program} --state {} \"$@\"\n", self.bed.state().display());
        let bin = self.bed.file("bin/cutaway", caller, 0o755);
        let solution = self.bed.file("solution.sh", script, 0o644);
        let log = fs::File::create(self.bed.path("solution.log")).unwrap();
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new("/bin/sh");
        command
            .arg(&solution)
            .current_dir(self.directory())
            .env("PATH", format!("{}:{path}", bin.parent().unwrap().display()))
            .env("HOME", self.bed.dir())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        if let Some((uid, gid)) = self.bed.ids() {
            command.uid(uid).gid(gid);
        }
        let mut child = command.spawn().unwrap();
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if begun.elapsed() > LIMIT {
                let _ = child.kill();
                panic!("the solution of lab {} does not end:\n{}", self.lab.number(), self.log());
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        assert!(status.success(), "the solution of lab {}: {status}\n{}", self.lab.number(), self.log());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.bed.path("solution.log")).unwrap_or_default()
    }

    /// No process is left whose working directory or root was the lab's.
    fn nobody_works_there(&self) {
        let here = |target: &Path| target.to_string_lossy().contains(&*self.bed.dir().to_string_lossy());
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            for link in ["cwd", "root"] {
                let target = fs::read_link(entry.path().join(link)).unwrap_or_default();
                assert!(!here(&target), "{} still works in {}", entry.path().display(), target.display());
            }
        }
    }
}

/// Other ways to do a lab that count as well.
const ALSO_RIGHT: &[(&str, &str)] = &[
    (
        "09",
        "mkdir tree; unshare -Urm sh -c 'mount -t tmpfs none source/logs; mount --bind source tree; mount --bind source/logs tree/logs; for at in tree/logs tree; do mount -o remount,bind,ro $at; done; exec sleep 1000' & sleep 1",
    ),
    (
        "09",
        "mkdir tree; unshare -Urm sh -c 'mount -t tmpfs none source/logs; mount -o remount,bind,ro source/logs; mount --rbind source tree; mount -o remount,bind,rw source/logs; mount -o remount,bind,ro tree; exec sleep 1000' & sleep 1",
    ),
    (
        "10",
        "for one in 1 2; do sleep 1000 & done\nexec 9>&1; unshare -Uru sh -c 'sh -c \"hostname box\"; exec sleep 1000' & sleep 1",
    ),
    (
        "11",
        "for name in one two; do unshare -Uri sh -c \"cat word >$name; exec 5<>shared; exec sleep 1000\" & done; sleep 1; mv one received",
    ),
    ("12", "unshare -Urmpf sh -c 'mount -t proc none /proc && exec sleep 1000' & sleep 1"),
    ("15", "unshare -Ur -T --boottime 86400 --monotonic 5 sleep 1000 & sleep 1"),
    (
        "16",
        "unshare -UrC sh -c 'echo / >inside; exec sleep 1000' & sleep 1; sed 's/^[^:]*:[^:]*://' /proc/$!/cgroup >real",
    ),
    (
        "28",
        "unshare -Urmpf --mount-proc sh -c 'mount -t tmpfs none /proc/sys/fs; mount -o remount,bind,ro /proc/sys/fs; mount --rbind /proc/sys /proc/sys; mount -o remount,bind,ro /proc/sys; mount --bind /dev/null /proc/version; mount -t tmpfs none /proc/irq; mount -o remount,bind,ro /proc/irq; exec sleep 1000' & sleep 1",
    ),
    (
        "28",
        "unshare -Urmpf --mount-proc sh -c 'mount --bind /dev/null /proc/version; mount -t tmpfs -o ro none /proc/irq; mount --bind /proc/sys /proc/sys; mount -o remount,bind,ro /proc/sys; mount -t tmpfs -o ro none /proc/sys/fs; exec sleep 1000' & sleep 1",
    ),
    ("31", "printf '%s\\n' no-new-privs hostname tmpfs folders pivot read-only proc leave powers >order"),
];

/// Ways that do not lead there, and what the check has to say about them.
const WRONG: &[(&str, &str, &str)] = &[
    ("02", "sleep 1000 &", "has not ended"),
    ("07", "mkdir image", "image"),
    ("07", "cutaway lab solution 07 | sed '1d;/wh.secret/s/.*/:/' | sh", "a container still sees it"),
    ("07", "cutaway lab solution 07 | sed 1d | sh; printf x >>image/blobs/sha256/$(cat where)", "bytes"),
    (
        "07",
        "cutaway lab solution 07 | sed 1d | sh; ls image/blobs/sha256 | grep -v $(cat where) | head -n 1 >other; mv other where",
        "is not the blob that holds it",
    ),
    (
        "09",
        "mkdir tree; unshare -Urm sh -c 'mount -t tmpfs none source/logs; mount --rbind source tree; mount -o remount,bind,ro tree; exec sleep 1000' & sleep 1",
        "/tree/logs mounted writable",
    ),
    (
        "09",
        "mkdir tree; unshare -Urm sh -c 'mount -t tmpfs none source/logs; mount --bind source tree; mount -o remount,bind,ro tree; exec sleep 1000' & sleep 1",
        "has nothing mounted on",
    ),
    (
        "09",
        "mkdir tree; unshare -Urm sh -c 'mount -t tmpfs -o ro none source/logs; mount --rbind source tree; mount -o remount,bind,ro tree; exec sleep 1000' & sleep 1",
        "/source/logs mounted read-only",
    ),
    (
        "09",
        "mkdir tree; unshare -Urm sh -c 'mount -t tmpfs none source/logs; mount --bind source tree; mount -t tmpfs -o ro none tree/logs; mount -o remount,bind,ro tree; exec sleep 1000' & sleep 1",
        "sees another directory",
    ),
    ("09", "cp -r source tree; unshare -Urm sleep 1000 & sleep 1", "has nothing mounted on"),
    (
        "10",
        "for one in 1 2 3; do unshare -Uru sh -c 'hostname box; exec sleep 1000' & done; sleep 1",
        "3 uts namespaces",
    ),
    ("10", "sleep 1000 & sleep 1000 & unshare -Uru sleep 1000 & sleep 1", "sees the host name"),
    (
        "11",
        "cp word received; unshare -Uri sleep 1000 & unshare -Uri sleep 1000 & sleep 1",
        "none of them has open",
    ),
    (
        "11",
        "cp word received; exec 5<>shared; unshare -Uri sleep 1000 & sleep 1000 & sleep 1",
        "only 1 ipc namespace",
    ),
    ("12", "unshare -Urpf sleep 1000 & sleep 1", "is in the host's mnt namespace"),
    ("12", "unshare -Urmpf sleep 1000 & sleep 1", "processes in its /proc"),
    ("13", "printf '#!/bin/sh\\nexec \"$@\"\\n' >init; chmod +x init", "init ended before it got SIGTERM"),
    ("13", "printf '#!/bin/sh\\n\"$@\" & wait\\n' >init; chmod +x init", "the workload did not"),
    (
        "13",
        "printf '#!/bin/sh\\ntrap \"exit 143\" TERM\\n\"$@\" & wait\\n' >init; chmod +x init",
        "the workload did not",
    ),
    ("13", "echo >init", "init cannot be executed"),
    ("15", "unshare -UrTf --boottime 86399 sleep 1000 & sleep 1", "ahead by 86399 s"),
    ("16", "unshare -UrC sleep 1000 & sleep 1; echo /else >real; echo / >inside", "real holds"),
    ("30", "./runtime sleep 1000 & sleep 1", "which its root leads to"),
    (
        "31",
        "printf '%s\\n' tmpfs folders proc pivot leave hostname read-only powers no-new-privs >order",
        "this does not hold: proc is mounted",
    ),
    (
        "31",
        "printf '%s\\n' tmpfs folders pivot proc leave powers hostname read-only no-new-privs >order",
        "sethostname",
    ),
    (
        "28",
        "unshare -Urmpf sh -c 'mount --bind /dev/null /proc/version; mount -t tmpfs -o ro none /proc/irq; mount -t proc none /proc; mount -t tmpfs none /proc/sys/fs; mount --rbind /proc/sys /proc/sys; mount -o remount,bind,ro /proc/sys; mount -o remount,bind,ro /proc/sys/fs; exec sleep 1000' & sleep 1",
        "has what is mounted on /proc/irq covered",
    ),
    (
        "28",
        "unshare -Urmpf sh -c 'mount --bind /dev/null /proc/version; mount -t tmpfs -o ro none /proc/irq; exec sleep 1000' & sleep 1",
        "processes in its /proc",
    ),
    (
        "28",
        "unshare -Urmpf --mount-proc sh -c 'mount -t tmpfs -o ro none /proc/irq; mount -t tmpfs none /proc/sys/fs; mount --rbind /proc/sys /proc/sys; mount -o remount,bind,ro /proc/sys; mount -o remount,bind,ro /proc/sys/fs; exec sleep 1000' & sleep 1",
        "sees another file in /proc/version",
    ),
    (
        "28",
        "unshare -Urmpf --mount-proc sh -c 'mount -t tmpfs none /proc/sys/fs; mount --bind /dev/null /proc/version; mount -t tmpfs none /proc/irq; mount --rbind /proc/sys /proc/sys; mount -o remount,bind,ro /proc/sys; mount -o remount,bind,ro /proc/sys/fs; exec sleep 1000' & sleep 1",
        "has /proc/irq mounted writable",
    ),
    (
        "28",
        "unshare -Urmpf --mount-proc sh -c 'mount -t tmpfs none /proc/sys/fs; mount --bind /dev/null /proc/version; mount -t tmpfs -o ro none /proc/irq; mount --rbind /proc/sys /proc/sys; mount -o remount,bind,ro /proc/sys; exec sleep 1000' & sleep 1",
        "has /proc/sys/fs mounted writable",
    ),
    (
        "28",
        "unshare -Urmpf --mount-proc sh -c 'mount -t tmpfs none /proc/sys/fs; mount --bind /dev/null /proc/version; mount -t tmpfs -o ro none /proc/irq; mount --bind /proc/sys /proc/sys; mount -o remount,bind,ro /proc/sys; exec sleep 1000' & sleep 1",
        "has what is mounted on /proc/sys/fs covered",
    ),
    (
        "28",
        "unshare -Urmpf --mount-proc sh -c 'mount --bind /dev/null /proc/version; mount -t tmpfs -o ro none /proc/irq; mount -t tmpfs -o ro none /proc/sys; exec sleep 1000' & sleep 1",
        "has a tmpfs on /proc/sys",
    ),
    (
        "28",
        "unshare -Urmpf --mount-proc sh -c 'mount -t tmpfs none /proc/sys/fs; mount --bind /dev/null /proc/version; mount -t tmpfs -o ro none /proc/irq; mount -t tmpfs none /proc; mount -t tmpfs none /proc; exec sleep 1000' & sleep 1",
        "no proc is mounted there",
    ),
    ("31", "echo tmpfs >order", "has no step folders"),
    ("34", "true", "no journal of a run that has died"),
];

/// A student who has started a lab, if it can be done here.
fn started(number: &str, labs: &[Lab], who: Who) -> Option<(Bed, Lab)> {
    let lab = labs.iter().find(|lab| lab.number() == number)?;
    let bed = Bed::new(who)?;
    let begun = bed.cutaway(["lab", "start", number]).quiet().done();
    if begun.stderr.contains("cannot be done here") {
        skipped(&format!("lab {number}: {}", begun.words()));
        return None;
    }
    begun.exits(0);
    Some((bed, lab.clone()))
}

#[test]
fn other_right_ways_count_as_well() {
    let labs = labs();
    for (number, script) in ALSO_RIGHT {
        let Some((bed, lab)) = started(number, &labs, Who::User) else { continue };
        let student = Student { bed, lab: &lab };
        student.run(script);
        student.says(&["check"]).exits(0);
        student.says(&["reset"]).exits(0);
        student.nobody_works_there();
    }
}

#[test]
fn wrong_ways_do_not_count_and_what_is_seen_is_said() {
    let labs = labs();
    for (number, script, seen) in WRONG {
        let Some((bed, lab)) = started(number, &labs, Who::User) else { continue };
        let student = Student { bed, lab: &lab };
        student.run(script);
        let done = student.says(&["check"]).exits(1);
        let said = format!("{} {}", done.text(), done.stderr);
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains(seen), "lab {number}, {script}: no {seen:?} in {said}");
        student.says(&["reset"]).exits(0);
        student.nobody_works_there();
    }
}

#[test]
fn a_reset_ends_what_works_there_and_nothing_else() {
    let Some((bed, lab)) = started("10", &Lab::all().unwrap(), Who::User) else { return };
    let student = Student { bed, lab: &lab };
    let sleeper = |dir: &Path| Command::new("sleep").arg("1000").current_dir(dir).spawn().unwrap();
    let (mut there, mut elsewhere) = (sleeper(&student.directory()), sleeper(Path::new("/")));
    // As root they are not the student's, so give the student one of its own as well.
    student.run("sleep 1000 &\ncd / && { sleep 1000 & echo $! >\"$HOME/outside\"; }");
    student.says(&["reset"]);
    let outside = fs::read_to_string(student.bed.path("outside")).unwrap().trim().parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(outside), nix::sys::signal::Signal::SIGKILL).unwrap();
    assert!(elsewhere.try_wait().unwrap().is_none(), "who works elsewhere was ended");
    for one in [&mut there, &mut elsewhere] {
        let _ = one.kill();
        one.wait().unwrap();
    }
}

#[test]
fn a_state_directory_behind_a_link_does_as_well() {
    let Some(bed) = Bed::new(Who::User) else { return };
    let real = bed.folder("real");
    std::os::unix::fs::symlink(real, bed.state()).unwrap();
    let lab = Lab::find("02").unwrap();
    let student = Student { bed, lab: &lab };
    student.says(&["start"]).exits(0);
    student.solve();
    student.says(&["check"]).exits(0);
    student.says(&["reset"]).exits(0);
    student.nobody_works_there();
}

#[test]
fn what_is_mounted_in_a_lab_is_taken_down_and_stays_whole() {
    let Some((bed, lab)) = started("31", &Lab::all().unwrap(), Who::Root) else { return };
    let student = Student { bed, lab: &lab };
    let precious = student.bed.file("precious/file", "whole", 0o644);
    let at = student.directory().join("root");
    let mount = |from: &Path| {
        let flags = nix::mount::MsFlags::MS_BIND;
        nix::mount::mount(Some(from), &at, None::<&str>, flags, None::<&str>).unwrap();
    };
    mount(precious.parent().unwrap());
    mount(precious.parent().unwrap());
    student.says(&["reset"]).exits(0);
    assert_eq!(fs::read_to_string(precious).unwrap(), "whole");
    assert!(!fs::read_to_string("/proc/self/mountinfo").unwrap().contains(&student.bed.tag));
    assert!(!student.directory().exists());
}

#[test]
fn a_lab_that_was_not_started_or_does_not_exist_says_so() {
    for who in BOTH {
        let Some(bed) = Bed::new(who) else { continue };
        bed.cutaway(["lab", "check"]).done().exits(1).says(&["no lab was started yet"]);
        bed.cutaway(["lab", "check", "10"]).done().exits(1).says(&["lab 10 is not started", "lab start 10"]);
        bed.cutaway(["lab", "start", "99"]).done().exits(1).says(&["there is no lab 99"]);
        bed.cutaway(["lab", "reset", "10"])
            .done()
            .exits(0)
            .prints("lab 10 is not started: nothing to reset\n");
        bed.cutaway(["lab", "start"]).done().exits(2);
        bed.cutaway(["lab"]).done().exits(2);
        bed.cutaway(["lab", "status"]).done().exits(0);
        bed.cutaway(["lab", "solution", "10"]).done().exits(0);
    }
}

#[test]
fn explained_a_lab_is_neither_started_nor_checked() {
    let Some(bed) = Bed::new(Who::User) else { return };
    let text = bed.cutaway(["lab", "start", "10"]).global("--explain").done().exits(0).text();
    assert!(text.contains("mkdirat") && text.contains("remove"), "{text}");
    let text = bed.cutaway(["lab", "check", "10"]).global("--explain").done().exits(0).text();
    assert!(text.contains("its host name is box"), "{text}");
    assert!(!bed.state().exists());
}

#[test]
fn hints_come_one_after_the_other_and_the_first_is_for_what_was_seen() {
    let Some(bed) = Bed::new(Who::User) else { return };
    if !bed.cutaway(["lab", "start", "10"]).quiet().done().stderr.is_empty() {
        skipped("lab 10 cannot be done here");
        return;
    }
    let hint = || bed.cutaway(["lab", "hint"]).done().exits(0).text();
    let first = hint();
    assert!(first.contains("Hint 1 of 3") && !first.contains("what the last check saw"), "{first}");
    bed.cutaway(["lab", "check"]).done().exits(1);
    let second = hint();
    assert!(second.contains("Hint 2 of 3") && second.contains("what the last check saw"), "{second}");
    hint();
    let last = hint();
    assert!(last.contains("Hint 3 of 3") && last.contains("cutaway lab solution 10"), "{last}");
    bed.cutaway(["lab", "reset"]).quiet().done().exits(0);
}

#[test]
fn a_start_that_was_killed_is_cleaned_up() {
    let Some(bed) = Bed::new(Who::User) else { return };
    if !common::need("strace") {
        return;
    }
    let killed = bed.cutaway(["lab", "start", "10"]).quiet();
    // Its last call that changes something moves the journal: killed in front of it, the journal is a dead run's.
    let done = killed.traced(["-f", "-e", "trace=rename", "-e", "inject=rename:signal=KILL:when=1"]).done();
    assert_ne!(done.code, 0);
    bed.cutaway(["lab", "start", "10"]).done().exits(1).says(&["left behind by a run that died"]);
    bed.cleanup().exits(0);
    assert!(!bed.state().join("labs/10-rename").exists());
}
