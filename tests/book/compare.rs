//! Whether what was printed is what the book says, and how the book is changed where it is not.
//!
//! In the book `[...]` on a line of its own stands for lines that are left out, `[..]` within a line for a part of it.

use std::cmp::Reverse;

use super::reading;
use super::rules::comparable;

/// Lines that are left out.
pub const LINES: &str = "[...]";
/// A part of a line that is left out.
const PART: &str = "[..]";

/// Whether a text has the form that the book shows.
pub fn fits(book: &str, printed: &str) -> bool {
    let book = book.replace(LINES, PART);
    let parts: Vec<String> = book.split(PART).map(comparable).collect();
    let printed = comparable(printed);
    let [first, middle @ .., last] = parts.as_slice() else { return parts[0] == printed };
    let Some(mut rest) = printed.strip_prefix(first.as_str()) else { return false };
    for part in middle {
        let Some(at) = rest.find(part.as_str()) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last.as_str())
}

/// The first of the parts between what is left out that was not printed.
pub fn missing(book: &str, printed: &str) -> Option<String> {
    let printed = comparable(printed);
    let mut rest = printed.as_str();
    for part in book.split(LINES).flat_map(|part| part.split('\n')) {
        for piece in part.split(PART) {
            let wanted = comparable(piece);
            let Some(at) = rest.find(&wanted) else { return Some(part.to_owned()) };
            rest = &rest[at + wanted.len()..];
        }
    }
    None
}

/// The lines that the book is to show: what was printed, with the same places left out.
pub fn promoted(book: &[String], printed: &[String]) -> Vec<String> {
    if !book.iter().any(|line| line == LINES) {
        return kept(book, printed, 0, printed.len());
    }
    let pairs = common(book, printed);
    let mut out: Vec<String> = Vec::new();
    let mut at = 0;
    for (number, part) in ranges(book).into_iter().enumerate() {
        let last = part.end == book.len();
        let inside: Vec<usize> =
            pairs.iter().filter(|(old, _)| part.contains(old)).map(|(_, new)| *new).collect();
        if inside.is_empty() && !part.is_empty() && number > 0 && !last {
            // Nothing of this part is printed any more.
            continue;
        }
        let from = if number == 0 { 0 } else { inside.first().copied().unwrap_or(printed.len()) };
        let to = if last { printed.len() } else { inside.last().map_or(from, |at| at + 1) };
        let (from, to) = if part.is_empty() {
            (if last { printed.len() } else { 0 }, if last { printed.len() } else { 0 })
        } else {
            (from, to)
        };
        if number > 0 && from > at && out.last().is_none_or(|line| line != LINES) {
            out.push(LINES.to_owned());
        }
        out.extend(kept(&book[part], printed, from, to));
        at = to.max(at);
    }
    out
}

/// What was printed, in the book's own lines where they still fit. All readings of a chart have one form: they are
/// taken as they were printed, so that the book has those of one run.
fn kept(book: &[String], printed: &[String], from: usize, to: usize) -> Vec<String> {
    let fresh = |line: &String| {
        if reading::form(line).is_some() {
            return line.clone();
        }
        // `periods [..]` fits what was printed of `periods throttled` too: the line that says most stands for it.
        let fitting = book.iter().filter(|old| !old.trim().is_empty() && fits(old, line));
        fitting.min_by_key(|old| Reverse(comparable(old).len())).unwrap_or(line).clone()
    };
    printed.get(from..to).unwrap_or_default().iter().map(fresh).collect()
}

/// The parts of the book's lines between the places that are left out.
fn ranges(book: &[String]) -> Vec<std::ops::Range<usize>> {
    let mut ranges = Vec::new();
    let mut from = 0;
    for (at, _) in book.iter().enumerate().filter(|(_, line)| *line == LINES) {
        ranges.push(from..at);
        from = at + 1;
    }
    ranges.push(from..book.len());
    ranges
}

/// The longest sequence of lines that both have, as pairs of their numbers. Empty lines say nothing.
fn common(book: &[String], printed: &[String]) -> Vec<(usize, usize)> {
    let same = |old: usize, new: usize| {
        if reading::form(&book[old]).is_some() {
            return same_reading(book, old, printed, new);
        }
        let says = !book[old].trim().is_empty() && book[old] != LINES;
        says && (fits(&book[old], &printed[new]) || renumbered(&book[old], &printed[new]))
    };
    let mut best = vec![vec![0_u32; printed.len() + 1]; book.len() + 1];
    for old in (0..book.len()).rev() {
        for new in (0..printed.len()).rev() {
            best[old][new] = if same(old, new) {
                best[old + 1][new + 1] + 1
            } else {
                best[old + 1][new].max(best[old][new + 1])
            };
        }
    }
    let (mut old, mut new, mut pairs) = (0, 0, Vec::new());
    while old < book.len() && new < printed.len() {
        if same(old, new) {
            pairs.push((old, new));
            (old, new) = (old + 1, new + 1);
        } else if best[old + 1][new] >= best[old][new + 1] {
            old += 1;
        } else {
            new += 1;
        }
    }
    pairs
}

/// Whether both are the heading of the same step, under another number.
fn renumbered(old: &str, new: &str) -> bool {
    let sentence = |line: &str| {
        let (number, rest) = line.strip_prefix(' ')?.split_once(' ')?;
        number.starts_with(|first: char| first.is_ascii_digit()).then(|| rest.trim().to_owned())
    };
    sentence(old).is_some_and(|old| sentence(new) == Some(old))
}

/// Whether two readings stand for each other: both were read at the same time, or both are the last of their chart.
fn same_reading(book: &[String], old: usize, printed: &[String], new: usize) -> bool {
    let is_last =
        |lines: &[String], at: usize| lines.get(at + 1).is_none_or(|next| reading::form(next).is_none());
    let alike = fits(&book[old], &printed[new]);
    let last =
        is_last(printed, new) && is_last(book, old) && book.get(old + 1).is_none_or(|next| next != LINES);
    alike && (last || reading::time(&book[old]) == reading::time(&printed[new]))
}
