//! What `cutaway layers` performs: unpacking the layers to a directory, and copying one file out of one.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use clap::ArgMatches;

use super::{Subject, clean_path, layer_of, parse, words};
use crate::concepts::limits::told;
use crate::concepts::{Context, Stage};
use crate::error::{Error, Result};
use crate::image::listing::{extract as copy, read_one};
use crate::image::unpack::list::{Inode, What};
use crate::image::unpack::{ListOptions, shown};
use crate::plan::{Bulk, Plan, Step};
use crate::report::style;

/// `--unpack DIR`.
pub fn unpack(subject: &Subject) -> Result<Stage> {
    let args = &subject.args;
    let into = args.unpack.clone().unwrap_or_default();
    let into = std::path::absolute(&into)
        .map_err(|cause| Error::io(format!("cannot use {}", into.display()), &cause))?;
    let image = &subject.image;
    let mut plan = Plan::new(format!("layers {} --unpack {}", subject.typed.display(), into.display()));
    plan.notes = vec![
        format!("{}, {}", style::count(image.layers.len(), "layer"), style::bytes(image.layer_bytes())),
        told(&args.limits.limits()),
    ];
    plan.steps.push(
        Step::say("Unpack each layer to a directory of its own")
            .why(
                "Each layer is read once: its digest and diff ID are compared while it is unpacked. A whiteout \
                 becomes a character device 0:0 and an opaque directory gets an attribute, because that is how \
                 overlayfs is told so. If anything does not match, nothing of it stays.",
            )
            .chapter("7")
            .bulk(Bulk::UnpackLayers {
                source: subject.typed.clone(),
                platform: args.platform.clone(),
                into,
                limits: args.limits.limits(),
                state: subject.state.clone(),
            }),
    );
    Ok(plan.into())
}

/// After `--unpack`: how the directories are stacked.
pub fn hint(matches: &ArgMatches, context: &Context) -> Result<Stage> {
    let args = parse(matches)?;
    let quiet = matches!(matches.try_get_one::<bool>("quiet"), Ok(Some(true)));
    let silent = context.explain || context.json || quiet;
    let (Some(into), Some(typed), false) = (&args.unpack, &args.image, silent) else {
        return Ok(Stage::Nothing);
    };
    let image = crate::image::find::find(typed, &context.state, args.platform.as_deref())?;
    Ok(Stage::Report(stacking(image.layers.len(), into, context.here.is_privileged())))
}

/// The command that merges the directories. Their names are short, because mount(2) takes 4096 bytes of options.
fn stacking(layers: usize, into: &Path, privileged: bool) -> String {
    if layers < 2 {
        return format!("one layer needs no merging: the tree is {}\n", into.join("1").display());
    }
    let numbers: Vec<String> = (1..=layers).rev().map(|number| number.to_string()).collect();
    let (inside, userxattr) =
        if privileged { ("", "") } else { (", in namespaces of your own (unshare -Urm)", "userxattr,") };
    format!(
        "to see them merged{inside}, with MNT an empty directory (an absolute path):\n  \
         cd {} && mount -t overlay overlay -o ro,{userxattr}lowerdir={} MNT\n",
        into.display(),
        numbers.join(":")
    )
}

/// `--extract LAYER:PATH`: to stdout as it is read, or as a plan to a file.
pub fn extract(subject: Subject) -> Result<Stage> {
    let typed = subject.args.extract.clone().unwrap_or_default();
    let (layer, path) = split(&typed)?;
    let at = layer_of(&subject.image, &layer)?;
    let offset = locate(&subject, at, &path)?;
    let to = subject.args.output.clone().filter(|to| to.as_os_str() != "-");
    let ratio = subject.args.limits.limits().ratio;
    let Some(to) = to else {
        return Ok(Stage::Stream(Box::new(move |out| copy(&subject.image, at, offset, ratio, out))));
    };
    let to = std::path::absolute(&to)
        .map_err(|cause| Error::io(format!("cannot use {}", to.display()), &cause))?;
    let mut plan = Plan::new(format!("layers {} --extract {}", subject.typed.display(), typed.display()));
    plan.steps.push(
        Step::say("Copy the file out of the layer")
            .why("The layer is read and compared with its digest and diff ID; of its archive, one entry is written.")
            .chapter("7")
            .bulk(Bulk::ExtractFile {
                source: subject.typed.clone(),
                platform: subject.args.platform.clone(),
                layer: at + 1,
                offset,
                ratio,
                to,
                state: subject.state.clone(),
            }),
    );
    Ok(plan.into())
}

/// `LAYER:PATH`; a digest may have its algorithm in front.
fn split(typed: &OsString) -> Result<(OsString, Vec<u8>)> {
    let bytes = typed.as_bytes();
    let start = if bytes.starts_with(b"sha256:") { "sha256:".len() } else { 0 };
    let colon = bytes[start..].iter().position(|&byte| byte == b':').map(|at| at + start);
    let Some(colon) = colon else {
        return Err(Error::new(format!("--extract {} is refused", typed.display()))
            .rule("it takes a layer and a path, such as 2:/etc/passwd"));
    };
    let path = OsString::from_vec(bytes[colon + 1..].to_vec());
    Ok((OsString::from_vec(bytes[..colon].to_vec()), clean_path(&path)))
}

/// Where the header of a file is in its layer, which is read and verified for that.
fn locate(subject: &Subject, at: usize, path: &[u8]) -> Result<u64> {
    let options = ListOptions { limits: subject.args.limits.limits(), contents: false };
    let tree = read_one(&subject.image, at, &options)?;
    let name = format!("/{} of layer {}", shown(path), at + 1);
    let Some(node) = tree.find(path) else {
        return Err(Error::new(format!("there is no {name}"))
            .rule("this layer has no file of that name; another one may")
            .remedy(format!("{} --file /{}", subject.command(), shown(path))));
    };
    let inode = tree.inode(node);
    if inode.what == What::File {
        return Ok(inode.offset);
    }
    Err(refused(&name, inode))
}

fn refused(name: &str, inode: &Inode) -> Error {
    let error = Error::new(format!("cannot extract {name}"));
    match inode.what {
        What::Whiteout => error
            .rule("it is a whiteout: this layer deletes the name, the content is in a layer below")
            .remedy("extract it from that one; --file PATH shows which"),
        What::Symlink => error.rule(format!("it is a symbolic link to {}", shown(&inode.link))),
        what => error.rule(format!("it is a {}, not a file", words::kind(what))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topmost_layer_is_named_first() {
        assert!(stacking(3, Path::new("/x"), true).contains("-o ro,lowerdir=3:2:1 MNT"));
        assert!(stacking(2, Path::new("/x"), false).contains("-o ro,userxattr,lowerdir=2:1 MNT"));
        assert!(stacking(1, Path::new("/x"), true).contains("the tree is /x/1"));
    }

    #[test]
    fn a_layer_and_a_path_are_told_apart() {
        let of = |typed: &str| split(&typed.into()).map(|(layer, path)| (layer.into_string().unwrap(), path));
        assert_eq!(of("2:/etc/x:y").unwrap(), ("2".to_owned(), b"etc/x:y".to_vec()));
        assert_eq!(of("sha256:abc:/a").unwrap(), ("sha256:abc".to_owned(), b"a".to_vec()));
        assert!(of("/etc/passwd").is_err());
    }
}
