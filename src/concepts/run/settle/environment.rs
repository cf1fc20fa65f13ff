//! The workload's environment: the image's, then the files', then the command line's. The last word wins.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use crate::concepts::run::args::RunArgs;
use crate::error::{Error, Result};
use crate::image::config::Config;
use crate::image::merged::user::User;
use crate::sys::Text;

/// Where programs are looked for when the image does not say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Variables in the order in which they were first set.
#[derive(Default)]
struct Variables(Vec<(Vec<u8>, Vec<u8>)>);

impl Variables {
    fn set(&mut self, key: &[u8], value: &[u8]) {
        match self.0.iter_mut().find(|(known, _)| known == key) {
            Some((_, old)) => value.clone_into(old),
            None => self.0.push((key.to_vec(), value.to_vec())),
        }
    }

    fn set_default(&mut self, key: &str, value: &[u8]) {
        if !self.0.iter().any(|(known, _)| known == key.as_bytes()) {
            self.set(key.as_bytes(), value);
        }
    }

    fn unset(&mut self, key: &[u8]) {
        self.0.retain(|(known, _)| known != key);
    }
}

/// All variables, as `KEY=VALUE`.
pub fn settle(args: &RunArgs, config: &Config, user: &User, hostname: &str) -> Result<Vec<Text>> {
    let mut all = Variables::default();
    all.set(b"PATH", PATH.as_bytes());
    all.set(b"HOSTNAME", hostname.as_bytes());
    if args.tty {
        all.set(b"TERM", b"xterm");
    }
    for entry in &config.env {
        // An entry without a value comes from a broken image; Docker keeps it as it is, with an empty value.
        let (key, value) = entry.split_once('=').unwrap_or((entry, ""));
        all.set(key.as_bytes(), value.as_bytes());
    }
    for file in &args.env_file {
        read_file(file, &mut all)?;
    }
    for entry in &args.env {
        add(entry.as_bytes(), "-e", &mut all)?;
    }
    all.set_default("HOME", user.home.as_os_str().as_bytes());
    Ok(all.0.into_iter().map(|(key, value)| Text::bytes(&[&key[..], b"=", &value].concat())).collect())
}

/// The value of a variable.
pub fn value(env: &[Text], key: &str) -> Option<Vec<u8>> {
    let wanted = format!("{key}=");
    env.iter()
        .filter_map(Text::known)
        .find_map(|entry| entry.strip_prefix(wanted.as_bytes()).map(<[u8]>::to_vec))
}

/// `KEY=VALUE` sets, `KEY` alone passes on the caller's value, or unsets it where the caller has none.
fn add(entry: &[u8], from: &str, all: &mut Variables) -> Result<()> {
    let shown = String::from_utf8_lossy(entry);
    let (key, value) = match entry.iter().position(|byte| *byte == b'=') {
        Some(at) => (&entry[..at], Some(entry[at + 1..].to_vec())),
        None => (entry, std::env::var_os(OsStr::from_bytes(entry)).map(OsStringExt::into_vec)),
    };
    if key.is_empty() {
        return Err(Error::new(format!("environment entry {shown:?} of {from} is refused"))
            .rule("a variable needs a name in front of the `=`"));
    }
    match value {
        Some(value) => all.set(key, &value),
        None => all.unset(key),
    }
    Ok(())
}

/// One entry a line, as it stands: no quotes, no expansion. Empty lines and lines that begin with `#` are
/// passed over.
fn read_file(path: &Path, all: &mut Variables) -> Result<()> {
    let bytes = std::fs::read(path)
        .map_err(|cause| Error::io(format!("cannot read the environment file {}", path.display()), &cause))?;
    for line in bytes.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = &line[line.iter().take_while(|byte| byte.is_ascii_whitespace()).count()..];
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        if line.contains(&0) {
            return Err(Error::new(format!("a line of {} is refused", path.display()))
                .rule("it contains a NUL byte, where the kernel would end the variable"));
        }
        add(line, &path.display().to_string(), all)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_wins_and_keeps_its_place() {
        let mut all = Variables::default();
        add(b"A=1", "-e", &mut all).unwrap();
        add(b"B=x=y", "-e", &mut all).unwrap();
        add(b"A=line\nline", "-e", &mut all).unwrap();
        assert_eq!(all.0, [(b"A".to_vec(), b"line\nline".to_vec()), (b"B".to_vec(), b"x=y".to_vec())]);
        assert!(add(b"=1", "-e", &mut all).is_err());
        add(b"CUTAWAY_TEST_SURELY_UNSET", "-e", &mut all).unwrap();
        assert_eq!(all.0.len(), 2);
    }
}
