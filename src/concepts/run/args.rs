//! The options of `cutaway run`. They mean what they mean to a Docker user.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::concepts::common::limits::LimitArgs;

/// Which network a container gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Network {
    /// A network namespace of its own, with loopback and nothing else.
    None,
    /// The host's network.
    Host,
}

/// The options of `cutaway run`.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// Name of the container (default: a random one)
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// Host name inside (default: the container's name)
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<String>,

    /// Set an environment variable; without a value, pass on the caller's
    #[arg(short = 'e', long = "env", value_name = "KEY[=VALUE]")]
    pub env: Vec<OsString>,

    /// Read environment variables from a file, one KEY=VALUE a line
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,

    /// Working directory inside (default: the image's, or /)
    #[arg(short = 'w', long, value_name = "DIR")]
    pub workdir: Option<String>,

    /// User, and optionally group, that the command runs as
    #[arg(short = 'u', long, value_name = "USER[:GROUP]")]
    pub user: Option<String>,

    /// Bind-mount a path of the host into the container
    #[arg(short = 'v', long = "volume", value_name = "SRC:DST[:ro]")]
    pub volumes: Vec<OsString>,

    /// Mount an empty file system in memory
    #[arg(long, value_name = "DST[:OPTIONS]")]
    pub tmpfs: Vec<String>,

    /// Make the root file system read-only
    #[arg(long)]
    pub read_only: bool,

    /// Limits of its groups.
    #[command(flatten)]
    pub limits: LimitArgs,

    /// Add a device of the host, which may then be read, written and made
    #[arg(long = "device", value_name = "SRC[:DST][:rwm]")]
    pub devices: Vec<OsString>,

    /// Allow devices by a rule of the device controller, for example 'c 10:229 rw'
    #[arg(long = "device-cgroup-rule", value_name = "RULE")]
    pub device_rules: Vec<String>,

    /// Run this instead of the image's entrypoint
    #[arg(long, value_name = "PROGRAM")]
    pub entrypoint: Option<OsString>,

    /// Run a small init as PID 1, which passes signals on and reaps orphans
    #[arg(long)]
    pub init: bool,

    /// Allow set-user-ID programs to raise privileges
    #[arg(long)]
    pub allow_setuid: bool,

    /// Which network the container gets
    #[arg(long, value_enum, default_value_t = Network::None)]
    pub network: Network,

    /// Keep stdin open
    #[arg(short = 'i', long)]
    pub interactive: bool,

    /// Allocate a terminal inside the container
    #[arg(short = 't', long)]
    pub tty: bool,

    /// Run a plain directory instead of an image; its files stay unchanged
    #[arg(long, value_name = "DIR")]
    pub rootfs: Option<PathBuf>,

    /// Accepted for Docker users: a foreground container is always removed
    #[arg(long, hide = true)]
    pub rm: bool,

    /// Image, then the command and its arguments
    ///
    /// The image is a name in the store, the path of an OCI image layout or of a `docker save` archive, with
    /// `:TAG` where it holds several, or a transport (oci:, oci-archive:, docker-archive:) and a path.
    /// Without an image, the built-in demo image runs. After `--`, everything is the command.
    #[arg(value_name = "IMAGE [COMMAND]", trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<OsString>,

    /// Whether the words stand behind a `--`, so that all of them are the command.
    #[arg(skip)]
    pub only_command: bool,
}

impl RunArgs {
    /// Finds out whether the words stand behind a `--`, which the parser swallows. They are the end of the
    /// command line, so the word in front of them is found by counting.
    #[must_use]
    pub fn with_line(mut self, line: &[OsString]) -> Self {
        let before = line.len().checked_sub(self.words.len() + 1);
        self.only_command = before.is_some_and(|at| line[at] == "--");
        // Behind the image, it separates image and command.
        if !self.only_command && self.words.get(1).is_some_and(|word| word == "--") {
            self.words.remove(1);
        }
        self
    }

    /// The image that was named, if any. With `--rootfs` there is none.
    #[must_use]
    pub fn image(&self) -> Option<&OsString> {
        if self.has_image() { self.words.first() } else { None }
    }

    /// The command that was given, if any.
    #[must_use]
    pub fn words_of_command(&self) -> Vec<OsString> {
        self.words.iter().skip(usize::from(self.has_image())).cloned().collect()
    }

    fn has_image(&self) -> bool {
        self.rootfs.is_none() && !self.only_command
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::FromArgMatches;

    fn parse(line: &[&str]) -> RunArgs {
        let line: Vec<OsString> = line.iter().map(OsString::from).collect();
        let matches = RunArgs::augment_args(clap::Command::new("run")).get_matches_from(&line);
        RunArgs::from_arg_matches(&matches).unwrap().with_line(&line)
    }

    #[test]
    fn image_and_command_are_told_apart() {
        let none = parse(&["run"]);
        assert_eq!((none.image(), none.words_of_command().len()), (None, 0));
        for line in [&["run", "demo", "ls", "-l"][..], &["run", "-i", "demo", "--", "ls", "-l"]] {
            let args = parse(line);
            assert_eq!(args.image().unwrap(), "demo", "{line:?}");
            assert_eq!(args.words_of_command(), ["ls", "-l"], "{line:?}");
        }
        let only = parse(&["run", "--", "ls", "--", "x"]);
        assert_eq!(
            (only.image(), only.words_of_command()),
            (None, vec!["ls".into(), "--".into(), "x".into()])
        );
        let rootfs = parse(&["run", "--rootfs", "/r", "sh", "-c", "true"]);
        assert_eq!((rootfs.image(), rootfs.words_of_command().len()), (None, 3));
    }
}
