//! Directories and small files.

use std::fs::{self, Metadata};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use serde_json::{Value as Json, json};

use super::read;

/// More names of a directory than this are counted, not listed.
const MOST_NAMES: usize = 200;
/// More bytes of a file than this are left out.
const MOST_BYTES: u64 = 4096;

/// The names in a directory, sorted, with kind, mode and owner.
#[must_use]
pub fn directory(path: &Path) -> Json {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(cause) => return read::unreadable(path, &cause),
    };
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    let left_out = names.len().saturating_sub(MOST_NAMES);
    let mut all: Vec<_> = names.iter().take(MOST_NAMES).map(|name| entry(path, Path::new(name))).collect();
    if left_out > 0 {
        all.push(json!({ "name": format!("and {left_out} more") }));
    }
    Json::Array(all)
}

fn entry(directory: &Path, name: &Path) -> Json {
    let path = directory.join(name);
    let name = name.to_string_lossy();
    let Ok(meta) = fs::symlink_metadata(&path) else { return json!({ "name": name }) };
    let mut value = json!({
        "name": name,
        "kind": kind(&meta),
        "mode": format!("{:04o}", meta.mode() & 0o7777),
        "owner": format!("{}:{}", meta.uid(), meta.gid()),
    });
    if let Ok(target) = fs::read_link(&path) {
        value["target"] = json!(target.to_string_lossy());
    }
    value
}

/// What an inode is, in a word; a device with its numbers.
#[must_use]
pub fn kind(meta: &Metadata) -> String {
    let kind = meta.file_type();
    let numbers = || format!("{}:{}", libc::major(meta.rdev()), libc::minor(meta.rdev()));
    if kind.is_dir() {
        "directory".to_owned()
    } else if kind.is_symlink() {
        "symlink".to_owned()
    } else if kind.is_char_device() {
        format!("character device {}", numbers())
    } else if kind.is_block_device() {
        format!("block device {}", numbers())
    } else if kind.is_fifo() {
        "fifo".to_owned()
    } else if kind.is_socket() {
        "socket".to_owned()
    } else {
        "file".to_owned()
    }
}

/// The content of a small file; only regular files are read, so that nothing blocks.
#[must_use]
pub fn file(path: &Path) -> Json {
    let content = fs::metadata(path)
        .and_then(|meta| if meta.is_file() { first_bytes(path) } else { Ok(format!("(a {})", kind(&meta))) });
    match content {
        Ok(text) => json!({ path.to_string_lossy(): text.trim_end() }),
        Err(cause) => {
            let mut value = json!({});
            value[path.to_string_lossy().as_ref()] = json!(read::reason(path, &cause));
            value
        }
    }
}

fn first_bytes(path: &Path) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    let cut = bytes.len() as u64 > MOST_BYTES;
    bytes.truncate(usize::try_from(MOST_BYTES).unwrap_or(usize::MAX));
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(if cut { text + "\n(and more)" } else { text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_lists_kind_mode_and_owner() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("b"), "x").unwrap();
        std::os::unix::fs::symlink("b", dir.path().join("a")).unwrap();
        let value = directory(dir.path());
        assert_eq!(
            (&value[0]["name"], &value[0]["kind"], &value[0]["target"]),
            (&json!("a"), &json!("symlink"), &json!("b"))
        );
        assert_eq!((&value[1]["name"], &value[1]["kind"]), (&json!("b"), &json!("file")));
    }

    #[test]
    fn a_device_is_named_and_never_read() {
        assert_eq!(file(Path::new("/dev/zero")), json!({"/dev/zero": "(a character device 1:5)"}));
    }

    #[test]
    fn a_missing_file_says_so() {
        assert_eq!(file(Path::new("/nonexistent")), json!({"/nonexistent": "/nonexistent: ENOENT"}));
    }
}
