//! References: what the user typed to say which image.
//!
//! Separate from opening it, so that the rule which decides between a path and a name is in one place and can be
//! tested without files: [`Reference::parse_with`] asks a function whether a path is an image.
//!
//! The rule: a transport (`oci:`, `oci-archive:`, `docker-archive:`) or a beginning `/`, `./`, `../` makes it a
//! path; so does being the path of an image. An ending such as `.tar` makes it one that is missing. Everything
//! else is a name in the store.

use std::ffi::OsStr;
use std::fmt;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::compression::Compression;
use super::digest::Digest;
use super::files;
use crate::error::{Error, Result};

/// Which image is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// A folder or an archive.
    Path(PathReference),
    /// An image of the store.
    Name(Name),
}

/// A folder or an archive, and which of the images in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathReference {
    /// The folder or file.
    pub path: PathBuf,
    /// The tag or name in it, where it holds several.
    pub image: Option<String>,
    /// What it has to be, when a transport said so.
    pub form: Option<Form>,
}

/// The form that a transport of skopeo names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `oci:`, an image layout in a folder.
    Oci,
    /// `oci-archive:`, an image layout in a tar.
    OciArchive,
    /// `docker-archive:`, what `docker save` writes.
    DockerArchive,
}

/// Endings of file names that are archives even when the file is missing.
const ARCHIVE_ENDINGS: [&[u8]; 7] =
    [b".tar", b".tar.gz", b".tgz", b".tar.zst", b".tar.zstd", b".tzst", b".oci"];

/// Transports of other tools that lead to a place cutaway does not look at.
const FOREIGN: [&[u8]; 6] =
    [b"docker://", b"docker-daemon:", b"containers-storage:", b"ostree:", b"dir:/", b"dir:./"];

impl Reference {
    /// Reads what was typed, looking at the file system to tell a path from a name.
    pub fn parse(typed: &OsStr) -> Result<Self> {
        Self::parse_with(typed, &looks_like_image)
    }

    /// Reads what was typed; `is_image` says whether a path is there and looks like an image.
    pub fn parse_with(typed: &OsStr, is_image: &dyn Fn(&Path) -> bool) -> Result<Self> {
        let (bytes, shown) = (typed.as_bytes(), typed.to_string_lossy());
        if bytes.is_empty() {
            return Err(Error::new("the image reference is empty").remedy(USAGE));
        }
        if bytes.contains(&0) {
            return Err(
                Error::new(format!("image reference {shown:?} is refused")).rule("it contains a NUL byte")
            );
        }
        if let Some(foreign) = FOREIGN.iter().find(|foreign| bytes.starts_with(foreign)) {
            let transport = String::from_utf8_lossy(foreign);
            return Err(Error::new(format!("image reference {shown:?} is refused"))
                .rule(format!("the transport {transport:?} is not one that is read here"))
                .remedy("save it as an archive first (`skopeo copy`, `docker save`) and give its path"));
        }
        for (transport, form) in [
            ("oci:", Form::Oci),
            ("oci-archive:", Form::OciArchive),
            ("docker-archive:", Form::DockerArchive),
        ] {
            if let Some(rest) = bytes.strip_prefix(transport.as_bytes()) {
                return split(rest, Some(form), is_image).map(Self::Path);
            }
        }
        if is_explicit_path(bytes) || prefixes(bytes).any(|(path, _)| is_image(path)) || names_archive(bytes)
        {
            return split(bytes, None, is_image).map(Self::Path);
        }
        let text = typed.to_str().ok_or_else(|| {
            Error::new(format!("image reference {shown:?} is refused"))
                .rule("there is no such path, and a name is ASCII")
        })?;
        text.parse().map(Self::Name)
    }
}

/// What a reference may be, for errors.
const USAGE: &str = "give a path (./dir, image.tar, image.tar:TAG, oci:DIR:TAG, docker-archive:FILE) or the name of a loaded image";

