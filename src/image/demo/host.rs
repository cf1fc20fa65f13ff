//! What the demo image takes from this machine: programs and the libraries they load.
//!
//! Separate from the lesson because hosts differ: `sh` may be dash, bash or busybox, `/bin` may be `usr/bin`,
//! libraries may lie anywhere. Nothing is executed to find out, the ELF files themselves say what they load.
//! In the image `/usr` is merged: what the host has in `/lib` is put into `usr/lib`, and `/lib` is a link to it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use lddtree::{DependencyAnalyzer, DependencyTree};

use crate::error::{Error, Result};

/// The programs of the demo, where the host has them.
const PROGRAMS: &[&str] = &[
    "sh", "bash", "ls", "cat", "ps", "id", "hostname", "mount", "umount", "sleep", "echo", "env", "true",
    "false", "head", "tail", "grep", "ln", "mkdir", "rm", "rmdir", "mv", "cp", "touch", "chmod", "chown",
    "stat", "sort", "wc", "uname", "tty", "stty", "kill", "df", "du", "sed", "find", "cut", "tr", "tee",
    "seq", "date", "dd", "pwd", "printf", "test", "[", "readlink", "mknod", "mkfifo", "nproc", "whoami",
    "free", "ip", "unshare", "nsenter", "findmnt", "lsns", "setpriv", "yes", "timeout", "clear",
];

/// Those that every busybox has, for hosts that have nothing else.
const BUSYBOX: &[&str] = &[
    "sh", "ls", "cat", "ps", "id", "hostname", "mount", "umount", "sleep", "echo", "env", "true", "false",
    "head", "tail", "grep", "ln", "mkdir", "rm", "rmdir", "mv", "cp", "touch", "chmod", "chown", "stat",
    "sort", "wc", "uname", "tty", "stty", "kill", "df", "du", "sed", "find", "cut", "tr", "tee", "seq",
    "date", "dd", "pwd", "printf", "test", "[", "readlink", "mknod", "mkfifo", "whoami", "free", "ip", "yes",
    "clear",
];

/// Interpreters that a script among the programs may have: they are taken along.
const INTERPRETERS: &[&str] = &["sh", "dash", "bash", "busybox", "coreutils"];

/// Terminals whose descriptions are taken along, so that line editing works.
const TERMINALS: &[&str] = &[
    "dumb",
    "linux",
    "screen",
    "screen-256color",
    "tmux",
    "tmux-256color",
    "vt100",
    "xterm",
    "xterm-256color",
];

/// Where programs are looked for before PATH: the same image for every user of the machine.
const DIRS: [&str; 4] = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"];

/// What was taken.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Taken {
    /// The programs, by the names they have in the image.
    pub programs: Vec<String>,
    /// Programs that this machine does not have.
    pub missing: Vec<String>,
    /// Programs that could not be taken, and why.
    pub skipped: Vec<(String, String)>,
    /// How many libraries.
    pub libraries: usize,
    /// The bytes of all of it.
    pub bytes: u64,
}

/// What an entry of the image holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A directory.
    Dir,
    /// A symbolic link.
    Link(Vec<u8>),
    /// A file with this text.
    Text(String),
    /// A copy of a file of the host.
    Copy(PathBuf),
}

/// Everything that was found.
#[derive(Default)]
pub struct Collected {
    /// By name in the image.
    pub files: BTreeMap<Vec<u8>, Content>,
    /// Directories at the root that are links into `usr/`, beside `lib`: `lib64`.
    pub lib_links: BTreeSet<String>,
    /// For the report.
    pub taken: Taken,
    /// Where each file of the host was put, so that none is copied twice.
    placed: BTreeMap<PathBuf, Vec<u8>>,
    /// The libraries, by name in the image.
    libraries: BTreeSet<Vec<u8>>,
}

/// The directories in which programs are looked for.
#[must_use]
pub fn search_path() -> Vec<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = std::env::split_paths(&path).filter(|dir| dir.is_absolute()).map(PathBuf::into_os_string);
    DIRS.iter().map(OsString::from).chain(own).collect()
}

