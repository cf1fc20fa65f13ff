//! Faults on the real kernel: a call that fails, a process that is killed between any two calls, signals.
//!
//! strace injects them from outside, so that the program has no hooks for its tests. After each of them nothing
//! is left: at once where cutaway lives, after `cutaway cleanup` where it was killed.
//!
//! `CUTAWAY_KILL_EVERYWHERE=1` kills at every call; without it, at every call that changes something and at some
//! of the others.

#![allow(clippy::unwrap_used, reason = "tests may unwrap, and so may their helpers")]

mod common;

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::trace::{self, Line, Process};
use common::{BOTH, Bed, Running, Who, in_parallel, need, until};
use cutaway::report::event::Event;
use cutaway::sys::manual;
use nix::sys::signal::Signal;

/// As much as a run can have, for each of the two.
fn options(who: Who) -> Vec<&'static str> {
    let mut all = vec!["-v", "./shared:/mnt/new:ro", "--tmpfs", "/scratch", "--read-only", "--init"];
    if who == Who::Root {
        all.extend(["--memory", "64m", "--cpus", "0.5", "-u", "1000:1000", "-w", "/"]);
    }
    all
}

fn furnish(bed: &Bed) {
    bed.folder("shared");
}

fn line<'a>(options: &[&'a str], name: &'a str, command: &[&'a str]) -> Vec<&'a str> {
    [&["--name", name], options, &["--"], command].concat()
}

/// What to do to which call.
#[derive(Debug, Clone)]
struct Site {
    line: Line,
    /// Options of strace that mean this call and no other, if there are any.
    aim: Option<Vec<String>>,
    /// `call:when=N`, and what lies between.
    name: String,
    when: usize,
    /// Its process: the parent is 0.
    process: usize,
    before_child: bool,
}

/// All calls of a quiet run at which strace can aim. It counts the calls of a name in each process for itself, so
/// a call of the child that is also made by the parent is told from it by the path that it is about, or not at all.
fn sites(bed: &Bed, options: &[&str]) -> Vec<Site> {
    let name = bed.name();
    let run = bed.run(line(options, &name, &["/bin/true"])).quiet().recorded();
    let done = run.traced(["-f", "-a1", "-s", "4096"]).done().exits(0);
    let lines = trace::parse(&done.trace);
    let processes = Process::all(&lines);
    // The last time that the parent looks for signals before there is a child.
    let parent = &processes[0].lines;
    let clone = parent.iter().position(|(line, _)| line.name == "clone3").unwrap();
    let looks = |(line, subject): &(Line, String)| line.name == "read" && subject == "<signals>";
    let born = parent[..clone].iter().rposition(looks).unwrap();
    let mut found = Vec::new();
    for (index, process) in processes.iter().enumerate() {
        for (at, (line, subject)) in process.lines.iter().enumerate() {
            let in_parent = index == 0;
            let same = |(other, _): &&(Line, String)| other.name == line.name;
            // The tracer's own execve is the first.
            let when = process.lines[..=at].iter().filter(same).count()
                + usize::from(in_parent && line.name == "execve");
            let elsewhere = processes.iter().enumerate().filter(|(other, _)| *other != index);
            let others =
                elsewhere.map(|(_, other)| other.lines.iter().filter(same).count()).max().unwrap_or(0);
            let (aim, when) = if in_parent {
                (Some(Vec::new()), when)
            } else if others < when {
                (Some(vec!["-f".to_owned()]), when)
            } else {
                let path = path(line, subject);
                let near = |entry: &&(Line, String)| same(entry) && self::path(&entry.0, &entry.1) == path;
                let when = process.lines[..=at].iter().filter(near).count();
                (path.map(|path| vec!["-f".to_owned(), "-P".to_owned(), path.to_owned()]), when)
            };
            // How much the recorder writes at once differs from run to run, and with it which write is the n-th.
            let before_child = in_parent && at < born && line.name != "write";
            // The list of interfaces is asked for on a socket that is bound; that one is not told.
            if line.name == "socket" && process.lines.get(at + 1).is_some_and(|(next, _)| next.name == "bind")
            {
                continue;
            }
            found.push(Site {
                line: anonymous(line, bed, &name),
                aim,
                name: line.name.clone(),
                when,
                process: index,
                before_child,
            });
        }
    }
    for site in &mut found {
        for word in site.aim.iter_mut().flatten() {
            *word = word.replace(&name, "NAME").replace(&*bed.dir().to_string_lossy(), "BED");
        }
    }
    found
}

