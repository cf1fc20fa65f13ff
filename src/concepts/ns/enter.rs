//! `cutaway ns enter`: into the namespaces of a process, or into one that is pinned.
//!
//! ```text
//!   host      opens the namespaces while their paths still mean the same
//!   joiner    goes into them, one after the other
//!   command   a child of joiner, where a pid namespace is joined: that is for children only
//! ```
//!
//! The order follows from what each call needs. Without privilege on the host the user namespace comes first,
//! because the rights over the others come from there. With it, the user namespace comes last, because by going
//! there the rights over what is not its own are lost. The mount namespace is the last of the others: after that,
//! /proc may be one that this process is not in.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::ArgMatches;

use super::{CHILD, clone, pin};
use crate::concepts::common::command::Command;
use crate::concepts::{Context, Stage};
use crate::error::{Error, Result, exit};
use crate::plan::{Claim, Gate, Plan, Probe, Spawn, Step, Wait, calls};
use crate::probe::census::{self, Standing, Unreadable};
use crate::probe::{Host, ids};
use crate::sys::flags::{Access, Capability, CloneFlags, OFlags};
use crate::sys::{Slot, Syscall, Text, Value};

/// The command's pid, where it is a child of the one that joins.
const COMMAND: Slot = Slot::new("command pid");
/// Where the target works.
const PLACE: &str = "working directory";
/// What runs where no command is named.
const SHELL: &str = "/bin/sh";
/// Where programs are looked for in another mount namespace, after the caller's PATH.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A kind, in the order in which the kinds are joined, the user namespace apart.
struct Kind {
    flag: CloneFlags,
    name: &'static str,
    slot: &'static str,
    say: &'static str,
    why: &'static str,
}

const KINDS: [Kind; 8] = [
    Kind {
        flag: CloneFlags::CLONE_NEWUSER,
        name: "user",
        slot: "its user namespace",
        say: "Join the user namespace",
        why: "From here on this process has the capabilities of that namespace, and none of those that it had outside. \
              An id that is not mapped in there is shown as the overflow id.",
    },
    Kind {
        flag: CloneFlags::CLONE_NEWCGROUP,
        name: "cgroup",
        slot: "its cgroup namespace",
        say: "Join the cgroup namespace",
        why: "Paths of groups are told relative to its root now. The process stays in its own group, with its limits.",
    },
    Kind {
        flag: CloneFlags::CLONE_NEWIPC,
        name: "ipc",
        slot: "its ipc namespace",
        say: "Join the IPC namespace",
        why: "The queues and segments in there can be found by their keys.",
    },
    Kind {
        flag: CloneFlags::CLONE_NEWUTS,
        name: "uts",
        slot: "its uts namespace",
        say: "Join the UTS namespace",
        why: "The host name is the one in there.",
    },
    Kind {
        flag: CloneFlags::CLONE_NEWNET,
        name: "net",
        slot: "its net namespace",
        say: "Join the network namespace",
        why: "Sockets that are made from here on belong there. Those that are open already stay where they are.",
    },
    Kind {
        flag: CloneFlags::CLONE_NEWTIME,
        name: "time",
        slot: "its time namespace",
        say: "Join the time namespace",
        why: "The clocks that count from the boot get the offsets in there.",
    },
    Kind {
        flag: CloneFlags::CLONE_NEWPID,
        name: "pid",
        slot: "its pid namespace",
        say: "Join the pid namespace, for children",
        why: "A process keeps its number for life, so that this one stays where it is: its children will be in there. \
              That is why the command is one.",
    },
    Kind {
        flag: CloneFlags::CLONE_NEWNS,
        name: "mnt",
        slot: "its mnt namespace",
        say: "Join the mount namespace",
        why: "Root and working directory are those of the mount table in there from now on. A path that meant one file \
              before may mean another.",
    },
];

