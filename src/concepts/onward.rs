//! Where to go from a telling: the command that comes next, the chapter to read, the lab to try.
//!
//! Nothing here is listed. A chapter names its commands in its third line, in teaching order, and its lab has its
//! number; a command that no chapter names goes by what its steps refer to.

use clap::ArgMatches;
use clap::parser::ValueSource;

use super::book::{CHAPTERS, Chapter};
use super::{Concept, lab};
use crate::lab::ALL as LABS;
use crate::plan::{Plan, number};
use crate::report::Pointer;

/// The command that was given: `ns`, `uts`, and which of its flags.
struct Given<'a> {
    path: Vec<&'a str>,
    command: clap::Command,
    matches: &'a ArgMatches,
}

/// Where a telling of this plan points to.
#[must_use]
pub fn after(concept: &Concept, matches: &ArgMatches, plan: &Plan) -> Vec<Pointer> {
    // Who works in a lab has a task, which says where to go.
    if concept.name == lab::CONCEPT.name {
        return Vec::new();
    }
    let given = Given::new(concept, matches);
    let place = named(&given, plan).or_else(|| referred(plan));
    let Some((chapter, at)) = place else { return Vec::new() };
    let mut all = Vec::new();
    all.extend(next(chapter, at).map(|words| ("next", format!("cutaway {}", words.join(" ")))));
    let number = chapter.digits();
    all.push(("read", format!("cutaway book {number}")));
    if LABS.iter().any(|lab| lab.number() == number) {
        all.push(("try", format!("cutaway lab start {number}")));
    }
    all
}

impl<'a> Given<'a> {
    fn new(concept: &'a Concept, matches: &'a ArgMatches) -> Self {
        let (mut path, mut command, mut matches) = (vec![concept.name], (concept.command)(), matches);
        while let Some((name, below)) = matches.subcommand() {
            let Some(found) = command.find_subcommand(name).cloned() else { break };
            path.push(name);
            (command, matches) = (found, below);
        }
        Self { path, command, matches }
    }

    /// How many flags a chapter's command has if it is this one; values do not matter.
    fn fits(&self, words: &[&str]) -> Option<usize> {
        let values = words.strip_prefix(self.path.as_slice())?;
        let mut flags = values.iter().filter(|word| word.starts_with('-'));
        flags.try_fold(0, |count, flag| self.has(flag).then_some(count + 1))
    }

    fn has(&self, flag: &str) -> bool {
        let is_it = |arg: &&clap::Arg| {
            let short = arg.get_short().is_some_and(|short| flag.chars().eq(['-', short]));
            short || arg.get_long().is_some_and(|long| flag.strip_prefix("--") == Some(long))
        };
        let arg = self.command.get_arguments().find(is_it);
        arg.is_some_and(|arg| {
            self.matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine)
        })
    }
}

/// The chapter that names the command in its third line, and where there. Of several the one that names most of its
/// flags, then the one that is called as it is, then one that begins with it, then the one that most steps refer to.
fn named(given: &Given<'_>, plan: &Plan) -> Option<(&'static Chapter, usize)> {
    let steps = number::walk(plan);
    let mut found = Vec::new();
    for chapter in CHAPTERS {
        for (at, words) in chapter.commands().iter().enumerate() {
            let Some(flags) = given.fits(words) else { continue };
            let called = given.path.last() == Some(&chapter.name());
            let referring = steps.iter().filter(|one| refers(one.step.chapter, chapter)).count();
            found.push(((flags, called, at == 0, referring), (chapter, at)));
        }
    }
    // Of equal ones the first: max_by_key would take the last.
    found.into_iter().rev().max_by_key(|(rank, _)| *rank).map(|(_, place)| place)
}

/// The chapter that most steps refer to, of those that are written, and the place before its first command.
fn referred(plan: &Plan) -> Option<(&'static Chapter, usize)> {
    let steps = number::walk(plan);
    let count = |chapter: &Chapter| steps.iter().filter(|one| refers(one.step.chapter, chapter)).count();
    let most = CHAPTERS.iter().rev().max_by_key(|chapter| count(chapter))?;
    (count(most) > 0).then_some((most, BEFORE))
}

