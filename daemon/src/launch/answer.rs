//! What the scripts say: a first line of words, and perhaps text after it.

use nbtunnel_core::{Failure, FailureKind};

use super::log::{harmless, last_line, lines_in_one};
use crate::forward::far_side::Ran;

/// A script's answer.
pub(super) struct Answer {
    /// The words of its first line.
    pub(super) words: Vec<String>,
    /// What follows.
    pub(super) text: String,
}

impl Answer {
    /// # Errors
    /// It says nothing at all.
    pub(super) fn of(ran: &Ran) -> Result<Answer, Failure> {
        let output = String::from_utf8_lossy(&ran.output);
        let (first, text) = output.split_once('\n').unwrap_or((&output, ""));
        let words: Vec<_> = first.split(' ').map(str::to_owned).collect();
        if first.is_empty() {
            return Err(unheard(ran));
        }
        Ok(Answer { words, text: text.to_owned() })
    }

    /// Its first word says what sort of answer it is.
    pub(super) fn kind(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// A word that is a number.
    pub(super) fn number<T: std::str::FromStr>(&self, at: usize) -> Option<T> {
        self.words.get(at)?.parse().ok()
    }

    /// A word that is a name, if something is named.
    pub(super) fn name(&self, at: usize) -> Option<String> {
        self.words.get(at).filter(|word| !matches!(word.as_str(), "" | "-")).map(|word| harmless(word))
    }

    /// The words from there on.
    pub(super) fn rest(&self, from: usize) -> String {
        harmless(&self.words.get(from..).unwrap_or_default().join(" "))
    }

    /// What is wrong with the place where things are kept, or with who has the claim.
    pub(super) fn usual_failure(&self) -> Failure {
        let rest = self.rest(1);
        match self.kind() {
            "unwritable" => Failure::new(
                FailureKind::NotebookFailed,
                format!("nothing can be kept in {rest} at the far end"),
                "see whether its file system is full, or over quota, or read-only",
            ),
            "no_dir" => Failure::new(
                FailureKind::NotebookFailed,
                format!("there is no directory {rest} at the far end"),
                "correct dir in the notebook's section, or make that directory",
            ),
            "running" => Failure::new(
                FailureKind::NotebookFailed,
                format!(
                    "process {} at the far end has just begun to start it",
                    self.name(1).unwrap_or_default()
                ),
                "try again in a moment",
            ),
            "elsewhere" => {
                let (host, pid) = (self.name(3).unwrap_or_default(), self.name(1).unwrap_or_default());
                Failure::new(
                    FailureKind::NotebookFailed,
                    format!(
                        "it was started on {host} (process {pid}), which gave a sign of life within the last 5 min"
                    ),
                    format!(
                        "to stop it, log in to {host} and run: kill -- -{pid}; if that machine is gone, try again in \
                         5 min"
                    ),
                )
            }
            _ => Failure::new(
                FailureKind::Internal,
                format!("the far end answers what nobody understands: {:?}", self.rest(0)),
                "please report it",
            ),
        }
    }
}

/// A script that should have said something.
pub(super) fn unheard(ran: &Ran) -> Failure {
    let said = if ran.errors.is_empty() { "no word".to_owned() } else { lines_in_one(&ran.errors) };
    Failure::new(
        FailureKind::NotebookFailed,
        format!("the far end's shell did not do it: {said}"),
        "see whether `ssh` to it can run a command by sh, and whether its disk is full",
    )
}

/// The same for a program of Slurm.
pub(super) fn slurm_says(what: &str, said: &str) -> Failure {
    let said = match last_line(said) {
        "" => "it says nothing".to_owned(),
        line => harmless(line),
    };
    Failure::new(
        FailureKind::NotebookFailed,
        format!("{what}: {said}"),
        "nothing is submitted before the queue was asked",
    )
}
