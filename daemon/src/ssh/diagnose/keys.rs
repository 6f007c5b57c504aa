//! What a tunnel offers to its server, and what the server makes of it: by a login of its own, with keys alone and
//! nobody who could be asked. A key that needs its passphrase is shown all the same, since a server says whether it
//! takes a key before it wants a signature (RFC 4252 §7).

use std::path::PathBuf;
use std::sync::Arc;

use nbtunnel_core::session::overdue;
use nbtunnel_core::{Failure, FailureKind, Route, Step};
use russh::keys::PublicKey;
use tokio::time::timeout;

use super::walk::{Server, Walk};
use super::{LONGEST_STEP, OnFinding, Patient, alone, broken_inside, connect, local};
use crate::finding::{Finding, Layer};
use crate::ssh::Links;
use crate::ssh::credentials::{Holder, Key, Offer, fingerprint, look, with_files};
use crate::ssh::hop::{Hop, Plan};
use crate::ssh::plan::plan;
use crate::ssh::pool::Role;

/// The one method that is tried.
const BY_KEY: &str = "publickey";

/// What is offered to a server, and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trial {
    /// The account there, as `user@host:port`.
    pub account: String,
    /// In the order in which they are offered.
    pub keys: Vec<Candidate>,
    /// What cannot be offered, and why, a sentence each.
    pub notes: Vec<String>,
    /// Whether it let us in; `None` where nobody tried.
    pub let_in: Option<bool>,
}

/// A key, or a certificate of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The file that names it, where there is one.
    pub file: Option<PathBuf>,
    /// Who signs with it.
    pub holder: Signs,
    /// The public half, as a line of `authorized_keys`; unknown for encrypted files of old formats.
    pub public: Option<String>,
    /// `SHA256:…` of it.
    pub fingerprint: Option<String>,
    /// The name of the certificate.
    pub certificate: Option<String>,
    /// Whether the server takes it, if it saw it.
    pub is_taken: Option<bool>,
    /// What it is called on the way.
    label: String,
}

/// Who signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signs {
    /// An agent.
    Agent,
    /// Whoever reads its file.
    File,
    /// The same, once somebody said its passphrase.
    Locked,
}

impl Links {
    /// The way that `route` means now. Goes nowhere.
    ///
    /// # Errors
    /// Why that cannot be said.
    pub async fn plan(self: &Arc<Self>, route: Route) -> Result<Plan, Failure> {
        let links = Arc::clone(self);
        let planned = alone(&self.data, async move { planned(&links, &route).await }).await;
        planned.unwrap_or_else(|| Err(broken_inside()))
    }

    /// What `patient` offers to its server. Asks no server.
    ///
    /// # Errors
    /// Why that cannot be said.
    pub async fn keys(self: &Arc<Self>, patient: Patient) -> Result<Trial, Failure> {
        let links = Arc::clone(self);
        let looked = alone(&self.data, async move {
            let plan = planned(&links, &patient.route).await?;
            let (offer, files) = offered(&links, &plan.server).await;
            Ok(Trial::of(&plan.server, &offer, &files))
        });
        looked.await.unwrap_or_else(|| Err(broken_inside()))
    }

    /// Logs in to the server of `patient` with its keys, or with the one in `file`. Dropping the future ends it at
    /// once, whatever it waits for.
    pub async fn try_keys(self: &Arc<Self>, patient: Patient, file: Option<PathBuf>, on: OnFinding) -> Trial {
        let host = patient.route.host.clone();
        let tried = alone(&self.data, try_keys(Arc::clone(self), patient, file, Arc::clone(&on))).await;
        tried.unwrap_or_else(|| Err(broken_inside())).unwrap_or_else(|failure| {
            on(Finding::broken(Layer::Way, &failure));
            Trial { account: host, let_in: Some(false), ..Trial::default() }
        })
    }
}

async fn planned(links: &Links, route: &Route) -> Result<Plan, Failure> {
    let planned = timeout(LONGEST_STEP, plan(route, &links.account)).await;
    planned.unwrap_or_else(|_| Err(overdue(Step::Resolve))).map(|planned| planned.plan)
}

/// What there is to offer to `hop`, and the file of each.
async fn offered(links: &Links, hop: &Hop) -> (Offer, Vec<Option<PathBuf>>) {
    let offer = look(&links.agents, hop).await;
    with_files(offer, &hop.login).await
}

