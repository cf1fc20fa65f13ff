//! Network namespaces and their wires as a picture: the first space with its interfaces, a bridge with its ports
//! below it, and behind each end of a wire what is at the other end.
//!
//! ```text
//!    1 lo                 127.0.0.1/8
//!   20 br0                10.0.0.1/24
//!   ├─ 21 to-one@if22   ●────● 22 eth0@if21 in one  10.0.0.2/24
//!   └─ 23 to-two@if24   ●────● 24 eth0@if23 in two  10.0.0.3/24
//! ```
//!
//! Nothing is known here that is not in the snapshot: that two ends belong together is what the kernel says of
//! both of them.

use serde_json::Value as Json;

use super::style::{Paint, Style};

const INDENT: usize = 8;

/// The signs of a picture.
struct Signs {
    end: &'static str,
    wire: &'static str,
    port: &'static str,
    last: &'static str,
}

const UNICODE: Signs = Signs { end: "●", wire: "─", port: "├─ ", last: "└─ " };
const ASCII: Signs = Signs { end: "o", wire: "-", port: "|- ", last: "`- " };

/// An end of a wire, or an interface without one.
struct Row<'a> {
    /// How the tree is drawn in front of it.
    lead: &'static str,
    space: &'a Json,
    link: &'a Json,
}

/// The picture of a snapshot of spaces; none if it is of something else.
#[must_use]
pub fn draw(value: &Json, style: &Style) -> Option<String> {
    let spaces = value.get("spaces")?.as_array()?;
    let signs = if style.unicode { &UNICODE } else { &ASCII };
    let width = spaces.iter().map(|space| text(space, "name").chars().count()).max().unwrap_or(0);
    let mut lines: Vec<String> = spaces.iter().map(|space| legend(space, width)).collect();
    lines.push(String::new());
    let rows = spaces.first().map(|space| rows(space, signs)).unwrap_or_default();
    let left: Vec<String> = rows.iter().map(left).collect();
    let width = left.iter().map(|left| left.chars().count()).max().unwrap_or(0);
    for (row, left) in rows.iter().zip(&left) {
        lines.push(line(row, left, width, spaces, signs));
    }
    let painted = lines.iter().map(|line| {
        let line = format!("{:INDENT$}{}", "", style.paint(Paint::Plain, line));
        format!("{}\n", line.trim_end())
    });
    Some(painted.collect())
}

fn text<'a>(value: &'a Json, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// `hub  net:[4026532301]`, and what of it the picture has no place for.
fn legend(space: &Json, width: usize) -> String {
    let (name, namespace) = (text(space, "name"), text(space, "namespace"));
    let rest = match space.get("unreadable").and_then(Json::as_str) {
        Some(why) => format!("  cannot be read: {why}"),
        None => String::new(),
    };
    format!("{name:<width$}  {namespace}{rest}")
}

fn links(space: &Json) -> &[Json] {
    space["interfaces"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The interfaces of a space, the ports of a bridge below it.
fn rows<'a>(space: &'a Json, signs: &Signs) -> Vec<Row<'a>> {
    let all = links(space);
    let mut rows = Vec::new();
    for link in all.iter().filter(|link| link["master"].is_null()) {
        rows.push(Row { lead: "", space, link });
        let ports: Vec<&Json> = all.iter().filter(|port| port["master"] == link["index"]).collect();
        for (at, port) in ports.iter().enumerate() {
            let lead = if at + 1 == ports.len() { signs.last } else { signs.port };
            rows.push(Row { lead, space, link: port });
        }
    }
    rows
}

/// `21 to-one@if22`, as ip(8) writes it.
fn named(link: &Json) -> String {
    let peer = link["peer"].as_u64().filter(|_| !link["peer_namespace"].is_null());
    let peer = peer.map(|peer| format!("@if{peer}")).unwrap_or_default();
    let down = if link["up"] == true { "" } else { "  down" };
    format!("{:>2} {}{peer}{down}", link["index"].as_u64().unwrap_or_default(), text(link, "name"))
}

