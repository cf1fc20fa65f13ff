//! `cutaway ns net`: an empty network, a cable, a bridge.
//!
//! ```text
//!   hub      the child's own namespace: one end of every cable, and the bridge
//!   one      a namespace in which no process is: a descriptor keeps it
//!   two      the same
//!   three    the same
//! ```
//!
//! One process builds all of it. A socket stays in the namespace in which it was made, so that the child makes a
//! netlink socket in each, and from then on asks for changes in any of them without going there. Names and
//! indexes are chosen by the plan: the namespaces are its own.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;

use super::{Room, show_host, wait};
use crate::concepts::Context;
use crate::plan::{Call, Claim, Plan, Probe, Step, calls};
use crate::probe::wires::Space;
use crate::sys::flags::CloneFlags;
use crate::sys::netlink::{Link, Request};
use crate::sys::syscall::SocketOption;
use crate::sys::{Errno, Syscall, Value};

mod bridge;

const NET: CloneFlags = CloneFlags::CLONE_NEWNET;
/// The port that datagrams are sent to.
const PORT: u16 = 4242;
/// An address that no network has: it is for examples (RFC 5737).
const NOWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// How many bits of the addresses name the network.
const PREFIX: u8 = 24;
/// How long a receive waits at most.
const PATIENCE: u32 = 5;
/// A socket that receives.
const LISTENER: &str = "listener";
/// A socket that sends.
const SENDER: &str = "sender";

