//! How text looks: colours, glyphs and width, decided once at the start and in no other place.
//!
//! Colour never carries meaning of its own: whatever is coloured is also said in words or by a glyph. Where
//! the locale is not UTF-8 every glyph has words or ASCII in its place. All text from outside passes
//! [`clean`], so that a file name cannot move the cursor or recolour the screen.

use std::borrow::Cow;
use std::ffi::OsString;
use std::os::fd::AsFd;

use colored::{ColoredString, Colorize};

/// What `--color` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum ColorChoice {
    /// Colour on a terminal that can show it, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Colour, wherever the text goes.
    Always,
    /// No colour.
    Never,
}

/// The widest line where the text does not go to a terminal.
pub const WIDTH: usize = 80;
/// Below this width nothing can be laid out; the terminal wraps.
const NARROWEST: usize = 40;

/// The decisions about looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Whether to colour.
    pub colour: bool,
    /// Whether characters beyond ASCII can be shown.
    pub unicode: bool,
    /// Columns.
    pub width: usize,
    /// Whether a person watches: then numbers over time are drawn as bars too.
    pub terminal: bool,
}

/// What a piece of text is; each kind has one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Paint {
    /// Text as it is.
    #[default]
    Plain,
    /// The one sentence of a step.
    Bold,
    /// What may be overlooked: times, man pages.
    Dim,
    /// It holds.
    Good,
    /// It failed.
    Bad,
    /// Look twice: an expected error, something new.
    Notice,
    /// The lane of an actor, by its order of appearance: 0 is the host.
    Lane(usize),
}

/// Signs that have another form where only ASCII can be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Glyph {
    /// It holds.
    Tick,
    /// It failed.
    Cross,
    /// Not done.
    Dash,
    /// A summary of many calls.
    Sum,
    /// From before to after.
    Arrow,
    /// Left out here.
    Dots,
    /// Between words on one line.
    Dot,
}

impl Style {
    /// Plain text of 80 columns: what tests compare, and the same on every machine.
    #[must_use]
    pub const fn plain() -> Self {
        Self { colour: false, unicode: true, width: WIDTH, terminal: false }
    }

    /// The looks for a stream, each stream for itself, from `--color`, the environment and what the stream is.
    #[must_use]
    pub fn decide(choice: ColorChoice, stream: impl AsFd) -> Self {
        let terminal = rustix::termios::isatty(stream.as_fd());
        let colour = wants_colour(choice, terminal, |name| std::env::var_os(name));
        // Its own detection is off for good: what is not to be coloured never reaches the crate (`paint`).
        colored::control::set_override(true);
        let width = if terminal { columns(stream) } else { WIDTH };
        Self { colour, unicode: is_utf8(|name| std::env::var_os(name)), width, terminal }
    }

    /// The text as it can be shown: control characters made visible, ASCII only where that is needed.
    #[must_use]
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let text = clean(text);
        if self.unicode || text.is_ascii() { text } else { Cow::Owned(text.chars().map(ascii).collect()) }
    }

    /// The text in the look of its kind.
    #[must_use]
    pub fn paint(&self, paint: Paint, text: &str) -> String {
        let text = self.text(text);
        if !self.colour || text.is_empty() {
            return text.into_owned();
        }
        coloured(paint, &text).to_string()
    }

    /// A sign, in words where it cannot be shown.
    #[must_use]
    pub const fn glyph(&self, glyph: Glyph) -> &'static str {
        match (glyph, self.unicode) {
            (Glyph::Tick, true) => "✔",
            (Glyph::Tick, false) => "ok",
            (Glyph::Cross, true) => "✘",
            (Glyph::Cross, false) => "FAILED",
            (Glyph::Dash, true) => "–",
            (Glyph::Sum, true) => "Σ",
            (Glyph::Sum, false) => "sum",
            (Glyph::Arrow, true) => "→",
            (Glyph::Arrow, false) => "->",
            (Glyph::Dots, true) => "…",
            (Glyph::Dots, false) => "...",
            (Glyph::Dot, true) => "·",
            (Glyph::Dash | Glyph::Dot, false) => "-",
        }
    }

    /// `left`, and `right` dim at the right edge; on a line of its own where there is no room.
    #[must_use]
    pub fn beside(&self, left: &str, left_width: usize, right: &str) -> String {
        let right = self.text(right);
        let size = right.chars().count();
        let room = self.width.saturating_sub(1 + size);
        let painted = self.paint(Paint::Dim, &right);
        if left_width + 2 <= room {
            format!("{left}{}{painted}", " ".repeat(room - left_width))
        } else {
            format!("{left}\n{}{painted}", " ".repeat(room))
        }
    }

    /// A duration as people read it.
    #[must_use]
    pub fn duration(&self, us: u64) -> String {
        match us {
            0..100 => format!("{us} {}", if self.unicode { "µs" } else { "us" }),
            100..10_000 => format!("{}.{} ms", us / 1000, us % 1000 / 100),
            10_000..1_000_000 => format!("{} ms", us / 1000),
            _ => format!("{}.{} s", us / 1_000_000, us % 1_000_000 / 100_000),
        }
    }
}

