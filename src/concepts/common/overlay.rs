//! A mount of overlayfs: which directories, with which options, and in which way the kernel is told of them.
//!
//! mount(2) takes all options as one string and copies one page of it. Layers of long paths do not fit, and then
//! there are two other ways: to name each layer by a call of its own, where the kernel can (fsconfig(2) with
//! `lowerdir+`, since Linux 6.7, 255 bytes a path), or to give each a short name by a symbolic link.

use crate::error::{Error, Result};
use crate::plan::{Call, calls};
use crate::probe::Host;
use crate::sys::flags::{FsconfigCmd, FsmountFlags, FsopenFlags, MountAttr, MoveMountFlags, MsFlags};
use crate::sys::{Syscall, Text, Value};

/// What mount(2) copies of its options: a page, with a NUL byte at its end.
const PAGE: usize = 4095;
/// The longest value that fsconfig(2) takes.
const LONGEST: usize = 255;
/// The most lower layers that overlayfs takes (`OVL_MAX_STACK`).
pub const MOST: usize = 500;

/// The file system that is being configured.
const CONFIG: &str = "overlay";
/// Its mount, attached nowhere yet.
const MOUNT: &str = "overlay mount";

/// The directories of an overlay and how it is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    /// The lower layers, the topmost first.
    pub lower: Vec<Text>,
    /// The writable layer.
    pub upper: Text,
    /// The scratch space, on the same mount as the writable layer.
    pub work: Text,
    /// Where it is mounted.
    pub target: Text,
    /// `volatile`, `userxattr`, `redirect_dir=off`.
    pub options: Vec<&'static str>,
    /// Flags of the mount.
    pub flags: MsFlags,
    /// What short names begin with, from the working directory on: nothing, or a folder and a slash.
    pub links: &'static str,
}

/// In which way the kernel is told of the layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By their paths, in the options of mount(2).
    Paths,
    /// One by one, with fsconfig(2).
    OneByOne,
    /// By symbolic links with short names, in the options of mount(2), for this reason.
    Links(&'static str),
}

impl Way {
    // ANCHOR: choose
    /// Paths, where they fit in a page; one by one, where the kernel can; short names otherwise.
    pub fn choose(stack: &Stack, host: &Host) -> Self {
        let longest = stack.lower.iter().chain([&stack.upper, &stack.work]).map(Text::len).max();
        if stack.data(&stack.paths()).len() <= PAGE {
            Self::Paths
        } else if !host.kernel_at_least(6, 7) {
            Self::Links("naming them one by one (lowerdir+) exists since Linux 6.7")
        } else if longest.is_some_and(|longest| longest > LONGEST) {
            Self::Links("fsconfig takes no path of more than 255 bytes")
        } else {
            Self::OneByOne
        }
    }
    // ANCHOR_END: choose

    /// Which way was taken and why, for the notes of a plan.
    pub fn note(self) -> String {
        let too_long = "layers: their paths do not fit in the one page that mount(2) takes";
        match self {
            Self::Paths => "layers: their paths fit in one page, which is what mount(2) takes".to_owned(),
            Self::OneByOne => format!("{too_long}, so each is named by a call of its own (fsconfig)"),
            Self::Links(because) => format!("{too_long}, so each gets a short name: {because}"),
        }
    }
}

impl Stack {
    /// What can be said before the kernel is asked.
    pub fn check(&self) -> Result<()> {
        if self.lower.len() <= MOST {
            return Ok(());
        }
        Err(Error::new(format!("cannot stack {} layers", self.lower.len()))
            .rule(format!("overlayfs takes {MOST} lower directories and no more"))
            .remedy("merge some of them into one")
            .chapter("8"))
    }

    /// The calls that mount it.
    pub fn calls(&self, way: Way) -> Vec<Call> {
        match way {
            Way::Paths => vec![self.mount(&self.paths())],
            Way::OneByOne => self.configured(),
            Way::Links(_) => self.linked(),
        }
    }

    /// Lower layers, upper and work, as the option string needs them.
    fn paths(&self) -> (Vec<Text>, [Text; 2]) {
        (self.lower.iter().map(escape).collect(), [escape(&self.upper), escape(&self.work)])
    }

    /// The option string.
    fn data(&self, (lower, [upper, work]): &(Vec<Text>, [Text; 2])) -> Text {
        let mut data = Text::from("lowerdir=");
        for (index, layer) in lower.iter().enumerate() {
            data = data.then(if index == 0 { "" } else { ":" }).then(layer.clone());
        }
        data = data.then(",upperdir=").then(upper.clone()).then(",workdir=").then(work.clone());
        self.options.iter().fold(data, |data, option| data.then(",").then(*option))
    }

    fn mount(&self, paths: &(Vec<Text>, [Text; 2])) -> Call {
        let data = Some(self.data(paths));
        calls::mount::new("overlay", self.target.clone(), self.flags, data).into()
    }

    /// A short name for each absolute path. What is relative to the working directory is short already.
    fn linked(&self) -> Vec<Call> {
        let mut all = Vec::new();
        let mut short = |path: &Text, name: String| {
            if !path.known().is_some_and(|path| path.starts_with(b"/")) {
                return escape(path);
            }
            let name = Text::from(format!("{}{name}", self.links));
            all.push(calls::symlink(path.clone(), name.clone()).into());
            name
        };
        let lower = self.lower.iter().enumerate();
        let lower = lower.map(|(index, layer)| short(layer, (index + 1).to_string())).collect();
        let own = [short(&self.upper, "upper".to_owned()), short(&self.work, "work".to_owned())];
        let mount = self.mount(&(lower, own));
        all.push(mount);
        all
    }

