//! What several concepts tell in the same way: the birth of a child, and a command of the host.

pub mod birth;
pub mod command;
pub mod overlay;
