//! One argument of a system call: the same value is printed for people and handed to the kernel.
//!
//! This is where the first promise of the project is kept by construction. A call is lowered to a list of
//! these arguments once; the notation is made from that list, and the registers are made from that list.

use std::fmt::Write;

use super::flags::Word;
use super::value::{Text, Value};

/// An argument, in the form that both the notation and the kernel need.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant's line says what its fields are")]
pub enum Arg {
    /// A null pointer.
    Null,
    /// A signed number, a pid or a descriptor.
    Number(Value),
    /// A directory descriptor, where -100 is `AT_FDCWD`.
    Dir(Value),
    /// A size or another unsigned number.
    Size(u64),
    /// File mode bits, printed in octal.
    Mode(u32),
    /// A constant or a flag word, with the text strace gives it.
    Word { bits: u64, text: String },
    /// A pointer to a NUL-terminated string.
    Str(Text),
    /// A pointer to bytes whose length is an argument of its own.
    Bytes(Text),
    /// A pointer to a structure: its bytes, and strace's text for it.
    Struct { bytes: Vec<u8>, text: String },
    /// A pointer to a structure that itself holds pointers: its parts, and strace's text for it.
    Parts { parts: Vec<Part>, text: String },
    /// A pointer to room for an answer of so many bytes, with the text that stands for it.
    Room { size: usize, text: String },
    /// A NULL-terminated vector of strings (`argv`).
    Argv(Vec<Text>),
    /// A NULL-terminated vector of strings of which only the number is printed (`envp`).
    Envp(Vec<Text>),
}

/// A part of a structure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Bytes of the structure itself.
    Bytes(Vec<u8>),
    /// A 64-bit field with the address of these bytes.
    To(Vec<u8>),
}

impl Part {
    /// How many bytes of the structure it takes.
    #[must_use]
    pub const fn size(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::To(_) => size_of::<u64>(),
        }
    }
}

impl Arg {
    /// A string or, if there is none, a null pointer.
    #[must_use]
    pub fn optional(text: Option<&Text>) -> Self {
        text.map_or(Self::Null, |text| Self::Str(text.clone()))
    }

    /// A flag word in strace's form: names joined by `|`, unknown bits in hexadecimal, `0` when empty.
    pub fn flags(word: &impl Word) -> Self {
        let (bits, names) = word.word();
        let text = if bits == 0 { "0".to_owned() } else { names.join("|") };
        Self::Word { bits, text }
    }

    /// A constant by its name.
    #[must_use]
    pub fn named(bits: u64, name: &str) -> Self {
        Self::Word { bits, text: name.to_owned() }
    }

    /// Appends strace's notation.
    pub fn print(&self, out: &mut String) {
        // Writing to a String cannot fail.
        let _ = match self {
            Self::Null => write!(out, "NULL"),
            Self::Dir(Value::Known(fd)) if *fd == i64::from(libc::AT_FDCWD) => write!(out, "AT_FDCWD"),
            Self::Number(Value::Known(number)) | Self::Dir(Value::Known(number)) => write!(out, "{number}"),
            Self::Number(Value::Later(slot)) | Self::Dir(Value::Later(slot)) => write!(out, "{slot}"),
            Self::Size(size) => write!(out, "{size}"),
            Self::Mode(mode) => write!(out, "{}", octal(*mode)),
            Self::Word { text, .. }
            | Self::Struct { text, .. }
            | Self::Parts { text, .. }
            | Self::Room { text, .. } => write!(out, "{text}"),
            Self::Str(text) | Self::Bytes(text) => {
                text.quote(out);
                Ok(())
            }
            Self::Argv(strings) => {
                out.push('[');
                for (index, string) in strings.iter().enumerate() {
                    out.push_str(if index == 0 { "" } else { ", " });
                    string.quote(out);
                }
                write!(out, "]")
            }
            Self::Envp(strings) if strings.len() == 1 => write!(out, "/* 1 var */"),
            Self::Envp(strings) => write!(out, "/* {} vars */", strings.len()),
        };
    }
}

/// Octal as C's `%#03o` has it: `0755`, `044`, `000`.
#[must_use]
pub fn octal(mode: u32) -> String {
    format!("{:0>3}", if mode == 0 { String::new() } else { format!("0{mode:o}") })
}
