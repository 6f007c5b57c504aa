//! What is looked at on this machine: what ssh_config says, and what could be offered to each machine on the way.
//! Asks no server.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nbtunnel_core::{FailureKind, Route};
use russh::keys::Certificate;
use tokio::time::timeout;

use crate::finding::{Finding, Layer};
use crate::ssh::agent::{Agents, Said, Why};
use crate::ssh::auth::{allowed, flaw, wants_a_person};
use crate::ssh::credentials::{Holder, Key, Offer, look};
use crate::ssh::hop::Hop;
use crate::ssh_config::{self, Query};
use crate::wake::Clock;

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
pub(super) async fn look_at(agents: &Agents, hop: &Hop, patience: Duration) -> Vec<Finding> {
    let agent = agent(agents, hop).await;
    let credentials = match timeout(patience, look(agents, hop)).await {
        Ok(offer) => credentials(&offer, agents, hop),
        Err(_) => Finding::warn(
            Layer::Credentials,
            "the key files could not be looked at in time",
            "check the file system that they are on",
        ),
    };
    vec![agent.at(hop.label()), credentials.at(hop.label())]
}

/// Which agent is asked, and who was asked before it in vain: in the order of a login.
async fn agent(agents: &Agents, hop: &Hop) -> Finding {
    let (mut silent, mut empty) = (Vec::new(), None);
    for candidate in agents.candidates(hop.login.agent.as_ref()).await {
        match candidate.look().await {
            Said::Holds(held) if !held.is_empty() => {
                return told(silent, format!("{candidate} holds {}", keys(held.len())));
            }
            Said::Holds(_) => {
                empty.get_or_insert_with(|| format!("{candidate} holds no key, or is locked"));
            }
            Said::Hangs => silent.push(format!("{candidate} does not answer")),
            // Nobody said that there should be one at the usual places.
            Said::Nobody(_) if candidate.why == Why::Known => {}
            Said::Nobody(error) => silent.push(format!("{candidate} is not there: {error}")),
        }
    }
    match empty {
        Some(empty) => told(silent, empty),
        None if silent.is_empty() => Finding::ok(Layer::Agent, "there is none, and none is named"),
        None => told(silent, "no other one is there".to_owned()),
    }
}

fn told(silent: Vec<String>, which: String) -> Finding {
    if silent.is_empty() {
        return Finding::ok(Layer::Agent, which);
    }
    let text = format!("{}; {which}", silent.join("; "));
    Finding::warn(Layer::Agent, text, "start that agent again, or let SSH_AUTH_SOCK name one that runs")
}

fn credentials(offer: &Offer, agents: &Agents, hop: &Hop) -> Finding {
    let is_remembered = |path: &Path| agents.passphrases.has(path);
    let remembered = offer.keys.iter().filter_map(Key::locked_in).any(is_remembered);
    if let Some(failure) = offer.shortfall(hop).map(|why| allowed(why, hop)).filter(|_| !remembered) {
        if failure.kind == FailureKind::NoCredentials && wants_a_person(hop) {
            return Finding::ok(Layer::Credentials, "there is no key, and a person is to be asked");
        }
        return Finding::broken(Layer::Credentials, &failure);
    }
    let mut said: Vec<String> = Vec::new();
    let mut amiss = offer.notes.clone();
    let in_agent = offer.keys.iter().filter(|key| matches!(key.holder, Holder::Agent(_))).count();
    if in_agent > 0 {
        said.push(format!("{} in the agent", keys(in_agent)));
    }
    for key in &offer.keys {
        match &key.holder {
            Holder::Agent(_) => {}
            Holder::File { .. } => said.push(format!("{} can be used", key.label())),
            Holder::Locked { path } if is_remembered(path) => {
                said.push(format!("the passphrase of {} is remembered", key.label()));
            }
            Holder::Locked { .. } => said.push(format!("{} needs its passphrase", key.label())),
        }
        let flaw = |certificate: &Arc<Certificate>| flaw(certificate, &hop.user, Clock.wall_ms() / 1000);
        amiss.extend(key.certificate.as_ref().and_then(flaw).map(|why| format!("{}, {why}", key.label())));
    }
    if offer.ticket.is_ready() {
        said.push("there is a Kerberos ticket".to_owned());
    }
    // Some systems want Kerberos of everybody; whoever has a key need not mind.
    said.extend(offer.ticket.missing().map(str::to_owned));
    let text = said.join("; ");
    if amiss.is_empty() {
        return Finding::ok(Layer::Credentials, text);
    }
    Finding::warn(
        Layer::Credentials,
        format!("{text}; but {}", amiss.join("; ")),
        "mend what cannot be used, or leave it out, if the login fails for want of it",
    )
}

fn keys(count: usize) -> String {
    if count == 1 { "1 key".to_owned() } else { format!("{count} keys") }
}
