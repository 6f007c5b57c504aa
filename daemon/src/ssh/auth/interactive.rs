//! Proves who we are by a dialogue (keyboard-interactive, RFC 4256): any number of rounds, each with any number of
//! questions, or none. Never begun without a person, since beginning it may send a code or ring a phone.

use nbtunnel_core::{Asks, Failure};
use russh::client::{AuthResult, KeyboardInteractiveAuthResponse as Said};
use secrecy::ExposeSecret;

use super::person::Words;
use super::{Asked, Login, Tried, to_its_end};
use crate::ask::Prompt;

/// How often a person may try, as in ssh (NumberOfPasswordPrompts of ssh_config(5)).
pub(super) const TRIES: u32 = 3;
/// A dialogue that has more rounds is none that a person leads.
const MAX_ROUNDS: u32 = 100;

impl Login<'_> {
    /// Leads the dialogue, and once more while its end is no.
    pub(super) async fn by_dialogue(&mut self) -> Result<Tried, Failure> {
        if self.asker.is_none() {
            return Ok(Tried::Refused);
        }
        for again in 0..TRIES {
            let user = self.shared.to.user.clone();
            let begun = self.session.authenticate_keyboard_interactive_start(user, None);
            let said = to_its_end(self.shared, begun).await?;
            let was_asked = matches!(said, Said::InfoRequest { .. });
            let tried = self.converse(said, again > 0).await;
            self.waits_for(Asks::Nobody);
            match tried? {
                // It has nothing to ask, or nothing more.
                Tried::Refused if !was_asked => return Ok(Tried::Refused),
                Tried::Refused => self.refused.push("what was answered".into()),
                tried => {
                    if was_asked {
                        self.hands.asked = Asked::Typed;
                    }
                    if tried == Tried::Partly {
                        self.accepted.push("what was answered".into());
                    }
                    return Ok(tried);
                }
            }
        }
        Ok(Tried::Refused)
    }

    async fn converse(&mut self, mut said: Said, again: bool) -> Result<Tried, Failure> {
        let mut answered = false;
        for _ in 0..MAX_ROUNDS {
            match said {
                Said::Success => return Ok(Tried::In),
                Said::Failure { remaining_methods, partial_success } => {
                    let end = self.take(AuthResult::Failure { remaining_methods, partial_success }).await;
                    return end.map_err(|why| if answered { self.after_answers(why) } else { why });
                }
                Said::InfoRequest { mut name, instructions, prompts } => {
                    // Most servers ask the same again without a word.
                    if again && !answered && name.is_empty() {
                        name = "what was answered was not accepted".into();
                    }
                    answered |= !prompts.is_empty();
                    let prompts =
                        prompts.into_iter().map(|p| Prompt { text: p.prompt, echo: p.echo }).collect();
                    said = self.answer_round(Words { title: name, instructions, prompts }).await?;
                }
            }
        }
        Err(self.after_answers(super::overdue(&self.shared.hop, "the dialogue")))
    }

    async fn answer_round(&mut self, words: Words) -> Result<Said, Failure> {
        let is_silent = words.prompts.is_empty() && words.title.is_empty() && words.instructions.is_empty();
        let answers = if is_silent { Vec::new() } else { self.ask(words).await? };
        let plain = answers.iter().map(|answer| answer.expose_secret().to_owned()).collect();
        drop(answers);
        // The server may be waiting for somebody's phone now: core's patience with a person is the bound.
        let told = self.session.authenticate_keyboard_interactive_respond(plain);
        to_its_end(self.shared, told).await.map_err(|why| self.after_answers(why))
    }
}
