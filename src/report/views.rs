//! The directories of an overlay on the screen: one row for each path, lower, upper and merged side by side.
//!
//! It is apart from other state because three views of one path are compared across, not down. A row that changed
//! is shown as it was and as it is.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::lanes::indented;
use super::state;
use super::style::{Glyph, Paint, Style, bytes};

/// More rows than this are shown with `-v` only.
const MOST: usize = 14;
const INDENT: usize = 6;
/// Names wider than this have a line for themselves.
const WIDEST_NAME: usize = 14;
/// The columns, as the snapshot names them.
const COLUMNS: [&str; 3] = ["lower", "upper", "merged"];
/// Smaller files take up a block, whatever their size: that says nothing.
const BLOCK: u64 = 4096;
/// Sizes from here on are told in larger units.
const LARGE: u64 = 10_000;

/// Whether a snapshot is one of these.
#[must_use]
pub fn is_one(value: &Json) -> bool {
    value.get("rows").is_some_and(Json::is_array) && value.get("work").is_some()
}

/// What changed, row by row.
#[must_use]
pub fn changes(heading: &str, before: &Json, after: &Json, style: &Style, whole: bool) -> String {
    let (was, is) = (by_path(before), by_path(after));
    let mut paths: Vec<&str> = was.keys().chain(is.keys()).copied().collect();
    paths.sort_unstable();
    paths.dedup();
    let changed: Vec<&str> = paths.into_iter().filter(|path| was.get(path) != is.get(path)).collect();
    if changed.is_empty() {
        let line = state::said(heading, "unchanged", style);
        return if whole { line + &snapshot(heading, after, style, true) } else { line };
    }
    let table = Table::new(style, changed.iter().copied());
    let most = if whole { usize::MAX } else { MOST };
    let mut out = table.head(heading);
    for path in changed.iter().take(most) {
        for (sign, paint, row) in [("-", Paint::Notice, was.get(path)), ("+", Paint::Good, is.get(path))] {
            out.extend(row.filter(|row| has_any(row)).map(|row| table.row(sign, paint, path, row)));
        }
    }
    out.push_str(&table.rest(changed.len(), most));
    if whole {
        out.push_str(&snapshot(&format!("{heading}, the whole"), after, style, true));
    }
    out
}

/// Every row.
#[must_use]
pub fn snapshot(heading: &str, value: &Json, style: &Style, whole: bool) -> String {
    let rows = by_path(value);
    let most = if whole { usize::MAX } else { MOST };
    let table = Table::new(style, rows.keys().copied());
    let mut out = table.head(heading);
    for (path, row) in rows.iter().take(most) {
        out.push_str(&table.row(" ", Paint::Plain, path, row));
    }
    out.push_str(&table.rest(rows.len(), most));
    out.push_str(&table.work(value));
    out
}

fn by_path(value: &Json) -> BTreeMap<&str, &Json> {
    let rows = value["rows"].as_array().into_iter().flatten();
    rows.filter_map(|row| Some((row["path"].as_str()?, row))).collect()
}

fn has_any(row: &Json) -> bool {
    COLUMNS.iter().any(|column| !row[*column].is_null())
}

/// The widths of a table.
struct Table<'a> {
    style: &'a Style,
    name: usize,
    column: usize,
}

impl<'a> Table<'a> {
    fn new<'b>(style: &'a Style, names: impl Iterator<Item = &'b str>) -> Self {
        let name = names.map(|name| name.chars().count()).max().unwrap_or(0).min(WIDEST_NAME);
        let column = style.width.saturating_sub(INDENT + 2 + name + 2) / COLUMNS.len();
        Self { style, name, column }
    }

    /// Where the first column begins.
    fn left(&self) -> usize {
        INDENT + 2 + self.name + 2
    }

    fn head(&self, heading: &str) -> String {
        let titles = self.across(&COLUMNS.map(str::to_owned), Paint::Dim);
        state::head(heading, self.style) + &format!("{:left$}{titles}\n", "", left = self.left())
    }

    /// Cells next to each other.
    fn across(&self, cells: &[String; 3], paint: Paint) -> String {
        let mut out = String::new();
        for (index, cell) in cells.iter().enumerate() {
            let cell = self.style.text(cell);
            let used = cell.chars().count();
            out.push_str(&self.style.paint(paint, &cell));
            if index + 1 < cells.len() {
                out.push_str(&" ".repeat(self.column.saturating_sub(used).max(2)));
            }
        }
        out.truncate(out.trim_end().len());
        out
    }

    fn row(&self, sign: &str, paint: Paint, path: &str, row: &Json) -> String {
        let style = self.style;
        let name = style.text(path).into_owned();
        let mut out = format!("{:INDENT$}{} {name}", "", style.paint(paint, sign));
        let used = name.chars().count();
        if used > self.name {
            out.push('\n');
            out.push_str(&" ".repeat(self.left()));
        } else {
            out.push_str(&" ".repeat(self.name - used + 2));
        }
        let cells = COLUMNS.map(|column| cell(&row[column], style));
        let lines = cells.iter().map(Vec::len).max().unwrap_or(0);
        for line in 0..lines {
            let across = cells.each_ref().map(|cell| cell.get(line).cloned().unwrap_or_default());
            if line > 0 {
                out.push_str(&" ".repeat(self.left()));
            }
            out.push_str(&self.across(&across, if line == 0 { Paint::Plain } else { Paint::Dim }));
            out.push('\n');
        }
        // A row of a path that is nowhere has no line of its own.
        if lines == 0 {
            out.truncate(out.trim_end().len());
            out.push('\n');
        }
        for column in COLUMNS {
            out.push_str(&self.notes(column, &row[column]));
        }
        out
    }

    /// The attributes of a file, on a line below its row.
    fn notes(&self, column: &str, cell: &Json) -> String {
        let Some(notes) = cell["notes"].as_object() else { return String::new() };
        let one = |(name, value): (&String, &Json)| format!("{name}={}", value.as_str().unwrap_or_default());
        let text = format!("{column}: {}", notes.iter().map(one).collect::<Vec<_>>().join(", "));
        indented(&text, self.left(), Paint::Dim, self.style)
    }

    fn work(&self, value: &Json) -> String {
        let all = value["work"].as_array().into_iter().flatten();
        let one = |entry: &Json| {
            let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
            format!("{} ({} #{})", text("path"), text("mode"), entry["inode"])
        };
        let all: Vec<_> = all.map(one).collect();
        let text = if all.is_empty() { "nothing".to_owned() } else { all.join(", ") };
        indented(&format!("in the work directory: {text}"), INDENT + 2, Paint::Dim, self.style)
    }

    fn rest(&self, total: usize, most: usize) -> String {
        match total.checked_sub(most) {
            None | Some(0) => String::new(),
            Some(more) => {
                let text = format!("{} {more} more; -v shows all", self.style.glyph(Glyph::Dots));
                format!("{:INDENT$}  {}\n", "", self.style.paint(Paint::Dim, &text))
            }
        }
    }
}

