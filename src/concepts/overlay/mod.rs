//! `cutaway overlay`: layers made into one tree, and what each kind of change leaves in the writable one.
//!
//! A child in a mount namespace of its own stacks lower directories under a writable one and then plays a tour
//! ([`tour`]) with files that suit it ([`cast`]), the directories shown side by side before and after each deed. Or it
//! runs a command of the user's and shows what that left ([`visit`]). With `--keep` there is no child: the overlay is
//! mounted where the user is, and stays until it is cleaned up.

mod cast;
mod scene;
mod tour;
mod visit;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::{ArgMatches, Args, FromArgMatches};

use super::common::birth;
use super::common::picture;
use super::{Concept, Context, Stage};
use crate::error::{Error, Result, exit};
use crate::plan::calls::mount;
use crate::plan::{Claim, FileClaim, Plan, Probe, Spawn, Step, Wait, calls};
use crate::state::journal;
use crate::sys::flags::{CloneFlags, MsFlags, Signal};
use crate::sys::{Slot, Syscall};

use scene::Scene;

/// The concept. With a command, the exit code is the command's, so that cutaway's own failure needs another.
pub const CONCEPT: Concept =
    Concept { name: "overlay", command, stages: &[prepare, overlay, told], failure: exit::CUTAWAY };

/// The child's pid, once there is one.
const CHILD: Slot = Slot::new("child pid");

/// The arguments.
#[derive(Debug, Clone, Default, Args)]
struct OverlayArgs {
    /// Stack the layers of this image: a name in the store, or a path (demo is the built-in one)
    #[arg(value_name = "IMAGE", conflicts_with = "lower")]
    image: Option<OsString>,

    /// Stack these directories, the topmost first; they are not written to
    #[arg(long, value_name = "DIR", num_args = 1..)]
    lower: Vec<PathBuf>,

    /// Run this with /bin/sh in merged, and show what it left in upper
    #[arg(long = "do", value_name = "CMD", conflicts_with = "shell")]
    command: Option<OsString>,

    /// Start a shell in merged, and show what it left in upper
    #[arg(long)]
    shell: bool,

    /// Leave the overlay mounted, where you are, even if CMD fails; `cutaway cleanup` removes it (needs root)
    #[arg(long)]
    keep: bool,

