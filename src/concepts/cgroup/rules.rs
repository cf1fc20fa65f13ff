//! `cutaway cgroup rules`: which tree a group is in, and what a group of version 2 may not be.
//!
//! The rule of no internal processes has two halves, and both are shown by being refused: a group with processes
//! hands no controllers down, and a group that does takes no processes. Version 1 knows no such rule; its trees are
//! shown beside it, on a machine that has both each in its own tree.

use super::{Group, Member, before, end, group, story};
use crate::concepts::Context;
use crate::error::Result;
use crate::plan::{Call, Claim, Plan, Probe, Step, calls};
use crate::sys::flags::AtFlags;
use crate::sys::{Errno, Slot, Syscall, Text, Value};

const MEMBER: Member = Member { actor: "member", pid: Slot::new("member pid"), group: "group of the member" };
const OLD: Member =
    Member { actor: "old member", pid: Slot::new("old member pid"), group: "group of the old member" };
/// Controllers of version 2 to which the rule applies. The others (cpu, cpuset, pids) can tell threads and groups
/// apart, and a group with processes may hand them down: it then is the root of a threaded subtree.
const CONTROLLERS: [&str; 5] = ["memory", "io", "hugetlb", "misc", "rdma"];
/// The user to whom a group is given: nobody.
const NOBODY: u32 = 65534;

/// The story.
pub fn plan(_: Option<&str>, context: &Context) -> Result<Plan> {
    let cgroups = context.here.cgroups();
    let offered = |name: &&&str| {
        cgroups.v1(name).is_none()
            && cgroups
                .v2
                .as_ref()
                .is_some_and(|v2| v2.available.iter().chain(&v2.own_available).any(|one| one == **name))
    };
    let two = CONTROLLERS.iter().find(offered).map(|name| Group::find(name, &group::name(), context));
    let one = cgroups.v1("pids").map(|_| Group::find("pids", &group::name(), context));
    let mut steps = vec![before(), where_they_are()];
    let mut notes = Vec::new();
    let main = match (two, one) {
        (Some(Ok(two)), one) => {
            steps.extend(version_2(&two, context));
            if let Some(Ok(one)) = one {
                notes.push(one.note(context));
                steps.extend(version_1(&one));
            }
            two
        }
        (Some(Err(error)), None | Some(Err(_))) | (None, Some(Err(error))) => return Err(error),
        (_, Some(Ok(one))) => {
            steps.push(no_version_2());
            steps.extend(version_1(&one));
            one
        }
        (None, None) => Group::find("pids", &group::name(), context)?,
    };
    let mut plan = story("rules", &main, context, steps);
    plan.notes.extend(notes);
    Ok(plan)
}

fn where_they_are() -> Step {
    Step::say("See where each controller is")
        .why(
            "A controller is in one tree at a time: in one of version 1, or in the one of version 2. Whoever \
             mounts first decides, and on most machines that is systemd. The kernel command line can keep \
             version 1 away: cgroup_no_v1=all.",
        )
        .chapter("22")
        .look_at([Probe::Controllers])
}

fn no_version_2() -> Step {
    Step::say("Break the rules of version 2")
        .why("A group with processes hands no controllers down, and one that does takes no processes.")
        .chapter("22")
        .skip("no tree of version 2 here has a controller to hand down")
}

fn version_2(upper: &Group, context: &Context) -> Vec<Step> {
    let leaf = upper.below("leaf");
    let control = upper.directory.join("cgroup.subtree_control");
    let plus = format!("+{}", upper.controller);
    let for_now = |step: Step| {
        step.why("A group can use a controller only if the group above hands it down. At the end this is taken back.")
    };
    let mut steps: Vec<Step> = upper.enable().map(for_now).into_iter().collect();
    steps.push(
        upper.make(Step::say("Make a group").why("Making a directory is making a group.").chapter("22")),
    );
    steps.extend(upper.workload(
        Step::say("Start a process in it").why("It does nothing but be there.").chapter("22"),
        &MEMBER,
        &["idle".to_owned()],
    ));
    steps.push(leaf.make(Step::say("Make a group below").why("Still all is well.").chapter("22")));
    steps.push(refused_write(
        Step::say("Try to hand a controller down")
            .why(
                "EBUSY: the group holds a process. If its processes and the groups below it competed for the \
                 same memory, nobody could say what a limit means. So a group has the one or the other. \
                 (cpu, cpuset and pids are exempt: they can weigh threads against groups.)",
            )
            .chapter("22"),
        &control,
        plus.as_str().into(),
    ));
    steps.push(
        Step::say("Move the process down")
            .why("Whoever wants both puts the processes into a leaf first.")
            .chapter("22")
            .calls(calls::write(leaf.directory.join("cgroup.procs"), pid(&MEMBER.pid)))
            .look_at([Probe::CgroupsOf(MEMBER.pid.into())]),
    );
    steps.push(
        Step::say("Hand the controller down now")
            .why(
                "It works, and its files appear in the group below. Before that they were not there: a limit \
                 that no group above has handed down cannot be set.",
            )
            .chapter("22")
            .calls(calls::write(&control, plus.as_str()))
            .look_at([Probe::File(leaf.directory.join("cgroup.controllers"))])
            .expect([Claim::FileHolds { path: control.clone(), text: upper.controller.to_owned() }]),
    );
    steps.push(refused_write(
        Step::say("Try to move the process up again")
            .why("EBUSY, the other half of the rule: a group that hands controllers down takes no process.")
            .chapter("22"),
        &upper.directory.join("cgroup.procs"),
        pid(&MEMBER.pid),
    ));
    steps.push(delegate(&leaf, context));
    steps.extend(end("End the process", &MEMBER.pid));
    steps.push(remove(upper, &leaf));
    if upper.must_enable() {
        steps.push(take_back(upper));
    }
    steps
}

