//! Which devices a group's processes may open and make: rules, and how each version of control groups is told
//! them.
//!
//! Version 1 takes the rules as lines of text. Version 2 has no file for them: it asks a program, each time
//! somebody opens or makes a device node, and here that program is written, instruction by instruction
//! (Documentation/admin-guide/cgroup-v1/devices.rst, Documentation/admin-guide/cgroup-v2.rst, "Device
//! controller", and `struct bpf_cgroup_dev_ctx` of linux/bpf.h).

use std::fmt;
use std::str::FromStr;

use crate::plan::{Call, calls};
use crate::sys::bpf::{Insn, Register};
use crate::sys::flags::{Access, OFlags};
use crate::sys::syscall::Bpf;
use crate::sys::{Syscall, Text, Value};

/// The controller of version 1.
pub const CONTROLLER: &str = "devices";

/// What a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Every device there is.
    All,
    /// Character devices.
    Char,
    /// Block devices.
    Block,
}

/// Making the node: `BPF_DEVCG_ACC_MKNOD`.
pub const MKNOD: u8 = 1;
/// Opening it to read: `BPF_DEVCG_ACC_READ`.
pub const READ: u8 = 2;
/// Opening it to write: `BPF_DEVCG_ACC_WRITE`.
pub const WRITE: u8 = 4;
/// All of them.
pub const EVERYTHING: u8 = MKNOD | READ | WRITE;

/// The largest numbers that a device has: 12 bits and 20 bits (`MINORBITS` of `linux/kdev_t.h`).
const MOST_MAJOR: u32 = (1 << 12) - 1;
const MOST_MINOR: u32 = (1 << 20) - 1;

/// A permission: `c 1:3 rwm`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Which kind of devices.
    pub kind: Kind,
    /// Their driver's number; none for every one.
    pub major: Option<u32>,
    /// The device's number with that driver; none for every one.
    pub minor: Option<u32>,
    /// What may be done: [`MKNOD`], [`READ`], [`WRITE`].
    pub access: u8,
}

/// What is said of a rule that is none.
const GRAMMAR: &str = "a rule is `TYPE MAJOR:MINOR ACCESS`: c or b, two numbers or *, and letters of r (read), w (write) \
     and m (make the node); or `a *:* rwm`, for everything";

// ANCHOR: harmless
/// What every container may do. Any node may be made, because making is not opening; and these may be opened:
/// null, zero, full, random, urandom, the terminal of one's own, and the pseudo-terminals.
#[must_use]
pub fn harmless() -> Vec<Rule> {
    let any = |kind| Rule { kind, major: None, minor: None, access: MKNOD };
    let one = |major, minor| Rule { kind: Kind::Char, major: Some(major), minor, access: EVERYTHING };
    let mut all = vec![any(Kind::Char), any(Kind::Block)];
    all.extend([3, 5, 7, 8, 9].map(|minor| one(1, Some(minor))));
    all.extend([one(5, Some(0)), one(5, Some(2)), one(136, None)]);
    all
}
// ANCHOR_END: harmless

/// Joins rules about the same devices, as version 1 does: there a second line adds to what the first allows.
#[must_use]
pub fn joined(rules: impl IntoIterator<Item = Rule>) -> Vec<Rule> {
    let mut all: Vec<Rule> = Vec::new();
    for rule in rules {
        let same = |one: &&mut Rule| (one.kind, one.major, one.minor) == (rule.kind, rule.major, rule.minor);
        match all.iter_mut().find(same) {
            Some(one) => one.access |= rule.access,
            None => all.push(rule),
        }
    }
    all
}

// ANCHOR: lines
/// Version 1: everything is denied, then each rule allows something. One line for each write.
#[must_use]
pub fn write_rules(group: &std::path::Path, rules: &[Rule]) -> Vec<Call> {
    let mut all: Vec<Call> = calls::write(group.join("devices.deny"), "a").into();
    all.push(calls::open(group.join("devices.allow"), Access::O_WRONLY, OFlags::empty(), "file"));
    let line =
        |rule: &Rule| Call::from(Syscall::Write { fd: Value::later("file"), data: rule.to_string().into() });
    all.extend(rules.iter().map(line));
    all.push(calls::close("file"));
    all
}
// ANCHOR_END: lines

