//! Trying out a student's init: the one check that does something instead of looking.
//!
//! The program `init` of the lab's directory is started as PID 1 of a pid namespace with `./workload` as its
//! command. The workload leaves an orphan that soon ends, and writes `told` when SIGTERM reaches it. Everything that
//! was started ends with the namespace.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::probe::Host;
use crate::probe::work::{self, Worker};
use crate::sys::flags::{CloneFlags, Signal};
use crate::sys::process::Processes;
use crate::sys::syscall::Prctl;
use crate::sys::{Errno, Kernel, Linux, Syscall, Text};

/// How long an init gets for each thing that it has to do.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longer than the workload's orphan lives.
const ORPHAN: Duration = Duration::from_millis(600);
const PAUSE: Duration = Duration::from_millis(20);

/// What came of it.
#[derive(Debug)]
pub struct Trial {
    /// A zombie that was left, if there was one.
    zombie: Option<String>,
    /// Whether the workload was reached by SIGTERM.
    told: bool,
    /// How the init ended.
    end: Option<WaitStatus>,
}

impl Trial {
    /// Starts the init, waits for its orphan, sends it SIGTERM, and waits for its end.
    ///
    /// # Errors
    /// Why it could not be tried.
    pub fn run(directory: &Path) -> Result<Self, String> {
        for program in ["init", "workload"] {
            is_program(directory, program)?;
        }
        let told = directory.join("told");
        let pid = start(directory)?;
        let begun = Instant::now();
        let mut alive = true;
        let mut zombie = None;
        while alive && (begun.elapsed() < ORPHAN || zombie.is_some()) && begun.elapsed() < PATIENCE {
            std::thread::sleep(PAUSE);
            alive = ended(pid).is_none();
            zombie = children(pid).into_iter().find(|one| one.zombie).map(|one| one.name);
        }
        if !alive {
            return Err("init ended before it got SIGTERM".to_owned());
        }
        // The workload removes what an earlier trial has left.
        if told.exists() {
            return Err("init has not started the workload: `told` is still there from before".to_owned());
        }
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let end = wait(pid);
        let told = told.exists();
        Ok(Self { zombie, told, end })
    }

    /// Whether no zombie was left.
    pub fn reaps(&self) -> Result<String, String> {
        match &self.zombie {
            None => Ok("no zombie was left below init".to_owned()),
            Some(name) => Err(format!("the orphan ({name}) has ended and stays a zombie")),
        }
    }

    /// Whether the workload was told.
    pub fn forwards(&self) -> Result<String, String> {
        if self.told {
            Ok("the workload got it".to_owned())
        } else {
            Err("init got SIGTERM, the workload did not".to_owned())
        }
    }

    /// Whether the exit code is this.
    pub fn exits(&self, code: i32) -> Result<String, String> {
        match self.end {
            Some(WaitStatus::Exited(_, seen)) if seen == code => Ok(format!("exit code {seen}")),
            Some(WaitStatus::Exited(_, seen)) => Err(format!("init ended with the exit code {seen}")),
            Some(WaitStatus::Signaled(_, signal, _)) => Err(format!("init was killed by {signal}")),
            _ => Err(format!("init was still there {} s after SIGTERM", PATIENCE.as_secs())),
        }
    }
}

fn is_program(directory: &Path, name: &str) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;
    match directory.join(name).metadata() {
        Ok(meta) if meta.is_file() && meta.permissions().mode() & 0o111 != 0 => Ok(()),
        Ok(_) => Err(format!("{name} cannot be executed: chmod +x")),
        Err(_) => Err(format!("there is no program {name} in the lab's directory")),
    }
}

/// Starts the init in a pid namespace of its own. Without privilege that takes a user namespace; no id is mapped in
/// it, because nothing here depends on one.
fn start(directory: &Path) -> Result<Pid, String> {
    let mut flags = CloneFlags::CLONE_NEWPID;
    if !Host::read().is_privileged() {
        flags |= CloneFlags::CLONE_NEWUSER;
    }
    let clone = Syscall::Clone3 { flags, exit_signal: Some(Signal::SIGCHLD), cgroup: None };
    let directory = Text::from(directory);
    let main = move |mut kernel: Linux| match become_init(&mut kernel, directory) {
        Ok(()) => 0,
        Err(errno) => errno as i32,
    };
    let pid = Linux.spawn(&clone, &[], Box::new(main)).map_err(|errno| format!("{clone} = -1 {errno:?}"))?;
    Ok(Pid::from_raw(i32::try_from(pid).unwrap_or(0)))
}

fn become_init(kernel: &mut Linux, directory: Text) -> Result<(), Errno> {
    // Should cutaway be killed meanwhile, the kernel ends the init and with it the namespace.
    kernel.call(&Syscall::Prctl(Prctl::ParentDeathSignal(Signal::SIGKILL)))?;
    kernel.call(&Syscall::Chdir { path: directory })?;
    let argv = ["./init", "./workload"].map(Text::from).to_vec();
    let envp = std::env::var("PATH").map(|path| vec![Text::from(format!("PATH={path}"))]).unwrap_or_default();
    kernel.call(&Syscall::Execve { path: "./init".into(), argv, envp }).map(drop)
}

/// How a process has ended, if it has.
fn ended(pid: Pid) -> Option<WaitStatus> {
    // WNOWAIT would be kinder, but the end before its time ends the trial anyway.
    match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
        Ok(WaitStatus::StillAlive) => None,
        Ok(status) => Some(status),
        Err(_) => Some(WaitStatus::StillAlive),
    }
}

/// Waits for the end; a process that takes too long is killed.
fn wait(pid: Pid) -> Option<WaitStatus> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if let Some(status) = ended(pid) {
            return Some(status);
        }
        std::thread::sleep(PAUSE);
    }
    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
    let _ = waitpid(pid, None);
    None
}

fn children(pid: Pid) -> Vec<Worker> {
    work::everybody().into_iter().filter(|one| one.parent == pid.as_raw()).collect()
}
