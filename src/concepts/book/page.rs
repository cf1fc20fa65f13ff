//! A chapter on the screen: headings, prose, lists, tables, code and what is folded, in the width of the terminal.
//!
//! Nothing is lost without colour: code keeps its backticks, a heading its line, an answer its label. What a terminal
//! cannot show, a drawing, is there by its caption.

mod inline;
mod table;

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use super::Chapter;
use crate::report::style::{Glyph, Paint, Style};
use crate::report::wrap;
use inline::Inline;
use table::Table;

/// Where prose begins.
const MARGIN: usize = 1;
/// Where code begins.
const CODE: usize = 3;

/// Which of the folded blocks are unfolded.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unfold {
    /// Answers to the questions.
    pub answers: bool,
    /// Notes for those who teach.
    pub notes: bool,
}

/// The whole page.
pub fn render(chapter: &Chapter, unfold: Unfold, style: &Style) -> String {
    let mut page = Page::new(chapter, unfold, *style);
    let options = Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES | Options::ENABLE_STRIKETHROUGH;
    for event in Parser::new_ext(chapter.text, options) {
        page.take(event);
    }
    page.out
}

/// A list that is open: the number of its next item, if it is numbered.
struct List {
    next: Option<u64>,
}

struct Page {
    style: Style,
    unfold: Unfold,
    name: &'static str,
    out: String,
    inline: Inline,
    lists: Vec<List>,
    /// How deep the text is indented at this place.
    indent: usize,
    /// What stands in front of the next line: the mark of an item.
    mark: Option<String>,
    table: Option<Table>,
    /// The text of the code block that is open.
    code: Option<String>,
    /// How many folded blocks are open, if this one stays folded.
    folded: usize,
    /// Within a caption or summary, whose text is plain HTML.
    heading: Option<HeadingLevel>,
}

impl Page {
    fn new(chapter: &Chapter, unfold: Unfold, style: Style) -> Self {
        Self {
            style,
            unfold,
            name: chapter.name(),
            out: String::new(),
            inline: Inline::default(),
            lists: Vec::new(),
            indent: MARGIN,
            mark: None,
            table: None,
            code: None,
            folded: 0,
            heading: None,
        }
    }

