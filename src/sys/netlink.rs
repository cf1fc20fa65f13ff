//! Netlink: the messages by which links, addresses and routes are read and changed
//! ([netlink(7)](https://man7.org/linux/man-pages/man7/netlink.7.html),
//! [rtnetlink(7)](https://man7.org/linux/man-pages/man7/rtnetlink.7.html)).
//!
//! A message is a value like a system call: the bytes that are sent and the text that is told come from the
//! same fields. The text is strace's decoding of those bytes.

use std::fmt;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

/// A request to the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The number that the acknowledgement repeats.
    pub sequence: u32,
    /// What is asked for.
    pub request: Request,
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
}

const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const RTM_NEWLINK: u16 = 16;
const NLMSG_ERROR: u16 = 2;
const NLM_F_CAPPED: u16 = 0x100;
const REQUEST: u16 = NLM_F_REQUEST | NLM_F_ACK;
const IFF_UP: u32 = 1;

impl Message {
    /// The bytes that are sent: `struct nlmsghdr`, then the request's own header.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let Request::LinkUp { index, .. } = &self.request;
        // struct ifinfomsg: family and padding, type, index, flags, mask of the flags to change.
        let mut body = vec![0_u8; 4];
        body.extend_from_slice(&index.to_ne_bytes());
        body.extend_from_slice(&IFF_UP.to_ne_bytes());
        body.extend_from_slice(&IFF_UP.to_ne_bytes());
        let length = u32::try_from(16 + body.len()).unwrap_or(u32::MAX);
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend_from_slice(&RTM_NEWLINK.to_ne_bytes());
        bytes.extend_from_slice(&REQUEST.to_ne_bytes());
        bytes.extend_from_slice(&self.sequence.to_ne_bytes());
        bytes.extend_from_slice(&0_u32.to_ne_bytes());
        bytes.extend_from_slice(&body);
        bytes
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Request::LinkUp { name, .. } = &self.request;
        write!(
            f,
            "[{{nlmsg_len=32, nlmsg_type=RTM_NEWLINK, nlmsg_flags=NLM_F_REQUEST|NLM_F_ACK, nlmsg_seq={}, \
             nlmsg_pid=0}}, {{ifi_family=AF_UNSPEC, ifi_type=ARPHRD_NETROM, ifi_index=if_nametoindex(\"{name}\"), \
             ifi_flags=IFF_UP, ifi_change=0x1}}]",
            self.sequence
        )
    }
}

/// The kernel's acknowledgement of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// The number of the request it answers.
    pub sequence: u32,
    /// The errno, or `None` when the request was carried out.
    pub error: Option<Errno>,
}

impl Ack {
    /// Reads the acknowledgement out of an answer; `None` if the answer is something else.
    #[must_use]
    pub fn decode(answer: &[u8]) -> Option<Self> {
        if half(answer, 4)? != NLMSG_ERROR {
            return None;
        }
        let code = word(answer, 16)?.cast_signed();
        let error = (code != 0).then(|| Errno::from_raw(-code));
        Some(Self { sequence: word(answer, 8)?, error })
    }
}

/// strace's text for an acknowledgement: its header, the error, and the header of the request it answers.
/// A refused request is repeated as a whole.
#[must_use]
pub fn answer(bytes: &[u8]) -> Option<String> {
    let ack = Ack::decode(bytes)?;
    let (outer, rest) = bytes.split_at_checked(HEADER)?;
    let inner = rest.get(4..4 + HEADER)?;
    let repeated = rest.get(4 + HEADER..).filter(|body| body.len() == 16 && ack.error.is_some());
    let msg = match repeated {
        Some(body) => format!("[{}, {}]", header(inner)?, link(body)?),
        None => header(inner)?,
    };
    let error = ack.error.map_or_else(|| "0".to_owned(), |errno| format!("-{errno:?}"));
    Some(format!("[{}, {{error={error}, msg={msg}}}]", header(outer)?))
}

/// The size of `struct nlmsghdr`.
const HEADER: usize = 16;

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

fn header(bytes: &[u8]) -> Option<String> {
    let kind = match half(bytes, 4)? {
        NLMSG_ERROR => "NLMSG_ERROR",
        RTM_NEWLINK => "RTM_NEWLINK",
        _ => return None,
    };
    let flags = match half(bytes, 6)? {
        0 => "0",
        NLM_F_CAPPED => "NLM_F_CAPPED",
        REQUEST => "NLM_F_REQUEST|NLM_F_ACK",
        _ => return None,
    };
    let (len, seq, pid) = (word(bytes, 0)?, word(bytes, 8)?, word(bytes, 12)?);
    Some(format!(
        "{{nlmsg_len={len}, nlmsg_type={kind}, nlmsg_flags={flags}, nlmsg_seq={seq}, nlmsg_pid={pid}}}"
    ))
}

/// `struct ifinfomsg` of a request to bring a link up, its index as a name where it has one here.
fn link(body: &[u8]) -> Option<String> {
    let index = word(body, 4)?;
    let name = nix::net::if_::if_indextoname(index);
    let index = name
        .map_or_else(|_| index.to_string(), |name| format!("if_nametoindex(\"{}\")", name.to_string_lossy()));
    Some(format!(
        "{{ifi_family=AF_UNSPEC, ifi_type=ARPHRD_NETROM, ifi_index={index}, ifi_flags=IFF_UP, ifi_change=0x1}}"
    ))
}
