//! Settling: what the new root is, how it is reached, and what this host lets be shown.
//!
//! Everything that can be found out without changing anything is found out here, so that most mistakes change
//! nothing: a directory that is none, a program that the new root does not have, a story that cannot be told.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use clap::ValueEnum;

use crate::concepts::Context;
use crate::concepts::common::command::Command;
use crate::concepts::common::picture::{self, Picture};
use crate::error::{Error, Result, exit};
use crate::image::merged::MergedView;
use crate::image::reference::{self, Reference};
use crate::probe::ns::KINDS;
use crate::probe::root::Identity;
use crate::probe::{Host, mounts};
use crate::sys::Errno;
use crate::sys::flags::{Capability, CloneFlags};

use super::tree::Tree;
use super::{ChrootArgs, Way};

/// Where the new root comes from.
pub enum Root {
    /// A directory of the user's.
    Directory,
    /// A tree of a few programs of this machine.
    Tree(Tree),
    /// The layers of an image.
    Image(Box<Picture>),
}

impl Root {
    /// The digest of the image, for those who would remove it.
    pub fn uses(&self) -> Option<String> {
        match self {
            Self::Image(picture) => picture.uses.clone(),
            _ => None,
        }
    }
}

/// Which story is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Story {
    Enter,
    Escape(Way),
    /// With the ways out that are tried at its end.
    Pivot(Vec<Way>),
}

/// A directory in the new root that a story needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inside {
    /// Its name.
    pub name: OsString,
    /// Whether the child makes it, because what it makes there ends with it.
    pub by_child: bool,
}

/// Everything about the new root, with every question answered.
pub struct Cell {
    pub title: String,
    pub notes: Vec<String>,
    pub root: Root,
    pub story: Story,
    /// The new root, as a path of the host.
    pub path: PathBuf,
    /// The directory on which it is put together.
    pub base: Option<PathBuf>,
    /// Directories that are made in the user's directory.
    pub made: Vec<PathBuf>,
    /// The directory below which the second chroot leads.
    pub jail: Option<Inside>,
    /// Where /proc is mounted.
    pub proc: Option<Inside>,
    /// Why no proc can be mounted in there.
    pub no_proc: Option<&'static str>,
    /// What `pivot_root` answers while the new root is no mount point; nothing where it is one already.
    pub not_mounted: Option<Errno>,
    /// Whether the link to the root of process 1 leads out of the new root. If not, a process that stays outside is
    /// needed.
    pub first_is_outside: bool,
    /// Whether process 1 is visible in /proc.
    pub first_is_visible: bool,
    /// Whether a user namespace is refused after a chroot because it is one, and for no other reason.
    pub may_unshare: std::result::Result<(), &'static str>,
    /// Whether the working directory is outside of the new root.
    pub stands_outside: bool,
    pub rootless: bool,
    pub may_chroot: bool,
    pub uid: u32,
    pub gid: u32,
    /// The namespaces that are made with the child.
    pub kinds: CloneFlags,
    /// Every kind that this kernel has.
    pub all_kinds: CloneFlags,
    /// What the child becomes at the end.
    pub end: Option<Command>,
}

/// Whether an image is meant, and not a directory that is to be the root as it is.
pub fn is_image(typed: &OsStr) -> bool {
    !Path::new(typed).is_dir() || reference::looks_like_image(Path::new(typed))
}

