//! Tidy: the rules of ARCHITECTURE.md, executed. A failure names the place and what to do.

#![allow(clippy::unwrap_used, reason = "a file that cannot be read is a failure of the test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Every Rust file below a folder.
fn sources(folder: &str) -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|end| end == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut found);
    found.sort();
    found
}

fn shown(path: &Path) -> String {
    path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().display().to_string()
}

/// The code of a file: without its tests, comments and doc comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().to_owned();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn report(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// Which of our modules each module may import. A module may always import itself and `error`.
const MAY_IMPORT: [(&str, &[&str]); 11] = [
    ("sys", &[]),
    ("probe", &["sys"]),
    ("plan", &["sys", "probe", "image"]),
    ("report", &["plan", "probe", "sys"]),
    ("state", &["plan", "probe"]),
    ("image", &["sys", "probe"]),
    ("engine", &["plan", "probe", "sys", "report", "image", "state"]),
    ("lab", &["probe", "sys", "state", "image"]),
    ("workload", &["sys"]),
    ("concepts", &["plan", "probe", "sys", "report", "image", "state", "lab", "workload"]),
    ("error.rs", &[]),
];

#[test]
fn dependencies_point_one_way() {
    let mut faults = Vec::new();
    for (module, allowed) in MAY_IMPORT {
        let files: Vec<_> = sources("src")
            .into_iter()
            .filter(|path| shown(path).starts_with(&format!("src/{module}")))
            .collect();
        assert!(!files.is_empty(), "src/{module} is gone: change the table in tests/tidy.rs");
        for path in files {
            for used in imports(&code(&path)) {
                let own = used == module.trim_end_matches(".rs") || used == "error";
                if !own && !allowed.contains(&used.as_str()) {
                    faults.push(format!(
                        "{} uses crate::{used}: {module} may only use {allowed:?} (ARCHITECTURE.md, code map)",
                        shown(&path)
                    ));
                }
            }
        }
    }
    report(&faults);
}

/// The modules named behind `crate::`.
fn imports(code: &str) -> BTreeSet<String> {
    let word = |rest: &str| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    code.split("crate::").skip(1).map(word).filter(|name| !name.is_empty()).collect()
}

#[test]
fn concepts_cannot_act() {
    let mut faults = Vec::new();
    for path in sources("src/concepts") {
        let code = code(&path);
        for side_door in
            ["nix::", "libc::", "std::process::Command", "crate::engine", "std::fs::write", "fs::remove"]
        {
            // `std::os::unix::` ends like `nix::`: what stands in front decides.
            let inside_a_word = |at: usize| code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            if code.match_indices(side_door).any(|(at, _)| !inside_a_word(at)) {
                faults.push(format!("{} uses {side_door}: a concept only plans", shown(&path)));
            }
        }
    }
    report(&faults);
}

#[test]
fn unsafe_is_in_sys_only() {
    let mut faults = Vec::new();
    for path in sources("src") {
        let code = code(&path);
        let uses =
            code.contains("unsafe {") || code.contains("unsafe fn") || code.contains("allow(unsafe_code)");
        if uses && !shown(&path).starts_with("src/sys/") {
            faults.push(format!("{} is unsafe: move that below src/sys/", shown(&path)));
        }
    }
    report(&faults);
}

#[test]
fn nothing_is_shelled_out_to() {
    let mut faults = Vec::new();
    for path in sources("src") {
        if code(&path).contains("process::Command") {
            faults.push(format!("{} starts a program: do it with system calls", shown(&path)));
        }
    }
    report(&faults);
}

#[test]
fn every_module_says_what_it_is_for() {
    let all = sources("src").into_iter().chain(sources("tests"));
    let silent = all.filter(|path| !fs::read_to_string(path).unwrap().starts_with("//!"));
    let faults: Vec<_> =
        silent.map(|path| format!("{} does not begin with //! and what it is for", shown(&path))).collect();
    report(&faults);
}

