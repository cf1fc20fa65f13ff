//! Everything about one process, as one value: the page shows it, `--json` writes it, `--diff` compares two.

use std::path::Path;

use serde_json::{Map, Value as Json, json};

use super::look::{HERE, INTO_NAMES, INTO_NETWORK, NAMES, NETWORK};
use super::target::Target;
use super::{no, unreadable};
use crate::concepts::common::trials::Came;
use crate::concepts::{Context, Tried};
use crate::image::Store;
use crate::probe::mounts::{self, Mount};
use crate::probe::{cgroup, limits, rights, stack};

/// The whole document. `at` is 0, or 1 for the process that is compared with.
pub fn of(target: &Target, tried: &Tried, at: usize, context: &Context) -> Json {
    let subject = &target.subject;
    let pid = target.pid();
    let namespaces = subject.namespaces();
    let table = subject.mounts();
    let mut all = json!({
        "record": "inspect",
        "version": 1,
        "target": target.typed,
        "found": target.found,
        "pid": pid,
        "thread_of": (subject.group != pid).then_some(subject.group),
        "zombie": subject.zombie,
        "kernel_thread": subject.kernel,
        "process": subject.process(),
        "names": names(&namespaces, tried, at),
        "namespaces": namespaces,
        "root": subject.root(),
    });
    all["layers"] = layers(&table, context);
    all["mounts"] = table.as_ref().map_or_else(Clone::clone, |table| table.iter().map(mounts::one).collect());
    all["groups"] = cgroup::snapshot_of(&pid.to_string());
    all["limits"] = limits::snapshot(pid, context.here.mounts());
    all["ids"] = subject.ids();
    all["privileges"] = subject.privileges();
    all["network"] = network(&all["namespaces"], tried, at);
    all["descriptors"] = descriptors(target, &all["namespaces"], &table);
    all["mounted_sockets"] = match &table {
        Ok(table) if own(&all["namespaces"], "mnt") => json!(rights::mounted_sockets(pid, table)),
        _ => json!([]),
    };
    all
}

/// Whether a namespace is another one than that of process 1, or of the reader, where process 1 cannot be read.
pub fn own(namespaces: &Json, kind: &str) -> bool {
    entry(namespaces, kind).is_some_and(|entry| is_own(entry) == Some(true))
}

/// The same of one entry; `None` if it cannot be known.
pub fn is_own(entry: &Json) -> Option<bool> {
    let shared = entry["shared_with_1"].as_bool().or_else(|| entry["shared_with_you"].as_bool());
    shared.map(|shared| !shared)
}

fn entry<'a>(namespaces: &'a Json, kind: &str) -> Option<&'a Json> {
    namespaces.as_array()?.iter().find(|entry| entry["kind"] == kind)
}

fn is_yours(namespaces: &Json, kind: &str) -> Option<bool> {
    entry(namespaces, kind)?["shared_with_you"].as_bool()
}

/// Host name and domain name in the process's UTS namespace.
fn names(namespaces: &Json, tried: &Tried, at: usize) -> Json {
    match is_yours(namespaces, "uts") {
        Some(true) => tried.saw(HERE[at], "names").cloned().unwrap_or_default(),
        Some(false) => seen(tried, INTO_NAMES[at], NAMES[at], "names"),
        None => no(hidden(namespaces, "uts")),
    }
}

/// Why a namespace cannot even be named.
fn hidden(namespaces: &Json, kind: &str) -> String {
    let why = entry(namespaces, kind).and_then(unreadable).unwrap_or("its namespace cannot be read");
    why.to_owned()
}

/// What a child has seen in there, or why it did not get in.
fn seen(tried: &Tried, into: &str, step: &str, title: &str) -> Json {
    match tried.came(into) {
        Came::Refused(refusal) => {
            let rule = refusal.hint().map(|hint| format!(": {}", hint.rule)).unwrap_or_default();
            no(format!("{}{rule}", refusal.text))
        }
        _ => tried
            .saw(step, title)
            .cloned()
            .unwrap_or_else(|| no("it was not looked at: the process has ended")),
    }
}

