//! Observers of what happens: the narrator for people, the recorder for programs, and `--explain`.
//!
//! They all see the same [`event::Event`]s, so that none of them can tell another story.

pub mod chart;
pub mod event;
pub mod explain;
pub mod failure;
pub mod gauge;
pub mod keeper;
mod lanes;
pub mod narrator;
#[cfg(test)]
mod page;
pub mod picture;
pub mod readings;
pub mod recorder;
mod run;
pub mod screen;
mod state;
pub mod step;
pub mod style;
mod views;
pub mod wrap;

use event::Event;

use crate::error::Error;

/// A line at the end that says where to go: `next`, `cutaway ns pid`.
pub type Pointer = (&'static str, String);

/// Something that is told every event, in order.
pub trait Observer {
    /// One event.
    fn observe(&mut self, event: &Event);

    /// A bar for work that takes long, if this observer shows such.
    fn gauge(&self, what: &str) -> Option<gauge::Gauge> {
        let _ = what;
        None
    }

    /// What has kept it from writing, once: it writes no more then.
    fn failure(&mut self) -> Option<Error> {
        None
    }

    /// Says where to go from here, after the last event; nothing that has happened, and so no event.
    fn point(&mut self, pointers: &[Pointer]) {
        let _ = pointers;
    }

    /// Called before the process duplicates itself or stops for input: write out what is buffered.
    fn flush(&mut self) {}
}
