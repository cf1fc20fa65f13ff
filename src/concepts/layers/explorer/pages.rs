//! The reports of the other flags, on the screen: the same functions write them, as wide as the screen is.

use super::super::page::Page as Sheet;
use super::super::{Listed, Subject, anatomy, file, history, wasted};
use crate::error::Result;
use crate::image::unpack::shown_whole as shown;
use crate::report::style::Style;

/// A report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// The whole anatomy.
    Anatomy,
    /// The life of a file.
    Life(Vec<u8>),
    /// What nobody sees.
    Wasted,
    /// The steps that made it.
    History,
    /// The config's bytes, laid out.
    Config,
    /// What the keys do.
    Keys,
}

/// A report that is being read.
#[derive(Debug)]
pub struct Page {
    report: Report,
    /// For which width it was written.
    width: usize,
    /// What it says.
    pub lines: Vec<String>,
    /// The first line on the screen.
    pub top: usize,
    /// The command that prints it.
    pub command: String,
}

impl Page {
    /// Moves towards the beginning.
    pub fn go_up(&mut self, by: usize) {
        self.top = self.top.saturating_sub(by);
    }

    /// Moves towards the end, until the last line is the last on the screen.
    pub fn go_down(&mut self, by: usize, height: usize) {
        self.top = self.top.saturating_add(by).min(self.lines.len().saturating_sub(height));
    }

    /// Writes it anew where the screen has become wider or narrower.
    pub fn fit(&mut self, subject: &mut Subject, listed: &Listed, width: usize, height: usize) {
        if self.width != width {
            let top = self.top;
            *self = of(self.report.clone(), subject, listed, width);
            self.top = top;
        }
        self.go_down(0, height);
    }
}

/// Writes a report.
pub fn of(report: Report, subject: &mut Subject, listed: &Listed, width: usize) -> Page {
    let before = subject.style;
    subject.style = Style { colour: false, width: width.max(40), ..before };
    let mut text = Vec::new();
    let written = write(&report, subject, listed, &mut text);
    subject.style = before;
    let text = String::from_utf8_lossy(&text);
    let mut lines: Vec<String> = text.lines().flat_map(|line| broken(line, width)).collect();
    if let Err(error) = written {
        lines.push(format!(" {error}"));
    }
    // The command stands above the page already.
    if lines.first().is_some_and(|line| line.trim_start().starts_with("cutaway ")) {
        lines.remove(0);
    }
    let command = format!("{}{}", subject.command(), flag(&report));
    Page { report, width, lines, top: 0, command }
}

/// A line as lines of the screen: here nothing can stick out.
fn broken(line: &str, width: usize) -> Vec<String> {
    let letters: Vec<char> = line.chars().collect();
    if letters.is_empty() {
        return vec![String::new()];
    }
    letters.chunks(width.max(1)).map(|piece| piece.iter().collect()).collect()
}

/// The flag behind which a report is.
fn flag(report: &Report) -> String {
    match report {
        Report::Anatomy => String::new(),
        Report::Life(path) => format!(" --file /{}", shown(path)),
        Report::Wasted => " --wasted".to_owned(),
        Report::History => " --history".to_owned(),
        Report::Config => " --config".to_owned(),
        Report::Keys => " --tui".to_owned(),
    }
}

fn write(report: &Report, subject: &Subject, listed: &Listed, out: &mut Vec<u8>) -> Result<()> {
    match report {
        Report::Anatomy => anatomy::report(subject, listed, out),
        Report::Life(path) => {
            let path = std::os::unix::ffi::OsStrExt::from_bytes(path);
            file::report(subject, listed, path, out)
        }
        Report::Wasted => {
            let mut sheet = Sheet::new(out, subject.style);
            wasted::page(subject, listed, &mut sheet);
            sheet.finish()
        }
        Report::History => {
            let mut sheet = Sheet::new(out, subject.style);
            history::page(subject, &mut sheet);
            sheet.finish()
        }
        Report::Config => {
            let bytes = &subject.image.config_document.bytes;
            let laid_out = serde_json::from_slice::<serde_json::Value>(bytes).ok();
            let laid_out = laid_out.and_then(|value| serde_json::to_string_pretty(&value).ok());
            let text = laid_out.unwrap_or_else(|| String::from_utf8_lossy(bytes).into_owned());
            let mut sheet = Sheet::new(out, subject.style);
            text.lines().for_each(|line| sheet.entry("    ", line, crate::report::style::Paint::Plain));
            sheet.finish()
        }
        Report::Keys => {
            let mut sheet = Sheet::new(out, subject.style);
            keys(&mut sheet);
            sheet.finish()
        }
    }
}

/// Every key, with the flag that gives the same.
const KEYS: [(&str, &[(&str, &str)]); 4] = [
    (
        "Moving",
        &[
            ("↑ ↓  k j", "one row; a page: PgUp, PgDn; to the ends: Home, End"),
            ("Tab", "from the layers to the tree and back"),
            ("→ ←  l h", "open and close a directory"),
            ("+  -", "open and close all directories"),
        ],
    ),
    (
        "The tree",
        &[
            ("m", "what a container sees (--tree), or what the layer does (--tree LAYER)"),
            ("/", "only names that contain something; Esc shows all again"),
            ("Enter  f", "the life of the selected file (--file PATH)"),
        ],
    ),
    (
        "Reports",
        &[
            ("a", "the anatomy: index, manifest, config, layers (no flag)"),
            ("y", "the history (--history)"),
            ("c", "the config (--config)"),
            ("w", "what is stored and not seen (--wasted)"),
        ],
    ),
    (
        "Leaving",
        &[("q", "back from a report; from here, to the shell"), ("^Z", "to the shell, and back with fg")],
    ),
];

fn keys(sheet: &mut Sheet<'_>) {
    for (heading, keys) in KEYS {
        sheet.subheading(heading);
        for (key, does) in keys {
            sheet.pair(key, does);
        }
    }
    sheet.subheading("Letters of the tree");
    for line in super::super::words::LEGEND {
        sheet.line(&format!("      {line}"));
    }
    sheet.line("");
    sheet.prose("In the merged tree the number of the layer stands in their place. Behind a directory is the size of all files below it.");
}
