//! The image that a root is made of: found, brought into the store where it is not there yet, or, for an
//! explanation, described without being touched.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::concepts::{Context, Stage};
use crate::error::{Error, Result};
use crate::image::config::Config;
use crate::image::demo;
use crate::image::reference::Reference;
use crate::image::source::{self, Image};
use crate::image::store::Store;
use crate::plan::{Bulk, Plan, Step};
use crate::sys::Text;

/// Where a root comes from.
pub struct Picture {
    /// What the user called it.
    pub title: String,
    /// The image's config; an empty one for a plain directory.
    pub config: Config,
    /// Topmost first. Empty as long as the image is not prepared and the plan is only shown.
    pub layers: Vec<PathBuf>,
    /// What stands for the layers while they are unknown.
    pub unknown: Option<usize>,
    /// The digest of the image, for those who would remove it.
    pub uses: Option<String>,
}

impl Picture {
    /// The layers as they are told, topmost first; by number as long as they are unknown.
    #[must_use]
    pub fn layer_texts(&self) -> Vec<Text> {
        match self.unknown {
            None => self.layers.iter().map(Text::from).collect(),
            Some(count) => (1..=count).rev().map(|number| Text::from(format!("<layer {number}>"))).collect(),
        }
    }
}

/// Brings the image into the store, where it is not there yet.
///
/// # Errors
/// There is no such image, or it is broken.
pub fn prepare(image: Option<&OsString>, context: &Context) -> Result<Stage> {
    match look_up(image, context)? {
        Found::Ready(image, dirs) => {
            context.pass_on((image, dirs));
            Ok(Stage::Nothing)
        }
        Found::Missing(stage) => Ok(stage),
    }
}

/// Whether the image can be used as it is, or what has to be done first.
enum Found {
    /// With the directories of its layers, the lowest first.
    Ready(Box<Image>, Vec<PathBuf>),
    Missing(Stage),
}

fn look_up(typed: Option<&OsString>, context: &Context) -> Result<Found> {
    let store = Store::open(&context.state);
    let state = context.state.clone();
    // As long as this is held, nobody removes the image between here and the start of the container.
    if !context.explain {
        context.pin(store.pin()?);
    }
    let demo =
        || prepare_plan("prepare the demo image", demo_step(), Bulk::BuildDemo { state: state.clone() });
    let ready = |image: Image| store.ready_dirs(&image).map(|dirs| Found::Ready(Box::new(image), dirs));
    Ok(match reference(typed)? {
        None => store.find(&demo_name()?).ok().and_then(ready).unwrap_or_else(|| Found::Missing(demo())),
        Some(Reference::Name(name)) => match store.find(&name) {
            Err(_) if name == demo_name()? => Found::Missing(demo()),
            found => ready(found?).unwrap_or_else(|| {
                let step = Step::say("Unpack the layers that are not unpacked yet")
                    .why("overlayfs merges directories, not archives: each layer becomes a directory once.");
                let work = Bulk::UnpackImage { name: name.to_string(), state: state.clone() };
                Found::Missing(prepare_plan("prepare the image", step, work))
            }),
        },
        Some(Reference::Path(path)) => {
            let image = source::open(&path, &source::Options::default())?;
            let image_name = image.name.clone();
            let stored = image.digest().to_string().parse().ok().and_then(|name| store.find(&name).ok());
            let source = typed.cloned().unwrap_or_default();
            let name = path.store_name(image_name.as_deref());
            stored.and_then(ready).unwrap_or_else(|| Found::Missing(load_plan(source, name, state.clone())))
        }
    })
}

fn load_plan(source: OsString, name: String, state: PathBuf) -> Stage {
    let step = Step::say("Load the image into the store")
        .why(
            "Each layer is read once: copied, its digest compared with what the manifest says, decompressed, \
             its diff ID compared with what the config says, and unpacked into a directory of its own.",
        )
        .chapter("7");
    let limits = crate::image::unpack::Limits::default();
    prepare_plan("load the image", step, Bulk::LoadImage { source, name: Some(name), limits, state })
}

fn prepare_plan(title: &str, step: Step, work: Bulk) -> Stage {
    let mut plan = Plan::new(title);
    plan.steps.push(step.bulk(work));
    plan.into()
}

fn demo_step() -> Step {
    Step::say("Build the demo image")
        .why(
            "Three layers, made from programs that this machine has and the libraries they load: a base, a \
             layer that adds and changes files, a layer that deletes one. It is a proper OCI image, built once \
             and kept in the store.",
        )
        .chapter("7")
}

fn demo_name() -> Result<crate::image::reference::Name> {
    demo::NAME.parse()
}

fn reference(typed: Option<&OsString>) -> Result<Option<Reference>> {
    typed.map(|typed| Reference::parse(typed)).transpose()
}

/// The image, as far as it is known; without a name, the demo image.
///
/// # Errors
/// There is no such image, or it was removed after it had been prepared.
pub fn find(typed: Option<&OsString>, context: &Context) -> Result<Picture> {
    let title = typed.map_or_else(|| demo::NAME.to_owned(), |typed| typed.to_string_lossy().into_owned());
    let ready = match context.passed_on::<(Box<Image>, Vec<PathBuf>)>() {
        Some(ready) => ready,
        None if context.explain => return unprepared(typed, context, title),
        // It was prepared a moment ago.
        None => match look_up(typed, context)? {
            Found::Ready(image, dirs) => (image, dirs),
            Found::Missing(_) => {
                return Err(Error::new(format!("{title} was removed while it was about to be run"))
                    .remedy("run it again"));
            }
        },
    };
    let (image, mut layers) = ready;
    layers.reverse();
    let uses = Some(image.digest().to_string());
    Ok(Picture { title, config: image.config, layers, unknown: None, uses })
}

/// What an explanation can say of an image that is not prepared yet.
fn unprepared(typed: Option<&OsString>, context: &Context, title: String) -> Result<Picture> {
    let store = Store::open(&context.state);
    let image = match reference(typed)? {
        None => store.find(&demo_name()?).ok(),
        Some(Reference::Name(name)) => store.find(&name).ok(),
        Some(Reference::Path(path)) => Some(source::open(&path, &source::Options::default())?),
    };
    let (config, count) = match image {
        Some(image) => (image.config, image.layers.len()),
        None => (demo::expected()?, demo::LAYERS),
    };
    Ok(Picture { title, config, layers: Vec::new(), unknown: Some(count), uses: None })
}
