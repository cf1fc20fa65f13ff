//! The book is executed: every console block of every chapter, as root or as an ordinary user.
//!
//! A block looks like this:
//!
//! ````text
//! ```console,root
//! $ cutaway ns uts -- hostname
//! what it prints, both streams in their order
//! [...]
//! lines may be left out, and [..] stands for a part of a line
//! $ cutaway run nothing
//! ...
//! ? 125
//! ```
//! ````
//!
//! Behind `console` stands who types, `root` or `user`, and what the block needs: `v1`, `v2` or `hybrid` control
//! groups, a group of version 2 that is `delegated` to the user, a `terminal` with bars, `needs=PROGRAM`. A block that
//! names no layout of groups prints the same on all. What this machine cannot perform another one does:
//! `tests/vm/book.sh` performs the chapters that name a layout in virtual machines.
//!
//! A command may go on on the next line with a `\` at its end and `> ` in front. An exit code other than 0 is the line
//! `? CODE`. All blocks of a chapter share one working directory and two state directories (root's and the user's), which
//! are empty at its beginning. What a reader has from before is prepared in a comment, with the same commands:
//!
//! ```text
//! <!-- setup,root
//! $ cutaway -q run -- true
//! -->
//! ```
//!
//! What varies is made the same by the rules in `book/rules.rs`. `CUTAWAY_BOOK=rewrite` writes what was printed into
//! the chapters, with the same lines left out, and what is generated into the generated pages; `CUTAWAY_CHAPTER=10`
//! performs one chapter alone, `CUTAWAY_CHAPTER="10 11"` two; with `CUTAWAY_SLOW=3` a `sleep` lasts three times as long, for
//! an emulated machine. A block that says nobody (```` ```console ````) is not executed and stands in
//! `book/not-executed.txt` with its reason.

#![allow(clippy::unwrap_used, reason = "tests may unwrap, and so may their helpers")]

mod common;

#[path = "book/anatomy.rs"]
mod anatomy;
#[path = "book/block.rs"]
mod block;
#[path = "book/compare.rs"]
mod compare;
#[path = "book/generated.rs"]
mod generated;
#[path = "book/plan.rs"]
mod plan;
#[path = "book/play.rs"]
mod play;
#[path = "book/quiz.rs"]
mod quiz;
#[path = "book/reading.rs"]
mod reading;
#[path = "book/record.rs"]
mod record;
#[path = "book/rules.rs"]
mod rules;
#[path = "book/site.rs"]
mod site;

use std::fs;
use std::path::{Path, PathBuf};

use block::{Block, Command};
use play::Stage;
use rules::Seen;

/// Whether the chapters are written anew.
fn rewrites() -> bool {
    std::env::var_os("CUTAWAY_BOOK").is_some_and(|value| value == "rewrite")
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("chapters")
}

/// The Markdown files of the book, with their text.
fn pages() -> Vec<(String, String)> {
    let mut pages: Vec<_> = fs::read_dir(folder())
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".md"))
        .map(|name| (name.clone(), fs::read_to_string(folder().join(&name)).unwrap()))
        .collect();
    pages.sort();
    pages
}

fn report(faults: &[String], remedy: &str) {
    assert!(faults.is_empty(), "\n{}\n{remedy}\n", faults.join("\n"));
}

#[test]
fn every_console_block_is_what_happens() {
    let only = std::env::var("CUTAWAY_CHAPTER").ok();
    let mut faults = Vec::new();
    for (file, text) in pages() {
        let is_wanted = |only: &String| only.split_whitespace().any(|number| file.starts_with(number));
        if !only.as_ref().is_none_or(is_wanted) {
            continue;
        }
        let blocks = block::parse(&text).unwrap_or_else(|fault| panic!("chapters/{file}: {fault}"));
        if blocks.iter().any(Block::is_executed) {
            perform(&file, &text, &blocks, &mut faults);
        }
    }
    report(&faults, "If the chapter is wrong: CUTAWAY_BOOK=rewrite cargo test --test book");
}

/// Performs a chapter and compares, or writes it anew.
fn perform(file: &str, text: &str, blocks: &[Block], faults: &mut Vec<String>) {
    let mut stage = Stage::new();
    let mut lines: Vec<Vec<String>> = text.lines().map(|line| vec![line.to_owned()]).collect();
    let mut changed = false;
    let mut performed = Vec::new();
    for block in blocks.iter().filter(|block| block.is_executed()) {
        let place = format!("chapters/{file}:{}", block.line);
        if !stage.can(&block.words, &place) {
            continue;
        }
        performed.push(block);
        let new = play_block(&stage, block, &place, faults);
        if rewrites() && !block.hidden && new != block.commands {
            changed = true;
            let fresh = Block::text(&new).lines().map(str::to_owned).collect();
            lines[block.content.clone()].iter_mut().for_each(Vec::clear);
            lines[block.content.start] = fresh;
        }
    }
    record::write(play::cgroups(), file, text, &performed);
    for left in stage.strike() {
        faults.push(format!("chapters/{file} leaves behind: {left}"));
    }
    if changed {
        let whole: String = lines.concat().into_iter().map(|line| line + "\n").collect();
        fs::write(folder().join(file), whole).unwrap();
    }
}

