//! `cutaway chroot`: the root directory of a process is one pointer in it.
//!
//! Three stories with the same places in them. *Enter*: the pointer is moved, and everything else is looked at
//! from both sides and found as it was ([`enter`]). *Escape*: three ways in which a process with `CAP_SYS_CHROOT`
//! moves the pointer back ([`escape`]). *Pivot*: another mount becomes the root of a mount namespace, the old one
//! is detached, and the same three ways lead nowhere ([`pivot`]). Where the new root comes from is in [`tree`],
//! and which of it all is possible here is found out in [`settle`].

mod enter;
mod escape;
mod pivot;
mod settle;
mod tree;

use std::ffi::OsString;

use clap::{ArgMatches, Args, FromArgMatches, ValueEnum};

use super::common::birth;
use super::common::picture;
use super::ns::clone;
use super::{Concept, Context, Stage};
use crate::error::{Error, Result, exit};
use crate::plan::{Bulk, Call, Claim, Plan, Probe, Spawn, Step, Wait, calls};
use crate::sys::flags::CloneFlags;
use crate::sys::{Errno, Slot, Syscall, Text};

use settle::{Cell, Story};

/// The concept. The exit code is the command's, so that cutaway's own failure needs another.
pub const CONCEPT: Concept =
    Concept { name: "chroot", command, stages: &[prepare, chroot], failure: exit::CUTAWAY };

/// The child's pid, once there is one.
const CHILD: Slot = Slot::new("child pid");
/// A descriptor of the directory that was the root before.
const OUTSIDE: &str = "old root";

#[derive(Debug, Args)]
struct ChrootArgs {
    /// The new root: a directory or an image. Without it, a tree of one program is put together
    #[arg(value_name = "DIR|IMAGE")]
    root: Option<OsString>,
    /// Go in and come out again; with --pivot, the one way out that is tried
    #[arg(long, value_enum, value_name = "WAY")]
    escape: Option<Way>,
    /// Do it right, by swapping the root mount, and try to come out all the same
    #[arg(long)]
    pivot: bool,
    /// End with a shell
    #[arg(long, conflicts_with = "command")]
    shell: bool,
    /// End with this command; its exit code is cutaway's
    #[arg(value_name = "COMMAND", num_args = 0.., last = true)]
    command: Vec<OsString>,
}

/// A way out of a changed root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Way {
    /// A second chroot below the first leaves the working directory outside
    DoubleChroot,
    /// A descriptor of a directory outside that was opened before
    Fd,
    /// The root of another process, by its link in /proc
    Proc,
}

fn command() -> clap::Command {
    ChrootArgs::augment_args(
        clap::Command::new("chroot").about("Change the root directory, get out again, and do it right").long_about(
            "Moves the root directory of a process for real and shows that nothing else has changed. With \
             --escape it gets out again, with --pivot it swaps the root mount instead, and the same ways out are \
             shut. As an ordinary user this happens in a user namespace.",
        ),
    )
}

fn parse(matches: &ArgMatches) -> Result<ChrootArgs> {
    ChrootArgs::from_arg_matches(matches).map_err(|error| Error::new(error.to_string()))
}

/// First stage: an image is in the store, and its layers are unpacked.
fn prepare(matches: &ArgMatches, context: &Context) -> Result<Stage> {
    match parse(matches)?.root {
        Some(typed) if settle::is_image(&typed) => {
            settle::refuse_others(&typed)?;
            picture::prepare(Some(&typed), context)
        }
        _ => Ok(Stage::Nothing),
    }
}

/// Second stage: the story.
fn chroot(matches: &ArgMatches, context: &Context) -> Result<Stage> {
    let cell = Cell::settle(&parse(matches)?, context)?;
    Ok(plan(&cell).into())
}

