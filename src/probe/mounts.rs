//! The mount table: `/proc/self/mountinfo`
//! ([proc_pid_mountinfo(5)](https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html)).
//!
//! It lists what the process can reach from its root, in its mount namespace. Fields are separated by
//! blanks, so blanks within names are written as octal escapes; between the sixth field and a lone `-` any
//! number of optional fields may stand. Parsers that forget one or the other break on real machines.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use super::read;

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Its number, unique while it exists.
    pub id: u32,
    /// The number of the mount it is mounted on.
    pub parent: u32,
    /// The directory of the file system that is its root: not `/` for a bind mount of a part.
    pub root: PathBuf,
    /// Where it is mounted, as seen from this process's root.
    pub at: PathBuf,
    /// Options of this mount.
    pub options: String,
    /// `shared:1`, `master:2`; empty for a private mount.
    pub propagation: Vec<String>,
    /// The type of its file system.
    pub fstype: String,
    /// What is mounted, by the file system's own naming.
    pub source: String,
    /// Options of the file system.
    pub super_options: String,
}

impl Mount {
    /// Parses a line; `None` if it is not one.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b' ');
        let mut next = || fields.next();
        let id = number(next()?)?;
        let parent = number(next()?)?;
        let _device = next()?;
        let root = path(next()?);
        let at = path(next()?);
        let options = text(next()?);
        let mut propagation = Vec::new();
        loop {
            match next()? {
                b"-" => break,
                optional => propagation.push(text(optional)),
            }
        }
        let fstype = text(next()?);
        let source = text(next()?);
        let super_options = next().map(text).unwrap_or_default();
        Some(Self { id, parent, root, at, options, propagation, fstype, source, super_options })
    }

    /// Whether mounts made below it are seen by its peers in other namespaces.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.propagation.iter().any(|one| one.starts_with("shared:"))
    }

    /// Whether it or its file system is read-only.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        let has = |options: &str| options.split(',').any(|option| option == "ro");
        has(&self.options) || has(&self.super_options)
    }
}

fn number(field: &[u8]) -> Option<u32> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(&unescape(field)).into_owned()
}

fn path(field: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(unescape(field)))
}

/// Turns `\040` back into a blank; the kernel escapes blank, tab, line feed and backslash this way.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((byte, after)) = rest.split_first() {
        let escaped = if *byte == b'\\' { octal(after) } else { None };
        out.push(escaped.unwrap_or(*byte));
        rest = if escaped.is_some() { &after[3..] } else { after };
    }
    out
}

fn octal(digits: &[u8]) -> Option<u8> {
    let digits = digits.get(..3)?;
    let value = digits.iter().try_fold(0_u32, |value, digit| {
        matches!(digit, b'0'..=b'7').then(|| value * 8 + u32::from(digit - b'0'))
    })?;
    u8::try_from(value).ok()
}

/// Parses a whole table; lines that are none are left out.
#[must_use]
pub fn parse(table: &[u8]) -> Vec<Mount> {
    table.split(|byte| *byte == b'\n').filter_map(Mount::parse).collect()
}

/// The mount table of this process, or why it cannot be read.
pub fn table() -> Result<Vec<Mount>, String> {
    table_of("self")
}

/// The mount table of a process: what it can reach from its root.
pub fn table_of(pid: &str) -> Result<Vec<Mount>, String> {
    let file = PathBuf::from(format!("/proc/{pid}/mountinfo"));
    read::bytes(&file).map(|table| parse(&table)).map_err(|cause| read::reason(&file, &cause))
}

/// The mount that a path is on: the last of those with the longest mount point.
#[must_use]
pub fn holding<'a>(table: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    let above = table.iter().filter(|mount| path.starts_with(&mount.at));
    above.max_by_key(|mount| mount.at.components().count())
}

/// The snapshot.
#[must_use]
pub fn snapshot() -> Json {
    snapshot_of("self")
}

