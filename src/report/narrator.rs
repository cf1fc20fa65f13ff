//! The narrator tells people what happens, as it happens, on the terminal.
//!
//! It sees nothing but events, prints each at once, and adds nothing to them: what it says of a call is what
//! the call returned. The only lines that wait are those of a run of equal calls (see `run`), until
//! it is clear whether they fold.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Write;

use serde_json::Value as Json;

use super::chart::Chart;
use super::event::{Event, Scale, When};
use super::gauge::Gauge;
use super::lanes::{INDENT, Lanes, indented, shown, signed};
use super::run::{Ended, Run, Told};
use super::style::{Glyph, Paint, Style, bytes, count, thousands};
use super::{Observer, Pointer, failure, state, wrap};
use crate::plan::number::PARENT;
use crate::sys::manual;

/// Prose longer than this many lines is told in part; `-v` and the chapter have the whole.
const LONGEST_WHY: usize = 4;

/// Tells events to people.
pub struct Narrator {
    out: Box<dyn Write>,
    style: Style,
    verbose: bool,
    /// Whether work that takes long has a bar on the terminal.
    bars: bool,
    lanes: Lanes,
    /// The sentences of the steps so far, to repeat them when a step is taken up again.
    sentences: HashMap<String, String>,
    /// The step whose heading was printed last.
    heading: Option<String>,
    entered: HashMap<i32, (String, String, String)>,
    before: HashMap<(String, String, String), Json>,
    explained: HashSet<(String, String)>,
    run: Run,
    /// The meters that are being read.
    chart: Option<Chart>,
    undoing: bool,
    seen: Seen,
}

/// What the last line counts.
#[derive(Debug, Default)]
struct Seen {
    steps: usize,
    changes: usize,
    failed: bool,
    left: Option<Vec<String>>,
    kept: bool,
}

impl Observer for Narrator {
    fn observe(&mut self, event: &Event) {
        if !self.continues(event) {
            self.end_run();
        }
        let text = self.tell(event);
        self.write(&text);
    }

    fn gauge(&self, what: &str) -> Option<Gauge> {
        self.bars.then(|| Gauge::of_bytes(what, self.style))
    }

    fn point(&mut self, pointers: &[Pointer]) {
        let text = pointed(pointers, &self.style);
        self.write(&text);
    }

    fn flush(&mut self) {
        self.end_run();
        let _ = self.out.flush();
    }
}

impl Narrator {
    /// A narrator that writes to `out`; `verbose` is `-v`.
    #[must_use]
    pub fn new(out: Box<dyn Write>, style: Style, verbose: bool) -> Self {
        Self {
            out,
            style,
            verbose,
            bars: false,
            lanes: Lanes::default(),
            sentences: HashMap::new(),
            heading: None,
            entered: HashMap::new(),
            before: HashMap::new(),
            explained: HashSet::new(),
            run: Run::default(),
            chart: None,
            undoing: false,
            seen: Seen::default(),
        }
    }

    /// The same, with a bar for work that takes long.
    #[must_use]
    pub fn bars(self, bars: bool) -> Self {
        Self { bars, ..self }
    }

    /// What cannot be written is lost: a reader who has gone must not stop the work or its undoing.
    fn write(&mut self, text: &str) {
        if !text.is_empty() {
            let _ = self.out.write_all(text.as_bytes());
        }
    }

