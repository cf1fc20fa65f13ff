//! What varies from machine to machine and from run to run, and the few rules that make it the same.
//!
//! Two kinds. What is **replaced** stands in the book as a value that is always the same, in the width that a
//! reader would see; equal values stay equal and different ones different, so that the story can be followed. What
//! is **ignored** stands in the book as it was measured when the block was last rewritten, and is left out of the
//! comparison.
//!
//! | rule | replaced | by |
//! |---|---|---|
//! | place | the directory of the chapter's stage | `/home/student`, and its state directory by `/var/lib/cutaway` |
//! | who | the test user's name and ids | `student`, 1000 |
//! | machine | host name and kernel release | `laptop`, `6.12.0` |
//! | group | the group of version 2 that the tests are in | that of a login |
//! | pid | numbers of processes that were born meanwhile | 4711 and so on, in order of appearance |
//! | inode | numbers of namespaces | those of a freshly booted host, then 4026532201 and so on |
//! | file | inode numbers of files, `#` and a number | 131073 and so on, in order of appearance |
//! | directory | device and inode of a directory | `8:1 inode 2` for the root, others in order of appearance |
//! | digest | twelve digits or more of a digest in the stores: the demo image is made from the machine's programs | others, in order of appearance |
//! | key | numbers drawn by lot: `0x` and six hexadecimal digits or more, names made from them | 5eed0001 and so on |
//!
//! | rule | ignored |
//! |---|---|
//! | blanks | blanks and line breaks: numbers of another width break lines elsewhere |
//! | time | durations, times of day, dates |
//! | sum | the counts behind `Σ`, and how many calls changed something |
//! | reading | the numbers and bars of a line of a chart, not their units and not how many columns there are |

use std::collections::HashMap;
use std::fs;

use super::reading;

/// What is known of the run that printed a text.
#[derive(Debug, Clone, Default)]
pub struct Run {
    /// Texts that are replaced as they are, the longer ones first.
    pub literal: Vec<(String, String)>,
    /// The same where they stand alone.
    pub words: Vec<(String, String)>,
    /// The last pid before the chapter, before the command, and after it.
    pub pids: (u32, u32, u32),
    /// The digests in the stores.
    pub digests: Vec<String>,
}

/// The replacements of one block: what was seen so far.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    pids: HashMap<String, String>,
    inodes: HashMap<String, String>,
    directories: HashMap<String, String>,
    in_memory: HashMap<String, String>,
    fresh: u32,
    digests: HashMap<String, String>,
    keys: HashMap<String, String>,
    files: HashMap<String, String>,
}

/// The namespaces of a host that has nothing but its first ones.
const FIRST: [(&str, &str); 8] = [
    ("mnt", "4026531841"),
    ("uts", "4026531838"),
    ("ipc", "4026531839"),
    ("pid", "4026531836"),
    ("user", "4026531837"),
    ("net", "4026531840"),
    ("cgroup", "4026531835"),
    ("time", "4026531834"),
];

/// The words in front of a number that make it a pid, also where the number is short.
const BEFORE_PID: &[&str] = &[
    "=",
    "process",
    "pid",
    "PID",
    "pids",
    "parent",
    "of",
    "/proc/",
    "self",
    "P_PID,",
    "kill(",
    "child",
    "\"newuidmap\", \"",
    "\"newgidmap\", \"",
];

impl Seen {
    /// The text with everything replaced.
    pub fn replace(&mut self, text: &str, run: &Run) -> String {
        let mut text = text.to_owned();
        for (from, to) in &run.literal {
            text = text.replace(from.as_str(), to);
        }
        text = text.replace(" --state /var/lib/cutaway", "");
        for (from, to) in &run.words {
            text = replaced_alone(&text, from, to);
        }
        let line = |line: &str| {
            let line = self.directories(line);
            self.line(&line, run).trim_end().to_owned() + "\n"
        };
        text.lines().map(line).collect()
    }

