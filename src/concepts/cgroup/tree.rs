//! `cutaway cgroup tree`: the groups of every tree, with who is in them and what they limit.

use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches};
use serde_json::{Value as Json, json};

use super::sheet::Sheet;
use super::stat::subject::{groups_at, no_group};
use crate::concepts::{Context, Stage};
use crate::error::{Error, Result};
use crate::probe::limits::{self, Limit};
use crate::probe::meter::mebibytes;
use crate::probe::seat::{self, Seat};

/// How many groups of one level are shown before the rest is counted.
const MOST: usize = 30;

/// Its arguments.
pub fn command() -> clap::Command {
    let path = Arg::new("path")
        .value_name("PATH")
        .help("Only the groups from this directory on")
        .value_parser(clap::value_parser!(PathBuf));
    let controller =
        Arg::new("controller").long("controller").value_name("NAME").help("Only the tree of this controller");
    let depth = Arg::new("depth")
        .long("depth")
        .value_name("NUMBER")
        .help("How many levels are shown")
        .default_value("3")
        .value_parser(clap::value_parser!(u32).range(1..=64));
    clap::Command::new("tree")
        .about("The groups of every tree, with who is in them and what they limit")
        .args([path, controller, depth])
}

/// A group and what is shown of it.
struct Node {
    name: String,
    members: usize,
    limits: Vec<String>,
    below: Vec<Node>,
    /// Groups that are there and not shown.
    hidden: usize,
}

/// The report.
pub fn stage(matches: &ArgMatches, context: &Context) -> Result<Stage> {
    let depth = matches.get_one::<u32>("depth").copied().unwrap_or(3);
    let mut trees = match matches.get_one::<PathBuf>("path") {
        None => seat::trees(context.here.mounts()),
        Some(path) => groups_at(path, context)?.ok_or_else(|| no_group(path))?,
    };
    if let Some(wanted) = matches.get_one::<String>("controller") {
        trees.retain(|tree| tree.controllers.iter().any(|name| name == wanted));
        if trees.is_empty() {
            return Err(Error::new(format!("no tree here has the controller {wanted}"))
                .remedy("without --controller every tree is shown, with the controllers it has"));
        }
    }
    if trees.is_empty() {
        return Err(Error::new("no cgroup file system is mounted here")
            .remedy("as root: mount -t cgroup2 none /sys/fs/cgroup"));
    }
    if context.json {
        let all: Vec<Json> = trees.iter().map(|tree| as_json(tree, depth)).collect();
        return Ok(Stage::Report(format!("{}\n", json!({ "trees": all }))));
    }
    let mut sheet = Sheet::new(context.style);
    sheet.title("cutaway cgroup tree", context.here.cgroups().layout.name());
    for tree in &trees {
        let controllers = if tree.controllers.is_empty() {
            "no controllers".to_owned()
        } else {
            tree.controllers.join(", ")
        };
        sheet.heading(&controllers, &format!("version {}, {}", tree.version(), tree.top.display()));
        draw(&look(&tree.directory, tree, depth), "", "", context, &mut sheet);
    }
    Ok(Stage::Report(sheet.text))
}

fn look(group: &Path, tree: &Seat, depth: u32) -> Node {
    let members = std::fs::read_to_string(group.join("cgroup.procs")).map_or(0, |text| text.lines().count());
    let all = seat::groups(group);
    let shown = if depth == 0 { 0 } else { all.len().min(MOST) };
    let name = if group == tree.top { "/".to_owned() } else { name_of(group) };
    Node {
        name,
        members,
        limits: limits(group, tree),
        below: all[..shown].iter().map(|one| look(one, tree, depth - 1)).collect(),
        hidden: all.len() - shown,
    }
}

fn name_of(group: &Path) -> String {
    group.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The limits that the group itself sets, in a few words.
fn limits(group: &Path, tree: &Seat) -> Vec<String> {
    let has = |name: &str| tree.controllers.iter().any(|one| one == name);
    let mut all = Vec::new();
    for (resource, shown) in [
        (&limits::MEMORY, (|limit| format!("memory {}", mebibytes(limit.amount))) as fn(Limit) -> String),
        (&limits::PROCESSORS, |limit| format!("cpus {}", limit.processors())),
        (&limits::PROCESSES, |limit| format!("pids {}", limit.amount)),
    ] {
        if !has(resource.controller) {
            continue;
        }
        match resource.set_in(group, tree.is_v2) {
            Ok(limit) => all.extend(limit.map(shown)),
            Err(why) => all.push(format!("{} unknown: {why}", resource.name)),
        }
    }
    all
}

fn draw(node: &Node, first: &str, rest: &str, context: &Context, sheet: &mut Sheet) {
    let (branch, corner, line) =
        if context.style.unicode { ("├─ ", "└─ ", "│  ") } else { ("|- ", "`- ", "|  ") };
    let left = format!("    {first}{}", context.style.text(&node.name));
    let members = if node.members == 0 { String::new() } else { format!("{} in it", node.members) };
    let about: Vec<&str> = std::iter::once(members.as_str())
        .chain(node.limits.iter().map(String::as_str))
        .filter(|text| !text.is_empty())
        .collect();
    let about = about.join(", ");
    let width = left.chars().count();
    sheet.line(&format!("{left}{:pad$}{about}", "", pad = 44_usize.saturating_sub(width).max(2)));
    let last = node.below.len() + usize::from(node.hidden > 0);
    for (index, one) in node.below.iter().enumerate() {
        let is_last = index + 1 == last;
        let (sign, below) = if is_last { (corner, "   ") } else { (branch, line) };
        draw(one, &format!("{rest}{sign}"), &format!("{rest}{below}"), context, sheet);
    }
    if node.hidden > 0 {
        let dots = context.style.glyph(crate::report::style::Glyph::Dots);
        sheet
            .line(&format!("    {rest}{corner}{dots} {} more (--depth, or name the directory)", node.hidden));
    }
}

fn as_json(tree: &Seat, depth: u32) -> Json {
    fn one(node: &Node) -> Json {
        json!({
            "name": node.name,
            "processes": node.members,
            "limits": node.limits,
            "not_shown": node.hidden,
            "groups": node.below.iter().map(one).collect::<Vec<_>>(),
        })
    }
    json!({
        "mount": tree.top.to_string_lossy(),
        "version": tree.version(),
        "controllers": tree.controllers,
        "group": one(&look(&tree.directory, tree, depth)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_drawn_down_to_its_depth() {
        let dir = tempfile::tempdir().unwrap();
        for group in ["a/b/c", "d"] {
            std::fs::create_dir_all(dir.path().join(group)).unwrap();
        }
        std::fs::write(dir.path().join("a/pids.max"), "7\n").unwrap();
        std::fs::write(dir.path().join("a/cgroup.procs"), "1\n2\n").unwrap();
        let tree = Seat {
            controllers: vec!["pids".into()],
            is_v2: true,
            top: dir.path().into(),
            directory: dir.path().into(),
        };
        let context = Context::new("/nonexistent".into(), false, false);
        let mut sheet = Sheet::new(context.style);
        draw(&look(dir.path(), &tree, 2), "", "", &context, &mut sheet);
        let lines: Vec<&str> = sheet.text.lines().collect();
        assert_eq!(lines[0], "    /");
        assert_eq!(lines[1], format!("    ├─ a{:36}2 in it, pids 7", ""));
        assert_eq!(
            lines[2..],
            ["    │  └─ b", "    │     └─ … 1 more (--depth, or name the directory)", "    └─ d"]
        );
        assert_eq!(as_json(&tree, 1)["group"]["groups"][0]["not_shown"], 1);
    }
}
