//! Whose groups are meant: a process, a container, or a directory.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::concepts::Context;
use crate::error::{Error, Result};
use crate::probe::seat::{self, Seat};
use crate::state::journal;

/// Whose groups they are, and the groups.
pub struct Subject {
    /// `process 4711 (sh)`
    pub title: String,
    /// One for each tree.
    pub seats: Vec<Seat>,
}

impl Subject {
    /// The group that has a controller.
    #[must_use]
    pub fn seat(&self, controller: &str) -> Option<&Seat> {
        let has = |seat: &&Seat| seat.controllers.iter().any(|name| name == controller);
        self.seats.iter().find(has)
    }

    /// The directories of the groups.
    pub fn directories(&self) -> impl Iterator<Item = &PathBuf> {
        self.seats.iter().map(|seat| &seat.directory)
    }
}

/// Finds what the user named.
pub fn find(what: Option<&OsStr>, context: &Context) -> Result<Subject> {
    let table = context.here.mounts();
    let Some(what) = what else { return process("self", "this process".to_owned(), context) };
    let word = what.to_string_lossy();
    if word.contains('/') {
        return directory(Path::new(what), context);
    }
    if !word.is_empty() && word.chars().all(|letter| letter.is_ascii_digit()) {
        return process(&word, format!("process {word}{}", program(&word)), context);
    }
    // Docker and podman name the group of a container by its id, as a folder or as a scope of systemd.
    let foreign = |name: &str| word.len() >= 12 && name.contains(&*word) || name == word;
    let mut subject = container(&word, context);
    if subject.seats.is_empty() {
        subject.seats = seat::named(&foreign, table);
    }
    if subject.seats.is_empty() {
        return Err(Error::new(format!("there is no group of a container {word}"))
            .rule("it is no pid, no directory, and no tree has a group of that name")
            .remedy(
                "`cutaway cgroup tree` lists the groups; a container without limits has none of its own",
            ));
    }
    Ok(subject)
}

fn program(pid: &str) -> String {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    if name.is_empty() { name } else { format!(" ({})", name.trim()) }
}

fn process(pid: &str, title: String, context: &Context) -> Result<Subject> {
    let seats = seat::of_process(pid, context.here.mounts()).map_err(|why| {
        Error::new(format!("the groups of {title} cannot be read"))
            .rule(why)
            .remedy("name a process that lives, or a group's directory")
    })?;
    if seats.is_empty() {
        return Err(Error::new(format!("no group of {title} can be reached")).rule(
            "no tree of control groups is mounted here, or only a part of it that does not hold the group",
        ));
    }
    Ok(Subject { title, seats })
}

/// The groups of a directory; none where it is no group.
pub fn groups_at(path: &Path, context: &Context) -> Result<Option<Vec<Seat>>> {
    let real = path
        .canonicalize()
        .map_err(|cause| Error::io(format!("cannot look at the group {}", path.display()), &cause))?;
    let seats = seat::of_directory(&real, context.here.mounts());
    Ok((!seats.is_empty() && real.is_dir()).then_some(seats))
}

/// What is said of a directory that is no group.
#[must_use]
pub fn no_group(path: &Path) -> Error {
    Error::new(format!("{} is no group", path.display()))
        .rule("a group is a directory below a mounted cgroup file system")
}

fn directory(path: &Path, context: &Context) -> Result<Subject> {
    let remedy = "`cutaway cgroup tree` lists the groups";
    let seats = groups_at(path, context)?.ok_or_else(|| no_group(path).remedy(remedy))?;
    Ok(Subject { title: format!("group {}", path.display()), seats })
}

/// The containers that run now, with the groups that they have.
pub fn containers(context: &Context) -> Vec<(String, Subject)> {
    let names = std::fs::read_dir(context.state.join("containers")).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| journal::is_alive(&context.state, name));
    names.sort();
    names
        .into_iter()
        .map(|name| {
            let subject = container(&name, context);
            (name, subject)
        })
        .collect()
}

fn container(name: &str, context: &Context) -> Subject {
    let own = format!("cutaway-{name}");
    let seats = seat::named(&|found| found == own, context.here.mounts());
    Subject { title: format!("container {name}"), seats }
}
