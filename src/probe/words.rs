//! The kernel's own words about a call that failed: an errno is a number, and the reason often stands elsewhere.
//!
//! A descriptor of fsopen(2) keeps messages about the file system that is being configured, and whatever has no
//! such descriptor writes to the kernel log. Reading either changes nothing but the messages of that descriptor,
//! which nobody else can read.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// How far the clock of the log may be from the one that is read here.
const SLACK: Duration = Duration::from_millis(20);
/// Longer than a record of the log, and than a message of a descriptor.
const ROOM: usize = 8192;
/// How overlayfs begins its lines.
const OVERLAY: [&str; 2] = ["overlayfs: ", "overlay: "];

/// The messages of a descriptor of fsopen(2), in their order.
#[must_use]
pub fn of_descriptor(fd: i64) -> Option<String> {
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0)?;
    let fd = crate::sys::process::borrow(fd);
    let mut all = Vec::new();
    let mut room = vec![0; ROOM];
    // One message at a time, and ENODATA when there is none left.
    while let Ok(size @ 1..) = rustix::io::read(fd, &mut room) {
        all.push(message(&String::from_utf8_lossy(&room[..size])).to_owned());
    }
    joined(all)
}

/// `e overlay: Unknown parameter`: the letter says whether it is an error, a warning or information.
fn message(line: &str) -> &str {
    let line = line.trim_end();
    let marks = ["e ", "w ", "i "];
    marks.iter().find_map(|mark| line.strip_prefix(mark)).unwrap_or(line)
}

/// What overlayfs has written to the kernel log in the time that has just passed; nothing where the log may not be
/// read.
#[must_use]
pub fn of_overlay(passed: Duration) -> Option<String> {
    let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).ok()?);
    let since = now.saturating_sub(passed + SLACK);
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let mut log = File::options().read(true).custom_flags(flags).open("/dev/kmsg").ok()?;
    let mut all = Vec::new();
    let mut room = vec![0; ROOM];
    loop {
        match log.read(&mut room) {
            Ok(0) => break,
            Ok(size) => all.extend(record(&String::from_utf8_lossy(&room[..size]), since)),
            // Overwritten while it was read: the next one is there.
            Err(cause) if cause.raw_os_error() == Some(libc::EPIPE) => {}
            Err(_) => break,
        }
    }
    joined(all)
}

/// A record of the log, `6,339,5140900,-;overlayfs: …`, if it is overlayfs's and not older than this.
fn record(text: &str, since: Duration) -> Option<String> {
    let (head, rest) = text.split_once(';')?;
    let micros: u64 = head.split(',').nth(2)?.parse().ok()?;
    let line = rest.lines().next()?;
    let words = OVERLAY.iter().any(|name| line.starts_with(name));
    (words && Duration::from_micros(micros) >= since).then(|| line.to_owned())
}

fn joined(mut all: Vec<String>) -> Option<String> {
    all.dedup();
    (!all.is_empty()).then(|| all.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_loses_its_letter() {
        assert_eq!(message("e overlay: Unknown parameter 'bogus'\n"), "overlay: Unknown parameter 'bogus'");
        assert_eq!(message("without"), "without");
    }

    #[test]
    fn only_overlayfs_and_only_what_is_new_counts() {
        let since = Duration::from_secs(5);
        let line = "3,339,5140900,-;overlayfs: failed to resolve 'nope': -2\n SUBSYSTEM=x\n";
        assert_eq!(record(line, since).unwrap(), "overlayfs: failed to resolve 'nope': -2");
        assert_eq!(record(line, Duration::from_secs(6)), None);
        assert_eq!(record("6,340,5140900,-;br0: port 1 entered disabled state\n", since), None);
        assert_eq!(record("nonsense", since), None);
    }

    #[test]
    fn a_descriptor_that_is_none_says_nothing() {
        assert_eq!(of_descriptor(-1), None);
    }
}