#[test]
fn names_of_system_calls_are_spelled_in_sys_only() {
    // Names that are no ordinary words: as a string literal they could only decide something.
    const TELLTALE: [&str; 16] = [
        "\"openat\"",
        "\"mkdirat\"",
        "\"clone3\"",
        "\"pivot_root\"",
        "\"umount2\"",
        "\"execve\"",
        "\"prctl\"",
        "\"unlinkat\"",
        "\"mknodat\"",
        "\"setresuid\"",
        "\"sethostname\"",
        "\"unshare\"",
        "\"setns\"",
        "\"fchownat\"",
        "\"symlinkat\"",
        "\"move_mount\"",
    ];
    let mut faults = Vec::new();
    // The demo image takes programs, and one of them has the name of a call.
    let free = |path: &Path| shown(path).starts_with("src/sys/") || shown(path) == "src/image/demo/host.rs";
    for path in sources("src").into_iter().filter(|path| !free(path)) {
        for name in TELLTALE.iter().filter(|name| code(&path).contains(**name)) {
            faults.push(format!("{} spells {name}: compare with the value in sys instead", shown(&path)));
        }
    }
    report(&faults);
}

#[test]
fn registry_and_rooms_are_the_same() {
    let registered: BTreeSet<_> =
        cutaway::concepts::ALL.iter().map(|concept| concept.name.to_owned()).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/concepts");
    let rooms: BTreeSet<_> = fs::read_dir(folder)
        .unwrap()
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name != "common")
        .collect();
    let unregistered: Vec<_> = rooms.difference(&registered).collect();
    let homeless: Vec<_> = registered.difference(&rooms).collect();
    assert!(unregistered.is_empty(), "add {unregistered:?} to ALL in src/concepts/mod.rs");
    assert!(homeless.is_empty(), "{homeless:?} need a folder in src/concepts");
}

#[test]
fn functions_are_short() {
    // Sixty lines are a table or a story; more needs a reason, which is written here.
    const LONG: &[(&str, &str)] = &[
        ("src/probe/check.rs", "one arm for each claim"),
        ("src/probe/claim.rs", "one arm for each claim"),
        ("src/sys/samples.rs", "one value of each system call"),
        ("src/sys/syscall.rs", "one arm for each system call"),
        ("src/report/narrator.rs", "one arm for each event"),
        ("src/probe/check.rs", "one arm for each claim"),
        ("src/probe/claim.rs", "one arm for each claim"),
        ("src/concepts/run/settle.rs", "the fields of what will be run"),
    ];
    let mut faults = Vec::new();
    for path in sources("src") {
        if LONG.iter().any(|(file, _)| *file == shown(&path)) {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let mut begun: Option<(usize, usize, String)> = None;
        for (number, line) in text.lines().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let trimmed = line.trim_start();
            let starts = ["fn ", "pub fn ", "pub(super) fn ", "pub(crate) fn ", "const fn ", "pub const fn "];
            if starts.iter().any(|start| trimmed.starts_with(start)) && !trimmed.ends_with(';') {
                begun = Some((number, indent, trimmed.to_owned()));
            } else if let Some((from, depth, name)) = &begun
                && line.starts_with(&format!("{}}}", " ".repeat(*depth)))
                && indent == *depth
            {
                let length = number - from + 1;
                if length > 70 {
                    faults.push(format!("{}:{} has {length} lines: {name}", shown(&path), from + 1));
                }
                begun = None;
            }
        }
    }
    report(&faults);
}

#[test]
fn the_readme_names_the_two_commands() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    for command in ["cargo run --release -- run", "tests/run"] {
        assert!(readme.contains(command), "README.md does not name `{command}`");
    }
}

#[test]
fn only_known_files_are_at_the_top() {
    const KNOWN: [&str; 16] = [
        "Cargo.toml",
        "Cargo.lock",
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "clippy.toml",
        "rustfmt.toml",
        "src",
        "tests",
        "chapters",
        "book",
        "labs",
        "target",
        "deny.toml",
    ];
    let top = fs::read_dir(env!("CARGO_MANIFEST_DIR")).unwrap().flatten();
    let names = top.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let unknown: Vec<_> =
        names.filter(|name| !name.starts_with('.') && !KNOWN.contains(&name.as_str())).collect();
    assert!(unknown.is_empty(), "{unknown:?} do not belong at the top");
}

/// The numbered chapters, with their text.
fn chapters() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("chapters");
    let files = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    let numbered = |path: &PathBuf| number(path).is_some();
    let mut all: Vec<_> =
        files.filter(numbered).map(|path| (shown(&path), fs::read_to_string(&path).unwrap())).collect();
    all.sort();
    all
}

