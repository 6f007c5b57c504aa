//! Why a session ended, in two sentences that a researcher understands.

use std::io;

use nbtunnel_core::{Failure, FailureKind};
use russh::{AlgorithmKind, Error};

use super::wire::{Tap, WireEnd};

/// How much of a text that a server sent is shown.
const MAX_QUOTE: usize = 300;

/// A text of the other side, fit to be shown: one line, bounded, without anything that moves a terminal's
/// cursor or turns its writing round.
pub(super) fn quote(text: &str) -> String {
    quote_up_to(text, MAX_QUOTE)
}

/// The same, of at most so many characters.
pub(super) fn quote_up_to(text: &str, most: usize) -> String {
    let mut clean = String::new();
    for word in text.split(|c: char| c.is_whitespace() || is_harmful(c)).filter(|word| !word.is_empty()) {
        if !clean.is_empty() {
            clean.push(' ');
        }
        clean.push_str(word);
    }
    match clean.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &clean[..end]),
        None => clean,
    }
}

/// Whether it moves a terminal's cursor, or turns its writing round.
pub(super) fn is_harmful(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
}

/// The end of a session that the server announced (RFC 4253 §11.1).
pub(super) fn announced(hop: &str, message: &str) -> Failure {
    let message = quote(message);
    if message.contains("Too many authentication failures") {
        return too_many_keys(hop, None);
    }
    let said = if message.is_empty() { String::new() } else { format!(": {message}") };
    Failure::new(
        FailureKind::Disconnected,
        format!("{hop} ended the session{said}"),
        "it is tried again by itself; if it stays so, the server's log says more",
    )
}

/// The server ended the session after so many keys (MaxAuthTries in sshd_config(5)).
pub(super) fn too_many_keys(hop: &str, offered: Option<usize>) -> Failure {
    let count = offered.map(|count| format!(" ({count} were offered)")).unwrap_or_default();
    Failure::new(
        FailureKind::AuthRefused,
        format!("{hop} ended the login after too many keys{count}"),
        "name the right key as identity_file, add options = [\"IdentitiesOnly=yes\"] so that the SSH agent's others are not offered, or keep fewer keys in the agent (ssh-add -d)",
    )
}

/// The end of a session by `error`, seen by whoever ran it. `tap` knows how the wire ended.
pub(super) fn broken(hop: &str, error: &Error, tap: &Tap) -> Failure {
    if let Some(greeting) = tap.strange_greeting() {
        return not_ssh(hop, &greeting);
    }
    match error {
        Error::NoCommonAlgo { kind, ours, theirs } => no_common_algorithm(hop, kind, ours, theirs),
        Error::Version => not_ssh(hop, ""),
        Error::NoAuthMethod => Failure::new(
            FailureKind::AuthRefused,
            format!("{hop} offers no way to log in"),
            "check user in the tunnel's file, and ask the server's administrator",
        ),
        Error::IO(error) => lost(hop, &WireEnd::Broken(error.kind(), error.to_string())),
        Error::Disconnect | Error::HUP | Error::SendError | Error::RecvError => ended(hop, tap),
        Error::Join(_) => Failure::new(
            FailureKind::Internal,
            format!("the session with {hop} failed inside nbtunnel"),
            "please report it, with the daemon's log",
        ),
        // What is left are breaches of the protocol: a faulty server, or somebody in between.
        other => match tap.end() {
            Some(end) => lost(hop, &end),
            None => Failure::new(
                FailureKind::Disconnected,
                format!("the session with {hop} broke: {}", quote(&other.to_string())),
                "it is tried again by itself; if it stays so, something between here and there changes the data",
            ),
        },
    }
}

/// The end of a session that gave no reason, by what the wire saw.
pub(super) fn ended(hop: &str, tap: &Tap) -> Failure {
    lost(hop, &tap.end().unwrap_or(WireEnd::Closed))
}

fn lost(hop: &str, end: &WireEnd) -> Failure {
    match end {
        WireEnd::Closed => Failure::new(
            FailureKind::Disconnected,
            format!("{hop} closed the connection"),
            "the server may be restarting, or busy (MaxStartups), or its firewall blocks this machine for a while",
        ),
        WireEnd::Broken(io::ErrorKind::TimedOut, _) => Failure::new(
            FailureKind::DeadPeer,
            format!("{hop} stopped answering"),
            "the network between here and there is gone, or the machine is off",
        ),
        WireEnd::Broken(io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe, _) => Failure::new(
            FailureKind::Disconnected,
            format!("the connection to {hop} was reset"),
            "the server restarted, or a router in between forgot the connection; it is tried again by itself",
        ),
        WireEnd::Broken(
            io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkDown,
            why,
        ) => Failure::new(
            FailureKind::Unreachable,
            format!("the way to {hop} is gone: {why}"),
            "check whether this machine is online, or needs a VPN",
        ),
        WireEnd::Broken(io::ErrorKind::UnexpectedEof, _) => Failure::new(
            FailureKind::Disconnected,
            format!("{hop} ended the connection"),
            "it is tried again by itself; if it stays so, the server's log says more",
        ),
        WireEnd::Broken(_, why) => Failure::new(
            FailureKind::Disconnected,
            format!("the connection to {hop} broke: {why}"),
            "it is tried again by itself",
        ),
    }
}

