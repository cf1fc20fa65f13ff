//! The entry: parse the command line, build the plan, explain or perform it, exit with its code.

use std::io::Write;
use std::process::ExitCode;

use cutaway::cli::{self, Global};
use cutaway::concepts::{self, Concept, Context, Stage, Tried, onward};
use cutaway::engine::{self, Outcome, Pace, Setup};
use cutaway::error::{Error, Result, exit};
use cutaway::plan::Plan;
use cutaway::report::keeper::Keeper;
use cutaway::report::{Observer, Pointer, explain, failure, screen};
use cutaway::sys::{Linux, process};
use cutaway::workload;

/// Who is told.
type Observers = Vec<Box<dyn Observer>>;

fn main() -> ExitCode {
    process::default_sigpipe();
    if let Some(words) = workload::asked(std::env::args_os()) {
        return workload::run(&words);
    }
    let matches = match cli::parse() {
        Ok(matches) => matches,
        Err(error) => return usage(&error),
    };
    let global = Global::from(&matches).unwrap_or_else(|error| error.exit());
    let found = matches.subcommand().and_then(|(name, matches)| {
        concepts::ALL.iter().find(|concept| concept.name == name).map(|concept| (concept, matches))
    });
    // clap requires a subcommand and knows no others than these.
    let Some((concept, matches)) = found else { return ExitCode::from(exit::USAGE) };
    match run(concept, matches, &global) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprint!("{}", failure::render(error.parts(), &global.style()));
            ExitCode::from(error.parts().exit.unwrap_or(concept.failure))
        }
    }
}

/// Prints help, or what is wrong with the command line. For a command whose exit codes are its workload's, a
/// wrong command line is cutaway's own failure.
fn usage(error: &clap::Error) -> ExitCode {
    // Nothing can be done where help cannot be printed.
    let _ = error.print();
    if error.exit_code() == 0 {
        return ExitCode::SUCCESS;
    }
    let named = |concept: &&Concept| std::env::args_os().skip(1).any(|word| word == concept.name);
    let own = concepts::ALL.iter().filter(|concept| concept.failure == exit::CUTAWAY).find(named);
    ExitCode::from(own.map_or(exit::USAGE, |concept| concept.failure))
}

/// Runs the stages of a command, one after the other, until one fails. Where only the user's own program has failed and
/// what was made is kept, the rest still has to be said.
fn run(concept: &Concept, matches: &clap::ArgMatches, global: &Global) -> Result<u8> {
    let mut context = Context::new(global.state_directory()?, global.explain, global.json.is_some());
    (context.style, context.verbose, context.bars) =
        (global.style_of_stdout(), global.verbose, global.bars());
    let mut observers = if global.explain { Vec::new() } else { global.observers()? };
    let (mut code, mut pointers) = (0, Vec::new());
    for stage in concept.stages {
        let mut trials = false;
        let plan = match stage(matches, &context)? {
            Stage::Nothing => continue,
            Stage::Report(text) => {
                print(&text)?;
                continue;
            }
            Stage::Stream(write) => {
                stream(write)?;
                continue;
            }
            Stage::Screen(mut shown) => match screen::show(&mut *shown)? {
                None => continue,
                Some(signal) => return Ok(exit::SIGNAL + signal as u8),
            },
            Stage::Plan(plan) => plan,
            Stage::Live(plan) => {
                observers = global.readings_apart(observers);
                plan
            }
            Stage::Trials(plan) => {
                trials = true;
                plan
            }
        };
        if global.explain {
            print(&explained(&plan, global))?;
            continue;
        }
        if trials {
            match find_out(*plan, observers, &context, concept, global)? {
                (0, told) => observers = told,
                (code, _) => return Ok(code),
            }
            continue;
        }
        let told = tell(*plan, observers, &context, concept, matches, global)?;
        (code, observers, pointers) = (told.code, told.observers, told.pointers);
        if !told.goes_on {
            break;
        }
    }
    point(&mut observers, &pointers);
    Ok(code)
}

