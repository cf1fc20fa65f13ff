//! A command of the host: found as a shell finds it, before anything is changed for it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result, exit};
use crate::image::merged::MergedView;
use crate::image::merged::command;
use crate::plan::Step;
use crate::sys::{Syscall, Text};

/// Where programs are looked for without a PATH.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command with the caller's environment.
#[derive(Debug, Clone)]
pub struct Command {
    /// Its path.
    program: Text,
    argv: Vec<Text>,
    envp: Vec<Text>,
}

impl Command {
    /// Finds the program of the command line; no words are no command.
    ///
    /// # Errors
    /// There is no such program (exit code 127), or it cannot be executed (126).
    pub fn find(words: &[OsString]) -> Result<Option<Self>> {
        let Some(name) = words.first() else { return Ok(None) };
        let search = std::env::var_os("PATH").unwrap_or_else(|| PATH.into());
        Ok(Some(Self::new(find(name, &search)?, words)))
    }

    /// Finds the program of the command line in a tree that will be the root.
    ///
    /// # Errors
    /// There is no such program in there (exit code 127), or it cannot be executed (126).
    pub fn find_in(view: &MergedView, words: &[OsString]) -> Result<Option<Self>> {
        let Some(name) = words.first() else { return Ok(None) };
        let own = std::env::var_os("PATH").filter(|path| !path.is_empty());
        let search = own.into_iter().chain([PATH.into()]).collect::<Vec<OsString>>().join(OsStr::new(":"));
        let shown = name.to_string_lossy();
        match command::find(name, &search, Path::new("/"), view)? {
            command::Command::Found(path) => Ok(Some(Self::new(path, words))),
            command::Command::NotFound => {
                Err(Error::new(format!("there is no program {shown} in the new root"))
                    .rule("the new root holds its own programs: those of the host are not in there")
                    .exit(exit::NOT_FOUND))
            }
            command::Command::NotExecutable(path) => {
                Err(Error::new(format!("{} of the new root cannot be executed", path.display()))
                    .rule("it is a directory, or has no execute permission")
                    .exit(exit::CANNOT_EXECUTE))
            }
        }
    }

    /// A program that is known to be there.
    pub fn new(program: impl Into<Text>, words: &[OsString]) -> Self {
        let program = program.into();
        let pair = |(key, value): (OsString, OsString)| {
            Text::bytes(&[key.as_bytes(), b"=", value.as_bytes()].concat())
        };
        let envp = std::env::vars_os().map(pair).collect();
        let argv = words.iter().map(|word| Text::from(word.as_os_str())).collect();
        Self { program, argv, envp }
    }

    /// The call by which a process becomes the command.
    #[must_use]
    pub fn calls(&self) -> Vec<Syscall> {
        let Self { program: path, argv, envp } = self.clone();
        vec![Syscall::Execve { path, argv, envp }]
    }

    // ANCHOR: exec
    /// The step in which a process becomes the command.
    #[must_use]
    pub fn exec(&self) -> Step {
        Step::say("Become the command")
            .why(
                "The process stays the same, with its pid and its namespaces. Only the program in it is \
                 another. The report to you ends here, because its socket closes on exec.",
            )
            .exec(self.calls())
    }
    // ANCHOR_END: exec
}

fn find(name: &OsStr, search: &OsStr) -> Result<PathBuf> {
    let shown = name.to_string_lossy().into_owned();
    let candidates: Vec<PathBuf> = if name.as_bytes().contains(&b'/') {
        vec![name.into()]
    } else {
        let directories = search.as_bytes().split(|byte| *byte == b':');
        directories.map(|one| Path::new(&OsString::from_vec(one.to_vec())).join(name)).collect()
    };
    let present: Vec<_> = candidates.into_iter().filter(|path| path.is_file()).collect();
    match present.iter().find(|path| is_executable(path)).or(present.first()) {
        Some(path) if is_executable(path) => Ok(path.clone()),
        Some(path) => Err(Error::new(format!("{} cannot be executed", path.display()))
            .rule("it has no execute permission")
            .exit(exit::CANNOT_EXECUTE)),
        None => Err(Error::new(format!("there is no program {shown}"))
            .rule("it is in no directory of PATH; with a slash it is a path")
            .exit(exit::NOT_FOUND)),
    }
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_found_as_a_shell_finds_it() {
        assert_eq!(find(OsStr::new("sh"), OsStr::new("/nonexistent:/bin")).unwrap(), Path::new("/bin/sh"));
        assert_eq!(find(OsStr::new("/bin/sh"), OsStr::new("")).unwrap(), Path::new("/bin/sh"));
        let dir = tempfile::tempdir().unwrap();
        let plain = dir.path().join("plain");
        std::fs::write(&plain, "").unwrap();
        let code = |name: &str| find(OsStr::new(name), OsStr::new("/bin")).unwrap_err().parts().exit;
        assert_eq!(code("surely-not-there"), Some(exit::NOT_FOUND));
        assert_eq!(code(plain.to_str().unwrap()), Some(exit::CANNOT_EXECUTE));
        assert!(Command::find(&[]).unwrap().is_none());
    }
}
