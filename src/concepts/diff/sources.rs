//! Where a writable layer is, and what lies below it.
//!
//! Of a container's image the store knows the layers. Where there is no image, the kernel is asked: the mount table of
//! a process that lives in the overlay, or of this one, names every layer.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::concepts::Context;
use crate::error::{Error, Result};
use crate::image::Store;
use crate::state::journal;

/// A writable layer and the layers below it.
#[derive(Debug)]
pub struct Source {
    /// As the user named it.
    pub subject: OsString,
    pub upper: PathBuf,
    /// The topmost first.
    pub lower: Vec<PathBuf>,
}

/// The folders of the state directory that hold directories with an upper in them.
const FOLDERS: [&str; 2] = ["containers", "overlays"];
/// The layer of mount points that `run` puts on top of an image: it is not part of it.
const OWN_LAYER: &[u8] = b"init";

impl Source {
    /// Finds both. With `lower` given, nothing is asked.
    pub fn find(subject: &OsStr, lower: &[PathBuf], context: &Context) -> Result<Self> {
        let run = Run::named(subject, context);
        let upper = match &run {
            Some(run) => run.directory.join("upper"),
            None => directory(subject, context)?,
        };
        let run = run.or_else(|| Run::of(&upper, context));
        let lower = if lower.is_empty() {
            below(&upper, run.as_ref(), context)?
        } else {
            let one = |layer: &PathBuf| {
                let whole = layer.canonicalize();
                whole.map_err(|cause| Error::io(format!("cannot read {}", layer.display()), &cause))
            };
            lower.iter().map(one).collect::<Result<_>>()?
        };
        Ok(Self { subject: subject.to_owned(), upper, lower })
    }
}

/// A run of cutaway's that has a writable layer.
struct Run {
    name: String,
    directory: PathBuf,
}

impl Run {
    /// The run of this name.
    fn named(subject: &OsStr, context: &Context) -> Option<Self> {
        let name = subject.to_str().filter(|name| !name.contains('/') && !name.starts_with('.'))?;
        let places = FOLDERS.map(|folder| context.state.join(folder).join(name));
        let directory = places.into_iter().find(|place| place.join("upper").is_dir())?;
        let directory = directory.canonicalize().unwrap_or(directory);
        Some(Self { name: name.to_owned(), directory })
    }

    /// The run whose upper this is.
    fn of(upper: &Path, context: &Context) -> Option<Self> {
        let directory = upper.parent()?;
        let run = Self::named(directory.file_name()?, context)?;
        (run.directory == directory && upper.ends_with("upper")).then_some(run)
    }
}

fn directory(subject: &OsStr, context: &Context) -> Result<PathBuf> {
    let path = Path::new(subject);
    match path.canonicalize() {
        Ok(whole) if whole.is_dir() => Ok(whole),
        Ok(_) => Err(Error::new(format!("{} is no directory", path.display()))
            .rule("the writable layer of an overlay is a directory: its upperdir")),
        Err(_) => Err(unknown(path, context)),
    }
}

fn unknown(subject: &Path, context: &Context) -> Error {
    let mut names: Vec<String> = Vec::new();
    for folder in FOLDERS {
        let entries = std::fs::read_dir(context.state.join(folder)).into_iter().flatten().flatten();
        names.extend(entries.map(|entry| entry.file_name().to_string_lossy().into_owned()));
    }
    names.sort();
    let error = Error::new(format!("there is no container and no directory {}", subject.display()))
        .rule("the writable layer of a container is removed when it ends");
    if names.is_empty() {
        return error.remedy("start one in another terminal: cutaway run --name NAME …");
    }
    error.remedy(format!("these exist here: {}", names.join(", ")))
}

/// The layers below, topmost first: the image's, or what a mount table says.
fn below(upper: &Path, run: Option<&Run>, context: &Context) -> Result<Vec<PathBuf>> {
    let about = run.and_then(|run| journal::about(&context.state, &run.name));
    if let Some(digest) = about.as_ref().and_then(|about| about.uses.as_ref()) {
        return layers_of(digest, context);
    }
    let pids = about.iter().flat_map(|about| &about.pids).map(ToString::to_string);
    let tables = std::iter::once("self".to_owned()).chain(pids);
    let directory = run.map(|run| run.directory.as_path());
    for table in tables {
        let table = std::fs::read(format!("/proc/{table}/mountinfo")).unwrap_or_default();
        if let Some(named) = named_in(&table, upper, directory) {
            return named
                .iter()
                .filter(|layer| *layer != OWN_LAYER)
                .map(|layer| place(layer, directory))
                .collect();
        }
    }
    Err(Error::new(format!("it is not known what lies below {}", upper.display()))
        .rule("no overlay that is mounted here has it as its upperdir, and no container of this state directory")
        .remedy("name the layers, the topmost first: --lower DIR…"))
}

