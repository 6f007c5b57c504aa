//! Proves who we are by keys (RFC 4252 §7): those that the tunnel names, in the agent or in files, then the agent's
//! others.

use std::future::Future;
use std::sync::Arc;

use nbtunnel_core::{Failure, Step};
use russh::keys::agent::AgentIdentity;
use russh::keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg};
use tokio::time::timeout;

use super::{ANSWER_DEADLINE, Asked, Login, Tried, answer};
use crate::ssh::agent::{self, PatientSigner, Unsigned};
use crate::ssh::classify::overdue;
use crate::ssh::credentials::{KeyFile, Offer, fingerprint, is_in_token};
use crate::ssh::handler::Shared;

impl Login<'_> {
    /// Offers key after key, until one is accepted.
    pub(super) async fn by_key(&mut self, offer: &Offer) -> Result<Tried, Failure> {
        let tried = self.try_agent(&offer.named).await?;
        if tried != Tried::Refused {
            return Ok(tried);
        }
        for file in &offer.files {
            if let KeyFile::Ready { path, key } = file
                && self.takes_keys()
            {
                let tried = self.try_file(&path.display().to_string(), key).await?;
                if tried != Tried::Refused {
                    return Ok(tried);
                }
            }
        }
        self.try_agent(&offer.strangers).await
    }

    /// Offers what the agent holds.
    async fn try_agent(&mut self, held: &[AgentIdentity]) -> Result<Tried, Failure> {
        if held.is_empty() || !self.takes_keys() {
            return Ok(Tried::Refused);
        }
        // A connection of its own, bound to this session, for keys that may only be used with some hosts.
        let Some(mut agent) = self.agent_at.connect().await else { return Ok(Tried::Refused) };
        if let Some(binding) = self.session.agent_session_binding() {
            agent::bind(&mut agent, binding).await;
        }
        for identity in held {
            let held = identity.public_key();
            let what = format!("{} (agent)", fingerprint(&held));
            if !self.takes_keys() || self.accepted.contains(&what) {
                continue;
            }
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
            match tried {
                Ok(result) => {
                    let tried = self.take(result).await?;
                    if tried != Tried::Refused && is_in_token(&held.algorithm()) {
                        self.asked = Asked::Person;
                    }
                    match tried {
                        Tried::In | Tried::Partly => {
                            self.accepted.push(what);
                            return Ok(tried);
                        }
                        Tried::Refused => self.refused.push(what),
                    }
                }
                Err(Unsigned::Agent) => {
                    self.shared.reporter.note(&format!("the agent did not sign with {what}"));
                    self.refused.push(format!("{what}, which did not sign"));
                }
                Err(Unsigned::Session) => return Err(self.last_words().await),
            }
        }
        Ok(Tried::Refused)
    }

    async fn try_file(&mut self, path: &str, key: &Arc<PrivateKey>) -> Result<Tried, Failure> {
        let what = format!("{path} {}", fingerprint(key.public_key()));
        if self.accepted.contains(&what) {
            return Ok(Tried::Refused);
        }
        let Some(hash) = self.hash_for(key.algorithm().is_rsa()).await? else {
            self.refused.push(format!("{what} (needs SHA-1)"));
            return Ok(Tried::Refused);
        };
        self.shared.reporter.step(Step::Authenticate);
        let user = self.shared.to.user.clone();
        let key = PrivateKeyWithHashAlg::new(Arc::clone(key), hash);
        let result = answer(self.shared, self.session.authenticate_publickey(user, key)).await?;
        let tried = self.take(result).await?;
        match tried {
            Tried::In | Tried::Partly => self.accepted.push(what),
            Tried::Refused => self.refused.push(what),
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
}

/// Waits for the server and for a signer that has its own deadline.
async fn patient<T>(
    shared: &Shared,
    asked: impl Future<Output = Result<T, Unsigned>>,
) -> Result<Result<T, Unsigned>, Failure> {
    timeout(ANSWER_DEADLINE * 2, asked).await.map_err(|_| overdue(&shared.hop, "the login"))
}
