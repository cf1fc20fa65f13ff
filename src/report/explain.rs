//! `--explain`: the plan, told but not performed. It has no effect and needs no privilege.
//!
//! The text is the same every time on the same kind of host. It goes to stdout, because it is what was
//! asked for.

use serde_json::{Value as Json, json};

use super::failure;
use super::lanes::{INDENT, Lanes, indented, paragraph, shown, signed};
use super::style::{Glyph, Paint, Style, count};
use crate::plan::number::{self, Numbered};
use crate::plan::{Action, Bulk, Call, Gate, Plan, Step, Undo, Until, Wait, Watch};
use crate::probe::Probe;
use crate::sys::syscall::Bpf;
use crate::sys::{Errno, Syscall, manual};

/// The whole plan. `command` is what the user typed, `--explain` included or not; `verbose` is `-v`.
#[must_use]
pub fn explain(plan: &Plan, command: &[String], style: &Style, verbose: bool) -> String {
    let mut out = opening(plan, style);
    let all = number::walk(plan);
    let mut lanes = Lanes::default();
    // All names are known here: every lane is as wide as the widest from the first line on.
    for one in &all {
        lanes.label(one.actor, style);
    }
    for one in &all {
        out.push('\n');
        out.push_str(&step(one, &mut lanes, style, verbose));
    }
    out.push_str(&closing(plan, command, style));
    out
}

fn opening(plan: &Plan, style: &Style) -> String {
    let title = format!("cutaway {}", plan.title);
    let left = format!(" {}", style.paint(Paint::Bold, &title));
    let width = style.text(&title).chars().count() + 1;
    let mut out = style.beside(&left, width, &count(plan.count(), "step"));
    out.push('\n');
    let needs = match plan.needs.as_slice() {
        [] => "This needs no privilege.".to_owned(),
        needs => format!("This needs {}.", needs.join(", ")),
    };
    out.push_str(&indented(&needs, 1, Paint::Plain, style));
    for note in &plan.notes {
        out.push_str(&indented(note, 1, Paint::Plain, style));
    }
    out
}

fn closing(plan: &Plan, command: &[String], style: &Style) -> String {
    let words: Vec<_> = command.iter().filter(|word| *word != "--explain").map(|word| quoted(word)).collect();
    let command = if words.first().is_some_and(|word| word == "cutaway") {
        words.join(" ")
    } else {
        format!("cutaway {}", words.join(" "))
    };
    let undone = plan.steps.iter().any(has_undo);
    let undone = match (undone, &plan.stays) {
        (false, _) => "",
        (true, None) => " Every undo above is carried out at the end, or when a step fails.",
        (true, Some(_)) => " Every undo above is carried out when a step fails. Otherwise it is kept.",
    };
    let text = format!("Nothing was done.{undone} To perform this:");
    format!("\n{}   {}\n", indented(&text, 1, Paint::Plain, style), style.text(command.trim_end()))
}

