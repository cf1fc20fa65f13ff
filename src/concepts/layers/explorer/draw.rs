//! How the explorer looks: cells put into the screen's buffer, whatever its size.
//!
//! ```text
//!  the command that prints the same                          3 layers, 9.4 MB
//! ▸ Layers             │   Layer 2: what it does
//!   1  9.4 MB  …       │ A       12 bytes  ▾ srv/
//!  ▸2  1.2 kB  …       │ D              –    secret
//!                      │
//!  what is selected
//!  keys
//! ```

use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier, Style as Look};

use super::super::{history, tree, words};
use super::pages::Page;
use super::pane::{Pane, View};
use super::{Explorer, Screen, Side};
use crate::image::unpack::list::What;
use crate::image::unpack::shown_whole as shown;
use crate::report::style::{Paint, bytes, count};

/// Smaller screens say so.
const SMALLEST: (u16, u16) = (50, 10);
/// From this width on, a tree shows modes and owners.
const WIDE: usize = 64;
/// The rows of the title and the headings.
const HEAD: usize = 2;

/// A part of the screen to write into.
struct Canvas<'b> {
    buffer: &'b mut Buffer,
    colour: bool,
    unicode: bool,
}

impl Canvas<'_> {
    fn look(&self, paint: Paint) -> Look {
        let colour = |colour| if self.colour { Look::new().fg(colour) } else { Look::new() };
        match paint {
            Paint::Plain => Look::new(),
            Paint::Bold => Look::new().add_modifier(Modifier::BOLD),
            Paint::Dim => Look::new().add_modifier(Modifier::DIM),
            Paint::Good => colour(Color::Green),
            Paint::Bad => colour(Color::Red),
            Paint::Notice => colour(Color::Yellow),
            Paint::Lane(_) => colour(Color::Cyan),
        }
    }

    /// Writes as much of a text as there is room for; gives the column behind it.
    fn put(&mut self, x: usize, y: usize, room: usize, text: &str, look: Look) -> usize {
        let area = self.buffer.area;
        let (Ok(column), Ok(row)) = (u16::try_from(x), u16::try_from(y)) else { return x };
        if column >= area.width || row >= area.height {
            return x;
        }
        let style =
            crate::report::style::Style { unicode: self.unicode, ..crate::report::style::Style::plain() };
        usize::from(self.buffer.set_stringn(column, row, style.text(text), room, look).0)
    }

    /// Shows a row as the selected one.
    fn select(&mut self, x: usize, y: usize, width: usize, has_keys: bool) {
        let modifier = if has_keys { Modifier::REVERSED } else { Modifier::BOLD };
        let fit = |number: usize| u16::try_from(number).unwrap_or(u16::MAX);
        let area = ratatui::layout::Rect::new(fit(x), fit(y), fit(width), 1);
        self.buffer.set_style(area, Look::new().add_modifier(modifier));
    }

    fn sign(&self, unicode: &'static str, ascii: &'static str) -> &'static str {
        if self.unicode { unicode } else { ascii }
    }
}

/// Draws everything.
pub fn all(explorer: &mut Explorer, buffer: &mut Buffer) {
    let style = explorer.subject.style;
    let mut canvas = Canvas { buffer, colour: style.colour, unicode: style.unicode };
    let (width, height) = (canvas.buffer.area.width, canvas.buffer.area.height);
    if width < SMALLEST.0 || height < SMALLEST.1 {
        let text = format!("{}×{} at least; q leaves", SMALLEST.0, SMALLEST.1);
        canvas.put(0, 0, usize::from(width), &text, Look::new());
        return;
    }
    match std::mem::replace(&mut explorer.screen, Screen::Sides) {
        Screen::Page(page) => {
            draw_page(explorer, &page, &mut canvas);
            explorer.screen = Screen::Page(page);
        }
        screen => {
            explorer.screen = screen;
            sides(explorer, &mut canvas);
        }
    }
}

fn title(explorer: &Explorer, command: &str, canvas: &mut Canvas<'_>) {
    let image = &explorer.subject.image;
    let right = format!("{}, {}", count(image.layers.len(), "layer"), bytes(image.layer_bytes()));
    let start = explorer.width.saturating_sub(right.chars().count() + 1);
    let (bold, dim) = (canvas.look(Paint::Bold), canvas.look(Paint::Dim));
    canvas.put(1, 0, start.saturating_sub(3), command, bold);
    canvas.put(start, 0, right.len(), &right, dim);
}

