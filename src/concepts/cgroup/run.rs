//! `cutaway cgroup run`: a command of the user's in groups of its own, and the account at the end.
//!
//! No namespace, no root of its own: what a container's limits are, without the container.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgMatches, Args, FromArgMatches};

use crate::concepts::common::command::Command;
use crate::concepts::common::group::tied;
use crate::concepts::common::groups::Groups;
use crate::concepts::common::limits::{self, LimitArgs, Limits};
use crate::concepts::{Context, Stage};
use crate::error::{Error, Result, exit};
use crate::plan::{Plan, Probe, Spawn, Step, Wait};
use crate::probe::meter::{Meter, Unit};
use crate::sys::flags::{CloneFlags, Signal};
use crate::sys::{Slot, Syscall};

/// The child's pid, once there is one.
const CHILD: Slot = Slot::new("child pid");
/// The controllers that count in any case.
const ACCOUNTS: &[&str] = &["memory", "cpu", "cpuacct", "pids"];

/// Its arguments.
pub fn command() -> clap::Command {
    let words = Arg::new("command")
        .value_name("COMMAND")
        .help("What to run; its exit code is cutaway's")
        .num_args(1..)
        .last(true)
        .required(true)
        .value_parser(clap::value_parser!(OsString));
    // Said after the arguments, which bring words of their own.
    LimitArgs::augment_args(clap::Command::new("run"))
        .about("Run a command in groups of its own, with an account at the end")
        .long_about(
            "Runs a command in groups of its own, with limits and without a container around it. At its end it is told \
             what was used: the peak of memory, processor time, how long it was held back, and who was killed.",
        )
        .arg(words)
}

/// The plan.
pub fn plan(matches: &ArgMatches, context: &Context) -> Result<Stage> {
    let args = LimitArgs::from_arg_matches(matches).map_err(|error| Error::new(error.to_string()))?;
    let words: Vec<OsString> = matches.get_many("command").into_iter().flatten().cloned().collect();
    let command = Command::find(&words)?.ok_or_else(|| Error::new("there is no command to run"))?;
    let mut limits = Limits::settle(&args)?;
    if args.pids_limit.is_none() {
        // A container has a limit of its own; a command that is only watched has none that nobody asked for.
        limits.pids = None;
    }
    limits::refuse_impossible(&limits, &args, context)?;
    let groups = Groups::find(&limits, ACCOUNTS, &format!("cgroup-{}", std::process::id()), context);
    if groups.is_empty() {
        return Err(Error::new("no group can be made here")
            .rule(groups.notes().join("; "))
            .remedy(
                "as an ordinary user you need a delegated group: on version 2 \
                 `systemd-run --user --scope -p Delegate=yes cutaway …`; or run it as root",
            )
            .chapter("22")
            .exit(exit::CUTAWAY));
    }
    let mut plan = Plan::new("cgroup run");
    plan.notes = groups.notes();
    plan.steps.extend(groups.make());
    plan.steps.push(child(&groups, &command));
    plan.steps.push(
        Step::say("Wait for the end of the command")
            .why("Signals that reach cutaway are passed on, and its exit status becomes cutaway's own.")
            .chapter("33")
            .wait(Wait::end(CHILD)),
    );
    plan.steps.extend(account(&groups));
    Ok(plan.into())
}

fn child(groups: &Groups, command: &Command) -> Step {
    let cgroup = groups.descriptor();
    let flags = if cgroup.is_some() { CloneFlags::CLONE_INTO_CGROUP } else { CloneFlags::empty() };
    let clone = Syscall::Clone3 { flags, exit_signal: Some(Signal::SIGCHLD), cgroup };
    let mut steps = tied();
    steps.extend(groups.join());
    steps.push(command.exec());
    Step::say("Start a child for the command")
        .why("It has no namespace of its own and sees all that you see. What it uses is counted and limited.")
        .chapter("22")
        .spawn(Spawn { clone, into: CHILD, actor: "child", child: steps, meanwhile: Vec::new() })
}

