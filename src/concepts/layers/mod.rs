//! `cutaway layers`: an image opened up, from its index to the last file of its last layer.
//!
//! Reports, each in its file: the documents and layers in the order in which they lead to each other ([`anatomy`]),
//! the history ([`history`]), the tree of a layer or of all ([`tree`]), the life of one file ([`file`]), bytes that
//! nobody sees ([`wasted`]), and two images compared ([`diff`]). [`record`] has the same as JSON, [`explorer`] shows it
//! on the whole screen. Only `--unpack` and `--extract -o FILE` change anything: they are plans ([`deeds`]).

mod anatomy;
mod deeds;
mod diff;
mod explorer;
mod file;
mod history;
mod record;
mod tree;
mod wasted;
mod words;

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::PathBuf;

use clap::{ArgGroup, ArgMatches, Args, FromArgMatches};

pub(super) use super::common::page;
use super::limits::LimitArgs;
use super::{Concept, Context, Stage};
use crate::error::{Error, Result, exit};
use crate::image::find::find;
use crate::image::listing::{self, Merged};
use crate::image::source::Image;
use crate::image::store::{self, Progress};
use crate::image::unpack::ListOptions;
use crate::image::unpack::list::Tree;
use crate::report::gauge::Gauge;
use crate::report::style::Style;
use page::Page;

/// The concept.
pub const CONCEPT: Concept =
    Concept { name: "layers", command, stages: &[layers, deeds::hint], failure: exit::FAILED };

#[derive(Debug, Clone, Args)]
#[expect(clippy::option_option, reason = "clap's type for a flag whose value may be left out")]
#[command(group = ArgGroup::new("view").multiple(false))]
struct LayersArgs {
    /// A path (./dir, image.tar, image.tar:TAG, oci:DIR:TAG) or the name of an image in the store
    #[arg(value_name = "IMAGE")]
    image: Option<OsString>,
    /// The files of one layer with what it does to each, or without LAYER those of all layers merged
    #[arg(long, value_name = "LAYER", num_args = 0..=1, group = "view")]
    tree: Option<Option<OsString>>,
    /// The life of one file, layer by layer
    #[arg(long, value_name = "PATH", group = "view")]
    file: Option<OsString>,
    /// The content of one file of one layer, also of one that a later layer deletes
    #[arg(long, value_name = "LAYER:PATH", group = "view")]
    extract: Option<OsString>,
    /// Where --extract writes to: a new file, or - for stdout
    #[arg(short, long, value_name = "FILE|-", requires = "extract")]
    output: Option<PathBuf>,
    /// The bytes that are stored and that no container sees
    #[arg(long, group = "view")]
    wasted: bool,
    /// Exit with 1 if less than this percentage of the stored bytes can be seen
    #[arg(long, value_name = "PERCENT", requires = "wasted", value_parser = percentage)]
    fail_under: Option<f64>,
    /// Compare with another image, by layer and by merged tree
    #[arg(long, value_name = "OTHER", group = "view")]
    diff: Option<OsString>,
    /// The steps that made the image, with their layers
    #[arg(long, group = "view")]
    history: bool,
    /// The bytes of the config
    #[arg(long, group = "view")]
    config: bool,
    /// The bytes of the manifest
    #[arg(long, group = "view")]
    manifest: bool,
    /// Unpack each layer to a directory below DIR that overlayfs can stack
    #[arg(long, value_name = "DIR", group = "view")]
    unpack: Option<PathBuf>,
    /// Look through the image on the whole screen: layers, trees, reports
    #[arg(long, group = "view")]
    tui: bool,
    /// The image for this platform, where there are several
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<String>,
    #[command(flatten)]
    limits: LimitArgs,
}

fn command() -> clap::Command {
    // Said after the arguments: those that are shared bring words of their own.
    LayersArgs::augment_args(clap::Command::new("layers"))
        .about("Open an image: its documents, layers, files and history")
        .long_about(
            "Opens an image and tells what it is made of: index, manifest, config and layers, each with the \
             digest that its bytes really have. The tree of each layer shows what it adds, changes and hides, \
             a file's life where it came from, and --extract that deleted is not gone. Nothing is loaded.",
        )
        .override_usage("cutaway layers [OPTIONS] <IMAGE>")
        .arg_required_else_help(true)
}

fn percentage(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "it is not a number".to_owned())?;
    if (0.0..=100.0).contains(&number) { Ok(number) } else { Err("it is not between 0 and 100".to_owned()) }
}

fn parse(matches: &ArgMatches) -> Result<LayersArgs> {
    let mut args = LayersArgs::from_arg_matches(matches)
        .map_err(|error| Error::new(error.to_string()).exit(exit::USAGE))?;
    // `--tree IMAGE`: what stands behind the flag is no layer, or there would be no image.
    if args.image.is_none() {
        args.image = args.tree.as_mut().and_then(Option::take);
    }
    Ok(args)
}

/// An image with what was asked of it.
struct Subject {
    /// As the user typed it.
    typed: OsString,
    image: Image,
    args: LayersArgs,
    style: Style,
    json: bool,
    verbose: bool,
    /// Whether reading that takes long has a bar.
    bars: bool,
    state: PathBuf,
}

/// Shows how far the reading is.
struct Watch(Option<Gauge>);

impl Progress for Watch {
    fn event(&self, event: &store::Event<'_>) {
        match (&self.0, event) {
            (Some(gauge), store::Event::Planned { bytes }) => gauge.expect(*bytes),
            (Some(gauge), store::Event::Read { bytes, .. }) => gauge.add(*bytes),
            _ => {}
        }
    }
}

/// An image with its layers listed and merged.
struct Listed {
    layers: Vec<Tree>,
    merged: Merged,
}

