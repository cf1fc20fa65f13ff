//! What is used in the groups, and what holds there in the end. Every number that is also watched is read by its meter,
//! so that the report, `--watch` and `cutaway stats` cannot differ.

use super::subject::Subject;
use crate::probe::limits::{self, Held};
use crate::probe::meter::{Meter, Unit};
use crate::probe::seat::Seat;

/// A limit in effect, or why it is not known.
pub type InEffect = Result<Option<Held>, String>;

/// What is used and what holds. A limit holds also in a group that does not count: one above it does.
pub struct Facts {
    /// Of memory.
    pub memory: Option<Memory>,
    /// The limit on it.
    pub memory_limit: InEffect,
    /// Of processor time.
    pub cpu: Option<Cpu>,
    /// The quota.
    pub quota: InEffect,
    /// How many processes there are, threads included.
    pub pids: Option<u64>,
    /// The limit on them.
    pub pids_limit: InEffect,
}

/// Memory, in bytes.
pub struct Memory {
    /// All of it: what is compared with the limit.
    pub usage: u64,
    /// Pages of files that were not used lately.
    pub inactive_file: u64,
    /// Pages of processes.
    pub anon: u64,
    /// Pages of files.
    pub file: u64,
    /// The most that the usage ever was.
    pub peak: Option<u64>,
    /// How many processes were killed for it.
    pub killed: Option<u64>,
}

/// Processor time, in microseconds.
pub struct Cpu {
    /// How much was used.
    pub used_us: Option<u64>,
    /// In how many periods the quota was used up.
    pub throttled: Option<u64>,
    /// How long processes were kept waiting for that.
    pub throttled_us: Option<u64>,
    /// Its weight against its neighbours.
    pub weight: Option<u64>,
}

/// Reads the memory of a group, if it has the controller.
fn memory(seat: &Seat) -> Option<Memory> {
    let stat = |one: &str, two: &str| seat.word(("memory.stat", one), ("memory.stat", two)).unwrap_or(0);
    Some(Memory {
        usage: usage(seat).read()?,
        inactive_file: stat("total_inactive_file", "inactive_file"),
        anon: stat("total_rss", "anon"),
        file: stat("total_cache", "file"),
        peak: seat.number("memory.max_usage_in_bytes", "memory.peak"),
        killed: seat.word(("memory.oom_control", "oom_kill"), ("memory.events", "oom_kill")),
    })
}

/// What `docker stats` shows of it.
#[must_use]
pub fn as_docker(memory: &Memory) -> u64 {
    memory.usage.saturating_sub(memory.inactive_file)
}

fn cpu(subject: &Subject) -> Option<Cpu> {
    let used_us = processor_time(subject).and_then(|meter| meter.read());
    let seat = subject.seat("cpu");
    let word = |one, two| seat.and_then(|seat| seat.word(("cpu.stat", one), ("cpu.stat", two)));
    (used_us.is_some() || seat.is_some()).then(|| Cpu {
        used_us,
        throttled: word("nr_throttled", "nr_throttled"),
        throttled_us: word("throttled_time", "throttled_usec")
            .map(|time| if seat.is_some_and(|seat| seat.is_v2) { time } else { time / 1000 }),
        weight: seat.and_then(|seat| seat.number("cpu.shares", "cpu.weight")),
    })
}

/// Reads them all.
#[must_use]
pub fn facts(subject: &Subject) -> Facts {
    let held = |resource: &limits::Resource| {
        subject.seat(resource.controller).map_or(Ok(None), |seat| resource.held(seat))
    };
    Facts {
        memory: subject.seat("memory").and_then(memory),
        memory_limit: held(&limits::MEMORY),
        cpu: cpu(subject),
        quota: held(&limits::PROCESSORS),
        pids: subject.seat("pids").and_then(|seat| processes(seat).read()),
        pids_limit: held(&limits::PROCESSES),
    }
}

/// The usage of memory. The top group of version 2 has no such file.
fn usage(seat: &Seat) -> Meter {
    Meter::file("memory", seat.file("memory.usage_in_bytes", "memory.current"), Unit::Bytes)
}

/// The processor time: version 1 counts it in nanoseconds, in a tree that may be another one.
#[must_use]
pub fn processor_time(subject: &Subject) -> Option<Meter> {
    if let Some(seat) = subject.seat("cpuacct") {
        return Some(Meter::file("cpu", seat.directory.join("cpuacct.usage"), Unit::ShareOfNanoseconds));
    }
    let seat = subject.seats.iter().find(|seat| seat.is_v2)?;
    Some(Meter::word("cpu", seat.directory.join("cpu.stat"), "usage_usec", Unit::Share))
}

/// The number of processes. Top groups have no such file.
fn processes(seat: &Seat) -> Meter {
    Meter::file("pids", seat.file("pids.current", "pids.current"), Unit::Count)
}

/// The meters that can be read of these groups. A bar is full at the limit in effect; without one only processor time
/// has a bar, of one processor.
#[must_use]
pub fn meters(subject: &Subject) -> Vec<Meter> {
    let facts = facts(subject);
    let full = |meter: Meter, limit: Option<u64>| match limit {
        Some(limit) => meter.full(limit),
        None => meter,
    };
    let amount = |limit: &InEffect| effective(limit).map(|held| held.limit.amount);
    let memory = subject.seat("memory").map(|seat| full(usage(seat), amount(&facts.memory_limit)));
    let share = effective(&facts.quota).map_or(100, |held| held.limit.parts(100).max(1));
    let cpu = processor_time(subject).map(|meter| meter.full(share));
    let pids = subject.seat("pids").map(|seat| full(processes(seat), amount(&facts.pids_limit)));
    let all = [memory, cpu, pids].into_iter().flatten();
    all.filter(|meter| meter.read().is_some()).collect()
}

/// The limit, where one is known.
#[must_use]
pub fn effective(limit: &InEffect) -> Option<&Held> {
    limit.as_ref().ok()?.as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_docker_shows_is_usage_without_inactive_file_pages() {
        let memory = Memory { usage: 100, inactive_file: 30, anon: 0, file: 0, peak: None, killed: None };
        assert_eq!(as_docker(&memory), 70);
        assert_eq!(as_docker(&Memory { usage: 10, ..memory }), 0, "the numbers are not read at one moment");
    }

    #[test]
    fn only_what_is_counted_is_watched() {
        let dir = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| std::fs::write(dir.path().join(file), text).unwrap();
        write("memory.current", "4096\n");
        write("memory.max", "8192\n");
        write("cpu.max", "20000 100000\n");
        write("cpu.stat", "usage_usec 7\n");
        let controllers = ["memory", "cpu", "pids"].map(str::to_owned).to_vec();
        let (top, directory) = (dir.path().to_owned(), dir.path().to_owned());
        let seat = Seat { controllers, is_v2: true, top, directory };
        let subject = Subject { title: String::new(), seats: vec![seat] };
        let all: Vec<_> = meters(&subject).iter().map(|meter| (meter.name.to_string(), meter.full)).collect();
        assert_eq!(all, [("memory".to_owned(), Some(8192)), ("cpu".to_owned(), Some(20))]);
        std::fs::remove_file(dir.path().join("cpu.max")).unwrap();
        assert_eq!(meters(&subject)[1].full, Some(100));
    }
}
