//! The limits of unpacking as flags, for every command that reads layers.

use clap::Args;

use crate::image::unpack::Limits;

/// What one layer may hold. Real layers are far below these limits.
#[derive(Debug, Clone, Args)]
pub struct LimitArgs {
    /// Most entries of a layer
    #[arg(long, value_name = "NUMBER")]
    pub max_entries: Option<u64>,
    /// Most bytes of all files of a layer
    #[arg(long, value_name = "BYTES")]
    pub max_bytes: Option<u64>,
    /// Longest name of an entry, in bytes
    #[arg(long, value_name = "BYTES")]
    pub max_path: Option<usize>,
    /// Deepest directory
    #[arg(long, value_name = "NUMBER")]
    pub max_depth: Option<usize>,
}

impl LimitArgs {
    /// The limits: those that were given, and the usual ones.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let own = Limits::default();
        Limits {
            entries: self.max_entries.unwrap_or(own.entries),
            bytes: self.max_bytes.unwrap_or(own.bytes),
            path: self.max_path.unwrap_or(own.path),
            depth: self.max_depth.unwrap_or(own.depth),
        }
    }
}
