//! What ssh_config says of a host, in the words of ssh itself: runs `ssh -G` and understands its answer.
//!
//! `ask` runs the program, `parse` reads what it prints, `tokens` expands what it leaves, `keywords` says of
//! every keyword whether we do as it says. Decides nothing about tunnels; `config` and `ssh` call it. Where there
//! is no ssh program there is no answer, and the tunnel file's own words are enough.

mod ask;
mod forwards;
mod hops;
mod host_config;
mod keywords;
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

pub use ask::ask;
pub use hops::Hop;
pub use host_config::{
    AddKeys, AddressFamily, HostConfig, HostKeyChecking, IdentityAgent, UpdateHostKeys, Way,
};
pub use parse::parse;

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
mod parse_tests;
