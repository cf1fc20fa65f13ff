//! Volumes as the user writes them: `SRC:DST[:ro]`, and `--tmpfs DST[:OPTIONS]`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::concepts::run::args::RunArgs;
use crate::concepts::run::furnish::FOLDERS;
use crate::concepts::run::volumes::{Place, Tmpfs, Volume};
use crate::error::{Error, Result};
use crate::image::merged::MergedView;
use crate::plan::calls::mount::HARMLESS;
use crate::sys::Text;
use crate::sys::flags::MsFlags;

/// The volumes of the command line.
pub fn settle(args: &RunArgs, view: &MergedView, unknown: bool) -> Result<Vec<Volume>> {
    args.volumes.iter().map(|typed| volume(typed, view, unknown)).collect()
}

fn refuse(typed: &OsStr, rule: impl Into<crate::error::Text>) -> Error {
    Error::new(format!("volume {} is refused", typed.display()))
        .rule(rule)
        .remedy("write -v SRC:DST or -v SRC:DST:ro")
        .chapter("9")
}

fn volume(typed: &OsString, view: &MergedView, unknown: bool) -> Result<Volume> {
    let mut parts: Vec<&[u8]> = typed.as_bytes().split(|byte| *byte == b':').collect();
    let read_only = match parts.get(2) {
        Some(&b"ro") => true,
        None | Some(&b"rw") => false,
        Some(other) => {
            return Err(refuse(
                typed,
                format!("the option {:?} is not known", String::from_utf8_lossy(other)),
            ));
        }
    };
    if parts.len() < 2 || parts.len() > 3 {
        return Err(refuse(typed, "a source and a target are wanted, with a colon between them"));
    }
    parts.truncate(2);
    let (source, target) = (Path::new(OsStr::from_bytes(parts[0])), Path::new(OsStr::from_bytes(parts[1])));
    if source.as_os_str().is_empty() || !source.to_string_lossy().contains('/') && source != Path::new(".") {
        return Err(refuse(
            typed,
            "the source must be a path of the host; volumes with names do not exist here",
        ));
    }
    let target = check_target(typed, target)?;
    let real = source.canonicalize().map_err(|cause| {
        Error::io(format!("cannot use {} as a volume", source.display()), &cause)
            .remedy("make it first: what does not exist is not made for you, so that a typing error stays visible")
            .chapter("9")
    })?;
    let make = if unknown { Vec::new() } else { places(&target, !real.is_dir(), view)? };
    let relative = real.strip_prefix("/").map_or_else(|_| real.clone(), Path::to_path_buf);
    let source = if relative.as_os_str().is_empty() { Text::from(".") } else { relative.into() };
    Ok(Volume { source, target: target.into(), make, read_only, source_flags: mount_flags(&real) })
}

/// A target is absolute, is not the root itself, and has no `..` in it.
fn check_target(typed: &OsStr, target: &Path) -> Result<PathBuf> {
    if !target.is_absolute() {
        return Err(refuse(typed, "the target must be an absolute path of the container"));
    }
    if target.components().any(|part| part == Component::ParentDir) {
        return Err(refuse(typed, "the target must not contain `..`"));
    }
    let clean: PathBuf = target.components().collect();
    if clean == Path::new("/") {
        return Err(refuse(typed, "the target cannot be the root itself"));
    }
    if ["/proc", "/sys"].iter().any(|kernel| clean.starts_with(kernel)) {
        return Err(refuse(
            typed,
            "a volume cannot lie in /proc or /sys: it would hide what is protected there",
        ));
    }
    Ok(clean)
}

/// The mount points that have to be made: directories, and the last one a file if a file is mounted on it.
fn places(target: &Path, is_file: bool, view: &MergedView) -> Result<Vec<Place>> {
    let mut places: Vec<Place> = missing_parts(target, view)?.into_iter().map(Place::Directory).collect();
    if is_file && let Some(Place::Directory(last)) = places.pop() {
        places.push(Place::File(last));
    }
    Ok(places)
}

/// The part of a path that the image lacks, outermost first.
pub fn missing_parts(path: &Path, view: &MergedView) -> Result<Vec<PathBuf>> {
    // /dev is a file system of the container's own, whose content is known.
    let mut missing = Vec::new();
    for ancestor in path.ancestors() {
        let known = ["/dev"].iter().chain(&FOLDERS).any(|made| ancestor == Path::new(made));
        let hidden = ancestor.starts_with("/dev") && !known;
        if ancestor == Path::new("/") || known || (!hidden && view.lookup(ancestor)?.is_some()) {
            break;
        }
        missing.push(ancestor.to_owned());
    }
    missing.reverse();
    Ok(missing)
}

/// The flags of the mount that holds a path: a remount must repeat them.
fn mount_flags(path: &Path) -> MsFlags {
    use rustix::fs::StatVfsMountFlags as Vfs;
    let Ok(stat) = rustix::fs::statvfs(path) else { return MsFlags::empty() };
    let table = [
        (Vfs::NOSUID, MsFlags::MS_NOSUID),
        (Vfs::NODEV, MsFlags::MS_NODEV),
        (Vfs::NOEXEC, MsFlags::MS_NOEXEC),
        (Vfs::NOATIME, MsFlags::MS_NOATIME),
        (Vfs::NODIRATIME, MsFlags::MS_NODIRATIME),
        (Vfs::RELATIME, MsFlags::MS_RELATIME),
    ];
    table
        .into_iter()
        .filter(|(vfs, _)| stat.f_flag.contains(*vfs))
        .fold(MsFlags::empty(), |all, (_, flag)| all | flag)
}

/// The `--tmpfs` options of the command line.
pub fn settle_tmpfs(args: &RunArgs, view: &MergedView, unknown: bool) -> Result<Vec<Tmpfs>> {
    args.tmpfs.iter().map(|typed| tmpfs(typed, view, unknown)).collect()
}

/// Options are flags of the mount and options of tmpfs(5); Docker's default is `nosuid,nodev,noexec`.
fn tmpfs(typed: &str, view: &MergedView, unknown: bool) -> Result<Tmpfs> {
    let (target, given) = typed.split_once(':').unwrap_or((typed, ""));
    let target = check_target(OsStr::new(typed), Path::new(target))?;
    let (mut flags, mut options) = (HARMLESS, vec!["mode=1777"]);
    for option in given.split(',').filter(|option| !option.is_empty()) {
        match option {
            "rw" | "nosuid" | "nodev" | "noexec" => {}
            "ro" => flags |= MsFlags::MS_RDONLY,
            "exec" => flags -= MsFlags::MS_NOEXEC,
            "suid" => flags -= MsFlags::MS_NOSUID,
            _ if ["size=", "mode=", "uid=", "gid=", "nr_inodes="]
                .iter()
                .any(|known| option.starts_with(known)) =>
            {
                if option.starts_with("mode=") {
                    options.retain(|known| !known.starts_with("mode="));
                }
                options.push(option);
            }
            _ => {
                return Err(Error::new(format!("--tmpfs {typed} is refused"))
                    .rule(format!("the option {option:?} is not known"))
                    .remedy("known are rw, ro, exec, noexec, suid, nosuid, nodev, size=, mode=, uid=, gid=, nr_inodes="));
            }
        }
    }
    let make = if unknown { Vec::new() } else { places(&target, false, view)? };
    Ok(Tmpfs { target: target.into(), make, flags, options: options.join(",") })
}
