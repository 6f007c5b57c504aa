//! Makes a plan of what a tunnel's files say: which machines are on the way, and how each of them is dealt with.
//! What the files say wins over what ssh_config says, and that over what is usual.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use nbtunnel_core::{Failure, FailureKind, HostKeyPolicy, Policy, Route};

use super::AgentAt;
use super::hop::{
    AddToAgent, Algorithms, Alive, Dialling, Family, Hop, HostKeys, LoginWith, Plan, UpdateHostKeys,
};
use super::system;
use crate::ssh_config::{
    AddKeys, AddressFamily, ConfigFile, HostConfig, HostKeyChecking, IdentityAgent, JumpHost as Jump, Query,
    UpdateHostKeys as Update, Way, ask,
};

/// Who uses this machine.
#[derive(Clone, Debug)]
pub struct Account {
    /// What `~` stands for: the home of the passwd entry, as in ssh, whatever `$HOME` says.
    pub home: PathBuf,
    /// The user at the far end where nobody names one.
    pub user: String,
}

/// The keys that ssh(1) offers when none is named, in its order; those on security keys need an agent.
const DEFAULT_IDENTITIES: [&str; 3] = [".ssh/id_rsa", ".ssh/id_ecdsa", ".ssh/id_ed25519"];
/// `UserKnownHostsFile` of ssh_config(5).
const DEFAULT_KNOWN_HOSTS: [&str; 2] = [".ssh/known_hosts", ".ssh/known_hosts2"];

/// Nobody jumps so often; a way that leads in a circle does.
const MOST_JUMPS: usize = 16;

/// What was planned.
pub(super) struct Planned {
    pub(super) plan: Plan,
    /// What ssh would do and we do not, a sentence each.
    pub(super) notes: Vec<String>,
}

/// The way that `route` means now.
///
/// # Errors
/// `config`: what the files or ssh_config say cannot be done. `timed_out`: ssh took too long to say.
pub(super) async fn plan(route: &Route, account: &Account) -> Result<Planned, Failure> {
    let mut query = Query::of(route);
    let file = query.config.clone();
    let files = route.known_hosts.as_deref();
    let are_usual = files.is_none_or(|files| are_usual(files, account));
    if files.is_some() && !query.is_idle() {
        // By which files are read, ssh decides whether keys are kept up to date where nobody says so.
        let word = if are_usual { "~/.ssh/known_hosts" } else { "none" };
        query.options.insert(0, format!("UserKnownHostsFile={word}"));
    }
    let said = said_of(&query).await?;
    let unsaid = || HostConfig {
        update_host_keys: (!are_usual).then_some(Update::No),
        ..nothing_said(&query, account)
    };
    let mut said = said.unwrap_or_else(unsaid);
    let mut notes = std::mem::take(&mut said.unhonoured);
    let way = said.way.take();
    let mut server = hop(&route.host, said, account);
    say(&mut server, route);
    let first = match &route.jump {
        Some(jumps) => Some(Way::Jump(listed(jumps, &route.host)?)),
        None => way,
    };
    let mut jumps = Vec::new();
    let mut next = first;
    while let Some(way) = next.take() {
        let chain = match way {
            Way::Command(command) => {
                let first: &mut Hop = jumps.first_mut().unwrap_or(&mut server);
                first.dialling.proxy_command = Some(command);
                break;
            }
            Way::Jump(chain) => chain,
        };
        let mut resolved = Vec::new();
        for (number, jump) in chain.into_iter().enumerate() {
            let (jump, way, more) = resolve(jump, &file, account).await?;
            notes.extend(more);
            // As `ssh -J a,b`: b is reached over a, whatever else is said of it.
            if number == 0 {
                next = way;
            }
            resolved.push(jump);
        }
        resolved.append(&mut jumps);
        jumps = resolved;
        refuse_circles(&jumps, &server)?;
    }
    notes.dedup();
    Ok(Planned { plan: Plan { jumps, server }, notes })
}

/// One jump host, as `ssh -J` deals with it: its own settings, the same ssh_config, none of the tunnel's options.
async fn resolve(
    jump: Jump,
    file: &ConfigFile,
    account: &Account,
) -> Result<(Hop, Option<Way>, Vec<String>), Failure> {
    let Jump { user, host, port } = jump;
    let query = Query { host, user, port, config: file.clone(), options: Vec::new() };
    let mut said = said_of(&query).await?.unwrap_or_else(|| nothing_said(&query, account));
    let (way, notes) = (said.way.take(), std::mem::take(&mut said.unhonoured));
    let notes = notes.into_iter().map(|note| format!("jump host {}: {note}", query.host)).collect();
    Ok((hop(&query.host, said, account), way, notes))
}

fn listed(jumps: &[String], host: &str) -> Result<Vec<Jump>, Failure> {
    let listed = jumps.iter().map(|jump| Jump::list(jump)).collect::<Result<Vec<_>, _>>();
    listed.map(|hops| hops.concat()).map_err(|why| {
        Failure::new(
            FailureKind::Config,
            format!("the way to {host} is not clear: {why}"),
            "correct jump in the tunnel's file",
        )
    })
}

fn refuse_circles(jumps: &[Hop], server: &Hop) -> Result<(), Failure> {
    let place = |hop: &Hop| (hop.user.clone(), hop.host.clone(), hop.port);
    let twice = jumps.iter().enumerate().find(|(number, jump)| {
        jumps[..*number].iter().chain([server]).any(|other| place(other) == place(jump))
    });
    let what = match twice {
        Some((_, jump)) => format!("leads over {} twice", jump.label()),
        None if jumps.len() > MOST_JUMPS => format!("leads over more than {MOST_JUMPS} jump hosts"),
        None => return Ok(()),
    };
    Err(Failure::new(
        FailureKind::Config,
        format!("the way to {} {what}", server.label()),
        "a Host block with ProxyJump may match the jump host itself: add `ProxyJump none` for that",
    ))
}

