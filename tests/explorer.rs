//! `cutaway layers --tui` with a person at the keys, played by tmux: what is on the screen, what keys do, and the terminal
//! afterwards, however it ends.

#![allow(clippy::unwrap_used, reason = "tests may unwrap, and so may their helpers")]

mod common;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use common::window::Window;
use common::{BOTH, Bed, Who};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ratatui::Frame;
use ratatui::crossterm::event::KeyEvent;

/// The explorer of the demo image on a screen of this size.
fn explorer(bed: &Bed, columns: u32, rows: u32) -> Option<Window<'_>> {
    let window = Window::open(bed, columns, rows)?;
    open(&window);
    Some(window)
}

/// Opens the explorer; when it ends, its exit code is on the screen.
fn open(window: &Window<'_>) {
    window.types(&format!("LC_ALL=C.UTF-8 {} layers demo --tui; echo co''de $?", window.cutaway));
    window.shows("Layer 1: what it does");
}

/// Waits until what is visible now, not what has scrolled away, has all of these.
#[track_caller]
fn sees(window: &Window<'_>, words: &[&str]) -> String {
    window.shows_when(&format!("{words:?}"), |_| {
        let visible = window.visible();
        words.iter().all(|word| visible.contains(word))
    });
    window.visible()
}

/// The process of the explorer.
fn process(bed: &Bed) -> Pid {
    let program = bed.program().display().to_string();
    let found = std::fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let words = std::fs::read(entry.path().join("cmdline")).ok()?;
        let words: Vec<_> = words.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
        let is_it = words[0] == program && words.contains(&bed.state().display().to_string().into());
        (is_it && words.iter().any(|word| word == "--tui")).then_some(pid)
    });
    Pid::from_raw(found.unwrap())
}

#[test]
fn both_sides_fit_on_the_smallest_usual_screen() {
    for who in BOTH {
        let Some(bed) = Bed::new(who) else { continue };
        let bed = bed.with_demo();
        let before = bed.listing();
        let Some(window) = explorer(&bed, 80, 24) else { return };
        let screen =
            sees(&window, &["cutaway layers demo --tree 1", "3 layers", "chain ID", "A", "bin -> usr/bin"]);
        assert!(screen.lines().nth(23).unwrap().ends_with("q quit"), "{screen}");
        for _ in 0..2 {
            window.key("Down");
        }
        let screen = sees(&window, &["Layer 3: what it does", "cutaway layers demo --tree 3"]);
        assert!(screen.lines().any(|line| line.contains("│  D ") && line.ends_with("secret")), "{screen}");
        window.key("m");
        sees(&window, &["Merged: what a container sees", "cutaway layers demo --tree ", "bin -> usr/bin"]);
        window.key("m");
        sees(&window, &["Layer 3: what it does"]);
        window.key("q");
        window.shows("code 0");
        drop(window);
        before.is_still(&bed, "the explorer");
    }
}

#[test]
fn a_file_is_found_by_its_name_and_its_life_is_told() {
    let Some(bed) = Bed::new(Who::Root) else { return };
    let bed = bed.with_demo();
    let Some(window) = explorer(&bed, 80, 24) else { return };
    window.key("Down");
    sees(&window, &["Layer 2: what it does"]);
    window.key("/");
    window.tmux(&["send-keys", "-t", "s", "-l", "SECR"]);
    let screen = sees(&window, &["only /SECR", "▾ srv/", "▾ story/", "secret"]);
    assert!(!screen.contains("▾ etc/"), "{screen}");
    window.key("Enter");
    window.key("End");
    sees(&window, &["/srv/story/secret", "-rw"]);
    window.key("f");
    let screen = sees(&window, &["cutaway layers demo --file /srv/story/secret", "Deleted is not gone"]);
    assert!(screen.contains("--extract 2:/srv/story/secret"), "{screen}");
    window.key("Escape");
    sees(&window, &["only /SECR"]);
    window.key("Escape");
    sees(&window, &["▾ etc/"]);
    // What was deleted is in no merged tree.
    window.key("/");
    window.tmux(&["send-keys", "-t", "s", "-l", "secret"]);
    window.key("Enter");
    window.key("m");
    sees(&window, &["no name contains this"]);
    window.key("q");
    window.shows("code 0");
}

