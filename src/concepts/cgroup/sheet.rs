//! The text of the reports about groups: headings, rows of name, value and source, prose.

use std::fmt::Write;

use crate::report::style::{Paint, Style};
use crate::report::wrap;

/// Where rows begin, and how wide their columns are.
const INDENT: usize = 4;
const NAME: usize = 24;
const VALUE: usize = 12;

/// A report that is being written.
pub struct Sheet {
    style: Style,
    /// What is written so far.
    pub text: String,
}

impl Sheet {
    /// An empty one.
    #[must_use]
    pub const fn new(style: Style) -> Self {
        Self { style, text: String::new() }
    }

    /// The title, with something at the right edge.
    pub fn title(&mut self, title: &str, right: &str) {
        let title = self.style.text(title).into_owned();
        let left = format!(" {}", self.style.paint(Paint::Bold, &title));
        self.text.push_str(&self.style.beside(&left, title.chars().count() + 1, right));
        self.text.push('\n');
    }

    /// A heading, and where what stands below it is read.
    pub fn heading(&mut self, what: &str, place: &str) {
        let what = self.style.paint(Paint::Bold, what);
        let place = self.style.paint(Paint::Dim, place);
        self.text.push_str(format!("\n {what}  {place}").trim_end());
        self.text.push('\n');
    }

    /// A name, a value, and where the value comes from or what it means.
    pub fn row(&mut self, name: &str, value: &str, source: &str) {
        let left = INDENT + NAME + VALUE + 2;
        let head =
            format!("{:INDENT$}{:<NAME$}{:>VALUE$}", "", self.style.text(name), self.style.text(value));
        let lines = wrap::prose(&self.style.text(source), self.style.width.saturating_sub(left + 1));
        let mut out = head;
        for (index, line) in lines.iter().enumerate() {
            let line = self.style.paint(Paint::Dim, line);
            if index == 0 {
                out.push_str("  ");
            } else {
                out.push('\n');
                out.push_str(&" ".repeat(left));
            }
            out.push_str(&line);
        }
        self.text.push_str(out.trim_end());
        self.text.push('\n');
    }

    /// Prose.
    pub fn prose(&mut self, text: &str) {
        for line in wrap::prose(&self.style.text(text), self.style.width.saturating_sub(INDENT + 1)) {
            _ = writeln!(self.text, "{:INDENT$}{line}", "");
        }
    }

    /// A line as it is.
    pub fn line(&mut self, line: &str) {
        self.text.push_str(self.style.text(line).trim_end());
        self.text.push('\n');
    }
}
