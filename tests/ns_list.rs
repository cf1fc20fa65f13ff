//! `cutaway ns ls | tree | enter | pin | unpin`: what is found, what is entered, what stays and what does not.
//!
//! The test makes namespaces itself, with unshare(1), and then looks whether cutaway finds them.

#![allow(clippy::unwrap_used, reason = "tests may unwrap, and so may their helpers")]

mod common;

use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;

use common::sleeper::{self, Sleeper};
use common::{BOTH, Bed, Who, need, until};
use serde_json::Value as Json;

fn number(pid: i32, kind: &str) -> u64 {
    let link = std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
    link.to_string_lossy().trim_end_matches(']').split('[').nth(1).unwrap().parse().unwrap()
}

fn listed(bed: &Bed) -> Json {
    let done = bed.cutaway(["ns", "ls", "--json", "-"]).done().exits(0);
    serde_json::from_slice(&done.stdout).unwrap()
}

fn entry(list: &Json, kind: &str, number: u64) -> Option<Json> {
    let all = list["namespaces"].as_array().unwrap();
    all.iter().find(|one| one["type"] == kind && one["namespace"] == number).cloned()
}

#[test]
fn a_namespace_is_found_with_its_member_its_owner_and_its_parent() {
    for who in BOTH {
        let Some(bed) = Bed::new(who) else { continue };
        let Some(sleeper) = Sleeper::start(&bed, sleeper::options(who)) else { continue };
        let pid = sleeper.pid();
        let list = listed(&bed);
        let own = number(std::process::id().cast_signed(), "user");
        for kind in ["net", "uts", "pid", "mnt"] {
            let one = entry(&list, kind, number(pid, kind)).unwrap_or_else(|| panic!("{who:?}: no {kind}"));
            let owner = if who == Who::Root { own } else { number(pid, "user") };
            assert_eq!(one["owner"], owner, "{who:?} {kind}");
            assert_eq!(one["own"], false);
            assert!(one["members"].as_u64().unwrap() >= 1, "{one}");
        }
        let inner = entry(&list, "pid", number(pid, "pid")).unwrap();
        assert_eq!(inner["parent"], number(std::process::id().cast_signed(), "pid"));
        assert_eq!(
            (&inner["first"]["pid"], &inner["first"]["command"]),
            (&Json::from(pid), &Json::from("sleep"))
        );
        let tree = bed.cutaway(["ns", "tree", "--type", "net"]).done().exits(0).text();
        assert!(tree.contains(&format!("net {}", number(pid, "net"))), "{tree}");
        assert!(!tree.contains("uts "), "only what was asked for: {tree}");
        assert!(tree.lines().all(|line| line.chars().count() <= 80), "{tree}");
    }
}

#[test]
fn what_keeps_a_namespace_without_a_process_is_named() {
    let Some(bed) = Bed::new(Who::Root) else { return };
    let Some(sleeper) = Sleeper::start(&bed, &["--net", "--fork"]) else { return };
    let pid = sleeper.pid();
    let number = number(pid, "net");
    // A descriptor of this test's own, which outlives the process.
    let kept = std::fs::File::open(format!("/proc/{pid}/ns/net")).unwrap();
    drop(sleeper);
    let gone = || !Path::new(&format!("/proc/{pid}")).exists();
    until(gone, || "the end of the process".to_owned());
    let one = entry(&listed(&bed), "net", number).expect("a descriptor keeps it");
    assert_eq!(one["members"], 0);
    let keeper = &one["kept_by"][0];
    assert_eq!((&keeper["how"], &keeper["fd"]), (&Json::from("descriptor"), &Json::from(kept.as_raw_fd())));
    assert_eq!(keeper["pid"], std::process::id());
    drop(kept);
    until(|| entry(&listed(&bed), "net", number).is_none(), || "the end of the namespace".to_owned());
}

#[test]
fn a_command_runs_in_the_namespaces_of_a_process() {
    for who in BOTH {
        let Some(bed) = Bed::new(who) else { continue };
        let Some(sleeper) = Sleeper::start(&bed, sleeper::options(who)) else { continue };
        let pid = sleeper.pid();
        let typed = pid.to_string();
        let inside = "for kind in net uts mnt pid; do readlink /proc/self/ns/$kind; done; exit 7";
        let expected: String =
            ["net", "uts", "mnt"].map(|kind| format!("{kind}:[{}]\n", number(pid, kind))).concat();
        let done = bed.cutaway(["ns", "enter", &typed, "--", "/bin/sh", "-c", inside]).recorded().done();
        let done = done.exits(7);
        assert!(done.text().starts_with(&expected), "{who:?}: {}{}", done.text(), done.stderr);
        assert!(done.recording.contains("\"claim\"") && !done.recording.contains("\"held\":false"));
        // One kind alone, and the working directory.
        let kinds = if who == Who::Root { "uts" } else { "user,uts" };
        let line = ["ns", "enter", &typed, "--type", kinds, "--wd", "/", "--", "/bin/sh", "-c"];
        let done =
            bed.cutaway(line.iter().chain(&["readlink /proc/self/ns/net; pwd"])).quiet().done().exits(0);
        assert_eq!(done.text(), format!("net:[{}]\n/\n", number(std::process::id().cast_signed(), "net")));
        // How the command ends is told by the exit code, however deep it is.
        let line = ["ns", "enter", &typed, "--", "/bin/sh", "-c", "kill -9 $$"];
        bed.cutaway(line).quiet().done().exits(137);
        bed.cutaway(["ns", "enter", &typed, "--", "surely-not-there"]).quiet().done().exits(127);
    }
}

