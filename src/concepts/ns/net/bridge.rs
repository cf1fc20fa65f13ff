//! The second half of the story: three namespaces that reach each other through a bridge.

use super::{HUB, NET, Net, ONE, PREFIX, SENDER, THREE, TWO, datagram, deliver, found, listener, wires};
use crate::plan::{Claim, Probe, Step, calls};
use crate::sys::Value;
use crate::sys::netlink::{Link, Request};

/// The bridge's index.
const INDEX: u32 = 20;
/// Its name.
const NAME: &str = "br0";
const ALL: [Net; 4] = [HUB, ONE, TWO, THREE];

fn bridge() -> Link {
    Link::new(INDEX, NAME)
}

/// The steps.
pub fn steps() -> Vec<Step> {
    vec![make(), two(), three(), plug(), configure(), listen(), through(), way_out(), back()]
}

fn make() -> Step {
    let (address, prefix) = (HUB.address, PREFIX);
    Step::say("Make a bridge, and plug the cable into it")
        .why(
            "A bridge is a switch in the kernel, and an interface at the same time: the hub's own place at the switch. \
             A port passes everything on and has no use for an address, so that the bridge gets it instead.",
        )
        .chapter("18")
        .calls(calls::ask(HUB.socket, 5, Request::NewBridge { link: bridge() }))
        .calls(calls::ask(HUB.socket, 6, Request::DeleteAddress { link: ONE.port(), address, prefix }))
        .calls(calls::ask(HUB.socket, 7, Request::NewAddress { link: bridge(), address, prefix }))
        .calls(calls::ask(HUB.socket, 8, Request::Join { link: ONE.port(), bridge: INDEX }))
        .look_at([wires(&[HUB, ONE])])
        .expect([Claim::LinkUp(NAME.to_owned())])
}

fn two() -> Step {
    let words = Step::say("Make a third network namespace")
        .why("As before: go there, keep a descriptor, leave a socket, come back.")
        .chapter("17");
    found(&TWO, words)
}

fn three() -> Step {
    let words = Step::say("And a fourth")
        .why("No process is in any of the three. A descriptor each is all that keeps them alive.")
        .chapter("17");
    found(&THREE, words).expect([Claim::OwnNamespaces(NET)])
}

fn plug() -> Step {
    Step::say("Lay a cable from the bridge to each")
        .why(
            "The same message as before, with one attribute more: IFLA_MASTER makes the end in here a port of the \
             bridge. This is the network of Docker and podman: a bridge on the host, and one cable to each container, \
             whose end is called eth0 there.",
        )
        .chapter("18")
        .calls(calls::ask(HUB.socket, 9, TWO.cable(Some(INDEX))))
        .calls(calls::ask(HUB.socket, 10, THREE.cable(Some(INDEX))))
        .look_at([wires(&ALL)])
        .expect([
            Claim::Peer { link: TWO.port.1.to_owned(), index: TWO.end },
            Claim::Peer { link: THREE.port.1.to_owned(), index: THREE.end },
        ])
}

fn configure() -> Step {
    Step::say("Give their ends addresses of the same network")
        .why("Three namespaces and the hub, on one wire as far as they can see.")
        .chapter("18")
        .calls(TWO.configure(1))
        .calls(THREE.configure(1))
        .look_at([wires(&ALL)])
}

fn listen() -> Step {
    Step::say("Listen in one of them, and get a socket in another")
        .why("The process goes to both and comes back.")
        .chapter("17")
        .call(THREE.enter())
        .calls(listener(THREE.address))
        .call(TWO.enter())
        .call(datagram(SENDER))
        .call(HUB.enter())
        .expect([Claim::LinkUp(NAME.to_owned())])
}

fn through() -> Step {
    Step::say("Send from one to the other, through the bridge")
        .why(
            "No cable joins these two. The bridge looks at hardware addresses only: it sends a question to all ports, \
             notes behind which port each sender is, and from then on sends to that port alone.",
        )
        .chapter("18")
        .calls(deliver(THREE.address))
        .look_at([Probe::Learned(Value::later(HUB.socket))])
        .expect([Claim::Learned { socket: Value::later(HUB.socket), least: 2 }])
}

fn way_out() -> Step {
    let route = Request::NewRoute { to: None, gateway: HUB.address };
    Step::say("Show one of them the way out, and look at it from there")
        .why(
            "The default route: what is for no network that it knows goes to the hub. Whether the hub passes it on is \
             the hub's business: forwarding, and translating addresses, are the next chapter. Go there and look.",
        )
        .chapter("18")
        .calls(calls::ask(TWO.socket, 3, route))
        .call(TWO.enter())
        .look_at([Probe::Routes, Probe::Links, Probe::Neighbours])
        .expect([
            Claim::LinkUp("eth0".to_owned()),
            Claim::NoLink(NAME.to_owned()),
            Claim::Neighbour { address: THREE.address, known: true },
        ])
}

fn back() -> Step {
    Step::say("Come back to the hub")
        .why("From in here the same cables have other names and other numbers.")
        .chapter("17")
        .call(HUB.enter())
        .look_at([wires(&ALL)])
        .expect([Claim::LinkUp(NAME.to_owned())])
}
