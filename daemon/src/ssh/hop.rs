//! The way to a server: the machines on it, and for each of them all that decides how it is reached, recognised
//! and logged in to. `plan` makes it of what the files and ssh_config say; the rest of `ssh` only follows it.

use std::path::PathBuf;
use std::time::Duration;

use nbtunnel_core::{HostKeyPolicy, LoginKey};

use super::agent::AgentAt;

/// The machines on the way, all of which are logged in to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The jump hosts, nearest first.
    pub jumps: Vec<Hop>,
    /// Where the tunnel ends.
    pub server: Hop,
}

/// One machine on the way. Each field is named after its keyword in ssh_config(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// What users call it: an alias, a name or an address.
    pub name: String,
    /// The host name or address that is dialled (`HostName`).
    pub host: String,
    /// TCP port, never 0.
    pub port: u16,
    /// The user there.
    pub user: String,
    /// How it is reached.
    pub dialling: Dialling,
    /// By what it is recognised.
    pub host_keys: HostKeys,
    /// What is spoken with it.
    pub algorithms: Algorithms,
    /// What proves to it who we are.
    pub login: LoginWith,
    /// How long it may be silent, where somebody said so.
    pub alive: Option<Alive>,
    /// The time of `RekeyLimit`: so old are keys that new ones are agreed on.
    pub rekey_after: Option<Duration>,
}

/// `ServerAliveInterval` and `ServerAliveCountMax`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alive {
    /// After so much silence it is asked.
    pub every: Duration,
    /// How many questions may be without an answer.
    pub most: u32,
}

impl Alive {
    /// How long it may be silent once it was asked.
    pub(super) fn patience(&self) -> Duration {
        self.every.saturating_mul(self.most.max(1))
    }
}

/// How a machine is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dialling {
    /// `ProxyCommand`, with its tokens expanded; stands in the place of TCP.
    pub proxy_command: Option<String>,
    /// `AddressFamily`.
    pub family: Family,
    /// `BindAddress`: our own end.
    pub bind_address: Option<String>,
    /// `BindInterface`: whose address our own end has.
    pub bind_interface: Option<String>,
    /// `TCPKeepAlive no`.
    pub no_tcp_keepalive: bool,
    /// `ConnectTimeout`, for this machine alone.
    pub connect_timeout: Option<Duration>,
}

/// Which addresses of a name may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// All of them.
    #[default]
    Any,
    /// IPv4.
    Inet,
    /// IPv6.
    Inet6,
}

impl Family {
    /// Whether `address` is of it.
    pub(super) fn takes(self, address: &std::net::SocketAddr) -> bool {
        match self {
            Family::Any => true,
            Family::Inet => address.is_ipv4(),
            Family::Inet6 => address.is_ipv6(),
        }
    }
}

/// By what a machine is recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostKeys {
    /// `HostKeyAlias`: the name to look up in the place of host and port.
    pub alias: Option<String>,
    /// `UserKnownHostsFile`; the first is written to.
    pub known_hosts: Vec<PathBuf>,
    /// `GlobalKnownHostsFile`; only read.
    pub system_known_hosts: Vec<PathBuf>,
    /// `StrictHostKeyChecking`.
    pub policy: HostKeyPolicy,
    /// `CheckHostIP yes`: the address has to be on file with the same key.
    pub check_ip: bool,
    /// `HashKnownHosts`, if it says something.
    pub hash: Option<bool>,
    /// `UpdateHostKeys`: what to do with keys that the server says it has, too.
    pub update: UpdateHostKeys,
}

/// What to do with keys that a server says it has, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpdateHostKeys {
    /// Nothing.
    #[default]
    No,
    /// Store what it proves to have, drop what it no longer has.
    Yes,
    /// The same, once a person agreed.
    Ask,
}

/// What is spoken with a machine: names in the order of preference, `None` for what is usual.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Algorithms {
    /// `HostKeyAlgorithms`.
    pub host_keys: Option<Vec<String>>,
    /// `KexAlgorithms`.
    pub kex: Option<Vec<String>>,
    /// `Ciphers`.
    pub ciphers: Option<Vec<String>>,
    /// `MACs`.
    pub macs: Option<Vec<String>>,
    /// `Compression`.
    pub compression: bool,
}

/// What proves to a machine who we are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoginWith {
    /// `IdentityFile`, in order.
    pub identity_files: Vec<PathBuf>,
    /// `CertificateFile`, beside those that lie beside the identity files.
    pub certificate_files: Vec<PathBuf>,
    /// `IdentitiesOnly`: what the agent holds beside the identity files is not offered.
    pub identities_only: bool,
    /// `IdentityAgent`; `None` for the usual one.
    pub agent: Option<AgentAt>,
    /// `AddKeysToAgent`: a key whose passphrase was typed is given to the agent.
    pub add_to_agent: AddToAgent,
    /// `PubkeyAcceptedAlgorithms`.
    pub key_algorithms: Option<Vec<String>>,
    /// `PreferredAuthentications`.
    pub preferred: Option<Vec<String>>,
    /// `GSSAPIAuthentication`.
    pub gssapi: bool,
    /// `GSSAPIDelegateCredentials`.
    pub gssapi_delegate: bool,
    /// `BatchMode`: nobody is asked for anything.
    pub batch: bool,
    /// How long a passphrase that was typed may be kept in memory.
    pub remember: Duration,
}

/// What to tell the agent of a key whose passphrase was typed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AddToAgent {
    /// Nothing.
    #[default]
    No,
    /// Hold it, for so long if a time is given.
    Yes(Option<Duration>),
    /// Hold it, and ask before each use.
    Confirm(Option<Duration>),
}

impl Hop {
    /// The machine as users see it: `host:port`.
    pub fn label(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The account and what proves who we are: logins at this machine with the same key are the same.
    pub fn login_key(&self) -> LoginKey {
        let mut login = self.login.clone();
        // How long something is kept says nothing about who we are.
        (login.remember, login.add_to_agent) = Default::default();
        LoginKey(format!("{}@{} {:?} {login:?}", self.user, self.label(), self.host_keys.alias))
    }

    /// All that makes a session with it what it is.
    fn identity(&self) -> String {
        let Hop { dialling, host_keys, algorithms, .. } = self;
        let HostKeys { known_hosts, system_known_hosts, policy, check_ip, .. } = host_keys;
        let trust = (known_hosts, system_known_hosts, policy, check_ip);
        format!("{} {dialling:?} {trust:?} {algorithms:?}", self.login_key().0)
    }
}

/// By what sessions are known that may be used by several: the account, what proves who we are and that it is the
/// right machine, and the way there.
pub(super) type Key = String;

/// The key of a session with `to` over `jumps`.
pub(super) fn key(jumps: &[Hop], to: &Hop) -> Key {
    let way: Vec<String> = jumps.iter().chain([to]).map(Hop::identity).collect();
    way.join(" > ")
}

impl Plan {
    /// The machines on the way, and the server at last.
    pub fn hops(&self) -> impl Iterator<Item = &Hop> {
        self.jumps.iter().chain([&self.server])
    }

    /// The keys of all sessions on the way.
    pub(super) fn keys(&self) -> impl Iterator<Item = Key> {
        let jumps = (0..self.jumps.len()).map(|number| key(&self.jumps[..number], &self.jumps[number]));
        jumps.chain([key(&self.jumps, &self.server)])
    }
}
