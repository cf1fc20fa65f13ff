//! Network namespaces and the wires between them.
//!
//! Each namespace is asked over a netlink socket that was made in it, so that one process sees several. An end of
//! a veth pair knows the index of its other end, and a number for the namespace in which that index counts; this
//! number is compared with the one that the kernel gives for each of the other namespaces.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::{known, read};
use crate::sys::netlink::dump::{self, Interface};
use crate::sys::{Errno, Value};

/// A network namespace that can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Space {
    /// What the story calls it.
    pub name: String,
    /// A descriptor of it.
    pub namespace: Value,
    /// A netlink socket that was made in it.
    pub socket: Value,
}

/// The snapshot: each space with its interfaces, and where their other ends are.
#[must_use]
pub fn snapshot(spaces: &[Space]) -> Json {
    let all: Vec<Json> = spaces.iter().map(|space| one(space, spaces)).collect();
    json!({ "spaces": all })
}

fn one(space: &Space, all: &[Space]) -> Json {
    let target = std::fs::read_link(format!("/proc/self/fd/{}", space.namespace));
    let namespace = target.map(|to| to.to_string_lossy().into_owned()).unwrap_or_default();
    match interfaces(space, all) {
        Ok(interfaces) => json!({ "name": space.name, "namespace": namespace, "interfaces": interfaces }),
        Err(errno) => {
            json!({ "name": space.name, "namespace": namespace, "unreadable": format!("{errno:?}") })
        }
    }
}

fn interfaces(space: &Space, all: &[Space]) -> Result<Vec<Json>, Errno> {
    let socket = descriptor(&space.socket)?;
    // The kernel numbers a namespace when it first has to name it, as it does here.
    let links = dump::interfaces(socket)?;
    let mut numbers = Vec::new();
    for other in all.iter().filter(|other| other.name != space.name) {
        // A namespace that this one has no number for is at the end of none of its wires.
        let number = dump::number_of(socket, descriptor(&other.namespace)?).ok().flatten();
        numbers.push((number, other.name.as_str()));
    }
    let describe = |link: &Interface| {
        let there = link.peer_namespace.map(Some);
        let space = there.and_then(|there| numbers.iter().find(|(number, _)| *number == there));
        json!({
            "index": link.index, "name": link.name, "up": link.up, "kind": link.kind,
            "hardware": link.hardware, "addresses": link.addresses, "master": link.master,
            "peer": link.peer, "peer_namespace": link.peer_namespace,
            "peer_space": space.map(|(_, name)| name),
        })
    };
    Ok(links.iter().map(describe).collect())
}

fn descriptor(value: &Value) -> Result<i32, Errno> {
    i32::try_from(known(value)).map_err(|_| Errno::EBADF)
}

/// What the bridges of a namespace have learned: hardware addresses behind ports.
#[must_use]
pub fn learned(socket: &Value) -> Json {
    let asked = descriptor(socket).and_then(|fd| Ok((dump::learned(fd)?, dump::interfaces(fd)?)));
    let (learned, links) = match asked {
        Ok(both) => both,
        Err(errno) => return json!({ "unreadable": format!("{errno:?}") }),
    };
    let name = |port: u32| {
        let link = links.iter().find(|link| link.index == port);
        link.map_or_else(|| port.to_string(), |link| link.name.clone())
    };
    learned
        .iter()
        .map(|one| json!({ "hardware": one.hardware, "port": format!("behind {}", name(one.port)) }))
        .collect()
}

/// The interfaces of the namespace that this process is in.
#[must_use]
pub fn interfaces_here() -> Json {
    use std::os::fd::AsRawFd;
    let describe = |link: &Interface| {
        json!({
            "index": link.index, "name": link.name, "up": link.up, "kind": link.kind,
            "hardware": link.hardware, "addresses": link.addresses,
            "peer": link.peer, "peer_namespace": link.peer_namespace,
        })
    };
    match dump::open().and_then(|socket| dump::interfaces(socket.as_raw_fd())) {
        Ok(all) => all.iter().map(describe).collect(),
        Err(errno) => json!({ "unreadable": format!("{errno:?}") }),
    }
}

/// The interface of this name in the namespace that this process is in.
pub fn interface(name: &str) -> Result<Option<Interface>, Errno> {
    use std::os::fd::AsRawFd;
    let socket = dump::open()?;
    Ok(dump::interfaces(socket.as_raw_fd())?.into_iter().find(|link| link.name == name))
}

/// The routes of the main table: `/proc/self/net/route`.
#[must_use]
pub fn routes() -> Json {
    let text = match read::text("/proc/self/net/route") {
        Ok(text) => text,
        Err(why) => return json!({ "unreadable": why }),
    };
    let one = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [interface, to, gateway, _, _, _, _, mask, ..] = fields[..] else { return None };
        let (to, gateway, mask) = (hexadecimal(to)?, hexadecimal(gateway)?, hexadecimal(mask)?);
        let bits = u32::from(mask).count_ones();
        let to = if bits == 0 { "default".to_owned() } else { format!("{to}/{bits}") };
        let via = if gateway.is_unspecified() { String::new() } else { format!("via {gateway}") };
        Some(json!({ "to": to, "via": via, "through": format!("through {interface}") }))
    };
    text.lines().skip(1).filter_map(one).collect()
}

/// An address as /proc prints it: a number in the byte order of this machine.
fn hexadecimal(text: &str) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(u32::from_str_radix(text, 16).ok()?.to_ne_bytes()))
}

/// A neighbour: who has an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// The address.
    pub address: Ipv4Addr,
    /// The hardware address that answered for it; none if nobody has.
    pub hardware: Option<String>,
    /// Through which interface.
    pub interface: String,
}

/// The neighbours: `/proc/self/net/arp`.
pub fn neighbours() -> Result<Vec<Neighbour>, String> {
    /// The flag of an entry that was answered.
    const COMPLETE: u32 = 2;
    let text = read::text("/proc/self/net/arp")?;
    let one = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [address, _, flags, hardware, _, interface] = fields[..] else { return None };
        let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16).ok()?;
        let hardware = (flags & COMPLETE != 0).then(|| hardware.to_owned());
        Some(Neighbour { address: address.parse().ok()?, hardware, interface: interface.to_owned() })
    };
    Ok(text.lines().skip(1).filter_map(one).collect())
}

/// The snapshot of these.
#[must_use]
pub fn neighbours_snapshot() -> Json {
    match neighbours() {
        Ok(all) => all
            .into_iter()
            .map(|one| {
                let hardware = one.hardware.unwrap_or_else(|| "nobody answers".to_owned());
                json!({
                    "address": one.address.to_string(),
                    "hardware": format!("is {hardware}"),
                    "through": format!("through {}", one.interface),
                })
            })
            .collect(),
        Err(why) => json!({ "unreadable": why }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_proc_is_in_the_order_of_the_machine() {
        let written = format!("{:08X}", u32::from_ne_bytes([10, 0, 0, 1]));
        assert_eq!(hexadecimal(&written), Some(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(hexadecimal("nonsense"), None);
    }

    #[test]
    fn a_space_that_cannot_be_asked_says_so() {
        let space = Space { name: "gone".into(), namespace: Value::Known(-1), socket: Value::Known(-1) };
        assert_eq!(snapshot(&[space])["spaces"][0]["unreadable"], "EBADF");
    }
}
