//! What a server, or a key, asks a person through nbctl, and the answers.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

/// One thing that is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prompt {
    /// What to show before the answer.
    pub text: String,
    /// Whether the answer may be seen while it is typed.
    pub echo: bool,
}

/// What is asked at once. There may be nothing to answer and something to read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Which one it is; the answers name it.
    pub number: u64,
    /// The tunnel that is to come up.
    pub tunnel: String,
    /// Who asks: an account on a host, or a key file.
    pub from: String,
    /// What it is about, in a line; may be empty.
    pub title: String,
    /// More words of whoever asks, several lines perhaps; may be empty.
    pub instructions: String,
    /// What is to be answered, in order.
    pub prompts: Vec<Prompt>,
}

/// An answer. It is wiped when it is dropped, and no `Debug` shows it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret(String);

impl Secret {
    /// Takes over what was typed.
    pub fn new(text: String) -> Secret {
        Secret(text)
    }

    /// What was typed.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What was typed, to be wiped by the caller from now on.
    pub fn take(mut self) -> String {
        std::mem::take(&mut self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Request;

    #[test]
    fn no_debug_shows_an_answer() {
        let request = Request::Answers { number: 1, answers: vec![Secret::new("hunter2".into())] };
        let shown = format!("{request:?} {request:#?} {}", request.word());
        assert!(shown.contains("Secret(…)") && !shown.contains("hunter2"), "{shown}");
    }
}
