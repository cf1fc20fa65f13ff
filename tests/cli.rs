//! The command line from outside: bad input is refused clearly and leaves nothing, and what is promised holds.

#![allow(clippy::unwrap_used, reason = "tests may unwrap, and so may their helpers")]

mod common;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use common::trace::{self, Process, has};
use common::{BOTH, Bed, Who, need};
use cutaway::sys::manual;

/// A command that is refused: the line, its exit code, words of the message. `BED` is the bed's directory.
type Refused = (&'static str, i32, &'static [&'static str]);

const REFUSED: &[Refused] = &[
    ("run BED/missing.tar", 125, &["missing.tar"]),
    ("run nosuchimage", 125, &["nosuchimage"]),
    ("run BED/truncated", 125, &["bytes", "Rule"]),
    ("run BED/digest", 125, &["digest"]),
    ("run BED/config", 125, &["config"]),
    ("run BED/text.tar", 125, &["text.tar"]),
    ("image load BED/missing.tar", 1, &["missing.tar"]),
    ("image load BED/truncated", 1, &["bytes"]),
    ("image load BED/digest", 1, &["digest"]),
    ("image load BED/config", 1, &["config"]),
    ("image rm nosuchimage", 1, &["nosuchimage"]),
    ("run -u nosuchuser -- /bin/true", 125, &["nosuchuser"]),
    ("run -- nosuchcommand", 127, &["nosuchcommand", "PATH"]),
    ("run -- /no/such/command", 127, &["/no/such/command"]),
    ("run -- /etc", 126, &["/etc", "directory"]),
    ("run -- /etc/passwd", 126, &["/etc/passwd"]),
    ("run -w /no/such/dir -- /bin/true", 125, &["/no/such/dir"]),
    ("run -w relative -- /bin/true", 125, &["relative", "absolute"]),
    ("run -w /etc/passwd -- /bin/true", 125, &["/etc/passwd", "not a directory"]),
    ("run --name ../evil -- /bin/true", 125, &["../evil"]),
    ("run --name a/b -- /bin/true", 125, &["a/b"]),
    ("run --name -- /bin/true", 125, &["--name"]),
    ("run --hostname LONG -- /bin/true", 125, &["host name"]),
    ("run --memory 1k -- /bin/true", 125, &["--memory 1k"]),
    ("run --memory lots -- /bin/true", 125, &["--memory lots"]),
    ("run --cpus 0.001 -- /bin/true", 125, &["--cpus 0.001"]),
    ("run --cpus many -- /bin/true", 125, &["--cpus many"]),
    ("run --pids-limit few -- /bin/true", 125, &["--pids-limit"]),
    ("run -v nocolon -- /bin/true", 125, &["nocolon"]),
    ("run -v named:/mnt -- /bin/true", 125, &["named"]),
    ("run -v BED/missing:/mnt -- /bin/true", 125, &["missing"]),
    ("run -v BED:relative -- /bin/true", 125, &["relative", "absolute"]),
    ("run -v BED:/a/../b -- /bin/true", 125, &[".."]),
    ("run -v BED:/ -- /bin/true", 125, &["root"]),
    ("run -v BED:/proc/x -- /bin/true", 125, &["/proc"]),
    ("run -v BED:/mnt:bogus -- /bin/true", 125, &["bogus"]),
    ("run --tmpfs relative -- /bin/true", 125, &["relative"]),
    ("run --device /dev/missing -- /bin/true", 125, &["/dev/missing"]),
    ("run --device /etc/passwd -- /bin/true", 125, &["no device node"]),
    ("run --device /dev/null:/etc/null -- /bin/true", 125, &["below /dev"]),
    ("run --device /dev/null:/dev/../x -- /bin/true", 125, &[".."]),
    ("run --device /dev/null:/dev/zero -- /bin/true", 125, &["/dev/zero"]),
    ("run --device /dev/null:/dev/pts/x -- /bin/true", 125, &["/dev/pts"]),
    ("run --device /dev/null:/dev/a --device /dev/zero:/dev/a -- /bin/true", 125, &["already"]),
    ("run --device-cgroup-rule everything -- /bin/true", 125, &["everything"]),
    ("run --device-cgroup-rule a -- /bin/true", 125, &["--device-cgroup-rule"]),
    ("run --tmpfs /t:bogus -- /bin/true", 125, &["bogus"]),
    ("run --tmpfs /t:size=nonsense -- /bin/true", 125, &["mount"]),
    ("run --env-file BED/missing.env -- /bin/true", 125, &["missing.env"]),
    ("run -t -i -- /bin/true", 125, &["terminal"]),
    ("run --network moon -- /bin/true", 125, &["moon"]),
    ("run --rootfs BED/missing -- /bin/true", 125, &["missing"]),
    ("run --rootfs BED/text.tar -- /bin/true", 125, &["directory"]),
    ("run --rootfs / -- /bin/true", 125, &["root"]),
    ("run --nosuchflag", 125, &["--nosuchflag"]),
    ("nosuchcommand", 2, &["nosuchcommand"]),
];

/// Images that are broken in one way each.
fn broken_images(bed: &Bed) {
    for name in ["truncated", "digest", "config"] {
        common::layout(&bed.path(name));
    }
    let blobs = |name: &str| {
        let mut all: Vec<_> = fs::read_dir(bed.path(name).join("blobs/sha256"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (fs::read(&path).unwrap(), path))
            .collect();
        all.sort_by_key(|(bytes, _)| bytes.starts_with(b"{"));
        all
    };
    let (layer, path) = &blobs("truncated")[0];
    fs::write(path, &layer[..layer.len() / 2]).unwrap();
    let (layer, path) = &blobs("digest")[0];
    let mut changed = layer.clone();
    *changed.last_mut().unwrap() ^= 1;
    fs::write(path, changed).unwrap();
    let config = blobs("config");
    let (bytes, path) =
        config.iter().find(|(bytes, _)| bytes.windows(8).any(|part| part == b"diff_ids")).unwrap();
    // Of the same length, so that only its content is wrong.
    fs::write(path, vec![b'x'; bytes.len()]).unwrap();
    bed.file("text.tar", "this is no archive", 0o644);
}

#[test]
fn bad_input_is_refused_clearly_and_leaves_nothing() {
    let mut faults = Vec::new();
    for who in BOTH {
        let Some(bed) = Bed::new(who) else { continue };
        broken_images(&bed);
        let bed = bed.with_demo();
        let before = bed.listing();
        let dir = bed.dir().to_string_lossy().into_owned();
        for (line, code, words) in REFUSED {
            let line = line.replace("BED", &dir).replace("LONG", &"x".repeat(65));
            let args: Vec<&str> = line.split(' ').collect();
            let run = if args[0] == "run" { bed.run(&args[1..]) } else { bed.cutaway(&args) };
            let done = run.quiet().done();
            let said = done.words();
            let missing: Vec<_> = words.iter().filter(|word| !said.contains(**word)).collect();
            if done.code != *code || !missing.is_empty() || !done.stdout.is_empty() {
                let wanted = format!("wanted {code}, without {missing:?}, printed {:?}", done.text());
                faults.push(format!("{who:?}: {line}: exit code {}, {wanted}:\n{}", done.code, done.stderr));
            }
            before.is_still(&bed, &line);
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn exit_codes_are_the_workloads_own() {
    for who in BOTH {
        let Some(bed) = Bed::new(who) else { continue };
        let bed = bed.with_demo();
        let before = bed.listing();
        for (options, script, code) in [
            ("", "exit 0", 0),
            ("", "exit 7", 7),
            ("", "exit 255", 255),
            ("--init", "exit 7", 7),
            // PID 1 cannot kill itself; its child can be killed, and an ordinary process, too.
            ("", "sh -c 'kill -9 $$'; exit $?", 137),
            ("--init", "kill -9 $$", 137),
            ("--init", "kill -SEGV $$", 139),
            ("--init", "kill -TERM $$", 143),
        ] {
            let options: Vec<&str> = options.split_whitespace().collect();
            let args = [&options[..], &["--", "/bin/sh", "-c", script]].concat();
            for quiet in [true, false] {
                let run = bed.run(&args);
                if quiet { run.quiet() } else { run }.done().exits(code);
            }
        }
        before.is_still(&bed, "workloads that fail");
    }
}

#[test]
fn environment_and_standard_streams() {
    for who in BOTH {
        let Some(bed) = Bed::new(who) else { continue };
        let bed = bed.with_demo();
        let file = bed.file("env", "# comment\nFROM_FILE=yes\nPASSED\n\n", 0o644);
        let file = file.to_str().unwrap();
        let script = "echo $A/$B/$FROM_FILE/$PASSED/$HOSTNAME/$SECRET";
        let args = [
            "--hostname",
            "box",
            "-e",
            "A=1 2",
            "-e",
            "B",
            "--env-file",
            file,
            "--",
            "/bin/sh",
            "-c",
            script,
        ];
        let run = bed.run(args).env("B", "mine").env("PASSED", "through").env("SECRET", "no");
        run.quiet().done().exits(0).prints("1 2/mine/yes/through/box/\n");

        let cat = ["--", "/bin/cat"];
        bed.run(cat).quiet().input("typed").done().exits(0).prints("");
        bed.run(["-i", "--", "/bin/cat"]).quiet().input("typed").done().exits(0).prints("typed");
        let both = ["--", "/bin/sh", "-c", "echo out; echo err >&2"];
        let done = bed.run(both).quiet().done().exits(0).prints("out\n");
        assert_eq!(done.stderr, "err\n");
        // What is told goes to stderr, and the workload's output stays clean.
        let done = bed.run(both).done().exits(0).prints("out\n").says(&["err", "clone3(", "execve("]);
        assert!(!done.stderr.contains('\u{1b}'), "no colour in a file");
    }
}

#[test]
fn bytes_that_are_no_text_pass_through() {
    for who in BOTH {
        let Some(bed) = Bed::new(who) else { continue };
        let bed = bed.with_demo();
        let odd = OsStr::from_bytes(b"\xff\xfe x\xc3");
        let words = [OsStr::new("--"), OsStr::new("/bin/echo"), odd];
        let done = bed.run(words).quiet().done().exits(0);
        assert_eq!(done.stdout, b"\xff\xfe x\xc3\n");
        let pair = OsStr::from_bytes(b"ODD=\xff\xfe");
        let done = bed.run([
            OsStr::new("-e"),
            pair,
            OsStr::new("--"),
            OsStr::new("/bin/sh"),
            OsStr::new("-c"),
            OsStr::new("echo $ODD"),
        ]);
        assert_eq!(done.quiet().done().exits(0).stdout, b"\xff\xfe\n");
        // A folder with such a name, as a volume, and told.
        let folder = bed.dir().join(odd);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("f"), "here").unwrap();
        let volume = [folder.as_os_str().as_bytes(), b":/mnt"].concat();
        let args = [
            OsStr::new("-v"),
            OsStr::from_bytes(&volume),
            OsStr::new("--"),
            OsStr::new("/bin/cat"),
            OsStr::new("/mnt/f"),
        ];
        bed.run(args).done().exits(0).prints("here").says(&["\\377\\376"]);
    }
}

#[test]
fn a_volume_in_place_of_dev_is_not_what_hides_a_path() {
    for who in BOTH {
        let Some(bed) = Bed::new(who) else { continue };
        let bed = bed.with_demo();
        let folder = bed.folder("dev");
        std::os::unix::fs::symlink("/proc/sys/kernel/core_pattern", folder.join("null")).unwrap();
        let volume = format!("{}:/dev", folder.display());
        let look = ["--", "/bin/stat", "-L", "-c", "%t:%T", "/proc/interrupts", "/dev/null"];
        let done = bed.run([&["-v", &volume][..], &look].concat()).quiet().done().exits(0);
        assert_eq!(
            done.text(),
            "1:3\n0:0\n",
            "the true null is on the path, and the volume's in its own place"
        );
    }
}

#[test]
fn of_two_with_the_same_name_the_second_is_refused() {
    for who in BOTH {
        let Some(bed) = Bed::new(who) else { continue };
        let bed = bed.with_demo();
        let before = bed.listing();
        let name = bed.name();
        let first =
            bed.run(["-i", "--name", &name, "--", "/bin/sh", "-c", "echo up; sleep 1000"]).quiet().start();
        first.prints("up");
        bed.run(["--name", &name, "--", "/bin/true"]).quiet().done().exits(125).says(&[
            &name,
            "already exists",
            "--name",
        ]);
        assert!(!bed.alive(&name).is_empty(), "the first one lives");
        // A run that is alive is nothing for the cleanup.
        bed.cleanup().exits(0);
        assert!(!bed.alive(&name).is_empty(), "the first one lives");
        first.signal(nix::sys::signal::Signal::SIGTERM);
        std::thread::sleep(std::time::Duration::from_millis(50));
        first.signal(nix::sys::signal::Signal::SIGTERM);
        first.done().exits(137);
        before.is_still(&bed, "two with the same name");
    }
}

#[test]
fn a_full_disk_is_told_and_leaves_nothing() {
    if !need("unshare") {
        return;
    }
    // A private mount namespace has the small file system; it goes with its last process.
    let Some(bed) = Bed::new(Who::Root) else { return };
    bed.folder("state");
    let state = bed.state();
    let script = r#"mount -t tmpfs -o size=1m,mode=700 small "$1"; shift; "$@"; code=$?
        cd "$0" && find containers journal tmp layers -mindepth 1 2>/dev/null; exit $code"#;
    let wrapper = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script];
    let wrapper = wrapper.map(OsStr::new).into_iter().chain([state.as_os_str(), state.as_os_str()]);
    let done = bed.run(["--", "/bin/true"]).quiet().under(wrapper).done().exits(125);
    done.says(&["full", "--state"]).prints("");
}

#[test]
fn fifty_at_once_all_succeed_and_leave_nothing() {
    for who in BOTH {
        let Some(bed) = Bed::new(who) else { continue };
        let bed = bed.with_demo();
        let before = bed.listing();
        let limit: &[&str] = if who == Who::Root { &["--memory", "64m"] } else { &[] };
        let script = ["--", "/bin/sh", "-c", "echo $HOSTNAME"];
        let all: Vec<_> = (0..50)
            .map(|_| {
                let name = bed.name();
                let running = bed.run([&["--name", &name], limit, &script].concat()).quiet().start();
                (name, running)
            })
            .collect();
        for (name, running) in all {
            running.done().exits(0).prints(&format!("{name}\n"));
        }
        before.is_still(&bed, "fifty at once");
    }
}

#[test]
fn fifty_first_runs_at_once_make_one_demo_image() {
    let Some(bed) = Bed::new(Who::Root) else { return };
    let all: Vec<_> = (0..6).map(|_| bed.run(["--", "/bin/true"]).quiet().start()).collect();
    for running in all {
        running.done().exits(0);
    }
}

#[test]
fn an_explanation_changes_nothing_and_reads_the_same_every_time() {
    for who in BOTH {
        let Some(bed) = Bed::new(who) else { continue };
        for line in [
            &["run", "--explain", "--memory", "64m", "--", "/bin/true"][..],
            &["--explain", "run", "-t", "--init"],
            &["run", "--explain", "--json", "-"],
            &["cleanup", "--explain"],
        ] {
            // Without a state directory, a limit cannot be asked for as an ordinary user on every host.
            let line: Vec<&str> = if who == Who::User {
                line.iter().copied().filter(|word| !["--memory", "64m"].contains(word)).collect()
            } else {
                line.to_vec()
            };
            let before = bed.listing();
            let one = bed.cutaway(&line).done().exits(0);
            let two = bed.cutaway(&line).done().exits(0);
            assert_eq!(one.text(), two.text());
            assert!(!one.stdout.is_empty() && one.stderr.is_empty(), "{line:?}: {}", one.stderr);
            assert!(!bed.state().exists(), "{line:?} made the state directory");
            before.is_still(&bed, "an explanation");
        }
        if need("strace") {
            let traced = bed.cutaway(["run", "--explain"]).traced(["-f", "-a1", "-s", "200"]).done().exits(0);
            for process in Process::all(&trace::parse(&traced.trace)) {
                for (line, subject) in process.lines {
                    let opens =
                        has(&line, &["open", "openat", "openat2"]) && manual::changes("openat", &line.text);
                    let told = manual::entry(&line.name).is_some_and(|entry| entry.changes);
                    let harmless = line.name == "write" && subject == "<stdout>"
                        || line.name == "ioctl" && line.text.contains("TCGETS")
                        || line.text.contains("TIOCGWINSZ");
                    let reads = line.name == "fcntl" && line.text.contains("F_GETF")
                        || line.name == "prctl" && line.text.contains("PR_GET");
                    assert!(harmless || reads || !opens && !told, "an explanation made {}", line.whole());
                }
            }
        }
    }
}

#[test]
fn the_explanation_is_the_plan_that_is_performed() {
    for who in BOTH {
        let Some(bed) = Bed::new(who) else { continue };
        let bed = bed.with_demo();
        let name = bed.name();
        let args = ["--name", &name, "--", "/bin/true"];
        let explained = bed.run(args).global("--explain").done().exits(0).text();
        let explained: String = explained.split_whitespace().collect();
        let done = bed.run(args).quiet().recorded().done().exits(0);
        for event in done.events() {
            if let cutaway::report::event::Event::Step { say, .. } = event {
                let say: String = say.split_whitespace().collect();
                assert!(explained.contains(&say), "{say} is not explained");
            }
        }
    }
}

#[test]
fn images_of_the_store_come_and_go() {
    for who in BOTH {
        let Some(bed) = Bed::new(who) else { continue };
        common::layout(&bed.path("layout"));
        let layout = bed.path("layout");
        let layout = layout.to_str().unwrap();
        bed.cutaway(["image", "ls"]).quiet().done().exits(0);
        bed.cutaway(["image", "load", layout, "--name", "small:1"]).quiet().done().exits(0);
        let listed = bed.cutaway(["image", "ls"]).quiet().done().exits(0).text();
        assert!(listed.contains("small"), "{listed}");
        bed.cutaway(["image", "rm", "small:1"]).quiet().done().exits(0);
        let rest = |dir: &str| fs::read_dir(bed.state().join(dir)).map_or(0, Iterator::count);
        assert_eq!((rest("layers"), rest("blobs/sha256"), rest("tmp")), (0, 0, 0));
    }
}

#[test]
fn a_reader_that_goes_away_leaves_nothing_behind() {
    for who in BOTH {
        let Some(bed) = Bed::new(who) else { continue };
        let bed = bed.with_demo();
        let before = bed.listing();
        // The telling is far longer than a pipe holds, and its reader reads one line.
        let piped = ["sh", "-c", r#""$@" 2>&1 >/dev/null | head -n 1"#, "sh"];
        let run = bed.run(["--", "/bin/true"]).under(piped).done();
        assert!(run.text().contains("cutaway run demo"), "{}", run.text());
        before.is_still(&bed, "a reader that went away");
    }
}

#[test]
fn a_reader_that_goes_away_ends_the_telling_quietly() {
    let Some(bed) = Bed::new(Who::Root) else { return };
    let program = Path::new(env!("CARGO_BIN_EXE_cutaway"));
    let script = format!("{} --state {} run --explain | head -n 1", program.display(), bed.state().display());
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_end_of_a_telling_says_where_to_go() {
    for bed in BOTH.into_iter().filter_map(Bed::new) {
        let end = "next: cutaway cleanup · read: cutaway book 31 try: cutaway lab start 31";
        // The demo image is made first, which is told too: only the last telling of the command points on.
        let done = bed.cutaway(["run", "--", "/bin/sh", "-c", "echo out; exit 3"]).done().exits(3);
        let words = done.words();
        assert!(words.ends_with(end), "{words}");
        assert_eq!((words.matches("next: ").count(), done.text().as_str()), (1, "out\n"), "{words}");
        assert!(done.stderr.lines().all(|line| !line.contains("next:") || line.chars().count() < 80));
        let silent = |done: &common::Done, what: &str| {
            assert!(!done.stderr.contains("next: ") && !done.text().contains("next: "), "{what}: {done:?}");
        };
        let run = |args: &[&'static str]| bed.run([&["--", "/bin/sh", "-c"], args].concat());
        silent(&run(&["true"]).quiet().done().exits(0), "quiet");
        silent(&run(&["true"]).quiet().global("--json=-").done().exits(0), "a recording");
        silent(&bed.cutaway(["run", "--explain"]).done().exits(0), "an explanation");
        silent(&bed.cutaway(["run", "--", "/none"]).done().exits(127), "a failure");
        let ended = "sleep 60 & kill -9 $!; wait $!; exit $?";
        silent(&run(&[ended]).done().exits(137), "the code of a signal");
        silent(&bed.cutaway(["image", "ls"]).done().exits(0), "a report");
    }
}
