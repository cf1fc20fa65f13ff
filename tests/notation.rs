//! What cutaway prints of a call is what strace prints of it, letter by letter.
//!
//! This test starts itself again under strace; that second process makes every sample call, most of which
//! fail, and prints how cutaway writes it. Then both texts are compared.

use std::os::fd::AsRawFd;
use std::process::Command;

use cutaway::sys::netlink::Message;
use cutaway::sys::syscall::{Netlink, Prctl, SocketOption};
use cutaway::sys::{Kernel, Linux, Syscall, Value, manual, netlink, samples};
use nix::sys::socket::{NetlinkAddr, bind};

/// Marks the process that makes the calls.
const PERFORM: &str = "CUTAWAY_TEST_PERFORM";
/// Marks the process that sends the requests, in a network namespace of its own.
const REQUEST: &str = "CUTAWAY_TEST_REQUEST";

/// Reasons to skip are failures where everything must run.
fn skip(reason: &str) {
    assert!(std::env::var_os("CUTAWAY_MUST_RUN").is_none(), "skipped: {reason}");
    eprintln!("skipped: {reason}");
}

fn perform() {
    // The test harness has begun a line already.
    println!();
    let mut socket = None;
    for (index, call) in samples::all().into_iter().enumerate() {
        let call = on_socket(call, socket);
        // Into a process that is not dumpable only a privileged strace can look.
        if call == Syscall::Prctl(Prctl::Dumpable(false)) && !nix::unistd::geteuid().is_root() {
            println!("{index}\t");
            continue;
        }
        let text = match Linux.call(&call) {
            Ok(returned) => {
                if matches!(call, Syscall::Socket { .. }) {
                    socket = Some(returned.value);
                }
                let answer = netlink::answer(&returned.answer).unwrap_or_default();
                format!("{} = {}", call.answered(&answer), call.result(returned.value))
            }
            Err(errno) => format!("{call} = -1 {}", manual::errno(errno)),
        };
        // A line of its own for each, by one write: the mark by which the trace is found again.
        println!("{index}\t{text}");
    }
}

/// strace decodes netlink only on a real socket of its own network namespace, so these two samples get one.
fn on_socket(call: Syscall, socket: Option<i64>) -> Syscall {
    // The message brings loopback up: nothing is sent where that would change the machine.
    let up = cutaway::probe::links::is_up("lo") == Ok(Some(true));
    let Some(fd) = socket.filter(|_| up).map(Value::Known) else { return call };
    match call {
        Syscall::Sendto { message, .. } => {
            // An unbound netlink socket is in no list of the kernel, and strace cannot tell its kind.
            let Value::Known(number) = fd else { unreachable!() };
            let number = i32::try_from(number).expect("a descriptor");
            bind(number, &NetlinkAddr::new(0, 0)).expect("a netlink socket can be bound");
            Syscall::Sendto { fd, message }
        }
        Syscall::Recvfrom { .. } => Syscall::Recvfrom { fd },
        other => other,
    }
}

#[test]
fn every_call_is_printed_as_strace_prints_it() {
    if std::env::var_os(PERFORM).is_some() {
        return perform();
    }
    let name = "every_call_is_printed_as_strace_prints_it";
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let output = Command::new("strace")
        .args(["-f", "-a1", "-s", "65536", "-e", "signal=none", "-o"])
        .arg(&trace)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(PERFORM, "1")
        .output();
    let Ok(output) = output else { return skip("strace is not installed") };
    if String::from_utf8_lossy(&output.stderr).contains("PTRACE") {
        return skip("this process may not trace another");
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).unwrap();
    let trace = std::fs::read_to_string(&trace).unwrap();
    compare(&printed, &trace, samples::all().len());
}

