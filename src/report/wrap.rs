//! Line breaking: prose between words, calls between arguments. Nothing is ever cut.
//!
//! A call that is broken anywhere but after an argument is hard to read and harder to compare with strace's
//! output, so it has rules of its own.

/// Breaks prose between words. A word wider than the line stands alone and sticks out.
#[must_use]
pub fn prose(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for word in text.split_whitespace() {
        let size = word.chars().count();
        if used > 0 && used + 1 + size > width {
            lines.push(std::mem::take(&mut line));
            used = 0;
        }
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        line.push_str(word);
        used += size;
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

/// Breaks a call after an argument; one that is too wide for a line by itself, after a flag's `|` or after a
/// `,` or `:` within a string. The lines after the first are to be indented by the caller, who counts that
/// into `width`.
#[must_use]
pub fn call(text: &str, width: usize) -> Vec<String> {
    // The last `) = ` is the result's: what follows it is a number and the errno in words.
    let (call, result) = text.rfind(") = ").map_or((text, ""), |at| text.split_at(at + 1));
    let mut lines = vec![String::new()];
    for part in arguments(call).chain((!result.is_empty()).then_some(result)) {
        add(&mut lines, part, width, true);
    }
    for line in &mut lines {
        line.truncate(line.trim_end().len());
    }
    lines
}

fn add(lines: &mut Vec<String>, part: &str, width: usize, may_split: bool) {
    let size = part.trim_end().chars().count();
    let Some(line) = lines.last_mut() else { return };
    if line.is_empty() && (size <= width || !may_split) || line.chars().count() + size <= width {
        line.push_str(part);
    } else if may_split && size > width {
        part.split_inclusive(['|', ',', ':']).for_each(|piece| add(lines, piece, width, false));
    } else {
        lines.push(part.trim_start().to_owned());
    }
}

/// The parts of a call that end in `, ` outside of a string.
fn arguments(text: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped, mut after_comma) = (false, false, false);
    text.split_inclusive(move |letter| {
        let ends = after_comma && !quoted && letter == ' ';
        after_comma = letter == ',' && !quoted;
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        ends
    })
}

/// The arguments of a call's text: what stands between the outermost brackets, at the top level.
#[must_use]
pub fn split(text: &str) -> Option<(&str, Vec<&str>)> {
    let open = text.find('(')?;
    let inner = text[open + 1..].strip_suffix(')')?;
    let (mut quoted, mut escaped, mut depth) = (false, false, 0_u32);
    let mut args = Vec::new();
    let mut from = 0;
    for (at, letter) in inner.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '(' | '[' | '{' if !quoted => depth += 1,
            ')' | ']' | '}' if !quoted => depth = depth.saturating_sub(1),
            ',' if !quoted && depth == 0 => {
                args.push(inner[from..at].trim_start());
                from = at + 1;
            }
            _ => {}
        }
    }
    args.push(inner[from..].trim_start());
    Some((&text[..open], args))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_breaks_between_words() {
        assert_eq!(prose("one two  three\nfour", 9), ["one two", "three", "four"]);
        assert_eq!(prose("unbreakable", 4), ["unbreakable"]);
        assert!(prose("", 9).is_empty());
    }

    #[test]
    fn a_call_breaks_after_an_argument_and_never_inside_a_string_that_fits() {
        let text = r#"mount("a, b", "/target", NULL, MS_BIND, NULL) = 0"#;
        assert_eq!(call(text, 100), [text]);
        assert_eq!(call(text, 26), [r#"mount("a, b", "/target","#, "NULL, MS_BIND, NULL) = 0"]);
        assert_eq!(call(text, 26).join(" "), text);
    }

    #[test]
    fn an_argument_wider_than_a_line_breaks_at_its_own_joints() {
        let text = r#"x({flags=CLONE_NEWNS|CLONE_NEWPID, y=1}, "lowerdir=/a:/b,upperdir=/c") = 3"#;
        let lines = call(text, 22);
        assert_eq!(lines.concat().replace(' ', ""), text.replace(' ', ""), "nothing is lost");
        assert!(lines.iter().all(|line| line.chars().count() <= 22), "{lines:#?}");
    }

    #[test]
    fn arguments_are_told_apart_at_the_top_level_only() {
        let text = r#"execve("/bin/sh", ["sh", "-c", "a, b)"], 0x7ffd /* 2 vars */)"#;
        let (name, args) = split(text).unwrap();
        assert_eq!(name, "execve");
        assert_eq!(args, [r#""/bin/sh""#, r#"["sh", "-c", "a, b)"]"#, "0x7ffd /* 2 vars */"]);
    }
}
