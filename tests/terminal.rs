//! A real terminal, played by tmux: `-t`, the window's size, ^C, and the terminal afterwards; `--step` by its keys.

#![allow(clippy::unwrap_used, reason = "tests may unwrap, and so may their helpers")]

mod common;

use std::time::Duration;

use common::window::Window;
use common::{BOTH, Bed, Who};

#[test]
fn a_shell_in_a_container_has_job_control_and_the_windows_size() {
    for who in BOTH {
        let Some(bed) = Bed::new(who) else { continue };
        let bed = bed.with_demo();
        let before = bed.listing();
        let Some(window) = Window::open(&bed, 90, 20) else { return };
        let settings = window.settings("before");
        let name = bed.name();
        window.types(&format!(
            "{} -q run -it --name {name} -e PS1='i''n> ' -- /bin/sh; echo code $?",
            window.cutaway
        ));
        let screen = window.shows("in>");
        assert!(!screen.contains("access tty"), "{screen}");
        window.types("stty size; tty");
        window.shows("20 90");
        window.shows("/dev/pts/0");
        window.tmux(&["resize-window", "-t", "s", "-x", "70", "-y", "15"]);
        window.types("sleep 0.2; stty size");
        window.shows("15 70");
        // ^C ends the command in the foreground, not the shell and not cutaway.
        window.types("echo sle''eping; sleep 1000; echo code $?");
        window.shows("sleeping");
        window.key("C-c");
        window.types("echo still $((6 * 7))");
        window.shows("still 42");
        window.types("exit 5");
        window.shows("code 5");
        window.tmux(&["resize-window", "-t", "s", "-x", "90", "-y", "20"]);
        assert_eq!(window.settings("after"), settings);
        drop(window);
        before.is_still(&bed, "a shell");
    }
}

#[test]
fn the_terminal_is_put_back_however_it_ends() {
    for who in BOTH {
        let Some(bed) = Bed::new(who) else { continue };
        let bed = bed.with_demo();
        let before = bed.listing();
        let Some(window) = Window::open(&bed, 80, 24) else { return };
        let settings = window.settings("before");
        // The workload is killed by a signal.
        window.types(&format!(
            "{} -q run -it --init -- /bin/sh -c 'kill -9 $$'; echo killed $?",
            window.cutaway
        ));
        window.shows("killed 137");
        assert_eq!(window.settings("killed"), settings);
        // cutaway is asked to end, twice: PID 1 has no handler.
        let name = bed.name();
        window.types(&format!(
            "{} -q run -it --name {name} -- /bin/sh -c 'echo up$((6 * 7)); sleep 1000'; echo code $?",
            window.cutaway
        ));
        window.shows("up42");
        let own = bed
            .alive(&name)
            .iter()
            .filter(|line| line.contains("--state"))
            .map(|line| line.split(' ').nth(1).unwrap().parse().unwrap())
            .min()
            .unwrap();
        for _ in 0..3 {
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(own), nix::sys::signal::Signal::SIGTERM);
            std::thread::sleep(Duration::from_millis(100));
        }
        window.shows("code 137");
        assert_eq!(window.settings("asked"), settings);
        // A failure before there is a workload.
        window.types(&format!(
            "{} -q run -it -v {}:/mnt -- /mnt/nowhere; echo code $?",
            window.cutaway,
            bed.dir().display()
        ));
        window.shows("code 127");
        assert_eq!(window.settings("failed"), settings);
        drop(window);
        before.is_still(&bed, "ends of all kinds");
    }
}

#[test]
fn when_the_terminal_goes_away_so_does_the_container() {
    for who in BOTH {
        let Some(bed) = Bed::new(who) else { continue };
        let bed = bed.with_demo();
        let before = bed.listing();
        for options in ["-it", "-i", "-it --init"] {
            let Some(window) = Window::open(&bed, 80, 24) else { return };
            let name = bed.name();
            let workload = "/bin/sh -c 'echo up$((6 * 7)); sleep 1000'";
            window.types(&format!("{} -q run {options} --name {name} -- {workload}", window.cutaway));
            window.shows("up42");
            drop(window);
            let gone = || bed.remains(&name).is_empty();
            common::until(gone, || format!("the end of run {options}: {:#?}", bed.remains(&name)));
        }
        before.is_still(&bed, "closed terminals");
    }
}

