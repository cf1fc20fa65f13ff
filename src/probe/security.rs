//! Security modules and seccomp, as far as the kernel lets them be seen.

use super::read;

/// The security modules that are active, in the order in which they are asked; `None` where securityfs is not
/// mounted, which is where the kernel says it.
#[must_use]
pub fn modules() -> Option<Vec<String>> {
    let text = read::text("/sys/kernel/security/lsm").ok()?;
    Some(text.trim().split(',').map(str::to_owned).collect())
}

/// The label that the security modules have given a process (`proc_pid_attr(5)`): an `AppArmor` profile, an
/// `SELinux` context. `Ok(None)` if none of the modules labels processes.
pub fn label(pid: &str) -> Result<Option<String>, String> {
    let path = format!("/proc/{pid}/attr/current");
    // Without a module that labels, the kernel answers EINVAL, or ENODATA.
    match read::bytes(path.as_ref()) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let text = text.trim_end_matches(['\n', '\0']);
            Ok((!text.is_empty()).then(|| text.to_owned()))
        }
        Err(cause) if matches!(cause.raw_os_error(), Some(libc::EINVAL | libc::ENODATA)) => Ok(None),
        Err(cause) => Err(read::reason(path.as_ref(), &cause)),
    }
}

/// Whether seccomp filters can be made here: the kernel lists what they may answer.
#[must_use]
pub fn has_seccomp_filters() -> bool {
    read::text("/proc/sys/kernel/seccomp/actions_avail").is_ok_and(|text| text.contains("errno"))
}
