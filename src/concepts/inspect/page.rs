//! One process on a page: what it is, what is its own, what holds it, what it may do.

use std::io::Write;

use serde_json::Value as Json;

use super::document::{is_own, words};
use super::target::Target;
use super::unreadable;
use crate::concepts::common::page::Page;
use crate::error::Result;
use crate::report::style::{Glyph, Paint, Style, count};

/// Longer lists are shown in part, unless everything is asked for.
const MOST: usize = 12;

/// Writes it.
pub fn write(target: &Target, all: &Json, style: Style, verbose: bool, out: &mut dyn Write) -> Result<()> {
    let mut page = Page::new(out, style);
    page.title(
        &format!("cutaway inspect {}", target.typed),
        &format!("chapter 1 · process {}", target.pid()),
    );
    process(target, all, &mut page);
    if target.subject.zombie {
        ended(target, &mut page);
        return page.finish();
    }
    namespaces(&all["namespaces"], &mut page);
    root(all, &mut page);
    mounts(&all["mounts"], own_mounts(all), verbose, &mut page);
    limits(all, verbose, &mut page);
    ids(&all["ids"], &mut page);
    privileges(&all["privileges"], &mut page);
    network(&all["network"], &mut page);
    rights(all, style, verbose, &mut page);
    summary(target, all, &mut page);
    page.finish()
}

fn own(all: &Json, kind: &str) -> bool {
    super::document::own(&all["namespaces"], kind)
}

/// Whether the mount table is its own; `None` if that cannot be known.
fn own_mounts(all: &Json) -> Option<bool> {
    let entry = all["namespaces"].as_array()?.iter().find(|entry| entry["kind"] == "mnt")?;
    is_own(entry)
}

fn process(target: &Target, all: &Json, page: &mut Page<'_>) {
    page.subheading("The process");
    if let Some(found) = &target.found {
        page.pair("found as", found);
    }
    let it = &all["process"];
    let command = match &it["command"] {
        Json::Array(list) => list.iter().map(words).collect::<Vec<_>>().join(" "),
        Json::Null => format!("[{}]", target.subject.name()),
        other => words(other),
    };
    page.pair("command", &command);
    page.pair("program", &words(&it["program"]));
    page.pair("state", &format!("{}, parent {}", words(&it["state"]), it["parent"]));
    if let Some(group) = all["thread_of"].as_i64() {
        page.pair("thread", &format!("this is the number of a thread of process {group}"));
    }
    let pids: Vec<String> = it["pids"].as_array().into_iter().flatten().map(ToString::to_string).collect();
    let inside = match pids.as_slice() {
        [only] => only.clone(),
        [here, .., innermost] => format!("{here} here, {innermost} in its own pid namespace"),
        [] => "unknown".to_owned(),
    };
    page.pair("pid", &inside);
    if !target.subject.zombie {
        page.pair(
            "host name",
            &match unreadable(&all["names"]) {
                Some(why) => format!("cannot be read: {why}"),
                None => words(&all["names"]["hostname"]),
            },
        );
    }
}

fn ended(target: &Target, page: &mut Page<'_>) {
    let parent = target.subject.parent();
    page.summary("A zombie has nothing any more");
    page.prose(&format!(
        "The process has ended and has given everything back: its memory, its descriptors, its namespaces. Only its exit \
         status is left, until its parent, process {parent}, asks for it with a wait call."
    ));
}

fn namespaces(list: &Json, page: &mut Page<'_>) {
    page.subheading("Namespaces");
    let all = list.as_array().map_or(&[][..], Vec::as_slice);
    if let Some(why) = same_reason(all) {
        page.prose(&format!("cannot be read: {why}"));
        return;
    }
    let with_1 = all.iter().any(|entry| entry["shared_with_1"].is_boolean());
    for entry in all {
        let kind = entry["kind"].as_str().unwrap_or_default();
        let (lead, text, paint) = match (unreadable(entry), is_own(entry)) {
            (Some(why), _) => ("?", format!("cannot be read: {why}"), Paint::Notice),
            (None, own) => {
                let yours = entry["shared_with_you"] == true && own == Some(true);
                let also = if yours { ", and yours too" } else { "" };
                let text = match own {
                    Some(true) => format!("{kind}:[{}]{also}", entry["inode"]),
                    _ => format!("{kind}:[{}]", entry["inode"]),
                };
                (
                    match own {
                        Some(true) => "own",
                        Some(false) => "shared",
                        None => "?",
                    },
                    text,
                    Paint::Plain,
                )
            }
        };
        page.row(&format!("      {kind:<8} {lead:<8} "), &text, paint);
    }
    let other = if with_1 { "process 1" } else { "you, because process 1 cannot be looked into from here" };
    page.prose(&format!("Compared with {other}. The numbers are inodes: equal numbers, one namespace."));
}

