//! The limits of unpacking as flags, for every command that reads layers.

use clap::Args;

use crate::image::unpack::Limits;
use crate::report::style::{bytes, thousands};

/// What one layer may hold. Real layers are far below these limits.
#[derive(Debug, Clone, Args)]
pub struct LimitArgs {
    /// Most entries of a layer (5,000,000)
    #[arg(long, value_name = "NUMBER")]
    pub max_entries: Option<u64>,
    /// Most bytes of all files of a layer (256 GiB)
    #[arg(long, value_name = "BYTES")]
    pub max_bytes: Option<u64>,
    /// Longest name of an entry, in bytes (4096)
    #[arg(long, value_name = "BYTES")]
    pub max_path: Option<usize>,
    /// Deepest directory (256)
    #[arg(long, value_name = "NUMBER")]
    pub max_depth: Option<usize>,
    /// How many times larger than it is stored a layer of more than 1 GiB may become (1000)
    #[arg(long, value_name = "NUMBER")]
    pub max_ratio: Option<u64>,
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
            ratio: self.max_ratio.unwrap_or(own.ratio),
        }
    }
}

/// The limits in words, for the notes of a plan.
#[must_use]
pub fn told(limits: &Limits) -> String {
    format!(
        "limits of a layer: {} entries, {} of files, names of {} bytes, {} directories deep, {} times its stored size \
         (--max-entries, --max-bytes, --max-path, --max-depth, --max-ratio)",
        thousands(limits.entries),
        bytes(limits.bytes),
        limits.path,
        limits.depth,
        thousands(limits.ratio)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        limits: LimitArgs,
    }

    #[test]
    fn the_help_names_the_usual_limits() {
        let help = <Line as clap::CommandFactory>::command().render_long_help().to_string();
        let own = Limits::default();
        let numbers = [own.entries, own.path as u64, own.depth as u64, own.ratio];
        for number in numbers {
            let words = [format!("({number})"), format!("({})", thousands(number))];
            assert!(words.iter().any(|word| help.contains(word)), "{number} is not in\n{help}");
        }
        assert!(help.contains("(256 GiB)") && own.bytes == 256 << 30);
    }
}
