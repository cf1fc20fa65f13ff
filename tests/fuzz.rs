//! What reads the bytes of strangers, fed with damaged ones for as long as `CUTAWAY_FUZZ_SECONDS` says (two for each target).
//!
//! No instrumented build is needed: an input whose story is new, the rule that refused it or the shape of the tree that
//! came out, is kept and changed further. Each run is the same for the same `CUTAWAY_FUZZ_SEED`, apart from where the time
//! ends it. A failure names the file with its input; `CUTAWAY_FUZZ_INPUT=FILE` runs that one alone.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "fuzz/mutate.rs"]
mod mutate;
#[path = "fuzz/seeds.rs"]
mod seeds;
#[path = "unpack/tar.rs"]
#[allow(dead_code, reason = "the tests of unpacking use the rest of it")]
mod tar_writer;
#[path = "fuzz/targets.rs"]
mod targets;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mutate::{Seed, mutate};
use targets::Target;

/// A number from the environment.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// What a run came to.
#[derive(Debug)]
struct Run {
    inputs: u64,
    stories: HashSet<String>,
    /// The input that broke a promise.
    broken: Option<Vec<u8>>,
}

/// Feeds a target for a while.
fn run(target: Target, mut corpus: Vec<Vec<u8>>, time: Duration) -> Run {
    let (begun, mut seed) = (Instant::now(), Seed(number("CUTAWAY_FUZZ_SEED", 1)));
    let mut run = Run { inputs: 0, stories: HashSet::new(), broken: None };
    let mut waiting: Vec<Vec<u8>> = corpus.iter().rev().cloned().collect();
    while begun.elapsed() < time {
        let input = waiting.pop().unwrap_or_else(|| {
            let (one, other) = (seed.one_of(&corpus).clone(), seed.one_of(&corpus).clone());
            mutate(&mut seed, &one, &other)
        });
        run.inputs += 1;
        let Ok(story) = catch_unwind(AssertUnwindSafe(|| target(&input))) else {
            run.broken = Some(input);
            return run;
        };
        if run.stories.insert(story) {
            corpus.push(input);
        }
    }
    run
}

fn fuzz(name: &str) {
    let (_, target) = *targets::ALL.iter().find(|(other, _)| *other == name).unwrap();
    if let Some(path) = std::env::var_os("CUTAWAY_FUZZ_INPUT") {
        // The name of the file says which target it broke.
        if path.to_string_lossy().contains(&format!("fuzz-{name}-")) {
            println!("{name}: {}", target(&std::fs::read(path).unwrap()));
        }
        return;
    }
    let run = run(target, seeds::of(name), Duration::from_secs(number("CUTAWAY_FUZZ_SECONDS", 2)));
    println!("{name}: {} inputs, {} stories", run.inputs, run.stories.len());
    if let Some(input) = run.broken {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{name}-{}", run.inputs));
        std::fs::write(&path, input).unwrap();
        panic!("{name} broke a promise: repeat it with CUTAWAY_FUZZ_INPUT={}", path.display());
    }
    assert!(run.stories.len() > 3, "{name}: nothing but {:?}", run.stories);
}

// One test for all that unpack or write, because they share a directory.
#[test]
fn nothing_that_strangers_write_breaks_a_promise() {
    for (name, _) in targets::ALL {
        fuzz(name);
    }
    targets::clear();
}

/// A target with a fault that only certain inputs reach: after a header with a right checksum, a name, and in it a word.
fn faulty(data: &[u8]) -> String {
    let story = cutaway::image::unpack::list(&mut &data[..], &cutaway::image::unpack::ListOptions::default());
    let Ok(tree) = story else { return "refused".to_owned() };
    let deep = tree.nodes.iter().any(|node| node.depth > 3);
    assert!(!(deep && tree.nodes.iter().any(|node| node.name.starts_with(b"h"))), "the fault");
    format!("{} {deep}", tree.nodes.len())
}

#[test]
fn a_fault_is_found() {
    let run = run(faulty, seeds::of("archive"), Duration::from_secs(60));
    let input = run.broken.expect("a fault that was not found in a minute");
    assert!(catch_unwind(|| faulty(&input)).is_err(), "it is not found again");
}