/// Something else answers on that port. That counts as refused, and is retried, though the port may simply
/// be wrong: a hotel's login page answers like this too, and then it passes without anybody's help.
fn not_ssh(hop: &str, greeting: &str) -> Failure {
    if greeting.starts_with("SSH-1.") {
        return Failure::new(
            FailureKind::NoCommonAlgorithm,
            format!("{hop} speaks only the old SSH protocol 1"),
            "ask its administrator to update the server",
        );
    }
    let greeting = quote(greeting);
    let said = if greeting.is_empty() { String::new() } else { format!(": it says \"{greeting}\"") };
    Failure::new(
        FailureKind::Refused,
        format!("what answers at {hop} is no SSH server{said}"),
        "check host and port in the tunnel's file; on a guest network, log in to that first",
    )
}

fn no_common_algorithm(hop: &str, kind: &AlgorithmKind, ours: &[String], theirs: &[String]) -> Failure {
    let (what, keyword) = match kind {
        AlgorithmKind::Kex => ("key exchange", "KexAlgorithms"),
        AlgorithmKind::Key => ("host key", "HostKeyAlgorithms"),
        AlgorithmKind::Cipher => ("cipher", "Ciphers"),
        AlgorithmKind::Compression => ("compression", "Compression"),
        AlgorithmKind::Mac => ("MAC", "MACs"),
    };
    Failure::new(
        FailureKind::NoCommonAlgorithm,
        format!(
            "{hop} has no {what} algorithm that is allowed here: it offers {}; allowed are {}",
            quote(&theirs.join(", ")),
            quote(&ours.join(", "))
        ),
        format!(
            "ask its administrator to update the SSH server; if {keyword} is set for it, that may be too narrow"
        ),
    )
}

/// A step that core should have ended long ago.
pub(super) fn overdue(hop: &str, what: &str) -> Failure {
    Failure::new(
        FailureKind::TimedOut,
        format!("{hop} did not finish {what} within a minute"),
        "the server may be overloaded; it is tried again by itself",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tap() -> Tap {
        Tap::new(crate::wake::stopwatch())
    }

    #[test]
    fn texts_of_the_other_side_cannot_move_the_cursor() {
        assert_eq!(quote("a\x1b[2J\r\nb\u{202e}c\0"), "a [2J b c");
        assert_eq!(quote(&"x".repeat(1000)).chars().count(), MAX_QUOTE + 1);
        assert_eq!(quote(" \n\t"), "");
    }

    #[test]
    fn too_many_keys_is_told_as_such_wherever_it_is_said() {
        let failure = announced("h:22", "Too many authentication failures");
        assert_eq!(failure.kind, FailureKind::AuthRefused);
        assert_eq!(announced("h:22", "bye").kind, FailureKind::Disconnected);
    }

    #[test]
    fn a_missing_algorithm_lists_what_the_server_has() {
        let error = Error::NoCommonAlgo {
            kind: AlgorithmKind::Kex,
            ours: vec!["curve25519-sha256".into()],
            theirs: vec!["diffie-hellman-group1-sha1".into(), "evil\x1b[2J".into()],
        };
        let failure = broken("h:22", &error, &tap());
        assert_eq!(failure.kind, FailureKind::NoCommonAlgorithm);
        assert!(failure.message.contains("diffie-hellman-group1-sha1") && !failure.message.contains('\x1b'));
        assert!(failure.message.contains("allowed are curve25519-sha256"), "{failure}");
    }

    #[test]
    fn every_end_of_the_wire_has_its_kind() {
        use io::ErrorKind::{ConnectionReset, HostUnreachable, TimedOut};
        let kind = |kind: io::ErrorKind| broken("h:22", &Error::IO(kind.into()), &tap()).kind;
        assert_eq!(kind(ConnectionReset), FailureKind::Disconnected);
        assert_eq!(kind(TimedOut), FailureKind::DeadPeer);
        assert_eq!(kind(HostUnreachable), FailureKind::Unreachable);
        assert_eq!(broken("h:22", &Error::HUP, &tap()).kind, FailureKind::Disconnected);
    }
}
