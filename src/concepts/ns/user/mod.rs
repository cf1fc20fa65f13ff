//! `cutaway ns user`: who one is depends on who is asked, and power ends where a namespace ends.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{CHILD, HOST, Room, scratch, show_host, wait};
use crate::concepts::Context;
use crate::concepts::common::birth::{name_root, proc_of, until_tied};
use crate::plan::{Bulk, Call, Claim, Gate, Plan, Probe, Spawn, Step, calls};
use crate::sys::flags::{Access, AtFlags, CloneFlags, OFlags};
use crate::sys::{Errno, Syscall, Value};

const USER: CloneFlags = CloneFlags::CLONE_NEWUSER;
const UTS: CloneFlags = CloneFlags::CLONE_NEWUTS;
/// Who root of the namespace is outside, when the caller may choose: an id that no account has.
const STRANGER: u32 = 100_000;
/// A file that belongs to the host's root on every machine.
const HOSTS_FILE: &str = "/etc/passwd";
/// A descriptor of the child's user namespace.
const USERS: &str = "its user namespace";

mod idmap;
mod range;

/// What the story is about on this host.
struct Story {
    /// Who root of the namespace is outside.
    uid: u32,
    gid: u32,
    /// The ids of those who have none in a namespace.
    overflow: u32,
    overflow_group: u32,
    /// The directory in which the child makes a file.
    directory: PathBuf,
    /// Whether a file of the host's root is nobody's in there.
    strange: bool,
}

impl Story {
    fn new(room: &Room) -> Self {
        let read = |name: &str| {
            std::fs::read_to_string(format!("/proc/sys/kernel/{name}")).ok()?.trim().parse().ok()
        };
        let (uid, gid) = if room.rootless { (room.uid, room.gid) } else { (STRANGER, STRANGER) };
        Self {
            uid,
            gid,
            overflow: read("overflowuid").unwrap_or(65_534),
            overflow_group: read("overflowgid").unwrap_or(65_534),
            directory: scratch(),
            strange: std::fs::metadata(HOSTS_FILE).is_ok_and(|meta| meta.uid() == 0) && uid != 0,
        }
    }

    fn file(&self) -> PathBuf {
        self.directory.join("made-inside")
    }
}

/// The story.
pub fn plan(room: &Room, context: &Context) -> Plan {
    let story = Story::new(room);
    let mut look = vec![owner_outside(&story)];
    if !room.rootless {
        look.push(idmap::keep());
    }
    let (show, look) = show_host("made", "seen", look);
    let mut child = vec![
        arm(),
        nobody(&story),
        Step::say("Say so, and wait to be somebody")
            .why("Only a process outside can say who this one is.")
            .gate(Gate::Open("armed")),
        Step::say("Go on as root of the user namespace")
            .why("The answer also proves that the parent was alive after the tie was made.")
            .gate(Gate::Pass("mapped")),
    ];
    child.extend(become_root(room));
    child.extend([no_groups(room), powers(), powerless(), power_here(), owner_inside(&story)]);
    child.extend(show);
    child.push(cross());
    child.push(not_isolated(room, &story));
    child.extend(room.exec());
    let mut meanwhile = map(&story);
    meanwhile.extend(look);
    // The story makes a UTS namespace itself, once it has tried to do without.
    let spawn = Spawn {
        clone: super::clone(USER | room.with.difference(UTS)),
        into: CHILD,
        actor: "child",
        child,
        meanwhile,
    };
    let mut steps = vec![before(), room.keep_host(), place(room, &story), birth().spawn(spawn)];
    if !room.rootless {
        steps.extend(idmap::steps(&story, &context.here));
    }
    steps.push(wait(room));
    // The exit status is that of the process that ends last, and a command's must be it.
    if room.rootless && room.command.is_none() {
        steps.extend(range::steps(&story, &context.here));
    }
    steps.extend([after(&story), room.let_go_of_host()]);
    let mut plan = room.plan(steps);
    if !room.rootless {
        plan.notes.push(format!("root in there will be user {STRANGER} out here, whom nobody is"));
    }
    plan
}

