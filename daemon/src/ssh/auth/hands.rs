//! Who signs: the agent, a key from a file, or one that is unlocked first. Agents and people are waited for, and
//! what is waited for is told.

use std::collections::HashMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use nbtunnel_core::{Asks, LinkReport};
use russh::keys::agent::AgentIdentity;
use russh::keys::signature::Signer as _;
use russh::keys::ssh_encoding::Encode;
use russh::keys::ssh_key::Signature;
use russh::keys::ssh_key::private::KeypairData;
use russh::keys::{Error, HashAlg, PrivateKey};
use russh::{SendError, Signer};
use tokio::time::{sleep, timeout};

use super::Asked;
use crate::ask::Asker;
use crate::ssh::agent::{self, Agent, Agents, Candidate};
use crate::ssh::credentials::{Holder, fingerprint, is_in_token};
use crate::ssh::handler::Shared;
use crate::ssh::report::LinkEvent;

/// An agent may ask its user before it signs. Servers wait twice as long for the whole login.
const SIGN_DEADLINE: Duration = Duration::from_secs(60);

/// Who has not signed by then is asking somebody.
const SIGNS_AT_ONCE: Duration = Duration::from_secs(1);

/// Those who sign in one login.
pub(super) struct Hands<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) agents: &'a Agents,
    /// Who may be asked, if somebody is there.
    pub(super) asker: Option<&'a Asker>,
    /// The agent that holds what is offered from one.
    pub(super) agent: Option<&'a Candidate>,
    /// Whose turn it is to sign.
    pub(super) holder: Option<Holder>,
    /// A connection of its own, bound to this session, for keys that may only be used with some hosts.
    connection: Option<Agent>,
    /// Keys whose passphrase was said.
    unlocked: HashMap<PathBuf, Arc<PrivateKey>>,
    /// Whom it took so far.
    pub(super) asked: Asked,
    /// Whether the server waits for us now.
    pub(super) is_busy: Arc<AtomicBool>,
}

/// Why there is no signature.
#[derive(Debug)]
pub(super) enum Unsigned {
    /// The SSH session is gone.
    Session,
    /// It went while somebody was asked for a passphrase.
    Late,
    /// The agent refused, or its user, or it did not answer in time.
    Agent,
    /// There is no agent any more.
    NoAgent,
    /// Nobody said the passphrase of this key.
    Locked(PathBuf),
    /// The file is no use after all, in a sentence.
    Unusable(String),
}

impl From<SendError> for Unsigned {
    fn from(_: SendError) -> Self {
        Unsigned::Session
    }
}

