//! Proves to the server who we are: the keys that the tunnel names, in the agent or in files, then the
//! agent's others (RFC 4252 §7). Whatever needs a human
//! is not asked here; it becomes a failure that says so.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use nbtunnel_core::{Failure, FailureKind, Step};
use russh::client::{AuthResult, Handle};
use russh::keys::agent::AgentIdentity;
use russh::keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg};
use russh::{MethodKind, MethodSet};
use tokio::time::timeout;

use super::agent::{self, AgentAt, PatientSigner, Unsigned};
use super::classify::{ended, overdue, too_many_keys};
use super::credentials::{KeyFile, Offer, fingerprint, is_in_token};
use super::handler::{Client, Shared};
use super::wire::WireEnd;

/// How long one answer of the server may take, a user's touch on a key included.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);

/// How many refused keys are named.
const MAX_TOLD: usize = 5;

/// How long a session that is ending may take to say why.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// One authentication, from the first request to its end.
pub(super) struct Login<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) session: &'a mut Handle<Client>,
    pub(super) agent_at: &'a AgentAt,
    /// The methods with which the server says one can go on.
    methods: MethodSet,
    /// What was offered and refused, for the message.
    refused: Vec<String>,
    /// Which hash the server takes with RSA keys; asked for when the first one is offered.
    rsa_hash: Option<Option<HashAlg>>,
}

/// Whom logging in took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Nobody,
    /// Somebody had to do something, and would have to do it again.
    Person,
}

/// How one key fared.
enum Tried {
    In,
    Refused,
}

