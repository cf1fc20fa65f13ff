//! strace's notation of netlink messages, made from their bytes.
//!
//! It is made from the bytes and not from the request, so that the answer of the kernel, which repeats a request
//! that it refuses, is told by the same code. What has no notation here gives none at all: no guess is printed.

use std::fmt::Write;
use std::net::Ipv4Addr;

use super::{
    AF_INET, HEADER, IFA_ADDRESS, IFA_LOCAL, IFF_UP, IFLA_IFNAME, IFLA_INFO_DATA, IFLA_INFO_KIND,
    IFLA_LINKINFO, IFLA_MASTER, IFLA_NET_NS_FD, LINK, NEW, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLMSG_ERROR,
    NLMSGERR_ATTR_MSG, NLMSGERR_ATTR_OFFS, REQUEST, RT_TABLE_MAIN, RTA_DST, RTA_GATEWAY, RTM_DELADDR,
    RTM_DELLINK, RTM_NEWADDR, RTM_NEWLINK, RTM_NEWROUTE, RTN_UNICAST, RTPROT_BOOT, VETH_INFO_PEER, half,
    word,
};
use crate::sys::value::Text;

/// What numbers in a message are called.
pub struct Names<'a> {
    /// The name of the interface of an index, if it exists.
    pub link: &'a dyn Fn(u32) -> Option<String>,
    /// The descriptor in the message, which may have no number yet.
    pub descriptor: Option<String>,
}