    fn configured(&self) -> Vec<Call> {
        let fsopen = Syscall::Fsopen { fsname: "overlay".into(), flags: FsopenFlags::FSOPEN_CLOEXEC };
        let mut all = vec![Call::from(fsopen).into_slot(CONFIG), set("source", &"overlay".into())];
        // What begins with a plus is taken as it is. The others are read as in the option string.
        all.extend(self.lower.iter().map(|layer| set("lowerdir+", layer)));
        all.extend([set("upperdir", &escape(&self.upper)), set("workdir", &escape(&self.work))]);
        all.extend(self.options.iter().map(|option| match option.split_once('=') {
            Some((key, value)) => set(key, &value.into()),
            None => config(FsconfigCmd::FSCONFIG_SET_FLAG, Some(option), None),
        }));
        all.push(config(FsconfigCmd::FSCONFIG_CMD_CREATE, None, None));
        let (flags, attr) = (FsmountFlags::FSMOUNT_CLOEXEC, attributes(self.flags));
        all.push(Call::from(Syscall::Fsmount { fd: Value::later(CONFIG), flags, attr }).into_slot(MOUNT));
        all.push(Call::from(Syscall::MoveMount {
            from: Value::later(MOUNT),
            from_path: "".into(),
            to: Value::CWD,
            to_path: self.target.clone(),
            flags: MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
        }));
        all.extend([calls::close(MOUNT), calls::close(CONFIG)]);
        all
    }
}

fn set(key: &str, value: &Text) -> Call {
    config(FsconfigCmd::FSCONFIG_SET_STRING, Some(key), Some(value.clone()))
}

fn config(cmd: FsconfigCmd, key: Option<&str>, value: Option<Text>) -> Call {
    Syscall::Fsconfig { fd: Value::later(CONFIG), cmd, key: key.map(Into::into), value }.into()
}

/// The same flags, as the newer calls spell them.
fn attributes(flags: MsFlags) -> MountAttr {
    let pairs = [
        (MsFlags::MS_NOSUID, MountAttr::MOUNT_ATTR_NOSUID),
        (MsFlags::MS_NODEV, MountAttr::MOUNT_ATTR_NODEV),
        (MsFlags::MS_NOEXEC, MountAttr::MOUNT_ATTR_NOEXEC),
        (MsFlags::MS_RDONLY, MountAttr::MOUNT_ATTR_RDONLY),
    ];
    pairs.into_iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, attribute)| attribute).collect()
}

/// In overlayfs' option string a colon separates layers, a comma options, and a backslash protects both.
pub fn escape(path: &Text) -> Text {
    match path.known() {
        Some(bytes) => {
            let mut escaped = Vec::with_capacity(bytes.len());
            for byte in bytes {
                if matches!(byte, b':' | b',' | b'\\') {
                    escaped.push(b'\\');
                }
                escaped.push(byte);
            }
            Text::bytes(&escaped)
        }
        None => path.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(layers: usize, path: &str) -> Stack {
        Stack {
            lower: (0..layers).map(|number| Text::from(format!("{path}{number}"))).collect(),
            upper: "/o/upper".into(),
            work: "/o/work".into(),
            target: "merged".into(),
            options: vec!["userxattr"],
            flags: MsFlags::MS_NODEV,
            links: "l/",
        }
    }

    fn texts(stack: &Stack, way: Way) -> Vec<String> {
        stack.calls(way).iter().map(|call| call.syscall.to_string()).collect()
    }

    fn host(major: u32, minor: u32) -> Host {
        let mut host = Host::default();
        host.kernel = (major, minor);
        host
    }

    #[test]
    fn the_way_depends_on_the_page_the_kernel_and_the_longest_path() {
        assert_eq!(Way::choose(&stack(3, "/layer"), &host(5, 10)), Way::Paths);
        let many = stack(500, "/a/layer/");
        assert_eq!(Way::choose(&many, &host(6, 7)), Way::OneByOne);
        assert!(matches!(Way::choose(&many, &host(6, 6)), Way::Links(why) if why.contains("6.7")));
        let deep = stack(20, &format!("/{}/", "x".repeat(255)));
        assert!(matches!(Way::choose(&deep, &host(6, 7)), Way::Links(why) if why.contains("255")));
        assert!(many.check().is_ok() && stack(501, "/").check().is_err());
    }

    #[test]
    fn separators_in_paths_are_protected() {
        let text = &texts(&stack(1, "/a:b,c\\"), Way::Paths)[0];
        assert!(
            text.contains(r#""lowerdir=/a\\:b\\,c\\\\0,upperdir=/o/upper,workdir=/o/work,userxattr""#),
            "{text}"
        );
    }

    #[test]
    fn one_by_one_each_layer_is_a_call() {
        let all = texts(&stack(2, "/a:"), Way::OneByOne);
        assert_eq!(all[2], r#"fsconfig(<overlay>, FSCONFIG_SET_STRING, "lowerdir+", "/a:0", 0)"#);
        assert_eq!(all[6], r#"fsconfig(<overlay>, FSCONFIG_SET_FLAG, "userxattr", NULL, 0)"#);
        assert_eq!(all.len(), 2 + 2 + 2 + 1 + 1 + 2 + 2);
        assert!(all[8].contains("MOUNT_ATTR_NODEV"), "{}", all[8]);
    }

    #[test]
    fn only_absolute_paths_get_short_names() {
        let mut stack = stack(2, "/a/");
        stack.lower.insert(0, "init".into());
        let all = texts(&stack, Way::Links(""));
        assert_eq!(all[0], r#"symlinkat("/a/0", AT_FDCWD, "l/2")"#, "counted from the topmost, named or not");
        let last = all.last().unwrap();
        assert!(
            last.contains(r#""lowerdir=init:l/2:l/3,upperdir=l/upper,workdir=l/work,userxattr""#),
            "{last}"
        );
    }
}
