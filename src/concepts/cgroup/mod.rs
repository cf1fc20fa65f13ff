//! `cutaway cgroup`: what a limit does, seen while it does it.
//!
//! One room for each controller. Each makes a group, sets a limit, starts a workload of cutaway's own in it,
//! and reads the group's numbers while the limit bites. The same stories are told on version 1, hybrid and
//! version 2, each under its own file names.

mod cpu;
mod devices;
mod freeze;
mod io;
mod memory;
mod pids;
mod rules;
mod run;
mod sheet;
pub mod stat;
mod tree;

use clap::{Arg, ArgMatches};

use super::common::group::{self, Group, Member};
use super::{Concept, Context, Stage};
use crate::error::{Result, exit};
use crate::plan::{Bulk, Call, Plan, Probe, Step, Watch, calls};
use crate::plan::{Ending, Finding, Until};
use crate::probe::meter::Meter;
use crate::sys::flags::Signal;
use crate::sys::{Errno, Slot, Syscall};

/// The concept. The exit code of `cgroup run` is the command's, so that cutaway's own failure needs another.
pub const CONCEPT: Concept = Concept { name: "cgroup", command, stages: &[cgroup], failure: exit::CUTAWAY };

/// A lesson: its name on the command line, what it is about, its limit if it has one, and its story.
struct Lesson {
    name: &'static str,
    about: &'static str,
    limit: Option<Limit>,
    plan: fn(Option<&str>, &Context) -> Result<Plan>,
}

/// The option `--limit` of a lesson.
struct Limit {
    value: &'static str,
    default: &'static str,
    help: &'static str,
}

/// Every lesson, in teaching order.
const LESSONS: &[Lesson] = &[
    Lesson {
        name: "rules",
        about: "Which tree a controller is in, and the two refusals of version 2",
        limit: None,
        plan: rules::plan,
    },
    Lesson {
        name: "memory",
        about: "Memory that grows to its limit: page cache, throttling, the OOM kill",
        limit: Some(Limit { value: "BYTES", default: "64m", help: "How much memory the group may use" }),
        plan: memory::plan,
    },
    Lesson {
        name: "cpu",
        about: "Processor time: weights between two competitors, and a quota",
        limit: Some(Limit {
            value: "NUMBER",
            default: "0.2",
            help: "How much of one processor the competitors get together",
        }),
        plan: cpu::plan,
    },
    Lesson {
        name: "pids",
        about: "A fork bomb that ends in EAGAIN and nothing else",
        limit: Some(Limit { value: "NUMBER", default: "20", help: "How many processes the group may hold" }),
        plan: pids::plan,
    },
    Lesson {
        name: "io",
        about: "A disk that is written to no faster than allowed",
        limit: Some(Limit {
            value: "BYTES",
            default: "2m",
            help: "How many bytes may be written in a second",
        }),
        plan: io::plan,
    },
    Lesson {
        name: "devices",
        about: "Devices that may be opened and made, by rules or by a program",
        limit: None,
        plan: devices::plan,
    },
    Lesson {
        name: "freeze",
        about: "A group that is stopped, goes on, and is killed as a whole",
        limit: None,
        plan: freeze::plan,
    },
];

fn command() -> clap::Command {
    let room = |lesson: &Lesson| {
        let command = clap::Command::new(lesson.name).about(lesson.about);
        match &lesson.limit {
            None => command,
            Some(limit) => {
                let arg = Arg::new("limit").long("limit").value_name(limit.value);
                command.arg(arg.default_value(limit.default).help(limit.help))
            }
        }
    };
    clap::Command::new("cgroup")
        .about("Limit what processes may use, and watch the limit work")
        .long_about(
            "Makes a group with a limit, starts a workload of its own in it, and shows over time how the limit \
             bites. Works on cgroup version 1, hybrid and version 2; an ordinary user needs a delegated group.",
        )
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(LESSONS.iter().map(room))
        .subcommands([run::command(), tree::command(), stat::command()])
}