fn coloured(paint: Paint, text: &str) -> ColoredString {
    match paint {
        Paint::Plain => text.normal(),
        Paint::Bold => text.bold(),
        Paint::Dim => text.dimmed(),
        Paint::Good => text.green(),
        Paint::Bad => text.red().bold(),
        Paint::Notice => text.yellow(),
        Paint::Lane(0) => text.cyan(),
        Paint::Lane(index) => match index % 3 {
            1 => text.magenta(),
            2 => text.blue(),
            _ => text.yellow(),
        },
    }
}

fn columns(stream: impl AsFd) -> usize {
    let size = rustix::termios::tcgetwinsize(stream).map_or(0, |size| usize::from(size.ws_col));
    if size == 0 { WIDTH } else { size.max(NARROWEST) }
}

/// The crate that colours would decide by stdout, count an empty `NO_COLOR` and forget `TERM=dumb`.
fn wants_colour(choice: ColorChoice, terminal: bool, var: impl Fn(&str) -> Option<OsString>) -> bool {
    let is = |name: &str, test: fn(&OsString) -> bool| var(name).is_some_and(|value| test(&value));
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => {
            terminal && !is("NO_COLOR", |value| !value.is_empty()) && !is("TERM", |value| value == "dumb")
        }
    }
}

/// Whether the locale is UTF-8: the first of the three variables that is set and not empty decides (locale(7)).
fn is_utf8(var: impl Fn(&str) -> Option<OsString>) -> bool {
    let all = ["LC_ALL", "LC_CTYPE", "LANG"];
    let first = all.iter().filter_map(|name| var(name)).find(|value| !value.is_empty());
    first.is_some_and(|value| {
        let value = value.to_string_lossy().to_ascii_lowercase();
        value.ends_with("utf-8") || value.ends_with("utf8")
    })
}

fn ascii(letter: char) -> Cow<'static, str> {
    Cow::Borrowed(match letter {
        '→' => "->",
        '✔' => "ok",
        '✘' => "FAILED",
        '–' | '—' | '·' => "-",
        'Σ' => "sum",
        '…' => "...",
        'µ' => "u",
        '×' => "x",
        '“' | '”' => "\"",
        '‘' | '’' => "'",
        '≥' => ">=",
        '≤' => "<=",
        letter if letter.is_ascii() => return Cow::Owned(letter.to_string()),
        letter => return Cow::Owned(format!("\\u{{{:x}}}", u32::from(letter))),
    })
}

/// The text with control characters written out: what comes from outside must not steer the terminal.
#[must_use]
pub fn clean(text: &str) -> Cow<'_, str> {
    let unsafe_letter = |letter: char| {
        letter.is_control() || matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(unsafe_letter) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        if unsafe_letter(letter) {
            out.extend(letter.escape_default());
        } else {
            out.push(letter);
        }
    }
    Cow::Owned(out)
}

