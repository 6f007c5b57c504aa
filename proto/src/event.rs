//! What a subscriber is told, as it happens.

use serde::{Deserialize, Serialize};

use crate::status::Problem;

/// A transition of a tunnel or of one of its forwards, or a word about the daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Milliseconds since 1970-01-01 UTC.
    pub at_ms: u64,
    /// Which tunnel; `None` for the daemon as a whole.
    pub tunnel: Option<String>,
    /// Which forward of it, as `listen:target`; `None` for the tunnel itself.
    pub forward: Option<String>,
    /// Which notebook of it.
    pub notebook: Option<String>,
    /// The state before.
    pub from: String,
    /// The state now.
    pub to: String,
    /// Why, if something failed.
    pub problem: Option<Problem>,
    /// Seconds until it is tried again, if it is.
    pub retry_in_s: Option<f64>,
    /// The same in one sentence.
    pub text: String,
}

/// One line of a tunnel's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Milliseconds since 1970-01-01 UTC.
    pub at_ms: u64,
    /// Which tunnel; `None` for the daemon as a whole.
    pub tunnel: Option<String>,
    /// What happened, in one sentence.
    pub text: String,
}
