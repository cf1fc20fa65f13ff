//! Standard streams: a terminal that is allocated inside, or the ones that cutaway was given.

use crate::plan::{Call, Gate, Step, calls};
use crate::sys::flags::{Access, AtFlags, MsFlags, OFlags};
use crate::sys::syscall::Ioctl;
use crate::sys::{Slot, Syscall, Value};

use super::settle::Settled;

/// The master side of the container's terminal.
pub const MASTER: Slot = Slot::new("master");
const MASTER_NAME: &str = "master";
const TERMINAL: &str = "terminal";

/// The steps of the child.
pub fn inside(run: &Settled) -> Vec<Step> {
    if run.tty {
        return vec![allocate(run), console(), hand_over(), adopt()];
    }
    if run.interactive { Vec::new() } else { vec![no_input()] }
}

/// The step of the parent.
pub fn outside(run: &Settled) -> Option<Step> {
    run.tty.then(|| {
        Step::say("Take the master side of the container's terminal")
            .why("What you type goes in there, and what the container prints comes out.")
            .gate(Gate::Take(MASTER))
    })
}

fn allocate(run: &Settled) -> Step {
    let peer = Call::from(calls::ioctl(MASTER_NAME, Ioctl::OpenPeer)).into_slot(TERMINAL);
    let step = Step::say("Allocate a pseudo-terminal")
        .why(
            "Two ends of a pipe with the manners of a terminal between them. It comes from the container's \
             own devpts, so that its name, /dev/pts/0, is true inside.",
        )
        .chapter("33")
        .call(calls::open("/dev/pts/ptmx", Access::O_RDWR, OFlags::O_NOCTTY, MASTER_NAME))
        .call(calls::ioctl(MASTER_NAME, Ioctl::LockPty(false)))
        .call(peer);
    if run.user.uid == 0 {
        return step;
    }
    // The user must be able to open /dev/tty's terminal again by its name.
    let (uid, path) = (run.user.uid, "/dev/pts/0".into());
    step.call(Syscall::Fchownat { dir: Value::CWD, path, uid, gid: u32::MAX, flags: AtFlags::empty() })
}

fn console() -> Step {
    Step::say("Give it the name /dev/console too")
        .why("Programs that write to the console reach your terminal and not the host's.")
        .calls([
            calls::empty_file("/dev/console"),
            calls::mount::bind("/dev/pts/0", "/dev/console", MsFlags::empty()),
        ])
}

fn hand_over() -> Step {
    Step::say("Hand the master side to cutaway on the host")
        .why(
            "An open descriptor travels over the socket; the kernel installs a copy of it on the other side.",
        )
        .gate(Gate::Hand(MASTER))
}

fn adopt() -> Step {
    Step::say("Make it the controlling terminal and the standard streams")
        .why(
            "A session without a terminal, which setsid has made, can adopt one. From now on ^C in it becomes \
             SIGINT for the processes in its foreground.",
        )
        .chapter("33")
        .call(calls::close(MASTER_NAME))
        .call(calls::ioctl(TERMINAL, Ioctl::ControllingTerminal))
        .calls([0, 1, 2].map(|fd| calls::dup_to(TERMINAL, fd)))
        .call(calls::close(TERMINAL))
}

fn no_input() -> Step {
    Step::say("Give it nothing to read")
        .why("Without -i the container's standard input is /dev/null, as with Docker.")
        .call(calls::open("/dev/null", Access::O_RDONLY, OFlags::empty(), "null"))
        .call(calls::dup_to("null", 0))
        .call(calls::close("null"))
}
