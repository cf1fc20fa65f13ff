//! What this process may do: capability sets, `no_new_privs`, seccomp, from `/proc/self/status`.

use serde_json::{Value as Json, json};

use super::read;
use crate::sys::flags::CapSet;

/// The capability sets and switches of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Privileges {
    /// What counts in a permission check.
    pub effective: CapSet,
    /// What can be made effective.
    pub permitted: CapSet,
    /// What survives an exec of a file that also has it.
    pub inheritable: CapSet,
    /// The limit on what an exec can gain.
    pub bounding: CapSet,
    /// What survives an exec of an ordinary file.
    pub ambient: CapSet,
    /// Whether exec can never again gain a privilege.
    pub no_new_privs: bool,
    /// 0 none, 1 strict, 2 filter.
    pub seccomp: u8,
}

/// Reads them from the text of `/proc/PID/status`.
#[must_use]
pub fn parse(status: &str) -> Privileges {
    let set = |key| {
        let hex = read::field(status, key).unwrap_or_default();
        CapSet(u64::from_str_radix(hex, 16).unwrap_or_default())
    };
    Privileges {
        effective: set("CapEff"),
        permitted: set("CapPrm"),
        inheritable: set("CapInh"),
        bounding: set("CapBnd"),
        ambient: set("CapAmb"),
        no_new_privs: read::field(status, "NoNewPrivs") == Some("1"),
        seccomp: read::field(status, "Seccomp").and_then(|mode| mode.parse().ok()).unwrap_or_default(),
    }
}

/// Those of this process, or why they cannot be read.
pub fn now() -> Result<Privileges, String> {
    read::text("/proc/self/status").map(|status| parse(&status))
}

/// The names of a set; capabilities without a name by their number.
#[must_use]
pub fn names(set: CapSet) -> Vec<String> {
    let known: u64 = set.iter().map(|cap| 1 << cap.number()).sum();
    let unnamed =
        (0..64).filter(|bit| (set.0 & !known) >> bit & 1 == 1).map(|bit| format!("capability {bit}"));
    set.iter().map(|cap| cap.name().to_owned()).chain(unnamed).collect()
}

/// The snapshot.
#[must_use]
pub fn snapshot() -> Json {
    match now() {
        Err(why) => json!({ "unreadable": why }),
        Ok(all) => shown(&all),
    }
}

/// Sets and switches by name.
#[must_use]
pub fn shown(all: &Privileges) -> Json {
    json!({
        "effective": names(all.effective),
        "permitted": names(all.permitted),
        "inheritable": names(all.inheritable),
        "bounding": names(all.bounding),
        "ambient": names(all.ambient),
        "no_new_privs": all.no_new_privs,
        "seccomp": match all.seccomp { 0 => "none", 1 => "strict", _ => "filter" },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::flags::Capability;

    #[test]
    fn sets_are_read_from_their_hexadecimal_lines() {
        let status = "CapInh:\t0\nCapPrm:\t0000000000000003\nCapEff:\t0000000000000001\nCapBnd:\t000001fffeffffff\n\
                      CapAmb:\t0\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n";
        let all = parse(status);
        assert_eq!(all.effective, CapSet::of(&[Capability::CAP_CHOWN]));
        assert_eq!(all.bounding.0.count_ones(), 40);
        assert!(all.no_new_privs);
        assert_eq!(all.seccomp, 2);
    }

    #[test]
    fn a_capability_without_a_name_keeps_its_number() {
        assert_eq!(names(CapSet(1 << 50 | 1)), ["CAP_CHOWN", "capability 50"]);
    }
}