impl<'a> Hands<'a> {
    pub(super) fn new(shared: &'a Arc<Shared>, agents: &'a Agents, asker: Option<&'a Asker>) -> Hands<'a> {
        let (agent, holder, connection, unlocked, is_busy) = Default::default();
        let asked = Asked::Nobody;
        Hands { shared, agents, asker, agent, holder, connection, unlocked, asked, is_busy }
    }

    /// Waits for somebody who may take his time, and tells so when he does. `None`: the session ended meanwhile.
    /// It can be seen to end only while it does not wait for a signature.
    async fn wait<T>(&self, asks: Asks, answer: impl Future<Output = T>) -> (Option<T>, bool) {
        let _busy = Busy::new(&self.is_busy);
        let tell = |asks| self.shared.reporter.tell(LinkEvent::Report(LinkReport::Asking(asks)));
        tokio::pin!(answer);
        let at_once = tokio::select! {
            answered = &mut answer => Some(Some(answered)),
            () = self.shared.gone.cancelled() => Some(None),
            () = sleep(SIGNS_AT_ONCE) => None,
        };
        if let Some(answered) = at_once {
            return (answered, false);
        }
        tell(asks);
        let answered = tokio::select! {
            answered = answer => Some(answered),
            () = self.shared.gone.cancelled() => None,
        };
        tell(Asks::Nobody);
        (answered, true)
    }

    /// Makes sure that there is an agent to be asked, bound to this session.
    pub(super) async fn reach_agent(
        &mut self,
        binding: Option<&russh::keys::agent::AgentSessionBinding>,
    ) -> bool {
        if self.connection.is_none()
            && let Some(mut connection) = async { self.agent?.connect().await }.await
        {
            if let Some(binding) = binding {
                agent::bind(&mut connection, binding).await;
            }
            self.connection = Some(connection);
        }
        self.connection.is_some()
    }

    async fn sign_by_agent(
        &mut self,
        identity: &AgentIdentity,
        hash: Option<HashAlg>,
        to_sign: Vec<u8>,
    ) -> Result<Vec<u8>, Unsigned> {
        let (Some(mut connection), Some(agent)) = (self.connection.take(), self.agent) else {
            return Err(Unsigned::NoAgent);
        };
        let key = identity.public_key();
        let print = fingerprint(&key);
        let turn = self.agents.turn(agent);
        let _mine = match self.wait(Asks::Agent, turn.come(&print)).await {
            (Some(Some(mine)), _) => mine,
            (Some(None), _) => return Err(Unsigned::Agent),
            (None, _) => return Err(Unsigned::Session),
        };
        let signing = timeout(SIGN_DEADLINE, connection.sign_request(identity, hash, to_sign));
        let (signed, took_time) = self.wait(Asks::Agent, signing).await;
        match signed {
            Some(Ok(Ok(signed))) => {
                if (took_time || is_in_token(&key.algorithm())) && self.asked == Asked::Nobody {
                    self.asked = Asked::Person;
                }
                self.connection = Some(connection);
                Ok(signed)
            }
            Some(Ok(Err(Error::IO(_)))) => Err(Unsigned::NoAgent),
            Some(Ok(Err(_)) | Err(_)) => {
                turn.refused(&print);
                Err(Unsigned::Agent)
            }
            None => Err(Unsigned::Session),
        }
    }

    /// The key in `path`, once its passphrase was said.
    pub(super) async fn unlock(&mut self, path: &Path, print: &str) -> Result<Arc<PrivateKey>, Unsigned> {
        if let Some(key) = self.unlocked.get(path) {
            return Ok(Arc::clone(key));
        }
        if let Some(key) = self.open_as_before(path).await {
            self.unlocked.insert(path.to_owned(), Arc::clone(&key));
            return Ok(key);
        }
        let (key, is_kept) = match self.open_as_said(path).await {
            Some(key) => (key, false),
            None => match self.wait(Asks::Person, self.ask_passphrase(path, print)).await {
                (Some(unlocked), _) => unlocked?,
                (None, _) => return Err(Unsigned::Late),
            },
        };
        self.unlocked.insert(path.to_owned(), Arc::clone(&key));
        if !self.add_to_agent(&key).await && !is_kept {
            self.asked = Asked::Typed;
        }
        Ok(key)
    }
}

/// As long as it lives, we are the one who is waited for.
struct Busy<'a>(&'a AtomicBool);

impl Busy<'_> {
    fn new(is_busy: &AtomicBool) -> Busy<'_> {
        is_busy.store(true, Relaxed);
        Busy(is_busy)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.store(false, Relaxed);
    }
}

impl Signer for Hands<'_> {
    type Error = Unsigned;

    async fn auth_sign(
        &mut self,
        identity: &AgentIdentity,
        hash: Option<HashAlg>,
        to_sign: Vec<u8>,
    ) -> Result<Vec<u8>, Unsigned> {
        let key = match self.holder.clone() {
            // The agent may know the key of a certificate without the certificate.
            Some(Holder::Agent(held)) => return self.sign_by_agent(&held, hash, to_sign).await,
            Some(Holder::File { key, .. }) => key,
            Some(Holder::Locked { path }) => self.unlock(&path, &fingerprint(&identity.public_key())).await?,
            None => return Err(Unsigned::NoAgent),
        };
        let signing = tokio::task::spawn_blocking(move || sign(&key, hash, to_sign));
        signing.await.ok().flatten().ok_or_else(|| Unsigned::Unusable("the key does not sign".to_owned()))
    }
}

/// What was to be signed, and behind it the signature (RFC 4252 §7).
fn sign(key: &PrivateKey, hash: Option<HashAlg>, mut data: Vec<u8>) -> Option<Vec<u8>> {
    let signature: Signature = match key.key_data() {
        KeypairData::Rsa(pair) => (pair, hash).try_sign(&data).ok()?,
        other => other.try_sign(&data).ok()?,
    };
    signature.encode_prefixed(&mut data).ok()?;
    Some(data)
}
