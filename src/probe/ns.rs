//! Namespaces and pids of this process, from `/proc/self`.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Map, Value as Json, json};

use super::read;
use crate::sys::flags::CloneFlags;

/// Each kind of namespace: its flag, and its name in `/proc/PID/ns`.
pub const KINDS: [(CloneFlags, &str); 8] = [
    (CloneFlags::CLONE_NEWUSER, "user"),
    (CloneFlags::CLONE_NEWNS, "mnt"),
    (CloneFlags::CLONE_NEWPID, "pid"),
    (CloneFlags::CLONE_NEWUTS, "uts"),
    (CloneFlags::CLONE_NEWIPC, "ipc"),
    (CloneFlags::CLONE_NEWNET, "net"),
    (CloneFlags::CLONE_NEWCGROUP, "cgroup"),
    (CloneFlags::CLONE_NEWTIME, "time"),
];

/// The namespaces of these kinds: `uts:[4026531838]`.
#[must_use]
pub fn namespaces(kinds: CloneFlags) -> Json {
    let all = KINDS.iter().filter(|(flag, _)| kinds.contains(*flag));
    Json::Object(all.map(|(_, name)| ((*name).to_owned(), link(name))).collect::<Map<_, _>>())
}

fn link(name: &str) -> Json {
    link_of("self", name)
}

fn link_of(pid: &str, name: &str) -> Json {
    let path = format!("/proc/{pid}/ns/{name}");
    match std::fs::read_link(&path) {
        Ok(target) => json!(target.to_string_lossy()),
        Err(cause) => read::unreadable(Path::new(&path), &cause),
    }
}

/// The namespaces of these kinds of another process.
#[must_use]
pub fn namespaces_of(pid: &str, kinds: CloneFlags) -> Json {
    let all = KINDS.iter().filter(|(flag, _)| kinds.contains(*flag));
    Json::Object(all.map(|(_, name)| ((*name).to_owned(), link_of(pid, name))).collect::<Map<_, _>>())
}

/// The namespaces of these kinds, pid and time only, of this process and of the children that it will have.
#[must_use]
pub fn for_children(kinds: CloneFlags) -> Json {
    let all = KINDS.iter().filter(|(flag, _)| kinds.contains(*flag));
    let both = all.flat_map(|(_, name)| [(*name).to_owned(), format!("{name}_for_children")]);
    Json::Object(both.map(|name| (name.clone(), link(&name))).collect::<Map<_, _>>())
}

/// The pid of this process in each pid namespace that can see it, innermost last.
#[must_use]
pub fn pids() -> Json {
    let status = match read::text("/proc/self/status") {
        Ok(status) => status,
        Err(why) => return json!({ "pid": std::process::id(), "outside": why }),
    };
    let numbers = |key| -> Vec<i64> {
        let line = read::field(&status, key).unwrap_or_default();
        line.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
    };
    json!({ "pid": std::process::id(), "pids": numbers("NSpid"), "parent": numbers("PPid").first() })
}

/// The inodes of the namespaces of this process, for later comparison.
#[must_use]
pub fn inodes() -> HashMap<&'static str, u64> {
    inodes_of("self")
}

/// The inodes of the namespaces of a process.
#[must_use]
pub fn inodes_of(pid: &str) -> HashMap<&'static str, u64> {
    use std::os::unix::fs::MetadataExt;
    let inode = |name: &str| std::fs::metadata(format!("/proc/{pid}/ns/{name}")).ok().map(|meta| meta.ino());
    KINDS.iter().filter_map(|(_, name)| Some((*name, inode(name)?))).collect()
}

/// The inode of the namespace of this kind that children will be in.
#[must_use]
pub fn inode_for_children(name: &str) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(format!("/proc/self/ns/{name}_for_children")).ok().map(|meta| meta.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_named_as_the_kernel_names_it() {
        let value = namespaces(CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWNS);
        assert!(value["uts"].as_str().unwrap().starts_with("uts:["), "{value}");
        assert_eq!(value.as_object().unwrap().len(), 2);
    }

    #[test]
    fn the_innermost_pid_is_ours() {
        let value = pids();
        assert_eq!(value["pids"].as_array().unwrap().last(), Some(&value["pid"]));
    }
}