/// The layers of an overlay root, each with the image of the store that it is of.
fn layers(table: &Result<Vec<Mount>, Json>, context: &Context) -> Json {
    let Ok(table) = table else { return Json::Null };
    // The topmost mount on the root is what the process sees.
    let Some(root) = table.iter().rfind(|mount| mount.at == Path::new("/")) else { return Json::Null };
    let Some(stack) = stack::of(root) else {
        return json!({ "type": root.fstype, "source": root.source });
    };
    let owners = owners(context);
    let lower = stack.lower.iter().map(|path| {
        let images: Vec<_> =
            owners.iter().filter(|(dir, _)| dir == path).map(|(_, layer)| layer.clone()).collect();
        json!({ "path": path, "images": images })
    });
    json!({
        "type": "overlay",
        "lower": lower.collect::<Vec<_>>(),
        "upper": stack.upper,
        "work": stack.work,
        "options": stack.options,
    })
}

/// The directory of every unpacked layer of the store, with the image and the layer's number in it.
fn owners(context: &Context) -> Vec<(String, Json)> {
    let store = Store::open(&context.state);
    let mut all = Vec::new();
    for image in store.images().unwrap_or_default() {
        for (at, layer) in image.layers.iter().enumerate() {
            let dir = store.layer_dir(&layer.chain_id).to_string_lossy().into_owned();
            let name = image.name.clone().unwrap_or_else(|| image.id().hex());
            let number =
                json!({ "image": name, "layer": at + 1, "of": image.layers.len(), "diff_id": layer.diff_id });
            all.push((dir, number));
        }
    }
    all
}

/// The interfaces of the process's network namespace, each with its other end.
fn network(namespaces: &Json, tried: &Tried, at: usize) -> Json {
    let here = tried.saw(HERE[at], "interfaces").cloned().unwrap_or_default();
    match is_yours(namespaces, "net") {
        Some(true) => json!({ "shared_with_you": true, "interfaces": here["interfaces"] }),
        Some(false) => {
            let inside = seen(tried, INTO_NETWORK[at], NETWORK[at], "interfaces");
            let Some(list) = inside["interfaces"].as_array() else { return inside };
            let list: Vec<_> = list.iter().map(|one| with_peer(one, list, &here)).collect();
            json!({ "shared_with_you": false, "interfaces": list })
        }
        None => no(hidden(namespaces, "net")),
    }
}

/// An interface with what it is tied to: the index that it names is one of its own namespace, unless it has a number
/// for another one.
fn with_peer(one: &Json, inside: &[Json], here: &Json) -> Json {
    let mut one = one.clone();
    let Some(link) = one["link"].as_u64().filter(|link| *link != 0) else { return one };
    let by_index = |all: &[Json], index: u64| all.iter().find(|other| other["index"] == index).cloned();
    let outside = here["interfaces"].as_array().map_or(&[][..], Vec::as_slice);
    let peer = match one["link_netns"].as_i64() {
        None => by_index(inside, link)
            .map(|peer| json!({ "where": "the same namespace", "name": peer["name"], "index": link })),
        Some(_) => by_index(outside, link)
            .filter(|peer| peer["link"] == one["index"] && here["number"].is_number())
            .filter(|peer| peer["link_netns"] == here["number"])
            .map(|peer| {
                let master = peer["master"].as_u64().and_then(|master| by_index(outside, master));
                json!({
                    "where": "your namespace",
                    "name": peer["name"],
                    "index": link,
                    "master": master.map(|master| master["name"].clone()),
                })
            }),
    };
    one["peer"] = peer.unwrap_or_else(|| json!({ "where": "another namespace", "index": link }));
    one
}

fn descriptors(target: &Target, namespaces: &Json, table: &Result<Vec<Mount>, Json>) -> Json {
    let no_mounts = Vec::new();
    let mounts = table.as_ref().unwrap_or(&no_mounts);
    let own_mounts = table.is_ok() && own(namespaces, "mnt");
    let other_network = is_yours(namespaces, "net") == Some(false);
    match rights::descriptors(target.pid(), mounts, own_mounts, other_network) {
        Ok(all) => json!(all),
        Err(_) if target.subject.zombie => no("the process has ended"),
        Err(why) => no(why),
    }
}

/// The parts that are compared, by their names in the document.
pub const PARTS: [(&str, &str); 10] = [
    ("process", "The process"),
    ("names", "Names"),
    ("namespaces", "Namespaces"),
    ("root", "Root"),
    ("layers", "Layers"),
    ("mounts", "Mounts"),
    ("groups", "Groups"),
    ("limits", "Limits"),
    ("ids", "Users and groups"),
    ("privileges", "Privileges"),
];

