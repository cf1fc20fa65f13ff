//! What the kernel says of the programs that are attached to a group: which, and what is in them
//! ([bpf(2)](https://man7.org/linux/man-pages/man2/bpf.2.html), `struct bpf_prog_info` of linux/bpf.h).
//!
//! Asking changes nothing. It needs `CAP_NET_ADMIN`, and for the instructions `CAP_SYS_ADMIN`.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;

use super::Insn;
use crate::sys::process::adopt;

const BPF_PROG_GET_FD_BY_ID: libc::c_long = 13;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_PROG_QUERY: libc::c_long = 16;
/// The attach type of programs that decide on devices.
pub const CGROUP_DEVICE: u32 = 6;
/// The kernel attaches no more to one group (`BPF_CGROUP_MAX_PROGS`).
const MOST_PROGRAMS: u32 = 64;
/// Room for instructions: enough for every program that is made here; of a longer one the beginning is shown.
const MOST_BYTES: u32 = 4096 * 8;

/// `union bpf_attr` for `BPF_PROG_QUERY`, up to the number of programs.
#[repr(C)]
#[allow(clippy::struct_field_names, reason = "the names of linux/bpf.h")]
struct Query {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
}

/// `union bpf_attr` for `BPF_PROG_GET_FD_BY_ID`.
#[repr(C)]
struct ById {
    prog_id: u32,
    next_id: u32,
    open_flags: u32,
}

/// `union bpf_attr` for `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct InfoByFd {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// `struct bpf_prog_info`, up to the address of the instructions.
#[repr(C)]
#[derive(Default)]
struct Info {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    jited_prog_len: u32,
    xlated_prog_len: u32,
    jited_prog_insns: u64,
    xlated_prog_insns: u64,
}

/// Bytes of that.
const INFO_SIZE: u32 = 40;
const _: () = assert!(size_of::<Info>() == INFO_SIZE as usize);

/// One request of bpf(2).
///
/// # Safety
/// `attr` must be the structure of this command, and every address in it must be valid for what the command reads
/// or writes there.
#[allow(unsafe_code)]
unsafe fn bpf<T>(command: libc::c_long, attr: &mut T) -> Result<i32, Errno> {
    // SAFETY: the size is that of the structure, which lives until the call returns; the rest is the caller's promise.
    let value = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attr, size_of::<T>()) };
    Errno::result(value).and_then(|value| i32::try_from(value).map_err(|_| Errno::EOVERFLOW))
}

/// The numbers of the device programs that are attached to the group of this directory.
///
/// # Errors
/// `EINVAL` where the kernel was built without programs for groups, `EPERM` without `CAP_NET_ADMIN`, `EBADF` for a
/// descriptor that is no group of version 2.
pub fn device_programs(group: BorrowedFd<'_>) -> Result<Vec<u32>, Errno> {
    let mut ids = vec![0_u32; MOST_PROGRAMS as usize];
    let mut query = Query {
        target_fd: group.as_raw_fd().cast_unsigned(),
        attach_type: CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr().expose_provenance() as u64,
        prog_cnt: MOST_PROGRAMS,
        padding: 0,
    };
    // SAFETY: the structure is that of the command, and there is room for `prog_cnt` numbers at `prog_ids`.
    #[allow(unsafe_code)]
    unsafe { bpf(BPF_PROG_QUERY, &mut query) }?;
    ids.truncate(query.prog_cnt as usize);
    Ok(ids)
}

/// The program of this number.
///
/// # Errors
/// `ENOENT` where there is none (any more), `EPERM` without `CAP_SYS_ADMIN`.
pub fn program(id: u32) -> Result<OwnedFd, Errno> {
    let mut attr = ById { prog_id: id, next_id: 0, open_flags: 0 };
    // SAFETY: the structure is that of the command, and holds no address.
    #[allow(unsafe_code)]
    unsafe { bpf(BPF_PROG_GET_FD_BY_ID, &mut attr) }.map(adopt)
}

/// The instructions of a program as the kernel has them; none where it does not tell.
///
/// # Errors
/// `EPERM` where the caller may not ask.
pub fn instructions(program: BorrowedFd<'_>) -> Result<Vec<Insn>, Errno> {
    let mut room = vec![0_u8; MOST_BYTES as usize];
    let mut info = Info {
        xlated_prog_len: MOST_BYTES,
        xlated_prog_insns: room.as_mut_ptr().expose_provenance() as u64,
        ..Info::default()
    };
    let mut attr = InfoByFd {
        bpf_fd: program.as_raw_fd().cast_unsigned(),
        info_len: INFO_SIZE,
        info: (&raw mut info).expose_provenance() as u64,
    };
    // SAFETY: the structures are those of the command; at `info` is room for `info_len` bytes, and at the address in it
    // for `xlated_prog_len`. Both live until the call returns.
    #[allow(unsafe_code)]
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr) }?;
    // The kernel takes the address away where it does not tell the instructions.
    let told = if info.xlated_prog_insns == 0 { 0 } else { info.xlated_prog_len as usize };
    room.truncate(told);
    Ok(room.as_chunks().0.iter().map(|bytes| Insn::from_bytes(*bytes)).collect())
}
