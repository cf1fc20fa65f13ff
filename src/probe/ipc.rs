//! System V objects of this process's IPC namespace, from `/proc/sysvipc`
//! ([sysvipc(7)](https://man7.org/linux/man-pages/man7/sysvipc.7.html)).

use serde_json::{Value as Json, json};

use super::read;

/// The files of /proc/sysvipc, each with the word for what it lists.
const KINDS: [(&str, &str); 3] =
    [("msg", "message queues"), ("shm", "shared memory segments"), ("sem", "semaphore sets")];

/// The keys of the objects that a file lists.
fn keys(kind: &str) -> Result<Vec<String>, String> {
    let text = read::text(format!("/proc/sysvipc/{kind}"))?;
    let key = |line: &str| {
        let key: i64 = line.split_whitespace().next()?.parse().ok()?;
        Some(format!("{:#x}", u32::try_from(key & 0xffff_ffff).ok()?))
    };
    Ok(text.lines().skip(1).filter_map(key).collect())
}

/// How many objects there are.
pub fn count() -> Result<usize, String> {
    KINDS.iter().map(|(kind, _)| keys(kind).map(|all| all.len())).sum()
}

/// The snapshot: the keys of each kind.
#[must_use]
pub fn snapshot() -> Json {
    let one = |(kind, name): &(&str, &str)| {
        ((*name).to_owned(), keys(kind).map_or_else(|why| json!(why), |keys| json!(keys)))
    };
    Json::Object(KINDS.iter().map(one).collect())
}
