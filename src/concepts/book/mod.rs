//! `cutaway book`: the chapters in the terminal.
//!
//! The Markdown is the one that the site is made from; it travels in the binary (`book/embed.rs`), so that the
//! chapter that explains an error is there whenever the error is, without a network.

mod chapter;
mod page;

use clap::{ArgMatches, Args, FromArgMatches};
use serde_json::json;

use super::{Concept, Context, Stage};
use crate::error::{Error, Result, exit};
use crate::report::style::{Paint, Style};
pub use chapter::Chapter;

/// The concept.
pub const CONCEPT: Concept = Concept { name: "book", command, stages: &[book], failure: exit::FAILED };

/// The pages of the book, in the order of its table of contents.
pub const CHAPTERS: &[Chapter] = include!(concat!(env!("OUT_DIR"), "/chapters.rs"));

#[derive(Debug, Clone, Args)]
struct BookArgs {
    /// Number or name: 10, uts, glossary
    #[arg(value_name = "CHAPTER")]
    chapter: Option<String>,
    /// Unfold the answers to the questions
    #[arg(long)]
    answers: bool,
    /// Unfold the notes for those who teach
    #[arg(long)]
    notes: bool,
}

fn command() -> clap::Command {
    BookArgs::augment_args(clap::Command::new("book")).about("Read the book").long_about(
        "Shows a chapter of the book in the terminal, or without a chapter the list of all. The answers to the \
         questions are folded, so that you can think first. Read at ease with: cutaway book 10 | less",
    )
}

fn book(matches: &ArgMatches, context: &Context) -> Result<Stage> {
    let args = BookArgs::from_arg_matches(matches)
        .map_err(|error| Error::new(error.to_string()).exit(exit::USAGE))?;
    let Some(typed) = &args.chapter else {
        return Ok(Stage::Report(if context.json { contents_json() } else { contents(&context.style) }));
    };
    let chapter = find(typed)?;
    if context.json {
        let mut record = chapter.record();
        record["markdown"] = json!(chapter.text);
        return Ok(Stage::Report(format!("{record}\n")));
    }
    let unfold = page::Unfold { answers: args.answers, notes: args.notes };
    Ok(Stage::Report(page::render(chapter, unfold, &context.style)))
}

/// The chapter that is meant: its number with or without leading zeros, its name, or a name that begins so.
pub fn find(typed: &str) -> Result<&'static Chapter> {
    let wanted = typed.to_ascii_lowercase();
    let number = wanted.parse::<u8>().ok();
    let exact = CHAPTERS
        .iter()
        .find(|chapter| chapter.name() == wanted || number.is_some() && chapter.number() == number);
    if let Some(chapter) = exact {
        return Ok(chapter);
    }
    let begin: Vec<_> = CHAPTERS.iter().filter(|chapter| chapter.name().starts_with(&wanted)).collect();
    match (begin.as_slice(), number) {
        ([only], None) => Ok(only),
        ([], Some(_)) => Err(Error::new(format!("chapter {typed} is not written yet"))
            .remedy("cutaway book plan has what is to come, cutaway book what there is")),
        ([], None) => {
            Err(Error::new(format!("there is no chapter {typed:?}")).remedy("cutaway book lists them"))
        }
        (several, _) => Err(Error::new(format!("more than one chapter begins with {typed:?}"))
            .remedy(several.iter().map(|chapter| chapter.name()).collect::<Vec<_>>().join(", "))),
    }
}

/// The list of chapters.
fn contents(style: &Style) -> String {
    let total: u32 = CHAPTERS.iter().filter_map(Chapter::minutes).sum();
    let left = format!(" {}", style.paint(Paint::Bold, "cutaway book"));
    let mut out = style.beside(&left, 13, &format!("{} h {} min", total / 60, total % 60));
    out.push('\n');
    for chapter in CHAPTERS {
        let number = chapter.number().map_or_else(String::new, |number| format!("{number:02}"));
        let name = if number.is_empty() { chapter.name() } else { "" };
        let line = format!(" {number:<3} {}", style.text(&chapter.title()));
        let minutes = chapter.minutes().map_or_else(|| name.to_owned(), |minutes| format!("{minutes} min"));
        out.push_str(&style.beside(&line, line.chars().count(), &minutes));
        out.push('\n');
    }
    out.push('\n');
    out.push_str(&style.paint(Paint::Dim, "   read: cutaway book 10   or by name: cutaway book uts"));
    out.push('\n');
    out
}

fn contents_json() -> String {
    let lines: Vec<_> = CHAPTERS.iter().map(|chapter| chapter.record().to_string()).collect();
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chapter_is_found_by_number_and_name() {
        assert_eq!(find("10").unwrap().name(), "uts");
        assert_eq!(find("UTS").unwrap().number(), Some(10));
        assert_eq!(find("glos").unwrap().name(), "glossary");
    }

    #[test]
    fn what_is_not_there_is_said() {
        assert!(find("99").unwrap_err().to_string().contains("not written yet"));
        assert!(find("nothing").unwrap_err().to_string().contains("no chapter"));
    }

    #[test]
    fn the_list_fits_on_the_screen() {
        for line in contents(&Style::plain()).lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}
