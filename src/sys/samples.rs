//! One value of each system call, for tests that must hold for all of them.
//!
//! None of them does any harm where it is performed: the descriptors are not open, the paths do not exist,
//! the pids are none.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::bpf::Insn;
use super::flags::{
    Access, AtFlags, CapSet, Capability, CloneFlags, CloseRangeFlags, FsconfigCmd, FsmountFlags, FsopenFlags,
    IpcFlags, MntFlags, MountAttr, MoveMountFlags, MsFlags, OFlags, OpenTreeFlags, RenameFlags, ResolveFlags,
    SigHow, Signal, WaitFlags,
};
use super::netlink::{Link, Message, Request};
use super::syscall::{Bpf, Fcntl, Ioctl, Netlink, Node, Prctl, SocketOption, Syscall};
use super::value::{Text, Value};

/// A descriptor that is not open.
const CLOSED: Value = Value::Known(-1);
/// A directory that does not exist.
const NOWHERE: &str = "/nonexistent/dir";
/// A port of this machine.
const HERE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 4242);

/// Every variant of [`Syscall`], most of them more than once.
#[must_use]
pub fn all() -> Vec<Syscall> {
    [mounts(), files(), processes(), queues(), network(), identity(), programs()].concat()
}

fn path() -> Text {
    NOWHERE.into()
}

fn mount(fstype: Option<&str>, flags: MsFlags, data: Option<&str>) -> Syscall {
    let source = Some("none \"quoted\"".into());
    Syscall::Mount {
        source,
        target: path(),
        fstype: fstype.map(Into::into),
        flags,
        data: data.map(Into::into),
    }
}

fn fsconfig(cmd: FsconfigCmd, key: Option<&str>, value: Option<&str>) -> Syscall {
    Syscall::Fsconfig { fd: CLOSED, cmd, key: key.map(Into::into), value: value.map(Into::into) }
}

fn mounts() -> Vec<Syscall> {
    let target = path();
    vec![
        mount(Some("tmpfs"), MsFlags::empty(), Some("mode=0755,size=65536k")),
        mount(None, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None),
        mount(None, MsFlags::MS_BIND | MsFlags::MS_REC, None),
        mount(None, MsFlags::all().difference(MsFlags::MS_REMOUNT), None),
        Syscall::Umount2 { target: target.clone(), flags: MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW },
        Syscall::Umount2 { target: target.clone(), flags: MntFlags::empty() },
        Syscall::PivotRoot { new_root: target.clone(), put_old: target.clone() },
        Syscall::Chroot { path: target.clone() },
        Syscall::Fsopen { fsname: "no-such-type".into(), flags: FsopenFlags::FSOPEN_CLOEXEC },
        fsconfig(FsconfigCmd::FSCONFIG_SET_STRING, Some("source"), Some("none")),
        fsconfig(FsconfigCmd::FSCONFIG_SET_FLAG, Some("ro"), None),
        fsconfig(FsconfigCmd::FSCONFIG_CMD_CREATE, None, None),
        Syscall::Fsmount {
            fd: CLOSED,
            flags: FsmountFlags::FSMOUNT_CLOEXEC,
            attr: MountAttr::MOUNT_ATTR_NOSUID,
        },
        Syscall::Fsmount { fd: CLOSED, flags: FsmountFlags::empty(), attr: MountAttr::empty() },
        Syscall::MoveMount {
            from: CLOSED,
            from_path: "".into(),
            to: Value::CWD,
            to_path: target.clone(),
            flags: MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
        },
        Syscall::OpenTree {
            dir: Value::CWD,
            path: target.clone(),
            flags: OpenTreeFlags::OPEN_TREE_CLONE
                | OpenTreeFlags::OPEN_TREE_CLOEXEC
                | OpenTreeFlags::AT_RECURSIVE,
        },
        Syscall::MountSetattr {
            dir: Value::CWD,
            path: target.clone(),
            flags: AtFlags::AT_RECURSIVE,
            set: MountAttr::MOUNT_ATTR_RDONLY | MountAttr::MOUNT_ATTR_NOSUID,
            clear: MountAttr::empty(),
        },
        Syscall::MountIdmap {
            dir: CLOSED,
            path: "".into(),
            flags: AtFlags::AT_EMPTY_PATH,
            users: Value::Known(99),
        },
        Syscall::MountSetattr {
            dir: CLOSED,
            path: "".into(),
            flags: AtFlags::AT_EMPTY_PATH,
            set: MountAttr::MOUNT_ATTR_NOATIME,
            clear: MountAttr::MOUNT_ATTR_RDONLY,
        },
    ]
}

