//! What the new root is put together from: programs of this machine, or the layers of an image.
//!
//! Both are built on a file system in memory that only the child sees. Nothing is copied: a file of the host is
//! bound to a second name, layers are merged where they lie.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::helper;
use super::settle::{Cell, Root};
use crate::concepts::common::command::Command;
use crate::concepts::common::picture::Picture;
use crate::error::{Error, Result, exit};
use crate::image::demo::host::{self, Program};
use crate::plan::calls::mount;
use crate::plan::{Call, Claim, Probe, Step, Wait, calls};
use crate::sys::flags::MsFlags;
use crate::sys::{Errno, Slot, Syscall, Text};

/// Programs that make a shell useful, where this machine has them.
const COMPANIONS: [&str; 4] = ["ls", "cat", "mkdir", "chroot"];
/// A shell for a person, where this machine has it. In a pid namespace of its own dash ends with an error: it gives the
/// terminal back to a process group that is not in there.
const COMFORT: &str = "bash";
/// The shell, as it is called inside.
const SHELL: &str = "/bin/sh";
/// A program that is never there.
const MISSING: &str = "/bin/nothing";

/// A process that tries the program before its loader is there.
const FIRST: Slot = Slot::new("first pid");
/// The one that runs it.
const SECOND: Slot = Slot::new("second pid");

/// A tree of a few programs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    /// By name; the shell comes first. None where nothing is run in there.
    programs: Vec<(String, Program)>,
}

impl Tree {
    /// Finds what is needed: nothing, a shell for the story, or a shell and the programs for a person who uses it.
    pub fn settle(words: Option<&[OsString]>, story_runs_it: bool) -> Result<Self> {
        if words.is_none() && !story_runs_it {
            return Ok(Self::default());
        }
        let shell = host::program("sh").map_err(|why| {
            Error::new("no tree of one program can be put together here")
                .rule(format!("it would hold sh, and {why}"))
                .remedy("name a directory or an image: cutaway chroot DIR")
        })?;
        let mut programs = vec![("sh".to_owned(), shell)];
        let mut wanted: Vec<&str> = words.map(|_| COMPANIONS.to_vec()).unwrap_or_default();
        wanted.extend(words.and_then(|words| if words.is_empty() { Some(COMFORT) } else { name(words) }));
        for name in wanted {
            // A companion that this machine lacks is no loss; that the command itself is missing is said later.
            if let (false, Ok(program)) =
                (programs.iter().any(|(known, _)| known == name), host::program(name))
            {
                programs.push((name.to_owned(), program));
            }
        }
        Ok(Self { programs })
    }

    /// The command, if it is one of the programs.
    pub fn command(&self, words: &[OsString]) -> Result<Command> {
        let has = |name: &&str| self.programs.iter().any(|(known, _)| known == name);
        if words.is_empty() {
            let shell = Some(COMFORT).filter(has).unwrap_or("sh");
            let shell = OsString::from(format!("/bin/{shell}"));
            return Ok(Command::new(shell.as_os_str(), std::slice::from_ref(&shell)));
        }
        let found = name(words).filter(has);
        let found = found.ok_or_else(|| {
            let all: Vec<_> = self.programs.iter().map(|(name, _)| format!("/bin/{name}")).collect();
            Error::new(format!("there is no program {} in the new root", words[0].to_string_lossy()))
                .rule(format!(
                    "the tree holds {}: what else this machine has is not in there",
                    all.join(", ")
                ))
                .remedy("name an image, such as `demo`, or a directory")
                .exit(exit::NOT_FOUND)
        })?;
        Ok(Command::new(format!("/bin/{found}"), words))
    }

    /// The files other than programs, each once: where they are put, and what of this machine they are.
    fn needs(&self) -> BTreeMap<&Path, &Path> {
        let all =
            self.programs.iter().flat_map(|(_, program)| program.loader.iter().chain(&program.libraries));
        all.map(|(at, file)| (at.as_path(), file.as_path())).collect()
    }

    fn is_static(&self) -> bool {
        self.programs.first().is_some_and(|(_, shell)| shell.loader.is_none())
    }
}

/// The program that the words name: by itself, or in /bin.
fn name(words: &[OsString]) -> Option<&str> {
    let word = words.first()?.to_str()?;
    let name = word.strip_prefix("/bin/").unwrap_or(word);
    (!name.is_empty() && !name.contains('/')).then_some(name)
}

