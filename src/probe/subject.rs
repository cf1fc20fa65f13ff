//! Another process, field by field: what it is, its namespaces, its root, who it is and what it may do.
//!
//! /proc shows some of this to everybody and some only to those who could trace the process (`ptrace(2)`, "Ptrace
//! access mode checking"): the same user, or `CAP_SYS_PTRACE` over it. What was refused is a value too, with its reason.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde_json::{Value as Json, json};

use super::{ids, mounts, ns, privileges, read, security};

/// What a process is, as far as everybody may know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Its pid, as the mounted /proc has it.
    pub pid: i32,
    /// The process whose thread it is: nearly always itself.
    pub group: i32,
    /// Whether it has ended, and only its exit status is left.
    pub zombie: bool,
    /// Whether it is a thread of the kernel, without a program.
    pub kernel: bool,
    status: String,
}

/// `PF_KTHREAD` (`include/linux/sched.h`).
const KERNEL_THREAD: u64 = 0x0020_0000;

impl Subject {
    /// Finds a process.
    ///
    /// # Errors
    /// Why there is none.
    pub fn find(pid: i32) -> io::Result<Self> {
        let status = fs::read(format!("/proc/{pid}/status"))?;
        let status = String::from_utf8_lossy(&status).into_owned();
        let stat = fs::read(format!("/proc/{pid}/stat"))?;
        let field = |key| read::field(&status, key).unwrap_or_default();
        Ok(Self {
            pid,
            group: field("Tgid").parse().unwrap_or(pid),
            zombie: field("State").starts_with(['Z', 'X']),
            kernel: flags(&stat) & KERNEL_THREAD != 0,
            status,
        })
    }

    fn field(&self, key: &str) -> &str {
        read::field(&self.status, key).unwrap_or_default()
    }

    fn path(&self, name: &str) -> String {
        format!("/proc/{}/{name}", self.pid)
    }

    /// Why something of it cannot be read, in words: its end, or a missing right, and else the errno.
    fn unreadable(&self, name: &str, cause: &io::Error) -> Json {
        let path = self.path(name);
        if self.zombie || cause.raw_os_error() == Some(libc::ESRCH) {
            return json!({ "unreadable": "the process has ended" });
        }
        if cause.kind() == io::ErrorKind::PermissionDenied {
            return json!({ "unreadable": format!("{}: {NEEDS}", read::reason(Path::new(&path), cause)) });
        }
        json!({ "unreadable": read::reason(Path::new(&path), cause) })
    }

    fn link(&self, name: &str) -> Json {
        match fs::read_link(self.path(name)) {
            Ok(target) => json!(target.to_string_lossy()),
            Err(cause) => self.unreadable(name, &cause),
        }
    }

    /// The name of its program, in brackets for a thread of the kernel.
    #[must_use]
    pub fn name(&self) -> &str {
        self.field("Name")
    }

    /// The pid of its parent.
    #[must_use]
    pub fn parent(&self) -> i32 {
        self.field("PPid").parse().unwrap_or_default()
    }

    /// What it is.
    #[must_use]
    pub fn process(&self) -> Json {
        let program = if self.kernel { json!("none: a thread of the kernel") } else { self.link("exe") };
        let numbers: Vec<i32> =
            self.field("NSpid").split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
        json!({
            "name": self.name(),
            "command": self.command(),
            "program": program,
            "state": self.field("State"),
            "parent": self.parent(),
            "pids": numbers,
            "threads": self.field("Threads").parse::<u32>().ok(),
            "working_directory": if self.kernel { Json::Null } else { self.link("cwd") },
        })
    }

    fn command(&self) -> Json {
        match read::bytes(Path::new(&self.path("cmdline"))) {
            Ok(bytes) if bytes.is_empty() => Json::Null,
            Ok(bytes) => {
                let words = bytes.strip_suffix(b"\0").unwrap_or(&bytes).split(|byte| *byte == 0);
                json!(words.map(String::from_utf8_lossy).collect::<Vec<_>>())
            }
            Err(cause) => self.unreadable("cmdline", &cause),
        }
    }

    /// Its namespaces, each with whether it is the same as that of process 1 and as that of the caller; unknown is null.
    #[must_use]
    pub fn namespaces(&self) -> Json {
        let one = |name: &str| {
            let inode = match self.namespace(name) {
                Ok(inode) => inode,
                Err(cause) if cause.kind() == io::ErrorKind::NotFound && !self.zombie => {
                    return json!({ "kind": name, "unreadable": "this kernel has none" });
                }
                Err(cause) => {
                    let mut why = self.unreadable(&format!("ns/{name}"), &cause);
                    why["kind"] = json!(name);
                    return why;
                }
            };
            let first = inode_of("1", name).ok();
            let mine = inode_of("self", name).ok();
            json!({
                "kind": name,
                "inode": inode,
                "shared_with_1": first.map(|first| first == inode),
                "shared_with_you": mine.map(|mine| mine == inode),
            })
        };
        ns::KINDS.iter().map(|(_, name)| one(name)).collect()
    }

    /// The inode of one of its namespaces.
    pub fn namespace(&self, name: &str) -> io::Result<u64> {
        inode_of(&self.pid.to_string(), name)
    }

