//! What a descriptor of a namespace can be asked: who owns it, what it is nested in, who made it
//! ([ioctl_ns(2)](https://man7.org/linux/man-pages/man2/ioctl_ns.2.html)).
//!
//! Asking changes nothing. The answers that are namespaces come as new descriptors.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;

use super::process::adopt;

const NS_GET_USERNS: libc::c_ulong = 0xb701;
const NS_GET_PARENT: libc::c_ulong = 0xb702;
const NS_GET_NSTYPE: libc::c_ulong = 0xb703;
const NS_GET_OWNER_UID: libc::c_ulong = 0xb704;

/// The user namespace that owns this one; EPERM if it is none that the caller may know of.
pub fn owner(namespace: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    related(namespace, NS_GET_USERNS)
}

/// The namespace that this one is nested in: only user and pid namespaces are. EPERM if there is none that the
/// caller may know of.
pub fn parent(namespace: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    related(namespace, NS_GET_PARENT)
}

fn related(namespace: BorrowedFd<'_>, request: libc::c_ulong) -> Result<OwnedFd, Errno> {
    // SAFETY: these requests take no argument and touch no memory of the process.
    #[allow(unsafe_code)]
    let fd = unsafe { libc::ioctl(namespace.as_raw_fd(), request as _) };
    Errno::result(fd).map(adopt)
}

/// The kind of a namespace, as the flag that clone(2) has for it.
pub fn kind(namespace: BorrowedFd<'_>) -> Result<u64, Errno> {
    // SAFETY: the request takes no argument and touches no memory of the process.
    #[allow(unsafe_code)]
    let flag = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_NSTYPE as _) };
    Errno::result(flag).map(|flag| u64::from(flag.cast_unsigned()))
}

/// The user who made a user namespace, as the caller's user namespace names that user.
pub fn maker(namespace: BorrowedFd<'_>) -> Result<u32, Errno> {
    let mut uid: libc::uid_t = 0;
    // SAFETY: the request writes one uid_t to the address that it is given, which lives until it returns.
    #[allow(unsafe_code)]
    let result = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_OWNER_UID as _, &raw mut uid) };
    Errno::result(result).map(|_| uid)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_namespace_has_an_owner_and_only_some_have_a_parent() {
        let open = |name| std::fs::File::open(format!("/proc/self/ns/{name}")).unwrap();
        let (uts, user) = (open("uts"), open("user"));
        // The owner may be one that this process, in a container, is not to know of.
        assert!(matches!(owner(uts.as_fd()), Ok(_) | Err(Errno::EPERM)));
        assert_eq!(parent(uts.as_fd()).unwrap_err(), Errno::EINVAL);
        assert_eq!(kind(uts.as_fd()), Ok(0x400_0000));
        assert!(maker(user.as_fd()).is_ok());
        assert_eq!(maker(uts.as_fd()).unwrap_err(), Errno::EINVAL);
    }
}
