//! A range of ids: what an ordinary user may map only with help.
//!
//! `/etc/subuid` gives ranges of ids to users, and newuidmap, a program with the right to do so, writes them into the
//! maps of a user namespace. It is the one place where another program has a part in the story: without it, nobody
//! but root can.

use std::path::PathBuf;

use super::{Story, USER};
use crate::concepts::common::birth;
use crate::plan::{Claim, Gate, Probe, Spawn, Step, Wait, calls};
use crate::probe::Host;
use crate::sys::flags::{AtFlags, CloneFlags};
use crate::sys::{Slot, Syscall, Text, Value};

/// The child that gets a range.
const RANGED: Slot = Slot::new("ranged pid");
/// The programs that write its maps.
const HELPERS: [(&str, Slot); 2] =
    [("newuidmap", Slot::new("newuidmap pid")), ("newgidmap", Slot::new("newgidmap pid"))];
/// The user inside to whom a file is given.
const OTHER: u32 = 5;

/// What is needed for it.
struct Range {
    programs: [PathBuf; 2],
    /// The first id outside and how many, of users and of groups.
    users: (u32, u32),
    groups: (u32, u32),
}

impl Range {
    fn find(here: &Host) -> Result<Self, &'static str> {
        let (Some(users), Some(groups)) = (here.subuids().first(), here.subgids().first()) else {
            return Err("/etc/subuid and /etc/subgid have no range for you");
        };
        if users.count <= OTHER || groups.count <= OTHER {
            return Err("the range in /etc/subuid or /etc/subgid is too short");
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let find =
            |name: &str| std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file());
        match HELPERS.map(|(name, _)| find(name)) {
            [Some(users_map), Some(groups_map)] => Ok(Self {
                programs: [users_map, groups_map],
                users: (users.first, users.count),
                groups: (groups.first, groups.count),
            }),
            _ => Err("newuidmap and newgidmap are not in PATH: the package is called uidmap or shadow-utils"),
        }
    }
}

/// The steps, or one that says why not.
pub fn steps(story: &Story, here: &Host) -> Vec<Step> {
    let birth = Step::say("Start another child, for a range of ids")
        .why(
            "One id is enough for a shell, and too few for a system: its daemons are users of their own. /etc/subuid \
             lends an ordinary user a range of ids that no account has.",
        )
        .chapter("14");
    match Range::find(here) {
        Err(why) => vec![birth.skip(why)],
        Ok(range) => vec![
            birth.spawn(Spawn {
                clone: super::super::clone(USER),
                into: RANGED,
                actor: "ranged",
                child: child(story),
                meanwhile: meanwhile(story, &range),
            }),
            Step::say("Wait for its end")
                .why("The file that it made stays, and belongs to a number that no account has.")
                .chapter("14")
                .wait(Wait::end(RANGED)),
        ],
    }
}

fn file(story: &Story) -> PathBuf {
    story.directory.join("of-another-user")
}

fn child(story: &Story) -> Vec<Step> {
    let file = file(story);
    let arm = Step::say("Die when cutaway dies")
        .why("Should cutaway be killed, the kernel kills this process too, and its namespace ends with it.")
        .call(calls::die_with_parent())
        .expect([Claim::OwnNamespaces(USER)]);
    let mut steps = birth::tie(arm, true);
    steps.extend([
        Step::say("Give a file to another user")
            .why(
                "Root of a namespace may do that with every id that is mapped, and only with those. Without the range \
                 this would be EINVAL.",
            )
            .chapter("14")
            .calls(calls::create(&file, "not yours"))
            .call(Syscall::Fchownat {
                dir: Value::CWD,
                path: (&file).into(),
                uid: OTHER,
                gid: OTHER,
                flags: AtFlags::AT_SYMLINK_NOFOLLOW,
            })
            .look_at([Probe::Ids, Probe::Directory(story.directory.clone())])
            .expect([Claim::Owner { path: file, uid: OTHER }]),
        Step::say("Let the host look").why("It sees another number.").gate(Gate::Open("given")),
        Step::say("Wait until it has looked").why("Nothing changes meanwhile.").gate(Gate::Pass("seen")),
    ]);
    steps
}

fn meanwhile(story: &Story, range: &Range) -> Vec<Step> {
    let owner = range.users.0 + OTHER - 1;
    vec![
        Step::say("Wait until the child is tied to cutaway")
            .why("From then on it cannot outlive this process.")
            .gate(Gate::Pass("armed")),
        helper(0, story.uid, range),
        Step::say("Wait until it has written the map")
            .why("It checks /etc/subuid, and writes two lines: your own id as 0, and the range from 1 on.")
            .chapter("14")
            .wait(Wait::end(HELPERS[0].1.clone())),
        helper(1, story.gid, range),
        Step::say("Wait until it has written that map too")
            .why("A helper with CAP_SETGID need not have setgroups denied.")
            .chapter("14")
            .wait(Wait::end(HELPERS[1].1.clone())),
        Step::say("Let the child go on").why("It has many identities now.").gate(Gate::Open("mapped")),
        Step::say("Wait until the child has made a file").why("It says so.").gate(Gate::Pass("given")),
        Step::say("Look at its owner from outside")
            .why(
                "User 5 in there is the fifth id of your range out here: nobody on this host, and not you either. Your \
                 own id is 0 in there, and the range begins at 1.",
            )
            .chapter("14")
            .look_at([Probe::Directory(story.directory.clone())])
            .expect([Claim::Owner { path: file(story), uid: owner }]),
        Step::say("Let the child end").why("It has waited for this.").gate(Gate::Open("seen")),
    ]
}

/// Starts one of the two programs.
fn helper(which: usize, own: u32, range: &Range) -> Step {
    let ((name, slot), (first, count)) = (HELPERS[which].clone(), [range.users, range.groups][which]);
    let numbers = [0, own, 1, 1, first, count].map(|number| Text::from(number.to_string()));
    let argv = [Text::from(name), Text::from("").then_later(RANGED)].into_iter().chain(numbers).collect();
    let exec = Syscall::Execve { path: (&range.programs[which]).into(), argv, envp: Vec::new() };
    let step = if which == 0 {
        Step::say("Have a program with the right to do so map the users")
    } else {
        Step::say("Have another one map the groups")
    };
    step.why(
        "newuidmap and newgidmap are set-user-ID root, or have CAP_SETUID and CAP_SETGID as capabilities of their \
         files. They are told a process and triples of numbers, and refuse what the two files do not give to who calls.",
    )
    .chapter("14")
    .spawn(Spawn {
        clone: super::super::clone(CloneFlags::empty()),
        into: slot,
        actor: name,
        child: vec![
            Step::say("Become the helper")
                .why("Which files it reads and writes from here on is its own business.")
                .exec(vec![exec]),
        ],
        meanwhile: Vec::new(),
    })
}
