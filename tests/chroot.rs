//! `cutaway chroot`: every story performed for real, as root and as an ordinary user.
//!
//! The recording is the witness of what happened inside; the command at the end is another: it looks at the inode of
//! its own root. What is outside is looked at by the test itself: nothing has changed and nothing is left.

#![allow(clippy::unwrap_used, reason = "tests may unwrap, and so may their helpers")]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use common::{BOTH, Bed, Done, Running, Who, need, skipped};
use cutaway::report::event::Event;
use nix::sys::signal::Signal;

/// Every way out.
const WAYS: [&str; 3] = ["double-chroot", "fd", "proc"];

/// A bed, unless an ordinary user may make no user namespace here; then that has been said.
fn bed(who: Who) -> Option<Bed> {
    let bed = Bed::new(who)?;
    // The folders of the state directory stay: a listing before has them.
    bed.cutaway(["chroot", "surely-not-there"]).quiet().done();
    let probe = bed.cutaway(["chroot"]).quiet().done();
    if who == Who::User && probe.code != 0 {
        skipped(&format!("no user namespaces for ordinary users: {}", probe.words()));
        return None;
    }
    Some(bed)
}

/// A directory with a shell of this machine that needs nothing else, and `ls`.
fn furnished(bed: &Bed) -> Option<PathBuf> {
    if !need("busybox") {
        return None;
    }
    let program = ["/bin/busybox", "/usr/bin/busybox"].iter().find_map(|path| fs::read(path).ok())?;
    let root = bed.folder("root");
    bed.file("root/bin/sh", &program, 0o755);
    bed.file("root/bin/ls", &program, 0o755);
    Some(root)
}

/// What must be true of a story that was told to its end.
#[track_caller]
fn held(done: &Done) {
    let claims = done.events().into_iter().filter_map(|event| match event {
        Event::Claim { claim, held, saw, .. } => Some((claim, held, saw)),
        _ => None,
    });
    let claims: Vec<_> = claims.collect();
    assert!(claims.len() >= 3, "{}: {claims:?}", done.line);
    for (claim, held, saw) in claims {
        assert!(held, "{}: {claim}: {saw:?}", done.line);
    }
}

fn claims(done: &Done, text: &str) -> usize {
    let is = |event: &Event| matches!(event, Event::Claim { claim, held: true, .. } if claim.contains(text));
    done.events().iter().filter(|event| is(event)).count()
}

/// The calls that the story lets fail, as `chroot EPERM`.
fn refused(done: &Done) -> Vec<String> {
    let one = |event| match event {
        Event::Call { syscall, errno: Some(errno), allowed: true, .. } => Some(format!("{syscall} {errno}")),
        _ => None,
    };
    done.events().into_iter().filter_map(one).collect()
}

/// What a run of this pid would have left in the folder for temporary files.
fn scratch(pid: i32) -> PathBuf {
    std::env::temp_dir().join(format!("cutaway-chroot-{pid}"))
}

fn names(dir: &Path) -> Vec<String> {
    let all =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    let mut all: Vec<_> = all.collect();
    all.sort();
    all
}

/// Performs a command with a recording; nothing of it is left, wherever it might be.
#[track_caller]
fn perform(bed: &Bed, args: &[&str]) -> Done {
    let before = bed.listing();
    let running = bed.cutaway([&["chroot"], args].concat()).recorded().start();
    let pid = running.pid();
    let done = running.done();
    assert!(!scratch(pid).exists(), "{}: {} is left", done.line, scratch(pid).display());
    before.is_still(bed, &done.line);
    done
}

#[test]
fn one_pointer_changes_and_nothing_else() {
    for bed in BOTH.into_iter().filter_map(bed) {
        let root = bed.folder("empty");
        let done = perform(&bed, &[root.to_str().unwrap()]).exits(0);
        held(&done);
        // A plain chroot takes no namespace from root, and one from an ordinary user.
        let kinds = if bed.who == Who::Root { "CLONE_NEWUSER" } else { "CLONE_NEWNS" };
        assert_eq!(claims(&done, "is in the host's namespaces: "), 1, "{}", done.line);
        assert_eq!(claims(&done, kinds), 1, "{}", done.line);
        assert_eq!(claims(&done, "the working directory is not below /"), 1, "{}", done.line);
        let told = refused(&done);
        assert!(told.contains(&"unshare EPERM".to_owned()), "{told:?}");
        assert_eq!(told.contains(&"chroot EPERM".to_owned()), bed.who == Who::User, "{told:?}");
        assert_eq!(names(&root), Vec::<String>::new());
    }
}

