//! `--tui`: the layers on one side, a tree on the other, and the reports behind single keys.
//!
//! It knows nothing that the other flags cannot give: each view is one of theirs, and its first line is the command that
//! prints it. [`pane`] is which rows a tree has, [`draw`] how they look, [`pages`] the reports; here is what keys do.

mod draw;
mod pages;
mod pane;

use std::collections::HashMap;

use ratatui::Frame;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{Listed, Subject};
use crate::concepts::Stage;
use crate::error::Result;
use crate::report::screen::{self, Next, Show};
use pages::{Page, Report};
use pane::{Pane, View};

/// The explorer of an image, as a stage.
pub fn stage(subject: Subject, explain: bool) -> Result<Stage> {
    if explain {
        return Ok(Stage::Report(
            "reads every layer, as --tree does, and shows the image on the whole screen of the terminal\n"
                .to_owned(),
        ));
    }
    screen::check()?;
    let listed = subject.list(&subject.image, true)?;
    Ok(Stage::Screen(Box::new(Explorer::new(subject, listed))))
}

/// Which side takes the keys that move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Layers,
    Tree,
}

/// What is on the screen.
#[derive(Debug)]
enum Screen {
    /// The two sides.
    Sides,
    /// The two sides, and what names must contain is being typed. Holds what it was before.
    Filter(String),
    /// A report.
    Page(Page),
}

/// An image that is looked at.
struct Explorer {
    subject: Subject,
    listed: Listed,
    screen: Screen,
    side: Side,
    /// The selected layer, counted from 0.
    layer: usize,
    merged: bool,
    filter: String,
    /// Each tree that was looked at, as it was left.
    panes: HashMap<View, Pane>,
    /// How many rows a side had when it was last drawn: what a page is.
    height: usize,
    /// How wide the screen was.
    width: usize,
}

impl Explorer {
    fn new(subject: Subject, listed: Listed) -> Self {
        let mut explorer = Self {
            subject,
            listed,
            screen: Screen::Sides,
            side: Side::Layers,
            layer: 0,
            merged: false,
            filter: String::new(),
            panes: HashMap::new(),
            height: 20,
            width: 80,
        };
        explorer.show_tree();
        explorer
    }

    fn view(&self) -> View {
        if self.merged || self.listed.layers.is_empty() { View::Merged } else { View::Layer(self.layer) }
    }

    /// The tree that is shown.
    fn pane(&mut self) -> &mut Pane {
        let (view, listed) = (self.view(), &self.listed);
        self.panes.entry(view).or_insert_with(|| Pane::new(view, listed))
    }

    /// Brings the tree that is to be shown in line with the filter.
    fn show_tree(&mut self) {
        let filter = self.filter.clone();
        self.with_pane(|pane, listed| pane.set_filter(listed, &filter));
    }

    /// Does something with the tree that is shown.
    fn with_pane<T>(&mut self, work: impl FnOnce(&mut Pane, &Listed) -> T) -> T {
        let (view, listed) = (self.view(), &self.listed);
        work(self.panes.entry(view).or_insert_with(|| Pane::new(view, listed)), listed)
    }

    fn key_of_sides(&mut self, key: KeyEvent) -> Next {
        let page = isize::try_from(self.height).unwrap_or(isize::MAX).max(2) - 1;
        match key.code {
            KeyCode::Char('q') => return Next::Leave,
            KeyCode::Esc => self.set_filter(String::new()),
            KeyCode::Up | KeyCode::Char('k') => self.go(-1),
            KeyCode::Down | KeyCode::Char('j') => self.go(1),
            KeyCode::PageUp => self.go(-page),
            KeyCode::PageDown | KeyCode::Char(' ') => self.go(page),
            KeyCode::Home | KeyCode::Char('g') => self.go(isize::MIN),
            KeyCode::End | KeyCode::Char('G') => self.go(isize::MAX),
            KeyCode::Tab | KeyCode::BackTab => {
                self.side = if self.side == Side::Tree { Side::Layers } else { Side::Tree };
            }
            KeyCode::Right | KeyCode::Char('l') | KeyCode::Enter if self.side == Side::Layers => {
                self.side = Side::Tree;
            }
            KeyCode::Right | KeyCode::Char('l') => self.with_pane(Pane::go_in),
            KeyCode::Left | KeyCode::Char('h') if self.side == Side::Tree => self.with_pane(Pane::go_out),
            KeyCode::Enter => self.toggle_or_open(),
            KeyCode::Char('+') => self.with_pane(|pane, listed| pane.set_all_open(listed, true)),
            KeyCode::Char('-') => self.with_pane(|pane, listed| pane.set_all_open(listed, false)),
            KeyCode::Char('/') => self.screen = Screen::Filter(self.filter.clone()),
            KeyCode::Char('m') => {
                self.merged = !self.merged;
                self.show_tree();
            }
            KeyCode::Char('f') => self.open_life(),
            KeyCode::Char('a') => self.open(Report::Anatomy),
            KeyCode::Char('w') => self.open(Report::Wasted),
            KeyCode::Char('y') => self.open(Report::History),
            KeyCode::Char('c') => self.open(Report::Config),
            KeyCode::Char('?') => self.open(Report::Keys),
            _ => {}
        }
        Next::Stay
    }