/// Stands for the place before the first command of a chapter.
const BEFORE: usize = usize::MAX;

fn refers(number: Option<&str>, chapter: &Chapter) -> bool {
    chapter.number().is_some() && number.and_then(|number| number.parse().ok()) == chapter.number()
}

/// The command that follows in the book, and is another one.
fn next(chapter: &Chapter, at: usize) -> Option<Vec<&'static str>> {
    let from = CHAPTERS.iter().position(|one| one == chapter)?;
    let mut all = CHAPTERS[from..].iter().flat_map(Chapter::commands);
    if at == BEFORE {
        return all.next();
    }
    let own = all.nth(at)?;
    all.find(|words| *words != own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::concepts::ALL;
    use crate::plan::Step;

    /// What a command points to whose steps refer to these chapters.
    fn pointed(line: &str, chapters: &[&'static str]) -> Vec<String> {
        let mut words = line.split(' ').peekable();
        let concept = ALL.iter().find(|concept| Some(&concept.name) == words.peek()).unwrap();
        let matches = (concept.command)().get_matches_from(words);
        let mut plan = Plan::new(line);
        plan.steps = chapters.iter().map(|chapter| Step::say("Look").chapter(chapter)).collect();
        after(concept, &matches, &plan).into_iter().map(|(label, text)| format!("{label}: {text}")).collect()
    }

    fn three(next: &str, chapter: &str) -> Vec<String> {
        vec![
            format!("next: cutaway {next}"),
            format!("read: cutaway book {chapter}"),
            format!("try: cutaway lab start {chapter}"),
        ]
    }

    #[test]
    fn a_command_points_to_the_chapter_that_names_it_and_on() {
        assert_eq!(pointed("ns uts", &["17"]), three("ns ipc", "10"));
        assert_eq!(pointed("chroot", &[]), three("chroot --escape double-chroot", "03"));
        assert_eq!(pointed("cgroup memory", &[]), three("cgroup cpu", "23"));
        assert_eq!(pointed("cgroup cpu", &[]), three("cgroup pids", "24"));
    }

    #[test]
    fn flags_and_the_chapter_s_name_decide_between_several() {
        assert_eq!(pointed("chroot --pivot", &["3", "3"])[1], "read: cutaway book 06");
        assert_eq!(pointed("chroot --escape=double-chroot", &[])[1], "read: cutaway book 04");
        assert_eq!(pointed("run -v /a:/b demo", &["31"]), three("run --tmpfs DST", "09"));
        assert_eq!(pointed("run demo -- /bin/x -v", &["9", "9"]), three("cleanup", "31"));
        assert_eq!(pointed("ns pid", &["13", "13"]), three("run --init", "12"), "another command is next");
    }

    #[test]
    fn without_a_chapter_of_its_own_its_steps_decide() {
        assert_eq!(pointed("image ls", &["7", "7", "8"]), three("layers demo", "07"));
        assert_eq!(pointed("image ls", &["21"]), Vec::<String>::new(), "a chapter that is not written");
        assert_eq!(pointed("image ls", &[]), Vec::<String>::new());
        assert_eq!(pointed("lab start 10", &["22"]), Vec::<String>::new());
    }

    #[test]
    fn every_command_of_a_chapter_points_to_what_is_there() {
        let mut count = 0;
        for chapter in CHAPTERS.iter().filter(|chapter| chapter.number().is_some()) {
            assert!(!chapter.commands().is_empty(), "{}", chapter.file);
            for words in chapter.commands() {
                let line = words.join(" ");
                let concept = ALL.iter().find(|concept| concept.name == words[0]).unwrap();
                let Ok(matches) = (concept.command)().try_get_matches_from(&words) else { continue };
                let all = after(concept, &matches, &Plan::new(&*line));
                let read = all.iter().find(|(label, _)| *label == "read").unwrap();
                let number = read.1.trim_start_matches("cutaway book ");
                assert!(crate::concepts::book::find(number).is_ok(), "{line}: {all:?}");
                assert!(crate::lab::Lab::find(number).is_ok(), "{line}: {all:?}");
                count += 1;
            }
        }
        assert!(count > 20, "{count}");
    }
}
