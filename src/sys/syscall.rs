//! System calls as data.
//!
//! A [`Syscall`] is a plain value: it can be printed, compared, written to a journal, sent to another
//! process, and performed. [`Syscall::lower`] turns it into its name, its number and its arguments; the
//! notation and the registers both come from that one list.
//!
//! Only the `*at`, `2` and `3` forms are here: the old ones do not exist on every architecture, and a
//! telling that names a call the kernel never saw would be false there.

use std::fmt;
use std::net::SocketAddrV4;

use serde::{Deserialize, Serialize};

use super::arg::{Arg, Part, octal};
use super::bpf::{Insn, loaded};
use super::flags::{
    Access, AtFlags, CapSet, Capability, CloneFlags, CloseRangeFlags, FsconfigCmd, FsmountFlags, FsopenFlags,
    IpcFlags, MntFlags, MountAttr, MoveMountFlags, MsFlags, OFlags, OpenTreeFlags, RenameFlags, ResolveFlags,
    SigHow, Signal, WaitFlags, Word,
};
use super::netlink::Message;
use super::value::{Slots, Text, Value};

/// The kind and permissions of a node that mknodat(2) makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Node {
    /// An empty regular file.
    File,
    /// A character device with its major and minor number.
    Char(u32, u32),
    /// A block device with its major and minor number.
    Block(u32, u32),
}

/// What prctl(2) is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Prctl {
    /// `PR_SET_PDEATHSIG`: the signal the caller gets when its parent dies.
    ParentDeathSignal(Signal),
    /// `PR_SET_DUMPABLE`: whether others may look into the caller through /proc.
    Dumpable(bool),
    /// `PR_CAPBSET_DROP`: take a capability out of the bounding set.
    DropBounding(Capability),
    /// `PR_SET_NO_NEW_PRIVS`: execve never again grants a privilege.
    NoNewPrivs,
    /// `PR_SET_KEEPCAPS`: keep the permitted set when the last uid leaves 0.
    KeepCaps(bool),
    /// `PR_CAP_AMBIENT_CLEAR_ALL`: empty the ambient set.
    ClearAmbient,
}

/// What ioctl(2) is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ioctl {
    /// `TIOCSCTTY`: make the terminal the caller's controlling terminal.
    ControllingTerminal,
    /// `TIOCSPTLCK`: lock or unlock the other end of a pseudo-terminal.
    LockPty(bool),
    /// `TIOCGPTPEER`: open the other end of a pseudo-terminal.
    OpenPeer,
    /// `TIOCSWINSZ`: rows and columns of the window.
    WindowSize(u16, u16),
}

/// What fcntl(2) is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fcntl {
    /// `F_SETFD`: whether the descriptor closes on exec.
    CloseOnExec(bool),
}

/// What bpf(2) is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are those of the man page, under its names")]
pub enum Bpf {
    /// `BPF_PROG_LOAD`: check a program that decides on the devices of a group, and keep it.
    LoadDeviceProgram { insns: Vec<Insn>, license: Text },
    /// `BPF_PROG_ATTACH`: let it decide for a group, beside those of the groups above.
    AttachDeviceProgram { target: Value, program: Value },
}

