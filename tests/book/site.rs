//! The built site: every link and anchor leads somewhere, and no page asks for anything from elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The program that builds the site: on the path, or where tests/run puts it.
pub fn mdbook() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let kept = cache.map(|cache| cache.join("cutaway").join(format!("mdbook-{VERSION}/bin")));
    std::env::split_paths(&path).chain(kept).map(|dir| dir.join("mdbook")).find(|program| program.is_file())
}

/// The version that tests/run installs.
const VERSION: &str = "0.5.4";

/// Builds the site into a folder; what mdBook complains about is a fault.
pub fn build(mdbook: &Path, into: &Path) -> Vec<String> {
    let book = Path::new(env!("CARGO_MANIFEST_DIR")).join("book");
    let built = Command::new(mdbook).arg("build").arg(&book).arg("--dest-dir").arg(into).output().unwrap();
    let said = String::from_utf8_lossy(&built.stderr).into_owned();
    let complaints = said.lines().filter(|line| line.contains("ERROR") || line.contains("WARN"));
    let mut faults: Vec<String> = complaints.map(|line| format!("mdbook: {line}")).collect();
    if !built.status.success() {
        faults.push(format!("mdbook build book: {said}"));
    }
    faults
}

/// What is wrong with the site in a folder.
pub fn faults(site: &Path) -> Vec<String> {
    let pages = html(site);
    assert!(pages.len() > 3, "there is no site in {}", site.display());
    let anchors: BTreeMap<&PathBuf, BTreeSet<String>> =
        pages.iter().map(|(path, text)| (path, values(text, "id").into_iter().collect())).collect();
    let mut faults = Vec::new();
    for (path, text) in &pages {
        let shown = path.strip_prefix(site).unwrap().display();
        for (tag, attribute, value) in references(text) {
            let outside = value.contains("://") || value.starts_with("//");
            if outside && (tag != "a" || attribute != "href") {
                faults.push(format!("{shown} asks for {value} ({tag} {attribute})"));
            }
            if outside
                || value.starts_with("data:")
                || value.starts_with("mailto:")
                || value.starts_with("javascript:")
            {
                continue;
            }
            let (file, anchor) = value.split_once('#').unwrap_or((&value, ""));
            let file = file.split('?').next().unwrap_or_default();
            let target =
                if file.is_empty() { path.clone() } else { clean(&path.parent().unwrap().join(file)) };
            if !target.exists() {
                faults.push(format!("{shown}: {value} leads nowhere"));
            } else if !anchor.is_empty() && anchors.get(&target).is_some_and(|ids| !ids.contains(anchor)) {
                faults.push(format!("{shown}: {value} has no such anchor"));
            }
        }
    }
    faults.extend(styles(site));
    faults
}

/// Styles that fetch from elsewhere.
fn styles(site: &Path) -> Vec<String> {
    let css = files(site).into_iter().filter(|path| path.extension().is_some_and(|end| end == "css"));
    let outside = css.filter(|path| {
        let text = fs::read_to_string(path).unwrap();
        ["url(http", "url(\"http", "url('http", "@import \"http", "url(//"]
            .iter()
            .any(|sign| text.contains(sign))
    });
    outside.map(|path| format!("{} fetches from elsewhere", path.display())).collect()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        if entry.path().is_dir() { all.extend(files(&entry.path())) } else { all.push(entry.path()) }
    }
    all
}

fn html(site: &Path) -> Vec<(PathBuf, String)> {
    let pages = files(site).into_iter().filter(|path| path.extension().is_some_and(|end| end == "html"));
    // The page for what is not found is shown at any address: its links begin at the root.
    let pages = pages.filter(|path| path.file_name().is_none_or(|name| name != "404.html"));
    pages.map(|path| (path.clone(), fs::read_to_string(&path).unwrap())).collect()
}

/// Takes `x/..` out of a path.
fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => drop(out.pop()),
            std::path::Component::CurDir => {}
            part => out.push(part),
        }
    }
    out
}

/// The tags of a page, without what is in scripts.
fn tags(text: &str) -> Vec<&str> {
    let mut all = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        let end = rest.find('>').unwrap_or(rest.len());
        let tag = &rest[..end];
        rest = &rest[end..];
        if tag.starts_with("script")
            && let Some(close) = rest.find("</script")
        {
            rest = &rest[close..];
        }
        if tag.starts_with(|first: char| first.is_ascii_alphabetic()) {
            all.push(tag);
        }
    }
    all
}

/// The values of an attribute in all tags.
fn values(text: &str, attribute: &str) -> Vec<String> {
    tags(text).into_iter().filter_map(|tag| value(tag, attribute)).collect()
}

fn value(tag: &str, attribute: &str) -> Option<String> {
    let start = format!(" {attribute}=\"");
    let (_, rest) = tag.split_once(&start)?;
    rest.split('"').next().map(|value| value.replace("&amp;", "&"))
}

/// What a page refers to: tag, attribute, value.
fn references(text: &str) -> Vec<(String, &'static str, String)> {
    let mut all = Vec::new();
    for tag in tags(text) {
        let name = tag.split([' ', '\n']).next().unwrap_or_default().to_owned();
        for attribute in ["href", "src", "action", "poster", "xlink:href"] {
            all.extend(value(tag, attribute).map(|value| (name.clone(), attribute, value)));
        }
    }
    all
}
