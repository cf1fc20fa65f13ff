//! Network interfaces with what each is tied to: the other end of a veth pair, a bridge, and in which network namespace.
//!
//! getifaddrs(3) does not say that, so the kernel is asked by two dumps ([rtnetlink(7)]). An interface that is tied to
//! one of another namespace has the index of that one (`IFLA_LINK`) and a number for the namespace
//! (`IFLA_LINK_NETNSID`) that only means something in its own namespace; `RTM_GETNSID` tells which process's it is.
//!
//! [rtnetlink(7)]: https://man7.org/linux/man-pages/man7/rtnetlink.7.html

use std::collections::HashMap;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};
use serde_json::{Value as Json, json};

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_NEWNSID: u16 = 88;
const RTM_GETNSID: u16 = 90;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;

/// The size of `struct nlmsghdr`, and of the headers behind it.
const HEADER: usize = 16;
const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;
const NSID_HEADER: usize = 4;

/// The snapshot. With a process, also the number of its network namespace here, which is -1 if it has none.
#[must_use]
pub fn snapshot(of: Option<i32>) -> Json {
    let all = match all() {
        Ok(all) => all,
        Err(errno) => return json!({ "unreadable": format!("network interfaces: {errno:?}") }),
    };
    let mut value = json!({ "interfaces": all });
    if let Some(pid) = of {
        value["number"] = json!(number_of(pid).ok());
    }
    value
}

/// The number that the network namespace of a process has in this one.
pub fn number_of(pid: i32) -> Result<i32, Errno> {
    const NETNSA_NSID: u16 = 1;
    const NETNSA_PID: u16 = 2;
    let mut body = vec![0_u8; NSID_HEADER];
    body.extend_from_slice(&8_u16.to_ne_bytes());
    body.extend_from_slice(&NETNSA_PID.to_ne_bytes());
    body.extend_from_slice(&pid.to_ne_bytes());
    let answers = ask(RTM_GETNSID, NLM_F_REQUEST, &body, RTM_NEWNSID)?;
    let found =
        answers.first().and_then(|answer| attributes(answer.get(NSID_HEADER..)?).get(&NETNSA_NSID).copied());
    Ok(found.and_then(|bytes| Some(i32::from_ne_bytes(bytes.try_into().ok()?))).unwrap_or(-1))
}

fn all() -> Result<Vec<Json>, Errno> {
    let links = ask(RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, &[0; LINK_HEADER], RTM_NEWLINK)?;
    let addresses = ask(RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, &[0; ADDRESS_HEADER], RTM_NEWADDR)?;
    let mut by_link: HashMap<u32, Vec<String>> = HashMap::new();
    for (index, text) in addresses.iter().filter_map(|answer| address(answer)) {
        by_link.entry(index).or_default().push(text);
    }
    Ok(links.iter().filter_map(|answer| link(answer, &mut by_link)).collect())
}

fn link(answer: &[u8], addresses: &mut HashMap<u32, Vec<String>>) -> Option<Json> {
    const IFLA_ADDRESS: u16 = 1;
    const IFLA_IFNAME: u16 = 3;
    const IFLA_MTU: u16 = 4;
    const IFLA_LINK: u16 = 5;
    const IFLA_MASTER: u16 = 10;
    const IFLA_LINKINFO: u16 = 18;
    const IFLA_LINK_NETNSID: u16 = 37;
    const IFLA_INFO_KIND: u16 = 1;
    const IFF_UP: u32 = 1;
    const IFF_LOOPBACK: u32 = 8;
    let (index, flags) = (word(answer, 4)?, word(answer, 8)?);
    let all = attributes(answer.get(LINK_HEADER..)?);
    let number = |key: u16| all.get(&key).and_then(|bytes| word(bytes, 0));
    let kind =
        all.get(&IFLA_LINKINFO).and_then(|info| attributes(info).get(&IFLA_INFO_KIND).map(|kind| text(kind)));
    let usual = if flags & IFF_LOOPBACK == 0 { "device" } else { "loopback" };
    Some(json!({
        "name": text(all.get(&IFLA_IFNAME)?),
        "index": index,
        "kind": kind.unwrap_or_else(|| usual.to_owned()),
        "up": flags & IFF_UP != 0,
        "mtu": number(IFLA_MTU),
        "mac": all.get(&IFLA_ADDRESS).map(|bytes| mac(bytes)),
        "addresses": addresses.remove(&index).unwrap_or_default(),
        "link": number(IFLA_LINK),
        "link_netns": number(IFLA_LINK_NETNSID).map(u32::cast_signed),
        "master": number(IFLA_MASTER),
    }))
}

