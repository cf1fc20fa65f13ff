//! STUB numbers
/// top
pub fn top(index: usize) -> String { (index + 1).to_string() }
/// child
pub fn child(step: &str, index: usize) -> String { format!("{step}.{}", index + 1) }
/// meanwhile
pub fn meanwhile(step: &str, index: usize) -> String { format!("{step}.m{}", index + 1) }
