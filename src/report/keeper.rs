//! The keeper remembers every event, for a report that is made of what a plan has found out.
//!
//! A report that was made of anything else could say something that did not happen.

use std::cell::RefCell;
use std::rc::Rc;

use super::Observer;
use super::event::Event;

/// Remembers events. Its copies share them.
#[derive(Debug, Clone, Default)]
pub struct Keeper(Rc<RefCell<Vec<Event>>>);

impl Keeper {
    /// What was remembered until now.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.0.take()
    }
}

impl Observer for Keeper {
    fn observe(&mut self, event: &Event) {
        self.0.borrow_mut().push(event.clone());
    }
}
