//! What is hidden from the workload and what is forbidden to it.
//!
//! The lists are those of the OCI runtime tools: what `runc spec` writes, and what Docker and podman add.

use std::path::Path;

use crate::plan::{Call, Claim, Probe, Step, calls};
use crate::sys::flags::MsFlags;

use super::settle::Settled;
use calls::mount;

/// Hidden: files and directories that tell about the host, or give power over it.
const MASKED: [&str; 13] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
];

/// Visible, but not to be written to: through these the whole host can be changed.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Masks the one list and write-protects the other.
///
/// Whether a path exists is a property of the kernel, so that of the host's /proc is looked at while planning.
pub fn hide(run: &Settled) -> Vec<Step> {
    vec![mask(run), protect()]
}

fn mask(run: &Settled) -> Step {
    let present = MASKED.iter().copied().filter(|path| Path::new(path).exists());
    let hide = |path: &str| {
        if Path::new(path).is_dir() {
            mount::tmpfs(path, MsFlags::MS_RDONLY, "")
        } else {
            mount::bind("/dev/null", path, MsFlags::empty())
        }
    };
    let _ = run;
    Step::say("Hide what tells too much about the host")
        .why(
            "A pid namespace does not change these files: they show the host's kernel. A file is covered with \
             /dev/null, a directory with an empty read-only tmpfs.",
        )
        .chapter("28")
        .calls(present.map(hide))
}

fn protect() -> Step {
    let present = READ_ONLY.iter().copied().filter(|path| Path::new(path).exists());
    let flags = mount::HARMLESS | MsFlags::MS_RDONLY;
    let bind =
        |path: &'static str| [mount::bind(path, path, MsFlags::MS_REC), mount::remount_bind(path, flags)];
    Step::say("Write-protect what would change the host")
        .why(
            "Most of /proc/sys is not part of any namespace. Each path is bound to itself, which makes it a \
             mount of its own, and that mount is made read-only.",
        )
        .chapter("28")
        .calls(present.flat_map(bind))
        .expect([Claim::ReadOnly("/proc/sys".into())])
}

/// Descriptors that cutaway was started with.
pub fn descriptors(run: &Settled) -> Step {
    let step = Step::say("Let no descriptor through").chapter("30").expect([Claim::DescriptorsCloseOnExec]);
    match &run.inherited {
        None => step
            .why(
                "A descriptor outlives every change of root: one open directory of the host would be a way \
                 out. Everything from 3 upwards closes at the exec.",
            )
            .call(calls::close_on_exec_from(3)),
        Some(inherited) if inherited.is_empty() => step.why(
            "A descriptor outlives every change of root: one open directory of the host would be a way out. \
             But cutaway was started with none beyond the first three, and what it opens closes at the exec.",
        ),
        Some(inherited) => step
            .why(
                "A descriptor outlives every change of root: one open directory of the host would be a way \
                 out. This kernel cannot mark them all at once (close_range with CLOSE_RANGE_CLOEXEC came with \
                 5.11), so each that cutaway was started with is marked by itself; what it opened is already.",
            )
            .calls(inherited.iter().map(|fd| calls::close_on_exec(*fd))),
    }
}

/// Programs with the set-user-ID bit stay powerless.
pub fn no_new_privs(run: &Settled) -> Option<Step> {
    (!run.allow_setuid).then(|| {
        Step::say("Never again gain a privilege")
            .why(
                "From now on execve grants nothing: not by the set-user-ID bit, not by file capabilities. It \
                 cannot be taken back, and children inherit it.",
            )
            .chapter("26")
            .call(Call::from(calls::no_new_privs()))
            .look_at([Probe::Privileges])
            .expect([Claim::NoNewPrivs])
    })
}
