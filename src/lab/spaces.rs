//! Namespaces that outlive their processes, and networks that are tied together: what labs 17 and 18 look at.

use serde_json::{Value as Json, json};

use super::sheet::Kind;
use crate::probe::census::{self, Keeper};
use crate::probe::work::Worker;
use crate::probe::{inside, wires};
use crate::sys::flags::CloneFlags;

/// A namespace of this kind in which nobody is, and which a descriptor of one of these processes keeps: its number.
///
/// # Errors
/// What is seen instead.
pub fn kept(kind: Kind, workers: &[Worker]) -> Result<(u64, String), String> {
    let mut nearest = "no process of the lab has a descriptor of a namespace open".to_owned();
    for one in census::take().namespaces.into_iter().filter(|one| one.kind == kind.name()) {
        for keeper in &one.keepers {
            let Keeper::Descriptor { pid, fd, command } = keeper else { continue };
            if !workers.iter().any(|worker| worker.pid == *pid) {
                continue;
            }
            let name = format!("{}:[{}]", one.kind, one.inode);
            if one.members == 0 {
                return Ok((one.inode, format!("descriptor {fd} of process {pid} ({command}) keeps {name}")));
            }
            let first =
                one.lowest.map_or_else(String::new, |(pid, name)| format!(", process {pid} ({name})"));
            nearest = format!("{name} is kept by a descriptor, and {} in it{first}", is(one.members));
            break;
        }
    }
    Err(nearest)
}

fn is(count: usize) -> String {
    if count == 1 { "one process is".to_owned() } else { format!("{count} processes are") }
}

/// One of these processes is in the namespace of this number.
///
/// # Errors
/// What is seen instead.
pub fn inhabited(kind: Kind, number: u64, workers: &[Worker]) -> Result<String, String> {
    let found = workers.iter().find(|one| inside::namespace(one.pid, kind.name()) == Some(number));
    let name = format!("{}:[{number}]", kind.name());
    match found {
        Some(one) => Ok(format!("process {} ({}) is in {name}", one.pid, one.name)),
        None => Err(format!("no process of the lab is in {name}")),
    }
}

/// What one process sees of its network.
struct Network {
    pid: i32,
    number: u64,
    interfaces: Vec<Json>,
    neighbours: Vec<Json>,
}

impl Network {
    fn of(one: &Worker, number: u64) -> Result<Self, String> {
        let seen = inside::look(one.pid, CloneFlags::CLONE_NEWNET, || {
            let neighbours = wires::neighbours().unwrap_or_default();
            let known = neighbours.into_iter().filter(|one| one.hardware.is_some());
            let known: Vec<Json> = known.map(|one| json!([one.address.to_string(), one.hardware])).collect();
            json!({ "interfaces": wires::interfaces_here(), "neighbours": known })
        })?;
        let list = |key: &str| seen[key].as_array().cloned().unwrap_or_default();
        Ok(Self { pid: one.pid, number, interfaces: list("interfaces"), neighbours: list("neighbours") })
    }

    fn knows(&self, address: &str, hardware: &Json) -> bool {
        self.neighbours.iter().any(|one| one[0] == address && one[1] == *hardware)
    }
}

/// Two of these processes are in network namespaces of their own that are tied together by a veth pair, both ends
/// with an address, and a packet has passed between them.
///
/// # Errors
/// How far it is.
pub fn wired(workers: &[Worker]) -> Result<String, String> {
    let mut networks: Vec<Network> = Vec::new();
    for one in workers.iter().filter(|one| !one.zombie) {
        let number = inside::namespace(one.pid, "net");
        let Some(number) = number.filter(|number| Some(*number) != inside::own_namespace("net")) else {
            continue;
        };
        if networks.iter().all(|known| known.number != number) {
            networks.push(Network::of(one, number)?);
        }
    }
    if networks.len() < 2 {
        return Err(format!(
            "the lab's processes are in {} network namespaces beside the host's",
            networks.len()
        ));
    }
    let mut nearest = (0, "no interface has its other end in the other namespace".to_owned());
    for (at, left) in networks.iter().enumerate() {
        for right in &networks[at + 1..] {
            for one in &left.interfaces {
                for other in right.interfaces.iter().filter(|other| ends(one, other)) {
                    match joined(left, one, right, other) {
                        Ok(text) => return Ok(text),
                        Err((far, why)) if far > nearest.0 => nearest = (far, why),
                        Err(_) => {}
                    }
                }
            }
        }
    }
    Err(nearest.1)
}

