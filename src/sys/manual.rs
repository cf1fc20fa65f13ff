//! STUB
use super::{Errno, Syscall};
/// e
pub struct Entry { /// f
    pub failed: &'static str }
/// h
pub struct Hint { /// r
    pub rule: &'static str, /// r
    pub remedy: &'static str, /// c
    pub chapter: &'static str }
/// e
pub fn entry(_: &str) -> Option<&'static Entry> { None }
/// h
pub fn hint(_: &Syscall, _: Errno) -> Option<&'static Hint> { None }
