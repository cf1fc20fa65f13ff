//! Two images compared: by layer, and by what containers of them would see.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;

use super::page::Page;
use super::{Listed, Subject, file, record, words};
use crate::concepts::Stage;
use crate::error::Result;
use crate::image::find::find;
use crate::image::listing::merge::{Spot, inode};
use crate::image::source::Image;
use crate::image::unpack::list::Inode;
use crate::image::unpack::shown_whole as shown;
use crate::report::style::{Paint, bytes, thousands};

/// One path in two images.
pub struct Difference {
    /// The path.
    pub path: Vec<u8>,
    /// What the one has.
    pub one: Option<Inode>,
    /// What the other has.
    pub other: Option<Inode>,
    /// In what they differ; nothing but time if this is empty.
    pub what: Vec<String>,
}

/// The comparison, as a stage.
pub fn stage(subject: Subject) -> Result<Stage> {
    let typed = subject.args.diff.clone().unwrap_or_default();
    let other = find(&typed, &subject.state, subject.args.platform.as_deref())?;
    Ok(Stage::Stream(Box::new(move |out| report(&subject, &other, out))))
}

fn report(subject: &Subject, other: &Image, out: &mut dyn Write) -> Result<()> {
    let one = subject.list(&subject.image, true)?;
    let two = subject.list(other, true)?;
    let differences = differences(&one, &two);
    if subject.json {
        return record::differences(&subject.image, other, &differences, out);
    }
    let mut page = Page::new(out, subject.style);
    let typed = subject.args.diff.clone().unwrap_or_default();
    subject.title(&mut page, &format!(" --diff {}", typed.display()));
    page.line(" - only in the first    + only in the second    ~ in both, but not the same");
    layers(&subject.image, other, &mut page);
    trees(&differences, &mut page);
    page.finish()
}

/// The layers side by side.
fn layers(one: &Image, other: &Image, page: &mut Page<'_>) {
    page.subheading("By layer");
    let same = shared(one, other);
    let most = one.layers.len().max(other.layers.len());
    for at in 0..most {
        let lead = |sign: char| format!(" {sign} layer {:<4} ", at + 1);
        if at < same {
            page.row(
                &lead('='),
                &format!("the same: chain ID sha256:{}", one.layers[at].chain_id.short()),
                Paint::Dim,
            );
            continue;
        }
        for (sign, image, counterpart) in [('-', one, other), ('+', other, one)] {
            let Some(layer) = image.layers.get(at) else { continue };
            let also = counterpart.layers.iter().position(|other| other.diff_id == layer.diff_id);
            let also =
                also.map_or(String::new(), |at| format!(", the same archive as layer {} there", at + 1));
            let text =
                format!("{}, diff ID sha256:{}{also}", bytes(layer.descriptor.size), layer.diff_id.short());
            page.row(&lead(sign), &text, Paint::Plain);
        }
    }
}

/// How many layers from below are the same, with everything below them.
pub fn shared(one: &Image, other: &Image) -> usize {
    let pairs = one.layers.iter().zip(&other.layers);
    pairs.take_while(|(one, other)| one.chain_id == other.chain_id).count()
}

fn trees(differences: &[Difference], page: &mut Page<'_>) {
    page.subheading("By merged tree");
    let (mut removed, mut added, mut changed, mut touched) = (0, 0, 0, 0);
    for difference in differences {
        let (sign, kind, text) = match (&difference.one, &difference.other) {
            (Some(one), None) => ('-', one, String::new()),
            (None, Some(other)) => ('+', other, String::new()),
            (Some(_), Some(_)) if difference.what.is_empty() => {
                touched += 1;
                continue;
            }
            (Some(one), Some(_)) => ('~', one, format!("  ({})", difference.what.join("; "))),
            (None, None) => continue,
        };
        let (counter, paint) = match sign {
            '-' => (&mut removed, Paint::Bad),
            '+' => (&mut added, Paint::Good),
            _ => (&mut changed, Paint::Notice),
        };
        *counter += 1;
        let tail = if sign == '~' { String::new() } else { words::tail(kind) };
        page.entry(&format!(" {sign} "), &format!("/{}{tail}{text}", shown(&difference.path)), paint);
    }
    let sums = [removed, added, changed, touched].map(thousands);
    page.summary(&format!(
        "- {}  + {}  ~ {}, and {} that differ in nothing but their time",
        sums[0], sums[1], sums[2], sums[3]
    ));
}

/// Every path that is not the same in both. Both trees are gone through side by side, in the order of their names.
fn differences(one: &Listed, other: &Listed) -> Vec<Difference> {
    let mut all = Vec::new();
    let mut pending: Vec<(Vec<u8>, Option<&Spot>, Option<&Spot>)> =
        vec![(Vec::new(), one.merged.spots.first(), other.merged.spots.first())];
    while let Some((path, left, right)) = pending.pop() {
        if !path.is_empty() {
            all.extend(difference(
                &path,
                left.map(|spot| seen(one, spot)),
                right.map(|spot| seen(other, spot)),
            ));
        }
        let names = |spot: Option<&Spot>| -> BTreeSet<Arc<[u8]>> {
            spot.map(|spot| spot.children.keys().cloned().collect()).unwrap_or_default()
        };
        let both = &names(left) | &names(right);
        for name in both.into_iter().rev() {
            let below = if path.is_empty() { name.to_vec() } else { [&path, &*name].join(&b'/') };
            pending.push((below, child(one, left, &name), child(other, right, &name)));
        }
    }
    all
}

fn difference(path: &[u8], one: Option<&Inode>, other: Option<&Inode>) -> Option<Difference> {
    let what = match (one, other) {
        (Some(one), Some(other)) => {
            let what = file::differences(one, other);
            if what.is_empty() && one.mtime == other.mtime {
                return None;
            }
            what
        }
        _ => Vec::new(),
    };
    Some(Difference { path: path.to_vec(), one: one.cloned(), other: other.cloned(), what })
}

fn child<'a>(listed: &'a Listed, spot: Option<&Spot>, name: &[u8]) -> Option<&'a Spot> {
    let child = spot?.children.get(name)?;
    listed.merged.spots.get(*child as usize)
}

fn seen<'a>(listed: &'a Listed, spot: &Spot) -> &'a Inode {
    inode(&listed.layers, spot.attributes)
}
