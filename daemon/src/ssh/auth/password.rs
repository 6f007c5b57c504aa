//! Proves who we are by a password that a person types (RFC 4252 §8).

use std::time::Duration;

use nbtunnel_core::{Asks, Failure, FailureKind};
use russh::client::AuthResult;
use secrecy::ExposeSecret;
use tokio::time::sleep;

use super::interactive::TRIES;
use super::person::Words;
use super::{Asked, Login, Tried, answer, to_its_end};
use crate::ask::Prompt;
use crate::ssh::handler::Shared;

/// So often it is looked whether something came that was no answer.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// So many looks in a row have to find that, for an answer may be on its way in pieces.
const LOOKS: u32 = 2;

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
            let told = self.send_password(password.unwrap_or_default()).await;
            let told = told.map_err(|why| self.after_answers(why))?;
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

    /// Sends a password, and waits for as long as the server takes to look at it.
    ///
    /// Instead of yes or no a server may ask for a new password (RFC 4252 §8), which the library drops without a
    /// word. That something came can be seen, though; and who waits for a new password says no to the next request,
    /// while who is still looking at the old one answers that first.
    async fn send_password(&mut self, password: String) -> Result<AuthResult, Failure> {
        let Login { shared, session, .. } = self;
        let (user, before) = (shared.to.user.clone(), shared.tap.traffic.read());
        {
            let sent = to_its_end(shared, session.authenticate_password(user.clone(), password));
            tokio::pin!(sent);
            let mut looks = 0;
            while looks < LOOKS {
                tokio::select! {
                    told = &mut sent => return told,
                    () = sleep(LOOK_EVERY) => looks = if shared.heard_since(before) { looks + 1 } else { 0 },
                }
            }
        }
        match answer(shared, session.authenticate_none(user)).await? {
            AuthResult::Failure { remaining_methods, .. } if !remaining_methods.is_empty() => {
                Err(self.wants_a_new_one())
            }
            told => Ok(told),
        }
    }

    fn wants_a_new_one(&self) -> Failure {
        let Shared { hop, to, .. } = &**self.shared;
        Failure::new(
            FailureKind::AnswerNeeded,
            format!(
                "{hop} took the password of {}, and seems to want a new one before it lets you in",
                to.user
            ),
            format!(
                "log in once by `ssh -p {} {}@{}` to change it, then run `{}`",
                to.port,
                to.user,
                to.host,
                self.unlock()
            ),
        )
    }
}