fn open(access: Access, flags: OFlags, mode: u32) -> Syscall {
    Syscall::Openat { dir: Value::CWD, path: path(), access, flags, mode }
}

fn files() -> Vec<Syscall> {
    let at = || (Value::CWD, path());
    let (dir, path) = at();
    let resolve = ResolveFlags::RESOLVE_IN_ROOT | ResolveFlags::RESOLVE_NO_MAGICLINKS;
    let ioctl = |request| Syscall::Ioctl { fd: CLOSED, request };
    vec![
        open(Access::O_RDONLY, OFlags::empty(), 0),
        open(Access::O_RDONLY, OFlags::O_DIRECTORY | OFlags::O_PATH | OFlags::O_NOFOLLOW, 0),
        open(Access::O_WRONLY, OFlags::O_CREAT | OFlags::O_EXCL | OFlags::O_TRUNC | OFlags::O_CLOEXEC, 0o644),
        open(Access::O_RDWR, OFlags::O_CREAT | OFlags::O_APPEND | OFlags::O_NONBLOCK | OFlags::O_NOCTTY, 0),
        Syscall::Openat2 {
            dir: CLOSED,
            path: "a/b".into(),
            access: Access::O_RDONLY,
            flags: OFlags::O_CLOEXEC,
            resolve,
        },
        Syscall::Openat2 {
            dir: Value::CWD,
            path: path.clone(),
            access: Access::O_RDWR,
            flags: OFlags::empty(),
            resolve,
        },
        Syscall::Close { fd: CLOSED },
        Syscall::Write { fd: CLOSED, data: Text::bytes(b"0 1000 1\n\t\"\\\x00\x017\xff\x7f") },
        Syscall::Write { fd: CLOSED, data: "".into() },
        Syscall::Mkdirat { dir: dir.clone(), path: path.clone(), mode: 0o755 },
        Syscall::Mkdirat { dir: dir.clone(), path: path.clone(), mode: 0o1777 },
        Syscall::Mkdirat { dir: dir.clone(), path: path.clone(), mode: 0 },
        Syscall::Unlinkat { dir: dir.clone(), path: path.clone(), flags: AtFlags::AT_REMOVEDIR },
        Syscall::Unlinkat { dir: CLOSED, path: "a".into(), flags: AtFlags::empty() },
        Syscall::Symlinkat { target: "/proc/self/fd".into(), dir: dir.clone(), path: path.clone() },
        Syscall::Linkat {
            from: Value::CWD,
            from_path: path.clone(),
            to: CLOSED,
            to_path: "a".into(),
            flags: AtFlags::AT_SYMLINK_FOLLOW,
        },
        Syscall::Renameat2 {
            from: dir.clone(),
            from_path: path.clone(),
            to: Value::CWD,
            to_path: path.clone(),
            flags: RenameFlags::empty(),
        },
        Syscall::Renameat2 {
            from: CLOSED,
            from_path: "a".into(),
            to: CLOSED,
            to_path: "b".into(),
            flags: RenameFlags::RENAME_NOREPLACE,
        },
        Syscall::Pread64 { fd: CLOSED, size: 64, offset: Value::Known(0) },
        Syscall::Sendfile { to: CLOSED, from: CLOSED, size: 1 << 20 },
        Syscall::MmapShared { fd: CLOSED, size: 4096 },
        Syscall::Mknodat { dir: dir.clone(), path: path.clone(), node: Node::Char(1, 3), mode: 0o666 },
        Syscall::Mknodat { dir: dir.clone(), path: path.clone(), node: Node::Char(0, 0), mode: 0 },
        Syscall::Mknodat { dir: dir.clone(), path: path.clone(), node: Node::Char(136, 260), mode: 0o4755 },
        Syscall::Mknodat { dir: dir.clone(), path: path.clone(), node: Node::Block(7, 300), mode: 0o640 },
        Syscall::Mknodat { dir: dir.clone(), path: path.clone(), node: Node::File, mode: 0o600 },
        Syscall::Fchmodat { dir: dir.clone(), path: path.clone(), mode: 0o755 },
        Syscall::Fchmodat { dir: dir.clone(), path: path.clone(), mode: 0 },
        Syscall::Fchownat {
            dir: dir.clone(),
            path: path.clone(),
            uid: 0,
            gid: 5,
            flags: AtFlags::AT_SYMLINK_NOFOLLOW,
        },
        Syscall::Fchownat {
            dir: CLOSED,
            path: "".into(),
            uid: 1000,
            gid: u32::MAX,
            flags: AtFlags::AT_EMPTY_PATH,
        },
        Syscall::Dup3 { from: CLOSED, to: Value::Known(0), flags: OFlags::O_CLOEXEC },
        Syscall::Dup3 { from: CLOSED, to: Value::Known(0), flags: OFlags::empty() },
        Syscall::Chdir { path: path.clone() },
        Syscall::Chdir { path: Text::bytes("/nonexistent/ünïcode\u{1}7".as_bytes()) },
        Syscall::Fchdir { fd: CLOSED },
        Syscall::Umask { mask: 0o22 },
        Syscall::Umask { mask: 0 },
        Syscall::Umask { mask: 0o7 },
        Syscall::CloseRange { first: 90_000, last: u32::MAX, flags: CloseRangeFlags::CLOSE_RANGE_CLOEXEC },
        Syscall::CloseRange { first: 90_000, last: 90_001, flags: CloseRangeFlags::empty() },
        Syscall::Fcntl { fd: CLOSED, request: Fcntl::CloseOnExec(true) },
        Syscall::Fcntl { fd: CLOSED, request: Fcntl::CloseOnExec(false) },
        ioctl(Ioctl::ControllingTerminal),
        ioctl(Ioctl::LockPty(false)),
        ioctl(Ioctl::LockPty(true)),
        ioctl(Ioctl::OpenPeer),
        ioctl(Ioctl::WindowSize(24, 80)),
    ]
}

