//! A chapter as a value: its Markdown, and the facts that stand at its beginning.

use serde_json::{Value as Json, json};

/// A page of the book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chapter {
    /// The file below `chapters/`: `10-uts.md`.
    pub file: &'static str,
    /// Its Markdown, listings included.
    pub text: &'static str,
}

impl Chapter {
    /// Its number, if it is one of the numbered chapters.
    #[must_use]
    pub fn number(&self) -> Option<u8> {
        self.file.split_once('-')?.0.parse().ok()
    }

    /// The digits of its number: `03`; empty for other pages.
    #[must_use]
    pub fn digits(&self) -> &'static str {
        self.file.split_once('-').filter(|_| self.number().is_some()).map_or("", |(digits, _)| digits)
    }

    /// The commands that the line of facts names, in words and without `cutaway`, in teaching order.
    #[must_use]
    pub fn commands(&self) -> Vec<Vec<&'static str>> {
        let facts = self.text.lines().nth(2).filter(|_| self.number().is_some()).unwrap_or_default();
        let quoted = facts.split('`').skip(1).step_by(2);
        quoted.filter_map(|text| Some(text.strip_prefix("cutaway ")?.split(' ').collect())).collect()
    }

    /// What it is called on the command line: `uts`, `glossary`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        let stem = self.file.trim_end_matches(".md");
        match (self.number(), stem.split_once('-')) {
            (Some(_), Some((_, name))) => name,
            _ => stem,
        }
    }

    /// Its heading, without the number that is repeated there.
    #[must_use]
    pub fn title(&self) -> String {
        let first = self.text.lines().find_map(|line| line.strip_prefix("# ")).unwrap_or(self.file);
        let title = match (self.number(), first.split_once(" · ")) {
            (Some(_), Some((_, title))) => title,
            _ => first,
        };
        title.replace('`', "")
    }

    /// How long it takes, as the paragraph below the heading says: `**25 minutes** · …`.
    #[must_use]
    pub fn minutes(&self) -> Option<u32> {
        let facts = self.text.lines().find_map(|line| line.strip_prefix("**"))?;
        facts.split_once(" minutes**")?.0.parse().ok()
    }

    /// The facts for programs.
    #[must_use]
    pub fn record(&self) -> Json {
        json!({
            "number": self.number(), "name": self.name(), "title": self.title(), "minutes": self.minutes(),
            "file": self.file,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_facts_are_read_from_the_beginning() {
        let chapter = Chapter { file: "10-uts.md", text: "# 10 · UTS: `names`\n\n**25 minutes** · x\n" };
        assert_eq!((chapter.number(), chapter.name()), (Some(10), "uts"));
        assert_eq!((chapter.title().as_str(), chapter.minutes()), ("UTS: names", Some(25)));
        let text = "# 24 · CPU\n\n**40 minutes** · `cutaway cgroup cpu`, `cutaway run -v A:B` · as `root`\n";
        let chapter = Chapter { file: "04-cpu.md", text };
        assert_eq!(chapter.digits(), "04");
        assert_eq!(chapter.commands(), [vec!["cgroup", "cpu"], vec!["run", "-v", "A:B"]]);
        let page = Chapter { file: "glossary.md", text: "# Glossary\n" };
        assert_eq!((page.number(), page.name(), page.minutes()), (None, "glossary", None));
        assert_eq!((page.digits(), page.commands().len()), ("", 0));
        let page = Chapter { file: "system-calls.md", text: "# System calls\n" };
        assert_eq!((page.number(), page.name()), (None, "system-calls"));
    }
}