/// Collects the programs that are found in these directories.
pub fn collect(search: &[OsString]) -> Result<Collected> {
    let mut collected = Collected::default();
    for name in PROGRAMS {
        match find(name, search) {
            None => collected.taken.missing.push((*name).to_owned()),
            Some(program) => collected.try_program(name, &program),
        }
    }
    if !collected.has("sh") {
        collected.fall_back_to_busybox(search);
    }
    if !collected.has("sh") {
        return Err(Error::new("cannot make the demo image: no usable sh was found")
            .rule("it is made of this machine's own programs, and without a shell there is nothing to run")
            .remedy("install a shell or busybox, or name an image: cutaway run ./image.tar"));
    }
    collected.link_strayed_libraries();
    collected.take_terminals();
    collected.taken.libraries = collected.libraries.len();
    Ok(collected)
}

/// Finds an executable file.
fn find(name: &str, search: &[OsString]) -> Option<PathBuf> {
    let is_program =
        |path: &PathBuf| path.metadata().is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0);
    search.iter().map(|dir| Path::new(dir).join(name)).find(is_program)
}

/// A program of this machine and what it loads, each file with the place where the loader looks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The file, without symbolic links on the way.
    pub file: PathBuf,
    /// The loader; none where the program is linked statically.
    pub loader: Option<(PathBuf, PathBuf)>,
    /// The libraries: place, file.
    pub libraries: Vec<(PathBuf, PathBuf)>,
}

/// Finds a program of this machine.
///
/// # Errors
/// Why it cannot be taken elsewhere: it is a script, say, or one of its libraries is missing.
pub fn program(name: &str) -> Result<Program, String> {
    let path = find(name, &search_path()).ok_or_else(|| format!("there is no {name} on this machine"))?;
    let real = |path: &Path| path.canonicalize().map_err(|cause| format!("{}: {cause}", path.display()));
    let file = real(&path)?;
    let tree = DependencyAnalyzer::default().analyze(&file).map_err(|cause| cause.to_string())?;
    let loader = tree.interpreter.as_ref().map(|at| Ok((PathBuf::from(at), real(Path::new(at))?)));
    let loader = loader.transpose().map_err(|why: String| why)?;
    let is_libc = |name: &str| name == "libc.so.6";
    let home = tree.libraries.values().find(|library| is_libc(&library.name));
    let home = home.and_then(|library| library.path.parent()).map(Path::to_path_buf);
    let mut libraries = Vec::new();
    for library in tree.libraries.values() {
        if library.realpath.is_none() {
            return Err(format!("its library {} was not found", library.name));
        }
        let file = real(&library.path)?;
        if loader.as_ref().is_some_and(|(_, loader)| *loader == file) {
            continue;
        }
        // Elsewhere there is no /etc/ld.so.cache: only the C library's own directory is surely looked into.
        let at = home.as_ref().map_or_else(|| library.path.clone(), |home| home.join(&library.name));
        libraries.push((at, file));
    }
    libraries.sort();
    Ok(Program { file, loader, libraries })
}

impl Collected {
    /// Whether a program was taken.
    fn has(&self, name: &str) -> bool {
        self.taken.programs.iter().any(|taken| taken == name)
    }

    /// Takes a program, or notes why not.
    fn try_program(&mut self, name: &str, program: &Path) {
        match self.program(name, program) {
            Ok(()) => self.taken.programs.push(name.to_owned()),
            Err(why) => self.taken.skipped.push((name.to_owned(), why)),
        }
    }

    /// Takes a program under its own name, and under this one as a link if that is another: `sh` is dash, `ls`
    /// may be busybox.
    fn program(&mut self, name: &str, program: &Path) -> Result<(), String> {
        let real = program.canonicalize().map_err(|cause| cause.to_string())?;
        let own = real.file_name().and_then(OsStr::to_str).unwrap_or(name).to_owned();
        if !self.placed.contains_key(&real) {
            self.needs(&real)?;
            self.place(&real, format!("usr/bin/{own}").into_bytes())?;
        }
        let link = format!("usr/bin/{name}").into_bytes();
        if let Some(at) = self.placed.get(&real).filter(|at| **at != link).cloned() {
            self.files.insert(link, Content::Link(relative_to_bin(&at)));
        }
        Ok(())
    }

