//! What several concepts tell in the same way: the birth of a child, a command, a report, the image that a root is made of.

pub mod birth;
pub mod command;
pub mod page;
pub mod picture;