fn before() -> Step {
    Step::say("Note who you are before anything changes")
        .why("A user id is a number. What it may do depends on the user namespace in which it is looked at.")
        .chapter("14")
        .look_at([Probe::Ids, Probe::Namespaces(USER)])
}

fn place(room: &Room, story: &Story) -> Step {
    let directory = &story.directory;
    let step = Step::say("Make a directory for the child")
        .why("The child will make a file in it, and both sides will look at its owner.")
        .chapter("14")
        .call(calls::mkdir(directory, 0o700))
        .undo([Bulk::RemoveTree { path: directory.clone() }]);
    if room.rootless {
        return step;
    }
    let (dir, path, flags) = (Value::CWD, directory.into(), AtFlags::AT_SYMLINK_NOFOLLOW);
    step.call(Syscall::Fchownat { dir, path, uid: story.uid, gid: story.gid, flags })
}

fn birth() -> Step {
    Step::say("Start a child that has a user namespace of its own")
        .why(
            "This is the one namespace that needs no privilege. It owns the namespaces that are made in it: who \
             is root in there has power over those, and over nothing else.",
        )
        .chapter("14")
}

fn arm() -> Step {
    Step::say("Die when cutaway dies")
        .why("Should cutaway be killed, the kernel kills this process too, and its namespaces end with it.")
        .call(calls::die_with_parent())
        .expect([Claim::OwnNamespaces(USER)])
}

fn nobody(story: &Story) -> Step {
    Step::say("See who this process is")
        .why(
            "Nobody. No id of the host has a counterpart in here yet, and an id without one is shown as the \
             overflow id. The process has every capability all the same, in this namespace.",
        )
        .chapter("14")
        .look_at([Probe::Ids, Probe::Privileges, Probe::Namespaces(USER)])
        .expect([Claim::Ids { uid: story.overflow, gid: story.overflow_group }])
}

fn map(story: &Story) -> Vec<Step> {
    let line = |own: u32| format!("0 {own} 1\n");
    vec![
        until_tied(),
        name_root(&CHILD, story.uid, story.gid).why(
            "The first number is the id inside, the second the id outside, the third how many follow. An ordinary \
             user may map only the own id, and must give up setgroups first: a process that could leave a group \
             might pass where that group is kept out.",
        ),
        Step::say("Try to write a map once more")
            .why("Files would change their owners under running programs. A map is written once: EPERM.")
            .chapter("14")
            .call(calls::open(proc_of(&CHILD, "uid_map"), Access::O_WRONLY, OFlags::empty(), "file"))
            .call(
                Call::from(Syscall::Write { fd: Value::later("file"), data: line(story.uid).into() })
                    .refused(Errno::EPERM),
            )
            .call(calls::close("file")),
        Step::say("Let the child go on").why("It has an identity now.").gate(Gate::Open("mapped")),
    ]
}

fn become_root(room: &Room) -> Vec<Step> {
    if room.rootless {
        return vec![
            Step::say("See who this process is now")
                .why("It was always you. The map gives that a name in here, and the name is 0.")
                .chapter("14")
                .look_at([Probe::Ids])
                .expect([Claim::Ids { uid: 0, gid: 0 }]),
        ];
    }
    vec![
        Step::say("Become root of the namespace")
            .why(
                "The process still has the host's root as its id, which has no counterpart in here. It may \
                 choose any that has one.",
            )
            .chapter("14")
            .calls([Syscall::Setresgid { gid: 0 }, Syscall::Setresuid { uid: 0 }])
            .look_at([Probe::Ids])
            .expect([Claim::Ids { uid: 0, gid: 0 }]),
        Step::say("Tie yourself to cutaway once more")
            .why("The kernel drops the tie whenever a process changes its ids.")
            .call(calls::die_with_parent()),
        Step::say("Make sure once more that it lives")
            .why("It could have died in between.")
            .gate(Gate::ParentLives),
    ]
}