/// What was used in the end. A group keeps its numbers as long as it exists, whoever is in it.
fn account(groups: &Groups) -> Vec<Step> {
    let all = [memory(groups), processor(groups), processes(groups)];
    let step = |(say, why, meters): (&'static str, &'static str, Vec<Meter>)| {
        Step::say(say).why(why).chapter("25").look_at([Probe::Numbers(meters)])
    };
    all.into_iter().flatten().map(step).collect()
}

type Account = (&'static str, &'static str, Vec<Meter>);

fn memory(groups: &Groups) -> Option<Account> {
    let (directory, is_v2) = groups.directory("memory")?;
    let file = |one: &str, two: &str| directory.join(if is_v2 { two } else { one });
    let word = |name, one: (&str, &'static str), two: (&str, &'static str)| {
        let (path, word) = if is_v2 { two } else { one };
        Meter::word(name, directory.join(path), word, Unit::Count)
    };
    let mut meters = vec![
        Meter::file("peak", file("memory.max_usage_in_bytes", "memory.peak"), Unit::Bytes),
        Meter::file("still charged", file("memory.usage_in_bytes", "memory.current"), Unit::Bytes),
        word("killed for memory", ("memory.oom_control", "oom_kill"), ("memory.events", "oom_kill")),
    ];
    let met = if is_v2 {
        Meter::word("limit met", file("", "memory.events"), "max", Unit::Count)
    } else {
        Meter::file("limit met", file("memory.failcnt", ""), Unit::Count)
    };
    meters.insert(2, met);
    Some((
        "Account for memory",
        "The peak counts page cache too. What is still charged is page cache of files that it used: it goes \
         with the group.",
        meters,
    ))
}

fn processor(groups: &Groups) -> Option<Account> {
    let mut meters = Vec::new();
    let (cpu, cpuacct) = (groups.directory("cpu"), groups.directory("cpuacct"));
    let is_v2 = cpu.is_some_and(|(_, is_v2)| is_v2);
    let stat = |name, word, unit| cpu.map(|(path, _)| Meter::word(name, path.join("cpu.stat"), word, unit));
    if is_v2 {
        meters.extend(stat("used", "usage_usec", Unit::Share));
        meters.extend(stat("periods", "nr_periods", Unit::Count));
        meters.extend(stat("periods throttled", "nr_throttled", Unit::Count));
        meters.extend(stat("time throttled", "throttled_usec", Unit::Share));
    } else {
        // Both controllers may share a tree, and then the group.
        let counting: Option<PathBuf> = cpuacct.or(cpu).map(|(path, _)| path.join("cpuacct.usage"));
        meters.extend(counting.map(|path| Meter::file("used", path, Unit::ShareOfNanoseconds)));
        meters.extend(stat("periods", "nr_periods", Unit::Count));
        meters.extend(stat("periods throttled", "nr_throttled", Unit::Count));
        meters.extend(stat("time throttled", "throttled_time", Unit::ShareOfNanoseconds));
    }
    (!meters.is_empty()).then_some((
        "Account for processor time",
        "Time on all processors is added up. Throttled is the time in which it could have run and had used up \
         its quota, added up over the processors too.",
        meters,
    ))
}

fn processes(groups: &Groups) -> Option<Account> {
    let (directory, _) = groups.directory("pids")?;
    let meters = vec![
        Meter::file("peak", directory.join("pids.peak"), Unit::Count),
        Meter::word("refused", directory.join("pids.events"), "max", Unit::Count),
        Meter::file("still there", directory.join("pids.current"), Unit::Count),
    ];
    Some((
        "Account for processes",
        "Older kernels tell no peak. Who is still there was left behind by the command, and is \
         ended with the group.",
        meters,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_wanted() {
        command().debug_assert();
        assert!(command().try_get_matches_from(["run", "--memory", "64m"]).is_err());
        let matches =
            command().try_get_matches_from(["run", "--pids", "20", "--", "true", "--memory"]).unwrap();
        assert_eq!(matches.get_many::<OsString>("command").unwrap().count(), 2);
    }
}
