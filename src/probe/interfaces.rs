//! Network interfaces with what each is tied to: the other end of a veth pair, a bridge, and in which network namespace.
//!
//! An interface that is tied to one of another namespace has the index of that one and a number for the namespace, which
//! only means something in its own. Which process's namespace has which number here can be asked as well.

use std::fs::File;
use std::os::fd::AsRawFd;

use serde_json::{Value as Json, json};

use crate::sys::netlink::dump::{self, Interface};

/// The snapshot. With a process, also the number of its network namespace here, if it has one.
#[must_use]
pub fn snapshot(of: Option<i32>) -> Json {
    let found = dump::open().and_then(|socket| {
        let all = dump::interfaces(socket.as_raw_fd())?;
        Ok((all, of.and_then(|pid| number_of(socket.as_raw_fd(), pid))))
    });
    match found {
        Ok((all, number)) => {
            json!({ "interfaces": all.iter().map(one).collect::<Vec<_>>(), "number": number })
        }
        Err(errno) => json!({ "unreadable": format!("network interfaces: {errno:?}") }),
    }
}

/// The number that the network namespace of a process has in that of the socket; none where it has none, or where its
/// file may not be opened.
fn number_of(socket: i32, pid: i32) -> Option<i32> {
    let namespace = File::open(format!("/proc/{pid}/ns/net")).ok()?;
    dump::number_of(socket, namespace.as_raw_fd()).unwrap_or(None)
}

fn one(interface: &Interface) -> Json {
    let usual = if interface.name == "lo" { "loopback" } else { "device" };
    json!({
        "name": interface.name,
        "index": interface.index,
        "kind": if interface.kind.is_empty() { usual } else { &interface.kind },
        "up": interface.up,
        "hardware": interface.hardware,
        "addresses": interface.addresses,
        "link": interface.peer,
        "link_netns": interface.peer_namespace,
        "master": interface.master,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_the_first_and_tied_to_nothing() {
        let value = snapshot(None);
        let lo = value["interfaces"].as_array().unwrap().iter().find(|one| one["name"] == "lo").unwrap();
        assert_eq!((lo["index"].as_u64(), lo["kind"].as_str()), (Some(1), Some("loopback")));
        assert_eq!(lo["link"], Json::Null);
    }

    #[test]
    fn a_process_that_is_none_has_no_number() {
        assert_eq!(snapshot(Some(0x7fff_fffe))["number"], Json::Null);
    }
}
