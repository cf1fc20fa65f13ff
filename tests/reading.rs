//! `cutaway book`: the chapters in the terminal, as root and as an ordinary user, piped and to a reader who leaves.

#![allow(clippy::unwrap_used, reason = "tests may unwrap, and so may their helpers")]

mod common;

use std::process::{Command, Stdio};

use common::{BOTH, Bed, Who};

/// A bed of whoever runs the tests.
fn bed() -> Bed {
    let who = if nix::unistd::geteuid().is_root() { Who::Root } else { Who::User };
    Bed::new(who).expect("nobody else has to be become")
}

#[test]
fn the_list_names_every_chapter_with_its_minutes() {
    for who in BOTH {
        let Some(bed) = Bed::new(who) else { continue };
        let list = bed.cutaway(["book"]).done().exits(0);
        assert_eq!(list.stderr, "");
        for chapter in cutaway::concepts::book::CHAPTERS {
            assert!(list.text().contains(&chapter.title()), "{} is not in:\n{}", chapter.file, list.text());
        }
        assert!(!bed.state().exists(), "reading makes nothing");
    }
}

#[test]
fn a_chapter_is_shown_by_number_and_by_name() {
    let bed = bed();
    let page = bed.cutaway(["book", "10"]).done().exits(0).text();
    assert_eq!(page, bed.cutaway(["book", "uts"]).done().exits(0).text());
    assert!(page.contains("$ cutaway ns uts\n") && page.contains("fn rename() -> Step {"), "{page}");
    assert!(page.lines().all(|line| line.chars().count() <= 80));
    assert!(!page.contains("{{#include") && !page.contains("<details"), "{page}");
}

#[test]
fn answers_and_notes_are_folded_until_they_are_asked_for() {
    let bed = bed();
    let folded = bed.cutaway(["book", "10"]).done().exits(0).text();
    assert!(folded.contains("cutaway book uts --answers") && !folded.contains("See for yourself"));
    assert!(folded.contains("cutaway book uts --notes") && !folded.contains("If it fails"));
    let open = bed.cutaway(["book", "10", "--answers", "--notes"]).done().exits(0).text();
    assert!(open.contains("See for yourself") && open.contains("If it fails"), "{open}");
}

#[test]
fn programs_get_json() {
    let bed = bed();
    let list = bed.cutaway(["book", "--json", "-"]).done().exits(0).text();
    assert_eq!(list.lines().count(), cutaway::concepts::book::CHAPTERS.len());
    let page = bed.cutaway(["book", "10", "--json", "-"]).done().exits(0).text();
    let page: serde_json::Value = serde_json::from_str(&page).unwrap();
    assert_eq!((page["number"].as_u64(), page["name"].as_str()), (Some(10), Some("uts")));
    assert!(page["markdown"].as_str().unwrap().starts_with("# 10 · "));
}

#[test]
fn what_is_not_there_is_said_with_what_to_try() {
    let bed = bed();
    bed.cutaway(["book", "99"]).done().exits(1).says(&["chapter 99 is not written yet", "cutaway book plan"]);
    bed.cutaway(["book", "nonsense\u{1b}[31m"]).done().exits(1).says(&["there is no chapter", "\\u{1b}"]);
    bed.cutaway(["book", "10", "11"]).done().exits(2);
}

#[test]
fn without_unicode_it_is_ascii() {
    let page = bed().cutaway(["book", "10"]).env("LC_ALL", "C").done().exits(0);
    let odd: Vec<_> = page.text().lines().filter(|line| !line.is_ascii()).map(str::to_owned).collect();
    assert!(odd.is_empty(), "{odd:#?}");
}

#[test]
fn a_reader_who_leaves_is_no_error() {
    let bed = bed();
    let mut command = Command::new(bed.program());
    let mut child =
        command.args(["book", "system-calls"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let done = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&done.stderr), "");
}