    fn tell(&mut self, event: &Event) -> String {
        match event {
            Event::Plan { title, steps, notes, needs, .. } => self.plan(title, *steps, notes, needs),
            Event::Step { id, say, why, chapter, .. } => self.step(id, say, why, chapter.as_deref()),
            Event::StepDone { .. } => String::new(),
            Event::Entered { step, actor, pid, text, .. } => {
                self.entered.insert(*pid, (step.clone(), actor.clone(), text.clone()));
                String::new()
            }
            Event::Call { .. } => self.call(event),
            Event::State { step, actor, when, probe, value } => self.state(step, actor, *when, probe, value),
            Event::Claim { step, actor, claim, held, saw } => {
                self.claim(step, actor, claim, *held, saw.as_deref())
            }
            Event::Skipped { step, why, .. } => self.skipped(step, why),
            Event::Gate { step, actor, text } => self.take_up(step) + &self.said(actor, text, Paint::Dim),
            Event::Bulk { .. } => self.bulk(event),
            Event::Watch { step, every, meters, .. } => self.watch(step, meters, *every),
            Event::Reading { ms, values, .. } => {
                self.chart.as_ref().map(|chart| chart.row(*ms, values, &self.style)).unwrap_or_default()
            }
            Event::Signal { actor, signal, text } => {
                self.said(actor, &format!("{signal}: {text}"), Paint::Notice)
            }
            Event::Undo { steps, because } => self.undo(*steps, because),
            Event::Undone { steps, of, left } => self.undone(*steps, *of, left),
            Event::Kept { steps, remedy } => self.kept(*steps, remedy),
            Event::Exit { actor, pid, text, .. } => self.unfinished(Some(*pid)) + &self.exit(actor, text),
            Event::Error { step, actor, error } => {
                self.seen.failed = true;
                let told = self.unfinished_of(actor);
                let place = step.as_deref().map(|id| self.take_up(id)).unwrap_or_default();
                format!("{place}{told}\n{}", failure::render(error, &self.style))
            }
            Event::Done { status, us } => self.done(*status, *us),
        }
    }

    fn plan(&self, title: &str, steps: usize, notes: &[String], needs: &[String]) -> String {
        let title = if title.starts_with("cutaway") { title.to_owned() } else { format!("cutaway {title}") };
        let title = self.style.text(&title).into_owned();
        let left = format!(" {}", self.style.paint(Paint::Bold, &title));
        let mut out = self.style.beside(&left, title.chars().count() + 1, &count(steps, "step"));
        out.push('\n');
        let needs = (self.verbose && !needs.is_empty()).then(|| format!("needs {}", needs.join(", ")));
        for note in notes.iter().chain(&needs) {
            out.push_str(&indented(note, 1, Paint::Plain, &self.style));
        }
        out
    }

    fn step(&mut self, id: &str, say: &str, why: &str, chapter: Option<&str>) -> String {
        self.seen.steps += 1;
        self.sentences.insert(id.to_owned(), say.to_owned());
        self.heading = Some(id.to_owned());
        let mut out = format!("\n{}", self.headline(id, say, ""));
        let why =
            if self.verbose { why } else { shortened(why, self.style.width.saturating_sub(INDENT + 1)) };
        out.push_str(&indented(why, INDENT, Paint::Plain, &self.style));
        if let (true, Some(chapter)) = (self.verbose, chapter) {
            let text = format!("read: {}", failure::chapter(chapter));
            out.push_str(&indented(&text, INDENT, Paint::Dim, &self.style));
        }
        out
    }

    fn headline(&self, id: &str, say: &str, suffix: &str) -> String {
        let say = self.style.paint(Paint::Bold, say);
        format!(" {id:<2} {say}{}\n", self.style.paint(Paint::Dim, suffix))
    }

    /// The heading of a step that is gone on with, if another's was printed since.
    fn take_up(&mut self, id: &str) -> String {
        if self.heading.as_deref() == Some(id) {
            return String::new();
        }
        let Some(say) = self.sentences.get(id) else { return String::new() };
        let suffix = if self.undoing { " (undoing)" } else { " (continued)" };
        let line = format!("\n{}", self.headline(id, say, suffix));
        self.heading = Some(id.to_owned());
        line
    }

    /// A sentence in an actor's lane.
    fn said(&mut self, actor: &str, text: &str, paint: Paint) -> String {
        self.lanes.said(actor, text, paint, &self.style)
    }

    fn line(&mut self, actor: &str, text: &str, paint: Paint, us: Option<u64>) -> String {
        self.lanes.call(actor, text, paint, us, &self.style)
    }

    /// Whether the event belongs to the run of calls that is being held back.
    fn continues(&self, event: &Event) -> bool {
        match event {
            Event::Entered { step, actor, syscall, .. } | Event::Call { step, actor, syscall, .. } => {
                !self.verbose && self.run.may_take(step, actor, syscall)
            }
            _ => false,
        }
    }

