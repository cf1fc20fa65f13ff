//! `cutaway overlay` and `cutaway diff` on the real kernel, as root and as an ordinary user.
//!
//! The recording is the witness of the tour: every claim held. What a command leaves is looked at by the test itself,
//! and what is there before and after is compared.

#![allow(clippy::unwrap_used, reason = "tests may unwrap, and so may their helpers")]

mod common;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{BOTH, Bed, Done, Who, need};
use cutaway::report::event::Event;

/// A layer of the bed with these files; a name that ends in a slash is a directory.
fn layer(bed: &Bed, name: &str, files: &[&str]) -> PathBuf {
    let at = bed.folder(name);
    for file in files {
        match file.strip_suffix('/') {
            Some(folder) => drop(bed.folder(&format!("{name}/{folder}"))),
            None => drop(bed.file(&format!("{name}/{file}"), format!("{file} of {name}\n"), 0o644)),
        }
    }
    at
}

/// What `--do` prints.
fn run(bed: &Bed, lower: &[&Path], command: &str) -> Done {
    let mut words: Vec<&OsStr> =
        vec!["overlay".as_ref(), "--do".as_ref(), command.as_ref(), "--lower".as_ref()];
    words.extend(lower.iter().map(|layer| layer.as_os_str()));
    bed.cutaway(words).quiet().done()
}

/// A command with another state directory than the bed's: exit code, stdout, and stderr with its lines joined.
fn with_state(bed: &Bed, state: &Path, words: &[&OsStr]) -> (Option<i32>, Vec<u8>, String) {
    let mut command = Command::new(bed.program());
    command.arg("--state").arg(state).args(words).current_dir(bed.dir());
    if let Some((uid, gid)) = bed.ids() {
        command.uid(uid).gid(gid);
    }
    let output = command.output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
    (output.status.code(), output.stdout, words)
}

fn claims(events: &[Event]) -> Vec<(String, bool)> {
    let claim = |event: &Event| match event {
        Event::Claim { claim, held, .. } => Some((claim.clone(), *held)),
        _ => None,
    };
    events.iter().filter_map(claim).collect()
}

fn skipped(events: &[Event]) -> Vec<String> {
    let why = |event: &Event| match event {
        Event::Skipped { why, .. } => Some(why.clone()),
        _ => None,
    };
    events.iter().filter_map(why).collect()
}

#[test]
fn every_claim_of_the_tour_holds() {
    for who in BOTH {
        let Some(bed) = Bed::new(who) else { continue };
        // The folders that stay.
        bed.cutaway(["overlay", "--do", "true"]).quiet().done().exits(0);
        let before = bed.listing();
        let done = bed.cutaway(["overlay"]).recorded().done().exits(0);
        let all = claims(&done.events());
        assert!(all.len() >= 40, "{who:?}: {} claims", all.len());
        assert!(all.iter().all(|(_, held)| *held), "{who:?}: {all:?}");
        let prefix = if who == Who::Root { "trusted" } else { "user" };
        assert!(all.iter().any(|(claim, _)| *claim == format!("upper/conf has {prefix}.overlay.opaque = y")));
        let left_out = skipped(&done.events());
        assert_eq!(left_out.len(), usize::from(who == Who::User), "{left_out:?}");
        let too_wide = |line: &&str| {
            // A path of the bed alone may be wider than the screen.
            line.chars().count() > 80 && line.split(' ').all(|word| word.chars().count() < 50)
        };
        assert_eq!(done.stderr.lines().filter(too_wide).collect::<Vec<_>>(), Vec::<&str>::new());
        before.is_still(&bed, "the tour");
    }
}

#[test]
fn the_tour_plays_with_layers_that_the_user_names() {
    for who in BOTH {
        let Some(bed) = Bed::new(who) else { continue };
        let low = layer(&bed, "low", &["etc/", "etc/a", "etc/b", "dir/", "dir/x", "one", "more", "third"]);
        let top = layer(&bed, "top", &["etc/", "etc/a"]);
        std::fs::hard_link(low.join("one"), low.join("two")).unwrap();
        let done = bed.cutaway(["overlay", "--lower", "top", "low"]).recorded().done().exits(0);
        let all = claims(&done.events());
        assert!(all.iter().all(|(_, held)| *held), "{who:?}: {all:?}");
        assert!(
            all.iter().any(|(claim, _)| claim == "merged/one and merged/two show different inode numbers")
        );
        for (layer, file) in [(&low, "one"), (&top, "etc/a")] {
            let name = layer.file_name().unwrap().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(layer.join(file)).unwrap();
            assert_eq!(text, format!("{file} of {name}\n"), "layers are not written to");
        }
    }
}