impl Cell {
    /// Settles everything. Reads only.
    pub fn settle(args: &ChrootArgs, context: &Context) -> Result<Self> {
        let here = &context.here;
        let story = story(args);
        let words = words(args);
        let (root, base, path) = root(args, &story, words.as_ref(), context)?;
        let kinds = kinds(&root, &story);
        let (may_chroot, rootless) = privilege(here, kinds);
        refuse_impossible(&story, rootless, here)?;
        let mut made = Vec::new();
        let jail = story.needs(Way::DoubleChroot).then(|| jail(&root, &path, &mut made)).transpose()?;
        let proc = story.needs_proc().then(|| proc(&root, &path, &mut made)).transpose()?;
        let end = words.map(|words| end(&words, &root, &path, &story)).transpose()?.flatten();
        Ok(Self {
            title: title(args),
            notes: notes(&root, rootless),
            jail,
            proc,
            no_proc: no_proc(rootless, &story, here),
            not_mounted: not_mounted(base.as_ref().unwrap_or(&path), rootless, here),
            first_is_outside: !rootless && Identity::of_root(Some(1)) == Identity::of_root(None),
            first_is_visible: Path::new("/proc/1").exists(),
            may_unshare: may_unshare(),
            stands_outside: std::env::current_dir().is_ok_and(|dir| !dir.starts_with(&path)),
            may_chroot,
            uid: here.euid,
            gid: here.gid,
            kinds: if rootless { kinds | CloneFlags::CLONE_NEWUSER } else { kinds },
            all_kinds: all_kinds(),
            rootless,
            root,
            story,
            path,
            base,
            made,
            end,
        })
    }

    /// The privileges that the story takes.
    pub fn needs(&self) -> Vec<&'static str> {
        let mut all = Vec::new();
        if !self.rootless {
            all.push("CAP_SYS_CHROOT");
            if !self.kinds.is_empty() {
                all.push("CAP_SYS_ADMIN");
            }
        }
        all
    }

    /// So many steps up lead from the new root to the root outside.
    pub fn up(&self) -> String {
        let depth = self.path.components().filter(|one| matches!(one, Component::Normal(_))).count();
        vec![".."; depth.max(1)].join("/")
    }

    /// The namespaces that the child shares with the host.
    pub fn shared_kinds(&self) -> CloneFlags {
        self.all_kinds.difference(self.kinds)
    }
}

impl Story {
    fn needs(&self, wanted: Way) -> bool {
        match self {
            Self::Enter => false,
            Self::Escape(way) => *way == wanted,
            Self::Pivot(ways) => ways.contains(&wanted),
        }
    }

    /// After a pivot /proc shows the mounts that are left, whatever way out is tried.
    fn needs_proc(&self) -> bool {
        self.needs(Way::Proc) || matches!(self, Self::Pivot(_))
    }
}

fn story(args: &ChrootArgs) -> Story {
    match (args.pivot, args.escape) {
        (true, Some(way)) => Story::Pivot(vec![way]),
        (true, None) => Story::Pivot(vec![Way::Fd, Way::DoubleChroot, Way::Proc]),
        (false, Some(way)) => Story::Escape(way),
        (false, None) => Story::Enter,
    }
}

/// The words of the command at the end. A shell has none: which one there is, is found out.
fn words(args: &ChrootArgs) -> Option<Vec<OsString>> {
    (args.shell || !args.command.is_empty()).then(|| args.command.clone())
}

fn title(args: &ChrootArgs) -> String {
    let mut title = "chroot".to_owned();
    if let Some(root) = &args.root {
        title = format!("{title} {}", root.to_string_lossy());
    }
    if let Some(way) = args.escape.and_then(|way| way.to_possible_value()) {
        title = format!("{title} --escape {}", way.get_name());
    }
    if args.pivot {
        title.push_str(" --pivot");
    }
    title
}

/// The new root, the directory it is put together on, and its path on the host.
fn root(
    args: &ChrootArgs,
    story: &Story,
    words: Option<&Vec<OsString>>,
    context: &Context,
) -> Result<(Root, Option<PathBuf>, PathBuf)> {
    let base = scratch();
    match &args.root {
        None => {
            // After an escape the command is one of the host.
            let inside = words.filter(|_| !matches!(story, Story::Escape(_)));
            let tree = Tree::settle(inside.map(Vec::as_slice), *story == Story::Enter)?;
            Ok((Root::Tree(tree), Some(base.clone()), base))
        }
        Some(typed) if is_image(typed) => {
            let picture = picture::find(Some(typed), context)?;
            Ok((Root::Image(Box::new(picture)), Some(base.clone()), base.join("root")))
        }
        Some(typed) => Ok((Root::Directory, None, directory(typed)?)),
    }
}