    fn call(&mut self, event: &Event) -> String {
        let Event::Call { step, actor, pid, syscall, errno, us, undo, inferred, result, .. } = event else {
            return String::new();
        };
        self.entered.remove(pid);
        let plain = errno.is_none() && !inferred;
        let told = told(event);
        if errno.is_none() && !undo && manual::changes(syscall, &told.text) {
            self.seen.changes += 1;
        }
        if plain && !self.verbose && self.run.takes(&told) {
            return String::new();
        }
        let mut out = self.ended_run();
        out.push_str(&self.take_up(step));
        let (text, paint) = finished(event);
        out.push_str(&self.line(actor, &text, paint, (!inferred && result != UNSEEN).then_some(*us)));
        out.push_str(&self.manual(step, actor, syscall));
        if plain {
            self.run.begin(told);
        }
        out
    }

    /// With `-v`: the man page and the meaning, once for each call and step.
    fn manual(&mut self, step: &str, actor: &str, syscall: &str) -> String {
        if !self.verbose || !self.explained.insert((step.to_owned(), syscall.to_owned())) {
            return String::new();
        }
        let Some(entry) = manual::entry(syscall) else { return String::new() };
        let (_, left) = self.lanes.label(actor, &self.style);
        indented(&format!("{}: {}", entry.page, entry.meaning), left, Paint::Dim, &self.style)
    }

    fn end_run(&mut self) {
        let text = self.ended_run();
        self.write(&text);
    }

    fn ended_run(&mut self) -> String {
        let dots = self.style.glyph(Glyph::Dots);
        match self.run.end(dots) {
            None => String::new(),
            Some(Ended::Each(all)) => all
                .iter()
                .map(|one| {
                    self.line(
                        &one.actor,
                        &format!("{} = {}", one.text, one.result),
                        Paint::Plain,
                        Some(one.us),
                    )
                })
                .collect(),
            Some(Ended::Folded { count, text, values, sample, us }) => {
                let line = format!("{dots} {count} more {text} = {}: {}", sample.result, values.join(", "));
                self.line(&sample.actor, &line, Paint::Plain, Some(us))
            }
        }
    }

    fn state(&mut self, step: &str, actor: &str, when: When, probe: &str, value: &Json) -> String {
        let key = (step.to_owned(), actor.to_owned(), probe.to_owned());
        let heading = format!("{probe}, seen by {}", shown(actor));
        match when {
            When::Before => {
                self.before.insert(key, value.clone());
                String::new()
            }
            When::Now => self.take_up(step) + &state::snapshot(&heading, value, &self.style, self.verbose),
            When::After => {
                let place = self.take_up(step);
                let shown = match self.before.remove(&key) {
                    Some(before) => state::changes(&heading, &before, value, &self.style, self.verbose),
                    None => state::snapshot(&heading, value, &self.style, self.verbose),
                };
                place + &shown
            }
        }
    }

    fn claim(&mut self, step: &str, actor: &str, claim: &str, held: bool, saw: Option<&str>) -> String {
        let place = self.take_up(step);
        let (glyph, paint) = if held { (Glyph::Tick, Paint::Good) } else { (Glyph::Cross, Paint::Bad) };
        self.seen.failed |= !held;
        let sign = self.style.glyph(glyph);
        let saw = saw.map(|saw| format!("; {} sees: {saw}", shown(actor))).unwrap_or_default();
        place + &signed(6, sign, paint, &format!("{claim}{saw}"), &self.style)
    }

    fn watch(&mut self, step: &str, meters: &[Scale], every: u32) -> String {
        let place = self.take_up(step);
        let chart = Chart::new(meters, every, &self.style);
        let heading = chart.heading(&self.style);
        self.chart = Some(chart);
        place + &heading
    }

    fn skipped(&mut self, step: &str, why: &str) -> String {
        self.seen.steps = self.seen.steps.saturating_sub(1);
        let sign = self.style.glyph(Glyph::Dash);
        self.take_up(step) + &signed(INDENT, sign, Paint::Notice, &format!("skipped: {why}"), &self.style)
    }

    fn bulk(&mut self, event: &Event) -> String {
        let Event::Bulk { step, what, subject, counts, calls, us, undo, remarks, .. } = event else {
            return String::new();
        };
        if !undo {
            self.seen.changes += usize::try_from(calls.values().sum::<u64>()).unwrap_or(usize::MAX);
        }
        let text = format!("{what} {subject}: {}", amounts(counts, calls, &self.style.duration(*us)));
        let sign = self.style.glyph(Glyph::Sum);
        let mut out = self.take_up(step) + &signed(INDENT, sign, Paint::Bold, &text, &self.style);
        let dash = self.style.glyph(Glyph::Dash);
        for remark in remarks {
            out.push_str(&signed(INDENT + 2, dash, Paint::Notice, remark, &self.style));
        }
        out
    }

