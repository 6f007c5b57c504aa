//! The person who answers: at the terminal, or at a program that asks in a window (`SSH_ASKPASS` of ssh(1)).
//! What a server says is shown as the server's, and cannot move the cursor.

mod askpass;
mod line;
#[cfg_attr(unix, path = "terminal_unix.rs")]
#[cfg_attr(windows, path = "terminal_windows.rs")]
#[cfg_attr(not(any(unix, windows)), path = "terminal_other.rs")]
mod terminal;

use std::ffi::OsString;

use nbtunnel_proto::{Prompt, Question, Secret};

use crate::exit::{CommandError, Exit};
use crate::text::{plain, plain_lines};

/// Where somebody can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Person {
    /// At the terminal that we belong to.
    Terminal,
    /// At this program.
    Askpass(OsString),
}

/// The person would not answer, or could not be asked.
#[derive(Debug)]
pub(crate) struct NoAnswer;

impl Person {
    /// Whoever is there, as ssh(1) looks for somebody.
    pub(crate) fn find() -> Option<Person> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let require = set("SSH_ASKPASS_REQUIRE");
        let has_display = set("DISPLAY").or_else(|| set("WAYLAND_DISPLAY")).is_some();
        let program = set("SSH_ASKPASS").or_else(askpass::usual);
        choose(require.as_deref().and_then(|word| word.to_str()), has_display, program, terminal::is_there())
    }

    /// Asks. Dropped half-way, it leaves the terminal as it was.
    ///
    /// # Errors
    /// Ctrl-C, the end of the input, a program that failed.
    pub(crate) async fn answer(&self, question: &Question) -> Result<Vec<Secret>, NoAnswer> {
        terminal::forbid_images();
        let mut answers = Vec::new();
        let heading = heading(question);
        if let Person::Terminal = self {
            terminal::show(&heading).map_err(|_| NoAnswer)?;
        }
        for prompt in &question.prompts {
            answers.push(match self {
                Person::Terminal => terminal::ask(&text(prompt), prompt.echo).await?,
                Person::Askpass(program) => {
                    askpass::ask(program, &format!("{heading}\n{}", text(prompt))).await?
                }
            });
        }
        Ok(answers)
    }
}

/// What nbctl itself asks about. Dropped half-way, it leaves the terminal as it was.
impl Person {
    /// Asks for one secret, which is not shown; `about` says what it is for, unless it is empty.
    ///
    /// # Errors
    /// As [`Person::answer`].
    pub(crate) async fn secret(&self, about: &str, prompt: &str) -> Result<Secret, NoAnswer> {
        terminal::forbid_images();
        match self {
            Person::Terminal => {
                if !about.is_empty() {
                    terminal::show(about).map_err(|_| NoAnswer)?;
                }
                terminal::ask(prompt, false).await
            }
            Person::Askpass(program) => {
                askpass::ask(program, format!("{about}\n{prompt}").trim_start()).await
            }
        }
    }
}

fn choose(
    require: Option<&str>,
    has_display: bool,
    program: Option<OsString>,
    has_terminal: bool,
) -> Option<Person> {
    let askpass = program.map(Person::Askpass);
    let terminal = has_terminal.then_some(Person::Terminal);
    match require {
        Some("force") => askpass,
        Some("never") => terminal,
        Some("prefer") if has_display => askpass.or(terminal),
        _ => terminal.or(askpass.filter(|_| has_display)),
    }
}

/// That nobody can be asked here.
pub(crate) fn nobody(name: &str) -> CommandError {
    CommandError::new(
        Exit::NeedsYou,
        format!(
            "nobody can be asked for {name} here: there is no terminal, and no program that asks in a window"
        ),
        format!("run `nbctl unlock {name}` in a terminal, or set SSH_ASKPASS where there is a display"),
    )
}

/// Who asks what about.
fn heading(question: &Question) -> String {
    let mut text = format!("{}: {} asks", plain(&question.tunnel), plain(&question.from));
    let words = [plain_lines(&question.title), plain_lines(&question.instructions)];
    for line in words.iter().flat_map(|words| words.lines()) {
        text += &format!("\n  | {}", line.trim_end());
    }
    text
}

fn text(prompt: &Prompt) -> String {
    let text = plain(&prompt.text);
    match text.trim() {
        "" => "answer:".to_owned(),
        text if text.ends_with([':', '?', '>']) => text.to_owned(),
        text => format!("{text}:"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_asked_follows_ssh() {
        let program = || Some(OsString::from("ask"));
        let asked = |require, display, program: Option<OsString>, terminal| match choose(
            require, display, program, terminal,
        ) {
            Some(Person::Terminal) => "terminal",
            Some(Person::Askpass(_)) => "window",
            None => "nobody",
        };
        assert_eq!(asked(None, true, program(), true), "terminal");
        assert_eq!(asked(None, true, program(), false), "window");
        assert_eq!(asked(None, false, program(), false), "nobody");
        assert_eq!(asked(None, true, None, false), "nobody");
        assert_eq!(asked(Some("force"), false, program(), true), "window");
        assert_eq!(asked(Some("force"), false, None, true), "nobody");
        assert_eq!(asked(Some("prefer"), true, program(), true), "window");
        assert_eq!(asked(Some("prefer"), false, program(), true), "terminal");
        assert_eq!(asked(Some("never"), true, program(), false), "nobody");
    }

    #[test]
    fn what_a_server_says_is_marked_and_harmless() {
        let question = Question {
            number: 1,
            tunnel: "alice".into(),
            from: "u@h:22".into(),
            title: "Duo".into(),
            instructions: "one\x1b[2J\ntwo\r\n".into(),
            prompts: vec![],
        };
        assert_eq!(heading(&question), "alice: u@h:22 asks\n  | Duo\n  | one [2J\n  | two");
        let shown = |of: &str| text(&Prompt { text: of.into(), echo: false });
        assert_eq!([shown("Code\x07"), shown("Password: "), shown("\n")], ["Code:", "Password:", "answer:"]);
    }
}
