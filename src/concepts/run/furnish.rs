//! The kernel's own file systems inside: /proc, /dev, /sys, and the container's groups.

use std::path::{Path, PathBuf};

use crate::concepts::common::devices::Rule;
use crate::plan::{Call, Claim, Step, calls};
use crate::sys::flags::{AtFlags, MsFlags};
use crate::sys::syscall::Node;
use crate::sys::{Errno, Slot, Syscall, Text, Value};

use super::HOST_ROOT;
use super::args::Network;
use super::settle::Settled;
use crate::concepts::common::groups::Groups;
use calls::mount;

/// The devices that every Linux program may expect
/// ([null(4)](https://man7.org/linux/man-pages/man4/null.4.html) and its neighbours; the OCI runtime spec
/// lists them as default devices).
const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// Links that programs expect in /dev.
const LINKS: [(&str, &str); 6] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("pts/ptmx", "/dev/ptmx"),
    ("/proc/kcore", "/dev/core"),
];

/// Directories of /dev that file systems of their own are mounted on.
pub const FOLDERS: [&str; 3] = ["/dev/pts", "/dev/shm", "/dev/mqueue"];

/// A device of the host that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its node on the host.
    pub source: PathBuf,
    /// Its node inside, below /dev.
    pub inside: PathBuf,
    /// Directories that must be made for it, outermost first.
    pub folders: Vec<PathBuf>,
    /// Kind and numbers.
    pub node: Node,
    /// Permission bits and owner, as on the host.
    pub mode: u32,
    pub owner: (u32, u32),
    /// What the device controller is told about it.
    pub rule: Rule,
}

/// Whether a path of /dev belongs to what every container has.
pub fn is_taken(path: &Path) -> bool {
    let devices = DEVICES.iter().map(|(name, ..)| Path::new("/dev").join(name));
    let links = LINKS.iter().map(|(_, path)| PathBuf::from(path));
    let mut names = devices.chain(links).chain(["/dev/console".into()]);
    names.any(|name| path.starts_with(name)) || FOLDERS.iter().any(|folder| path.starts_with(folder))
}

/// All of them, in the order in which they need each other.
pub fn all(run: &Settled, groups: &Groups) -> Vec<Step> {
    let mut steps = vec![proc(), dev(), devices(run)];
    steps.extend(more_devices(run));
    steps.extend([dev_file_systems(run), sys(run), groups.show()]);
    steps
}

fn proc() -> Step {
    Step::say("Mount a proc file system of this pid namespace")
        .why(
            "/proc shows the processes of the pid namespace that its mounter is in. The host's would show the \
             host's processes, under numbers that mean nothing in here.",
        )
        .chapter("12")
        .call(mount::proc("/proc"))
        .expect([Claim::PidIs(1), Claim::Mounted { at: "/proc".into(), fstype: "proc".into() }])
}

fn dev() -> Step {
    let folders = FOLDERS.map(|path| calls::mkdir(path, 0o755));
    let links = LINKS.map(|(target, path)| calls::symlink(target, path));
    Step::say("Make an empty /dev")
        .why("A fresh tmpfs hides whatever the image has in /dev. Only what is made here is in it.")
        .chapter("28")
        .call(mount::tmpfs("/dev", MsFlags::MS_NOSUID | MsFlags::MS_STRICTATIME, "mode=0755,size=65536k"))
        .calls(folders)
        .calls(links)
}

fn devices(run: &Settled) -> Step {
    let step = Step::say("Put the harmless devices into it").chapter("28");
    if !run.rootless {
        return step
            .why("Six devices give no power over the host. Disks, memory and the rest have no name in here.")
            .calls([calls::umask(0)])
            .calls(DEVICES.map(|(name, major, minor)| calls::device(format!("/dev/{name}"), major, minor)))
            .calls([calls::umask(0o022)]);
    }
    let mut all: Vec<Call> = Vec::new();
    for (name, ..) in DEVICES {
        let here = format!("/dev/{name}");
        all.push(calls::empty_file(here.as_str()).into());
        let host = host_path(Text::from(here.as_str()));
        all.push(mount::bind(host, here.as_str(), MsFlags::empty()).into());
    }
    step.why(
        "In a user namespace nobody makes device nodes, not even its root, and no file system that is mounted in it \
         opens one: rules for devices are not needed. The host's nodes are bind-mounted instead: the same devices \
         under the same names.",
    )
    .calls(all)
}

