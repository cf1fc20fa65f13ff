//! The report for people.

use std::io::Write;

use super::facts::Facts;
use super::judge::Judgement;
use super::works::{Finding, Findings, Works};
use crate::concepts::Tried;
use crate::concepts::common::page::Page;
use crate::concepts::common::trials::Came;
use crate::error::Result;
use crate::report::failure::chapter;
use crate::report::style::{Glyph, Paint, Style, count};

/// Writes it.
pub fn write(
    findings: &Findings,
    facts: &Facts,
    tried: &Tried,
    style: Style,
    verbose: bool,
    out: &mut dyn Write,
) -> Result<()> {
    let mut page = Page::new(out, style);
    let trials = count(findings.all.len(), "trial");
    page.title("cutaway doctor", &format!("chapter 0 · {trials} · {}", style.duration(tried.took())));
    page.subheading("This machine");
    machine(facts, &mut page);
    page.subheading("You");
    you(facts, &mut page);
    page.subheading("What was tried");
    // What works needs no more than its name, unless every call is to be told.
    let (brief, long): (Vec<_>, Vec<_>) = findings.all.iter().partition(|it| it.works() && !verbose);
    if !brief.is_empty() {
        let names: Vec<_> = brief.iter().map(|finding| finding.name).collect();
        page.row(&format!(" {} ", style.glyph(Glyph::Tick)), &names.join(", "), Paint::Good);
    }
    let (resting, long): (Vec<_>, Vec<_>) = long.into_iter().partition(|it| it.came == Came::NotReached);
    for finding in long {
        one(finding, tried, style, verbose, &mut page);
    }
    if !resting.is_empty() {
        let names: Vec<_> = resting.iter().map(|finding| finding.name).collect();
        let text = format!("not tried, for it rests on what did not work: {}", names.join(", "));
        page.row(&format!(" {} ", style.glyph(Glyph::Dash)), &text, Paint::Notice);
    }
    if let Some(error) = tried.ended() {
        page.notice(&format!("the trials ended early: {error}"));
        if let Some(remedy) = &error.parts().remedy {
            page.pair("Try", remedy);
        }
    }
    page.subheading("What is there for rootless containers");
    helpers(facts, &mut page);
    page.subheading("What works here");
    works(findings, &mut page);
    end(findings, facts, &mut page);
    page.finish()
}

fn machine(facts: &Facts, page: &mut Page<'_>) {
    let old = if facts.is_old { ": too old, 5.10 or newer is needed" } else { "" };
    let wsl = if facts.wsl { ", Windows subsystem for Linux" } else { "" };
    page.pair("kernel", &format!("{} on {}{wsl}{old}", facts.kernel, facts.machine));
    page.pair("place", &place(facts));
    page.pair("groups", &groups(facts));
    let modules = facts
        .modules
        .as_ref()
        .map_or_else(|| "cannot be seen: securityfs is not mounted".to_owned(), |modules| modules.join(", "));
    page.pair("security", &format!("modules: {modules}"));
    let yes = |is: bool| match (facts.proc, is) {
        (false, _) => "unknown",
        (true, true) => "yes",
        (true, false) => "no",
    };
    page.pair(
        "built in",
        &format!(
            "overlayfs {}, seccomp filters {}",
            if facts.proc && !facts.overlay { "not loaded" } else { yes(facts.overlay) },
            yes(facts.seccomp_filters)
        ),
    );
    page.pair("limits", &sysctls(facts));
    page.pair("state", &format!("{} on {}", facts.state.display(), facts.state_type));
}

/// Where this is, and how that can be told.
fn place(facts: &Facts) -> String {
    let mut all = Vec::new();
    if !facts.proc {
        all.push("cannot be told, because /proc is not mounted here, as in a bare chroot".to_owned());
    }
    if facts.chroot {
        all.push("a chroot: the root is no mount point".to_owned());
    }
    if !facts.marks.is_empty() {
        all.push(format!("in a container, by {}", facts.marks.join(", ")));
    }
    if !facts.own_namespaces.is_empty() {
        all.push(format!(
            "in other namespaces than the machine's first: {}",
            facts.own_namespaces.join(", ")
        ));
    }
    if all.is_empty() {
        return "the machine itself: no container, no chroot".to_owned();
    }
    all.join("; ")
}

