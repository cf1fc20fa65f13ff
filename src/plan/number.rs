//! How steps are numbered, in one place: `--explain` prints these numbers and the engine reports under them.
//!
//! Steps of the plan are `1`, `2`, `3`. Below a step that starts a child, the child's steps are `3.1`, `3.2`
//! and what the parent does meanwhile is `3.a`, `3.b`. Deeper plans go on the same way: `3.1.a`.

use super::{Action, Plan, Step};

/// The lane of the process that the user started.
pub const PARENT: &str = "parent";

/// A step with its number and the lane it is performed in.
#[derive(Debug, Clone, PartialEq)]
pub struct Numbered<'a> {
    /// Its number: `3`, `3.1`, `3.a`.
    pub id: String,
    /// Who performs it: `parent`, or the name of a child's lane.
    pub actor: &'static str,
    /// The step.
    pub step: &'a Step,
}

/// The number of a step of the plan itself; `index` counts from 0.
#[must_use]
pub fn top(index: usize) -> String {
    (index + 1).to_string()
}

/// The number of a step of the child that step `id` starts; `index` counts from 0.
#[must_use]
pub fn child(id: &str, index: usize) -> String {
    format!("{id}.{}", index + 1)
}

/// The number of a step that the parent performs while the child of step `id` runs; `index` counts from 0.
#[must_use]
pub fn meanwhile(id: &str, index: usize) -> String {
    format!("{id}.{}", letters(index))
}

/// `a` to `z`, then `aa`, `ab`: as spreadsheets name their columns.
fn letters(mut index: usize) -> String {
    let mut name = Vec::new();
    loop {
        name.push(b'a' + u8::try_from(index % 26).unwrap_or_default());
        if index < 26 {
            break;
        }
        index = index / 26 - 1;
    }
    name.iter().rev().map(|letter| char::from(*letter)).collect()
}

/// Every step of the plan in the order of reading: a step, then what the parent does meanwhile, then the child.
#[must_use]
pub fn walk(plan: &Plan) -> Vec<Numbered<'_>> {
    let mut all = Vec::with_capacity(plan.count());
    for (index, step) in plan.steps.iter().enumerate() {
        add(&top(index), PARENT, step, &mut all);
    }
    all
}

fn add<'a>(id: &str, actor: &'static str, step: &'a Step, all: &mut Vec<Numbered<'a>>) {
    all.push(Numbered { id: id.to_owned(), actor, step });
    if let Action::Spawn(spawn) = &step.action {
        for (index, step) in spawn.meanwhile.iter().enumerate() {
            add(&meanwhile(id, index), actor, step, all);
        }
        for (index, step) in spawn.child.iter().enumerate() {
            add(&child(id, index), spawn.actor, step, all);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Spawn;
    use crate::sys::flags::CloneFlags;
    use crate::sys::{Slot, Syscall};

    #[test]
    fn counts_on_past_the_alphabet() {
        assert_eq!(meanwhile("3", 0), "3.a");
        assert_eq!(meanwhile("3", 25), "3.z");
        assert_eq!(meanwhile("3", 26), "3.aa");
        assert_eq!(meanwhile("3", 27), "3.ab");
        assert_eq!(child("3.1", 9), "3.1.10");
    }

    #[test]
    fn both_lanes_of_a_spawn_are_numbered_below_it() {
        let spawn = Spawn {
            clone: Syscall::Clone3 { flags: CloneFlags::empty(), exit_signal: None, cgroup: None },
            into: Slot::new("child pid"),
            actor: "child",
            child: vec![Step::say("Look"), Step::say("Look again")],
            meanwhile: vec![Step::say("Wait")],
        };
        let mut plan = Plan::new("test");
        plan.steps = vec![Step::say("Begin"), Step::say("Start a child").spawn(spawn), Step::say("End")];
        let ids: Vec<_> = walk(&plan).into_iter().map(|one| format!("{} {}", one.id, one.actor)).collect();
        assert_eq!(ids, ["1 parent", "2 parent", "2.a parent", "2.1 child", "2.2 child", "3 parent"]);
        assert_eq!(ids.len(), plan.count());
    }
}
