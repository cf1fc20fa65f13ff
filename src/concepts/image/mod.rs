//! `cutaway image`: the store of images.

use std::ffi::OsString;
use std::fmt::Write;

use clap::{ArgMatches, Args, FromArgMatches, Subcommand};

use super::limits::{LimitArgs, told};
use super::{Concept, Context, Stage};
use crate::error::{Error, Result, exit};
use crate::image::reference::{Name, Reference};
use crate::image::source;
use crate::image::store::{Store, Stored};
use crate::image::unpack::Limits;
use crate::plan::{Bulk, Plan, Step};
use crate::report::style;

/// The concept.
pub const CONCEPT: Concept = Concept { name: "image", command, stages: &[image], failure: exit::FAILED };

#[derive(Debug, Args)]
struct ImageArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Copy an image into the store, verify it, and unpack its layers
    Load {
        /// An OCI image layout (folder or tar) or a `docker save` archive, with `:TAG` where it holds several
        #[arg(value_name = "PATH")]
        path: OsString,
        /// The name that it gets (default: the one it has)
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        #[command(flatten)]
        limits: LimitArgs,
    },
    /// List the images of the store
    Ls,
    /// Remove an image, with everything that no other image uses
    Rm {
        /// Its name or the beginning of its digest
        #[arg(value_name = "NAME")]
        name: String,
    },
}

fn command() -> clap::Command {
    ImageArgs::augment_args(clap::Command::new("image").about("Load, list and remove images"))
        .arg_required_else_help(true)
}

fn image(matches: &ArgMatches, context: &Context) -> Result<Stage> {
    let args = ImageArgs::from_arg_matches(matches)
        .map_err(|error| Error::new(error.to_string()).exit(exit::USAGE))?;
    match args.verb {
        Verb::Load { path, name, limits } => load(path, name, limits.limits(), context),
        Verb::Ls => list(context),
        Verb::Rm { name } => remove(name, context),
    }
}

fn load(typed: OsString, name: Option<String>, limits: Limits, context: &Context) -> Result<Stage> {
    let reference = Reference::parse(&typed)?;
    let Reference::Path(path) = &reference else {
        return Err(Error::new(format!("cannot load {}", typed.display()))
            .rule("there is no file or folder of that name")
            .remedy("give the path of an OCI image layout or of a `docker save` archive"));
    };
    let image = source::open(path, &source::Options::default())?;
    let name = name.or_else(|| Some(path.store_name(image.name.as_deref())));
    let mut plan = Plan::new(format!("image load {}", typed.display()));
    plan.notes = vec![
        format!("{}, {}", style::count(image.layers.len(), "layer"), style::bytes(image.layer_bytes())),
        told(&limits),
    ];
    plan.steps.push(
        Step::say("Load the image into the store")
            .why(
                "Each layer is read once: copied, its digest compared with what the manifest says, \
                 decompressed, its diff ID compared with what the config says, and unpacked into a directory \
                 of its own. If anything does not match, nothing of it stays.",
            )
            .chapter("7")
            .bulk(Bulk::LoadImage { source: typed, name, limits, state: context.state.clone() }),
    );
    Ok(plan.into())
}

fn remove(name: String, context: &Context) -> Result<Stage> {
    Store::open(&context.state).find(&name.parse::<Name>()?)?;
    let mut plan = Plan::new(format!("image rm {name}"));
    plan.steps.push(
        Step::say("Remove the image from the store")
            .why("Blobs and unpacked layers go with it, except those that another image uses too.")
            .chapter("7")
            .bulk(Bulk::RemoveImage { name, state: context.state.clone() }),
    );
    Ok(plan.into())
}

fn list(context: &Context) -> Result<Stage> {
    let all = Store::open(&context.state).list()?;
    if context.json {
        let lines = all.iter().flatten().filter_map(|stored| serde_json::to_string(stored).ok());
        return Ok(Stage::Report(lines.map(|line| line + "\n").collect()));
    }
    if all.is_empty() {
        return Ok(Stage::Report("no images; `cutaway run` makes the demo image\n".to_owned()));
    }
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["NAME", "IMAGE ID", "LAYERS", "UNPACKED", "SIZE"]);
    let mut broken = String::new();
    for entry in all {
        match entry {
            Ok(stored) => drop(table.add_row(row(&stored))),
            Err(error) => drop(writeln!(broken, "unreadable: {error}")),
        }
    }
    Ok(Stage::Report(format!("{}\n{broken}", table.trim_fmt())))
}

fn row(stored: &Stored) -> [String; 5] {
    [
        stored.name.clone().unwrap_or_else(|| "<none>".to_owned()),
        stored.id.short(),
        stored.layers.to_string(),
        stored.unpacked.to_string(),
        style::bytes(stored.bytes),
    ]
}
