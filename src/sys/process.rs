//! The few process-wide calls that the engine's plumbing needs and that safe libraries do not offer.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

use super::linux::{Kernel, Linux};
use super::syscall::Syscall;

/// What a child process runs; its result is the exit status.
pub type ChildMain<K> = Box<dyn FnOnce(K) -> i32 + Send>;

/// A kernel that can also start processes: the running one, or a fake that uses threads.
pub trait Processes: Kernel + Sized {
    /// Performs the clone3 of `call`. In the parent it returns the child's pid. The child first closes the
    /// descriptors in `close`, which are the parent's alone, runs `main`, and exits.
    ///
    /// # Errors
    /// The errno that the call failed with.
    fn spawn(&mut self, call: &Syscall, close: &[RawFd], main: ChildMain<Self>) -> Result<i64, Errno>;

    /// Whether processes are real, so that they can be waited for and signalled.
    fn is_real(&self) -> bool;
}

impl Processes for Linux {
    fn spawn(&mut self, call: &Syscall, close: &[RawFd], main: ChildMain<Self>) -> Result<i64, Errno> {
        let returned = self.call(call)?.value;
        if returned != 0 {
            return Ok(returned);
        }
        for fd in close {
            // A descriptor of the parent that is already closed is no fault.
            let _ = nix::unistd::close(*fd);
        }
        exit(main(Self))
    }

    fn is_real(&self) -> bool {
        true
    }
}

/// Takes ownership of a descriptor that the kernel has installed for this process.
#[must_use]
pub fn adopt(fd: RawFd) -> OwnedFd {
    // SAFETY: the callers pass descriptors that a system call has just returned to them (a result stored in
    // a slot, a descriptor received with SCM_RIGHTS) and that no other owner closes.
    #[allow(unsafe_code)]
    unsafe {
        OwnedFd::from_raw_fd(fd)
    }
}

/// Ends the process at once, without running what the parent registered for its own end.
pub fn exit(status: i32) -> ! {
    // SAFETY: _exit(2) never returns and touches no memory of the process.
    #[allow(unsafe_code)]
    unsafe {
        libc::_exit(status)
    }
}

/// Gives SIGPIPE its default action back, which Rust's runtime has set to `ignore`: `cutaway … | head` then
/// ends as every other tool does, and the workload does not inherit an ignored signal.
pub fn default_sigpipe() {
    // SAFETY: SIG_DFL is a valid disposition, and no other thread exists yet.
    #[allow(unsafe_code)]
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}

/// Borrows a descriptor by its number.
#[must_use]
pub fn borrow<'fd>(fd: RawFd) -> std::os::fd::BorrowedFd<'fd> {
    // SAFETY: the callers pass descriptors that stay open while the result is used: the standard ones, and
    // those that the engine's own structures hold. A closed one would give EBADF, never touch memory.
    #[allow(unsafe_code)]
    unsafe {
        std::os::fd::BorrowedFd::borrow_raw(fd)
    }
}
