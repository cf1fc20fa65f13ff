//! The options of `cutaway run`. They mean what they mean to a Docker user.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

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

    /// Limit memory, for example 64m
    #[arg(short = 'm', long, value_name = "BYTES")]
    pub memory: Option<String>,

    /// Limit processor time, in processors: 0.5 is half of one
    #[arg(long, value_name = "NUMBER")]
    pub cpus: Option<String>,

    /// Limit the number of processes; -1 for no limit
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pub pids_limit: Option<i64>,

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

    /// The command and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    pub after: Vec<OsString>,
}

impl RunArgs {
    /// The image that was named, if any. With `--rootfs` there is none.
    #[must_use]
    pub fn image(&self) -> Option<&OsString> {
        if self.rootfs.is_some() { None } else { self.words.first() }
    }

    /// The command that was given, if any.
    #[must_use]
    pub fn words_of_command(&self) -> Vec<OsString> {
        let skip = usize::from(self.rootfs.is_none());
        self.words.iter().skip(skip).chain(&self.after).cloned().collect()
    }
}