/// A part in the form in which two are compared: without what differs between any two processes, and lists by name.
pub fn compared(all: &Json, part: &str) -> Json {
    let value = &all[part];
    let by_name = |name: &str, text: &dyn Fn(&Json) -> String| -> Json {
        let list = value.as_array().into_iter().flatten();
        Json::Object(list.map(|it| (words(&it[name]), json!(text(it)))).collect::<Map<_, _>>())
    };
    match part {
        "namespaces" => by_name("kind", &|it| {
            unreadable(it).map_or_else(|| format!("{}:[{}]", words(&it["kind"]), it["inode"]), str::to_owned)
        }),
        "limits" => by_name("resource", &|it| match (unreadable(it), it["set_by"].as_str()) {
            (Some(why), _) => why.to_owned(),
            (None, Some(by)) => format!("{} by {by}", words(&it["limit"])),
            (None, None) => words(&it["limit"]),
        }),
        "process" => without(value, &["pids", "parent", "threads"]),
        "root" => without(value, &["same_as_1", "same_as_yours"]),
        "layers" => layer_names(value),
        _ => value.clone(),
    }
}

fn without(value: &Json, fields: &[&str]) -> Json {
    let mut value = value.clone();
    if let Some(object) = value.as_object_mut() {
        object.retain(|name, _| !fields.contains(&name.as_str()));
    }
    value
}

/// The lower layers as a set of names.
fn layer_names(layers: &Json) -> Json {
    let mut value = layers.clone();
    if let Some(lower) = layers["lower"].as_array() {
        value["lower"] = lower.iter().map(|layer| words(&layer["path"])).collect();
    }
    value
}

/// A value in words.
pub fn words(value: &Json) -> String {
    match value {
        Json::Null => "unknown".to_owned(),
        Json::String(text) => text.clone(),
        Json::Array(all) if all.is_empty() => "none".to_owned(),
        Json::Array(all) => all.iter().map(words).collect::<Vec<_>>().join(", "),
        Json::Object(all) => match all.get("unreadable") {
            Some(why) => format!("cannot be read: {}", words(why)),
            None => all.values().map(words).collect::<Vec<_>>().join(" "),
        },
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str, index: u32, link: u32, netns: i32) -> Json {
        json!({ "name": name, "index": index, "link": link, "link_netns": netns, "master": null })
    }

    #[test]
    fn the_other_end_is_only_named_if_both_ends_say_so() {
        let inside = [interface("eth0", 2, 7, 0)];
        let bridge = json!({ "name": "br0", "index": 3, "link": null, "link_netns": null, "master": null });
        let mut end = interface("veth7", 7, 2, 4);
        end["master"] = json!(3);
        let here = json!({ "interfaces": [bridge, end], "number": 4 });
        let peer = &with_peer(&inside[0], &inside, &here)["peer"];
        assert_eq!((peer["name"].as_str(), peer["master"].as_str()), (Some("veth7"), Some("br0")));
        let elsewhere = json!({ "interfaces": here["interfaces"], "number": 5 });
        assert_eq!(with_peer(&inside[0], &inside, &elsewhere)["peer"]["where"], "another namespace");
    }

    #[test]
    fn what_differs_between_any_two_processes_is_not_compared() {
        let list = json!([{ "kind": "uts", "inode": 1 }, { "kind": "net", "unreadable": "EACCES" }]);
        let all = json!({ "namespaces": list, "process": { "name": "x", "parent": 1 } });
        assert_eq!(compared(&all, "namespaces"), json!({ "uts": "uts:[1]", "net": "EACCES" }));
        assert_eq!(compared(&all, "process"), json!({ "name": "x" }));
        assert_eq!(words(&json!({ "unreadable": "x" })), "cannot be read: x");
    }

    #[test]
    fn process_1_decides_what_is_own_and_the_reader_where_it_is_hidden() {
        let all = json!([
            { "kind": "uts", "shared_with_1": false, "shared_with_you": true },
            { "kind": "net", "shared_with_1": null, "shared_with_you": true },
            { "kind": "pid", "unreadable": "EACCES" },
        ]);
        assert!(own(&all, "uts") && !own(&all, "net") && !own(&all, "pid"));
        assert_eq!(is_own(&all[2]), None);
    }
}
