//! The answer: every keyword that a tunnel honours, as a typed field.

use std::path::PathBuf;
use std::time::Duration;

use super::jump_host::JumpHost;

/// What ssh would do for one host. A field is set where ssh_config says something other than ssh does by itself;
/// the rest is left to whoever asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct HostConfig {
    /// The name or address to connect to (HostName); always set.
    pub hostname: String,
    /// The user at the far end; always set.
    pub user: String,
    /// The port; always set.
    pub port: u16,

    /// Private keys, in their order; an empty list for `IdentityFile none`.
    pub identity_files: Option<Vec<PathBuf>>,
    /// Certificates beside those that stand beside their keys, in their order.
    pub certificate_files: Vec<PathBuf>,
    /// Whether only these keys are offered, also when the agent has others.
    pub identities_only: Option<bool>,
    /// Which agent is asked.
    pub identity_agent: Option<IdentityAgent>,
    /// Whether a key that was read is handed to the agent.
    pub add_keys_to_agent: Option<AddKeys>,

    /// How to get there, if not straight.
    pub way: Option<Way>,
    /// The address family to connect with.
    pub address_family: Option<AddressFamily>,
    /// The local address to connect from.
    pub bind_address: Option<String>,
    /// The local interface to connect from.
    pub bind_interface: Option<String>,
    /// How long a step of connecting may take.
    pub connect_timeout: Option<Duration>,
    /// Whether TCP's own keepalives are on.
    pub tcp_keep_alive: Option<bool>,
    /// Whether to compress.
    pub compression: Option<bool>,

    /// The user's known_hosts files; an empty list for `none`.
    pub user_known_hosts: Option<Vec<PathBuf>>,
    /// The system's known_hosts files; an empty list for `none`.
    pub global_known_hosts: Option<Vec<PathBuf>>,
    /// The name under which the host key is on file. ssh expands no tokens in it.
    pub host_key_alias: Option<String>,
    /// What to do with a key that is not on file.
    pub host_key_checking: Option<HostKeyChecking>,
    /// Whether the address is looked up in known_hosts as well.
    pub check_host_ip: Option<bool>,
    /// Whether keys that the server announces are stored once they are proven.
    pub update_host_keys: Option<UpdateHostKeys>,
    /// Whether names are hashed when they are written to known_hosts.
    pub hash_known_hosts: Option<bool>,

    /// Host key algorithms, the best first.
    pub host_key_algorithms: Option<Vec<String>>,
    /// Ciphers, the best first.
    pub ciphers: Option<Vec<String>>,
    /// Key exchange methods, the best first.
    pub kex_algorithms: Option<Vec<String>>,
    /// Message authentication codes, the best first.
    pub macs: Option<Vec<String>>,
    /// Signature algorithms for public key authentication.
    pub pubkey_accepted_algorithms: Option<Vec<String>>,

    /// Authentication methods in their order, without those that PubkeyAuthentication, PasswordAuthentication or
    /// KbdInteractiveAuthentication switch off.
    pub preferred_authentications: Option<Vec<String>>,
    /// Whether nobody may be asked for anything.
    pub batch_mode: Option<bool>,
    /// Whether Kerberos is tried.
    pub gssapi_authentication: Option<bool>,
    /// Whether a Kerberos ticket is handed on.
    pub gssapi_delegate_credentials: Option<bool>,

    /// How long silence lasts before the server is probed; zero: never.
    pub server_alive_interval: Option<Duration>,
    /// How many probes may be without an answer before the server is given up.
    pub server_alive_count: Option<u32>,
    /// After how many bytes new session keys are due.
    pub rekey_bytes: Option<u64>,
    /// After which time new session keys are due.
    pub rekey_after: Option<Duration>,

    /// Local forwards in the grammar of `ssh -L`; GatewayPorts is in them already.
    pub local_forwards: Vec<String>,
    /// Remote forwards in the grammar of `ssh -R`, those that speak SOCKS among them.
    pub remote_forwards: Vec<String>,
    /// Dynamic forwards in the grammar of `ssh -D`; GatewayPorts is in them already.
    pub dynamic_forwards: Vec<String>,
    /// GatewayPorts: what names no address would listen on every one.
    pub gateway_ports: bool,
    /// Whether a forward that cannot be had ends the connection.
    pub exit_on_forward_failure: Option<bool>,

    /// What ssh would do and we do not: a sentence for each such keyword.
    pub unhonoured: Vec<String>,
    /// Where this stands: files that were read, and places where a file would have been read. [`super::parse()`]
    /// does not know them.
    pub read_from: Vec<PathBuf>,
}

/// IdentityAgent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum IdentityAgent {
    /// `none`: no agent is asked.
    None,
    /// The socket that this variable of the environment names; `SSH_AUTH_SOCK` as usual.
    Variable(String),
    /// A socket.
    At(PathBuf),
}

/// AddKeysToAgent, where it says yes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct AddKeys {
    /// Somebody is asked before it is added (`ask`).
    pub ask: bool,
    /// The agent asks before each use.
    pub confirm: bool,
    /// How long the agent keeps it.
    pub lifetime: Option<Duration>,
}

/// A way that does not lead there straight.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// ProxyJump: through these hosts, in this order, the first one straight from here.
    Jump(Vec<JumpHost>),
    /// ProxyCommand: over the standard streams of this line for the user's shell. Its tokens are expanded.
    Command(String),
}

/// AddressFamily, where it is not `any`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddressFamily {
    /// `inet`.
    Inet,
    /// `inet6`.
    Inet6,
}

/// StrictHostKeyChecking, where it is not `ask`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HostKeyChecking {
    /// `yes`.
    Strict,
    /// `accept-new`.
    AcceptNew,
    /// `no`.
    Off,
}

/// UpdateHostKeys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpdateHostKeys {
    /// `yes`.
    Yes,
    /// `no`.
    No,
    /// `ask`.
    Ask,
}
