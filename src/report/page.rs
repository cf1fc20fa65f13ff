//! What an observer wrote, for tests.

use std::cell::RefCell;
use std::io::Write;
use std::rc::Rc;

/// Can be read after the observer has gone.
#[derive(Clone, Default)]
pub struct Page(pub Rc<RefCell<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
