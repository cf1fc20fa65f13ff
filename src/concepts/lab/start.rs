//! `cutaway lab start`: the lab's directory, what is in it, and what waits there for the student.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::concepts::layers::page::Page;
use crate::concepts::{Context, Stage};
use crate::error::{Error, Result};
use crate::lab::sheet::{Kind, Prepare};
use crate::lab::{Lab, check};
use crate::plan::{Bulk, Call, Plan, Spawn, Step, Undo, Wait, calls};
use crate::probe::Place;
use crate::probe::work;
use crate::report::style::Style;
use crate::state::progress::{self, Progress};
use crate::sys::flags::{Access, CloneFlags, OFlags, SigHow, Signal};
use crate::sys::{Errno, Slot, Syscall, Value};

/// So long a sleeper sleeps: longer than anybody works on a lab.
const HOURS: u32 = 24 * 3600;
const NULL: &str = "null";

/// What is made.
pub fn plan(lab: &Lab, context: &Context) -> Result<Stage> {
    if !context.explain {
        lab.can_be_done(&context.here)?;
        if lab.journal(&context.state).exists() {
            let number = lab.number();
            return Err(Error::new(format!("lab {number} is started already"))
                .rule(format!("you work in {}", lab.directory(&context.state).display()))
                .remedy(format!(
                    "`cutaway lab check {number}` looks, `cutaway lab reset {number}` begins again"
                )));
        }
    }
    let directory = lab.directory(&context.state);
    let mut plan = Plan::new(format!("lab start {}", lab.number()));
    plan.name = Some(format!("lab-{}", lab.number()));
    plan.stays = Some(lab.journal(&context.state));
    plan.notes = vec![format!("needs {}", lab.needs().join(", "))];
    plan.steps.extend(folder(context));
    plan.steps.push(own_directory(&directory));
    for one in &lab.sheet.prepare {
        plan.steps.extend(prepare(one, lab, &directory, context)?);
    }
    Ok(plan.into())
}

fn folder(context: &Context) -> Option<Step> {
    let folder = progress::folder(&context.state);
    (!folder.is_dir()).then(|| {
        Step::say("Make the folder of the labs")
            .why("It stays, with a note of how far you are. It belongs to you alone.")
            .call(Call::from(calls::mkdir(&folder, 0o700)).or(Errno::EEXIST))
    })
}

fn own_directory(directory: &PathBuf) -> Step {
    Step::say("Make the lab's directory")
        .why(
            "You work in here. A process whose working directory, root or open file is below it belongs to the lab, \
             with all that it starts: that is how a check finds your processes, and what a reset ends.",
        )
        .call(calls::mkdir(directory, 0o700))
        .undo([
            Undo::from(Bulk::EndWork { within: directory.clone() }),
            Bulk::RemoveTree { path: directory.clone() }.into(),
        ])
}

fn prepare(one: &Prepare, lab: &Lab, directory: &Path, context: &Context) -> Result<Vec<Step>> {
    Ok(match one {
        Prepare::Directory(name) => vec![
            Step::say("Make a directory in it")
                .why("It is empty. What becomes of it is up to you.")
                .call(calls::mkdir(directory.join(name), 0o755)),
        ],
        Prepare::File(name) => vec![file(name, 0o644, lab, directory)?],
        Prepare::Program(name) => vec![file(name, 0o755, lab, directory)?],
        Prepare::Group(controller) => vec![group(controller, lab, directory, context)?],
        Prepare::Sleepers { count, own, hostname } => {
            sleepers(*count, own, hostname.as_deref(), directory, context)
        }
    })
}

fn file(name: &str, mode: u32, lab: &Lab, directory: &Path) -> Result<Step> {
    let content = lab.source.files.iter().find(|(file, _)| *file == name).map(|(_, content)| *content);
    let content = content.ok_or_else(|| {
        Error::new(format!("lab {} has no file {name}", lab.number()))
            .remedy("this is a fault of cutaway: please report it")
    })?;
    let path = directory.join(name);
    let step = Step::say("Put a file there")
        .why("It is yours to read, run and change.")
        .calls(calls::create(&path, content));
    // The mode at creation passes the caller's mask; this one does not.
    Ok(step.call(Syscall::Fchmodat { dir: Value::CWD, path: path.into(), mode }))
}

fn group(controller: &str, lab: &Lab, directory: &Path, context: &Context) -> Result<Step> {
    let place = context.here.cgroups().place(controller, context.here.is_privileged());
    let (parent, enable) = match place {
        Place::V1(parent) => (parent, false),
        Place::V2 { parent, enable } => (parent, enable),
        Place::Nowhere(why) => {
            return Err(Error::new(format!("no group can be made for lab {}", lab.number()))
                .rule(why)
                .chapter("22"));
        }
    };
    let path = parent.join(format!("cutaway-lab-{}-{}", lab.number(), std::process::id()));
    let mut before: Vec<Call> = Vec::new();
    if enable {
        before.extend(calls::write(parent.join("cgroup.subtree_control"), format!("+{controller}")));
    }
    Ok(Step::say("Make a group for you")
        .why(
            "A directory of the control groups, empty, and yours until the reset. The link `group` in the lab's \
             directory leads to it.",
        )
        .chapter("22")
        .calls(before)
        .call(calls::mkdir(&path, 0o755))
        .call(calls::symlink(&path, directory.join("group")))
        .undo([Undo::from(Bulk::EmptyGroup { path: path.clone() }), calls::rmdir(&path).into()]))
}

