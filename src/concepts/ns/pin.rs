//! `cutaway ns pin` and `cutaway ns unpin`: a namespace that lives without a process.
//!
//! A namespace is mounted on a file, and the mount keeps it. A pin is meant to stay, so that its undo stays too: the
//! journal is kept beside the pin as `NAME.journal`, where `unpin` finds it, and `cleanup`, which looks among the
//! journals of dead runs, does not.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use clap::ArgMatches;

use super::{CHILD, clone, enter};
use crate::concepts::common::birth;
use crate::concepts::{Context, Stage};
use crate::error::{Error, Result};
use crate::plan::calls::mount;
use crate::plan::{Bulk, Call, Claim, Gate, Plan, Probe, Spawn, Step, Undo, Wait, calls};
use crate::probe::{census, mounts};
use crate::state::journal;
use crate::sys::flags::{AtFlags, CloneFlags, MsFlags};
use crate::sys::{Errno, Syscall, Value};

/// Where pins are, below the state directory.
const FOLDER: &str = "namespaces";
const JOURNAL: &str = ".journal";

/// A pin that cutaway has made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// Its name.
    pub name: String,
    /// The file that the namespace is mounted on.
    pub path: PathBuf,
    /// Where its undo is kept.
    journal: PathBuf,
}

impl Pin {
    /// The pin of this name, or on this path.
    fn new(typed: &str, state: &Path) -> Result<Self> {
        let folder = state.join(FOLDER);
        let name: String = typed.trim_matches('/').replace('/', "-");
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
        if name.is_empty() || name.starts_with('.') || name.ends_with(JOURNAL) || !name.chars().all(plain) {
            return Err(Error::new(format!("{typed:?} is no name for a pin"))
                .rule("letters, digits, dots, dashes and underscores; with a slash it is the path of a new file")
                .chapter("17"));
        }
        let path = if typed.contains('/') {
            std::path::absolute(typed).map_err(|cause| Error::io(format!("cannot use {typed}"), &cause))?
        } else {
            folder.join(&name)
        };
        Ok(Self { journal: folder.join(name.clone() + JOURNAL), name, path })
    }

    /// What is mounted there now, such as `net:[4026532301]`.
    pub fn mounted(&self) -> Option<String> {
        let table = mounts::table().ok()?;
        let mount = table.iter().rfind(|mount| mount.at == self.path && mount.fstype == "nsfs")?;
        Some(mount.root.to_string_lossy().into_owned())
    }

    fn folder(&self) -> Option<&Path> {
        self.journal.parent()
    }
}

/// The pins that were made from this state directory.
pub fn all(state: &Path) -> Result<Vec<Pin>> {
    let folder = state.join(FOLDER);
    let mut pins = Vec::new();
    for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str().and_then(|name| name.strip_suffix(JOURNAL)) else { continue };
        let journal = entry.path();
        let path = journal::kept(&journal)?.iter().flat_map(|entry| &entry.undo).find_map(pinned_path);
        if let Some(path) = path {
            pins.push(Pin { name: name.to_owned(), path, journal });
        }
    }
    pins.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(pins)
}

/// The file that an undo removes: the one that the namespace is mounted on.
fn pinned_path(undo: &Undo) -> Option<PathBuf> {
    match undo {
        Undo::Call(Syscall::Unlinkat { path, flags, .. }) if flags.is_empty() => path.known_path(),
        _ => None,
    }
}

/// The pin of this name or path, if there is one.
pub fn find(typed: &str, state: &Path) -> Result<Option<Pin>> {
    let path = std::path::absolute(typed).ok();
    Ok(all(state)?.into_iter().find(|pin| pin.name == typed || Some(&pin.path) == path.as_ref()))
}

/// What is to be pinned.
struct Wanted {
    kind: &'static str,
    flag: CloneFlags,
    pin: Pin,
    /// The process whose namespace it is; none for a new one.
    pid: Option<i32>,
    /// The mount that the file is on would pass the pin on to other mount tables.
    shared: bool,
    uid: u32,
    gid: u32,
}

