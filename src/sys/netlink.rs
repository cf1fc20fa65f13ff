//! Netlink requests of the network: the messages by which interfaces, addresses and routes are changed
//! ([netlink(7)](https://man7.org/linux/man-pages/man7/netlink.7.html),
//! [rtnetlink(7)](https://man7.org/linux/man-pages/man7/rtnetlink.7.html)).
//!
//! A message is a value like a system call: the bytes that are sent are made from its fields, and the text that
//! is told is made from those bytes ([`text`]). The text is strace's decoding of them; only where strace shows
//! the data of a veth pair as raw bytes, it is decoded in the same manner.

pub mod dump;
pub mod text;

use std::fmt;
use std::net::Ipv4Addr;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::value::Value;

/// A request to the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The number that the acknowledgement repeats.
    pub sequence: u32,
    /// What is asked for.
    pub request: Request,
}

/// An interface: the kernel goes by the index, people by the name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Its index in its network namespace.
    pub index: u32,
    /// Its name there.
    pub name: String,
}

impl Link {
    /// The interface of this index and name.
    #[must_use]
    pub fn new(index: u32, name: &str) -> Self {
        Self { index, name: name.to_owned() }
    }
}

/// What a netlink message asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// `RTM_NEWLINK` with `IFF_UP`: bring an existing interface up.
    LinkUp {
        /// The interface's index in its network namespace; loopback is always 1.
        index: u32,
        /// Its name, for the telling only: the kernel goes by the index.
        name: String,
    },
    /// `RTM_NEWLINK` of the kind `veth`: make a pair of interfaces, the second in another namespace. The first is
    /// brought up; the second cannot be, because the pair is not one yet when the kernel has made it.
    NewPair {
        /// The end in the namespace of the socket.
        link: Link,
        /// The other end.
        peer: Link,
        /// A descriptor of the namespace that the other end is put into.
        namespace: Value,
        /// The bridge that the first end becomes a port of.
        bridge: Option<u32>,
    },
    /// `RTM_NEWLINK` of the kind `bridge`: make a bridge, and bring it up.
    NewBridge {
        /// The bridge.
        link: Link,
    },
    /// `RTM_NEWLINK` with `IFLA_MASTER`: make an interface a port of a bridge.
    Join {
        /// The interface.
        link: Link,
        /// The index of the bridge.
        bridge: u32,
    },
    /// `RTM_DELLINK`: remove an interface, and with one end of a veth pair the other.
    DeleteLink {
        /// The interface.
        link: Link,
    },
    /// `RTM_NEWADDR`: give an interface an address.
    NewAddress {
        /// The interface.
        link: Link,
        /// The address.
        address: Ipv4Addr,
        /// How many leading bits of it name the network.
        prefix: u8,
    },
    /// `RTM_DELADDR`: take an address from an interface.
    DeleteAddress {
        /// The interface.
        link: Link,
        /// The address.
        address: Ipv4Addr,
        /// How many leading bits of it name the network.
        prefix: u8,
    },
    /// `RTM_NEWROUTE`: send what is for a network to a gateway.
    NewRoute {
        /// The network and how many bits name it; none for all that no other route is for.
        to: Option<(Ipv4Addr, u8)>,
        /// The gateway.
        gateway: Ipv4Addr,
    },
}

const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_NEWROUTE: u16 = 24;
const REQUEST: u16 = NLM_F_REQUEST | NLM_F_ACK;
const NEW: u16 = REQUEST | NLM_F_EXCL | NLM_F_CREATE;
const IFF_UP: u32 = 1;
const AF_INET: u8 = 2;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_BOOT: u8 = 3;
const RTN_UNICAST: u8 = 1;

const IFLA_IFNAME: u16 = 3;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_DST: u16 = 1;
const RTA_GATEWAY: u16 = 5;
const NLMSGERR_ATTR_MSG: u16 = 1;
const NLMSGERR_ATTR_OFFS: u16 = 2;

