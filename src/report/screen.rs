//! The whole screen of a terminal, for what is looked through and not read from top to bottom: drawn anew after each key,
//! and put back however it ends.
//!
//! Separate from what is shown because this is all that acts: raw mode, the terminal's other screen, keys and signals. Keys
//! and signals are waited for together (poll(2), signalfd(2)), so that nothing runs while nobody types, and a signal ends
//! the showing at once. A panic passes [`put_back`] before its message is printed.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, raise, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event, KeyEvent, KeyEventKind};
use ratatui::crossterm::{cursor, execute, terminal};
use ratatui::{Frame, Terminal};

use crate::error::{Error, Result};
use crate::sys::terminal::Settings;

/// What can be shown on a whole screen.
pub trait Show {
    /// Draws all of it, at whatever size the screen has now.
    fn draw(&mut self, frame: &mut Frame<'_>);
    /// Takes a key.
    fn key(&mut self, key: KeyEvent) -> Next;
}

/// What is to happen after a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Draw, and wait for another key.
    Stay,
    /// Stop this process as a shell's ^Z does; after `fg` go on.
    Suspend,
    /// End.
    Leave,
}

/// The signals that end the showing, and those that are its business.
const SIGNALS: [Signal; 6] =
    [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGWINCH, Signal::SIGTSTP];

/// The settings that the terminal had, while it has others.
static BEFORE: Mutex<Option<Settings>> = Mutex::new(None);

/// Passes if there is a screen and a keyboard.
pub fn check() -> Result<()> {
    let is_terminal = rustix::termios::isatty(io::stdin()) && rustix::termios::isatty(io::stdout());
    if is_terminal && std::env::var_os("TERM").is_none_or(|term| term != "dumb") {
        return Ok(());
    }
    Err(Error::new("cannot show this on a full screen")
        .rule("stdin and stdout must be a terminal that can move its cursor, and here they are not")
        .remedy("run it in a terminal, or leave out --tui: every view of it has a flag of its own"))
}

/// Shows something until it wants to end or a signal ends it. Gives the signal.
pub fn show(what: &mut dyn Show) -> Result<Option<Signal>> {
    check()?;
    let signals = Signals::take()?;
    let mut screen = Screen::take()?;
    loop {
        screen.terminal.draw(|frame| what.draw(frame)).map_err(|cause| failed(&cause))?;
        let next = match signals.wait()? {
            Woken::Keys => keys(what)?,
            Woken::Signal(Signal::SIGWINCH) => Next::Stay,
            Woken::Signal(Signal::SIGTSTP) => Next::Suspend,
            Woken::Signal(signal) => return Ok(Some(signal)),
            Woken::Gone => return Ok(Some(Signal::SIGHUP)),
        };
        match next {
            Next::Stay => {}
            Next::Suspend => screen = screen.suspend()?,
            Next::Leave => return Ok(None),
        }
    }
}

/// Hands over the keys that have been typed, until one of them asks for something.
fn keys(what: &mut dyn Show) -> Result<Next> {
    while event::poll(Duration::ZERO).map_err(|cause| failed(&cause))? {
        let Event::Key(key) = event::read().map_err(|cause| failed(&cause))? else { continue };
        if key.kind == KeyEventKind::Release {
            continue;
        }
        let next = what.key(key);
        if next != Next::Stay {
            return Ok(next);
        }
    }
    Ok(Next::Stay)
}

fn failed(cause: &io::Error) -> Error {
    Error::io("the terminal failed", cause)
}

/// The terminal's other screen, taken; given back when this goes.
struct Screen {
    terminal: Terminal<CrosstermBackend<io::Stdout>>,
}

impl Screen {
    fn take() -> Result<Self> {
        put_back_on_panic();
        let before = Settings::read(io::stdin())
            .ok_or_else(|| Error::new("cannot read the settings of the terminal"))?;
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        // From here on whatever happens ends in `drop`, or in the hook for panics.
        let taken = Terminal::new(CrosstermBackend::new(io::stdout())).map(|terminal| Self { terminal });
        let made = Settings::make_raw(io::stdin())
            .map_err(io::Error::from)
            .and_then(|()| execute!(io::stdout(), terminal::EnterAlternateScreen, cursor::Hide))
            .and(taken);
        made.map_err(|cause| {
            put_back();
            failed(&cause)
        })
    }

    /// Gives the screen back, stops this process, and takes the screen again when it goes on.
    fn suspend(self) -> Result<Self> {
        drop(self);
        // SIGTSTP is blocked and read from a descriptor here; SIGSTOP does what it would have done.
        raise(Signal::SIGSTOP).map_err(|errno| Error::new(format!("cannot stop this process: {errno}")))?;
        Self::take()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        put_back();
    }
}

/// Gives the terminal its screen, cursor and settings back. Where it has gone, nothing has to be.
fn put_back() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(before) = before else { return };
    let _ = execute!(io::stdout(), terminal::LeaveAlternateScreen, cursor::Show);
    let _ = before.apply(io::stdin());
}

/// A panic may abort the process, and then nothing is dropped; its hook runs all the same, and first.
fn put_back_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            put_back();
            print(panic);
        }));
    });
}

/// What there is to do.
enum Woken {
    Keys,
    Signal(Signal),
    /// The terminal is no more.
    Gone,
}

/// The signals of this process, read from a descriptor while the screen is taken.
struct Signals {
    fd: SignalFd,
    before: SigSet,
}

impl Signals {
    fn take() -> Result<Self> {
        let cannot = |errno: Errno| Error::new(format!("cannot wait for signals: {errno}"));
        let set: SigSet = SIGNALS.into_iter().collect();
        let mut before = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), Some(&mut before)).map_err(cannot)?;
        match SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK) {
            Ok(fd) => Ok(Self { fd, before }),
            Err(errno) => {
                let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None);
                Err(cannot(errno))
            }
        }
    }

    /// Waits for a key or a signal.
    fn wait(&self) -> Result<Woken> {
        let stdin = io::stdin();
        loop {
            let mut ready = [
                PollFd::new(self.fd.as_fd(), PollFlags::POLLIN),
                PollFd::new(stdin.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut ready, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::new(format!("cannot wait for keys: {errno}"))),
            }
            let keys = ready[1].revents().unwrap_or(PollFlags::empty());
            if let Ok(Some(info)) = self.fd.read_signal()
                && let Some(signal) =
                    i32::try_from(info.ssi_signo).ok().and_then(|it| Signal::try_from(it).ok())
            {
                return Ok(Woken::Signal(signal));
            }
            if keys.intersects(PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL) {
                return Ok(Woken::Gone);
            }
            if keys.contains(PollFlags::POLLIN) {
                return Ok(Woken::Keys);
            }
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // A signal that is still waiting takes effect here, when the terminal has been put back.
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.before), None);
    }
}
