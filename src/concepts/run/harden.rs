//! What is hidden from the workload and what is forbidden to it.
//!
//! The lists are those of the OCI runtime tools: what `runc spec` writes, and what Docker and podman add.

use crate::plan::{Call, Claim, Probe, Step, calls};
use crate::probe::Host;
use crate::probe::host::Present;
use crate::sys::flags::MsFlags;

use super::settle::Settled;
use calls::mount;

/// Masks the one list and write-protects the other.
///
/// Whether a path exists is a property of the kernel, so that of the host's /proc is looked at while planning.
pub fn hide(host: &Host) -> Vec<Step> {
    vec![mask(host), protect(host)]
}

fn mask(host: &Host) -> Step {
    let hide = |present: &Present| {
        if present.directory {
            mount::tmpfs(present.path, MsFlags::MS_RDONLY, "")
        } else {
            mount::bind("/dev/null", present.path, MsFlags::empty())
        }
    };
    Step::say("Hide what tells too much about the host")
        .why(
            "A pid namespace does not change these files: they show the host's kernel. A file is covered with \
             /dev/null, a directory with an empty read-only tmpfs.",
        )
        .chapter("28")
        .calls(host.masked().iter().map(hide))
}

fn protect(host: &Host) -> Step {
    let flags = mount::HARMLESS | MsFlags::MS_RDONLY;
    let bind = |Present { path, .. }: &Present| {
        [mount::bind(*path, *path, MsFlags::MS_REC), mount::remount_bind(*path, flags)]
    };
    Step::say("Write-protect what would change the host")
        .why(
            "Most of /proc/sys is not part of any namespace. Each path is bound to itself, which makes it a \
             mount of its own, and that mount is made read-only.",
        )
        .chapter("28")
        .calls(host.read_only().iter().flat_map(bind))
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
