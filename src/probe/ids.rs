//! Users and groups of this process, and how its user namespace maps them.

use nix::unistd::{getgroups, getresgid, getresuid};
use serde_json::{Value as Json, json};

use super::read;

/// A line of a map: ids `inside..inside+count` are `outside..` one namespace further out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first id in the namespace.
    pub inside: u32,
    /// The id it is outside.
    pub outside: u32,
    /// How many follow each other.
    pub count: u32,
}

/// Parses `/proc/PID/uid_map` or `gid_map`.
#[must_use]
pub fn parse_map(text: &str) -> Vec<Range> {
    let one = |line: &str| {
        let mut numbers = line.split_whitespace().map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(Range { inside: next()?, outside: next()?, count: next()? })
    };
    text.lines().filter_map(one).collect()
}

/// The snapshot.
#[must_use]
pub fn snapshot() -> Json {
    let uid =
        getresuid().map_or(Json::Null, |all| json!(ids([all.real, all.effective, all.saved].map(u32::from))));
    let gid =
        getresgid().map_or(Json::Null, |all| json!(ids([all.real, all.effective, all.saved].map(u32::from))));
    let mut groups: Vec<u32> = getgroups().unwrap_or_default().iter().map(|gid| gid.as_raw()).collect();
    groups.sort_unstable();
    json!({
        "uid": uid,
        "gid": gid,
        "groups": groups,
        "uid_map": map("/proc/self/uid_map"),
        "gid_map": map("/proc/self/gid_map"),
        "setgroups": read::text("/proc/self/setgroups").map_or_else(|why| json!(why), |text| json!(text.trim())),
    })
}

/// One number if real, effective and saved id are the same, as they nearly always are.
fn ids([real, effective, saved]: [u32; 3]) -> Json {
    if real == effective && effective == saved {
        json!(real)
    } else {
        json!(format!("real {real}, effective {effective}, saved {saved}"))
    }
}

fn map(path: &str) -> Json {
    read::text(path).map_or_else(|why| json!(why), |text| json!(map_text(&text)))
}

/// A map in words.
#[must_use]
pub fn map_text(text: &str) -> String {
    let ranges = parse_map(text);
    match ranges.as_slice() {
        [] => "not written yet: every id is the overflow id".to_owned(),
        [Range { inside: 0, outside: 0, count: u32::MAX }] => "every id is itself".to_owned(),
        ranges => {
            let one =
                |range: &Range| format!("{} is {} outside ({})", range.inside, range.outside, range.count);
            ranges.iter().map(one).collect::<Vec<_>>().join(", ")
        }
    }
}

/// The ids of another process, as `/proc/PID/status` lists them: real, effective, saved, and that of the file system.
#[must_use]
pub fn text(all: &[u32]) -> Json {
    match all {
        [real, effective, saved, ..] => ids([*real, *effective, *saved]),
        _ => Json::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_has_three_numbers_a_line() {
        let text = "         0       1000          1\n         1     100000      65536\nnonsense\n";
        let expected = [
            Range { inside: 0, outside: 1000, count: 1 },
            Range { inside: 1, outside: 100_000, count: 65_536 },
        ];
        assert_eq!(parse_map(text), expected);
    }

    #[test]
    fn three_equal_ids_are_one() {
        assert_eq!(ids([5, 5, 5]), json!(5));
        assert_eq!(ids([1, 0, 0]), json!("real 1, effective 0, saved 0"));
    }
}
