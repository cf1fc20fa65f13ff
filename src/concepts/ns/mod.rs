//! `cutaway ns`: each kind of namespace by itself.
//!
//! One room for each kind, all with the same anatomy: how things are, a child in a namespace of its own, the
//! same state seen from both sides, an attempt to cross, what the namespace does not isolate, and then either
//! a command of the user's choice in there or the end. What several rooms tell alike is in this file.

mod cgroup;
mod enter;
mod ipc;
mod list;
mod mnt;
mod net;
mod pid;
mod pin;
mod time;
mod user;
mod uts;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches};

use super::common::birth;
use super::common::command::Command;
use super::{Concept, Context, Stage};
use crate::error::{Error, Result, exit};
use crate::plan::{Call, Claim, Gate, Plan, Probe, Spawn, Step, Wait, calls};
use crate::probe::ns::KINDS;
use crate::sys::flags::{Access, CloneFlags, MsFlags, OFlags, Signal};
use crate::sys::{Errno, Slot, Syscall, Value};

/// The concept. The exit code is the command's, so that cutaway's own failure needs another.
pub const CONCEPT: Concept = Concept { name: "ns", command, stages: &[ns], failure: exit::CUTAWAY };

/// The child's pid, once there is one.
const CHILD: Slot = Slot::new("child pid");
/// A descriptor of the host's namespace.
const HOST: &str = "host namespace";
/// A descriptor of the child's own namespace.
const OWN: &str = "own namespace";

/// What is said of a pid namespace that is made along with others.
const STALE_PROC: &str =
    "/proc goes on showing the host's processes; with mnt as well, the command gets one that fits";

/// A kind of namespace: its name on the command line, what it is about, and its story.
struct Kind {
    name: &'static str,
    flag: CloneFlags,
    about: &'static str,
    plan: fn(&Room, &Context) -> Plan,
}

/// Every kind, in teaching order.
const ROOMS: &[Kind] = &[
    Kind { name: "mnt", flag: CloneFlags::CLONE_NEWNS, about: "Mounts: two mount tables", plan: mnt::plan },
    Kind { name: "uts", flag: CloneFlags::CLONE_NEWUTS, about: "Host name and domain name", plan: uts::plan },
    Kind {
        name: "ipc",
        flag: CloneFlags::CLONE_NEWIPC,
        about: "System V objects and POSIX message queues",
        plan: ipc::plan,
    },
    Kind {
        name: "pid",
        flag: CloneFlags::CLONE_NEWPID,
        about: "Process numbers, and the duties of PID 1",
        plan: pid::plan,
    },
    Kind {
        name: "user",
        flag: CloneFlags::CLONE_NEWUSER,
        about: "User and group ids, and capabilities",
        plan: user::plan,
    },
    Kind {
        name: "net",
        flag: CloneFlags::CLONE_NEWNET,
        about: "Interfaces, addresses, routes, ports",
        plan: net::plan,
    },
    Kind {
        name: "time",
        flag: CloneFlags::CLONE_NEWTIME,
        about: "The clocks that count from boot",
        plan: time::plan,
    },
    Kind {
        name: "cgroup",
        flag: CloneFlags::CLONE_NEWCGROUP,
        about: "Which part of the tree of groups is seen",
        plan: cgroup::plan,
    },
];

/// What a command does.
type Deed = fn(&ArgMatches, &Context) -> Result<Stage>;

/// The commands that are no story of one kind.
const OTHERS: &[(&str, Deed)] = &[
    ("ls", list::ls),
    ("tree", list::tree),
    ("enter", enter::stage),
    ("pin", pin::pin),
    ("unpin", pin::unpin),
];