fn cgroup(matches: &ArgMatches, context: &Context) -> Result<Stage> {
    // clap requires one of them.
    let Some((name, matches)) = matches.subcommand() else { return Ok(Stage::Nothing) };
    match name {
        "run" => return run::plan(matches, context),
        "tree" => return tree::stage(matches, context),
        "stat" => return stat::stage(matches, context),
        _ => {}
    }
    let Some(lesson) = LESSONS.iter().find(|lesson| lesson.name == name) else { return Ok(Stage::Nothing) };
    let limit = lesson.limit.as_ref().and_then(|_| matches.get_one::<String>("limit"));
    let plan = (lesson.plan)(limit.map(String::as_str), context)?;
    Ok(plan.into())
}

/// A plan with what is the same in every lesson.
fn story(name: &str, group: &Group, context: &Context, steps: Vec<Step>) -> Plan {
    let mut plan = Plan::new(format!("cgroup {name}"));
    plan.notes.push(group.note(context));
    if context.here.is_privileged() {
        plan.needs = vec!["write access to the top of the controller's tree"];
    } else {
        plan.notes.push("as an ordinary user: in a group that is delegated to you".to_owned());
    }
    plan.steps = steps;
    plan
}

/// The first step: where this process is.
fn before() -> Step {
    Step::say("Note which groups you are in")
        .why(
            "Every process is in one group of each tree, and its children are born where it is. The lesson's \
             group is made elsewhere: nothing of yours is limited.",
        )
        .chapter("22")
        .look_at([Probe::Cgroups])
}

/// Watching for so many readings.
fn watch(meters: &[Meter], every: u32, readings: u32, shows: Vec<Finding>) -> Watch {
    Watch { meters: meters.to_vec(), every, until: Until::Readings(readings), shows, of: Vec::new() }
}

/// Watching until a process has ended.
fn watch_to_end(meters: &[Meter], every: u32, pid: &Slot, how: Ending) -> Watch {
    let until = Until::Ended { pid: pid.clone(), how };
    Watch { meters: meters.to_vec(), every, until, shows: Vec::new(), of: Vec::new() }
}

/// A group with processes cannot be removed.
fn busy(group: &Group) -> Step {
    Step::say("Try to remove the group")
        .why("A group is removed as a directory is, with rmdir, and only when nobody is in it: EBUSY.")
        .chapter("25")
        .call(Call::from(calls::rmdir(&group.directory)).refused(Errno::EBUSY))
}

// ANCHOR: kill_all
/// Kills everything in the group: with one write where the kernel can do that.
fn kill_all(group: &Group, context: &Context) -> Step {
    if group.is_v2 && context.here.kernel_at_least(5, 14) {
        return Step::say("Kill the whole group with one write")
            .why(
                "Every process in it gets SIGKILL, also one that is being forked at this moment: there is no \
                 race to lose.",
            )
            .chapter("25")
            .calls(calls::write(group.directory.join("cgroup.kill"), "1"));
    }
    Step::say("Kill the whole group, process by process")
        .why(
            "There is no file for that here: cgroup.kill is version 2's, since Linux 5.14. So the list of \
             processes is read and each is killed, again and again until the list is empty: one that forks \
             meanwhile is met in the next round.",
        )
        .chapter("25")
        .bulk(Bulk::EmptyGroup { path: group.directory.clone() })
}
// ANCHOR_END: kill_all

/// Ends a process that would go on for ever.
fn end(say: &'static str, pid: &Slot) -> [Step; 2] {
    let kill = Syscall::Kill { pid: pid.clone().into(), signal: Signal::SIGKILL };
    [Step::say(say).why("It would go on for ever.").call(kill), killed("Collect it", pid)]
}

/// The end of a process that was killed with its group.
fn killed(say: &'static str, pid: &Slot) -> Step {
    Step::say(say).why("The kernel says by which signal it ended.").watch(watch_to_end(
        &[],
        100,
        pid,
        Ending::Killed(Signal::SIGKILL),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::number;

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn every_lesson_that_has_a_place_here_is_sound() {
        let context = Context::new("/nonexistent".into(), true, false);
        for lesson in LESSONS {
            let Ok(plan) = (lesson.plan)(lesson.limit.as_ref().map(|limit| limit.default), &context) else {
                continue;
            };
            assert_eq!(plan.check(), Vec::<String>::new(), "{}", lesson.name);
            assert_eq!(plan.title, format!("cgroup {}", lesson.name));
            assert_eq!(number::walk(&plan).len(), plan.count());
        }
    }
}