/// The number that a file's or folder's name begins with.
fn number(path: &Path) -> Option<u8> {
    path.file_name()?.to_str()?.split_once('-')?.0.parse().ok()
}

#[test]
fn every_anchor_is_one_pair_and_every_listing_has_one() {
    let mut faults = Vec::new();
    let mut anchors = BTreeSet::new();
    for path in sources("src") {
        let text = fs::read_to_string(&path).unwrap();
        let named = |sign: &str| -> Vec<String> {
            let lines = text.lines().filter_map(|line| line.trim().strip_prefix(sign));
            lines.map(str::to_owned).collect()
        };
        let (begun, ended) = (named("// ANCHOR: "), named("// ANCHOR_END: "));
        for name in begun.iter().chain(&ended).collect::<BTreeSet<_>>() {
            let count = |all: &[String]| all.iter().filter(|other| *other == name).count();
            if (count(&begun), count(&ended)) != (1, 1) {
                faults.push(format!("{}: the anchor {name} is not one begin and one end", shown(&path)));
            }
            anchors.insert(format!("../{}:{name}", shown(&path)));
        }
    }
    let mut used = BTreeSet::new();
    for (file, text) in chapters() {
        for name in text.lines().filter_map(|line| line.trim().strip_prefix("{{#include ../src/")) {
            let name = format!("../src/{}", name.trim_end_matches('}'));
            if !anchors.contains(&name) {
                faults.push(format!("{file} includes {name}, and there is no such anchor"));
            }
            used.insert(name);
        }
    }
    let unused = anchors.difference(&used).map(|name| format!("no chapter shows the anchor {name}"));
    report(&faults.into_iter().chain(unused).collect::<Vec<_>>());
}

/// Commands without a chapter that names them in its third line, each with its reason.
const WITHOUT_CHAPTER: &[(&str, &str)] = &[
    ("book", "it shows the chapters"),
    ("lab", "every chapter has one"),
    ("image", "chapter 7 has its layers"),
];

#[test]
fn every_concept_has_its_chapter() {
    let chapters = chapters();
    let mut faults = Vec::new();
    for concept in cutaway::concepts::ALL {
        let named = format!("`cutaway {}", concept.name);
        let facts = |text: &String| text.lines().nth(2).unwrap_or_default().contains(&named);
        let written = chapters.iter().any(|(_, text)| facts(text));
        let excused = WITHOUT_CHAPTER.iter().any(|(name, _)| *name == concept.name);
        if written == excused {
            faults.push(if written {
                format!("{named}` has its chapter: take it out of WITHOUT_CHAPTER in tests/tidy.rs")
            } else {
                format!("no chapter names {named}` in its third line: write it (ARCHITECTURE.md, Adding a chapter)")
            });
        }
    }
    report(&faults);
}

/// Chapters whose lab is not there yet. The list ends empty.
const WITHOUT_LAB: &[u8] = &[];

#[test]
fn every_chapter_has_its_lab() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("labs");
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let labs: BTreeSet<u8> = entries.filter_map(|entry| number(&entry.path())).collect();
    let mut faults = Vec::new();
    for (file, _) in chapters() {
        let Some(number) = number(Path::new(&file)) else { continue };
        match (labs.contains(&number), WITHOUT_LAB.contains(&number)) {
            (false, false) => faults.push(format!("{file} has no lab: make labs/{number:02}-NAME/")),
            (true, true) => faults
                .push(format!("chapter {number} has its lab: take it out of WITHOUT_LAB in tests/tidy.rs")),
            _ => {}
        }
    }
    report(&faults);
}

/// The labs as they are on disk: each folder with the files below it.
fn lab_folders() -> Vec<(String, BTreeSet<String>)> {
    fn below(folder: &Path, prefix: &str, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                below(&entry.path(), &format!("{name}/"), found);
            } else {
                found.insert(name);
            }
        }
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("labs");
    let entries = fs::read_dir(folder).unwrap().flatten().filter(|entry| entry.path().is_dir());
    let one = |entry: fs::DirEntry| {
        let mut files = BTreeSet::new();
        below(&entry.path(), "", &mut files);
        (entry.file_name().to_string_lossy().into_owned(), files)
    };
    entries.map(one).collect()
}