/// The command line of those.
fn others() -> [clap::Command; 5] {
    let kinds = || {
        Arg::new("type")
            .long("type")
            .value_name("KIND,…")
            .value_delimiter(',')
            .action(clap::ArgAction::Append)
    };
    let text = |name: &'static str, shown: &'static str, help: &'static str| {
        Arg::new(name).value_name(shown).help(help).required(true)
    };
    [
        clap::Command::new("ls")
            .about("List the namespaces of this machine, and what keeps each alive")
            .arg(kinds().help("Only these kinds")),
        clap::Command::new("tree")
            .about("Show which user namespace owns which namespaces")
            .arg(kinds().help("Only these kinds")),
        clap::Command::new("enter")
            .about("Run a command in the namespaces of a process, or in a pinned one")
            .arg(text("target", "PID|PIN", "A process, the name of a pin, or the path of one"))
            .arg(kinds().help("Which of its namespaces, or all (default: all that are not yours already)"))
            .arg(
                Arg::new("wd")
                    .long("wd")
                    .value_name("DIR")
                    .help("The working directory in there (default: that of the process)")
                    .value_parser(clap::value_parser!(PathBuf)),
            )
            .arg(last_words("The command (default: /bin/sh); its exit code is cutaway's")),
        clap::Command::new("pin")
            .about("Keep a namespace alive without a process, by a mount")
            .arg(text("kind", "KIND", "The kind of namespace"))
            .arg(text("name", "NAME|PATH", "A name, or the path of a file that is made for it"))
            .arg(
                Arg::new("pid")
                    .long("pid")
                    .value_name("PID")
                    .help("Keep that of this process (default: make a new one)"),
            ),
        clap::Command::new("unpin").about("Take a pin away").arg(text(
            "name",
            "NAME|PATH",
            "The name of the pin, or its path",
        )),
    ]
}

/// The command at the end of the line.
fn last_words(help: &'static str) -> Arg {
    Arg::new("command")
        .value_name("COMMAND")
        .help(help)
        .num_args(0..)
        .last(true)
        .value_parser(clap::value_parser!(OsString))
}

/// The kinds that `--type` names; these if it names none.
fn kinds_of(matches: &ArgMatches, default: CloneFlags) -> Result<CloneFlags> {
    let named: Vec<&String> = matches.get_many("type").into_iter().flatten().collect();
    if named.is_empty() || named.iter().any(|name| *name == "all") {
        return Ok(default);
    }
    named.into_iter().map(|name| flag_of(name)).collect()
}

fn command() -> clap::Command {
    let command = last_words("Run this in the namespace as the end of the story; its exit code is cutaway's");
    let with = Arg::new("with")
        .long("with")
        .value_name("KIND,…")
        .help("Make namespaces of these kinds as well")
        .value_delimiter(',')
        .action(clap::ArgAction::Append);
    let room =
        |kind: &Kind| clap::Command::new(kind.name).about(kind.about).arg(command.clone()).arg(with.clone());
    clap::Command::new("ns")
        .about("Look at one kind of namespace; list, enter, keep the machine's")
        .long_about(
            "Makes a namespace of one kind for real, tells every call, and shows what it isolates and what it \
             does not, from both sides. As an ordinary user this happens in a user namespace. The other commands \
             are about namespaces that exist.",
        )
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(ROOMS.iter().map(room))
        .subcommands(others())
}

fn ns(matches: &ArgMatches, context: &Context) -> Result<Stage> {
    if let Some((name, matches)) = matches.subcommand()
        && let Some((_, stage)) = OTHERS.iter().find(|(other, _)| *other == name)
    {
        return stage(matches, context);
    }
    let found = matches
        .subcommand()
        .and_then(|(name, matches)| ROOMS.iter().find(|kind| kind.name == name).map(|kind| (kind, matches)));
    // clap requires one of them.
    let Some((kind, matches)) = found else { return Ok(Stage::Nothing) };
    let words: Vec<OsString> = matches.get_many("command").into_iter().flatten().cloned().collect();
    let with: Vec<&String> = matches.get_many("with").into_iter().flatten().collect();
    let room = Room::settle(kind, &words, &with, context)?;
    Ok((kind.plan)(&room, context).into())
}

/// What every room knows.
pub struct Room {
    /// `uts`
    name: &'static str,
    /// The kind of namespace.
    flag: CloneFlags,
    /// Whether the namespace is made in a user namespace, because the caller may not make it otherwise.
    rootless: bool,
    /// The caller's ids.
    uid: u32,
    gid: u32,
    /// The command at the end.
    command: Option<Command>,
    /// The kinds that were asked for in addition.
    with: CloneFlags,
}