/// A system call with all its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are the parameters of the man page, under its names")]
pub enum Syscall {
    // Mounts
    Mount { source: Option<Text>, target: Text, fstype: Option<Text>, flags: MsFlags, data: Option<Text> },
    Umount2 { target: Text, flags: MntFlags },
    PivotRoot { new_root: Text, put_old: Text },
    Chroot { path: Text },
    Fsopen { fsname: Text, flags: FsopenFlags },
    Fsconfig { fd: Value, cmd: FsconfigCmd, key: Option<Text>, value: Option<Text> },
    Fsmount { fd: Value, flags: FsmountFlags, attr: MountAttr },
    MoveMount { from: Value, from_path: Text, to: Value, to_path: Text, flags: MoveMountFlags },
    OpenTree { dir: Value, path: Text, flags: OpenTreeFlags },
    MountSetattr { dir: Value, path: Text, flags: AtFlags, set: MountAttr, clear: MountAttr },
    MountIdmap { dir: Value, path: Text, flags: AtFlags, users: Value },
    // Files
    Openat { dir: Value, path: Text, access: Access, flags: OFlags, mode: u32 },
    Openat2 { dir: Value, path: Text, access: Access, flags: OFlags, resolve: ResolveFlags },
    Close { fd: Value },
    Write { fd: Value, data: Text },
    Mkdirat { dir: Value, path: Text, mode: u32 },
    Unlinkat { dir: Value, path: Text, flags: AtFlags },
    Symlinkat { target: Text, dir: Value, path: Text },
    Linkat { from: Value, from_path: Text, to: Value, to_path: Text, flags: AtFlags },
    Renameat2 { from: Value, from_path: Text, to: Value, to_path: Text, flags: RenameFlags },
    Pread64 { fd: Value, size: u32, offset: Value },
    Sendfile { to: Value, from: Value, size: u64 },
    MmapShared { fd: Value, size: u32 },
    Mknodat { dir: Value, path: Text, node: Node, mode: u32 },
    Fchmodat { dir: Value, path: Text, mode: u32 },
    Fchownat { dir: Value, path: Text, uid: u32, gid: u32, flags: AtFlags },
    Dup3 { from: Value, to: Value, flags: OFlags },
    Chdir { path: Text },
    Fchdir { fd: Value },
    Umask { mask: u32 },
    CloseRange { first: u32, last: u32, flags: CloseRangeFlags },
    Fcntl { fd: Value, request: Fcntl },
    Ioctl { fd: Value, request: Ioctl },
    // Processes and namespaces
    Clone3 { flags: CloneFlags, exit_signal: Option<Signal>, cgroup: Option<Value> },
    Unshare { flags: CloneFlags },
    Setns { fd: Value, kind: CloneFlags },
    Execve { path: Text, argv: Vec<Text>, envp: Vec<Text> },
    Kill { pid: Value, signal: Signal },
    PidfdOpen { pid: Value },
    PidfdSendSignal { pidfd: Value, signal: Signal },
    Waitid { pid: Value, options: WaitFlags },
    RtSigprocmask { how: SigHow, set: Vec<Signal> },
    ClockNanosleep { seconds: u32 },
    Setsid,
    Sethostname { name: Text },
    Setdomainname { name: Text },
    // Identity and privilege
    Setgroups { groups: Vec<u32> },
    Setresuid { uid: u32 },
    Setresgid { gid: u32 },
    Prctl(Prctl),
    Capset { effective: CapSet, permitted: CapSet, inheritable: CapSet },
    // Programs for the kernel
    Bpf(Bpf),
    // System V and POSIX message queues, shared memory
    Msgget { key: u32, flags: IpcFlags, mode: u32 },
    Shmget { key: u32, size: u32, flags: IpcFlags, mode: u32 },
    MqOpen { name: Text, access: Access, flags: OFlags, mode: u32 },
    // Netlink
    Socket { protocol: Netlink },
    Sendto { fd: Value, message: Message },
    Recvfrom { fd: Value },
    Setsockopt { fd: Value, option: SocketOption },
    // Datagrams
    DatagramSocket,
    Bind { fd: Value, address: SocketAddrV4 },
    SendDatagram { fd: Value, data: Text, to: SocketAddrV4 },
    ReceiveDatagram { fd: Value },
}

/// What setsockopt(2) sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SocketOption {
    /// `NETLINK_EXT_ACK`: the kernel says in words why it refuses a request.
    ExtendedAck,
    /// `SO_RCVTIMEO_OLD`: how many seconds a receive waits at most. Old, because its times have the size of a long.
    ReceiveTimeout(u32),
}

/// The netlink families that are spoken here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Netlink {
    /// Links, addresses, routes, neighbours.
    Route,
}

/// The name of execve(2), whose success is concluded and not seen.
pub const EXECVE: &str = "execve";

/// How many bytes an answer may have. The kernel's acknowledgements are far smaller.
pub const ANSWER: usize = 8192;

/// How many bytes a datagram may have here.
pub const DATAGRAM: usize = 64;

/// A call in the form that is printed and performed: name, number, arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lowered {
    /// The name, as the kernel and strace spell it.
    pub name: &'static str,
    /// The number on this architecture.
    pub number: libc::c_long,
    /// The arguments in order.
    pub args: Vec<Arg>,
}

/// The name is taken from the number's constant, so that neither can be another call's.
macro_rules! lower {
    ($number:ident($($arg:expr),* $(,)?)) => {
        Lowered { name: &stringify!($number)["SYS_".len()..], number: libc::$number, args: vec![$($arg),*] }
    };
}

fn number(value: &Value) -> Arg {
    Arg::Number(value.clone())
}

fn dir(value: &Value) -> Arg {
    Arg::Dir(value.clone())
}

fn path(text: &Text) -> Arg {
    Arg::Str(text.clone())
}

/// `O_RDWR|O_CLOEXEC`: the access mode comes first and is printed even where it is 0.
fn open_flags(access: Access, flags: OFlags) -> Arg {
    let (bits, names) = flags.word();
    let text = std::iter::once(access.name()).chain(names).collect::<Vec<_>>().join("|");
    Arg::Word { bits: bits | access.number(), text }
}

fn signal(signal: Signal) -> Arg {
    Arg::named(signal.number(), signal.name())
}

/// A user or group id; the highest stands for "leave it as it is".
fn id(id: u32) -> Arg {
    let text = if id == u32::MAX { "-1".to_owned() } else { id.to_string() };
    Arg::Word { bits: id.into(), text }
}

/// `0x88`, but `0`, as C's `%#x` has it.
fn hexadecimal(number: u32) -> String {
    if number == 0 { "0".to_owned() } else { format!("{number:#x}") }
}

/// `S_IFCHR|S_ISUID|0755`: where the kind is named, so are the bits above the permissions.
fn node_mode(kind: u32, name: &str, mode: u32) -> Arg {
    let special = [(libc::S_ISUID, "S_ISUID"), (libc::S_ISGID, "S_ISGID"), (libc::S_ISVTX, "S_ISVTX")];
    let set = special.iter().filter(|(bit, _)| mode & bit != 0).map(|(_, name)| *name);
    let names: Vec<_> = std::iter::once(name).chain(set).collect();
    Arg::Word { bits: (kind | mode).into(), text: format!("{}|{}", names.join("|"), octal(mode & 0o777)) }
}

