//! `cutaway doctor`: what it says is compared with what really works, where everything does and where things are taken
//! away on purpose: a limit of 0, a chroot, a container.

#![allow(clippy::unwrap_used, reason = "tests may unwrap, and so may their helpers")]

mod common;

use std::path::Path;

use common::{BOTH, Bed, Done, Who, need, skipped};
use serde_json::Value as Json;

/// The report for programs: the last line.
fn record(done: &Done) -> Json {
    let text = done.text();
    let last = text.lines().last().unwrap_or_else(|| panic!("no report: {}", done.stderr));
    let value: Json = serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {last}"));
    assert_eq!(value["record"], "doctor");
    value
}

fn finding<'a>(report: &'a Json, name: &str) -> &'a Json {
    let all = report["findings"].as_array().unwrap();
    all.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("no finding {name}"))
}

/// What must hold for every report: who says no is named, with the rule, and what rests on what.
fn is_whole(report: &Json) {
    for one in report["findings"].as_array().unwrap() {
        let came = one["came"].as_str().unwrap();
        assert!(["works", "refused", "skipped", "not tried"].contains(&came), "{one}");
        if came == "refused" {
            for field in ["call", "errno", "layer", "rule", "chapter"] {
                assert!(one[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {one}");
            }
            assert!(one["call"].as_str().unwrap().contains(" = -1 "), "{one}");
        }
        if came == "skipped" {
            assert!(one["why"].is_string(), "{one}");
        }
    }
    let lacking = |one: &&Json| one["needed"] == true && one["came"] != "works";
    let lacks = report["findings"].as_array().unwrap().iter().filter(lacking).count();
    assert_eq!(report["run_works"], lacks == 0);
    // Each chapter of the book that has a number, and no other.
    let written =
        cutaway::concepts::book::CHAPTERS.iter().filter(|chapter| chapter.number().is_some()).count();
    assert_eq!(report["chapters"].as_array().unwrap().len(), written);
    for one in report["commands"].as_array().unwrap().iter().chain(report["chapters"].as_array().unwrap()) {
        assert_eq!(one["works"] == true, one["lacks"].as_array().unwrap().is_empty(), "{one}");
    }
    for (name, _) in cutaway::concepts::ALL.iter().map(|concept| (concept.name, ())) {
        assert!(report["commands"].as_array().unwrap().iter().any(|one| one["name"] == name), "{name}");
    }
}

fn json(bed: &Bed) -> common::Cutaway<'_> {
    bed.cutaway(["doctor"]).global("--json=-").quiet()
}

/// What is made for the journal alone goes with it; `--state` names a place that does not exist.
#[test]
fn a_state_directory_that_only_a_look_has_made_is_not_left() {
    for who in BOTH {
        let Some(bed) = Bed::new(who) else { continue };
        for words in [&["doctor"][..], &["ns", "uts"], &["ns", "net"], &["doctor"]] {
            bed.cutaway(words).quiet().done();
            assert!(!bed.state().exists(), "{who:?}: {words:?}");
        }
        // One that was there stays, and so does the folder of journals.
        bed.folder("state");
        bed.cutaway(["ns", "uts"]).quiet().done().exits(0);
        assert!(bed.state().join("journal").exists());
    }
}

#[test]
fn it_says_that_run_works_exactly_where_run_works() {
    for bed in BOTH.into_iter().filter_map(Bed::new) {
        let bed = bed.with_demo();
        let before = bed.listing();
        let done = json(&bed).done();
        let report = record(&done);
        is_whole(&report);
        let works = bed.run(["--", "/bin/true"]).quiet().done().code == 0;
        assert_eq!(report["run_works"], works, "{:?}: {}", bed.who, done.stderr);
        assert_eq!(done.code, i32::from(!works));
        assert!(bed.who == Who::Root || report["you"]["privileged"] == false);
        before.is_still(&bed, "doctor");
    }
}

#[test]
fn every_attempt_is_in_the_recording_and_none_is_a_failure() {
    use cutaway::report::event::Event;
    for bed in BOTH.into_iter().filter_map(Bed::new) {
        let events = bed.cutaway(["doctor"]).quiet().recorded().done().events();
        let calls: Vec<_> = events
            .iter()
            .filter_map(|event| match event {
                Event::Call { text, errno, allowed, undo: false, .. } => Some((text, errno, allowed)),
                _ => None,
            })
            .collect();
        assert!(calls.len() > 30, "{} calls", calls.len());
        for (text, errno, allowed) in &calls {
            assert!(errno.is_none() || **allowed, "{text}: {errno:?}");
        }
        assert!(!events.iter().any(|event| matches!(event, Event::Error { .. })));
        let left = events.iter().find_map(|event| match event {
            Event::Undone { left, .. } => Some(left.len()),
            _ => None,
        });
        assert!(left.is_none_or(|left| left == 0), "{left:?}");
    }
}

#[test]
fn a_limit_of_0_is_named_as_what_says_no() {
    if !need("unshare") {
        return;
    }
    let Some(bed) = Bed::new(Who::User) else { return };
    let inside = "echo 0 >/proc/sys/user/max_user_namespaces && exec \"$@\"";
    let under = ["unshare", "-U", "-r", "sh", "-c", inside, "sh"];
    let done = json(&bed).under(under).done().exits(1);
    let report = record(&done);
    is_whole(&report);
    let user = finding(&report, "user namespaces");
    assert_eq!((user["came"].as_str(), user["errno"].as_str()), (Some("refused"), Some("ENOSPC")), "{user}");
    assert_eq!(user["layer"], "a limit on namespaces");
    assert!(user["rule"].as_str().unwrap().contains("user.max_user_namespaces is 0"), "{user}");
    assert!(user["remedy"].as_str().unwrap().contains("sysctl -w user.max_user_namespaces="), "{user}");
    assert_eq!(finding(&report, "overlay")["came"], "not tried", "it rests on the first");
    let run = report["commands"].as_array().unwrap().iter().find(|one| one["name"] == "run").unwrap();
    assert_eq!(run["lacks"], serde_json::json!(["user namespaces"]), "only what is lacking by itself");
    let page = bed.cutaway(["doctor"]).under(under).done().exits(1).says(&["cutaway run does not work here"]);
    assert!(page.text().contains("a limit on namespaces"), "{}", page.text());
}

#[test]
fn a_chroot_is_named_as_what_says_no() {
    let Some(bed) = Bed::new(Who::Root) else { return };
    let jail = bed.folder("jail");
    for name in ["usr", "proc", "tmp", "etc", "bed"] {
        std::fs::create_dir(jail.join(name)).unwrap();
    }
    for name in ["bin", "lib", "lib64", "sbin"] {
        match std::fs::read_link(Path::new("/").join(name)) {
            Ok(target) => std::os::unix::fs::symlink(target, jail.join(name)).unwrap(),
            Err(_) => std::fs::create_dir(jail.join(name)).unwrap(),
        }
    }
    let script = "jail=$1; shift; mount --make-rprivate /; \
                  for dir in /usr /bin /lib /lib64 /sbin /proc; do \
                  if [ -d $dir ] && [ ! -L $dir ]; then mount --rbind $dir $jail$dir; fi; done; \
                  mount --bind \"$(dirname \"$1\")\" $jail/bed; program=/bed/$(basename \"$1\"); shift; \
                  exec chroot $jail $program --state /tmp/state \"$@\"";
    let jail_text = jail.to_string_lossy().into_owned();
    let under = ["unshare", "-m", "sh", "-c", script, "sh", &jail_text];
    let done = bed.cutaway(["doctor", "--json=-", "-q"]).without_state().under(under).done().exits(1);
    let report = record(&done);
    is_whole(&report);
    assert_eq!(report["machine"]["chroot"], true);
    for name in ["user namespaces", "private mounts"] {
        assert_eq!(finding(&report, name)["layer"], "the chroot", "{}", finding(&report, name));
    }
    assert_eq!(finding(&report, "mount namespaces")["came"], "works");
}

#[test]
fn inside_a_container_of_ours_the_covered_proc_is_named() {
    for bed in BOTH.into_iter().filter_map(Bed::new) {
        let bed = bed.with_demo();
        let program = bed.program().to_string_lossy().into_owned();
        let mut words: Vec<String> = Vec::new();
        for dir in ["/usr", "/lib", "/lib64"].into_iter().filter(|dir| Path::new(dir).exists()) {
            words.extend(["-v".into(), format!("{dir}:{dir}:ro")]);
        }
        words.extend(["-v".into(), format!("{program}:/mnt/cutaway:ro"), "--".into()]);
        let inside = ["/mnt/cutaway", "--state", "/tmp/state", "-q", "--json=-", "doctor"];
        words.extend(inside.map(str::to_owned));
        let before = bed.listing();
        let done = bed.run(&words).quiet().done();
        if done.code == 127 || done.code == 125 {
            return skipped(&format!("the program cannot be run in a container here: {}", done.stderr));
        }
        let done = done.exits(1);
        let report = record(&done);
        is_whole(&report);
        assert_eq!(report["you"]["privileged"], false);
        assert!(!report["machine"]["namespaces_not_the_machines_first"].as_array().unwrap().is_empty());
        let proc = finding(&report, "a proc of its own");
        assert_eq!(
            (proc["came"].as_str(), proc["errno"].as_str()),
            (Some("refused"), Some("EPERM")),
            "{proc}"
        );
        assert_eq!(proc["layer"], "a mount rule of the kernel");
        let place = finding(&report, "overlay in the state directory");
        assert_eq!(place["layer"], "the file system of the state directory", "{place}");
        assert_eq!(finding(&report, "user namespaces")["came"], "works");
        before.is_still(&bed, "doctor in a container");
    }
}

#[test]
fn where_nothing_may_be_written_the_rest_is_still_found_out() {
    let Some(bed) = Bed::new(Who::User) else { return };
    let done =
        bed.cutaway(["--state", "/proc/nowhere", "doctor", "--json=-", "-q"]).without_state().done().exits(1);
    let report = record(&done);
    is_whole(&report);
    assert_eq!(finding(&report, "overlay in the state directory")["came"], "skipped");
    assert_eq!(finding(&report, "user namespaces")["came"], "works");
    assert_eq!(finding(&report, "loopback")["came"], "works");
}

#[test]
fn piped_it_is_plain_text_of_eighty_columns() {
    for bed in BOTH.into_iter().filter_map(Bed::new) {
        for words in [&["doctor"][..], &["doctor", "-v"]] {
            let done = bed.cutaway(words).env("LC_ALL", "C").done();
            let text = done.text();
            assert!(text.is_ascii() && !text.contains('\x1b'), "{text}");
            let long_path = bed.state().to_string_lossy().into_owned();
            let wide: Vec<_> =
                text.lines().filter(|line| line.len() > 80 && !line.contains(&long_path)).collect();
            assert!(wide.is_empty(), "{wide:#?}");
            // Without -v the report is all there is; with it every call is told.
            assert_eq!(done.stderr.contains("unshare("), words.len() == 2, "{}", done.stderr);
        }
    }
}

#[test]
fn explaining_tells_every_attempt_and_makes_none() {
    for bed in BOTH.into_iter().filter_map(Bed::new) {
        let text = bed.cutaway(["doctor", "--explain"]).done().exits(0).text();
        for call in ["unshare(CLONE_NEWUSER)", "mount(\"overlay\"", "the kernel may refuse: that is tried"] {
            assert!(text.contains(call), "{call}: {text}");
        }
        assert!(!text.contains("What works here"), "there is no report: {text}");
        assert!(!bed.state().exists());
    }
}
