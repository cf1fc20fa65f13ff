//! The manual: for each system call its man page and what it means, and for an errno of a call the rule of
//! the kernel that it stands for *here*.
//!
//! An errno alone says little: EINVAL of `pivot_root(2)` has five meanings, and none of them is "invalid
//! argument". The knowledge is a table, so that the narrator, the errors and the book's errno index read the
//! same words.

mod hints;
mod pages;
mod rules;

use nix::errno::Errno;

use super::syscall::Syscall;
use super::value::{Text, Value};

/// What the manual says of a system call.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// The kernel's name.
    pub name: &'static str,
    /// The man page: `mount(2)`.
    pub page: &'static str,
    /// What the call does, in one sentence without a subject and without a full stop.
    pub meaning: &'static str,
    /// Whether it changes anything but the caller's table of descriptors.
    pub changes: bool,
}

/// A rule of the kernel behind an errno.
#[derive(Debug, Clone, Copy)]
pub struct Hint {
    /// The rule, in one sentence.
    pub rule: &'static str,
    /// What to try.
    pub remedy: Option<&'static str>,
    /// The chapter that explains it.
    pub chapter: Option<&'static str>,
}

/// What the manual says of the call of this name.
#[must_use]
pub fn entry(name: &str) -> Option<&'static Entry> {
    pages::ENTRIES.iter().find(|entry| entry.name == name)
}

/// The entries of all calls.
#[must_use]
pub const fn entries() -> &'static [Entry] {
    pages::ENTRIES
}

/// The rules of the call of this name, as they are tried: the special ones first.
pub fn rules(name: &str) -> impl Iterator<Item = (Errno, &'static Hint)> {
    rules::ROWS.iter().filter(move |row| row.name == name).map(|row| (row.errno, &row.hint))
}

/// What an errno means where no rule says more.
#[must_use]
pub const fn general_rules() -> &'static [(Errno, Hint)] {
    rules::GENERAL
}

/// Whether a call, given as strace prints it, changes anything but the caller's table of descriptors.
/// Opening a file changes something only where it creates or empties one.
#[must_use]
pub fn changes(name: &str, text: &str) -> bool {
    let creates = text.contains("O_CREAT") || text.contains("O_TRUNC");
    entry(name).is_none_or(|entry| entry.changes || entry.page == pages::OPEN && creates)
}

/// An errno as strace prints it: `EPERM (Operation not permitted)`, in the C library's words.
#[must_use]
pub fn errno(errno: Errno) -> String {
    let words = std::io::Error::from_raw_os_error(errno as i32).to_string();
    let words = words.split(" (os error").next().unwrap_or_default();
    format!("{errno:?} ({words})")
}

/// The same, from the errno's name; a name that is none stays as it is.
#[must_use]
pub fn errno_named(name: &str) -> String {
    let found = (1..=133).map(Errno::from_raw).find(|errno| format!("{errno:?}") == name);
    found.map_or_else(|| name.to_owned(), self::errno)
}

/// Which rule an errno means for this call: the first hint that fits, or what the errno means in general.
///
/// For a call on a descriptor, the path of that descriptor is looked up in this process: so ask at once,
/// in the process whose call failed.
#[must_use]
pub fn hint(call: &Syscall, errno: Errno) -> Option<&'static Hint> {
    hint_at(call, errno, &subject(call))
}

/// The same, for a call on the file of this path.
#[must_use]
pub fn hint_at(call: &Syscall, errno: Errno, path: &str) -> Option<&'static Hint> {
    hints::find(call, errno, path)
}