    fn undo(&mut self, steps: usize, because: &str) -> String {
        self.undoing = true;
        self.heading = None;
        let title = self.style.paint(Paint::Bold, "Take back what was done");
        let why = format!("{because}: {}", count(steps, "step"));
        format!("\n{:INDENT$}{title}\n{}", "", indented(&why, INDENT, Paint::Plain, &self.style))
    }

    fn undone(&mut self, steps: usize, of: usize, left: &[String]) -> String {
        self.undoing = false;
        self.heading = None;
        self.seen.left = Some(left.to_vec());
        if of == 0 && left.is_empty() {
            return String::new();
        }
        let rest = match left {
            [] => "Nothing is left behind.".to_owned(),
            left => format!("Left behind: {}. Remove it with: cutaway cleanup", left.join(", ")),
        };
        let text = format!("Undone: {steps} of {}. {rest}", count(of, "step"));
        format!("\n{}", indented(&text, 3, Paint::Plain, &self.style))
    }

    fn kept(&mut self, steps: usize, remedy: &str) -> String {
        self.heading = None;
        self.seen.kept = true;
        let text = format!("Kept: {} stay done. To undo them: {remedy}", count(steps, "step"));
        format!("\n{}", indented(&text, 3, Paint::Plain, &self.style))
    }

    fn exit(&mut self, actor: &str, text: &str) -> String {
        if actor == PARENT { String::new() } else { self.said(actor, text, Paint::Plain) }
    }

    /// The calls that were entered and never returned: of one process, or of all.
    fn unfinished(&mut self, pid: Option<i32>) -> String {
        let mut pids: Vec<i32> =
            self.entered.keys().copied().filter(|one| pid.is_none_or(|pid| *one == pid)).collect();
        pids.sort_unstable();
        pids.into_iter().map(|pid| self.never_returned(pid)).collect()
    }

    fn unfinished_of(&mut self, actor: &str) -> String {
        let all = self.entered.iter().filter(|(_, (_, who, _))| who == actor);
        let mut pids: Vec<i32> = all.map(|(pid, _)| *pid).collect();
        pids.sort_unstable();
        pids.into_iter().map(|pid| self.never_returned(pid)).collect()
    }

    fn never_returned(&mut self, pid: i32) -> String {
        let Some((step, actor, text)) = self.entered.remove(&pid) else { return String::new() };
        let line = format!("{text} = ?  (entered, never returned)");
        self.take_up(&step) + &self.line(&actor, &line, Paint::Notice, None)
    }

    fn done(&mut self, status: i32, us: u64) -> String {
        let mut out = self.unfinished(None);
        let mut parts = vec![
            count(self.seen.steps, "step"),
            format!(
                "{} that {} something",
                count(self.seen.changes, "call"),
                if self.seen.changes == 1 { "changes" } else { "change" }
            ),
        ];
        match &self.seen.left {
            Some(left) if left.is_empty() => parts.push("nothing left behind".to_owned()),
            Some(left) => parts.push(format!("left behind: {}", left.join(", "))),
            None if self.seen.kept => parts.push("kept until it is cleaned up".to_owned()),
            None => {}
        }
        if status != 0 {
            parts.push(format!("exit code {status}"));
        }
        let bad = self.seen.failed || self.seen.left.as_ref().is_some_and(|left| !left.is_empty());
        let (glyph, paint) = if bad { (Glyph::Cross, Paint::Bad) } else { (Glyph::Tick, Paint::Good) };
        let sign = self.style.glyph(glyph);
        let text = signed(1, sign, paint, &parts.join(", "), &self.style);
        let width = plain_width(text.trim_end().lines().last().unwrap_or_default());
        out.push('\n');
        out.push_str(&self.style.beside(text.trim_end(), width, &self.style.duration(us)));
        out.push('\n');
        out
    }
}