/// A path that is neither a directory nor an image: said in the words of this command.
pub fn refuse_others(typed: &OsStr) -> Result<()> {
    const REMEDY: &str = "name a directory, an image, or nothing for a tree that is put together";
    let path = Path::new(typed);
    // A tag may stand behind the path of an image, and a name is looked for in the store.
    let Ok(Reference::Path(reference)) = Reference::parse(typed) else { return Ok(()) };
    let what = || format!("cannot make {} the root", path.display());
    match reference.path.metadata() {
        Err(cause) => Err(Error::io(what(), &cause).remedy(REMEDY)),
        Ok(meta) if !meta.is_dir() && !reference::looks_like_image(&reference.path) => {
            Err(Error::new(what()).rule("it is neither a directory nor an image archive").remedy(REMEDY))
        }
        Ok(_) => Ok(()),
    }
}

fn directory(typed: &OsStr) -> Result<PathBuf> {
    let shown = typed.to_string_lossy().into_owned();
    let failed =
        |cause: std::io::Error| Error::io(format!("cannot make {shown} the root"), &cause).chapter("3");
    let path = Path::new(typed).canonicalize().map_err(failed)?;
    // Looking up a name in it, though it be its own, takes the right that chroot takes too.
    path.join(".").metadata().map_err(|cause| {
        failed(cause)
            .rule("chroot takes the right to search the directory (its x bit)")
            .remedy("chmod +x the directory")
    })?;
    if path == Path::new("/") {
        return Err(Error::new("cannot make / the root")
            .rule("it is the root already: nothing would change, and there would be nothing to show")
            .remedy("name another directory"));
    }
    Ok(path)
}

/// A directory for this story alone, by a path without symbolic links.
fn scratch() -> PathBuf {
    let folder = std::env::temp_dir();
    folder.canonicalize().unwrap_or(folder).join(format!("cutaway-chroot-{}", std::process::id()))
}

/// What must be mounted is mounted in a mount namespace. A plain chroot takes none.
fn kinds(root: &Root, story: &Story) -> CloneFlags {
    let mounts = !matches!(root, Root::Directory) || story.needs_proc();
    let mut kinds = if mounts { CloneFlags::CLONE_NEWNS } else { CloneFlags::empty() };
    if matches!(story, Story::Pivot(_)) {
        kinds |= CloneFlags::CLONE_NEWPID;
    }
    kinds
}

fn all_kinds() -> CloneFlags {
    let all = KINDS.iter().filter(|(_, name)| Path::new("/proc/self/ns").join(name).exists());
    all.map(|(flag, _)| *flag).collect()
}

/// Whether chroot may be called, and whether the story takes a user namespace.
fn privilege(here: &Host, kinds: CloneFlags) -> (bool, bool) {
    let may_chroot = here.capabilities.has(Capability::CAP_SYS_CHROOT);
    let enough = may_chroot && (kinds.is_empty() || here.is_privileged());
    (may_chroot, !enough)
}

fn refuse_impossible(story: &Story, rootless: bool, here: &Host) -> Result<()> {
    if all_kinds().is_empty() {
        return Err(Error::new("cutaway chroot cannot work here")
            .rule("what it shows of a process is read in /proc, and that is not mounted")
            .remedy("as root: mount -t proc proc /proc"));
    }
    if rootless {
        here.user_namespaces().map_err(|why| {
            Error::new("cutaway chroot cannot work here")
                .rule(format!(
                    "without CAP_SYS_CHROOT (and CAP_SYS_ADMIN for mounts) it takes a user namespace: {why}"
                ))
                .remedy("run it as root")
                .chapter("14")
        })?;
    }
    if matches!(story, Story::Pivot(_)) && here.in_chroot() {
        return Err(Error::new("cutaway chroot --pivot cannot work here")
            .rule("pivot_root wants the current root to be a mount point, and this process is in a chroot")
            .remedy("run it outside of the chroot")
            .chapter("6"));
    }
    Ok(())
}

/// What the new root is made of may be written to, so that a directory can be made in it.
fn may_write(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
}

