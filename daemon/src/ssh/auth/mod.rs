//! Proves to the server who we are, method by method (RFC 4252 §5): which methods, in which order, and what came
//! of it. Each method has a file of its own. Whatever needs a human who is not there becomes a failure that says so.

#[cfg(test)]
#[cfg(unix)]
mod agent_tests;
#[cfg(test)]
#[cfg(unix)]
mod bed;
mod hands;
mod interactive;
mod kerberos;
#[cfg(test)]
#[cfg(unix)]
mod key_tests;
#[cfg(test)]
#[cfg(unix)]
mod order_tests;
mod passphrase;
mod password;
mod person;
mod publickey;
mod verdict;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use nbtunnel_core::{Failure, FailureKind, LinkReport};
use russh::client::{AuthResult, Handle};
use russh::keys::HashAlg;
use russh::{MethodKind, MethodSet};
use tokio::time::timeout;

use super::agent::Agents;
use super::classify::{broken, ended, overdue, too_many_keys};
use super::credentials::{Key, Offer};
use super::handler::{Client, Shared};
use super::hop::Hop;
use super::report::{LinkEvent, Reporter};
use super::sight::Seen;
use super::wire::WireEnd;
use crate::ask::Asker;
use hands::Hands;
use publickey::Unwilling;

pub(super) use person::{allowed, not_waited_for};
pub(super) use publickey::flaw;

/// How long one answer of the server may take, a user's touch on a key included.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);

/// How many refused keys are named.
const MAX_TOLD: usize = 5;

/// How long a session that is ending may take to say why.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// No server asks for more proofs one after another.
const MAX_PARTS: usize = 10;

/// What we can do, in the order of ssh(1).
const METHODS: [MethodKind; 4] =
    [MethodKind::GssapiWithMic, MethodKind::PublicKey, MethodKind::KeyboardInteractive, MethodKind::Password];

/// One authentication, from the first request to its end.
pub(super) struct Login<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) session: &'a mut Handle<Client>,
    /// Who may be asked, if somebody is there.
    asker: Option<&'a Asker>,
    hands: Hands<'a>,
    /// The methods with which the server says one can go on.
    methods: MethodSet,
    /// Those that have nothing more to give.
    spent: Vec<MethodKind>,
    /// What the server accepted. All but the last was not enough for it.
    accepted: Vec<String>,
    /// What was offered and refused, for the message.
    refused: Vec<String>,
    /// Which hash the server takes with RSA keys; asked for when the first one is offered.
    rsa_hash: Option<Option<HashAlg>>,
    /// What would have been accepted.
    unwilling: Unwilling,
    /// How many keys were offered.
    offered: usize,
    /// Why there is no ticket for a server that takes one.
    no_ticket: Option<String>,
}

/// Whom logging in took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Nobody,
    /// Somebody had to do something, and would have to do it again.
    Person,
    /// Somebody typed something, which is not kept.
    Typed,
}

/// How one proof fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tried {
    In,
    /// It was accepted, and the server wants another one besides.
    Partly,
    Refused,
}

impl<'a> Login<'a> {
    pub(super) fn new(
        shared: &'a Arc<Shared>,
        session: &'a mut Handle<Client>,
        agents: &'a Agents,
        asker: Option<&'a Asker>,
    ) -> Login<'a> {
        Login {
            shared,
            session,
            asker,
            hands: Hands::new(shared, agents, asker),
            methods: MethodSet::empty(),
            spent: Vec::new(),
            accepted: Vec::new(),
            refused: Vec::new(),
            rsa_hash: None,
            unwilling: Unwilling::default(),
            offered: 0,
            no_ticket: None,
        }
    }

    /// Logs in with what `offer` has, and says whom that took.
    ///
    /// # Errors
    /// `auth_refused`, `answer_needed`, or why the session ended meanwhile.
    pub(super) async fn run(self, offer: &'a Offer) -> Result<Asked, Failure> {
        let Shared { to, reporter, .. } = &**self.shared;
        self.log_in(offer).await.inspect_err(|why| says_what_it_needs(why, to, reporter))
    }

    async fn log_in(mut self, offer: &'a Offer) -> Result<Asked, Failure> {
        self.hands.agent = offer.agent.as_ref();
        // As ssh(1) does: a request without credentials tells which methods there are.
        let user = self.shared.to.user.clone();
        let first = answer(self.shared, self.session.authenticate_none(user)).await?;
        if let Tried::In = self.take(first).await? {
            return Ok(self.let_in());
        }
        self.shared.saw(Seen::Methods(self.methods.iter().map(|m| <&str>::from(m).to_owned()).collect()));
        while let Some(method) = self.next_method() {
            let before = self.accepted.len();
            let tried = match method {
                MethodKind::PublicKey => self.by_key(offer).await?,
                MethodKind::KeyboardInteractive => self.by_dialogue().await?,
                MethodKind::Password => self.by_password().await?,
                MethodKind::GssapiWithMic => self.by_ticket(offer).await?,
                MethodKind::None | MethodKind::HostBased => Tried::Refused,
            };
            match tried {
                Tried::In => {
                    // Only keys have a name of their own.
                    if self.accepted.len() == before {
                        self.accepted.push(<&str>::from(&method).to_owned());
                    }
                    return Ok(self.let_in());
                }
                // What remains of the same method may serve for the next part (`publickey,publickey`).
                Tried::Partly if self.accepted.len() < MAX_PARTS => self.spent.clear(),
                Tried::Partly | Tried::Refused => self.spent.push(method),
            }
        }
        let why = self.verdict();
        // It was the agent that asked somebody, which BatchMode does not forbid.
        Err(if self.unwilling.agent.is_empty() { allowed(why, &self.shared.to) } else { why })
    }

    fn let_in(self) -> Asked {
        self.shared.saw(Seen::LetIn(self.accepted));
        self.hands.asked
    }

    fn next_method(&self) -> Option<MethodKind> {
        let possible = |method: &MethodKind| self.methods.contains(method) && !self.spent.contains(method);
        in_order(self.shared.to.login.preferred.as_deref()).into_iter().find(possible)
    }

    fn takes_keys(&self) -> bool {
        self.methods.contains(&MethodKind::PublicKey)
    }

    /// Takes in an answer of the server.
    async fn take(&mut self, result: AuthResult) -> Result<Tried, Failure> {
        match result {
            AuthResult::Success => Ok(Tried::In),
            // A session that died meanwhile looks like a refusal that leaves no method.
            AuthResult::Failure { remaining_methods, .. } if remaining_methods.is_empty() => {
                Err(self.last_words().await)
            }
            AuthResult::Failure { remaining_methods, partial_success } => {
                self.methods = remaining_methods;
                Ok(if partial_success { Tried::Partly } else { Tried::Refused })
            }
        }
    }

    /// Why the session ended during authentication.
    async fn last_words(&self) -> Failure {
        // The reason is known a moment after the answer that it prevented.
        let ended_by_itself = timeout(LAST_WORDS, self.shared.gone.cancelled()).await.is_ok();
        let failure = self.shared.cause().unwrap_or_else(|| ended(&self.shared.hop, &self.shared.tap));
        // Some servers hang up without a word where others say that it was enough. A connection that was
        // reset on its way says nothing about keys.
        let hung_up = self.shared.tap.end() == Some(WireEnd::Closed);
        let without_a_word = ended_by_itself && hung_up && failure.kind == FailureKind::Disconnected;
        if failure == too_many_keys(&self.shared.hop, None) || without_a_word && self.refused.len() >= 3 {
            return too_many_keys(&self.shared.hop, Some(self.offered));
        }
        failure
    }
}

