//! Proves who we are by keys (RFC 4252 §7): each is shown to the server first, and signs only if the server takes it.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use nbtunnel_core::{Failure, FailureKind, Step};
use russh::client::AuthResult;
use russh::keys::{Certificate, HashAlg, PublicKey};
use tokio::time::sleep;

use super::hands::Unsigned;
use super::{ANSWER_DEADLINE, Login, Tried, answer};
use crate::ssh::classify::{overdue, quote};
use crate::ssh::credentials::{Holder, Key, Offer};
use crate::ssh::handler::Shared;
use crate::ssh::sight::Seen;
use crate::wake::Clock;

/// What became of the keys that the server takes and that did not sign.
#[derive(Default)]
pub(super) struct Unwilling {
    /// Nobody said the passphrase.
    pub(super) locked: Vec<PathBuf>,
    /// The agent did not sign.
    pub(super) agent: Vec<String>,
}

impl Login<'_> {
    /// Offers key after key, until one is accepted. Those whose passphrase nobody can say come last, to see whether
    /// one of them is wanted.
    pub(super) async fn by_key(&mut self, offer: &Offer) -> Result<Tried, Failure> {
        let can_sign = |key: &&Key| key.locked_in().is_none_or(|path| self.hands.can_unlock(path));
        let (first, last): (Vec<&Key>, Vec<&Key>) = offer.keys.iter().partition(can_sign);
        for key in first.into_iter().chain(last) {
            if !self.takes_keys() {
                break;
            }
            let tried = self.try_key(key).await?;
            if tried != Tried::Refused {
                return Ok(tried);
            }
        }
        Ok(Tried::Refused)
    }

    async fn try_key(&mut self, key: &Key) -> Result<Tried, Failure> {
        let label = key.label();
        if self.accepted.contains(&label) {
            return Ok(Tried::Refused);
        }
        if matches!(key.holder, Holder::Agent(_)) {
            let binding = self.session.agent_session_binding().cloned();
            if !self.hands.reach_agent(binding.as_ref()).await {
                return Ok(Tried::Refused);
            }
        }
        let public = match (&key.public, key.locked_in()) {
            (Some(public), _) => public.clone(),
            (None, Some(path)) if !self.hands.can_unlock(path) => {
                self.unwilling.locked.push(path.to_owned());
                return Ok(Tried::Refused);
            }
            (None, Some(path)) => match self.hands.unlock(path, "").await {
                Ok(unlocked) => unlocked.public_key().clone(),
                Err(why) => return self.unsigned(why, &label).await,
            },
            (None, None) => return Ok(Tried::Refused),
        };
        let Some(hash) = self.hash_for(&public, key).await? else {
            self.refused.push(format!("{label} (needs SHA-1)"));
            return Ok(Tried::Refused);
        };
        self.shared.reporter.step(Step::Authenticate);
        self.offered += 1;
        match self.authenticate(key, public, hash).await? {
            Ok(result) => {
                let tried = self.take(result).await?;
                self.shared.saw(Seen::Key { label: label.clone(), is_taken: tried != Tried::Refused });
                match tried {
                    Tried::In | Tried::Partly => self.accepted.push(label),
                    Tried::Refused => {
                        let flaw = key.certificate.as_ref().and_then(|certificate| {
                            flaw(certificate, &self.shared.to.user, Clock.wall_ms() / 1000)
                        });
                        self.refused.push(flaw.map_or(label.clone(), |flaw| format!("{label}, {flaw}")));
                    }
                }
                Ok(tried)
            }
            Err(why) => {
                // Only for a key that it takes does a server want a signature.
                if !matches!(why, Unsigned::Session) {
                    self.shared.saw(Seen::Key { label: label.clone(), is_taken: true });
                }
                self.unsigned(why, &label).await
            }
        }
    }

    /// One request with a key, and the signature if the server wants it.
    async fn authenticate(
        &mut self,
        key: &Key,
        public: PublicKey,
        hash: Option<HashAlg>,
    ) -> Result<Result<AuthResult, Unsigned>, Failure> {
        let Login { shared, session, hands, .. } = self;
        let (user, is_busy) = (shared.to.user.clone(), Arc::clone(&hands.is_busy));
        hands.holder = Some(key.holder.clone());
        match &key.certificate {
            Some(certificate) => {
                let certificate = Certificate::clone(certificate);
                patient(
                    shared,
                    &is_busy,
                    session.authenticate_certificate_with(user, certificate, hash, hands),
                )
                .await
            }
            None => {
                patient(shared, &is_busy, session.authenticate_publickey_with(user, public, hash, hands))
                    .await
            }
        }
    }

    /// A key that the server would take, and that does not sign. The next one is tried.
    async fn unsigned(&mut self, why: Unsigned, label: &str) -> Result<Tried, Failure> {
        match why {
            Unsigned::Agent => {
                self.shared.reporter.note(&format!("the agent did not sign with {label}"));
                self.unwilling.agent.push(label.to_owned());
            }
            Unsigned::NoAgent => {
                self.shared.reporter.note(&format!("the agent went away before it signed with {label}"));
            }
            Unsigned::Locked(path) => self.unwilling.locked.push(path),
            Unsigned::Unusable(why) => self.shared.reporter.note(&why),
            Unsigned::Session => return Err(self.last_words().await),
            Unsigned::Late => return Err(self.came_late()),
        }
        Ok(Tried::Refused)
    }

    /// The passphrase was said when the server had gone. Another login needs nobody.
    fn came_late(&self) -> Failure {
        Failure::new(
            FailureKind::Disconnected,
            format!("{} did not wait for the passphrase", self.shared.hop),
            "it is tried again by itself",
        )
    }

    /// What to do when somebody was asked in vain.
    pub(super) fn start_again(&self) -> String {
        format!("be ready to answer, then run `nbctl start {}`", self.shared.reporter.tunnel())
    }

    /// The hash to sign with: `Some(None)` for keys that have only one, `None` for an RSA key with a server
    /// that would take SHA-1 alone.
    async fn hash_for(&mut self, public: &PublicKey, key: &Key) -> Result<Option<Option<HashAlg>>, Failure> {
        if !public.algorithm().is_rsa() {
            return Ok(Some(None));
        }
        let best = match self.rsa_hash {
            Some(best) => best,
            None => {
                let best = answer(self.shared, self.session.best_supported_rsa_hash()).await?;
                // A server that does not say what it takes is asked with the better one.
                *self.rsa_hash.insert(best.unwrap_or(Some(HashAlg::Sha512)))
            }
        };
        let ours = Key { public: Some(public.clone()), ..key.clone() }
            .hashes(self.shared.to.login.key_algorithms.as_deref());
        // A server that takes the better one takes the other one, too.
        let common = |hash: &Option<HashAlg>| *hash == best || best == Some(HashAlg::Sha512);
        Ok(best.and_then(|_| ours.into_iter().find(common)))
    }
}

