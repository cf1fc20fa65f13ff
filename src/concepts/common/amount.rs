//! Amounts as the user writes them: sizes, processors, numbers. The same for every command that sets limits.

use crate::error::{Error, Result};

/// The kernel's period for processor time that Docker uses, in microseconds.
pub const PERIOD: u64 = 100_000;
/// The smallest quota that the kernel takes, in microseconds.
const SMALLEST_QUOTA: u64 = 1000;

/// What is wrong with the value of a flag.
#[must_use]
pub fn refuse(flag: &str, text: &str, rule: impl Into<crate::error::Text>) -> Error {
    Error::new(format!("{flag} {text} is refused")).rule(rule)
}

/// `64m`, `1.5g`, `1000000`: binary multiples, as Docker reads them.
pub fn bytes(flag: &str, text: &str) -> Result<u64> {
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
    let number: f64 = digits.parse().map_err(|_| refuse(flag, text, RULE))?;
    if !number.is_finite() || number < 0.0 {
        return Err(refuse(flag, text, RULE));
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "checked above; a limit is not exact to the byte beyond 2^53"
    )]
    Ok((number * factor as f64) as u64)
}

/// `0.5`: processors, as microseconds of each period.
pub fn quota(flag: &str, text: &str) -> Result<u64> {
    const RULE: &str = "a number of processors is wanted, such as 0.5";
    let number: f64 = text.parse().map_err(|_| refuse(flag, text, RULE))?;
    if !number.is_finite() || !(0.0..=8192.0).contains(&number) {
        return Err(refuse(flag, text, RULE));
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "checked above"
    )]
    let quota = (number * PERIOD as f64).round() as u64;
    if quota > 0 && quota < SMALLEST_QUOTA {
        return Err(refuse(flag, text, "the kernel gives no less than 0.01 of a processor"));
    }
    Ok(quota)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_mean_what_they_mean_to_docker() {
        for (text, size) in
            [("64m", 64 << 20), ("1.5g", 3 << 29), ("10000000", 10_000_000), ("64MiB", 64 << 20), ("0", 0)]
        {
            assert_eq!(bytes("--memory", text).unwrap(), size, "{text}");
        }
        for bad in ["", "m", "-1m", "64x", "nan", "6 m"] {
            assert!(bytes("--memory", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn processors_become_a_quota() {
        assert_eq!(quota("--cpus", "0.5").unwrap(), 50_000);
        assert_eq!(quota("--cpus", "2").unwrap(), 200_000);
        for bad in ["0.001", "-1", "inf", ""] {
            assert!(quota("--cpus", bad).is_err(), "{bad:?}");
        }
    }
}
