//! How a request fails.

use serde::{Deserialize, Serialize};

/// Why a request could not be done, for people and for scripts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What sort it is; decides nbctl's exit code.
    pub code: FaultCode,
    /// What happened.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// What sort of fault. [`FaultCode::word`] is the stable word in `--json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FaultCode {
    /// It was tried and failed.
    Failed,
    /// The request makes no sense.
    Usage,
    /// No tunnel of that name.
    NoSuchTunnel,
    /// A human has to decide something first.
    NeedsYou,
    /// The two programs are of different versions.
    Version,
    /// Too many clients at once.
    Busy,
    /// The daemon is going away.
    Stopping,
    /// The client did not read fast enough.
    TooSlow,
    /// What was sent is not the protocol.
    Protocol,
    /// Nobody listens on the control socket. Only ever said by the client's own side.
    NoDaemon,
    /// It took too long. Only ever said by the client's own side.
    TimedOut,
}

impl FaultCode {
    /// The stable snake_case word for it.
    pub const fn word(self) -> &'static str {
        match self {
            FaultCode::Failed => "failed",
            FaultCode::Usage => "usage",
            FaultCode::NoSuchTunnel => "no_such_tunnel",
            FaultCode::NeedsYou => "needs_you",
            FaultCode::Version => "version",
            FaultCode::Busy => "busy",
            FaultCode::Stopping => "stopping",
            FaultCode::TooSlow => "too_slow",
            FaultCode::Protocol => "protocol",
            FaultCode::NoDaemon => "no_daemon",
            FaultCode::TimedOut => "timed_out",
        }
    }
}

impl Fault {
    /// A fault with its two sentences.
    pub fn new(code: FaultCode, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Fault { code, message: message.into(), hint: hint.into() }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

/// A stream that broke: the codecs need it, and nothing can be done about it but trying again. One that was reset
/// is one whose other end is gone.
impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
        let gone = matches!(error.kind(), ConnectionReset | BrokenPipe);
        Fault::new(
            if gone { FaultCode::NoDaemon } else { FaultCode::Failed },
            format!("the control connection broke: {error}"),
            "try again; if it stays so, restart nbtunneld",
        )
    }
}
