//! What follows from the attempts: which of them `run` needs, and which commands and chapters work here.

use super::facts::Facts;
use super::judge::{Judgement, judge, no_groups};
use super::trials::{
    CONTROLLERS, DEVICE, JOIN, KINDS, LOOPBACK, OVERLAY, PIVOT, POWER, PRIVATE, PROC, RULES, STATE, SYS,
    TMPFS, USER,
};
use crate::concepts::book::{CHAPTERS, Chapter};
use crate::concepts::common::trials::{Came, Refusal};
use crate::concepts::{ALL, Context, Tried};

/// What was found out about one thing.
pub struct Finding {
    /// A word or two for it.
    pub name: &'static str,
    /// The sentence of its step.
    pub say: &'static str,
    /// What became of it.
    pub came: Came,
    /// Whether `run` needs it here.
    pub needed: bool,
    /// Who said no, and what to do about it.
    pub judgement: Option<Judgement>,
}

impl Finding {
    /// Whether it works.
    pub fn works(&self) -> bool {
        self.came == Came::Done
    }

    /// What was refused.
    pub fn refusal(&self) -> Option<&Refusal> {
        match &self.came {
            Came::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }
}

/// Whether something works; if not, what it lacks.
pub type Works = Result<(), Vec<&'static str>>;

/// All that was found out.
pub struct Findings {
    pub all: Vec<Finding>,
    /// The commands, and whether they work.
    pub commands: Vec<(&'static str, Works)>,
    /// The chapters by number, and whether what they show works.
    pub chapters: Vec<(u8, Works)>,
}

const USERNS: &str = "user namespaces";
const MERGE: &str = "overlay";
const PLACE: &str = "overlay in the state directory";
const GROUPS: &str = "groups";
const NET: &str = "network namespaces";
const MNT: &str = "mount namespaces";
const PRIVATE_NAME: &str = "private mounts";
const PID: &str = "pid namespaces";

fn kind_name(kind: &str) -> &'static str {
    match kind {
        "mnt" => MNT,
        "uts" => "UTS namespaces",
        "ipc" => "IPC namespaces",
        "pid" => PID,
        "net" => NET,
        "cgroup" => "cgroup namespaces",
        _ => "time namespaces",
    }
}

fn group_name(controller: &str) -> &'static str {
    match controller {
        "memory" => "groups for memory",
        "cpu" => "groups for processor time",
        _ => "groups for processes",
    }
}

/// What is lacking by itself; what only rests on that is left out, unless there is nothing else.
fn works(lacking: &[&Finding]) -> Works {
    let names =
        |all: &mut dyn Iterator<Item = &&Finding>| all.map(|finding| finding.name).collect::<Vec<_>>();
    let causes = names(&mut lacking.iter().filter(|finding| finding.came != Came::NotReached));
    match (lacking.is_empty(), causes.is_empty()) {
        (true, _) => Ok(()),
        (_, false) => Err(causes),
        (_, true) => Err(names(&mut lacking.iter())),
    }
}

/// What is tried: a name, the sentence of the step, and whether `run` needs it, as root and as an ordinary user.
fn tried(privileged: bool) -> Vec<(&'static str, &'static str, [bool; 2])> {
    const ALWAYS: [bool; 2] = [true, true];
    const ROOTLESS: [bool; 2] = [false, true];
    const NEVER: [bool; 2] = [false, false];
    let mut all = vec![(USERNS, USER, ROOTLESS), ("power in them", POWER, ROOTLESS)];
    let kinds = KINDS
        .iter()
        .map(|(_, kind, say)| (kind_name(kind), *say, if *kind == "time" { NEVER } else { ALWAYS }));
    all.extend(kinds);
    all.extend([
        (PRIVATE_NAME, PRIVATE, ALWAYS),
        ("tmpfs", TMPFS, ALWAYS),
        ("devices", DEVICE, ALWAYS),
        ("swapping the root", PIVOT, ALWAYS),
        (MERGE, OVERLAY, ALWAYS),
        (PLACE, STATE, ALWAYS),
        ("a proc of its own", PROC, ALWAYS),
        ("a sysfs of its own", SYS, ALWAYS),
        ("loopback", LOOPBACK, ALWAYS),
    ]);
    // Without groups a container runs too, only without limits.
    all.extend(CONTROLLERS.iter().map(|(controller, say, ..)| (group_name(controller), *say, NEVER)));
    if privileged {
        all.push(("rules for devices", RULES, NEVER));
    }
    all.push(("joining groups", JOIN, NEVER));
    all
}