    fn take(&mut self, event: Event<'_>) {
        if let Event::Html(html) = &event {
            self.html(html);
            return;
        }
        if self.folded > 0 {
            return;
        }
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) => match &mut self.code {
                Some(code) => code.push_str(&text),
                None => self.inline.text(&text),
            },
            Event::Code(text) => self.inline.code(&text),
            Event::SoftBreak => self.inline.text(" "),
            Event::HardBreak => self.inline.line_break(),
            Event::Rule => self.line(&"─".repeat(self.style.width - 2 * MARGIN), MARGIN),
            _ => {}
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Heading { level, .. } => self.heading = Some(level),
            Tag::Strong => self.inline.paint(Paint::Bold),
            Tag::Emphasis => self.inline.text("*"),
            Tag::List(first) => self.open_list(first),
            Tag::Item => self.item(),
            Tag::BlockQuote(_) => self.indent += 2,
            Tag::CodeBlock(kind) => self.open_code(&kind),
            Tag::Table(_) => self.table = Some(Table::default()),
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(level) => self.title(level),
            TagEnd::Strong => self.inline.paint(Paint::Plain),
            TagEnd::Emphasis => self.inline.text("*"),
            TagEnd::Paragraph => self.paragraph(true),
            TagEnd::Item => {
                self.paragraph(false);
                self.indent = self.indent.saturating_sub(self.width_of_mark());
            }
            TagEnd::List(_) => self.close_list(),
            TagEnd::BlockQuote(_) => self.indent = self.indent.saturating_sub(2),
            TagEnd::CodeBlock => self.listing(),
            TagEnd::TableCell => {
                let cell = self.inline.take();
                if let Some(table) = &mut self.table {
                    table.cell(cell);
                }
            }
            TagEnd::TableHead | TagEnd::TableRow => {
                if let Some(table) = &mut self.table {
                    table.end_row();
                }
            }
            TagEnd::Table => self.close_table(),
            _ => {}
        }
    }

    fn title(&mut self, level: HeadingLevel) {
        self.heading = None;
        let text = self.inline.take().plain();
        let text = self.style.text(&text).into_owned();
        self.blank();
        let lines = wrap::prose(&text, self.style.width.saturating_sub(2 * MARGIN));
        for line in &lines {
            let line = self.style.paint(Paint::Bold, line);
            self.line(&line, MARGIN);
        }
        let sign = match level {
            HeadingLevel::H1 => "=",
            HeadingLevel::H2 => "-",
            _ => "",
        };
        let width = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
        if !sign.is_empty() {
            self.line(&sign.repeat(width), MARGIN);
        }
        self.blank();
    }

    fn paragraph(&mut self, gap: bool) {
        let text = self.inline.take();
        if text.is_empty() {
            return;
        }
        let width = self.style.width.saturating_sub(self.indent + 1);
        for line in text.lines(width, &self.style) {
            let line = self.style_indent(&line);
            self.raw(&line);
        }
        if gap {
            self.blank();
        }
    }

    /// A line with its indent, or the mark of the item that it begins.
    fn style_indent(&mut self, line: &str) -> String {
        let mark = self.mark.take();
        let lead = mark.unwrap_or_default();
        let gap = self.indent.saturating_sub(lead.chars().count());
        format!("{}{lead}{line}", " ".repeat(gap))
    }

    fn open_list(&mut self, first: Option<u64>) {
        // The text of the item around this list ends here.
        self.paragraph(false);
        self.lists.push(List { next: first });
    }

    fn item(&mut self) {
        let mark = match self.lists.last_mut() {
            Some(List { next: Some(number) }) => {
                *number += 1;
                format!("{:>2}. ", *number - 1)
            }
            _ => "  - ".to_owned(),
        };
        self.indent += mark.chars().count();
        self.mark = Some(mark);
    }

    /// Both marks are equally wide, so that an item can be closed without knowing which it had.
    #[expect(clippy::unused_self, reason = "it belongs to the items of this page")]
    const fn width_of_mark(&self) -> usize {
        4
    }

    fn close_list(&mut self) {
        self.lists.pop();
        if self.lists.is_empty() {
            self.blank();
        }
    }

    fn open_code(&mut self, kind: &CodeBlockKind<'_>) {
        self.paragraph(true);
        self.code = Some(String::new());
        let CodeBlockKind::Fenced(info) = kind else { return };
        let Some(words) = info.strip_prefix("console,") else { return };
        // Whose transcript it is, and on which layout of control groups, belongs to the transcript.
        let said = |word| match word {
            "root" => Some("as root"),
            "user" => Some("as an ordinary user"),
            "v1" => Some("cgroup v1"),
            "v2" => Some("cgroup v2"),
            "hybrid" => Some("cgroup hybrid"),
            "delegated" => Some("in a delegated group"),
            _ => None,
        };
        let note: Vec<&str> = words.split(',').filter_map(said).collect();
        let note = self.style.paint(Paint::Dim, &format!("{}:", note.join(", ")));
        self.line(&note, CODE);
    }

    /// A code block. A transcript that is as wide as the screen moves to its left edge.
    fn listing(&mut self) {
        let code = self.code.take().unwrap_or_default();
        let longest = code.lines().map(|line| line.chars().count()).max().unwrap_or(0);
        let indent = (self.indent - MARGIN + CODE).min(self.style.width.saturating_sub(longest));
        for line in code.lines() {
            let paint = if line.starts_with("$ ") { Paint::Bold } else { Paint::Plain };
            let line = self.style.text(line).into_owned();
            for part in broken(&line, self.style.width.saturating_sub(indent)) {
                let part = self.style.paint(paint, &part);
                self.line(&part, indent);
            }
        }
        self.blank();
    }

    fn close_table(&mut self) {
        let Some(table) = self.table.take() else { return };
        for line in table.lines(self.style.width.saturating_sub(2 * MARGIN), &self.style) {
            self.line(&line, MARGIN);
        }
        self.blank();
    }

    /// Blocks of HTML are what is folded, and drawings, of which the caption is shown.
    fn html(&mut self, html: &str) {
        if self.folded > 0 {
            self.folded += html.matches("<details").count();
            self.folded -= html.matches("</details>").count().min(self.folded);
            return;
        }
        for (class, flag, unfolded) in
            [("answers", "--answers", self.unfold.answers), ("speaker", "--notes", self.unfold.notes)]
        {
            if html.contains("<details") && html.contains(class) && !unfolded {
                self.folded = 1;
                let what = if class == "answers" { "the answers" } else { "notes for those who teach" };
                let glyph = self.style.glyph(Glyph::Dots);
                let text = format!("{glyph} {what}: cutaway book {} {flag}", self.name);
                let text = self.style.paint(Paint::Dim, &text);
                self.line(&text, MARGIN);
                self.blank();
                return;
            }
        }
        for tag in ["figcaption", "summary"] {
            let open = format!("<{tag}>");
            let Some((_, rest)) = html.split_once(&open) else { continue };
            let text = rest.split('<').next().unwrap_or_default().trim();
            let text = if tag == "figcaption" { format!("Drawing: {text}") } else { format!("{text}:") };
            self.inline.text(&text);
            self.paragraph(true);
        }
    }

    fn line(&mut self, line: &str, indent: usize) {
        let line = format!("{}{line}", " ".repeat(indent));
        self.raw(&line);
    }

    fn raw(&mut self, line: &str) {
        self.out.push_str(line.trim_end());
        self.out.push('\n');
    }

    /// An empty line, but never two.
    fn blank(&mut self) {
        if !self.out.is_empty() && !self.out.ends_with("\n\n") {
            self.out.push('\n');
        }
    }
}