/// Performs one block. What it comes to is the block as it should be; what differs is a fault, unless it is written.
fn play_block(stage: &Stage, block: &Block, place: &str, faults: &mut Vec<String>) -> Vec<Command> {
    let mut seen = Seen::default();
    let mut new = Vec::new();
    for command in &block.commands {
        let played = stage.play(&block.words, &command.shell(), &mut seen);
        let book = command.output.join("\n");
        if played.exit == command.exit && (block.hidden || compare::fits(&book, &played.printed)) {
            new.push(command.clone());
            continue;
        }
        let printed: Vec<String> = played.printed.lines().map(str::to_owned).collect();
        if !rewrites() || block.hidden {
            let missing = compare::missing(&book, &played.printed).unwrap_or_default();
            faults.push(format!(
                "{place}: {}\nprints, with exit code {}:\n{}\nand not, with exit code {}:\n{book}\nThe first that was \
                 not printed: {missing}\n",
                command.typed.join("\n"),
                played.exit,
                played.printed,
                command.exit
            ));
        }
        let output = compare::promoted(&command.output, &printed);
        new.push(Command { typed: command.typed.clone(), output, exit: played.exit });
    }
    new
}

#[test]
#[ignore = "tests/vm/book.sh asks it, when each machine has performed what it can"]
fn every_block_is_performed_somewhere() {
    let missing = |(file, text): (String, String)| {
        let blocks = block::parse(&text).unwrap_or_else(|fault| panic!("chapters/{file}: {fault}"));
        record::missing(&file, &text, &blocks)
    };
    let faults: Vec<_> = pages().into_iter().flat_map(missing).collect();
    report(
        &faults,
        "No machine has performed these as they stand now: cargo test --test book; tests/vm/book.sh",
    );
}

/// How many blocks may go unexecuted. It only shrinks.
const NOT_EXECUTED: usize = 0;

#[test]
fn what_is_not_executed_has_its_reason() {
    let list = include_str!("book/not-executed.txt");
    let listed: Vec<&str> = list.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let mut found = Vec::new();
    for (file, text) in pages() {
        for block in block::parse(&text).unwrap_or_else(|fault| panic!("chapters/{file}: {fault}")) {
            if !block.is_executed() {
                let first = block.commands.first().map_or_else(String::new, Command::shell);
                found.push(format!("{file}: {first}: "));
            }
        }
    }
    for entry in &found {
        let reason = listed.iter().find_map(|line| line.strip_prefix(entry.as_str()));
        assert!(
            reason.is_some_and(|reason| reason.len() > 10),
            "tests/book/not-executed.txt lacks the line `{entry}REASON`"
        );
    }
    assert_eq!(
        found.len(),
        listed.len(),
        "tests/book/not-executed.txt lists what is executed or gone: {listed:#?}"
    );
    let count = found.len();
    assert!(
        count == NOT_EXECUTED,
        "{count} blocks are not executed, NOT_EXECUTED is {NOT_EXECUTED}: it only shrinks"
    );
}

#[test]
fn every_chapter_has_its_parts() {
    let mut faults = Vec::new();
    for (file, text) in pages() {
        if generated::number(&file).is_some() {
            faults.extend(
                anatomy::faults(&file, &text).into_iter().map(|fault| format!("chapters/{file}: {fault}")),
            );
        }
        let unknown = anatomy::unknown_commands(&text);
        faults.extend(unknown.into_iter().map(|fault| format!("chapters/{file}: {fault}")));
    }
    for name in anatomy::COMING {
        if cutaway::concepts::ALL.iter().any(|concept| concept.name == *name) {
            faults.push(format!("{name} exists by now: take it out of COMING in tests/book/anatomy.rs"));
        }
    }
    report(&faults, "ARCHITECTURE.md, \"Adding a chapter\", has the form of a chapter.");
}

#[test]
fn what_is_generated_is_up_to_date() {
    let faults = generated();
    report(&faults, "Write it anew: CUTAWAY_BOOK=rewrite cargo test --test book generated");
}

/// Looks at the generated pages, or writes them anew; the others wait for that.
fn generated() -> Vec<String> {
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock();
    let pages = pages();
    let mut faults = Vec::new();
    for (file, wanted) in generated::all(&pages) {
        let path = folder().join(&file);
        if fs::read_to_string(&path).unwrap_or_default() == wanted {
            continue;
        }
        if rewrites() {
            fs::write(path, wanted).unwrap();
        } else {
            faults.push(format!("chapters/{file} is not what the source and the chapters say"));
        }
    }
    faults
}

#[test]
fn every_page_is_in_the_table_of_contents() {
    generated();
    let summary = fs::read_to_string(folder().join("SUMMARY.md")).unwrap();
    let pages = pages().into_iter().map(|(file, _)| file).filter(|file| file != "SUMMARY.md");
    let missing: Vec<_> = pages.filter(|file| !summary.contains(&format!("]({file})"))).collect();
    report(
        &missing,
        "These are neither a numbered chapter nor an appendix that tests/book/generated.rs knows.",
    );
}

#[test]
fn the_glossary_is_in_order() {
    let text = fs::read_to_string(folder().join("glossary.md")).unwrap();
    let terms: Vec<String> =
        text.lines().filter_map(|line| line.strip_prefix("## ")).map(str::to_lowercase).collect();
    assert!(terms.is_sorted(), "the words of the glossary are not in the order of the alphabet: {terms:#?}");
}

#[test]
fn every_link_of_the_site_leads_somewhere() {
    let Some(mdbook) = site::mdbook() else {
        common::skipped("needs mdbook: tests/run installs it");
        return;
    };
    generated();
    let dir = tempfile::tempdir().unwrap();
    let mut faults = site::build(&mdbook, dir.path());
    faults.extend(site::faults(dir.path()));
    report(&faults, "The site is built by: mdbook build book");
}