fn plan(cell: &Cell) -> Plan {
    let (child, look) = match &cell.story {
        Story::Enter => enter::story(cell),
        Story::Escape(way) => escape::story(cell, *way),
        Story::Pivot(ways) => pivot::story(cell, ways),
    };
    let mut plan = Plan::new(cell.title.clone());
    plan.notes.clone_from(&cell.notes);
    plan.uses = cell.root.uses();
    // A run with a name keeps others from removing the image that it uses.
    plan.name = plan.uses.is_some().then(|| format!("chroot-{}", std::process::id()));
    plan.needs = cell.needs();
    plan.steps.push(before(cell));
    plan.steps.extend(as_you_are(cell));
    plan.steps.extend(places(cell));
    plan.steps.push(birth(cell, child, look));
    plan.steps.push(wait(cell));
    plan.steps.push(after());
    plan
}

fn before(cell: &Cell) -> Step {
    Step::say("Note the root before anything changes")
        .why(
            "Every process has a root directory, which is where its absolute paths begin, and a working directory \
             for the others. Both are pointers in the process, to a directory and the mount that it is on.",
        )
        .chapter("3")
        .look_at([Probe::Root, Probe::Namespaces(cell.all_kinds)])
}

/// What an ordinary user's own chroot comes to.
fn as_you_are(cell: &Cell) -> Option<Step> {
    (!cell.may_chroot).then(|| {
        Step::say("Try it as you are")
            .why(
                "chroot needs CAP_SYS_CHROOT. Otherwise anybody could lay out a tree with an /etc/passwd of their \
                 own and start a set-user-ID program in it, which would believe every word.",
            )
            .chapter("3")
            .call(Call::from(Syscall::Chroot { path: "/".into() }).refused(Errno::EPERM))
            .expect([Claim::HostRoot(None)])
    })
}

/// What must be there before the child begins, and is taken away at the end.
fn places(cell: &Cell) -> Option<Step> {
    if let Some(base) = &cell.base {
        return Some(
            Step::say("Make a directory to build the new root on")
                .why("An empty one, for this story alone.")
                .chapter("3")
                .call(calls::mkdir(base, 0o755))
                .undo([Bulk::RemoveTree { path: base.clone() }]),
        );
    }
    if cell.made.is_empty() {
        return None;
    }
    let step = Step::say("Make the directories that the story needs in there")
        .why("What is made here is taken away at the end: the new root is put back as it was.")
        .chapter("3")
        .calls(cell.made.iter().map(|path| calls::mkdir(path, 0o755)));
    Some(step.undo(cell.made.iter().rev().map(calls::rmdir)))
}

/// The child in the namespaces that the story needs, tied to its parent.
fn birth(cell: &Cell, child: Vec<Step>, look: Vec<Step>) -> Step {
    let mut arm = Step::say("Die when cutaway dies")
        .why(
            "Should cutaway be killed, the kernel kills this process too, and what it has made ends with it.",
        )
        .call(calls::die_with_parent());
    if !cell.kinds.is_empty() {
        arm = arm.expect([Claim::OwnNamespaces(cell.kinds)]);
    }
    let mut steps = birth::tie(arm, cell.rootless);
    steps.extend(child);
    let mut meanwhile = Vec::new();
    if cell.rootless {
        meanwhile = birth::map_ids(&CHILD, cell.uid, cell.gid);
    }
    meanwhile.extend(look);
    step_of_birth(cell).chapter("3").spawn(Spawn {
        clone: clone(cell.kinds),
        into: CHILD,
        actor: "child",
        child: steps,
        meanwhile,
    })
}

