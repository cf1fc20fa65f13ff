//! What strace wrote, as data: one [`Line`] for each call, with the process that made it.

use std::collections::{HashMap, HashSet};

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
        // Without -f there is one process, and strace leaves its number out.
        let numbered =
            row.split_once(' ').and_then(|(pid, rest)| Some((pid.parse::<i32>().ok()?, rest.trim_start())));
        let (pid, rest) = numbered.unwrap_or((0, row));
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

/// Whether a line is one of these calls.
pub fn has(line: &Line, names: &[&str]) -> bool {
    names.contains(&line.name.as_str())
}

/// One process of cutaway's, its threads included, until it became another program.
pub struct Process {
    /// Each call, and what file it is about.
    pub lines: Vec<(Line, String)>,
}

impl Process {
    /// Sorts the lines of a trace by process, and notes for each what file it is about.
    pub fn all(lines: &[Line]) -> Vec<Self> {
        let mut found: Vec<(i32, Self)> = Vec::new();
        let mut owner: HashMap<i32, i32> = HashMap::new();
        let mut files: HashMap<i32, Files> = HashMap::new();
        let mut others: HashSet<i32> = HashSet::new();
        for (index, ends) in in_time(lines) {
            let line = &lines[index];
            let pid = *owner.entry(line.pid).or_insert(line.pid);
            let is_other = others.contains(&pid);
            if is_other {
                child_of(line).map(|child| others.insert(child));
                continue;
            }
            if !found.iter().any(|(known, _)| *known == pid) {
                found.push((pid, Self { lines: Vec::new() }));
                files.entry(pid).or_default();
            }
            if ends {
                files.get_mut(&pid).unwrap().after(line);
                if index > 0 && line.name == "execve" && line.succeeded() {
                    others.insert(pid);
                }
                continue;
            }
            if let Some(child) = child_of(line) {
                if line.text.contains("CLONE_THREAD") {
                    owner.insert(child, pid);
                } else {
                    let table = files[&pid].clone();
                    files.insert(child, table);
                }
            }
            let subject = files.get_mut(&pid).unwrap().subject(line);
            // The execve that begins the trace is the tracer's.
            if index > 0 {
                let process = found.iter_mut().find(|(known, _)| *known == pid).unwrap();
                process.1.lines.push((line.clone(), subject));
            }
        }
        found.into_iter().map(|(_, process)| process).collect()
    }
}

/// The lines by the moments in which they begin and end: another thread's may lie in between.
fn in_time(lines: &[Line]) -> Vec<(usize, bool)> {
    let moments = lines.iter().enumerate();
    let mut all: Vec<_> =
        moments.flat_map(|(index, line)| [(line.rows.0, false, index), (line.rows.1, true, index)]).collect();
    all.sort_unstable();
    all.into_iter().map(|(_, ends, index)| (index, ends)).collect()
}

/// The process or thread that a call made, by the number that strace gives it.
fn child_of(line: &Line) -> Option<i32> {
    if !["clone", "clone3", "fork", "vfork"].contains(&line.name.as_str()) || !line.succeeded() {
        return None;
    }
    let seen = line.result.split(" /* ").nth(1).and_then(|note| note.split(' ').next()?.parse().ok());
    seen.or_else(|| line.number().and_then(|number| i32::try_from(number).ok()))
}

/// The open files of a process, as far as the trace says.
#[derive(Clone)]
struct Files(HashMap<i64, String>);

impl Default for Files {
    fn default() -> Self {
        let names = ["stdin", "stdout", "stderr"].into_iter().zip(0..);
        Self(names.map(|(name, fd)| (fd, format!("<{name}>"))).collect())
    }
}

impl Files {
    /// What a call is about: a path, or what its descriptor refers to. A closed one is free at once.
    fn subject(&mut self, line: &Line) -> String {
        let subject = self.about(line);
        if line.name == "close" {
            drop(first(line).parse().map(|fd: i64| self.0.remove(&fd)));
        }
        subject
    }