impl Findings {
    /// What the attempts came to.
    pub fn of(tried_out: &Tried, facts: &Facts, context: &Context) -> Self {
        let rootless = usize::from(!facts.privileged);
        let one = |(name, say, needed): (&'static str, &'static str, [bool; 2])| {
            let came = tried_out.came(say);
            let judgement = match &came {
                Came::Refused(refusal) => Some(judge(refusal, facts)),
                Came::Skipped(_) if say == JOIN => Some(no_groups(facts)),
                _ => None,
            };
            Finding { name, say, came, needed: needed[rootless], judgement }
        };
        let mut findings = Self {
            all: tried(facts.privileged).into_iter().map(one).collect(),
            commands: Vec::new(),
            chapters: Vec::new(),
        };
        let _ = context;
        findings.commands =
            ALL.iter().map(|concept| (concept.name, findings.command(concept.name, facts))).collect();
        // The chapters that are in the book: a number that cannot be read is no help.
        let written = CHAPTERS.iter().filter_map(Chapter::number);
        findings.chapters = written.map(|chapter| (chapter, findings.chapter(chapter, facts))).collect();
        findings
    }

    /// What `run` needs and does not get.
    pub fn lacking(&self) -> impl Iterator<Item = &Finding> {
        self.all.iter().filter(|finding| finding.needed && !finding.works())
    }

    fn works(&self, name: &str) -> bool {
        self.all.iter().any(|finding| finding.name == name && finding.works())
    }

    /// Whether all of these work; if not, which do not.
    fn need(&self, names: &[&'static str]) -> Works {
        let lacking = self.all.iter().filter(|one| names.contains(&one.name) && !one.works());
        works(&lacking.collect::<Vec<_>>())
    }

    /// At least one controller has a place, and a process can be moved there.
    fn groups(&self) -> Works {
        let any = CONTROLLERS.iter().any(|(controller, ..)| self.works(group_name(controller)));
        if any { self.need(&["joining groups"]) } else { Err(vec![GROUPS]) }
    }

    /// Namespaces: directly, or by way of a user namespace.
    fn base(&self, facts: &Facts, more: &[&'static str]) -> Works {
        let mut names = if facts.privileged { Vec::new() } else { vec![USERNS, "power in them"] };
        names.extend(more);
        self.need(&names)
    }

    /// Whether `cutaway run` works.
    pub fn run(&self) -> Works {
        works(&self.lacking().collect::<Vec<_>>())
    }

    fn command(&self, name: &str, facts: &Facts) -> Works {
        match name {
            "run" => self.run(),
            "ns" | "chroot" => self.base(facts, &[MNT]),
            "overlay" => self.base(facts, &[MNT, PRIVATE_NAME, MERGE]),
            "cgroup" => self.groups(),
            "net" | "network" => self.base(facts, &[NET]),
            // They read, or work in the state directory.
            _ => Ok(()),
        }
    }

    /// What the experiments of a chapter need, by the plan of the book.
    fn chapter(&self, chapter: u8, facts: &Facts) -> Works {
        match chapter {
            5 | 6 | 9 => self.base(facts, &[MNT, PRIVATE_NAME]),
            8 => self.base(facts, &[MNT, PRIVATE_NAME, MERGE]),
            10 => self.base(facts, &[kind_name("uts")]),
            11 => self.base(facts, &[kind_name("ipc")]),
            12 | 13 => self.base(facts, &[PID, "a proc of its own"]),
            14 => self.need(&[USERNS, "power in them"]),
            15 => self.base(facts, &[kind_name("time")]),
            16 => self.base(facts, &[kind_name("cgroup")]),
            3 | 4 | 17 | 36 => self.base(facts, &[]),
            18..=21 => self.base(facts, &[NET, "loopback"]),
            22..=25 => self.groups(),
            27 if !facts.seccomp_filters => Err(vec!["seccomp filters"]),
            28..=31 | 33 | 34 => self.run(),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    fn findings(works: bool, privileged: bool) -> (Findings, Facts) {
        let context = Context::new("/nonexistent".into(), true, false);
        let mut facts = Facts::read(&context);
        facts.privileged = privileged;
        let nothing = Tried { plan: Plan::new("doctor"), events: Vec::new(), error: None };
        let mut findings = Findings::of(&nothing, &facts, &context);
        if works {
            findings.all.iter_mut().for_each(|finding| finding.came = Came::Done);
        }
        (findings, facts)
    }

    #[test]
    fn what_was_not_reached_does_not_work() {
        let (findings, facts) = findings(false, false);
        assert!(findings.lacking().any(|finding| finding.name == USERNS));
        assert!(findings.command("run", &facts).is_err() && findings.command("ns", &facts).is_err());
        assert_eq!(findings.command("layers", &facts), Ok(()));
        assert_eq!(findings.chapter(7, &facts), Ok(()));
        assert_eq!(findings.chapter(22, &facts), Err(vec![GROUPS]));
    }

    #[test]
    fn root_of_the_machine_needs_no_user_namespaces() {
        let (mut findings, facts) = findings(true, true);
        findings.all.iter_mut().filter(|one| one.name == USERNS).for_each(|one| one.came = Came::NotReached);
        assert_eq!(findings.command("ns", &facts), Ok(()));
        assert_eq!(findings.chapter(14, &facts), Err(vec![USERNS]));
    }

    #[test]
    fn every_need_names_a_finding() {
        let (findings, facts) = findings(true, false);
        assert!((0..=36).all(|chapter| findings.chapter(chapter, &facts).is_ok()));
        assert!(ALL.iter().all(|concept| findings.command(concept.name, &facts).is_ok()));
    }
}
