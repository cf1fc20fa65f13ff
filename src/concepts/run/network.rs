//! The container's network: its own loopback, or the host's.

use crate::plan::{Claim, Probe, Step, calls};
use crate::sys::netlink::{Message, Request};
use crate::sys::{Syscall, Value};

use super::args::Network;
use super::settle::Settled;

/// Brings loopback up.
pub fn up(run: &Settled) -> Option<Step> {
    if run.network == Network::Host {
        return None;
    }
    let fd = || Value::later("netlink");
    // The loopback interface is the first of every network namespace.
    let message = Message { sequence: 1, request: Request::LinkUp { index: 1, name: "lo".to_owned() } };
    Some(
        Step::say("Bring the loopback interface up")
            .why(
                "A new network namespace has one interface, lo, and it is down: even 127.0.0.1 cannot be \
                 reached. Interfaces are changed by messages to the kernel, sent through a netlink socket; the \
                 kernel answers each with an acknowledgement.",
            )
            .chapter("18")
            .call(calls::route_socket("netlink"))
            .calls([Syscall::Sendto { fd: fd(), message }, Syscall::Recvfrom { fd: fd() }])
            .call(calls::close("netlink"))
            .look_at([Probe::Links])
            .expect([Claim::LinkUp("lo".to_owned())]),
    )
}
