//! Names: the container's, its host name, and the files that say them.

use std::path::Path;

use crate::concepts::Context;
use crate::concepts::common::names::check;
use crate::concepts::run::args::{Network, RunArgs};
use crate::error::{Error, Result};
use crate::sys::Text;

/// `__NEW_UTS_LEN`, the kernel's limit for a host name.
const LONGEST_HOSTNAME: usize = 64;

/// The container's name: the one given, or a random one.
pub fn container(args: &RunArgs, context: &Context) -> Result<String> {
    match &args.name {
        Some(name) => check(name).map(|()| name.clone()),
        // An explanation must read the same every time.
        None if context.explain => Ok("<name>".to_owned()),
        None => random(),
    }
}

/// Twelve hexadecimal digits, as Docker shortens its ids.
fn random() -> Result<String> {
    let mut bytes = [0_u8; 6];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).map_err(|errno| {
        Error::io("no random numbers for a name", &errno.into()).remedy("give one with --name")
    })?;
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    Ok(digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect())
}

/// The host name: the one given, or the container's name.
pub fn host(args: &RunArgs, name: &str) -> Result<String> {
    let Some(host) = &args.hostname else { return Ok(name.to_owned()) };
    let refuse = |rule: String| Err(Error::new(format!("the host name {host:?} is refused")).rule(rule));
    if host.len() > LONGEST_HOSTNAME {
        return refuse(format!("it has {} bytes; the kernel keeps at most {LONGEST_HOSTNAME}", host.len()));
    }
    if host.is_empty() || host.bytes().any(|byte| byte.is_ascii_control() || byte.is_ascii_whitespace()) {
        return refuse("it must have at least one character, and no blank or control character".into());
    }
    Ok(host.clone())
}

/// /etc/hostname, /etc/hosts and /etc/resolv.conf.
pub fn etc_files(hostname: &str, network: Network) -> Vec<(&'static str, Text)> {
    let own = || Text::from(format!("127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost\n"));
    let (hosts, resolv) = match network {
        Network::None => (own(), "# no network, no name servers\n".into()),
        Network::Host => (
            host_file("/etc/hosts").map_or_else(own, |hosts| hosts.then(format!("127.0.1.1\t{hostname}\n"))),
            host_file("/etc/resolv.conf").unwrap_or_default(),
        ),
    };
    vec![("hostname", format!("{hostname}\n").into()), ("hosts", hosts), ("resolv.conf", resolv)]
}

fn host_file(path: &str) -> Option<Text> {
    let bytes = std::fs::read(Path::new(path)).ok().filter(|bytes| bytes.len() < 65536)?;
    let text = Text::bytes(&bytes);
    Some(if bytes.is_empty() || bytes.ends_with(b"\n") { text } else { text.then("\n") })
}
