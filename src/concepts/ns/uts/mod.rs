//! `cutaway ns uts`: two names for one machine.

use super::{CHILD, Room, show_host, wait};
use crate::concepts::Context;
use crate::plan::{Claim, Plan, Probe, Step};
use crate::sys::flags::CloneFlags;
use crate::sys::{Slot, Syscall};

/// The names that the child gives its copy.
const NAME: &str = "box";
const DOMAIN: &str = "inside";

const UTS: CloneFlags = CloneFlags::CLONE_NEWUTS;

/// The story.
pub fn plan(room: &Room, _: &Context) -> Plan {
    let (show, look) = show_host("renamed", "seen", vec![from_the_host()]);
    let mut child = vec![start(), rename()];
    child.extend(show);
    child.extend(room.cross(Probe::Hostname, vec![Claim::Hostname(NAME.to_owned())]));
    child.push(not_isolated(room));
    child.extend(room.exec());
    room.plan(vec![
        before(),
        room.keep_host(),
        room.child(birth(), UTS, look, child),
        wait(room),
        after(),
        room.let_go_of_host(),
    ])
}

/// What the host is called, read while planning.
fn host_name() -> String {
    Probe::Hostname.read()["hostname"].as_str().unwrap_or_default().to_owned()
}

fn before() -> Step {
    Step::say("Note the names before anything changes")
        .why("A machine has two names in its kernel: the host name, and the domain name of NIS.")
        .chapter("10")
        .look_at([Probe::Hostname, Probe::Namespaces(UTS)])
}

fn birth() -> Step {
    Step::say("Start a child that has a UTS namespace of its own")
        .why(
            "The kernel copies the names into the new namespace at this moment: child and host start out equal \
             and can now drift apart.",
        )
        .chapter("10")
}

fn start() -> Step {
    Step::say("Read the names in the new namespace")
        .why("They are the host's, because they were copied. The namespace is another: its number says so.")
        .chapter("10")
        .look_at([Probe::Hostname, Probe::Namespaces(UTS)])
        .expect([Claim::Hostname(host_name())])
}

// ANCHOR: rename
fn rename() -> Step {
    Step::say("Rename the machine, seen from inside")
        .why("Both calls need CAP_SYS_ADMIN in the user namespace that owns this UTS namespace.")
        .chapter("10")
        .call(Syscall::Sethostname { name: NAME.into() })
        .call(Syscall::Setdomainname { name: DOMAIN.into() })
        .look_at([Probe::Hostname])
        .expect([Claim::Hostname(NAME.to_owned()), Claim::Domainname(DOMAIN.to_owned())])
}
// ANCHOR_END: rename

fn from_the_host() -> Step {
    let pid = Slot::clone(&CHILD).into();
    Step::say("Read the names on the host")
        .why("Nothing happened here. The child's namespace has another number, and other names in it.")
        .chapter("10")
        .look_at([Probe::Hostname, Probe::Namespaces(UTS), Probe::NamespacesOf { pid, kinds: UTS }])
        .expect([Claim::Hostname(host_name())])
}

fn not_isolated(room: &Room) -> Step {
    let release = "/proc/sys/kernel/osrelease";
    let text = std::fs::read_to_string(release).unwrap_or_default().trim_end().to_owned();
    Step::say("See what this namespace does not isolate")
        .why(
            "uname(2) also tells the kernel's release and version, and those are the host's: there is one \
             kernel. A host name is no network address either. The network, the files and the processes in \
             sight are still the host's.",
        )
        .chapter("10")
        .look_at([Probe::File(release.into())])
        .expect([Claim::FileHolds { path: release.into(), text }, room.shares_the_rest(UTS)])
}

fn after() -> Step {
    Step::say("Look at the host again")
        .why("The namespace has died with its last member. Nothing has to be undone by hand.")
        .chapter("10")
        .look_at([Probe::Hostname, Probe::Namespaces(UTS)])
        .expect([Claim::Hostname(host_name())])
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_story_is_sound() {
        super::super::tests::is_sound("uts");
    }
}
