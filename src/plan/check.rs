//! What must hold for every plan before it is shown or performed; the tests run it over every concept.
//!
//! A call may use a slot only after an earlier call of the same process has filled it; an undo uses none; a
//! gate that one side passes is opened by the other; nothing follows an exec.

use std::collections::HashSet;

use super::{Action, Gate, Plan, Spawn, Step, Undo, Until, Watch};
use crate::sys::{Slot, Slots, Syscall};

impl Plan {
    /// The rules that the plan breaks, as sentences; empty for a sound plan.
    #[must_use]
    pub fn check(&self) -> Vec<String> {
        let mut faults = Vec::new();
        steps(&self.steps, HashSet::new(), &mut faults);
        faults
    }
}

/// Checks steps of one process; the result is the slots that are filled after them.
fn steps(steps: &[Step], mut filled: HashSet<Slot>, faults: &mut Vec<String>) -> HashSet<Slot> {
    for (index, step) in steps.iter().enumerate() {
        if step.say.is_empty() || step.say.ends_with('.') {
            faults.push(format!("`{}` is not an imperative sentence without a full stop", step.say));
        }
        for undo in &step.undo {
            if let Undo::Call(call) = undo
                && uses_slots(call, &HashSet::new())
            {
                faults.push(format!("the undo `{call}` refers to something that dies with the process"));
            }
        }
        match &step.action {
            Action::Calls(calls) => {
                for call in calls {
                    if uses_slots(&call.syscall, &filled) {
                        faults.push(format!("`{}` uses a value that no earlier call stored", call.syscall));
                    }
                    filled.extend(call.into.clone());
                }
            }
            Action::Spawn(spawn) => {
                filled = check_spawn(spawn, &filled, faults);
            }
            Action::Gate(Gate::Take(slot)) => {
                filled.insert(slot.clone());
            }
            Action::Exec(_) | Action::Part(_) if index + 1 != steps.len() => {
                faults.push(format!("steps follow the end of the reports in `{}`", step.say));
            }
            Action::Wait(wait) if !filled.contains(&wait.pid) => {
                faults.push(format!("`{}` waits for a child that was not started", step.say));
            }
            Action::Watch(watch) => check_watch(step, watch, &filled, faults),
            _ => {}
        }
        check_looks(step, &filled, faults);
    }
    filled
}

/// What is watched must be there, and findings are about meters that there are.
fn check_watch(step: &Step, watch: &Watch, filled: &HashSet<Slot>, faults: &mut Vec<String>) {
    let slots = slots(filled);
    if watch.meters.iter().any(|meter| !meter.resolve(&slots).is_known()) {
        faults.push(format!("`{}` watches a process that was not started", step.say));
    }
    if matches!(&watch.until, Until::Ended { pid, .. } if !filled.contains(pid)) {
        faults.push(format!("`{}` waits for a child that was not started", step.say));
    }
    for finding in watch.shows.iter().filter(|finding| finding.text(&watch.meters).contains('?')) {
        faults.push(format!("`{}` is to show what it does not read: {finding:?}", step.say));
    }
}

/// What is claimed and shown after a step must be there by then.
fn check_looks(step: &Step, filled: &HashSet<Slot>, faults: &mut Vec<String>) {
    let slots = slots(filled);
    for claim in step.expect.iter().filter(|claim| !claim.resolve(&slots).is_known()) {
        faults.push(format!("the claim `{claim}` uses a value that no earlier call stored"));
    }
    for probe in step.look_at.iter().filter(|probe| !probe.resolve(&slots).is_known()) {
        faults.push(format!("`{}` is looked at, and no earlier call stored its value", probe.title()));
    }
}

fn check_spawn(spawn: &Spawn, filled: &HashSet<Slot>, faults: &mut Vec<String>) -> HashSet<Slot> {
    let mut parent = filled.clone();
    parent.insert(spawn.into.clone());
    let parent = steps(&spawn.meanwhile, parent, faults);
    steps(&spawn.child, filled.clone(), faults);
    for step in &spawn.child {
        if !step.undo.is_empty() {
            faults.push(format!("`{}`: what a child changes must die with its namespaces", step.say));
        }
    }
    for (here, there) in [(&spawn.meanwhile, &spawn.child), (&spawn.child, &spawn.meanwhile)] {
        for gate in gates(here) {
            let answered = match gate {
                Gate::Pass(name) => gates(there).any(|other| *other == Gate::Open(name)),
                Gate::Open(name) => gates(there).any(|other| *other == Gate::Pass(name)),
                Gate::Take(_) => gates(there).any(|other| matches!(other, Gate::Hand(_))),
                Gate::Hand(_) => gates(there).any(|other| matches!(other, Gate::Take(_))),
                Gate::ParentLives => true,
            };
            if !answered {
                faults.push(format!("no one answers the gate {gate:?}"));
            }
        }
    }
    parent
}

fn gates(steps: &[Step]) -> impl Iterator<Item = &Gate> {
    steps.iter().filter_map(|step| match &step.action {
        Action::Gate(gate) => Some(gate),
        _ => None,
    })
}

/// Whether the call still has a slot once those that are filled have been read.
fn uses_slots(call: &Syscall, filled: &HashSet<Slot>) -> bool {
    call.resolve(&slots(filled)).has_slots()
}

fn slots(filled: &HashSet<Slot>) -> Slots {
    let mut slots = Slots::default();
    for slot in filled {
        slots.set(slot, 0);
    }
    slots
}
