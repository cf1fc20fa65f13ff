//! A table on the screen: columns as wide as they need, and where that is too wide, wrapped cells.

use super::inline::Inline;
use crate::report::style::{Paint, Style};

/// What stands between two columns.
const GAP: usize = 2;
/// No column gets narrower than this.
const NARROWEST: usize = 6;

/// A table that is being collected; the first row is its head.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Vec<Inline>>,
    row: Vec<Inline>,
}

impl Table {
    /// The next cell of the row.
    pub fn cell(&mut self, cell: Inline) {
        self.row.push(cell);
    }

    /// The row ends.
    pub fn end_row(&mut self) {
        self.rows.push(std::mem::take(&mut self.row));
    }

    /// Its lines.
    pub fn lines(&self, width: usize, style: &Style) -> Vec<String> {
        let widths = self.widths(width);
        let mut out = Vec::new();
        for (number, row) in self.rows.iter().enumerate() {
            out.extend(row_lines(row, &widths, number == 0, style));
            if number == 0 {
                let rule: Vec<_> = widths.iter().map(|width| "-".repeat(*width)).collect();
                out.push(rule.join(&" ".repeat(GAP)));
            }
        }
        out
    }

    /// The widths of the columns. The widest gives first, down to its longest word.
    fn widths(&self, width: usize) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let most = |size: fn(&Inline) -> usize, column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(size).max().unwrap_or(0)
        };
        let mut widths: Vec<usize> = (0..columns).map(|column| most(Inline::width, column)).collect();
        let least: Vec<usize> =
            (0..columns).map(|column| most(Inline::longest_word, column).max(NARROWEST)).collect();
        let room = width.saturating_sub(GAP * columns.saturating_sub(1));
        while widths.iter().sum::<usize>() > room {
            let widest = (0..columns).filter(|&at| widths[at] > least[at]).max_by_key(|&at| widths[at]);
            let Some(widest) = widest else { break };
            widths[widest] -= 1;
        }
        widths
    }
}

fn row_lines(row: &[Inline], widths: &[usize], head: bool, style: &Style) -> Vec<String> {
    let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| cell.wrapped(*width, style)).collect();
    let height = cells.iter().map(Vec::len).max().unwrap_or(0);
    let mut out = Vec::new();
    for at in 0..height {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(widths) {
            let (text, used) = cell.get(at).cloned().unwrap_or_default();
            let text = if head { style.paint(Paint::Bold, &text) } else { text };
            line.push_str(&text);
            line.push_str(&" ".repeat(width.saturating_sub(used) + GAP));
        }
        out.push(line.trim_end().to_owned());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(text: &str) -> Inline {
        let mut cell = Inline::default();
        cell.text(text);
        cell
    }

    #[test]
    fn the_widest_column_wraps() {
        let mut table = Table::default();
        for row in [["errno", "what it means"], ["EPERM", "the process lacks the privilege"]] {
            row.iter().for_each(|text| table.cell(cell(text)));
            table.end_row();
        }
        let lines = table.lines(26, &Style::plain());
        assert_eq!(
            lines,
            [
                "errno   what it means",
                "-----  -------------------",
                "EPERM  the process lacks",
                "       the privilege"
            ]
            .map(|line| line.replace("errno   ", "errno  "))
        );
    }
}
