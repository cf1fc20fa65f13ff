//! Asking the kernel what there is in a network namespace: dumps over a netlink socket of that namespace.
//!
//! Reading changes nothing and is not told. The socket decides which namespace is asked, wherever this process
//! is: that is how several namespaces are looked at without going there.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
};

use super::text::attributes;
use super::{
    HEADER, IFA_ADDRESS, IFA_LOCAL, IFLA_IFNAME, IFLA_INFO_KIND, IFLA_LINKINFO, IFLA_MASTER, LINK,
    NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, half, whole, word,
};

const RTM_GETLINK: u16 = 18;
const RTM_GETADDR: u16 = 22;
const RTM_GETNEIGH: u16 = 30;
const RTM_GETNSID: u16 = 90;
const IFLA_ADDRESS: u16 = 1;
const IFLA_LINK: u16 = 5;
const IFLA_LINK_NETNSID: u16 = 37;
const NDA_LLADDR: u16 = 2;
const NDA_MASTER: u16 = 9;
const NETNSA_NSID: u16 = 1;
const NETNSA_FD: u16 = 3;
const NUD_PERMANENT: u16 = 0x80;
const AF_BRIDGE: u8 = 7;
const IFF_UP: u32 = 1;
/// Dumps come in pieces of at most 32 KiB.
const ROOM: usize = 32 << 10;
/// A number that no told request has.
const SEQUENCE: u32 = 0x6375_7400;

/// An interface, as the kernel describes it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Interface {
    /// Its index in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Whether it is up.
    pub up: bool,
    /// `veth`, `bridge`; empty for hardware and loopback.
    pub kind: String,
    /// Its hardware address.
    pub hardware: String,
    /// The index of the interface that it is tied to: of a veth, its other end.
    pub peer: Option<u32>,
    /// The namespace in which that index counts, by the number that it has for this namespace; none for this one.
    pub peer_namespace: Option<i32>,
    /// The index of the bridge that it is a port of.
    pub master: Option<u32>,
    /// Its addresses, with the length of their network part.
    pub addresses: Vec<String>,
}

/// A hardware address that a bridge has seen behind one of its ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Learned {
    /// The address.
    pub hardware: String,
    /// The index of the port.
    pub port: u32,
}

/// A netlink socket in the namespace that this process is in.
pub fn open() -> Result<OwnedFd, Errno> {
    let fd =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    Ok(fd)
}

/// The interfaces of the socket's namespace, with their addresses.
pub fn interfaces(socket: RawFd) -> Result<Vec<Interface>, Errno> {
    let mut all: Vec<Interface> =
        dump(socket, RTM_GETLINK, &[0; LINK])?.iter().filter_map(|body| interface(body)).collect();
    for body in dump(socket, RTM_GETADDR, &[0; 8])? {
        let Some((index, address)) = address(&body) else { continue };
        if let Some(link) = all.iter_mut().find(|link| link.index == index) {
            link.addresses.push(address);
        }
    }
    all.sort_by_key(|link| link.index);
    Ok(all)
}

/// What the bridges of the socket's namespace have learned.
pub fn learned(socket: RawFd) -> Result<Vec<Learned>, Errno> {
    // struct ndmsg: family, padding, index, state, flags, type.
    let mut head = [0; 12];
    head[0] = AF_BRIDGE;
    let one = |body: &Vec<u8>| {
        let (port, state) = (word(body, 4)?, half(body, 8)?);
        let all = attributes(body.get(12..)?);
        let find = |wanted| all.iter().find(|(kind, _)| *kind == wanted).map(|(_, payload)| *payload);
        // What the bridge knows of itself is permanent.
        (state & NUD_PERMANENT == 0 && find(NDA_MASTER).is_some()).then_some(())?;
        Some(Learned { hardware: hardware(find(NDA_LLADDR)?), port })
    };
    Ok(dump(socket, RTM_GETNEIGH, &head)?.iter().filter_map(one).collect())
}

