//! Bytes that are stored, sent and kept, and that no container sees.

use std::collections::BTreeMap;
use std::io::Write;

use super::page::Page;
use super::{Listed, Subject, record, words};
use crate::error::{Error, Result};
use crate::image::listing::{Mark, Waste};
use crate::image::unpack::shown_whole as shown;
use crate::report::style::{Paint, bytes, count};

/// How many paths are shown without -v.
const ENOUGH: usize = 30;

/// What is wasted at one path.
pub struct Lost {
    /// The path.
    pub path: Vec<u8>,
    /// All of its bytes that cannot be seen.
    pub bytes: u64,
    /// Each version of it.
    pub versions: Vec<Waste>,
}

/// The paths with something wasted, the most first.
pub fn paths(listed: &Listed) -> Vec<Lost> {
    let mut all: BTreeMap<Vec<u8>, Vec<Waste>> = BTreeMap::new();
    for waste in &listed.merged.wasted {
        let path = listed.layers[waste.at.layer as usize].path(waste.at.node);
        all.entry(path).or_default().push(*waste);
    }
    let sum = |versions: &[Waste]| versions.iter().map(|waste| waste.bytes).sum();
    let mut paths: Vec<Lost> =
        all.into_iter().map(|(path, versions)| Lost { path, bytes: sum(&versions), versions }).collect();
    paths.sort_by_key(|path| std::cmp::Reverse(path.bytes));
    paths
}

/// Writes what is wasted, then judges it.
pub fn report(subject: &Subject, listed: &Listed, out: &mut dyn Write) -> Result<()> {
    let paths = paths(listed);
    if subject.json {
        record::wasted(listed, &paths, out)?;
    } else {
        let mut sheet = Page::new(out, subject.style);
        write(subject, listed, &paths, &mut sheet);
        sheet.finish()?;
    }
    judge(subject, listed)
}

/// The report alone.
pub fn page(subject: &Subject, listed: &Listed, page: &mut Page<'_>) {
    write(subject, listed, &paths(listed), page);
}

fn write(subject: &Subject, listed: &Listed, paths: &[Lost], page: &mut Page<'_>) {
    subject.title(page, " --wasted");
    page.prose(
        "A layer cannot take anything out of the layers below it. What it overwrites or deletes stays in them: it is \
         stored, sent and kept, and no container sees it.",
    );
    page.line("");
    let limit = if subject.verbose { usize::MAX } else { ENOUGH };
    for path in paths.iter().take(limit) {
        page.entry(
            &format!(" {:>11}  ", bytes(path.bytes)),
            &format!("/{}", shown(&path.path)),
            Paint::Plain,
        );
        for waste in &path.versions {
            page.row(&" ".repeat(14), &version(waste), Paint::Dim);
        }
    }
    if paths.len() > limit {
        page.line("");
        page.prose(&format!("and {} more (-v shows all)", count(paths.len() - limit, "path")));
    }
    let merged = &listed.merged;
    let (stored, wasted) = (merged.stored, merged.wasted_bytes());
    page.verdict(
        passes(subject, listed),
        &format!(
            "efficiency {:.1} %: {} of {} can be seen",
            shown_score(listed),
            bytes(stored - wasted),
            bytes(stored)
        ),
    );
    page.prose(&format!(
        "efficiency = (bytes of the files of all layers - wasted bytes) / bytes of the files of all layers = \
         ({stored} - {wasted}) / {stored}, unpacked, a file with several hard links counted once",
    ));
}

fn version(waste: &Waste) -> String {
    let how = match waste.how {
        Mark::Deleted => "deleted by",
        Mark::Attributes => "stored again with other attributes by",
        Mark::Same => "stored again, the same, by",
        Mark::Replaced => "replaced by another kind in",
        Mark::Added | Mark::Changed | Mark::Moot | Mark::Passed => "overwritten by",
    };
    format!("{} of layer {}, {how} layer {}", bytes(waste.bytes), waste.at.layer + 1, waste.by + 1)
}

/// The score, never rounded up to one that it does not have.
fn shown_score(listed: &Listed) -> f64 {
    (listed.merged.efficiency() * 10.0).floor() / 10.0
}

fn passes(subject: &Subject, listed: &Listed) -> bool {
    subject.args.fail_under.is_none_or(|least| listed.merged.efficiency() >= least)
}

fn judge(subject: &Subject, listed: &Listed) -> Result<()> {
    match subject.args.fail_under.filter(|_| !passes(subject, listed)) {
        None => Ok(()),
        Some(least) => {
            Err(Error::new(format!("the image is less efficient than --fail-under {least} demands"))
                .rule(format!("its efficiency is {:.1} %", shown_score(listed)))
                .remedy(
                    "create and delete files in the same step; copy files with their final owner and mode",
                ))
        }
    }
}

/// How a version came to be hidden, for the recording.
pub fn how(waste: &Waste) -> &'static str {
    words::verb(waste.how)
}