/// Both ends say of each other that they are one pair, across namespaces.
fn ends(one: &Json, other: &Json) -> bool {
    let elsewhere = |link: &Json| link["kind"] == "veth" && !link["peer_namespace"].is_null();
    elsewhere(one) && elsewhere(other) && one["peer"] == other["index"] && other["peer"] == one["index"]
}

/// How far the two ends are: 1 tied, 2 up, 3 with addresses, and then a packet has passed.
fn joined(left: &Network, one: &Json, right: &Network, other: &Json) -> Result<String, (u8, String)> {
    let name = |network: &Network, link: &Json| {
        format!("{} of process {}", link["name"].as_str().unwrap_or_default(), network.pid)
    };
    let both = [(left, one), (right, other)];
    if let Some((network, link)) = both.iter().find(|(_, link)| link["up"] != true) {
        return Err((1, format!("{} is down", name(network, link))));
    }
    let address = |link: &Json| {
        let all = link["addresses"].as_array().into_iter().flatten().filter_map(Json::as_str);
        all.map(str::to_owned).find(|one| !one.contains(':'))
    };
    let (Some(here), Some(there)) = (address(one), address(other)) else {
        let (network, link) = both.iter().find(|(_, link)| address(link).is_none()).unwrap_or(&both[0]);
        return Err((2, format!("{} has no address", name(network, link))));
    };
    let bare = |text: &str| text.split('/').next().unwrap_or_default().to_owned();
    let met = left.knows(&bare(&there), &other["hardware"]) || right.knows(&bare(&here), &one["hardware"]);
    if !met {
        return Err((
            3,
            format!("{here} and {there} are tied together, and neither knows the other as a neighbour"),
        ));
    }
    Ok(format!("{} ({here}) and {} ({there})", name(left, one), name(right, other)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_ends_must_agree() {
        let end = |index: u32, peer: u32| json!({ "index": index, "peer": peer, "peer_namespace": 0, "kind": "veth" });
        assert!(ends(&end(2, 5), &end(5, 2)));
        assert!(!ends(&end(2, 5), &end(5, 3)));
        let mut same = end(5, 2);
        same["peer_namespace"] = Json::Null;
        assert!(!ends(&end(2, 5), &same));
    }

    #[test]
    fn a_pair_is_told_how_far_it_is() {
        let link = |address: &str, up: bool| json!({ "name": "veth0", "up": up, "addresses": ["fe80::1/64", address], "hardware": "02:00:00:00:00:01" });
        let network = |pid, neighbours| Network { pid, number: 1, interfaces: Vec::new(), neighbours };
        let (left, right) =
            (network(1, Vec::new()), network(2, vec![json!(["10.0.0.1", "02:00:00:00:00:01"])]));
        let down = joined(&left, &link("10.0.0.1/24", true), &right, &link("10.0.0.2/24", false));
        assert_eq!(down.unwrap_err(), (1, "veth0 of process 2 is down".to_owned()));
        let bare = joined(&left, &link("fe80::2/64", true), &right, &link("10.0.0.2/24", true));
        assert_eq!(bare.unwrap_err().0, 2);
        let stranger = joined(&left, &link("10.0.0.9/24", true), &right, &link("10.0.0.2/24", true));
        assert_eq!(stranger.unwrap_err().0, 3);
        assert!(joined(&left, &link("10.0.0.1/24", true), &right, &link("10.0.0.2/24", true)).is_ok());
    }
}