/// Whether it is written as a path.
fn is_explicit_path(bytes: &[u8]) -> bool {
    bytes == b"." || bytes == b".." || [&b"/"[..], b"./", b"../"].iter().any(|start| bytes.starts_with(start))
}

/// Whether it ends as archives do, with or without a tag behind.
fn names_archive(bytes: &[u8]) -> bool {
    prefixes(bytes)
        .any(|(path, _)| ARCHIVE_ENDINGS.iter().any(|end| path.as_os_str().as_bytes().ends_with(end)))
}

/// Every way to split into a path and a tag: the whole first, then at each colon from the right.
fn prefixes(bytes: &[u8]) -> impl Iterator<Item = (&Path, Option<&[u8]>)> {
    let colons = bytes.iter().enumerate().rev().filter(|(_, byte)| **byte == b':').map(|(at, _)| at);
    let splits = colons.map(move |at| (Path::new(OsStr::from_bytes(&bytes[..at])), Some(&bytes[at + 1..])));
    std::iter::once((Path::new(OsStr::from_bytes(bytes)), None)).chain(splits)
}

/// Splits at the longest path that is there; when none is, at the first colon behind the last slash of the
/// beginning, which is where the tag of a missing file would start.
fn split(bytes: &[u8], form: Option<Form>, is_image: &dyn Fn(&Path) -> bool) -> Result<PathReference> {
    let there = |path: &Path| is_image(path) || path.symlink_metadata().is_ok();
    let found = prefixes(bytes).find(|(path, _)| !path.as_os_str().is_empty() && there(path));
    let (path, tag) = found.unwrap_or_else(|| prefixes(bytes).last().unwrap_or((Path::new(""), None)));
    if path.as_os_str().is_empty() {
        return Err(Error::new("the path in front of the tag is empty").remedy(USAGE));
    }
    let tag = tag.filter(|tag| !tag.is_empty()).map(|tag| {
        String::from_utf8(tag.to_vec()).map_err(|_| {
            Error::new(format!("tag {:?} is refused", String::from_utf8_lossy(tag))).rule("a tag is ASCII")
        })
    });
    Ok(PathReference { path: path.to_path_buf(), image: tag.transpose()?, form })
}

/// Whether there is a folder or an archive that looks like an image.
#[must_use]
pub fn looks_like_image(path: &Path) -> bool {
    if path.as_os_str().is_empty() {
        return false;
    }
    if path.is_dir() {
        return ["oci-layout", "index.json", "manifest.json"].iter().any(|name| path.join(name).is_file());
    }
    let Ok(mut file) = files::open_regular(path) else { return false };
    let mut start = [0; 262];
    let Ok(len) = read_start(&mut file, &mut start) else { return false };
    len == start.len() && start[257..].starts_with(b"ustar")
        || Compression::sniff(&start[..len]) != Compression::None
}

/// Fills as much of `start` as there is.
fn read_start(file: &mut impl Read, start: &mut [u8]) -> std::io::Result<usize> {
    let mut len = 0;
    while len < start.len() {
        match file.read(&mut start[len..])? {
            0 => break,
            more => len += more,
        }
    }
    Ok(len)
}

impl PathReference {
    /// A name under which the store can keep the image: its own if it has a whole one, otherwise the file's.
    #[must_use]
    pub fn store_name(&self, own: Option<&str>) -> String {
        let own = own.or(self.image.as_deref());
        if let Some(name) =
            own.filter(|name| name.contains(['/', ':'])).and_then(|name| name.parse::<Name>().ok())
        {
            return name.familiar();
        }
        let absolute = self.path.canonicalize().unwrap_or_else(|_| self.path.clone());
        let stem = absolute.file_name().unwrap_or(OsStr::new("image")).to_string_lossy().to_lowercase();
        let mut endings = ARCHIVE_ENDINGS.iter().filter_map(|end| std::str::from_utf8(end).ok());
        let stem = endings.find_map(|end| stem.strip_suffix(end)).unwrap_or(&stem);
        let safe = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        let base: String = stem.chars().map(safe).collect();
        let base = base.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-");
        let base = if base.is_empty() { "image" } else { &base[..base.len().min(100)] };
        let name = format!("{}:{}", base.trim_end_matches('-'), own.unwrap_or("latest"));
        name.parse::<Name>().map_or_else(|_| base.to_owned(), |name| name.familiar())
    }
}