    fn about(&self, line: &Line) -> String {
        let first = first(line);
        // The first string of symlinkat is what the link says, not where it is.
        let text = if line.name == "symlinkat" {
            line.text.split_once("\", ").map_or("", |(_, rest)| rest)
        } else {
            &line.text
        };
        let first = if line.name == "symlinkat" { text.split(',').next().unwrap_or_default() } else { first };
        let named = text.split_once('"').and_then(|(_, rest)| rest.split_once('"')).map(|(name, _)| name);
        let of_fd = first.parse::<i64>().ok().and_then(|fd| self.0.get(&fd).cloned());
        let by_name = first == "AT_FDCWD"
            || first.starts_with('"')
            || line.name.ends_with("at")
            || has(line, &["statx", "openat2"]);
        match (named, of_fd) {
            (Some(name), _) if by_name && name.starts_with('/') => name.to_owned(),
            (Some(name), Some(dir)) if by_name && !name.is_empty() => format!("{dir}/{name}"),
            (Some(name), None) if by_name => name.to_owned(),
            (_, Some(file)) => file,
            _ => String::new(),
        }
    }

    /// What a call that succeeded has opened.
    fn after(&mut self, line: &Line) {
        let Some(number) = line.number().filter(|number| *number >= 0) else { return };
        let subject = match line.name.as_str() {
            "signalfd4" => "<signals>".to_owned(),
            "pidfd_open" => "<pidfd>".to_owned(),
            "socket" if line.text.contains("NETLINK_ROUTE") => "<netlink>".to_owned(),
            // By this mark, what is done through it is told from what is done by path.
            "openat" if line.text.contains("O_PATH") && self.about(line).ends_with("/layers") => {
                self.about(line) + "/."
            }
            "open" | "openat" | "openat2" | "dup" | "dup2" | "dup3" => self.about(line),
            "fcntl" if line.text.contains("F_DUPFD") => self.about(line),
            // A descriptor that the child hands over: the master side of a terminal.
            "recvmsg" => {
                let handed = line
                    .text
                    .split_once("SCM_RIGHTS, cmsg_data=[")
                    .and_then(|(_, rest)| rest.split(']').next());
                handed.and_then(|fd| fd.parse().ok()).map(|fd| self.0.insert(fd, "<terminal>".to_owned()));
                return;
            }
            "socketpair" => {
                let pair = line.text.rsplit_once('[').map_or("", |(_, pair)| pair);
                for fd in pair.split([',', ']', ' ']).filter_map(|fd| fd.parse().ok()) {
                    self.0.insert(fd, "<report>".to_owned());
                }
                return;
            }
            _ => return,
        };
        self.0.insert(number, subject);
    }
}

fn first(line: &Line) -> &str {
    line.text.split_once('(').and_then(|(_, rest)| rest.split([',', ')']).next()).unwrap_or_default()
}

/// Rules that make two texts of the same call equal. There are four.
pub fn normalised(text: &str) -> String {
    let mut text = text.to_owned();
    // Where the environment lies in memory, no plan knows: `0x7ffd… /* 4 vars */`.
    if text.starts_with("execve(")
        && let (Some(from), Some(to)) = (text.rfind(", 0x"), text.rfind(" /* "))
    {
        text.replace_range(from + 2..=to, "");
    }
    // Nor where a program lies.
    if text.starts_with("bpf(")
        && let Some((before, rest)) = text.split_once("insns=0x")
    {
        let rest = rest.trim_start_matches(|digit: char| digit.is_ascii_hexdigit());
        text = format!("{before}insns=<program>{rest}");
    }
    // A pid is what the caller's pid namespace calls it; strace adds its own number for it.
    while let Some(from) = text.find(" /* ") {
        match text[from..].find("in strace's PID NS */") {
            Some(to) => text.replace_range(from..from + to + "in strace's PID NS */".len(), ""),
            None => break,
        }
    }
    // strace decodes netlink only in its own network namespace: what is left of a message is its header.
    if text.contains("{nlmsg_len=") && (text.starts_with("sendto(") || text.starts_with("recvfrom(")) {
        let keep = |key: &str| {
            text.split(key).nth(1).and_then(|rest| rest.split([',', '}']).next()).unwrap_or("").to_owned()
        };
        let parts = ["nlmsg_len=", "nlmsg_flags=", "nlmsg_seq=", "error="].map(keep);
        // These two flags have names only where the type of the message is known.
        let parts = parts.map(|part| part.replace("NLM_F_EXCL|NLM_F_CREATE", "0x600"));
        let end = text.rfind("], ").map_or("", |at| &text[at..]);
        text = format!("{}{parts:?}{end}", text.split('[').next().unwrap_or_default());
    }
    text
}