    /// Takes what a program needs to run: its libraries and loader, or its interpreter.
    fn needs(&mut self, real: &Path) -> Result<(), String> {
        let mut start = Vec::new();
        let file = File::open(real).map_err(|cause| cause.to_string())?;
        file.take(256).read_to_end(&mut start).map_err(|cause| cause.to_string())?;
        if let Some(line) = start.strip_prefix(b"#!") {
            return self.interpreter(line);
        }
        let tree = DependencyAnalyzer::default().analyze(real).map_err(|cause| cause.to_string())?;
        self.tree(&tree)
    }

    /// Takes the interpreter of a script.
    fn interpreter(&mut self, line: &[u8]) -> Result<(), String> {
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let words = line.split(u8::is_ascii_whitespace);
        let path =
            Path::new(OsStr::from_bytes(words.into_iter().find(|word| !word.is_empty()).unwrap_or_default()));
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        if !INTERPRETERS.contains(&name) {
            return Err(format!("it is a script for {}", path.display()));
        }
        self.program(name, path)?;
        let target = [&b"/usr/bin/"[..], name.as_bytes()].concat();
        self.files.entry(in_image(path)).or_insert(Content::Link(target));
        Ok(())
    }

    /// Takes the libraries and the loader of an ELF file.
    fn tree(&mut self, tree: &DependencyTree) -> Result<(), String> {
        let mut libraries: Vec<_> = tree.libraries.values().collect();
        libraries.sort_by(|one, other| one.name.cmp(&other.name));
        if let Some(missing) = libraries.iter().find(|library| library.realpath.is_none()) {
            return Err(format!("its library {} was not found", missing.name));
        }
        for library in libraries {
            let real = library.path.canonicalize().map_err(|cause| cause.to_string())?;
            let at = in_image(&library.path);
            self.library(&real, at)?;
        }
        if let Some(interpreter) = &tree.interpreter {
            let path = Path::new(interpreter);
            let real = path.canonicalize().map_err(|cause| format!("its loader {interpreter}: {cause}"))?;
            self.library(&real, in_image(path))?;
        }
        Ok(())
    }

    /// Puts a library where its loader looks for it.
    fn library(&mut self, real: &Path, at: Vec<u8>) -> Result<(), String> {
        self.note_root(&at);
        if let Some(first) = self.placed.get(real) {
            if *first != at && !self.files.contains_key(&at) {
                let target = [b"/", &first[..]].concat();
                self.files.insert(at, Content::Link(target));
            }
            return Ok(());
        }
        self.libraries.insert(at.clone());
        self.place(real, at)
    }

    /// Copies a file of the host.
    fn place(&mut self, real: &Path, at: Vec<u8>) -> Result<(), String> {
        // Reading is what matters, and may not be allowed where executing is.
        let len = File::open(real).and_then(|file| file.metadata()).map_err(|cause| cause.to_string())?.len();
        self.taken.bytes += len;
        self.placed.insert(real.to_path_buf(), at.clone());
        self.files.insert(at, Content::Copy(real.to_path_buf()));
        Ok(())
    }

    /// Remembers that `/lib64`, say, has to lead to `usr/lib64`.
    fn note_root(&mut self, at: &[u8]) {
        let first = at.strip_prefix(b"usr/").and_then(|rest| rest.split(|byte| *byte == b'/').next());
        let first = first.and_then(|first| std::str::from_utf8(first).ok());
        if let Some(root) =
            first.filter(|root| root.starts_with("lib") && !matches!(*root, "lib" | "libexec"))
        {
            self.lib_links.insert(root.to_owned());
        }
    }

    /// Makes links to a busybox for everything that it can be.
    fn fall_back_to_busybox(&mut self, search: &[OsString]) {
        let Some(busybox) = find("busybox", search) else { return };
        for name in BUSYBOX {
            if !self.has(name) {
                self.taken.missing.retain(|missing| missing != name);
                self.try_program(name, &busybox);
            }
        }
    }