// ANCHOR: refused
/// A write that the kernel refuses with EBUSY: open, write, close.
fn refused_write(step: Step, path: &std::path::Path, text: Text) -> Step {
    let [open, write, close] = calls::write(path, text);
    step.calls([open, write.refused(Errno::EBUSY), close])
}
// ANCHOR_END: refused

fn pid(slot: &Slot) -> Text {
    Text::from("").then_later(slot.clone())
}

/// Delegation is ownership of a directory and three of its files.
fn delegate(leaf: &Group, context: &Context) -> Step {
    let step = Step::say("Give the lower group away")
        .why(
            "Delegation is ownership: of the directory, so that its owner may make groups below, and of these \
             files, so that it may move processes and hand controllers down. The limits stay with whoever made \
             the group. systemd does this for `systemd-run --user --scope -p Delegate=yes`.",
        )
        .chapter("22");
    if !context.here.is_privileged() {
        return step.skip("you are the owner already: this part of the tree was delegated to you");
    }
    let files = ["cgroup.procs", "cgroup.threads", "cgroup.subtree_control"];
    let mut paths = vec![leaf.directory.clone()];
    paths.extend(files.map(|file| leaf.directory.join(file)));
    let chown = |path: &std::path::PathBuf| Syscall::Fchownat {
        dir: Value::CWD,
        path: path.into(),
        uid: NOBODY,
        gid: NOBODY,
        flags: AtFlags::empty(),
    };
    step.calls(paths.iter().map(chown))
        .expect(paths.iter().map(|path| Claim::Owner { path: path.clone(), uid: NOBODY }))
}

fn remove(upper: &Group, leaf: &Group) -> Step {
    Step::say("Remove both groups, the lower one first")
        .why("A group with groups below it cannot be removed, no more than a directory with directories.")
        .chapter("22")
        .call(Call::from(calls::rmdir(&upper.directory)).refused(Errno::EBUSY))
        .call(calls::rmdir(&leaf.directory))
        .call(calls::rmdir(&upper.directory))
}

fn take_back(upper: &Group) -> Step {
    let above = upper.directory.parent().unwrap_or(&upper.directory).join("cgroup.subtree_control");
    let [open, write, close] = calls::write(above, format!("-{}", upper.controller));
    Step::say("Take the controller back from where it was not before")
        .why("This lesson does not need it any more. If another group does, the kernel refuses: EBUSY.")
        .chapter("22")
        .calls([open, write.or(Errno::EBUSY), close])
}

/// Version 1: no such rule, and a tree for each controller.
fn version_1(upper: &Group) -> Vec<Step> {
    let leaf = upper.below("leaf");
    let mut steps = vec![
        upper.make(
            Step::say("Make a group in a tree of version 1")
                .why("This tree belongs to one controller. Its files are there at once, in every group.")
                .chapter("25"),
        ),
    ];
    steps.extend(upper.workload(
        Step::say("Start a process in it").why("It does nothing but be there.").chapter("25"),
        &OLD,
        &["idle".to_owned()],
    ));
    let step = leaf.make(
        Step::say("Make a group below, with a limit")
            .why(
                "Version 1 has no rule against this: processes and groups beside each other, each with a say. \
                 What that means was left to each controller, and each meant something else.",
            )
            .chapter("25"),
    );
    steps.push(leaf.set(step, ("pids.max", ""), "10"));
    steps.push(
        Step::say("See in which groups one process is")
            .why(
                "In one of each tree, and they need not agree: which memory belongs to which I/O cannot be \
                 said. That is why page cache that is written back is nobody's on version 1, and one of the \
                 reasons for version 2.",
            )
            .chapter("25")
            .look_at([Probe::CgroupsOf(OLD.pid.into())]),
    );
    steps.extend(end("End the process", &OLD.pid));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Host;
    use crate::probe::cgroup::{Cgroups, Layout, V2};

    fn plan_on(v2: Option<V2>) -> Result<Plan> {
        let layout = if v2.is_some() { Layout::V2 } else { Layout::None };
        let mut context = Context::new("/nonexistent".into(), true, false);
        context.here = Host::read().with_cgroups(Cgroups { layout, v1: Vec::new(), v2 });
        context.here.capabilities = crate::sys::flags::CapSet(u64::MAX);
        plan(None, &context)
    }

    fn v2(enabled: &[&str]) -> V2 {
        V2 {
            mount: "/cg".into(),
            own: Some("/cg".into()),
            available: vec!["cpu".into(), "memory".into()],
            enabled: enabled.iter().map(ToString::to_string).collect(),
            own_available: Vec::new(),
            writable: true,
            delegated: None,
        }
    }

    #[test]
    fn both_halves_of_the_rule_are_refused() {
        let plan = plan_on(Some(v2(&["memory"]))).unwrap();
        assert_eq!(plan.check(), Vec::<String>::new());
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(text.matches(&format!("\"refused\":{}", Errno::EBUSY as i32)).count(), 3);
        assert!(!text.contains("Take the controller back"), "it was there before");
        let text = serde_json::to_string(&plan_on(Some(v2(&[]))).unwrap()).unwrap();
        assert!(text.contains("-memory"), "{text}");
    }

    #[test]
    fn without_any_tree_there_is_no_lesson() {
        assert!(plan_on(None).unwrap_err().to_string().contains("no hierarchy"));
    }
}
