//! The layers behind an overlay mount, as the mount table has them in its options
//! ([overlayfs](https://docs.kernel.org/filesystems/overlayfs.html)).

use super::mounts::Mount;

/// The directories that are merged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stack {
    /// The read-only ones, the topmost first.
    pub lower: Vec<String>,
    /// The writable one; none for a read-only overlay.
    pub upper: Option<String>,
    /// The scratch space of the writable one.
    pub work: Option<String>,
    /// Other options: `userxattr`, `volatile`.
    pub options: Vec<String>,
}

/// The layers of a mount; `None` if it is no overlay.
#[must_use]
pub fn of(mount: &Mount) -> Option<Stack> {
    if mount.fstype != "overlay" {
        return None;
    }
    let mut stack = Stack::default();
    for option in split(&mount.super_options, b',') {
        match option.split_once('=') {
            // Since 6.7 each layer may have an option of its own; `datadir+` are layers of content alone.
            Some(("lowerdir+" | "datadir+", path)) => stack.lower.push(unescaped(path)),
            Some(("lowerdir", paths)) => {
                let all = split(paths, b':').into_iter().filter(|path| !path.is_empty());
                stack.lower.extend(all.map(unescaped));
            }
            Some(("upperdir", path)) => stack.upper = Some(unescaped(path)),
            Some(("workdir", path)) => stack.work = Some(unescaped(path)),
            _ => stack.options.push(option.to_owned()),
        }
    }
    Some(stack)
}

/// The parts between a separator that no backslash protects.
fn split(text: &str, separator: u8) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut from, mut escaped) = (0, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            _ if byte == separator => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts
}

fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        out.extend(if letter == '\\' { letters.next() } else { Some(letter) });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(options: &str) -> Stack {
        let line = format!("1 0 0:1 / / rw - overlay overlay {options}");
        of(&Mount::parse(line.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn layers_are_listed_from_the_top() {
        let found = stack("rw,lowerdir=/c:/b\\134:x:/a,upperdir=/u,workdir=/w,userxattr");
        assert_eq!(found.lower, ["/c", "/b:x", "/a"]);
        assert_eq!((found.upper.as_deref(), found.work.as_deref()), (Some("/u"), Some("/w")));
        assert_eq!(found.options, ["rw", "userxattr"]);
    }

    #[test]
    fn newer_kernels_name_each_layer_by_itself() {
        assert_eq!(stack("ro,lowerdir+=/b,lowerdir+=/a,datadir+=/d").lower, ["/b", "/a", "/d"]);
        assert_eq!(stack("ro,lowerdir=/a::/d").lower, ["/a", "/d"]);
        assert_eq!(stack("ro,lowerdir=/a").upper, None);
    }

    #[test]
    fn another_file_system_has_no_layers() {
        assert_eq!(of(&Mount::parse(b"1 0 0:1 / / rw - tmpfs tmpfs rw").unwrap()), None);
    }
}
