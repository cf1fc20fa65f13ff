//! `cutaway cgroup memory`: page cache counts and gives way, memory does not; who needs more is killed.

use std::path::{Path, PathBuf};

use super::{Group, Member, before, end, group, story, watch, watch_to_end};
use crate::concepts::Context;
use crate::concepts::common::amount;
use crate::error::Result;
use crate::plan::watch::Finding;
use crate::plan::{Claim, Ending, Plan, Probe, Step, calls};
use crate::probe::meter::{Meter, Unit};
use crate::sys::flags::{Access, AtFlags, OFlags, Signal};
use crate::sys::{Slot, Syscall, Value};

const BYSTANDER: Member =
    Member { actor: "bystander", pid: Slot::new("bystander pid"), group: "group of the bystander" };
const READER: Member = Member { actor: "reader", pid: Slot::new("reader pid"), group: "group of the reader" };
const GROWER: Member = Member { actor: "grower", pid: Slot::new("grower pid"), group: "group of the grower" };

/// The limit may be this small and this large: a program must start, and the lesson must end.
const RANGE: (u64, u64) = (16 << 20, 512 << 20);
/// How often the numbers are read, in milliseconds.
const EVERY: u32 = 200;
/// How many readings the memory takes to grow to its limit, about.
const READINGS: u64 = 10;

/// The numbers of a group.
struct Numbers {
    current: Meter,
    cache: Meter,
    /// How often the limit was met.
    met: Meter,
    killed: Meter,
}

impl Numbers {
    fn of(group: &Group, limit: u64) -> Self {
        let file = |one, two| group.file(one, two);
        let current = group.either("usage", "current");
        let met = if group.is_v2 {
            Meter::word("max", file("", "memory.events"), "max", Unit::Count)
        } else {
            Meter::file("failcnt", file("memory.failcnt", ""), Unit::Count)
        };
        Self {
            current: Meter::file(current, file("memory.usage_in_bytes", "memory.current"), Unit::Bytes)
                .full(limit),
            cache: Meter::word(
                group.either("cache", "file"),
                group.directory.join("memory.stat"),
                group.either("cache", "file"),
                Unit::Bytes,
            ),
            met,
            killed: Meter::word(
                "oom_kill",
                file("memory.oom_control", "memory.events"),
                "oom_kill",
                Unit::Count,
            ),
        }
    }

    fn look(&self) -> Probe {
        Probe::Numbers(vec![self.current.clone(), self.cache.clone(), self.met.clone(), self.killed.clone()])
    }
}

/// The story.
pub fn plan(limit: Option<&str>, context: &Context) -> Result<Plan> {
    let limit = settle(limit.unwrap_or_default())?;
    let group = Group::find("memory", &group::name(), context)?;
    let numbers = Numbers::of(&group, limit);
    let mut steps = vec![before()];
    steps.extend(group.enable());
    steps.push(make(&group, limit, context));
    steps.extend(page_cache(&group, &numbers, limit, context));
    steps.extend(bystander(&group));
    steps.extend(grow(&group, &numbers, limit));
    Ok(story("memory", &group, context, steps))
}

/// A whole number of pages: the kernel would round it, and what is read back would differ.
fn settle(text: &str) -> Result<u64> {
    let bytes = amount::bytes("--limit", text)?;
    if !(RANGE.0..=RANGE.1).contains(&bytes) {
        return Err(amount::refuse("--limit", text, "this lesson takes between 16m and 512m"));
    }
    let page = rustix::param::page_size() as u64;
    Ok(bytes / page * page)
}

fn make(group: &Group, limit: u64, context: &Context) -> Step {
    let step = group.make(
        Step::say("Make a group with a limit on its memory")
            .why(
                "The limit is for all processes of the group together: what they have touched, what the kernel \
                 holds for them, and the page cache of the files that they read and write.",
            )
            .chapter("23"),
    );
    let step = group.set(step, ("memory.limit_in_bytes", "memory.max"), limit.to_string());
    if !has_swap() {
        return step;
    }
    // What is swapped out does not count as memory, and the lesson would be about the disk.
    let swap = if group.is_v2 { "0".to_owned() } else { limit.to_string() };
    let _ = context;
    group.set(step, ("memory.memsw.limit_in_bytes", "memory.swap.max"), swap)
}