/// The steps that put the new root together, if it is not there already.
pub fn build(cell: &Cell) -> Vec<Step> {
    match &cell.root {
        Root::Directory => Vec::new(),
        Root::Tree(tree) => {
            let mut steps = vec![memory(cell)];
            if !tree.programs.is_empty() {
                steps.extend([programs(cell, tree), libraries(cell, tree)].into_iter().flatten());
            }
            steps
        }
        Root::Image(picture) => vec![stage(cell, picture), merge(cell, picture)],
    }
}

/// The same for the story of the empty root: it is tried before it is complete.
pub fn build_by_error(cell: &Cell, tree: &Tree) -> Vec<Step> {
    let mut steps = vec![memory(cell)];
    steps.extend(programs(cell, tree));
    steps.push(
        Step::say("Start a process that goes in")
            .why("A child of the child, because nobody who goes in comes out again by the front door.")
            .chapter("3")
            .spawn(helper("first", FIRST, tries(cell, tree), Vec::new())),
    );
    steps.push(
        Step::say("Wait for its end")
            .why("It has found out what is missing.")
            .chapter("2")
            .wait(Wait::end(FIRST)),
    );
    steps.extend(libraries(cell, tree));
    steps
}

/// In the empty root, and in the one with a program that lacks its loader.
fn tries(cell: &Cell, tree: &Tree) -> Vec<Step> {
    let run = |path: &str| {
        let argv = [path, "-c", ":"].map(Text::from).to_vec();
        Call::from(Syscall::Execve { path: path.into(), argv, envp: Vec::new() }).refused(Errno::ENOENT)
    };
    let go = Step::say("Make the tree the root, and go there")
        .why("chroot moves the one pointer, chdir the other.")
        .chapter("3")
        .calls(super::go_in(&cell.path))
        .look_at([Probe::Root])
        .expect([Claim::OtherRoot(None)]);
    let nothing = Step::say("Run a program that is not there")
        .why("ENOENT: there is no file of that name, and the host's are out of reach.")
        .chapter("3")
        .call(run(MISSING));
    let there = Step::say("Run the one that is there").chapter("3");
    let there = if tree.is_static() {
        there.why("It would fail if it were linked dynamically.").skip(
            "sh is linked statically on this machine: it has no loader that could be missing, and would run",
        )
    } else {
        there
            .why(
                "ENOENT again, and the file exists. The kernel reads in it the name of another file, the dynamic \
                 loader, which must start the program. It is this one that does not exist in here.",
            )
            .call(run(SHELL))
            .expect([Claim::Exists(SHELL.into())])
    };
    vec![go, nothing, there]
}

/// The program is run once more, now that nothing is missing.
pub fn run_again() -> Vec<Step> {
    let argv = [SHELL, "-c", "exit 0"].map(Text::from).to_vec();
    let exec = Step::say("Run the program once more")
        .why("With its loader and its libraries it starts, does nothing, and ends with 0.")
        .chapter("3")
        .exec(vec![Syscall::Execve { path: SHELL.into(), argv, envp: Vec::new() }]);
    vec![
        Step::say("Start another process in the new root")
            .why("Children begin with the root of their parent. That is how a whole tree of processes stays in one.")
            .chapter("3")
            .spawn(helper("second", SECOND, vec![exec], Vec::new())),
        Step::say("Wait for its end")
            .why("Its exit status is the program's own.")
            .chapter("2")
            .wait(Wait::end(SECOND)),
    ]
}

fn memory(cell: &Cell) -> Step {
    let mut all: Vec<Call> = vec![mount::tmpfs(&cell.path, MsFlags::empty(), "mode=0755,size=1m").into()];
    if let Some(proc) = cell.proc.iter().find(|proc| proc.by_child) {
        all.push(calls::mkdir(cell.path.join(&proc.name), 0o755).into());
    }
    Step::say("Mount an empty file system in memory")
        .why("A new root holds nothing but what is put there. This one is seen by the child alone.")
        .chapter("3")
        .calls(all)
        .expect([Claim::Mounted { at: cell.path.clone(), fstype: "tmpfs".to_owned() }])
}

