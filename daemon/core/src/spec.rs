//! What a tunnel should be, as read from its file. Nothing here says what it is.

use std::borrow::Borrow;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::forward::{ForwardSpec, RemoteSpec};
use crate::notebook::NotebookSpec;

/// The name of a tunnel: `[A-Za-z0-9._-]`, at most 64 bytes, no leading `.` or `-`, no Windows device name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// Longest name, in bytes.
    pub const MAX_LEN: usize = 64;

    /// Checks `name`.
    ///
    /// # Errors
    /// One sentence that says which rule it breaks.
    pub fn parse(name: &str) -> Result<Name, String> {
        if name.is_empty() {
            return Err("a tunnel's name cannot be empty".into());
        }
        if name.len() > Self::MAX_LEN {
            return Err(format!(
                "a tunnel's name has at most {} characters, this has {}",
                Self::MAX_LEN,
                name.len()
            ));
        }
        if let Some(c) = name.chars().find(|c| !(c.is_ascii_alphanumeric() || "._-".contains(*c))) {
            return Err(format!("a tunnel's name has only letters, digits, '.', '_' and '-', not {c:?}"));
        }
        if name.starts_with(['.', '-']) {
            return Err("a tunnel's name does not begin with '.' or '-'".into());
        }
        if name.ends_with('.') {
            return Err("a tunnel's name does not end with '.', which Windows drops".into());
        }
        if is_windows_device(name) {
            return Err(format!("{name:?} is the name of a device on Windows"));
        }
        Ok(Name(name.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `CON`, `NUL`, `COM1` … with or without an extension
/// (Microsoft, "Naming Files, Paths, and Namespaces").
fn is_windows_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name).to_ascii_uppercase();
    match stem.as_str() {
        "CON" | "PRN" | "AUX" | "NUL" => true,
        _ => {
            (stem.starts_with("COM") || stem.starts_with("LPT"))
                && stem.len() == 4
                && stem.ends_with(|c: char| c.is_ascii_digit() && c != '0')
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// One SSH connection and what runs over it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelSpec {
    /// How to get there. A change of it needs a new connection.
    pub route: Route,
    /// What is forwarded. A change touches only the forwards that differ.
    pub forwards: Vec<ForwardSpec>,
    /// What the server listens for. A change touches only those that differ.
    pub remotes: Vec<RemoteSpec>,
    /// The notebooks over there. Each has a forward of its own among `forwards`, whose target is
    /// [`crate::forward::Target::Notebook`].
    pub notebooks: Vec<NotebookSpec>,
    /// When it is wanted if nobody said otherwise.
    pub start: Start,
    /// Free words to select tunnels by.
    pub tags: Vec<String>,
    /// Times and bounds. A change takes effect in place.
    pub policy: Policy,
}

/// How to get to the server and as whom, in the words of the files. Where they say nothing, ssh_config does,
/// asked anew at each attempt, and then what is usual.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    /// A host name, an address, or a Host alias of ssh_config.
    pub host: String,
    /// TCP port, never 0.
    pub port: Option<u16>,
    /// The user at the far end.
    pub user: Option<String>,
    /// Private keys to offer, in this order.
    pub identity_files: Option<Vec<PathBuf>>,
    /// The user's known_hosts files; the first is written to.
    pub known_hosts: Option<Vec<PathBuf>>,
    /// What to do with a key that is not on file.
    pub host_key: Option<HostKeyPolicy>,
    /// The hosts to jump over, nearest first, each as `[user@]host[:port]`; none at all if empty.
    pub jump: Option<Vec<String>>,
    /// Which ssh_config speaks where the files do not.
    pub ssh_config: SshConfig,
    /// As after `ssh -o`: `Keyword=value`.
    pub options: Vec<String>,
    /// Its session may serve other tunnels to the same account, and theirs this one, even if nobody was asked
    /// for anything.
    pub share: bool,
    /// How long a passphrase that was typed may be kept in memory; zero: not at all.
    pub remember: Duration,
}

impl Route {
    /// The way to `host` as everybody else would go.
    pub fn to(host: impl Into<String>) -> Route {
        Route {
            host: host.into(),
            port: None,
            user: None,
            identity_files: None,
            known_hosts: None,
            host_key: None,
            jump: None,
            ssh_config: SshConfig::Usual,
            options: Vec::new(),
            share: false,
            remember: Duration::ZERO,
        }
    }

    /// Whether `other` leads to the same account on the same server, however it logs in there.
    pub fn leads_where(&self, other: &Route) -> bool {
        let way = |route: &Route| {
            let Route { host, port, user, jump, ssh_config, options, .. } = route.clone();
            (host, port, user, jump, ssh_config, options)
        };
        way(self) == way(other)
    }
}

/// Which ssh_config(5) is read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SshConfig {
    /// The user's and the system's.
    Usual,
    /// None at all.
    Nothing,
    /// This one alone, as with `ssh -F`.
    File(PathBuf),
}

/// What to do with a host key that is not on file. One that differs from the file is always refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HostKeyPolicy {
    /// Park until a human has looked at it.
    Strict,
    /// Write it down and go on.
    AcceptNew,
}