#[test]
fn an_image_is_stacked_and_the_demo_is_made_for_it() {
    for who in BOTH {
        let Some(bed) = Bed::new(who) else { continue };
        let done = bed.cutaway(["overlay", "demo", "--do", "cat etc/motd"]).quiet().done().exits(0);
        assert!(done.text().contains("layer"), "{}", done.text());
    }
}

#[test]
fn a_command_has_its_exit_code_and_leaves_no_overlay() {
    for who in BOTH {
        let Some(bed) = Bed::new(who) else { continue };
        let low = layer(&bed, "low", &["a", "b"]);
        run(&bed, &[&low], "true").exits(0);
        let before = bed.listing();
        let done = run(&bed, &[&low], "rm a; echo c >c; ls; exit 7").exits(7);
        assert_eq!(done.text(), "b\nc\n", "{who:?}");
        run(&bed, &[&low], "kill -9 $$").exits(137);
        run(&bed, &[&low], "/nowhere/program").exits(127);
        assert!(low.join("a").exists());
        before.is_still(&bed, "commands");
    }
}

#[test]
fn names_with_separators_and_odd_bytes_are_stacked() {
    for who in BOTH {
        let Some(bed) = Bed::new(who) else { continue };
        let odd = OsStr::from_bytes(b"a:b,c\\d \"e\" \xff\n");
        let path = bed.dir().join(odd);
        std::fs::create_dir(&path).unwrap();
        bed.give(&path);
        std::fs::write(path.join("file"), "odd\n").unwrap();
        let done = run(&bed, &[&path], "cat file").exits(0);
        assert_eq!(done.text(), "odd\n", "{who:?}: {}", done.stderr);
        // The state directory's own name goes into upperdir, but only where the mount stays.
        if who == Who::Root {
            let state = bed.dir().join("s:t,a\\te");
            let run = |words: &[&OsStr]| with_state(&bed, &state, words);
            let words = ["-q", "overlay", "--keep", "--lower"].map(OsStr::new);
            let (code, out, said) = run(&[&words[..], &[path.as_os_str()]].concat());
            assert_eq!(code, Some(0), "{said}");
            let merged = Path::new(OsStr::from_bytes(out.trim_ascii_end())).to_owned();
            assert_eq!(std::fs::read_to_string(merged.join("file")).unwrap(), "odd\n");
            std::fs::write(merged.join("file"), "changed\n").unwrap();
            let upper = merged.with_file_name("upper");
            let (_, out, said) = run(&["diff".as_ref(), upper.as_os_str()]);
            assert_eq!(String::from_utf8_lossy(&out), "C /file\n", "{said}");
            assert_eq!(run(&["cleanup".as_ref()]).0, Some(0));
            assert!(!merged.exists());
        }
    }
}

#[test]
fn five_hundred_layers_are_stacked_and_one_more_is_not() {
    for who in BOTH {
        let Some(bed) = Bed::new(who) else { continue };
        bed.folder("layers");
        let layers: Vec<PathBuf> = (0..500)
            .map(|number| layer(&bed, &format!("layers/{number:03}"), &[&format!("f{number}")]))
            .collect();
        let mut all: Vec<&Path> = layers.iter().map(PathBuf::as_path).collect();
        let done = run(&bed, &all, "ls | wc -l").exits(0);
        assert_eq!(done.text().trim(), "500", "{who:?}");
        let extra = layer(&bed, "extra", &[]);
        all.push(&extra);
        let done = run(&bed, &all, "true").exits(125);
        assert!(done.words().contains("500 lower directories and no more"), "{}", done.stderr);
    }
}

#[test]
fn paths_that_no_call_takes_get_short_names() {
    for who in BOTH {
        let Some(bed) = Bed::new(who) else { continue };
        // Longer than what fsconfig takes, and together longer than a page.
        let deep = format!("{}/{}", "x".repeat(200), "y".repeat(200));
        let layers: Vec<PathBuf> = (0..12)
            .map(|number| {
                bed.file(&format!("{number}/{deep}/f{number}"), "x", 0o644).parent().unwrap().to_owned()
            })
            .collect();
        let all: Vec<&Path> = layers.iter().map(PathBuf::as_path).collect();
        let mut words: Vec<&OsStr> =
            vec!["overlay".as_ref(), "--do".as_ref(), "ls | wc -l".as_ref(), "--lower".as_ref()];
        words.extend(all.iter().map(|layer| layer.as_os_str()));
        let done = bed.cutaway(words).recorded().done().exits(0);
        assert_eq!(done.text().trim(), "12", "{who:?}");
        assert!(done.words().contains("each gets a short"), "{}", done.stderr);
    }
}