    /// `254:0 inode 5358295`: where the root is, the same everywhere; any other directory by its order, one in memory
    /// told apart from one on disk.
    fn directories(&mut self, line: &str) -> String {
        const MIDDLE: &str = " inode ";
        let mut out = String::new();
        let mut rest = line;
        while let Some(at) = rest.find(MIDDLE) {
            let (before, after) = (&rest[..at], &rest[at + MIDDLE.len()..]);
            let start =
                before.trim_end_matches(|letter: char| letter.is_ascii_digit() || letter == ':').len();
            let end = after.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(after.len());
            let (device, inode) = (&before[start..], &after[..end]);
            out.push_str(&before[..start]);
            if device.contains(':') && !inode.is_empty() {
                out.push_str(&self.directory(device, inode));
            } else {
                out.push_str(&[device, MIDDLE, inode].concat());
            }
            rest = &after[end..];
        }
        out + rest
    }

    fn directory(&mut self, device: &str, inode: &str) -> String {
        use std::os::unix::fs::MetadataExt;
        let root = fs::metadata("/").unwrap();
        let own = format!("{}:{}", nix::sys::stat::major(root.dev()), nix::sys::stat::minor(root.dev()));
        if device == own && inode == root.ino().to_string() {
            return "8:1 inode 2".to_owned();
        }
        let small = inode.parse::<u32>().is_ok_and(|inode| inode < 1000);
        if device.starts_with("0:") && device != own && small {
            let next = format!("0:{}", 41 + self.in_memory.len());
            return format!("{} inode {inode}", self.in_memory.entry(device.to_owned()).or_insert(next));
        }
        let next = format!("8:1 inode {}", 131_073 + self.directories.len());
        self.directories.entry(format!("{device} {inode}")).or_insert(next).clone()
    }

    fn line(&mut self, line: &str, run: &Run) -> String {
        let mut out = String::with_capacity(line.len());
        // How many columns the replacements so far have won or lost.
        let mut drift = 0_isize;
        let mut rest = line;
        while !rest.is_empty() {
            let blanks = rest.len() - rest.trim_start_matches(' ').len();
            if blanks >= 2 && drift != 0 && !out.trim().is_empty() {
                let wanted = blanks.saturating_add_signed(-drift).max(1);
                out.push_str(&" ".repeat(wanted));
                drift += wanted.cast_signed() - blanks.cast_signed();
                rest = &rest[blanks..];
                continue;
            }
            let size = rest.find(|letter: char| !is_word(letter)).unwrap_or(rest.len());
            let (word, after) = rest.split_at(size.max(rest.chars().next().map_or(1, char::len_utf8)));
            let new = if size == 0 { None } else { self.word(word, &out, after, run) };
            if let Some(new) = &new {
                drift += new.chars().count().cast_signed() - word.chars().count().cast_signed();
            }
            out.push_str(new.as_deref().unwrap_or(word));
            rest = after;
        }
        out
    }

    fn word(&mut self, word: &str, before: &str, after: &str, run: &Run) -> Option<String> {
        let digits = word.bytes().all(|byte| byte.is_ascii_digit());
        if digits && before.ends_with(":[") && after.starts_with(']') {
            return Some(self.inode(word, before));
        }
        if digits && before.ends_with('#') && word.len() >= 3 {
            let next = (131_073 + self.files.len()).to_string();
            return Some(self.files.entry(word.to_owned()).or_insert(next).clone());
        }
        if digits && is_pid(word, before, after, run) {
            let next = (4711 + self.pids.len()).to_string();
            return Some(self.pids.entry(word.to_owned()).or_insert(next).clone());
        }
        let random = word.strip_prefix("0x").filter(|digits| digits.len() >= 6);
        if let Some(digits) = random.filter(|digits| is_hexadecimal(digits)) {
            return Some(format!("0x{}", self.key(digits)));
        }
        if word.len() == 8 && is_hexadecimal(word) && before.ends_with("cutaway-") {
            return Some(self.key(word.trim_start_matches('0')));
        }
        let known = word.len() >= 12 && run.digests.iter().any(|digest| digest.starts_with(word));
        known.then(|| self.digest(word))
    }

    fn inode(&mut self, number: &str, before: &str) -> String {
        let kind = before.trim_end_matches(":[").rsplit(|letter: char| !letter.is_ascii_lowercase()).next();
        let own = fs::read_link(format!("/proc/self/ns/{}", kind.unwrap_or_default())).unwrap_or_default();
        if own.to_string_lossy().contains(&format!("[{number}]")) {
            let first = FIRST.iter().find(|(name, _)| Some(*name) == kind);
            return first.map_or(number, |(_, first)| first).to_owned();
        }
        let fresh = &mut self.fresh;
        let next = || {
            *fresh += 1;
            (4_026_532_200_u32 + *fresh).to_string()
        };
        self.inodes.entry(number.to_owned()).or_insert_with(next).clone()
    }

