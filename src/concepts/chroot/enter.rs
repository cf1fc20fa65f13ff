//! The story of going in: one pointer is another, and everything else is what it was.

use super::settle::{Cell, Root};
use super::{CHILD, tree};
use crate::concepts::ns::show_host;
use crate::plan::calls::mount;
use crate::plan::{Call, Claim, Probe, Step, calls};
use crate::sys::flags::{CloneFlags, MsFlags};
use crate::sys::{Errno, Syscall, Value};

/// What the child does, and what the host looks at meanwhile.
pub fn story(cell: &Cell) -> (Vec<Step>, Vec<Step>) {
    let (show, look) = show_host("moved", "seen", vec![from_the_host(cell)]);
    let mut child = Vec::new();
    child.extend(private(cell));
    child.extend(match &cell.root {
        Root::Tree(tree) => tree::build_by_error(cell, tree),
        _ => tree::build(cell),
    });
    child.extend([change(cell), unchanged()]);
    child.extend(show);
    child.extend([no_namespace(cell), follow()]);
    match &cell.end {
        Some(command) => child.push(command.exec().chapter("2")),
        None if matches!(cell.root, Root::Tree(_)) => child.extend(tree::run_again()),
        None => {}
    }
    (child, look)
}

/// Mounts that are made from here on are the child's own.
pub fn private(cell: &Cell) -> Option<Step> {
    cell.kinds.contains(CloneFlags::CLONE_NEWNS).then(|| {
        Step::say("Keep every mount to yourself")
            .why("Where the host's mounts are shared, what is mounted here would appear there. Private cuts the tie.")
            .chapter("5")
            .call(mount::propagation("/", MsFlags::MS_REC | MsFlags::MS_PRIVATE))
            .expect([Claim::NothingShared])
    })
}

// ANCHOR: change
fn change(cell: &Cell) -> Step {
    let step = Step::say("Move the root")
        .why(
            "The whole of chroot: the pointer to the root is another. From now on a path that begins with / begins \
             there. The working directory is a second pointer, and stays what it was even if it is outside.",
        )
        .chapter("3")
        .call(Syscall::Chroot { path: (&cell.path).into() })
        .look_at([Probe::Root])
        .expect([Claim::OtherRoot(None)]);
    // An image is put together from a working directory that is outside of it.
    if cell.stands_outside || matches!(cell.root, Root::Image(_)) {
        step.expect([Claim::DirectoryOutside])
    } else {
        step
    }
}
// ANCHOR_END: change

/// Read without /proc, which the new root need not have.
fn unchanged() -> Step {
    let name = Probe::Hostname.read()["hostname"].as_str().unwrap_or_default().to_owned();
    Step::say("See from inside what did not change")
        .why(
            "The host name, the network, the processes. pidfd_open takes hold of process 1 by its number, which is \
             the same number in here as out there: who is root could now signal it.",
        )
        .chapter("3")
        .look_at([Probe::Hostname, Probe::Links])
        .call(Call::from(Syscall::PidfdOpen { pid: Value::Known(1) }).into_slot("process 1"))
        .call(calls::close("process 1"))
        .expect([Claim::Hostname(name)])
}

fn from_the_host(cell: &Cell) -> Step {
    let step = Step::say("Look at the child from outside")
        .chapter("3")
        .look_at([
            Probe::RootOf(CHILD.into()),
            Probe::NamespacesOf { pid: CHILD.into(), kinds: cell.all_kinds },
        ])
        .expect([
            Claim::OtherRoot(Some(CHILD.into())),
            Claim::SharesNamespaces { pid: CHILD.into(), kinds: cell.shared_kinds() },
        ]);
    if cell.kinds.is_empty() {
        step.why(
            "The root is another. Every namespace is the host's: the same mounts, processes, network, users. \
             Nothing is isolated; one directory is called / by one process.",
        )
    } else {
        step.why(
            "The root is another. The namespaces are the host's, but for those that this story has made to have \
             something to show: chroot made none of them, and changed none.",
        )
    }
}

fn no_namespace(cell: &Cell) -> Step {
    let step = Step::say("Try to make a user namespace in here")
        .why(
            "Refused by design: in a user namespace of its own this process would have CAP_SYS_CHROOT, and could \
             leave a root that somebody has shut it into. So whoever is in a chroot gets none: EPERM.",
        )
        .chapter("14");
    match cell.may_unshare {
        Ok(()) => step.call(Call::from(calls::unshare(CloneFlags::CLONE_NEWUSER)).refused(Errno::EPERM)),
        Err(why) => step.skip(why),
    }
}

fn follow() -> Step {
    Step::say("Go into the new root")
        .why("chroot(2) does not do this. Whoever forgets it leaves the door open, as `cutaway chroot --escape` shows.")
        .chapter("3")
        .call(calls::chdir("/"))
        .look_at([Probe::Root])
        .expect([Claim::DirectoryInside])
}