fn layers_of(digest: &str, context: &Context) -> Result<Vec<PathBuf>> {
    let store = Store::open(&context.state);
    let image = store.find(&digest.parse()?)?;
    let mut layers = store.ready_dirs(&image).ok_or_else(|| {
        Error::new("the layers of its image are not unpacked any more").remedy("`cutaway run` unpacks them")
    })?;
    layers.reverse();
    Ok(layers)
}

/// A layer as a mount table names it; a relative one was named from the run's own directory.
fn place(layer: &[u8], directory: Option<&Path>) -> Result<PathBuf> {
    let named = Path::new(OsStr::from_bytes(layer));
    let path = directory.map_or_else(|| named.to_owned(), |directory| directory.join(named));
    path.canonicalize().map_err(|cause| {
        Error::io(format!("cannot find the layer {}", named.display()), &cause)
            .rule(
                "the mount table has the name by which it was mounted, and that name leads nowhere from here",
            )
            .remedy("name the layers, the topmost first: --lower DIR…")
    })
}

/// The lower directories of the overlay that has this upper, or that is mounted in the run's own directory.
fn named_in(table: &[u8], upper: &Path, directory: Option<&Path>) -> Option<Vec<Vec<u8>>> {
    table.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        let at = unescaped(fields.nth(4)?);
        fields.find(|field| *field == b"-")?;
        let (fstype, _source, options) = (fields.next()?, fields.next()?, fields.next()?);
        if fstype != b"overlay" {
            return None;
        }
        let options: Vec<&[u8]> = options.split(|byte| *byte == b',').collect();
        let values = |key: &[u8]| -> Vec<Vec<u8>> {
            options.iter().filter_map(|option| option.strip_prefix(key)).map(unescaped).collect()
        };
        let own = |value: &Vec<u8>| unprotected(value) == upper.as_os_str().as_bytes();
        let own = values(b"upperdir=").iter().any(own);
        let merged = directory.map(|directory| directory.join("merged"));
        let is_it = own || merged.is_some_and(|merged| at == merged.as_os_str().as_bytes());
        is_it.then(|| {
            let together = values(b"lowerdir=");
            together.iter().flat_map(|all| separated(all)).chain(values(b"lowerdir+=")).collect()
        })
    })
}

/// Splits at colons that no backslash protects.
fn separated(all: &[u8]) -> Vec<Vec<u8>> {
    let mut parts = vec![Vec::new()];
    let mut bytes = all.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b':' => parts.push(Vec::new()),
            b'\\' => parts.last_mut().into_iter().for_each(|part| part.extend(bytes.next())),
            other => parts.last_mut().into_iter().for_each(|part| part.push(*other)),
        }
    }
    parts
}

/// Takes away the backslashes that protect.
fn unprotected(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    let mut bytes = value.iter();
    while let Some(byte) = bytes.next() {
        out.extend(if *byte == b'\\' { bytes.next() } else { Some(byte) });
    }
    out
}

/// Turns the kernel's octal escapes back: `\054` is a comma.
fn unescaped(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((byte, after)) = rest.split_first() {
        let digits = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = digits.filter(|_| *byte == b'\\').and_then(|digits| u8::from_str_radix(digits, 8).ok());
        out.push(escaped.unwrap_or(*byte));
        rest = if escaped.is_some() { &after[3..] } else { after };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = br"45 27 0:39 / /s/overlays/k1/merged rw - overlay overlay rw,lowerdir=lower,upperdir=upper,workdir=work
46 27 0:40 / / rw - overlay overlay rw,lowerdir=init:/a\134:b:/c\054d,upperdir=/s/x\040y/upper,workdir=/w
47 27 0:41 / /m rw - overlay overlay rw,lowerdir+=/e:f,lowerdir+=/g,upperdir=/u,workdir=/w
";

    fn names(upper: &str, directory: Option<&str>) -> Option<Vec<String>> {
        let all = named_in(TABLE, Path::new(upper), directory.map(Path::new))?;
        Some(all.iter().map(|one| String::from_utf8_lossy(one).into_owned()).collect())
    }

    #[test]
    fn a_mount_table_names_the_layers() {
        assert_eq!(names("/s/x y/upper", None).unwrap(), ["init", "/a:b", "/c,d"]);
        assert_eq!(names("/u", None).unwrap(), ["/e:f", "/g"], "one by one a colon is a colon");
        assert_eq!(names("/s/overlays/k1/upper", Some("/s/overlays/k1")).unwrap(), ["lower"]);
        assert_eq!(names("/nowhere", None), None);
    }
}