/// Pointers in a line, or in several where the screen is narrow.
fn pointed(pointers: &[Pointer], style: &Style) -> String {
    let dot = format!("  {}  ", style.glyph(Glyph::Dot));
    let room = style.width.saturating_sub(LEFT + 1);
    let mut lines: Vec<String> = Vec::new();
    for (label, text) in pointers {
        let one = style.text(&format!("{label}: {text}")).into_owned();
        match lines.last_mut() {
            Some(line) if (line.chars().count() + dot.chars().count() + one.chars().count()) <= room => {
                line.push_str(&dot);
                line.push_str(&one);
            }
            _ => lines.push(one),
        }
    }
    lines.iter().fold(String::new(), |text, line| text + &" ".repeat(LEFT) + line + "\n")
}

/// Where the last lines stand.
const LEFT: usize = 3;

/// A `call` event as the run of calls keeps it.
fn told(event: &Event) -> Told {
    let Event::Call { step, actor, syscall, text, result, us, .. } = event else { return Told::default() };
    let (step, actor, syscall) = (step.clone(), actor.clone(), syscall.clone());
    Told { step, actor, syscall, text: text.clone(), result: result.clone(), us: *us }
}

/// The line of a finished call, and its look.
/// The result that strace prints where it saw none.
const UNSEEN: &str = "?";

fn finished(event: &Event) -> (String, Paint) {
    let Event::Call { text, result, errno, allowed, inferred, .. } = event else { return Default::default() };
    let call = format!("{text} = {result}");
    match (errno, allowed) {
        (Some(name), true) => (format!("{call} {}  (expected)", manual::errno_named(name)), Paint::Notice),
        (Some(name), false) => (format!("{call} {}", manual::errno_named(name)), Paint::Bad),
        (None, true) => (format!("{call}  (a refusal, as expected)"), Paint::Notice),
        (None, _) if result == UNSEEN => (format!("{call}  (it may outlive the telling)"), Paint::Plain),
        (None, _) if *inferred => {
            (format!("{call}  (concluded: the report socket closed, as it does on exec)"), Paint::Plain)
        }
        (None, _) => (call, Paint::Plain),
    }
}

/// The sentences that fit into the longest reason that is told; at least one.
fn shortened(why: &str, width: usize) -> &str {
    if wrap::prose(why, width).len() <= LONGEST_WHY {
        return why;
    }
    let ends = why.match_indices(". ").map(|(at, _)| at + 1);
    let fitting = ends.clone().filter(|end| wrap::prose(&why[..*end], width).len() <= LONGEST_WHY).last();
    let end = fitting.or_else(|| ends.clone().next()).unwrap_or(why.len());
    &why[..end]
}

/// `whiteouts` becomes `whiteout`, `entries` becomes `entry`, `processes` becomes `process`.
fn singular(plural: &str) -> String {
    if let Some(stem) = plural.strip_suffix("ies") {
        return format!("{stem}y");
    }
    let stem = plural.strip_suffix('s').unwrap_or(plural);
    let stem = if stem.ends_with("sse") { &stem[..stem.len() - 1] } else { stem };
    stem.to_owned()
}

/// `118 MB, 2,801 files in 0.4 s; 3,412 calls: openat 1,200, write 900`.
fn amounts(counts: &BTreeMap<String, u64>, calls: &BTreeMap<String, u64>, time: &str) -> String {
    let one = |(name, number): (&String, &u64)| match name.as_str() {
        "bytes" => bytes(*number),
        name if name.contains("bytes") => format!("{} {}", bytes(*number), name.replace("bytes", "").trim()),
        name => {
            format!("{} {}", thousands(*number), if *number == 1 { singular(name) } else { name.to_owned() })
        }
    };
    let mut text = counts.iter().map(one).collect::<Vec<_>>().join(", ");
    if text.is_empty() {
        text.push_str(if calls.is_empty() { "nothing to do" } else { "done" });
    }
    text.push_str(" in ");
    text.push_str(time);
    let total: u64 = calls.values().sum();
    if total > 0 {
        let mut by_number: Vec<_> = calls.iter().collect();
        by_number.sort_by_key(|(_, number)| std::cmp::Reverse(**number));
        let all: Vec<_> =
            by_number.iter().map(|(name, number)| format!("{name} {}", thousands(**number))).collect();
        let word = if total == 1 { "call" } else { "calls" };
        text.push_str(&["; ", &thousands(total), " ", word, ": ", &all.join(", ")].concat());
    }
    text
}

