//! `cutaway inspect`: looked at are processes that the test has put where they are, so that it knows what must be found.
//!
//! As root and as an ordinary user, through the binary, with the report read as a program reads it.

#![allow(clippy::unwrap_used, reason = "tests may unwrap, and so may their helpers")]

mod common;

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::{BOTH, Bed, Who, need, skipped, until};
use serde_json::Value as Json;

/// A process of a test, which ends with it.
struct Subject(Child);

impl Drop for Subject {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Subject {
    /// Starts a program as the user of the bed, and waits until the last word's program runs in the same process.
    fn start(bed: &Bed, words: &[&str]) -> Self {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some((uid, gid)) = bed.ids() {
            command.uid(uid).gid(gid);
        }
        let subject = Self(command.current_dir("/").spawn().unwrap());
        until(|| subject.name() == "sleep", || format!("sleep in {words:?}: it is {}", subject.name()));
        subject
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }

    fn name(&self) -> String {
        std::fs::read_to_string(format!("/proc/{}/comm", self.0.id())).unwrap_or_default().trim().to_owned()
    }
}

/// The last line of a report for programs.
fn record(text: &str, kind: &str) -> Json {
    let last = text.lines().last().unwrap_or_else(|| panic!("no report"));
    let value: Json = serde_json::from_str(last).unwrap();
    assert_eq!(value["record"], kind, "{last}");
    value
}

/// What is found about a process.
fn look(bed: &Bed, target: &str) -> Json {
    record(&bed.cutaway(["inspect", target]).global("--json=-").quiet().done().exits(0).text(), "inspect")
}

fn namespace<'a>(found: &'a Json, kind: &str) -> &'a Json {
    found["namespaces"].as_array().unwrap().iter().find(|one| one["kind"] == kind).unwrap()
}

/// The kinds that the process does not share with the one who looks.
fn own(found: &Json) -> Vec<String> {
    let all = found["namespaces"].as_array().unwrap().iter();
    all.filter(|one| one["shared_with_you"] == false)
        .map(|one| one["kind"].as_str().unwrap().to_owned())
        .collect()
}

fn beds() -> impl Iterator<Item = Bed> {
    BOTH.into_iter().filter_map(Bed::new)
}

#[test]
fn what_was_unshared_is_its_own_and_the_rest_is_shared() {
    for bed in beds() {
        let words: &[&str] = if bed.who == Who::Root {
            &["unshare", "-u", "-n", "-m", "sh", "-c", "hostname inside-it; exec sleep 1000"]
        } else {
            &["unshare", "-U", "-r", "-u", "-n", "-m", "sh", "-c", "hostname inside-it; exec sleep 1000"]
        };
        let subject = Subject::start(&bed, words);
        let found = look(&bed, &subject.pid());
        let mut expected = vec!["mnt", "uts", "net"];
        if bed.who == Who::User {
            expected.insert(0, "user");
        }
        assert_eq!(own(&found), expected, "{:?}", bed.who);
        for kind in &expected {
            let link = std::fs::read_link(format!("/proc/{}/ns/{kind}", subject.pid())).unwrap();
            let inode = namespace(&found, kind)["inode"].to_string();
            assert_eq!(link.to_string_lossy(), format!("{kind}:[{inode}]"));
        }
        // Seen by a child that went there.
        assert_eq!(found["names"]["hostname"], "inside-it", "{:?}: {}", bed.who, found["names"]);
        let interfaces = found["network"]["interfaces"].as_array().unwrap();
        assert!(interfaces.iter().any(|one| one["name"] == "lo" && one["up"] == false), "{interfaces:?}");
        assert!(!bed.state().exists(), "looking needs no state directory");
    }
}

