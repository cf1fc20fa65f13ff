//! The kernel itself: one function that performs any [`Syscall`].
//!
//! The C library's wrappers are not used, because they do other things than their names say: `mknod` may be
//! `mknodat`, `setresuid` signals every thread, `exit` runs handlers. `syscall(2)` does what it is told.

use std::ffi::CString;

use nix::errno::Errno;

use super::arg::{Arg, Part};
use super::syscall::Syscall;
use super::value::{Text, Value};

/// What a successful call returned.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Returned {
    /// The number in the return register.
    pub value: i64,
    /// The bytes that the kernel wrote into the call's room for an answer.
    pub answer: Vec<u8>,
}

/// Something that performs system calls: the kernel, or a fake one in tests.
pub trait Kernel {
    /// Performs one call.
    ///
    /// # Errors
    /// The errno that the call failed with.
    fn call(&mut self, call: &Syscall) -> Result<Returned, Errno>;
}

/// The running kernel.
#[derive(Debug, Clone, Copy, Default)]
pub struct Linux;

/// Owns the memory that the registers of one call point into.
#[derive(Default)]
struct Memory {
    strings: Vec<CString>,
    bytes: Vec<Vec<u8>>,
    pointers: Vec<Vec<*const libc::c_char>>,
    room: Option<usize>,
}

impl Memory {
    /// The register for an argument. Every pointer handed out points into memory that `self` owns.
    fn register(&mut self, arg: &Arg) -> Result<usize, Errno> {
        Ok(match arg {
            Arg::Null => 0,
            Arg::Number(Value::Known(number)) | Arg::Dir(Value::Known(number)) => {
                usize::from_ne_bytes(number.to_ne_bytes())
            }
            // A plan that uses a slot before the call that fills it is refused by `Plan::check`.
            Arg::Number(Value::Later(_)) | Arg::Dir(Value::Later(_)) => return Err(Errno::EBADF),
            Arg::Size(size) | Arg::Word { bits: size, .. } => {
                usize::try_from(*size).map_err(|_| Errno::EINVAL)?
            }
            Arg::Mode(mode) => *mode as usize,
            Arg::Str(text) => self.string(text)?,
            Arg::Bytes(text) => self.buffer(text.known().ok_or(Errno::EBADF)?),
            Arg::Struct { bytes, .. } => self.buffer(bytes.clone()),
            Arg::Parts { parts, .. } => {
                let mut whole = Vec::new();
                for part in parts {
                    match part {
                        Part::Bytes(bytes) => whole.extend(bytes),
                        Part::To(bytes) => {
                            whole.extend((self.buffer(bytes.clone()) as u64).to_ne_bytes());
                        }
                    }
                }
                self.buffer(whole)
            }
            Arg::Room { size, .. } => {
                self.room = Some(self.bytes.len());
                self.buffer(vec![0; *size])
            }
            Arg::Argv(strings) | Arg::Envp(strings) => {
                let mut vector = Vec::with_capacity(strings.len() + 1);
                for text in strings {
                    vector.push(std::ptr::with_exposed_provenance(self.string(text)?));
                }
                vector.push(std::ptr::null());
                self.pointers.push(vector);
                self.pointers.last().map_or(0, |vector| vector.as_ptr().expose_provenance())
            }
        })
    }

    fn string(&mut self, text: &Text) -> Result<usize, Errno> {
        let bytes = text.known().ok_or(Errno::EBADF)?;
        // A name with a NUL byte cannot exist; the kernel would silently see a shorter one.
        self.strings.push(CString::new(bytes).map_err(|_| Errno::EINVAL)?);
        Ok(self.strings.last().map_or(0, |string| string.as_ptr().expose_provenance()))
    }

    fn buffer(&mut self, bytes: Vec<u8>) -> usize {
        self.bytes.push(bytes);
        self.bytes.last_mut().map_or(0, |bytes| bytes.as_mut_ptr().expose_provenance())
    }
}

impl Kernel for Linux {
    fn call(&mut self, call: &Syscall) -> Result<Returned, Errno> {
        let lowered = call.lower();
        let mut memory = Memory::default();
        let mut r = [0_usize; 6];
        for (register, arg) in r.iter_mut().zip(&lowered.args) {
            *register = memory.register(arg)?;
        }
        // SAFETY: every pointer among the registers points into `memory`, which outlives the call, and has
        // the size and layout that the man page of this call asks for (`Syscall::lower` builds them). The
        // calls that duplicate the process (clone3 without CLONE_VM) return twice, each time on a stack of
        // its own, as fork(2) does; the engine makes them only while the process has one thread.
        #[allow(unsafe_code)]
        let value = unsafe { libc::syscall(lowered.number, r[0], r[1], r[2], r[3], r[4], r[5]) };
        let value = Errno::result(value)?;
        let mut answer = memory.room.map(|room| memory.bytes.swap_remove(room)).unwrap_or_default();
        answer.truncate(usize::try_from(value).unwrap_or(0));
        Ok(Returned { value, answer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::flags::{Access, OFlags};

    #[test]
    fn performs_what_it_prints() {
        let open = Syscall::Openat {
            dir: Value::CWD,
            path: "/dev/null".into(),
            access: Access::O_WRONLY,
            flags: OFlags::O_CLOEXEC,
            mode: 0,
        };
        assert_eq!(open.to_string(), r#"openat(AT_FDCWD, "/dev/null", O_WRONLY|O_CLOEXEC)"#);
        let fd = Value::Known(Linux.call(&open).unwrap().value);
        let write = Syscall::Write { fd: fd.clone(), data: "abc".into() };
        assert_eq!(Linux.call(&write).unwrap().value, 3);
        assert_eq!(Linux.call(&Syscall::Close { fd }).unwrap().value, 0);
        // Not `fd` once more: by now it may be the number of a descriptor of another test's thread, and whoever loses
        // a directory's while it is read, aborts.
        let never = Syscall::Close { fd: Value::Known(-1) };
        assert_eq!(Linux.call(&never), Err(Errno::EBADF));
    }

    #[test]
    fn a_name_with_a_nul_byte_never_reaches_the_kernel() {
        let chdir = Syscall::Chdir { path: Text::bytes(b"/\0tmp") };
        assert_eq!(Linux.call(&chdir), Err(Errno::EINVAL));
    }
}