/// A number with its thousands apart: `3,412`.
#[must_use]
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A size in decimal units, as disk makers and `ls --si` count.
#[must_use]
pub fn bytes(size: u64) -> String {
    let (unit, name) = match size {
        0..1_000 => return format!("{size} bytes"),
        1_000..1_000_000 => (1_000, "kB"),
        1_000_000..1_000_000_000 => (1_000_000, "MB"),
        _ => (1_000_000_000, "GB"),
    };
    let whole = size / unit;
    if whole < 10 { format!("{whole}.{} {name}", size % unit * 10 / unit) } else { format!("{whole} {name}") }
}

/// `1 step`, `2 steps`.
#[must_use]
pub fn count(number: usize, one: &str) -> String {
    format!("{number} {one}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &'static [(&str, &str)]) -> impl Fn(&str) -> Option<OsString> {
        move |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
    }

    #[test]
    fn colour_needs_a_terminal_and_nobody_against_it() {
        assert!(wants_colour(ColorChoice::Auto, true, env(&[("TERM", "xterm")])));
        assert!(wants_colour(ColorChoice::Auto, true, env(&[("NO_COLOR", "")])), "empty counts as unset");
        assert!(!wants_colour(ColorChoice::Auto, true, env(&[("NO_COLOR", "1")])));
        assert!(!wants_colour(ColorChoice::Auto, true, env(&[("TERM", "dumb")])));
        assert!(!wants_colour(ColorChoice::Auto, false, env(&[])));
        assert!(wants_colour(ColorChoice::Always, false, env(&[("NO_COLOR", "1")])));
        assert!(!wants_colour(ColorChoice::Never, true, env(&[])));
    }

    #[test]
    fn the_first_variable_that_is_set_names_the_locale() {
        assert!(is_utf8(env(&[("LANG", "de_DE.UTF-8")])));
        assert!(is_utf8(env(&[("LC_ALL", ""), ("LC_CTYPE", "C.utf8"), ("LANG", "C")])));
        assert!(!is_utf8(env(&[("LC_ALL", "C"), ("LANG", "en_US.UTF-8")])));
        assert!(!is_utf8(env(&[])));
    }

    #[test]
    fn a_stream_without_colour_stays_plain_beside_one_with() {
        let file = tempfile::tempfile().unwrap();
        let plain = Style::decide(ColorChoice::Auto, &file);
        let coloured = Style::decide(ColorChoice::Always, &file);
        let plain_too = Style::decide(ColorChoice::Never, &file);
        assert_eq!(coloured.paint(Paint::Bold, "x\x1b"), "\x1b[1mx\\u{1b}\x1b[0m");
        assert_eq!([plain, plain_too].map(|style| style.paint(Paint::Bold, "x")), ["x", "x"]);
        assert_eq!(plain.width, WIDTH);
    }

    #[test]
    fn text_from_outside_cannot_steer_the_terminal() {
        assert_eq!(clean("a\x1b[2Jb\u{9b}\u{202e}"), "a\\u{1b}[2Jb\\u{9b}\\u{202e}");
        assert_eq!(clean("naïve →"), "naïve →");
    }

    #[test]
    fn ascii_says_the_same_without_the_signs() {
        let style = Style { unicode: false, ..Style::plain() };
        assert_eq!(style.text("a → b – c"), "a -> b - c");
        assert_eq!(style.duration(12), "12 us");
    }

    #[test]
    fn amounts_are_readable() {
        let style = Style::plain();
        let all = [11, 200, 9_950, 31_000, 3_140_000].map(|us| style.duration(us));
        assert_eq!(all, ["11 µs", "0.2 ms", "9.9 ms", "31 ms", "3.1 s"]);
        assert_eq!([999, 1_000, 1_234_567].map(thousands), ["999", "1,000", "1,234,567"]);
        assert_eq!([12, 1_500, 118_000_000].map(bytes), ["12 bytes", "1.5 kB", "118 MB"]);
    }

    #[test]
    fn what_stands_at_the_right_edge_moves_down_where_there_is_no_room() {
        let style = Style { width: 20, ..Style::plain() };
        assert_eq!(style.beside("short", 5, "3 ms"), "short          3 ms");
        assert_eq!(style.beside("quite a long line", 17, "3 ms"), "quite a long line\n               3 ms");
    }
}