/// The path that a call is about; empty if there is none or it is not known.
fn subject(call: &Syscall) -> String {
    let text = |text: &Text| text.known().map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let path = match call {
        Syscall::Mount { target, .. } | Syscall::Umount2 { target, .. } => text(target),
        Syscall::Openat { path, .. }
        | Syscall::Openat2 { path, .. }
        | Syscall::Mkdirat { path, .. }
        | Syscall::Unlinkat { path, .. }
        | Syscall::Execve { path, .. } => text(path),
        Syscall::Write { fd: Value::Known(fd), .. } => std::fs::read_link(format!("/proc/self/fd/{fd}"))
            .ok()
            .map(|path| path.to_string_lossy().into_owned()),
        _ => None,
    };
    path.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::sys::flags::{Access, CloneFlags, MsFlags, OFlags};
    use crate::sys::{Kernel, Linux, samples};

    #[test]
    fn every_call_has_its_page_and_meaning() {
        for call in samples::all() {
            let entry = entry(call.name()).unwrap_or_else(|| panic!("no entry for {}", call.name()));
            assert!(entry.page.ends_with("(2)"), "{}", entry.page);
            let starts_lower = entry.meaning.starts_with(|first: char| first.is_lowercase());
            assert!(starts_lower && !entry.meaning.ends_with('.'), "{}", entry.meaning);
        }
    }

    #[test]
    fn an_errno_is_said_in_the_words_of_the_c_library() {
        assert_eq!(super::errno(Errno::EBADF), "EBADF (Bad file descriptor)");
        assert_eq!(errno_named("EPERM"), "EPERM (Operation not permitted)");
        assert_eq!(errno_named("ENOTSUPP"), "ENOTSUPP");
    }

    #[test]
    fn samples_and_entries_cover_every_call_there_is() {
        // Every call is lowered by one line with `lower!(SYS_name(`: the source is the list.
        let source = include_str!("syscall.rs");
        let names: BTreeSet<_> =
            source.split("lower!(SYS_").skip(1).filter_map(|rest| rest.split('(').next()).collect();
        let sampled: BTreeSet<_> = samples::all().iter().map(Syscall::name).collect();
        let entries: BTreeSet<_> = pages::ENTRIES.iter().map(|entry| entry.name).collect();
        assert_eq!(names, sampled);
        assert_eq!(names, entries);
        assert_eq!(entries.len(), pages::ENTRIES.len(), "no entry stands twice");
    }

    #[test]
    fn every_call_has_a_hint_for_the_common_errnos() {
        for call in samples::all() {
            for errno in
                [Errno::EPERM, Errno::EACCES, Errno::EINVAL, Errno::ENOENT, Errno::ENOSPC, Errno::ENOSYS]
            {
                let hint = hint(&call, errno).unwrap_or_else(|| panic!("{call}: {errno:?}"));
                assert!(!hint.rule.ends_with('.'), "{}", hint.rule);
                assert!(
                    !hint.rule.starts_with(|first: char| first.is_uppercase())
                        || hint.rule.starts_with("CAP"),
                    "{}",
                    hint.rule
                );
            }
        }
    }

    #[test]
    fn opening_changes_something_only_where_it_creates() {
        assert!(!changes("openat", "openat(AT_FDCWD, \"/x\", O_RDONLY|O_CLOEXEC)"));
        assert!(changes("openat", "openat(AT_FDCWD, \"/x\", O_WRONLY|O_CREAT, 0600)"));
        assert!(changes("mount", "") && !changes("close", ""));
    }

    #[test]
    fn the_same_errno_means_different_rules() {
        let mount = |fstype: &str| Syscall::Mount {
            source: Some(fstype.into()),
            target: "/m".into(),
            fstype: Some(fstype.into()),
            flags: MsFlags::empty(),
            data: None,
        };
        let rule = |call: &Syscall, errno| hint(call, errno).unwrap().rule;
        assert!(rule(&mount("overlay"), Errno::EINVAL).contains("overlayfs"));
        assert!(rule(&mount("proc"), Errno::EPERM).contains("pid namespace"));
        assert!(rule(&mount("tmpfs"), Errno::EPERM).contains("CAP_SYS_ADMIN"));
        let clone = |flags| Syscall::Clone3 { flags, exit_signal: None, cgroup: None };
        assert!(rule(&clone(CloneFlags::CLONE_NEWUSER), Errno::EPERM).contains("chroot"));
        assert!(rule(&clone(CloneFlags::CLONE_NEWNS), Errno::EPERM).contains("only a user namespace"));
    }

    #[test]
    fn a_write_is_judged_by_the_file_it_goes_to() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("uid_map");
        let flags = OFlags::O_CREAT | OFlags::O_CLOEXEC;
        let open = Syscall::Openat {
            dir: Value::CWD,
            path: (&file).into(),
            access: Access::O_WRONLY,
            flags,
            mode: 0o600,
        };
        let fd = Value::Known(Linux.call(&open).unwrap().value);
        let write = Syscall::Write { fd: fd.clone(), data: "0 1000 1".into() };
        assert!(hint(&write, Errno::EPERM).unwrap().rule.starts_with("a map may be written once"));
        Linux.call(&Syscall::Close { fd }).unwrap();
        let procs = hint_at(&write, Errno::EBUSY, "/sys/fs/cgroup/x/cgroup.procs").unwrap();
        assert!(procs.rule.contains("no processes"));
    }
}