/// The reason that all entries share.
fn same_reason(all: &[Json]) -> Option<String> {
    let strip = |entry: &Json| {
        let why = unreadable(entry)?;
        // The path in front names the kind.
        Some(why.split_once(": ").map_or(why, |(_, rest)| rest).to_owned())
    };
    let first = strip(all.first()?)?;
    all.iter().all(|entry| strip(entry).as_deref() == Some(first.as_str())).then_some(first)
}

fn root(all: &Json, page: &mut Page<'_>) {
    page.subheading("Root");
    let root = &all["root"];
    if let Some(why) = unreadable(root) {
        page.pair("root", &format!("cannot be read: {why}"));
    } else {
        let same = root["same_as_1"].as_bool().or_else(|| root["same_as_yours"].as_bool());
        let text = match (same, own(all, "mnt")) {
            (Some(true), _) => "the host's".to_owned(),
            (_, true) => "its own, in its own mount namespace".to_owned(),
            (_, false) => format!("{}, a directory of the host's tree: a chroot", words(&root["path"])),
        };
        page.pair("root", &format!("{text} (device {}, inode {})", words(&root["device"]), root["inode"]));
    }
    let layers = &all["layers"];
    if layers["type"] == "overlay" {
        stack(layers, page);
    } else if let Some(fstype) = layers["type"].as_str() {
        page.pair("file system", &format!("{fstype} from {}", words(&layers["source"])));
    }
}

/// The layers of an overlay, from the top to the bottom, as the kernel looks a file up.
fn stack(layers: &Json, page: &mut Page<'_>) {
    let upper = layers["upper"].as_str().map_or_else(|| "none: it is read-only".to_owned(), str::to_owned);
    page.pair("writable", &upper);
    let all = layers["lower"].as_array().map_or(&[][..], Vec::as_slice);
    for (at, layer) in all.iter().enumerate() {
        let images = layer["images"].as_array().map_or(&[][..], Vec::as_slice);
        let of: Vec<_> = images
            .iter()
            .map(|it| format!("layer {} of {} of {}", it["layer"], it["of"], words(&it["image"])))
            .collect();
        let of = if of.is_empty() { String::new() } else { format!(" ({})", of.join(", ")) };
        page.pair(if at == 0 { "below it" } else { "" }, &format!("{}{of}", words(&layer["path"])));
    }
}

fn mounts(list: &Json, own: Option<bool>, verbose: bool, page: &mut Page<'_>) {
    page.subheading("Mounts");
    if let Some(why) = unreadable(list) {
        page.prose(&format!("cannot be read: {why}"));
        return;
    }
    let all = list.as_array().map_or(&[][..], Vec::as_slice);
    if own == Some(false) && !verbose {
        page.prose(&format!("{}, in a table that is not its own; -v lists them", count(all.len(), "mount")));
        return;
    }
    if own.is_none() {
        page.prose("Whether this table is its own cannot be known.");
    }
    let most = if verbose { usize::MAX } else { MOST };
    let width = all.iter().take(most).map(|it| words(&it["at"]).chars().count()).max().unwrap_or(0).min(28);
    for mount in all.iter().take(most) {
        let root = mount["root"].as_str().map(|root| format!(", {root} of {}", words(&mount["source"])));
        let tie = mount["propagation"].as_str().filter(|tie| *tie != "private").map(|tie| format!(", {tie}"));
        let text = format!(
            "{} {}{}{}",
            words(&mount["type"]),
            words(&mount["options"]),
            tie.unwrap_or_default(),
            root.unwrap_or_default()
        );
        page.row(&format!("      {:<width$}  ", words(&mount["at"])), &text, Paint::Plain);
    }
    more(all.len(), most, page);
}

fn more(total: usize, most: usize, page: &mut Page<'_>) {
    if let Some(more) = total.checked_sub(most).filter(|more| *more > 0) {
        page.row("      ", &format!("… {more} more; -v shows all"), Paint::Dim);
    }
}

