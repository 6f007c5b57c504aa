//! Asks a person what a login wants to know, and shows whose words these are: what a server says is cleaned and
//! bounded, and nobody is asked who is not there.

use nbtunnel_core::{Asks, Failure, FailureKind, LinkReport};
use secrecy::SecretString;

use super::Login;
use crate::ask::Prompt;
use crate::ssh::classify::{quote, quote_up_to};
use crate::ssh::hop::Hop;
use crate::ssh::report::LinkEvent;

/// So many things may be asked at once, and so many lines be said about it.
const MAX_PROMPTS: usize = 32;
const MAX_LINES: usize = 40;
/// How long one line may be: addresses for enrolling a second factor are long.
const MAX_LINE: usize = 1000;

/// What a server asks, in its own words.
pub(super) struct Words {
    pub(super) title: String,
    pub(super) instructions: String,
    pub(super) prompts: Vec<Prompt>,
}

impl Login<'_> {
    /// Asks, and waits for as long as the person and core have patience.
    ///
    /// # Errors
    /// `answer_needed`: nobody is there any more, or the server ended the session meanwhile.
    pub(super) async fn ask(&mut self, words: Words) -> Result<Vec<SecretString>, Failure> {
        let Some(asker) = self.asker else { return Err(self.given_up()) };
        let Words { title, instructions, prompts } = words;
        if prompts.len() > MAX_PROMPTS {
            return Err(Failure::new(
                FailureKind::AnswerNeeded,
                format!(
                    "{} asks {} things at once, more than anybody answers",
                    self.shared.hop,
                    prompts.len()
                ),
                "check that it is the server you mean",
            ));
        }
        let clean = |prompt: Prompt| Prompt { text: quote(&prompt.text), echo: prompt.echo };
        let prompts: Vec<Prompt> = prompts.into_iter().map(clean).collect();
        // Left standing until core gives up, it is helped by another's answer like any other that needs one.
        let needs = LinkReport::Needs(self.shared.to.login_key());
        self.shared.reporter.tell(LinkEvent::Report(needs));
        self.waits_for(Asks::Person);
        let asked = asker.ask(self.account(), quote(&title), lines(&instructions), prompts);
        tokio::select! {
            answers = asked => answers.ok_or_else(|| self.given_up()),
            () = self.shared.gone.cancelled() => Err(self.not_waited_for()),
        }
    }

    /// Says whom the login waits for.
    pub(super) fn waits_for(&self, whom: Asks) {
        self.shared.reporter.tell(LinkEvent::Report(LinkReport::Asking(whom)));
    }

    /// The account that is logged in to, as users write it.
    pub(super) fn account(&self) -> String {
        format!("{}@{}", self.shared.to.user, self.shared.hop)
    }

    /// The command by which a person comes to be asked.
    pub(super) fn unlock(&self) -> String {
        format!("nbctl unlock {}", self.shared.reporter.tunnel())
    }

    fn given_up(&self) -> Failure {
        Failure::new(
            FailureKind::AnswerNeeded,
            format!("{} asks something, and nobody answered", self.account()),
            format!("answer it with `{}`", self.unlock()),
        )
    }

    fn not_waited_for(&self) -> Failure {
        not_waited_for(&self.shared.hop, self.shared.reporter.tunnel())
    }

    /// What an end of the session means after something was answered. Another attempt would ask again, and what
    /// was typed may be used up: that is for the person to decide.
    pub(super) fn after_answers(&self, failure: Failure) -> Failure {
        match failure.kind {
            FailureKind::AuthRefused | FailureKind::Disconnected | FailureKind::TimedOut => Failure::new(
                FailureKind::AnswerNeeded,
                format!("{} ended the login after what was answered: {}", self.shared.hop, failure.message),
                format!("try again with `{}`", self.unlock()),
            ),
            _ => failure,
        }
    }
}

/// The server went away while somebody was being asked.
pub(in crate::ssh) fn not_waited_for(hop: &str, tunnel: &str) -> Failure {
    Failure::new(
        FailureKind::AnswerNeeded,
        format!("{hop} did not wait for the answer any longer"),
        format!("try again with `nbctl unlock {tunnel}`, and answer sooner"),
    )
}

/// What a failure means where nobody may be asked (BatchMode): there is nothing that somebody could answer.
pub(in crate::ssh) fn allowed(why: Failure, to: &Hop) -> Failure {
    if !to.login.batch {
        return why;
    }
    let message = format!("{}, and BatchMode forbids to ask for it", why.message);
    match why.kind {
        FailureKind::PassphraseNeeded => Failure::new(
            FailureKind::NoCredentials,
            message,
            format!("{}; or take BatchMode out of ssh_config for {}", why.hint, to.name),
        ),
        FailureKind::AnswerNeeded => Failure::new(
            FailureKind::AuthRefused,
            message,
            format!("take BatchMode out of ssh_config for {}, or have a key let in there", to.name),
        ),
        _ => why,
    }
}

/// Several lines of the other side, fit to be shown.
fn lines(text: &str) -> String {
    let lines = text.lines().map(|line| quote_up_to(line, MAX_LINE)).take(MAX_LINES);
    lines.collect::<Vec<_>>().join("\n").trim_matches('\n').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stay_lines_and_carry_nothing_else() {
        assert_eq!(lines("\n one\x1b[31m \r\n\n two\x07\u{202e} \n\n"), "one [31m\n\ntwo");
        assert_eq!(lines(&"x\n".repeat(1000)).lines().count(), MAX_LINES);
        assert_eq!(lines(&"y".repeat(5000)).chars().count(), MAX_LINE + 1);
    }
}