/// Version 2: the program is loaded, where the kernel checks it, and attached to the group whose descriptor is in this
/// slot. It lives as long as the group.
#[must_use]
pub fn attach_program(group: &'static str, rules: &[Rule]) -> [Call; 3] {
    let load = Bpf::LoadDeviceProgram { insns: program(rules), license: Text::from("Apache-2.0") };
    let attach =
        Bpf::AttachDeviceProgram { target: Value::later(group), program: Value::later("device program") };
    [
        Call::from(Syscall::Bpf(load)).into_slot("device program"),
        Syscall::Bpf(attach).into(),
        calls::close("device program"),
    ]
}

// ANCHOR: program
// The registers. The kernel hands over the address of three numbers in r1, and takes the answer from r0.
const ANSWER: Register = 0;
const ASKED: Register = 1;
const TYPE: Register = 2;
const ACCESS: Register = 3;
const MAJOR: Register = 4;
const MINOR: Register = 5;
/// Used again and again, once the numbers are read.
const SCRATCH: Register = 1;

/// The rules as a program: the first that allows all that is asked for ends it with 1, and the end is 0.
#[must_use]
pub fn program(rules: &[Rule]) -> Vec<Insn> {
    let mut all = vec![
        Insn::load_word(TYPE, ASKED, 0),
        Insn::copy(ACCESS, TYPE),
        Insn::and(TYPE, 0xffff),
        Insn::shift_right(ACCESS, 16),
        Insn::load_word(MAJOR, ASKED, 4),
        Insn::load_word(MINOR, ASKED, 8),
    ];
    for rule in rules {
        all.extend(test(rule));
        // The kernel refuses a program that has instructions which nothing leads to.
        if rule.is_everything() {
            return all;
        }
    }
    all.extend([Insn::set(ANSWER, 0), Insn::exit()]);
    all
}

/// The instructions of one rule. Each test that fails jumps behind them, to the next rule.
fn test(rule: &Rule) -> Vec<Insn> {
    let mut all = Vec::new();
    // Where to jump is known when all of them stand.
    let unless = |register, number| Insn::unless(register, number, 0);
    match rule.kind {
        Kind::All => {}
        Kind::Block => all.push(unless(TYPE, 1)),
        Kind::Char => all.push(unless(TYPE, 2)),
    }
    if rule.access != EVERYTHING {
        let denied = i32::from(EVERYTHING & !rule.access);
        all.extend([Insn::copy(SCRATCH, ACCESS), Insn::and(SCRATCH, denied), unless(SCRATCH, 0)]);
    }
    all.extend(rule.major.map(|major| unless(MAJOR, major.cast_signed())));
    all.extend(rule.minor.map(|minor| unless(MINOR, minor.cast_signed())));
    all.extend([Insn::set(ANSWER, 1), Insn::exit()]);
    let end = all.len();
    for (at, insn) in all.iter_mut().enumerate() {
        if insn.code == unless(0, 0).code {
            insn.off = i16::try_from(end - at - 1).unwrap_or(i16::MAX);
        }
    }
    all
}
// ANCHOR_END: program

impl Rule {
    /// Whether everything may be done with the devices that it is about.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.access == EVERYTHING
    }

    fn is_everything(&self) -> bool {
        self.kind == Kind::All
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::All => 'a',
            Kind::Char => 'c',
            Kind::Block => 'b',
        };
        let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
        let letters = [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')];
        let access: String =
            letters.iter().filter(|(bit, _)| self.access & bit != 0).map(|(_, letter)| letter).collect();
        write!(f, "{kind} {}:{} {access}", number(self.major), number(self.minor))
    }
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let words: Vec<&str> = text.split(' ').collect();
        let &[kind, numbers, letters] = words.as_slice() else { return Err(GRAMMAR.to_owned()) };
        let (major, minor) = numbers.split_once(':').ok_or(GRAMMAR)?;
        let rule = Self {
            kind: kind_of(kind)?,
            major: number(major, "a major number", MOST_MAJOR)?,
            minor: number(minor, "a minor number", MOST_MINOR)?,
            access: access_of(letters)?,
        };
        if rule.is_everything() && (rule.major.or(rule.minor).is_some() || rule.access != EVERYTHING) {
            return Err("a stands for every device and every access, and is written `a *:* rwm`".to_owned());
        }
        Ok(rule)
    }
}

fn kind_of(word: &str) -> Result<Kind, String> {
    match word {
        "a" => Ok(Kind::All),
        "b" => Ok(Kind::Block),
        "c" => Ok(Kind::Char),
        _ => Err(GRAMMAR.to_owned()),
    }
}

