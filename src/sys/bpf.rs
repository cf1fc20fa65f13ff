//! Programs for the kernel's virtual machine, eBPF: one instruction, how it is stored, and how it is read.
//!
//! Only what a device program needs can be made here; what can be read is a little more, because programs of
//! others are shown too. Encoding and names: Documentation/bpf/standardization/instruction-set.rst of the
//! kernel; the words are those of the kernel's own listing (kernel/bpf/disasm.c).

pub mod loaded;

use std::fmt;

use serde::{Deserialize, Serialize};

/// One of the eleven registers. `r1` holds the address of what the program is asked about when it begins, `r0`
/// its answer when it ends.
pub type Register = u8;

/// One instruction: 8 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Insn {
    /// What is done: its class in the low three bits.
    pub code: u8,
    /// The register that is changed or compared.
    pub dst: Register,
    /// The register that is read.
    pub src: Register,
    /// The offset of a load, or the distance of a jump in instructions.
    pub off: i16,
    /// A number.
    pub imm: i32,
}

/// Bytes of an instruction.
pub const SIZE: usize = 8;

const LDX: u8 = 0x01;
const ALU: u8 = 0x04;
const JMP: u8 = 0x05;
const JMP32: u8 = 0x06;
const ALU64: u8 = 0x07;
/// Whether the second operand is a register and not the number.
const X: u8 = 0x08;
const MEM: u8 = 0x60;

impl Insn {
    /// `dst = *(u32 *)(src + off)`.
    #[must_use]
    pub const fn load_word(dst: Register, src: Register, off: i16) -> Self {
        Self { code: LDX | MEM, dst, src, off, imm: 0 }
    }

    /// `dst = src`, the low 32 bits; the upper ones become 0, as with all that follow.
    #[must_use]
    pub const fn copy(dst: Register, src: Register) -> Self {
        Self { code: ALU | X | 0xb0, dst, src, off: 0, imm: 0 }
    }

    /// `dst &= imm`.
    #[must_use]
    pub const fn and(dst: Register, imm: i32) -> Self {
        Self { code: ALU | 0x50, dst, src: 0, off: 0, imm }
    }

    /// `dst >>= imm`.
    #[must_use]
    pub const fn shift_right(dst: Register, imm: i32) -> Self {
        Self { code: ALU | 0x70, dst, src: 0, off: 0, imm }
    }

    /// `dst = imm`.
    #[must_use]
    pub const fn set(dst: Register, imm: i32) -> Self {
        Self { code: ALU64 | 0xb0, dst, src: 0, off: 0, imm }
    }

    /// `if dst != imm goto` so many instructions behind the next one.
    #[must_use]
    pub const fn unless(dst: Register, imm: i32, off: i16) -> Self {
        Self { code: JMP | 0x50, dst, src: 0, off, imm }
    }

    /// The end; the answer is in `r0`.
    #[must_use]
    pub const fn exit() -> Self {
        Self { code: JMP | 0x90, dst: 0, src: 0, off: 0, imm: 0 }
    }

    /// As the kernel reads it: `struct bpf_insn`. The registers share a byte as C's bit fields do, so that their order
    /// is that of the machine's bytes.
    #[must_use]
    pub fn bytes(&self) -> [u8; SIZE] {
        let registers =
            if cfg!(target_endian = "little") { self.dst | self.src << 4 } else { self.dst << 4 | self.src };
        let [off_0, off_1] = self.off.to_ne_bytes();
        let [imm_0, imm_1, imm_2, imm_3] = self.imm.to_ne_bytes();
        [self.code, registers, off_0, off_1, imm_0, imm_1, imm_2, imm_3]
    }

    /// The opposite of [`bytes`](Self::bytes).
    #[must_use]
    pub const fn from_bytes(bytes: [u8; SIZE]) -> Self {
        let (low, high) = (bytes[1] & 0xf, bytes[1] >> 4);
        let (dst, src) = if cfg!(target_endian = "little") { (low, high) } else { (high, low) };
        Self {
            code: bytes[0],
            dst,
            src,
            off: i16::from_ne_bytes([bytes[2], bytes[3]]),
            imm: i32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
        }
    }
}