#[test]
fn what_is_no_layer_is_refused_before_anything_happens() {
    for who in BOTH {
        let Some(bed) = Bed::new(who) else { continue };
        bed.file("file", "x", 0o644);
        let cases: [(&[&str], &str); 4] = [
            (&["overlay", "--lower", "nowhere"], "cannot stack nowhere: ENOENT"),
            (&["overlay", "--lower", "file"], "it is not a directory"),
            (&["overlay", "--lower", "."], "above the overlay's own upper directory"),
            (&["overlay", "--name", "a/b"], "the name \"a/b\" is refused"),
        ];
        for (words, expected) in cases {
            let done = bed.cutaway(words).done().exits(125);
            assert!(done.words().contains(expected), "{words:?}: {}", done.stderr);
            assert!(!bed.state().join("overlays").exists(), "{words:?}");
        }
        bed.cutaway(["overlay", "demo", "--lower", "."]).done().exits(125);
    }
}

#[test]
fn the_same_layer_twice_is_refused_by_the_kernel_with_the_rule() {
    let Some(bed) = Bed::new(Who::Root) else { return };
    layer(&bed, "low", &["a"]);
    let done = bed.cutaway(["overlay", "--lower", "low", "low"]).done().exits(125);
    assert!(
        done.words().contains("ELOOP") && done.words().contains("lie within each other"),
        "{}",
        done.stderr
    );
    assert!(done.words().contains("Nothing is left behind"), "{}", done.stderr);
}

#[test]
fn a_state_directory_that_cannot_be_written_to_is_named() {
    for who in BOTH {
        let Some(bed) = Bed::new(who) else { continue };
        let state = bed.folder("readonly");
        std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o555)).unwrap();
        // Root is kept out by a read-only mount, an ordinary user by the mode.
        if who == Who::Root {
            let line = format!(
                "mount -t tmpfs -o ro tmpfs {0} && exec {1} --state {0} overlay",
                state.display(),
                bed.program().display()
            );
            let output = Command::new("unshare").args(["-m", "sh", "-c", &line]).output().unwrap();
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(125), "{text}");
            assert!(text.contains("EROFS") && text.contains("--state DIR"), "{text}");
        } else {
            let (code, _, said) = with_state(&bed, &state, &["overlay".as_ref()]);
            assert_eq!(code, Some(125));
            assert!(said.contains("EACCES") && said.contains("--state DIR"), "{said}");
        }
    }
}

#[test]
fn upper_on_an_overlay_is_refused_with_the_reason() {
    let Some(bed) = Bed::new(Who::Root) else { return };
    let merged = bed.cutaway(["overlay", "--keep", "--name", &bed.name()]).quiet().done().exits(0);
    let state = Path::new(merged.text().trim()).join("state");
    let (code, _, said) = with_state(&bed, &state, &["overlay".as_ref()]);
    assert_eq!(code, Some(125));
    assert!(said.contains("EINVAL") && said.contains("not overlay itself"), "{said}");
    if std::fs::File::open("/dev/kmsg").is_ok() {
        assert!(said.contains("The kernel says: overlay"), "{said}");
    }
    bed.cleanup().exits(0);
    assert!(!state.exists());
}

#[test]
fn what_is_kept_stays_until_it_is_cleaned_up() {
    let Some(bed) = Bed::new(Who::Root) else { return };
    bed.cutaway(["overlay", "--do", "true"]).quiet().done().exits(0);
    let before = bed.listing();
    let name = bed.name();
    let done = bed.cutaway(["overlay", "--keep", "--name", &name, "--do", "echo x >new"]).done().exits(0);
    let merged = PathBuf::from(done.text().trim());
    assert!(merged.join("motd").exists() && merged.join("new").exists());
    assert!(done.words().contains("Kept:") && done.words().contains("cleanup"), "{}", done.stderr);
    assert!(!done.words().contains("othing left behind"), "{}", done.stderr);
    std::fs::remove_file(merged.join("old")).unwrap();
    let diff = bed.cutaway(["diff", &name]).done().exits(0);
    assert_eq!(diff.text(), "A /new\nD /old\n");
    let again = bed.cutaway(["overlay", "--keep", "--name", &name]).done().exits(125);
    assert!(again.words().contains("kept it"), "{}", again.stderr);
    let cleanup = bed.cutaway(["cleanup"]).done().exits(0);
    assert!(cleanup.words().contains(&format!("kept until now: {name}")), "{}", cleanup.stderr);
    before.is_still(&bed, "the cleanup of what was kept");
}

