//! Switches of the kernel: files below /proc/sys
//! ([proc_sys(5)](https://man7.org/linux/man-pages/man5/proc_sys.5.html)).

use super::read;

/// The value of a sysctl by its dotted name, such as `user.max_user_namespaces`; `None` if this kernel has none of
/// the name, or does not show it.
#[must_use]
pub fn value(name: &str) -> Option<String> {
    let text = read::text(format!("/proc/sys/{}", name.replace('.', "/"))).ok()?;
    Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Whether a sysctl is set to exactly this.
#[must_use]
pub fn is(name: &str, wanted: &str) -> bool {
    value(name).is_some_and(|value| value == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_is_named_with_dots() {
        assert!(is("kernel.ostype", "Linux"));
        assert_eq!(value("kernel.no_such_switch"), None);
    }
}
