//! The history of an image: the steps of its config, each with its layer if it made one.

use super::Subject;
use super::page::Page;
use crate::image::config::History;
use crate::image::source::Image;
use crate::report::style::{Paint, bytes};

/// What the history is.
pub const WHY: &str = "Steps as the builder wrote them down; nothing proves them. A step without a layer has changed \
                       the config only. Where docker history prints <missing>, nothing is missing: old builders kept \
                       an image for each step, whose ID stood there; today only the last step has one.";

/// Each step with its layer, counted from 0. Layers go to the steps that are not empty, in their order.
pub fn paired(image: &Image) -> Vec<(Option<usize>, Option<&History>)> {
    let mut next = 0;
    let mut all = Vec::new();
    for step in &image.config.history {
        let layer = (!step.empty_layer).then_some(next);
        next += usize::from(!step.empty_layer);
        all.push((layer, Some(step)));
    }
    all.extend((next..image.layers.len()).map(|layer| (Some(layer), None)));
    all
}

/// What made a layer, in one line.
pub fn of_layer(image: &Image, at: usize) -> Option<String> {
    let pairs = paired(image);
    let step = pairs.into_iter().find(|(layer, _)| *layer == Some(at))?.1?;
    step.created_by.clone().or_else(|| step.comment.clone()).map(|text| shortened(&text))
}

/// One line of at most a hundred letters.
fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= 100 { line } else { line.chars().take(99).chain(['…']).collect() }
}

/// The history alone, whole.
pub fn page(subject: &Subject, page: &mut Page<'_>) {
    subject.title(page, " --history");
    page.prose(WHY);
    page.line("");
    table(subject, page, true);
}

/// The steps as a table, the first first.
pub fn table(subject: &Subject, page: &mut Page<'_>, whole: bool) {
    let image = &subject.image;
    if image.config.history.is_empty() {
        page.prose("It has none.");
        return;
    }
    page.row("    layer  size       made                  ", "by", Paint::Dim);
    for (layer, step) in paired(image) {
        let number = layer.map_or("–".to_owned(), |layer| (layer + 1).to_string());
        let size = layer.map_or("empty".to_owned(), |layer| bytes(image.layers[layer].descriptor.size));
        let made = step.and_then(|step| step.created.as_deref()).unwrap_or("–");
        let made: String = made.chars().take(19).collect();
        let cells = format!("    {number:<5}  {size:<9}  {made:<20}  ");
        let text = match step {
            None => "(the history does not tell of this layer)".to_owned(),
            Some(step) => told(step, whole),
        };
        page.row(&cells, &text, Paint::Plain);
    }
}

fn told(step: &History, whole: bool) -> String {
    let by = step.created_by.as_deref().unwrap_or("–");
    let text = match step.comment.as_deref().filter(|comment| !comment.is_empty()) {
        Some(comment) => format!("{by} ({comment})"),
        None => by.to_owned(),
    };
    if whole { text } else { shortened(&text) }
}
