//! Open descriptors of another process, and which of them reach out of its container.
//!
//! A descriptor was opened once, and opening is when rights are checked. It goes on to work in a namespace from which
//! the same file could not even be named: that is how containers were left more than once (CVE-2019-5736,
//! CVE-2024-21626).

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use serde_json::{Value as Json, json};

use super::mounts::Mount;
use super::read;

/// The descriptors of a process, each with where it reaches to, if that is outside. `own_mounts` and `own_network` say
/// whether the process has such namespaces of its own: without, there is no outside.
pub fn descriptors(
    pid: i32,
    mounts: &[Mount],
    own_mounts: bool,
    own_network: bool,
) -> Result<Vec<Json>, String> {
    let folder = format!("/proc/{pid}/fd");
    let entries = fs::read_dir(&folder).map_err(|cause| read::reason(Path::new(&folder), &cause))?;
    let mut numbers: Vec<i32> =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    let inside: HashSet<u32> = mounts.iter().map(|mount| mount.id).collect();
    // A socket that is not connected is in no table: only what is in the reader's is known to be outside.
    let outside = if own_network { sockets("self") } else { HashSet::new() };
    let mut all = Vec::new();
    for fd in numbers {
        let path = format!("{folder}/{fd}");
        let target = match fs::read_link(&path) {
            Ok(target) => target.to_string_lossy().into_owned(),
            // It was closed meanwhile.
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => continue,
            // Root may list the folder of any process, and not follow what is in it.
            Err(cause) => return Err(read::reason(Path::new(&path), &cause)),
        };
        let info = read::text(format!("/proc/{pid}/fdinfo/{fd}")).unwrap_or_default();
        let mount = read::field(&info, "mnt_id").and_then(|id| id.parse::<u32>().ok());
        let reaches = if target.starts_with('/') {
            let outside = own_mounts && mount.is_some_and(|mount| !inside.contains(&mount));
            outside.then_some("a mount that is not in its mount namespace")
        } else if let Some(inode) = inode_in(&target, "socket:[") {
            outside.contains(&inode).then_some("a socket of your network namespace")
        } else {
            special(&target)
        };
        all.push(json!({ "fd": fd, "target": target, "kind": kind(&path, &target), "reaches": reaches }));
    }
    Ok(all)
}

/// What a descriptor without a path gives power over.
fn special(target: &str) -> Option<&'static str> {
    let namespace = super::ns::KINDS.iter().any(|(_, name)| target.starts_with(&format!("{name}:[")));
    if namespace {
        return Some("a namespace, which it keeps alive and might enter");
    }
    target.contains("[pidfd]").then_some("a process")
}

fn inode_in(target: &str, prefix: &str) -> Option<u64> {
    target.strip_prefix(prefix)?.strip_suffix(']')?.parse().ok()
}

fn kind(path: &str, target: &str) -> &'static str {
    let Ok(about) = fs::metadata(path) else { return "unknown" };
    let kind = about.file_type();
    match () {
        () if kind.is_dir() => "directory",
        () if kind.is_socket() => "socket",
        () if kind.is_fifo() => "pipe",
        () if kind.is_block_device() => "block device",
        () if kind.is_char_device() => "device",
        () if target.starts_with('/') => "file",
        () => "object",
    }
}

/// The inodes of the sockets that the tables of a process's network namespace show, with the column that has them.
fn sockets(pid: &str) -> HashSet<u64> {
    const TABLES: [(&str, usize); 11] = [
        ("unix", 6),
        ("tcp", 9),
        ("tcp6", 9),
        ("udp", 9),
        ("udp6", 9),
        ("raw", 9),
        ("raw6", 9),
        ("udplite", 9),
        ("icmp", 9),
        ("netlink", 9),
        ("packet", 8),
    ];
    let mut all = HashSet::new();
    for (table, column) in TABLES {
        let text = read::text(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        all.extend(
            text.lines().skip(1).filter_map(|line| line.split_whitespace().nth(column)?.parse::<u64>().ok()),
        );
    }
    all
}

/// Sockets that are mounted into the process's tree: whoever reaches one talks to the service behind it, such as a
/// container engine, which may give power over the host.
#[must_use]
pub fn mounted_sockets(pid: i32, mounts: &[Mount]) -> Vec<String> {
    let is_socket = |mount: &&Mount| {
        let inside = mount.at.strip_prefix("/").unwrap_or(&mount.at);
        mount.root != Path::new("/")
            && fs::symlink_metadata(Path::new(&format!("/proc/{pid}/root")).join(inside))
                .is_ok_and(|about| about.file_type().is_socket())
    };
    mounts.iter().filter(is_socket).map(|mount| mount.at.to_string_lossy().into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::mounts;
    use std::os::fd::AsRawFd;

    #[test]
    fn a_file_of_a_mount_that_is_not_in_the_table_reaches_out() {
        let folder = fs::File::open("/").unwrap();
        let pid = std::process::id().cast_signed();
        let find = |table: &[Mount]| {
            let all = descriptors(pid, table, true, false).unwrap();
            all.into_iter().find(|one| one["fd"] == folder.as_raw_fd()).unwrap()
        };
        let one = find(&mounts::table().unwrap());
        assert_eq!((one["kind"].as_str(), &one["reaches"]), (Some("directory"), &Json::Null));
        assert!(find(&[])["reaches"].as_str().unwrap().contains("mount namespace"));
    }

    #[test]
    fn a_socket_of_the_readers_network_does_if_the_process_has_another() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let pid = std::process::id().cast_signed();
        for (own, reaches) in [(false, Json::Null), (true, json!("a socket of your network namespace"))] {
            let all = descriptors(pid, &[], false, own).unwrap();
            let one = all.iter().find(|one| one["fd"] == socket.as_raw_fd()).unwrap();
            assert_eq!((one["kind"].as_str(), &one["reaches"]), (Some("socket"), &reaches));
        }
    }

    #[test]
    fn namespaces_and_processes_are_named() {
        assert!(special("net:[4026531840]").is_some() && special("anon_inode:[pidfd]").is_some());
        assert_eq!(special("pipe:[1]"), None);
    }
}