#[test]
fn directories_are_opened_and_closed() {
    let Some(bed) = Bed::new(Who::Root) else { return };
    let bed = bed.with_demo();
    let Some(window) = explorer(&bed, 80, 24) else { return };
    window.key("Tab");
    sees(&window, &["▾ etc/", "passwd"]);
    window.key("-");
    let screen = sees(&window, &["▸ etc/", "▸ usr/"]);
    assert!(!screen.contains("passwd"), "{screen}");
    for key in ["Down", "Down"] {
        window.key(key);
    }
    sees(&window, &["drwxr-xr-x 0:0  2026-01-01 00:00:00  /etc"]);
    window.key("Right");
    sees(&window, &["▾ etc/", "passwd"]);
    window.key("Right");
    sees(&window, &["/etc/group"]);
    window.key("Left");
    window.key("Left");
    sees(&window, &["▸ etc/"]);
    window.key("Enter");
    sees(&window, &["▾ etc/"]);
    window.key("+");
    sees(&window, &["▾ home/"]);
    window.key("q");
    window.shows("code 0");
}

#[test]
fn the_reports_are_those_of_the_flags() {
    let Some(bed) = Bed::new(Who::Root) else { return };
    let bed = bed.with_demo();
    let Some(window) = explorer(&bed, 80, 100) else { return };
    let flags: [(&str, &[&str]); 3] = [("a", &[]), ("y", &["--history"]), ("w", &["--wasted"])];
    for (key, flags) in flags {
        let words = ["layers", "demo"].iter().chain(flags);
        let printed = bed.cutaway(words).env("LC_ALL", "C.UTF-8").done().exits(0).text();
        window.key(key);
        let screen = sees(&window, &["lines 1 to "]);
        for line in printed.lines().skip(1) {
            // What sticks out in print is broken here.
            let line: String = line.chars().take(80).collect();
            assert!(screen.contains(line.trim_end()), "{flags:?} prints {line:?}, the screen has:\n{screen}");
        }
        window.key("q");
        sees(&window, &["Layer 1: what it does"]);
    }
    window.key("?");
    sees(&window, &["Moving", "Letters of the tree"]);
    window.key("q");
    window.key("c");
    sees(&window, &["\"architecture\":"]);
    window.key("q");
    sees(&window, &["Layer 1: what it does"]);
    window.key("q");
    window.shows("code 0");
}

#[test]
fn it_follows_the_size_of_the_window() {
    let Some(bed) = Bed::new(Who::Root) else { return };
    let bed = bed.with_demo();
    let Some(window) = explorer(&bed, 80, 24) else { return };
    let resize =
        |columns: &str, rows: &str| window.tmux(&["resize-window", "-t", "s", "-x", columns, "-y", rows]);
    resize("120", "30");
    let screen = sees(&window, &["-rw-r--r--       0:0"]);
    assert_eq!(screen.lines().count(), 30);
    resize("30", "8");
    sees(&window, &["50×10 at least"]);
    resize("50", "10");
    sees(&window, &["Layer 1: what it does", "bin"]);
    // A report is written anew for another width.
    window.key("a");
    sees(&window, &["cutaway layers demo", "lines 1 to 6 of"]);
    resize("90", "24");
    sees(&window, &["lines 1 to 20 of", "file        index.json"]);
    window.key("C-c");
    window.shows("code 0");
}

#[test]
fn the_terminal_is_put_back_however_it_ends() {
    for who in BOTH {
        let Some(bed) = Bed::new(who) else { continue };
        let bed = bed.with_demo();
        let Some(window) = Window::open(&bed, 80, 24) else { return };
        let settings = window.settings("before");
        for (signal, code) in
            [(Signal::SIGTERM, 143), (Signal::SIGINT, 130), (Signal::SIGHUP, 129), (Signal::SIGQUIT, 131)]
        {
            open(&window);
            kill(process(&bed), signal).unwrap();
            window.shows(&format!("code {code}"));
            assert_eq!(window.settings(&format!("after-{signal}")), settings);
            assert!(!window.visible().contains("what it does"), "{}", window.visible());
        }
        // Stopped, by its key and by a signal, it gives the terminal back for as long.
        window.types("set -m");
        open(&window);
        window.key("C-z");
        window.shows("Stopped");
        assert_eq!(window.settings("stopped"), settings);
        window.types("fg");
        sees(&window, &["Layer 1: what it does"]);
        kill(process(&bed), Signal::SIGTSTP).unwrap();
        window.shows_when("the shell", |_| !window.visible().contains("what it does"));
        window.types("fg");
        sees(&window, &["Layer 1: what it does"]);
        window.key("q");
        window.shows_when("the shell", |_| !window.visible().contains("what it does"));
        assert_eq!(window.settings("left"), settings);
    }
}