#[test]
fn the_missing_loader_is_seen_by_its_errno() {
    for bed in BOTH.into_iter().filter_map(bed) {
        let done = perform(&bed, &[]).exits(0);
        held(&done);
        let told = refused(&done);
        let not_there = told.iter().filter(|call| *call == "execve ENOENT").count();
        if not_there == 1 {
            skipped("sh is linked statically here: it has no loader");
            continue;
        }
        assert_eq!(not_there, 2, "{told:?}");
        assert_eq!(claims(&done, "/bin/sh exists"), 1);
        let ran = |event: &Event| matches!(event, Event::Call { syscall, errno: None, inferred: true, .. } if syscall == "execve");
        assert_eq!(done.events().iter().filter(|event| ran(event)).count(), 1);
    }
}

#[test]
fn every_way_out_leads_to_the_root_of_the_host() {
    let host = fs::metadata("/").unwrap();
    for bed in BOTH.into_iter().filter_map(bed) {
        let root = bed.folder("jail");
        for way in WAYS {
            for place in [&[][..], &[root.to_str().unwrap()]] {
                let stat = ["--", "stat", "-c", "%d:%i", "/"];
                let done = perform(&bed, &[place, &["--escape", way], &stat].concat()).exits(0);
                held(&done);
                assert_eq!(
                    claims(&done, "/ is the host's root directory"),
                    2 + usize::from(bed.who == Who::User)
                );
                assert_eq!(done.text().trim(), format!("{}:{}", host.dev(), host.ino()), "{}", done.line);
                assert_eq!(names(&root), Vec::<String>::new(), "{way}");
            }
        }
    }
}

#[test]
fn after_a_pivot_no_way_leads_out() {
    for bed in BOTH.into_iter().filter_map(bed) {
        let Some(root) = furnished(&bed) else { return };
        let inode = fs::metadata(&root).unwrap().ino();
        let before = names(&root);
        for ways in [&[][..], &["--escape", "fd"], &["--escape", "double-chroot"], &["--escape", "proc"]] {
            let look = ["--", "ls", "-id", "/"];
            let line = [&[root.to_str().unwrap(), "--pivot"], ways, &look].concat();
            let done = perform(&bed, &line).exits(0);
            held(&done);
            let told = refused(&done);
            let wanted = if bed.who == Who::Root {
                ["pivot_root EBUSY", "pivot_root EINVAL"]
            } else {
                ["pivot_root EINVAL"; 2]
            };
            assert!(told.iter().any(|call| wanted.contains(&call.as_str())), "{told:?}");
            let tried = if ways.is_empty() { 3 } else { 1 };
            assert_eq!(claims(&done, "/ is the directory that descriptor"), 1 + tried, "{}", done.line);
            assert_eq!(claims(&done, "nothing is stacked on the root"), 1, "{}", done.line);
            assert_eq!(done.text().trim(), format!("{inode} /"), "{}", done.line);
            assert_eq!(names(&root), before, "{ways:?}");
        }
        held(&perform(&bed, &["--pivot"]).exits(0));
    }
}

#[test]
fn an_image_can_be_the_root() {
    for bed in BOTH.into_iter().filter_map(bed).map(Bed::with_demo) {
        for flags in [&[][..], &["--pivot"]] {
            let done = perform(
                &bed,
                &[&["demo"], flags, &["--", "/bin/sh", "-c", "cat /etc/os-release; exit 7"]].concat(),
            );
            let done = done.exits(7);
            held(&done);
            assert!(done.text().contains("demo"), "{}", done.text());
        }
        let done = perform(&bed, &["demo", "--escape", "double-chroot"]).exits(0);
        held(&done);
    }
}

/// As long as an image is somebody's root, nobody removes it.
#[test]
fn an_image_that_is_a_root_is_not_removed() {
    let Some(bed) = bed(Who::Root).map(Bed::with_demo) else { return };
    let line = ["chroot", "demo", "--", "/bin/sh", "-c", "echo begun; sleep 60"];
    let running = bed.cutaway(line).quiet().start();
    running.prints("begun");
    let refused = bed.cutaway(["image", "rm", "demo"]).quiet().done();
    running.signal(Signal::SIGTERM);
    running.done();
    assert_ne!(refused.code, 0, "{}", refused.words());
    bed.cutaway(["image", "rm", "demo"]).quiet().done().exits(0);
}

