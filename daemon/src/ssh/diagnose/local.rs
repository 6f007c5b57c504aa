//! What is looked at on this machine: what ssh_config says, and what could be offered to each machine on the way.
//! Asks no server.

use std::time::Duration;

use nbtunnel_core::{FailureKind, Route};
use tokio::time::timeout;

use crate::finding::{Finding, Layer};
use crate::ssh::agent::AgentAt;
use crate::ssh::auth::wants_a_person;
use crate::ssh::credentials::{KeyFile, Offer, look};
use crate::ssh::hop::Hop;
use crate::ssh_config::{self, Query};

/// Who read which ssh_config, and what of it is not followed.
pub(super) async fn ssh_config(route: &Route, unhonoured: Vec<String>) -> Vec<Finding> {
    let query = Query::of(route);
    let of_it = match ssh_config::program() {
        None => Finding::warn(
            Layer::SshConfig,
            "there is no ssh program on the PATH, so that no ssh_config is read",
            "install OpenSSH's client, if the host stands in ~/.ssh/config",
        ),
        Some(_) if query.is_idle() => {
            Finding::ok(Layer::SshConfig, "none is read, as the tunnel's file says")
        }
        Some(program) => {
            let said = ssh_config::ask(&query).await;
            let mut files = said.ok().flatten().map(|said| said.read_from).unwrap_or_default();
            files.retain(|file| file.is_file());
            let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
            let of = if files.is_empty() { "no file".to_owned() } else { files.join(", ") };
            Finding::ok(Layer::SshConfig, format!("what {} makes of {of}", program.display()))
        }
    };
    let not_followed = unhonoured
        .into_iter()
        .map(|note| Finding::warn(Layer::SshConfig, note, "the tunnel goes on without it"));
    [of_it].into_iter().chain(not_followed).collect()
}

/// Looks at what could be offered to `hop`.
pub(super) async fn look_at(usual: &AgentAt, hop: &Hop, patience: Duration) -> Vec<Finding> {
    let agent = hop.login.agent.as_ref().unwrap_or(usual);
    let held = agent.identities().await;
    let agent = match (agent.socket(), &held) {
        (None, _) => Finding::ok(Layer::Agent, "no SSH agent is named (SSH_AUTH_SOCK)"),
        (Some(socket), Some(held)) => {
            Finding::ok(Layer::Agent, format!("the agent at {} holds {}", socket.display(), keys(held.len())))
        }
        (Some(socket), None) => Finding::warn(
            Layer::Agent,
            format!("the agent at {} does not answer", socket.display()),
            "start it again, or give the daemon the SSH_AUTH_SOCK of one that runs",
        ),
    };
    let credentials = match timeout(patience, look(held, hop)).await {
        Ok(offer) => credentials(&offer, hop),
        Err(_) => Finding::warn(
            Layer::Credentials,
            "the key files could not be looked at in time",
            "check the file system that they are on",
        ),
    };
    vec![agent.at(hop.label()), credentials.at(hop.label())]
}

fn credentials(offer: &Offer, hop: &Hop) -> Finding {
    if let Some(failure) = offer.shortfall(hop) {
        if failure.kind == FailureKind::NoCredentials && wants_a_person(hop) {
            return Finding::ok(Layer::Credentials, "there is no key, and a person is to be asked");
        }
        return Finding::broken(Layer::Credentials, &failure);
    }
    let mut said: Vec<String> = Vec::new();
    match offer.named.len() {
        0 => {}
        count => said.push(format!("{} in the agent, as the files name them", keys(count))),
    }
    for file in &offer.files {
        said.push(match file {
            KeyFile::Ready { path, .. } => format!("{} can be used", path.display()),
            KeyFile::Encrypted { path } => format!("{} needs its passphrase", path.display()),
        });
    }
    match offer.strangers.len() {
        0 => {}
        count if said.is_empty() => said.push(format!("{} in the agent", keys(count))),
        count => said.push(format!("{} more in the agent", keys(count))),
    }
    let text = said.join("; ");
    match offer.notes.as_slice() {
        [] => Finding::ok(Layer::Credentials, text),
        notes => Finding::warn(
            Layer::Credentials,
            format!("{text}; {}", notes.join("; ")),
            "mend what is not used, or leave it out of identity_file",
        ),
    }
}

fn keys(count: usize) -> String {
    if count == 1 { "1 key".to_owned() } else { format!("{count} keys") }
}