fn groups(facts: &Facts) -> String {
    let all = &facts.cgroups;
    let mut parts = vec![all.layout.name().to_owned()];
    let v1: Vec<_> = all.v1.iter().map(|one| one.controller.as_str()).collect();
    if !v1.is_empty() {
        parts.push(format!("v1: {}", v1.join(" ")));
    }
    if let Some(v2) = &all.v2 {
        let has = if v2.available.is_empty() { "no controller".to_owned() } else { v2.available.join(" ") };
        parts.push(format!("v2: {has}"));
        let to_you = v2.delegated.as_ref().map(|path| format!("delegated to you: {}", path.display()));
        parts.extend(to_you.filter(|_| !facts.privileged));
    }
    parts.join("; ")
}

fn sysctls(facts: &Facts) -> String {
    let shown = [
        "user.max_user_namespaces",
        "kernel.unprivileged_userns_clone",
        "kernel.apparmor_restrict_unprivileged_userns",
    ];
    let all = shown.iter().filter_map(|name| Some(format!("{name} = {}", facts.sysctl(name)?)));
    let all: Vec<_> = all.collect();
    if !facts.proc {
        return "cannot be read: /proc is not mounted".to_owned();
    }
    if all.is_empty() { "no switch of user namespaces is to be seen".to_owned() } else { all.join(", ") }
}

fn you(facts: &Facts, page: &mut Page<'_>) {
    let whose = match (facts.privileged, facts.euid) {
        (true, 0) => "root of this machine",
        (true, _) => "with the power of root of this machine",
        (false, 0) if facts.own_namespaces.contains(&"user") => "root of a user namespace",
        (false, 0) => "root, with its power over the machine taken away",
        _ => "an ordinary user",
    };
    page.pair("user", &format!("{}, {whose}", facts.euid));
    let missing = facts.missing_capabilities();
    let held = match (facts.capabilities.0, missing.as_slice()) {
        (0, _) => "no capability".to_owned(),
        (_, []) => "all capabilities".to_owned(),
        (_, missing) if missing.len() <= 8 => format!("all capabilities but {}", missing.join(", ")),
        (set, _) => {
            format!("{} of {} capabilities", set.count_ones(), set.count_ones() as usize + missing.len())
        }
    };
    page.pair("privileges", &held);
    let seccomp = match facts.seccomp {
        0 => "no seccomp filter",
        1 => "seccomp in strict mode",
        _ => "a seccomp filter is in force",
    };
    let label = facts.label.as_ref().map_or_else(String::new, |label| format!(", label {label}"));
    let no_new = if facts.no_new_privs { ", no_new_privs is set: newuidmap cannot work" } else { "" };
    page.pair("held back", &format!("{seccomp}{label}{no_new}"));
    let (uids, gids) = facts.subids;
    let subids = if uids == 0 || gids == 0 {
        "no range in /etc/subuid and /etc/subgid: one user in a rootless container".to_owned()
    } else {
        format!("{uids} users, {gids} groups")
    };
    page.pair("subordinate", &subids);
}

/// One finding: a line if it works, more if not.
fn one(finding: &Finding, tried: &Tried, style: Style, verbose: bool, page: &mut Page<'_>) {
    let (glyph, paint) = match (&finding.came, finding.needed) {
        (Came::Done, _) => (Glyph::Tick, Paint::Good),
        (Came::Refused(_) | Came::NotReached, true) => (Glyph::Cross, Paint::Bad),
        _ => (Glyph::Dash, Paint::Notice),
    };
    let optional = if finding.needed { "" } else { "  (run works without)" };
    let text = match &finding.came {
        Came::Done => finding.name.to_owned(),
        Came::Refused(_) => format!("{}: refused{optional}", finding.name),
        Came::Skipped(why) => format!("{}: not tried{optional}: {why}", finding.name),
        Came::NotReached => format!("{}: not tried{optional}", finding.name),
    };
    page.row(&format!(" {} ", style.glyph(glyph)), &text, paint);
    if verbose {
        for call in tried.calls(finding.say) {
            page.call(&call);
        }
    } else if let Some(refusal) = finding.refusal() {
        page.call(&refusal.text);
    }
    if let Some(judgement) = &finding.judgement {
        explained(judgement, page);
    }
}

