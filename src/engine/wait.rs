//! Waiting for the end of a child: signals are passed on, a terminal is served, orphans are reaped.
//!
//! Plumbing, not told: poll, signalfd, pidfd, waitid, and the bytes between two terminals. What it decides
//! (a signal passed on, the end of a process) is told as an event.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};

use crate::error::{Error, exit};
use crate::plan::{Bulk, Call, Undo, Wait, calls};
use crate::report::event::Event;
use crate::sys::flags::Signal;
use crate::sys::process::Processes;
use crate::sys::{Errno, Syscall, Value};

use super::{Engine, Flow, Stop, bulk};

mod terminal;

/// The signals that are passed on to the workload, or end the command before there is one.
const PASSED_ON: [nix::sys::signal::Signal; 7] = {
    use nix::sys::signal::Signal as S;
    [S::SIGHUP, S::SIGINT, S::SIGQUIT, S::SIGTERM, S::SIGUSR1, S::SIGUSR2, S::SIGWINCH]
};

/// The signals of this process, read from a descriptor instead of interrupting it at any moment.
#[derive(Debug)]
pub(super) struct Signals {
    fd: SignalFd,
    before: SigSet,
}

impl Signals {
    /// Blocks the signals and opens a descriptor for them; `None` if the kernel refuses.
    pub fn take() -> Option<Self> {
        Self::take_with(&[])
    }

    /// The same, with the end of children among them.
    fn take_with(more: &[nix::sys::signal::Signal]) -> Option<Self> {
        let mut set = SigSet::empty();
        PASSED_ON.iter().chain(more).for_each(|signal| set.add(*signal));
        // A reader of the telling that goes away must not end this process in the middle of a step: the signal waits
        // until everything is undone.
        let mut blocked = set;
        blocked.add(nix::sys::signal::Signal::SIGPIPE);
        let mut before = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&blocked), Some(&mut before)).ok()?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).ok()?;
        Some(Self { fd, before })
    }

    /// The mask that was in force before.
    pub fn before(&self) -> SigSet {
        self.before
    }

    pub fn raw(&self) -> RawFd {
        self.fd.as_fd().as_raw_fd()
    }

    /// The next signal that has arrived, if any.
    fn next(&mut self) -> Option<Signal> {
        let info = self.fd.read_signal().ok().flatten()?;
        Signal::from_number(info.ssi_signo.into())
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // Nothing sensible can be done if this fails; the process is about to end.
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.before), None);
    }
}

/// How often a signal that asks for the end has been passed on.
#[derive(Default)]
struct Asked(u32);

/// What woke the parent up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Woken {
    Message,
    Ended,
    Signal,
    Output,
    Input,
}

