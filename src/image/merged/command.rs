//! Commands: whether the workload's program is there, before anything is mounted for it.
//!
//! Separate because the answer decides the exit code: 127 when there is no such program, 126 when it is there and
//! cannot be executed. The kernel has the last word when it executes it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::MergedView;
use crate::error::Result;

/// Where a command was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Its path in the image, as execve(2) is to be given it.
    Found(PathBuf),
    /// There is no such file.
    NotFound,
    /// There is one, but it is a directory or has no execute permission.
    NotExecutable(PathBuf),
}

/// Looks a command up as a shell does: with a slash it is a path from `cwd`, otherwise each directory of `search`
/// (the value of PATH) is tried, an empty one being `cwd`.
pub fn find(name: &OsStr, search: &OsStr, cwd: &Path, view: &MergedView) -> Result<Command> {
    let bytes = name.as_bytes();
    if bytes.is_empty() {
        return Ok(Command::NotFound);
    }
    if bytes.contains(&b'/') {
        return examine(&cwd.join(name), view);
    }
    let mut answer = Command::NotFound;
    for dir in search.as_bytes().split(|byte| *byte == b':') {
        let candidate = cwd.join(OsStr::from_bytes(dir)).join(name);
        match examine(&candidate, view)? {
            Command::Found(path) => return Ok(Command::Found(path)),
            Command::NotExecutable(path) if answer == Command::NotFound => {
                answer = Command::NotExecutable(path);
            }
            _ => {}
        }
    }
    Ok(answer)
}

/// What one path is.
fn examine(path: &Path, view: &MergedView) -> Result<Command> {
    let Some(found) = view.lookup(path)? else { return Ok(Command::NotFound) };
    let executable = found.is_file() && found.metadata.st_mode & 0o111 != 0;
    Ok(if executable {
        Command::Found(path.to_path_buf())
    } else {
        Command::NotExecutable(path.to_path_buf())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::merged::tests::layers;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn commands_are_searched_as_a_shell_does() {
        let (dir, view) = layers(&[
            &[("bin", "-> usr/bin"), ("usr/sbin/ip", "plain"), ("usr/sbin/sh/", "")],
            &[("usr/bin/sh", "x"), ("usr/bin/ip", "x"), ("work/tool", "x")],
        ]);
        for file in ["1/usr/bin/sh", "1/usr/bin/ip", "1/work/tool"] {
            std::fs::set_permissions(dir.path().join(file), PermissionsExt::from_mode(0o755)).unwrap();
        }
        let find = |name: &str, search: &str| {
            find(OsStr::new(name), OsStr::new(search), Path::new("/work"), &view).unwrap()
        };
        assert_eq!(find("ip", "/usr/sbin:/bin"), Command::Found("/bin/ip".into()));
        assert_eq!(find("sh", "/usr/sbin:/usr/bin"), Command::Found("/usr/bin/sh".into()));
        assert_eq!(find("ip", "/usr/sbin"), Command::NotExecutable("/usr/sbin/ip".into()));
        assert_eq!(find("tool", ""), Command::Found("/work/tool".into()));
        assert_eq!(find("./tool", "/bin"), Command::Found("/work/./tool".into()));
        assert_eq!(find("/bin/sh", ""), Command::Found("/bin/sh".into()));
        assert_eq!(find("/bin", ""), Command::NotExecutable("/bin".into()));
        assert_eq!(find("none", "/bin"), Command::NotFound);
        assert_eq!(find("", "/bin"), Command::NotFound);
    }
}