fn processes() -> Vec<Syscall> {
    // The names that the machine has already.
    let names = rustix::system::uname();
    // Both flags together are refused by the kernel, so that no child is made.
    let refused = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_FS;
    let kinds = [
        CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWPID,
        CloneFlags::CLONE_NEWTIME,
        CloneFlags::CLONE_NEWNET,
    ];
    let mut all: Vec<_> = kinds
        .into_iter()
        .map(|kind| Syscall::Clone3 {
            flags: refused | kind,
            exit_signal: Some(Signal::SIGCHLD),
            cgroup: None,
        })
        .collect();
    all.extend([
        Syscall::Clone3 { flags: refused, exit_signal: None, cgroup: None },
        Syscall::Clone3 {
            flags: refused | CloneFlags::CLONE_INTO_CGROUP,
            exit_signal: Some(Signal::SIGCHLD),
            cgroup: Some(Value::Known(999)),
        },
        Syscall::Clone3 {
            flags: CloneFlags::all().difference(CloneFlags::CLONE_PIDFD),
            exit_signal: None,
            cgroup: Some(Value::Known(999)),
        },
        // Where this is permitted, the names that are set below are not the machine's.
        Syscall::Unshare { flags: CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC },
        Syscall::Setns { fd: CLOSED, kind: CloneFlags::CLONE_NEWNET },
        Syscall::Setns { fd: CLOSED, kind: CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS },
        Syscall::Setns { fd: CLOSED, kind: CloneFlags::empty() },
        Syscall::Execve {
            path: path(),
            argv: vec!["sh".into(), "-c".into(), "a \"b\"".into()],
            envp: vec!["A=1".into()],
        },
        Syscall::Execve { path: path(), argv: vec![], envp: vec!["A=1".into(), "B=2".into()] },
        Syscall::Execve { path: path(), argv: vec!["sh".into()], envp: vec![] },
        Syscall::Kill { pid: Value::Known(i64::from(i32::MAX)), signal: Signal::SIGTERM },
        Syscall::PidfdOpen { pid: Value::Known(i64::from(i32::MAX)) },
        Syscall::PidfdSendSignal { pidfd: CLOSED, signal: Signal::SIGKILL },
        Syscall::Waitid { pid: Value::Known(i64::from(i32::MAX)), options: WaitFlags::WEXITED },
        Syscall::Waitid {
            pid: Value::Known(i64::from(i32::MAX)),
            options: WaitFlags::WEXITED | WaitFlags::WNOWAIT,
        },
        Syscall::Waitid { pid: Value::Known(0), options: WaitFlags::WNOHANG | WaitFlags::WEXITED },
        Syscall::RtSigprocmask { how: SigHow::SIG_UNBLOCK, set: vec![Signal::SIGTERM] },
        Syscall::RtSigprocmask { how: SigHow::SIG_BLOCK, set: vec![Signal::SIGUSR2, Signal::SIGHUP] },
        Syscall::RtSigprocmask { how: SigHow::SIG_UNBLOCK, set: vec![Signal::SIGUSR2, Signal::SIGHUP] },
        Syscall::RtSigprocmask { how: SigHow::SIG_BLOCK, set: vec![] },
        Syscall::ClockNanosleep { seconds: 0 },
        Syscall::Setsid,
        Syscall::Sethostname { name: Text::bytes(names.nodename().to_bytes()) },
        Syscall::Setdomainname { name: Text::bytes(names.domainname().to_bytes()) },
    ]);
    all
}