impl<K: Processes + 'static> Engine<K> {
    /// A signal that arrived between two steps ends the plan; there is no workload yet that could take it.
    pub(super) fn check_signals(&mut self) -> Flow {
        let Some(signal) = self.asked_to_end() else { return Ok(()) };
        self.tell_signal(signal, "the command ends here");
        Err(Stop::Signalled(signal))
    }

    /// The same while something is watched until Ctrl-C, which then is its good end. Whether it has come.
    pub(super) fn seen_enough(&mut self) -> Flow<bool> {
        match self.asked_to_end() {
            None => Ok(false),
            Some(Signal::SIGINT) => {
                self.tell_signal(Signal::SIGINT, "seen enough");
                Ok(true)
            }
            Some(signal) => {
                self.tell_signal(signal, "the command ends here");
                Err(Stop::Signalled(signal))
            }
        }
    }

    /// The next signal that asks for the end. The end of a child is noticed where it is waited for.
    fn asked_to_end(&mut self) -> Option<Signal> {
        let mut all = std::iter::from_fn(|| self.signals.as_mut().and_then(Signals::next));
        all.find(|signal| !matches!(signal, Signal::SIGWINCH | Signal::SIGCHLD))
    }

    /// The workload gets the signal mask that the command itself was started with.
    pub(super) fn before_exec(&mut self) {
        if let Some(mask) = &self.mask_before {
            // A program with a wrong mask is better than none.
            let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(mask), None);
        }
    }

    fn tell_signal(&mut self, signal: Signal, text: &str) {
        self.emit(|engine| Event::Signal {
            actor: engine.actor.to_owned(),
            signal: signal.name().to_owned(),
            text: text.to_owned(),
        });
    }

    /// Waits for the child; its end becomes the exit status of the command.
    pub(super) fn wait(&mut self, id: &str, wait: &Wait) -> Flow {
        let pid = self.slots.get(&wait.pid).and_then(|pid| i32::try_from(pid).ok()).unwrap_or(0);
        let Some(index) = self.children.iter().position(|child| child.pid == pid) else { return Ok(()) };
        if wait.only_reports {
            while self.hear_child(index)? {}
            self.tell_exec(index);
            return Ok(());
        }
        if !self.kernel.is_real() {
            while self.hear_child(index)? {}
            self.children[index].reaped = true;
            return Ok(());
        }
        if self.signals.is_none() || wait.as_init {
            self.signals = Signals::take_with(&[nix::sys::signal::Signal::SIGCHLD]);
        }
        let pidfd = open_pidfd(pid).map_err(|error| self.failed(id, error))?;
        let master = wait.terminal.as_ref().and_then(|slot| self.terminal_of(slot));
        let mut session = match master {
            Some(master) => {
                self.prepare_undo(id, terminal::undo().into_iter().map(Undo::from).collect())?;
                Some(terminal::Session::begin(master).map_err(|error| self.failed(id, error))?)
            }
            None => None,
        };
        let flow = self.serve(index, &pidfd, session.as_mut());
        if let Some(session) = &mut session {
            session.finish();
        }
        drop(session);
        flow?;
        self.collect(index);
        Ok(())
    }

    /// A copy of the terminal's master descriptor that the child handed over.
    fn terminal_of(&self, slot: &crate::sys::Slot) -> Option<OwnedFd> {
        let raw = self.slots.get(slot)?;
        self.held.get(&raw)?.try_clone().ok()
    }

    /// Serves messages, signals and the terminal until the child has ended.
    fn serve(&mut self, index: usize, pidfd: &OwnedFd, mut session: Option<&mut terminal::Session>) -> Flow {
        let mut asked = Asked::default();
        loop {
            // Until the exec there may be something to tell, and lines need an ordinary terminal.
            let talks =
                self.hears_child() && self.children.get(index).is_some_and(|child| child.link.is_some());
            if let Some(session) = session.as_deref_mut() {
                session.set_raw(!talks);
            }
            self.flush_reports();
            for woken in self.sleep(index, pidfd, session.as_deref()) {
                match woken {
                    Woken::Message => {
                        if !self.hear_child(index)? {
                            self.tell_exec(index);
                        }
                    }
                    Woken::Signal => self.pass_on(index, &mut asked, session.as_deref_mut())?,
                    Woken::Output => session.iter_mut().for_each(|session| session.output()),
                    Woken::Input => session.iter_mut().for_each(|session| session.input()),
                    Woken::Ended => {
                        // What it still had to say is in the socket.
                        while self.hear_child(index)? {}
                        return Ok(());
                    }
                }
            }
        }
    }

    /// When nobody watches, what the child has to say (an error) is read once it has ended: waking up for the
    /// closing of the socket at exec would only take the processor from the new program.
    fn hears_child(&self) -> bool {
        self.watched || self.pace != super::Pace::Quiet
    }

    /// The child closed its end of the report socket. If it still lives, it is another program now.
    pub(super) fn tell_exec(&mut self, index: usize) {
        let Some(child) = self.children.get_mut(index) else { return };
        if crate::probe::start_time(child.pid).is_some()
            && let Some(event) = child.executed()
        {
            self.emit(|_| event);
        }
    }

    fn sleep(&self, index: usize, pidfd: &OwnedFd, session: Option<&terminal::Session>) -> Vec<Woken> {
        let link = self.children.get(index).filter(|_| self.hears_child()).and_then(super::Child::link_raw);
        let signals = self.signals.as_ref().map(Signals::raw);
        let mut wanted: Vec<(Woken, RawFd, PollFlags)> = Vec::with_capacity(5);
        wanted.extend(link.map(|fd| (Woken::Message, fd, PollFlags::POLLIN)));
        wanted.extend(signals.map(|fd| (Woken::Signal, fd, PollFlags::POLLIN)));
        if let Some(session) = session {
            wanted.extend(
                session
                    .wants()
                    .map(|(input, fd, flags)| (if input { Woken::Input } else { Woken::Output }, fd, flags)),
            );
        }
        wanted.push((Woken::Ended, pidfd.as_raw_fd(), PollFlags::POLLIN));
        let mut fds: Vec<PollFd<'_>> =
            wanted.iter().map(|(_, fd, flags)| PollFd::new(borrow(*fd), *flags)).collect();
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => {}
            // Interrupted by a signal that is not ours, or out of memory for a moment: look again.
            Err(_) => return Vec::new(),
        }
        let woken = wanted.iter().zip(&fds).filter(|(_, fd)| fd.any().unwrap_or(false));
        woken.map(|((what, ..), _)| *what).collect()
    }

    /// Passes a signal on to the workload.
    ///
    /// PID 1 of a pid namespace is shielded: a signal for which it has no handler is dropped by the kernel
    /// (`pid_namespaces(7)`). Asking a second time therefore ends it with SIGKILL, which is not dropped when it
    /// comes from outside.
    fn pass_on(&mut self, index: usize, asked: &mut Asked, session: Option<&mut terminal::Session>) -> Flow {
        let Some(signal) = self.signals.as_mut().and_then(Signals::next) else { return Ok(()) };
        if signal == Signal::SIGCHLD {
            self.reap_orphans(index);
            return Ok(());
        }
        if signal == Signal::SIGWINCH
            && let Some(session) = session
        {
            session.resize();
            return Ok(());
        }
        let Some((pid, actor)) = self.children.get(index).map(|child| (child.pid, child.actor)) else {
            return Ok(());
        };
        let ends = matches!(signal, Signal::SIGINT | Signal::SIGTERM | Signal::SIGHUP | Signal::SIGQUIT);
        if ends && self.is_preparing(index)? {
            self.tell_signal(signal, "the command ends here");
            return Err(Stop::Signalled(signal));
        }
        // An init reads its signals, and the child of an init is not PID 1.
        let is_shielded = self.link.is_none() && actor != "init";
        let handled = !is_shielded || crate::probe::handles_signal(pid, signal);
        let mut send = signal;
        if ends {
            asked.0 += 1;
            // Whose terminal has gone cannot ask again.
            let is_last = asked.0 > 1 || signal == Signal::SIGHUP;
            if asked.0 > 2 || (is_last && !handled) {
                send = Signal::SIGKILL;
            }
        }
        if let Some(session) = session {
            session.set_raw(false);
        }
        let text = match (send == signal, handled) {
            (false, _) if asked.0 == 1 => {
                "the terminal is gone and PID 1 has no handler for that: the workload gets SIGKILL"
            }
            (false, _) => "asked again: the workload gets SIGKILL",
            (true, true) => "passed on to the workload",
            (true, false) => {
                "passed on, but PID 1 has no handler for it and the kernel drops it: once more sends SIGKILL"
            }
        };
        self.tell_signal(signal, text);
        let call = Call::from(Syscall::Kill { pid: pid.into(), signal: send }).or(Errno::ESRCH);
        // A workload that has ended meanwhile needs no signal.
        let _ = self.call("wait", &call, false);
        Ok(())
    }

    /// Whether the child is not the workload yet. It has blocked the signals until then, and what is waiting
    /// when PID 1 becomes a program without a handler is dropped: passed on, the signal would be lost.
    fn is_preparing(&mut self, index: usize) -> Flow<bool> {
        loop {
            let child = self.children.get(index).filter(|child| child.actor != "init");
            // An init never becomes another program; it reads its signals and decides for itself.
            let Some(link) = child.and_then(|child| child.link.as_ref()) else { return Ok(false) };
            if !is_readable(link.raw()) {
                return Ok(true);
            }
            // What it says may be that it has gone.
            self.hear_child(index)?;
        }
    }

    /// PID 1's duty: collect the ends of processes whose parents have died.
    fn reap_orphans(&self, index: usize) {
        let own = self.children.get(index).map(|child| child.pid);
        while let Ok(status) =
            waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT)
        {
            match status.pid() {
                Some(pid) if Some(pid.as_raw()) != own => {
                    let _ = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG);
                }
                _ => return,
            }
        }
    }

    /// Collects the end of a child and tells it. Returns the words for it.
    pub(super) fn collect(&mut self, index: usize) -> String {
        let Some(child) = self.children.get_mut(index) else { return String::new() };
        if child.reaped || !self.kernel.is_real() {
            child.reaped = true;
            return "it has ended".to_owned();
        }
        child.reaped = true;
        child.link = None;
        let (pid, actor) = (child.pid, child.actor);
        let status = loop {
            match waitid(Id::Pid(nix::unistd::Pid::from_raw(pid)), WaitPidFlag::WEXITED) {
                Err(Errno::EINTR) => {}
                other => break other.ok(),
            }
        };
        let (code, signal) = match status {
            Some(WaitStatus::Exited(_, code)) => (u8::try_from(code & 0xff).unwrap_or(0), None),
            Some(WaitStatus::Signaled(_, signal, _)) => {
                (exit::SIGNAL.wrapping_add(signal as u8), Some(signal.as_str().to_owned()))
            }
            _ => (exit::FAILED, None),
        };
        // Killed before anything was seen of the new program: then nobody knows whether exec succeeded.
        let executed = self.children.get_mut(index).and_then(super::Child::executed);
        if let (Some(event), None) = (executed, &signal) {
            self.emit(|_| event);
        }
        self.status = Some(code);
        let text =
            signal.as_ref().map_or_else(|| format!("exit status {code}"), |name| format!("killed by {name}"));
        self.emit(|_| Event::Exit {
            actor: actor.to_owned(),
            pid,
            status: code.into(),
            signal,
            text: text.clone(),
        });
        text
    }

    /// Kills the children that are still alive, and collects them.
    pub(super) fn end_children(&mut self) {
        if self.children.iter().any(|child| !child.reaped) {
            self.thaw();
        }
        for index in 0..self.children.len() {
            let (pid, reaped) = (self.children[index].pid, self.children[index].reaped);
            if !reaped {
                self.children[index].link = None;
                let kill = Syscall::Kill { pid: Value::from(pid), signal: Signal::SIGKILL };
                let _ = self.call("undo", &Call::from(kill).or(Errno::ESRCH), true);
                let status = self.status;
                self.collect(index);
                self.status = status;
            }
        }
    }
}