    /// A number that was drawn by lot.
    fn key(&mut self, digits: &str) -> String {
        let next = format!("{:08x}", 0x5eed_0001 + self.keys.len());
        self.keys.entry(digits.to_owned()).or_insert(next).clone()
    }

    /// Another digest of the same length; a shortened one stays the beginning of the whole one.
    fn digest(&mut self, digest: &str) -> String {
        use sha2::Digest;
        let count = self.digests.len();
        let full = self.digests.entry(digest[..12].to_owned()).or_insert_with(|| {
            let bytes = sha2::Sha256::digest(format!("digest {count}"));
            bytes.iter().map(|byte| format!("{byte:02x}")).collect()
        });
        full.repeat(2)[..digest.len().min(128)].to_owned()
    }
}

fn is_word(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

fn is_hexadecimal(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// The text with one word in place of another, where it is no part of a longer one.
fn replaced_alone(text: &str, from: &str, to: &str) -> String {
    let joins = |letter: char| letter.is_ascii_alphanumeric() || "_.-/".contains(letter);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(from) {
        let (before, after) = (&rest[..at], &rest[at + from.len()..]);
        let apart = !before.ends_with(joins) && !after.starts_with(joins);
        out.push_str(before);
        out.push_str(if apart { to } else { from });
        rest = after;
    }
    out + rest
}

fn is_pid(word: &str, before: &str, after: &str, run: &Run) -> bool {
    let Ok(number) = word.parse::<u32>() else { return false };
    let (chapter, command, now) = run.pids;
    // After the highest number the kernel goes on with 300 and not with 1.
    let again = 300..=now;
    let since = |from: u32| {
        if from <= now { from < number && number <= now } else { number > from || again.contains(&number) }
    };
    // `cutaway-ns-4711` is named after a process, `CVE-2024-21626` is not.
    let suffix =
        before.strip_suffix('-').is_some_and(|name| name.ends_with(|last: char| last.is_ascii_alphabetic()));
    let named = suffix || BEFORE_PID.iter().any(|name| before.trim_end().ends_with(name));
    let alone =
        !before.ends_with(['.', ':', '[']) && !after.starts_with(['.', ':']) || before.ends_with("/proc/");
    // A number that stands anywhere is believed to be a pid only if it is one of this command.
    named && since(chapter) || alone && word.len() >= 5 && since(command)
}

/// The text as it is compared: what is ignored left out.
pub fn comparable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_sum = false;
    for line in text.lines() {
        in_sum = in_sum && !line.trim().is_empty() && !line.contains("(");
        if in_sum {
            continue;
        }
        if let Some(form) = reading::form(line) {
            out.push_str(&format!("<reading: {form}>"));
            continue;
        }
        let mut line = line.to_owned();
        if let Some(at) = line.find('Σ') {
            let end = line[at..].find(": ").map_or(line.len(), |colon| at + colon);
            line.truncate(end);
            in_sum = true;
        }
        if let Some(at) = line.find(" calls that change something") {
            let start = line[..at].rfind(' ').map_or(0, |blank| blank + 1);
            line.replace_range(start..at, "<sum>");
        }
        out.push_str(&without_times(&line));
    }
    out.retain(|letter| !letter.is_whitespace());
    out
}

/// Durations, times of day and dates are all the same.
fn without_times(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
    let mut out = Vec::with_capacity(words.len());
    let mut skip = false;
    for (at, word) in words.iter().enumerate() {
        if std::mem::take(&mut skip) {
            continue;
        }
        let number = word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') && word.len() < 8;
        let next = words.get(at + 1).map_or("", |next| next.trim_end_matches([',', ';', ':']));
        if number && ["µs", "us", "ms", "s"].contains(&next) {
            skip = true;
        } else if !is_clock(word) {
            out.push(*word);
        }
    }
    out.join(" ")
}

/// `07:31`, `07:31:02`, `2026-01-31`
fn is_clock(word: &str) -> bool {
    let shape: String =
        word.chars().map(|letter| if letter.is_ascii_digit() { '9' } else { letter }).collect();
    ["99:99", "99:99:99", "9999-99-99"].contains(&shape.as_str())
}