/// What panics at the first key.
struct Fragile;

impl cutaway::report::screen::Show for Fragile {
    fn draw(&mut self, frame: &mut Frame<'_>) {
        let buffer = frame.buffer_mut();
        buffer.set_string(0, 0, "press a key", ratatui::style::Style::new());
    }

    fn key(&mut self, _: KeyEvent) -> cutaway::report::screen::Next {
        panic!("the key was too much");
    }
}

/// Run by the next test, in a terminal.
#[test]
fn fragile() {
    if std::env::var_os("CUTAWAY_FRAGILE").is_some() {
        let _ = cutaway::report::screen::show(&mut Fragile);
    }
}

#[test]
fn the_terminal_is_put_back_after_a_panic() {
    let Some(bed) = Bed::new(Who::Root) else { return };
    let Some(window) = Window::open(&bed, 80, 24) else { return };
    let settings = window.settings("before");
    let own = std::env::current_exe().unwrap();
    window.types(&format!("CUTAWAY_FRAGILE=1 {} --exact --nocapture fragile; echo co''de $?", own.display()));
    window.shows("press a key");
    window.key("x");
    let screen = window.shows("code 101");
    assert!(screen.contains("the key was too much"), "{screen}");
    assert_eq!(window.settings("after"), settings);
}

#[test]
fn without_a_terminal_it_says_so() {
    let Some(bed) = Bed::new(Who::Root) else { return };
    let bed = bed.with_demo();
    bed.cutaway(["layers", "demo", "--tui"]).done().exits(1).says(&["must be a terminal", "leave out --tui"]);
    let explained = bed.cutaway(["layers", "demo", "--tui"]).global("--explain").done().exits(0);
    assert!(explained.text().contains("whole screen"), "{}", explained.text());
    let refused = bed.cutaway(["layers", "demo", "--tui", "--tree"]).done();
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    // A terminal that cannot move its cursor is none.
    let Some(window) = Window::open(&bed, 80, 24) else { return };
    window.types(&format!("TERM=dumb {} layers demo --tui; echo co''de $?", window.cutaway));
    window.shows("code 1");
}

#[test]
fn many_names_begin_folded_and_keys_stay_quick() {
    let Some(bed) = Bed::new(Who::Root) else { return };
    let image = bed.folder("many");
    many(&image);
    let Some(window) = Window::open(&bed, 80, 24) else { return };
    window.types(&format!(
        "LC_ALL=C.UTF-8 {} layers {} --tui; echo co''de $?",
        window.cutaway,
        image.display()
    ));
    sees(&window, &["Layer 1: what it does", "▸ d0/"]);
    window.key("Tab");
    window.key("+");
    sees(&window, &["▾ d0/"]);
    let begun = std::time::Instant::now();
    window.key("End");
    sees(&window, &["/d9/f01999"]);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    window.key("q");
    window.shows("code 0");
}

/// An image with one layer of ten directories with two thousand files each.
fn many(dir: &PathBuf) {
    use cutaway::image::write::{Entry, LayoutWriter};
    std::fs::remove_dir(dir).unwrap();
    let mut writer = LayoutWriter::create(dir).unwrap();
    writer
        .layer(|tar| {
            for number in 0..20_000 {
                let name = format!("d{}/f{:05}", number / 2000, number % 2000);
                Entry { name: name.as_bytes(), mode: 0o644, owner: (0, 0), mtime: 1 }.file(
                    tar,
                    0,
                    b"".as_slice(),
                )?;
            }
            Ok(())
        })
        .unwrap();
    let architecture = cutaway::image::Platform::host().architecture;
    writer.finish(serde_json::json!({ "os": "linux", "architecture": architecture }), "many").unwrap();
    let _ = Command::new("chmod").args(["-R", "a+rX"]).arg(dir).status();
}
