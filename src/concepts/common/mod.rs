//! What several concepts tell in the same way: the birth of a child, a command, a report, the image that a root is made of,
//! how layers are merged, groups and their limits, which devices they may use, and what trials have found out.

pub mod amount;
pub mod birth;
pub mod command;
pub mod devices;
pub mod group;
pub mod groups;
pub mod limits;
pub mod names;
pub mod overlay;
pub mod page;
pub mod picture;
pub mod record;
pub mod trials;
