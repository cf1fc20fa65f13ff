//! How a step is undone: data that another process can replay from the journal after ours has died.
//!
//! An undo therefore refers to nothing that dies with a process: no descriptor, no slot, only names. What
//! the kernel itself takes back when the last process of a namespace dies (mounts, interfaces, host names)
//! needs none.

use serde::{Deserialize, Serialize};

use super::Bulk;
use crate::sys::Syscall;

// ANCHOR: undo
/// One deed of undoing. What it removes may already be gone: that is no failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Undo {
    /// One system call.
    Call(Syscall),
    /// Bulk work.
    Bulk(Bulk),
}
// ANCHOR_END: undo

impl From<Syscall> for Undo {
    fn from(call: Syscall) -> Self {
        Self::Call(call)
    }
}

impl From<Bulk> for Undo {
    fn from(bulk: Bulk) -> Self {
        Self::Bulk(bulk)
    }
}
