//! Reading small kernel files, and saying what could not be read.
//!
//! A snapshot never fails as a whole: inside a container's root /proc may not be mounted yet, and then that
//! is what the snapshot says.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use nix::errno::Errno;
use serde_json::{Value as Json, json};

/// Why a file cannot be read, in a few words: `/proc/self/status: ENOENT`.
#[must_use]
pub fn reason(path: &Path, cause: &io::Error) -> String {
    let why = cause.raw_os_error().map(|number| format!("{:?}", Errno::from_raw(number)));
    let hint = if path.starts_with("/proc") && !Path::new("/proc/self").exists() {
        "; /proc is not mounted here"
    } else {
        ""
    };
    format!("{}: {}{hint}", path.display(), why.unwrap_or_else(|| cause.to_string()))
}

/// The same as a value of a snapshot.
#[must_use]
pub fn unreadable(path: &Path, cause: &io::Error) -> Json {
    json!({ "unreadable": reason(path, cause) })
}

/// The bytes of a small file. Kernel files have no size, and the standard library would read them in small
/// pieces after asking for it; with room from the start it takes two reads.
pub fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(ROOM);
    File::open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// More than a page: most kernel files hand out at most one at a time.
const ROOM: usize = 8192;

/// The text of a small file; bytes that are not UTF-8 are replaced.
pub fn text(path: impl AsRef<Path>) -> Result<String, String> {
    let path = path.as_ref();
    let bytes = bytes(path).map_err(|cause| reason(path, &cause))?;
    Ok(String::from_utf8(bytes).unwrap_or_else(|bad| String::from_utf8_lossy(bad.as_bytes()).into_owned()))
}

/// The value of a `Key:\tvalue` line, as in `/proc/self/status`.
#[must_use]
pub fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_key() {
        let text = "Name:\tx\nUidX:\t1\nUid:\t0\t0\n";
        assert_eq!(field(text, "Uid"), Some("0\t0"));
        assert_eq!(field(text, "Gid"), None);
    }

    #[test]
    fn what_cannot_be_read_is_said_with_its_errno() {
        assert_eq!(text("/nonexistent/file"), Err("/nonexistent/file: ENOENT".to_owned()));
    }
}
