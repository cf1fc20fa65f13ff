//! Names of runs: each is also a file name.

use crate::error::{Error, Result};

/// A container's name is also a file name, a cgroup's name and, by default, a host name.
const LONGEST: usize = 63;

/// Whether something may have this name.
pub fn check(name: &str) -> Result<()> {
    let refuse = |rule: String| Err(Error::new(format!("the name {name:?} is refused")).rule(rule));
    if name.len() > LONGEST {
        return refuse(format!("it has {} bytes, more than {LONGEST}", name.len()));
    }
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if !first || !rest {
        return refuse(
            "a name begins with a letter or digit and goes on with letters, digits, `_`, `.`, `-`".into(),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_be_paths_or_options_are_refused() {
        for bad in ["", ".", "..", "../x", "a/b", "-rf", "a b", "a\n", "ä", &"x".repeat(64)] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "box-1", "A.b_c", &"x".repeat(63)] {
            assert!(check(good).is_ok(), "{good:?}");
        }
    }
}
