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
        assert!(done.text().contains("is done"), "{}", done.text());
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
        assert!(text.contains("seen:") && text.contains("read:"), "{when}: {text}");
        assert!(failed.stderr.contains("is not done"), "{when}: {}", failed.stderr);
    }

    fn directory(&self) -> PathBuf {
        self.lab.directory(&self.bed.state())
    }

    /// Runs the solution in the lab's directory, as the student.
    fn solve(&self) {
        let program = self.bed.program().display();
        let script = format!("#!/bin/sh\nexec {program} --state {} \"$@\"\n", self.bed.state().display());
        let bin = self.bed.file("bin/cutaway", script, 0o755);
        let solution = self.bed.file("solution.sh", self.lab.source.solution, 0o644);
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
