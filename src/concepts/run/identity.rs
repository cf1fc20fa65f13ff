//! Who the workload is: its capabilities, its user and groups, its working directory.

use crate::plan::{Claim, Step, calls};
use crate::sys::flags::{CapSet, Capability};
use crate::sys::{Slot, Syscall, Value};

use super::settle::Settled;

/// What is left of root's power: podman's default, which is Docker's without making device nodes, raw
/// sockets and writing to the audit log.
pub const KEPT: [Capability; 11] = [
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FOWNER,
    Capability::CAP_FSETID,
    Capability::CAP_KILL,
    Capability::CAP_SETGID,
    Capability::CAP_SETUID,
    Capability::CAP_SETPCAP,
    Capability::CAP_NET_BIND_SERVICE,
    Capability::CAP_SYS_CHROOT,
    Capability::CAP_SETFCAP,
];

/// Takes capabilities away for good.
pub fn bounding(run: &Settled) -> Step {
    let kept = CapSet::of(&KEPT);
    let dropped = run.kernel_capabilities.iter().filter(move |cap| !kept.has(*cap));
    Step::say("Cut root's power into pieces and keep eleven of them")
        .why(
            "What is dropped from the bounding set can never be had again, by no program and no user of this \
             container. Root may still change owners and modes in here. It may no longer mount, trace other \
             processes, load modules or set the clock.",
        )
        .chapter("26")
        .calls(dropped.map(calls::drop_bounding))
}

/// Groups, group, user, and the capabilities that go with them.
pub fn become_user(run: &Settled) -> Step {
    let user = &run.user;
    let kept = CapSet(CapSet::of(&KEPT).0 & run.own_capabilities.0);
    // A user namespace whose groups were denied has none to set (user_namespaces(7)).
    let groups = (!run.rootless).then(|| Syscall::Setgroups { groups: user.groups.clone() });
    let step = Step::say("Become the workload's user")
        .why(
            "Groups first: without root's power they could no longer be set. The capability sets come last. \
             For a user other than 0 the kernel empties the effective and the permitted set by itself when \
             the user id changes.",
        )
        .chapter("26")
        .calls(groups)
        .calls([Syscall::Setresgid { gid: user.gid }, Syscall::Setresuid { uid: user.uid }])
        .expect([Claim::Ids { uid: user.uid, gid: user.gid }, Claim::CapabilitiesWithin(kept)]);
    if user.uid == 0 {
        let empty = CapSet::default();
        step.call(Syscall::Capset { effective: kept, permitted: kept, inheritable: empty })
    } else {
        step
    }
}

/// Init stays root of the container, with no more power than root has in there.
pub fn as_init(run: &Settled) -> Step {
    let kept = CapSet(CapSet::of(&KEPT).0 & run.own_capabilities.0);
    Step::say("Leave init with the same eleven capabilities")
        .why("It must be able to signal a workload of another user. The rest it does not need.")
        .chapter("26")
        .call(Syscall::Capset { effective: kept, permitted: kept, inheritable: CapSet::default() })
}

/// Where the command starts.
pub fn workdir(run: &Settled) -> Step {
    let make = run.make_workdir.iter().map(|path| calls::mkdir(path, 0o755));
    Step::say("Go to the working directory")
        .why(
            "Still as root: an image may begin in a directory that its user cannot enter by name, and Docker \
             allows that. The path is opened without the magic links of /proc, through which a descriptor that \
             is still open could lead out of the container (CVE-2024-21626).",
        )
        .chapter("30")
        .calls(make)
        .call(calls::open_in_root(run.workdir.clone(), Slot::new("workdir")))
        .call(Syscall::Fchdir { fd: Value::later("workdir") })
        .call(calls::close("workdir"))
}
