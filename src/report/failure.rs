//! A failure on the screen: one block that says what was tried, what the kernel answered, which rule that
//! is, and what to try.
//!
//! It is separate from the narrator because it is also shown where nothing is narrated: with `-q`, and when
//! the command fails before there is a plan.

use nix::errno::Errno;

use super::style::{Glyph, Paint, Style};
use super::wrap;
use crate::error::Parts;
use crate::sys::manual;

/// The block, with a line break at its end.
#[must_use]
pub fn render(error: &Parts, style: &Style) -> String {
    let mut out = head(error, style);
    let kernel = error.kernel.as_ref().map(|words| format!("The kernel says: {words}"));
    let body: String = [
        kernel.map(|text| paragraph("", &text, style)),
        error.call.as_ref().map(|_| paragraph("Tried", &error.what, style)),
        error.rule.as_ref().map(|text| paragraph("Rule", text, style)),
        error.remedy.as_ref().map(|text| paragraph("Try", text, style)),
        error.chapter.as_ref().map(|text| paragraph("Read", &chapter(text), style)),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !body.is_empty() {
        out.push('\n');
        out.push_str(&body);
    }
    out
}

/// The first lines: the failed call, or else what was tried and the errno's name.
fn head(error: &Parts, style: &Style) -> String {
    let sign = style.glyph(Glyph::Cross);
    let indent = sign.chars().count() + 2;
    let width = style.width.saturating_sub(indent + 1);
    let lines = match (&error.call, error.errno) {
        (Some(call), _) => wrap::call(&style.text(call), width),
        (None, Some(number)) => {
            let errno = manual::errno(Errno::from_raw(number));
            wrap::prose(&style.text(&format!("{}: {errno}", error.what)), width)
        }
        (None, None) => wrap::prose(&style.text(&error.what), width),
    };
    let mut out = format!(" {} ", style.paint(Paint::Bad, sign));
    for (index, line) in lines.iter().enumerate() {
        if index > 0 {
            out.push_str(&" ".repeat(if error.call.is_some() { indent + 4 } else { indent }));
        }
        out.push_str(line);
        out.push('\n');
    }
    out
}

/// A labelled paragraph with its lines under each other.
fn paragraph(label: &str, text: &str, style: &Style) -> String {
    let indent = if label.is_empty() { 3 } else { 10 };
    let mut out = String::new();
    for (index, line) in
        wrap::prose(&style.text(text), style.width.saturating_sub(indent + 1)).iter().enumerate()
    {
        if index == 0 && !label.is_empty() {
            out.push_str("   ");
            out.push_str(&style.paint(Paint::Bold, &format!("{label:<7}")));
        } else {
            out.push_str(&" ".repeat(indent));
        }
        out.push_str(line);
        out.push('\n');
    }
    out
}

/// `chapter 8`, or the chapter by its name.
#[must_use]
pub fn chapter(name: &str) -> String {
    let numbered = name.starts_with(|first: char| first.is_ascii_digit());
    if numbered { format!("chapter {name}") } else { format!("the chapter \"{name}\"") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn a_failed_call_comes_first_and_the_rule_follows() {
        let error = Error::new("merge the layers")
            .call(r#"mount("overlay", "/run/merged", "overlay", 0, "lowerdir=/a,upperdir=/b") = -1 EINVAL (Invalid argument)"#, 22)
            .kernel("overlay: upper fs does not support RENAME_WHITEOUT")
            .rule("the upper directory must be on a file system that can rename over a whiteout; this one is overlay")
            .remedy("--state /tmp/cutaway")
            .chapter("overlay");
        let expected = r#" ✘ mount("overlay", "/run/merged", "overlay", 0, "lowerdir=/a,upperdir=/b")
       = -1 EINVAL (Invalid argument)

   The kernel says: overlay: upper fs does not support RENAME_WHITEOUT
   Tried  merge the layers
   Rule   the upper directory must be on a file system that can rename over a
          whiteout; this one is overlay
   Try    --state /tmp/cutaway
   Read   the chapter "overlay"
"#;
        assert_eq!(render(error.parts(), &Style::plain()), expected);
    }

    #[test]
    fn without_a_call_the_block_may_be_one_line() {
        let cause = std::io::Error::from_raw_os_error(2);
        let error = Error::io("cannot open image.tar", &cause);
        let expected = " ✘ cannot open image.tar: ENOENT (No such file or directory)\n";
        assert_eq!(render(error.parts(), &Style::plain()), expected);
    }
}
