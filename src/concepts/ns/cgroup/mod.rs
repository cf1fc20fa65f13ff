//! `cutaway ns cgroup`: the path of a group is hidden, the group and its limits are not left.

use std::path::{Path, PathBuf};

use super::{CHILD, Room, clone, show_host, wait};
use crate::concepts::Context;
use crate::concepts::common::group;
use crate::plan::{Bulk, Call, Claim, Plan, Probe, Step, Undo, calls};
use crate::probe::{Place, mounts};
use crate::sys::Errno;
use crate::sys::flags::CloneFlags;

const CGROUP: CloneFlags = CloneFlags::CLONE_NEWCGROUP;
const CONTROLLER: &str = "pids";

/// A group with a limit, which the child joins.
struct Group {
    directory: PathBuf,
    /// Under which name /proc/PID/cgroup lists its hierarchy.
    controller: &'static str,
    /// Its path there, as the host sees it.
    path: PathBuf,
    /// The file that a process writes 0 to in order to join.
    join: &'static str,
    /// The file above it in which the controller must be enabled first.
    enable: Option<PathBuf>,
}

impl Group {
    /// A place for it, or why there is none.
    fn find(room: &Room, context: &Context) -> Result<Self, String> {
        let name = format!("cutaway-ns-{}", std::process::id());
        let (parent, controller, join, enable) =
            match context.here.cgroups().place(CONTROLLER, !room.rootless) {
                Place::V1(parent) => (parent, CONTROLLER, "tasks", None),
                Place::V2 { parent, enable } => {
                    let file = enable.then(|| parent.join("cgroup.subtree_control"));
                    (parent, "", "cgroup.procs", file)
                }
                Place::Nowhere(why) => return Err(why),
            };
        let directory = parent.join(name);
        let path =
            shown(context.here.mounts(), &directory).ok_or("its hierarchy is not in the mount table")?;
        Ok(Self { directory, controller, path, join, enable })
    }
}

/// The path of a group's directory in its hierarchy: a mount may show only a part of it.
fn shown(table: &[mounts::Mount], directory: &Path) -> Option<PathBuf> {
    let mount = mounts::holding(table, directory)?;
    Some(mount.root.join(directory.strip_prefix(&mount.at).ok()?))
}

/// The story.
pub fn plan(room: &Room, context: &Context) -> Plan {
    let group = Group::find(room, context);
    let mut host = vec![from_the_host(group.as_ref().ok())];
    if let (Ok(group), Some(_)) = (&group, &room.command) {
        host.push(lift(group));
    }
    let (show, look) = show_host("hidden", "seen", host);
    let mut child = Vec::new();
    if let Ok(group) = &group {
        child.push(join(group));
        child.push(no_fork("Try to make a process"));
    }
    child.push(hide(group.as_ref().ok()));
    if group.is_ok() {
        child.push(no_fork("Try it again in the new namespace"));
    }
    child.extend(show);
    child.extend(room.cross(Probe::Cgroups, Vec::new()));
    child.push(not_isolated(room, group.as_ref().ok(), context));
    child.extend(room.exec());
    let mut steps = vec![before(), room.keep_host()];
    let file = group.as_ref().ok().and_then(|group| group.enable.as_ref());
    steps.extend(file.map(|file| group::enable(file, CONTROLLER)));
    steps.push(make(&group));
    steps.push(room.child(birth(), CloneFlags::empty(), look, child));
    steps.push(wait(room));
    steps.extend([after(), room.let_go_of_host()]);
    room.plan(steps)
}

fn before() -> Step {
    Step::say("Note the groups before anything changes")
        .why("Every process is in one group of each hierarchy. /proc/PID/cgroup says in which.")
        .chapter("16")
        .look_at([Probe::Cgroups, Probe::Namespaces(CGROUP)])
}

fn make(group: &Result<Group, String>) -> Step {
    let step = Step::say("Make a group that allows one process")
        .why("The child will be that one. A limit is a good witness: it is felt, whatever is seen of it.")
        .chapter("24");
    match group {
        Err(why) => step.skip(why.clone()),
        Ok(Group { directory, .. }) => {
            let undo: [Undo; 2] =
                [Bulk::EmptyGroup { path: directory.clone() }.into(), calls::rmdir(directory).into()];
            step.call(calls::mkdir(directory, 0o755))
                .calls(calls::write(directory.join("pids.max"), "1"))
                .undo(undo)
                .expect([Claim::FileHolds { path: directory.join("pids.max"), text: "1".to_owned() }])
        }
    }
}

