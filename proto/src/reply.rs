//! What the daemon answers.

use serde::{Deserialize, Serialize};

use crate::answer::{Question, Secret};
use crate::event::{Event, LogLine};
use crate::fault::Fault;
use crate::finding::Finding;
use crate::keys::Keys;
use crate::status::{FileProblem, Problem, Status};

/// One answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// To [`crate::Request::Status`].
    Status(Box<Status>),
    /// To [`crate::Request::Order`]: one outcome a tunnel.
    Ordered(Vec<Outcome>),
    /// To [`crate::Request::Reload`].
    Reloaded {
        /// Tunnels that are new.
        added: Vec<String>,
        /// Tunnels that changed.
        changed: Vec<String>,
        /// Tunnels that are gone.
        removed: Vec<String>,
        /// What is wrong.
        problems: Vec<FileProblem>,
    },
    /// A line of history.
    Log(LogLine),
    /// Something happened.
    Event(Box<Event>),
    /// A stream is at its end.
    Done,
    /// To [`crate::Request::HostKey`].
    HostKey(Box<HostKeyOffer>),
    /// To [`crate::Request::Trust`].
    Trusted {
        /// The file that was written.
        file: String,
        /// The lines that it replaced, as `file:line`.
        replaced: Vec<String>,
    },
    /// It could not be done. Nothing was changed.
    Fault(Fault),
    /// During [`crate::Request::Unlock`]: to be answered by [`crate::Request::Answers`].
    Ask(Box<Question>),
    /// To [`crate::Request::Doctor`]: a look at one layer.
    Finding(Box<Finding>),
    /// To [`crate::Request::Notebook`] and [`crate::Request::Proxy`], any number of times: what is being done, or waited
    /// for, in one sentence.
    Progress(String),
    /// To [`crate::Request::Notebook`]: it is there.
    Notebook(Box<NotebookAt>),
    /// To [`crate::Request::Notebook`]: some lines.
    Text(String),
    /// To [`crate::Request::Proxy`]: what follows is raw.
    Proxied {
        /// Names it to [`crate::Request::ProxyEnd`].
        number: u64,
    },
    /// To [`crate::Request::SshHosts`].
    SshHosts {
        /// Where they lead, by their names.
        hosts: Vec<SshHost>,
        /// Of which ssh_config does not say it, and why: a name and a sentence each.
        unknown: Vec<(String, String)>,
        /// [`SshHost::on_the_way`] of all tunnels, whichever were asked for.
        on_the_way: Vec<String>,
    },
    /// To [`crate::Request::Keys`] and [`crate::Request::TestKey`].
    Keys(Box<Keys>),
}

/// Where a tunnel leads, in the words of ssh_config(5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SshHost {
    /// The tunnel.
    pub name: String,
    /// `HostName`.
    pub host: String,
    /// `Port`.
    pub port: u16,
    /// `User`; empty: whoever asks.
    pub user: String,
    /// `HostKeyAlias`.
    pub alias: Option<String>,
    /// `IdentityFile`, in order; may be those that are usual; empty: `none`.
    pub identity_files: Vec<String>,
    /// `CertificateFile`, in order.
    pub certificate_files: Vec<String>,
    /// `IdentitiesOnly`.
    pub identities_only: bool,
    /// `IdentityAgent`, where it is not the usual one.
    pub identity_agent: Option<String>,
    /// `UserKnownHostsFile`; may be those that are usual; empty: `none`.
    pub known_hosts: Vec<String>,
    /// What else it takes to log in there: keywords and their values.
    pub options: Vec<(String, String)>,
    /// Its last login took a person, or the next one does.
    pub asks: bool,
    /// What ssh calls the machines on its way: a Host of such a name would lead it into itself.
    pub on_the_way: Vec<String>,
}

/// Where a notebook is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotebookAt {
    /// Its tunnel.
    pub tunnel: String,
    /// Its name.
    pub name: String,
    /// By what name this machine is to be called: `localhost`, or `127.0.0.1` where somebody else may listen on `[::1]`.
    pub host: String,
    /// Its port on this machine.
    pub local_port: u16,
    /// Whether it is spoken to with TLS.
    pub https: bool,
    /// Its base URL, with a slash at both ends: `/` or `/user/me/`.
    pub base_url: String,
    /// Its token, if it has one that we may know.
    pub token: Option<Secret>,
    /// Its server asks for a password.
    pub password: bool,
    /// Whether `lab`, `tree` and the like are there, as far as known: the kind of the server, `jupyter-server`,
    /// `notebook6`, `hub`, `unknown`.
    pub kind: String,
    /// What a user should know, in one sentence each.
    pub notes: Vec<String>,
}

/// What became of an order, for one tunnel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The tunnel.
    pub name: String,
    /// How far it got.
    pub reached: Reached,
}

/// How far an order got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reached {
    /// The order was taken; nobody waited.
    Accepted,
    /// It is there.
    There,
    /// It cannot get there by itself.
    Stuck(Problem),
    /// Somebody else wanted the opposite meanwhile.
    Overtaken,
}

/// The host key that a server showed, beside what is on file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostKeyOffer {
    /// The tunnel.
    pub name: String,
    /// Which machine on the way showed it, as `host:port`.
    pub hop: String,
    /// Which of the jump hosts that is, from 1; 0 for the server itself.
    pub jump: u32,
    /// How many jump hosts there are.
    pub jumps: u32,
    /// The alias (`HostKeyAlias`) that it is looked up and written under, if it has one.
    pub alias: Option<String>,
    /// For example `ssh-ed25519`.
    pub algorithm: String,
    /// `SHA256:…`.
    pub fingerprint: String,
    /// The drawing of `ssh-keygen -lv`, several lines.
    pub randomart: String,
    /// The file that would be written.
    pub file: String,
    /// Whether it is on file already, and so nothing needs to be done.
    pub trusted: bool,
    /// Other keys on file for that machine.
    pub recorded: Vec<RecordedKey>,
    /// The offered key, or the authority that signed it, stands in a `@revoked` line: it cannot be trusted at all.
    pub revoked: bool,
    /// That line, as `file:line`.
    pub revoked_at: Option<String>,
    /// Why the certificate that the key came with did not count.
    pub doubt: Option<String>,
}

/// A key that is on file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedKey {
    /// The known_hosts file.
    pub file: String,
    /// Its line, from 1.
    pub line: u32,
    /// For example `ssh-ed25519`.
    pub algorithm: String,
    /// `SHA256:…`.
    pub fingerprint: String,
    /// The drawing of `ssh-keygen -lv`, several lines.
    pub randomart: String,
    /// The names of its line, where they are a pattern that means other machines, too.
    pub pattern: Option<String>,
    /// It stays where it is when the key is replaced: its line is a pattern, or its file the system's.
    pub stays: bool,
}
