//! Puts the book's chapters into the binary, in the order of their table of contents.
//!
//! The same Markdown makes the site and the pages of `cutaway book`. What mdBook fetches while it builds, listings
//! of source by `{{#include FILE:ANCHOR}}`, is fetched here. Drawings are left out: a terminal shows their captions.

use std::error::Error;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Where the chapters are.
const CHAPTERS: &str = "chapters";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={CHAPTERS}");
    println!("cargo::rerun-if-changed=book/embed.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    let summary = fs::read_to_string(Path::new(CHAPTERS).join("SUMMARY.md"))?;
    let mut list = String::from("&[\n");
    for file in summary.lines().filter_map(linked) {
        let text = fs::read_to_string(Path::new(CHAPTERS).join(file))?;
        let target = out.join(file);
        fs::write(&target, with_listings(&text)?)?;
        writeln!(
            list,
            "    Chapter {{ file: {file:?}, text: include_str!({:?}) }},",
            target.display().to_string()
        )?;
    }
    list.push_str("]\n");
    fs::write(out.join("chapters.rs"), list)?;
    Ok(())
}

/// The file behind a line of the table of contents.
fn linked(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("](")?;
    let (file, _) = rest.split_once(')')?;
    ends(file, "md").then_some(file)
}

fn ends(file: &str, end: &str) -> bool {
    Path::new(file).extension().is_some_and(|has| has == end)
}

/// The text with its listings in their places.
fn with_listings(text: &str) -> Result<String, Box<dyn Error>> {
    let mut whole = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let named = line.trim().strip_prefix("{{#include ").and_then(|rest| rest.strip_suffix("}}"));
        match named {
            Some(drawing) if ends(drawing, "svg") => {}
            Some(source) => whole.push_str(&listing(source)?),
            None => whole.push_str(line),
        }
    }
    Ok(whole)
}

/// The lines of a file between the comments that begin and end an anchor.
fn listing(source: &str) -> Result<String, Box<dyn Error>> {
    let (path, anchor) = source.split_once(':').ok_or_else(|| format!("{source} names no anchor"))?;
    let path = Path::new(CHAPTERS).join(path);
    println!("cargo::rerun-if-changed={}", path.display());
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let (begin, end) = (format!("ANCHOR: {anchor}"), format!("ANCHOR_END: {anchor}"));
    let from = text.lines().skip_while(|line| !line.trim_end().ends_with(&begin)).skip(1);
    let lines =
        from.take_while(|line| !line.trim_end().ends_with(&end)).filter(|line| !line.contains("// ANCHOR"));
    let found = lines.fold(String::new(), |all, line| all + line + "\n");
    if found.is_empty() { Err(format!("no anchor {anchor} in {}", path.display()).into()) } else { Ok(found) }
}