impl<'a> Login<'a> {
    pub(super) fn new(
        shared: &'a Arc<Shared>,
        session: &'a mut Handle<Client>,
        agent_at: &'a AgentAt,
    ) -> Login<'a> {
        Login { shared, session, agent_at, methods: MethodSet::empty(), refused: Vec::new(), rsa_hash: None }
    }

    /// Logs in with what `offer` has, and says whom that took.
    ///
    /// # Errors
    /// `auth_refused`, `answer_needed`, or why the session ended meanwhile.
    pub(super) async fn run(mut self, offer: &Offer) -> Result<Asked, Failure> {
        // As ssh(1) does: a request without credentials tells which methods there are.
        let user = self.shared.to.user.clone();
        let first = answer(self.shared, self.session.authenticate_none(user)).await?;
        if let Tried::In = self.take(first).await? {
            return Ok(Asked::Nobody);
        }
        if let Some(asked) = self.try_agent(&offer.named).await? {
            return Ok(asked);
        }
        for file in &offer.files {
            if let KeyFile::Ready { path, key } = file
                && self.takes_keys()
                && let Tried::In = self.try_file(&path.display().to_string(), key).await?
            {
                return Ok(Asked::Nobody);
            }
        }
        if let Some(asked) = self.try_agent(&offer.strangers).await? {
            return Ok(asked);
        }
        Err(self.verdict(offer))
    }

    fn takes_keys(&self) -> bool {
        self.methods.contains(&MethodKind::PublicKey)
    }

    /// Offers what the agent holds; `None` when nothing of it worked.
    async fn try_agent(&mut self, held: &[AgentIdentity]) -> Result<Option<Asked>, Failure> {
        if held.is_empty() || !self.takes_keys() {
            return Ok(None);
        }
        // A connection of its own, bound to this session, for keys that may only be used with some hosts.
        let Some(mut agent) = self.agent_at.connect().await else { return Ok(None) };
        if let Some(binding) = self.session.agent_session_binding() {
            agent::bind(&mut agent, binding).await;
        }
        for identity in held {
            if !self.takes_keys() {
                return Ok(None);
            }
            let held = identity.public_key();
            let Some(hash) = self.hash_for(held.algorithm().is_rsa()).await? else {
                self.refused.push(format!("{} (needs SHA-1)", fingerprint(&held)));
                continue;
            };
            self.shared.reporter.step(Step::Authenticate);
            let user = self.shared.to.user.clone();
            let signer = &mut PatientSigner(&mut agent);
            let tried = match identity {
                AgentIdentity::PublicKey { key, .. } => {
                    let key = key.clone();
                    patient(self.shared, self.session.authenticate_publickey_with(user, key, hash, signer))
                        .await?
                }
                AgentIdentity::Certificate { certificate, .. } => {
                    let cert = certificate.clone();
                    patient(self.shared, self.session.authenticate_certificate_with(user, cert, hash, signer))
                        .await?
                }
            };
            let what = format!("{} (agent)", fingerprint(&held));
            match tried {
                Ok(result) => {
                    if let Tried::In = self.take(result).await? {
                        let took_touch = is_in_token(&held.algorithm());
                        return Ok(Some(if took_touch { Asked::Person } else { Asked::Nobody }));
                    }
                    self.refused.push(what);
                }
                Err(Unsigned::Agent) => {
                    self.shared.reporter.note(&format!("the agent did not sign with {what}"));
                    self.refused.push(format!("{what}, which did not sign"));
                }
                Err(Unsigned::Session) => return Err(self.last_words().await),
            }
        }
        Ok(None)
    }

    async fn try_file(&mut self, path: &str, key: &Arc<PrivateKey>) -> Result<Tried, Failure> {
        let what = format!("{path} {}", fingerprint(key.public_key()));
        let Some(hash) = self.hash_for(key.algorithm().is_rsa()).await? else {
            self.refused.push(format!("{what} (needs SHA-1)"));
            return Ok(Tried::Refused);
        };
        self.shared.reporter.step(Step::Authenticate);
        let user = self.shared.to.user.clone();
        let key = PrivateKeyWithHashAlg::new(Arc::clone(key), hash);
        let result = answer(self.shared, self.session.authenticate_publickey(user, key)).await?;
        let tried = self.take(result).await?;
        if let Tried::Refused = tried {
            self.refused.push(what);
        }
        Ok(tried)
    }

    /// The hash to sign with: `Some(None)` for keys that have only one, `None` for an RSA key with a server
    /// that would take SHA-1 alone.
    async fn hash_for(&mut self, is_rsa: bool) -> Result<Option<Option<HashAlg>>, Failure> {
        if !is_rsa {
            return Ok(Some(None));
        }
        if self.rsa_hash.is_none() {
            let best = answer(self.shared, self.session.best_supported_rsa_hash()).await?;
            // A server that does not say what it takes is asked with the better one.
            self.rsa_hash = Some(best.unwrap_or(Some(HashAlg::Sha512)));
        }
        Ok(self.rsa_hash.flatten().map(Some))
    }

    /// Takes in an answer of the server.
    async fn take(&mut self, result: AuthResult) -> Result<Tried, Failure> {
        match result {
            AuthResult::Success => Ok(Tried::In),
            // A session that died meanwhile looks like a refusal that leaves no method.
            AuthResult::Failure { remaining_methods, .. } if remaining_methods.is_empty() => {
                Err(self.last_words().await)
            }
            AuthResult::Failure { remaining_methods, partial_success: true } => Err(Failure::new(
                FailureKind::AnswerNeeded,
                format!(
                    "{} accepted the key, and wants {} besides",
                    self.shared.hop,
                    in_words(&remaining_methods)
                ),
                "this version cannot answer that; ask for a login by key alone",
            )),
            AuthResult::Failure { remaining_methods, partial_success: false } => {
                self.methods = remaining_methods;
                Ok(Tried::Refused)
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
        if ended_by_itself && hung_up && failure.kind == FailureKind::Disconnected && self.refused.len() >= 3
        {
            return too_many_keys(&self.shared.hop);
        }
        failure
    }

    /// Nothing worked: what would?
    fn verdict(&self, offer: &Offer) -> Failure {
        let Shared { hop, to, .. } = &**self.shared;
        let by_hand =
            |kind: &MethodKind| matches!(kind, MethodKind::Password | MethodKind::KeyboardInteractive);
        if let Some(encrypted) = offer.needs_answer().filter(|_| self.takes_keys()) {
            return encrypted;
        }
        if self.refused.is_empty() && !self.takes_keys() {
            let methods = in_words(&self.methods);
            let message = format!("{hop} takes no keys from {}, only {methods}", to.user);
            return if self.methods.iter().any(by_hand) {
                let hint = "this version cannot type passwords; ask for a login by key";
                Failure::new(FailureKind::AnswerNeeded, message, hint)
            } else {
                Failure::new(
                    FailureKind::AuthRefused,
                    message,
                    "ask the server's administrator for a login by key",
                )
            };
        }
        let offered = if self.refused.is_empty() {
            "the agent went away before a key could be offered".to_owned()
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
                "check user in the tunnel's file, and add your public key to ~/.ssh/authorized_keys there (ssh-copy-id -p {} {}@{})",
                to.port, to.user, to.host
            ),
        )
    }
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
    match timeout(ANSWER_DEADLINE, asked).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => {
            // The error says only that the session is over; the handler learns why.
            let _ = timeout(LAST_WORDS, shared.gone.cancelled()).await;
            Err(shared.cause().unwrap_or_else(|| super::classify::broken(&shared.hop, &error, &shared.tap)))
        }
        Err(_) => Err(overdue(&shared.hop, "the login")),
    }
}

/// Waits for the server and for a signer that has its own deadline.
async fn patient<T>(
    shared: &Shared,
    asked: impl Future<Output = Result<T, Unsigned>>,
) -> Result<Result<T, Unsigned>, Failure> {
    timeout(ANSWER_DEADLINE * 2, asked).await.map_err(|_| overdue(&shared.hop, "the login"))
}
