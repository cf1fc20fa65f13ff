//! What several concepts tell in the same way: the birth of a child, a command, the image that a root is made of, a report,
//! and what trials have found out.

pub mod birth;
pub mod command;
pub mod page;
pub mod picture;
pub mod trials;