/// The lines of a cell: mode and size, inode number, what else is worth a line.
fn cell(cell: &Json, style: &Style) -> Vec<String> {
    let Some(mode) = cell["mode"].as_str() else { return vec![style.glyph(Glyph::Dash).to_owned()] };
    let number = |name: &str| cell[name].as_u64();
    let first = match (cell["device"].as_str(), number("size")) {
        (Some(device), _) => format!("{mode} {device}"),
        (None, Some(size)) => format!("{mode} {}", short(size)),
        (None, None) => mode.to_owned(),
    };
    let inode = number("inode").unwrap_or_default();
    let names = number("names").map(|names| format!(" {names} names")).unwrap_or_default();
    let mut lines = vec![first, format!("#{inode}{names}")];
    if let (Some(size), Some(disk)) = (number("size"), number("disk"))
        && size > BLOCK
    {
        lines.push(format!("{} on disk", short(disk)));
    }
    lines.extend(number("layer").map(|layer| format!("in layer {layer}")));
    lines
}

fn short(size: u64) -> String {
    if size < LARGE { format!("{size} B") } else { bytes(size) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn file(inode: u64) -> Json {
        json!({ "mode": "-rw-r--r--", "size": 12, "disk": 4096, "inode": inode })
    }

    fn value(rows: &[Json]) -> Json {
        json!({ "rows": rows, "work": [{ "path": "work", "mode": "d---------", "inode": 9 }] })
    }

    #[test]
    fn three_views_stand_side_by_side() {
        let one = value(&[json!({ "path": "motd", "lower": file(7), "upper": null, "merged": file(7) })]);
        let expected = "      views, seen by child
              lower                 upper                 merged
        motd  -rw-r--r-- 12 B       –                     -rw-r--r-- 12 B
              #7                                          #7
        in the work directory: work (d--------- #9)
";
        assert_eq!(snapshot("views, seen by child", &one, &Style::plain(), false), expected);
    }

    #[test]
    fn a_row_that_changed_is_shown_as_it_was_and_as_it_is() {
        let before = value(&[json!({ "path": "motd", "lower": file(7), "upper": null, "merged": file(7) })]);
        let whiteout = json!({ "mode": "c---------", "device": "0:0", "disk": 0, "inode": 8 });
        let row = json!({ "path": "motd", "lower": file(7), "upper": whiteout, "merged": null });
        let text = changes("views", &before, &value(&[row]), &Style::plain(), false);
        let expected = "      views
              lower                 upper                 merged
      - motd  -rw-r--r-- 12 B       –                     -rw-r--r-- 12 B
              #7                                          #7
      + motd  -rw-r--r-- 12 B       c--------- 0:0        –
              #7                    #8
";
        assert_eq!(text, expected);
        let same = changes("views", &before, &before, &Style::plain(), false);
        assert_eq!(same, "      views: unchanged\n");
    }

    #[test]
    fn disk_use_and_attributes_are_told_where_they_say_something() {
        let big = json!({ "mode": "-rw-------", "size": 1_048_576, "disk": 0, "inode": 5, "layer": 2, "names": 2,
            "notes": { "trusted.overlay.metacopy": "(empty)" } });
        let row = json!({ "path": "a/long/path/of/a/file", "lower": null, "upper": big, "merged": null });
        let text = snapshot("views", &value(&[row]), &Style::plain(), false);
        for part in
            ["a/long/path/of/a/file\n", "-rw------- 1.0 MB", "#5 2 names", "0 B on disk", "in layer 2"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.contains("upper: trusted.overlay.metacopy=(empty)"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}
