//! The birth of the container's first process: namespaces, the tie to its parent, its name.

use crate::plan::{Call, Claim, Gate, Probe, Spawn, Step, Wait, calls};
use crate::sys::flags::{CloneFlags, Signal};
use crate::sys::{Slot, Syscall, Text, Value};

use super::CHILD;
use super::args::Network;
use super::limits::Groups;
use super::settle::Settled;
use super::terminal;

/// The namespaces that are made together with the child.
pub fn namespaces(run: &Settled) -> CloneFlags {
    let mut flags = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC;
    if run.network != Network::Host {
        flags |= CloneFlags::CLONE_NEWNET;
    }
    if run.rootless {
        flags |= CloneFlags::CLONE_NEWUSER;
    }
    flags
}

/// The child in its new namespaces, and what the parent does for it.
pub fn child(run: &Settled, groups: &Groups, child: Vec<Step>) -> Step {
    let mut flags = namespaces(run);
    let cgroup = groups.descriptor();
    if cgroup.is_some() {
        flags |= CloneFlags::CLONE_INTO_CGROUP;
    }
    let mut meanwhile = Vec::new();
    if run.rootless {
        meanwhile.extend(map_ids(run));
    }
    meanwhile.extend(terminal::outside(run));
    let spawn = Spawn {
        clone: Syscall::Clone3 { flags, exit_signal: Some(Signal::SIGCHLD), cgroup },
        into: CHILD,
        actor: if run.init { "init" } else { "child" },
        child,
        meanwhile,
    };
    let step = Step::say("Start a child in new namespaces")
        .chapter("31")
        .spawn(spawn)
        .look_at([Probe::Namespaces(flags)]);
    if run.rootless {
        step.why(
            "One call makes the process and its namespaces: mounts, processes, host name, IPC, network. The \
             user namespace comes first among them and gives the child, and only in there, the power to set up \
             the others. The cgroup namespace is made later, from inside.",
        )
    } else {
        step.why(
            "One call makes the process and its namespaces: mounts, processes, host name, IPC, network. The \
             cgroup namespace is made later, from inside: its root is the group that its maker is in at that \
             moment.",
        )
    }
}

/// The child must not outlive its parent.
pub fn die_with_parent(run: &Settled) -> Vec<Step> {
    let arm = Step::say("Die when cutaway dies")
        .why(
            "Should cutaway be killed, the kernel kills this process too, and with PID 1 all others of its pid \
             namespace.",
        )
        .calls([calls::die_with_parent(), Syscall::Setsid])
        .expect([Claim::OwnNamespaces(namespaces(run))]);
    if run.rootless {
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

/// A change of ids or capabilities unties the process from its parent.
pub fn die_with_parent_again() -> Vec<Step> {
    vec![
        Step::say("Tie yourself to cutaway once more")
            .why("The kernel drops the tie whenever a process changes its ids or gives up capabilities.")
            .call(calls::die_with_parent()),
        Step::say("Make sure once more that it lives")
            .why("It could have died in between.")
            .gate(Gate::ParentLives),
    ]
}

fn proc_of_child(name: &str) -> Text {
    Text::from("/proc/").then_later(CHILD).then(format!("/{name}"))
}

/// The parent names the child's ids.
fn map_ids(run: &Settled) -> Vec<Step> {
    let line = |own: u32| format!("0 {own} 1\n");
    vec![
        Step::say("Wait until the child is tied to cutaway")
            .why("From then on it cannot outlive this process.")
            .gate(Gate::Pass("armed")),
        Step::say("Tell the kernel who the child's root is")
            .why(
                "User 0 in there is you out here, and nobody else exists. Groups must be given up first: a \
                 process that could leave a group might pass where that group is kept out. Each map can be \
                 written once.",
            )
            .chapter("14")
            .calls(calls::write(proc_of_child("setgroups"), "deny"))
            .calls(calls::write(proc_of_child("uid_map"), line(run.own_uid)))
            .calls(calls::write(proc_of_child("gid_map"), line(run.own_gid))),
        Step::say("Let the child go on")
            .why("It has an identity now, and with it the capabilities of root in its own user namespace.")
            .gate(Gate::Open("mapped")),
    ]
}

/// The host name.
pub fn hostname(run: &Settled) -> Step {
    Step::say("Name the machine")
        .why("The name belongs to the UTS namespace. The host keeps its own.")
        .chapter("10")
        .call(Syscall::Sethostname { name: run.hostname.as_str().into() })
        .look_at([Probe::Hostname])
        .expect([Claim::Hostname(run.hostname.clone())])
}

/// With `--init`: this process stays PID 1 and starts the workload as its child.
pub fn as_init(run: &Settled, workload: Vec<Step>) -> Vec<Step> {
    const WORKLOAD: Slot = Slot::new("workload pid");
    let mut tied = vec![
        Step::say("Die when init dies")
            .why(
                "PID 1 takes the whole pid namespace with it anyway; this is for the moment before the exec.",
            )
            .call(calls::die_with_parent()),
    ];
    tied.extend(workload);
    let spawn = Spawn {
        clone: Syscall::Clone3 {
            flags: CloneFlags::empty(),
            exit_signal: Some(Signal::SIGCHLD),
            cgroup: None::<Value>,
        },
        into: WORKLOAD,
        actor: "child",
        child: tied,
        meanwhile: vec![
            super::identity::bounding(run),
            super::identity::as_init(run),
            Step::say("Tie init to cutaway once more")
                .why("Giving up capabilities may have dropped the tie.")
                .calls([Call::from(calls::die_with_parent())]),
        ],
    };
    vec![
        Step::say("Hide init from its own children")
            .why(
                "Its program is a file of the host. Not dumpable, its /proc entry gives nobody in here a way \
                 to that file (CVE-2019-5736).",
            )
            .chapter("30")
            .call(calls::not_dumpable()),
        Step::say("Start the workload as a child of init")
            .why(
                "PID 1 has duties: it must collect the ends of orphans, and a signal without a handler never \
                 reaches it. This small init does both and leaves the workload an ordinary process.",
            )
            .chapter("13")
            .spawn(spawn),
        Step::say("Do the duties of PID 1")
            .why("Signals are passed on to the workload, orphans are collected; its exit status becomes init's.")
            .chapter("13")
            .wait(Wait { pid: WORKLOAD, terminal: None, as_init: true }),
    ]
}
