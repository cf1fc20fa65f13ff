//! Readings: the lines of a chart of numbers over time, which differ in each run in all but their form.

/// The letters of a bar.
const BAR: &str = "█▉▊▋▌▍▎▏·";

/// The form of a line, if it is a reading: `0.2 s  ████▊···  63.7 MiB  25 %  264` is `bar bytes share count`.
pub fn form(line: &str) -> Option<String> {
    columns(line).map(|columns| columns.join(" "))
}

/// When it was read: `0.2`.
pub fn time(line: &str) -> Option<&str> {
    columns(line).and_then(|_| line.split_whitespace().next())
}

fn columns(line: &str) -> Option<Vec<&'static str>> {
    let mut parts = line.trim().split("  ").map(str::trim).filter(|part| !part.is_empty());
    let seconds = parts.next()?.strip_suffix(" s")?;
    let is_time = line.starts_with("      ") && is_number(seconds) && seconds.contains('.');
    let columns: Option<Vec<_>> = parts.map(kind).collect();
    columns.filter(|columns| is_time && !columns.is_empty())
}

fn kind(column: &str) -> Option<&'static str> {
    if column == "-" {
        return Some("nothing");
    }
    if column.chars().all(|letter| BAR.contains(letter)) {
        return Some("bar");
    }
    let (number, unit) = column.split_once(' ').unwrap_or((column, ""));
    match unit {
        _ if !is_number(number) => None,
        "" => Some("count"),
        "B" | "KiB" | "MiB" | "GiB" => Some("bytes"),
        "%" => Some("share"),
        _ => None,
    }
}

fn is_number(word: &str) -> bool {
    word.starts_with(|first: char| first.is_ascii_digit())
        && word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

#[test]
fn a_reading_is_known_by_its_form() {
    let bar = "         0.2 s  ██████▊···    63.7 MiB    348.0 KiB     264  25 %         -";
    assert_eq!(form(bar).as_deref(), Some("bar bytes bytes count share nothing"));
    assert_eq!(time(bar), Some("0.2"));
    for other in
        ["          time  light  heavy", "        used      0.200 s", "      current   61.9 MiB", "  1.2 s"]
    {
        assert_eq!(form(other), None, "{other}");
    }
}