/// A line of code that is wider than the screen, broken between words; what follows is indented further.
fn broken(line: &str, width: usize) -> Vec<String> {
    if line.chars().count() <= width {
        return vec![line.to_owned()];
    }
    let indent = line.len() - line.trim_start().len();
    let first = wrap::prose(line, width.saturating_sub(indent));
    let first = first.first().cloned().unwrap_or_default();
    let rest = line.trim_start().get(first.len()..).unwrap_or_default();
    let deeper = " ".repeat(indent + 4);
    let rest =
        wrap::prose(rest, width.saturating_sub(indent + 4)).into_iter().map(|part| deeper.clone() + &part);
    std::iter::once(format!("{}{first}", " ".repeat(indent))).chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &'static str, unfold: Unfold) -> String {
        render(&Chapter { file: "10-uts.md", text }, unfold, &Style::plain())
    }

    #[test]
    fn a_page_has_headings_prose_lists_and_code() {
        let text = "# Title\n\nProse with `code` and **weight**.\n\n- one\n- two\n  - deep\n\n1. first\n\n\
                    ```console,root,v2,terminal\n$ cutaway ns uts\n```\n";
        let expected = " Title\n =====\n\n Prose with `code` and weight.\n\n   - one\n   - two\n       - deep\n\n  \
                        1. first\n\n   as root, cgroup v2:\n   $ cutaway ns uts\n\n";
        assert_eq!(shown(text, Unfold::default()), expected);
    }

    #[test]
    fn what_is_folded_says_how_to_unfold_it() {
        let text = "Question?\n\n<details class=\"answers\">\n<summary>Answers</summary>\n\n- secret\n\n</details>\n\nAfter.\n";
        let folded = shown(text, Unfold::default());
        assert!(folded.contains("cutaway book uts --answers") && !folded.contains("secret"), "{folded}");
        assert!(folded.ends_with(" After.\n\n"), "{folded}");
        let open = shown(text, Unfold { answers: true, notes: false });
        assert!(open.contains(" Answers:\n") && open.contains("- secret"), "{open}");
    }

    #[test]
    fn a_drawing_is_its_caption() {
        let text = "<figure>\n<svg><text>x</text></svg>\n<figcaption>Two names, one kernel.</figcaption>\n</figure>\n";
        assert_eq!(shown(text, Unfold::default()), " Drawing: Two names, one kernel.\n\n");
    }

    #[test]
    fn every_chapter_fits_on_the_screen() {
        for chapter in super::super::CHAPTERS {
            let page = render(chapter, Unfold { answers: true, notes: true }, &Style::plain());
            let wide: Vec<_> = page.lines().filter(|line| line.chars().count() > 80).collect();
            assert!(wide.is_empty(), "{}: {wide:#?}", chapter.file);
        }
    }
}
