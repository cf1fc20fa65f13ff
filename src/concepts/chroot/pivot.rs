//! The story of doing it right: the root mount is swapped, the old one is detached, and what leads out is shut.
//!
//! `pivot_root(2)` changes what is mounted, where chroot(2) changes where a lookup begins. It does not close descriptors
//! and does not hide processes, so that two of the three ways out are shut by something else, and the story says by what.

use super::settle::{Cell, Root};
use super::{CHILD, OUTSIDE, Way, enter, root_here, tree};
use crate::concepts::ns::show_host;
use crate::plan::calls::mount;
use crate::plan::{Call, Claim, Probe, Step, calls};
use crate::sys::flags::{MsFlags, OFlags};
use crate::sys::{Errno, Syscall, Text, Value};

/// A descriptor of the new root, to compare with.
const INSIDE: &str = "new root";
/// The root of process 1.
const FIRST: &str = "root of process 1";

/// What the child does, and what the host looks at meanwhile.
pub fn story(cell: &Cell, ways: &[Way]) -> (Vec<Step>, Vec<Step>) {
    let (show, look) = show_host("swapped", "seen", vec![from_the_host()]);
    let mut child = Vec::new();
    child.extend(enter::private(cell));
    child.extend([keep(), too_early(cell)]);
    child.extend(tree::build(cell));
    child.extend(bind(cell));
    child.extend([swap(cell), proc(cell), detach(cell)]);
    child.extend(descriptor());
    for way in ways {
        child.extend(match way {
            Way::Fd => by_descriptor(),
            Way::DoubleChroot => by_double_chroot(cell),
            Way::Proc => by_proc(cell),
        });
    }
    child.extend(show);
    child.push(let_go());
    child.extend(cell.end.as_ref().map(|command| command.exec().chapter("2")));
    (child, look)
}

fn keep() -> Step {
    Step::say("Keep a descriptor of the old root")
        .why("It is the one that got out of the chroot. Whether it still does will be seen.")
        .chapter("4")
        .call(calls::open_path("/", OFlags::O_DIRECTORY, OUTSIDE))
}

fn too_early(cell: &Cell) -> Step {
    let at = cell.base.as_ref().unwrap_or(&cell.path);
    let step = Step::say("Try to swap the roots at once").chapter("6");
    match cell.not_mounted {
        Some(errno) => {
            let step = if cell.rootless {
                step.why(
                    "pivot_root swaps mounts, not directories, and this directory is no mount point. Besides, the \
                     mounts that a user namespace has copied are locked, so that it cannot take one away and see \
                     what is below. EINVAL for both. A chroot would not mind.",
                )
            } else if errno == Errno::EBUSY {
                step.why(
                    "pivot_root swaps mounts, not directories, and this directory lies on the root mount itself: \
                     EBUSY. A chroot would not mind.",
                )
            } else {
                step.why(
                    "pivot_root swaps mounts, not directories, and this one is a directory on some mount and no \
                     mount point: EINVAL. A chroot would not mind.",
                )
            };
            step.call(calls::chdir(at)).call(Call::from(calls::pivot_root(".", ".")).refused(errno))
        }
        None => step
            .why("pivot_root swaps mounts, not directories: it refuses what is no mount point.")
            .skip("the new root is a mount point already, so nothing would be refused"),
    }
}

/// A directory becomes a mount of its own. What was put together is one already.
fn bind(cell: &Cell) -> Option<Step> {
    matches!(cell.root, Root::Directory).then(|| {
        Step::say("Bind the directory on itself")
            .why(
                "The same files at the same place, as a mount of its own. MS_REC takes along what is mounted below: \
                 a user namespace may not uncover what was covered.",
            )
            .chapter("6")
            .call(mount::bind(&cell.path, &cell.path, MsFlags::MS_REC))
    })
}

// ANCHOR: swap
fn swap(cell: &Cell) -> Step {
    Step::say("Swap the root mount")
        .why(
            "The new root becomes the root of this mount namespace. Named twice, it is also the place where the old \
             one goes: on top of the new one, so that no directory is needed for it.",
        )
        .chapter("6")
        .call(calls::chdir(&cell.path))
        .call(calls::pivot_root(".", "."))
        .look_at([Probe::Root])
        .expect([Claim::OtherRoot(None)])
}
// ANCHOR_END: swap

