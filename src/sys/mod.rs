//! The only place where the kernel is called: system calls as data, their notation, their manual, and the
//! functions that perform them. The only `unsafe` of the project lives below this module.
//!
//! Nothing here knows plans, images or people. A [`Syscall`] is a value ([`syscall`]) whose arguments
//! ([`arg`]) are both printed and handed to the kernel ([`linux`]); [`manual`] says what each call means and
//! which rule an errno stands for.

pub mod arg;
pub mod bpf;
pub mod flags;
pub mod linux;
pub mod manual;
pub mod netlink;
pub mod nsfs;
pub mod process;
#[doc(hidden)]
pub mod samples;
pub mod syscall;
pub mod terminal;
pub mod tree;
pub mod value;

pub use linux::{Kernel, Linux, Returned};
pub use nix::errno::Errno;
pub use syscall::Syscall;
pub use value::{Slot, Slots, Text, Value};
