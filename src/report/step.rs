//! `--step`: before each step the terminal asks for leave, while the process really waits.
//!
//! It talks to the terminal itself, not to stdin and stderr: those may be the workload's, or a file.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};

use serde_json::Value as Json;

use super::explain;
use super::lanes::{Lanes, indented};
use super::state;
use super::style::{Paint, Style};
use crate::error::{Error, Result};
use crate::plan::number::Numbered;
use crate::sys::flags::CloneFlags;

/// What the user wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Perform this step.
    Go,
    /// Perform this step and all others without asking.
    GoOn,
    /// Undo what was done and end.
    Quit,
}

/// The step that is about to be performed, and who will perform it.
#[derive(Debug, Clone, Copy)]
pub struct Upcoming<'a> {
    /// The step.
    pub step: &'a Numbered<'a>,
    /// The process that will perform it, as the user's own pid namespace names it.
    pub pid: i32,
    /// The namespaces that this process does not share with the user.
    pub namespaces: CloneFlags,
}

/// What a look at the step's state gives: titles and snapshots, read by the process that waits.
pub type State = Vec<(String, Json)>;

/// The prompt, on the terminal.
pub struct Prompt<I, O> {
    input: I,
    output: O,
    style: Style,
    lanes: Lanes,
}

impl Prompt<BufReader<File>, File> {
    /// Opens the terminal.
    pub fn open(style: Style) -> Result<Self> {
        let terminal = |reads: bool| OpenOptions::new().read(reads).write(!reads).open("/dev/tty");
        let open = |reads| {
            terminal(reads).map_err(|cause| {
                Error::io("cannot ask before each step", &cause)
                    .rule("--step reads from the terminal, and this process has none")
                    .remedy("run it in a terminal, or without --step")
            })
        };
        Ok(Self::new(BufReader::new(open(true)?), open(false)?, style))
    }
}

impl<I: BufRead, O: Write> Prompt<I, O> {
    /// A prompt on any pair of streams.
    pub fn new(input: I, output: O, style: Style) -> Self {
        Self { input, output, style, lanes: Lanes::default() }
    }

    /// Shows the step and asks until there is an answer. `look` reads the state that the step will show.
    pub fn ask(&mut self, upcoming: &Upcoming<'_>, look: &mut dyn FnMut() -> State) -> Result<Answer> {
        let text = explain::step(upcoming.step, &mut self.lanes, &self.style, false);
        self.print(&format!("\n{text}"))?;
        self.print(&second_terminal(upcoming, &self.style))?;
        loop {
            let keys = " [Enter] do it   [w] why   [s] state   [c] do the rest   [q] undo and quit ";
            self.print(&self.style.paint(Paint::Bold, keys))?;
            match self.line()?.as_deref() {
                Some("") => return Ok(Answer::Go),
                Some("c") => return Ok(Answer::GoOn),
                // The end of input: nobody is there any more who could give leave.
                Some("q") | None => return Ok(Answer::Quit),
                Some("w") => self.why(upcoming)?,
                Some("s") => self.state(look)?,
                Some(other) => {
                    let text = format!("\"{other}\" is none of these: Enter, w, s, c, q");
                    self.print(&indented(&text, 1, Paint::Notice, &self.style))?;
                }
            }
        }
    }

    fn why(&mut self, upcoming: &Upcoming<'_>) -> Result<()> {
        let text = explain::step(upcoming.step, &mut self.lanes, &self.style, true);
        self.print(&text)
    }

    fn state(&mut self, look: &mut dyn FnMut() -> State) -> Result<()> {
        let all = look();
        if all.is_empty() {
            return self.print(&indented("this step shows no state", 1, Paint::Dim, &self.style));
        }
        let text: String =
            all.iter().map(|(title, value)| state::snapshot(title, value, &self.style, true)).collect();
        self.print(&text)
    }

    fn print(&mut self, text: &str) -> Result<()> {
        let written = self.output.write_all(text.as_bytes()).and_then(|()| self.output.flush());
        written.map_err(|cause| Error::io("cannot write to the terminal", &cause))
    }

    fn line(&mut self) -> Result<Option<String>> {
        let mut line = Vec::new();
        loop {
            match self.input.read_until(b'\n', &mut line) {
                Ok(0) => return Ok(None),
                Ok(_) => return Ok(Some(String::from_utf8_lossy(&line).trim().to_lowercase())),
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                // EIO: the terminal is gone.
                Err(_) => return Ok(None),
            }
        }
    }
}

/// The command by which a second terminal sees what the waiting process sees.
fn second_terminal(upcoming: &Upcoming<'_>, style: &Style) -> String {
    let flags = nsenter(upcoming.namespaces);
    if flags.is_empty() {
        return String::new();
    }
    let text = format!("from a second terminal: nsenter -t {}{flags} sh", upcoming.pid);
    indented(&text, 4, Paint::Dim, style)
}

/// The options of nsenter(1) for these namespaces.
fn nsenter(namespaces: CloneFlags) -> String {
    let options = [
        (CloneFlags::CLONE_NEWUSER, " -U --preserve-credentials"),
        (CloneFlags::CLONE_NEWNS, " -m"),
        (CloneFlags::CLONE_NEWUTS, " -u"),
        (CloneFlags::CLONE_NEWIPC, " -i"),
        (CloneFlags::CLONE_NEWNET, " -n"),
        (CloneFlags::CLONE_NEWPID, " -p"),
        (CloneFlags::CLONE_NEWCGROUP, " -C"),
        (CloneFlags::CLONE_NEWTIME, " -T"),
    ];
    options.iter().filter(|(flag, _)| namespaces.contains(*flag)).map(|(_, option)| *option).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Step;
    use crate::sys::Syscall;

    fn ask(typed: &str) -> (Answer, String) {
        let step = Step::say("Rename the machine").call(Syscall::Sethostname { name: "box".into() });
        let step = Numbered { id: "2.1".into(), actor: "child", step: &step };
        let namespaces = CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWNS;
        let upcoming = Upcoming { step: &step, pid: 4711, namespaces };
        let mut shown = Vec::new();
        let mut prompt = Prompt::new(typed.as_bytes(), &mut shown, Style::plain());
        let mut look = || vec![("names".to_owned(), serde_json::json!({"hostname": "laptop"}))];
        let answer = prompt.ask(&upcoming, &mut look).unwrap();
        (answer, String::from_utf8(shown).unwrap())
    }

    #[test]
    fn enter_goes_c_goes_on_q_and_the_end_of_input_quit() {
        let answers = ["\n", "c\n", "Q\n", ""].map(|typed| ask(typed).0);
        assert_eq!(answers, [Answer::Go, Answer::GoOn, Answer::Quit, Answer::Quit]);
    }

    #[test]
    fn the_step_is_shown_with_the_command_for_a_second_terminal() {
        let (_, text) = ask("\n");
        assert!(text.contains("    child  sethostname(\"box\", 3)\n"), "{text}");
        assert!(text.contains("nsenter -t 4711 -m -u sh\n"), "{text}");
    }

    #[test]
    fn state_and_other_keys_ask_again() {
        let (answer, text) = ask("s\nx\n\n");
        assert_eq!(answer, Answer::Go);
        assert!(text.contains("hostname  laptop"), "{text}");
        assert!(text.contains("\"x\" is none of these"), "{text}");
    }
}
