//! `cutaway cgroup io`: how fast a disk may be written to, seen at one process that writes.

use std::path::{Path, PathBuf};

use super::{Group, Member, before, group, story, watch_to_end};
use crate::concepts::Context;
use crate::concepts::common::{amount, groups};
use crate::error::{Error, Result};
use crate::plan::watch::Finding;
use crate::plan::{Ending, Plan, Probe, Step, calls};
use crate::probe::disk;
use crate::probe::meter::{Meter, Unit};
use crate::sys::Slot;

const FREE: Member = Member { actor: "free", pid: Slot::new("free pid"), group: "group of the free one" };
const SLOWED: Member =
    Member { actor: "slowed", pid: Slot::new("slowed pid"), group: "group of the slowed one" };

/// Bytes in a second that the lesson takes: it must be felt, and the lesson must end.
const RANGE: (u64, u64) = (256 << 10, 64 << 20);
/// For how many seconds the slowed process writes, about.
const SECONDS: u64 = 4;
const EVERY: u32 = 250;

/// The story.
pub fn plan(limit: Option<&str>, context: &Context) -> Result<Plan> {
    let limit = settle(limit.unwrap_or_default())?;
    let group = Group::find(groups::io_controller(context), &group::name(), context)?;
    let (file, device) = place(context)?;
    let bytes = limit * SECONDS;
    let words = ["write", &file.to_string_lossy(), &bytes.to_string()].map(str::to_owned);
    let meters = [written(&group, &device)];
    let mut steps = vec![before(), super::memory::make_file(&file)];
    steps.extend(group.enable());
    steps.push(group.make(
        Step::say("Make a group")
            .why("Nothing is limited yet. The group counts what its processes read from disks and write to them.")
            .chapter("24"),
    ));
    steps.extend(
        group.workload(
            Step::say("Start a process that writes a file, as fast as it can")
                .why("It waits after each piece until the disk has it: what stays in memory is no block I/O.")
                .chapter("24"),
            &FREE,
            &words,
        ),
    );
    steps.push(
        Step::say("Watch it write")
            .why("Only the disk, and others who use it, slow it down.")
            .chapter("24")
            .watch(watch_to_end(&meters, EVERY, &FREE.pid, Ending::Exited(0)))
            .look_at([Probe::Numbers(meters.to_vec())]),
    );
    steps.push(set(&group, &device, limit));
    steps.extend(group.workload(
        Step::say("Start the same once more").why("The same file, the same number of bytes.").chapter("24"),
        &SLOWED,
        &words,
    ));
    steps.push(slowed(&meters, limit));
    Ok(story("io", &group, context, steps))
}

fn settle(text: &str) -> Result<u64> {
    let bytes = amount::bytes("--limit", text)?;
    if !(RANGE.0..=RANGE.1).contains(&bytes) {
        return Err(amount::refuse("--limit", text, "this lesson takes between 256k and 64m in a second"));
    }
    Ok(bytes)
}

/// A file on a disk of its own, and that disk.
fn place(context: &Context) -> Result<(PathBuf, String)> {
    let file = super::memory::place_of_file(context).ok_or_else(|| {
        Error::new("there is no place for a file on a disk here")
            .rule("every folder for temporary files is in memory")
            .remedy("set TMPDIR to a folder on a disk")
    })?;
    let folder = file.parent().unwrap_or(Path::new("/"));
    let device = disk::holding(folder).map_err(|why| {
        Error::new("no limit can be set for the disk of this folder")
            .rule(why)
            .remedy("set TMPDIR to a folder on ext4 or xfs: btrfs and overlayfs do not say which disk they write to")
            .chapter("24")
    })?;
    Ok((file, device))
}

fn written(group: &Group, device: &str) -> Meter {
    let file = group.file("blkio.throttle.io_service_bytes", "io.stat");
    let word = format!("{device} {}", group.either("Write", "wbytes"));
    Meter::word("written", file, word, Unit::Bytes)
}

/// Which device, and how many bytes in a second.
fn set(group: &Group, device: &str, limit: u64) -> Step {
    let value = group.either(format!("{device} {limit}"), format!("{device} wbps={limit}"));
    Step::say("Set a limit on writing to that disk")
        .why(
            "The disk is named by its two numbers, because one disk may be slow and another fast. What is read \
             is not limited by this.",
        )
        .chapter("24")
        .calls(calls::write(
            group.file("blkio.throttle.write_bps_device", "io.max"),
            value.as_str(),
        ))
        .look_at([Probe::File(group.file("blkio.throttle.write_bps_device", "io.max"))])
}

fn slowed(meters: &[Meter], limit: u64) -> Step {
    let mut watch = watch_to_end(meters, EVERY, &SLOWED.pid, Ending::Exited(0));
    // The kernel lets a slice of time pass at once, and the first reading is made a moment after the start.
    watch.shows = vec![Finding::PerSecondAtMost(0, limit / 2 * 3)];
    Step::say("Watch it against the limit")
        .why(
            "Each request waits until its turn has come, and the process with it. On version 1 only requests \
             that a process makes itself are slowed down, as here; what the kernel writes back later, from the \
             page cache, is nobody's. Version 2 knows whose pages they are.",
        )
        .chapter("24")
        .watch(watch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_has_a_range() {
        assert_eq!(settle("2m").unwrap(), 2 << 20);
        for bad in ["1k", "1g", "fast"] {
            assert!(settle(bad).is_err(), "{bad}");
        }
    }
}
