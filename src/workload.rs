//! What the lessons put into a group: small programs that need memory, processor time or processes, in the
//! same file as cutaway and no part of what it tells.
//!
//! A plan ends a child with `execve("/proc/self/exe", ["cutaway", "workload", …])`. That exec is told; what
//! follows is another program's. It runs in the group, dies with cutaway (the tie that its predecessor made
//! survives exec), and ends itself should nobody else do so.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::hint::black_box;
use std::io::{Read, Seek, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::error::{Error, Result, exit};
use crate::sys::flags::{CloneFlags, Signal};
use crate::sys::process::Processes;
use crate::sys::syscall::Prctl;
use crate::sys::{Errno, Kernel, Linux, Syscall, manual};

/// The word behind `cutaway` that makes it a workload.
pub const NAME: &str = "workload";
/// How much memory is asked for, or written, at once.
const PIECE: usize = 1 << 20;
/// A page; a larger one is touched several times.
const PAGE: usize = 4096;
/// Whom nobody ends ends itself. With `--step`, people think in between.
const LIFE: Duration = Duration::from_secs(1800);

/// The words behind `cutaway workload`, if the command line is that.
#[must_use]
pub fn asked(mut line: impl Iterator<Item = OsString>) -> Option<Vec<String>> {
    line.next()?;
    if line.next()? != NAME {
        return None;
    }
    Some(line.map(|word| word.to_string_lossy().into_owned()).collect())
}

/// Runs a workload. What goes wrong is said on stderr.
#[must_use]
pub fn run(words: &[String]) -> ExitCode {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["idle"] => {
            std::thread::sleep(LIFE);
            Ok(())
        }
        ["grow", pause] => number(pause).map(grow),
        ["cache", file, bytes, pause] => {
            number(bytes).and_then(|bytes| number(pause).and_then(|pause| cache(file, bytes, pause)))
        }
        ["write", file, bytes] => number(bytes).and_then(|bytes| write(file, bytes)),
        ["spin", cpu] => number(cpu).and_then(spin),
        ["bomb", pause] => number(pause).and_then(bomb),
        _ => {
            eprintln!("cutaway {NAME} is a part of cutaway cgroup, which starts it by itself");
            return ExitCode::from(exit::USAGE);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cutaway {NAME}: {error}");
            ExitCode::from(exit::FAILED)
        }
    }
}

fn number(word: &str) -> Result<u64> {
    word.parse().map_err(|_| Error::new(format!("{word} is no number")))
}

/// Needs more and more memory, a piece at a time, for ever. Memory counts once it is touched.
fn grow(pause: u64) {
    let begun = Instant::now();
    let mut held = Vec::new();
    while begun.elapsed() < LIFE {
        let mut piece = vec![0_u8; PIECE];
        piece.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
        held.push(black_box(piece));
        std::thread::sleep(Duration::from_millis(pause));
    }
}

/// Writes a file that exists and reads it again: its pages stay in the page cache.
fn cache(file: &str, bytes: u64, pause: u64) -> Result<()> {
    let cannot = |cause: &std::io::Error| Error::io(format!("cannot write and read {file}"), cause);
    let mut open = OpenOptions::new().read(true).write(true).open(file).map_err(|cause| cannot(&cause))?;
    let mut piece = vec![1_u8; PIECE];
    for _ in 0..bytes.div_ceil(PIECE as u64) {
        // Written back at once: only pages that are on the disk can be taken back without waiting.
        open.write_all(&piece).and_then(|()| open.sync_data()).map_err(|cause| cannot(&cause))?;
        std::thread::sleep(Duration::from_millis(pause));
    }
    open.rewind().map_err(|cause| cannot(&cause))?;
    while open.read(&mut piece).map_err(|cause| cannot(&cause))? > 0 {}
    Ok(())
}

/// Writes a file that exists past the page cache, as fast as it may.
fn write(file: &str, bytes: u64) -> Result<()> {
    let cannot = |cause: &std::io::Error| Error::io(format!("cannot write {file}"), cause);
    let mut open = OpenOptions::new().write(true).open(file).map_err(|cause| cannot(&cause))?;
    let piece = vec![1_u8; PIECE];
    for _ in 0..bytes.div_ceil(PIECE as u64) {
        open.write_all(&piece).map_err(|cause| cannot(&cause))?;
        rustix::fs::fdatasync(open.as_fd()).map_err(|errno| cannot(&errno.into()))?;
    }
    Ok(())
}

/// Computes for ever, on one processor.
fn spin(cpu: u64) -> Result<()> {
    let cpu = usize::try_from(cpu).map_err(|_| Error::new("there is no such processor"))?;
    let mut only = rustix::thread::CpuSet::new();
    only.set(cpu);
    rustix::thread::sched_setaffinity(None, &only)
        .map_err(|errno| Error::io(format!("cannot stay on processor {cpu}"), &errno.into()))?;
    let begun = Instant::now();
    let mut count = 0_u64;
    while begun.elapsed() < LIFE {
        for _ in 0..1_000_000 {
            count = black_box(count.wrapping_add(1));
        }
    }
    Ok(())
}

/// A fork bomb: every process makes processes until it is refused one, slowly enough to be watched. The first one
/// says what it was refused.
fn bomb(pause: u64) -> Result<()> {
    let pause = Duration::from_millis(pause);
    let mut made = 0_u32;
    let refused = loop {
        std::thread::sleep(pause);
        match fork(pause) {
            Ok(()) => made += 1,
            Err(errno) => break errno,
        }
    };
    println!("the first process has made {made} others, then fork ended in {}", manual::errno(refused));
    std::io::stdout().flush().map_err(|cause| Error::io("cannot say so", &cause))?;
    std::thread::sleep(LIFE);
    Ok(())
}

/// Makes a process that does the same as its parent, and dies with it.
fn fork(pause: Duration) -> Result<(), Errno> {
    let call =
        Syscall::Clone3 { flags: CloneFlags::empty(), exit_signal: Some(Signal::SIGCHLD), cgroup: None };
    let parent = rustix::process::getpid();
    let main = move |mut kernel: Linux| {
        let tied = kernel.call(&Syscall::Prctl(Prctl::ParentDeathSignal(Signal::SIGKILL)));
        // A parent that died before that would never trigger it.
        if tied.is_err() || rustix::process::getppid() != Some(parent) {
            return 1;
        }
        loop {
            std::thread::sleep(pause);
            if fork(pause).is_err() {
                break;
            }
        }
        std::thread::sleep(LIFE);
        0
    };
    Linux.spawn(&call, &[], Box::new(main)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_word_itself_asks_for_a_workload() {
        let line = |words: &[&str]| asked(words.iter().map(OsString::from).collect::<Vec<_>>().into_iter());
        assert_eq!(line(&["cutaway", "workload", "idle"]), Some(vec!["idle".to_owned()]));
        assert_eq!(line(&["cutaway", "run", "workload"]), None);
        assert_eq!(line(&["cutaway"]), None);
    }

    #[test]
    fn a_file_is_written_and_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        cache(path, 3 << 20, 0).unwrap();
        assert_eq!(std::fs::metadata(path).unwrap().len(), 3 << 20);
        assert!(cache("/nonexistent", 1, 0).is_err());
    }
}
