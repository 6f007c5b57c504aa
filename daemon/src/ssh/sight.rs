//! What a link sees on its way, told beside the steps that it takes, for whoever wants to know how it went.

use std::net::SocketAddr;

use super::hop::Hop;
use super::hostkey::OfferedKey;

/// Something that was seen at one machine on the way.
#[derive(Clone, Debug)]
pub struct Sight {
    /// The machine, as users know it.
    pub hop: String,
    /// What was seen.
    pub seen: Seen,
}

/// What was seen. Each ends a step; what keeps a step from ending is the failure of the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It is this machine's turn.
    Turn,
    /// The addresses of its name.
    Addresses(Vec<SocketAddr>),
    /// A connection to this one.
    Connected(SocketAddr),
    /// What stands in the place of a connection.
    Over(String),
    /// Its version line (RFC 4253 §4.2), as it sent it.
    Version(String),
    /// A host key that is trusted, beside what is on file.
    HostKey(Box<OfferedKey>),
    /// The methods by which one may log in.
    Methods(Vec<String>),
    /// It saw this key, and takes it or does not.
    Key {
        /// What users see of it.
        label: String,
        /// Whether it does; there may be no signature for all that.
        is_taken: bool,
    },
    /// What it let us in for; nothing if it asked for nothing.
    LetIn(Vec<String>),
}

impl Sight {
    pub(super) fn of(hop: &Hop, seen: Seen) -> Sight {
        Sight { hop: hop.label(), seen }
    }
}
