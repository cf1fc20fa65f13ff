//! The story of coming out: whoever may call chroot may call it once more.
//!
//! The kernel stops `..` at the root of the process, and nowhere else. All three ways get hold of a directory that is
//! not below that root: then no `..` ever meets it, and a last chroot makes the pointer what it was.

use super::settle::Cell;
use super::{CHILD, OUTSIDE, Way, enter, go_in, helper, root_here, tree};
use crate::concepts::ns::show_host;
use crate::plan::calls::mount;
use crate::plan::{Call, Claim, Gate, Probe, Step, Wait, calls};
use crate::sys::flags::{MsFlags, OFlags};
use crate::sys::{Errno, Slot, Syscall, Text, Value};

/// A process that stays outside.
const NEIGHBOUR: Slot = Slot::new("neighbour pid");
/// The root of another process.
const OTHER: &str = "other root";

/// What the child does, and what the host looks at meanwhile.
pub fn story(cell: &Cell, way: Way) -> (Vec<Step>, Vec<Step>) {
    let (show, look) = show_host("out", "seen", vec![from_the_host()]);
    let mut child = Vec::new();
    child.extend(enter::private(cell));
    child.extend(tree::build(cell));
    child.extend(match way {
        Way::DoubleChroot => [vec![enter(cell)], double_chroot(cell)].concat(),
        Way::Fd => [vec![keep(), enter(cell)], by_descriptor()].concat(),
        Way::Proc => by_proc(cell),
    });
    child.extend(show);
    child.extend(cell.end.as_ref().map(|command| command.exec().chapter("2")));
    (child, look)
}

fn enter(cell: &Cell) -> Step {
    Step::say("Shut yourself in")
        .why("The root and the working directory, as it should be done. Nothing outside has a path any more.")
        .chapter("3")
        .calls(go_in(&cell.path))
        .look_at([Probe::Root])
        .expect([Claim::OtherRoot(None), Claim::DirectoryInside])
}

/// Three steps: a second root below, with the working directory left above it.
fn double_chroot(cell: &Cell) -> Vec<Step> {
    let jail = cell.jail.iter().map(|jail| Text::from(jail.name.as_os_str()));
    let make =
        cell.jail.iter().filter(|jail| jail.by_child).map(|jail| calls::mkdir(jail.name.as_os_str(), 0o755));
    vec![
        Step::say("Move the root once more, further in")
            .why(
                "Only the root goes into the second cell. The working directory stays where it is, and that is \
                 outside of the new root now: there is one root, and the first one is forgotten.",
            )
            .chapter("4")
            .calls(make)
            .calls(jail.map(|path| Syscall::Chroot { path }))
            .look_at([Probe::Root])
            .expect([Claim::DirectoryOutside]),
        Step::say("Walk up")
            .why(
                "`..` stops at the root of the process. The walk begins above that root and never meets it, so it \
                 ends only where the tree of the host ends.",
            )
            .chapter("4")
            .call(calls::chdir(cell.up()))
            .look_at([Probe::Root]),
        out("The root is where it was before all of this. chroot took nothing away that it could not give back."),
    ]
}

fn keep() -> Step {
    Step::say("Keep a descriptor of a directory outside")
        .why(
            "Of the root, say. Nobody needs to mean harm: a log file, a socket, a directory that a library has \
             open will do. A descriptor refers to the thing and not to a path.",
        )
        .chapter("4")
        .call(calls::open_path("/", OFlags::O_DIRECTORY, OUTSIDE))
}

// ANCHOR: descriptor
fn by_descriptor() -> Vec<Step> {
    vec![
        Step::say("Go where the descriptor leads")
            .why("fchdir asks for no path and passes no root. The working directory is outside now.")
            .chapter("4")
            .call(Syscall::Fchdir { fd: Value::later(OUTSIDE) })
            .look_at([Probe::Root])
            .expect([Claim::DirectoryOutside]),
        out("One descriptor that was left open undoes a chroot.").call(calls::close(OUTSIDE)),
    ]
}
// ANCHOR_END: descriptor

/// By the link to the root of another process. Where process 1 will not do, a neighbour stays outside.
fn by_proc(cell: &Cell) -> Vec<Step> {
    let mut first = Vec::new();
    first.extend(mount_proc(cell));
    if cell.first_is_outside {
        first.push(enter(cell));
        first.extend(through("/proc/1/root".into()));
        return first;
    }
    let mut meanwhile = vec![enter(cell)];
    meanwhile.extend(first_refuses(cell));
    meanwhile.extend(through(Text::from("/proc/").then_later(NEIGHBOUR).then("/root")));
    meanwhile
        .push(Step::say("Let the neighbour go").why("It is not needed any more.").gate(Gate::Open("free")));
    let stay = vec![
        Step::say("Stay outside")
            .why("This process does nothing but to have the root of the host.")
            .gate(Gate::Pass("free")),
    ];
    first.push(
        Step::say("Start a neighbour that stays outside")
            .why(
                "Process 1 will not do here: this process may not follow its links. But there nearly always is \
                 another process of the same user namespace, a shell or a supervisor.",
            )
            .chapter("4")
            .spawn(helper("neighbour", NEIGHBOUR, stay, meanwhile)),
    );
    first.push(
        Step::say("Wait for the end of the neighbour")
            .why("Whoever starts a process collects it.")
            .chapter("2")
            .wait(Wait::end(NEIGHBOUR)),
    );
    first
}

fn mount_proc(cell: &Cell) -> Option<Step> {
    let proc = cell.proc.as_ref()?;
    Some(
        Step::say("Mount the host's /proc in the new root")
            .why("As nearly every guide to chroot tells, because so many programs want it.")
            .chapter("4")
            .call(mount::bind("/proc", cell.path.join(&proc.name), MsFlags::MS_REC)),
    )
}

/// A user namespace shuts this door.
fn first_refuses(cell: &Cell) -> Option<Step> {
    (cell.rootless && cell.first_is_visible).then(|| {
        Step::say("Try the root of process 1")
            .why(
                "As root of the host this would be the way out. From a user namespace it is shut: following the link \
                 takes the right to trace that process, and process 1 is not in this namespace.",
            )
            .chapter("14")
            .call(calls::open_path("/proc/1/root", OFlags::O_DIRECTORY, OTHER).refused(Errno::EACCES))
    })
}

fn through(link: Text) -> Vec<Step> {
    vec![
        Step::say("Open the root of a process outside")
            .why(
                "`root` in /proc looks like a symbolic link and is none: no path is followed, the kernel goes to the \
                 directory itself. It lies outside.",
            )
            .chapter("4")
            .call(calls::open_path(link, OFlags::O_DIRECTORY, OTHER))
            .call(Syscall::Fchdir { fd: Value::later(OTHER) })
            .look_at([Probe::Root])
            .expect([Claim::DirectoryOutside]),
        out("A /proc that shows a process outside is a door.").call(calls::close(OTHER)),
    ]
}

fn out(why: &'static str) -> Step {
    Step::say("Make the place you have reached the root")
        .why(why)
        .chapter("4")
        .call(Call::from(root_here()))
        .look_at([Probe::Root])
        .expect([Claim::HostRoot(None)])
}

fn from_the_host() -> Step {
    Step::say("Look at the child from outside")
        .why("Its root is the host's. It was a prisoner for a few calls, and needed no fault in the kernel to leave.")
        .chapter("4")
        .look_at([Probe::RootOf(CHILD.into()), Probe::Root])
        .expect([Claim::HostRoot(Some(CHILD.into()))])
}
