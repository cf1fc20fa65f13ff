//! A terminal with a person at it: a window of tmux that is typed into and looked at.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use super::{Bed, need};

/// A window of tmux with a shell of the bed's user in it. It has a server of its own, which ends with it.
pub struct Window<'bed> {
    bed: &'bed Bed,
    socket: PathBuf,
    /// The command with the bed's state directory.
    pub cutaway: String,
}

impl<'bed> Window<'bed> {
    pub fn open(bed: &'bed Bed, columns: u32, rows: u32) -> Option<Self> {
        if !need("tmux") {
            return None;
        }
        let cutaway = format!("{} --state {}", bed.program().display(), bed.state().display());
        let window = Self { bed, socket: bed.path("tmux"), cutaway };
        let (columns, rows) = (columns.to_string(), rows.to_string());
        // As an ordinary user, the shell itself is that user's, and so is the terminal.
        let shell = match bed.ids() {
            Some((uid, gid)) => {
                if !need("setpriv") {
                    return None;
                }
                format!(
                    "chown {uid} $(tty); exec setpriv --reuid {uid} --regid {gid} --clear-groups env HOME={} sh",
                    bed.dir().display()
                )
            }
            None => "exec sh".to_owned(),
        };
        let size = ["-x", &columns, "-y", &rows];
        let made = window
            .tmux(&[&["-f", "/dev/null", "new-session", "-d", "-s", "s"], &size[..], &[&shell]].concat());
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        window.types("PS1='rea''dy> '; cd /");
        window.shows("ready>");
        Some(window)
    }

    pub fn tmux(&self, args: &[&str]) -> Output {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(&self.socket).args(args).env("TERM", "xterm-256color").env_remove("TMUX");
        command.output().unwrap()
    }

    /// Types a line and Enter.
    pub fn types(&self, line: &str) {
        self.tmux(&["send-keys", "-t", "s", "-l", line]);
        self.key("Enter");
    }

    pub fn key(&self, key: &str) {
        self.tmux(&["send-keys", "-t", "s", key]);
    }

    /// What is on the screen, and what has left it at the top.
    pub fn screen(&self) -> String {
        let output = self.tmux(&["capture-pane", "-p", "-t", "s", "-S", "-2000"]).stdout;
        String::from_utf8_lossy(&output).into_owned()
    }

    /// What is on the screen now.
    pub fn visible(&self) -> String {
        String::from_utf8_lossy(&self.tmux(&["capture-pane", "-p", "-t", "s"]).stdout).into_owned()
    }

    /// Waits until the screen shows this.
    #[track_caller]
    pub fn shows(&self, text: &str) -> String {
        self.shows_when(text, |screen| screen.contains(text))
    }

    #[track_caller]
    pub fn shows_when(&self, what: &str, holds: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let screen = self.screen();
            if holds(&screen) {
                return screen;
            }
            assert!(begun.elapsed() < Duration::from_secs(15), "no {what:?} on the screen:\n{screen}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The settings of the terminal, as the shell in it sees them.
    pub fn settings(&self, mark: &str) -> String {
        let file = self.bed.path(mark);
        self.types(&format!("stty -a >{}; echo sa''ved {mark}", file.display()));
        self.shows(&format!("saved {mark}"));
        std::fs::read_to_string(file).unwrap()
    }
}

impl Drop for Window<'_> {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}
