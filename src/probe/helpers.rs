//! Programs that rootless containers may need from the host: found, and whether they have the power they need.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};

/// A program of the search path. System folders are searched too: an ordinary user's path often lacks them.
#[must_use]
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let folders = std::env::split_paths(&path).chain(system).filter(|folder| folder.is_absolute());
    folders.map(|folder| folder.join(name)).find(|file| is_program(file))
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

/// Whether a program gets a privilege when it is started: it is root's and set-user-ID, or has file capabilities.
#[must_use]
pub fn is_privileged(path: &Path) -> bool {
    let set_user_id =
        path.metadata().is_ok_and(|about| about.uid() == 0 && about.permissions().mode() & 0o4000 != 0);
    let mut room = [0_u8; 64];
    set_user_id || rustix::fs::getxattr(path, "security.capability", &mut room).is_ok_and(|size| size > 0)
}

/// Whether this process may read and write a path.
#[must_use]
pub fn may_use(path: &str) -> bool {
    accessat(CWD, path, Access::READ_OK | Access::WRITE_OK, AtFlags::EACCESS).is_ok()
}

/// Whether this process may make files in a directory.
#[must_use]
pub fn may_fill(path: &Path) -> bool {
    accessat(CWD, path, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_and_a_text_is_none() {
        assert!(find("sh").is_some_and(|path| path.is_absolute()));
        assert_eq!(find("surely-not-there"), None);
        assert!(!is_program(Path::new("/etc/passwd")) && !is_privileged(Path::new("/etc/passwd")));
        assert!(may_fill(&std::env::temp_dir()) && !may_fill(Path::new("/nonexistent")));
    }
}
