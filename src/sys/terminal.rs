//! The settings of a terminal, as data that a journal can hold
//! ([termios(3)](https://man7.org/linux/man-pages/man3/termios.3.html)).

use std::os::fd::AsFd;
use std::path::Path;

use nix::sys::termios::{
    ControlFlags, InputFlags, LocalFlags, OutputFlags, SetArg, SpecialCharacterIndices, Termios, cfmakeraw,
    tcgetattr, tcsetattr,
};
use serde::{Deserialize, Serialize};

/// The settings of a terminal. The line speed is left as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    input: u32,
    output: u32,
    control: u32,
    local: u32,
    characters: Vec<u8>,
}

/// The positions of the control characters that Linux knows.
const CHARACTERS: usize = SpecialCharacterIndices::VEOL2 as usize + 1;

impl Settings {
    /// Reads the settings; `None` if the descriptor is no terminal.
    #[must_use]
    pub fn read(terminal: impl AsFd) -> Option<Self> {
        let now = tcgetattr(terminal).ok()?;
        Some(Self {
            input: now.input_flags.bits(),
            output: now.output_flags.bits(),
            control: now.control_flags.bits(),
            local: now.local_flags.bits(),
            characters: now.control_chars[..CHARACTERS].to_vec(),
        })
    }

    /// Sets the terminal to raw mode: no editing, no echo, no signals from keys.
    pub fn make_raw(terminal: impl AsFd) -> nix::Result<()> {
        let mut raw = tcgetattr(&terminal)?;
        cfmakeraw(&mut raw);
        tcsetattr(terminal, SetArg::TCSADRAIN, &raw)
    }

    /// Puts these settings into force.
    pub fn apply(&self, terminal: impl AsFd) -> nix::Result<()> {
        let mut new: Termios = tcgetattr(&terminal)?;
        new.input_flags = InputFlags::from_bits_retain(self.input);
        new.output_flags = OutputFlags::from_bits_retain(self.output);
        new.control_flags = ControlFlags::from_bits_retain(self.control);
        new.local_flags = LocalFlags::from_bits_retain(self.local);
        for (now, before) in new.control_chars.iter_mut().zip(&self.characters) {
            *now = *before;
        }
        tcsetattr(terminal, SetArg::TCSADRAIN, &new)
    }

    /// Puts these settings into force on a terminal that is named by its path. One that has gone needs none.
    pub fn restore(&self, path: &Path) {
        use std::os::unix::fs::OpenOptionsExt;
        let mut options = std::fs::OpenOptions::new();
        let open = options.read(true).write(true).custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK).open(path);
        if let Ok(terminal) = open {
            // A terminal that refuses is no longer the one that it was.
            let _ = self.apply(&terminal);
        }
    }
}
