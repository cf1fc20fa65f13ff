//! The report socket: how a child tells its parent what it does, and how the two wait for each other.
//!
//! A connected pair of UNIX stream sockets, close-on-exec on both ends. Every message is its length (32 bits,
//! host order) and one JSON object; an open descriptor may travel with it (`SCM_RIGHTS`, unix(7)). When the
//! child becomes another program the kernel closes its end, and the parent reads the end of the stream: that
//! is the only sign of a successful exec there is, and it looks like the child's death. The wait status tells
//! the two apart.
//!
//! This is plumbing: nothing here is told. The strace oracle allows what this file does, and says so.

use std::io::{IoSlice, IoSliceMut, Read};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Parts, Result};
use crate::report::event::Event;
use crate::report::step::State;
use crate::sys;

/// What travels on the report socket.
#[derive(Debug, Serialize, Deserialize)]
pub enum Message {
    /// Child to parent: something happened.
    Event(Box<Event>),
    /// Child to parent: may this step begin?
    Ask(String),
    /// Parent to child: what does the state look like that the step is about?
    Look,
    /// Child to parent: like this.
    Looked(State),
    /// Parent to child: the step may begin.
    Leave,
    /// Either way: the gate of this name is open.
    Gate(String),
    /// Child to parent: the open descriptor for this slot travels with the message.
    Hand(String),
    /// Child to parent: it failed and is about to exit.
    Failed { step: Option<String>, error: Parts },
}

/// One end of the report socket.
#[derive(Debug)]
pub struct Link {
    socket: UnixStream,
    handed: Option<OwnedFd>,
    /// Encoded messages that wait to be sent together.
    queue: Vec<u8>,
}

/// So many bytes of events are sent at once; waking the other side for each would cost more than the work.
const BATCH: usize = 16 * 1024;

impl Link {
    /// The two ends.
    pub fn pair() -> Result<(Self, Self)> {
        let (parent, child) =
            UnixStream::pair().map_err(|cause| Error::io("could not make the report socket", &cause))?;
        Ok((Self::new(parent), Self::new(child)))
    }

    fn new(socket: UnixStream) -> Self {
        Self { socket, handed: None, queue: Vec::new() }
    }

    /// The descriptor, for polling and for closing in the other process.
    #[must_use]
    pub fn raw(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Adds a message to those that are sent together: when there are enough of them, or with the next one that
    /// has to be sent at once.
    pub fn queue(&mut self, message: &Message) -> Result<()> {
        self.encode(message)?;
        if self.queue.len() < BATCH { Ok(()) } else { self.flush(None) }
    }

    /// Sends a message, with a descriptor if there is one to hand over.
    pub fn send(&mut self, message: &Message, hand: Option<BorrowedFd<'_>>) -> Result<()> {
        self.encode(message)?;
        self.flush(hand)
    }

    fn encode(&mut self, message: &Message) -> Result<()> {
        let start = self.queue.len();
        self.queue.extend_from_slice(&[0; 4]);
        serde_json::to_writer(&mut self.queue, message)
            .map_err(|cause| Error::new(format!("could not encode a report: {cause}")))?;
        let length = u32::try_from(self.queue.len() - start - 4);
        let length = length.map_err(|_| Error::new("a report is too long"))?;
        self.queue[start..start + 4].copy_from_slice(&length.to_ne_bytes());
        Ok(())
    }

    /// Sends what is waiting. A descriptor belongs to the last message: it travels with the first byte of the
    /// whole batch, and its receiver finds it when it gets there.
    pub fn flush(&mut self, hand: Option<BorrowedFd<'_>>) -> Result<()> {
        let bytes = std::mem::take(&mut self.queue);
        let fds = hand.map(|fd| [fd.as_raw_fd()]);
        let rights: Vec<_> = fds.iter().map(|fds| ControlMessage::ScmRights(fds)).collect();
        let mut sent = 0;
        while sent < bytes.len() {
            let slice = [IoSlice::new(&bytes[sent..])];
            let control = if sent == 0 { rights.as_slice() } else { &[] };
            match sendmsg::<()>(self.raw(), &slice, control, MsgFlags::MSG_NOSIGNAL, None) {
                Ok(count) => sent += count,
                Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(Error::io("the report socket is closed", &errno.into())),
            }
        }
        Ok(())
    }

    /// Receives the next message; `None` when the other side has closed its end.
    pub fn receive(&mut self) -> Result<Option<Message>> {
        let mut length = [0_u8; 4];
        if !self.receive_length(&mut length)? {
            return Ok(None);
        }
        let mut body = vec![0_u8; u32::from_ne_bytes(length) as usize];
        match self.socket.read_exact(&mut body) {
            Ok(()) => {}
            // The other side died in the middle of a message.
            Err(cause) if cause.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(cause) => return Err(Error::io("could not read the report socket", &cause)),
        }
        serde_json::from_slice(&body)
            .map(Some)
            .map_err(|cause| Error::new(format!("could not decode a report: {cause}")))
    }

    /// Reads the four bytes in front of a message, and the descriptor that may come with them.
    fn receive_length(&mut self, length: &mut [u8; 4]) -> Result<bool> {
        let mut got = 0;
        while got < length.len() {
            let mut space = nix::cmsg_space!([RawFd; 1]);
            let mut slice = [IoSliceMut::new(&mut length[got..])];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            let message = match recvmsg::<()>(self.socket.as_raw_fd(), &mut slice, Some(&mut space), flags) {
                Ok(message) => message,
                Err(nix::errno::Errno::EINTR) => continue,
                Err(nix::errno::Errno::ECONNRESET) => return Ok(false),
                Err(errno) => return Err(Error::io("could not read the report socket", &errno.into())),
            };
            let fds: Vec<RawFd> = message
                .cmsgs()
                .into_iter()
                .flatten()
                .filter_map(|control| match control {
                    ControlMessageOwned::ScmRights(fds) => Some(fds),
                    _ => None,
                })
                .flatten()
                .collect();
            let count = message.bytes;
            if let Some(fd) = fds.first() {
                self.handed = Some(sys::process::adopt(*fd));
            }
            if count == 0 {
                return Ok(false);
            }
            got += count;
        }
        Ok(true)
    }

    /// The descriptor that came with the last [`Message::Hand`].
    pub fn take_handed(&mut self) -> Option<OwnedFd> {
        self.handed.take()
    }

    /// Whether the other side has closed its end and nothing is left to read.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        let mut byte = [0_u8; 1];
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        matches!(
            nix::sys::socket::recv(self.socket.as_raw_fd(), &mut byte, flags),
            Ok(0) | Err(nix::errno::Errno::ECONNRESET)
        )
    }
}