fn identity() -> Vec<Syscall> {
    vec![
        Syscall::Setgroups { groups: vec![] },
        Syscall::Setgroups { groups: vec![0] },
        Syscall::Setgroups { groups: vec![0, 5, 1000] },
        Syscall::Setresgid { gid: 0 },
        Syscall::Setresuid { uid: 0 },
        Syscall::Prctl(Prctl::ParentDeathSignal(Signal::SIGKILL)),
        Syscall::Prctl(Prctl::Dumpable(false)),
        Syscall::Prctl(Prctl::Dumpable(true)),
        Syscall::Prctl(Prctl::NoNewPrivs),
        Syscall::Prctl(Prctl::KeepCaps(true)),
        Syscall::Prctl(Prctl::KeepCaps(false)),
        Syscall::Prctl(Prctl::ClearAmbient),
        Syscall::Prctl(Prctl::DropBounding(Capability::CAP_SYS_MODULE)),
        Syscall::Prctl(Prctl::DropBounding(Capability::CAP_CHECKPOINT_RESTORE)),
        Syscall::Capset {
            effective: CapSet::of(&[Capability::CAP_CHOWN, Capability::CAP_SETFCAP]),
            permitted: CapSet::of(&[
                Capability::CAP_CHOWN,
                Capability::CAP_SETFCAP,
                Capability::CAP_MAC_OVERRIDE,
            ]),
            inheritable: CapSet::default(),
        },
    ]
}

