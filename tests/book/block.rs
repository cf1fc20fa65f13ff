//! What a chapter says happens: its console blocks, taken apart into commands, outputs and exit codes.

use std::fmt::Write;

/// A fence that a console block begins with.
const FENCE: &str = "```";
/// Commands that prepare what the reader has from before; they are not shown.
const SETUP: &str = "<!-- setup,";

/// One block.
#[derive(Debug, Clone)]
pub struct Block {
    /// The line of its fence, counted from 1.
    pub line: usize,
    /// What stands behind `console,`: `root`, `v1`. Empty: it is not executed.
    pub words: Vec<String>,
    /// Whether it prepares something and is not shown.
    pub hidden: bool,
    pub commands: Vec<Command>,
    /// The lines of its content in the file, from and up to, counted from 0.
    pub content: std::ops::Range<usize>,
}

/// One command and what it is said to print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The lines as they stand there, with `$ ` and `> `.
    pub typed: Vec<String>,
    pub output: Vec<String>,
    pub exit: i32,
}

impl Command {
    /// What the shell gets.
    pub fn shell(&self) -> String {
        let lines = self.typed.iter().map(|line| line.get(2..).unwrap_or_default());
        lines.collect::<Vec<_>>().join("\n")
    }
}

impl Block {
    /// Its content, as it is to stand in the file.
    pub fn text(commands: &[Command]) -> String {
        let mut out = String::new();
        for command in commands {
            command.typed.iter().chain(&command.output).for_each(|line| writeln!(out, "{line}").unwrap());
            if command.exit != 0 {
                writeln!(out, "? {}", command.exit).unwrap();
            }
        }
        out
    }

    pub fn is_executed(&self) -> bool {
        !self.words.is_empty()
    }
}

/// All blocks of a chapter. What is written wrongly is a fault.
pub fn parse(text: &str) -> Result<Vec<Block>, String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut blocks = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at];
        let (info, end, hidden) = if let Some(info) = line.strip_prefix(FENCE).filter(|info| !info.is_empty())
        {
            (info, FENCE, false)
        } else if let Some(info) = line.strip_prefix(SETUP) {
            (info, "-->", true)
        } else {
            at += 1;
            continue;
        };
        let length = lines[at + 1..].iter().position(|line| *line == end);
        let length = length.ok_or_else(|| format!("line {}: the block has no end", at + 1))?;
        let content = at + 1..at + 1 + length;
        let mut words: Vec<String> = info.trim().split(',').map(str::to_owned).collect();
        let is_console = words[0] == "console";
        if is_console {
            words.remove(0);
        }
        let body = &lines[content.clone()];
        if is_console || hidden {
            let commands = commands(body).map_err(|fault| format!("line {}: {fault}", at + 1))?;
            blocks.push(Block { line: at + 1, words, hidden, commands, content: content.clone() });
        } else if body.iter().any(|line| line.starts_with("$ ")) {
            return Err(format!(
                "line {}: a transcript is a block of ```console,root or ```console,user",
                at + 1
            ));
        }
        at = content.end + 1;
    }
    Ok(blocks)
}

fn commands(lines: &[&str]) -> Result<Vec<Command>, String> {
    let mut all: Vec<Command> = Vec::new();
    for line in lines {
        if line.starts_with("$ ") {
            all.push(Command { typed: vec![(*line).to_owned()], output: Vec::new(), exit: 0 });
            continue;
        }
        let last = all.last_mut().ok_or("a console block begins with `$ ` and a command")?;
        let exit = line.strip_prefix("? ").and_then(|code| code.parse().ok());
        if let Some(code) = exit {
            last.exit = code;
        } else if last.exit != 0 {
            return Err(format!("nothing but a command stands after an exit code: {line}"));
        } else if line.starts_with("> ")
            && last.output.is_empty()
            && last.typed.last().unwrap().ends_with('\\')
        {
            last.typed.push((*line).to_owned());
        } else {
            last.output.push((*line).to_owned());
        }
    }
    Ok(all)
}