/// Sends every request. All of it happens in a network namespace that this process was started in.
fn request() {
    println!();
    let call = |call: Syscall| (call.clone(), Linux.call(&call).expect("a call on a socket"));
    let (_, made) = call(Syscall::Socket { protocol: Netlink::Route });
    let fd = Value::Known(made.value);
    bind(i32::try_from(made.value).expect("a descriptor"), &NetlinkAddr::new(0, 0))
        .expect("a netlink socket can be bound");
    call(Syscall::Setsockopt { fd: fd.clone(), option: SocketOption::ExtendedAck });
    let namespace = std::fs::File::open("/proc/self/ns/net").expect("a network namespace");
    for (index, request) in samples::requests(namespace.as_raw_fd()).into_iter().enumerate() {
        let message = Message { sequence: u32::try_from(index + 1).expect("a small number"), request };
        let mut sent = Syscall::Sendto { fd: fd.clone(), message: message.clone() }.to_string();
        let names = netlink::text::Names { link: &|_| None, descriptor: None };
        // strace shows the data of a veth pair as bytes.
        if let Some((told, raw)) = netlink::text::veth(&message.encode(), &names) {
            assert!(sent.contains(&told), "{sent}");
            sent = sent.replace(&told, &raw);
        }
        let (_, returned) = call(Syscall::Sendto { fd: fd.clone(), message });
        println!("{}\t{sent} = {}", index * 2, returned.value);
        let (receive, returned) = call(Syscall::Recvfrom { fd: fd.clone() });
        let answer = netlink::answer(&returned.answer).unwrap_or_default();
        println!("{}\t{} = {}", index * 2 + 1, receive.answered(&answer), returned.value);
    }
}

#[test]
fn every_request_is_printed_as_strace_prints_it() {
    if std::env::var_os(REQUEST).is_some() {
        return request();
    }
    let name = "every_request_is_printed_as_strace_prints_it";
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let output = Command::new("unshare")
        .args(["--map-root-user", "--net", "strace", "-f", "-a1", "-s", "65536", "-e", "signal=none", "-o"])
        .arg(&trace)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(REQUEST, "1")
        .output();
    let Ok(output) = output else { return skip("unshare is not installed") };
    let stderr = String::from_utf8_lossy(&output.stderr);
    if ["unshare failed", "PTRACE", "failed to execute"].iter().any(|why| stderr.contains(why)) {
        return skip(&stderr);
    }
    assert!(output.status.success(), "{stderr}");
    let printed = String::from_utf8(output.stdout).unwrap();
    compare(&printed, &std::fs::read_to_string(&trace).unwrap(), samples::requests(0).len() * 2);
}

fn compare(printed: &str, trace: &str, expected: usize) {
    // `PID call(…) = …`: the pid is cut off. The pieces of an interrupted line do not occur: one thread calls.
    let traced: Vec<&str> =
        trace.lines().filter_map(|line| line.split_once(' ')).map(|(_, rest)| rest.trim_start()).collect();
    let mut differences = Vec::new();
    let mut compared = 0;
    for line in printed.lines() {
        let Some((index, ours)) = line.split_once('\t').filter(|(index, _)| index.parse::<usize>().is_ok())
        else {
            continue;
        };
        compared += 1;
        let mark = format!("\"{index}\\t");
        let Some(at) = traced.iter().position(|line| line.starts_with("write(1,") && line.contains(&mark))
        else {
            differences.push(format!("call {index} is not in the trace: {ours}"));
            continue;
        };
        // Between the call and its mark only cutaway's own looking things up may stand.
        let call = &ours[..ours.find('(').map_or(0, |at| at + 1)];
        let theirs = traced[..at].iter().rfind(|line| line.starts_with(call)).unwrap_or(&"");
        if !same(ours, theirs) {
            differences.push(format!("cutaway {ours}\nstrace  {theirs}"));
        }
    }
    assert_eq!(compared, expected);
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
}

/// Equal but for addresses, which no plan knows: where envp lies, the room for an answer, and a program.
fn same(ours: &str, theirs: &str) -> bool {
    let without_address = |text: &str| match (text.find(", 0x"), text.find(" /* ")) {
        (Some(from), Some(to)) if from < to => format!("{},{}", &text[..from], &text[to..]),
        _ => text.to_owned(),
    };
    if ours.is_empty() || ours.starts_with("sendto(-1, [{nlmsg") {
        return true;
    }
    let rooms = ["<answer>", "<datagram>", "<program>"];
    match rooms.into_iter().find_map(|room| ours.split_once(room)) {
        Some((before, after)) => theirs.starts_with(before) && theirs.ends_with(after),
        None => ours == without_address(theirs),
    }
}
