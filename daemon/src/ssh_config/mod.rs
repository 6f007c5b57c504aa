//! What ssh_config says of a host, in the words of ssh itself: runs `ssh -G` and understands its answer.
//!
//! `ask` runs the program, `parse` reads what it prints, `tokens` expands what it leaves, `keywords` says of
//! every keyword whether we do as it says. Decides nothing about tunnels; `config` and `ssh` call it. Where there
//! is no ssh program there is no answer, and the tunnel file's own words are enough.

mod ask;
mod forwards;
mod host_config;
mod include;
mod jump_host;
mod keywords;
mod listing;
mod parse;
mod program;
mod sources;
#[cfg_attr(unix, path = "system_unix.rs")]
#[cfg_attr(not(unix), path = "system_other.rs")]
mod system;
mod tokens;
mod values;
mod vet;

use std::path::PathBuf;

use nbtunnel_core::{Route, SshConfig};

pub use ask::ask;
pub use host_config::{
    AddKeys, AddressFamily, HostConfig, HostKeyChecking, IdentityAgent, UpdateHostKeys, Way,
};
pub use include::{Seen, follow, scan, usual_files};
pub use jump_host::JumpHost;
pub use listing::{Listed, list, list_json};
pub use parse::parse;
pub use vet::option as check_option;

/// The ssh program that is asked, if there is one.
pub fn program() -> Option<PathBuf> {
    program::Program::find().map(program::Program::into_path)
}

/// Whom to ask ssh for, and what to ask it with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Query {
    /// A name, an address, or a Host alias of ssh_config.
    pub host: String,
    /// The user, if somebody other than ssh_config names one (`ssh -l`).
    pub user: Option<String>,
    /// The port, if somebody other than ssh_config names one (`ssh -p`).
    pub port: Option<u16>,
    /// Which ssh_config is read (`ssh -F`).
    pub config: ConfigFile,
    /// Options in the grammar of `ssh -o`, the first of a keyword wins.
    pub options: Vec<String>,
}

impl Query {
    /// What `ssh host` would do.
    pub fn new(host: impl Into<String>) -> Query {
        Query { host: host.into(), user: None, port: None, config: ConfigFile::Usual, options: Vec::new() }
    }
    /// What a tunnel's files want to know of their server.
    pub fn of(route: &Route) -> Query {
        Query {
            host: route.host.clone(),
            user: route.user.clone(),
            port: route.port,
            config: match &route.ssh_config {
                SshConfig::Usual => ConfigFile::Usual,
                SshConfig::Nothing => ConfigFile::None,
                SshConfig::File(path) => ConfigFile::At(path.clone()),
            },
            options: route.options.clone(),
        }
    }

    /// Whether the answer is known before it is asked: nothing is read, and nothing is said.
    pub fn is_idle(&self) -> bool {
        self.config == ConfigFile::None && self.options.is_empty()
    }
}

/// Which ssh_config is read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConfigFile {
    /// The user's and the system's.
    Usual,
    /// None at all: what is asked is how ssh is built.
    None,
    /// One file, and not the system's.
    At(PathBuf),
}

#[cfg(test)]
#[cfg(unix)]
mod ask_tests;
#[cfg(test)]
mod parse_tests;
