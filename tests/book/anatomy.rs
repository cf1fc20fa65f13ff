//! What every chapter has: number, title, minutes, the same headings in the same order, a quiz, speaker notes; and
//! that the commands it names exist.

use super::{block, generated, quiz};

/// The headings of a chapter.
pub const HEADINGS: [&str; 11] = [
    "What can still go wrong",
    "Predict",
    "Run",
    "What changed",
    "Why",
    "Try to break it",
    "Lab",
    "Quiz",
    "In real runtimes",
    "Kernel and man pages",
    "Cleanup",
];

/// The labels of the notes for those who teach.
const NOTES: [&str; 4] = ["**Say**", "**Ask**", "**Demo**", "**If it fails**"];

/// Commands that chapters may name before they exist. The list ends empty.
pub const COMING: &[&str] = &[];

/// What is wrong with a chapter.
pub fn faults(file: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let number = generated::number(file).expect("it is one of the numbered ones");
    if !text.starts_with(&format!("# {number:02} · ")) {
        faults.push(format!("it does not begin with `# {number:02} · TITLE`"));
    }
    let facts = text.lines().nth(2).unwrap_or_default();
    if !facts.starts_with("**") || !facts.contains(" minutes** · ") || !facts.contains("`cutaway ") {
        faults.push("its third line is not like `**25 minutes** · `cutaway ns uts` · as root`".to_owned());
    }
    let headings: Vec<&str> = outside(text).filter_map(|line| line.strip_prefix("## ")).collect();
    if headings != HEADINGS {
        faults.push(format!("its headings are {headings:?} and not {HEADINGS:?}"));
    }
    let speaker = text.split_once("<details class=\"speaker\">").map(|(_, notes)| notes);
    match speaker {
        None => faults.push("it has no notes, `<details class=\"speaker\">`".to_owned()),
        Some(notes) => faults.extend(
            NOTES
                .iter()
                .filter(|label| !notes.contains(**label))
                .map(|label| format!("its notes lack {label}")),
        ),
    }
    faults.extend(quiz::faults(&quiz::questions(text)));
    faults.extend(wide(text));
    faults
}

/// The lines outside of code.
pub fn outside(text: &str) -> impl Iterator<Item = &str> {
    let mut code = false;
    text.lines().filter(move |line| {
        let fence = line.starts_with("```");
        code ^= fence;
        !code && !fence
    })
}

/// Transcripts fit on a terminal.
fn wide(text: &str) -> Vec<String> {
    let blocks = block::parse(text).unwrap_or_default();
    let lines = blocks
        .iter()
        .flat_map(|block| &block.commands)
        .flat_map(|command| command.typed.iter().chain(&command.output));
    let wide = lines.filter(|line| line.chars().count() > 80);
    wide.map(|line| format!("this line of a transcript has more than 80 columns: {line}")).collect()
}

/// The commands that a text names in backticks and that do not exist.
pub fn unknown_commands(text: &str) -> Vec<String> {
    let prose: String = outside(text).map(|line| format!("{line}\n")).collect();
    let spans = prose.split('`').skip(1).step_by(2);
    let spans = spans.map(|span| span.split_whitespace().collect::<Vec<_>>().join(" "));
    spans.filter(|span| span.starts_with("cutaway ")).filter_map(|span| unknown(&span)).collect()
}

fn unknown(span: &str) -> Option<String> {
    // What stands behind it belongs to the shell.
    let ends = [" | ", " > ", " 2> ", "; ", " && ", " & "];
    let command = ends.iter().fold(span, |span, end| span.split(end).next().unwrap_or(span));
    let words = words(command);
    let is_placeholder = |word: &String| {
        word.contains(['…', '[', '<']) || word.len() < 9 && word.bytes().all(|byte| byte.is_ascii_uppercase())
    };
    let coming = words.get(1).is_some_and(|word| COMING.contains(&word.as_str()));
    if coming || words.iter().any(is_placeholder) {
        return None;
    }
    match cutaway::cli::command().try_get_matches_from(&words) {
        Err(error) if error.exit_code() != 0 => {
            Some(format!("`{span}` is no command: {}", error.to_string().lines().next().unwrap_or_default()))
        }
        _ => None,
    }
}

/// The words of a command, quotes taken off.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut quote, mut open) = (Vec::new(), None, false);
    for letter in command.chars() {
        match (letter, quote) {
            ('\'' | '"', None) => (quote, open) = (Some(letter), push(&mut words, open, None)),
            (letter, Some(end)) if letter == end => quote = None,
            (' ', None) => open = false,
            (letter, _) => open = push(&mut words, open, Some(letter)),
        }
    }
    words
}

/// Adds to the last word, or begins one.
fn push(words: &mut Vec<String>, open: bool, letter: Option<char>) -> bool {
    if !open {
        words.push(String::new());
    }
    words.last_mut().unwrap().extend(letter);
    true
}