#[test]
fn the_telling_keeps_to_eighty_columns() {
    for who in BOTH {
        let Some(bed) = Bed::new(who) else { continue };
        let bed = bed.with_demo();
        // Wider than the terminal that cutaway is told of: a line that is too long is seen as such.
        let Some(window) = Window::open(&bed, 200, 50) else { return };
        window.tmux(&["set-option", "-g", "history-limit", "5000"]);
        window.types(&format!("stty columns 80; {} run --init -- /bin/true; echo code $?", window.cutaway));
        let screen = window.shows("code 0");
        let told =
            screen.split("cutaway run demo").nth(1).unwrap_or_else(|| panic!("nothing told:\n{screen}"));
        // A path is never broken, however long it is.
        let whole = |line: &str| line.split_whitespace().count() == 1;
        let long: Vec<&str> =
            told.lines().skip(1).filter(|line| line.chars().count() > 80 && !whole(line)).collect();
        assert!(long.is_empty(), "{long:#?}");
    }
}

#[test]
fn stepping_answers_to_its_keys() {
    for who in BOTH {
        let Some(bed) = Bed::new(who) else { continue };
        let bed = bed.with_demo();
        let before = bed.listing();
        let Some(window) = Window::open(&bed, 80, 50) else { return };
        let prompts = |screen: &str| screen.matches("[Enter] do it").count();
        let asks = |count: usize| window.shows_when("the prompt", |screen| prompts(screen) == count);
        window.types(&format!(
            "{} run --step -- /bin/sh -c 'echo step$((6 * 7))'; echo code $?",
            window.cutaway
        ));
        asks(1);
        window.types("w");
        asks(2);
        window.types("s");
        asks(3);
        window.types("x");
        asks(4);
        window.shows("none of these");
        for count in 5..8 {
            window.key("Enter");
            asks(count);
        }
        window.types("c");
        window.shows("step42");
        window.shows("code 0");
        // Quitting undoes what was done.
        let name = bed.name();
        window.types(&format!(
            "{} run --step --name {name} -- /bin/sh -c 'echo never$((6 * 7))'; echo quit $?",
            window.cutaway
        ));
        let begins = format!("containers/{name}/work");
        let screen = window.shows_when("the prompt", |screen| {
            // The terminal breaks a long path where its line ends.
            screen
                .rsplit("[Enter] do it")
                .nth(1)
                .is_some_and(|shown| shown.replace('\n', "").contains(&begins))
        });
        let done = prompts(&screen);
        window.key("Enter");
        window.shows_when("another prompt", |screen| prompts(screen) > done);
        window.types("q");
        let screen = window.shows_when("quit", |screen| screen.lines().any(|line| line.starts_with("quit ")));
        assert!(!screen.contains("never42"), "{screen}");
        drop(window);
        before.is_still(&bed, "stepping");
    }
}

#[test]
fn a_terminal_without_a_person_is_a_terminal_all_the_same() {
    for who in BOTH {
        let Some(bed) = Bed::new(who) else { continue };
        let bed = bed.with_demo();
        let done = bed
            .run(["-t", "--", "/bin/sh", "-c", "tty; test -t 0 && test -t 1 && echo yes"])
            .quiet()
            .done()
            .exits(0);
        assert_eq!(done.text(), "/dev/pts/0\r\nyes\r\n");
    }
    let _ = Who::Root;
}

/// The shell has the terminal for itself: ^C is its own matter, however often.
#[test]
fn a_shell_in_another_root_has_the_terminal() {
    for who in BOTH {
        let Some(bed) = Bed::new(who) else { continue };
        let Some(window) = Window::open(&bed, 80, 24) else { continue };
        for (flags, mark) in [("", "entered"), ("--pivot", "swapped"), ("--escape fd", "escaped")] {
            window.types(&format!("{} -q chroot {flags} --shell; echo co''de $? {mark}", window.cutaway));
            window.types(&format!("PS1='is''-{mark}> '"));
            let prompt = format!("is-{mark}>");
            window.shows(&prompt);
            for count in 1..=4 {
                window.key("C-c");
                let answered = |screen: &str| {
                    screen.matches(&format!("{prompt} ^C")).count() == count
                        && screen.trim_end().ends_with(&prompt)
                };
                window.shows_when("answer to ^C", answered);
            }
            window.types(&format!("test -t 0 && echo a term''inal {mark}"));
            window.shows(&format!("a terminal {mark}"));
            window.types("exit 5");
            window.shows(&format!("code 5 {mark}"));
        }
    }
}