/// The path by which strace finds a call: one of its arguments, or what its descriptor refers to.
fn path<'a>(line: &'a Line, subject: &'a str) -> Option<&'a str> {
    let by_descriptor =
        ["write", "close", "read", "sendto", "recvfrom", "statx", "fcntl"].contains(&line.name.as_str());
    let argument = line.text.split_once('"').and_then(|(_, rest)| rest.split_once('"')).map(|(path, _)| path);
    let path = if by_descriptor { subject } else { argument? };
    (path.starts_with('/') || !by_descriptor && !path.is_empty()).then_some(path)
}

/// The call without what differs from run to run.
fn anonymous(line: &Line, bed: &Bed, name: &str) -> Line {
    Line { text: mask(&line.text, bed, name), ..line.clone() }
}

fn mask(text: &str, bed: &Bed, name: &str) -> String {
    let dir = bed.dir().to_string_lossy();
    let text = trace::normalised(text).replace(name, "NAME").replace(dir.trim_start_matches('/'), "BED");
    match text.split_once("/proc/") {
        Some((before, rest)) if rest.starts_with(|first: char| first.is_ascii_digit()) => {
            format!("{before}/proc/PID{}", rest.trim_start_matches(|char: char| char.is_ascii_digit()))
        }
        _ => text,
    }
}

impl Site {
    fn inject(&self, what: &str, bed: &Bed, name: &str) -> Vec<String> {
        let dir = bed.dir().to_string_lossy();
        let aim = self.aim.iter().flatten().map(|word| word.replace("NAME", name).replace("BED", &dir));
        let inject = format!("inject={}:{what}:when={}", self.name, self.when);
        aim.chain(["-a1".to_owned(), "-s".to_owned(), "4096".to_owned(), "-e".to_owned(), inject]).collect()
    }
}

/// A call that was told: its actor, its text, whether it undoes.
struct Told {
    actor: String,
    text: String,
    undo: bool,
}

/// The calls that a run tells, in order.
fn told(bed: &Bed, options: &[&str]) -> Vec<Told> {
    let name = bed.name();
    let done = bed.run(line(options, &name, &["/bin/true"])).quiet().recorded().done().exits(0);
    let calls = done.events().into_iter().filter_map(|event| match event {
        Event::Call { text, undo, actor, .. } => Some(Told { actor, text: mask(&text, bed, &name), undo }),
        _ => None,
    });
    calls.collect()
}

/// Those of the sites that were told, and whether they undo: process by process in the same order.
fn of_told(sites: Vec<Site>, told: &[Told]) -> Vec<(Site, bool)> {
    let mut actors: Vec<&str> = Vec::new();
    for one in told {
        if !actors.contains(&one.actor.as_str()) {
            actors.push(&one.actor);
        }
    }
    let mut rest: Vec<Vec<&Told>> =
        actors.iter().map(|actor| told.iter().rev().filter(|one| one.actor == *actor).collect()).collect();
    let mut found = Vec::new();
    for site in sites {
        let Some(rest) = rest.get_mut(site.process) else { continue };
        if rest.last().is_some_and(|one| one.text == site.line.text) {
            found.extend(rest.pop().map(|one| (site, one.undo)));
        }
    }
    found
}

/// One of the errnos that the call may fail with.
fn errno_for(name: &str) -> &'static str {
    match name {
        "clone3" => "EAGAIN",
        "umount2" => "EBUSY",
        "write" | "close" | "unlinkat" | "recvfrom" => "EIO",
        "execve" | "chdir" => "EACCES",
        "mkdirat" | "openat" => "ENOSPC",
        _ => "EPERM",
    }
}

#[test]
fn every_told_call_of_root_may_fail() {
    fail_every_told_call(Who::Root);
}

#[test]
fn every_told_call_of_an_ordinary_user_may_fail() {
    fail_every_told_call(Who::User);
}

fn fail_every_told_call(who: Who) {
    if !need("strace") {
        return;
    }
    let Some(bed) = Bed::new(who) else { return };
    furnish(&bed);
    let bed = bed.with_demo();
    let options = options(who);
    let told = told(&bed, &options);
    let mut once = HashSet::new();
    // One loop of the program is one place in it.
    let place = |text: &str| {
        text.split(if text.starts_with("prctl(") { ',' } else { '\n' }).next().unwrap().to_owned()
    };
    let mut chosen = of_told(sites(&bed, &options), &told);
    assert!(
        chosen.len() * 10 > told.len() * 9,
        "{} of {} calls were found in the trace",
        chosen.len(),
        told.len()
    );
    chosen.retain(|(site, _)| site.aim.is_some() && once.insert((site.process, place(&site.line.text))));
    let all: HashSet<_> = told.iter().map(|one| (&one.actor, place(&one.text))).collect();
    eprintln!("{who:?}: {} of {} places fail", chosen.len(), all.len());
    assert!(chosen.len() * 10 > all.len() * 8, "strace can aim at {} of {} only", chosen.len(), all.len());
    let (count, missed) = (chosen.len(), AtomicUsize::new(0));
    in_parallel(who, chosen, furnish, |bed, (site, is_undo)| {
        if !fail(bed, &options, &site, is_undo) {
            missed.fetch_add(1, Ordering::Relaxed);
        }
    });
    let missed = missed.into_inner();
    assert!(missed * 20 < count, "{missed} of {count} were not reached");
}