/// Whose namespaces are entered.
enum Target {
    /// Those of a process.
    Process(i32, Standing),
    /// One that is mounted on a file.
    Pin(PathBuf, &'static str, u64),
}

/// One namespace that was asked for.
struct Join {
    kind: &'static Kind,
    /// Where it is opened.
    path: PathBuf,
    number: u64,
    /// It is the caller's own already.
    same: bool,
}

/// Everything that is known while planning.
struct Story {
    title: String,
    target: Target,
    joins: Vec<Join>,
    /// The ids to take in the user namespace that is joined; none where nothing is to be changed.
    root: bool,
    /// Whether supplementary groups may be dropped there.
    groups: bool,
    privileged: bool,
    directory: Option<PathBuf>,
    candidates: Vec<Syscall>,
}

/// `cutaway ns enter PID|PIN [--type KIND,…] [--wd DIR] [-- COMMAND]`
pub fn stage(matches: &ArgMatches, context: &Context) -> Result<Stage> {
    let typed = matches.get_one::<String>("target").map(String::as_str).unwrap_or_default();
    let kinds = super::kinds_of(matches, CloneFlags::all())?;
    let target = if let Some((path, kind, number)) = pin::target(typed, &context.state)? {
        Target::Pin(path, kind, number)
    } else {
        let pid = pid_of(typed)?;
        Target::Process(pid, standing(pid)?)
    };
    let joins = joins(&target, kinds, matches.contains_id("type") && matches.get_raw("type").is_some())?;
    allowed(typed, &joins, &context.here)?;
    let words: Vec<OsString> = matches.get_many("command").into_iter().flatten().cloned().collect();
    let directory = matches.get_one::<PathBuf>("wd").cloned();
    let (root, groups) = identity(&target, &joins);
    let candidates = candidates(&words, &target, &joins)?;
    let title = format!("ns enter {typed}");
    let privileged = context.here.is_privileged();
    let story = Story { title, target, joins, root, groups, privileged, directory, candidates };
    Ok(plan(&story).into())
}

/// The pid that was typed.
///
/// # Errors
/// It is none.
pub fn pid_of(typed: &str) -> Result<i32> {
    typed.parse().ok().filter(|pid| *pid > 0).ok_or_else(|| {
        Error::new(format!("{typed:?} is neither the number of a process nor a pin"))
            .rule("a process is named by its pid, a pin by its name or by a path with a slash in it")
            .remedy("cutaway ns ls shows both")
            .exit(exit::USAGE)
    })
}

/// The namespaces of a process.
///
/// # Errors
/// It does not exist, has ended, or is not the caller's to look into.
pub fn standing(pid: i32) -> Result<Standing> {
    census::standing(pid).map_err(|why| {
        let error = match why {
            Unreadable::Gone => Error::new(format!("there is no process {pid}"))
                .rule("its namespaces are found by its directory in /proc, and there is none")
                .remedy("cutaway ns ls lists processes; in a container only its own are seen"),
            Unreadable::Zombie => Error::new(format!("process {pid} has ended"))
                .rule("a zombie is in no namespace any more: only its number is left until its parent collects it"),
            Unreadable::Forbidden { uid } => {
                let whose = uid.map_or_else(String::new, |uid| format!(", which belongs to user {uid}"));
                Error::new(format!("you may not look into process {pid}{whose}"))
                    .rule(
                        "its namespaces can be opened only by who could trace it: the same user, with no fewer \
                         capabilities, or CAP_SYS_PTRACE in its user namespace (ptrace(2))",
                    )
                    .remedy("as root")
            }
        };
        error.chapter("17")
    })
}

fn joins(target: &Target, kinds: CloneFlags, named: bool) -> Result<Vec<Join>> {
    let all: Vec<(&'static Kind, PathBuf, u64)> = match target {
        Target::Process(pid, standing) => {
            let number = |kind: &Kind| {
                standing.namespaces.iter().find(|(flag, ..)| *flag == kind.flag).map(|(_, _, number)| *number)
            };
            let path = |kind: &Kind| PathBuf::from(format!("/proc/{pid}/ns/{}", kind.name));
            KINDS.iter().filter_map(|kind| Some((kind, path(kind), number(kind)?))).collect()
        }
        Target::Pin(path, name, number) => {
            KINDS.iter().filter(|kind| kind.name == *name).map(|kind| (kind, path.clone(), *number)).collect()
        }
    };
    let wanted = all.into_iter().filter(|(kind, ..)| kinds.contains(kind.flag));
    let joins: Vec<Join> = wanted
        .map(|(kind, path, number)| Join { same: census::own(kind.name) == Some(number), kind, path, number })
        // What was asked for by name is told even if there is nothing to do.
        .filter(|join| named || !join.same)
        .collect();
    if joins.is_empty() && named {
        return Err(Error::new("there is no namespace of that kind to join")
            .rule("a pin is of one kind, and --type names another"));
    }
    Ok(joins)
}

/// Who may not join is told before anything is tried.
fn allowed(typed: &str, joins: &[Join], here: &Host) -> Result<()> {
    let first = joins.iter().find(|join| !join.same);
    let user = joins.iter().any(|join| !join.same && join.kind.flag == CloneFlags::CLONE_NEWUSER);
    let Some(first) = first else { return Ok(()) };
    if user || here.capabilities.has(Capability::CAP_SYS_ADMIN) {
        return Ok(());
    }
    Err(Error::new(format!("you may not join the {} namespace of {typed}", first.kind.name))
        .rule(
            "setns needs CAP_SYS_ADMIN in the user namespace that owns the namespace, and you have no capability: not \
             where you are, and not there as long as you have not joined it",
        )
        .remedy("as root; or --type user as well, if it is a user namespace that you made")
        .chapter("17"))
}

/// Whether to become root of the user namespace that is joined, and whether groups can be dropped there.
fn identity(target: &Target, joins: &[Join]) -> (bool, bool) {
    let joins_user = joins.iter().any(|join| !join.same && join.kind.flag == CloneFlags::CLONE_NEWUSER);
    let Target::Process(pid, _) = target else { return (joins_user, false) };
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let has_root = |name: &str| ids::parse_map(&read(name)).iter().any(|range| range.inside == 0);
    (joins_user && has_root("uid_map") && has_root("gid_map"), read("setgroups").trim() == "allow")
}

/// The calls that may become the command: one, or one for each place where it may be.
fn candidates(words: &[OsString], target: &Target, joins: &[Join]) -> Result<Vec<Syscall>> {
    let shell = [OsString::from(SHELL)];
    let words = if words.is_empty() { &shell[..] } else { words };
    let elsewhere = joins.iter().any(|join| !join.same && join.kind.flag == CloneFlags::CLONE_NEWNS);
    if !elsewhere {
        return Ok(Command::find(words)?.map(|command| command.calls()).unwrap_or_default());
    }
    let name = &words[0];
    let own = std::env::var_os("PATH").unwrap_or_default();
    let all = std::env::split_paths(&own).chain(std::env::split_paths(PATH));
    let mut places: Vec<PathBuf> = if name.as_bytes().contains(&b'/') {
        vec![name.into()]
    } else {
        all.filter(|dir| dir.is_absolute()).map(|dir| dir.join(name)).collect()
    };
    let mut seen = std::collections::HashSet::new();
    places.retain(|place| seen.insert(place.clone()));
    if let Target::Process(pid, _) = target {
        let root = PathBuf::from(format!("/proc/{pid}/root"));
        places.retain(|place| is_there(&root, place));
        if places.is_empty() {
            return Err(Error::new(format!(
                "there is no program {} in that mount namespace",
                name.to_string_lossy()
            ))
            .rule("it holds its own programs: those of the host are not in there")
            .exit(exit::NOT_FOUND));
        }
    }
    Ok(places.into_iter().map(|path| Command::new(path, words)).flat_map(|command| command.calls()).collect())
}

/// Whether a path exists below a root. A link is not followed: it would be looked up in this process's own root.
fn is_there(root: &Path, path: &Path) -> bool {
    let below = root.join(path.strip_prefix("/").unwrap_or(path));
    let Ok(meta) = below.symlink_metadata() else { return false };
    meta.is_symlink() || meta.is_file() && meta.permissions().mode() & 0o111 != 0
}

fn plan(story: &Story) -> Plan {
    let mut plan = Plan::new(&story.title);
    let really = || story.joins.iter().filter(|join| !join.same);
    if story.privileged {
        plan.needs = vec!["CAP_SYS_ADMIN"];
    }
    if really().count() == 0 {
        plan.notes.push("all of its namespaces are yours already: there is nothing to join".to_owned());
    }
    let opened: Vec<&Join> = really().collect();
    plan.steps.push(look(story));
    if !opened.is_empty() {
        plan.steps.push(open(story, &opened));
    }
    let spawn = Spawn {
        clone: clone(CloneFlags::empty()),
        into: CHILD,
        actor: "joiner",
        child: joiner(story),
        meanwhile: Vec::new(),
    };
    plan.steps.push(
        Step::say("Start the process that joins")
            .why("cutaway itself stays where it is, so that it can tell the end and pass signals on.")
            .chapter("17")
            .spawn(spawn),
    );
    plan.steps.push(
        Step::say("Wait for its end")
            .why("The command's exit status becomes cutaway's own. Signals that reach cutaway are passed on.")
            .chapter("2")
            .wait(Wait::end(CHILD)),
    );
    plan
}

fn look(story: &Story) -> Step {
    let step = Step::say("Compare its namespaces with your own")
        .why("Entering a container is nothing but this: to share what one of its processes has. The container is not asked.")
        .chapter("17");
    match &story.target {
        Target::Process(pid, _) => step.look_at([
            Probe::Process(Value::from(*pid)),
            Probe::NamespacesOf { pid: Value::from(*pid), kinds: CloneFlags::all() },
            Probe::Namespaces(CloneFlags::all()),
        ]),
        Target::Pin(path, ..) => {
            step.look_at([Probe::Kept(path.clone()), Probe::Namespaces(CloneFlags::all())])
        }
    }
}

fn open(story: &Story, joins: &[&Join]) -> Step {
    let claims = joins.iter().map(|join| Claim::Namespace {
        fd: Value::later(join.kind.slot),
        kind: join.kind.name.to_owned(),
        number: join.number,
    });
    let mut step = Step::say("Open what is to be joined")
        .why(
            "All of it before anything is joined, because afterwards the paths may mean something else. An open \
             namespace stays the same one, even if its process ends now and another gets its number.",
        )
        .chapter("17")
        .calls(joins.iter().map(|join| {
            calls::open(&join.path, Access::O_RDONLY, OFlags::empty(), join.kind.slot)
        }));
    if let Some(path) = place(story) {
        step = step.call(calls::open_path(path, OFlags::O_DIRECTORY, PLACE));
    }
    step.expect(claims)
}

/// Where the target works, if its mount namespace is joined and no other place was named.
fn place(story: &Story) -> Option<Text> {
    let Target::Process(pid, _) = story.target else { return None };
    let mounts = story.joins.iter().any(|join| !join.same && join.kind.flag == CloneFlags::CLONE_NEWNS);
    (mounts && story.directory.is_none()).then(|| format!("/proc/{pid}/cwd").into())
}

// ANCHOR: joiner
/// What the process that joins does.
fn joiner(story: &Story) -> Vec<Step> {
    let mut steps = tie();
    let (user, others): (Vec<&Join>, Vec<&Join>) =
        story.joins.iter().partition(|join| join.kind.flag == CloneFlags::CLONE_NEWUSER);
    let user = user.into_iter().flat_map(|join| join_user(story, join));
    let others = others.into_iter().map(|join| join_one(join, story));
    if story.privileged {
        steps.extend(others);
        steps.extend(user);
    } else {
        steps.extend(user);
        steps.extend(others);
    }
    steps.extend(working_directory(story));
    let pid = story.joins.iter().any(|join| !join.same && join.kind.flag == CloneFlags::CLONE_NEWPID);
    if pid {
        steps.extend(command_as_child(story));
    } else {
        steps.push(exec(story));
    }
    steps
}
// ANCHOR_END: joiner

fn tie() -> Vec<Step> {
    vec![
        Step::say("Die when cutaway dies")
            .why("Should cutaway be killed, the kernel kills this process too.")
            .call(calls::die_with_parent()),
        Step::say("Make sure that it is not dead already")
            .why("A parent that died before the call above would never trigger it.")
            .gate(Gate::ParentLives),
    ]
}

fn join_one(join: &Join, story: &Story) -> Step {
    let step = Step::say(join.kind.say).why(join.kind.why).chapter("17");
    if join.same {
        return step
            .skip(format!("it is the one that you are in already: {}:[{}]", join.kind.name, join.number));
    }
    let step = step.call(Syscall::Setns { fd: Value::later(join.kind.slot), kind: join.kind.flag });
    let user_first = !story.privileged
        && story.joins.iter().any(|join| !join.same && join.kind.flag == CloneFlags::CLONE_NEWUSER);
    match join.kind.flag {
        // The /proc that is mounted in there may be that of a pid namespace that this process is not in.
        CloneFlags::CLONE_NEWNS => step,
        CloneFlags::CLONE_NEWPID => step.look_at([Probe::ForChildren(join.kind.flag)]),
        flag if user_first => step.look_at([Probe::Namespaces(flag)]),
        flag => step.look_at([Probe::Namespaces(flag)]).expect([Claim::OwnNamespaces(flag)]),
    }
}

fn join_user(story: &Story, join: &Join) -> Vec<Step> {
    let mut steps = vec![join_one_user(join)];
    if join.same || !story.root {
        return steps;
    }
    let mut become_root = Step::say("Become root of the user namespace")
        .why("Who you are outside may have no name in there. Root has one.")
        .chapter("14");
    if story.groups {
        become_root = become_root.call(Syscall::Setgroups { groups: Vec::new() });
    }
    steps.extend([
        become_root
            .call(Syscall::Setresgid { gid: 0 })
            .call(Syscall::Setresuid { uid: 0 })
            .expect([Claim::Ids { uid: 0, gid: 0 }]),
        Step::say("Tie yourself to cutaway once more")
            .why("The kernel drops the tie whenever a process changes its ids or gains capabilities.")
            .call(calls::die_with_parent()),
        Step::say("Make sure once more that it lives")
            .why("It could have died in between.")
            .gate(Gate::ParentLives),
    ]);
    steps
}

fn join_one_user(join: &Join) -> Step {
    let step = Step::say(join.kind.say).why(join.kind.why).chapter("14");
    if join.same {
        return step.skip(format!("it is the one that you are in already: user:[{}]", join.number));
    }
    step.call(Syscall::Setns { fd: Value::later(join.kind.slot), kind: join.kind.flag })
}

fn working_directory(story: &Story) -> Option<Step> {
    let step = Step::say("Go to the working directory").chapter("17");
    if let Some(directory) = &story.directory {
        return Some(
            step.why("The one that was asked for, by its path in there.").call(calls::chdir(directory)),
        );
    }
    place(story)?;
    Some(
        step.why(
            "setns has put this process at the root of the mount table. The process in there works here.",
        )
        .call(Syscall::Fchdir { fd: Value::later(PLACE) })
        .call(calls::close(PLACE)),
    )
}

fn command_as_child(story: &Story) -> Vec<Step> {
    let mut child = tie();
    child.push(exec(story));
    let spawn = Spawn {
        clone: clone(CloneFlags::empty()),
        into: COMMAND,
        actor: "command",
        child,
        meanwhile: Vec::new(),
    };
    vec![
        Step::say("Start a child, the first process of this story in that pid namespace")
            .why("It gets a number in there, and this process knows it by another one out here.")
            .chapter("12")
            .spawn(spawn),
        Step::say("Wait for the command")
            .why("Its exit status is passed on, and so are signals.")
            .chapter("2")
            .wait(Wait::end(COMMAND)),
    ]
}

fn exec(story: &Story) -> Step {
    Step::say("Become the command")
        .why(
            "It runs with your environment and your limits, in your cgroup: only the namespaces are the other's. What \
             `docker exec` does in addition (cgroup, capabilities, seccomp) is no part of this.",
        )
        .chapter("17")
        .exec(story.candidates.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Action, Call, number};

    fn story(privileged: bool, own: &[&str]) -> Story {
        let joins = KINDS.iter().map(|kind| Join {
            path: format!("/proc/7/ns/{}", kind.name).into(),
            kind,
            number: 1,
            same: own.contains(&kind.name),
        });
        Story {
            title: "ns enter 7".to_owned(),
            target: Target::Process(7, Standing { namespaces: Vec::new() }),
            joins: joins.collect(),
            root: true,
            groups: true,
            privileged,
            directory: None,
            candidates: vec![Syscall::Execve { path: "/bin/sh".into(), argv: vec![], envp: vec![] }],
        }
    }

    /// The kinds in the order in which they are joined.
    fn order(plan: &Plan) -> Vec<CloneFlags> {
        let kind = |call: &Call| match call.syscall {
            Syscall::Setns { kind, .. } => Some(kind),
            _ => None,
        };
        let calls = |action: &Action| match action {
            Action::Calls(calls) => calls.iter().filter_map(kind).collect(),
            _ => Vec::new(),
        };
        number::walk(plan).into_iter().flat_map(|one| calls(&one.step.action)).collect()
    }

    #[test]
    fn who_is_privileged_joins_the_user_namespace_last_and_others_first() {
        for (privileged, user, mounts) in [(true, 7, 6), (false, 0, 7)] {
            let plan = plan(&story(privileged, &[]));
            assert_eq!(plan.check(), Vec::<String>::new());
            let order = order(&plan);
            assert_eq!(order.len(), 8);
            assert_eq!(order[user], CloneFlags::CLONE_NEWUSER);
            assert_eq!(order[mounts], CloneFlags::CLONE_NEWNS);
        }
    }

    #[test]
    fn only_a_pid_namespace_needs_a_second_process() {
        let spawned = |own: &[&str]| {
            let plan = plan(&story(true, own));
            assert_eq!(plan.check(), Vec::<String>::new());
            number::walk(&plan).iter().any(|one| one.actor == "command")
        };
        assert!(spawned(&["net"]));
        assert!(!spawned(&["pid"]));
        assert_eq!(order(&plan(&story(true, &["pid", "user", "mnt"]))).len(), 5);
    }

    #[test]
    fn misuse_has_its_words() {
        assert!(pid_of("web").unwrap_err().to_string().contains("neither the number of a process nor a pin"));
        assert!(pid_of("-1").is_err() && pid_of("0").is_err());
        assert!(standing(i32::MAX).unwrap_err().to_string().contains("there is no process"));
    }
}