/// The attributes in a row; what is cut off is left out.
#[must_use]
pub fn attributes(bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut all = Vec::new();
    let mut rest = bytes;
    while let (Some(length), Some(kind)) = (half(rest, 0), half(rest, 2)) {
        let length = usize::from(length);
        let Some(payload) = rest.get(4..length) else { break };
        all.push((kind, payload));
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    all
}

/// Both flags of an answer.
const BOTH: u16 = NLM_F_CAPPED | NLM_F_ACK_TLVS;

/// `{nlmsg_len=32, nlmsg_type=RTM_NEWLINK, …}`
pub(super) fn header(bytes: &[u8]) -> Option<String> {
    let number = half(bytes, 4)?;
    let kind = match number {
        NLMSG_ERROR => "NLMSG_ERROR",
        RTM_NEWLINK => "RTM_NEWLINK",
        RTM_DELLINK => "RTM_DELLINK",
        RTM_NEWADDR => "RTM_NEWADDR",
        RTM_DELADDR => "RTM_DELADDR",
        RTM_NEWROUTE => "RTM_NEWROUTE",
        _ => return None,
    };
    // The same bits mean one thing in an answer and another in a request.
    let flags = match (number, half(bytes, 6)?) {
        (_, 0) => "0",
        (NLMSG_ERROR, NLM_F_CAPPED) => "NLM_F_CAPPED",
        (NLMSG_ERROR, NLM_F_ACK_TLVS) => "NLM_F_ACK_TLVS",
        (NLMSG_ERROR, BOTH) => "NLM_F_CAPPED|NLM_F_ACK_TLVS",
        (_, REQUEST) => "NLM_F_REQUEST|NLM_F_ACK",
        (_, NEW) => "NLM_F_REQUEST|NLM_F_ACK|NLM_F_EXCL|NLM_F_CREATE",
        _ => return None,
    };
    let (len, seq, pid) = (word(bytes, 0)?, word(bytes, 8)?, word(bytes, 12)?);
    Some(format!(
        "{{nlmsg_len={len}, nlmsg_type={kind}, nlmsg_flags={flags}, nlmsg_seq={seq}, nlmsg_pid={pid}}}"
    ))
}

/// A whole request.
#[must_use]
pub fn message(bytes: &[u8], names: &Names<'_>) -> Option<String> {
    let head = header(bytes)?;
    let rest = bytes.get(HEADER..)?;
    let (body, size, attribute): (String, usize, Attribute) = match half(bytes, 4)? {
        RTM_NEWLINK | RTM_DELLINK => (link(rest, names)?, LINK, of_link),
        RTM_NEWADDR | RTM_DELADDR => (address(rest, names)?, 8, of_address),
        RTM_NEWROUTE => (route(rest)?, 12, of_route),
        _ => return None,
    };
    let more = attributes(rest.get(size..)?);
    if more.is_empty() {
        return Some(format!("[{head}, {body}]"));
    }
    Some(format!("[{head}, {body}, {}]", list(&more, attribute, names)?))
}

/// The attributes of an extended acknowledgement.
pub(super) fn extended(bytes: &[u8]) -> Option<String> {
    let none = Names { link: &|_| None, descriptor: None };
    list(&attributes(bytes), of_answer, &none)
}

/// How an attribute of one family is written: its name and its payload.
type Attribute = fn(u16, &[u8], &Names<'_>) -> Option<(&'static str, String)>;

/// One attribute stands by itself, several in a list of their own.
fn list(all: &[(u16, &[u8])], attribute: Attribute, names: &Names<'_>) -> Option<String> {
    let one = |(kind, payload): &(u16, &[u8])| {
        let (name, value) = attribute(*kind, payload, names)?;
        Some(format!("[{{nla_len={}, nla_type={name}}}, {value}]", payload.len() + 4))
    };
    let texts: Vec<String> = all.iter().map(one).collect::<Option<_>>()?;
    match texts.as_slice() {
        [only] => Some(only.clone()),
        many => Some(format!("[{}]", many.join(", "))),
    }
}

/// `struct ifinfomsg`.
fn link(body: &[u8], names: &Names<'_>) -> Option<String> {
    let index = word(body, 4)?;
    let flags = match word(body, 8)? {
        0 => "0",
        IFF_UP => "IFF_UP",
        _ => return None,
    };
    let change = match word(body, 12)? {
        0 => "0".to_owned(),
        bits => format!("{bits:#x}"),
    };
    // The type is 0, which strace knows as that of an ancient kind of network.
    Some(format!(
        "{{ifi_family=AF_UNSPEC, ifi_type=ARPHRD_NETROM, ifi_index={}, ifi_flags={flags}, ifi_change={change}}}",
        interface(index, names)
    ))
}

fn interface(index: u32, names: &Names<'_>) -> String {
    (names.link)(index).map_or_else(|| index.to_string(), |name| format!("if_nametoindex(\"{name}\")"))
}

/// `struct ifaddrmsg`.
fn address(body: &[u8], names: &Names<'_>) -> Option<String> {
    let [AF_INET, prefix, 0, 0] = *body.first_chunk::<4>()? else { return None };
    Some(format!(
        "{{ifa_family=AF_INET, ifa_prefixlen={prefix}, ifa_flags=0, ifa_scope=RT_SCOPE_UNIVERSE, ifa_index={}}}",
        interface(word(body, 4)?, names)
    ))
}

/// `struct rtmsg`.
fn route(body: &[u8]) -> Option<String> {
    let [AF_INET, length, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, 0, RTN_UNICAST] = *body.first_chunk::<8>()?
    else {
        return None;
    };
    Some(format!(
        "{{rtm_family=AF_INET, rtm_dst_len={length}, rtm_src_len=0, rtm_tos=0, rtm_table=RT_TABLE_MAIN, \
         rtm_protocol=RTPROT_BOOT, rtm_scope=RT_SCOPE_UNIVERSE, rtm_type=RTN_UNICAST, rtm_flags=0}}"
    ))
}

/// A name that ends with a NUL byte.
fn name(payload: &[u8]) -> Option<String> {
    let text = payload.strip_suffix(b"\0")?;
    let mut out = String::new();
    Text::bytes(text).quote(&mut out);
    Some(out)
}

fn ip(payload: &[u8]) -> Option<String> {
    let address = Ipv4Addr::from(<[u8; 4]>::try_from(payload).ok()?);
    Some(format!("inet_addr(\"{address}\")"))
}

fn number(payload: &[u8]) -> Option<String> {
    word(payload, 0).map(|number| number.to_string())
}

fn of_link(kind: u16, payload: &[u8], names: &Names<'_>) -> Option<(&'static str, String)> {
    Some(match kind {
        IFLA_IFNAME => ("IFLA_IFNAME", name(payload)?),
        IFLA_MASTER => ("IFLA_MASTER", number(payload)?),
        IFLA_NET_NS_FD => ("IFLA_NET_NS_FD", names.descriptor.clone().or_else(|| number(payload))?),
        IFLA_LINKINFO => ("IFLA_LINKINFO", list(&attributes(payload), of_info, names)?),
        _ => return None,
    })
}

fn of_info(kind: u16, payload: &[u8], names: &Names<'_>) -> Option<(&'static str, String)> {
    Some(match kind {
        IFLA_INFO_KIND => ("IFLA_INFO_KIND", name(payload)?),
        IFLA_INFO_DATA => ("IFLA_INFO_DATA", list(&attributes(payload), of_veth, names)?),
        _ => return None,
    })
}

/// The data of a veth pair is a message about its other end. strace shows it as bytes.
fn of_veth(kind: u16, payload: &[u8], names: &Names<'_>) -> Option<(&'static str, String)> {
    if kind != VETH_INFO_PEER {
        return None;
    }
    let peer = link(payload, names)?;
    let more = list(&attributes(payload.get(LINK..)?), of_link, names)?;
    Some(("VETH_INFO_PEER", format!("{peer}, {more}")))
}

fn of_address(kind: u16, payload: &[u8], _: &Names<'_>) -> Option<(&'static str, String)> {
    Some(match kind {
        IFA_LOCAL => ("IFA_LOCAL", ip(payload)?),
        IFA_ADDRESS => ("IFA_ADDRESS", ip(payload)?),
        _ => return None,
    })
}

fn of_route(kind: u16, payload: &[u8], _: &Names<'_>) -> Option<(&'static str, String)> {
    Some(match kind {
        RTA_DST => ("RTA_DST", ip(payload)?),
        RTA_GATEWAY => ("RTA_GATEWAY", ip(payload)?),
        _ => return None,
    })
}

/// What strace has no name for, it writes as bytes.
fn of_answer(kind: u16, payload: &[u8], _: &Names<'_>) -> Option<(&'static str, String)> {
    Some(match kind {
        NLMSGERR_ATTR_MSG => ("NLMSGERR_ATTR_MSG", name(payload)?),
        NLMSGERR_ATTR_OFFS => ("NLMSGERR_ATTR_OFFS", number(payload)?),
        _ => return None,
    })
}

/// Bytes as strace writes those that it has no notation for: `"\x20\x00"`.
#[must_use]
pub fn raw(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(out, "\\x{byte:02x}");
    }
    out.push('"');
    out
}

/// The data of the veth pair in a message: as it is told, and the bytes that strace shows in its place.
#[must_use]
pub fn veth(bytes: &[u8], names: &Names<'_>) -> Option<(String, String)> {
    let all = attributes(bytes.get(HEADER + LINK..)?);
    let info = all.into_iter().find(|(kind, _)| *kind == IFLA_LINKINFO)?.1;
    let data = attributes(info).into_iter().find(|(kind, _)| *kind == IFLA_INFO_DATA)?.1;
    Some((list(&attributes(data), of_veth, names)?, raw(data)))
}