/// What ssh_config says. Where none is read, and where there is no ssh program, the file's words are enough.
async fn said_of(query: &Query) -> Result<Option<HostConfig>, Failure> {
    if query.is_idle() { Ok(None) } else { ask(query).await }
}

/// Whether ssh(1) takes these known_hosts files for the usual ones.
fn are_usual(files: &[PathBuf], account: &Account) -> bool {
    matches!(files, [file] if *file == Path::new(&account.home).join(DEFAULT_KNOWN_HOSTS[0]))
}

fn nothing_said(query: &Query, account: &Account) -> HostConfig {
    // As ssh writes it: an address is looked up in one spelling, whatever its own is.
    let address = query.host.parse::<IpAddr>().map(|address| address.to_string());
    HostConfig {
        hostname: address.unwrap_or_else(|_| query.host.clone()),
        user: query.user.clone().unwrap_or_else(|| account.user.clone()),
        port: query.port.unwrap_or(22),
        ..HostConfig::default()
    }
}

/// What ssh_config says of `name`, and what is usual where it says nothing.
fn hop(name: &str, said: HostConfig, account: &Account) -> Hop {
    let in_home = |names: &[&str]| -> Vec<PathBuf> {
        names.iter().map(|name| Path::new(&account.home).join(name)).collect()
    };
    let usual = Policy::default().keepalive;
    Hop {
        name: name.to_owned(),
        host: said.hostname,
        port: said.port,
        user: said.user,
        dialling: Dialling {
            proxy_command: None,
            family: match said.address_family {
                None => Family::Any,
                Some(AddressFamily::Inet) => Family::Inet,
                Some(AddressFamily::Inet6) => Family::Inet6,
            },
            bind_address: said.bind_address,
            bind_interface: said.bind_interface,
            no_tcp_keepalive: said.tcp_keep_alive == Some(false),
            connect_timeout: said.connect_timeout,
        },
        host_keys: HostKeys {
            alias: said.host_key_alias,
            known_hosts: said.user_known_hosts.unwrap_or_else(|| in_home(&DEFAULT_KNOWN_HOSTS)),
            system_known_hosts: said.global_known_hosts.unwrap_or_else(system::known_hosts),
            policy: match said.host_key_checking {
                None | Some(HostKeyChecking::Strict) => HostKeyPolicy::Strict,
                Some(HostKeyChecking::AcceptNew | HostKeyChecking::Off) => HostKeyPolicy::AcceptNew,
            },
            check_ip: said.check_host_ip.unwrap_or_default(),
            hash: said.hash_known_hosts,
            // ssh says no by itself where other files are named, by ssh_config or by the tunnel's file.
            update: match said.update_host_keys {
                None | Some(Update::Yes) => UpdateHostKeys::Yes,
                Some(Update::No) => UpdateHostKeys::No,
                Some(Update::Ask) => UpdateHostKeys::Ask,
            },
        },
        algorithms: Algorithms {
            host_keys: said.host_key_algorithms,
            kex: said.kex_algorithms,
            ciphers: said.ciphers,
            macs: said.macs,
            compression: said.compression.unwrap_or_default(),
        },
        login: LoginWith {
            identity_files: said.identity_files.unwrap_or_else(|| in_home(&DEFAULT_IDENTITIES)),
            certificate_files: said.certificate_files,
            identities_only: said.identities_only.unwrap_or_default(),
            agent: said.identity_agent.and_then(agent),
            add_to_agent: said.add_keys_to_agent.map(add_to_agent).unwrap_or_default(),
            key_algorithms: said.pubkey_accepted_algorithms,
            preferred: said.preferred_authentications,
            gssapi: said.gssapi_authentication.unwrap_or_default(),
            gssapi_delegate: said.gssapi_delegate_credentials.unwrap_or_default(),
            batch: said.batch_mode.unwrap_or_default(),
            ..LoginWith::default()
        },
        alive: said.server_alive_count.map(|most| Alive {
            every: said.server_alive_interval.filter(|every| !every.is_zero()).unwrap_or(usual),
            most,
        }),
        rekey_after: said.rekey_after,
    }
}

/// What the tunnel's file says of the server itself.
fn say(server: &mut Hop, route: &Route) {
    server.login.remember = route.remember;
    if let Some(files) = &route.identity_files {
        server.login.identity_files.clone_from(files);
    }
    if let Some(policy) = route.host_key {
        server.host_keys.policy = policy;
    }
    if let Some(files) = &route.known_hosts {
        server.host_keys.known_hosts.clone_from(files);
    }
}

/// `None` for the usual one.
fn agent(said: IdentityAgent) -> Option<AgentAt> {
    match said {
        IdentityAgent::None => Some(AgentAt::Nowhere),
        IdentityAgent::Variable(name) if name == "SSH_AUTH_SOCK" => None,
        IdentityAgent::Variable(name) => Some(AgentAt::Variable(name)),
        IdentityAgent::At(socket) => Some(AgentAt::Socket(socket)),
    }
}

fn add_to_agent(said: AddKeys) -> AddToAgent {
    match said {
        // Nobody is there to be asked whenever a key is read.
        AddKeys { ask: true, .. } => AddToAgent::No,
        AddKeys { confirm: true, lifetime, .. } => AddToAgent::Confirm(lifetime),
        AddKeys { lifetime, .. } => AddToAgent::Yes(lifetime),
    }
}

#[cfg(test)]
#[cfg(unix)]
#[path = "plan_tests.rs"]
mod tests;