/// A program without an end, which the kernel refuses, and a program for a group that is none.
fn programs() -> Vec<Syscall> {
    let load = |insns| Syscall::Bpf(Bpf::LoadDeviceProgram { insns, license: "Apache-2.0".into() });
    vec![
        load(vec![Insn::load_word(2, 1, 0), Insn::set(0, 1)]),
        load(vec![]),
        Syscall::Bpf(Bpf::AttachDeviceProgram { target: CLOSED, program: CLOSED }),
        Syscall::Bpf(Bpf::AttachDeviceProgram { target: Value::Known(99), program: Value::Known(98) }),
    ]
}

fn queues() -> Vec<Syscall> {
    // Keys and names that nobody uses: nothing is made.
    vec![
        Syscall::Msgget { key: 0x6375_7400, flags: IpcFlags::empty(), mode: 0 },
        Syscall::Msgget { key: 0x6375_7400, flags: IpcFlags::IPC_EXCL, mode: 0o600 },
        Syscall::Shmget { key: 0x6375_7400, size: 4096, flags: IpcFlags::empty(), mode: 0 },
        // Too small a segment is refused before one is made.
        Syscall::Shmget {
            key: 0x6375_7400,
            size: 0,
            flags: IpcFlags::IPC_CREAT | IpcFlags::IPC_EXCL,
            mode: 0o600,
        },
        Syscall::MqOpen {
            name: "cutaway-none".into(),
            access: Access::O_RDONLY,
            flags: OFlags::O_CLOEXEC,
            mode: 0,
        },
        // A name with a slash in it is refused.
        Syscall::MqOpen {
            name: "cutaway/none".into(),
            access: Access::O_RDWR,
            flags: OFlags::O_CREAT | OFlags::O_EXCL | OFlags::O_CLOEXEC,
            mode: 0o600,
        },
    ]
}

fn network() -> Vec<Syscall> {
    let request = Request::LinkUp { index: 1, name: "lo".to_owned() };
    vec![
        Syscall::Socket { protocol: Netlink::Route },
        Syscall::Sendto { fd: CLOSED, message: Message { sequence: 1, request } },
        Syscall::Recvfrom { fd: CLOSED },
        Syscall::Setsockopt { fd: CLOSED, option: SocketOption::ExtendedAck },
        Syscall::Setsockopt { fd: CLOSED, option: SocketOption::ReceiveTimeout(2) },
        Syscall::DatagramSocket,
        Syscall::Bind { fd: CLOSED, address: HERE },
        Syscall::SendDatagram { fd: CLOSED, data: "over \"there\"\n".into(), to: HERE },
        Syscall::ReceiveDatagram { fd: CLOSED },
    ]
}

/// Every request to the kernel, most of them more than once, in an order in which each can be carried out in an
/// empty network namespace.
#[must_use]
pub fn requests(namespace: i32) -> Vec<Request> {
    let (pair, bridge) = (Link::new(21, "one-end"), Link::new(30, "bridge"));
    let namespace = Value::from(namespace);
    let address = Ipv4Addr::new(10, 0, 0, 1);
    let new = |index, name: &str, bridge| Request::NewPair {
        link: Link::new(index, name),
        peer: Link::new(index + 1, &format!("{name}-of")),
        namespace: namespace.clone(),
        bridge,
    };
    vec![
        Request::LinkUp { index: 1, name: "lo".to_owned() },
        new(21, "one-end", None),
        Request::NewBridge { link: bridge.clone() },
        new(31, "port", Some(30)),
        Request::Join { link: pair.clone(), bridge: 30 },
        Request::NewAddress { link: bridge.clone(), address, prefix: 24 },
        Request::NewAddress { link: bridge.clone(), address, prefix: 24 },
        Request::NewRoute { to: None, gateway: Ipv4Addr::new(10, 0, 0, 2) },
        Request::NewRoute {
            to: Some((Ipv4Addr::new(192, 0, 2, 0), 24)),
            gateway: Ipv4Addr::new(10, 9, 9, 9),
        },
        Request::DeleteAddress { link: bridge, address, prefix: 24 },
        Request::DeleteLink { link: pair },
    ]
}
