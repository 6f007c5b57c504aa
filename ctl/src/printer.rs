//! The only place that prints. stdout is data; everything else goes to stderr.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::exit::{CommandError, Exit};
use crate::text::{Paint, plain, plain_lines};

/// How to print: for people or as JSON, talkative or quiet, in colour or not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Printer {
    json: bool,
    quiet: bool,
    terminal: bool,
    /// Colour for stdout.
    pub paint: Paint,
    talk: Paint,
}

impl Printer {
    /// A printer for this process: colour only on a terminal, and never under `NO_COLOR` (no-color.org).
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let wanted = !json && !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let terminal = io::stdout().is_terminal();
        Printer {
            json,
            quiet,
            terminal,
            paint: Paint(wanted && terminal),
            talk: Paint(wanted && io::stderr().is_terminal()),
        }
    }

    /// Whether stdout takes JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a person can be asked: stdin and stderr are terminals, and JSON is not wanted.
    pub(crate) fn can_ask(&self) -> bool {
        !self.json && io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Data for people, as it stands.
    ///
    /// # Errors
    /// When nobody reads it any more, or the disk is full.
    pub(crate) fn data(&self, text: &str) -> Result<(), CommandError> {
        let mut out = io::stdout().lock();
        let written = out.write_all(text.as_bytes()).and_then(|()| match text.ends_with('\n') {
            true => out.flush(),
            false => out.write_all(b"\n").and_then(|()| out.flush()),
        });
        written.map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => CommandError::nobody_reads(),
            _ => CommandError::new(
                Exit::Failed,
                format!("standard output cannot be written: {error}"),
                "check where it leads",
            ),
        })
    }

    /// Data for scripts: one JSON document on one line.
    ///
    /// # Errors
    /// As [`Printer::data`].
    pub(crate) fn json<T: Serialize>(&self, value: &T) -> Result<(), CommandError> {
        match serde_json::to_string(value) {
            Ok(text) => self.data(&text),
            Err(error) => Err(CommandError::new(
                Exit::Failed,
                format!("the answer cannot be written as JSON: {error}"),
                "run the command without --json",
            )),
        }
    }

    /// A screen that takes the place of the one before, where stdout is a terminal.
    ///
    /// # Errors
    /// As [`Printer::data`].
    pub(crate) fn screen(&self, text: &str) -> Result<(), CommandError> {
        if self.terminal { self.data(&format!("\x1b[H\x1b[2J\x1b[3J{text}")) } else { self.data(text) }
    }

    /// A word to the user about what was done.
    pub(crate) fn say(&self, text: &str) {
        if !self.quiet && !self.json {
            to_stderr(&format!("{}\n", plain_lines(text)));
        }
    }

    /// What a question is about: said in every case, since an answer without it means nothing.
    pub(crate) fn ask_about(&self, text: &str) {
        to_stderr(&format!("{}\n", plain_lines(text)));
    }

    /// What is being done, for as long as the user waits for it.
    pub(crate) fn progress(&self) -> Progress {
        let is_silent = self.quiet || self.json;
        Progress { is_silent, overwrites: !is_silent && io::stderr().is_terminal(), shown: String::new() }
    }

    /// A word about what is not as the user may think.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet && !self.json {
            to_stderr(&format!("{} {}\n", self.talk.yellow("note:"), plain(text)));
        }
    }

    /// Why a command failed.
    pub(crate) fn error(&self, error: &CommandError) {
        if error.message.is_empty() {
            return;
        }
        if self.json {
            // If stdout is gone as well, the exit code is all that is left.
            let _ = self.json(&error.to_json());
            return;
        }
        let mut text = format!("{} {}\n", self.talk.red("error:"), plain_lines(&error.message));
        if !error.hint.is_empty() {
            text += &format!("  {} {}\n", self.talk.dim("hint:"), plain_lines(&error.hint));
        }
        to_stderr(&text);
    }

    /// Asks a person; anything but yes is no.
    pub(crate) fn confirm(&self, question: &str) -> bool {
        matches!(answer_to(question, " [y/N]").to_ascii_lowercase().as_str(), "y" | "yes")
    }

    /// What a person says to a question that says how to answer; nothing when nobody does.
    pub(crate) fn answer(&self, question: &str) -> String {
        answer_to(question, "")
    }
}

/// One sentence after the other on stderr: in the place of the one before on a terminal, else a line each.
pub(crate) struct Progress {
    is_silent: bool,
    overwrites: bool,
    shown: String,
}

impl Progress {
    /// What fits on every terminal: a longer line would leave something behind.
    const WIDTH: usize = 79;

    /// Shows `text`, unless it is what was shown last.
    pub(crate) fn show(&mut self, text: &str) {
        let text = plain(text);
        if self.is_silent || text == self.shown {
            return;
        }
        match self.overwrites {
            true => to_stderr(&format!("\r\x1b[K{}", text.chars().take(Self::WIDTH).collect::<String>())),
            false => to_stderr(&format!("{text}\n")),
        }
        self.shown = text;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.overwrites && !self.shown.is_empty() {
            to_stderr("\r\x1b[K");
        }
    }
}

/// What a person types; nothing when nobody does.
fn answer_to(question: &str, how: &str) -> String {
    to_stderr(&format!("{}{how} ", plain(question)));
    let mut answer = String::new();
    let read = io::stdin().read_line(&mut answer);
    // Who ends the input ends no line, and what is said next begins one.
    if !answer.ends_with('\n') {
        to_stderr("\n");
    }
    match read {
        Ok(_) => answer.trim().to_owned(),
        Err(_) => String::new(),
    }
}

fn to_stderr(text: &str) {
    // There is no place left to report that stderr is closed.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
