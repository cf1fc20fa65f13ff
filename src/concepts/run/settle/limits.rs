//! Limits as the user writes them.

use crate::concepts::run::args::RunArgs;
use crate::error::{Error, Result};

/// How many processes a container may have when nobody says: podman's default. A fork bomb ends there.
const DEFAULT_PIDS: u64 = 2048;
/// The kernel's period for processor time that Docker uses, in microseconds.
const PERIOD: f64 = 100_000.0;
/// The smallest quota that the kernel takes, in microseconds.
const SMALLEST_QUOTA: u64 = 1000;

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
            cpu_quota: args.cpus.as_deref().map(quota).transpose()?.filter(|quota| *quota > 0),
            pids: match args.pids_limit {
                None => Some(DEFAULT_PIDS),
                Some(limit) => u64::try_from(limit).ok().filter(|limit| *limit > 0),
            },
        })
    }
}

fn refuse(flag: &str, text: &str, rule: &'static str) -> Error {
    Error::new(format!("{flag} {text} is refused")).rule(rule)
}

/// `64m`, `1.5g`, `1000000`: binary multiples, as Docker reads them. At least 6 MiB: less cannot even start
/// a program.
fn memory(text: &str) -> Result<u64> {
    const RULE: &str = "a number of bytes is wanted, with b, k, m or g behind it if it is not in bytes";
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches('b').trim_end_matches('i').trim_end_matches(['k', 'm', 'g', 't']);
    let factor: u64 = match lower[digits.len()..].chars().next() {
        None | Some('b' | 'i') => 1,
        Some('k') => 1 << 10,
        Some('m') => 1 << 20,
        Some('g') => 1 << 30,
        _ => 1 << 40,
    };
    let number: f64 = digits.parse().map_err(|_| refuse("--memory", text, RULE))?;
    if !number.is_finite() || number < 0.0 {
        return Err(refuse("--memory", text, RULE));
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "checked above; a limit is not exact to the byte beyond 2^53"
    )]
    let bytes = (number * factor as f64) as u64;
    if bytes > 0 && bytes < 6 << 20 {
        return Err(refuse("--memory", text, "less than 6m does not let a program start"));
    }
    Ok(bytes)
}

/// `0.5`: processors, as a quota of each period.
fn quota(text: &str) -> Result<u64> {
    let number: f64 =
        text.parse().map_err(|_| refuse("--cpus", text, "a number of processors is wanted, such as 0.5"))?;
    if !number.is_finite() || !(0.0..=8192.0).contains(&number) {
        return Err(refuse("--cpus", text, "a number of processors is wanted, such as 0.5"));
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
    let quota = (number * PERIOD).round() as u64;
    if quota > 0 && quota < SMALLEST_QUOTA {
        return Err(refuse("--cpus", text, "the kernel gives no less than 0.01 of a processor"));
    }
    Ok(quota)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_mean_what_they_mean_to_docker() {
        for (text, bytes) in
            [("64m", 64 << 20), ("1.5g", 3 << 29), ("10000000", 10_000_000), ("64MiB", 64 << 20), ("0", 0)]
        {
            assert_eq!(memory(text).unwrap(), bytes, "{text}");
        }
        for bad in ["", "m", "-1m", "64x", "nan", "1k", "6 m"] {
            assert!(memory(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn processors_become_a_quota() {
        assert_eq!(quota("0.5").unwrap(), 50_000);
        assert_eq!(quota("2").unwrap(), 200_000);
        assert!(quota("0.001").is_err() && quota("-1").is_err() && quota("inf").is_err());
    }
}
