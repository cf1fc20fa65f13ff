//! Text within a paragraph: words, each with its look, and where a line must end.

use crate::report::style::{Paint, Style};

/// Text that is being collected.
#[derive(Debug, Clone, Default)]
pub struct Inline {
    pieces: Vec<(Paint, String)>,
    paint: Paint,
}

/// The sign of a line that must end; no text holds it.
const BREAK: &str = "\n";

impl Inline {
    /// From here on text looks so.
    pub fn paint(&mut self, paint: Paint) {
        self.paint = paint;
    }

    /// Text as it is.
    pub fn text(&mut self, text: &str) {
        self.pieces.push((self.paint, text.to_owned()));
    }

    /// Code, in its backticks: they say without colour what it is.
    pub fn code(&mut self, text: &str) {
        let paint = if self.paint == Paint::Plain { Paint::Lane(0) } else { self.paint };
        self.pieces.push((paint, format!("`{text}`")));
    }

    /// The line ends here.
    pub fn line_break(&mut self) {
        self.pieces.push((Paint::Plain, BREAK.to_owned()));
    }

    /// What was collected; this begins anew.
    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    /// Whether there is nothing to show.
    pub fn is_empty(&self) -> bool {
        self.pieces.iter().all(|(_, text)| text.trim().is_empty())
    }

    /// The words alone.
    pub fn plain(&self) -> String {
        self.pieces.iter().map(|(_, text)| text.as_str()).collect()
    }

    /// How wide it is on one line.
    pub fn width(&self) -> usize {
        self.plain().trim().chars().count()
    }

    /// The width of the longest word: it cannot be shown in less.
    pub fn longest_word(&self) -> usize {
        self.plain().split_whitespace().map(|word| word.chars().count()).max().unwrap_or(0)
    }

    /// Lines of at most this width, broken between words and painted.
    pub fn lines(&self, width: usize, style: &Style) -> Vec<String> {
        self.wrapped(width, style).into_iter().map(|(line, _)| line).collect()
    }

    /// The same, each line with its width on the screen.
    pub fn wrapped(&self, width: usize, style: &Style) -> Vec<(String, usize)> {
        let mut lines = vec![(String::new(), 0)];
        for word in self.words(style) {
            let size: usize = word.iter().map(|(_, text)| text.chars().count()).sum();
            let is_break = word.iter().any(|(_, text)| text == BREAK);
            let used = lines.last().map_or(0, |(_, used)| *used);
            if is_break || used > 0 && used + 1 + size > width {
                lines.push((String::new(), 0));
            }
            let Some((line, used)) = lines.last_mut() else { break };
            if is_break {
                continue;
            }
            if *used > 0 {
                line.push(' ');
                *used += 1;
            }
            for (paint, text) in &word {
                line.push_str(&style.paint(*paint, text));
            }
            *used += size;
        }
        lines
    }

    /// Words: pieces that no blank divides stay together, whatever they look like.
    fn words(&self, style: &Style) -> Vec<Vec<(Paint, String)>> {
        let mut words: Vec<Vec<(Paint, String)>> = Vec::new();
        let mut open = false;
        for (paint, text) in &self.pieces {
            if text == BREAK {
                words.push(vec![(*paint, BREAK.to_owned())]);
                open = false;
                continue;
            }
            let text = style.text(text).into_owned();
            for part in text.split_inclusive(' ') {
                let word = part.trim_end_matches(' ');
                if !word.is_empty() {
                    match words.last_mut() {
                        Some(last) if open => last.push((*paint, word.to_owned())),
                        _ => words.push(vec![(*paint, word.to_owned())]),
                    }
                    open = true;
                }
                open = open && !part.ends_with(' ');
            }
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_in_two_looks_is_one_word() {
        let mut text = Inline::default();
        text.text("see ");
        text.code("uts");
        text.text(", then go");
        assert_eq!(text.lines(10, &Style::plain()), ["see `uts`,", "then go"]);
        assert_eq!((text.width(), text.longest_word()), (18, 6));
    }

    #[test]
    fn a_hard_break_ends_a_line() {
        let mut text = Inline::default();
        text.text("one");
        text.line_break();
        text.text("two");
        assert_eq!(text.lines(80, &Style::plain()), ["one", "two"]);
    }
}