    /// The loader's list of further directories (`/etc/ld.so.cache`) is not copied, so what lies outside of the
    /// directory of the C library gets a link in it.
    fn link_strayed_libraries(&mut self) {
        let is_libc = |at: &&Vec<u8>| {
            at.ends_with(b"/libc.so.6")
                || at.rsplit(|b| *b == b'/').next().is_some_and(|name| name.starts_with(b"ld-musl"))
        };
        let Some(home) = self.libraries.iter().find(is_libc).map(|at| parent(at).to_vec()) else { return };
        for at in self.libraries.clone() {
            let name = &at[parent(&at).len()..];
            let link = [&home[..], name].concat();
            if parent(&at) != home && !self.files.contains_key(&link) && !name.starts_with(b"/ld-") {
                self.files.insert(link, Content::Link([b"/", &at[..]].concat()));
            }
        }
        self.take_old_nss(&home);
    }

    /// Before 2.34 the C library loads the code that reads /etc/passwd.
    fn take_old_nss(&mut self, home: &[u8]) {
        let path = Path::new("/").join(OsStr::from_bytes(home)).join("libnss_files.so.2");
        if let Ok(real) = path.canonicalize() {
            let _ = self.library(&real, [home, b"/libnss_files.so.2"].concat());
        }
    }

    /// Takes the descriptions of the usual terminals.
    fn take_terminals(&mut self) {
        for name in TERMINALS {
            let below = format!("terminfo/{}/{name}", &name[..1]);
            let found = ["/usr/share", "/lib", "/usr/lib"].iter().map(|dir| Path::new(dir).join(&below));
            if let Some(path) = found.into_iter().find(|path| path.is_file())
                && let Ok(bytes) = fs::metadata(&path)
            {
                self.taken.bytes += bytes.len();
                self.files.insert(in_image(&path), Content::Copy(path));
            }
        }
    }
}

/// The name in the image of a file of the host: its own, below `usr/` if it is in a directory that is merged.
fn in_image(path: &Path) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.as_os_str().as_bytes().split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let merged =
        parts.first().is_some_and(|first| matches!(*first, b"bin" | b"sbin") || first.starts_with(b"lib"));
    let name = parts.join(&b'/');
    if merged { [b"usr/", &name[..]].concat() } else { name }
}

/// The directory of a name.
fn parent(name: &[u8]) -> &[u8] {
    name.iter().rposition(|byte| *byte == b'/').map_or(&[], |at| &name[..at])
}

/// How a link in `usr/bin` names a file.
fn relative_to_bin(at: &[u8]) -> Vec<u8> {
    at.strip_prefix(b"usr/bin/").map_or_else(|| [b"/", at].concat(), <[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn names_are_those_of_a_merged_usr() {
        for (host, image) in [
            ("/lib64/ld-linux-x86-64.so.2", "usr/lib64/ld-linux-x86-64.so.2"),
            ("/usr/lib/x/libc.so.6", "usr/lib/x/libc.so.6"),
            ("/lib/x/../y/z", "usr/lib/y/z"),
            ("/opt/lib/z", "opt/lib/z"),
        ] {
            assert_eq!(in_image(Path::new(host)), image.as_bytes());
        }
    }

    #[test]
    fn a_program_is_found_with_what_it_loads() {
        let sh = program("sh").unwrap();
        assert!(sh.file.is_file() && sh.libraries.iter().all(|(_, file)| file.is_file()));
        assert_eq!(sh.loader.is_none(), sh.libraries.is_empty(), "{sh:?}");
        assert!(program("surely-not-there").unwrap_err().contains("surely-not-there"));
    }

    #[test]
    fn a_host_with_nothing_but_busybox_is_enough() {
        let Some(busybox) = find("busybox", &search_path()) else {
            println!("skipped: there is no busybox on this machine");
            assert!(std::env::var_os("CUTAWAY_MUST_RUN").is_none(), "busybox is needed");
            return;
        };
        for with_links in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            fs::copy(&busybox, dir.path().join("busybox")).unwrap();
            for name in BUSYBOX.iter().filter(|_| with_links) {
                symlink("busybox", dir.path().join(name)).unwrap();
            }
            let collected = collect(&[dir.path().as_os_str().to_owned()]).unwrap();
            assert_eq!(collected.files[&b"usr/bin/sh"[..]], Content::Link(b"busybox".to_vec()));
            assert!(collected.has("ls") && !collected.taken.missing.contains(&"ls".to_owned()));
        }
    }
}