#[test]
fn a_container_of_ours_is_found_by_its_name_and_by_its_pid() {
    for bed in beds() {
        let bed = bed.with_demo();
        let name = bed.name();
        let mut words = vec!["--name", &name, "--hostname", "box"];
        if bed.who == Who::Root {
            words.extend(["--memory", "64m"]);
        }
        words.extend(["--", "/bin/sleep", "1000"]);
        let before = bed.listing();
        let running = bed.run(&words).quiet().start();
        let pid = || bed.cutaway(["inspect", &name]).global("--json=-").quiet().done();
        until(|| pid().text().contains("/bin/sleep"), || format!("the container {name}: {}", pid().stderr));
        let found = look(&bed, &name);
        let all = ["mnt", "pid", "uts", "ipc", "net", "cgroup"].map(str::to_owned).to_vec();
        let user = (bed.who == Who::User).then(|| "user".to_owned());
        assert_eq!(own(&found), user.into_iter().chain(all).collect::<Vec<_>>());
        assert_eq!(found["names"]["hostname"], "box");
        assert_eq!(found["process"]["pids"].as_array().unwrap().last(), Some(&Json::from(1)));
        assert_eq!(found["privileges"]["no_new_privs"], true);
        layers(&bed, &found);
        limits(&bed, &found, &name);
        let by_pid = look(&bed, &found["pid"].to_string());
        assert_eq!(by_pid["namespaces"], found["namespaces"]);
        assert_eq!((by_pid["found"].is_null(), found["found"].is_null()), (true, false));
        let pid = i32::try_from(found["pid"].as_i64().unwrap()).unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
        running.done().exits(137);
        before.is_still(&bed, "a container that was looked into");
        bed.cutaway(["inspect", &name]).quiet().done().exits(1).says(&["there is no container", &name]);
    }
}

