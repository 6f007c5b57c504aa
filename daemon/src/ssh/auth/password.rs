//! Proves who we are by a password that a person types (RFC 4252 §8).

use nbtunnel_core::{Asks, Failure};
use secrecy::ExposeSecret;

use super::interactive::TRIES;
use super::person::Words;
use super::{Asked, Login, Tried, to_its_end};
use crate::ask::Prompt;

impl Login<'_> {
    /// Asks for the password, and again while it is wrong.
    pub(super) async fn by_password(&mut self) -> Result<Tried, Failure> {
        if self.asker.is_none() {
            return Ok(Tried::Refused);
        }
        for again in 0..TRIES {
            let title = if again == 0 { "" } else { "that was not the password, or it was not accepted" };
            let prompts = vec![Prompt { text: format!("password of {}", self.account()), echo: false }];
            let words = Words { title: title.into(), instructions: String::new(), prompts };
            let answers = self.ask(words).await?;
            let password = answers.first().map(|answer| answer.expose_secret().to_owned());
            let user = self.shared.to.user.clone();
            let asked = self.session.authenticate_password(user, password.unwrap_or_default());
            let told = to_its_end(self.shared, asked).await.map_err(|why| self.after_answers(why))?;
            self.waits_for(Asks::Nobody);
            match self.take(told).await.map_err(|why| self.after_answers(why))? {
                Tried::Refused => self.refused.push("the password".into()),
                tried => {
                    self.hands.asked = Asked::Typed;
                    if tried == Tried::Partly {
                        self.accepted.push("the password".into());
                    }
                    return Ok(tried);
                }
            }
        }
        Ok(Tried::Refused)
    }
}