#[test]
fn what_is_kept_stays_although_the_command_failed() {
    let Some(bed) = Bed::new(Who::Root) else { return };
    bed.cutaway(["overlay", "--do", "true"]).quiet().done().exits(0);
    let before = bed.listing();
    for (command, code) in [("echo x >new; exit 7", 7), ("echo x >new; kill -9 $$", 137)] {
        for quiet in [false, true] {
            let overlay = bed.cutaway(["overlay", "--keep", "--do", command]);
            let done = if quiet { overlay.quiet() } else { overlay }.done().exits(code);
            let merged = PathBuf::from(done.text().trim());
            assert_eq!(std::fs::read_to_string(merged.join("new")).unwrap(), "x\n");
            if !quiet {
                let words = done.words();
                for said in
                    ["Kept: ", " cleanup", "kept until it is cleaned up", &format!("exit code {code}")]
                {
                    assert!(words.contains(said), "{said:?} is missing: {}", done.stderr);
                }
                assert!(
                    !words.contains("othing left behind") && !words.contains("Undone"),
                    "{}",
                    done.stderr
                );
            }
            bed.cleanup().exits(0);
            before.is_still(&bed, "the cleanup of what was kept");
        }
    }
    // A step of cutaway's own that fails is another matter.
    bed.cutaway(["overlay", "--keep", "--shell"]).env("SHELL", "/nowhere/shell").done().exits(127);
    before.is_still(&bed, "a command that is none");
    bed.folder("low");
    bed.cutaway(["overlay", "--keep", "--lower", "low", "low"]).done().exits(125);
    before.is_still(&bed, "a mount that is refused");
}

#[test]
fn what_is_kept_can_be_cleaned_up_after_it_was_unmounted_by_hand() {
    let Some(bed) = Bed::new(Who::Root) else { return };
    let done = bed.cutaway(["overlay", "--keep"]).quiet().done().exits(0);
    let merged = PathBuf::from(done.text().trim());
    nix::mount::umount(&merged).unwrap();
    bed.cleanup().exits(0);
    assert!(!merged.exists());
}

#[test]
fn an_ordinary_user_cannot_keep_one_and_is_told_why() {
    let Some(bed) = Bed::new(Who::User) else { return };
    let done = bed.cutaway(["overlay", "--keep"]).done().exits(125);
    assert!(done.words().contains("ends with its last process"), "{}", done.stderr);
    assert!(!bed.state().exists());
}

#[test]
fn killed_it_takes_its_mount_along_and_the_rest_is_cleaned_up() {
    for who in BOTH {
        let Some(bed) = Bed::new(who) else { continue };
        bed.cutaway(["overlay", "--do", "true"]).quiet().done().exits(0);
        let before = bed.listing();
        let name = bed.name();
        let running =
            bed.cutaway(["overlay", "--name", &name, "--do", "echo ready; exec sleep 1000"]).quiet().start();
        running.prints("ready").signal(nix::sys::signal::Signal::SIGKILL);
        running.done();
        bed.dies_at_once(&name, "SIGKILL");
        bed.cleanup().exits(0);
        before.is_still(&bed, "SIGKILL and a cleanup");
    }
}

#[test]
fn explaining_changes_nothing_and_reads_the_same_twice() {
    for who in BOTH {
        let Some(bed) = Bed::new(who) else { continue };
        let explain = |words: &[&str]| bed.cutaway(words).global("--explain").done().exits(0).text();
        for words in [&["overlay"][..], &["overlay", "demo"], &["overlay", "--do", "true"]] {
            let text = explain(words);
            assert!(text.contains("Mount the overlay") && !bed.state().exists(), "{words:?}: {text}");
            assert_eq!(text, explain(words));
        }
    }
}