/// How many columns a line takes whose colours are codes between ESC and `m`.
fn plain_width(line: &str) -> usize {
    let mut code = false;
    let visible = line.chars().filter(|letter| match letter {
        '\x1b' => {
            code = true;
            false
        }
        'm' if code => {
            code = false;
            false
        }
        _ => !code,
    });
    visible.count()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::error::Error;
    use crate::report::page::Page;

    fn told_with(style: Style, verbose: bool, events: &[Event]) -> String {
        let page = Page::default();
        let mut narrator = Narrator::new(Box::new(page.clone()), style, verbose);
        for event in events {
            narrator.observe(event);
        }
        narrator.flush();
        String::from_utf8(page.0.take()).unwrap()
    }

    fn told(events: &[Event]) -> String {
        told_with(Style::plain(), false, events)
    }

    fn step(id: &str, actor: &str, say: &str, why: &str) -> Event {
        Event::Step { id: id.into(), actor: actor.into(), say: say.into(), why: why.into(), chapter: None }
    }

    fn entered(step: &str, actor: &str, text: &str) -> Event {
        let syscall = text.split('(').next().unwrap().into();
        Event::Entered { step: step.into(), actor: actor.into(), pid: 7, syscall, text: text.into() }
    }

    fn call(step: &str, actor: &str, text: &str) -> Event {
        Event::Call {
            step: step.into(),
            actor: actor.into(),
            pid: 7,
            syscall: text.split('(').next().unwrap().into(),
            text: text.into(),
            result: "0".into(),
            errno: None,
            us: 11,
            undo: false,
            allowed: false,
            inferred: false,
        }
    }

    fn failing(event: Event, name: &str, expected: bool) -> Event {
        let Event::Call { step, actor, pid, syscall, text, us, undo, inferred, .. } = event else { panic!() };
        let (result, errno) = ("-1".to_owned(), Some(name.to_owned()));
        Event::Call { step, actor, pid, syscall, text, result, errno, us, undo, allowed: expected, inferred }
    }

    fn state(when: When, value: Json) -> Event {
        Event::State { step: "2.1".into(), actor: "child".into(), when, probe: "names".into(), value }
    }

    fn claim(held: bool, saw: Option<&str>) -> Event {
        Event::Claim {
            step: "2.1".into(),
            actor: "child".into(),
            claim: "the host name is box".into(),
            held,
            saw: saw.map(str::to_owned),
        }
    }

    #[test]
    fn a_story_from_the_title_to_the_last_line() {
        let why = "The kernel copies the names into the new namespace at this moment: child and host start out \
                   equal and can now drift apart.";
        let events = [
            Event::Plan {
                command: vec!["ns".into(), "uts".into()],
                title: "ns uts".into(),
                version: 1,
                steps: 3,
                notes: vec!["cgroup: none needed".into()],
                needs: vec![],
            },
            step("1", "parent", "Note the names before anything changes", ""),
            Event::State {
                step: "1".into(),
                actor: "parent".into(),
                when: When::Now,
                probe: "names".into(),
                value: json!({"hostname": "laptop"}),
            },
            step("2", "parent", "Start a child that has a UTS namespace of its own", why),
            call(
                "2",
                "parent",
                "clone3({flags=CLONE_NEWUTS, exit_signal=SIGCHLD, stack=NULL, stack_size=0}, 88)",
            ),
            step("2.1", "child", "Rename the machine, seen from inside", ""),
            state(When::Before, json!({"hostname": "laptop", "domainname": "(none)"})),
            entered("2.1", "child", "sethostname(\"box\", 3)"),
            call("2.1", "child", "sethostname(\"box\", 3)"),
            state(When::After, json!({"hostname": "box", "domainname": "(none)"})),
            claim(true, None),
            Event::StepDone { id: "2.1".into(), actor: "child".into() },
            Event::Exit {
                actor: "child".into(),
                pid: 7,
                status: 0,
                signal: None,
                text: "ended with 0".into(),
            },
            Event::Undone { steps: 0, of: 0, left: vec![] },
            Event::Done { status: 0, us: 3140 },
        ];
        let expected = r#" cutaway ns uts                                                         3 steps
 cgroup: none needed

 1  Note the names before anything changes
      names, seen by host
        hostname  laptop

 2  Start a child that has a UTS namespace of its own
    The kernel copies the names into the new namespace at this moment: child
    and host start out equal and can now drift apart.
    host   clone3({flags=CLONE_NEWUTS, exit_signal=SIGCHLD, stack=NULL,
               stack_size=0}, 88) = 0                                     11 µs

 2.1 Rename the machine, seen from inside
    child  sethostname("box", 3) = 0                                      11 µs
      names, seen by child
        hostname  laptop → box
      ✔ the host name is box
    child  ended with 0

 ✔ 3 steps, 2 calls that change something, nothing left behind           3.1 ms
"#;
        assert_eq!(told(&events), expected);
    }

    #[test]
    fn a_claim_that_fails_says_what_was_seen_and_the_end_is_no_success() {
        let text = told(&[claim(false, Some("the host name laptop")), Event::Done { status: 1, us: 5 }]);
        assert!(text.contains("      ✘ the host name is box; child sees: the host name laptop\n"), "{text}");
        assert!(text.contains(" ✘ 0 steps, 0 calls that change something, exit code 1"), "{text}");
    }

    #[test]
    fn an_expected_errno_is_called_expected() {
        let event = failing(call("1", "parent", "mkdirat(AT_FDCWD, \"/run/x\", 0700)"), "EEXIST", true);
        let text = told(&[event]);
        assert!(text.contains(" = -1 EEXIST (File exists)  (expected)"), "{text}");
    }

    #[test]
    fn a_run_of_equal_calls_folds_and_verbose_tells_each() {
        let drop = |cap: u32| call("1", "child", &format!("prctl(PR_CAPBSET_DROP, CAP_{cap})"));
        let mut events: Vec<_> = (0..8).map(drop).collect();
        events.push(call("1", "child", "setsid()"));
        let text = told(&events);
        let expected = "    child  prctl(PR_CAPBSET_DROP, CAP_0) = 0                              11 µs\n    \
            child  … 7 more prctl(PR_CAPBSET_DROP, …)\n               \
            = 0: CAP_1, CAP_2, CAP_3, CAP_4, CAP_5, CAP_6, CAP_7       77 µs\n    \
            child  setsid() = 0                                                   11 µs\n";
        assert_eq!(text, expected);
        let verbose = told_with(Style::plain(), true, &events);
        assert_eq!(verbose.matches("PR_CAPBSET_DROP").count(), 8);
        assert_eq!(verbose.matches("prctl(2): ").count(), 1, "the manual speaks once for each step");
    }

    #[test]
    fn a_call_that_never_returned_is_told_as_that() {
        let events = [
            step("1", "child", "Become the program", ""),
            entered("1", "child", "execve(\"/bin/sh\", [\"sh\"], /* 0 vars */)"),
            Event::Exit {
                actor: "child".into(),
                pid: 7,
                status: 0,
                signal: Some("SIGKILL".into()),
                text: "was killed by SIGKILL".into(),
            },
        ];
        let text = told(&events);
        assert!(
            text.contains(
                "execve(\"/bin/sh\", [\"sh\"], /* 0 vars */)\n               = ?  (entered, never returned)\n"
            ),
            "{text}"
        );
        assert!(text.ends_with("    child  was killed by SIGKILL\n"), "{text}");
    }

    #[test]
    fn a_failure_is_a_block_and_its_undoing_follows() {
        let error = Error::new("make the directory")
            .rule("the disk is full")
            .call("mkdirat(AT_FDCWD, \"/x\", 0700) = -1 ENOSPC (No space left on device)", 28);
        let undone = |event| match event {
            Event::Call { step, actor, pid, syscall, text, result, errno, us, allowed, inferred, .. } => {
                Event::Call {
                    step,
                    actor,
                    pid,
                    syscall,
                    text,
                    result,
                    errno,
                    us,
                    undo: true,
                    allowed,
                    inferred,
                }
            }
            other => other,
        };
        let events = [
            step("1", "parent", "Mount a file system", ""),
            step("2", "parent", "Make a directory", ""),
            Event::Error { step: Some("2".into()), actor: "parent".into(), error: error.parts().clone() },
            Event::Undo { steps: 1, because: "a step failed".into() },
            undone(call("1", "parent", "umount2(\"/m\", MNT_DETACH)")),
            Event::Undone { steps: 1, of: 1, left: vec![] },
            Event::Done { status: 1, us: 900 },
        ];
        let expected = r#"
 1  Mount a file system

 2  Make a directory

 ✘ mkdirat(AT_FDCWD, "/x", 0700) = -1 ENOSPC (No space left on device)

   Tried  make the directory
   Rule   the disk is full

    Take back what was done
    a step failed: 1 step

 1  Mount a file system (undoing)
    host   umount2("/m", MNT_DETACH) = 0                                  11 µs

   Undone: 1 of 1 step. Nothing is left behind.

 ✘ 2 steps, 0 calls that change something, nothing left behind, exit code 1
                                                                         0.9 ms
"#;
        assert_eq!(told(&events), expected);
    }

    #[test]
    fn interleaved_steps_are_taken_up_again() {
        let events = [
            step("1", "parent", "Start a child", ""),
            step("1.1", "child", "Mount", ""),
            call("1", "parent", "setsid()"),
        ];
        assert!(told(&events).contains("\n 1  Start a child (continued)\n    host   setsid() = 0"));
    }

    #[test]
    fn skipped_gate_signal_and_bulk_have_their_lines() {
        let events = [
            step("1", "parent", "Limit the memory", ""),
            Event::Skipped {
                step: "1".into(),
                actor: "parent".into(),
                why: "no memory controller here".into(),
            },
            Event::Signal { actor: "parent".into(), signal: "SIGINT".into(), text: "passed on".into() },
            Event::Bulk {
                step: "1".into(),
                actor: "parent".into(),
                what: "unpack".into(),
                subject: "demo".into(),
                counts: [("files".to_owned(), 2801), ("bytes".to_owned(), 118_000_000)].into(),
                calls: [("openat".to_owned(), 2801), ("close".to_owned(), 611)].into(),
                us: 400_000,
                undo: false,
                remarks: vec!["2 devices left out".into()],
            },
        ];
        let expected = "\n 1  Limit the memory\n    – skipped: no memory controller here\n    \
            host   SIGINT: passed on\n    \
            Σ unpack demo: 118 MB, 2,801 files in 400 ms; 3,412 calls: openat 2,801,\n      close 611\n      \
            – 2 devices left out\n";
        assert_eq!(told(&events), expected);
    }

    #[test]
    fn pointers_stand_in_a_line_where_there_is_room() {
        let all = |next: &str| {
            let texts = [("next", next), ("read", "cutaway book 10"), ("try", "cutaway lab start 10")];
            texts.map(|(label, text)| (label, text.to_owned()))
        };
        let text = pointed(&all("cutaway ns ipc"), &Style::plain());
        assert_eq!(text, "   next: cutaway ns ipc  ·  read: cutaway book 10  ·  try: cutaway lab start 10\n");
        assert!(text.trim_end().chars().count() < 80);
        let text = pointed(&all("cutaway cgroup memory"), &Style { unicode: false, ..Style::plain() });
        let expected =
            "   next: cutaway cgroup memory  -  read: cutaway book 10\n   try: cutaway lab start 10\n";
        assert_eq!(text, expected);
        assert_eq!(pointed(&[], &Style::plain()), "");
    }

    #[test]
    fn ascii_says_the_same() {
        let style = Style { unicode: false, ..Style::plain() };
        let text = told_with(style, false, &[claim(true, None), Event::Done { status: 0, us: 5 }]);
        assert!(text.is_ascii(), "{text}");
        assert!(text.contains("ok the host name is box"), "{text}");
    }

    #[test]
    fn a_long_reason_ends_after_a_sentence_and_verbose_has_it_whole() {
        let why = "One sentence that is here. ".repeat(20);
        let event = [step("1", "parent", "Do it", why.trim())];
        assert_eq!(told(&event).lines().count(), 2 + LONGEST_WHY);
        assert!(told(&event).ends_with("here.\n"));
        assert!(told_with(Style::plain(), true, &event).lines().count() > 2 + LONGEST_WHY);
    }
}
