//! What only needs reading: the machine, who the caller is, and which programs are there.

use std::path::PathBuf;

use crate::concepts::Context;
use crate::probe::cgroup::Cgroups;
use crate::probe::{Host, helpers, mounts, privileges, security, surroundings, sysctl};
use crate::sys::flags::{CapSet, Capability};

/// The sysctls that decide something here.
pub const SYSCTLS: [&str; 14] = [
    "user.max_user_namespaces",
    "user.max_mnt_namespaces",
    "user.max_pid_namespaces",
    "user.max_net_namespaces",
    "user.max_uts_namespaces",
    "user.max_ipc_namespaces",
    "user.max_cgroup_namespaces",
    "user.max_time_namespaces",
    "kernel.unprivileged_userns_clone",
    "kernel.apparmor_restrict_unprivileged_userns",
    "kernel.yama.ptrace_scope",
    "net.ipv4.ip_forward",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
];

/// A program that rootless containers of more than one user, or with a network, need.
#[derive(Debug, Clone)]
pub struct Helper {
    pub name: &'static str,
    /// Where it is.
    pub path: Option<PathBuf>,
    /// What is wrong with it.
    pub lacks: Option<&'static str>,
    /// What it is good for.
    pub use_of: &'static str,
}

/// The facts.
pub struct Facts {
    pub kernel: String,
    pub machine: String,
    pub is_old: bool,
    /// The kinds of namespace that are not the machine's first.
    pub own_namespaces: Vec<&'static str>,
    pub marks: Vec<String>,
    /// Whether there is a /proc, without which most of this cannot be read.
    pub proc: bool,
    pub chroot: bool,
    pub wsl: bool,
    pub root_type: String,
    pub euid: u32,
    pub privileged: bool,
    pub capabilities: CapSet,
    pub no_new_privs: bool,
    /// 0 none, 1 strict, 2 filter.
    pub seccomp: u8,
    pub modules: Option<Vec<String>>,
    pub label: Option<String>,
    pub seccomp_filters: bool,
    pub overlay: bool,
    pub cgroups: Cgroups,
    pub sysctls: Vec<(&'static str, String)>,
    /// How many ids /etc/subuid and /etc/subgid give the caller.
    pub subids: (u64, u64),
    pub helpers: Vec<Helper>,
    pub tun: bool,
    /// The file system on which the state directory is, or will be.
    pub state_type: String,
    pub state: PathBuf,
    pub program: PathBuf,
}

impl Facts {
    /// Reads them all.
    pub fn read(context: &Context) -> Self {
        let here = &context.here;
        let own = privileges::now().unwrap_or_default();
        let state = &context.state;
        let there = state.ancestors().find_map(|path| path.canonicalize().ok()).unwrap_or_else(|| "/".into());
        let type_of =
            |path| mounts::holding(here.mounts(), path).map_or("unknown", |mount| &mount.fstype).to_owned();
        let count = |ids: &[crate::probe::host::SubIds]| ids.iter().map(|range| u64::from(range.count)).sum();
        Self {
            kernel: sysctl::value("kernel.osrelease")
                .unwrap_or_else(|| format!("{}.{}", here.kernel.0, here.kernel.1)),
            machine: std::env::consts::ARCH.to_owned(),
            is_old: !here.kernel_at_least(5, 10),
            own_namespaces: surroundings::own_namespaces(),
            marks: surroundings::container_marks(),
            proc: !here.mounts().is_empty(),
            chroot: here.in_chroot(),
            wsl: surroundings::is_wsl(),
            root_type: type_of("/".as_ref()),
            euid: here.euid,
            privileged: here.is_privileged(),
            capabilities: here.capabilities,
            no_new_privs: own.no_new_privs,
            seccomp: own.seccomp,
            modules: security::modules(),
            label: security::label("self").unwrap_or_default(),
            seccomp_filters: security::has_seccomp_filters(),
            overlay: here.has_overlay(),
            cgroups: here.cgroups().clone(),
            sysctls: SYSCTLS.iter().filter_map(|name| Some((*name, sysctl::value(name)?))).collect(),
            subids: (count(here.subuids()), count(here.subgids())),
            helpers: helpers(here),
            tun: helpers::may_use("/dev/net/tun"),
            state_type: type_of(&there),
            state: state.clone(),
            program: std::env::current_exe().unwrap_or_else(|_| "cutaway".into()),
        }
    }

    /// The value of a sysctl.
    pub fn sysctl(&self, name: &str) -> Option<&str> {
        self.sysctls.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// Whether a sysctl is set to exactly this.
    pub fn is(&self, name: &str, value: &str) -> bool {
        self.sysctl(name) == Some(value)
    }

    /// The capabilities that this process lacks, of those that there are.
    pub fn missing_capabilities(&self) -> Vec<&'static str> {
        let last = sysctl::value("kernel.cap_last_cap").and_then(|last| last.parse().ok()).unwrap_or(40);
        let known = Capability::ALL.iter().filter(|cap| cap.number() <= last);
        known.filter(|cap| !self.capabilities.has(**cap)).map(|cap| cap.name()).collect()
    }
}

fn helpers(host: &Host) -> Vec<Helper> {
    let with_power = [
        ("newuidmap", "more than one user in a rootless container"),
        ("newgidmap", "more than one group in a rootless container"),
    ];
    let plain = [
        ("pasta", "a network for a rootless container"),
        ("slirp4netns", "a network for a rootless container, the older way"),
    ];
    let one = |(name, use_of), power: bool| {
        let path = helpers::find(name);
        let weak = power
            && !host.is_privileged()
            && path.as_deref().is_some_and(|path| !helpers::is_privileged(path));
        Helper {
            name,
            use_of,
            lacks: weak.then_some("it is neither set-user-ID nor has file capabilities"),
            path,
        }
    };
    with_power.into_iter().map(|it| one(it, true)).chain(plain.into_iter().map(|it| one(it, false))).collect()
}
