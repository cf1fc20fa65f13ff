//! Devices as the user writes them: `--device SRC[:DST][:rwm]`, and `--device-cgroup-rule RULE`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use super::volume::missing_parts;
use crate::concepts::Context;
use crate::concepts::common::amount;
use crate::concepts::common::devices::{self, Kind, Rule};
use crate::concepts::run::args::RunArgs;
use crate::concepts::run::furnish::{self, Device};
use crate::error::{Error, Result};
use crate::image::merged::MergedView;
use crate::probe::Place;
use crate::sys::syscall::Node;

/// The devices of the command line.
pub fn settle(args: &RunArgs, view: &MergedView, rootless: bool) -> Result<Vec<Device>> {
    let mut all: Vec<Device> = Vec::new();
    for typed in &args.devices {
        let device = device(typed, view, rootless)?;
        if all.iter().any(|other| other.inside == device.inside) {
            return Err(refuse(typed, "another device has that path already"));
        }
        all.push(device);
    }
    Ok(all)
}

fn refuse(typed: &OsStr, rule: impl Into<crate::error::Text>) -> Error {
    Error::new(format!("device {} is refused", typed.display()))
        .rule(rule)
        .remedy("write --device /dev/NAME, --device SRC:DST or --device SRC:DST:rwm")
        .chapter("28")
}

fn device(typed: &OsString, view: &MergedView, rootless: bool) -> Result<Device> {
    let parts: Vec<&OsStr> = typed.as_bytes().split(|byte| *byte == b':').map(OsStr::from_bytes).collect();
    let (source, inside, letters) = match parts.as_slice() {
        [source] => (source, source, None),
        // What is no path is the access: `--device /dev/fuse:rw`.
        [source, last] if !last.as_bytes().contains(&b'/') => (source, source, Some(last)),
        [source, inside] => (source, inside, None),
        [source, inside, letters] => (source, inside, Some(letters)),
        _ => {
            return Err(refuse(
                typed,
                "a device, a path inside and an access are wanted, with colons between them",
            ));
        }
    };
    let access = match letters {
        None => devices::READ | devices::WRITE | devices::MKNOD,
        Some(_) if rootless => {
            return Err(refuse(
                typed,
                "as an ordinary user nothing can be taken from what the node itself allows you",
            ));
        }
        Some(letters) => devices::access_of(&letters.to_string_lossy()).map_err(|_| {
            refuse(typed, "the access is letters of r (read), w (write) and m (make the node)")
        })?,
    };
    let source = Path::new(source).canonicalize().and_then(|path| path.metadata().map(|meta| (path, meta)));
    let (source, meta) = source.map_err(|cause| {
        Error::io(format!("cannot use {} as a device", typed.display()), &cause)
            .remedy("name a device node of this host, such as /dev/fuse")
            .chapter("28")
    })?;
    let (major, minor) = (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
    let (kind, node) = if meta.file_type().is_char_device() {
        (Kind::Char, Node::Char(major, minor))
    } else if meta.file_type().is_block_device() {
        (Kind::Block, Node::Block(major, minor))
    } else {
        return Err(refuse(typed, "it is no device node"));
    };
    let inside = check_inside(typed, Path::new(inside))?;
    let rule = Rule { kind, major: Some(major), minor: Some(minor), access };
    let folders = missing_parts(inside.parent().unwrap_or(&inside), view)?;
    Ok(Device {
        source,
        folders,
        node,
        mode: meta.mode() & 0o777,
        owner: (meta.uid(), meta.gid()),
        rule,
        inside,
    })
}

/// A device lies below /dev, which is the container's own and empty but for what is known.
fn check_inside(typed: &OsStr, inside: &Path) -> Result<PathBuf> {
    if inside.components().any(|part| part == Component::ParentDir) {
        return Err(refuse(typed, "the path inside must not contain `..`"));
    }
    let clean: PathBuf = inside.components().collect();
    if !clean.starts_with("/dev") || clean == Path::new("/dev") {
        return Err(refuse(typed, "inside, a device lies below /dev"));
    }
    if furnish::is_taken(&clean) {
        return Err(refuse(typed, format!("{} is the container's own already", clean.display())));
    }
    Ok(clean)
}

/// Which devices the container's group allows: the harmless ones, and what was asked for. None as an ordinary user,
/// who can set no rules; there, no file system that was mounted inside opens a device node.
pub fn rules(args: &RunArgs, devices: &[Device], context: &Context) -> Result<Vec<Rule>> {
    const FLAG: &str = "--device-cgroup-rule";
    let mut asked = Vec::new();
    for typed in &args.device_rules {
        asked.push(typed.parse::<Rule>().map_err(|why| amount::refuse(FLAG, typed, why))?);
    }
    let privileged = context.here.is_privileged();
    let restricted = devices.iter().any(|device| !device.rule.is_whole());
    if !asked.is_empty() || restricted {
        let flag = if asked.is_empty() { "--device with an access" } else { FLAG };
        if let Place::Nowhere(why) = context.here.cgroups().place(devices::CONTROLLER, privileged) {
            return Err(Error::new(format!("{flag} cannot be kept here")).rule(why).chapter("28"));
        }
    }
    if !privileged {
        return Ok(Vec::new());
    }
    let own = devices.iter().map(|device| device.rule.clone());
    Ok(devices::joined(devices::harmless().into_iter().chain(own).chain(asked)))
}