/// Lets one call fail. Whether strace reached it.
fn fail(bed: &Bed, options: &[&str], site: &Site, is_undo: bool) -> bool {
    let name = bed.name();
    let errno = errno_for(&site.name);
    let inject = site.inject(&format!("error={errno}"), bed, &name);
    let done = bed.run(line(options, &name, &["/bin/true"])).quiet().recorded().traced(inject).done();
    let what = format!("{errno} of {}", site.line.text);
    let hit = trace::parse(&done.trace).into_iter().find(Line::is_injected);
    let Some(hit) = hit else {
        eprintln!("not reached: {what} {:?}", site.aim);
        return false;
    };
    // What was counted in one run may stand elsewhere in the next: then that call failed, which is as good.
    let code = if hit.name == "execve" { 126 } else { 125 };
    assert_eq!(done.code, code, "exit code after {what}: {}", done.stderr);
    let words = done.words();
    for word in [format!("{}(", hit.name), errno.to_owned(), "Rule".to_owned()] {
        assert!(is_undo || words.contains(&word), "no {word:?} after {what}: {}", done.stderr);
    }
    if is_undo {
        assert!(words.contains("left behind") && words.contains(errno), "after {what}: {}", done.stderr);
        bed.cleanup().exits(0);
    }
    bed.dies_at_once(&name, &what);
    bed.nothing_remains(&name, &what);
    true
}

#[test]
fn killed_at_any_call_root_leaves_nothing() {
    kill_at_every_call(Who::Root);
}

#[test]
fn killed_at_any_call_an_ordinary_user_leaves_nothing() {
    kill_at_every_call(Who::User);
}

fn kill_at_every_call(who: Who) {
    if !need("strace") {
        return;
    }
    let Some(bed) = Bed::new(who) else { return };
    furnish(&bed);
    let bed = bed.with_demo();
    let everywhere = std::env::var_os("CUTAWAY_KILL_EVERYWHERE").is_some();
    let options = options(who);
    let all = sites(&bed, &options).into_iter().filter(|site| site.aim.is_some()).enumerate();
    let chosen: Vec<_> = all
        .filter(|(number, site)| {
            everywhere
                || manual::changes(&site.name, &site.line.text) && manual::entry(&site.name).is_some()
                || number % 16 == 0
        })
        .map(|(_, site)| site)
        .collect();
    let (count, misses) = (chosen.len(), AtomicUsize::new(0));
    in_parallel(who, chosen, furnish, |bed, site| {
        let name = bed.name();
        let inject = site.inject("signal=KILL", bed, &name);
        let done = bed.run(line(&options, &name, &["/bin/true"])).quiet().recorded().traced(inject).done();
        let what = format!("SIGKILL at {} ({} of {})", site.line.text, site.when, site.name);
        bed.dies_at_once(&name, &what);
        let first = done.trace.split(' ').next().unwrap().to_owned();
        let mut killed = done.trace.lines().filter(|line| line.ends_with("+++ killed by SIGKILL +++"));
        let missed = killed.clone().next().is_none();
        if site.process == 0 || killed.any(|line| line.starts_with(&format!("{first} "))) {
            bed.cleanup().exits(0);
        } else if missed {
            // What was counted in one run may not occur in the next, such as reading in pieces.
            assert_eq!(done.code, 0, "{what}: {}", done.stderr);
            misses.fetch_add(1, Ordering::Relaxed);
        } else {
            assert_ne!(done.code, 0, "{what}");
        }
        bed.nothing_remains(&name, &what);
    });
    let misses = misses.into_inner();
    eprintln!("{who:?}: killed at {count} calls, {misses} of them not reached");
    assert!(misses * 10 < count, "{misses} of {count} were not reached");
}

/// A workload that sleeps, once it does.
fn sleeping<'bed>(bed: &'bed Bed, name: &str, options: &[&str]) -> Running<'bed> {
    let running = bed.run(line(options, name, &["/bin/sleep", "1000"])).quiet().start();
    until(|| workload(bed, name).is_some(), || "the workload".to_owned());
    running
}