fn draw_page(explorer: &Explorer, page: &Page, canvas: &mut Canvas<'_>) {
    title(explorer, &page.command, canvas);
    let (width, height) = (explorer.width, explorer.height);
    for (at, line) in page.lines.iter().skip(page.top).take(height).enumerate() {
        canvas.put(0, HEAD + at, width, line, Look::new());
    }
    let last = (page.top + height).min(page.lines.len());
    let text = format!("lines {} to {last} of {}", (page.top + 1).min(last), page.lines.len());
    let dim = canvas.look(Paint::Dim);
    canvas.put(1, HEAD + height, width - 1, &text, dim);
    keys(explorer, "↑↓ PgUp PgDn Home End  scroll    q  back", canvas);
}

fn keys(explorer: &Explorer, text: &str, canvas: &mut Canvas<'_>) {
    let bold = canvas.look(Paint::Bold);
    canvas.put(1, HEAD + explorer.height + 1, explorer.width - 1, text, bold);
}

fn sides(explorer: &mut Explorer, canvas: &mut Canvas<'_>) {
    let left = (explorer.width * 2 / 5).clamp(26, 44);
    let command = match explorer.view() {
        View::Layer(layer) => format!("{} --tree {}", explorer.subject.command(), layer + 1),
        View::Merged => format!("{} --tree", explorer.subject.command()),
    };
    title(explorer, &command, canvas);
    let dim = canvas.look(Paint::Dim);
    let bar = canvas.sign("│", "|");
    for y in 1..HEAD + explorer.height {
        canvas.put(left, y, 1, bar, dim);
    }
    headings(explorer, left, canvas);
    layers(explorer, left, canvas);
    let start = left + 1;
    names(explorer, start, canvas);
    selected(explorer, canvas);
    if let Screen::Filter(_) = explorer.screen {
        let text = format!("/{}_   Enter: keep it   Esc: as before", explorer.filter);
        keys(explorer, &text, canvas);
    } else {
        let text = "↑↓ →←  Tab side  / filter  m merged  f life  a y c w reports  ? keys  q quit";
        keys(explorer, text, canvas);
    }
}

fn headings(explorer: &Explorer, left: usize, canvas: &mut Canvas<'_>) {
    let right = match explorer.view() {
        View::Layer(layer) => format!("Layer {}: what it does", layer + 1),
        View::Merged => "Merged: what a container sees".to_owned(),
    };
    let filter = match explorer.filter.as_str() {
        "" => String::new(),
        filter => format!("   only /{filter}"),
    };
    let marker = canvas.sign("▸", ">");
    let sides = [
        (0, left, "Layers, the lowest first".to_owned(), Side::Layers),
        (left + 1, explorer.width, right + &filter, Side::Tree),
    ];
    for (from, to, text, side) in sides {
        let has_keys = explorer.side == side;
        let look = canvas.look(if has_keys { Paint::Bold } else { Paint::Dim });
        let lead = if has_keys { marker } else { " " };
        canvas.put(from, 1, to.saturating_sub(from), &format!("{lead} {text}"), look);
    }
}

/// The layers, and below them, where there is room, what the selected one is.
fn layers(explorer: &Explorer, left: usize, canvas: &mut Canvas<'_>) {
    let about = about_layer(explorer);
    let (all, height) = (explorer.listed.layers.len(), explorer.height);
    let room = if height > about.len() + 4 { height - about.len() - 1 } else { height };
    let top = (explorer.layer + 1).saturating_sub(room);
    let marker = canvas.sign("▸", ">");
    for (row, layer) in (top..all).take(room).enumerate() {
        let is_it = layer == explorer.layer;
        let lead = if is_it { marker } else { " " };
        let size = bytes(explorer.subject.image.layers[layer].descriptor.size);
        let by = history::of_layer(&explorer.subject.image, layer).unwrap_or_default();
        let text = format!("{lead}{:>3} {size:>9}  {by}", layer + 1);
        canvas.put(0, HEAD + row, left, &text, Look::new());
        if is_it && explorer.view() != View::Merged {
            canvas.select(0, HEAD + row, left, explorer.side == Side::Layers);
        }
    }
    if room == height {
        return;
    }
    let dim = canvas.look(Paint::Dim);
    for (row, (label, value)) in about.iter().enumerate() {
        let y = HEAD + room + 1 + row;
        canvas.put(1, y, left - 1, label, dim);
        canvas.put(11, y, left.saturating_sub(11), value, Look::new());
    }
}

fn about_layer(explorer: &Explorer) -> Vec<(&'static str, String)> {
    let at = explorer.layer;
    let Some((layer, tree)) = explorer.subject.image.layers.get(at).zip(explorer.listed.layers.get(at))
    else {
        return Vec::new();
    };
    let hidden = explorer.listed.merged.wasted.iter().filter(|waste| waste.at.layer as usize == at);
    vec![
        ("layer", (at + 1).to_string()),
        ("digest", layer.descriptor.digest.short()),
        ("diff ID", layer.diff_id.short()),
        ("chain ID", layer.chain_id.short()),
        ("archive", format!("{} plain", bytes(tree.archive_bytes))),
        ("files", bytes(tree.file_bytes())),
        ("not seen", format!("{} of them", bytes(hidden.map(|waste| waste.bytes).sum()))),
    ]
}

