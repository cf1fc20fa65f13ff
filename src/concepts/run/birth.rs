//! The birth of the container's first process: namespaces, the tie to its parent, its name.

use crate::concepts::common::birth;
use crate::plan::{Call, Claim, Gate, Probe, Spawn, Step, Wait, calls};
use crate::sys::flags::{CloneFlags, Signal};
use crate::sys::{Slot, Syscall, Value};

use super::CHILD;
use super::args::Network;
use super::settle::Settled;
use super::terminal;
use crate::concepts::common::groups::Groups;

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
        meanwhile.extend(birth::map_ids(&CHILD, run.own_uid, run.own_gid));
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
    birth::tie(arm, run.rootless)
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
            .wait(Wait { pid: WORKLOAD, terminal: None, as_init: true, only_reports: false }),
    ]
}