/// Why a server may have refused a certificate, as far as it can be told from here.
pub(in crate::ssh) fn flaw(certificate: &Certificate, user: &str, now: u64) -> Option<String> {
    if certificate.valid_before() <= now {
        return Some(format!("which expired {} ago", ago(now - certificate.valid_before())));
    }
    if certificate.valid_after() > now {
        return Some(format!("which is valid only in {}", ago(certificate.valid_after() - now)));
    }
    let principals = certificate.valid_principals();
    if principals.iter().any(|principal| principal == user) {
        return None;
    }
    let names = quote(&principals.join(", "));
    Some(if principals.is_empty() {
        "which is for nobody".to_owned()
    } else {
        format!("which is for {names}")
    })
}

/// A time as people say it.
fn ago(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86400),
    }
}

/// Waits for the server, and for whoever signs, who has deadlines of his own.
async fn patient<T>(
    shared: &Shared,
    is_busy: &AtomicBool,
    asked: impl Future<Output = T>,
) -> Result<T, Failure> {
    tokio::pin!(asked);
    loop {
        tokio::select! {
            answered = &mut asked => return Ok(answered),
            () = sleep(ANSWER_DEADLINE) => {}
        }
        if !is_busy.load(Relaxed) {
            return Err(overdue(&shared.hop, "the login"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_the_unit_that_fits() {
        let told = [5, 150, 9000, 200_000].map(ago);
        assert_eq!(told, ["5 s", "2 min", "2 h", "2 days"]);
    }
}