/// The size of `struct nlmsghdr`.
const HEADER: usize = 16;
/// The size of `struct ifinfomsg`.
const LINK: usize = 16;

/// A message that grows: each part is padded to four bytes, as netlink wants it.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn add(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// `struct nlattr` and its payload.
    fn attribute(self, kind: u16, payload: &[u8]) -> Self {
        let length = u16::try_from(4 + payload.len()).unwrap_or(u16::MAX);
        let head = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        self.add(&[&head, payload].concat())
    }

    fn name(self, kind: u16, name: &str) -> Self {
        self.attribute(kind, &[name.as_bytes(), b"\0"].concat())
    }

    fn number(self, kind: u16, number: u32) -> Self {
        self.attribute(kind, &number.to_ne_bytes())
    }

    fn address(self, kind: u16, address: Ipv4Addr) -> Self {
        self.attribute(kind, &address.octets())
    }

    fn nested(self, kind: u16, inner: &Self) -> Self {
        self.attribute(kind, &inner.0)
    }

    /// `struct ifinfomsg`: family and padding, type, index, flags, and a mask of the flags to change.
    fn link(self, index: u32, flags: u32) -> Self {
        let fields = [0, index, flags, flags].map(u32::to_ne_bytes).concat();
        self.add(&fields)
    }

    /// `struct ifaddrmsg`: family, prefix, flags, scope, index; then the address, once as the interface's own and
    /// once as that of the network, which are the same but on point-to-point lines.
    fn interface_address(self, link: &Link, address: Ipv4Addr, prefix: u8) -> Self {
        self.add(&[&[AF_INET, prefix, 0, 0][..], &link.index.to_ne_bytes()].concat())
            .address(IFA_LOCAL, address)
            .address(IFA_ADDRESS, address)
    }

    /// `struct rtmsg`: family, lengths of destination and source, service, table, protocol, scope, type, flags.
    fn route(self, to: Option<(Ipv4Addr, u8)>, gateway: Ipv4Addr) -> Self {
        let length = to.map_or(0, |(_, prefix)| prefix);
        let fields = [AF_INET, length, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, 0, RTN_UNICAST, 0, 0, 0, 0];
        let head = self.add(&fields);
        let head = match to {
            Some((network, _)) => head.address(RTA_DST, network),
            None => head,
        };
        head.address(RTA_GATEWAY, gateway)
    }
}

/// `struct nlmsghdr`, then the body.
fn whole(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
    let kinds = [kind.to_ne_bytes(), flags.to_ne_bytes()].concat();
    [&length.to_ne_bytes()[..], &kinds, &sequence.to_ne_bytes(), &0_u32.to_ne_bytes(), body].concat()
}

impl Request {
    /// Its type, its flags, and what follows the header.
    fn lower(&self) -> (u16, u16, Bytes) {
        let begin = Bytes::default;
        match self {
            Self::LinkUp { index, .. } => (RTM_NEWLINK, REQUEST, begin().link(*index, IFF_UP)),
            Self::NewPair { link, peer, namespace, bridge } => {
                (RTM_NEWLINK, NEW, pair(link, peer, namespace, *bridge))
            }
            Self::NewBridge { link } => {
                let info = begin().name(IFLA_INFO_KIND, "bridge");
                let body = begin().link(link.index, IFF_UP).name(IFLA_IFNAME, &link.name);
                (RTM_NEWLINK, NEW, body.nested(IFLA_LINKINFO, &info))
            }
            Self::Join { link, bridge } => {
                (RTM_NEWLINK, REQUEST, begin().link(link.index, 0).number(IFLA_MASTER, *bridge))
            }
            Self::DeleteLink { link } => (RTM_DELLINK, REQUEST, begin().link(link.index, 0)),
            Self::NewAddress { link, address, prefix } => {
                (RTM_NEWADDR, NEW, begin().interface_address(link, *address, *prefix))
            }
            Self::DeleteAddress { link, address, prefix } => {
                (RTM_DELADDR, REQUEST, begin().interface_address(link, *address, *prefix))
            }
            Self::NewRoute { to, gateway } => (RTM_NEWROUTE, NEW, begin().route(*to, *gateway)),
        }
    }