/// Why there is no sense in asking `server` at all: nothing can be offered to it, and nobody is there to answer.
pub(super) fn shortfall(
    offer: &Offer,
    server: &Hop,
    reporter: &Reporter,
    agents: &Agents,
    asker: Option<&Asker>,
) -> Option<Failure> {
    let mut locked = offer.keys.iter().filter_map(Key::locked_in);
    if asker.is_some() || locked.any(|path| agents.passphrases.has(path)) {
        return None;
    }
    let mut why = offer.shortfall(server)?;
    let unlock = format!("nbctl unlock {}", reporter.tunnel());
    if why.kind == FailureKind::NoCredentials && wants_a_person(server) {
        let message = format!("{}@{} asks for what only you can type", server.user, server.label());
        why = Failure::new(FailureKind::AnswerNeeded, message, format!("answer it with `{unlock}`"));
    } else if !server.login.batch {
        why.hint.push_str(&format!("; or answer what is asked with `{unlock}`"));
    }
    let why = allowed(why, server);
    says_what_it_needs(&why, server, reporter);
    Some(why)
}

/// Whether the files say that somebody types something there (`PreferredAuthentications`).
pub(super) fn wants_a_person(server: &Hop) -> bool {
    if server.login.batch {
        return false;
    }
    let first = server.login.preferred.iter().flatten().find(|method| *method != "none");
    first.is_some_and(|method| method == "password" || method == "keyboard-interactive")
}

/// Tells which login it is that needs an answer: others may need the same.
fn says_what_it_needs(why: &Failure, to: &Hop, reporter: &Reporter) {
    if why.kind.wants_an_answer() {
        reporter.tell(LinkEvent::Report(LinkReport::Needs(to.login_key())));
    }
}

/// Our methods as `PreferredAuthentications` orders and restricts them.
fn in_order(preferred: Option<&[String]>) -> Vec<MethodKind> {
    let Some(names) = preferred else { return METHODS.into() };
    let method = |name: &String| METHODS.into_iter().find(|method| <&str>::from(method) == name.trim());
    names.iter().filter_map(method).collect()
}

fn in_words(methods: &MethodSet) -> String {
    let words: Vec<&str> = methods.iter().map(<&str>::from).collect();
    if words.is_empty() { "nothing that we know".to_owned() } else { words.join(" or ") }
}

/// Waits for an answer of the server.
async fn answer<T>(
    shared: &Shared,
    asked: impl Future<Output = Result<T, russh::Error>>,
) -> Result<T, Failure> {
    timeout(ANSWER_DEADLINE, to_its_end(shared, asked))
        .await
        .unwrap_or_else(|_| Err(overdue(&shared.hop, "the login")))
}

/// Waits for an answer that may in turn wait for a person. Core has the deadline.
async fn to_its_end<T>(
    shared: &Shared,
    asked: impl Future<Output = Result<T, russh::Error>>,
) -> Result<T, Failure> {
    match asked.await {
        Ok(answer) => Ok(answer),
        Err(error) => {
            // The error says only that the session is over; the handler learns why.
            let _ = timeout(LAST_WORDS, shared.gone.cancelled()).await;
            Err(shared.cause().unwrap_or_else(|| broken(&shared.hop, &error, &shared.tap)))
        }
    }
}