    /// The root of its file names: the path as the mount table has it, and whether it is the root of process 1.
    #[must_use]
    pub fn root(&self) -> Json {
        let path = self.path("root");
        let identity = |path: &str| fs::metadata(path).map(|about| (about.dev(), about.ino()));
        let (device, inode) = match identity(&path) {
            Ok(found) => found,
            Err(cause) => return self.unreadable("root", &cause),
        };
        json!({
            "path": self.link("root"),
            "device": format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device)),
            "inode": inode,
            "same_as_1": identity("/proc/1/root").ok().map(|first| first == (device, inode)),
            "same_as_yours": identity("/").ok().map(|mine| mine == (device, inode)),
        })
    }

    /// Its mount table, or why it cannot be read.
    pub fn mounts(&self) -> Result<Vec<mounts::Mount>, Json> {
        let path = self.path("mountinfo");
        let table = read::bytes(Path::new(&path)).map_err(|cause| self.unreadable("mountinfo", &cause))?;
        Ok(mounts::parse(&table))
    }

    /// Users and groups, and how its user namespace maps them to that of the reader.
    #[must_use]
    pub fn ids(&self) -> Json {
        let four = |key| -> Vec<u32> {
            self.field(key).split_whitespace().filter_map(|id| id.parse().ok()).collect()
        };
        let map = |name: &str| match read::bytes(Path::new(&self.path(name))) {
            Ok(bytes) => json!(ids::map_text(&String::from_utf8_lossy(&bytes))),
            Err(cause) => self.unreadable(name, &cause),
        };
        let setgroups = match read::bytes(Path::new(&self.path("setgroups"))) {
            Ok(bytes) => json!(String::from_utf8_lossy(&bytes).trim()),
            Err(cause) => self.unreadable("setgroups", &cause),
        };
        json!({
            "uid": ids::text(&four("Uid")),
            "gid": ids::text(&four("Gid")),
            "groups": four("Groups"),
            "uid_map": map("uid_map"),
            "gid_map": map("gid_map"),
            "setgroups": setgroups,
        })
    }

    /// Capability sets, `no_new_privs`, seccomp and the label of a security module.
    #[must_use]
    pub fn privileges(&self) -> Json {
        let all = privileges::parse(&self.status);
        let mut value = privileges::shown(&all);
        value["seccomp_filters"] = json!(self.field("Seccomp_filters").parse::<u32>().ok());
        value["label"] = match security::label(&self.pid.to_string()) {
            Ok(label) => json!(label),
            Err(why) => json!({ "unreadable": why }),
        };
        value
    }
}

/// What it takes to see the rest.
const NEEDS: &str = "this takes the same user, or CAP_SYS_PTRACE over it";

fn inode_of(pid: &str, name: &str) -> io::Result<u64> {
    fs::metadata(format!("/proc/{pid}/ns/{name}")).map(|about| about.ino())
}

/// Field 9 of `proc_pid_stat(5)`; the name before it is in brackets and may hold any of them.
fn flags(stat: &[u8]) -> u64 {
    let after = stat.iter().rposition(|byte| *byte == b')').map_or(&[][..], |at| &stat[at + 1..]);
    let text = String::from_utf8_lossy(after);
    text.split_whitespace().nth(6).and_then(|flags| flags.parse().ok()).unwrap_or_default()
}

/// The processes that are in a group of this name, in any hierarchy: a unit of systemd, or a container by the beginning
/// of its id, as engines name groups (`docker-ID.scope`, `libpod-ID`, `/docker/ID`). The lowest pid first.
#[must_use]
pub fn in_group_named(word: &str) -> Vec<i32> {
    let is_id = word.len() >= 6 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let names = |part: &str| {
        part == word || is_id && part.split(['-', '.']).any(|id| id.len() == 64 && id.starts_with(word))
    };
    let is_in = |pid: &i64| {
        let text = read::text(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        super::cgroup::parse(&text)
            .iter()
            .any(|one| one.path.iter().any(|part| names(&part.to_string_lossy())))
    };
    super::process::shown().into_iter().filter(is_in).filter_map(|pid| i32::try_from(pid).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Subject {
        Subject::find(std::process::id().cast_signed()).unwrap()
    }

    #[test]
    fn this_process_shares_everything_with_itself() {
        let me = own();
        assert!(!me.zombie && !me.kernel);
        let all = me.namespaces();
        for one in all.as_array().unwrap().iter().filter(|one| one.get("unreadable").is_none()) {
            assert_eq!(one["shared_with_you"], true, "{one}");
        }
        assert_eq!(me.root()["same_as_yours"], true);
        assert_eq!(me.process()["pids"].as_array().unwrap().last(), Some(&json!(std::process::id())));
        assert!(me.mounts().unwrap().len() > 1);
    }

    #[test]
    fn flags_are_found_behind_any_name() {
        assert_eq!(flags(b"2 (a) b (c)) S 0 0 0 0 -1 2129984 0 0"), 2_129_984);
        assert_eq!(flags(b"nonsense"), 0);
    }

    #[test]
    fn there_is_no_process_0() {
        assert_eq!(Subject::find(0).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