/// The directory for the second chroot: a new one, or where none can be made any other.
fn jail(root: &Root, path: &Path, made: &mut Vec<PathBuf>) -> Result<Inside> {
    if !matches!(root, Root::Directory) {
        return Ok(Inside { name: "jail".into(), by_child: true });
    }
    if may_write(path) {
        let name = OsString::from(format!("jail-{}", std::process::id()));
        made.push(path.join(&name));
        return Ok(Inside { name, by_child: false });
    }
    let entries = path.read_dir().into_iter().flatten().flatten();
    let mut folders: Vec<OsString> = entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()) && entry.path().join(".").exists())
        .map(|entry| entry.file_name())
        .collect();
    folders.sort();
    let name = folders.into_iter().next().ok_or_else(|| {
        Error::new(format!("there is no way out of {} by a second chroot", path.display()))
            .rule("it takes a directory inside: there is none, and you may not make one")
            .remedy("try --escape fd, or another directory")
            .chapter("4")
    })?;
    Ok(Inside { name, by_child: false })
}

/// The directory for /proc.
fn proc(root: &Root, path: &Path, made: &mut Vec<PathBuf>) -> Result<Inside> {
    let name = OsString::from("proc");
    match root {
        Root::Tree(_) => return Ok(Inside { name, by_child: true }),
        // Its own layer has one.
        Root::Image(_) => return Ok(Inside { name, by_child: false }),
        Root::Directory => {}
    }
    let at = path.join("proc");
    match at.symlink_metadata() {
        Ok(meta) if meta.is_dir() => {}
        Ok(_) => {
            return Err(Error::new(format!("nothing can be mounted on {}", at.display()))
                .rule("it is no directory, and a symbolic link would lead to a place of the host")
                .remedy("name another directory"));
        }
        Err(_) if may_write(path) => made.push(at),
        Err(cause) => {
            return Err(Error::io(format!("nothing can be mounted on {}", at.display()), &cause)
                .rule("the story mounts /proc inside: there is no directory for it, and you may not make one")
                .remedy("make it, or name another directory"));
        }
    }
    Ok(Inside { name, by_child: false })
}

/// A proc of an own pid namespace shows all of its files. In a user namespace the kernel mounts one only where
/// the one that is mounted already shows all of them too (`mount_too_revealing` in `fs/namespace.c`).
fn no_proc(rootless: bool, story: &Story, here: &Host) -> Option<&'static str> {
    // A file system on this directory covers nothing.
    let harmless = Path::new("/proc/sys/fs/binfmt_misc");
    let covers = |mount: &&mounts::Mount| {
        mount.at.starts_with("/proc") && mount.at != Path::new("/proc") && mount.at != harmless
    };
    let covered = here.mounts().iter().any(|mount| covers(&mount));
    (rootless && covered && matches!(story, Story::Pivot(_))).then_some(
        "parts of the host's /proc are covered, and then the kernel lets no user namespace mount one that is not",
    )
}

/// What the kernel says of a new root that is no mount of its own: EBUSY on the root mount, EINVAL on another. In
/// a user namespace all mounts are locked that were copied into it: EINVAL (`path_pivot_root` in
/// `fs/namespace.c`).
fn not_mounted(path: &Path, rootless: bool, here: &Host) -> Option<Errno> {
    let table = here.mounts();
    if table.iter().any(|mount| mount.at == path) {
        return None;
    }
    let on_root = mounts::holding(table, path).is_none_or(|mount| mount.at == Path::new("/"));
    Some(if on_root && !rootless { Errno::EBUSY } else { Errno::EINVAL })
}

fn may_unshare() -> std::result::Result<(), &'static str> {
    let limit = std::fs::read_to_string("/proc/sys/user/max_user_namespaces").unwrap_or_default();
    if limit.trim() == "0" {
        return Err("the sysctl user.max_user_namespaces is 0, so that the kernel would refuse it anywhere");
    }
    if !Path::new("/proc/self/ns/user").exists() {
        return Err("this kernel has no user namespaces, or /proc is not mounted");
    }
    Ok(())
}