#[test]
fn a_shell_reads_from_a_pipe_and_its_exit_code_counts() {
    for bed in BOTH.into_iter().filter_map(bed) {
        for flags in [&[][..], &["--pivot"]] {
            let line = [&["chroot", "--shell"], flags].concat();
            let done = bed.cutaway(line).quiet().input("cd /bin; echo *; exit 3\n").done().exits(3);
            assert!(done.text().contains("sh"), "{}", done.text());
            assert_eq!(done.stderr, "", "{}", done.line);
        }
    }
}

#[test]
fn a_command_has_the_exit_codes_of_a_shell() {
    for bed in BOTH.into_iter().filter_map(bed) {
        let Some(root) = furnished(&bed) else { return };
        let root = root.to_str().unwrap();
        bed.file("root/plain", "text", 0o644);
        bed.file("root/garbage", "text", 0o755);
        bed.file("root/script", "#!/nowhere/at/all\n", 0o755);
        let run = |words: &[&str]| bed.cutaway([&["chroot", root, "--"], words].concat()).quiet().done();
        run(&["sh", "-c", "exit 7"]).exits(7);
        run(&["sh", "-c", "kill -9 $$"]).exits(137);
        run(&["surely-not-there"]).exits(127).says(&["surely-not-there", "new root"]);
        run(&["/plain"]).exits(126).says(&["/plain", "execute permission"]);
        run(&["/garbage"]).exits(126).says(&["ENOEXEC"]);
        run(&["/script"]).exits(127).says(&["the program is there, and its interpreter is not"]);
        let done = bed.cutaway(["chroot", "--", "surely-not-there"]).quiet().done();
        done.exits(127).says(&["surely-not-there", "/bin/sh"]);
        let empty = bed.folder("empty");
        bed.cutaway(["chroot", "--shell"]).quiet().input("").done().exits(0);
        let done = bed.cutaway(["chroot", empty.to_str().unwrap(), "--shell"]).quiet().done();
        done.exits(127).says(&["there is no shell in the new root"]);
    }
}