/// The tree.
fn names(explorer: &mut Explorer, start: usize, canvas: &mut Canvas<'_>) {
    let (height, width) = (explorer.height, explorer.width.saturating_sub(start));
    let has_keys = explorer.side == Side::Tree;
    explorer.pane().scroll(height);
    let view = explorer.view();
    let Some(pane) = explorer.panes.get(&view) else { return };
    if pane.rows.is_empty() {
        let text = if explorer.filter.is_empty() { "nothing" } else { "no name contains this" };
        canvas.put(start + 1, HEAD, width - 1, text, Look::new());
        return;
    }
    for (y, row) in (pane.top..pane.rows.len()).take(height).enumerate() {
        name(explorer, pane, row, (start, HEAD + y, width), canvas);
        if row == pane.at {
            canvas.select(start, HEAD + y, width, has_keys);
        }
    }
}

/// One row of the tree.
fn name(
    explorer: &Explorer,
    pane: &Pane,
    row: usize,
    (x, y, width): (usize, usize, usize),
    canvas: &mut Canvas<'_>,
) {
    let (listed, view) = (&explorer.listed, explorer.view());
    let id = pane.rows[row].id;
    let inode = view.inode(listed, id);
    let sign = view.sign(listed, id);
    let size = match inode.what {
        What::Directory if pane.size(listed, id) == 0 => "–".to_owned(),
        What::File | What::Directory => bytes(pane.size(listed, id)),
        _ => "–".to_owned(),
    };
    let owner =
        if inode.what == What::Whiteout { "–".to_owned() } else { format!("{}:{}", inode.uid, inode.gid) };
    let more = if width >= WIDE { format!("{} {owner:>9} ", words::mode(inode)) } else { String::new() };
    let fold = match inode.what {
        What::Directory if pane.is_open(id) => canvas.sign("▾ ", "- "),
        What::Directory => canvas.sign("▸ ", "+ "),
        _ => "  ",
    };
    let look = canvas.look(match view {
        View::Layer(_) => tree::paint(sign.chars().next().unwrap_or(' ')),
        View::Merged => Paint::Dim,
    });
    let right = x + width;
    let after = canvas.put(x, y, width, &format!("{sign:>3} "), look);
    let after = canvas.put(after, y, right - after, &format!("{more}{size:>10}  "), Look::new());
    // Deep names move to the left rather than out of sight.
    let indent = (pane.rows[row].depth * 2).min(width / 3);
    let text = format!("{:indent$}{fold}{}{}", "", shown(pane.name(listed, row)), words::tail(inode));
    let plain = matches!(view, View::Merged);
    canvas.put(after, y, right.saturating_sub(after), &text, if plain { Look::new() } else { look });
}

/// All about what is selected, in one line.
fn selected(explorer: &Explorer, canvas: &mut Canvas<'_>) {
    let text = match explorer.side {
        Side::Layers => history::of_layer(&explorer.subject.image, explorer.layer).map_or_else(
            || "the history does not tell of this layer".to_owned(),
            |by| format!("made by: {by}"),
        ),
        Side::Tree => about_name(explorer).unwrap_or_default(),
    };
    let dim = canvas.look(Paint::Dim);
    canvas.put(1, HEAD + explorer.height, explorer.width - 1, &text, dim);
}

fn about_name(explorer: &Explorer) -> Option<String> {
    let (listed, view) = (&explorer.listed, explorer.view());
    let pane = explorer.panes.get(&view)?;
    let id = pane.selected()?;
    let inode = view.inode(listed, id);
    let hides = tree::hides(view.change(listed, id), inode);
    let about = match inode.what {
        What::Whiteout => "whiteout".to_owned(),
        _ => format!("{} {}:{}  {}", words::mode(inode), inode.uid, inode.gid, words::time(inode.mtime.0)),
    };
    let path = format!("/{}", shown(&pane.path(listed, pane.at)));
    let room = explorer.width.saturating_sub(about.chars().count() + hides.chars().count() + 4);
    Some(format!("{about}  {}{hides}", end_of(&path, room)))
}

/// The end of a text that is too long, which says more of a path than its beginning.
fn end_of(text: &str, room: usize) -> String {
    let size = text.chars().count();
    if size <= room {
        return text.to_owned();
    }
    let cut = size - room.saturating_sub(1);
    std::iter::once('…').chain(text.chars().skip(cut)).collect()
}