fn has_swap() -> bool {
    std::fs::read_to_string("/proc/swaps").is_ok_and(|text| text.lines().count() > 1)
}

/// A file whose pages fill the group.
fn page_cache(group: &Group, numbers: &Numbers, limit: u64, context: &Context) -> Vec<Step> {
    let Some(file) = place_of_file(context) else {
        return vec![
            Step::say("Let a process read a file that is larger than the limit")
                .why("Its pages would fill the group, and give way without a kill.")
                .chapter("23")
                .skip(
                    "no temporary folder here is on a disk: pages of a file system in memory cannot be dropped",
                ),
        ];
    };
    let size = limit + limit / 2;
    let pause = u64::from(EVERY) * READINGS * (1 << 20) / size;
    let words = ["cache", &file.to_string_lossy(), &size.to_string(), &pause.to_string()].map(str::to_owned);
    let meters = [numbers.current.clone(), numbers.cache.clone(), numbers.met.clone()];
    let shows = vec![Finding::Reached(1, limit / 2)];
    let mut steps = vec![make_file(&file)];
    steps.extend(group.workload(
        Step::say("Start a process that writes and reads this file, all of it")
            .why("The file is half as large again as the limit. The process itself needs next to no memory.")
            .chapter("23"),
        &READER,
        &words,
    ));
    let mut watch = watch_to_end(&meters, EVERY, &READER.pid, Ending::Exited(0));
    watch.shows = shows;
    steps.push(
        Step::say("Watch the page cache fill the group")
            .why(
                "Pages of files count as well. At the limit the kernel takes the oldest of them back, and the \
                 process goes on: a group that is full of page cache is not short of memory.",
            )
            .chapter("23")
            .watch(watch),
    );
    steps.push(
        Step::say("Look at the group, in which nobody is left")
            .why(
                "The process has ended and its file is still charged to the group. This is why the usage that \
                 a container seems to have can be far above what its processes need.",
            )
            .chapter("23")
            .look_at([numbers.look()]),
    );
    steps
}

/// A folder for temporary files on a disk, and a name in it.
pub fn place_of_file(context: &Context) -> Option<PathBuf> {
    let folders = [std::env::temp_dir(), "/var/tmp".into(), context.state.clone()];
    let is_usable = |folder: &PathBuf| folder.is_dir() && group::is_on_disk(context, folder);
    let folder = folders.into_iter().filter_map(|folder| folder.canonicalize().ok()).find(is_usable)?;
    Some(folder.join(group::name()))
}

pub fn make_file(path: &Path) -> Step {
    let flags = OFlags::O_CREAT | OFlags::O_EXCL | OFlags::O_CLOEXEC;
    let (dir, access) = (Value::CWD, Access::O_WRONLY);
    let open = Syscall::Openat { dir: dir.clone(), path: path.into(), access, flags, mode: 0o600 };
    Step::say("Make a file to be read")
        .why("It is empty still, and removed at the end.")
        .call(crate::plan::Call::from(open).into_slot("file"))
        .call(calls::close("file"))
        .undo([Syscall::Unlinkat { dir, path: path.into(), flags: AtFlags::empty() }])
}

fn bystander(group: &Group) -> Vec<Step> {
    group.workload(
        Step::say("Start a process that needs little")
            .why("It does nothing. It is here to see whom the kernel will choose.")
            .chapter("23"),
        &BYSTANDER,
        &["idle".to_owned()],
    )
}