    /// The interface that exists already, with its name.
    fn existing(&self) -> Option<(u32, &str)> {
        match self {
            Self::LinkUp { index, name } => Some((*index, name)),
            Self::Join { link, .. }
            | Self::DeleteLink { link }
            | Self::NewAddress { link, .. }
            | Self::DeleteAddress { link, .. } => Some((link.index, &link.name)),
            Self::NewPair { .. } | Self::NewBridge { .. } | Self::NewRoute { .. } => None,
        }
    }

    /// The descriptor in it, which may be known only later.
    pub fn descriptor(&mut self) -> Option<&mut Value> {
        match self {
            Self::NewPair { namespace, .. } => Some(namespace),
            _ => None,
        }
    }
}

fn pair(link: &Link, peer: &Link, namespace: &Value, bridge: Option<u32>) -> Bytes {
    let fd = match namespace {
        Value::Known(fd) => u32::try_from(*fd).unwrap_or(u32::MAX),
        Value::Later(_) => u32::MAX,
    };
    let other = Bytes::default().link(peer.index, 0).name(IFLA_IFNAME, &peer.name);
    let data = Bytes::default().nested(VETH_INFO_PEER, &other.number(IFLA_NET_NS_FD, fd));
    let info = Bytes::default().name(IFLA_INFO_KIND, "veth").nested(IFLA_INFO_DATA, &data);
    let mut body = Bytes::default().link(link.index, IFF_UP).name(IFLA_IFNAME, &link.name);
    if let Some(bridge) = bridge {
        body = body.number(IFLA_MASTER, bridge);
    }
    body.nested(IFLA_LINKINFO, &info)
}

impl Message {
    /// The bytes that are sent: `struct nlmsghdr`, then the request's own header and attributes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (kind, flags, body) = self.request.lower();
        whole(kind, flags, self.sequence, &body.0)
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |index: u32| {
            self.request.existing().filter(|(known, _)| *known == index).map(|(_, name)| name.to_owned())
        };
        let descriptor = self.request.clone().descriptor().map(|value| value.to_string());
        let text = text::message(&self.encode(), &text::Names { link: &names, descriptor });
        f.write_str(text.as_deref().unwrap_or("[…]"))
    }
}

/// The kernel's acknowledgement of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// The number of the request it answers.
    pub sequence: u32,
    /// The errno, or `None` when the request was carried out.
    pub error: Option<Errno>,
    /// What the kernel says about it in words: an extended acknowledgement (`NETLINK_EXT_ACK`).
    pub words: Option<String>,
}

impl Ack {
    /// Reads the acknowledgement out of an answer; `None` if the answer is something else.
    #[must_use]
    pub fn decode(answer: &[u8]) -> Option<Self> {
        if half(answer, 4)? != NLMSG_ERROR {
            return None;
        }
        let code = word(answer, HEADER)?.cast_signed();
        let error = (code != 0).then(|| Errno::from_raw(code.wrapping_neg()));
        let said = text::attributes(extended(answer).unwrap_or_default());
        let words = said.into_iter().find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG);
        let words = words.map(|(_, text)| String::from_utf8_lossy(text).trim_end_matches('\0').to_owned());
        Some(Self { sequence: word(answer, 8)?, error, words })
    }
}

/// The attributes of an extended acknowledgement: behind the request that is repeated, of which only the header
/// is there if the answer is capped.
fn extended(answer: &[u8]) -> Option<&[u8]> {
    let flags = half(answer, 6)?;
    if flags & NLM_F_ACK_TLVS == 0 {
        return None;
    }
    let length = word(answer, HEADER + 4)? as usize;
    let repeated = if flags & NLM_F_CAPPED == 0 { length.next_multiple_of(4) } else { HEADER };
    answer.get(HEADER + 4 + repeated..)
}

