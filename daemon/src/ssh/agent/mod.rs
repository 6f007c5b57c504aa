//! The user's SSH agents: where they are, what they hold, signatures from them.
//!
//! Every question has a deadline, and an agent that is absent, locked or hung is never an error: it just
//! offers nothing.

mod at;
#[cfg_attr(target_os = "linux", path = "environment_linux.rs")]
#[cfg_attr(target_os = "macos", path = "environment_macos.rs")]
#[cfg_attr(not(any(target_os = "linux", target_os = "macos")), path = "environment_other.rs")]
mod environment;
mod turns;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::keys::agent::AgentIdentity;
use tokio::time::timeout;

pub use at::AgentAt;
pub(super) use at::{Candidate, Why};
pub(super) use system::Agent;
use turns::{Turn, Turns};

use super::credentials::fingerprint;
use super::passphrases::Passphrases;
use super::system;
use environment::Environment;

/// A program that only looks into its memory answers within this time.
const LOOK_DEADLINE: Duration = Duration::from_secs(3);

/// The agents that there are, and whose turn it is to let one of them sign.
pub struct Agents {
    /// What is asked where ssh_config names none.
    usual: AgentAt,
    home: PathBuf,
    /// What the environment of the last nbctl named.
    passed: Mutex<Option<PathBuf>>,
    environment: Environment,
    turns: Turns,
    /// What was said of keys that are in no agent, and may be kept.
    pub(super) passphrases: Passphrases,
}

/// What one place said.
#[derive(Debug)]
pub(super) enum Said {
    /// It holds these keys: none, if it is empty or locked.
    Holds(Vec<AgentIdentity>),
    /// Nobody answered in time.
    Hangs,
    /// There is nobody, or no agent.
    Nobody(io::Error),
}

/// One place of [`Agents::survey`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surveyed {
    /// Where it is, and who says so.
    pub agent: String,
    /// Whether there is an agent that answers.
    pub answers: bool,
    /// What it holds, or what is wrong.
    pub says: String,
}

/// What an agent holds, and which one it is.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) agent: Candidate,
    pub(super) identities: Vec<AgentIdentity>,
}

/// What was found out about agents.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    /// The first agent that holds keys, else the first that answers at all.
    pub(super) held: Option<Held>,
    /// Who was passed over and should not have been, a sentence each.
    pub(super) notes: Vec<String>,
}

impl Agents {
    /// Agents as `usual` says where ssh_config says nothing. `home` is the user's.
    pub(super) fn new(usual: AgentAt, home: PathBuf) -> Arc<Agents> {
        let (passed, environment, turns, passphrases) = Default::default();
        Arc::new(Agents { usual, home, passed, environment, turns, passphrases })
    }

    /// The environment of an nbctl named this agent.
    pub fn passed_by_nbctl(&self, place: PathBuf) {
        *self.passed.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
    }

    /// Where `at` is now, in the order in which the places are asked.
    pub(super) async fn candidates(&self, at: Option<&AgentAt>) -> Vec<Candidate> {
        let passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        at.unwrap_or(&self.usual).candidates(&self.environment, passed, &self.home).await
    }

    /// Asks each place in turn, until one holds keys.
    pub(super) async fn find(&self, at: Option<&AgentAt>) -> Found {
        let mut found = Found::default();
        for agent in self.candidates(at).await {
            match agent.look().await {
                Said::Holds(identities) => {
                    let is_empty = identities.is_empty();
                    if found.held.is_none() || !is_empty {
                        found.held = Some(Held { agent, identities });
                    }
                    if !is_empty {
                        break;
                    }
                }
                Said::Hangs => found.notes.push(format!("{agent} does not answer and is passed over")),
                Said::Nobody(error) => tracing::debug!("{agent}: {error}"),
            }
        }
        found
    }

    /// Every place with what it says, for those who want to know why a key is not offered.
    pub async fn survey(&self, at: Option<&AgentAt>) -> Vec<Surveyed> {
        let mut surveyed = Vec::new();
        for agent in self.candidates(at).await {
            let (answers, says) = match agent.look().await {
                Said::Holds(keys) if keys.is_empty() => (true, "holds no key, or is locked".to_owned()),
                Said::Holds(keys) => {
                    let prints: Vec<String> = keys.iter().map(|key| fingerprint(&key.public_key())).collect();
                    (true, format!("holds {}", prints.join(", ")))
                }
                Said::Hangs => (false, "does not answer".to_owned()),
                Said::Nobody(error) => (false, format!("is not there: {error}")),
            };
            surveyed.push(Surveyed { agent: agent.to_string(), answers, says });
        }
        surveyed
    }

    /// The queue of those who want a signature of `agent`.
    pub(super) fn turn(&self, agent: &Candidate) -> Arc<Turn> {
        self.turns.at(&agent.place)
    }
}

impl Candidate {
    /// Connects; `None` when nobody is there.
    pub(super) async fn connect(&self) -> Option<Agent> {
        timeout(LOOK_DEADLINE, system::connect_agent(&self.place)).await.ok()?.ok()
    }

    /// What it holds.
    pub(super) async fn look(&self) -> Said {
        let looked = async {
            let mut agent = system::connect_agent(&self.place).await?;
            agent.request_identities().await.map_err(|error| match error {
                russh::keys::Error::IO(error) => error,
                other => io::Error::other(other),
            })
        };
        match timeout(LOOK_DEADLINE, looked).await {
            Ok(Ok(identities)) => Said::Holds(identities),
            Ok(Err(error)) => Said::Nobody(error),
            Err(_) => Said::Hangs,
        }
    }
}

/// Asks the agent to let keys that are bound to a destination work for this session
/// (session-bind@openssh.com). Agents that do not know it say no, which is no harm.
pub(super) async fn bind(agent: &mut Agent, binding: &russh::keys::agent::AgentSessionBinding) {
    // Each hop is a session of our own, so nothing is ever forwarded.
    let bound = timeout(LOOK_DEADLINE, agent.bind_session(binding, false)).await;
    if !matches!(bound, Ok(Ok(()))) {
        tracing::debug!("the agent does not bind sessions");
    }
}