/// `cutaway ns pin KIND NAME [--pid PID]`
pub fn pin(matches: &ArgMatches, context: &Context) -> Result<Stage> {
    let kind = matches.get_one::<String>("kind").map(String::as_str).unwrap_or_default();
    let name = matches.get_one::<String>("name").map(String::as_str).unwrap_or_default();
    let flag = super::flag_of(kind)?;
    let kind = super::names(flag).first().copied().unwrap_or_default();
    privileged(context)?;
    let pin = Pin::new(name, &context.state)?;
    free(&pin)?;
    let pid = matches.get_one::<String>("pid").map(|pid| enter::pid_of(pid)).transpose()?;
    if let Some(pid) = pid {
        enter::standing(pid)?;
    } else if flag == CloneFlags::CLONE_NEWPID {
        return Err(Error::new("a new pid namespace cannot be pinned")
            .rule(
                "it lives as long as its PID 1: a pin would keep a namespace in which nothing can be started",
            )
            .remedy("pin that of a running process: --pid PID")
            .chapter("13"));
    }
    let table = context.here.mounts();
    let shared = mounts::holding(table, &pin.path).is_some_and(mounts::Mount::is_shared);
    let (uid, gid) = (context.here.euid, context.here.gid);
    Ok(plan(&Wanted { kind, flag, pin, pid, shared, uid, gid }).into())
}

fn privileged(context: &Context) -> Result<()> {
    if context.here.is_privileged() || context.explain {
        return Ok(());
    }
    Err(Error::new("an ordinary user cannot pin a namespace")
        .rule(
            "a pin is a mount, and mounting on the host needs CAP_SYS_ADMIN in the user namespace that owns its mount \
             table; a mount in a mount namespace of your own would end with that",
        )
        .remedy("as root; or keep a process in the namespace, or a descriptor of it open")
        .chapter("17"))
}

fn free(pin: &Pin) -> Result<()> {
    if !pin.path.exists() && !pin.journal.exists() {
        return Ok(());
    }
    let what = pin.mounted().unwrap_or_else(|| "a file".to_owned());
    Err(Error::new(format!("the name {} is taken", pin.name))
        .rule(format!("{} is on {}", what, pin.path.display()))
        .remedy(format!("choose another name, or first: cutaway ns unpin {}", pin.name)))
}

fn plan(wanted: &Wanted) -> Plan {
    let Wanted { kind, pin, pid, .. } = wanted;
    let mut plan = Plan::new(format!("ns pin {kind} {}", pin.name));
    plan.needs = vec!["CAP_SYS_ADMIN"];
    plan.notes.push("what this makes is meant to stay: cutaway ns unpin takes it away".to_owned());
    // With a name it has its journal from the beginning, which keeps the state directory from being taken away by one that
    // has made it while this one looked.
    plan.name = Some(format!("pin-{}", std::process::id()));
    plan.stays = Some(pin.journal.clone());
    plan.steps.extend(folders(pin));
    plan.steps.push(file(pin));
    // A mount table that held itself could never go away.
    if wanted.flag == CloneFlags::CLONE_NEWNS && wanted.shared {
        plan.steps.push(private_place(pin));
    }
    match pid {
        Some(pid) => plan.steps.push(mount_it(wanted, &format!("/proc/{pid}/ns/{kind}").into())),
        None => plan.steps.extend([birth(wanted), wait()]),
    }
    plan.steps.push(without_processes(wanted));
    plan
}

/// The folders that are missing, outermost first.
fn folders(pin: &Pin) -> Option<Step> {
    let mut missing: Vec<&Path> = pin.folder()?.ancestors().take_while(|folder| !folder.exists()).collect();
    missing.reverse();
    if missing.is_empty() {
        return None;
    }
    let calls = missing.into_iter().map(|folder| Call::from(calls::mkdir(folder, 0o700)).or(Errno::EEXIST));
    Some(
        Step::say("Make a folder for pins")
            .why(
                "It holds the pins, and how each is taken away again. It stays, as the state directory does.",
            )
            .chapter("17")
            .calls(calls),
    )
}

/// By itself in its step: a file that is there already is not made, and so never removed.
fn file(pin: &Pin) -> Step {
    let (dir, path, flags) = (Value::CWD, (&pin.path).into(), AtFlags::empty());
    Step::say("Make an empty file")
        .why("A namespace is mounted on a file, not on a directory. What is in the file does not matter.")
        .chapter("17")
        .call(calls::empty_file(&pin.path))
        .undo([Syscall::Unlinkat { dir, path, flags }])
}

/// The file itself is made a mount: then the place where the namespace is mounted is private.
fn private_place(pin: &Pin) -> Step {
    let path = &pin.path;
    Step::say("Make the file a mount that passes nothing on")
        .why(
            "A mount namespace cannot be mounted where the mount would be passed on into itself: it would keep itself \
             alive for ever, and the kernel refuses it with EINVAL.",
        )
        .chapter("5")
        .call(mount::bind(path, path, MsFlags::empty()))
        .call(mount::propagation(path, MsFlags::MS_PRIVATE))
        .undo([mount::detach(path)])
}