impl fmt::Display for PathReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        self.image.as_ref().map_or(Ok(()), |image| write!(f, ":{image}"))
    }
}

/// The name of an image in the store: `demo`, `debian:12`, `registry.example/team/app:1@sha256:…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// Everything in front of the tag.
    pub repository: String,
    /// The tag, if one was given.
    pub tag: Option<String>,
    /// The digest of the manifest, if one was given.
    pub digest: Option<Digest>,
}

impl Name {
    /// The name that is compared: without Docker's default registry, with the default tag.
    #[must_use]
    pub fn familiar(&self) -> String {
        let repository = self.repository.strip_prefix("docker.io/").unwrap_or(&self.repository);
        let repository = repository.strip_prefix("library/").unwrap_or(repository);
        format!("{repository}:{}", self.tag.as_deref().unwrap_or("latest"))
    }
}

/// The familiar form of any text, itself if it is no name.
pub(super) fn familiar(text: &str) -> String {
    text.parse::<Name>().map_or_else(|_| text.to_owned(), |name| name.familiar())
}

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse = |rule: &'static str| {
            Error::new(format!("image name {text:?} is refused")).rule(rule).remedy(USAGE)
        };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse()?)),
            None => (text, None),
        };
        let after_slash = rest.rfind('/').map_or(0, |at| at + 1);
        let (repository, tag) = match rest[after_slash..].rfind(':') {
            Some(at) => (&rest[..after_slash + at], Some(&rest[after_slash + at + 1..])),
            None => (rest, None),
        };
        if repository.len() > 255 {
            return Err(refuse("a name has at most 255 bytes"));
        }
        let path = match repository.split_once('/') {
            Some((host, path)) if (host.contains(['.', ':']) || host == "localhost") && is_host(host) => path,
            _ => repository,
        };
        if !path.split('/').all(is_component) {
            return Err(refuse(
                "a name is made of lower-case letters and digits, joined by \".\", \"_\", \"__\" or \"-\", with \"/\" between parts",
            ));
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(refuse(
                "a tag has 1 to 128 letters, digits, \"_\", \".\" or \"-\" and starts with a letter, digit or \"_\"",
            ));
        }
        Ok(Self { repository: repository.to_owned(), tag: tag.map(str::to_owned), digest })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest.map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

/// A path component of a name ([distribution specification, "Pulling manifests"]).
///
/// [distribution specification, "Pulling manifests"]: https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pulling-manifests
fn is_component(part: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = part.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    if !word(*first) || !word(*last) {
        return false;
    }
    let separators = bytes.split(|byte| word(*byte)).filter(|separator| !separator.is_empty());
    separators.into_iter().all(|s| matches!(s, b"." | b"_" | b"__") || s.iter().all(|byte| *byte == b'-'))
}

/// A tag.
fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let bytes = tag.as_bytes();
    matches!(bytes.len(), 1..=128)
        && word(bytes[0])
        && bytes.iter().all(|byte| word(*byte) || matches!(byte, b'.' | b'-'))
}