/// The root is the demo image's layers, the topmost first, each known by image and number.
fn layers(bed: &Bed, found: &Json) {
    let layers = &found["layers"];
    assert_eq!(layers["type"], "overlay");
    assert!(layers["upper"].as_str().unwrap().starts_with(&*bed.state().to_string_lossy()), "{layers}");
    let of = |layer: &Json| layer["images"].as_array().and_then(|all| all.first()).cloned();
    let known: Vec<Json> = layers["lower"].as_array().unwrap().iter().filter_map(of).collect();
    let numbers: Vec<_> = known.iter().map(|it| it["layer"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [3, 2, 1], "{layers}");
    assert!(known.iter().all(|it| it["image"] == "demo" && it["of"] == 3), "{known:?}");
}

fn limits(bed: &Bed, found: &Json, name: &str) {
    let limit = |resource: &str| {
        found["limits"].as_array().unwrap().iter().find(|it| it["resource"] == resource).unwrap().clone()
    };
    if bed.who == Who::Root {
        let memory = limit("memory");
        assert_eq!(
            (memory["limit"].as_str(), memory["own"].as_bool()),
            (Some("64 MiB"), Some(true)),
            "{memory}"
        );
        assert!(memory["set_by"].as_str().unwrap().ends_with(&format!("cutaway-{name}")), "{memory}");
        assert_eq!(found["ids"]["uid_map"], "every id is itself");
    } else {
        let (uid, _) =
            bed.ids().unwrap_or_else(|| (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw()));
        assert_eq!(found["ids"]["uid_map"], format!("0 is {uid} outside (1)"));
    }
}

#[test]
fn the_group_that_sets_a_limit_is_named_though_it_is_another_one() {
    let Some(bed) = Bed::new(Who::Root) else { return };
    let tree = Path::new("/sys/fs/cgroup/pids");
    if !tree.join("cgroup.procs").exists() {
        return skipped("the pids controller has no hierarchy of version 1 here");
    }
    let outer = tree.join(format!("cutaway-{}", bed.tag));
    let inner = outer.join("inner");
    std::fs::create_dir_all(&inner).unwrap();
    std::fs::write(outer.join("pids.max"), "50").unwrap();
    std::fs::write(inner.join("pids.max"), "100").unwrap();
    let subject = Subject::start(&bed, &["sleep", "1000"]);
    std::fs::write(inner.join("cgroup.procs"), subject.pid()).unwrap();
    let found = look(&bed, &subject.pid());
    drop(subject);
    std::fs::remove_dir(&inner).unwrap();
    std::fs::remove_dir(&outer).unwrap();
    let limit = found["limits"].as_array().unwrap().iter().find(|it| it["resource"] == "processes").unwrap();
    assert_eq!((limit["limit"].as_str(), limit["own"].as_bool()), (Some("50"), Some(false)), "{limit}");
    assert_eq!(limit["set_by"], outer.to_string_lossy().as_ref());
}

#[test]
fn a_directory_that_was_opened_outside_is_seen_to_reach_out() {
    for bed in beds() {
        let user: &[&str] = if bed.who == Who::Root { &["-m"] } else { &["-U", "-r", "-m"] };
        let script = format!("exec 5</; exec unshare {} sleep 1000", user.join(" "));
        let subject = Subject::start(&bed, &["sh", "-c", &script]);
        let found = look(&bed, &subject.pid());
        let all = found["descriptors"].as_array().unwrap();
        let five = all.iter().find(|one| one["fd"] == 5).unwrap();
        assert_eq!(five["kind"], "directory");
        assert_eq!(five["reaches"], "a mount that is not in its mount namespace", "{five}");
        // The same descriptor leads nowhere for a process of the host itself.
        let plain = Subject::start(&bed, &["sh", "-c", "exec 5</; exec sleep 1000"]);
        let found = look(&bed, &plain.pid());
        let five =
            found["descriptors"].as_array().unwrap().iter().find(|one| one["fd"] == 5).unwrap().clone();
        assert_eq!(five["reaches"], Json::Null, "{five}");
    }
}

#[test]
fn the_other_end_of_an_interface_is_found() {
    let Some(bed) = Bed::new(Who::Root) else { return };
    if !need("ip") {
        return;
    }
    // The network in which this happens is the test's own.
    let script = "unshare -n sleep 1000 & inner=$!; \
                  while [ \"$(readlink /proc/$inner/ns/net)\" = \"$(readlink /proc/self/ns/net)\" ]; do :; done; \
                  ip link add br7 type bridge && ip link add out7 type veth peer name in7 netns $inner && \
                  ip link set out7 master br7 && \
                  nsenter --net=/proc/$inner/ns/net ip address add 10.77.0.2/24 dev in7 && \
                  \"$@\" \"$inner\"; code=$?; kill $inner; exit $code";
    let done = bed
        .cutaway(["--json=-", "-q", "inspect"])
        .under(["unshare", "-n", "sh", "-c", script, "sh"])
        .done()
        .exits(0);
    let found = record(&done.text(), "inspect");
    let one =
        found["network"]["interfaces"].as_array().unwrap().iter().find(|it| it["name"] == "in7").unwrap();
    assert_eq!(
        (one["kind"].as_str(), &one["addresses"]),
        (Some("veth"), &serde_json::json!(["10.77.0.2/24"]))
    );
    assert_eq!(one["peer"]["name"], "out7", "{one}");
    assert_eq!(
        (one["peer"]["where"].as_str(), one["peer"]["master"].as_str()),
        (Some("your namespace"), Some("br7"))
    );
}

#[test]
fn what_is_another_users_is_said_field_by_field() {
    let (Some(root), Some(user)) = (Bed::new(Who::Root), Bed::new(Who::User)) else { return };
    let subject = Subject::start(&root, &["unshare", "-n", "sleep", "1000"]);
    let found = look(&user, &subject.pid());
    for field in ["root", "network", "descriptors", "names"] {
        let why = found[field]["unreadable"].as_str().unwrap_or_else(|| panic!("{field}: {}", found[field]));
        assert!(why.contains("EACCES"), "{field}: {why}");
    }
    assert!(namespace(&found, "net")["unreadable"].as_str().unwrap().contains("CAP_SYS_PTRACE"));
    // What everybody may see is there.
    assert_eq!(found["process"]["name"], "sleep");
    assert_eq!(found["ids"]["uid"], 0);
    assert!(found["privileges"]["bounding"].is_array() && found["groups"].is_object());
    let page = user.cutaway(["inspect", &subject.pid()]).done().exits(0).text();
    assert!(page.contains("whether it is in a container is not known"), "{page}");
}

#[test]
fn a_zombie_has_nothing_any_more() {
    for bed in beds() {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = child.id().to_string();
        let is_zombie = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") Z ");
        until(is_zombie, || "the end of `true`".to_owned());
        let found = look(&bed, &pid);
        assert_eq!(found["zombie"], true);
        assert_eq!(found["root"]["unreadable"], "the process has ended");
        let page = bed.cutaway(["inspect", &pid]).done().exits(0).text();
        assert!(page.contains("A zombie has nothing any more"), "{page}");
        assert!(page.contains(&format!("process {}", std::process::id())), "its parent is named: {page}");
        child.wait().unwrap();
        bed.cutaway(["inspect", &pid]).done().exits(1).says(&["there is no process", "pid namespace"]);
    }
}

#[test]
fn a_thread_of_the_kernel_has_no_program() {
    let Some(bed) = Bed::new(Who::Root) else { return };
    let name = std::fs::read_to_string("/proc/2/comm").unwrap_or_default();
    if name.trim() != "kthreadd" {
        return skipped("no thread of the kernel is in this pid namespace");
    }
    let found = look(&bed, "2");
    assert_eq!(found["kernel_thread"], true);
    assert_eq!(found["process"]["program"], "none: a thread of the kernel");
    let page = bed.cutaway(["inspect", "2"]).done().exits(0).text();
    assert!(page.contains("[kthreadd]"), "{page}");
}

