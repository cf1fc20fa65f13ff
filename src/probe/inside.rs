//! Looking from inside: what a process sees in its own namespaces.
//!
//! Much of it is shown in /proc/PID from outside. What is not (host name, clocks, owners of files) is read by a
//! child that goes into those namespaces with setns(2), looks, writes what it saw into a pipe, and exits. It
//! changes nothing, and the process that was looked at is not touched.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, pipe2, write};
use serde_json::Value as Json;

use super::ns::KINDS;
use crate::sys::flags::{CloneFlags, Signal};
use crate::sys::process::Processes;
use crate::sys::{Kernel, Linux, Syscall, Value};

/// The number of a namespace of a process: its inode. `None` where it may not be read.
#[must_use]
pub fn namespace(pid: i32, kind: &str) -> Option<u64> {
    std::fs::metadata(format!("/proc/{pid}/ns/{kind}")).ok().map(|meta| meta.ino())
}

/// The number of a namespace of this process.
#[must_use]
pub fn own_namespace(kind: &str) -> Option<u64> {
    namespace(std::process::id().cast_signed(), kind)
}

/// Those of the kinds in which the process is not where this one is.
#[must_use]
pub fn differing(pid: i32, kinds: CloneFlags) -> CloneFlags {
    let asked = KINDS.iter().filter(|(flag, _)| kinds.contains(*flag));
    let other =
        asked.filter(|(_, name)| namespace(pid, name).is_some_and(|one| own_namespace(name) != Some(one)));
    other.map(|(flag, _)| *flag).collect()
}

/// The number of the mount that a path lies on, also one of another process: its working directory, or a path below
/// its root.
#[must_use]
pub fn mount_of(path: &Path) -> Option<u32> {
    use std::os::unix::fs::OpenOptionsExt;
    // Only to name it: that needs no permission on the file itself, and opens no device.
    let file = File::options().read(true).custom_flags(libc::O_PATH).open(path).ok()?;
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).ok()?;
    super::read::field(&info, "mnt_id")?.parse().ok()
}

/// What `look` sees in the namespaces of these kinds of a process.
///
/// Its user namespace is always joined with them: there an ordinary user has the right to join the others.
///
/// # Errors
/// Why it cannot be seen, in a few words.
pub fn look(
    pid: i32,
    kinds: CloneFlags,
    look: impl FnOnce() -> Json + Send + 'static,
) -> Result<Json, String> {
    let kinds = differing(pid, kinds | CloneFlags::CLONE_NEWUSER);
    let (ours, theirs) = pipe2(OFlag::O_CLOEXEC).map_err(|errno| format!("no pipe: {errno:?}"))?;
    let clone =
        Syscall::Clone3 { flags: CloneFlags::empty(), exit_signal: Some(Signal::SIGCHLD), cgroup: None };
    let main = move |mut kernel: Linux| match join(&mut kernel, pid, kinds) {
        Ok(()) => tell(&theirs, &look()),
        Err(errno) => errno as i32,
    };
    let child = Linux.spawn(&clone, &[], Box::new(main)).map_err(|errno| format!("no child: {errno:?}"))?;
    let mut text = String::new();
    let read = File::from(ours).read_to_string(&mut text);
    let status = waitpid(Pid::from_raw(i32::try_from(child).unwrap_or(0)), None);
    match (status, read) {
        (Ok(nix::sys::wait::WaitStatus::Exited(_, 0)), Ok(_)) => {
            serde_json::from_str(&text).map_err(|error| error.to_string())
        }
        (Ok(nix::sys::wait::WaitStatus::Exited(_, errno)), _) => {
            Err(format!("the namespaces of process {pid} cannot be joined: {:?}", Errno::from_raw(errno)))
        }
        _ => Err(format!("the child that looked into process {pid} has not come back")),
    }
}

fn join(kernel: &mut Linux, pid: i32, kinds: CloneFlags) -> Result<(), Errno> {
    if kinds.is_empty() {
        return Ok(());
    }
    let pidfd = kernel.call(&Syscall::PidfdOpen { pid: pid.into() })?.value;
    kernel.call(&Syscall::Setns { fd: Value::Known(pidfd), kind: kinds }).map(drop)
}

/// Writes what was seen; the exit status.
fn tell(pipe: &OwnedFd, seen: &Json) -> i32 {
    let text = seen.to_string();
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        match write(pipe, rest) {
            Ok(written) => rest = &rest[written..],
            Err(errno) => return errno as i32,
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_differs_from_oneself() {
        let own = std::process::id().cast_signed();
        assert_eq!(differing(own, CloneFlags::all()), CloneFlags::empty());
        assert!(own_namespace("uts").is_some());
        assert_eq!(namespace(-1, "uts"), None);
    }
}