/// `IPC_CREAT|0600`, but `000` where nothing is set: the mode stands in the low bits of the flags.
fn ipc_flags(flags: IpcFlags, mode: u32) -> Arg {
    let (bits, names) = flags.word();
    let text = names.into_iter().map(str::to_owned).chain([octal(mode)]).collect::<Vec<_>>().join("|");
    Arg::Word { bits: bits | u64::from(mode), text }
}

/// The kernel's `sigset_t`: signal 1 is bit 0. strace leaves the SIG in front of the names out.
fn signal_set(set: &[Signal]) -> Arg {
    let bits: u64 = set.iter().map(|signal| 1 << (signal.number() - 1)).sum();
    let mut sorted: Vec<_> = set.to_vec();
    sorted.sort_by_key(|signal| signal.number());
    let names: Vec<_> = sorted.iter().map(|signal| signal.name().trim_start_matches("SIG")).collect();
    Arg::Struct { bytes: bits.to_ne_bytes().to_vec(), text: format!("[{}]", names.join(" ")) }
}

/// `struct timespec`, whole seconds.
fn timespec(seconds: u32) -> Arg {
    let bytes = [i64::from(seconds), 0].iter().flat_map(|field| field.to_ne_bytes()).collect();
    Arg::Struct { bytes, text: format!("{{tv_sec={seconds}, tv_nsec=0}}") }
}

fn mq_open(name: &Text, access: Access, flags: OFlags, mode: u32) -> Lowered {
    let mut call = lower!(SYS_mq_open(path(name), open_flags(access, flags)));
    if flags.contains(OFlags::O_CREAT) {
        call.args.extend([Arg::Mode(mode), Arg::Null]);
    }
    call
}

fn waitid(pid: &Value, options: WaitFlags) -> Lowered {
    let kind = if *pid == Value::Known(0) { Arg::named(0, "P_ALL") } else { Arg::named(1, "P_PID") };
    lower!(SYS_waitid(kind, number(pid), Arg::Null, Arg::flags(&options), Arg::Null))
}

fn ids(list: &[u32]) -> Arg {
    let text = list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Arg::Struct { bytes: list.iter().flat_map(|id| id.to_ne_bytes()).collect(), text: format!("[{text}]") }
}

/// `struct clone_args` ([clone(2)](https://man7.org/linux/man-pages/man2/clone.2.html)): eleven 64-bit fields.
fn clone_args(flags: CloneFlags, exit_signal: Option<Signal>, cgroup: Option<&Value>) -> Arg {
    let exit = exit_signal.map_or(0, Signal::number);
    let group = match cgroup {
        Some(Value::Known(fd)) => fd.cast_unsigned(),
        _ => 0,
    };
    let fields: [u64; 11] = [flags.bits(), 0, 0, 0, exit, 0, 0, 0, 0, 0, group];
    let (_, names) = flags.word();
    let mut text = format!("{{flags={}", if names.is_empty() { "0".to_owned() } else { names.join("|") });
    text.push_str(", exit_signal=");
    text.push_str(exit_signal.map_or("0", Signal::name));
    text.push_str(", stack=NULL, stack_size=0");
    if let Some(value) = cgroup {
        text.push_str(", cgroup=");
        number(value).print(&mut text);
    }
    text.push('}');
    Arg::Struct { bytes: fields.iter().flat_map(|field| field.to_ne_bytes()).collect(), text }
}

/// `struct open_how` ([openat2(2)](https://man7.org/linux/man-pages/man2/openat2.2.html)).
fn open_how(access: Access, flags: OFlags, resolve: ResolveFlags) -> Arg {
    let mut text = String::from("{flags=");
    open_flags(access, flags).print(&mut text);
    text.push_str(", resolve=");
    Arg::flags(&resolve).print(&mut text);
    text.push('}');
    let fields = [u64::from(flags.bits()) | access.number(), 0, resolve.bits()];
    Arg::Struct { bytes: fields.iter().flat_map(|field| field.to_ne_bytes()).collect(), text }
}

/// `struct mount_attr` ([mount_setattr(2)](https://man7.org/linux/man-pages/man2/mount_setattr.2.html)).
fn mount_attr(set: MountAttr, clear: MountAttr) -> Arg {
    let mut text = String::from("{attr_set=");
    Arg::flags(&set).print(&mut text);
    text.push_str(", attr_clr=");
    Arg::flags(&clear).print(&mut text);
    // strace's note says that no propagation flag is set.
    text.push_str(", propagation=0 /* MS_??? */, userns_fd=0}");
    let fields = [set.bits(), clear.bits(), 0, 0];
    Arg::Struct { bytes: fields.iter().flat_map(|field| field.to_ne_bytes()).collect(), text }
}

/// `struct mount_attr` for an idmapped mount: the descriptor of the user namespace whose maps it uses.
fn mount_idmap(users: &Value) -> Arg {
    let fd = match users {
        Value::Known(fd) => fd.cast_unsigned(),
        Value::Later(_) => 0,
    };
    let mut text = String::from("{attr_set=");
    Arg::flags(&MountAttr::MOUNT_ATTR_IDMAP).print(&mut text);
    text.push_str(", attr_clr=0, propagation=0 /* MS_??? */, userns_fd=");
    number(users).print(&mut text);
    text.push('}');
    let fields = [MountAttr::MOUNT_ATTR_IDMAP.bits(), 0, 0, fd];
    Arg::Struct { bytes: fields.iter().flat_map(|field| field.to_ne_bytes()).collect(), text }
}