    /// Moves the selection of the side that has it.
    fn go(&mut self, by: isize) {
        if self.side == Side::Tree {
            self.pane().go(by);
            return;
        }
        let last = self.listed.layers.len().saturating_sub(1);
        self.layer = self.layer.saturating_add_signed(by).min(last);
        self.merged = false;
        self.show_tree();
    }

    fn set_filter(&mut self, filter: String) {
        self.filter = filter;
        self.show_tree();
    }

    fn key_of_filter(&mut self, key: KeyEvent, before: String) {
        match key.code {
            KeyCode::Esc => self.set_filter(before),
            KeyCode::Enter => self.side = Side::Tree,
            code => {
                let mut filter = std::mem::take(&mut self.filter);
                match code {
                    KeyCode::Backspace => drop(filter.pop()),
                    KeyCode::Char('u') if key.modifiers.contains(KeyModifiers::CONTROL) => filter.clear(),
                    KeyCode::Char(letter) if !key.modifiers.contains(KeyModifiers::CONTROL) => {
                        filter.push(letter);
                    }
                    _ => {}
                }
                self.set_filter(filter);
                self.screen = Screen::Filter(before);
            }
        }
    }

    fn key_of_page(&mut self, key: KeyEvent, mut page: Page) {
        let step = self.height.max(2) - 1;
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc | KeyCode::Left | KeyCode::Backspace | KeyCode::Enter => return,
            KeyCode::Up | KeyCode::Char('k') => page.go_up(1),
            KeyCode::Down | KeyCode::Char('j') => page.go_down(1, self.height),
            KeyCode::PageUp => page.go_up(step),
            KeyCode::PageDown | KeyCode::Char(' ') => page.go_down(step, self.height),
            KeyCode::Home | KeyCode::Char('g') => page.go_up(usize::MAX),
            KeyCode::End | KeyCode::Char('G') => page.go_down(usize::MAX, self.height),
            _ => {}
        }
        self.screen = Screen::Page(page);
    }

    /// Opens or closes a directory, or opens the life of anything else.
    fn toggle_or_open(&mut self) {
        if !self.with_pane(Pane::toggle) {
            self.open_life();
        }
    }

    /// Opens the life of the selected file.
    fn open_life(&mut self) {
        let path = self.with_pane(|pane, listed| pane.selected().map(|_| pane.path(listed, pane.at)));
        if let Some(path) = path {
            self.open(Report::Life(path));
        }
    }

    fn open(&mut self, report: Report) {
        let page = pages::of(report, &mut self.subject, &self.listed, self.width);
        self.screen = Screen::Page(page);
    }
}

impl Show for Explorer {
    fn draw(&mut self, frame: &mut Frame<'_>) {
        let area = frame.area();
        (self.width, self.height) = (usize::from(area.width), usize::from(area.height).saturating_sub(4));
        if let Screen::Page(page) = &mut self.screen {
            page.fit(&mut self.subject, &self.listed, self.width, self.height);
        }
        draw::all(self, frame.buffer_mut());
    }

