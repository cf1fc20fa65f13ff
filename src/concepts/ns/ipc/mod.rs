//! `cutaway ns ipc`: which ways of talking between processes are cut, and which are not.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::path::{Path, PathBuf};

use super::{Room, show_host, wait};
use crate::concepts::Context;
use crate::plan::{Call, Claim, Plan, Probe, Step, calls};
use crate::sys::flags::{Access, AtFlags, CloneFlags, IpcFlags, OFlags};
use crate::sys::{Errno, Syscall, Text, Value};

const IPC: CloneFlags = CloneFlags::CLONE_NEWIPC;
/// Where files in memory are kept.
const SHM: &str = "/dev/shm";
/// What the host writes into the file that both sides share.
const NOTE: &str = "from the host";

/// A number that nobody else has: the names that both sides use are made from it.
struct Names {
    key: u32,
    queue: String,
    file: PathBuf,
}

impl Names {
    fn new() -> Self {
        // The standard library seeds its hash tables with random numbers of the kernel.
        let number = RandomState::new().build_hasher().finish();
        // Key 0 is IPC_PRIVATE, which never names an object that exists.
        let key = u32::try_from(number & 0x7fff_ffff).unwrap_or_default() | 1;
        let queue = format!("cutaway-{key:08x}");
        Self { key, file: Path::new(SHM).join(&queue), queue }
    }

    fn message_queue(&self, flags: IpcFlags) -> Syscall {
        Syscall::Msgget { key: self.key, flags, mode: 0o600 }
    }

    fn shared_memory(&self, flags: IpcFlags) -> Syscall {
        Syscall::Shmget { key: self.key, size: 4096, flags, mode: 0o600 }
    }

    fn posix_queue(&self, flags: OFlags) -> Syscall {
        let flags = flags | OFlags::O_CLOEXEC;
        Syscall::MqOpen { name: self.queue.as_str().into(), access: Access::O_RDWR, flags, mode: 0o600 }
    }

    // ANCHOR: not_there
    /// The three, looked for where they are not.
    fn not_there(&self) -> [Call; 3] {
        [
            self.message_queue(IpcFlags::empty()),
            self.shared_memory(IpcFlags::empty()),
            self.posix_queue(OFlags::empty()),
        ]
        .map(|call| Call::from(call).refused(Errno::ENOENT))
    }
    // ANCHOR_END: not_there
}

/// The story.
pub fn plan(room: &Room, _: &Context) -> Plan {
    let names = Names::new();
    let shm = Path::new(SHM).is_dir();
    let (show, look) = show_host("made", "seen", vec![from_the_host(&names)]);
    let mut child = vec![start(), make(&names)];
    child.extend(show);
    child.extend(room.cross(Probe::Ipc, vec![Claim::IpcObjects(2)]));
    child.push(not_isolated(&names, shm, room));
    child.push(twice(&names));
    child.extend(room.exec());
    room.plan(vec![
        before(),
        leave_note(&names, shm),
        room.keep_host(),
        room.child(birth(), IPC, look, child),
        wait(room),
        after(&names),
        room.let_go_of_host(),
    ])
}

fn before() -> Step {
    Step::say("Note what there is before anything changes")
        .why(
            "System V objects have no place in the file system: a number, the key, is their name. That is why \
             they need a namespace of their own.",
        )
        .chapter("11")
        .look_at([Probe::Ipc, Probe::Namespaces(IPC)])
}

fn leave_note(names: &Names, shm: bool) -> Step {
    let step = Step::say("Put a file into /dev/shm")
        .why(
            "shm_open(3), the shared memory of POSIX, is nothing but a file in this directory. The child will \
             look for it.",
        )
        .chapter("11");
    if !shm {
        return step.skip("there is no /dev/shm here");
    }
    let flags = AtFlags::empty();
    let (dir, path) = (Value::CWD, Text::from(&names.file));
    step.calls(calls::create(&names.file, NOTE)).undo([Syscall::Unlinkat { dir, path, flags }])
}

fn birth() -> Step {
    Step::say("Start a child that has an IPC namespace of its own")
        .why("Unlike a UTS namespace, this one does not begin as a copy. It begins empty.")
        .chapter("11")
}

fn start() -> Step {
    Step::say("Look around in the new namespace")
        .why("No queue, no segment, no semaphore, whatever the host has.")
        .chapter("11")
        .look_at([Probe::Ipc, Probe::Namespaces(IPC)])
        .expect([Claim::IpcObjects(0)])
}

fn make(names: &Names) -> Step {
    let new = IpcFlags::IPC_CREAT | IpcFlags::IPC_EXCL;
    Step::say("Make a queue, a shared memory segment and a POSIX queue")
        .why(
            "The first two are found by their key. A POSIX queue has a name like a file, but it lives in a file \
             system that each IPC namespace has for itself, mounted or not.",
        )
        .chapter("11")
        .calls([
            Call::from(names.message_queue(new)),
            Call::from(names.shared_memory(new)),
            Call::from(names.posix_queue(OFlags::O_CREAT | OFlags::O_EXCL)).into_slot("queue"),
        ])
        .look_at([Probe::Ipc])
        .expect([Claim::IpcObjects(2)])
}

fn from_the_host(names: &Names) -> Step {
    Step::say("Look for them on the host")
        .why("The same key and the same name, and ENOENT three times: here they do not exist.")
        .chapter("11")
        .calls(names.not_there())
        .look_at([Probe::Ipc])
        .expect([Claim::SharedNamespaces(IPC)])
}

fn not_isolated(names: &Names, shm: bool, room: &Room) -> Step {
    let step = Step::say("See what this namespace does not isolate")
        .why(
            "The file in /dev/shm is there, and with it every shared memory of POSIX. It is a file of a mounted \
             tmpfs, so that hiding it is the business of a mount namespace. Pipes, sockets and signals are not \
             touched either.",
        )
        .chapter("11")
        .expect([room.shares_the_rest(IPC)]);
    if !shm {
        return step;
    }
    step.look_at([Probe::File(names.file.clone())])
        .expect([Claim::FileHolds { path: names.file.clone(), text: NOTE.to_owned() }])
}

fn twice(names: &Names) -> Step {
    Step::say("Leave this namespace for another one")
        .why(
            "It begins empty again, and what was made in the first is out of reach. With its last member and the \
             last descriptor the kernel destroys a namespace and all that is in it: a queue of the host would \
             stay until somebody removes it.",
        )
        .chapter("11")
        .call(calls::close("queue"))
        .call(calls::unshare(IPC))
        .calls(names.not_there())
        .look_at([Probe::Ipc, Probe::Namespaces(IPC)])
        .expect([Claim::IpcObjects(0), Claim::OwnNamespaces(IPC)])
}

fn after(names: &Names) -> Step {
    Step::say("Look at the host again")
        .why("Nothing of it was ever here.")
        .chapter("11")
        .calls(names.not_there())
        .look_at([Probe::Ipc])
        .expect([Claim::SharedNamespaces(IPC)])
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_story_is_sound() {
        super::super::tests::is_sound("ipc");
    }
}