/// The pid of the process that sleeps.
fn workload(bed: &Bed, name: &str) -> Option<i32> {
    let sleeps = |line: &String| line.contains("/bin/sleep 1000") && !line.contains("--state");
    bed.alive(name)
        .iter()
        .find(|line| sleeps(line))
        .map(|line| line.split(' ').nth(1).unwrap().parse().unwrap())
}

#[test]
fn when_cutaway_is_killed_its_workload_dies_at_once() {
    for who in BOTH {
        let Some(bed) = Bed::new(who) else { continue };
        let bed = bed.with_demo();
        let before = bed.listing();
        for options in [&[][..], &["--init"], &["-t"]] {
            let name = bed.name();
            let running = sleeping(&bed, &name, options);
            running.signal(Signal::SIGKILL);
            running.done().exits(137);
            bed.dies_at_once(&name, "SIGKILL of cutaway");
            bed.cleanup().exits(0);
            bed.nothing_remains(&name, "SIGKILL of cutaway and a cleanup");
        }
        before.is_still(&bed, "SIGKILL of cutaway and a cleanup");
    }
}

#[test]
fn when_init_or_the_workload_is_killed_cutaway_says_so_and_leaves_nothing() {
    for who in BOTH {
        let Some(bed) = Bed::new(who) else { continue };
        let bed = bed.with_demo();
        let before = bed.listing();
        for (options, of_init) in [(&[][..], false), (&["--init"], false), (&["--init"], true)] {
            let name = bed.name();
            let running = sleeping(&bed, &name, options);
            let own = running.pid().to_string();
            let init = bed.alive(&name).into_iter().find_map(|line| {
                let mut words = line.split(' ').skip(1);
                let pid = words.next().unwrap().to_owned();
                (pid != own && line.contains("--state")).then_some(pid)
            });
            let pid = if of_init { init.unwrap().parse().unwrap() } else { workload(&bed, &name).unwrap() };
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).unwrap();
            running.done().exits(137);
            bed.nothing_remains(&name, "SIGKILL of the container's process");
        }
        before.is_still(&bed, "SIGKILL of the container's processes");
    }
}

#[test]
fn signals_are_passed_on_to_the_workload() {
    const TRAPS: &str = "trap 'exit 9' TERM INT; echo ready; while :; do sleep 0.05; done";
    for who in BOTH {
        let Some(bed) = Bed::new(who) else { continue };
        let bed = bed.with_demo();
        let before = bed.listing();
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            let running = bed.run(["--", "/bin/sh", "-c", TRAPS]).quiet().start();
            running.prints("ready").signal(signal);
            running.done().exits(9);
            // An init passes it on to an ordinary process, which a signal without a handler ends.
            let running = sleeping(&bed, &bed.name(), &["--init"]);
            running.signal(signal);
            running.done().exits(128 + signal as i32);
            // PID 1 without a handler does not see it; who asks twice means it.
            let name = bed.name();
            let running = sleeping(&bed, &name, &[]);
            running.signal(signal);
            std::thread::sleep(std::time::Duration::from_millis(150));
            // The list of processes is read one by one: on a busy machine one look may miss one.
            until(|| workload(&bed, &name).is_some(), || "a workload that the kernel shields".to_owned());
            running.signal(signal);
            running.done().exits(137);
        }
        before.is_still(&bed, "signals");
    }
}

#[test]
fn a_signal_at_any_moment_ends_it_and_leaves_nothing() {
    if !need("strace") {
        return;
    }
    for who in BOTH {
        let Some(bed) = Bed::new(who) else { continue };
        furnish(&bed);
        let bed = bed.with_demo();
        let options = options(who);
        // The allocator's calls do not come at the same place in every run.
        let stable =
            |site: &Site| site.process == 0 && !["brk", "mmap", "munmap"].contains(&site.line.name.as_str());
        let parents: Vec<_> = sites(&bed, &options).into_iter().filter(stable).collect();
        let chosen: Vec<_> = parents.into_iter().enumerate().filter(|(number, _)| number % 12 == 0).collect();
        in_parallel(who, chosen, furnish, |bed, (number, site)| {
            let (signal, code) = if number % 24 == 0 { ("TERM", 143) } else { ("INT", 130) };
            let name = bed.name();
            let inject = site.inject(&format!("signal={signal}"), bed, &name);
            let done =
                bed.run(line(&options, &name, &["/bin/true"])).quiet().recorded().traced(inject).done();
            let what = format!("SIG{signal} at {}", site.line.text);
            // Once the workload runs, the signal is the workload's, and that may have ended before it comes.
            let expected = done.code == code || !site.before_child && done.code == 0;
            assert!(expected, "exit code {} after {what}: {}", done.code, done.stderr);
            bed.dies_at_once(&name, &what);
            bed.nothing_remains(&name, &what);
        });
    }
}
