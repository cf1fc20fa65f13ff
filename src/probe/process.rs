//! What /proc says of single processes
//! ([proc_pid_stat(5)](https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html)).

use std::os::unix::fs::MetadataExt;

use serde_json::{Value as Json, json};

use super::read;
use crate::sys::flags::Signal;

/// What `/proc/PID/status` says of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The name of its program.
    pub name: String,
    /// `S (sleeping)`, `Z (zombie)`.
    pub state: String,
    /// The pid of its parent, as the mounted /proc numbers it.
    pub parent: i32,
    /// Its pid in each pid namespace that the mounted /proc can see, innermost last.
    pub pids: Vec<i32>,
}

impl Status {
    /// Whether it has ended and only waits to be collected.
    #[must_use]
    pub fn is_zombie(&self) -> bool {
        self.state.starts_with('Z')
    }
}

/// Reads the status of a process.
pub fn status(pid: i64) -> Result<Status, String> {
    let text = read::text(format!("/proc/{pid}/status"))?;
    let field = |key| read::field(&text, key).unwrap_or_default();
    Ok(Status {
        name: field("Name").to_owned(),
        state: field("State").to_owned(),
        parent: field("PPid").parse().unwrap_or_default(),
        pids: field("NSpid").split_whitespace().filter_map(|pid| pid.parse().ok()).collect(),
    })
}

/// The snapshot of one process.
#[must_use]
pub fn snapshot(pid: i64) -> Json {
    match status(pid) {
        Ok(one) => {
            json!({ "name": one.name, "state": one.state, "parent": one.parent, "pids": numbers(&one.pids) })
        }
        Err(why) => json!({ "unreadable": why }),
    }
}

/// One number, or several with the outermost first.
fn numbers(pids: &[i32]) -> String {
    pids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// The pids that the mounted /proc shows.
#[must_use]
pub fn shown() -> Vec<i64> {
    let names = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids: Vec<i64> = names.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    pids
}

/// The snapshot of what the mounted /proc shows; each process by itself where they are few.
#[must_use]
pub fn proc_snapshot() -> Json {
    const FEW: usize = 8;
    let pids = shown();
    let own = std::fs::read_link("/proc/self").map(|to| to.to_string_lossy().into_owned());
    let first = read::text("/proc/1/comm").unwrap_or_else(|why| why);
    let mut all = json!({
        "/proc/self": own.unwrap_or_else(|_| "this process is not in it".to_owned()),
        "/proc/1": first.trim_end(),
        "processes": pids.len(),
    });
    if pids.len() <= FEW {
        for pid in pids {
            if let Ok(one) = status(pid) {
                all[format!("process {pid}")] =
                    json!(format!("{}  {}  parent {}", one.name, one.state, one.parent));
            }
        }
    }
    all
}

/// The processes whose pid namespace is the one that this descriptor refers to.
#[must_use]
pub fn members(fd: i64) -> Vec<i64> {
    let Ok(namespace) = std::fs::metadata(format!("/proc/self/fd/{fd}")) else { return Vec::new() };
    let is_in = |pid: &i64| {
        std::fs::metadata(format!("/proc/{pid}/ns/pid")).is_ok_and(|meta| meta.ino() == namespace.ino())
    };
    shown().into_iter().filter(is_in).collect()
}

/// The snapshot of these.
#[must_use]
pub fn members_snapshot(fd: i64) -> Json {
    let all = members(fd).into_iter().filter_map(|pid| Some((pid, status(pid).ok()?)));
    let all: Vec<_> = all
        .map(|(pid, one)| {
            let inside = one.pids.last().copied().unwrap_or_default();
            json!({ "pid": format!("process {pid}"), "text": format!("{}  {}  is {inside} inside", one.name, one.state) })
        })
        .collect();
    if all.is_empty() { json!({ "processes": "none" }) } else { Json::Array(all) }
}

/// The start time of a living process in clock ticks after boot; `None` if there is no such process or only
/// its zombie is left. Together with the pid it names one process for good.
#[must_use]
pub fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The command name in brackets may hold anything, brackets and blanks too: count from its end.
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let text = std::str::from_utf8(stat.get(end + 2..)?).ok()?;
    let mut fields = text.split(' ');
    let state = fields.next()?;
    (!matches!(state, "Z" | "X")).then(|| fields.nth(18)?.parse().ok())?
}

/// The processor time that a process has used, in microseconds, as exact as a clock tick; `None` once it has gone.
#[must_use]
pub fn processor_time(pid: i64) -> Option<u64> {
    const MICROSECONDS: u64 = 1_000_000;
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let text = std::str::from_utf8(stat.get(end + 2..)?).ok()?;
    let mut fields = text.split(' ').skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    let per_second = rustix::param::clock_ticks_per_second();
    Some((user + system) * MICROSECONDS / per_second.max(1))
}

/// The pid by which the mounted /proc knows the calling process: the host's number, as long as the host's
/// /proc is the one that is mounted.
#[must_use]
pub fn own_pid() -> Option<i32> {
    std::fs::read_link("/proc/self").ok()?.to_str()?.parse().ok()
}

/// Whether a process has a handler of its own for the signal (`SigCgt` in `proc_pid_status(5)`).
#[must_use]
pub fn handles_signal(pid: i32, signal: Signal) -> bool {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { return false };
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let mask = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask & (1 << (signal.number() - 1)) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_pid_and_start_time() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(start_time(own).is_some_and(|ticks| ticks > 0));
        assert_eq!(start_time(own), start_time(own));
        assert_eq!(start_time(-1), None);
        assert_eq!(own_pid(), Some(own));
    }
}