fn no_groups(_: &Room) -> Step {
    Step::say("Try to set the groups")
        .why("`deny` holds for everybody in the namespace, root included, and cannot be taken back.")
        .chapter("14")
        .call(Call::from(Syscall::Setgroups { groups: vec![0] }).refused(Errno::EPERM))
}

fn powers() -> Step {
    Step::say("Count your powers")
        .why("All of them. A capability says what may be done, and the namespace says to what.")
        .chapter("26")
        .look_at([Probe::Privileges])
}

/// The name is the one that the machine has already: even a kernel that allowed this would change nothing.
fn powerless() -> Step {
    let name = Probe::Hostname.read()["hostname"].as_str().unwrap_or_default().to_owned();
    Step::say("Try to use them on the host")
        .why(
            "The UTS namespace that this process is in belongs to the host's user namespace, and there it has no \
             capability at all. EPERM, for root.",
        )
        .chapter("14")
        .call(Call::from(Syscall::Sethostname { name: name.into() }).refused(Errno::EPERM))
        .expect([Claim::SharedNamespaces(UTS)])
}

fn power_here() -> Step {
    Step::say("Use them on something of your own")
        .why(
            "A UTS namespace that is made from here belongs to this user namespace. In it the same call by the \
             same process succeeds. So it is with mounts and networks: that is how containers without root work.",
        )
        .chapter("14")
        .call(calls::unshare(UTS))
        .call(Syscall::Sethostname { name: "box".into() })
        .look_at([Probe::Hostname])
        .expect([Claim::OwnNamespaces(UTS), Claim::Hostname("box".to_owned())])
}

fn owner_inside(story: &Story) -> Step {
    let file = story.file();
    let step = Step::say("Make a file, and look at owners from inside")
        .why(
            "The new file belongs to root, as far as this process can see. Files of the host's root belong to \
             the overflow id: to nobody who has a name in here.",
        )
        .chapter("14")
        .calls(calls::create(&file, "whose is this?"))
        .look_at([Probe::Directory(story.directory.clone())])
        .expect([Claim::Owner { path: file, uid: 0 }]);
    if story.strange {
        step.expect([Claim::Owner { path: Path::new(HOSTS_FILE).into(), uid: story.overflow }])
    } else {
        step
    }
}

fn owner_outside(story: &Story) -> Step {
    Step::say("Look at the same file from outside")
        .why(
            "The disk holds one number, and each reader's namespace translates it. Root in there is an ordinary \
             user out here, so that a process that escapes is one too.",
        )
        .chapter("14")
        .look_at([
            Probe::Directory(story.directory.clone()),
            Probe::NamespacesOf { pid: CHILD.into(), kinds: USER },
            Probe::Namespaces(USER),
        ])
        .expect([Claim::Owner { path: story.file(), uid: story.uid }])
}

fn cross() -> Step {
    Step::say("Try to go back to the host's user namespace")
        .why(
            "The way in needs no privilege, the way out does: CAP_SYS_ADMIN in the namespace that is entered. \
             Even a root of the host that has gone in has left it behind.",
        )
        .chapter("17")
        .call(Call::from(Syscall::Setns { fd: Value::later(HOST), kind: USER }).refused(Errno::EPERM))
        .expect([Claim::OwnNamespaces(USER)])
}

fn not_isolated(room: &Room, story: &Story) -> Step {
    Step::say("See what this namespace does not isolate")
        .why(
            "It hides nothing. Files, processes and the network are the host's, and the permissions on them count \
             as before, by the id outside. Only the names of the ids are others.",
        )
        .chapter("14")
        .look_at([Probe::File("/proc/self/uid_map".into())])
        .expect([Claim::Exists(story.file()), room.shares_the_rest(UTS)])
}

fn after(story: &Story) -> Step {
    Step::say("Look at the host again")
        .why("The namespace is gone, the file is not: it belongs to a number that needs no namespace.")
        .chapter("14")
        .look_at([Probe::Ids])
        .expect([Claim::Owner { path: story.file(), uid: story.uid }, Claim::SharedNamespaces(USER)])
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_story_is_sound() {
        super::super::tests::is_sound("user");
    }
}
