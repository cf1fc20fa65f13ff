//! STUB
use crate::plan::Step;
/// s
pub fn step(id: &str, step: &Step) -> String { format!("{id} {}", step.say) }
