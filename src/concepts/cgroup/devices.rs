//! `cutaway cgroup devices`: which device nodes a group's processes may open and make.
//!
//! One process opens devices while everything is allowed, waits until the rules are set, and tries again. What it
//! tries, it tries with the host's own nodes in /dev: null, zero and full, which give and take nothing but zeros.

use super::{Group, Member, before, group, story, watch_to_end};
use crate::concepts::Context;
use crate::concepts::common::devices::{self, Kind, READ, Rule};
use crate::error::Result;
use crate::plan::{Call, Claim, Ending, Gate, Plan, Probe, Step, calls};
use crate::sys::flags::{Access, CloneFlags, MsFlags, OFlags};
use crate::sys::{Errno, Slot, Syscall, Value};

const TRIER: Member = Member { actor: "member", pid: Slot::new("member pid"), group: "group of the member" };
/// The descriptor that is opened before there are rules.
const KEPT: &str = "kept";
/// The gates between the two processes.
const OPENED: &str = "it has opened them";
const RULES: &str = "the rules are set";
/// An empty file system for nodes; the directory exists on every host, and is hidden for one process only.
const NODES: &str = "/tmp";

/// The story.
pub fn plan(_: Option<&str>, context: &Context) -> Result<Plan> {
    let group = Group::find(devices::CONTROLLER, &group::name(), context)?;
    let mut steps = vec![before(), make(&group)];
    let start = Step::say("Start a process in it")
        .why("It will try the same twice: before there are rules, and after.")
        .chapter("28");
    let meanwhile = vec![
        Step::say("Wait until it has opened them")
            .why("The two processes take turns.")
            .gate(Gate::Pass(OPENED)),
        set_rules(&group),
        Step::say("Let it go on").why("It waits for this.").gate(Gate::Open(RULES)),
    ];
    steps.extend(group.process_beside(start, &TRIER, attempts(), meanwhile));
    steps.push(Step::say("Wait for its end").why("It has tried everything.").watch(watch_to_end(
        &[],
        100,
        &TRIER.pid,
        Ending::Exited(0),
    )));
    let mut plan = story("devices", &group, context, steps);
    if group.is_v2 {
        plan.notes = vec![
            "cgroups: version 2 has no controller for devices; a program that is attached to a group decides"
                .to_owned(),
        ];
    }
    Ok(plan)
}

/// Null for everything, zero for reading, and nothing else.
fn rules() -> [Rule; 2] {
    let null = Rule { kind: Kind::Char, major: Some(1), minor: Some(3), access: devices::EVERYTHING };
    let zero = Rule { kind: Kind::Char, major: Some(1), minor: Some(5), access: READ };
    [null, zero]
}

fn make(group: &Group) -> Step {
    group.make(
        Step::say("Make a group")
            .why("A new group allows what the group above allows. There are no rules of its own yet.")
            .chapter("28"),
    )
}

/// What is seen of the rules.
fn seen(group: &Group) -> Probe {
    if group.is_v2 {
        Probe::DevicePrograms(group.directory.clone())
    } else {
        Probe::File(group.directory.join("devices.list"))
    }
}

// ANCHOR: rules
fn set_rules(group: &Group) -> Step {
    let step = Step::say("Allow two devices, and nothing else").chapter("28").look_at([seen(group)]);
    if group.is_v2 {
        return step
            .why(
                "Whenever somebody in the group opens or makes a device node, the kernel runs this program. It is \
                 given access and type in one number (r1 +0), major (r1 +4) and minor (r1 +8), and what it leaves \
                 in r0 is the answer: 0 is EPERM. The listing was read back from the kernel.",
            )
            .calls(devices::attach_program(TRIER.group, &rules()));
    }
    step.why(
        "Devices are named by their type and their two numbers: c 1:3 is null, c 1:5 is zero. The letters say what is \
         allowed: r to read, w to write, m to make the node.",
    )
    .calls(devices::write_rules(&group.directory, &rules()))
}
// ANCHOR_END: rules

fn open(path: &str, access: Access, slot: &'static str) -> Call {
    calls::open(path, access, OFlags::empty(), slot)
}

fn refused(path: &str, access: Access) -> Call {
    open(path, access, "device").refused(Errno::EPERM)
}

/// What the process in the group does.
fn attempts() -> Vec<Step> {
    vec![
        Step::say("Open two devices")
            .why("Nothing is denied yet. Reading from full gives zeros, as with zero; it is writing that fails.")
            .chapter("28")
            .call(open("/dev/zero", Access::O_WRONLY, "device"))
            .call(calls::close("device"))
            .call(open("/dev/full", Access::O_RDONLY, KEPT)),
        Step::say("Say that they are open").why("The rules come now.").gate(Gate::Open(OPENED)),
        Step::say("Wait for the rules").why("The two processes take turns.").gate(Gate::Pass(RULES)),
        Step::say("Open what the rules allow")
            .why("null for everything, zero for reading.")
            .chapter("28")
            .calls([open("/dev/null", Access::O_RDWR, "device"), calls::close("device")])
            .calls([open("/dev/zero", Access::O_RDONLY, "device"), calls::close("device")]),
        Step::say("Open what they do not allow")
            .why(
                "EPERM, as root, on nodes whose mode lets everybody in: zero to write, which worked before, and full, \
                 which no rule knows.",
            )
            .chapter("28")
            .calls([refused("/dev/zero", Access::O_WRONLY), refused("/dev/full", Access::O_RDONLY)]),
        Step::say("Read from what was open before")
            .why(
                "The rules are asked when a node is opened, not when its descriptor is used: what is open stays \
                 open. This is why a runtime sets them before the container's first process is born.",
            )
            .chapter("28")
            .call(Syscall::Pread64 { fd: Value::later(KEPT), size: 4, offset: Value::Known(0) })
            .call(calls::close(KEPT)),
        own_place(),
        make_nodes(),
        other_name(),
    ]
}

fn own_place() -> Step {
    Step::say("Mount an empty file system, for yourself")
        .why("In a mount namespace of its own: what follows is made in memory and seen by nobody else.")
        .chapter("5")
        .call(calls::unshare(CloneFlags::CLONE_NEWNS))
        .call(calls::mount::propagation("/", MsFlags::MS_REC | MsFlags::MS_PRIVATE))
        .call(calls::mount::tmpfs(NODES, MsFlags::MS_NOSUID, "mode=0700,size=64k"))
        .expect([Claim::Mounted { at: NODES.into(), fstype: "tmpfs".into() }])
}

fn make_nodes() -> Step {
    Step::say("Make nodes")
        .why("null's rule has the m; zero's has not, so its node is not made: EPERM.")
        .chapter("28")
        .call(calls::device("/tmp/hole", 1, 3))
        .call(Call::from(calls::device("/tmp/zeros", 1, 5)).refused(Errno::EPERM))
}

fn other_name() -> Step {
    Step::say("Open null by its other name")
        .why("What counts are the numbers of a node. Its name, and where it lies, are nothing to the kernel.")
        .chapter("28")
        .calls([open("/tmp/hole", Access::O_WRONLY, "device"), calls::close("device")])
}