/// Letters of `rwm`, each once at most.
pub fn access_of(letters: &str) -> Result<u8, String> {
    let mut access = 0;
    for letter in letters.chars() {
        let bit = match letter {
            'r' => READ,
            'w' => WRITE,
            'm' => MKNOD,
            _ => return Err(GRAMMAR.to_owned()),
        };
        if access & bit != 0 {
            return Err(GRAMMAR.to_owned());
        }
        access |= bit;
    }
    if access == 0 { Err(GRAMMAR.to_owned()) } else { Ok(access) }
}

fn number(text: &str, what: &str, most: u32) -> Result<Option<u32>, String> {
    if text == "*" {
        return Ok(None);
    }
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(GRAMMAR.to_owned());
    }
    match text.parse() {
        Ok(number) if number <= most => Ok(Some(number)),
        _ => Err(format!("{what} is at most {most}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the program answers, found by following it.
    fn ask(program: &[Insn], kind: u32, access: u8, major: u32, minor: u32) -> i32 {
        let asked = [u32::from(access) << 16 | kind, major, minor];
        let mut registers = [0_u32; 11];
        let mut at = 0;
        for _ in 0..=program.len() {
            let Insn { code, dst, src, off, imm } = program[at];
            let (dst, src) = (usize::from(dst), usize::from(src));
            at += 1;
            match code {
                0x61 => registers[dst] = asked[off as usize / 4],
                0xbc => registers[dst] = registers[src],
                0x54 => registers[dst] &= imm.cast_unsigned(),
                0x74 => registers[dst] >>= imm,
                0xb7 => registers[dst] = imm.cast_unsigned(),
                0x55 if registers[dst] != imm.cast_unsigned() => at += off as usize,
                0x55 => {}
                0x95 => return registers[0].cast_signed(),
                other => panic!("{other:#x}"),
            }
        }
        panic!("the program does not end")
    }

    #[test]
    fn a_rule_is_read_and_written_the_same() {
        for text in ["c 1:3 rwm", "b *:* m", "c 136:* rw", "a *:* rwm", "b 4095:1048575 r"] {
            assert_eq!(text.parse::<Rule>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "c",
            "c 1:3",
            "c 1:3 x",
            "c 1:3 rr",
            "x 1:3 r",
            "c 1 r",
            "c -1:3 r",
            "c 1:3 r ",
            "c  1:3 r",
            "c 4096:0 r",
            "c 0:1048576 r",
            "c +1:3 r",
            "a 1:3 rwm",
            "a *:* r",
            "c 1:3 rwmr",
            "c :3 r",
        ] {
            assert!(bad.parse::<Rule>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn rules_about_the_same_devices_become_one() {
        let rules = ["c 1:3 r", "c 1:5 r", "c 1:3 w"].map(|text| text.parse::<Rule>().unwrap());
        let all: Vec<_> = joined(rules).iter().map(ToString::to_string).collect();
        assert_eq!(all, ["c 1:3 rw", "c 1:5 r"]);
    }

    #[test]
    fn a_program_answers_as_its_rules_say() {
        let (block, char) = (1, 2);
        let rules = program(&harmless());
        assert_eq!(ask(&rules, char, EVERYTHING, 1, 3), 1, "null");
        assert_eq!(ask(&rules, char, READ, 136, 77), 1, "a pseudo-terminal");
        assert_eq!(ask(&rules, char, READ, 1, 1), 0, "the memory of the machine");
        assert_eq!(ask(&rules, char, MKNOD, 1, 1), 1, "its node may be made");
        assert_eq!(ask(&rules, char, MKNOD | READ, 1, 1), 0, "and not opened in the same breath");
        assert_eq!(ask(&rules, block, WRITE, 8, 0), 0, "a disk");
        assert_eq!(ask(&rules, block, READ, 1, 3), 0, "a block device with the numbers of null");
        let all = program(&["a *:* rwm".parse().unwrap()]);
        assert_eq!(ask(&all, block, WRITE, 8, 0), 1);
        assert_eq!(ask(&program(&[]), char, READ, 1, 3), 0, "without a rule, nothing");
    }

    #[test]
    fn a_partial_permission_covers_parts_of_itself_only() {
        let rules = program(&["c 1:5 rw".parse().unwrap()]);
        for (access, answer) in
            [(READ, 1), (WRITE, 1), (READ | WRITE, 1), (MKNOD, 0), (READ | MKNOD, 0), (EVERYTHING, 0)]
        {
            assert_eq!(ask(&rules, 2, access, 1, 5), answer, "{access}");
        }
    }
}