/// The header of [capset(2)](https://man7.org/linux/man-pages/man2/capget.2.html): version 3, the caller.
fn cap_header() -> Arg {
    const VERSION_3: u32 = 0x2008_0522;
    let bytes = [VERSION_3, 0].iter().flat_map(|field| field.to_ne_bytes()).collect();
    Arg::Struct { bytes, text: "{version=_LINUX_CAPABILITY_VERSION_3, pid=0}".to_owned() }
}

/// The three sets of capset(2): low words of all three, then high words of all three.
fn cap_data(effective: CapSet, permitted: CapSet, inheritable: CapSet) -> Arg {
    fn show(set: CapSet) -> String {
        let names: Vec<_> = set.iter().map(|cap| format!("1<<{}", cap.name())).collect();
        if names.is_empty() { "0".to_owned() } else { names.join("|") }
    }
    let sets = [effective, permitted, inheritable];
    let low = sets.iter().map(|set| (set.0 & 0xffff_ffff) as u32);
    let high = sets.iter().map(|set| (set.0 >> 32) as u32);
    let bytes = low.chain(high).flat_map(u32::to_ne_bytes).collect();
    let text = format!(
        "{{effective={}, permitted={}, inheritable={}}}",
        show(effective),
        show(permitted),
        show(inheritable)
    );
    Arg::Struct { bytes, text }
}

/// The beginning of `union bpf_attr` ([bpf(2)](https://man7.org/linux/man-pages/man2/bpf.2.html)): the kernel takes
/// what it is not given as 0. Where the instructions lie in memory no plan knows.
fn bpf(request: &Bpf) -> Lowered {
    const CGROUP_DEVICE: u32 = 15;
    const BPF_F_ALLOW_MULTI: u32 = 2;
    let word = |number: u32| Part::Bytes(number.to_ne_bytes().to_vec());
    let fd = |value: &Value| match value {
        // -1, which no descriptor is, is -1 in 32 bits too.
        Value::Known(fd) => word(i32::try_from(*fd).unwrap_or(-1).cast_unsigned()),
        Value::Later(_) => word(0),
    };
    let (command, name, parts, text) = match request {
        Bpf::LoadDeviceProgram { insns, license } => {
            let (count, bytes) = (insns.len(), insns.iter().flat_map(Insn::bytes).collect());
            let name = [license.known().unwrap_or_default(), vec![0]].concat();
            let parts = vec![
                word(CGROUP_DEVICE),
                word(u32::try_from(count).unwrap_or(u32::MAX)),
                Part::To(bytes),
                Part::To(name),
            ];
            let mut text = format!(
                "{{prog_type=BPF_PROG_TYPE_CGROUP_DEVICE, insn_cnt={count}, insns=<program>, license="
            );
            license.quote(&mut text);
            (5, "BPF_PROG_LOAD", parts, text + "}")
        }
        Bpf::AttachDeviceProgram { target, program } => {
            let mut text = String::from("{target_fd=");
            number(target).print(&mut text);
            text.push_str(", attach_bpf_fd=");
            number(program).print(&mut text);
            text.push_str(", attach_type=BPF_CGROUP_DEVICE, attach_flags=BPF_F_ALLOW_MULTI}");
            let parts = vec![fd(target), fd(program), word(loaded::CGROUP_DEVICE), word(BPF_F_ALLOW_MULTI)];
            (8, "BPF_PROG_ATTACH", parts, text)
        }
    };
    let size = parts.iter().map(Part::size).sum::<usize>() as u64;
    lower!(SYS_bpf(Arg::named(command, name), Arg::Parts { parts, text }, Arg::Size(size)))
}

fn prctl(request: Prctl) -> Lowered {
    let args = match request {
        Prctl::ParentDeathSignal(value) => vec![Arg::named(1, "PR_SET_PDEATHSIG"), signal(value)],
        Prctl::Dumpable(on) => {
            let text = if on { "SUID_DUMP_USER" } else { "SUID_DUMP_DISABLE" };
            vec![Arg::named(4, "PR_SET_DUMPABLE"), Arg::named(on.into(), text)]
        }
        Prctl::DropBounding(cap) => {
            vec![Arg::named(24, "PR_CAPBSET_DROP"), Arg::named(cap.number(), cap.name())]
        }
        Prctl::NoNewPrivs => {
            vec![
                Arg::named(38, "PR_SET_NO_NEW_PRIVS"),
                Arg::Size(1),
                Arg::Size(0),
                Arg::Size(0),
                Arg::Size(0),
            ]
        }
        Prctl::KeepCaps(on) => vec![Arg::named(8, "PR_SET_KEEPCAPS"), Arg::Size(on.into())],
        Prctl::ClearAmbient => vec![
            Arg::named(47, "PR_CAP_AMBIENT"),
            Arg::named(4, "PR_CAP_AMBIENT_CLEAR_ALL"),
            Arg::Size(0),
            Arg::Size(0),
            Arg::Size(0),
        ],
    };
    Lowered { args, ..lower!(SYS_prctl()) }
}

