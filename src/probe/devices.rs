//! The programs that decide about devices for a group of version 2, as the kernel holds them.

use std::fmt::Write;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use serde_json::{Value as Json, json};

use super::read;
use crate::sys::Errno;
use crate::sys::bpf::{Insn, loaded};

/// The snapshot: nothing, or each program with its instructions, which are read back from the kernel.
#[must_use]
pub fn snapshot(group: &Path) -> Json {
    let file = match File::open(group) {
        Ok(file) => file,
        Err(cause) => return json!({ "unreadable": read::reason(group, &cause) }),
    };
    match programs(&file) {
        Ok(all) => {
            let name = |index: usize| match index {
                0 => "program".to_owned(),
                more => format!("program {}", more + 1),
            };
            let one = |(index, insns): (usize, &Vec<Insn>)| (name(index), json!(listing(insns)));
            Json::Object(all.iter().enumerate().map(one).collect())
        }
        Err(errno) => json!({ "unreadable": format!("bpf: {errno:?}") }),
    }
}

/// The instructions of every program that is attached to the group.
pub fn programs(group: &File) -> Result<Vec<Vec<Insn>>, Errno> {
    let one = |id| loaded::program(id).and_then(|program| loaded::instructions(program.as_fd()));
    loaded::device_programs(group.as_fd())?.into_iter().map(one).collect()
}

/// One line for each instruction, with the number that jumps count from.
fn listing(insns: &[Insn]) -> String {
    let mut out = String::new();
    for (number, insn) in insns.iter().enumerate() {
        // Writing to a String cannot fail.
        _ = writeln!(out, "{number:>2}: {insn}");
    }
    out.truncate(out.trim_end().len());
    out
}
