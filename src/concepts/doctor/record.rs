//! The report for programs: one line of JSON, after the events of the attempts.

use std::io::Write;

use serde_json::{Value, json};

use super::facts::Facts;
use super::works::{Finding, Findings, Works};
use crate::concepts::Tried;
use crate::concepts::common::trials::Came;
use crate::error::{Error, Result};
use crate::probe::privileges;

/// Writes it.
pub fn write(findings: &Findings, facts: &Facts, tried: &Tried, out: &mut dyn Write) -> Result<()> {
    let report = json!({
        "record": "doctor",
        "version": 1,
        "run_works": findings.lacking().next().is_none(),
        "took_us": tried.took(),
        "ended_early": tried.ended().map(ToString::to_string),
        "machine": machine(facts),
        "you": you(facts),
        "findings": findings.all.iter().map(finding).collect::<Vec<_>>(),
        "commands": findings.commands.iter().map(|(name, works)| works_of(&json!(name), works)).collect::<Vec<_>>(),
        "chapters": findings.chapters.iter().map(|(number, works)| works_of(&json!(number), works)).collect::<Vec<_>>(),
    });
    writeln!(out, "{report}").map_err(|cause| Error::io("could not write the report", &cause))
}

fn works_of(name: &Value, works: &Works) -> Value {
    json!({ "name": name, "works": works.is_ok(), "lacks": works.as_ref().err().cloned().unwrap_or_default() })
}

fn machine(facts: &Facts) -> Value {
    let helpers = facts.helpers.iter().map(|helper| {
        json!({ "name": helper.name, "path": helper.path.as_ref().map(|path| path.to_string_lossy()), "lacks": helper.lacks })
    });
    let sysctls: serde_json::Map<_, _> =
        facts.sysctls.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    let v2 = facts.cgroups.v2.as_ref();
    let v1: Vec<_> = facts.cgroups.v1.iter().map(|one| one.controller.as_str()).collect();
    json!({
        "kernel": facts.kernel,
        "architecture": facts.machine,
        "old_kernel": facts.is_old,
        "namespaces_not_the_machines_first": facts.own_namespaces,
        "container_marks": facts.marks,
        "proc_mounted": facts.proc,
        "chroot": facts.chroot,
        "wsl": facts.wsl,
        "root_file_system": facts.root_type,
        "cgroups": {
            "layout": facts.cgroups.layout.name(),
            "v1": v1,
            "v2": v2.map(|v2| v2.available.clone()),
            "delegated": v2.and_then(|v2| v2.delegated.as_ref()).map(|path| path.to_string_lossy()),
        },
        "security_modules": facts.modules,
        "seccomp_filters": facts.seccomp_filters,
        "overlay": facts.overlay,
        "sysctls": sysctls,
        "helpers": helpers.collect::<Vec<_>>(),
        "tun": facts.tun,
        "state": { "path": facts.state.to_string_lossy(), "file_system": facts.state_type },
    })
}

fn you(facts: &Facts) -> Value {
    json!({
        "uid": facts.euid,
        "privileged": facts.privileged,
        "capabilities": privileges::names(facts.capabilities),
        "no_new_privs": facts.no_new_privs,
        "seccomp": match facts.seccomp { 0 => "none", 1 => "strict", _ => "filter" },
        "label": facts.label,
        "subuids": facts.subids.0,
        "subgids": facts.subids.1,
    })
}

fn finding(finding: &Finding) -> Value {
    let (came, skipped) = match &finding.came {
        Came::Done => ("works", None),
        Came::Refused(_) => ("refused", None),
        Came::Skipped(why) => ("skipped", Some(why)),
        Came::NotReached => ("not tried", None),
    };
    let refusal = finding.refusal();
    json!({
        "name": finding.name,
        "step": finding.say,
        "came": came,
        "needed": finding.needed,
        "why": skipped,
        "call": refusal.map(|refusal| refusal.text.clone()),
        "errno": refusal.map(|refusal| format!("{:?}", refusal.errno)),
        "layer": finding.judgement.as_ref().map(|judgement| judgement.layer),
        "rule": finding.judgement.as_ref().map(|judgement| &judgement.rule),
        "remedy": finding.judgement.as_ref().and_then(|judgement| judgement.remedy.as_ref()),
        "file": finding.judgement.as_ref().map(|judgement| judgement.file.join("\n")).filter(|file| !file.is_empty()),
        "chapter": finding.judgement.as_ref().map(|judgement| &judgement.chapter),
    })
}