/// A container's changes, seen from a second terminal.
#[test]
fn diff_lists_what_a_container_has_changed() {
    for who in BOTH {
        let Some(bed) = Bed::new(who) else { continue };
        let name = bed.name();
        let line = "echo x >>/etc/motd; rm /etc/hosts.none /bin/true; mkdir /new; echo y >/new/file; echo ready; sleep 1000";
        let running = bed.run(["--name", &name, "--", "/bin/sh", "-c", line]).quiet().start();
        running.prints("ready");
        let done = bed.cutaway(["diff", &name]).done().exits(0);
        let text = done.text();
        for expected in ["C /etc\n", "C /etc/motd\n", "A /new\n", "A /new/file\n"] {
            assert!(text.contains(expected), "{who:?}: {expected} in {text}");
        }
        assert!(text.lines().any(|line| line.starts_with("D /") && line.ends_with("/true")), "{text}");
        assert!(!text.contains("/proc") && !text.contains("/dev"), "{text}");
        let json = bed.cutaway(["diff", &name]).global("--json").global("-").done().exits(0).text();
        let lines: Vec<serde_json::Value> =
            json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["record"], "diff");
        assert_eq!(lines.len(), text.lines().count() + 1);
        running.signal(nix::sys::signal::Signal::SIGKILL);
        running.done();
        bed.cleanup().exits(0);
        let gone = bed.cutaway(["diff", &name]).done().exits(1);
        assert!(gone.words().contains("is removed when it ends"), "{}", gone.stderr);
    }
}

/// Without an image, the kernel is asked what lies below.
#[test]
fn diff_asks_the_mount_table_of_a_plain_directory_s_container() {
    let Some(bed) = Bed::new(Who::Root) else { return };
    let Ok(busybox) = std::fs::read("/bin/busybox") else { return common::skipped("needs /bin/busybox") };
    bed.file("rootfs/bin/sh", &busybox, 0o755);
    bed.file("rootfs/bin/sleep", busybox, 0o755);
    bed.file("rootfs/kept", "x", 0o644);
    let name = bed.name();
    let line = "echo x >/kept; echo y >/new; echo ready; sleep 1000";
    let running =
        bed.run(["--name", &name, "--rootfs", "rootfs", "--", "/bin/sh", "-c", line]).quiet().start();
    running.prints("ready");
    let done = bed.cutaway(["diff", &name]).done().exits(0);
    assert_eq!(done.text(), "C /kept\nA /new\n");
    running.signal(nix::sys::signal::Signal::SIGKILL);
    running.done();
    bed.cleanup().exits(0);
}

#[test]
fn diff_of_directories_needs_to_know_what_is_below() {
    let Some(bed) = Bed::new(Who::Root) else { return };
    layer(&bed, "low", &["a", "dir/", "dir/b"]);
    layer(&bed, "up", &["a", "dir/", "dir/c"]);
    let done = bed.cutaway(["diff", "up"]).done().exits(1);
    assert!(done.words().contains("--lower DIR"), "{}", done.stderr);
    let done = bed.cutaway(["diff", "up", "--lower", "low"]).done().exits(0);
    assert_eq!(done.text(), "C /a\nC /dir\nA /dir/c\n");
    let done = bed.cutaway(["diff", "up", "-v", "--lower", "low"]).done().exits(0);
    assert!(done.text().contains("C /dir  (content)"), "{}", done.text());
    bed.cutaway(["diff", "nowhere"]).done().exits(1);
    bed.cutaway(["diff"]).done().exits(2);
}

/// What the kernel does, by comparison with mount(8).
#[test]
fn the_listing_agrees_with_an_overlay_that_somebody_else_mounted() {
    let Some(bed) = Bed::new(Who::Root) else { return };
    if !need("unshare") {
        return;
    }
    layer(&bed, "low", &["old/", "old/a", "gone", "kept", "dir/", "dir/x"]);
    ["up", "work", "merged"].iter().for_each(|name| drop(bed.folder(name)));
    let script = "mount -t overlay -o redirect_dir=on,lowerdir=low,upperdir=up,workdir=work overlay merged && cd merged && \
                  mv old renamed && rm gone && rm -r dir && mkdir dir && echo y >dir/y && chmod 600 kept";
    let output =
        Command::new("unshare").args(["-m", "sh", "-c", script]).current_dir(bed.dir()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let done = bed.cutaway(["diff", "up", "--lower", "low"]).done().exits(0);
    let expected = "C /dir\nD /dir/x\nA /dir/y\nD /gone\nC /kept\nD /old\nA /renamed\nA /renamed/a\n";
    assert_eq!(done.text(), expected);
}
