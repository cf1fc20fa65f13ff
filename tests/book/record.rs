//! Which blocks were performed, on which kind of machine.
//!
//! No machine has all layouts of control groups, so that no run of the tests performs every block. Each run writes down
//! what it has performed, in a file with the name of its layout; `tests/vm/book.sh` brings the files together, and then
//! nothing may be missing: a block that names a layout is in one of them, and a block that names none is in all that have
//! its chapter. A line names a block and the text of its chapter: what is noted of an older text counts for nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use sha2::Digest;

use super::block::Block;

/// The words of a block that only some machines can perform.
const LAYOUTS: [&str; 4] = ["v1", "v2", "hybrid", "delegated"];

/// Where the records are: below the directory that Cargo has for the files of tests.
fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("book")
}

/// Notes the blocks of a chapter that were performed on a machine with this layout, in place of what was noted before.
pub fn write(layout: &str, file: &str, text: &str, performed: &[&Block]) {
    fs::create_dir_all(folder()).unwrap();
    let path = folder().join(layout);
    let before = fs::read_to_string(&path).unwrap_or_default();
    let others = before.lines().filter(|line| !line.starts_with(&format!("{file}:"))).map(str::to_owned);
    let all: BTreeSet<String> = others.chain(performed.iter().map(|block| name(file, text, block))).collect();
    fs::write(path, all.into_iter().map(|line| line + "\n").collect::<String>()).unwrap();
}

/// The blocks of a chapter that no machine has performed, or, where a block names no layout, that not all machines have
/// that performed the chapter.
pub fn missing(file: &str, text: &str, blocks: &[Block]) -> Vec<String> {
    let has = |record: &str, block: &Block| record.lines().any(|line| line == name(file, text, block));
    let mut records = records();
    records.retain(|record| blocks.iter().any(|block| has(record, block)));
    let is_performed = |block: &Block| {
        let names_layout = block.words.iter().any(|word| LAYOUTS.contains(&word.as_str()));
        if names_layout || records.is_empty() {
            records.iter().any(|record| has(record, block))
        } else {
            records.iter().all(|record| has(record, block))
        }
    };
    let missing = blocks.iter().filter(|block| block.is_executed() && !is_performed(block));
    missing.map(|block| format!("chapters/{file}:{}: {}", block.line, block.words.join(","))).collect()
}

fn records() -> Vec<String> {
    let files = fs::read_dir(folder()).into_iter().flatten().flatten();
    files.map(|file| fs::read_to_string(file.path()).unwrap()).collect()
}

fn name(file: &str, text: &str, block: &Block) -> String {
    let digest: String =
        sha2::Sha256::digest(text).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("{file}:{} {digest}", block.line)
}