fn mount_it(wanted: &Wanted, source: &crate::sys::Text) -> Step {
    let path = &wanted.pin.path;
    Step::say("Mount the namespace on the file")
        .why(
            "The link in /proc leads to the namespace itself. Bound to a file it has a name in the file system, and \
             a reference more: whoever opens the file gets a descriptor of the namespace.",
        )
        .chapter("17")
        .call(mount::bind(source.clone(), path, MsFlags::empty()))
        .undo([mount::detach(path)])
        .look_at([Probe::Kept(path.clone())])
        .expect([Claim::Mounted { at: path.clone(), fstype: "nsfs".to_owned() }])
}

/// A child in a new namespace, that lives until this is pinned.
fn birth(wanted: &Wanted) -> Step {
    let user = wanted.flag == CloneFlags::CLONE_NEWUSER;
    let arm = Step::say("Die when cutaway dies")
        .why("Should cutaway be killed, the kernel kills this process too, and its namespaces end with it.")
        .call(calls::die_with_parent())
        .expect([Claim::OwnNamespaces(wanted.flag)]);
    let mut child = birth::tie(arm, user);
    child.extend([
        Step::say("Say that the namespace is there")
            .why("Its link in /proc can be used from now on.")
            .gate(Gate::Open("there")),
        Step::say("Wait until it is pinned")
            .why("Until then this process is all that keeps it.")
            .gate(Gate::Pass("pinned")),
    ]);
    let mut meanwhile = if user { birth::map_ids(&CHILD, wanted.uid, wanted.gid) } else { Vec::new() };
    meanwhile.extend([
        Step::say("Wait until the namespace is there").why("The child says so.").gate(Gate::Pass("there")),
        mount_it(wanted, &birth::proc_of(&CHILD, &format!("ns/{}", wanted.kind))),
        Step::say("Let the child end").why("It is not needed any more.").gate(Gate::Open("pinned")),
    ]);
    Step::say("Start a child that has a namespace of this kind")
        .why("A namespace is made by a process that is in it. This one does nothing else.")
        .chapter("17")
        .spawn(Spawn { clone: clone(wanted.flag), into: CHILD, actor: "child", child, meanwhile })
}

fn wait() -> Step {
    Step::say("Wait for the end of the child")
        .why("With its last process a namespace ends, unless something else holds it.")
        .chapter("2")
        .wait(Wait::end(CHILD))
}

fn without_processes(wanted: &Wanted) -> Step {
    let path = &wanted.pin.path;
    let step = Step::say("Look at what keeps the namespace now")
        .chapter("17")
        .look_at([Probe::Kept(path.clone())])
        .expect([Claim::Mounted { at: path.clone(), fstype: "nsfs".to_owned() }]);
    if wanted.pid.is_some() {
        return step.why(
            "Its processes, and from now on the mount as well: it outlives them. `cutaway ns ls` shows it, and \
             `cutaway ns unpin` lets it go.",
        );
    }
    step.why(
        "No process is in it, and it lives. `cutaway ns ls` shows it, `cutaway ns enter` goes into it, and \
         `cutaway ns unpin` lets it go.",
    )
}

/// `cutaway ns unpin NAME`
pub fn unpin(matches: &ArgMatches, context: &Context) -> Result<Stage> {
    let typed = matches.get_one::<String>("name").map(String::as_str).unwrap_or_default();
    let Some(pin) = find(typed, &context.state)? else { return Err(unknown(typed, &context.state)?) };
    privileged(context)?;
    let mut plan = Plan::new(format!("ns unpin {}", pin.name));
    plan.needs = vec!["CAP_SYS_ADMIN"];
    plan.steps.push(
        Step::say("Look at what keeps the namespace")
            .why("If the mount is the last thing that does, the namespace ends with it.")
            .chapter("17")
            .look_at([Probe::Kept(pin.path.clone())]),
    );
    let entries = journal::kept(&pin.journal)?;
    plan.steps.extend(entries.iter().rev().flat_map(|entry| entry.undo.iter().filter_map(step)));
    plan.steps.push(forget(&pin));
    Ok(plan.into())
}

fn unknown(typed: &str, state: &Path) -> Result<Error> {
    let names: Vec<String> = all(state)?.into_iter().map(|pin| pin.name).collect();
    let error = Error::new(format!("there is no pin {typed}"));
    Ok(if names.is_empty() {
        error.rule("none was made from this state directory").remedy(
            "cutaway ns ls shows what is mounted where; what another tool has mounted, that tool unmounts (for \
             example ip netns delete)",
        )
    } else {
        error.rule(format!("the pins are {}", names.join(", ")))
    })
}