async fn try_keys(
    links: Arc<Links>,
    patient: Patient,
    file: Option<PathBuf>,
    on: OnFinding,
) -> Result<Trial, Failure> {
    let mut plan = planned(&links, &patient.route).await?;
    let login = &mut plan.server.login;
    login.preferred = Some(vec![BY_KEY.to_owned()]);
    login.gssapi = false;
    if let Some(file) = file {
        login.identity_files = vec![file];
        login.certificate_files.clear();
        login.identities_only = true;
    }
    let patience = patient.policy.connect_timeout.min(LONGEST_STEP);
    let mut walk = Walk::new(&plan, Arc::clone(&on), Arc::clone(&links.stopwatch));
    for hop in &plan.jumps {
        walk.carries(hop, local::look_at(&links.agents, hop, patience).await);
    }
    let local = local::look_at(&links.agents, &plan.server, patience).await;
    walk.carries(&plan.server, local.into_iter().map(only_locked).collect());
    let (offer, files) = offered(&links, &plan.server).await;
    let mut trial = Trial::of(&plan.server, &offer, &files);
    let connected = connect(&links, &patient.name, &plan, Role::Try, patience, &mut walk).await;
    trial.let_in = Some(connected.is_ok());
    trial.take(walk.server());
    let taken = trial.keys.iter().find(|key| key.is_taken == Some(true));
    let seen = walk.server();
    match (connected, taken) {
        (Ok(lease), _) => {
            walk.ended(None);
            lease.give_up().await;
        }
        (Err(failure), Some(key)) => on(short_of(&failure, key, &plan.server, &patient.name)),
        // The one method is our choice; that it is ruled out would be said to be the user's.
        (Err(_), None) if !seen.methods.is_empty() && seen.methods.iter().all(|method| method != BY_KEY) => {
            let methods = seen.methods.join(" or ");
            let failure = no_keys_there(&plan.server, &methods, &patient.name);
            walk.ended(Some(&failure));
        }
        (Err(failure), None) => walk.ended(Some(&failure)),
    }
    Ok(trial)
}

/// A look at keys all of which are locked is no obstacle to showing them.
fn only_locked(finding: Finding) -> Finding {
    match finding.kind {
        Some(FailureKind::PassphraseNeeded) => Finding {
            at: finding.at,
            ..Finding::warn(finding.layer, finding.message, "the server is shown the public half alone")
        },
        _ => finding,
    }
}

/// The server takes `key`, and that was not enough.
fn short_of(failure: &Failure, key: &Candidate, server: &Hop, tunnel: &str) -> Finding {
    let label = &key.label;
    let (message, hint) = match failure.kind {
        FailureKind::PassphraseNeeded => (
            format!("it takes {label}, whose passphrase is needed to log in"),
            format!("type it with `nbctl unlock {tunnel}`, or run ssh-add"),
        ),
        // The agent did not sign, which has a hint of its own.
        FailureKind::AnswerNeeded => {
            (format!("it takes {label}; but {}", failure.message), failure.hint.clone())
        }
        _ => (
            format!("it takes {label}; but {}", failure.message),
            format!("answer the rest with `nbctl unlock {tunnel}`"),
        ),
    };
    Finding::warn(Layer::Authentication, message, hint).at(server.label())
}

fn no_keys_there(server: &Hop, methods: &str, tunnel: &str) -> Failure {
    Failure::new(
        FailureKind::AnswerNeeded,
        format!("{} takes no key from {} at all, only {methods}", server.label(), server.user),
        format!(
            "answer what it asks with `nbctl unlock {tunnel}`, or ask its administrator for a login by key"
        ),
    )
}

impl Trial {
    fn of(server: &Hop, offer: &Offer, files: &[Option<PathBuf>]) -> Trial {
        let keys = offer.keys.iter().zip(files).map(|(key, file)| Candidate::of(key, file.clone())).collect();
        let account = format!("{}@{}", server.user, server.label());
        Trial { account, keys, notes: offer.notes.clone(), let_in: None }
    }

    /// Takes in what the server said of each.
    fn take(&mut self, seen: Server<'_>) {
        for (label, is_taken) in seen.keys {
            if let Some(key) = self.keys.iter_mut().find(|key| key.label == *label) {
                key.is_taken = Some(*is_taken);
            }
        }
    }
}

impl Candidate {
    fn of(key: &Key, file: Option<PathBuf>) -> Candidate {
        let holder = match &key.holder {
            Holder::Agent(_) => Signs::Agent,
            Holder::File { .. } => Signs::File,
            Holder::Locked { .. } => Signs::Locked,
        };
        Candidate {
            file,
            holder,
            public: key.public.as_ref().and_then(|public| PublicKey::to_openssh(public).ok()),
            fingerprint: key.public.as_ref().map(fingerprint),
            certificate: key.certificate.as_ref().map(|certificate| certificate.key_id().to_owned()),
            is_taken: None,
            label: key.label(),
        }
    }
}
