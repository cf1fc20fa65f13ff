//! What differs between two snapshots of the same kernel state, in the words that are shown.
//!
//! Snapshots are JSON, because they are also recorded. One convention makes a general comparison readable:
//! in a list of objects, the first field of each names it (`at` for a mount, `name` for an interface).

use std::collections::HashMap;

use serde_json::Value as Json;

/// A difference: what it is about, and how it changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The name of the thing: a mount point, an id, a set.
    pub what: String,
    /// How it changed.
    pub how: How,
}

/// How something changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// It was not there before.
    New(String),
    /// It is no longer there.
    Gone(String),
    /// It was one thing and is another.
    Changed {
        /// Before.
        from: String,
        /// After.
        to: String,
    },
    /// A set lost and gained members.
    Members {
        /// Those no longer in it.
        lost: Vec<String>,
        /// Those that are new in it.
        gained: Vec<String>,
    },
}

/// One line of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A value.
    Text(String),
    /// A set of names.
    Set(Vec<String>),
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Set(members) if members.is_empty() => f.write_str("none"),
            Self::Set(members) => f.write_str(&members.join(", ")),
        }
    }
}

/// The differences, in the order of the snapshot before, then what is new in the order of the one after.
#[must_use]
pub fn diff(before: &Json, after: &Json) -> Vec<Change> {
    let (before, after) = (keyed(before), keyed(after));
    let now: HashMap<&(String, usize), &Line> = after.iter().map(|(key, line)| (key, line)).collect();
    let old: HashMap<&(String, usize), &Line> = before.iter().map(|(key, line)| (key, line)).collect();
    let gone_or_changed = before.iter().filter_map(|(key, was)| {
        let how = match now.get(key) {
            None => How::Gone(was.to_string()),
            Some(is) => changed(was, is)?,
        };
        Some(Change { what: key.0.clone(), how })
    });
    let new = after.iter().filter(|(key, _)| !old.contains_key(key));
    let new = new.map(|(key, line)| Change { what: key.0.clone(), how: How::New(line.to_string()) });
    gone_or_changed.chain(new).collect()
}

fn changed(was: &Line, is: &Line) -> Option<How> {
    match (was, is) {
        _ if was == is => None,
        (Line::Set(was), Line::Set(is)) => {
            let without = |all: &[String], other: &[String]| -> Vec<String> {
                all.iter().filter(|one| !other.contains(one)).cloned().collect()
            };
            Some(How::Members { lost: without(was, is), gained: without(is, was) })
        }
        _ => Some(How::Changed { from: was.to_string(), to: is.to_string() }),
    }
}

/// The lines under their names; a name that repeats (mounts on top of each other) is told apart by counting.
fn keyed(value: &Json) -> Vec<((String, usize), Line)> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let number = |(name, line): (String, Line)| {
        let count = seen.entry(name.clone()).or_default();
        *count += 1;
        ((name, *count), line)
    };
    lines(value).into_iter().map(number).collect()
}

/// The whole snapshot as named lines.
#[must_use]
pub fn lines(value: &Json) -> Vec<(String, Line)> {
    let mut out = Vec::new();
    match value {
        Json::Object(fields) => fields.iter().for_each(|(name, value)| field(name, value, &mut out)),
        Json::Array(items) => field("", value, if items.is_empty() { return out } else { &mut out }),
        scalar => out.push((String::new(), Line::Text(text(scalar)))),
    }
    out
}

fn field(name: &str, value: &Json, out: &mut Vec<(String, Line)>) {
    match value {
        Json::Object(_) => out.push((name.to_owned(), Line::Text(text(value)))),
        Json::Array(items) if items.first().is_some_and(Json::is_object) => {
            out.extend(items.iter().map(item));
        }
        Json::Array(items) => {
            out.push((name.to_owned(), Line::Set(items.iter().map(text).collect())));
        }
        scalar => out.push((name.to_owned(), Line::Text(text(scalar)))),
    }
}

/// An item of a list: its first field is its name, the others its text.
fn item(value: &Json) -> (String, Line) {
    let Json::Object(fields) = value else { return (text(value), Line::Text(String::new())) };
    let mut values = fields.values();
    let name = values.next().map(text).unwrap_or_default();
    let rest: Vec<_> = values.map(text).filter(|text| !text.is_empty()).collect();
    (name, Line::Text(rest.join("  ")))
}

fn text(value: &Json) -> String {
    match value {
        Json::Null => String::new(),
        Json::Bool(true) => "yes".to_owned(),
        Json::Bool(false) => "no".to_owned(),
        Json::String(text) => text.trim_end().to_owned(),
        Json::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        Json::Object(fields) => {
            let all = fields.iter().map(|(name, value)| format!("{name}={}", text(value)));
            all.collect::<Vec<_>>().join(" ")
        }
        Json::Number(number) => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn equal_snapshots_have_no_difference() {
        let one = json!({"hostname": "laptop", "caps": ["a", "b"]});
        assert!(diff(&one, &one).is_empty());
    }

    #[test]
    fn values_change_sets_lose_members_and_items_come_and_go() {
        let before =
            json!({"hostname": "laptop", "caps": ["a", "b"], "mounts": [{"at": "/", "type": "ext4"}]});
        let after =
            json!({"hostname": "box", "caps": ["b", "c"], "mounts": [{"at": "/proc", "type": "proc"}]});
        let change = |what: &str, how| Change { what: what.into(), how };
        let expected = [
            change("hostname", How::Changed { from: "laptop".into(), to: "box".into() }),
            change("caps", How::Members { lost: vec!["a".into()], gained: vec!["c".into()] }),
            change("/", How::Gone("ext4".into())),
            change("/proc", How::New("proc".into())),
        ];
        assert_eq!(diff(&before, &after), expected);
    }

    #[test]
    fn mounts_on_top_of_each_other_are_told_apart() {
        let one = json!([{"at": "/a", "type": "tmpfs"}]);
        let two = json!([{"at": "/a", "type": "tmpfs"}, {"at": "/a", "type": "proc"}]);
        let expected = [Change { what: "/a".into(), how: How::New("proc".into()) }];
        assert_eq!(diff(&one, &two), expected);
    }
}