fn step_of_birth(cell: &Cell) -> Step {
    if cell.kinds.contains(CloneFlags::CLONE_NEWPID) {
        return Step::say("Start a child with mounts and process numbers of its own").why(
            "pivot_root changes the root of a whole mount namespace, so it takes one. And a pid namespace: in the \
             host's, a mounted /proc shows the processes outside, and each has a link to its root.",
        );
    }
    match (cell.kinds.contains(CloneFlags::CLONE_NEWNS), cell.rootless) {
        (false, false) => Step::say("Start a child, which will move its root")
            .why("An ordinary process, without any namespace of its own. cutaway itself stays where it is."),
        (false, true) => Step::say("Start a child in a user namespace").why(
            "In there it will be root and have CAP_SYS_CHROOT, over itself and nothing of the host. For chroot \
             nothing else is needed, and nothing else is made.",
        ),
        (true, false) => Step::say("Start a child with a mount namespace of its own")
            .why("Not for chroot: what is mounted for the new root is seen by this process only, and ends with it."),
        (true, true) => Step::say("Start a child in a user namespace, with mounts of its own").why(
            "In there it will be root, with CAP_SYS_CHROOT. The mount namespace is not for chroot: what is mounted \
             for the new root is seen by this process only, and ends with it.",
        ),
    }
}

/// A process that the child starts, tied to it.
fn helper(actor: &'static str, into: Slot, child: Vec<Step>, meanwhile: Vec<Step>) -> Spawn {
    let arm = Step::say("Die when the child dies")
        .why("The kernel kills this process when the one that started it ends.")
        .call(calls::die_with_parent());
    let mut steps = birth::tie(arm, false);
    steps.extend(child);
    Spawn { clone: clone(CloneFlags::empty()), into, actor, child: steps, meanwhile }
}

/// chroot and chdir, as chroot(1) does them together.
fn go_in(path: impl Into<Text>) -> [Call; 2] {
    [Syscall::Chroot { path: path.into() }.into(), calls::chdir("/").into()]
}

/// Makes the working directory the root.
fn root_here() -> Syscall {
    Syscall::Chroot { path: ".".into() }
}

fn wait(cell: &Cell) -> Step {
    let step = Step::say("Wait for the end of the child").chapter("2").wait(Wait::end(CHILD));
    if cell.end.is_some() {
        step.why("The command's exit status becomes cutaway's own. Signals that reach cutaway are passed on.")
    } else {
        step.why("Its story is told. Its root and its mounts end with it.")
    }
}

fn after() -> Step {
    Step::say("Look at the host again")
        .why("The root of cutaway has never moved: chroot is about the process that calls it, and about nobody else.")
        .chapter("3")
        .look_at([Probe::Root])
        .expect([Claim::HostRoot(None)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::flags::CapSet;

    fn planned(line: &[&str], root: bool) -> Plan {
        let matches = command().get_matches_from(line);
        let mut context = Context::new("/nonexistent".into(), true, false);
        context.here.capabilities = if root { CapSet(u64::MAX) } else { CapSet::default() };
        match chroot(&matches, &context).unwrap() {
            Stage::Plan(plan) => *plan,
            _ => panic!("no plan"),
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn every_story_is_sound() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("proc")).unwrap();
        let dir = dir.path().to_str().unwrap();
        let flags: [&[&str]; 6] = [
            &[],
            &["--escape", "double-chroot"],
            &["--escape", "fd"],
            &["--escape", "proc"],
            &["--pivot"],
            &["--pivot", "--escape", "fd"],
        ];
        for root in [&[][..], &[dir], &["demo"]] {
            for line in flags.map(|flags| [&["chroot"], root, flags].concat()) {
                for user in [true, false] {
                    assert_eq!(planned(&line, user).check(), Vec::<String>::new(), "{line:?}");
                }
            }
        }
    }

    #[test]
    fn a_plain_directory_takes_no_namespace_from_root() {
        let dir = tempfile::tempdir().unwrap();
        let plan = planned(&["chroot", dir.path().to_str().unwrap()], true);
        let clones = plan.steps.iter().filter_map(|step| match &step.action {
            crate::plan::Action::Spawn(spawn) => Some(spawn.clone.clone()),
            _ => None,
        });
        assert_eq!(clones.collect::<Vec<_>>(), [clone(CloneFlags::empty())]);
        assert_eq!(plan.needs, ["CAP_SYS_CHROOT"]);
    }
}