/// A host and perhaps a port.
fn is_host(host: &str) -> bool {
    let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
    let label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    name.split('.').all(label) && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(typed: &str, there: &[&str]) -> Result<Reference> {
        Reference::parse_with(OsStr::new(typed), &|path| there.iter().any(|known| Path::new(known) == path))
    }

    fn path(path: &str, image: Option<&str>, form: Option<Form>) -> Reference {
        Reference::Path(PathReference { path: path.into(), image: image.map(str::to_owned), form })
    }

    #[test]
    fn paths_are_told_from_names() {
        for (typed, there, expected) in [
            ("./no-such", &[][..], path("./no-such", None, None)),
            ("./no-such:1", &[], path("./no-such", Some("1"), None)),
            ("/no/such:1", &["/no/such:1"], path("/no/such:1", None, None)),
            ("no-such.tar", &[], path("no-such.tar", None, None)),
            ("no-such.tar:a/b:1", &[], path("no-such.tar", Some("a/b:1"), None)),
            ("no-such:1", &["no-such"], path("no-such", Some("1"), None)),
            ("oci:no-such:1", &[], path("no-such", Some("1"), Some(Form::Oci))),
            ("oci:./a:b:1", &["./a:b"], path("./a:b", Some("1"), Some(Form::Oci))),
            ("docker-archive:x.tar:bb:1", &[], path("x.tar", Some("bb:1"), Some(Form::DockerArchive))),
            ("oci-archive:/x", &[], path("/x", None, Some(Form::OciArchive))),
        ] {
            assert_eq!(parse(typed, there).unwrap(), expected, "{typed}");
        }
    }

    #[test]
    fn names_keep_their_parts() {
        let Reference::Name(name) = parse("localhost:5000/team/app:1.0", &[]).unwrap() else { panic!() };
        assert_eq!((name.repository.as_str(), name.tag.as_deref()), ("localhost:5000/team/app", Some("1.0")));
        let digest = Digest::of(b"");
        let Reference::Name(name) = parse(&format!("debian@{digest}"), &[]).unwrap() else { panic!() };
        assert_eq!((name.tag.clone(), name.digest), (None, Some(digest)));
        assert_eq!(name.familiar(), "debian:latest");
        assert_eq!(familiar("docker.io/library/debian:12"), "debian:12");
    }

    #[test]
    fn what_is_neither_is_refused() {
        for bad in [
            "",
            "UPPER",
            "a//b",
            "-rf",
            "a:",
            "a b",
            "a@sha256:0",
            "a/../b",
            "docker://debian",
            "a\nb",
            "é",
            ":1",
        ] {
            assert!(parse(bad, &[]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_path_gets_a_name_that_the_store_takes() {
        let of = |path: &str, image: Option<&str>, own: Option<&str>| {
            let image = image.map(str::to_owned);
            PathReference { path: path.into(), image, form: None }.store_name(own)
        };
        assert_eq!(of("/no/My Image.tar.gz", None, None), "my-image:latest");
        assert_eq!(of("/no/bb", Some("1"), Some("1")), "bb:1");
        assert_eq!(of("/no/x.tar", None, Some("docker.io/library/bb:2")), "bb:2");
        assert_eq!(of("/no/---", None, None), "image:latest");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn parsing_never_panics(typed in "\\PC*", there in any::<bool>()) {
            let _ = Reference::parse_with(OsStr::new(&typed), &|_| there);
        }

        #[test]
        fn any_bytes_are_taken_or_refused(typed in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Reference::parse_with(OsStr::from_bytes(&typed), &|_| false);
        }

        #[test]
        fn a_name_survives_printing(
            host in proptest::option::of("(localhost|[a-z]{1,8}\\.[a-z]{2,3})(:[1-9][0-9]{0,3})?/"),
            repository in "[a-z0-9]{1,8}((\\.|_|__|-{1,3})[a-z0-9]{1,8}){0,2}(/[a-z0-9]{1,8}){0,2}",
            tag in proptest::option::of("[a-zA-Z0-9_][a-zA-Z0-9._-]{0,20}"),
            digest in any::<bool>(),
        ) {
            let name = Name {
                repository: format!("{}{repository}", host.unwrap_or_default()),
                tag,
                digest: digest.then(|| Digest::of(b"x")),
            };
            prop_assert_eq!(name.to_string().parse::<Name>().unwrap(), name);
        }

        #[test]
        fn a_derived_name_is_always_a_name(path in "\\PC{1,60}", image in proptest::option::of("\\PC{1,20}")) {
            let name = PathReference { path: path.into(), image, form: None }.store_name(None);
            prop_assert!(name.parse::<Name>().is_ok(), "{}", name);
        }
    }
}
