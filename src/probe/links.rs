//! Network interfaces of this process's network namespace.
//!
//! They are asked for by netlink (getifaddrs(3)), which answers for the caller's own namespace. The sysfs
//! directory /sys/class/net answers for the namespace in which sysfs was mounted.

use std::collections::BTreeMap;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use serde_json::{Value as Json, json};

#[derive(Default)]
struct Link {
    flags: Vec<&'static str>,
    addresses: Vec<String>,
}

/// The snapshot.
#[must_use]
pub fn snapshot() -> Json {
    match all() {
        Ok(links) => links
            .into_iter()
            .map(|(name, link)| json!({ "name": name, "flags": link.flags, "addresses": link.addresses }))
            .collect(),
        Err(errno) => json!({ "unreadable": format!("network interfaces: {errno:?}") }),
    }
}

/// Whether the interface is up; `None` if there is none of this name.
pub fn is_up(name: &str) -> Result<Option<bool>, nix::Error> {
    Ok(all()?.get(name).map(|link| link.flags.contains(&"UP")))
}

fn all() -> Result<BTreeMap<String, Link>, nix::Error> {
    let mut links: BTreeMap<String, Link> = BTreeMap::new();
    for one in getifaddrs()? {
        let link = links.entry(one.interface_name).or_default();
        link.flags = flags(one.flags);
        let address = one.address.as_ref();
        if let Some(ip) = address.and_then(|address| address.as_sockaddr_in()) {
            link.addresses.push(prefixed(&ip.ip().to_string(), one.netmask.as_ref()));
        } else if let Some(ip) = address.and_then(|address| address.as_sockaddr_in6()) {
            link.addresses.push(prefixed(&ip.ip().to_string(), one.netmask.as_ref()));
        }
    }
    Ok(links)
}

/// The address with the number of leading ones of its mask.
fn prefixed(address: &str, mask: Option<&nix::sys::socket::SockaddrStorage>) -> String {
    let bits = mask.and_then(|mask| {
        let four = mask.as_sockaddr_in().map(|mask| u32::from(mask.ip()).leading_ones());
        four.or_else(|| mask.as_sockaddr_in6().map(|mask| u128::from(mask.ip()).leading_ones()))
    });
    bits.map_or_else(|| address.to_owned(), |bits| format!("{address}/{bits}"))
}

fn flags(flags: InterfaceFlags) -> Vec<&'static str> {
    let known = [
        (InterfaceFlags::IFF_UP, "UP"),
        (InterfaceFlags::IFF_RUNNING, "RUNNING"),
        (InterfaceFlags::IFF_LOOPBACK, "LOOPBACK"),
        (InterfaceFlags::IFF_BROADCAST, "BROADCAST"),
        (InterfaceFlags::IFF_POINTOPOINT, "POINTOPOINT"),
        (InterfaceFlags::IFF_MULTICAST, "MULTICAST"),
        (InterfaceFlags::IFF_PROMISC, "PROMISC"),
        (InterfaceFlags::IFF_NOARP, "NOARP"),
    ];
    known.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, name)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_there_and_no_other_name() {
        let value = snapshot();
        let lo = value.as_array().unwrap().iter().find(|link| link["name"] == "lo").unwrap();
        assert!(lo["flags"].as_array().unwrap().contains(&json!("LOOPBACK")));
        assert_eq!(is_up("no-such-link"), Ok(None));
    }
}