fn ioctl(fd: &Value, request: &Ioctl) -> Lowered {
    let (code, name, arg) = match request {
        Ioctl::ControllingTerminal => (libc::TIOCSCTTY, "TIOCSCTTY", Arg::Size(0)),
        Ioctl::LockPty(locked) => {
            let locked = i32::from(*locked);
            let arg = Arg::Struct { bytes: locked.to_ne_bytes().to_vec(), text: format!("[{locked}]") };
            (libc::TIOCSPTLCK, "TIOCSPTLCK", arg)
        }
        Ioctl::OpenPeer => {
            let bits = Access::O_RDWR.number() | u64::from((OFlags::O_NOCTTY | OFlags::O_CLOEXEC).bits());
            // strace does not decode these flags, and so neither does the telling.
            (libc::TIOCGPTPEER, "TIOCGPTPEER", Arg::Word { bits, text: format!("{bits:#x}") })
        }
        Ioctl::WindowSize(rows, columns) => {
            let bytes = [*rows, *columns, 0, 0].iter().flat_map(|field| field.to_ne_bytes()).collect();
            let text = format!("{{ws_row={rows}, ws_col={columns}, ws_xpixel=0, ws_ypixel=0}}");
            (libc::TIOCSWINSZ, "TIOCSWINSZ", Arg::Struct { bytes, text })
        }
    };
    lower!(SYS_ioctl(number(fd), Arg::named(code, name), arg))
}

/// `struct sockaddr_in` ([ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html)): port and address in the order
/// of the network.
fn inet(address: SocketAddrV4) -> Arg {
    let family = 2_u16.to_ne_bytes();
    let bytes = [&family[..], &address.port().to_be_bytes(), &address.ip().octets(), &[0; 8]].concat();
    let (port, ip) = (address.port(), address.ip());
    Arg::Struct {
        bytes,
        text: format!("{{sa_family=AF_INET, sin_port=htons({port}), sin_addr=inet_addr(\"{ip}\")}}"),
    }
}

fn setsockopt(fd: &Value, option: SocketOption) -> Lowered {
    let (level, name, value) = match option {
        SocketOption::ExtendedAck => {
            let value = Arg::Struct { bytes: 1_i32.to_ne_bytes().to_vec(), text: "[1]".to_owned() };
            (Arg::named(270, "SOL_NETLINK"), Arg::named(11, "NETLINK_EXT_ACK"), value)
        }
        // strace shows this structure as bytes.
        SocketOption::ReceiveTimeout(seconds) => {
            let bytes: Vec<u8> =
                [libc::c_long::from(seconds), 0].iter().flat_map(|one| one.to_ne_bytes()).collect();
            let value = Arg::Bytes(Text::bytes(&bytes));
            (Arg::named(1, "SOL_SOCKET"), Arg::named(20, "SO_RCVTIMEO_OLD"), value)
        }
    };
    let size = match &value {
        Arg::Bytes(text) => text.len(),
        _ => 4,
    };
    lower!(SYS_setsockopt(number(fd), level, name, value, Arg::Size(size as u64)))
}