fn birth() -> Step {
    Step::say("Start a child")
        .why(
            "It makes its cgroup namespace itself, later. The root of such a namespace is the group that its \
             maker is in at that moment, and the child is not where it should be yet.",
        )
        .chapter("16")
}

fn join(group: &Group) -> Step {
    Step::say("Join the group")
        .why("0 stands for the process that writes.")
        .chapter("22")
        .calls(calls::write(group.directory.join(group.join), "0"))
        .look_at([Probe::Cgroups])
        .expect([Claim::InGroup(group.directory.clone())])
}

fn no_fork(say: &'static str) -> Step {
    Step::say(say)
        .why("The group is full: EAGAIN. Which path the process reads for its group makes no difference.")
        .chapter("24")
        .call(Call::from(clone(CloneFlags::empty())).refused(Errno::EAGAIN))
}

// ANCHOR: hide
fn hide(group: Option<&Group>) -> Step {
    let step = Step::say("Make a cgroup namespace")
        .why(
            "The group that the process is in becomes `/`. The part above it, which names a machine's services \
             and containers, is no longer told. The process has not been moved.",
        )
        .chapter("16")
        .call(calls::unshare(CGROUP))
        .look_at([Probe::Cgroups, Probe::Namespaces(CGROUP)])
        .expect([Claim::OwnNamespaces(CGROUP)]);
    match group {
        Some(Group { controller, .. }) => step.expect([Claim::ShownInGroup {
            pid: None,
            controller: (*controller).to_owned(),
            path: "/".into(),
        }]),
        None => step,
    }
}
// ANCHOR_END: hide

fn from_the_host(group: Option<&Group>) -> Step {
    let step = Step::say("Read the child's groups on the host")
        .why("The real path, for those who are outside: a path is told relative to the reader's namespace.")
        .chapter("16")
        .look_at([
            Probe::CgroupsOf(CHILD.into()),
            Probe::NamespacesOf { pid: CHILD.into(), kinds: CGROUP },
            Probe::Namespaces(CGROUP),
        ]);
    match group {
        Some(Group { controller, path, .. }) => step.expect([Claim::ShownInGroup {
            pid: Some(CHILD.into()),
            controller: (*controller).to_owned(),
            path: path.clone(),
        }]),
        None => step,
    }
}

fn lift(group: &Group) -> Step {
    Step::say("Lift the limit for your command")
        .why("It has shown what it was for. Your command may start processes.")
        .chapter("24")
        .calls(calls::write(group.directory.join("pids.max"), "max"))
        .look_at([Probe::File(group.directory.join("pids.max"))])
}

fn not_isolated(room: &Room, group: Option<&Group>, context: &Context) -> Step {
    let step = Step::say("See what this namespace does not isolate")
        .why(
            "It limits nothing and hides no file. What was mounted on /sys/fs/cgroup before still shows the \
             host's whole tree; only a mount that is made in the namespace begins at its root. With the right to \
             write there a process can leave its group, unless the tree is v2 and mounted with nsdelegate.",
        )
        .chapter("16")
        .expect([room.shares_the_rest(CGROUP)]);
    let cgroups = context.here.cgroups();
    let mount = cgroups.v2.as_ref().map(|v2| &v2.mount).or(cgroups.v1.first().map(|v1| &v1.mount));
    match (group, mount) {
        (Some(group), _) => {
            let file = group.directory.join("pids.max");
            step.look_at([Probe::File(file.clone())]).expect([Claim::Exists(file)])
        }
        (None, Some(mount)) => step.expect([Claim::Exists(mount.clone())]),
        (None, None) => step,
    }
}

fn after() -> Step {
    Step::say("Look at the host again")
        .why("The namespace is gone. The group is a directory of the host, and is removed now.")
        .chapter("16")
        .look_at([Probe::Cgroups, Probe::Namespaces(CGROUP)])
        .expect([Claim::SharedNamespaces(CGROUP)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_story_is_sound() {
        super::super::tests::is_sound("cgroup");
    }

    #[test]
    fn a_group_is_shown_by_its_place_in_the_hierarchy() {
        let table = mounts::parse(b"35 31 0:32 /docker/1 /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n");
        let path = shown(&table, Path::new("/sys/fs/cgroup/pids/a"));
        assert_eq!(path.as_deref(), Some(Path::new("/docker/1/a")));
    }
}
