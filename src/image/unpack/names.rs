//! Names in a layer: cleaned into components, recognised as whiteouts, and shown safely.
//!
//! A name in an archive is bytes. `/a/./b/../c` means `a/c` below the image's root: absolute names begin there and
//! `..` cannot leave it, as if the archive were unpacked with the image as `/`. This is separate because it is pure
//! text: nothing here knows what exists.

/// The prefix of the OCI image specification for "this name of a lower layer is gone".
const WHITEOUT: &[u8] = b".wh.";

/// The name that makes its directory opaque.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// How many links a name may lead through before it is taken for a loop; the kernel's own number.
pub const MOST_LINKS: u32 = 40;

/// The components of a name or of a link's target, without those that stay where they are.
pub fn components(name: &[u8]) -> impl Iterator<Item = Box<[u8]>> {
    let parts = name.split(|&byte| byte == b'/');
    parts.filter(|part| !part.is_empty() && part != b".").map(Box::from)
}

/// What a last component asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning<'a> {
    /// To make something of this name.
    Real(&'a [u8]),
    /// To hide this name of the lower layers.
    Whiteout(&'a [u8]),
    /// To hide everything that lower layers have in this directory.
    Opaque,
    /// Nothing: AUFS kept its own data under such names.
    Aufs,
    /// Nothing that could be done: the name to hide is missing, `.` or `..`.
    Forbidden,
}

/// What the last component of a name means.
pub fn meaning(component: &[u8]) -> Meaning<'_> {
    if component == OPAQUE {
        return Meaning::Opaque;
    }
    match component.strip_prefix(WHITEOUT) {
        None => Meaning::Real(component),
        Some(b"" | b"." | b"..") => Meaning::Forbidden,
        Some(hidden) if hidden.starts_with(WHITEOUT) => Meaning::Aufs,
        Some(hidden) => Meaning::Whiteout(hidden),
    }
}

/// Cleans a name into `clean`: components apart by one slash, none empty, `.` or `..`; returns whether there was a
/// `..`. The empty result is the root.
///
/// This is done before links are looked at, as Go's `filepath.Clean` does for the other tools that unpack images:
/// `link/../x` is `x`, wherever `link` leads.
pub fn clean(name: &[u8], clean: &mut Vec<u8>) -> bool {
    clean.clear();
    let mut dotdot = false;
    for component in name.split(|&byte| byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => {
                dotdot = true;
                let parent = clean.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
                clean.truncate(parent);
            }
            _ => {
                if !clean.is_empty() {
                    clean.push(b'/');
                }
                clean.extend_from_slice(component);
            }
        }
    }
    dotdot
}

/// A clean name as its directory and its last component.
pub fn split(clean: &[u8]) -> (&[u8], &[u8]) {
    match clean.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&clean[..slash], &clean[slash + 1..]),
        None => (b"", clean),
    }
}

/// A name for people: UTF-8 as it is, control characters and other bytes escaped, the middle of long ones left out.
#[must_use]
pub fn shown(name: &[u8]) -> String {
    const ENOUGH: usize = 200;
    if name.len() > ENOUGH {
        let (head, tail) = (&name[..ENOUGH / 2], &name[name.len() - ENOUGH / 4..]);
        return format!("{}…{} ({} bytes)", shown(head), shown(tail), name.len());
    }
    shown_whole(name)
}

/// The same with nothing left out.
#[must_use]
pub fn shown_whole(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                // U+202A… and the like turn the direction of a line around and let it read as something else.
                '\u{200b}'..='\u{200f}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
                | '\\'
                | '"'
                | '`' => {
                    text.extend(character.escape_default());
                }
                _ if character.is_control() => text.extend(character.escape_default()),
                _ => text.push(character),
            }
        }
        text.push_str(&chunk.invalid().escape_ascii().to_string());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_below_the_root() {
        let mut into = Vec::new();
        for (name, expected, dotdot) in [
            ("a/b", "a/b", false),
            ("./a//b/", "a/b", false),
            ("/etc/passwd", "etc/passwd", false),
            ("../../etc", "etc", true),
            ("a/../../b", "b", true),
            ("a/b/../c", "a/c", true),
            ("a/..", "", true),
            (".", "", false),
            ("", "", false),
            ("/", "", false),
            ("...", "...", false),
        ] {
            assert_eq!(clean(name.as_bytes(), &mut into), dotdot, "{name}");
            assert_eq!(into, expected.as_bytes(), "{name}");
        }
        assert_eq!(split(b"a/b/c"), (&b"a/b"[..], &b"c"[..]));
        assert_eq!(split(b"c"), (&b""[..], &b"c"[..]));
    }

    #[test]
    fn whiteouts_are_told_from_names() {
        assert_eq!(meaning(b"a"), Meaning::Real(b"a"));
        assert_eq!(meaning(b".wh"), Meaning::Real(b".wh"));
        assert_eq!(meaning(b".wh.a"), Meaning::Whiteout(b"a"));
        assert_eq!(meaning(b".wh..hidden"), Meaning::Whiteout(b".hidden"));
        assert_eq!(meaning(b".wh..wh..opq"), Meaning::Opaque);
        assert_eq!(meaning(b".wh..wh.plnk"), Meaning::Aufs);
        for name in [&b".wh."[..], b".wh..", b".wh..."] {
            assert_eq!(meaning(name), Meaning::Forbidden);
        }
    }

    #[test]
    fn odd_bytes_are_shown_escaped() {
        assert_eq!(shown("größe".as_bytes()), "größe");
        assert_eq!(shown(b"a\xff\n\x1b[31m"), "a\\xff\\n\\u{1b}[31m");
        assert_eq!(shown("a\u{202e}b".as_bytes()), "a\\u{202e}b");
        assert!(shown(&[b'x'; 5000]).ends_with("(5000 bytes)"));
    }
}