/// strace's text for an acknowledgement: its header, the error, and the header of the request it answers.
/// A refused request is repeated as a whole, and followed by what the kernel says about it.
#[must_use]
pub fn answer(bytes: &[u8]) -> Option<String> {
    let ack = Ack::decode(bytes)?;
    // Refused requests are about interfaces of the namespace that this process is in.
    let lookup = |index: u32| {
        let name = nix::net::if_::if_indextoname(index).ok()?.to_string_lossy().into_owned();
        // For an index that no interface has, the library gives an empty name.
        (!name.is_empty()).then_some(name)
    };
    let names = text::Names { link: &lookup, descriptor: None };
    let rest = bytes.get(HEADER + 4..)?;
    let capped = half(bytes, 6)? & NLM_F_CAPPED != 0;
    let msg = if capped || rest.len() <= HEADER {
        text::header(rest)?
    } else {
        text::message(rest.get(..word(rest, 0)? as usize)?, &names)?
    };
    let error = ack.error.map_or_else(|| "0".to_owned(), |errno| format!("-{errno:?}"));
    let error = format!("{{error={error}, msg={msg}}}");
    let error = match extended(bytes) {
        Some(more) => format!("[{error}, {}]", text::extended(more)?),
        None => error,
    };
    Some(format!("[{}, {error}]", text::header(bytes)?))
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
    fn an_extended_acknowledgement_has_the_kernels_words() {
        let request = Request::NewRoute { to: None, gateway: Ipv4Addr::new(10, 9, 9, 9) };
        let sent = Message { sequence: 7, request }.encode();
        let words = Bytes::default().name(NLMSGERR_ATTR_MSG, "Nexthop has invalid gateway");
        let body = [&(-101_i32).to_ne_bytes()[..], &sent, &words.0].concat();
        let bytes = whole(NLMSG_ERROR, NLM_F_ACK_TLVS, 7, &body);
        let ack = Ack::decode(&bytes).unwrap();
        assert_eq!((ack.sequence, ack.error), (7, Some(Errno::ENETUNREACH)));
        assert_eq!(ack.words.as_deref(), Some("Nexthop has invalid gateway"));
        let text = answer(&bytes).unwrap();
        assert!(text.contains("{error=-ENETUNREACH, msg=[{nlmsg_len=36, nlmsg_type=RTM_NEWROUTE"), "{text}");
        assert!(text.ends_with("nla_type=NLMSGERR_ATTR_MSG}, \"Nexthop has invalid gateway\"]]]"), "{text}");
    }

    #[test]
    fn an_answer_that_is_cut_off_or_forged_is_no_acknowledgement() {
        let sent = Message { sequence: 1, request: Request::LinkUp { index: 1, name: "lo".into() } }.encode();
        let whole =
            whole(NLMSG_ERROR, NLM_F_CAPPED, 1, &[&0_u32.to_ne_bytes()[..], &sent[..HEADER]].concat());
        assert!(answer(&whole).is_some());
        for length in 0..whole.len() {
            drop((answer(&whole[..length]), Ack::decode(&whole[..length])));
        }
        let forged = [&whole[..HEADER + 4], &[0xff; 40]].concat();
        assert_eq!(answer(&forged), None);
    }

    #[test]
    fn a_descriptor_that_is_not_known_yet_is_shown_by_name() {
        let request = Request::NewPair {
            link: Link::new(21, "to-one"),
            peer: Link::new(22, "eth0"),
            namespace: Value::later("one"),
            bridge: None,
        };
        let text = Message { sequence: 1, request }.to_string();
        assert!(text.contains("[{nla_len=8, nla_type=IFLA_NET_NS_FD}, <one>]"), "{text}");
        assert!(text.contains("{nla_len=40, nla_type=VETH_INFO_PEER}"), "{text}");
    }
}
