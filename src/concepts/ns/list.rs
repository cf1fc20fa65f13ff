//! `cutaway ns ls` and `cutaway ns tree`: the namespaces of the machine, and who owns whom.
//!
//! Reports: nothing is changed. What the caller may not look into is counted and said.

use std::collections::HashSet;

use clap::ArgMatches;
use serde_json::{Value as Json, json};

use super::{names, pin};
use crate::concepts::common::page::Page;
use crate::concepts::{Context, Stage};
use crate::error::Result;
use crate::probe::census::{self, Census, Keeper, Namespace};
use crate::report::style::{Paint, Style, count};
use crate::sys::flags::CloneFlags;

/// So many keepers are shown without `-v`.
const FEW: usize = 2;

/// What a report needs.
struct Report {
    census: Census,
    kinds: Vec<&'static str>,
    /// The caller's own namespaces.
    own: HashSet<(&'static str, u64)>,
    /// The user namespace that the caller is in.
    user: Option<u64>,
    pins: Vec<pin::Pin>,
    style: Style,
    verbose: bool,
}

impl Report {
    fn new(matches: &ArgMatches, context: &Context) -> Result<Self> {
        let kinds = super::kinds_of(matches, CloneFlags::all())?;
        let kinds = names(kinds);
        let own = kinds.iter().filter_map(|kind| Some((*kind, census::own(kind)?))).collect();
        Ok(Self {
            census: census::take(),
            kinds,
            own,
            user: census::own("user"),
            pins: pin::all(&context.state)?,
            style: context.style,
            verbose: context.verbose,
        })
    }

    fn shown(&self) -> impl Iterator<Item = &Namespace> {
        self.census.namespaces.iter().filter(|one| self.kinds.contains(&one.kind))
    }

    fn is_own(&self, one: &Namespace) -> bool {
        self.own.contains(&(one.kind, one.inode))
    }

