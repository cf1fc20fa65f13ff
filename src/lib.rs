//! cutaway opens containers up.
//!
//! Every subcommand performs a **real** kernel operation and tells each system call it makes. A command does
//! not act while it talks: it builds a [`plan::Plan`], and the one [`engine`] either prints that plan
//! (`--explain`) or performs it. `ARCHITECTURE.md` has the map of the house.

pub mod cli;
pub mod concepts;
pub mod engine;
pub mod error;
pub mod image;
pub mod lab;
pub mod plan;
pub mod probe;
pub mod report;
pub mod state;
pub mod sys;
pub mod workload;