/// The sign of a calculation, where it has one.
const fn operator(code: u8) -> Option<&'static str> {
    Some(match code & 0xf0 {
        0x00 => "+=",
        0x10 => "-=",
        0x20 => "*=",
        0x30 => "/=",
        0x40 => "|=",
        0x50 => "&=",
        0x60 => "<<=",
        0x70 => ">>=",
        0x90 => "%=",
        0xa0 => "^=",
        0xb0 => "=",
        0xc0 => "s>>=",
        _ => return None,
    })
}

/// The sign of a comparison, where it has one.
const fn comparison(code: u8) -> Option<&'static str> {
    Some(match code & 0xf0 {
        0x10 => "==",
        0x20 => ">",
        0x30 => ">=",
        0x40 => "&",
        0x50 => "!=",
        0x60 => "s>",
        0x70 => "s>=",
        0xa0 => "<",
        0xb0 => "<=",
        0xc0 => "s<",
        0xd0 => "s<=",
        _ => return None,
    })
}

/// As the kernel lists it; what is not known is shown as its bytes.
impl fmt::Display for Insn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, dst, src, off, imm } = *self;
        let class = code & 0x07;
        let wide = if matches!(class, ALU | JMP32) { 'w' } else { 'r' };
        let by_register = code & X != 0;
        match class {
            LDX if code & 0xe0 == MEM => {
                let size = ["u32", "u16", "u8", "u64"][usize::from(code >> 3 & 3)];
                write!(f, "r{dst} = *({size} *)(r{src} {off:+})")
            }
            ALU | ALU64 if by_register && operator(code).is_some() => {
                write!(f, "{wide}{dst} {} {wide}{src}", operator(code).unwrap_or_default())
            }
            ALU | ALU64 if operator(code).is_some() => {
                write!(f, "{wide}{dst} {} {imm}", operator(code).unwrap_or_default())
            }
            JMP if code == JMP | 0x90 => f.write_str("exit"),
            JMP if code == JMP => write!(f, "goto pc{off:+}"),
            JMP | JMP32 if comparison(code).is_some() => {
                let sign = comparison(code).unwrap_or_default();
                if by_register {
                    write!(f, "if {wide}{dst} {sign} {wide}{src} goto pc{off:+}")
                } else {
                    write!(f, "if {wide}{dst} {sign} {imm:#x} goto pc{off:+}")
                }
            }
            _ => write!(f, "({code:02x}) dst=r{dst} src=r{src} off={off} imm={imm:#x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_survives_being_stored() {
        let all = [
            Insn::load_word(2, 1, 4),
            Insn::copy(3, 2),
            Insn::and(2, 0xffff),
            Insn::shift_right(3, 16),
            Insn::set(0, -1),
            Insn::unless(4, 136, 3),
            Insn::exit(),
        ];
        for insn in all {
            assert_eq!(Insn::from_bytes(insn.bytes()), insn, "{insn}");
        }
    }

    #[test]
    fn an_instruction_reads_as_the_kernel_lists_it() {
        let listed = [
            (Insn::load_word(2, 1, 0), "r2 = *(u32 *)(r1 +0)"),
            (Insn::copy(3, 2), "w3 = w2"),
            (Insn::and(2, 65535), "w2 &= 65535"),
            (Insn::shift_right(3, 16), "w3 >>= 16"),
            (Insn::set(0, 1), "r0 = 1"),
            (Insn::unless(4, 136, 3), "if r4 != 0x88 goto pc+3"),
            (Insn::exit(), "exit"),
            (Insn { code: 0x85, dst: 0, src: 0, off: 0, imm: 14 }, "(85) dst=r0 src=r0 off=0 imm=0xe"),
            (Insn { code: 0x1e, dst: 1, src: 3, off: -2, imm: 0 }, "if w1 == w3 goto pc-2"),
        ];
        for (insn, text) in listed {
            assert_eq!(insn.to_string(), text);
        }
    }
}
