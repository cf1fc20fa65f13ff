//! Who we are on which kernel: what a plan has to know before it can be written.

use std::cell::OnceCell;
use std::path::Path;

use super::cgroups::Cgroups;
use crate::sys::flags::{Access, Capability, CapSet};

/// The host and the caller, read while planning. What costs more than a call is read when first asked for.
#[derive(Debug)]
pub struct Here {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Effective capabilities.
    pub capabilities: CapSet,
    /// Major and minor number of the kernel's release.
    pub kernel: (u32, u32),
    cgroups: OnceCell<Cgroups>,
}

impl Here {
    /// Reads ids, capabilities and the kernel's release.
    #[must_use]
    pub fn read() -> Self {
        let sets = rustix::thread::capabilities(None).ok();
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
        Self {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            capabilities: CapSet(sets.map_or(0, |sets| sets.effective.bits())),
            kernel: (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)),
            cgroups: OnceCell::new(),
        }
    }

    /// Whether mounts and namespaces can be made without a user namespace.
    #[must_use]
    pub fn privileged(&self) -> bool {
        self.uid == 0 && self.capabilities.has(Capability::CAP_SYS_ADMIN)
    }

    /// Whether the kernel is at least this one.
    #[must_use]
    pub fn kernel_is(&self, major: u32, minor: u32) -> bool {
        self.kernel >= (major, minor)
    }

    /// The cgroup file systems.
    pub fn cgroups(&self) -> &Cgroups {
        self.cgroups.get_or_init(Cgroups::read)
    }
}

/// Whether this process may open the path so, as access(2) says.
#[must_use]
pub fn may(path: &Path, access: Access) -> bool {
    use rustix::fs::{Access as Mode, AtFlags, CWD, accessat};
    let mode = match access {
        Access::O_RDONLY => Mode::READ_OK,
        Access::O_WRONLY => Mode::WRITE_OK,
        Access::O_RDWR => Mode::READ_OK | Mode::WRITE_OK,
    };
    accessat(CWD, path, mode, AtFlags::EACCESS).is_ok()
}