fn layers(matches: &ArgMatches, context: &Context) -> Result<Stage> {
    let args = parse(matches)?;
    let typed = args.image.clone().ok_or_else(|| {
        Error::new("no image is named")
            .remedy("cutaway layers IMAGE, such as demo or ./image.tar")
            .exit(exit::USAGE)
    })?;
    let subject = Subject {
        image: find(&typed, &context.state, args.platform.as_deref())?,
        typed,
        args,
        style: context.style,
        json: context.json,
        verbose: context.verbose,
        bars: context.bars,
        state: context.state.clone(),
    };
    if subject.args.unpack.is_some() {
        return deeds::unpack(&subject);
    }
    if subject.args.extract.is_some() {
        return deeds::extract(subject);
    }
    if subject.args.diff.is_some() {
        return diff::stage(subject);
    }
    if subject.args.tui {
        return explorer::stage(subject, context.explain);
    }
    Ok(Stage::Stream(Box::new(move |out| report(&subject, out))))
}

/// The reports about one image.
fn report(subject: &Subject, out: &mut dyn Write) -> Result<()> {
    let args = &subject.args;
    if args.config || args.manifest {
        let document = if args.config { &subject.image.config_document } else { &subject.image.manifest };
        let written = out.write_all(&document.bytes);
        return written.map_err(|cause| Error::io("could not write the document", &cause));
    }
    if args.history && !subject.json {
        let mut page = Page::new(out, subject.style);
        history::page(subject, &mut page);
        return page.finish();
    }
    if args.history {
        return record::history(&subject.image, out);
    }
    // Whether a file was changed or only stored again takes a digest of its content; the anatomy does not say.
    let contents = subject.json || args.tree.is_some() || args.file.is_some() || args.wasted;
    // What is wrong with the command line is said before the layers are read.
    let layer = args.tree.as_ref().and_then(Option::as_ref);
    let layer = layer.map(|typed| layer_of(&subject.image, typed)).transpose()?;
    let listed = subject.list(&subject.image, contents)?;
    if let Some(path) = &args.file {
        return file::report(subject, &listed, path, out);
    }
    if args.tree.is_some() {
        return tree::report(subject, &listed, layer, out);
    }
    if args.wasted {
        return wasted::report(subject, &listed, out);
    }
    anatomy::report(subject, &listed, out)
}

impl Subject {
    /// Reads all layers of an image.
    fn list(&self, image: &Image, contents: bool) -> Result<Listed> {
        let options = ListOptions { limits: self.args.limits.limits(), contents };
        let watch = Watch(self.bars.then(|| Gauge::of_bytes("reading the layers", self.style)));
        let layers = listing::read(image, &options, &watch)?;
        let merged = Merged::of(&layers);
        Ok(Listed { layers, merged })
    }

    /// The command as it was typed up to the image, for hints.
    fn command(&self) -> String {
        let platform = self.args.platform.as_ref().map(|it| format!(" --platform {it}")).unwrap_or_default();
        format!("cutaway layers {}{platform}", self.typed.display())
    }

    fn title(&self, page: &mut Page<'_>, flags: &str) {
        let count = crate::report::style::count(self.image.layers.len(), "layer");
        page.title(&format!("{}{flags}", self.command()), &format!("chapter 7 · {count}"));
    }
}

/// The layer that is meant, counted from 0: its number, or the beginning of its digest or diff ID.
fn layer_of(image: &Image, typed: &OsStr) -> Result<usize> {
    let text = typed.to_string_lossy();
    let count = image.layers.len();
    if let Ok(number) = text.parse::<usize>()
        && (1..=count).contains(&number)
    {
        return Ok(number - 1);
    }
    let start = text.strip_prefix("sha256:").unwrap_or(&text);
    let is_it = |layer: &crate::image::Layer| {
        [layer.descriptor.digest, layer.diff_id].iter().any(|digest| digest.hex().starts_with(start))
    };
    let found: Vec<usize> = (0..count).filter(|&at| start.len() >= 6 && is_it(&image.layers[at])).collect();
    match found[..] {
        [only] => Ok(only),
        [] => Err(Error::new(format!("there is no layer {text:?}")).rule(format!(
            "layers are 1 to {count}, 1 the lowest; or the first 6 digits or more of a digest or diff ID"
        ))),
        _ => Err(Error::new(format!("{text:?} begins the digest of more than one layer"))
            .remedy("type its number")),
    }
}

/// A path as it was typed, below the image's root.
fn clean_path(typed: &OsStr) -> Vec<u8> {
    let mut clean = Vec::new();
    crate::image::unpack::clean(std::os::unix::ffi::OsStrExt::as_bytes(typed), &mut clean);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> LayersArgs {
        let words = std::iter::once(&"layers").chain(words);
        parse(&command().try_get_matches_from(words).unwrap()).unwrap()
    }

    #[test]
    fn an_image_behind_tree_is_no_layer() {
        let args = parsed(&["--tree", "demo"]);
        assert_eq!((args.image.as_deref(), args.tree), (Some(OsStr::new("demo")), Some(None)));
        let args = parsed(&["demo", "--tree", "2"]);
        assert_eq!(args.tree, Some(Some("2".into())));
        let args = parsed(&["demo", "--tree"]);
        assert_eq!(args.tree, Some(None));
    }

    #[test]
    fn one_view_at_a_time() {
        let refused = |words: &[&str]| command().try_get_matches_from(words).is_err();
        assert!(refused(&["layers", "demo", "--tree", "--wasted"]));
        assert!(refused(&["layers", "demo", "--fail-under", "90"]));
        assert!(refused(&["layers", "demo", "--wasted", "--fail-under", "101"]));
        assert!(refused(&["layers", "demo", "--output", "x"]));
    }
}
