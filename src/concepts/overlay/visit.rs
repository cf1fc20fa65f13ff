//! A command of the user's in the merged tree, and what it left in upper.

use super::{OverlayArgs, Scene};
use crate::concepts::common::command::Command;
use crate::error::Result;
use crate::plan::{Gate, Probe, Spawn, Step, Wait, calls};
use crate::sys::flags::{CloneFlags, Signal};
use crate::sys::{Slot, Syscall};

/// The command's pid, once there is one.
const COMMAND: Slot = Slot::new("command pid");

/// The command that was asked for, if any.
pub fn of(args: &OverlayArgs) -> Result<Option<Command>> {
    match &args.command {
        Some(line) => Command::find(&["/bin/sh".into(), "-c".into(), line.clone()]),
        None if args.shell => {
            let own = std::env::var_os("SHELL").filter(|shell| std::path::Path::new(shell).is_absolute());
            Command::find(&[own.unwrap_or_else(|| "/bin/sh".into())])
        }
        None => Ok(None),
    }
}

/// The command as a child of the process that has mounted, and what that process sees afterwards.
pub fn steps(scene: &Scene, command: &Command) -> Vec<Step> {
    let clone =
        Syscall::Clone3 { flags: CloneFlags::empty(), exit_signal: Some(Signal::SIGCHLD), cgroup: None };
    let child = vec![
        Step::say("Die with the process that has mounted")
            .why("The command must not outlive what it works in.")
            .call(calls::die_with_parent()),
        Step::say("Make sure that it is not dead already")
            .why("A parent that died before the call above would never trigger it.")
            .gate(Gate::ParentLives),
        Step::say("Go to the merged tree")
            .why("The command starts here. Its root is still the host's: only paths from here on are the overlay's.")
            .chapter("8")
            .call(calls::chdir("merged")),
        command.exec().chapter("8"),
    ];
    vec![
        Step::say("Start the command")
            .why("In a process of its own, so that this one can look at what it leaves.")
            .chapter("2")
            .spawn(Spawn { clone, into: COMMAND, actor: "command", child, meanwhile: Vec::new() }),
        Step::say("Wait for the end of the command")
            .why("Its exit status becomes cutaway's own.")
            .chapter("2")
            .wait(Wait::end(COMMAND))
            .look_at([Probe::Overlay(scene.views(""))]),
    ]
}