/// When a tunnel is wanted if nobody said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Start {
    /// From login on.
    Login,
    /// Listening from login on, connected while somebody uses it.
    Demand,
    /// Only when `nbctl start` says so.
    Manual,
}

/// Times and bounds of one tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long silence lasts before the server is probed.
    pub keepalive: Duration,
    /// So many probes, a keepalive apart, may be without an answer before a link is given up
    /// (`ServerAliveCountMax` in ssh_config(5)); none for what is usual.
    pub unanswered: Option<u32>,
    /// Deadline of each step of connecting, not of the whole.
    pub connect_timeout: Duration,
    /// How long a new local connection waits while the tunnel is away; zero resets it at once.
    pub hold: Duration,
    /// How long an on-demand tunnel stays connected with nobody using it.
    pub idle: Duration,
    /// How many bytes may wait in memory for one slow local reader.
    pub buffer: u64,
    /// A session that has carried so many bytes, both ways together, is followed by a new one; zero: never.
    pub renew_bytes: u64,
    /// A session that is so old is followed by a new one; zero: never.
    pub renew_after: Duration,
    /// How long a session that was followed by another may finish what it carries.
    pub drain: Duration,
    /// How long a notebook that nobody uses is taken to be where it was, without another look.
    pub trusted: Duration,
    /// A forward that does not work ends the link, which is then tried again (`ExitOnForwardFailure` in
    /// ssh_config(5)). Otherwise it is the problem of that forward alone.
    pub all_or_nothing: bool,
    /// What listens on loopback TCP serves only programs of our own user, where the system tells whose they are.
    pub owner_only: bool,
}

impl Policy {
    /// How long a server may be silent for a probe before its link is given up, where somebody said so.
    pub fn patience(&self) -> Option<Duration> {
        // Without one, nothing would ever be waited for.
        self.unanswered.map(|probes| self.keepalive.saturating_mul(probes.max(1)))
    }
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            keepalive: Duration::from_secs(10),
            unanswered: None,
            connect_timeout: Duration::from_secs(20),
            hold: Duration::from_secs(30),
            idle: Duration::from_secs(15 * 60),
            buffer: 64 << 20,
            renew_bytes: 256 << 30,
            renew_after: Duration::ZERO,
            drain: Duration::from_secs(60 * 60),
            trusted: Duration::from_millis(500),
            all_or_nothing: false,
            owner_only: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules_of_the_design() {
        for good in ["alice", "a.b-c_9", "lab-1", "Console", "com10", &"x".repeat(64)] {
            assert!(Name::parse(good).is_ok(), "{good}");
        }
        for bad in ["", ".a", "-a", "a/b", "a b", "ä", "con", "NUL.txt", "com1", "a.", &"x".repeat(65)] {
            assert!(Name::parse(bad).is_err(), "{bad}");
        }
    }
}
