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
const LESSONS: [(&str, &str, &[&str]); 7] = [
    ("rules", "pids", &[]),
    ("io", "io", &["--limit", "1m"]),
    ("memory", "memory", &["--limit", "16m"]),
    ("cpu", "cpu", &[]),
    ("pids", "pids", &["--limit", "8"]),
    ("devices", "devices", &[]),
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
            "devices" => assert_eq!(ended(&events, "member"), "exit status 0"),
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

/// What the freezer of version 1 holds does not die, not even by SIGKILL.
#[test]
fn stopped_while_a_group_is_frozen_it_thaws_it_first() {
    let Some(bed) = bed() else { return };
    for signal in [nix::sys::signal::Signal::SIGTERM, nix::sys::signal::Signal::SIGINT] {
        let running = bed.cutaway(line("freeze", &[])).global("--color=never").start();
        let name = format!("cutaway-cgroup-{}", running.pid());
        let frozen = || {
            let groups = group_trees().into_iter().map(|tree| tree.join(&name));
            let read = |group: &Path, file| std::fs::read_to_string(group.join(file)).unwrap_or_default();
            groups.into_iter().any(|group| {
                read(&group, "freezer.state").trim() == "FROZEN"
                    || read(&group, "cgroup.events").contains("frozen 1")
            })
        };
        wait_for(frozen, "a frozen group");
        running.signal(signal);
        let begun = Instant::now();
        let done = running.done();
        assert!(begun.elapsed() < Duration::from_secs(20), "{}", done.stderr);
        assert_eq!(done.code, 128 + signal as i32, "{}", done.stderr);
        assert!(done.stderr.contains("Nothing is left behind"), "{}", done.stderr);
        assert!(!groups().iter().any(|group| group.ends_with(&name)), "{}", done.stderr);
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

#[test]
fn a_command_is_limited_and_its_account_told() {
    let Some(bed) = bed() else { return };
    let words = |limits: &[&str], command: &[&str]| {
        let all = [&["cgroup", "run"], limits, &["--"], command].concat();
        all.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let state = |done: &Done, name: &str| {
        let found = done.events().iter().find_map(|event| match event {
            Event::State { value, .. } => value.get(name).cloned(),
            _ => None,
        });
        found.unwrap_or_else(|| panic!("no {name} in {}", done.stderr))
    };
    // Memory: what needs more is killed, and the account says so.
    let greedy = "x=x; while true; do x=$x$x; done";
    let done =
        bed.cutaway(words(&["--memory", "16m"], &["/bin/sh", "-c", greedy])).recorded().done().exits(137);
    assert_eq!(state(&done, "killed for memory").as_u64(), Some(1));
    // Processor time: in half a second of waiting no more than a fifth is used.
    let busy = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; exit 7";
    let done = bed.cutaway(words(&["--cpus", "0.2"], &["/bin/sh", "-c", busy])).recorded().done().exits(7);
    assert!(state(&done, "periods throttled").as_u64().unwrap() > 0, "{}", done.stderr);
    // Processes: the shell may not fork, and says so.
    let done =
        bed.cutaway(words(&["--pids", "1"], &["/bin/sh", "-c", "/bin/true; /bin/true"])).recorded().done();
    assert_ne!(done.code, 0);
    assert!(state(&done, "refused").as_u64().unwrap() > 0, "{}", done.stderr);
    // Processors: the list arrives.
    let show = "grep Cpus_allowed_list /proc/self/status";
    let done = bed.cutaway(words(&["--cpuset-cpus", "0"], &["/bin/sh", "-c", show])).quiet().done().exits(0);
    assert_eq!(done.text().split_whitespace().last(), Some("0"));
    // Who is left behind by the command is ended with the group.
    let done = bed.cutaway(words(&[], &["/bin/sh", "-c", "sleep 4321 & exit 0"])).recorded().done().exits(0);
    assert_eq!(state(&done, "still there").as_u64(), Some(1));
    assert!(common::listing::processes("sleep 4321").is_empty());
    bed.cutaway(words(&[], &["surely-not-there"])).quiet().done().exits(127);
    bed.cutaway(words(&["--memory", "1k"], &["/bin/true"])).quiet().done().exits(125).says(&["--memory 1k"]);
    bed.cutaway(["cgroup", "run"]).quiet().done().exits(125);
}

#[test]
fn the_limit_in_effect_is_found_with_who_sets_it() {
    let Some(bed) = bed() else { return };
    let stat = |what: &str| bed.cutaway(["cgroup", "stat", what]).global("--json=-").done();
    let name = bed.name();
    let words = ["--name", &name, "--memory", "64m", "-i", "--", "/bin/sh", "-c", "echo up; sleep 20"];
    let running = bed.run(words).quiet().start();
    running.prints("up");
    let json: serde_json::Value = serde_json::from_str(&stat(&name).exits(0).text()).unwrap();
    assert_eq!(json["memory"]["in_effect"]["limit"], 64 << 20, "{json}");
    assert!(json["memory"]["in_effect"]["by"].as_str().unwrap().contains(&name), "{json}");
    assert_eq!(json["pids"]["in_effect"]["limit"], 2048);
    let usage = |field: &str| json["memory"][field].as_u64().unwrap();
    assert_eq!(usage("as_docker_stats"), usage("usage").saturating_sub(usage("inactive_file")));
    let text = bed.cutaway(["cgroup", "stat", &name]).done().exits(0).text();
    assert!(text.contains("set by this group itself") && text.contains("as docker stats"), "{text}");
    let stats = bed.cutaway(["stats"]).done().exits(0).text();
    assert!(stats.contains(&name) && stats.contains("64.0 MiB"), "{stats}");
    let watched = bed.cutaway(["cgroup", "stat", &name, "--watch", "--every", "0.1", "--count", "3"]).done();
    assert_eq!(watched.exits(0).text().lines().count(), 4);
    running.signal(nix::sys::signal::Signal::SIGTERM);
    running.signal(nix::sys::signal::Signal::SIGTERM);
    drop(running.done());
    stat(&name).exits(125).says(&["no group of a container", "cgroup tree"]);
    bed.cutaway(["stats", &name]).done().exits(1).says(&["no container"]);
}

/// A group without processes whose processor time or processes are counted, for a test that removes it.
fn counted_group(bed: &Bed) -> PathBuf {
    let counts = |tree: &&PathBuf| {
        tree.join("cgroup.controllers").exists()
            || tree.join("cpuacct.usage").exists()
            || tree.join("memory.usage_in_bytes").exists()
    };
    let group = group_trees().iter().find(counts).unwrap().join(format!("cutaway-{}", bed.name()));
    std::fs::create_dir(&group).unwrap();
    group
}

#[test]
fn a_group_that_vanishes_meanwhile_is_said() {
    let Some(bed) = bed() else { return };
    let group = counted_group(&bed);
    let place = group.to_str().unwrap();
    let running = bed.cutaway(["cgroup", "stat", place, "--watch", "--every", "0.1"]).start();
    running.prints("0.0 s");
    std::fs::remove_dir(&group).unwrap();
    let done = running.done().exits(125).says(&["is gone", "it was removed", "exit code 125"]);
    assert!(!done.stderr.contains("0.0 s"), "the readings are on stdout: {}", done.stderr);
    bed.cutaway(["cgroup", "stat", place]).done().exits(125).says(&["cannot look at the group"]);
    bed.cutaway(["cgroup", "tree", "/etc"]).done().exits(125).says(&["is no group"]);
    bed.cutaway(["cgroup", "tree", "--controller", "none"]).done().exits(125).says(&["no tree here"]);
}

/// Who may only look may watch as well, and leaves nothing, not even a state directory.
#[test]
fn watching_is_told_on_stderr_and_read_on_stdout() {
    if group_trees().is_empty() {
        return skipped("no cgroup file system is mounted");
    }
    for bed in [Who::Root, Who::User].into_iter().filter_map(Bed::new) {
        let line = |count| ["cgroup", "stat", "--watch", "--every", "0.1", "--count", count];
        let done = bed.cutaway(line("3")).done().exits(0).says(&["again and again", "0 calls that change"]);
        let text = done.text();
        let names: Vec<&str> = text.lines().next().unwrap().split_whitespace().collect();
        assert_eq!(names[0], "time", "{text}");
        assert!(names[1..].contains(&"cpu"), "{text}");
        assert_eq!(text.lines().count(), 1 + 3, "{text}");
        assert!(!text.contains(['█', '·', '#']), "numbers without bars: {text}");
        assert!(!done.stderr.contains("0.1 s"), "{}", done.stderr);
        let quiet = bed.cutaway(line("1")).quiet().done().exits(0);
        assert_eq!((quiet.text().lines().count(), quiet.stderr.as_str()), (2, ""));
        let explained = bed.cutaway(line("3")).global("--explain").done().exits(0).text();
        assert!(explained.contains("every 100 ms, until Ctrl-C, at most 3 times"), "{explained}");
        let json = bed.cutaway(line("2")).quiet().global("--json=-").done().exits(0).text();
        let events: Vec<Event> = json.lines().map(|line| Event::from_line(line).unwrap()).collect();
        let readings = events.iter().filter(|event| matches!(event, Event::Reading { .. })).count();
        assert!(readings == 2 && matches!(events.last(), Some(Event::Done { status: 0, .. })), "{json}");
        assert!(!bed.state().exists());
    }
}

#[test]
fn watching_ends_when_the_person_has_seen_enough() {
    use nix::sys::signal::Signal;
    let Some(bed) = bed() else { return };
    let line = ["cgroup", "stat", "--watch", "--every", "0.1"];
    for (signal, code, words) in
        [(Signal::SIGINT, 0, "SIGINT: seen enough"), (Signal::SIGTERM, 143, "ends here")]
    {
        let running = bed.cutaway(line).start();
        running.prints("0.1 s");
        running.signal(signal);
        drop(running.done().exits(code).says(&[words]));
    }
    // A reader that has gone: the status is that of any program in a pipe, and nothing is complained about.
    let piped = ["sh", "-c", "{ \"$@\"; echo status $? >&2; } | head -2", "sh"];
    let done = bed.cutaway(line).under(piped).quiet().done().exits(0);
    assert_eq!((done.text().lines().count(), done.stderr.trim()), (2, "status 141"));
    let full = ["sh", "-c", "\"$@\" >/dev/full", "sh"];
    bed.cutaway(line).under(full).quiet().done().exits(125).says(&["could not write to stdout", "ENOSPC"]);
}

#[test]
fn what_cannot_be_watched_is_refused() {
    let Some(bed) = bed() else { return };
    let refused = |args: &[&str], words: &[&str]| {
        drop(bed.cutaway([&["cgroup", "stat"], args].concat()).done().exits(125).says(words));
    };
    refused(&["--watch", "--every", "0"], &["--every 0 is refused", "between 0.1 and 3600"]);
    refused(&["--watch", "--every", "nan"], &["--every nan is refused"]);
    refused(&["--watch", "--count", "0"], &["--count"]);
    refused(&["--every", "2"], &["--watch"]);
    refused(&["--watch", "./nowhere"], &["cannot look at the group ./nowhere", "ENOENT"]);
    refused(&["--watch", "/etc"], &["/etc is no group"]);
    refused(&["--watch", "999999999"], &["cannot be read"]);
}

#[test]
fn the_tree_has_every_hierarchy() {
    let Some(bed) = bed() else { return };
    let text = bed.cutaway(["cgroup", "tree", "--depth", "1"]).done().exits(0).text();
    for tree in group_trees() {
        let named = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let is_named = named
            .lines()
            .any(|line| line.contains(&format!(" {} ", tree.display())) && line.contains("name="));
        assert!(is_named || text.contains(&tree.display().to_string()), "{}: {text}", tree.display());
    }
    let json = bed.cutaway(["cgroup", "tree"]).global("--json=-").done().exits(0).text();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(!json["trees"].as_array().unwrap().is_empty());
}

/// A group of version 2 of our own; it goes with the test.
struct Version2(PathBuf);

impl Version2 {
    fn new(name: &str) -> Option<Self> {
        let table = cutaway::probe::mounts::table().unwrap();
        let top = table.iter().find(|mount| mount.fstype == "cgroup2").map(|mount| mount.at.clone());
        let made = top.filter(|_| nix::unistd::geteuid().is_root()).map(|top| top.join(name));
        let Some(group) = made else {
            skipped("a group of version 2 is needed, and root");
            return None;
        };
        std::fs::create_dir(&group).unwrap();
        Some(Self(group))
    }

    /// What a shell in the group comes to: `exec <FILE` succeeds, or is refused.
    fn opens(&self, redirection: &str) -> bool {
        let script = format!("echo $$ >{}/cgroup.procs && exec {redirection}", self.0.display());
        let done = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        let words = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success() || words.contains("Operation not permitted"), "{redirection}: {words}");
        done.status.success()
    }
}

impl Drop for Version2 {
    fn drop(&mut self) {
        // The shells have ended; the kernel may still be taking them out.
        for _ in 0..100 {
            if std::fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn a_device_program_decides_as_its_rules_say_and_goes_with_its_group() {
    use std::os::fd::AsFd;

    use cutaway::concepts::devices::{attach_program, harmless, program};
    use cutaway::sys::bpf::loaded;
    use cutaway::sys::{Kernel, Linux, Slot, Slots};

    let name = format!("cutaway-test-devices-{}", std::process::id());
    let Some(group) = Version2::new(&name) else { return };
    assert!(group.opens("</dev/kmsg"), "root may open what no rule forbids");
    let directory = std::fs::File::open(&group.0).unwrap();
    let attach = || {
        let mut slots = Slots::default();
        let number = std::os::fd::AsRawFd::as_raw_fd(&directory);
        slots.set(&Slot::new("group"), number.into());
        for call in attach_program("group", &harmless()) {
            let returned = Linux.call(&call.syscall.resolve(&slots)).expect("the kernel takes it");
            if let Some(slot) = call.into {
                slots.set(&slot, returned.value);
            }
        }
    };
    attach();
    let all = loaded::device_programs(directory.as_fd()).unwrap();
    let &[id] = all.as_slice() else { panic!("one program is attached: {all:?}") };
    let held = loaded::program(id).and_then(|program| loaded::instructions(program.as_fd())).unwrap();
    assert_eq!(held, program(&harmless()), "the kernel has what was written");
    for (redirection, allowed) in [
        ("</dev/null", true),
        (">/dev/null", true),
        ("</dev/zero", true),
        ("</dev/full", true),
        ("</dev/urandom", true),
        ("</dev/ptmx", true),
        ("</dev/kmsg", false),
        (">/dev/kmsg", false),
    ] {
        assert_eq!(group.opens(redirection), allowed, "{redirection}");
    }
    drop((directory, group));
    let gone = || matches!(loaded::program(id), Err(nix::errno::Errno::ENOENT));
    wait_for(gone, "the end of the program, with its group");
}

#[test]
fn a_container_opens_the_devices_that_its_rules_know() {
    let Some(bed) = bed() else { return };
    // A device that any root may open, and that no container needs.
    if !Path::new("/dev/fuse").exists() {
        return skipped("this machine has no /dev/fuse");
    }
    let bed = bed.with_demo();
    // A shell ends at the first redirection that fails.
    let tries = "exec 3<$0 && echo read; exec 3>$0 && echo written";
    let opened = |options: &[&str], node: &str| {
        let line: Vec<&str> = [options, &["--", "/bin/sh", "-c", tries, node]].concat();
        let done = bed.run(line).quiet().done();
        assert_eq!(done.code == 0, done.stderr.is_empty(), "{done:?}");
        assert!(done.code == 0 || done.stderr.contains("Operation not permitted"), "{done:?}");
        done.text()
    };
    let volume = ["-v", "/dev/fuse:/node"];
    let with = |rules: &[&'static str]| {
        let rules = rules.iter().flat_map(|rule| ["--device-cgroup-rule", rule]);
        opened(&volume.into_iter().chain(rules).collect::<Vec<_>>(), "/node")
    };
    assert_eq!(with(&[]), "");
    assert_eq!(with(&["c 10:229 r"]), "read\n");
    assert_eq!(with(&["c 10:229 r", "c 10:229 w"]), "read\nwritten\n");
    assert_eq!(with(&["c 10:* rw"]), "read\nwritten\n");
    assert_eq!(with(&["b 10:229 rw"]), "");
    assert_eq!(with(&["a *:* rwm"]), "read\nwritten\n");
    assert_eq!(opened(&["--device", "/dev/fuse:/dev/a/b:r"], "/dev/a/b"), "read\n");
    assert_eq!(opened(&["--device", "/dev/fuse"], "/dev/fuse"), "read\nwritten\n");
}

#[test]
fn an_ordinary_user_adds_a_device_and_sets_no_rules() {
    let Some(bed) = Bed::new(Who::User) else { return };
    let bed = bed.with_demo();
    let line =
        ["--device", "/dev/full:/dev/more/full", "--", "/bin/sh", "-c", "exec 3</dev/more/full && echo read"];
    bed.run(line).quiet().done().exits(0).prints("read\n");
    for options in [["--device-cgroup-rule", "c 1:11 r"], ["--device", "/dev/full:/dev/more:r"]] {
        let done = bed.run([&options[..], &["--", "/bin/true"]].concat()).quiet().done().exits(125);
        assert!(done.stderr.contains(options[0]) || done.stderr.contains("ordinary user"), "{done:?}");
    }
}