/// The number that the socket's namespace has for the namespace of a descriptor; none if it has none.
pub fn number_of(socket: RawFd, namespace: RawFd) -> Result<Option<i32>, Errno> {
    let fd = u32::try_from(namespace).map_err(|_| Errno::EBADF)?;
    let attribute = [&8_u16.to_ne_bytes()[..], &NETNSA_FD.to_ne_bytes(), &fd.to_ne_bytes()].concat();
    let request = whole(RTM_GETNSID, NLM_F_REQUEST, SEQUENCE, &[&[0; 4], &attribute[..]].concat());
    send(socket, &request, MsgFlags::empty())?;
    let Some((kind, body)) = receive(socket)?.pop_front() else { return Ok(None) };
    if kind == NLMSG_ERROR {
        return Err(errno_of(&body));
    }
    let all = attributes(body.get(4..).unwrap_or_default());
    let found = all.iter().find(|(kind, _)| *kind == NETNSA_NSID).and_then(|(_, payload)| word(payload, 0));
    Ok(found.map(u32::cast_signed).filter(|number| *number >= 0))
}

/// The errno of an answer that is a refusal.
fn errno_of(body: &[u8]) -> Errno {
    Errno::from_raw(word(body, 0).unwrap_or(0).cast_signed().wrapping_neg())
}

/// Asks for all of a kind; the bodies of the answers.
fn dump(socket: RawFd, kind: u16, head: &[u8]) -> Result<Vec<Vec<u8>>, Errno> {
    send(socket, &whole(kind, NLM_F_REQUEST | NLM_F_DUMP, SEQUENCE, head), MsgFlags::empty())?;
    let mut all = Vec::new();
    loop {
        let messages = receive(socket)?;
        if messages.is_empty() {
            return Ok(all);
        }
        for (kind, body) in messages {
            match kind {
                NLMSG_DONE => return Ok(all),
                NLMSG_ERROR => return Err(errno_of(&body)),
                _ => all.push(body),
            }
        }
    }
}

/// The messages that arrived together: their types and bodies.
fn receive(socket: RawFd) -> Result<VecDeque<(u16, Vec<u8>)>, Errno> {
    let mut room = vec![0; ROOM];
    let count = recv(socket, &mut room, MsgFlags::empty())?;
    let mut rest = room.get(..count).unwrap_or_default();
    let mut all = VecDeque::new();
    while let (Some(length), Some(kind)) = (word(rest, 0), half(rest, 4)) {
        let length = length as usize;
        let Some(body) = rest.get(HEADER..length) else { break };
        all.push_back((kind, body.to_vec()));
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(all)
}

fn interface(body: &[u8]) -> Option<Interface> {
    let mut link =
        Interface { index: word(body, 4)?, up: word(body, 8)? & IFF_UP != 0, ..Interface::default() };
    for (kind, payload) in attributes(body.get(LINK..)?) {
        match kind {
            IFLA_IFNAME => link.name = text(payload),
            IFLA_ADDRESS => link.hardware = hardware(payload),
            IFLA_LINK => link.peer = word(payload, 0),
            IFLA_LINK_NETNSID => link.peer_namespace = word(payload, 0).map(u32::cast_signed),
            IFLA_MASTER => link.master = word(payload, 0),
            IFLA_LINKINFO => {
                let info = attributes(payload);
                let name = info.iter().find(|(kind, _)| *kind == IFLA_INFO_KIND);
                link.kind = name.map(|(_, name)| text(name)).unwrap_or_default();
            }
            _ => {}
        }
    }
    Some(link)
}

fn address(body: &[u8]) -> Option<(u32, String)> {
    let (prefix, index) = (*body.get(1)?, word(body, 4)?);
    let all = attributes(body.get(8..)?);
    let find = |wanted| all.iter().find(|(kind, _)| *kind == wanted).map(|(_, payload)| *payload);
    let bytes = find(IFA_LOCAL).or_else(|| find(IFA_ADDRESS))?;
    let ip = match bytes.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
    };
    Some((index, format!("{ip}/{prefix}")))
}

fn text(payload: &[u8]) -> String {
    String::from_utf8_lossy(payload).trim_end_matches('\0').to_owned()
}

fn hardware(payload: &[u8]) -> String {
    payload.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_interface_1_with_its_addresses() {
        let socket = open().unwrap();
        let all = interfaces(socket.as_raw_fd()).unwrap();
        let lo = all.iter().find(|link| link.name == "lo").unwrap();
        assert_eq!((lo.index, lo.peer, lo.master), (1, None, None));
        assert_eq!(lo.up, lo.addresses.contains(&"127.0.0.1/8".to_owned()));
    }

    #[test]
    fn what_is_cut_off_is_left_out() {
        assert_eq!(interface(&[0; 8]), None);
        assert_eq!(address(&[0; 8]), None);
    }
}