impl Room {
    fn settle(kind: &Kind, words: &[OsString], with: &[&String], context: &Context) -> Result<Self> {
        supported(kind.name)?;
        let with = with.iter().map(|name| flag_of(name)).collect::<Result<CloneFlags>>()?;
        let with = with.difference(kind.flag);
        let here = &context.here;
        // Who asks for a user namespace as well gets the others from it, as an ordinary user does.
        let rootless = !here.is_privileged() || with.contains(CloneFlags::CLONE_NEWUSER);
        if rootless || kind.flag == CloneFlags::CLONE_NEWUSER {
            here.user_namespaces().map_err(|why| {
                Error::new(format!("cutaway ns {} cannot work here", kind.name))
                    .rule(why)
                    .remedy("run it as root, or ask `cutaway run --explain` what else this host allows")
                    .chapter("14")
            })?;
        }
        Ok(Self {
            name: kind.name,
            flag: kind.flag,
            rootless,
            uid: here.euid,
            gid: here.gid,
            command: Command::find(words)?,
            with,
        })
    }

    /// A plan with what is the same in every room.
    fn plan(&self, steps: Vec<Step>) -> Plan {
        let mut plan = Plan::new(format!("ns {}", self.name));
        if self.rootless && self.with.contains(CloneFlags::CLONE_NEWUSER) {
            plan.notes.push("in a user namespace, where you are root".to_owned());
        } else if self.rootless {
            plan.notes.push("as an ordinary user: in a user namespace, where you are root".to_owned());
            if self.flag != CloneFlags::CLONE_NEWUSER {
                plan.notes
                    .push("the user namespace owns the others made with it: cutaway ns user".to_owned());
            }
        } else {
            plan.needs = vec!["CAP_SYS_ADMIN"];
        }
        if !self.with.is_empty() {
            plan.notes.push(format!("also in namespaces of its own: {}", names(self.with).join(", ")));
        }
        if self.with.contains(CloneFlags::CLONE_NEWPID) && !self.has_own_mounts() {
            plan.notes.push(STALE_PROC.to_owned());
        }
        plan.steps = steps;
        plan
    }

    /// The flags of the child's clone3.
    fn flags(&self, kinds: CloneFlags) -> CloneFlags {
        let kinds = kinds | self.with;
        if self.rootless { kinds | CloneFlags::CLONE_NEWUSER } else { kinds }
    }

    /// The child and the two stories that follow. What the parent does first for a child in a user namespace is
    /// added here.
    fn child(&self, step: Step, kinds: CloneFlags, meanwhile: Vec<Step>, child: Vec<Step>) -> Step {
        let mut first = Vec::new();
        if self.rootless {
            first = birth::map_ids(&CHILD, self.uid, self.gid);
        }
        first.extend(meanwhile);
        let mut steps = self.born(kinds);
        steps.extend(child);
        step.spawn(Spawn {
            clone: clone(self.flags(kinds)),
            into: CHILD,
            actor: "child",
            child: steps,
            meanwhile: first,
        })
    }

    /// The first steps of the child.
    fn born(&self, kinds: CloneFlags) -> Vec<Step> {
        let own = self.flags(kinds);
        let mut arm = Step::say("Die when cutaway dies")
            .why("Should cutaway be killed, the kernel kills this process too, and its namespaces end with it.")
            .call(calls::die_with_parent());
        if !own.is_empty() {
            arm = arm.expect([Claim::OwnNamespaces(own)]);
        }
        birth::tie(arm, self.rootless)
    }

    /// The end of the story in the child: the user's command, if there is one.
    fn exec(&self) -> Vec<Step> {
        let Some(command) = &self.command else { return Vec::new() };
        let mut steps = Vec::new();
        if self.with.contains(CloneFlags::CLONE_NEWPID) && self.has_own_mounts() {
            steps.push(fresh_proc());
        }
        steps.push(command.exec().chapter("2"));
        steps
    }

    /// Whether the command gets a mount table that the host does not see.
    fn has_own_mounts(&self) -> bool {
        (self.with | self.flag).contains(CloneFlags::CLONE_NEWNS)
    }