/// The snapshot of a process's mount table.
#[must_use]
pub fn snapshot_of(pid: &str) -> Json {
    match table_of(pid) {
        Ok(table) => table.iter().map(one).collect(),
        Err(why) => json!({ "unreadable": why }),
    }
}

/// What passed between pairs of mounts below a directory: whether what was mounted on `there` below the first appears
/// below the second, and what was mounted on `back` below the second appears below the first.
#[must_use]
pub fn passed(base: &Path, pairs: &[(String, String)]) -> Json {
    let table = match table() {
        Ok(table) => table,
        Err(why) => return json!({ "unreadable": why }),
    };
    let is_mounted = |path: PathBuf| table.iter().any(|mount| mount.at == path);
    let word = |passes: bool| if passes { "passes" } else { "stays" };
    let row = |(first, second): &(String, String)| {
        let name = format!("{first} and {second}");
        if !is_mounted(base.join(second)) {
            return json!({ "pair": name, "there": "no second mount can be made of it" });
        }
        let there = word(is_mounted(base.join(second).join("there")));
        let back = word(is_mounted(base.join(first).join("back")));
        json!({ "pair": name, "there": format!("below {first}: {there}"), "back": format!("below {second}: {back}") })
    };
    pairs.iter().map(row).collect()
}

/// One mount of a snapshot.
#[must_use]
pub fn one(mount: &Mount) -> Json {
    let private = || "private".to_owned();
    let propagation = if mount.propagation.is_empty() { private() } else { mount.propagation.join(",") };
    let mut value = json!({
        "at": mount.at.to_string_lossy(),
        "type": mount.fstype,
        "options": mount.options,
        "propagation": propagation,
        "source": mount.source,
    });
    if mount.root != Path::new("/") {
        value["root"] = json!(mount.root.to_string_lossy());
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn optional_fields_and_octal_escapes_are_read() {
        let line = br"36 35 98:0 /mnt1 /mnt\0402\134x rw,noatime shared:1 master:3 - ext3 /dev/root rw,errors=continue";
        let mount = Mount::parse(line).unwrap();
        assert_eq!((mount.id, mount.parent), (36, 35));
        assert_eq!(mount.root, Path::new("/mnt1"));
        assert_eq!(mount.at, Path::new("/mnt 2\\x"));
        assert_eq!(mount.propagation, ["shared:1", "master:3"]);
        assert_eq!((mount.fstype.as_str(), mount.source.as_str()), ("ext3", "/dev/root"));
        assert!(mount.is_shared() && !mount.is_read_only());
    }

    #[test]
    fn no_optional_field_means_private() {
        let mount = Mount::parse(b"22 27 0:21 / /proc ro,relatime - proc proc rw").unwrap();
        assert!(mount.propagation.is_empty() && mount.is_read_only());
    }

    #[test]
    fn a_line_that_is_none_is_left_out() {
        for line in ["", "36 35 98:0 /", "x 35 98:0 / / rw - ext3 a b", "36 35 98:0 / /a rw shared:1"] {
            assert_eq!(Mount::parse(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn a_backslash_without_three_octal_digits_stays() {
        assert_eq!(unescape(br"a\04\999\777b"), br"a\04\999\777b");
    }

    #[test]
    fn the_topmost_of_stacked_mounts_holds_a_path() {
        let table =
            parse(b"1 0 0:1 / / rw - ext4 a rw\n2 1 0:2 / /m rw - tmpfs b rw\n3 2 0:3 / /m rw - proc c rw\n");
        assert_eq!(holding(&table, Path::new("/m/x")).unwrap().fstype, "proc");
        assert_eq!(holding(&table, Path::new("/mx")).unwrap().fstype, "ext4");
    }

    #[test]
    fn the_real_table_has_proc() {
        assert!(table().unwrap().iter().any(|mount| mount.fstype == "proc"));
    }
}
