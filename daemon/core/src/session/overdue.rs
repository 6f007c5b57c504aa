//! What it means that a step of dialling did not end in time.

use crate::failure::{Failure, FailureKind};
use crate::io::Step;

/// A question that was left standing is not asked again by itself.
pub(super) fn unanswered() -> Failure {
    Failure::new(
        FailureKind::AnswerNeeded,
        "what the login asked was not answered within 10 minutes",
        "run `nbctl unlock` for it again when you are there",
    )
}

/// That `step` of dialling did not end in time.
pub fn overdue(step: Step) -> Failure {
    let (message, hint) = match step {
        Step::Queued => ("the connection waited too long for its turn", ""),
        Step::Resolve => ("looking up the host name took too long", "check the network and its DNS"),
        Step::Tcp => (
            "the server did not answer the connection attempt in time",
            "check host, port, VPN and firewall; it is tried again by itself",
        ),
        Step::Banner => (
            "the server took the connection but did not say that it is an SSH server",
            "check the port; an overloaded server may also be this slow; it is tried again by itself",
        ),
        Step::KeyExchange => {
            ("the key exchange with the server took too long", "it is tried again by itself")
        }
        Step::Authenticate => (
            "the server or the agent took too long to authenticate us",
            "if the agent asks for a confirmation, answer it; otherwise it is tried again by itself",
        ),
    };
    Failure::new(FailureKind::TimedOut, message, hint)
}
