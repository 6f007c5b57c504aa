//! By what a change of what could be offered is noticed. Looks only at this machine: agents, key files, Kerberos
//! tickets, known_hosts; asks no server.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use russh::keys::agent::AgentIdentity;

use super::fingerprint;
use super::key_files::certificate_beside;
use crate::ssh::agent::{AgentAt, Agents, Found, Held};
use crate::ssh::gssapi::Ticket;
use crate::ssh::hop::{Hop, Plan};
use crate::ssh::system;

/// What could be offered and what the known_hosts files were, at one moment. Two of them differ when
/// something changed that may help a parked tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// What the agents on the way hold.
    pub agents: Vec<AgentMark>,
    /// The identity files, and the certificates.
    pub keys: Vec<FileMark>,
    /// Whose Kerberos ticket there is, if a machine on the way takes those.
    pub ticket: Ticket,
    /// The known_hosts files, the system's too.
    pub known_hosts: Vec<FileMark>,
    /// Identity files whose passphrase is kept.
    pub remembered: Vec<PathBuf>,
}

/// By what a change of an agent is noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentMark {
    /// Which agent; `None` for the usual one.
    pub at: Option<AgentAt>,
    /// Fingerprints of what it holds; `None` when it holds nothing, is locked, or none answers.
    pub held: Option<Vec<String>>,
}

/// By what a change of a file is noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileMark {
    /// The file.
    pub path: PathBuf,
    /// `None` when there is none.
    pub mark: Option<Mark>,
}

/// Of a file that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// When it was last written to, where the system tells.
    pub modified: Option<SystemTime>,
    /// Its length in bytes.
    pub length: u64,
    /// Its permission bits; 0 where there are none.
    pub mode: u32,
    /// Whether we may open it.
    pub readable: bool,
}

/// What the agents on a way said, each asked once.
pub(in crate::ssh) struct Survey {
    asked: Vec<(Option<AgentAt>, Found)>,
    remembered: Vec<PathBuf>,
}

impl Survey {
    /// Asks the agents of every machine of `plan`.
    pub(in crate::ssh) async fn of(plan: &Plan, agents: &Agents) -> Survey {
        let mut asked: Vec<(Option<AgentAt>, Found)> = Vec::new();
        for at in hops(plan).map(|hop| &hop.login.agent) {
            if asked.iter().all(|(before, _)| before != at) {
                asked.push((at.clone(), agents.find(at.as_ref()).await));
            }
        }
        let files = hops(plan).flat_map(|hop| hop.login.identity_files.iter().cloned());
        Survey { asked, remembered: files.filter(|path| agents.passphrases.has(path)).collect() }
    }

    /// What could be offered over the whole way of `plan`.
    pub(in crate::ssh) async fn snapshot(&self, plan: &Plan) -> Option<Snapshot> {
        let agents = self
            .asked
            .iter()
            .map(|(at, found)| AgentMark { at: at.clone(), held: marks(found.held.as_ref()) });
        let (agents, plan) = (agents.collect(), plan.clone());
        let looked = tokio::task::spawn_blocking(move || Snapshot::of(&plan, agents)).await.ok()?;
        Some(Snapshot { remembered: self.remembered.clone(), ..looked })
    }
}

fn hops(plan: &Plan) -> impl Iterator<Item = &Hop> {
    plan.jumps.iter().chain([&plan.server])
}

impl Snapshot {
    /// Looks at the files of a plan. Blocks on the file system.
    pub(in crate::ssh) fn of(plan: &Plan, agents: Vec<AgentMark>) -> Snapshot {
        let logins = || hops(plan).map(|hop| &hop.login);
        let own = |path: &PathBuf| [path.clone(), certificate_beside(path)];
        let keys = logins().flat_map(|login| {
            login.identity_files.iter().flat_map(own).chain(login.certificate_files.clone())
        });
        let known = hops(plan)
            .flat_map(|hop| hop.host_keys.known_hosts.iter().chain(&hop.host_keys.system_known_hosts));
        let ticket = Ticket::look(logins().any(|login| login.gssapi));
        Snapshot {
            remembered: Vec::new(),
            agents,
            keys: keys.map(|path| FileMark::of(&path)).collect(),
            ticket,
            known_hosts: known.map(|path| FileMark::of(path)).collect(),
        }
    }

    /// The same agents and files, as they are now, but for the agents if they are not asked.
    pub(in crate::ssh) async fn again(self, agents: Option<&Agents>) -> Option<Snapshot> {
        let (mut held, mut remembered) = (self.agents, self.remembered);
        if let Some(agents) = agents {
            let files = self.keys.iter().map(|mark| &mark.path);
            remembered = files.filter(|path| agents.passphrases.has(path)).cloned().collect();
            for mark in &mut held {
                mark.held = marks(agents.find(mark.at.as_ref()).await.held.as_ref());
            }
        }
        let again = |marks: &[FileMark]| marks.iter().map(|mark| FileMark::of(&mark.path)).collect();
        let looked = tokio::task::spawn_blocking(move || Snapshot {
            agents: held,
            keys: again(&self.keys),
            ticket: Ticket::look(self.ticket.is_wanted()),
            known_hosts: again(&self.known_hosts),
            remembered,
        });
        looked.await.ok()
    }

    /// Whether `other` has the same to offer, or less: a passphrase whose time was over opens nothing.
    pub(in crate::ssh) fn offers_the_same(&self, other: &Snapshot) -> bool {
        let new = |path: &&PathBuf| !other.remembered.contains(path);
        (&self.agents, &self.keys, &self.ticket) == (&other.agents, &other.keys, &other.ticket)
            && !self.remembered.iter().any(|path| new(&path))
    }
}

impl FileMark {
    /// Looks at a file. Blocks on the file system.
    fn of(path: &Path) -> FileMark {
        let mark = std::fs::metadata(path).ok().map(|metadata| Mark {
            modified: metadata.modified().ok(),
            length: metadata.len(),
            mode: system::mode(&metadata),
            readable: metadata.is_file() && File::open(path).is_ok(),
        });
        FileMark { path: path.to_owned(), mark }
    }
}

/// An agent that is empty, or locked, is as good as none.
fn marks(held: Option<&Held>) -> Option<Vec<String>> {
    let held = held.filter(|held| !held.identities.is_empty())?;
    Some(held.identities.iter().map(mark).collect())
}

/// One key of an agent, or one certificate.
fn mark(identity: &AgentIdentity) -> String {
    let key = fingerprint(&identity.public_key());
    match identity {
        AgentIdentity::PublicKey { .. } => key,
        AgentIdentity::Certificate { certificate, .. } => {
            format!("{key} (certificate {}, until {})", certificate.serial(), certificate.valid_before())
        }
    }
}