    fn key(&mut self, key: KeyEvent) -> Next {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            match key.code {
                KeyCode::Char('c') => return Next::Leave,
                KeyCode::Char('z') => return Next::Suspend,
                _ => {}
            }
        }
        match std::mem::replace(&mut self.screen, Screen::Sides) {
            Screen::Sides => return self.key_of_sides(key),
            Screen::Filter(before) => self.key_of_filter(key, before),
            Screen::Page(page) => self.key_of_page(key, page),
        }
        Next::Stay
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::find::find;
    use crate::image::write::{Entry, LayoutWriter};
    use crate::report::style::Style;
    use clap::FromArgMatches;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    /// An image of two layers: names of all lengths, and one of them deleted.
    fn explorer(dir: &std::path::Path) -> Explorer {
        let path = dir.join("image");
        let mut writer = LayoutWriter::create(&path).unwrap();
        let long = format!("d/e/f/{}", "long".repeat(50));
        for names in [["a", "d/b", "d/e/ü\u{4f60}", long.as_str()].as_slice(), &["d/.wh.b", "c"]] {
            let fill = |tar: &mut tar::Builder<&mut dyn std::io::Write>| {
                names.iter().try_for_each(|name| {
                    let entry = Entry { name: name.as_bytes(), mode: 0o644, owner: (0, 0), mtime: 1 };
                    entry.file(tar, 1, b"x".as_slice())
                })
            };
            writer.layer(fill).unwrap();
        }
        let architecture = crate::image::Platform::host().architecture;
        writer.finish(serde_json::json!({ "os": "linux", "architecture": architecture }), "x").unwrap();
        let matches = super::super::command().try_get_matches_from(["layers", "x"]).unwrap();
        let subject = Subject {
            typed: "x".into(),
            image: find(path.as_os_str(), dir, None).unwrap(),
            args: super::super::LayersArgs::from_arg_matches(&matches).unwrap(),
            style: Style { colour: true, ..Style::plain() },
            json: false,
            verbose: false,
            bars: false,
            state: dir.to_owned(),
        };
        let listed = subject.list(&subject.image, true).unwrap();
        Explorer::new(subject, listed)
    }

    fn drawn(explorer: &mut Explorer, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| explorer.draw(frame)).unwrap();
        terminal.backend().to_string()
    }

    fn press(explorer: &mut Explorer, keys: &str) {
        for letter in keys.chars() {
            let code = match letter {
                '\t' => KeyCode::Tab,
                '\n' => KeyCode::Enter,
                '\x1b' => KeyCode::Esc,
                letter => KeyCode::Char(letter),
            };
            explorer.key(KeyEvent::from(code));
        }
    }

    #[test]
    fn no_size_is_too_much() {
        let dir = tempfile::tempdir().unwrap();
        let mut explorer = explorer(dir.path());
        for keys in ["", "m", "\tG", "/b", "\na", "qw", "q?", "q\x1bf"] {
            press(&mut explorer, keys);
            for (width, height) in
                (1..130).step_by(7).flat_map(|width| (1..40).step_by(3).map(move |h| (width, h)))
            {
                drawn(&mut explorer, width, height);
            }
        }
    }

    #[test]
    fn a_letter_says_what_a_layer_does() {
        let dir = tempfile::tempdir().unwrap();
        let mut explorer = explorer(dir.path());
        press(&mut explorer, "j");
        let screen = drawn(&mut explorer, 80, 24);
        assert!(screen.contains("D          –      b") && screen.contains("A    1 bytes    c"), "{screen}");
        press(&mut explorer, "m");
        let screen = drawn(&mut explorer, 80, 24);
        assert!(screen.contains("what a container sees") && !screen.contains("D          –"), "{screen}");
    }

    #[test]
    fn escape_in_the_filter_takes_back_what_was_typed() {
        let dir = tempfile::tempdir().unwrap();
        let mut explorer = explorer(dir.path());
        press(&mut explorer, "/d/b\n");
        assert_eq!(explorer.pane().rows.len(), 2);
        press(&mut explorer, "/zzz");
        assert_eq!(explorer.pane().rows.len(), 0);
        press(&mut explorer, "\x1b");
        assert_eq!(explorer.filter, "d/b");
        press(&mut explorer, "\x1b");
        assert!(explorer.filter.is_empty() && explorer.pane().rows.len() > 4);
    }
}
