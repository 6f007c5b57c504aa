//! Makes a plan of what a tunnel's files say: which machines are on the way, and how each of them is dealt with.

use std::path::{Path, PathBuf};

use nbtunnel_core::{Failure, HostKeyPolicy, Route};

use super::hop::{Algorithms, Dialling, Hop, HostKeys, LoginWith, Plan, UpdateHostKeys};
use super::system;

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

/// The way that `route` means now.
///
/// # Errors
/// `config`: what the files say cannot be done.
pub(super) async fn plan(route: &Route, account: &Account) -> Result<Plan, Failure> {
    let in_home = |names: &[&str]| -> Vec<PathBuf> {
        names.iter().map(|name| Path::new(&account.home).join(name)).collect()
    };
    let server = Hop {
        name: route.host.clone(),
        host: route.host.clone(),
        port: route.port.unwrap_or(22),
        user: route.user.clone().unwrap_or_else(|| account.user.clone()),
        dialling: Dialling::default(),
        host_keys: HostKeys {
            alias: None,
            known_hosts: route.known_hosts.clone().unwrap_or_else(|| in_home(&DEFAULT_KNOWN_HOSTS)),
            system_known_hosts: system::known_hosts(),
            policy: route.host_key.unwrap_or(HostKeyPolicy::Strict),
            check_ip: false,
            hash: None,
            update: UpdateHostKeys::No,
        },
        algorithms: Algorithms::default(),
        login: LoginWith {
            identity_files: route.identity_files.clone().unwrap_or_else(|| in_home(&DEFAULT_IDENTITIES)),
            remember: route.remember,
            ..LoginWith::default()
        },
    };
    Ok(Plan { jumps: Vec::new(), server })
}