impl Syscall {
    /// The call's name, number and arguments.
    #[must_use]
    pub fn lower(&self) -> Lowered {
        match self {
            Self::Mount { source, target, fstype, flags, data } => lower!(SYS_mount(
                Arg::optional(source.as_ref()),
                path(target),
                Arg::optional(fstype.as_ref()),
                Arg::flags(flags),
                Arg::optional(data.as_ref()),
            )),
            Self::Umount2 { target, flags } => lower!(SYS_umount2(path(target), Arg::flags(flags))),
            Self::PivotRoot { new_root, put_old } => {
                lower!(SYS_pivot_root(path(new_root), path(put_old)))
            }
            Self::Chroot { path: to } => lower!(SYS_chroot(path(to))),
            Self::Fsopen { fsname, flags } => lower!(SYS_fsopen(path(fsname), Arg::flags(flags))),
            Self::Fsconfig { fd, cmd, key, value } => lower!(SYS_fsconfig(
                number(fd),
                Arg::named(cmd.number(), cmd.name()),
                Arg::optional(key.as_ref()),
                Arg::optional(value.as_ref()),
                Arg::Size(0),
            )),
            Self::Fsmount { fd, flags, attr } => {
                lower!(SYS_fsmount(number(fd), Arg::flags(flags), Arg::flags(attr)))
            }
            Self::MoveMount { from, from_path, to, to_path, flags } => {
                lower!(SYS_move_mount(dir(from), path(from_path), dir(to), path(to_path), Arg::flags(flags),))
            }
            Self::OpenTree { dir: from, path: to, flags } => {
                lower!(SYS_open_tree(dir(from), path(to), Arg::flags(flags)))
            }
            Self::MountSetattr { dir: from, path: to, flags, set, clear } => {
                lower!(SYS_mount_setattr(
                    dir(from),
                    path(to),
                    Arg::flags(flags),
                    mount_attr(*set, *clear),
                    Arg::Size(32),
                ))
            }
            Self::MountIdmap { dir: from, path: to, flags, users } => lower!(SYS_mount_setattr(
                dir(from),
                path(to),
                Arg::flags(flags),
                mount_idmap(users),
                Arg::Size(32),
            )),
            Self::Openat { dir: from, path: to, access, flags, mode } => {
                let mut call = lower!(SYS_openat(dir(from), path(to), open_flags(*access, *flags)));
                // The mode is a parameter only where a file may be created (open(2)).
                if flags.contains(OFlags::O_CREAT) {
                    call.args.push(Arg::Mode(*mode));
                }
                call
            }
            Self::Openat2 { dir: from, path: to, access, flags, resolve } => {
                lower!(SYS_openat2(dir(from), path(to), open_how(*access, *flags, *resolve), Arg::Size(24),))
            }
            Self::Close { fd } => lower!(SYS_close(number(fd))),
            Self::Write { fd, data } => {
                lower!(SYS_write(number(fd), Arg::Bytes(data.clone()), Arg::Size(data.len() as u64),))
            }
            Self::Mkdirat { dir: from, path: to, mode } => {
                lower!(SYS_mkdirat(dir(from), path(to), Arg::Mode(*mode)))
            }
            Self::Unlinkat { dir: from, path: to, flags } => {
                lower!(SYS_unlinkat(dir(from), path(to), Arg::flags(flags)))
            }
            Self::Symlinkat { target, dir: from, path: to } => {
                lower!(SYS_symlinkat(path(target), dir(from), path(to)))
            }
            Self::Linkat { from, from_path, to, to_path, flags } => {
                lower!(SYS_linkat(dir(from), path(from_path), dir(to), path(to_path), Arg::flags(flags),))
            }
            Self::Renameat2 { from, from_path, to, to_path, flags } => {
                lower!(SYS_renameat2(dir(from), path(from_path), dir(to), path(to_path), Arg::flags(flags),))
            }
            Self::Pread64 { fd, size, offset } => lower!(SYS_pread64(
                number(fd),
                Arg::Room { size: *size as usize, text: "<answer>".to_owned() },
                Arg::Size((*size).into()),
                number(offset),
            )),
            Self::Sendfile { to, from, size } => {
                lower!(SYS_sendfile(number(to), number(from), Arg::Null, Arg::Size(*size)))
            }
            Self::MmapShared { fd, size } => lower!(SYS_mmap(
                Arg::Null,
                Arg::Size((*size).into()),
                Arg::named(1, "PROT_READ"),
                Arg::named(1, "MAP_SHARED"),
                number(fd),
                Arg::Size(0),
            )),
            Self::Mknodat { dir: from, path: to, node, mode } => {
                let (kind, name) = match node {
                    Node::File => (libc::S_IFREG, "S_IFREG"),
                    Node::Char(..) => (libc::S_IFCHR, "S_IFCHR"),
                    Node::Block(..) => (libc::S_IFBLK, "S_IFBLK"),
                };
                let mut call = lower!(SYS_mknodat(dir(from), path(to), node_mode(kind, name, *mode),));
                if let Node::Char(major, minor) | Node::Block(major, minor) = node {
                    let text = format!("makedev({}, {})", hexadecimal(*major), hexadecimal(*minor));
                    call.args.push(Arg::Word { bits: libc::makedev(*major, *minor), text });
                }
                call
            }
            Self::Fchmodat { dir: from, path: to, mode } => {
                lower!(SYS_fchmodat(dir(from), path(to), Arg::Mode(*mode)))
            }
            Self::Fchownat { dir: from, path: to, uid, gid, flags } => {
                lower!(SYS_fchownat(dir(from), path(to), id(*uid), id(*gid), Arg::flags(flags),))
            }
            Self::Dup3 { from, to, flags } => {
                lower!(SYS_dup3(number(from), number(to), Arg::flags(flags)))
            }
            Self::Chdir { path: to } => lower!(SYS_chdir(path(to))),
            Self::Fchdir { fd } => lower!(SYS_fchdir(number(fd))),
            Self::Umask { mask } => lower!(SYS_umask(Arg::Mode(*mask))),
            Self::CloseRange { first, last, flags } => lower!(SYS_close_range(
                Arg::Size((*first).into()),
                Arg::Size((*last).into()),
                Arg::flags(flags),
            )),
            Self::Fcntl { fd, request: Fcntl::CloseOnExec(on) } => {
                let flag = Arg::named((*on).into(), if *on { "FD_CLOEXEC" } else { "0" });
                lower!(SYS_fcntl(number(fd), Arg::named(2, "F_SETFD"), flag))
            }
            Self::Ioctl { fd, request } => ioctl(fd, request),
            Self::Clone3 { flags, exit_signal, cgroup } => {
                lower!(SYS_clone3(clone_args(*flags, *exit_signal, cgroup.as_ref()), Arg::Size(88)))
            }
            Self::Unshare { flags } => lower!(SYS_unshare(Arg::flags(flags))),
            Self::Setns { fd, kind } => lower!(SYS_setns(number(fd), Arg::flags(kind))),
            Self::Execve { path: to, argv, envp } => {
                lower!(SYS_execve(path(to), Arg::Argv(argv.clone()), Arg::Envp(envp.clone())))
            }
            Self::Kill { pid, signal: what } => lower!(SYS_kill(number(pid), signal(*what))),
            Self::PidfdOpen { pid } => lower!(SYS_pidfd_open(number(pid), Arg::Size(0))),
            Self::PidfdSendSignal { pidfd, signal: what } => {
                lower!(SYS_pidfd_send_signal(number(pidfd), signal(*what), Arg::Null, Arg::Size(0),))
            }
            Self::Waitid { pid, options } => waitid(pid, *options),
            Self::RtSigprocmask { how, set } => lower!(SYS_rt_sigprocmask(
                Arg::named(how.number(), how.name()),
                signal_set(set),
                Arg::Null,
                Arg::Size(8),
            )),
            Self::ClockNanosleep { seconds } => lower!(SYS_clock_nanosleep(
                Arg::named(1, "CLOCK_MONOTONIC"),
                Arg::Size(0),
                timespec(*seconds),
                Arg::Null,
            )),
            Self::Setsid => lower!(SYS_setsid()),
            Self::Sethostname { name } => {
                lower!(SYS_sethostname(Arg::Bytes(name.clone()), Arg::Size(name.len() as u64),))
            }
            Self::Setdomainname { name } => {
                lower!(SYS_setdomainname(Arg::Bytes(name.clone()), Arg::Size(name.len() as u64),))
            }
            Self::Setgroups { groups } => {
                lower!(SYS_setgroups(Arg::Size(groups.len() as u64), ids(groups)))
            }
            Self::Setresuid { uid } => lower!(SYS_setresuid(id(*uid), id(*uid), id(*uid))),
            Self::Setresgid { gid } => lower!(SYS_setresgid(id(*gid), id(*gid), id(*gid))),
            Self::Prctl(request) => prctl(*request),
            Self::Capset { effective, permitted, inheritable } => {
                lower!(SYS_capset(cap_header(), cap_data(*effective, *permitted, *inheritable),))
            }
            Self::Bpf(request) => bpf(request),
            Self::Msgget { key, flags, mode } => {
                lower!(SYS_msgget(Arg::named((*key).into(), &hexadecimal(*key)), ipc_flags(*flags, *mode)))
            }
            Self::Shmget { key, size, flags, mode } => lower!(SYS_shmget(
                Arg::named((*key).into(), &hexadecimal(*key)),
                Arg::Size((*size).into()),
                ipc_flags(*flags, *mode),
            )),
            Self::MqOpen { name, access, flags, mode } => mq_open(name, *access, *flags, *mode),
            Self::Socket { protocol: Netlink::Route } => lower!(SYS_socket(
                Arg::named(16, "AF_NETLINK"),
                Arg::named(3 | 0o2_000_000, "SOCK_RAW|SOCK_CLOEXEC"),
                Arg::named(0, "NETLINK_ROUTE"),
            )),
            Self::Sendto { fd, message } => {
                let bytes = message.encode();
                let length = Arg::Size(bytes.len() as u64);
                let message = Arg::Struct { bytes, text: message.to_string() };
                lower!(SYS_sendto(number(fd), message, length, Arg::Size(0), Arg::Null, Arg::Size(0)))
            }
            Self::Recvfrom { fd } => lower!(SYS_recvfrom(
                number(fd),
                Arg::Room { size: ANSWER, text: "<answer>".to_owned() },
                Arg::Size(ANSWER as u64),
                Arg::Size(0),
                Arg::Null,
                Arg::Null,
            )),
            Self::Setsockopt { fd, option } => setsockopt(fd, *option),
            Self::DatagramSocket => lower!(SYS_socket(
                Arg::named(2, "AF_INET"),
                Arg::named(2 | 0o2_000_000, "SOCK_DGRAM|SOCK_CLOEXEC"),
                Arg::named(0, "IPPROTO_IP"),
            )),
            Self::Bind { fd, address } => lower!(SYS_bind(number(fd), inet(*address), Arg::Size(16))),
            Self::SendDatagram { fd, data, to } => lower!(SYS_sendto(
                number(fd),
                Arg::Bytes(data.clone()),
                Arg::Size(data.len() as u64),
                Arg::Size(0),
                inet(*to),
                Arg::Size(16),
            )),
            Self::ReceiveDatagram { fd } => lower!(SYS_recvfrom(
                number(fd),
                Arg::Room { size: DATAGRAM, text: "<datagram>".to_owned() },
                Arg::Size(DATAGRAM as u64),
                Arg::Size(0),
                Arg::Null,
                Arg::Null,
            )),
        }
    }