fn programs(cell: &Cell, tree: &Tree) -> Option<Step> {
    let places = tree.programs.iter().map(|(name, program)| (Path::new("bin").join(name), &program.file));
    let say = if tree.programs.len() == 1 { "Put one program in" } else { "Put a few programs in" };
    bind(cell, Step::say(say), places).map(|step| {
        step.why("A bind mount of a single file: the host's program under a second name. Nothing is copied.")
    })
}

fn libraries(cell: &Cell, tree: &Tree) -> Option<Step> {
    let places = tree.needs().into_iter();
    bind(cell, Step::say("Put in the loader and the libraries"), places).map(|step| {
        step.why(
            "The loader under the very name that is written in the program, the libraries where the loader looks \
             for them. The kernel asks for the first, and the loader for the others.",
        )
    })
}

/// Binds files of the host to places in the new root, for which directories and empty files are made.
fn bind(
    cell: &Cell,
    step: Step,
    files: impl Iterator<Item = (impl AsRef<Path>, impl AsRef<Path>)>,
) -> Option<Step> {
    let mut made: Vec<PathBuf> = Vec::new();
    let mut all: Vec<Call> = Vec::new();
    for (at, file) in files {
        let inside = at.as_ref().strip_prefix("/").unwrap_or(at.as_ref());
        let above: Vec<&Path> =
            inside.ancestors().skip(1).filter(|one| !one.as_os_str().is_empty()).collect();
        for folder in above.into_iter().rev() {
            if !made.iter().any(|known| known == folder) {
                made.push(folder.to_path_buf());
                all.push(calls::mkdir(cell.path.join(folder), 0o755).into());
            }
        }
        let place = cell.path.join(inside);
        all.push(calls::empty_file(&place).into());
        all.push(mount::bind(file.as_ref(), place, MsFlags::empty()).into());
    }
    (!all.is_empty()).then(|| step.chapter("3").calls(all))
}

/// The place where the layers of an image are merged.
fn stage(cell: &Cell, picture: &Picture) -> Step {
    let base = cell.base.clone().unwrap_or_else(|| cell.path.clone());
    let mut all: Vec<Call> = vec![
        mount::tmpfs(&base, MsFlags::MS_NOSUID | MsFlags::MS_NODEV, "mode=0755").into(),
        calls::chdir(&base).into(),
    ];
    all.extend(["root", "init", "init/proc", "upper", "work"].map(|name| calls::mkdir(name, 0o755).into()));
    let links = (1..).zip(picture.layer_texts());
    all.extend(links.map(|(number, layer)| Call::from(calls::symlink(layer, number.to_string()))));
    Step::say("Prepare a place in memory for the layers to meet")
        .why(
            "A writable layer on top, a layer with a mount point for /proc, and short names for the layers of the \
             image. It is seen by the child alone and gone with it.",
        )
        .chapter("8")
        .calls(all)
}

/// The layers under their short names: however many they are, their names fit in the one page of mount(2).
fn merge(cell: &Cell, picture: &Picture) -> Step {
    let names = (1..=picture.layer_texts().len()).map(|number| format!(":{number}"));
    let mut data = format!("lowerdir=init{},upperdir=upper,workdir=work,volatile", names.collect::<String>());
    if cell.rootless {
        data.push_str(",userxattr");
    }
    Step::say("Merge the layers")
        .why("overlayfs shows them as one tree. What is written goes to memory, the image stays as it is.")
        .chapter("8")
        .call(mount::new("overlay", "root", MsFlags::MS_NODEV, Some(data.into())))
        .expect([Claim::Mounted { at: cell.path.clone(), fstype: "overlay".to_owned() }])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(all: &[&str]) -> Vec<OsString> {
        all.iter().map(OsString::from).collect()
    }

    #[test]
    fn the_tree_holds_what_is_asked_for() {
        assert!(Tree::settle(None, false).unwrap().programs.is_empty());
        let one = Tree::settle(None, true).unwrap();
        assert_eq!(one.programs.len(), 1);
        let more = Tree::settle(Some(&words(&["id"])), false).unwrap();
        assert!(more.command(&words(&["id", "-u"])).is_ok() && more.command(&words(&["/bin/id"])).is_ok());
        assert!(more.command(&[]).is_ok());
        let code = |all: &[&str]| more.command(&words(all)).unwrap_err().parts().exit;
        assert_eq!(code(&["/usr/bin/id"]), Some(exit::NOT_FOUND));
        assert_eq!(code(&["surely-not-there"]), Some(exit::NOT_FOUND));
    }
}
