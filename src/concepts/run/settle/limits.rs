//! Limits as the user writes them.

use crate::concepts::common::amount;
use crate::concepts::run::args::RunArgs;
use crate::error::Result;

/// How many processes a container may have when nobody says: podman's default. A fork bomb ends there.
const DEFAULT_PIDS: u64 = 2048;

/// Limits in the kernel's units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes.
    pub memory: Option<u64>,
    /// Microseconds of processor time in each 100 ms.
    pub cpu_quota: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

impl Limits {
    /// Reads the options.
    pub fn settle(args: &RunArgs) -> Result<Self> {
        Ok(Self {
            memory: args.memory.as_deref().map(memory).transpose()?.filter(|bytes| *bytes > 0),
            cpu_quota: args
                .cpus
                .as_deref()
                .map(|text| amount::quota("--cpus", text))
                .transpose()?
                .filter(|quota| *quota > 0),
            pids: match args.pids_limit {
                None => Some(DEFAULT_PIDS),
                Some(limit) => u64::try_from(limit).ok().filter(|limit| *limit > 0),
            },
        })
    }
}

/// At least 6 MiB: less cannot even start a program.
fn memory(text: &str) -> Result<u64> {
    let bytes = amount::bytes("--memory", text)?;
    if bytes > 0 && bytes < 6 << 20 {
        return Err(amount::refuse("--memory", text, "less than 6m does not let a program start"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_to_start_a_program_is_refused() {
        assert_eq!(memory("6m").unwrap(), 6 << 20);
        assert_eq!(memory("0").unwrap(), 0, "no limit");
        assert!(memory("1k").is_err());
    }
}
