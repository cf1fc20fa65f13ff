//! A report being written: headings, prose, pairs and rows in one look, within the width of the screen.
//!
//! Separate from the reports so that all of them look alike. What is long goes out while it is written.

use std::io::Write;

use crate::error::{Error, Result};
use crate::report::style::{Glyph, Paint, Style};
use crate::report::wrap;

/// Where text begins.
const INDENT: usize = 4;
/// Where values begin.
const VALUES: usize = 18;
/// How much is kept before it goes out.
const ENOUGH: usize = 64 << 10;

/// A page.
pub struct Page<'a> {
    out: &'a mut dyn Write,
    style: Style,
    text: String,
    failure: Option<Error>,
}

impl<'a> Page<'a> {
    /// An empty page.
    pub fn new(out: &'a mut dyn Write, style: Style) -> Self {
        Self { out, style, text: String::new(), failure: None }
    }

    /// Writes what is left, and says whether everything was written.
    pub fn finish(mut self) -> Result<()> {
        self.write_out();
        self.failure.map_or(Ok(()), Err)
    }

    fn write_out(&mut self) {
        if let Err(cause) = self.out.write_all(self.text.as_bytes()) {
            self.failure.get_or_insert(Error::io("could not write the report", &cause));
        }
        self.text.clear();
    }

    /// A line as it is.
    pub fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
        if self.text.len() >= ENOUGH {
            self.write_out();
        }
    }

    /// The title, with something at the right edge.
    pub fn title(&mut self, title: &str, right: &str) {
        let title = self.style.text(title).into_owned();
        let left = format!(" {}", self.style.paint(Paint::Bold, &title));
        let line = self.style.beside(&left, title.chars().count() + 1, right);
        self.line(&line);
    }

    /// A numbered heading: the one sentence.
    pub fn heading(&mut self, number: usize, text: &str) {
        let line = format!(" {number}  {}", self.style.paint(Paint::Bold, text));
        self.line("");
        self.line(&line);
    }

    /// A heading without a number.
    pub fn subheading(&mut self, text: &str) {
        let line = format!(" {}", self.style.paint(Paint::Bold, text));
        self.line("");
        self.line(&line);
    }

    /// Prose, wrapped.
    pub fn prose(&mut self, text: &str) {
        self.wrapped(text, INDENT, Paint::Plain);
    }

    /// A remark to look at twice.
    pub fn notice(&mut self, text: &str) {
        self.wrapped(text, INDENT, Paint::Notice);
    }

    fn wrapped(&mut self, text: &str, indent: usize, paint: Paint) {
        let text = self.style.text(text).into_owned();
        for line in wrap::prose(&text, self.style.width.saturating_sub(indent + 1)) {
            let line = format!("{:indent$}{}", "", self.style.paint(paint, &line));
            self.line(&line);
        }
    }

    /// A label and its value, wrapped behind the label.
    pub fn pair(&mut self, label: &str, value: &str) {
        let value = self.style.text(value).into_owned();
        let mut label = label;
        for line in wrap::prose(&value, self.style.width.saturating_sub(VALUES + 1)) {
            let line = format!("{:6}{label:<width$}{line}", "", width = VALUES - 6);
            self.line(&line);
            label = "";
        }
    }

    /// A label and a value that was checked: the sign of that is at the right edge.
    pub fn checked(&mut self, label: &str, value: &str) {
        let value = self.style.text(value).into_owned();
        let left = format!("{:6}{label:<width$}{value}", "", width = VALUES - 6);
        let tick = self.style.glyph(Glyph::Tick);
        let room = self.style.width.saturating_sub(tick.chars().count() + 1);
        let gap = room.saturating_sub(left.chars().count()).max(1);
        let line = format!("{left}{}{}", " ".repeat(gap), self.style.paint(Paint::Good, tick));
        self.line(&line);
    }

    /// A row: cells, and a last one that takes the rest of the width and wraps.
    pub fn row(&mut self, cells: &str, last: &str, paint: Paint) {
        let cells = self.style.text(cells).into_owned();
        let indent = cells.chars().count();
        let last = self.style.text(last).into_owned();
        let mut lines = wrap::prose(&last, self.style.width.saturating_sub(indent + 1)).into_iter();
        let first = lines.next().unwrap_or_default();
        let line = format!("{cells}{}", self.style.paint(paint, &first));
        self.line(&line);
        for rest in lines {
            let line = format!("{:indent$}{}", "", self.style.paint(paint, &rest));
            self.line(&line);
        }
    }

    /// A name of any length and its value: a long name has a line for itself.
    pub fn labelled(&mut self, name: &str, value: &str) {
        if name.chars().count() + 1 < VALUES - 6 {
            self.pair(name, value);
        } else {
            let line = format!("{:6}{}", "", self.style.text(name));
            self.line(&line);
            self.pair("", value);
        }
    }

    /// A table with a heading: its last column wraps.
    pub fn table<const N: usize>(&mut self, heading: &[String; N], rows: &[[String; N]]) {
        let width =
            |at: usize| rows.iter().chain([heading]).map(|row| row[at].chars().count()).max().unwrap_or(0);
        let cells = |row: &[String; N]| {
            let all = row.iter().take(N - 1).enumerate().map(|(at, cell)| format!("{cell:<0$}  ", width(at)));
            format!("{:6}{}", "", all.collect::<String>())
        };
        self.row(&cells(heading), &heading[N - 1], Paint::Dim);
        for row in rows {
            self.row(&cells(row), &row[N - 1], Paint::Plain);
        }
    }

    /// A call as it was told, broken between arguments.
    pub fn call(&mut self, call: &str) {
        let call = self.style.text(call).into_owned();
        for (at, line) in wrap::call(&call, self.style.width.saturating_sub(11)).iter().enumerate() {
            let indent = if at == 0 { 6 } else { 10 };
            self.line(&format!("{:indent$}{line}", ""));
        }
    }

    /// A row that is never wrapped: names must stay whole.
    pub fn entry(&mut self, cells: &str, name: &str, paint: Paint) {
        let line = format!("{}{}", self.style.text(cells), self.style.paint(paint, name));
        self.line(&line);
    }

    /// What it comes to, where nothing is judged.
    pub fn summary(&mut self, text: &str) {
        self.line("");
        self.wrapped(text, 1, Paint::Bold);
    }

    /// What it comes to, and whether that is well.
    pub fn verdict(&mut self, good: bool, text: &str) {
        let (glyph, paint) = if good { (Glyph::Tick, Paint::Good) } else { (Glyph::Cross, Paint::Bad) };
        let sign = self.style.glyph(glyph);
        let indent = sign.chars().count() + 2;
        let text = self.style.text(text).into_owned();
        let mut lead = format!(" {} ", self.style.paint(paint, sign));
        self.line("");
        for line in wrap::prose(&text, self.style.width.saturating_sub(indent + 1)) {
            let line = format!("{lead}{line}");
            self.line(&line);
            lead = " ".repeat(indent);
        }
    }

    /// Where to go on.
    pub fn next(&mut self, commands: &[String]) {
        for (at, command) in commands.iter().enumerate() {
            let lead = if at == 0 { "next:" } else { "" };
            let line = format!("   {lead:<6}{}", self.style.text(command));
            let line = self.style.paint(Paint::Dim, &line);
            self.line(&line);
        }
    }
}