fn limits(all: &Json, verbose: bool, page: &mut Page<'_>) {
    page.subheading("Groups and limits");
    groups(&all["groups"], page);
    let list = &all["limits"];
    if let Some(why) = unreadable(list) {
        page.prose(&format!("cannot be read: {why}"));
        return;
    }
    let rows: Vec<[String; 4]> = list
        .as_array()
        .into_iter()
        .flatten()
        .filter(|it| verbose || it["limit"] != "none")
        .map(limit)
        .collect();
    let free: Vec<_> = list.as_array().into_iter().flatten().filter(|it| it["limit"] == "none").collect();
    if !rows.is_empty() {
        page.table(&["limit", "value", "used", "set by"].map(str::to_owned), &rows);
    }
    if !verbose && !free.is_empty() {
        let names: Vec<_> = free.iter().map(|it| words(&it["resource"])).collect();
        page.pair("no limit", &names.join(", "));
    }
}

/// A row: what, how much, how much of it is used, and the group that says so.
fn limit(it: &Json) -> [String; 4] {
    let by = match (unreadable(it), it["own"].as_bool()) {
        (Some(why), _) => {
            return [words(&it["resource"]), "unknown".to_owned(), String::new(), why.to_owned()];
        }
        (None, Some(true)) => "its own group".to_owned(),
        (None, Some(false)) => format!("{}, above it", words(&it["set_by"])),
        (None, None) => String::new(),
    };
    let used = it["used"].as_str().unwrap_or_default().to_owned();
    [words(&it["resource"]), words(&it["limit"]), used, by]
}

/// Hierarchies with the same path stand together.
fn groups(groups: &Json, page: &mut Page<'_>) {
    if let Some(why) = unreadable(groups) {
        page.pair("groups", &format!("cannot be read: {why}"));
        return;
    }
    let mut by_path: Vec<(String, Vec<&str>)> = Vec::new();
    for (hierarchy, path) in groups.as_object().into_iter().flatten() {
        let path = words(path);
        match by_path.iter_mut().find(|(known, _)| *known == path) {
            Some((_, all)) => all.push(hierarchy),
            None => by_path.push((path, vec![hierarchy])),
        }
    }
    let mut label = "groups";
    for (path, hierarchies) in by_path {
        page.pair(label, &format!("{path} ({})", hierarchies.join(" ")));
        label = "";
    }
}

