//! What several concepts tell in the same way: the birth of a child, a command, the image that a root is made of.

pub mod birth;
pub mod command;
pub mod names;
pub mod overlay;
pub mod picture;
pub mod record;