#[test]
fn labs_and_their_folders_are_the_same_and_complete() {
    let mut faults = Vec::new();
    let folders = lab_folders();
    for (name, files) in &folders {
        let Some(source) = cutaway::lab::ALL.iter().find(|source| source.name == name) else {
            faults.push(format!("add lab!({name:?}) to ALL in src/lab/mod.rs"));
            continue;
        };
        let own = ["README.md", "lab.json", "hints.md", "solution.sh"].map(str::to_owned);
        let extra = source.files.iter().map(|(file, _)| format!("files/{file}"));
        let wanted: BTreeSet<_> = own.into_iter().chain(extra).collect();
        if *files != wanted {
            faults.push(format!("labs/{name} has {files:?} and should have {wanted:?}"));
        }
    }
    let homeless = |name: &str| !folders.iter().any(|(folder, _)| folder == name);
    let missing = cutaway::lab::ALL.iter().filter(|source| homeless(source.name));
    faults.extend(missing.map(|source| format!("labs/{} is missing", source.name)));
    let number = |name: &'static str| name.split('-').next().unwrap_or(name);
    let numbers: Vec<&str> = cutaway::lab::ALL.iter().map(|source| number(source.name)).collect();
    if !numbers.windows(2).all(|pair| pair[0] < pair[1]) {
        faults.push(format!("ALL in src/lab/mod.rs is to rise, each number once: {numbers:?}"));
    }
    report(&faults);
}

/// The last chapter in the plan of the book.
const LAST_CHAPTER: u32 = 36;

#[test]
fn every_lab_is_written_as_a_student_needs_it() {
    let mut faults = Vec::new();
    for lab in cutaway::lab::Lab::all().unwrap() {
        let mut fault = |text: String| faults.push(format!("labs/{}: {text}", lab.source.name));
        let (number, sheet, readme) = (lab.number(), &lab.sheet, lab.source.readme);
        for chapter in [number, &sheet.chapter] {
            if !chapter.parse::<u32>().is_ok_and(|chapter| chapter <= LAST_CHAPTER) {
                fault(format!("there is no chapter {chapter} in the plan"));
            }
        }
        if readme.lines().next() != Some(&format!("# {}", sheet.title)) {
            fault(format!("README.md does not begin with `# {}`, the title of lab.json", sheet.title));
        }
        if sheet.title.chars().count() > 56 {
            fault("the title has more than 56 letters: `lab ls` has no room for it".to_owned());
        }
        let check = format!("cutaway lab check {number}");
        for part in ["## Your task", "## How to check your work", &check] {
            if !readme.contains(part) {
                fault(format!("README.md has no `{part}`"));
            }
        }
        for (file, text, most) in [("README.md", readme, 78), ("solution.sh", lab.source.solution, 76)] {
            if let Some(line) = text.lines().find(|line| line.chars().count() > most) {
                fault(format!("{file} has a line of more than {most} columns: {line}"));
            }
        }
        if !lab.source.solution.starts_with("#!/bin/sh\n") {
            fault("solution.sh does not begin with #!/bin/sh".to_owned());
        }
        if lab.hints.len() != 3 || lab.hints.iter().any(|hint| hint.is_empty()) {
            fault("hints.md needs three hints, each below a heading `## 1`, `## 2`, `## 3`".to_owned());
        }
        for told in commands(lab.source.solution) {
            let words = |hint: &str| hint.split_whitespace().collect::<Vec<_>>().join(" ");
            if lab.hints.iter().any(|hint| words(hint).contains(&told)) {
                fault(format!("a hint has the solution's command: {told}"));
            }
        }
        for check in sheet.stages.iter().flat_map(|part| &part.checks) {
            if check.expect.ends_with('.') || check.expect.is_empty() || check.hint.is_empty() {
                fault(format!("`{}` needs a hint, and has no full stop", check.expect));
            }
        }
    }
    report(&faults);
}

/// What a hint must not give away: a program of the solution together with its first option.
fn commands(solution: &str) -> Vec<String> {
    let lines = solution.lines().filter(|line| !line.trim_start().starts_with('#'));
    let words: Vec<&str> = lines.flat_map(str::split_whitespace).collect();
    let pairs = words.windows(2).filter(|pair| pair[1].starts_with('-') && pair[1].len() > 1);
    let named = pairs.filter(|pair| pair[0].chars().all(|c| c.is_ascii_alphanumeric() || c == '_'));
    named.map(|pair| pair.join(" ")).collect()
}
