//! A process that does nothing but be in namespaces of its own, for tests that look for it and go there.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use super::{Bed, Who, need, until};

/// A process of a bed's user in new namespaces, which ends with the test.
pub struct Sleeper(Child);

impl Sleeper {
    /// Starts one, with these options of unshare(1); nothing where this machine cannot do it.
    pub fn start(bed: &Bed, options: &[&str]) -> Option<Self> {
        if !need("unshare") {
            return None;
        }
        let mut command = Command::new("unshare");
        // The kernel ends it with the test, whatever becomes of that.
        command.args(["--kill-child"]).args(options).args(["sleep", "60"]).current_dir(bed.dir());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some((uid, gid)) = bed.ids() {
            command.uid(uid).gid(gid);
        }
        Some(Self(command.spawn().unwrap()))
    }

    /// The process that sleeps: a child of unshare, as it forks.
    pub fn pid(&self) -> i32 {
        let pid = self.0.id();
        let children = || {
            let text =
                std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
            text.split_whitespace().find_map(|child| child.parse::<i32>().ok())
        };
        let sleeps = || {
            children().filter(|child| {
                std::fs::read_to_string(format!("/proc/{child}/comm"))
                    .is_ok_and(|name| name.trim() == "sleep")
            })
        };
        until(|| sleeps().is_some(), || "a process in new namespaces".to_owned());
        sleeps().unwrap()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The options that give a process its own namespaces, as root and as an ordinary user.
pub fn options(who: Who) -> &'static [&'static str] {
    match who {
        Who::Root => &["--net", "--uts", "--pid", "--fork", "--mount"],
        Who::User => &["--user", "--map-root-user", "--net", "--uts", "--pid", "--fork", "--mount"],
    }
}
