//! The questions of a chapter, and what their wrong answers say of how people think.
//!
//! ```text
//! ## Quiz
//!
//! ### Why does …?
//!
//! - **a** The first answer
//! - **b** The second
//! - **c** The third
//!
//! <details class="answers">
//! <summary>Answers</summary>
//!
//! - **a** *A misconception in a few words.* Why it is one. See for yourself: `cutaway ns uts`
//! - **b** Right. Why it is
//! - **c** *Another misconception.* Why. See for yourself: `cutaway …`
//!
//! </details>
//! ```

/// One question.
#[derive(Debug, Clone, Default)]
pub struct Question {
    pub text: String,
    /// The letters of the choices.
    pub choices: Vec<char>,
    pub answers: Vec<Answer>,
}

/// What a folded answer says.
#[derive(Debug, Clone)]
pub struct Answer {
    pub letter: char,
    /// The misconception of a wrong answer; the right one has none.
    pub misconception: Option<String>,
    /// The command that refutes it.
    pub refuted_by: Option<String>,
}

/// The questions of a chapter.
pub fn questions(text: &str) -> Vec<Question> {
    let Some((_, quiz)) = text.split_once("\n## Quiz\n") else { return Vec::new() };
    let quiz = quiz.split("\n## ").next().unwrap_or_default();
    quiz.split("\n### ").skip(1).map(question).collect()
}

fn question(text: &str) -> Question {
    let (head, folded) = text.split_once("<details class=\"answers\">").unwrap_or((text, ""));
    let letters = items(head).iter().filter_map(|item| Some(letter(item)?.0)).collect();
    let title = head.lines().next().unwrap_or_default().to_owned();
    Question {
        text: title,
        choices: letters,
        answers: items(folded).iter().filter_map(|item| answer(item)).collect(),
    }
}

/// The items of a list, each on one line.
fn items(text: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for line in text.lines() {
        if let Some(first) = line.strip_prefix("- ") {
            all.push(first.to_owned());
        } else if let (true, Some(last)) = (line.starts_with("  "), all.last_mut()) {
            last.push(' ');
            last.push_str(line.trim());
        }
    }
    all
}

/// `**a** text`
fn letter(item: &str) -> Option<(char, &str)> {
    let rest = item.strip_prefix("**")?;
    let letter = rest.chars().next().filter(char::is_ascii_lowercase)?;
    Some((letter, rest[1..].strip_prefix("** ")?))
}

fn answer(item: &str) -> Option<Answer> {
    let (letter, rest) = letter(item)?;
    if rest.starts_with("Right.") {
        return Some(Answer { letter, misconception: None, refuted_by: None });
    }
    let misconception =
        rest.strip_prefix('*').and_then(|rest| rest.split_once(".*")).map(|(name, _)| name.to_owned());
    let refuted_by = rest.rsplit_once("See for yourself: `").and_then(|(_, rest)| rest.split_once('`'));
    Some(Answer {
        letter,
        misconception: Some(misconception.unwrap_or_default()),
        refuted_by: refuted_by.map(|(command, _)| command.to_owned()),
    })
}

/// What is wrong with the quiz of a chapter.
pub fn faults(questions: &[Question]) -> Vec<String> {
    let mut faults = Vec::new();
    if questions.len() != 3 {
        faults.push(format!("the quiz has {} questions and not 3", questions.len()));
    }
    for question in questions {
        let about = &question.text;
        let mut fault = |what: &str| faults.push(format!("{what}: {about}"));
        if !about.ends_with('?') {
            fault("a question ends with a question mark");
        }
        if question.choices.len() < 3 {
            fault("a question has three answers or more, `- **a** text`");
        }
        let letters: Vec<char> = question.answers.iter().map(|answer| answer.letter).collect();
        if letters != question.choices {
            fault("the folded answers are those of the question, in their order");
        }
        if question.answers.iter().filter(|answer| answer.misconception.is_none()).count() != 1 {
            fault("one answer begins with `Right.`");
        }
        for answer in question.answers.iter().filter(|answer| answer.misconception.is_some()) {
            if answer.misconception.as_deref() == Some("") {
                fault("a wrong answer begins with its misconception, `*What people think.*`");
            }
            if answer.refuted_by.is_none() {
                fault("a wrong answer ends with what refutes it, See for yourself: `cutaway …`");
            }
        }
    }
    faults
}
