//! One SSH session's life: resolve, dial, check the host key, log in, carry channels, notice the end.
//!
//! Does what core asks for and reports what happened; decides nothing. The only place that names russh.
//! [`Links`] starts links, [`trust()`] writes host keys, [`Lookout`] sees when a parked tunnel may go on.

mod address;
mod agent;
mod algorithms;
mod alive;
mod auth;
mod beyond;
mod carry;
mod certificate;
mod channel;
mod channel_stream;
mod classify;
mod count;
mod credentials;
mod diagnose;
mod dial;
mod distance;
mod doors;
mod far_side;
mod greeting;
mod gssapi;
mod handler;
mod hop;
mod hostkey;
mod hung_up;
mod known_file;
mod known_hosts;
mod known_line;
mod known_text;
mod link;
mod logged_in;
mod lookout;
mod own_end;
mod passphrases;
mod plan;
mod pool;
mod programs;
mod proxy_command;
#[cfg_attr(unix, path = "proxy_unix.rs")]
#[cfg_attr(windows, path = "proxy_windows.rs")]
mod proxy_system;
mod reach;
mod read_ahead;
mod report;
mod resolve;
mod rotation;
mod script;
mod settings;
mod sight;
#[cfg(target_os = "linux")]
#[path = "socket_linux.rs"]
mod socket;
#[cfg(not(target_os = "linux"))]
#[path = "socket_other.rs"]
mod socket;
mod stream;
mod system;
mod traffic;
mod trust;
mod upkeep;
mod wire;

#[cfg(test)]
#[cfg(unix)]
mod shakebed;

#[cfg(test)]
#[cfg(unix)]
mod testbed;

#[cfg(test)]
#[cfg(unix)]
mod tunnelbed;

#[cfg(test)]
#[cfg(unix)]
mod corpus_tests;

#[cfg(test)]
#[cfg(unix)]
mod link_tests;

#[cfg(test)]
#[cfg(unix)]
mod greet_tests;

#[cfg(test)]
#[cfg(unix)]
mod login_tests;

#[cfg(test)]
#[cfg(unix)]
mod together_tests;

#[cfg(test)]
#[cfg(unix)]
mod token_tests;

#[cfg(test)]
#[cfg(unix)]
mod upkeep_tests;

#[cfg(test)]
#[cfg(unix)]
mod code_tests;

#[cfg(test)]
#[cfg(unix)]
mod ways_tests;

#[cfg(test)]
#[cfg(unix)]
mod hints_tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

pub use agent::{AgentAt, Agents, Surveyed};
pub use credentials::{AgentMark, FileMark, Mark, Snapshot};
pub use diagnose::{Candidate, OnFinding, Patient, Signs, Trial};
pub use gssapi::Ticket;
pub use hop::{Hop, Plan};
pub use hostkey::OfferedKey;
pub use known_hosts::{Recorded, Verdict};
pub use known_line::lines_that_name;
pub use link::Link;
pub use lookout::{Changed, Lookout, OnChange};
pub use plan::Account;
pub use report::{LinkEvent, OnLink};
pub use sight::{Seen, Sight};
pub use trust::{Written, trust};

/// Whether this build knows Kerberos (the cargo feature `gssapi`).
pub const HAS_KERBEROS: bool = gssapi::IS_HERE;

/// Tells how long ago some origin was, on a clock that stands still while the machine sleeps, so that a
/// probe under way during a sleep does not look like a slow one. Only differences are used.
pub type Stopwatch = Arc<dyn Fn() -> Duration + Send + Sync>;

/// What all links share: the runtime that carries data, the resolver, the agent, and what they found out
/// for each other.
pub struct Links {
    data: Handle,
    stopwatch: Stopwatch,
    agents: Arc<Agents>,
    account: Account,
    resolver: resolve::Resolver,
    told: report::Told,
    distances: Arc<distance::Distances>,
    pool: pool::Pool,
}

impl Links {
    /// Links whose tasks run on `data`. `agent` is asked where nothing names another one.
    pub fn new(data: Handle, stopwatch: Stopwatch, agent: AgentAt, account: Account) -> Arc<Links> {
        let resolver = resolve::Resolver::new(data.clone());
        let (told, distances, pool) = Default::default();
        let agents = Agents::new(agent, account.home.clone());
        Arc::new(Links { data, stopwatch, agents, account, resolver, told, distances, pool })
    }

    /// Forgets what people said, which nobody needs any more.
    pub fn forget_passphrases(&self) {
        self.agents.passphrases.forget_all();
    }

    /// The agents that they ask.
    pub fn agents(&self) -> &Arc<Agents> {
        &self.agents
    }
}