#[test]
fn what_was_entered_dies_with_cutaway() {
    for who in BOTH {
        let Some(bed) = Bed::new(who) else { continue };
        let Some(sleeper) = Sleeper::start(&bed, sleeper::options(who)) else { continue };
        let pid = sleeper.pid().to_string();
        let mark = format!("{}.{}", 6000 + std::process::id(), u32::from(who == Who::Root));
        let running = bed.cutaway(["ns", "enter", &pid, "--", "sleep", &mark]).quiet().start();
        let sleeps = || !common::listing::processes(&format!("sleep {mark}")).is_empty();
        let alive = || {
            let all = std::fs::read_dir("/proc").unwrap().flatten();
            all.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
                .any(|line| line == format!("sleep\0{mark}\0").as_bytes())
        };
        until(alive, || format!("the command: {}", sleeps()));
        running.signal(nix::sys::signal::Signal::SIGKILL);
        drop(running.done());
        until(|| !alive(), || "the end of the command".to_owned());
        bed.cleanup().exits(0);
    }
}

/// The mounts of this machine's own table below a bed.
fn mounts(bed: &Bed) -> usize {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().filter(|line| line.contains(&*bed.dir().to_string_lossy())).count()
}

#[test]
fn a_pin_outlives_its_process_and_cleanup_and_goes_with_unpin() {
    let Some(bed) = Bed::new(Who::Root) else { return };
    for kind in ["net", "mnt", "uts", "ipc", "user", "cgroup", "time"] {
        if !Path::new("/proc/self/ns").join(kind).exists() {
            common::skipped(&format!("no {kind} namespaces"));
            continue;
        }
        bed.cutaway(["ns", "pin", kind, "web"]).recorded().done().exits(0);
        bed.cutaway(["cleanup"])
            .quiet()
            .done()
            .exits(0)
            .prints("nothing to clean up: no run has died here\n");
        let list = listed(&bed);
        assert_eq!(list["pins"][0]["name"], "web", "{kind}");
        let all = list["namespaces"].as_array().unwrap().iter();
        let kept: Vec<&Json> = all.filter(|one| one["type"] == kind && one["members"] == 0).collect();
        let path = bed.state().join("namespaces/web");
        let is_it = |one: &&&Json| {
            one["kept_by"].as_array().unwrap().iter().any(|by| by["path"] == *path.to_string_lossy())
        };
        let one = kept.iter().find(is_it).unwrap_or_else(|| panic!("{kind}: {kept:?}"));
        let line = format!("readlink /proc/self/ns/{kind}");
        let done = bed.cutaway(["ns", "enter", "web", "--", "/bin/sh", "-c", &line]).quiet().done().exits(0);
        done.prints(&format!("{kind}:[{}]\n", one["namespace"]));
        bed.cutaway(["ns", "pin", kind, "web"]).quiet().done().exits(125).says(&["the name web is taken"]);
        bed.cutaway(["ns", "unpin", "web"]).quiet().done().exits(0);
        assert_eq!(mounts(&bed), 0, "{kind}");
        let left = std::fs::read_dir(bed.state().join("namespaces")).unwrap().count();
        assert_eq!(left, 0, "{kind}");
    }
    assert_eq!(listed(&bed)["pins"].as_array().unwrap().len(), 0);
}

#[test]
fn the_namespace_of_a_process_can_be_pinned_to_a_path() {
    let Some(bed) = Bed::new(Who::Root) else { return };
    let Some(sleeper) = Sleeper::start(&bed, &["--net", "--fork"]) else { return };
    let pid = sleeper.pid();
    let (number, path) = (number(pid, "net"), bed.path("kept-net"));
    let path = path.to_str().unwrap();
    bed.cutaway(["ns", "pin", "net", path, "--pid", &pid.to_string()]).quiet().done().exits(0);
    drop(sleeper);
    let line = ["ns", "enter", path, "--", "readlink", "/proc/self/ns/net"];
    bed.cutaway(line).quiet().done().exits(0).prints(&format!("net:[{number}]\n"));
    bed.cutaway(["ns", "unpin", path]).quiet().done().exits(0);
    assert!(!Path::new(path).exists() && mounts(&bed) == 0);
}