/// Processes that only sleep: one in its namespaces, and the rest as its children in the same.
fn sleepers(
    count: usize,
    own: &[Kind],
    hostname: Option<&str>,
    directory: &Path,
    context: &Context,
) -> Vec<Step> {
    let mut flags: CloneFlags = own.iter().map(|kind| kind.flag()).collect();
    if !flags.is_empty() && !context.here.is_privileged() {
        flags |= CloneFlags::CLONE_NEWUSER;
    }
    let first = Slot::new("sleeper pid");
    let mut child = vec![settle(hostname, directory)];
    for number in 2..=count {
        let slot = Slot(format!("sleeper {number} pid").into());
        child.push(start_one(CloneFlags::empty(), &slot, vec![sleep()]));
        child.push(heard(slot));
    }
    child.push(sleep());
    vec![start_one(flags, &first, child), heard(first)]
}

fn start_one(flags: CloneFlags, into: &Slot, child: Vec<Step>) -> Step {
    Step::say("Start a process that only sleeps")
        .why("It stays when this command ends, until the reset. Look at it from outside.")
        .spawn(Spawn {
            clone: Syscall::Clone3 { flags, exit_signal: Some(Signal::SIGCHLD), cgroup: None },
            into: into.clone(),
            actor: "sleeper",
            child,
            meanwhile: Vec::new(),
        })
}

fn heard(slot: Slot) -> Step {
    Step::say("Hear it until it sleeps").why("After this it reports nothing.").wait(Wait::reports(slot))
}

/// What a sleeper holds of the terminal it lets go: a pipe behind this command would never end.
fn settle(hostname: Option<&str>, directory: &Path) -> Step {
    let name = hostname.map(|name| Syscall::Sethostname { name: name.into() });
    let null = calls::open("/dev/null", Access::O_RDWR, OFlags::empty(), NULL);
    Step::say("Go to the lab's directory, and let go of the terminal")
        .why("Whoever works there belongs to the lab. Signals that cutaway held back reach it again.")
        .call(calls::chdir(directory))
        .calls(name)
        .call(null)
        .calls((0..3).map(|fd| calls::dup_to(NULL, fd)))
        .call(calls::close(NULL))
        .call(Syscall::RtSigprocmask { how: SigHow::SIG_SETMASK, set: Vec::new() })
}

fn sleep() -> Step {
    Step::say("Sleep")
        .why("A day at most, should nobody end it before.")
        .part(Syscall::ClockNanosleep { seconds: HOURS })
}

/// The task, and the note that the lab is started.
pub fn task(lab: &Lab, context: &Context) -> Result<Stage> {
    let mut progress = Progress::load(&context.state)?;
    progress.current = Some(lab.number().to_owned());
    progress.note(lab.number(), |record| {
        (record.stages, record.hints, record.last) = (0, 0, None);
        record.facts = check::facts_at_start();
    });
    let (state, style, as_json, lab) = (context.state.clone(), context.style, context.json, lab.clone());
    Ok(Stage::Stream(Box::new(move |out| {
        progress.save(&state)?;
        let directory = lab.directory(&state);
        if as_json {
            let line = json!({ "lab": lab.number(), "directory": directory, "task": lab.source.readme });
            return super::line(out, &line);
        }
        let mut page = Page::new(out, style);
        page.line("");
        text(&mut page, lab.source.readme, &style);
        page.subheading("Where you work");
        page.entry("    cd ", &directory.display().to_string(), crate::report::style::Paint::Plain);
        let there = work::within(&directory);
        if lab.sheet.prepare.iter().any(|one| matches!(one, Prepare::Sleepers { .. })) {
            let pids: Vec<_> = there.iter().map(|one| one.pid.to_string()).collect();
            page.prose(&format!("Its processes: {}", pids.join(" ")));
        }
        page.line("");
        page.next(&[
            format!("cutaway lab check {}", lab.number()),
            format!("cutaway lab hint {}", lab.number()),
        ]);
        page.finish()
    })))
}

/// Markdown as it was written, with its headings told apart. Lines are kept short in the source.
pub fn text(page: &mut Page<'_>, markdown: &str, style: &Style) {
    for line in markdown.lines() {
        match line.trim_start_matches('#') {
            heading if heading.len() < line.len() => {
                let bold = style.paint(crate::report::style::Paint::Bold, heading.trim());
                page.line(&format!(" {bold}"));
            }
            _ => page.line(&format!(" {}", style.text(line))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_sheet_prepares_is_a_sound_plan() {
        let mut lab = Lab::find("13").unwrap();
        lab.sheet.prepare = vec![
            Prepare::Directory("root".to_owned()),
            Prepare::File("workload".to_owned()),
            Prepare::Program("workload".to_owned()),
            Prepare::Sleepers { count: 3, own: vec![Kind::Uts, Kind::Pid], hostname: Some("box".to_owned()) },
            Prepare::Sleepers { count: 1, own: Vec::new(), hostname: None },
        ];
        let context = Context::new("/nonexistent".into(), true, false);
        let Stage::Plan(plan) = plan(&lab, &context).unwrap() else { panic!("no plan") };
        assert_eq!(plan.check(), Vec::<String>::new());
        assert!(plan.stays.is_some());
        lab.sheet.prepare = vec![Prepare::File("none".to_owned())];
        assert!(super::plan(&lab, &context).err().unwrap().to_string().contains("has no file none"));
    }
}
