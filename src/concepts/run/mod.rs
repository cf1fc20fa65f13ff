//! `cutaway run`: a container, put together from all the parts.
//!
//! The story in its order, one file for each part: a writable layer and a place on disk ([`place`]), groups
//! with limits ([`Groups`]), a child in new namespaces ([`birth`]), its root made of layers ([`root`]), the
//! kernel's own file systems inside ([`furnish`]), what of them is hidden ([`harden`]), volumes ([`volumes`]), the
//! network ([`network`]), a terminal ([`terminal`]), what is forbidden ([`harden`]), who the workload is
//! ([`identity`]), and the command itself.
//!
//! Why the child pivots *before* it mounts /proc and the rest: from that moment its root is the container's,
//! so that no path of the image, no symbolic link and no `..`, can lead a mount to a place of the host. The
//! host's root stays reachable through one descriptor until it is detached.

mod args;
mod birth;
mod furnish;
mod harden;
mod identity;
mod network;
mod place;
mod root;
mod settle;
mod terminal;
mod volumes;

use clap::{ArgMatches, Args, FromArgMatches};

use super::common::groups::Groups;
use super::{Concept, Context, Stage};
use crate::error::{Error, Result, exit};
use crate::plan::{Plan, Step, Wait};
use crate::probe::Host;
use crate::sys::{Slot, Syscall, Text};

pub use args::{Network, RunArgs};
use settle::Settled;

/// The concept.
pub const CONCEPT: Concept =
    Concept { name: "run", command, stages: &[prepare, run], failure: exit::CUTAWAY };

/// The child's pid, once there is one.
const CHILD: Slot = Slot::new("child pid");
/// The host's root directory, until it is detached.
const HOST_ROOT: &str = "host root";

fn command() -> clap::Command {
    // Said after the arguments, which bring words of their own.
    RunArgs::augment_args(clap::Command::new("run"))
        .about("Run a command in a container of its own")
        .long_about(
            "Runs a command in a container: layers merged into a root of its own, new namespaces, limits, \
             and no more privilege than it needs. Without an image, a demo image is built from programs of \
             this machine. Needs no root: an ordinary user gets a user namespace.",
        )
        .override_usage(
            "cutaway run [OPTIONS] [IMAGE] [COMMAND…]\n       cutaway run [OPTIONS] [IMAGE] -- COMMAND…",
        )
}

fn parse(matches: &ArgMatches) -> Result<RunArgs> {
    let line: Vec<_> = std::env::args_os().collect();
    let args = RunArgs::from_arg_matches(matches).map(|args| args.with_line(&line));
    let args = args.map_err(|error| Error::new(error.to_string()))?;
    // The parser leaves words behind the options alone; an image's name begins with no dash.
    match args.image().map(|image| image.to_string_lossy()) {
        Some(word) if word.starts_with('-') => Err(Error::new(format!("the option {word} is not known"))
            .rule("options stand in front of the image, and what begins with a dash is no image")
            .remedy("`cutaway run --help` lists the options")),
        _ => Ok(args),
    }
}

/// First stage: the image is in the store, and its layers are unpacked.
fn prepare(matches: &ArgMatches, context: &Context) -> Result<Stage> {
    settle::prepare(&parse(matches)?, context)
}

/// Second stage: the container.
fn run(matches: &ArgMatches, context: &Context) -> Result<Stage> {
    let settled = Settled::from(&parse(matches)?, context)?;
    Ok(plan(&settled, context).into())
}

/// The whole container, as a plan.
fn plan(run: &Settled, context: &Context) -> Plan {
    let groups = Groups::find(&run.limits, &[], &run.name, context);
    let mut plan = Plan::new(format!("run {}", run.title));
    plan.name = Some(run.name.clone());
    plan.uses.clone_from(&run.uses);
    plan.notes.clone_from(&run.notes);
    plan.notes.extend(groups.notes());
    plan.needs = if run.rootless { Vec::new() } else { vec!["CAP_SYS_ADMIN"] };
    plan.steps.extend(place::shared(run));
    plan.steps.push(place::own(run));
    plan.steps.extend(groups.make());
    plan.steps.push(birth::child(run, &groups, in_child(run, &groups, &context.here)));
    plan.steps.push(wait(run));
    plan
}

// ANCHOR: child
/// What the child does before it becomes the workload.
fn in_child(run: &Settled, groups: &Groups, host: &Host) -> Vec<Step> {
    let mut steps = birth::die_with_parent(run);
    steps.extend(groups.join());
    steps.push(root::private());
    steps.push(root::stage(run));
    steps.push(root::merge(run));
    steps.push(root::pivot());
    steps.push(Groups::own_namespace());
    steps.extend(furnish::all(run, groups));
    // Before the first volume: until then nobody but cutaway can have put anything into the /dev that masks are made of.
    steps.extend(harden::hide(host));
    steps.extend(volumes::all(run));
    steps.push(root::leave_host());
    steps.extend(network::up(run));
    steps.push(birth::hostname(run));
    steps.extend(root::read_only(run));
    steps.extend(terminal::inside(run));
    if run.init {
        steps.extend(birth::as_init(run, workload(run)));
    } else {
        steps.extend(workload(run));
    }
    steps
}
// ANCHOR_END: child

/// The last steps: give up what the workload must not have, and become it.
///
/// The seccomp filter belongs between `no_new_privs` and the exec: later than every call that it would forbid.
fn workload(run: &Settled) -> Vec<Step> {
    let mut steps = vec![harden::descriptors(run), identity::workdir(run), identity::bounding(run)];
    steps.push(identity::become_user(run));
    steps.extend(harden::no_new_privs(run));
    steps.extend(birth::die_with_parent_again());
    steps.push(exec(run));
    steps
}

fn exec(run: &Settled) -> Step {
    let call =
        |path: &Text| Syscall::Execve { path: path.clone(), argv: run.argv.clone(), envp: run.env.clone() };
    Step::say("Become the command")
        .why(
            "The process stays the same: its pid, its namespaces, its limits. Only the program in it is \
             another. The report to you ends here, because its socket closes on exec: that closing is the \
             only sign that the exec succeeded.",
        )
        .chapter("31")
        .exec(run.programs.iter().map(call).collect())
}

fn wait(run: &Settled) -> Step {
    let wait = Wait {
        pid: CHILD,
        terminal: run.tty.then_some(terminal::MASTER),
        as_init: false,
        only_reports: false,
    };
    Step::say("Wait for the end of the command")
        .why("Signals that reach cutaway are passed on, and the command's exit status becomes cutaway's own.")
        .chapter("33")
        .wait(wait)
}