fn has_undo(step: &Step) -> bool {
    !step.undo.is_empty() || step.children().any(|steps| steps.iter().any(has_undo))
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:=,+@%".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// One step: its sentence and reason, its calls unperformed, what will be shown, checked and undone.
#[must_use]
pub fn step(one: &Numbered<'_>, lanes: &mut Lanes, style: &Style, verbose: bool) -> String {
    let Numbered { id, actor, step } = one;
    let mut out = format!(" {id:<2} {}\n", style.paint(Paint::Bold, step.say));
    out.push_str(&indented(step.why, INDENT, Paint::Plain, style));
    if let (true, Some(chapter)) = (verbose, step.chapter) {
        out.push_str(&indented(&format!("read: {}", failure::chapter(chapter)), INDENT, Paint::Dim, style));
    }
    out.push_str(&action(&step.action, actor, lanes, style, verbose));
    let looks: Vec<_> = step.look_at.iter().map(Probe::title).collect();
    let label = if matches!(step.action, Action::Look) { "shows" } else { "shows before and after" };
    if !looks.is_empty() {
        out.push_str(&aside(&format!("{label}:"), &looks.join(", "), style));
    }
    for claim in &step.expect {
        out.push_str(&aside("checks:", &claim.to_string(), style));
    }
    for undo in &step.undo {
        out.push_str(&aside("undo:", &undo_text(undo), style));
    }
    out
}

fn aside(label: &str, text: &str, style: &Style) -> String {
    let left = INDENT + 2 + label.len() + 1;
    let label = format!("{:width$}{} ", "", style.paint(Paint::Dim, label), width = INDENT + 2);
    paragraph(text, &label, left, Paint::Plain, style)
}

fn action(action: &Action, actor: &str, lanes: &mut Lanes, style: &Style, verbose: bool) -> String {
    match action {
        Action::Calls(calls) => {
            let mut seen = Vec::new();
            let told = calls.iter().map(|call| one_call(call, actor, &mut seen, lanes, style, verbose));
            let mut told: String = told.collect();
            if calls.iter().any(|call| call.attempt.is_some()) {
                told.push_str(&lanes.said(actor, "the kernel may refuse: that is tried", Paint::Dim, style));
            }
            told
        }
        Action::Spawn(spawn) => {
            let text = format!("{} = {}", spawn.clone, spawn.into);
            let mut out = lanes.call(actor, &text, Paint::Plain, None, style);
            out.push_str(&meaning(&spawn.clone, actor, &mut Vec::new(), lanes, style, verbose));
            out.push_str(&lanes.said(
                spawn.actor,
                "begins here, at the next step of its own",
                Paint::Dim,
                style,
            ));
            out
        }
        Action::Gate(gate) => lanes.said(actor, &gate_text(gate, actor), Paint::Dim, style),
        Action::Bulk(bulk) => {
            let text = format!("{} (thousands of calls, told as a sum)", bulk_text(bulk));
            signed(INDENT, style.glyph(Glyph::Sum), Paint::Bold, &text, style)
        }
        Action::Exec(candidates) => exec(candidates, actor, lanes, style, verbose),
        Action::Part(syscall) => {
            let mut text = lanes.call(actor, &syscall.to_string(), Paint::Plain, None, style);
            text.push_str(&meaning(syscall, actor, &mut Vec::new(), lanes, style, verbose));
            text + &lanes.said(actor, PARTS, Paint::Dim, style)
        }
        Action::Wait(wait) => lanes.said(actor, &wait_text(wait), Paint::Plain, style),
        Action::Watch(watch) => {
            let mut out = lanes.said(actor, &watch_text(watch), Paint::Plain, style);
            for finding in &watch.shows {
                out.push_str(&aside("checks:", &finding.text(&watch.meters), style));
            }
            out
        }
        Action::Look => String::new(),
        Action::Skip(why) => {
            signed(INDENT, style.glyph(Glyph::Dash), Paint::Notice, &format!("skipped: {why}"), style)
        }
    }
}

fn one_call(
    call: &Call,
    actor: &str,
    seen: &mut Vec<&'static str>,
    lanes: &mut Lanes,
    style: &Style,
    verbose: bool,
) -> String {
    let into = call.into.as_ref().map(|slot| format!(" = {slot}")).unwrap_or_default();
    let allowed: Vec<_> = call.allowed.iter().map(|errno| format!("{:?}", Errno::from_raw(*errno))).collect();
    let expected = match allowed.as_slice() {
        [] => String::new(),
        names => format!("  ({} would be expected here)", names.join(" or ")),
    };
    let text = format!("{}{into}{expected}", call.syscall);
    lanes.call(actor, &text, Paint::Plain, None, style)
        + &meaning(&call.syscall, actor, seen, lanes, style, verbose)
        + &content(&call.syscall, actor, lanes, style, verbose)
}

/// With `-v`: the instructions of a program, which the notation only counts.
fn content(call: &Syscall, actor: &str, lanes: &mut Lanes, style: &Style, verbose: bool) -> String {
    let Syscall::Bpf(Bpf::LoadDeviceProgram { insns, .. }) = call else { return String::new() };
    if !verbose {
        return String::new();
    }
    let (_, left) = lanes.label(actor, style);
    let line = |(at, insn)| indented(&format!("{at:>3}: {insn}"), left, Paint::Dim, style);
    insns.iter().enumerate().map(line).collect()
}

/// With `-v`: the man page and what the call does, once for each name.
fn meaning(
    call: &Syscall,
    actor: &str,
    seen: &mut Vec<&'static str>,
    lanes: &mut Lanes,
    style: &Style,
    verbose: bool,
) -> String {
    if !verbose || seen.contains(&call.name()) {
        return String::new();
    }
    seen.push(call.name());
    let Some(entry) = manual::entry(call.name()) else { return String::new() };
    let (_, left) = lanes.label(actor, style);
    indented(&format!("{}: {}", entry.page, entry.meaning), left, Paint::Dim, style)
}

fn exec(candidates: &[Syscall], actor: &str, lanes: &mut Lanes, style: &Style, verbose: bool) -> String {
    let mut out = String::new();
    if candidates.len() > 1 {
        out.push_str(&lanes.said(actor, "the first of these that can be executed:", Paint::Dim, style));
    }
    let mut seen = Vec::new();
    for call in candidates {
        out.push_str(&lanes.call(actor, &call.to_string(), Paint::Plain, None, style));
        out.push_str(&meaning(call, actor, &mut seen, lanes, style, verbose));
    }
    out
}

/// What happens at a gate, as a sentence without its subject.
#[must_use]
pub fn gate_text(gate: &Gate, actor: &str) -> String {
    let other = if actor == number::PARENT { "the child" } else { "the other side" };
    match gate {
        Gate::Open(name) => format!("lets {other} pass the gate \"{name}\""),
        Gate::Pass(name) => format!("waits at the gate \"{name}\" until {other} opens it"),
        Gate::Hand(slot) => format!("hands the descriptor {slot} to {other}"),
        Gate::Take(slot) => format!("takes the descriptor {slot} from {other}"),
        Gate::ParentLives => "makes sure that cutaway still lives".to_owned(),
    }
}

/// What is said of a process that parts.
const PARTS: &str = "closes its report socket first: how this call ends cannot be told";

fn wait_text(wait: &Wait) -> String {
    if wait.only_reports {
        return format!("hears {} until it stops reporting", wait.pid);
    }
    let mut text = format!("waits until {} ends, and passes on signals", wait.pid);
    if wait.terminal.is_some() {
        text.push_str(", what is typed, and what is printed");
    }
    if wait.as_init {
        text.push_str("; as PID 1 it also reaps what is orphaned to it");
    }
    text
}

fn watch_text(watch: &Watch) -> String {
    let names: Vec<_> = watch.meters.iter().map(|meter| meter.name.as_ref()).collect();
    let name = |at: usize| names.get(at).copied().unwrap_or_default();
    let until = match &watch.until {
        Until::Readings(count) => format!("{count} times"),
        Until::Reached { meter, at, most } => format!("until {} is {at}, at most {most} times", name(*meter)),
        Until::Ended { pid, how } => format!("until {pid} ends, with: {how}"),
        Until::Enough { most: None } => "until Ctrl-C".to_owned(),
        Until::Enough { most: Some(most) } => format!("until Ctrl-C, at most {most} times"),
    };
    format!("reads {} every {} ms, {until}", names.join(", "), watch.every)
}

/// Bulk work as an imperative sentence with its subject.
#[must_use]
pub fn bulk_text(bulk: &Bulk) -> String {
    match bulk {
        Bulk::RemoveTree { path } => format!("remove {} and everything below it", path.display()),
        Bulk::EmptyGroup { path } => {
            format!("kill every process of the cgroup {} and wait for it", path.display())
        }
        Bulk::EndWork { within } => {
            format!("end every process that works in {}, the caller's own shells apart", within.display())
        }
        Bulk::KillProcess { pid, .. } => {
            format!("kill process {pid}, if it still is the one that was started")
        }
        Bulk::RestoreTerminal { path, .. } => {
            format!("put the settings of the terminal {} back", path.display())
        }
        Bulk::LoadImage { source, name, .. } => {
            let name = name.as_ref().map(|name| format!(" as {name}")).unwrap_or_default();
            let source = source.display();
            format!("copy the image {source} into the store{name}, verify its digests, unpack its layers")
        }
        Bulk::BuildDemo { state } => {
            format!("build the demo image from programs of this machine, in {}", state.display())
        }
        Bulk::UnpackImage { name, .. } => format!("unpack the layers of {name} that are not unpacked yet"),
        Bulk::SweepStore { state } => {
            format!("remove what interrupted loads have left in {}", state.display())
        }
        Bulk::UnpackLayers { source, into, .. } => {
            format!("verify and unpack the layers of {} below {}", source.display(), into.display())
        }
        Bulk::ExtractFile { source, layer, to, .. } => {
            format!("copy a file of layer {layer} of {} to {}", source.display(), to.display())
        }
        Bulk::ForgetJournal { name, .. } => format!("remove the journal of {name}"),
        Bulk::RemoveImage { name, .. } => format!("remove the image {name} and what no other image uses"),
    }
}

/// An undo as it will be carried out.
#[must_use]
pub fn undo_text(undo: &Undo) -> String {
    match undo {
        Undo::Call(call) => call.to_string(),
        Undo::Bulk(bulk) => bulk_text(bulk),
    }
}

/// The plan as JSON lines: a `plan` event, then one `step` for each step with its calls unperformed.
#[must_use]
pub fn explain_json(plan: &Plan, command: &[String]) -> Vec<String> {
    let head = json!({
        "event": "plan",
        "command": command,
        "title": plan.title,
        "version": super::event::VERSION,
        "steps": plan.count(),
        "notes": plan.notes,
        "needs": plan.needs,
    });
    let steps = number::walk(plan).into_iter().map(|one| step_json(&one).to_string());
    std::iter::once(head.to_string()).chain(steps).collect()
}

fn step_json(one: &Numbered<'_>) -> Json {
    let Numbered { id, actor, step } = one;
    json!({
        "event": "step",
        "id": id,
        "actor": actor,
        "say": step.say,
        "why": step.why,
        "chapter": step.chapter,
        "action": action_json(&step.action, actor),
        "undo": step.undo.iter().map(undo_text).collect::<Vec<_>>(),
        "expect": step.expect.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "look_at": step.look_at.iter().map(Probe::title).collect::<Vec<_>>(),
    })
}

fn action_json(action: &Action, actor: &str) -> Json {
    let calls = |all: &[Syscall]| all.iter().map(|call| call_json(&call.clone().into())).collect::<Vec<_>>();
    match action {
        Action::Calls(calls) => {
            json!({"kind": "calls", "calls": calls.iter().map(call_json).collect::<Vec<_>>()})
        }
        Action::Spawn(spawn) => {
            let call = Call { into: Some(spawn.into.clone()), ..spawn.clone.clone().into() };
            json!({"kind": "spawn", "calls": [call_json(&call)], "child": shown(spawn.actor)})
        }
        Action::Gate(gate) => json!({"kind": "gate", "text": gate_text(gate, actor)}),
        Action::Bulk(bulk) => json!({"kind": "bulk", "text": bulk_text(bulk)}),
        Action::Exec(candidates) => json!({"kind": "exec", "calls": calls(candidates)}),
        Action::Part(syscall) => json!({"kind": "part", "calls": calls(std::slice::from_ref(syscall))}),
        Action::Wait(wait) => json!({"kind": "wait", "text": wait_text(wait)}),
        Action::Watch(watch) => json!({
            "kind": "watch",
            "text": watch_text(watch),
            "shows": watch.shows.iter().map(|finding| finding.text(&watch.meters)).collect::<Vec<_>>(),
        }),
        Action::Look => json!({"kind": "look"}),
        Action::Skip(why) => json!({"kind": "skip", "why": why}),
    }
}

fn call_json(call: &Call) -> Json {
    let allowed: Vec<_> = call.allowed.iter().map(|errno| format!("{:?}", Errno::from_raw(*errno))).collect();
    json!({
        "syscall": call.syscall.name(),
        "text": call.syscall.to_string(),
        "into": call.into.as_ref().map(ToString::to_string),
        "allowed": allowed,
        "refused": call.refused.map(|errno| format!("{:?}", Errno::from_raw(errno))),
        "attempt": call.attempt.is_some(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Spawn;
    use crate::probe::Claim;
    use crate::sys::bpf::Insn;
    use crate::sys::flags::{CloneFlags, MntFlags, Signal};
    use crate::sys::{Slot, Text};

    fn plan() -> Plan {
        let clone = Syscall::Clone3 {
            flags: CloneFlags::CLONE_NEWUTS,
            exit_signal: Some(Signal::SIGCHLD),
            cgroup: None,
        };
        let pid = Slot::new("child pid");
        let uid_map = Text::from("/proc/").then_later(pid.clone()).then("/uid_map");
        let child = vec![
            Step::say("Rename the machine")
                .call(Call::from(Syscall::Sethostname { name: "box".into() }).or(Errno::EPERM))
                .expect([Claim::Hostname("box".into())])
                .look_at([Probe::Hostname]),
            Step::say("Become the program").exec(vec![
                Syscall::Execve { path: "/bin/sh".into(), argv: vec!["sh".into()], envp: vec![] },
                Syscall::Execve { path: "/usr/bin/sh".into(), argv: vec!["sh".into()], envp: vec![] },
            ]),
        ];
        let meanwhile = vec![
            Step::say("Look at its map")
                .call(Call::from(Syscall::Chdir { path: uid_map }).into_slot("place")),
            Step::say("Let it go on").gate(Gate::Open("mapped")),
        ];
        let mut plan = Plan::new("ns uts");
        plan.notes = vec!["cgroup: hybrid; memory and pids are v1 here".to_owned()];
        plan.needs = vec!["CAP_SYS_ADMIN"];
        plan.steps = vec![
            Step::say("Limit the memory").skip("no memory controller here"),
            Step::say("Start a child")
                .why("It has names of its own.")
                .spawn(Spawn { clone, into: pid.clone(), actor: "child", child, meanwhile })
                .undo([Syscall::Umount2 { target: "/m".into(), flags: MntFlags::MNT_DETACH }]),
            Step::say("Wait for its end").wait(Wait {
                pid,
                terminal: None,
                as_init: false,
                only_reports: false,
            }),
        ];
        plan
    }

    #[test]
    fn a_plan_reads_as_its_story_without_results() {
        let command = ["cutaway", "--explain", "ns", "uts", "a b"].map(str::to_owned);
        let expected = r#" cutaway ns uts                                                         7 steps
 This needs CAP_SYS_ADMIN.
 cgroup: hybrid; memory and pids are v1 here

 1  Limit the memory
    – skipped: no memory controller here

 2  Start a child
    It has names of its own.
    host   clone3({flags=CLONE_NEWUTS, exit_signal=SIGCHLD, stack=NULL,
               stack_size=0}, 88) = <child pid>
    child  begins here, at the next step of its own
      undo: umount2("/m", MNT_DETACH)

 2.a Look at its map
    host   chdir("/proc/<child pid>/uid_map") = <place>

 2.b Let it go on
    host   lets the child pass the gate "mapped"

 2.1 Rename the machine
    child  sethostname("box", 3)  (EPERM would be expected here)
      shows before and after: names
      checks: the host name is box

 2.2 Become the program
    child  the first of these that can be executed:
    child  execve("/bin/sh", ["sh"], /* 0 vars */)
    child  execve("/usr/bin/sh", ["sh"], /* 0 vars */)

 3  Wait for its end
    host   waits until <child pid> ends, and passes on signals

 Nothing was done. Every undo above is carried out at the end, or when a step
 fails. To perform this:
   cutaway ns uts 'a b'
"#;
        assert_eq!(explain(&plan(), &command, &Style::plain(), false), expected);
    }

    #[test]
    fn verbose_adds_the_manual() {
        let text = explain(&plan(), &[], &Style::plain(), true);
        assert!(
            text.contains("           sethostname(2): sets the host name of this UTS namespace\n"),
            "{text}"
        );
    }

    #[test]
    fn as_json_every_step_has_a_line() {
        let lines = explain_json(&plan(), &["ns".to_owned(), "uts".to_owned()]);
        let lines: Vec<Json> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 1 + plan().count());
        assert_eq!((&lines[0]["event"], &lines[0]["steps"]), (&json!("plan"), &json!(7)));
        let spawn = &lines[2]["action"]["calls"][0];
        assert_eq!((&spawn["syscall"], &spawn["into"]), (&json!("clone3"), &json!("<child pid>")));
        assert_eq!(lines[5]["action"]["calls"][0]["allowed"], json!(["EPERM"]));
        assert_eq!(lines[5]["expect"], json!(["the host name is box"]));
    }

    #[test]
    fn words_are_quoted_as_a_shell_needs_it() {
        assert_eq!(["a", "a b", "", "it's"].map(quoted), ["a", "'a b'", "''", "'it'\\''s'"]);
    }

    #[test]
    fn with_verbose_a_program_is_listed() {
        let load =
            Bpf::LoadDeviceProgram { insns: vec![Insn::set(0, 1), Insn::exit()], license: "MIT".into() };
        let mut plan = Plan::new("test");
        plan.steps = vec![Step::say("Load it").call(Syscall::Bpf(load))];
        let listed = explain(&plan, &[], &Style::plain(), true);
        assert!(listed.contains("0: r0 = 1\n") && listed.contains("1: exit\n"), "{listed}");
        assert!(!explain(&plan, &[], &Style::plain(), false).contains("r0 = 1"));
    }
}