#[test]
fn a_pin_that_was_interrupted_is_no_pin_and_cleanup_takes_it() {
    let Some(bed) = Bed::new(Who::Root) else { return };
    if !need("strace") {
        return;
    }
    // Killed at the mount: the file is there, and the journal is that of a dead run.
    let options = ["-f", "-e", "trace=mount", "-e", "inject=mount:signal=SIGKILL:when=1"];
    let done = bed.cutaway(["ns", "pin", "net", "web"]).quiet().traced(options).done();
    assert_eq!(done.code, 137, "{}", done.stderr);
    assert!(bed.state().join("namespaces/web").exists());
    assert_eq!(listed(&bed)["pins"].as_array().unwrap().len(), 0);
    bed.cleanup().exits(0);
    assert!(!bed.state().join("namespaces/web").exists());
    assert_eq!(mounts(&bed), 0);
    // And where the mount fails, everything is taken back at once.
    let options = ["-f", "-e", "trace=mount", "-e", "inject=mount:error=EPERM:when=1"];
    let done = bed.cutaway(["ns", "pin", "net", "web"]).quiet().traced(options).done();
    done.exits(125).says(&["EPERM"]);
    assert!(!bed.state().join("namespaces/web").exists());
}

#[test]
fn a_file_that_is_there_is_not_pinned_over_and_not_removed() {
    let Some(bed) = Bed::new(Who::Root) else { return };
    let file = bed.file("mine", "mine", 0o644);
    bed.cutaway(["ns", "pin", "net", file.to_str().unwrap()]).quiet().done().exits(125).says(&["is taken"]);
    assert_eq!(std::fs::read_to_string(file).unwrap(), "mine");
}

#[test]
fn misuse_has_its_message() {
    for who in BOTH {
        let Some(bed) = Bed::new(who) else { continue };
        let says = |line: &[&str], code: i32, words: &[&str]| {
            bed.cutaway(line).quiet().done().exits(code).says(words);
        };
        says(
            &["ns", "ls", "--type", "network"],
            2,
            &["no kind of namespace called \"network\"", "user, mnt, pid"],
        );
        says(&["ns", "uts", "--with", "nothing"], 2, &["no kind of namespace called \"nothing\""]);
        says(&["ns", "enter", "4194305", "--", "true"], 125, &["there is no process 4194305"]);
        says(&["ns", "enter", "web", "--", "true"], 2, &["neither the number of a process nor a pin"]);
        says(&["ns", "enter", "/nowhere", "--", "true"], 125, &["no namespace is mounted on /nowhere"]);
        says(&["ns", "unpin", "web"], 125, &["there is no pin web", "none was made"]);
        says(&["ns", "pin", "sock", "web"], 2, &["no kind of namespace called \"sock\""]);
        if who == Who::Root {
            says(&["ns", "pin", "pid", "web"], 125, &["a new pid namespace cannot be pinned", "PID 1"]);
            says(&["ns", "pin", "net", "../"], 125, &["is no name for a pin"]);
        } else {
            says(&["ns", "pin", "net", "web"], 125, &["an ordinary user cannot pin", "as root"]);
        }
    }
}

#[test]
fn the_process_of_another_user_is_not_entered() {
    let Some(bed) = Bed::new(Who::User) else { return };
    if bed.ids().is_none() {
        return common::skipped("needs a process of another user");
    }
    // The test's own process is root's.
    let own = std::process::id().to_string();
    let done = bed.cutaway(["ns", "enter", &own, "--", "true"]).quiet().done().exits(125);
    done.says(&["you may not look into process", "belongs to user 0", "as root"]);
    let list = listed(&bed);
    assert!(list["unreadable"].as_u64().unwrap() > 0);
    let text = bed.cutaway(["ns", "ls"]).done().exits(0).text();
    assert!(text.contains("could not be looked into"), "{text}");
}

#[test]
fn a_zombie_is_in_no_namespace() {
    let Some(bed) = Bed::new(Who::Root).or_else(|| Bed::new(Who::User)) else { return };
    let mut child = Command::new("true").spawn().unwrap();
    let pid = child.id();
    let ended = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().any(|line| line.starts_with("State:\tZ"))
    };
    until(ended, || "a zombie".to_owned());
    let done = bed.cutaway(["ns", "enter", &pid.to_string(), "--", "true"]).quiet().done().exits(125);
    done.says(&["has ended", "zombie"]);
    child.wait().unwrap();
}

/// In a user namespace in which no other may be made, the limit is named.
#[test]
fn where_no_user_namespace_may_be_made_the_limit_is_named() {
    let Some(bed) = Bed::new(Who::User) else { return };
    if !need("unshare") {
        return;
    }
    let line = "echo 0 >/proc/sys/user/max_user_namespaces && exec \"$0\" \"$@\"";
    let wrapper = ["unshare", "--user", "--map-root-user", "--fork", "/bin/sh", "-c", line];
    let done = bed.cutaway(["ns", "user"]).quiet().under(wrapper).done().exits(125);
    done.says(&["cutaway ns user cannot work here", "user.max_user_namespaces is 0"]);
}

#[test]
fn an_explained_pin_does_nothing_and_needs_no_privilege() {
    for who in BOTH {
        let Some(bed) = Bed::new(who) else { continue };
        let done = bed.cutaway(["--explain", "ns", "pin", "net", "web"]).done().exits(0);
        let text = done.text().split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains("carried out when a step fails. Otherwise it is kept"), "{text}");
        assert!(!bed.state().exists());
    }
}