/// A network namespace of the story.
#[derive(Clone, Copy)]
struct Net {
    /// Also that of its descriptor.
    name: &'static str,
    /// A netlink socket that was made in it.
    socket: &'static str,
    /// The end of its cable that is in the hub.
    port: (u32, &'static str),
    /// The index of the end that is in it.
    end: u32,
    /// Its address: of the hub, that of the hub's own end.
    address: Ipv4Addr,
}

const HUB: Net = Net::new("hub", "hub's netlink", (0, ""), 1);
const ONE: Net = Net::new("one", "one's netlink", (21, "to-one"), 2);
const TWO: Net = Net::new("two", "two's netlink", (23, "to-two"), 3);
const THREE: Net = Net::new("three", "three's netlink", (25, "to-three"), 4);

impl Net {
    /// The last number of its address is `host`, and that of the cable's far end follows on the near one's.
    const fn new(name: &'static str, socket: &'static str, port: (u32, &'static str), host: u8) -> Self {
        Self { name, socket, port, end: port.0 + 1, address: Ipv4Addr::new(10, 0, 0, host) }
    }

    /// The end in the hub.
    fn port(&self) -> Link {
        Link::new(self.port.0, self.port.1)
    }

    /// The end in this namespace, which has the name that containers give it.
    fn end(&self) -> Link {
        Link::new(self.end, "eth0")
    }

    fn space(&self) -> Space {
        Space {
            name: self.name.to_owned(),
            namespace: Value::later(self.name),
            socket: Value::later(self.socket),
        }
    }

    /// Goes there.
    fn enter(&self) -> Syscall {
        Syscall::Setns { fd: Value::later(self.name), kind: NET }
    }

    /// Its end gets its address and comes up.
    fn configure(&self, sequence: u32) -> [Call; 4] {
        let address = Request::NewAddress { link: self.end(), address: self.address, prefix: PREFIX };
        let up = Request::LinkUp { index: self.end, name: "eth0".to_owned() };
        let [send, receive] = calls::ask(self.socket, sequence, address);
        let [send_up, receive_up] = calls::ask(self.socket, sequence + 1, up);
        [send, receive, send_up, receive_up]
    }

    /// A cable to it. The kernel puts the other end there by the descriptor.
    fn cable(&self, bridge: Option<u32>) -> Request {
        Request::NewPair { link: self.port(), peer: self.end(), namespace: Value::later(self.name), bridge }
    }
}

/// The spaces with their wires.
fn wires(nets: &[Net]) -> Probe {
    Probe::Wires(nets.iter().map(Net::space).collect())
}

/// The story.
pub fn plan(room: &Room, _: &Context) -> Plan {
    let (show, look) = show_host("built", "seen", vec![from_the_host()]);
    let mut child = vec![start(), unreachable(), loopback(), to_itself(), second(), cable(), addresses()];
    child.extend([listen(), send(), nonsense()]);
    child.extend(bridge::steps());
    child.extend(show);
    child.push(cut());
    child.extend(room.cross(Probe::Links, vec![Claim::LinkUp("lo".to_owned())]));
    child.push(not_isolated(room));
    child.extend(room.exec());
    room.plan(vec![
        before(),
        room.keep_host(),
        room.child(birth(), NET, look, child),
        wait(room),
        after(),
        room.let_go_of_host(),
    ])
}

fn before() -> Step {
    Step::say("Note the network before anything changes")
        .why(
            "Interfaces, addresses, routes, neighbours, packet filters and ports: a network namespace is a \
             network stack of its own, with one of each.",
        )
        .chapter("18")
        .look_at([Probe::Links, Probe::Routes, Probe::Namespaces(NET)])
}

fn birth() -> Step {
    Step::say("Start a child that has a network namespace of its own")
        .why("It does not begin as a copy: no interface of the host is in it, and none will be.")
        .chapter("18")
}

fn start() -> Step {
    Step::say("Look around in the new namespace")
        .why(
            "Loopback is there, as in every network namespace, and it is down. A kernel with tunnel modules loaded \
             adds their fallback interfaces, which are down as well. No address, no route.",
        )
        .chapter("18")
        .look_at([Probe::Links, Probe::Routes, Probe::Namespaces(NET)])
        .expect([Claim::LinkDown("lo".to_owned())])
}

/// A socket for datagrams in the namespace that this process is in.
fn datagram(slot: &'static str) -> Call {
    Call::from(Syscall::DatagramSocket).into_slot(slot)
}

fn send_to(slot: &'static str, to: Ipv4Addr) -> Call {
    let (fd, to) = (Value::later(slot), SocketAddrV4::new(to, PORT));
    Syscall::SendDatagram { fd, data: "hello".into(), to }.into()
}

/// A socket that receives what is sent to an address of this namespace.
fn listener(address: Ipv4Addr) -> [Call; 3] {
    let fd = || Value::later(LISTENER);
    [
        datagram(LISTENER),
        Syscall::Bind { fd: fd(), address: SocketAddrV4::new(address, PORT) }.into(),
        Syscall::Setsockopt { fd: fd(), option: SocketOption::ReceiveTimeout(PATIENCE) }.into(),
    ]
}

fn receive() -> Call {
    Syscall::ReceiveDatagram { fd: Value::later(LISTENER) }.into()
}

/// A datagram from the one socket to the other, which is the last use of both.
fn deliver(to: Ipv4Addr) -> [Call; 4] {
    [send_to(SENDER, to), receive(), calls::close(SENDER), calls::close(LISTENER)]
}

fn unreachable() -> Step {
    Step::say("Try to reach yourself, and then somebody else")
        .why(
            "ENETUNREACH, twice and at once: no packet is sent and nothing times out, because no route leads \
             anywhere. Not even to 127.0.0.1, whose route is there only while loopback is up.",
        )
        .chapter("18")
        .call(datagram(SENDER))
        .call(send_to(SENDER, Ipv4Addr::LOCALHOST).refused(Errno::ENETUNREACH))
        .call(send_to(SENDER, NOWHERE).refused(Errno::ENETUNREACH))
        .call(calls::close(SENDER))
}

fn loopback() -> Step {
    Step::say("Bring the loopback interface up")
        .why(
            "What ip(8) does is this: a netlink socket, a message to the kernel, and its answer. With \
             NETLINK_EXT_ACK the kernel also says in words why it refuses something. The address 127.0.0.1 comes by \
             itself.",
        )
        .chapter("18")
        .call(calls::route_socket(HUB.socket))
        .call(Syscall::Setsockopt { fd: Value::later(HUB.socket), option: SocketOption::ExtendedAck })
        .calls(calls::ask(HUB.socket, 1, Request::LinkUp { index: 1, name: "lo".to_owned() }))
        .look_at([Probe::Links])
        .expect([Claim::LinkUp("lo".to_owned())])
}

fn to_itself() -> Step {
    Step::say("Talk to yourself")
        .why(
            "A port of this namespace: the same number on the host is another port. That is why ten containers can \
             all listen on port 80.",
        )
        .chapter("18")
        .calls(listener(Ipv4Addr::LOCALHOST))
        .call(send_to(LISTENER, Ipv4Addr::LOCALHOST))
        .call(receive())
        .call(calls::close(LISTENER))
}

// ANCHOR: found
/// A new namespace that nobody stays in: this process goes there, leaves a socket, and comes back.
fn found(net: &Net, room_for_words: Step) -> Step {
    room_for_words
        .call(calls::unshare(NET))
        .call(own(net.name))
        .call(calls::route_socket(net.socket))
        .call(HUB.enter())
}
// ANCHOR_END: found

fn own(slot: &'static str) -> Call {
    use crate::sys::flags::{Access, OFlags};
    calls::open("/proc/self/ns/net", Access::O_RDONLY, OFlags::empty(), slot)
}

fn second() -> Step {
    let words = Step::say("Make a second network namespace, and come back")
        .why(
            "unshare moves this process into it. A descriptor keeps it alive when the process has left again. And a \
             socket stays in the namespace in which it was made: through the one that is made there, its network \
             can be changed from here.",
        )
        .chapter("17")
        .call(own(HUB.name));
    found(&ONE, words).look_at([Probe::Namespaces(NET)]).expect([Claim::OwnNamespaces(NET)])
}

fn cable() -> Step {
    Step::say("Lay a cable between the two")
        .why(
            "A veth pair: what goes in at one end comes out at the other. One message makes both, and the part about \
             the other end names its namespace by the descriptor. The number behind a name, @if22, is the index of \
             the other end. It counts over there, so that in here it seems to lead nowhere.",
        )
        .chapter("18")
        .calls(calls::ask(HUB.socket, 2, ONE.cable(None)))
        .look_at([wires(&[HUB, ONE])])
        .expect([Claim::Peer { link: "to-one".to_owned(), index: ONE.end }])
}

fn addresses() -> Step {
    let here = Request::NewAddress { link: ONE.port(), address: HUB.address, prefix: PREFIX };
    Step::say("Give both ends an address")
        .why(
            "An address with the prefix 24 says: all 10.0.0.x are on this cable. So a route comes with it. Each \
             message goes to the socket of the namespace that it is about. The end over there is still down, which a \
             third message changes.",
        )
        .chapter("18")
        .calls(calls::ask(HUB.socket, 3, here))
        .calls(ONE.configure(1))
        .look_at([wires(&[HUB, ONE]), Probe::Routes])
        .expect([Claim::LinkUp("to-one".to_owned())])
}

fn listen() -> Step {
    Step::say("Listen in the other namespace")
        .why("The socket is made over there and belongs there. The process comes back and keeps it.")
        .chapter("18")
        .call(ONE.enter())
        .calls(listener(ONE.address))
        .call(HUB.enter())
        .expect([Claim::Neighbour { address: ONE.address, known: false }])
}

fn send() -> Step {
    Step::say("Send a datagram through the cable")
        .why(
            "Sent in one namespace, received in the other. Before it leaves, the kernel has to know whose hardware \
             address to write on it: it asks all on the cable who has 10.0.0.2 (ARP), and keeps the answer in the \
             neighbour table, which was empty before.",
        )
        .chapter("18")
        .call(datagram(SENDER))
        .calls(deliver(ONE.address))
        .look_at([Probe::Neighbours])
        .expect([Claim::Neighbour { address: ONE.address, known: true }])
}

fn nonsense() -> Step {
    let to = Some((Ipv4Addr::new(192, 0, 2, 0), PREFIX));
    let route = Request::NewRoute { to, gateway: Ipv4Addr::new(10, 9, 9, 9) };
    let [send, answer] = calls::ask(HUB.socket, 4, route);
    Step::say("Ask for a route that cannot be")
        .why(
            "A gateway must be somebody whom another route reaches. The receiving call succeeds: the refusal is in \
             the message, as a number and, because it was asked for, as a sentence of the kernel.",
        )
        .chapter("18")
        .calls([send, answer.refused(Errno::ENETUNREACH)])
}

fn from_the_host() -> Step {
    Step::say("Look for all this on the host")
        .why("No interface more, no route more. The namespaces are own stacks, not filters on the host's.")
        .chapter("18")
        .look_at([Probe::Links, Probe::Namespaces(NET)])
        .expect([Claim::NoLink("to-one".to_owned()), Claim::NoLink("to-three".to_owned())])
        .expect([Claim::SharedNamespaces(NET)])
}

fn cut() -> Step {
    Step::say("Cut a cable")
        .why(
            "Who removes one end removes the other, in whichever namespace it is. When a namespace dies, its ends \
             die, and their other ends with them: a container leaves no cable behind on its host.",
        )
        .chapter("18")
        .calls(calls::ask(HUB.socket, 11, Request::DeleteLink { link: THREE.port() }))
        .look_at([wires(&[HUB, ONE, TWO, THREE])])
        .expect([Claim::NoLink("to-three".to_owned())])
}

fn not_isolated(room: &Room) -> Step {
    let files = ["/etc/resolv.conf", "/etc/hosts", "/etc"].map(Path::new);
    let file = files.into_iter().find(|file| file.exists()).unwrap_or(Path::new("/"));
    Step::say("See what this namespace does not isolate")
        .why(
            "Files. Names are looked up by what /etc/resolv.conf says, and that is still the host's. A UNIX socket \
             with a path is a file too, and whoever can open it is connected, across any network namespace. Only \
             abstract ones, without a path, belong to it.",
        )
        .chapter("18")
        .look_at([Probe::File(file.into())])
        .expect([Claim::Exists(file.into()), room.shares_the_rest(NET)])
}

fn after() -> Step {
    Step::say("Look at the host again")
        .why(
            "Nothing was to be taken back: interfaces, routes and addresses have died with their namespaces.",
        )
        .chapter("18")
        .look_at([Probe::Links, Probe::Routes, Probe::Namespaces(NET)])
        .expect([Claim::NoLink("to-one".to_owned()), Claim::SharedNamespaces(NET)])
}

#[cfg(test)]
mod tests {
    use super::super::tests::{is_sound, rooms};
    use super::*;
    use crate::plan::{Action, number};

    #[test]
    fn the_story_is_sound() {
        is_sound("net");
    }

    /// The acknowledgements of a socket are told apart by their numbers.
    #[test]
    fn no_socket_gets_two_requests_of_the_same_number() {
        let (_, plan) = rooms("net").remove(0);
        let mut seen = std::collections::BTreeSet::new();
        for one in number::walk(&plan) {
            let Action::Calls(calls) = &one.step.action else { continue };
            for call in calls {
                if let Syscall::Sendto { fd, message } = &call.syscall {
                    assert!(seen.insert((fd.to_string(), message.sequence)), "{}: {message}", one.id);
                }
            }
        }
        assert!(seen.len() > 12);
    }
}
