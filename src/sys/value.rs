//! Values that a plan holds before it runs: known ones, and those that only exist once a call has returned.
//!
//! A descriptor or a pid is not known while planning. It gets a name, a [`Slot`]; the call that produces it
//! stores it there, and later calls refer to it. `--explain` prints the name in angle brackets.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The name of a value that exists only once the plan runs, for example `child pid`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Slot(pub Cow<'static, str>);

impl Slot {
    /// A slot with this name.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.0)
    }
}

/// What the slots hold, filled while the plan runs.
#[derive(Debug, Clone, Default)]
pub struct Slots(HashMap<Slot, i64>);

impl Slots {
    /// Stores the result of a call.
    pub fn set(&mut self, slot: &Slot, value: i64) {
        self.0.insert(slot.clone(), value);
    }

    /// Reads a slot; `None` until its call has returned.
    #[must_use]
    pub fn get(&self, slot: &Slot) -> Option<i64> {
        self.0.get(slot).copied()
    }
}

/// A number (descriptor, pid) that is known while planning or later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Value {
    /// Known while planning.
    Known(i64),
    /// Produced by an earlier call of the plan.
    Later(Slot),
}

impl Value {
    /// `AT_FDCWD`: relative paths start at the working directory.
    pub const CWD: Self = Self::Known(libc::AT_FDCWD as i64);

    /// The value that a call will store in the slot of this name.
    #[must_use]
    pub const fn later(name: &'static str) -> Self {
        Self::Later(Slot::new(name))
    }

    /// The same value with its slot read; unchanged if the slot is still empty.
    #[must_use]
    pub fn resolve(&self, slots: &Slots) -> Self {
        match self {
            Self::Later(slot) => slots.get(slot).map_or_else(|| self.clone(), Self::Known),
            Self::Known(_) => self.clone(),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(number) => number.fmt(f),
            Self::Later(slot) => slot.fmt(f),
        }
    }
}

impl From<i32> for Value {
    fn from(value: i32) -> Self {
        Self::Known(value.into())
    }
}

impl From<Slot> for Value {
    fn from(slot: Slot) -> Self {
        Self::Later(slot)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Piece {
    Text(String),
    Bytes(Vec<u8>),
    Later(Slot),
}

/// A path or a buffer, in bytes, that may hold slots: `/proc/<child pid>/uid_map`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Text(Vec<Piece>);

impl Text {
    /// Bytes that are known while planning.
    #[must_use]
    pub fn bytes(bytes: &[u8]) -> Self {
        Self(vec![match std::str::from_utf8(bytes) {
            Ok(text) => Piece::Text(text.to_owned()),
            Err(_) => Piece::Bytes(bytes.to_vec()),
        }])
    }

    /// Appends bytes.
    #[must_use]
    pub fn then(mut self, text: impl Into<Self>) -> Self {
        self.0.extend(text.into().0);
        self
    }

    /// Appends the decimal number that a slot will hold.
    #[must_use]
    pub fn then_later(mut self, slot: Slot) -> Self {
        self.0.push(Piece::Later(slot));
        self
    }

    /// The same text with its slots read.
    #[must_use]
    pub fn resolve(&self, slots: &Slots) -> Self {
        let all = self.0.iter().map(|piece| match piece {
            Piece::Later(slot) => {
                slots.get(slot).map_or_else(|| piece.clone(), |value| Piece::Text(value.to_string()))
            }
            known => known.clone(),
        });
        Self(all.collect())
    }

    /// The bytes, if no slot is left in them.
    #[must_use]
    pub fn known(&self) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => bytes.extend_from_slice(text.as_bytes()),
                Piece::Bytes(raw) => bytes.extend_from_slice(raw),
                Piece::Later(_) => return None,
            }
        }
        Some(bytes)
    }

    /// The path that these bytes name, if no slot is left in them.
    #[must_use]
    pub fn known_path(&self) -> Option<PathBuf> {
        self.known().map(|bytes| PathBuf::from(OsString::from_vec(bytes)))
    }

    /// How many bytes it will have, slots counting as their longest decimal form.
    #[must_use]
    pub fn len(&self) -> usize {
        let sizes = self.0.iter().map(|piece| match piece {
            Piece::Text(text) => text.len(),
            Piece::Bytes(raw) => raw.len(),
            Piece::Later(_) => 10,
        });
        sizes.sum()
    }

    /// Whether it has no bytes at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes the bytes as strace quotes a string, slots in angle brackets.
    pub fn quote(&self, out: &mut String) {
        out.push('"');
        for (index, piece) in self.0.iter().enumerate() {
            // Whether a digit follows decides how short an octal escape may be, as in C.
            let next = self.0.get(index + 1).and_then(|next| match next {
                Piece::Text(text) => text.bytes().next(),
                Piece::Bytes(raw) => raw.first().copied(),
                Piece::Later(_) => None,
            });
            match piece {
                Piece::Text(text) => escape(text.as_bytes(), next, out),
                Piece::Bytes(raw) => escape(raw, next, out),
                Piece::Later(slot) => out.push_str(&slot.to_string()),
            }
        }
        out.push('"');
    }
}