fn grow(group: &Group, numbers: &Numbers, limit: u64) -> Vec<Step> {
    let brake = limit / 4 * 3;
    let mut steps = Vec::new();
    if group.is_v2 {
        steps.push(group.set(
            Step::say("Set a brake below the limit")
                .why(
                    "Above memory.high nothing is killed: the kernel takes pages back and makes whoever asks \
                     for more wait. It is for those who watch a group and can give it more in time.",
                )
                .chapter("23")
                .look_at([numbers.look()]),
            ("", "memory.high"),
            brake.to_string(),
        ));
    } else {
        steps.push(
            Step::say("Set a brake below the limit")
                .why("Version 2 has memory.high, above which a process is slowed down and not killed.")
                .chapter("23")
                .skip(
                    "version 1 has no such file: its soft limit matters only when the whole machine is short",
                ),
        );
    }
    let pause = u64::from(EVERY) * READINGS * (1 << 20) / limit;
    steps.extend(group.workload(
        Step::say("Start a process that needs more and more")
            .why("It takes a piece of memory, touches every page of it, and takes the next. None is given back.")
            .chapter("23"),
        &GROWER,
        &["grow".to_owned(), pause.to_string()],
    ));
    if group.is_v2 {
        steps.push(throttled(group, numbers, limit));
        steps.push(group.set(
            Step::say("Take the brake off").why("Only the limit is left.").chapter("23"),
            ("", "memory.high"),
            "max",
        ));
    }
    steps.push(to_the_kill(group, numbers));
    steps.push(survivor(numbers));
    steps.extend(end("End the one that was not killed", &BYSTANDER.pid));
    steps
}

/// Version 2: slowed down, and not killed.
fn throttled(group: &Group, numbers: &Numbers, limit: u64) -> Step {
    let high = Meter::word("high", group.directory.join("memory.events"), "high", Unit::Count);
    let mut meters = vec![numbers.current.clone(), numbers.cache.clone(), high.clone()];
    if Path::new("/proc/pressure/memory").exists() {
        let file = group.directory.join("memory.pressure");
        meters.push(Meter::word("stalled", file, "some total", Unit::Share));
    }
    let readings = u32::try_from(READINGS).unwrap_or(10) * 2;
    let shows = vec![Finding::Grew(2), Finding::NeverAbove(0, limit - limit / 16)];
    Step::say("Watch it run into the brake")
        .why(
            "First the page cache gives way. At the brake the growth all but stops: each piece costs more \
             waiting than the one before. `high` counts how often, and `stalled` is the share of time in which \
             somebody waited for memory (PSI, pressure stall information).",
        )
        .chapter("23")
        .watch(watch(&meters, EVERY, readings, shows))
        .look_at([Probe::Numbers(vec![numbers.current.clone(), high, numbers.killed.clone()])])
}

// ANCHOR: kill
fn to_the_kill(group: &Group, numbers: &Numbers) -> Step {
    let meters =
        [numbers.current.clone(), numbers.cache.clone(), numbers.met.clone(), numbers.killed.clone()];
    let (file, word) = (group.file("memory.oom_control", "memory.events"), "oom_kill".into());
    Step::say("Watch it grow to the limit, and over it")
        .why(
            "At the limit the kernel first takes back what it can: page cache. When nothing is left to take, \
             it kills a process of the group, and of this group only. The machine may have memory to spare: \
             nobody outside notices.",
        )
        .chapter("23")
        .watch(watch_to_end(&meters, EVERY, &GROWER.pid, Ending::Killed(Signal::SIGKILL)))
        .look_at([numbers.look()])
        .expect([Claim::Counts { path: file, word, least: 1 }])
}
// ANCHOR_END: kill

fn survivor(numbers: &Numbers) -> Step {
    Step::say("See who was killed, and who was not")
        .why(
            "The one that used most was chosen, and not the one that asked last. Its memory is free at once. A \
             process killed this way has the exit status 137, which is 128 and SIGKILL's 9.",
        )
        .chapter("23")
        .look_at([Probe::Process(BYSTANDER.pid.into()), numbers.look()])
        .expect([Claim::Alive(BYSTANDER.pid.into())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_number_of_pages_that_lets_the_lesson_end() {
        assert_eq!(settle("64m").unwrap(), 64 << 20);
        assert_eq!(settle("67108865").unwrap(), 64 << 20);
        for bad in ["8m", "1g", "0", "x"] {
            let error = settle(bad).unwrap_err();
            assert!(error.to_string().contains("--limit"), "{error}");
        }
    }
}