fn ids(ids: &Json, page: &mut Page<'_>) {
    page.subheading("Users and groups");
    page.pair("user", &words(&ids["uid"]));
    let groups = match ids["groups"].as_array().map(Vec::as_slice) {
        Some([]) | None => "no others".to_owned(),
        Some(all) => format!("also {}", all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    };
    page.pair("group", &format!("{}, {groups}", words(&ids["gid"])));
    page.pair("user map", &words(&ids["uid_map"]));
    page.pair("group map", &words(&ids["gid_map"]));
    page.pair("setgroups", &words(&ids["setgroups"]));
    page.prose("Ids are told as your user namespace has them.");
}

fn privileges(all: &Json, page: &mut Page<'_>) {
    page.subheading("Privileges");
    // Sets that hold the same stand together: usually they do.
    let mut sets: Vec<(&Json, Vec<&str>)> = Vec::new();
    for name in ["effective", "permitted", "inheritable", "bounding", "ambient"] {
        match sets.iter_mut().find(|(set, _)| **set == all[name]) {
            Some((_, names)) => names.push(name),
            None => sets.push((&all[name], vec![name])),
        }
    }
    for (set, names) in sets {
        let members = set.as_array().map_or(0, Vec::len);
        let text = match members {
            0 => "nothing".to_owned(),
            1..=16 => words(set),
            _ => lacking(set),
        };
        page.row(&format!("      {}: ", names.join(", ")), &text, Paint::Plain);
    }
    let yes = if all["no_new_privs"] == true { "set: no exec grants a privilege" } else { "not set" };
    page.row("      no_new_privs: ", yes, Paint::Plain);
    let filters = all["seccomp_filters"].as_u64().map_or_else(String::new, |number| {
        if number == 0 {
            String::new()
        } else {
            format!(", {}", count(usize::try_from(number).unwrap_or(0), "filter"))
        }
    });
    page.pair("seccomp", &format!("{}{filters}", words(&all["seccomp"])));
    page.pair(
        "label",
        &match &all["label"] {
            Json::Null => "none: no security module labels processes here".to_owned(),
            label => words(label),
        },
    );
}

/// A large set by what it lacks.
fn lacking(set: &Json) -> String {
    let has = |name: &str| set.as_array().is_some_and(|all| all.iter().any(|it| it == name));
    let all = crate::sys::flags::Capability::ALL;
    let lacks: Vec<_> = all.iter().map(|cap| cap.name()).filter(|name| !has(name)).collect();
    match lacks.as_slice() {
        [] => format!("all {}", all.len()),
        few => format!("all {} but {}", all.len(), few.join(", ")),
    }
}

fn network(network: &Json, page: &mut Page<'_>) {
    page.subheading("Network");
    if let Some(why) = unreadable(network) {
        page.prose(&format!("cannot be read: {why}"));
        return;
    }
    let all = network["interfaces"].as_array().map_or(&[][..], Vec::as_slice);
    if network["shared_with_you"] == true {
        let names: Vec<_> = all.iter().map(|it| words(&it["name"])).collect();
        page.pair("interfaces", &format!("yours: {}", names.join(", ")));
        return;
    }
    for it in all {
        let state = if it["up"] == true { "up" } else { "down" };
        let addresses = match it["addresses"].as_array().map(Vec::as_slice) {
            Some([]) | None => "no address".to_owned(),
            Some(_) => words(&it["addresses"]),
        };
        let peer = &it["peer"];
        let other = match (&peer["name"], &peer["where"]) {
            (Json::String(name), place) => {
                let master =
                    peer["master"].as_str().map(|it| format!(", on the bridge {it}")).unwrap_or_default();
                format!("; its other end is {name} in {}{master}", words(place))
            }
            (_, Json::String(_)) => {
                format!("; its other end is interface {} of another namespace", peer["index"])
            }
            _ => String::new(),
        };
        page.pair(&words(&it["name"]), &format!("{}, {state}, {addresses}{other}", words(&it["kind"])));
    }
}

fn rights(all: &Json, style: Style, verbose: bool, page: &mut Page<'_>) {
    page.subheading("What it holds that reaches out");
    let list = &all["descriptors"];
    if let Some(why) = unreadable(list) {
        page.prose(&format!("open descriptors cannot be read: {why}"));
    } else {
        let list = list.as_array().map_or(&[][..], Vec::as_slice);
        let out: Vec<_> = list.iter().filter(|it| it["reaches"].is_string()).collect();
        for it in if verbose { list.iter().collect() } else { out.clone() } {
            let reaches = it["reaches"].as_str().map(|it| format!(": {it}")).unwrap_or_default();
            let paint = if reaches.is_empty() { Paint::Plain } else { Paint::Notice };
            let sign = if reaches.is_empty() { " " } else { style.glyph(Glyph::Arrow) };
            let lead = format!("    {sign} fd {:<4}", words(&it["fd"]));
            page.row(&lead, &format!("{}, {}{reaches}", words(&it["kind"]), words(&it["target"])), paint);
        }
        if out.is_empty() {
            page.prose(&format!("{}, and none of them leads out", count(list.len(), "open descriptor")));
        }
    }
    for socket in all["mounted_sockets"].as_array().into_iter().flatten() {
        page.notice(&format!(
            "{}: a socket that was mounted in; it leads to the service behind it",
            words(socket)
        ));
    }
}

fn summary(target: &Target, all: &Json, page: &mut Page<'_>) {
    let list = all["namespaces"].as_array().map_or(&[][..], Vec::as_slice);
    let kinds = |wanted: bool| -> Vec<&str> {
        let fits = list.iter().filter(|entry| is_own(entry) == Some(wanted));
        fits.filter_map(|entry| entry["kind"].as_str()).collect()
    };
    let (own, shared) = (kinds(true), kinds(false));
    let text = match (own.as_slice(), shared.as_slice()) {
        ([], []) => "Its namespaces cannot be read: whether it is in a container is not known".to_owned(),
        ([], _) => {
            "It shares every namespace that can be read with the host: it is in no container".to_owned()
        }
        (own, []) => format!("It has namespaces of its own of every kind: {}", own.join(", ")),
        (own, shared) => format!("Its own: {}. Shared with the host: {}", own.join(", "), shared.join(", ")),
    };
    page.summary(&text);
    let other = if list.iter().any(|entry| entry["shared_with_1"].is_boolean()) { "1" } else { "$$" };
    page.next(&[format!("cutaway inspect {} --diff {other}", target.typed)]);
}