impl<K: Processes + 'static> Engine<K> {
    /// Lets the groups go on that were made here and are frozen. What the freezer of version 1 holds does not die
    /// (freezer-subsystem.rst), and whoever waited for its end would wait for ever.
    fn thaw(&mut self) {
        let groups = self.done.iter().flat_map(|(_, undo)| undo).filter_map(|undo| match undo {
            Undo::Bulk(Bulk::EmptyGroup { path }) => bulk::held(path),
            _ => None,
        });
        for file in groups.collect::<Vec<_>>() {
            for call in calls::write(&file, "THAWED") {
                // If it is refused, what is in there does not die, and the undo says so.
                let _ = self.call("undo", &call, true);
            }
        }
    }
}

/// Whether a descriptor has something to read.
pub(super) fn is_readable(fd: RawFd) -> bool {
    let mut fds = [PollFd::new(borrow(fd), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|count| count > 0)
}

pub(super) fn open_pidfd(pid: i32) -> Result<OwnedFd, Error> {
    let pid = rustix::process::Pid::from_raw(pid).ok_or_else(|| Error::new("a child without a pid"))?;
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
        .map_err(|errno| Error::io("could not watch the child", &errno.into()))
}

/// The descriptors that are polled outlive the call: they belong to the engine and to the session.
fn borrow<'fd>(fd: RawFd) -> BorrowedFd<'fd> {
    crate::sys::process::borrow(fd)
}