#[test]
fn bad_input_has_its_message() {
    for bed in beds() {
        bed.cutaway(["inspect"]).done().exits(2);
        bed.cutaway(["inspect", "-1"]).done().exits(2);
        for pid in ["0", "2147483647"] {
            bed.cutaway(["inspect", pid]).done().exits(1).says(&["there is no process", pid, "ps -e"]);
        }
        bed.cutaway(["inspect", "no-such-box"])
            .done()
            .exits(1)
            .says(&["there is no container no-such-box", "no process is in a group of that name"]);
        // More than a pid can be: then it is a name.
        bed.cutaway(["inspect", "99999999999"]).done().exits(1).says(&["there is no container"]);
        let me = std::process::id().to_string();
        bed.cutaway(["inspect", &me, "--diff", "0"]).done().exits(1).says(&["there is no process 0"]);
    }
}

#[test]
fn two_processes_differ_in_what_was_unshared() {
    let Some(bed) = Bed::new(Who::Root) else { return };
    let (one, other) =
        (Subject::start(&bed, &["sleep", "1000"]), Subject::start(&bed, &["unshare", "-u", "sleep", "1000"]));
    let run = |json: bool, other: &Subject| {
        let command = bed.cutaway(["inspect", &one.pid(), "--diff", &other.pid()]).quiet();
        if json { command.global("--json=-") } else { command }.done().exits(0).text()
    };
    let found = record(&run(true, &other), "inspect-diff");
    let namespaces: Vec<_> =
        found["differences"].as_array().unwrap().iter().filter(|it| it["part"] == "namespaces").collect();
    assert_eq!(namespaces.len(), 1, "{namespaces:?}");
    assert_eq!(namespaces[0]["what"], "uts");
    assert_eq!(namespaces[0]["one"], format!("uts:[{}]", namespace(&found["one"], "uts")["inode"]));
    let page = run(false, &other);
    assert!(page.contains("uts") && page.contains("The same in both"), "{page}");
    let same = record(&run(true, &one), "inspect-diff");
    assert_eq!(same["differences"], serde_json::json!([]), "a process and itself");
}

#[test]
fn a_sandbox_of_bubblewrap_is_seen_through_the_same_glass() {
    if !need("bwrap") {
        return;
    }
    let Some(bed) = Bed::new(Who::User) else { return };
    let info = bed.file("info", "", 0o666);
    let script = format!(
        "exec bwrap --unshare-all --die-with-parent --ro-bind / / --info-fd 9 sleep 1000 9>{}",
        info.display()
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script]).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Some((uid, gid)) = bed.ids() {
        command.uid(uid).gid(gid);
    }
    let outer = Subject(command.spawn().unwrap());
    let text = || std::fs::read_to_string(&info).unwrap_or_default();
    until(|| text().contains("child-pid") && text().contains('}'), || format!("bwrap's child: {}", text()));
    let pid = serde_json::from_str::<Json>(&text()).unwrap()["child-pid"].to_string();
    let found = look(&bed, &pid);
    for kind in ["user", "mnt", "pid", "uts", "ipc", "net"] {
        assert!(own(&found).iter().any(|own| own == kind), "{kind}: {:?}", own(&found));
    }
    drop(outer);
    let gone = || !Path::new(&format!("/proc/{pid}")).exists();
    until(gone, || format!("the end of bwrap's child {pid}"));
}

#[test]
fn piped_it_is_plain_text_of_eighty_columns() {
    for bed in beds() {
        let me = std::process::id().to_string();
        for words in [vec!["inspect", &me], vec!["inspect", &me, "-v"]] {
            let text = bed.cutaway(&words).env("LC_ALL", "C").done().exits(0).text();
            assert!(text.is_ascii() && !text.contains('\x1b'), "{text}");
            // A path is never broken, and may be wider by itself.
            let wide = text.lines().filter(|line| line.len() > 80 && line.trim().contains(' '));
            let wide: Vec<_> =
                wide.filter(|line| line.trim().split(' ').all(|word| word.len() < 60)).collect();
            assert!(wide.is_empty(), "{wide:#?}");
        }
    }
}

#[test]
fn explaining_tells_the_calls_and_makes_none() {
    let Some(bed) = Bed::new(Who::Root) else { return };
    let subject = Subject::start(&bed, &["unshare", "-n", "sleep", "1000"]);
    let text = bed.cutaway(["inspect", &subject.pid(), "--explain"]).done().exits(0).text();
    assert!(text.contains("setns(<namespace>, CLONE_NEWNET)"), "{text}");
    assert!(text.contains("Nothing was done."), "{text}");
    assert!(!text.contains("Privileges"), "there is no report: {text}");
}
