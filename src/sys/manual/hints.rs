//! stub
use super::Hint;
use crate::sys::Syscall;
use nix::errno::Errno;
pub fn find(_call: &Syscall, _errno: Errno) -> Option<&'static Hint> {
    None
}
