//! The user's SSH agent: where it is, what it holds, a signature from it.
//!
//! Every question has a deadline, and an agent that is absent, locked or hung is never an error: it just
//! offers nothing.

use std::path::PathBuf;
use std::time::Duration;

use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::{AgentClient, AgentStream};
use russh::keys::{Error, HashAlg};
use russh::{SendError, Signer};
use tokio::time::timeout;

use super::system;

/// A connection to an agent.
pub(super) type Agent = AgentClient<Box<dyn AgentStream + Send + Unpin>>;

/// A program that only looks into its memory answers within this time.
const LOOK_DEADLINE: Duration = Duration::from_secs(3);

/// An agent may ask its user before it signs.
const SIGN_DEADLINE: Duration = Duration::from_secs(60);

/// Where the agent is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentAt {
    /// Where the environment says, asked anew each time; on Windows also the usual pipe.
    Usual,
    /// At this socket or pipe.
    Socket(PathBuf),
    /// Nowhere: only key files are offered.
    Nowhere,
}

impl AgentAt {
    /// Where that is now; `None` when nothing is named.
    pub(super) fn socket(&self) -> Option<PathBuf> {
        match self {
            AgentAt::Usual => system::usual_agent(),
            AgentAt::Socket(path) => Some(path.clone()),
            AgentAt::Nowhere => None,
        }
    }

    /// Connects; `None` when nobody is there.
    pub(super) async fn connect(&self) -> Option<Agent> {
        let socket = self.socket()?;
        timeout(LOOK_DEADLINE, system::connect_agent(&socket)).await.ok()?.ok()
    }

    /// What the agent holds; `None` when none answers.
    pub(super) async fn identities(&self) -> Option<Vec<AgentIdentity>> {
        let mut agent = self.connect().await?;
        identities(&mut agent).await
    }
}

/// What this agent holds; `None` when it does not answer.
pub(super) async fn identities(agent: &mut Agent) -> Option<Vec<AgentIdentity>> {
    timeout(LOOK_DEADLINE, agent.request_identities()).await.ok()?.ok()
}

/// Signs by an agent, within the time that a user needs to touch a key.
pub(super) struct PatientSigner<'a>(pub(super) &'a mut Agent);

/// Why an agent did not sign.
#[derive(Debug)]
pub(super) enum Unsigned {
    /// The SSH session is gone.
    Session,
    /// The agent refused, or nobody answered it.
    Agent,
}

impl From<SendError> for Unsigned {
    fn from(_: SendError) -> Self {
        Unsigned::Session
    }
}

impl Signer for PatientSigner<'_> {
    type Error = Unsigned;

    async fn auth_sign(
        &mut self,
        key: &AgentIdentity,
        hash_alg: Option<HashAlg>,
        to_sign: Vec<u8>,
    ) -> Result<Vec<u8>, Unsigned> {
        match timeout(SIGN_DEADLINE, self.0.sign_request(key, hash_alg, to_sign)).await {
            Ok(Ok(signed)) => Ok(signed),
            Ok(Err(_)) | Err(_) => Err(Unsigned::Agent),
        }
    }
}

/// Asks the agent to let keys that are bound to a destination work for this session
/// (session-bind@openssh.com). Agents that do not know it say no, which is no harm.
pub(super) async fn bind(agent: &mut Agent, binding: &russh::keys::agent::AgentSessionBinding) {
    let bound: Result<Result<(), Error>, _> =
        timeout(LOOK_DEADLINE, agent.bind_session(binding, false)).await;
    if !matches!(bound, Ok(Ok(()))) {
        tracing::debug!("the agent does not bind sessions");
    }
}