    /// What could not be seen.
    fn hidden(&self, page: &mut Page<'_>) {
        let Census { unreadable, processes, .. } = self.census;
        page.line("");
        if unreadable > 0 {
            page.notice(&format!(
                "{unreadable} of {processes} processes could not be looked into: they are not yours, or hidden from \
                 you. Namespaces that only they keep are missing here; with CAP_SYS_PTRACE none is."
            ));
        }
        let stale: Vec<_> = self.pins.iter().filter(|pin| pin.mounted().is_none()).collect();
        for pin in stale {
            page.notice(&format!(
                "the pin {} is not mounted any more, as after a reboot: cutaway ns unpin {0}",
                pin.name
            ));
        }
    }
}

/// `cutaway ns ls`
pub fn ls(matches: &ArgMatches, context: &Context) -> Result<Stage> {
    let report = Report::new(matches, context)?;
    if context.json {
        return Ok(Stage::Report(format!("{}\n", record(&report))));
    }
    Ok(Stage::Stream(Box::new(move |out| {
        let mut page = Page::new(out, report.style);
        table(&report, &mut page);
        page.finish()
    })))
}

fn table(report: &Report, page: &mut Page<'_>) {
    let number = report.shown().count();
    page.title("cutaway ns ls", &format!("chapter 17 · {}", count(number, "namespace")));
    page.line("");
    page.line("      TYPE    NUMBER      MEMBERS  FIRST              KEPT ALIVE BY");
    for one in report.shown() {
        let mark = if report.is_own(one) { "*" } else { " " };
        let first = one.lowest.as_ref().map_or_else(|| "-".to_owned(), |(pid, name)| format!("{pid} {name}"));
        let cells = format!("    {mark} {:<7} {:<11} {:>7}  {first:<17}  ", one.kind, one.inode, one.members);
        page.row(&cells, &kept(one, report), Paint::Plain);
    }
    page.line("");
    page.prose("* you are in it.");
    if let Some(user) = report.user {
        page.prose(&format!(
            "Where no owner is named, it is user namespace {user}, the one that you are in: who has a capability \
             there has it over the namespace."
        ));
    }
    report.hidden(page);
    page.next(&["cutaway ns tree".to_owned(), "cutaway ns enter PID -- COMMAND".to_owned()]);
}

/// What keeps a namespace alive, its owner where that is another than the caller's user namespace, and what it is
/// nested in.
fn kept(one: &Namespace, report: &Report) -> String {
    let mut words = Vec::new();
    if one.members > 0 {
        words.push(if one.members == 1 { "its process".to_owned() } else { "processes".to_owned() });
    }
    let most = if report.verbose { usize::MAX } else { FEW };
    let keepers: Vec<String> =
        one.keepers.iter().filter_map(|keeper| keeper_text(keeper, one, report)).collect();
    words.extend(keepers.iter().take(most).cloned());
    if let Some(more) = keepers.len().checked_sub(most).filter(|more| *more > 0) {
        words.push(format!("{more} more (-v shows all)"));
    }
    if words.is_empty() {
        words.push("nothing that can be seen: perhaps a socket".to_owned());
    }
    let mut parts = vec![words.join(", ")];
    parts.extend(match (one.owner, one.kind) {
        (Some(owner), "user") => Some(format!("nested in {owner}")),
        (Some(owner), _) if Some(owner) != report.user => Some(format!("owner {owner}")),
        (None, kind) if kind != "user" => Some("its owner cannot be seen from here".to_owned()),
        _ => None,
    });
    parts.extend(one.parent.filter(|_| one.kind == "pid").map(|parent| format!("nested in {parent}")));
    parts.join("; ")
}

fn keeper_text(keeper: &Keeper, one: &Namespace, report: &Report) -> Option<String> {
    match keeper {
        Keeper::Mount { path, of: None } => {
            let pin = report.pins.iter().find(|pin| pin.path == *path);
            Some(pin.map_or_else(|| keeper.to_string(), |pin| format!("the pin {}", pin.name)))
        }
        Keeper::Namespaces(_) if one.members > 0 => None,
        other => Some(other.to_string()),
    }
}

/// Everything as JSON.
fn record(report: &Report) -> Json {
    let namespaces: Vec<Json> = report.shown().map(|one| entry(one, report)).collect();
    let pins: Vec<Json> = report
        .pins
        .iter()
        .map(|pin| json!({ "name": pin.name, "path": pin.path.to_string_lossy(), "mounted": pin.mounted() }))
        .collect();
    json!({
        "namespaces": namespaces,
        "pins": pins,
        "processes": report.census.processes,
        "unreadable": report.census.unreadable,
    })
}

fn entry(one: &Namespace, report: &Report) -> Json {
    let keepers: Vec<Json> = one.keepers.iter().map(keeper_record).collect();
    json!({
        "type": one.kind,
        "namespace": one.inode,
        "own": report.is_own(one),
        "members": one.members,
        "first": one.lowest.as_ref().map(|(pid, command)| json!({ "pid": pid, "command": command })),
        "owner": one.owner,
        "parent": one.parent,
        "maker": one.maker,
        "kept_by": keepers,
    })
}

fn keeper_record(keeper: &Keeper) -> Json {
    match keeper {
        Keeper::Descriptor { pid, fd, command } => {
            json!({ "how": "descriptor", "pid": pid, "fd": fd, "command": command })
        }
        Keeper::Mount { path, of } => json!({ "how": "mount", "path": path.to_string_lossy(), "of": of }),
        Keeper::Children { pid, command } => json!({ "how": "children", "pid": pid, "command": command }),
        Keeper::Namespaces(number) => json!({ "how": "namespaces", "number": number }),
    }
}

/// `cutaway ns tree`
pub fn tree(matches: &ArgMatches, context: &Context) -> Result<Stage> {
    let report = Report::new(matches, context)?;
    if context.json {
        let roots: Vec<Json> = roots(&report).into_iter().map(|one| branch(one, &report)).collect();
        return Ok(Stage::Report(format!(
            "{}\n",
            json!({ "tree": roots, "without_owner": strays(&report) })
        )));
    }
    Ok(Stage::Stream(Box::new(move |out| {
        let mut page = Page::new(out, report.style);
        drawn(&report, &mut page);
        page.finish()
    })))
}

/// User namespaces that are nested in none that is known.
fn roots(report: &Report) -> Vec<&Namespace> {
    let known = |inode| report.census.namespaces.iter().any(|one| one.kind == "user" && one.inode == inode);
    let all = report.census.namespaces.iter().filter(|one| one.kind == "user");
    all.filter(|one| one.owner.is_none_or(|owner| !known(owner))).collect()
}

/// What a user namespace owns, without those that are nested in another of the list.
fn owned<'a>(user: &Namespace, report: &'a Report) -> Vec<&'a Namespace> {
    let all: Vec<&Namespace> = report.census.namespaces.iter().collect();
    let below = |one: &&&Namespace| {
        let mine = one.owner == Some(user.inode) && (one.kind == "user" || report.kinds.contains(&one.kind));
        // A pid namespace stands below the one that it is nested in, if both have the same owner.
        let nested = one.kind == "pid"
            && one.parent.is_some_and(|up| {
                all.iter().any(|other| other.kind == "pid" && other.inode == up && other.owner == one.owner)
            });
        mine && !nested
    };
    all.iter().filter(below).copied().collect()
}

/// The pid namespaces that are nested in this one and have the same owner.
fn nested<'a>(pid: &Namespace, report: &'a Report) -> Vec<&'a Namespace> {
    let inside = |one: &&Namespace| {
        one.kind == "pid" && one.parent == Some(pid.inode) && one.owner == pid.owner && pid.kind == "pid"
    };
    report.census.namespaces.iter().filter(inside).collect()
}

fn below<'a>(one: &Namespace, report: &'a Report) -> Vec<&'a Namespace> {
    if one.kind == "user" { owned(one, report) } else { nested(one, report) }
}

/// Namespaces whose owner is not for the caller to know.
fn strays(report: &Report) -> Vec<Json> {
    let all = report.shown().filter(|one| one.owner.is_none() && one.kind != "user");
    all.map(|one| entry(one, report)).collect()
}