    /// An attempt to get into the host's namespace, whose descriptor the child has.
    fn cross(&self, probe: Probe, back_home: Vec<Claim>) -> Vec<Step> {
        let flag = self.flag;
        let over = Syscall::Setns { fd: Value::later(HOST), kind: flag };
        if self.rootless {
            return vec![
                Step::say("Try to go over to the host's namespace")
                    .why(
                        "The descriptor is inherited, so it can be tried. Root of this user namespace has no \
                         power over a namespace that another user namespace owns.",
                    )
                    .chapter("17")
                    .call(Call::from(over).refused(Errno::EPERM))
                    .expect([Claim::OwnNamespaces(flag)]),
            ];
        }
        vec![
            Step::say("Go over to the host's namespace")
                .why(
                    "A namespace is no lock. A process with CAP_SYS_ADMIN over both may go from one to the \
                     other, and this one has it: it is the host's root. What keeps a container in is that it \
                     has neither this power nor a descriptor like this one.",
                )
                .chapter("17")
                .call(self.open_own(OWN))
                .call(over)
                .look_at([probe.clone()])
                .expect([Claim::SharedNamespaces(flag)]),
            Step::say("Come back")
                .why("Both namespaces exist at the same time. Which one a process sees is a pointer in it.")
                .chapter("17")
                .call(Syscall::Setns { fd: Value::later(OWN), kind: flag })
                .call(calls::close(OWN))
                .look_at([probe])
                .expect([Claim::OwnNamespaces(flag)])
                .expect(back_home),
        ]
    }

    /// Opens the namespace that the acting process is in.
    fn open_own(&self, slot: &'static str) -> Call {
        calls::open(format!("/proc/self/ns/{}", self.name), Access::O_RDONLY, OFlags::empty(), slot)
    }

    /// The host's descriptor of its namespace.
    fn keep_host(&self) -> Step {
        Step::say("Keep a descriptor of the host's namespace")
            .why("The child inherits it, and will try to come back with it.")
            .chapter("17")
            .call(self.open_own(HOST))
    }

    /// The last step of the host.
    fn let_go_of_host(&self) -> Step {
        let _ = self;
        Step::say("Let go of the descriptor")
            .why("A descriptor keeps a namespace alive as well as a process does. This one was the host's own.")
            .chapter("17")
            .call(calls::close(HOST))
    }

    /// Nothing else was changed: the other namespaces are still the host's.
    fn shares_the_rest(&self, but: CloneFlags) -> Claim {
        let own = self.flags(but | self.flag);
        let all = KINDS.iter().filter(|(_, name)| Path::new(&format!("/proc/self/ns/{name}")).exists());
        Claim::SharedNamespaces(all.map(|(flag, _)| *flag).collect::<CloneFlags>().difference(own))
    }
}

/// A pid namespace that came along with a mount namespace gets the /proc that fits.
fn fresh_proc() -> Step {
    Step::say("Mount a proc of the new pid namespace")
        .why(
            "The /proc that came with the copy of the mount table shows the host's processes. Private first, so that \
             the host's own stays. Where a part of /proc is hidden, as in a container, the kernel refuses another \
             one, and the old stays.",
        )
        .chapter("12")
        .call(calls::mount::propagation("/", MsFlags::MS_REC | MsFlags::MS_PRIVATE))
        .call(Call::from(calls::mount::proc("/proc")).or(Errno::EPERM))
        .look_at([Probe::Proc])
}

/// A child in these namespaces.
pub(super) const fn clone(flags: CloneFlags) -> Syscall {
    Syscall::Clone3 { flags, exit_signal: Some(Signal::SIGCHLD), cgroup: None }
}

/// The two gates of a child that lets the host look: what the child does, and what the host does.
pub(super) fn show_host(ready: &'static str, seen: &'static str, look: Vec<Step>) -> (Vec<Step>, Vec<Step>) {
    let child = vec![
        Step::say("Let the host look")
            .why("The host and the child read the same state at the same time, each from its side.")
            .gate(Gate::Open(ready)),
        Step::say("Wait until it has looked").why("Nothing changes meanwhile.").gate(Gate::Pass(seen)),
    ];
    let mut host = vec![
        Step::say("Wait until the child has something to show")
            .why("Steps of both sides are told in the order in which they happen.")
            .gate(Gate::Pass(ready)),
    ];
    host.extend(look);
    host.push(Step::say("Let the child go on").why("It has waited for this.").gate(Gate::Open(seen)));
    (child, host)
}