fn addresses(link: &Json) -> String {
    // Those that an interface makes up for itself say nothing here.
    let all = link["addresses"].as_array().into_iter().flatten().filter_map(Json::as_str);
    let all: Vec<&str> = all.filter(|address| !address.contains(':')).collect();
    all.join(" ")
}

fn left(row: &Row<'_>) -> String {
    let name = named(row.link);
    let addresses = addresses(row.link);
    let gap = if addresses.is_empty() { "" } else { "  " };
    format!("{}{name}{gap}{addresses}", row.lead)
}

fn line(row: &Row<'_>, left: &str, width: usize, spaces: &[Json], signs: &Signs) -> String {
    let Some((space, other)) = other_end(row, spaces) else { return left.to_owned() };
    let wire = signs.wire.repeat(width + 4 - left.chars().count());
    let addresses = addresses(other);
    let names = spaces.iter().map(|space| text(space, "name").chars().count()).max().unwrap_or(0);
    format!("{left} {end}{wire}{end} {} in {space:<names$}  {addresses}", named(other), end = signs.end)
}

/// The other end, where both ends say of each other that they are one pair.
fn other_end<'a>(row: &Row<'_>, spaces: &'a [Json]) -> Option<(&'a str, &'a Json)> {
    let there = row.link["peer_space"].as_str()?;
    let space = spaces.iter().find(|space| text(space, "name") == there)?;
    let other = links(space).iter().find(|other| other["index"] == row.link["peer"])?;
    let agrees = other["peer"] == row.link["index"] && other["peer_space"] == row.space["name"];
    agrees.then(|| (text(space, "name"), other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sample(master: Option<u32>) -> Json {
        let end = |index: u32, name: &str, peer: u32, space: &str, master: Option<u32>| {
            json!({ "index": index, "name": name, "up": true, "addresses": [], "master": master,
                "peer": peer, "peer_namespace": 0, "peer_space": space })
        };
        let plain = |index: u32, name: &str, address: &str| {
            json!({ "index": index, "name": name, "up": index > 1, "addresses": [address, "fe80::1/64"],
                "master": null, "peer": null, "peer_namespace": null })
        };
        json!({ "spaces": [
            { "name": "hub", "namespace": "net:[1]", "interfaces": [
                plain(1, "lo", "127.0.0.1/8"), plain(20, "br0", "10.0.0.1/24"),
                end(21, "to-one", 22, "one", master), end(23, "to-two", 24, "two", master)] },
            { "name": "one", "namespace": "net:[2]", "interfaces": [end(22, "eth0", 21, "hub", None)] },
            { "name": "two", "namespace": "net:[3]", "interfaces": [end(24, "eth0", 23, "hub", None)] },
        ] })
    }

    #[test]
    fn ports_hang_below_their_bridge_and_wires_end_in_other_namespaces() {
        let expected = "        hub  net:[1]\n        one  net:[2]\n        two  net:[3]\n\n         \
            1 lo  down  127.0.0.1/8\n        20 br0  10.0.0.1/24\n        \
            ├─ 21 to-one@if22 ●───────────● 22 eth0@if21 in one\n        \
            └─ 23 to-two@if24 ●───────────● 24 eth0@if23 in two\n";
        assert_eq!(draw(&sample(Some(20)), &Style::plain()).unwrap(), expected);
        let ascii = draw(&sample(Some(20)), &Style { unicode: false, ..Style::plain() }).unwrap();
        assert!(ascii.is_ascii() && ascii.contains("`- 23 to-two@if24 o-"), "{ascii}");
        let alone = draw(&sample(None), &Style::plain()).unwrap();
        assert!(alone.contains("        21 to-one@if22 ●──"), "{alone}");
    }

    #[test]
    fn ends_that_do_not_say_the_same_are_not_joined() {
        let mut value = sample(None);
        value["spaces"][1]["interfaces"][0]["peer"] = json!(99);
        let text = draw(&value, &Style::plain()).unwrap();
        assert!(!text.contains("in one") && text.contains("in two"), "{text}");
        assert_eq!(draw(&json!({}), &Style::plain()), None);
    }
}