fn notes(root: &Root, rootless: bool) -> Vec<String> {
    let mut notes = Vec::new();
    if rootless {
        notes.push("as an ordinary user: in a user namespace, where you are root".to_owned());
    }
    notes.push(match root {
        Root::Directory => "the new root: the directory as it is".to_owned(),
        Root::Tree(_) => "the new root: a tree in memory, made of files of this machine".to_owned(),
        Root::Image(picture) => format!("the new root: the layers of {}, merged by overlayfs", picture.title),
    });
    notes
}

/// The shells that are looked for, in this order.
const SHELLS: [&str; 2] = ["/bin/bash", "/bin/sh"];

/// What the child becomes: a program of the new root, or after an escape one of the host.
fn end(words: &[OsString], root: &Root, path: &Path, story: &Story) -> Result<Option<Command>> {
    if matches!(story, Story::Escape(_)) {
        return if words.is_empty() { first_shell(&Command::find) } else { Command::find(words) };
    }
    let view = match root {
        Root::Tree(tree) => return tree.command(words).map(Some),
        Root::Directory => MergedView::new(&[path.to_path_buf()])?,
        Root::Image(picture) if picture.unknown.is_some() => return Ok(Some(unknown(words))),
        Root::Image(picture) => MergedView::new(&picture.layers)?,
    };
    let find = |words: &[OsString]| Command::find_in(&view, words);
    if words.is_empty() { first_shell(&find) } else { find(words) }
}

/// In an explanation of an image that is not unpacked yet.
fn unknown(words: &[OsString]) -> Command {
    match words.first() {
        None => Command::new(SHELLS[1], &[SHELLS[1].into()]),
        Some(name) if name.as_bytes().contains(&b'/') => Command::new(name.as_os_str(), words),
        Some(name) => Command::new(format!("<{} in PATH>", name.to_string_lossy()), words),
    }
}

fn first_shell(find: &dyn Fn(&[OsString]) -> Result<Option<Command>>) -> Result<Option<Command>> {
    for shell in SHELLS {
        if let Ok(Some(found)) = find(&[shell.into()]) {
            return Ok(Some(found));
        }
    }
    Err(Error::new("there is no shell in the new root")
        .rule("it has neither /bin/bash nor /bin/sh, and those of the host are not in there")
        .remedy("copy a shell and the libraries that it loads into it, or name an image")
        .chapter("3")
        .exit(exit::NOT_FOUND))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::mounts::parse;

    #[test]
    fn a_new_root_that_is_no_mount_is_refused_in_two_ways() {
        let table =
            b"1 0 8:1 / / rw - ext4 a rw\n2 1 0:2 / /tmp rw - tmpfs b rw\n3 1 0:3 / /srv/r rw - ext4 c rw\n";
        let here = Host::default().with_mounts(parse(table));
        assert_eq!(not_mounted(Path::new("/srv/x"), false, &here), Some(Errno::EBUSY));
        assert_eq!(not_mounted(Path::new("/srv/x"), true, &here), Some(Errno::EINVAL));
        assert_eq!(not_mounted(Path::new("/tmp/x"), false, &here), Some(Errno::EINVAL));
        assert_eq!(not_mounted(Path::new("/srv/r"), false, &here), None);
    }

    #[test]
    fn a_covered_proc_stops_user_namespaces_only() {
        let table = b"1 0 8:1 / / rw - ext4 a rw\n2 1 0:2 / /proc rw - proc b rw\n3 2 0:3 / /proc/kcore rw - tmpfs c rw\n";
        let here = Host::default().with_mounts(parse(table));
        let pivot = Story::Pivot(vec![Way::Fd]);
        assert!(no_proc(true, &pivot, &here).is_some());
        assert_eq!(no_proc(false, &pivot, &here), None);
        assert_eq!(no_proc(true, &Story::Enter, &here), None);
    }

    #[test]
    fn a_directory_without_a_proc_gets_one_and_a_link_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut made = Vec::new();
        proc(&Root::Directory, dir.path(), &mut made).unwrap();
        assert_eq!(made, [dir.path().join("proc")]);
        std::os::unix::fs::symlink("/proc", dir.path().join("proc")).unwrap();
        assert!(proc(&Root::Directory, dir.path(), &mut made).is_err());
    }
}
