//! What a login that did not work comes to: what the server would take besides, and what the user can do.

use std::path::PathBuf;

use nbtunnel_core::{Failure, FailureKind};
use russh::MethodKind;

use super::super::credentials::passphrase_needed;
use super::super::handler::Shared;
use super::{Login, MAX_TOLD, in_order, in_words};

impl Login<'_> {
    /// Nothing worked: what would?
    pub(super) fn verdict(&self) -> Failure {
        let Shared { hop, to, .. } = &**self.shared;
        let preferred = in_order(to.login.preferred.as_deref());
        let by_hand = self.by_hand();
        let takes_answers = !by_hand.is_empty();
        if takes_answers && self.asker.is_some() {
            return Failure::new(
                FailureKind::AnswerNeeded,
                format!("{hop} did not accept what was answered for {}", to.user),
                format!("try again with `{}`", self.unlock()),
            );
        }
        if !self.accepted.is_empty() {
            let (wants, accepted) = (in_words(&self.methods), self.accepted.join(" and "));
            let message = format!("{hop} accepted {accepted} of {}, and wants {wants} besides", to.user);
            return if takes_answers {
                self.answer_needed(message)
            } else {
                let hint = "ask the server's administrator for a login by what there is";
                Failure::new(FailureKind::AuthRefused, message, hint)
            };
        }
        if let Some(locked) = passphrase_needed(self.unwilling.locked.iter().map(PathBuf::as_path)) {
            return locked;
        }
        if !self.unwilling.agent.is_empty() {
            let keys = self.unwilling.agent.join(", ");
            let message = format!("{hop} takes the key {keys}, but the agent did not sign with it");
            return Failure::new(FailureKind::AnswerNeeded, message, self.start_again());
        }
        if !preferred.iter().any(|method| self.methods.contains(method)) && to.login.preferred.is_some() {
            return Failure::new(
                FailureKind::AuthRefused,
                format!("{hop} takes {}, which PreferredAuthentications rules out", in_words(&self.methods)),
                "add one of these methods to PreferredAuthentications",
            );
        }
        if let Some(failure) = self.ticket_missing(&by_hand) {
            return failure;
        }
        if takes_answers && self.takes_keys() && !preferred.contains(&MethodKind::PublicKey) {
            let message = format!("{hop} wants {} of {}", by_hand.join(" or "), to.user);
            return self.answer_needed(message);
        }
        if self.refused.is_empty() && !self.takes_keys() {
            let methods = in_words(&self.methods);
            let message = format!("{hop} takes no keys from {}, only {methods}", to.user);
            return if takes_answers {
                self.answer_needed(message)
            } else {
                Failure::new(
                    FailureKind::AuthRefused,
                    message,
                    "ask the server's administrator for a login by key",
                )
            };
        }
        let offered = if self.refused.is_empty() {
            "no key could be offered".to_owned()
        } else {
            let more = match self.refused.len().saturating_sub(MAX_TOLD) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let told: Vec<&str> = self.refused.iter().take(MAX_TOLD).map(String::as_str).collect();
            format!("it refused {}{more}", told.join(", "))
        };
        Failure::new(
            FailureKind::AuthRefused,
            format!("{hop} did not let {} in: {offered}", to.user),
            format!(
                "check user in the tunnel's file, and add your public key to ~/.ssh/authorized_keys there (ssh-copy-id -p {} {}@{}){}",
                to.port,
                to.user,
                to.host,
                self.besides(&by_hand)
            ),
        )
    }

    fn answer_needed(&self, message: String) -> Failure {
        let hint = format!("answer what it asks with `{}`", self.unlock());
        Failure::new(FailureKind::AnswerNeeded, message, hint)
    }

    /// What a hint ends with where the server would also take an answer.
    pub(super) fn besides(&self, by_hand: &[&str]) -> String {
        let methods = by_hand.join(" or ");
        match (by_hand, self.shared.to.login.batch) {
            ([], _) => String::new(),
            (_, true) => format!("; it also takes {methods}, but BatchMode in ssh_config forbids to ask"),
            (_, false) => format!("; it also takes {methods}: `{}`", self.unlock()),
        }
    }

    /// The methods by which somebody types something. What PreferredAuthentications leaves out is not asked for,
    /// whoever is there.
    fn by_hand(&self) -> Vec<&'static str> {
        let typed =
            |kind: &MethodKind| matches!(kind, MethodKind::Password | MethodKind::KeyboardInteractive);
        let preferred = in_order(self.shared.to.login.preferred.as_deref());
        preferred.iter().filter(|kind| typed(kind) && self.methods.contains(kind)).map(<&str>::from).collect()
    }
}