fn branch(one: &Namespace, report: &Report) -> Json {
    let mut value = entry(one, report);
    value["below"] = below(one, report).into_iter().map(|one| branch(one, report)).collect();
    value
}

fn drawn(report: &Report, page: &mut Page<'_>) {
    page.title("cutaway ns tree", "chapter 17");
    page.line("");
    page.prose(
        "A user namespace owns the namespaces that were made in it: capabilities there are capabilities over them.",
    );
    page.line("");
    for root in roots(report) {
        draw(root, "    ", "    ", report, page);
    }
    let strays: Vec<_> = report.shown().filter(|one| one.owner.is_none() && one.kind != "user").collect();
    if !strays.is_empty() {
        page.line("");
        page.prose("Their owners cannot be seen from here, because they are further out:");
        for one in strays {
            draw(one, "    ", "    ", report, page);
        }
    }
    report.hidden(page);
}

/// A namespace and what is below it. `lead` stands in front of it, `under` in front of what is below.
fn draw(one: &Namespace, lead: &str, under: &str, report: &Report, page: &mut Page<'_>) {
    let mark = if report.is_own(one) { "*" } else { " " };
    let cells = format!("{lead}{} {}{mark} ", one.kind, one.inode);
    page.row(&cells, &described(one, report), Paint::Plain);
    let all = below(one, report);
    let (port, last, line) =
        if report.style.unicode { ("├─ ", "└─ ", "│  ") } else { ("|- ", "`- ", "|  ") };
    for (at, one) in all.iter().enumerate() {
        let (branch, rest) = if at + 1 == all.len() { (last, "   ") } else { (port, line) };
        draw(one, &format!("{under}{branch}"), &format!("{under}{rest}"), report, page);
    }
}

/// Who is in it, and who made it; what keeps it where nobody is in it.
fn described(one: &Namespace, report: &Report) -> String {
    let mut words = Vec::new();
    if let (Some(maker), "user") = (one.maker, one.kind) {
        words.push(format!("made by user {maker}"));
    }
    if let Some((pid, command)) = &one.lowest {
        let others = one.members.saturating_sub(1);
        let others = if others == 0 { String::new() } else { format!(" and {others} more") };
        words.push(format!("{pid} {command}{others}"));
    } else {
        let keepers = one.keepers.iter().filter_map(|keeper| keeper_text(keeper, one, report));
        words.push(format!("nobody in it, kept by {}", keepers.collect::<Vec<_>>().join(", ")));
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(kind: &'static str, inode: u64, owner: Option<u64>, parent: Option<u64>) -> Namespace {
        Namespace {
            kind,
            inode,
            members: 1,
            lowest: Some((7, "sh".to_owned())),
            owner,
            parent,
            maker: (kind == "user").then_some(0),
            keepers: Vec::new(),
        }
    }

    fn report(namespaces: Vec<Namespace>) -> Report {
        let kinds = names(CloneFlags::all());
        let census = Census { namespaces, unreadable: 2, processes: 9 };
        let own = HashSet::from([("user", 1), ("pid", 3)]);
        let (style, pins) = (Style::plain(), Vec::new());
        Report { census, kinds, own, user: Some(1), pins, style, verbose: false }
    }

    fn text(report: &Report, write: fn(&Report, &mut Page<'_>)) -> String {
        let mut out = Vec::new();
        let mut page = Page::new(&mut out, report.style);
        write(report, &mut page);
        page.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_tree_hangs_namespaces_below_their_owners_and_pids_below_their_parents() {
        let mut empty = one("net", 9, Some(2), None);
        (empty.members, empty.lowest) = (0, None);
        empty.keepers = vec![Keeper::Mount { path: "/run/netns/a".into(), of: None }];
        let all = vec![
            one("user", 1, None, None),
            one("user", 2, Some(1), Some(1)),
            one("pid", 3, Some(1), None),
            one("pid", 4, Some(1), Some(3)),
            empty,
        ];
        let text = text(&report(all), drawn);
        let expected = "    user 1* made by user 0, 7 sh\n    ├─ user 2  made by user 0, 7 sh\n    │  └─ net 9  \
            nobody in it, kept by the mount on /run/netns/a\n    └─ pid 3* 7 sh\n       └─ pid 4  7 sh\n";
        assert!(text.contains(expected), "{text}");
        assert!(text.contains("2 of 9 processes could not be"), "{text}");
    }

    #[test]
    fn the_table_says_what_keeps_a_namespace_and_whom_it_belongs_to() {
        let mut kept = one("net", 9, Some(2), None);
        kept.keepers = (3..6).map(|fd| Keeper::Descriptor { pid: 8, fd, command: "ip".into() }).collect();
        let text = text(&report(vec![kept]), table);
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains("its process, descriptor 3 of 8 ip, descriptor 4 of 8"), "{text}");
        assert!(words.contains("1 more (-v shows all); owner 2"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}