/// What was done in it is shown side by side, and then it is gone.
#[test]
fn a_shell_in_an_overlay_has_the_terminal_and_what_it_changed_is_told() {
    for who in BOTH {
        let Some(bed) = Bed::new(who) else { continue };
        // The folders that stay.
        bed.cutaway(["overlay", "--do", "true"]).quiet().done().exits(0);
        let before = bed.listing();
        let Some(window) = Window::open(&bed, 80, 40) else { continue };
        let settings = window.settings("before");
        window.types(&format!("SHELL=/bin/sh {} overlay --shell; echo co''de $?", window.cutaway));
        window.shows("closes on exec");
        window.types("PS1='is''-merged> '");
        window.shows("is-merged>");
        window.types("test -t 0 && test $(pwd) -ef . && echo in ${PWD##*/}");
        window.shows("in merged");
        for count in 1..=2 {
            window.key("C-c");
            let answered = |screen: &str| screen.matches("is-merged> ^C").count() == count;
            window.shows_when("answer to ^C", answered);
        }
        window.types("rm old; echo more >>motd; echo x >made; sync; echo fin''ished");
        window.shows("finished");
        let overlay = only_entry(&bed.state().join("overlays"));
        assert_eq!(std::fs::read_to_string(overlay.join("upper/made")).unwrap(), "x\n");
        // From outside, nothing is mounted there.
        assert!(!overlay.join("merged/made").exists(), "{who:?}");
        window.types("exit 5");
        let screen = window.shows("code 5");
        let told = screen.rsplit("Wait for the end of the command").next().unwrap();
        let row = |sign: &str, name: &str| {
            let row = told.lines().find(|line| line.trim_start().starts_with(&format!("{sign} {name} ")));
            row.unwrap_or_else(|| panic!("no row {sign} {name}:\n{told}"))
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(row("+", "made"), "+ made – -rw-r--r-- 2 B -rw-r--r-- 2 B");
        assert!(row("+", "old").ends_with(" c--------- 0:0 –"), "{told}");
        assert_eq!(row("+", "motd").matches("-rw-r--r-- ").count(), 3, "{told}");
        for said in ["Nothing is left behind.", "nothing left behind, exit code 5"] {
            assert!(told.split_whitespace().collect::<Vec<_>>().join(" ").contains(said), "{told}");
        }
        assert_eq!(window.settings("after"), settings);
        drop(window);
        before.is_still(&bed, "a shell in an overlay");
    }
}

/// What is in a directory that holds one thing.
fn only_entry(dir: &std::path::Path) -> std::path::PathBuf {
    let all: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [one] = &all[..] else { panic!("not one thing: {all:?}") };
    one.clone()
}

#[test]
fn work_that_takes_long_has_a_bar_on_a_terminal_and_only_there() {
    if !common::need("strace") {
        return;
    }
    let Some(bed) = Bed::new(Who::Root) else { return };
    let bed = bed.with_demo();
    let Some(window) = Window::open(&bed, 80, 24) else { return };
    // Every read takes its time, as from a slow disk.
    let slow = "strace -f -qq -o /dev/null -e trace=read,pread64 -e inject=read,pread64:delay_enter=40000";
    let state = bed.path("other");
    let image = bed.state();
    let cutaway = format!("LC_ALL=C.UTF-8 {slow} {} --state {}", bed.program().display(), state.display());
    for (words, message) in [
        (format!("layers oci:{}:demo --tree", image.display()), "reading the layers"),
        (
            format!("layers oci:{}:demo --unpack {}", image.display(), bed.path("unpacked").display()),
            "unpack",
        ),
        (format!("image load oci:{}:demo --name copy", image.display()), "load image"),
    ] {
        window.types(&format!("clear; {cutaway} {words} >/dev/null; echo co''de $?"));
        window.shows_when("a bar", |_| {
            let visible = window.visible();
            visible.lines().any(|line| line.contains(message) && line.contains("━") && line.ends_with("left"))
        });
        window.shows_when("the end", |_| window.visible().contains("code 0"));
        assert!(!window.visible().contains(" left"), "{}", window.visible());
    }
    window.types(&format!(
        "clear; {cutaway} -q layers oci:{}:demo --tree >/dev/null; echo en''d $?",
        image.display()
    ));
    window.shows_when("the end", |screen| {
        assert!(!screen.contains("━"), "{screen}");
        screen.contains("end 0")
    });
    let done = bed.cutaway(["layers", "demo", "--tree"]).done().exits(0);
    assert_eq!(done.stderr, "");
}