/// The index of the interface, and the address with the length of its prefix.
fn address(answer: &[u8]) -> Option<(u32, String)> {
    const IFA_ADDRESS: u16 = 1;
    const IFA_LOCAL: u16 = 2;
    let (prefix, index) = (*answer.get(1)?, word(answer, 4)?);
    let all = attributes(answer.get(ADDRESS_HEADER..)?);
    // Of a point-to-point link the local address is the interface's own, and the other its peer's.
    let bytes = *all.get(&IFA_LOCAL).or_else(|| all.get(&IFA_ADDRESS))?;
    let text = match bytes.len() {
        4 => std::net::Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).to_string(),
        16 => std::net::Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_string(),
        _ => return None,
    };
    Some((index, format!("{text}/{prefix}")))
}

fn mac(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.strip_suffix(b"\0").unwrap_or(bytes)).into_owned()
}

/// Sends one request and collects the bodies of all answers of the wanted kind.
fn ask(kind: u16, flags: u16, body: &[u8], wanted: u16) -> Result<Vec<Vec<u8>>, Errno> {
    let fd =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    let length = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
    let mut request = length.to_ne_bytes().to_vec();
    request.extend_from_slice(&kind.to_ne_bytes());
    request.extend_from_slice(&flags.to_ne_bytes());
    request.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0]);
    request.extend_from_slice(body);
    send(fd.as_raw_fd(), &request, MsgFlags::empty())?;
    let is_dump = flags & NLM_F_DUMP != 0;
    let mut found = Vec::new();
    // The kernel never sends more at once, whatever the page size (`NLMSG_GOODSIZE` and its doubling for dumps).
    let mut room = vec![0_u8; 64 << 10];
    loop {
        let size = recv(fd.as_raw_fd(), &mut room, MsgFlags::empty())?;
        let mut rest = &room[..size];
        while let (Some(length), Some(of)) = (word(rest, 0), half(rest, 4)) {
            let length = length as usize;
            let Some(message) = rest.get(HEADER..length) else { return Err(Errno::EBADMSG) };
            match of {
                NLMSG_DONE => return Ok(found),
                NLMSG_ERROR => return finished(message).map(|()| found),
                _ if of == wanted => found.push(message.to_vec()),
                _ => {}
            }
            rest = rest.get(aligned(length)..).unwrap_or_default();
        }
        if !is_dump {
            return Ok(found);
        }
    }
}

fn finished(message: &[u8]) -> Result<(), Errno> {
    match word(message, 0).map(u32::cast_signed) {
        Some(0) => Ok(()),
        Some(code) => Err(Errno::from_raw(-code)),
        None => Err(Errno::EBADMSG),
    }
}

/// The attributes of a message by their kind; flags in the upper bits are left out.
fn attributes(mut rest: &[u8]) -> HashMap<u16, &[u8]> {
    const KIND: u16 = 0x3fff;
    let mut all = HashMap::new();
    while let (Some(length), Some(kind)) = (half(rest, 0), half(rest, 2)) {
        let Some(value) = rest.get(4..usize::from(length)) else { break };
        all.insert(kind & KIND, value);
        rest = rest.get(aligned(length.into())..).unwrap_or_default();
    }
    all
}

const fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
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
        assert_eq!(number_of(0x7fff_fffe), Err(Errno::ESRCH));
    }

    #[test]
    fn attributes_end_where_their_lengths_do_not_fit() {
        assert!(attributes(&[3, 0, 1, 0]).is_empty(), "shorter than its own header");
        assert!(attributes(&[200, 0, 1, 0, 5]).is_empty(), "longer than what is there");
        let all = attributes(&[5, 0, 1, 0x80, 7, 0, 0, 0, 4, 0, 2, 0]);
        assert_eq!((all[&1], all[&2]), (&[7][..], &[][..]));
    }
}
