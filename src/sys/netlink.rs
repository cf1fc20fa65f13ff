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
        bytes.extend_from_slice(&(NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
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
        let word = |at: usize| answer.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
        let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
        if kind != NLMSG_ERROR {
            return None;
        }
        let code = word(16)?.cast_signed();
        let error = (code != 0).then(|| Errno::from_raw(-code));
        Some(Self { sequence: word(8)?, error })
    }
}

impl fmt::Display for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.error {
            None => write!(f, "<acknowledged: error=0>"),
            Some(errno) => write!(f, "<refused: error=-{errno:?}>"),
        }
    }
}