/// What came of steps that were told.
struct Told {
    code: u8,
    /// Whether the next stage follows.
    goes_on: bool,
    observers: Observers,
    pointers: Vec<Pointer>,
}

/// Performs steps that are told, and finds out where a good end points to.
fn tell(
    plan: Plan,
    observers: Observers,
    context: &Context,
    concept: &Concept,
    matches: &clap::ArgMatches,
    global: &Global,
) -> Result<Told> {
    let pointers = if global.quiet { Vec::new() } else { onward::after(concept, matches, &plan) };
    let outcome = perform(plan, observers, global.pace(), context, concept, global)?;
    if let (Some(error), true) = (&outcome.error, global.quiet) {
        eprint!("{}", failure::render(error.parts(), &global.style()));
        outcome.left.iter().for_each(|left| eprintln!("   left behind: {left}"));
    }
    let pointers = if is_good(&outcome) { pointers } else { Vec::new() };
    let goes_on = outcome.code == 0 || outcome.kept;
    Ok(Told { code: outcome.code, goes_on, observers: outcome.observers, pointers })
}

/// Whether a telling has come to its end: a workload may have an exit code of its own, but a failure or a signal is not
/// the moment to point elsewhere.
fn is_good(outcome: &Outcome) -> bool {
    outcome.error.is_none() && outcome.left.is_empty() && outcome.code < exit::SIGNAL
}

fn point(observers: &mut Observers, pointers: &[Pointer]) {
    for observer in observers {
        observer.point(pointers);
    }
}

/// Performs steps for the report of the next stage, which is given what came of them, a failure included. They
/// are told only where that was asked for. The code is that of a signal that ended them.
fn find_out(
    plan: Plan,
    mut observers: Observers,
    context: &Context,
    concept: &Concept,
    global: &Global,
) -> Result<(u8, Observers)> {
    let told = global.verbose || global.step;
    // The narrator, where there is one, is the first of all observers.
    let narrator = (!told && !global.quiet).then(|| observers.remove(0));
    let keeper = Keeper::default();
    observers.push(Box::new(keeper.clone()));
    let pace = if told { global.pace() } else { Pace::Quiet };
    let outcome = perform(plan.clone(), observers, pace, context, concept, global)?;
    outcome.left.iter().for_each(|left| eprintln!("   left behind: {left}"));
    let code = if outcome.error.is_some() { 0 } else { outcome.code };
    context.pass_on(Tried { plan, events: keeper.events(), error: outcome.error });
    let mut observers = outcome.observers;
    observers.pop();
    observers.splice(0..0, narrator);
    Ok((code, observers))
}

fn perform(
    plan: Plan,
    observers: Observers,
    pace: Pace,
    context: &Context,
    concept: &Concept,
    global: &Global,
) -> Result<Outcome> {
    let setup = Setup {
        pace,
        observers,
        asker: global.asker()?,
        state: context.state.clone(),
        kept: context.take_pins(),
        command: words(),
        failure: concept.failure,
    };
    Ok(engine::perform(Linux, plan, setup))
}

fn explained(plan: &Plan, global: &Global) -> String {
    if global.json.is_some() {
        return explain::explain_json(plan, &words()).join("\n") + "\n";
    }
    explain::explain(plan, &words(), &global.style_of_stdout(), global.verbose)
}

/// The command line without the program's own name.
fn words() -> Vec<String> {
    std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect()
}

/// Prints what is written piece by piece. What was written before an error stays printed.
fn stream(write: concepts::Writer) -> Result<()> {
    let mut out = std::io::BufWriter::with_capacity(64 << 10, std::io::stdout().lock());
    let written = write(&mut out);
    out.flush().map_err(|cause| Error::io("could not write to stdout", &cause))?;
    written
}

fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|cause| Error::io("could not write to stdout", &cause))
}
