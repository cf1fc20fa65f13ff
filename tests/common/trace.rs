//! What strace wrote, as data: one [`Line`] for each call, with the process that made it.

use std::collections::HashMap;

/// One call in a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The process, by the number that the tracer knows.
    pub pid: i32,
    pub name: String,
    /// The call up to its closing bracket.
    pub text: String,
    /// What follows the equals sign; `?` if the process ended before it returned.
    pub result: String,
    /// The rows of the trace in which it began and ended.
    pub rows: (usize, usize),
}

impl Line {
    /// `call(…) = …`.
    pub fn whole(&self) -> String {
        format!("{} = {}", self.text, self.result)
    }

    /// The number that it returned.
    pub fn number(&self) -> Option<i64> {
        let word = self.result.split(' ').next()?;
        match word.strip_prefix("0x") {
            Some(hex) => i64::from_str_radix(hex, 16).ok(),
            None => word.parse().ok(),
        }
    }

    pub fn succeeded(&self) -> bool {
        self.number().is_some_and(|number| number >= 0)
    }

    /// Whether the tracer put an error in the place of the call.
    pub fn is_injected(&self) -> bool {
        self.result.ends_with("(INJECTED)")
    }
}

/// Reads a trace of `strace -f -o`. A call whose line was cut by another process's is put together again.
pub fn parse(trace: &str) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    let mut cut: HashMap<i32, usize> = HashMap::new();
    for (number, row) in trace.lines().enumerate() {
        let Some((pid, rest)) = row.split_once(' ') else { continue };
        let Ok(pid) = pid.parse::<i32>() else { continue };
        let rest = rest.trim_start();
        if rest.starts_with("+++") || rest.starts_with("---") {
            continue;
        }
        if let Some(resumed) = rest.strip_prefix("<... ") {
            let (Some(at), Some((_, tail))) = (cut.remove(&pid), resumed.split_once(" resumed>")) else {
                continue;
            };
            let whole = format!("{}{tail}", lines[at].text);
            finish(&mut lines[at], &whole);
            lines[at].rows.1 = number;
        } else if let Some(begun) = rest.strip_suffix(" <unfinished ...>") {
            cut.insert(pid, lines.len());
            lines.push(line(pid, begun, number));
        } else {
            let mut whole = line(pid, rest, number);
            finish(&mut whole, rest);
            lines.push(whole);
        }
    }
    lines
}

fn line(pid: i32, text: &str, row: usize) -> Line {
    let name = text.split('(').next().unwrap_or_default().to_owned();
    Line { pid, name, text: text.to_owned(), result: "?".to_owned(), rows: (row, row) }
}

/// Splits `call(…) = result`. In a string that is printed whole the same could occur, so the last one counts.
fn finish(line: &mut Line, whole: &str) {
    if let Some((text, result)) = whole.rsplit_once(" = ")
        && text.trim_end().ends_with(')')
    {
        (line.text, line.result) = (text.trim_end().to_owned(), result.to_owned());
    }
}
