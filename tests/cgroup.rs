//! `cutaway cgroup`: every lesson performed for real, and the limits proven by what they do.
//!
//! The recording is the witness of what was read over time. What is outside is looked at by the test itself: no
//! group and no process is left, also when cutaway is killed in the middle.

#![allow(clippy::unwrap_used, reason = "tests may unwrap, and so may their helpers")]

mod common;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::listing::group_trees;
use common::{Bed, Done, Who, need, skipped};
use cutaway::report::event::Event;

/// Every lesson with the controller that it needs, and a limit under which it is short.
const LESSONS: [(&str, &str, &[&str]); 6] = [
    ("rules", "pids", &[]),
    ("io", "io", &["--limit", "1m"]),
    ("memory", "memory", &["--limit", "16m"]),
    ("cpu", "cpu", &[]),
    ("pids", "pids", &["--limit", "8"]),
    ("freeze", "freezer", &[]),
];

/// A bed for root, on a machine where root may make groups.
fn bed() -> Option<Bed> {
    if group_trees().is_empty() {
        skipped("no cgroup file system is mounted");
        return None;
    }
    Bed::new(Who::Root)
}

fn line<'a>(lesson: &'a str, args: &[&'a str]) -> Vec<&'a str> {
    [&["cgroup", lesson], args].concat()
}

/// The groups of lessons that are there now.
fn groups() -> Vec<PathBuf> {
    let all = group_trees().into_iter().flat_map(|tree| std::fs::read_dir(tree).into_iter().flatten());
    let paths = all.flatten().map(|entry| entry.path());
    paths.filter(|path| path.file_name().is_some_and(|name| is_ours(&name.to_string_lossy()))).collect()
}

fn is_ours(name: &str) -> bool {
    name.starts_with("cutaway-cgroup-")
}

/// The numbers that a meter had in the readings.
fn read(events: &[Event], meter: &str) -> Vec<u64> {
    let of = |event: &Event| match event {
        Event::Reading { values, .. } => values[meter].as_u64(),
        _ => None,
    };
    events.iter().filter_map(of).collect()
}

fn ended(events: &[Event], who: &str) -> String {
    let of = |event: &Event| match event {
        Event::Exit { actor, text, .. } if actor == who => Some(text.clone()),
        _ => None,
    };
    events.iter().find_map(of).unwrap_or_default()
}

/// What must hold after every lesson.
fn kept(lesson: &str, done: &Done) {
    let events = done.events();
    let mut claims = 0;
    for event in &events {
        if let Event::Claim { claim, held, saw, .. } = event {
            assert!(held, "{lesson}: {claim}: {saw:?}");
            claims += 1;
        }
        assert!(!matches!(event, Event::Error { .. }), "{lesson}: {event:?}");
    }
    assert!(claims >= 1, "{lesson}: {claims} claims");
    let left = events.iter().find_map(|event| match event {
        Event::Undone { left, .. } => Some(left.clone()),
        _ => None,
    });
    assert_eq!(left, Some(Vec::new()), "{lesson}");
}

#[test]
fn every_lesson_keeps_its_claims_and_leaves_nothing() {
    let Some(bed) = bed() else { return };
    for (lesson, _, args) in LESSONS {
        let done = bed.cutaway(line(lesson, args)).global("--color=never").recorded().done().exits(0);
        kept(lesson, &done);
        let events = done.events();
        match lesson {
            "memory" => {
                assert_eq!(ended(&events, "grower"), "killed by SIGKILL");
                assert_eq!(ended(&events, "reader"), "exit status 0");
                let used = [read(&events, "usage"), read(&events, "current")].concat();
                let most = used.iter().max().unwrap();
                assert!((8 << 20..=17 << 20).contains(most), "{used:?}");
            }
            "cpu" => assert!(read(&events, "nr_throttled").last().unwrap() > &5),
            "pids" => {
                assert_eq!(read(&events, "pids.current").iter().max(), Some(&8));
                assert!(done.text().contains("then fork ended in EAGAIN"), "{}", done.text());
                assert_eq!(ended(&events, "bomb"), "killed by SIGKILL");
                assert_eq!(ended(&events, "neighbour"), "exit status 0");
            }
            "io" => assert_eq!(ended(&events, "slowed"), "exit status 0"),
            "rules" => {}
            _ => assert_eq!(ended(&events, "spinner"), "killed by SIGKILL"),
        }
        // Nothing is drawn where nobody looks at a terminal.
        assert!(!done.stderr.contains('█') && !done.stderr.contains('#'), "{}", done.stderr);
    }
    let own: Vec<_> = groups().into_iter().filter(|group| members(group).is_empty()).collect();
    assert_eq!(own, Vec::<PathBuf>::new());
}

fn members(group: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn quiet_it_does_the_same_and_says_nothing() {
    let Some(bed) = bed() else { return };
    let done = bed.cutaway(line("pids", &["--limit", "5"])).quiet().done().exits(0);
    assert_eq!(done.stderr, "");
    // The bomb may be killed before it has said anything.
    assert!(
        ["", "the first"].iter().any(|text| done.text().get(..9).unwrap_or("") == *text),
        "{}",
        done.text()
    );
}

#[test]
fn killed_in_the_middle_it_takes_its_processes_with_it_and_cleanup_the_groups() {
    let Some(bed) = bed() else { return };
    for (lesson, controller) in [("pids", "pids"), ("freeze", "freezer")] {
        let running = bed.cutaway(line(lesson, &[])).quiet().start();
        let name = format!("cutaway-cgroup-{}", running.pid());
        let group = || {
            let trees = group_trees().into_iter();
            let mut all = trees.map(|tree| tree.join(&name)).filter(|group| group.exists());
            all.next()
        };
        wait_for(|| group().is_some_and(|group| !members(&group).is_empty()), "a process in the group");
        running.signal(nix::sys::signal::Signal::SIGKILL);
        let done = running.done();
        assert_eq!(done.code, 137, "{lesson}");
        let place = group().unwrap_or_else(|| panic!("{lesson}: no group of {controller} to clean up"));
        bed.cleanup().exits(0);
        assert!(!place.exists(), "{lesson}: {}", place.display());
    }
}

fn wait_for(done: impl Fn() -> bool, what: &str) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(30), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_limit_out_of_range_is_refused_before_anything_is_done() {
    let Some(bed) = bed() else { return };
    for (lesson, value, word) in [
        ("memory", "1m", "between 16m and 512m"),
        ("memory", "much", "number of bytes"),
        ("cpu", "1", "less than 1"),
        ("cpu", "-1", "number of processors"),
        ("pids", "2", "between 3 and 1000"),
        ("pids", "x", "number of processes"),
    ] {
        let value = format!("--limit={value}");
        bed.cutaway(line(lesson, &[&value])).quiet().done().exits(125).says(&["--limit", word]);
    }
    bed.cutaway(["cgroup", "nonsense"]).done().exits(125);
    bed.cutaway(["cgroup"]).done().exits(125);
}

#[test]
fn a_workload_cannot_be_asked_for_by_hand() {
    let Some(bed) = bed() else { return };
    let done = std::process::Command::new(bed.program()).args(["workload", "help"]).output().unwrap();
    assert_eq!(done.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&done.stderr).contains("cutaway cgroup"));
}

#[test]
fn explaining_makes_no_group() {
    let Some(bed) = bed() else { return };
    for (lesson, _, args) in LESSONS {
        let done = bed.cutaway(line(lesson, args)).global("--explain").done().exits(0);
        let text = done.text();
        assert!(text.contains("mkdirat(") && text.contains("undo:"), "{lesson}: {text}");
        let json = bed.cutaway(line(lesson, args)).global("--explain").global("--json=-").done().exits(0);
        assert!(json.text().contains("\"kind\":\"watch\""), "{lesson}");
    }
    assert!(!bed.state().exists());
}

/// A tree of version 1 whose part was given to the test's user.
struct Delegated(PathBuf);

impl Delegated {
    fn new(bed: &Bed, controller: &str) -> Option<Self> {
        let group = Path::new("/sys/fs/cgroup").join(controller).join(format!("cutaway-test-{}", bed.tag));
        let tree = group.parent()?;
        if !tree.join("tasks").exists() {
            skipped(
                "no version 1 tree to delegate a part of; the virtual machine has the test for version 2",
            );
            return None;
        }
        std::fs::create_dir(&group).unwrap();
        bed.give(&group);
        for file in ["cgroup.procs", "tasks"] {
            bed.give(&group.join(file));
        }
        Some(Self(group))
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        let begun = Instant::now();
        // The processes of a bomb that was killed are collected by the machine's first process.
        while std::fs::remove_dir(&self.0).is_err() && begun.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn an_ordinary_user_needs_a_delegated_group_and_can_use_one() {
    if !need("root") {
        return;
    }
    let Some(bed) = Bed::new(Who::User) else { return };
    let refused = bed.cutaway(line("pids", &[])).quiet().done().exits(125);
    refused.says(&["no group with the controller pids", "Delegate=yes"]);
    let Some(delegated) = Delegated::new(&bed, "pids") else { return };
    let procs = delegated.0.join("cgroup.procs");
    let join = format!("echo $$ >{} && exec \"$@\"", procs.display());
    let done = bed
        .cutaway(line("pids", &["--limit", "8"]))
        .recorded()
        .under(["sh", "-c", &join, "sh"])
        .done()
        .exits(0);
    kept("pids", &done);
    assert!(done.stderr.contains("delegated to you"), "{}", done.stderr);
    assert_eq!(
        std::fs::read_dir(&delegated.0).unwrap().flatten().filter(|one| one.path().is_dir()).count(),
        0
    );
}
