//! Open descriptors of this process, and what they refer to.

use std::fs;
use std::path::Path;

use serde_json::{Value as Json, json};

use super::read;

const DIRECTORY: &str = "/proc/self/fdinfo";

/// An open descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// Its number.
    pub fd: i32,
    /// What it refers to: a path, `socket:[123]`, `pipe:[45]`.
    pub target: String,
    /// Whether it closes on exec.
    pub cloexec: bool,
}

/// All of them in order, the one that lists them apart; or why they cannot be listed.
pub fn all() -> Result<Vec<Descriptor>, String> {
    let path = Path::new(DIRECTORY);
    let entries = fs::read_dir(path).map_err(|cause| read::reason(path, &cause))?;
    let mut numbers: Vec<i32> =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    // The directory's own descriptor is closed by now: it is not among those that can be read.
    Ok(numbers.into_iter().filter_map(one).collect())
}

fn one(fd: i32) -> Option<Descriptor> {
    let info = fs::read_to_string(format!("{DIRECTORY}/{fd}")).ok()?;
    let target = fs::read_link(format!("/proc/self/fd/{fd}")).ok()?;
    let flags = u32::from_str_radix(read::field(&info, "flags")?, 8).ok()?;
    let cloexec = flags & libc::O_CLOEXEC.cast_unsigned() != 0;
    Some(Descriptor { fd, target: target.to_string_lossy().into_owned(), cloexec })
}

/// The snapshot.
#[must_use]
pub fn snapshot() -> Json {
    match all() {
        Err(why) => json!({ "unreadable": why }),
        Ok(all) => all
            .iter()
            .map(|one| json!({ "fd": one.fd, "target": one.target, "on_exec": if one.cloexec { "closes" } else { "stays" } }))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn a_file_of_the_standard_library_closes_on_exec() {
        let file = fs::File::open("/dev/null").unwrap();
        let all = all().unwrap();
        let one = all.iter().find(|one| one.fd == file.as_raw_fd()).unwrap();
        assert_eq!((one.target.as_str(), one.cloexec), ("/dev/null", true));
    }
}
