//! The birth of a child in new namespaces: the tie to its parent, and who it is in its user namespace.

use crate::plan::{Gate, Step, calls};
use crate::sys::{Slot, Text};

/// The step that ties the child to its parent, and what makes sure that it is not too late for that.
///
/// `arm` asks for the parent's death signal. In a user namespace the child then waits for its ids.
pub fn tie(arm: Step, user_namespace: bool) -> Vec<Step> {
    if user_namespace {
        return vec![
            arm,
            Step::say("Say so, and wait to be somebody")
                .why("Until its ids are mapped, this process is nobody (65534) everywhere.")
                .gate(Gate::Open("armed")),
            Step::say("Go on as root of the user namespace")
                .why("The answer also proves that the parent was alive after the tie was made.")
                .chapter("14")
                .gate(Gate::Pass("mapped")),
        ];
    }
    vec![
        arm,
        Step::say("Make sure that it is not dead already")
            .why("A parent that died before the call above would never trigger it.")
            .gate(Gate::ParentLives),
    ]
}

/// A file of the child's directory in /proc.
pub fn proc_of(child: &Slot, name: &str) -> Text {
    Text::from("/proc/").then_later(child.clone()).then(format!("/{name}"))
}

// ANCHOR: map_ids
/// The parent names the child's ids: user 0 in there is the caller out here.
pub fn map_ids(child: &Slot, user: u32, group: u32) -> Vec<Step> {
    let words = "User 0 in there is you out here, and nobody else exists. Groups must be given up first: a process \
                 that could leave a group might pass where that group is kept out. Each map can be written once.";
    vec![
        until_tied(),
        name_root(child, user, group).why(words),
        Step::say("Let the child go on")
            .why("It has an identity now, and with it the capabilities of root in its own user namespace.")
            .gate(Gate::Open("mapped")),
    ]
}

/// Who the child's root is: one file of its directory in /proc after the other.
pub fn name_root(child: &Slot, user: u32, group: u32) -> Step {
    let line = |own: u32| format!("0 {own} 1\n");
    Step::say("Tell the kernel who the child's root is")
        .chapter("14")
        .calls(calls::write(proc_of(child, "setgroups"), "deny"))
        .calls(calls::write(proc_of(child, "uid_map"), line(user)))
        .calls(calls::write(proc_of(child, "gid_map"), line(group)))
}
// ANCHOR_END: map_ids

/// The parent's part of the tie.
pub fn until_tied() -> Step {
    Step::say("Wait until the child is tied to cutaway")
        .why("From then on it cannot outlive this process.")
        .gate(Gate::Pass("armed"))
}