fn explained(judgement: &Judgement, page: &mut Page<'_>) {
    page.pair("Layer", judgement.layer);
    page.pair("Rule", &judgement.rule);
    if let Some(remedy) = &judgement.remedy {
        page.pair("Try", remedy);
    }
    for line in &judgement.file {
        page.line(&format!("{:18}{line}", ""));
    }
    page.pair("Read", &chapter(&judgement.chapter));
}

fn helpers(facts: &Facts, page: &mut Page<'_>) {
    for helper in &facts.helpers {
        let text = match (&helper.path, helper.lacks) {
            (None, _) => format!("not found; it gives {}", helper.use_of),
            (Some(path), Some(lacks)) => format!("{}, but {lacks}", path.display()),
            (Some(path), None) => path.display().to_string(),
        };
        page.pair(helper.name, &text);
    }
    page.pair(
        "tun device",
        if facts.tun {
            "/dev/net/tun can be used"
        } else {
            "/dev/net/tun cannot be used by you: pasta and slirp4netns need it"
        },
    );
}

fn works(findings: &Findings, page: &mut Page<'_>) {
    let good: Vec<_> =
        findings.commands.iter().filter(|(_, works)| works.is_ok()).map(|(name, _)| *name).collect();
    page.pair("commands", &good.join(", "));
    for (name, works) in &findings.commands {
        if let Err(lacks) = works {
            page.pair("  not", &format!("{name}: it lacks {}", lacks.join(", ")));
        }
    }
    let works = |wanted: &dyn Fn(&Works) -> bool| -> Vec<u8> {
        findings.chapters.iter().filter(|(_, works)| wanted(works)).map(|(number, _)| *number).collect()
    };
    page.pair("chapters", &ranges(&works(&Works::is_ok)));
    let mut told: Vec<&[&str]> = Vec::new();
    for lacks in findings.chapters.iter().filter_map(|(_, works)| works.as_ref().err()) {
        if !told.contains(&lacks.as_slice()) {
            told.push(lacks);
            let all = works(&|works| works.as_ref().err() == Some(lacks));
            page.pair(
                "  not",
                &format!("{}: they need what is not to be had here, {}", ranges(&all), lacks.join(", ")),
            );
        }
    }
}

/// `0–7, 9, 12–14`.
fn ranges(numbers: &[u8]) -> String {
    let mut all: Vec<(u8, u8)> = Vec::new();
    for number in numbers {
        match all.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => all.push((*number, *number)),
        }
    }
    let one = |(first, last): &(u8, u8)| {
        if first == last { first.to_string() } else { format!("{first}–{last}") }
    };
    if all.is_empty() { "none".to_owned() } else { all.iter().map(one).collect::<Vec<_>>().join(", ") }
}

fn end(findings: &Findings, facts: &Facts, page: &mut Page<'_>) {
    if let Err(lacking) = findings.run() {
        page.verdict(false, &format!("cutaway run does not work here: it needs {}", lacking.join(", ")));
        return;
    }
    let how = if facts.privileged { "as root of the machine" } else { "rootless, in a user namespace" };
    let limits =
        findings.all.iter().filter(|finding| finding.name.starts_with("groups for") && !finding.works());
    let without: Vec<_> = limits.map(|finding| finding.name.trim_start_matches("groups for ")).collect();
    let without = if without.is_empty() {
        String::new()
    } else {
        format!("; without limits of {}", without.join(", "))
    };
    page.verdict(true, &format!("cutaway run works here, {how}{without}"));
    page.next(&["cutaway run".to_owned(), "cutaway doctor -v tells every call that was tried".to_owned()]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_one_range() {
        assert_eq!(ranges(&[0, 1, 2, 4, 7, 8]), "0–2, 4, 7–8");
        assert_eq!(ranges(&[]), "none");
    }
}