/// Escapes bytes as strace does: C escapes for the usual control characters, octal for the rest.
fn escape(bytes: &[u8], after: Option<u8>, out: &mut String) {
    use fmt::Write;
    for (index, byte) in bytes.iter().enumerate() {
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\t' => out.push_str("\\t"),
            b'\r' => out.push_str("\\r"),
            0x0b => out.push_str("\\v"),
            0x0c => out.push_str("\\f"),
            0x20..=0x7e => out.push(char::from(*byte)),
            _ => {
                let next = bytes.get(index + 1).copied().or(after);
                let digit_follows = next.is_some_and(|next| next.is_ascii_digit());
                // Writing to a String cannot fail.
                let _ = if digit_follows { write!(out, "\\{byte:03o}") } else { write!(out, "\\{byte:o}") };
            }
        }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::bytes(text.as_bytes())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(vec![Piece::Text(text)])
    }
}

impl From<&Path> for Text {
    fn from(path: &Path) -> Self {
        Self::bytes(path.as_os_str().as_bytes())
    }
}

impl From<PathBuf> for Text {
    fn from(path: PathBuf) -> Self {
        path.as_path().into()
    }
}

impl From<&PathBuf> for Text {
    fn from(path: &PathBuf) -> Self {
        path.as_path().into()
    }
}

impl From<&OsStr> for Text {
    fn from(text: &OsStr) -> Self {
        Self::bytes(text.as_bytes())
    }
}

/// Paths in a journal or recording: as [`Text`], so that names that are not UTF-8 pass through unharmed.
pub mod path {
    use std::path::{Path, PathBuf};

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Text;

    /// Writes a path.
    pub fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
        Text::from(path).serialize(to)
    }

    /// Reads a path.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
        let text = Text::deserialize(from)?;
        text.known_path().ok_or_else(|| D::Error::custom("a path with an unknown part"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(text: &Text) -> String {
        let mut out = String::new();
        text.quote(&mut out);
        out
    }

    #[test]
    fn quotes_as_strace_does() {
        assert_eq!(quoted(&Text::bytes(b"a\"b\\\n\t\x01\x7f")), r#""a\"b\\\n\t\1\177""#);
        assert_eq!(quoted(&Text::bytes(b"\x011")), r#""\0011""#, "three digits before a digit");
        assert_eq!(quoted(&Text::bytes(b"\xff")), r#""\377""#);
    }

    #[test]
    fn a_slot_is_shown_by_name_until_it_is_known() {
        let path = Text::from("/proc/").then_later(Slot::new("child pid")).then("/uid_map");
        assert_eq!(quoted(&path), r#""/proc/<child pid>/uid_map""#);
        assert_eq!(path.known(), None);
        let mut slots = Slots::default();
        slots.set(&Slot::new("child pid"), 42);
        assert_eq!(path.resolve(&slots).known_path(), Some("/proc/42/uid_map".into()));
    }
}