#[test]
fn what_cannot_be_a_root_is_refused_before_anything_is_done() {
    for bed in BOTH.into_iter().filter_map(bed) {
        let file = bed.file("file", "text", 0o644);
        let dark = bed.folder("dark");
        fs::set_permissions(&dark, fs::Permissions::from_mode(0o000)).unwrap();
        let broken = bed.folder("broken");
        bed.file("broken/oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#, 0o644);
        bed.file("broken/index.json", "{", 0o644);
        let linked = bed.folder("linked");
        std::os::unix::fs::symlink("/proc", linked.join("proc")).unwrap();
        let before = bed.listing();
        let run = |args: &[&str]| bed.cutaway([&["chroot"], args].concat()).quiet().done().exits(125);
        run(&["/surely/not/there"]).says(&["/surely/not/there", "ENOENT"]);
        run(&["surely-not-there"]).says(&["surely-not-there"]);
        run(&[file.to_str().unwrap()]).says(&["neither a directory nor an image"]);
        run(&["/dev/null"]).says(&["neither a directory nor an image"]);
        run(&["/"]).says(&["it is the root already"]);
        run(&[""]).says(&["empty"]);
        run(&[broken.to_str().unwrap()]).says(&["index.json"]);
        run(&[linked.to_str().unwrap(), "--escape", "proc"]).says(&["symbolic link"]);
        if bed.who == Who::User {
            run(&[dark.to_str().unwrap()]).says(&["EACCES", "chmod +x"]);
            run(&["/root", "--escape", "double-chroot"]);
        }
        let usage = |args: &[&str]| bed.cutaway([&["chroot"], args].concat()).done().exits(125);
        usage(&["--escape", "surely-not"]).says(&["double-chroot", "proc"]);
        usage(&["--shell", "--", "ls"]).says(&["--shell"]);
        usage(&["one", "two"]);
        before.is_still(&bed, "everything that was refused");
    }
}

/// A directory that the user may not write to: the second chroot goes into one that is there.
#[test]
fn a_foreign_directory_is_left_as_it_is() {
    let Some(bed) = bed(Who::User) else { return };
    let done = perform(&bed, &["/usr", "--escape", "double-chroot"]).exits(0);
    held(&done);
    let made = |event: &Event| matches!(event, Event::Call { syscall, .. } if syscall == "mkdirat");
    assert!(!done.events().iter().any(made));
    bed.cutaway(["chroot", "/usr", "--escape", "proc"]).quiet().done().exits(125).says(&["/usr/proc"]);
}

/// What was made in the user's directory is taken away by cleanup, should cutaway be killed.
#[test]
fn a_killed_story_leaves_nothing_that_cleanup_does_not_remove() {
    for bed in BOTH.into_iter().filter_map(bed) {
        let Some(root) = furnished(&bed) else { return };
        let before = names(&root);
        let listing = bed.listing();
        let line = ["chroot", root.to_str().unwrap(), "--pivot", "--shell"];
        for end in [Signal::SIGKILL, Signal::SIGTERM] {
            let line: Vec<&str> =
                [&line[..3], &["--", "/bin/sh", "-c", "echo begun; while :; do :; done"]].concat();
            let running = bed.cutaway(line).quiet().start();
            running.prints("begun");
            assert_ne!(names(&root), before);
            stop(&running, end);
            let done = running.done();
            assert!(done.code >= 128, "{}", done.code);
            bed.cleanup().exits(0);
            assert_eq!(names(&root), before, "after {end}");
            listing.is_still(&bed, &format!("{end}"));
        }
    }
}

/// A signal twice: PID 1 of a pid namespace has no handler for the first.
fn stop(running: &Running<'_>, end: Signal) {
    running.signal(end);
    if end == Signal::SIGTERM {
        std::thread::sleep(std::time::Duration::from_millis(100));
        running.signal(end);
    }
}

#[test]
fn explaining_does_nothing_and_says_the_same_each_time() {
    let Some(bed) = bed(if nix::unistd::geteuid().is_root() { Who::Root } else { Who::User }) else { return };
    let root = bed.folder("root");
    let before = bed.listing();
    for flags in [&[][..], &["--escape", "fd"], &["--pivot"]] {
        let line = [&["chroot", root.to_str().unwrap()], flags].concat();
        let explain = || bed.cutaway(line.clone()).global("--explain").done().exits(0);
        let same = |text: String| text.replace(|letter: char| letter.is_ascii_digit(), "#");
        assert_eq!(same(explain().text()), same(explain().text()));
        assert!(explain().text().contains("Nothing was done"));
    }
    before.is_still(&bed, "explaining");
    // An image that is not there yet is explained too.
    let text = bed.cutaway(["chroot", "demo", "--shell"]).global("--explain").done().exits(0).text();
    assert!(text.contains("Merge the layers"), "{text}");
}

/// A process that has a changed root makes no user namespace, and an ordinary user without one no chroot.
#[test]
fn inside_of_a_chroot_an_ordinary_user_is_told_why_not() {
    if !need("root") || !need("unshare") || !need("setpriv") {
        return;
    }
    let Some(bed) = Bed::new(Who::Root) else { return };
    let root = bed.folder("root");
    let mut script = String::from("set -e\n");
    for name in ["usr", "bin", "lib", "lib64", "proc", "etc", "tmp"] {
        let path = Path::new("/").join(name);
        if path.is_dir() {
            fs::create_dir(root.join(name)).unwrap();
            script.push_str(&format!("mount --rbind /{name} {}/{name}\n", root.display()));
        }
    }
    fs::copy(bed.program(), root.join("cutaway")).unwrap();
    fs::set_permissions(root.join("cutaway"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(bed.dir(), fs::Permissions::from_mode(0o755)).unwrap();
    script.push_str(&format!(
        "cd /; chroot {} setpriv --reuid 54321 --regid 54321 --clear-groups --inh-caps=-all /cutaway --state /tmp/none chroot /usr",
        root.display()
    ));
    let output = std::process::Command::new("unshare").args(["-m", "sh", "-c", &script]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(output.status.code(), Some(125), "{said}");
    assert!(said.contains("in a chroot, where the kernel makes no user namespaces"), "{said}");
}

/// The same as root of a pid namespace, where process 1 may be looked into: its link is the way out.
#[test]
fn process_1_will_do_where_it_may_be_looked_into() {
    if !need("root") || !need("unshare") {
        return;
    }
    let Some(bed) = Bed::new(Who::Root) else { return };
    let done = bed
        .cutaway(["chroot", "--escape", "proc"])
        .recorded()
        .under(["unshare", "--pid", "--fork", "--mount-proc"])
        .done()
        .exits(0);
    held(&done);
    let through = |event: &Event| matches!(event, Event::Call { text, errno: None, .. } if text.contains("/proc/1/root"));
    assert!(done.events().iter().any(through));
}