fn proc(cell: &Cell) -> Step {
    let step = Step::say("Mount a proc of this pid namespace")
        .why("It shows the processes in here and none outside. What is still mounted can be read in it.")
        .chapter("12");
    match cell.no_proc {
        Some(why) => step.skip(why),
        None => step.call(mount::proc("/proc")).expect([Claim::PidIs(1)]),
    }
}

fn detach(cell: &Cell) -> Step {
    let step = Step::say("Detach the old root")
        .why(
            "It lies on top, so `.` is where it is unmounted. With it goes everything that was mounted in it: from \
             now on no path in this mount namespace leads to a file of the host.",
        )
        .chapter("6")
        .call(mount::detach("."))
        .call(calls::chdir("/"))
        .call(calls::open_path("/", OFlags::O_DIRECTORY, INSIDE))
        .expect([Claim::OtherRoot(None), Claim::RootIs(Value::later(INSIDE))]);
    if cell.no_proc.is_none() { step.look_at([Probe::Mounts]) } else { step }
}

/// What `pivot_root` does not do.
fn descriptor() -> [Step; 2] {
    [
        Step::say("See what pivot_root does not close")
            .why(
                "The descriptor still leads to the old root: it needs no path, and keeps what it refers to alive. \
                 runc left one open until 2024 (CVE-2024-21626), and containers got out by it.",
            )
            .chapter("6")
            .call(Syscall::Fchdir { fd: Value::later(OUTSIDE) })
            .look_at([Probe::Root])
            .expect([Claim::DirectoryOutside]),
        Step::say("Come back, and close it")
            .why("Nothing else refers to the old root now. With its last user the kernel lets it go.")
            .chapter("6")
            .call(calls::chdir("/"))
            .call(calls::close(OUTSIDE))
            .expect([Claim::DirectoryInside]),
    ]
}

fn still_inside() -> [Claim; 2] {
    [Claim::RootIs(Value::later(INSIDE)), Claim::OtherRoot(None)]
}

fn by_descriptor() -> Vec<Step> {
    vec![
        Step::say("Try the way out by a descriptor")
            .why("Closed, it is a number without a meaning: EBADF. A new one can be opened only of what has a path.")
            .chapter("6")
            .call(Call::from(Syscall::Fchdir { fd: Value::later(OUTSIDE) }).refused(Errno::EBADF))
            .expect(still_inside()),
    ]
}

fn by_double_chroot(cell: &Cell) -> Vec<Step> {
    let name = cell.jail.iter().map(|jail| Text::from("/").then(jail.name.as_os_str()));
    let make =
        cell.jail.iter().filter(|jail| jail.by_child).map(|jail| calls::mkdir(jail.name.as_os_str(), 0o755));
    vec![
        Step::say("Try the way out by a second chroot")
            .why(
                "The calls succeed, all of them, and the walk up passes the cell. It ends at the root of the mount \
                 namespace, because nothing is above that: and that is the new root. There is no outside to reach.",
            )
            .chapter("6")
            .calls(make)
            .calls(name.map(|path| Syscall::Chroot { path }))
            .call(calls::chdir(cell.up()))
            .call(root_here())
            .look_at([Probe::Root])
            .expect(still_inside()),
    ]
}

fn by_proc(cell: &Cell) -> Vec<Step> {
    let step = Step::say("Try the way out by /proc")
        .why(
            "Process 1 in this /proc is this process, and its root the new root. It is the pid namespace that shuts \
             this door, and not pivot_root: with the host's /proc in here the link would lead out.",
        )
        .chapter("6");
    if let Some(why) = cell.no_proc {
        return vec![step.skip(why)];
    }
    vec![
        step.call(calls::open_path("/proc/1/root", OFlags::O_DIRECTORY, FIRST))
            .call(Syscall::Fchdir { fd: Value::later(FIRST) })
            .call(root_here())
            .call(calls::close(FIRST))
            .look_at([Probe::Root])
            .expect(still_inside()),
    ]
}

fn from_the_host() -> Step {
    Step::say("Look at the child from outside")
        .why("Its mount table holds what was put there for it. The host's mounts are in the host's table alone.")
        .chapter("6")
        .look_at([Probe::RootOf(CHILD.into()), Probe::MountsOf(CHILD.into())])
        .expect([Claim::OtherRoot(Some(CHILD.into())), Claim::OneRootMount(CHILD.into())])
}

fn let_go() -> Step {
    Step::say("Let go of the descriptor of the new root")
        .why("It was there to compare with.")
        .chapter("6")
        .call(calls::close(INSIDE))
}