    /// Name of the overlay's directory (default: overlay- and a number)
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

fn command() -> clap::Command {
    OverlayArgs::augment_args(clap::Command::new("overlay"))
        .about("Stack directories, and see what each change leaves in the top one")
        .long_about(
            "Mounts an overlay for real and plays with it: reading, making, changing, deleting and renaming, with \
             lower, upper and merged side by side before and after each. Without IMAGE and --lower a small lower \
             directory is made for it. As an ordinary user this happens in a user namespace.",
        )
        .override_usage("cutaway overlay [OPTIONS] [IMAGE | --lower DIR…]")
}

fn parse(matches: &ArgMatches) -> Result<OverlayArgs> {
    OverlayArgs::from_arg_matches(matches).map_err(|error| Error::new(error.to_string()).exit(exit::USAGE))
}

/// First stage: the image is in the store, and its layers are unpacked.
fn prepare(matches: &ArgMatches, context: &Context) -> Result<Stage> {
    let args = parse(matches)?;
    match &args.image {
        Some(image) => picture::prepare(Some(image), context),
        None => Ok(Stage::Nothing),
    }
}

/// Second stage: the overlay.
fn overlay(matches: &ArgMatches, context: &Context) -> Result<Stage> {
    let args = parse(matches)?;
    let scene = Scene::settle(&args, context)?;
    let plan = if args.keep { kept(&scene, &args)? } else { played(&scene, &args)? };
    if args.keep && !context.explain && !context.json {
        context.pass_on(scene.base.join("merged"));
    }
    Ok(plan.into())
}

/// Third stage: where the overlay is that was left mounted, for scripts.
#[allow(clippy::unnecessary_wraps, reason = "any other stage may fail")]
fn told(_: &ArgMatches, context: &Context) -> Result<Stage> {
    let Some(merged) = context.passed_on::<PathBuf>() else { return Ok(Stage::Nothing) };
    Ok(Stage::Stream(Box::new(move |out| {
        let line = [merged.as_os_str().as_bytes(), b"\n"].concat();
        out.write_all(&line).map_err(|cause| Error::io("could not write to stdout", &cause))
    })))
}

/// What all have in common.
fn plan(scene: &Scene) -> Plan {
    let mut plan = Plan::new(format!("overlay {}", scene.title).trim_end().to_owned());
    plan.name = Some(scene.name.clone());
    plan.uses.clone_from(&scene.uses);
    plan.notes = scene.notes();
    if !scene.rootless {
        plan.needs = vec!["CAP_SYS_ADMIN"];
    }
    plan.steps.extend(scene.folders());
    plan.steps.push(scene.own());
    plan
}

/// In a child, whose mounts end with it.
fn played(scene: &Scene, args: &OverlayArgs) -> Result<Plan> {
    let mut child = vec![enter(scene)];
    child.extend(scene.make_lower());
    child.extend([private(), scene.mount(), look(scene)]);
    if let Some(command) = visit::of(args)? {
        child.extend(visit::steps(scene, &command));
    } else {
        child.extend(tour::steps(scene));
        child.extend(tour::features(scene));
    }
    let mut plan = plan(scene);
    plan.steps.extend([birth(scene, child), wait(), after(scene)]);
    Ok(plan)
}

/// In this process: the mount is to stay where the user is.
fn kept(scene: &Scene, args: &OverlayArgs) -> Result<Plan> {
    if scene.rootless {
        return Err(Error::new("an ordinary user cannot keep an overlay mounted")
            .rule(
                "the mount lives in a mount namespace of your own user namespace, and ends with its last process",
            )
            .remedy("--shell stays in it as long as you want; or run cutaway as root")
            .chapter("8"));
    }
    let mut plan = plan(scene);
    plan.stays = Some(journal::place(&scene.state, &scene.name));
    plan.notes.push(format!("kept: {}", scene.base.join("merged").display()));
    plan.steps.push(enter(scene));
    plan.steps.extend(scene.make_lower());
    plan.steps.push(scene.mount().undo([mount::detach(scene.base.join("merged"))]));
    plan.steps.push(look(scene));
    if let Some(command) = visit::of(args)? {
        plan.steps.extend(visit::steps(scene, &command));
    }
    Ok(plan)
}

fn enter(scene: &Scene) -> Step {
    Step::say("Go to the overlay's directory")
        .why("From here on, paths are short.")
        .chapter("8")
        .call(calls::chdir(&scene.base))
}

fn private() -> Step {
    Step::say("Keep the mount to yourself")
        .why("Where the host's mounts are shared, a mount made here would appear there too. Private cuts the tie.")
        .chapter("5")
        .call(mount::propagation("/", MsFlags::MS_REC | MsFlags::MS_PRIVATE))
        .expect([Claim::NothingShared])
}

fn look(scene: &Scene) -> Step {
    Step::say("Look at the directories side by side")
        .why(
            "Each row is a path: mode and size, and below them the inode number. `lower` has the files, `upper` has \
             none, and `merged` shows them all. `work` is overlayfs' own: files are made ready there before they \
             appear in upper.",
        )
        .chapter("8")
        .look_at([Probe::Overlay(scene.views(""))])
        .expect([FileClaim::empty("upper")])
}

fn birth(scene: &Scene, child: Vec<Step>) -> Step {
    let mut flags = CloneFlags::CLONE_NEWNS;
    let mut meanwhile = Vec::new();
    if scene.rootless {
        flags |= CloneFlags::CLONE_NEWUSER;
        meanwhile = birth::map_ids(&CHILD, scene.uid, scene.gid);
    }
    let arm = Step::say("Die when cutaway dies")
        .why("Should cutaway be killed, the kernel kills this process too, and its mounts end with it.")
        .call(calls::die_with_parent())
        .expect([Claim::OwnNamespaces(flags)]);
    let mut steps = birth::tie(arm, scene.rootless);
    steps.extend(child);
    let step = Step::say("Start a child with a mount namespace of its own").chapter("5");
    let step = if scene.rootless {
        step.why(
            "What it mounts ends with it. The user namespace makes it root in there, which is what mounting takes; \
             Linux lets it mount overlays since 5.11.",
        )
    } else {
        step.why("What it mounts is seen by nobody else and ends with it: nothing has to be unmounted.")
    };
    step.spawn(Spawn {
        clone: Syscall::Clone3 { flags, exit_signal: Some(Signal::SIGCHLD), cgroup: None },
        into: CHILD,
        actor: "child",
        child: steps,
        meanwhile,
    })
}

fn wait() -> Step {
    Step::say("Wait for the end of the child")
        .why("Its exit status becomes cutaway's own. Signals that reach cutaway are passed on.")
        .chapter("2")
        .wait(Wait::end(CHILD))
}

fn after(scene: &Scene) -> Step {
    Step::say("Look at what the mount has left")
        .why(
            "`merged` is an empty directory again, as the mount has ended with its namespace. `upper` is a directory \
             like any other and still holds what was changed: it would be the next layer of an image.",
        )
        .chapter("8")
        .look_at([Probe::Directory(scene.base.join("upper")), Probe::Directory(scene.base.join("merged"))])
        .expect([
            Claim::NotMounted(scene.base.join("merged")),
            FileClaim::empty(scene.base.join("merged")),
        ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_and_directories_exclude_each_other() {
        let refused = |words: &[&str]| command().try_get_matches_from(words).is_err();
        assert!(refused(&["overlay", "demo", "--lower", "/a"]));
        assert!(refused(&["overlay", "--do", "x", "--shell"]));
        assert!(refused(&["overlay", "--lower"]));
        let matches =
            command().try_get_matches_from(["overlay", "--lower", "/a", "/b", "--do", "x"]).unwrap();
        assert_eq!(parse(&matches).unwrap().lower.len(), 2);
    }
}
