//! What a forward is: where it listens, on this machine ([`ForwardSpec`]) or over there ([`RemoteSpec`]), and
//! where it leads, seen from the other side. `grammar` reads them as ssh(1) does.

mod grammar;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::spec::Name;

/// A forward that listens on this machine and leads out from the far end: `ssh -L`, or `ssh -D` where its
/// target is [`Target::Socks`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ForwardSpec {
    /// Where connections come in, on this machine.
    pub listen: ListenAt,
    /// Where they go, seen from the SSH server.
    pub target: Target,
    /// Whether only programs of our own user may come in, where it listens on loopback TCP; `None`: as the
    /// tunnel's policy says.
    pub owner_only: Option<bool>,
}

/// A forward that listens at the far end and leads out from this machine: `ssh -R`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RemoteSpec {
    /// Where connections come in, at the far end. Port 0 is one that the server chooses.
    pub listen: ListenAt,
    /// Where they go, seen from this machine.
    pub target: Target,
}

/// Where a forward listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAt {
    /// 127.0.0.1 and ::1, as `localhost` in ssh.
    Loopback(u16),
    /// Every address of that machine (`*`).
    Any(u16),
    /// One address or name of that machine.
    Address(String, u16),
    /// A Unix socket.
    Socket(PathBuf),
}

impl ListenAt {
    /// The longest path of a Unix socket that every system takes, in bytes: `sun_path` is 104 on macOS, 108 on
    /// Linux (unix(7)), with the final NUL.
    pub const LONGEST_PATH: usize = 103;

    /// The TCP port, if it is none of a socket.
    pub fn port(&self) -> Option<u16> {
        match self {
            ListenAt::Loopback(port) | ListenAt::Any(port) | ListenAt::Address(_, port) => Some(*port),
            ListenAt::Socket(_) => None,
        }
    }

    /// The same with another port. A socket has none and stays.
    #[must_use]
    pub fn with_port(&self, port: u16) -> ListenAt {
        match self {
            ListenAt::Loopback(_) => ListenAt::Loopback(port),
            ListenAt::Any(_) => ListenAt::Any(port),
            ListenAt::Address(host, _) => ListenAt::Address(host.clone(), port),
            ListenAt::Socket(path) => ListenAt::Socket(path.clone()),
        }
    }

    /// Whether the two, on one machine, cannot both be listened on. Names are taken for what they look like.
    pub fn collides(&self, other: &ListenAt) -> bool {
        if let (ListenAt::Socket(one), ListenAt::Socket(other)) = (self, other) {
            return one == other;
        }
        let (Some((hosts, port)), Some((other_hosts, other_port))) = (self.addresses(), other.addresses())
        else {
            return false;
        };
        // Port 0 is another one each time.
        port != 0
            && port == other_port
            && (hosts.is_empty()
                || other_hosts.is_empty()
                || hosts.iter().any(|host| other_hosts.contains(host)))
    }

    /// The addresses that it takes (none named: every one) and the port.
    fn addresses(&self) -> Option<(Vec<&str>, u16)> {
        match self {
            ListenAt::Loopback(port) => Some((vec!["127.0.0.1", "::1"], *port)),
            ListenAt::Any(port) => Some((Vec::new(), *port)),
            ListenAt::Address(host, port) => Some((vec![host], *port)),
            ListenAt::Socket(_) => None,
        }
    }
}

/// Where a forward leads, seen from the other side.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// A host and a port.
    Tcp(String, u16),
    /// A Unix socket.
    Socket(String),
    /// A host and a port as another machine sees them, to which the far end can connect and where we log in by way of
    /// it, as by `ssh -J`.
    Beyond {
        /// That machine, as the far end calls it.
        machine: String,
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },
    /// Wherever each client asks to go, by SOCKS.
    Socks,
    /// The notebook with this name, wherever it is today. Whoever comes before that is known waits.
    Notebook(Name),
}

impl Target {
    /// The notebook, if it is one.
    pub fn notebook(&self) -> Option<&Name> {
        match self {
            Target::Notebook(name) => Some(name),
            Target::Tcp(..) | Target::Socket(_) | Target::Beyond { .. } | Target::Socks => None,
        }
    }
}

/// The four kinds of forwards, as users see them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ForwardKind {
    /// `ssh -L`.
    Local,
    /// `ssh -D`.
    Dynamic,
    /// `ssh -R` with a target.
    Remote,
    /// `ssh -R` without one.
    RemoteDynamic,
}

impl ForwardKind {
    /// The word that users see.
    pub const fn word(self) -> &'static str {
        match self {
            ForwardKind::Local => "local",
            ForwardKind::Dynamic => "dynamic",
            ForwardKind::Remote => "remote",
            ForwardKind::RemoteDynamic => "remote_dynamic",
        }
    }
}

impl ForwardSpec {
    /// From `listen` to `target`, for whom the tunnel's policy lets in.
    pub fn new(listen: ListenAt, target: Target) -> ForwardSpec {
        ForwardSpec { listen, target, owner_only: None }
    }

    /// Which of the four it is.
    pub fn kind(&self) -> ForwardKind {
        if self.target == Target::Socks { ForwardKind::Dynamic } else { ForwardKind::Local }
    }
}

impl RemoteSpec {
    /// Which of the four it is.
    pub fn kind(&self) -> ForwardKind {
        if self.target == Target::Socks { ForwardKind::RemoteDynamic } else { ForwardKind::Remote }
    }
}

impl fmt::Display for ListenAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAt::Loopback(port) => write!(f, "localhost:{port}"),
            ListenAt::Any(port) => write!(f, "*:{port}"),
            ListenAt::Address(host, port) => write_host_port(f, host, *port),
            ListenAt::Socket(path) => write_path(f, path),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Tcp(host, port) => write_host_port(f, host, *port),
            Target::Socket(path) => write_path(f, Path::new(path)),
            Target::Beyond { machine, host, port } => {
                write_host_port(f, host, *port)?;
                write!(f, " on {machine}")
            }
            Target::Socks => f.write_str("socks"),
            Target::Notebook(name) => write!(f, "notebook {name}"),
        }
    }
}

impl fmt::Display for ForwardSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_forward(f, &self.listen, &self.target)
    }
}

impl fmt::Display for RemoteSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_forward(f, &self.listen, &self.target)
    }
}

/// As the grammar of its kind reads it back: what leads wherever it is asked to has no target there.
fn write_forward(f: &mut fmt::Formatter<'_>, listen: &ListenAt, target: &Target) -> fmt::Result {
    match target {
        Target::Socks => write!(f, "{listen}"),
        Target::Tcp(..) | Target::Socket(_) | Target::Beyond { .. } | Target::Notebook(_) => {
            write!(f, "{listen}:{target}")
        }
    }
}

fn write_host_port(f: &mut fmt::Formatter<'_>, host: &str, port: u16) -> fmt::Result {
    if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
}

fn write_path(f: &mut fmt::Formatter<'_>, path: &Path) -> fmt::Result {
    for (at, c) in path.to_string_lossy().chars().enumerate() {
        if matches!(c, ':' | '\\') || (c == '[' && at == 0) {
            f.write_str("\\")?;
        }
        write!(f, "{c}")?;
    }
    Ok(())
}