/// The devices that were asked for, one by one.
fn more_devices(run: &Settled) -> Option<Step> {
    if run.devices.is_empty() {
        return None;
    }
    let step = Step::say("Add the devices that you asked for").chapter("28");
    let mut folders: Vec<&PathBuf> = run.devices.iter().flat_map(|device| &device.folders).collect();
    folders.dedup();
    let step = step
        .calls(folders.into_iter().map(|folder| Call::from(calls::mkdir(folder, 0o755)).or(Errno::EEXIST)));
    Some(if run.rootless {
        step.why("The host's nodes are bind-mounted, with what their modes and owners on the host allow you.")
            .calls(run.devices.iter().flat_map(bind_device))
    } else {
        step.why(
            "A node of the same kind, numbers, mode and owner. With the node alone nothing could be opened: the \
             group's rules know these devices as well.",
        )
        .call(calls::umask(0))
        .calls(run.devices.iter().flat_map(make_device))
        .call(calls::umask(0o022))
    })
}

fn bind_device(device: &Device) -> [Call; 2] {
    let inside = Text::from(&device.inside);
    let bind = mount::bind(host_path(Text::from(&device.source)), inside.clone(), MsFlags::empty());
    [calls::empty_file(inside).into(), bind.into()]
}

fn make_device(device: &Device) -> Vec<Call> {
    let (uid, gid) = device.owner;
    let path = || Text::from(&device.inside);
    let make = Syscall::Mknodat { dir: Value::CWD, path: path(), node: device.node, mode: device.mode };
    let give =
        Syscall::Fchownat { dir: Value::CWD, path: path(), uid, gid, flags: AtFlags::AT_SYMLINK_NOFOLLOW };
    std::iter::once(make).chain((device.owner != (0, 0)).then_some(give)).map(Call::from).collect()
}

/// The host's file, through the descriptor of its root.
fn host_path(path: Text) -> Text {
    Text::from("/proc/self/fd/").then_later(Slot::new(HOST_ROOT)).then(path)
}

fn dev_file_systems(run: &Settled) -> Step {
    // The group `tty` (5) is not mapped in a user namespace with a single id.
    let devpts = if run.rootless {
        "newinstance,ptmxmode=0666,mode=0620"
    } else {
        "newinstance,ptmxmode=0666,mode=0620,gid=5"
    };
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    Step::say("Mount terminals, shared memory and message queues")
        .why(
            "devpts gives pseudo-terminals that only this container can open, /dev/shm holds POSIX shared \
             memory, and mqueue shows the message queues of this IPC namespace.",
        )
        .chapter("11")
        .calls([
            mount::new("devpts", "/dev/pts", quiet, Some(devpts.into())),
            mount::tmpfs("/dev/shm", mount::HARMLESS, "mode=1777,size=65536k"),
            mount::new("mqueue", "/dev/mqueue", mount::HARMLESS, None),
        ])
}

fn sys(run: &Settled) -> Step {
    let step = Step::say("Mount /sys, read-only").chapter("28");
    if run.network == Network::Host && run.rootless {
        let tree = Slot::new("sys tree");
        let place = Slot::new("sys");
        return step
            .why(
                "A sysfs belongs to a network namespace, and this one is the host's: it cannot be mounted \
                 anew, so the host's is bound, with every mount below it read-only.",
            )
            .calls([
                calls::clone_tree(Value::later(HOST_ROOT), "sys", tree.clone()),
                calls::set_tree(tree.clone(), crate::sys::flags::MountAttr::MOUNT_ATTR_RDONLY).into(),
                calls::open_in_root("/sys", place.clone()),
                calls::attach_tree(tree, place).into(),
                calls::close("sys tree"),
                calls::close("sys"),
            ]);
    }
    step.why("Kernel objects can be seen, and nothing about them changed.")
        .call(mount::new("sysfs", "/sys", mount::HARMLESS | MsFlags::MS_RDONLY, None))
        .expect([Claim::ReadOnly("/sys".into())])
}