/// The end of the child.
fn wait(room: &Room) -> Step {
    let step = Step::say("Wait for the end of the child").chapter("2").wait(Wait::end(CHILD));
    if room.command.is_some() {
        step.why("The command's exit status becomes cutaway's own. Signals that reach cutaway are passed on.")
    } else {
        step.why("Its story is told. With its last process a namespace ends, unless something else holds it.")
    }
}

/// A directory for this story alone, by a path without symbolic links, as the mount table has them.
fn scratch() -> PathBuf {
    let folder = std::env::temp_dir();
    folder.canonicalize().unwrap_or(folder).join(format!("cutaway-ns-{}", std::process::id()))
}

/// The kind of this name.
///
/// # Errors
/// There is no such kind, or this kernel does not have it.
fn flag_of(name: &str) -> Result<CloneFlags> {
    let Some((flag, name)) = KINDS.iter().find(|(_, known)| *known == name) else {
        let all: Vec<_> = KINDS.iter().map(|(_, name)| *name).collect();
        return Err(Error::new(format!("there is no kind of namespace called {name:?}"))
            .rule(format!("the kinds are {}", all.join(", ")))
            .exit(exit::USAGE)
            .chapter("1"));
    };
    supported(name)?;
    Ok(*flag)
}

/// The names of these kinds.
fn names(kinds: CloneFlags) -> Vec<&'static str> {
    KINDS.iter().filter(|(flag, _)| kinds.contains(*flag)).map(|(_, name)| *name).collect()
}

/// A kernel may be built without a kind of namespace.
fn supported(kind: &str) -> Result<()> {
    let file = format!("/proc/self/ns/{kind}");
    if Path::new(&file).exists() {
        return Ok(());
    }
    let why = match kind {
        "time" => "time namespaces exist since Linux 5.6, if it is built with CONFIG_TIME_NS",
        "cgroup" => "cgroup namespaces exist since Linux 4.6, if it is built with CONFIG_CGROUPS",
        "mnt" => "every Linux has mount namespaces, so /proc is not mounted here",
        _ => "it was built without them (CONFIG_NAMESPACES and the options below it)",
    };
    Err(Error::new(format!("this kernel has no {kind} namespaces: there is no {file}")).rule(why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::number;

    /// A room for a test, as root and as an ordinary user, without and with a command.
    pub fn rooms(name: &str) -> Vec<(Room, Plan)> {
        let kind = ROOMS.iter().find(|kind| kind.name == name).unwrap();
        let one = |(rootless, words): (bool, &[OsString])| {
            let room = Room {
                name: kind.name,
                flag: kind.flag,
                rootless,
                uid: 1000,
                gid: 1000,
                command: Command::find(words).unwrap(),
                with: CloneFlags::empty(),
            };
            let plan = (kind.plan)(&room, &Context::new("/nonexistent".into(), true, false));
            (room, plan)
        };
        let words = [OsString::from("/bin/sh")];
        [(false, &[][..]), (true, &[]), (false, &words), (true, &words)].into_iter().map(one).collect()
    }

    /// What must hold for every room.
    pub fn is_sound(name: &str) {
        for (room, plan) in rooms(name) {
            assert_eq!(plan.check(), Vec::<String>::new());
            assert_eq!(plan.title, format!("ns {name}"));
            let ids: Vec<_> = number::walk(&plan).into_iter().map(|one| one.id).collect();
            assert_eq!(ids.first().map(String::as_str), Some("1"));
            assert_eq!(ids.len(), plan.count());
            let runs = number::walk(&plan).iter().any(|one| one.step.say == "Become the command");
            assert_eq!(runs, room.command.is_some());
            assert_eq!(plan.notes.iter().any(|note| note.contains("ordinary user")), room.rootless);
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn a_missing_kind_has_its_reason() {
        assert!(supported("none").unwrap_err().to_string().contains("no none namespaces"));
        assert!(flag_of("network").unwrap_err().to_string().contains("the kinds are user, mnt, pid"));
    }
}
