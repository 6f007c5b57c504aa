//! Failures are data: what happened, what to do about it, and whether trying again can help.

use std::fmt;

/// Why something did not work, in words that a user understands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What sort of failure it is; decides what happens next.
    pub kind: FailureKind,
    /// One sentence that says what happened. No secret ever stands in it.
    pub message: String,
    /// One sentence that says what to do; empty when there is nothing to be done.
    pub hint: String,
}

impl Failure {
    /// A failure with its two sentences.
    pub fn new(kind: FailureKind, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Failure { kind, message: message.into(), hint: hint.into() }
    }

    /// A connection that ended though nobody here asked for it, without a word why.
    pub(crate) fn closed() -> Self {
        Failure::new(FailureKind::Disconnected, "the connection was closed", "it is tried again by itself")
    }

    /// What is to be done about it: see [`FailureKind::verdict`].
    pub fn verdict(&self) -> Verdict {
        self.kind.verdict()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, " ({})", self.hint) }
    }
}

/// What sort of failure it is. [`FailureKind::code`] is the stable word that scripts see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FailureKind {
    /// The server's key is in no known_hosts file.
    HostKeyUnknown,
    /// The server showed another key than the one on file, or a revoked one.
    HostKeyChanged,
    /// The server refused every credential we could offer.
    AuthRefused,
    /// There was nothing to offer: no agent, an empty or locked one, no readable key.
    NoCredentials,
    /// The server asks something that only a human can answer.
    AnswerNeeded,
    /// A key file is protected by a passphrase that nobody said, and no agent holds the key.
    PassphraseNeeded,
    /// Somebody else listens on the local port.
    PortInUse,
    /// The local address cannot be listened on for another reason.
    CannotListen,
    /// The network does not lead there.
    Unreachable,
    /// The other machine refused the connection.
    Refused,
    /// A step did not finish before its deadline.
    TimedOut,
    /// An established connection stopped answering.
    DeadPeer,
    /// An established connection was ended by the server or the network.
    Disconnected,
    /// The host name could not be resolved.
    Dns,
    /// The two sides share no algorithm.
    NoCommonAlgorithm,
    /// The server forbids this forward.
    ForwardingDenied,
    /// The server lets nothing be run.
    NoShell,
    /// A local program does not read what was sent to it.
    SlowReader,
    /// The local machine ran out of something (descriptors, memory).
    Exhausted,
    /// No notebook's server is where it should be, or anywhere.
    NotebookMissing,
    /// What listens where a notebook should be is another user's, or who connects to a forward.
    NotYours,
    /// A notebook's server does not take the token.
    TokenRefused,
    /// A notebook's server answers as none should, or could not be started.
    NotebookFailed,
    /// The configuration cannot work.
    Config,
    /// A fault of ours.
    Internal,
}

impl FailureKind {
    /// Whether somebody only has to answer.
    pub const fn wants_an_answer(self) -> bool {
        matches!(self, FailureKind::AnswerNeeded | FailureKind::PassphraseNeeded)
    }
}

/// What wakes a parked tunnel, beside a human (who always does) and a change of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WakesOn {
    /// Nothing but a human.
    Human,
    /// A change of what could be offered: an agent, its keys, a key file.
    Credentials,
    /// A change of a known_hosts file.
    KnownHosts,
}

/// What a failure of the link leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Trying again can help: with backoff, for ever.
    Retry,
    /// Trying again cannot help until something changed.
    Park(WakesOn),
}

impl FailureKind {
    /// Every kind, for tables and tests.
    pub const ALL: [FailureKind; 25] = [
        FailureKind::HostKeyUnknown,
        FailureKind::HostKeyChanged,
        FailureKind::AuthRefused,
        FailureKind::NoCredentials,
        FailureKind::AnswerNeeded,
        FailureKind::PassphraseNeeded,
        FailureKind::PortInUse,
        FailureKind::CannotListen,
        FailureKind::Unreachable,
        FailureKind::Refused,
        FailureKind::TimedOut,
        FailureKind::DeadPeer,
        FailureKind::Disconnected,
        FailureKind::Dns,
        FailureKind::NoCommonAlgorithm,
        FailureKind::ForwardingDenied,
        FailureKind::NoShell,
        FailureKind::SlowReader,
        FailureKind::Exhausted,
        FailureKind::NotebookMissing,
        FailureKind::NotYours,
        FailureKind::TokenRefused,
        FailureKind::NotebookFailed,
        FailureKind::Config,
        FailureKind::Internal,
    ];

    /// The stable snake_case word for it, as in `nbctl status --json`.
    pub const fn code(self) -> &'static str {
        match self {
            FailureKind::HostKeyUnknown => "host_key_unknown",
            FailureKind::HostKeyChanged => "host_key_changed",
            FailureKind::AuthRefused => "auth_refused",
            FailureKind::NoCredentials => "no_credentials",
            FailureKind::AnswerNeeded | FailureKind::PassphraseNeeded => "answer_needed",
            FailureKind::PortInUse => "port_in_use",
            FailureKind::CannotListen => "cannot_listen",
            FailureKind::Unreachable => "unreachable",
            FailureKind::Refused => "refused",
            FailureKind::TimedOut => "timed_out",
            FailureKind::DeadPeer => "dead_peer",
            FailureKind::Disconnected => "disconnected",
            FailureKind::Dns => "dns",
            FailureKind::NoCommonAlgorithm => "no_common_algorithm",
            FailureKind::ForwardingDenied => "forwarding_denied",
            FailureKind::NoShell => "no_shell",
            FailureKind::SlowReader => "slow_reader",
            FailureKind::Exhausted => "exhausted",
            FailureKind::NotebookMissing => "notebook_missing",
            FailureKind::NotYours => "not_yours",
            FailureKind::TokenRefused => "token_refused",
            FailureKind::NotebookFailed => "notebook_failed",
            FailureKind::Config => "config",
            FailureKind::Internal => "internal",
        }
    }

    /// Retry or park, for a link that failed in this way. A port in use or a denied forward concerns that
    /// forward alone and is always retried.
    pub const fn verdict(self) -> Verdict {
        match self {
            FailureKind::HostKeyUnknown | FailureKind::HostKeyChanged => Verdict::Park(WakesOn::KnownHosts),
            FailureKind::AuthRefused | FailureKind::NoCredentials | FailureKind::PassphraseNeeded => {
                Verdict::Park(WakesOn::Credentials)
            }
            FailureKind::AnswerNeeded | FailureKind::NoCommonAlgorithm | FailureKind::Config => {
                Verdict::Park(WakesOn::Human)
            }
            FailureKind::PortInUse
            | FailureKind::CannotListen
            | FailureKind::Unreachable
            | FailureKind::Refused
            | FailureKind::TimedOut
            | FailureKind::DeadPeer
            | FailureKind::Disconnected
            | FailureKind::Dns
            | FailureKind::ForwardingDenied
            | FailureKind::NoShell
            | FailureKind::SlowReader
            | FailureKind::Exhausted
            | FailureKind::NotebookMissing
            | FailureKind::NotYours
            | FailureKind::TokenRefused
            | FailureKind::NotebookFailed
            | FailureKind::Internal => Verdict::Retry,
        }
    }
}