fn step(undo: &Undo) -> Option<Step> {
    match undo {
        Undo::Call(call @ Syscall::Umount2 { .. }) => Some(
            Step::say("Take the mount away")
                .why("After a reboot it is gone already, and the kernel answers EINVAL.")
                .chapter("17")
                .call(Call::from(call.clone()).or(Errno::EINVAL).or(Errno::ENOENT)),
        ),
        Undo::Call(call) => Some(
            Step::say("Remove the file that it was mounted on")
                .why("It is empty again, as it was made.")
                .chapter("17")
                .call(Call::from(call.clone()).or(Errno::ENOENT)),
        ),
        // The process that made the namespace has ended since.
        Undo::Bulk(Bulk::KillProcess { .. }) => None,
        Undo::Bulk(work) => Some(Step::say("Undo what was done for it").bulk(work.clone())),
    }
}

fn forget(pin: &Pin) -> Step {
    let (dir, path, flags) = (Value::CWD, (&pin.journal).into(), AtFlags::empty());
    Step::say("Forget the pin")
        .why("Everything in its journal is undone. Its name is free again.")
        .chapter("17")
        .call(Syscall::Unlinkat { dir, path, flags })
        .expect([Claim::NotMounted(pin.path.clone())])
}

/// The file of a pin, or of another tool's, that somebody wants to enter: its kind and number.
pub fn target(typed: &str, state: &Path) -> Result<Option<(PathBuf, &'static str, u64)>> {
    let path = match find(typed, state)? {
        Some(pin) => pin.path,
        None if typed.contains('/') => {
            std::path::absolute(OsStr::new(typed)).unwrap_or_else(|_| typed.into())
        }
        None => return Ok(None),
    };
    let table = mounts::table().unwrap_or_default();
    let mount = table.iter().rfind(|mount| mount.at == path && mount.fstype == "nsfs");
    let Some((kind, number)) = mount.and_then(|mount| census::named(&mount.root.to_string_lossy())) else {
        return Err(Error::new(format!("no namespace is mounted on {}", path.display()))
            .rule("a pin is a mount, and mounts do not survive a reboot")
            .remedy("cutaway ns ls shows what is mounted where"));
    };
    Ok(Some((path, kind, number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_file_of_the_state_directory_and_a_path_is_itself() {
        let state = Path::new("/state");
        let pin = Pin::new("web", state).unwrap();
        assert_eq!(pin.path, Path::new("/state/namespaces/web"));
        assert_eq!(pin.journal, Path::new("/state/namespaces/web.journal"));
        let pin = Pin::new("/run/netns/web", state).unwrap();
        assert_eq!((pin.name.as_str(), pin.path.as_path()), ("run-netns-web", Path::new("/run/netns/web")));
        for bad in ["", "..", ".hidden", "a b", "web.journal", "/"] {
            assert!(Pin::new(bad, state).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pin_is_known_by_its_journal() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(all(state.path()).unwrap(), []);
        let pin = Pin::new("web", state.path()).unwrap();
        let wanted = Wanted {
            kind: "net",
            flag: CloneFlags::CLONE_NEWNET,
            pin: pin.clone(),
            pid: None,
            shared: false,
            uid: 0,
            gid: 0,
        };
        let plan = plan(&wanted);
        assert_eq!(plan.check(), Vec::<String>::new());
        let undo: Vec<Undo> = plan.steps.iter().flat_map(|step| step.undo.clone()).collect();
        std::fs::create_dir(state.path().join(FOLDER)).unwrap();
        let lines =
            ["{\"uses\":null}".to_owned(), serde_json::json!({ "step": "2", "undo": undo }).to_string()];
        std::fs::write(&pin.journal, lines.join("\n")).unwrap();
        assert_eq!(all(state.path()).unwrap(), std::slice::from_ref(&pin));
        assert_eq!(find("web", state.path()).unwrap(), Some(pin));
        assert!(unknown("other", state.path()).unwrap().to_string().contains("the pins are web"));
    }

    #[test]
    fn every_kind_has_a_sound_plan() {
        for (flag, kind) in crate::probe::ns::KINDS {
            for (pid, shared) in [(None, true), (Some(7), false)] {
                let pin = Pin::new("x", Path::new("/state")).unwrap();
                let plan = plan(&Wanted { kind, flag, pin, pid, shared, uid: 0, gid: 0 });
                assert_eq!(plan.check(), Vec::<String>::new());
            }
        }
    }
}
