//! What several concepts tell in the same way: the birth of a child, a command of the host, a report, and what trials
//! have found out.

pub mod birth;
pub mod command;
pub mod page;
pub mod trials;