    /// The call's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.lower().name
    }

    /// The notation of a finished call, in which the room for an answer holds `answer`.
    #[must_use]
    pub fn answered(&self, answer: &str) -> String {
        let mut call = self.lower();
        for arg in &mut call.args {
            if let Arg::Room { text, .. } = arg {
                answer.clone_into(text);
            }
        }
        call.to_string()
    }

    /// The notation of a finished call, with the bytes that the kernel wrote as strace quotes them.
    #[must_use]
    pub fn answered_with(&self, answer: &[u8]) -> String {
        let mut quoted = String::new();
        Text::bytes(answer).quote(&mut quoted);
        self.answered(&quoted)
    }

    /// How strace prints the result: mostly decimal, the old mask of umask(2) in octal, an address in
    /// hexadecimal.
    #[must_use]
    pub fn result(&self, returned: i64) -> String {
        match self {
            Self::Umask { .. } => octal(u32::try_from(returned).unwrap_or_default()),
            Self::MmapShared { .. } => format!("{returned:#x}"),
            _ => returned.to_string(),
        }
    }

    /// The same call with its slots read.
    #[must_use]
    pub fn resolve(&self, slots: &Slots) -> Self {
        let mut call = self.clone();
        call.visit(&mut |value| *value = value.resolve(slots), &mut |text| *text = text.resolve(slots));
        call
    }

    /// Whether a slot is left in it.
    #[must_use]
    pub fn has_slots(&self) -> bool {
        let (mut values, mut texts) = (false, false);
        self.clone().visit(&mut |value| values |= matches!(value, Value::Later(_)), &mut |text| {
            texts |= text.known().is_none();
        });
        values || texts
    }

    /// Walks over the fields that can hold a slot.
    fn visit(&mut self, value: &mut dyn FnMut(&mut Value), text: &mut dyn FnMut(&mut Text)) {
        match self {
            Self::Mount { source, target, fstype, data, .. } => {
                [source, fstype, data].into_iter().flatten().for_each(&mut *text);
                text(target);
            }
            Self::Umount2 { target: path, .. }
            | Self::Chroot { path }
            | Self::Chdir { path }
            | Self::Sethostname { name: path }
            | Self::Setdomainname { name: path }
            | Self::MqOpen { name: path, .. }
            | Self::Fsopen { fsname: path, .. } => text(path),
            Self::PivotRoot { new_root, put_old } => {
                text(new_root);
                text(put_old);
            }
            Self::Fsconfig { fd, key, value: to, .. } => {
                value(fd);
                [key, to].into_iter().flatten().for_each(&mut *text);
            }
            Self::MoveMount { from, from_path, to, to_path, .. }
            | Self::Linkat { from, from_path, to, to_path, .. }
            | Self::Renameat2 { from, from_path, to, to_path, .. } => {
                value(from);
                value(to);
                text(from_path);
                text(to_path);
            }
            Self::OpenTree { dir, path, .. }
            | Self::MountSetattr { dir, path, .. }
            | Self::Openat { dir, path, .. }
            | Self::Openat2 { dir, path, .. }
            | Self::Mkdirat { dir, path, .. }
            | Self::Unlinkat { dir, path, .. }
            | Self::Mknodat { dir, path, .. }
            | Self::Fchmodat { dir, path, .. }
            | Self::Fchownat { dir, path, .. } => {
                value(dir);
                text(path);
            }
            Self::MountIdmap { dir, path, users, .. } => {
                value(dir);
                value(users);
                text(path);
            }
            Self::Symlinkat { target, dir, path } => {
                value(dir);
                text(target);
                text(path);
            }
            Self::Write { fd, data } | Self::SendDatagram { fd, data, .. } => {
                value(fd);
                text(data);
            }
            Self::Dup3 { from, to, .. }
            | Self::Sendfile { to, from, .. }
            | Self::Pread64 { fd: from, offset: to, .. } => {
                value(from);
                value(to);
            }
            Self::Sendto { fd, message } => {
                value(fd);
                message.request.descriptor().into_iter().for_each(value);
            }
            Self::Fsmount { fd, .. }
            | Self::Close { fd }
            | Self::Fchdir { fd }
            | Self::Fcntl { fd, .. }
            | Self::Ioctl { fd, .. }
            | Self::MmapShared { fd, .. }
            | Self::Setns { fd, .. }
            | Self::Recvfrom { fd }
            | Self::Setsockopt { fd, .. }
            | Self::Bind { fd, .. }
            | Self::ReceiveDatagram { fd }
            | Self::Kill { pid: fd, .. }
            | Self::PidfdOpen { pid: fd }
            | Self::PidfdSendSignal { pidfd: fd, .. }
            | Self::Waitid { pid: fd, .. } => value(fd),
            Self::Bpf(Bpf::AttachDeviceProgram { target, program }) => {
                value(target);
                value(program);
            }
            Self::Bpf(Bpf::LoadDeviceProgram { license, .. }) => text(license),
            Self::Clone3 { cgroup, .. } => cgroup.iter_mut().for_each(value),
            Self::Execve { path, argv, envp } => {
                text(path);
                argv.iter_mut().chain(envp).for_each(text);
            }
            Self::Umask { .. }
            | Self::CloseRange { .. }
            | Self::Unshare { .. }
            | Self::RtSigprocmask { .. }
            | Self::ClockNanosleep { .. }
            | Self::Msgget { .. }
            | Self::Shmget { .. }
            | Self::Setsid
            | Self::Setgroups { .. }
            | Self::Setresuid { .. }
            | Self::Setresgid { .. }
            | Self::Prctl(_)
            | Self::Capset { .. }
            | Self::DatagramSocket
            | Self::Socket { .. } => {}
        }
    }
}

impl fmt::Display for Lowered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::with_capacity(96);
        for (index, arg) in self.args.iter().enumerate() {
            out.push_str(if index == 0 { "" } else { ", " });
            arg.print(&mut out);
        }
        write!(f, "{}({out})", self.name)
    }
}

/// Exactly what `strace -a1` prints, up to the closing bracket.
impl fmt::Display for Syscall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lower().fmt(f)
    }
}
