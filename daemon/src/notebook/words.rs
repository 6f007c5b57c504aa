//! What is said when a notebook cannot be found or used. No token stands in any of it, and nothing that a server said.

use nbtunnel_core::{Failure, FailureKind};

use super::server_file::Unfit;
use super::{Kind, Wanted, is_loopback};

const NOT_YOURS: FailureKind = FailureKind::NotYours;
const MISSING: FailureKind = FailureKind::NotebookMissing;
const FAILED: FailureKind = FailureKind::NotebookFailed;

/// Something answers, and it is no notebook.
pub(super) fn not_jupyter(port: u16) -> Failure {
    Failure::new(
        FAILED,
        format!("something answers on {port}, but it is not a Jupyter server"),
        "see which port the notebook's server took, and set remote_port to it, or find = \"auto\"",
    )
}

pub(super) fn silent(port: u16) -> Failure {
    Failure::new(
        FAILED,
        format!("server does not answer on {port}"),
        "it may be very busy or hang; restart it if that lasts",
    )
}

/// The same of the one whose kernels its user has, where others of his run.
pub(super) fn silent_beside(port: u16, others: &[String]) -> Failure {
    match others {
        [] => silent(port),
        others => Failure {
            hint: format!(
                "it may be very busy or hang; if that lasts, end it (`nbctl notebook stop`), and another is led to \
                 ({})",
                others.join(", ")
            ),
            ..silent(port)
        },
    }
}

/// It is a notebook's server, and fails over the first question.
pub(super) fn status_untold(port: u16, status: u16) -> Failure {
    Failure::new(
        FAILED,
        format!("the server on {port} does not say how it is: it answers {status}"),
        "see what it writes, and restart it if that lasts",
    )
}

/// It lets us in, and says nothing of its kernels.
pub(super) fn kernels_untold(status: u16) -> Failure {
    match status {
        401 | 403 => Failure::new(
            FAILED,
            "kernels not shown to this token",
            "whoever runs the server may let it see kernels; without that nobody can run code by it",
        ),
        200 => Failure::new(
            FAILED,
            "kernels not told: its list of them makes no sense",
            "see whether its page works, and restart it if not",
        ),
        status => Failure::new(
            FAILED,
            format!("kernels not told: asked for them it answers {status}"),
            "see whether its page works, and restart it if not",
        ),
    }
}

/// Nobody could see whose its port is.
pub(super) fn not_told_in_time() -> Failure {
    Failure::new(
        FailureKind::TimedOut,
        "the far end does not say in time whose the notebook's port is",
        "it may be very busy, or its file system hang; it is asked again when somebody looks",
    )
}

pub(super) fn certificate(host: &str, port: u16, why: &str) -> Failure {
    Failure::new(
        FAILED,
        format!("the certificate of {host}:{port} is not trusted: {}", shown(why)),
        "only on the SSH host itself any certificate is taken; let this system trust that one, or log in to that \
         machine itself",
    )
}

/// The far end takes no connection to the port.
pub(super) fn port_refused(port: u16, told: Failure) -> Failure {
    if matches!(told.kind, FailureKind::ForwardingDenied | FailureKind::NotebookFailed) {
        return told;
    }
    Failure::new(
        MISSING,
        format!("port refused (no server on {port})"),
        "start the notebook's server, or see which port it took",
    )
}

pub(super) fn https_on_http(port: u16) -> Failure {
    Failure::new(
        FAILED,
        format!("https on an http forward: the server on {port} speaks https"),
        "set scheme = \"https\", or leave it at \"auto\"",
    )
}

pub(super) fn http_on_https(port: u16) -> Failure {
    Failure::new(
        FAILED,
        format!("http on an https forward: the server on {port} speaks http"),
        "set scheme = \"http\", or leave it at \"auto\"",
    )
}

pub(super) fn token_refused(port: u16, kind: Kind) -> Failure {
    let hint = match kind {
        Kind::Hub => "make a token on the hub's page of tokens (Token in its menu) and set token to it",
        Kind::Server2 | Kind::Notebook6 | Kind::Unknown => {
            "the server has another token by now: take token out of the file, so that the server's own is found, or \
             set it to what the server printed when it started"
        }
    };
    Failure::new(FailureKind::TokenRefused, format!("the server on {port} refuses the token"), hint)
}

/// It wants a token, and nobody knows one.
pub(super) fn token_wanted(port: u16, kind: Kind) -> Failure {
    let hint = match kind {
        Kind::Hub => "make a token on the hub's page of tokens (Token in its menu) and set token to it",
        Kind::Server2 | Kind::Notebook6 | Kind::Unknown => {
            "set token to the one that the server printed when it started"
        }
    };
    let message = format!("the server on {port} wants a token, and none is written down where it runs");
    Failure::new(FailureKind::TokenRefused, message, hint)
}

/// It lets in whoever logs in at its page, and programs not at all.
pub(super) fn password_wanted(port: u16) -> Failure {
    Failure::new(
        FailureKind::TokenRefused,
        format!("the server on {port} asks for a password"),
        "log in on its page; programs get in only where the server has a token, too",
    )
}

pub(super) fn kernel_dead(dead: u32) -> Failure {
    let message = match dead {
        1 => "kernel dead".to_owned(),
        many => format!("{many} kernels dead"),
    };
    Failure::new(FAILED, message, "restart it in the notebook (Kernel, Restart); its variables are lost")
}

pub(super) fn stranger(port: u16, uid: u32, owner: Option<&str>) -> Failure {
    let whose = owner.map_or_else(|| "you".to_owned(), shown);
    Failure::new(
        NOT_YOURS,
        format!("port {port} belongs to another user over there (uid {uid}), not to {whose}"),
        if uid == 0 {
            "find your own server's port; a port that a container publishes is root's: if it is yours, say find = \"user:root\""
        } else {
            "find your own server's port, or name whose it is, as find = \"user:NAME\"; no token was sent"
        },
    )
}

/// Why a job's server is not reached by the name of its machine: somebody else listens there.
pub(super) fn stranger_outside(node: &str, port: u16, uid: u32) -> String {
    format!("seen from outside, port {port} of {} belongs to another user (uid {uid})", shown(node))
}

/// The same: it takes nobody who comes from another machine.
pub(super) fn loopback_alone(node: &str, port: u16) -> String {
    format!("the server on {port} of {} listens on its loopback alone", shown(node))
}

/// It is led to, and another section started it.
pub(super) fn another_notebooks() -> Failure {
    Failure::new(
        FAILED,
        "its server was started for another notebook, and goes on",
        "stop that one by its name",
    )
}

/// A server is there, and it cannot be ended.
pub(super) fn no_process(port: u16) -> Failure {
    Failure::new(
        FAILED,
        format!("which process serves port {port} cannot be seen over there, so it was not ended"),
        "end it where it runs, or by Shut Down on its page",
    )
}

pub(super) fn of_another(name: &str, dir: &str) -> Failure {
    Failure::new(
        NOT_YOURS,
        format!("{} in {} belongs to another user over there", shown(name), shown(dir)),
        "see who wrote it; no token was sent",
    )
}

pub(super) fn open_to_others(name: &str, dir: &str) -> Failure {
    Failure::new(
        NOT_YOURS,
        format!("other users over there may write to {}, so {} is not believed", shown(dir), shown(name)),
        "run there: chmod -R go-w on that directory",
    )
}

pub(super) fn nobody_listens(port: u16) -> Failure {
    Failure::new(
        MISSING,
        format!("port refused (no server on {port})"),
        "start the notebook's server, or see which port it took",
    )
}

/// The port that the file names leads nowhere, and one of theirs runs elsewhere, in `words`.
pub(super) fn on_another_port(why: &Failure, words: &str) -> Failure {
    let hint = format!(
        "a server runs on {}: if that is meant, write find = \"auto\" in the place of remote_port",
        words.trim_start_matches("port ")
    );
    Failure { hint, ..why.clone() }
}

pub(super) fn no_such_account(owner: &str) -> Failure {
    Failure::new(
        FailureKind::Config,
        format!("there is no account {} over there", shown(owner)),
        "correct find, or leave it out for your own server",
    )
}

pub(super) fn unreadable() -> Failure {
    Failure::new(
        FAILED,
        "the far end does not tell which servers run there",
        "set remote_port, so that nothing has to be looked for",
    )
}

pub(super) fn missing(wanted: &Wanted, unfit: Option<Unfit>) -> Failure {
    let whose = wanted.owner.as_ref().map_or_else(String::new, |owner| format!(" of {}", shown(owner)));
    let host = Some(shown(&wanted.host)).filter(|host| !is_loopback(host));
    let at = host.as_ref().map_or_else(String::new, |host| format!(" on {host}"));
    let which = match (&wanted.dir, wanted.ports) {
        (Some(dir), _) => format!(" in {}", shown(dir)),
        (None, Some((first, last))) => format!(" on a port from {first} to {last}"),
        (None, None) => String::new(),
    };
    let hint = match unfit {
        Some(Unfit::Socket) => "the one that runs listens on a Unix socket: start it with a port".to_owned(),
        Some(Unfit::Malformed | Unfit::Huge) => {
            "one wrote a file that cannot be understood: set remote_port and token for it".to_owned()
        }
        None if wanted.owner.is_some() => {
            "what another user's server writes down is private: set remote_port".to_owned()
        }
        None => match host {
            // What listens everywhere names no machine.
            Some(host) => format!(
                "start one there with --ip={host}, so that it writes down where it runs; or set remote_port and token"
            ),
            None => "start one over there, or set start so that `nbctl open` can".to_owned(),
        },
    };
    Failure::new(MISSING, format!("no notebook's server{whose}{which} runs over there{at}"), hint)
}

/// What a far end or a file named, fit for a line.
pub(super) fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// One sentence says what happened, and one what to do.
    fn is_said_well(why: &Failure) -> bool {
        let is_sentence = |text: &str| {
            !text.is_empty() && !text.starts_with(char::is_uppercase) && !text.ends_with(['.', ' ', ':'])
        };
        is_sentence(&why.message) && is_sentence(&why.hint) && why.message != why.hint
    }

    #[test]
    fn whatever_is_wrong_with_a_notebook_is_said_in_a_sentence_with_a_hint() {
        let theirs = Wanted { owner: Some("alice".to_owned()), ..Wanted::any() };
        let there = Wanted { host: "node7".to_owned(), ports: Some((1, 2)), ..Wanted::any() };
        let denied = Failure::new(FailureKind::ForwardingDenied, "it does not", "ask it to");
        let mut all = vec![
            not_jupyter(1),
            silent(1),
            silent_beside(1, &[]),
            silent_beside(1, &["port 2 (/home/me)".to_owned()]),
            status_untold(1, 500),
            kernels_untold(200),
            kernels_untold(403),
            kernels_untold(500),
            certificate("node7", 1, "it is of yesterday"),
            port_refused(1, nobody_listens(1)),
            port_refused(1, denied),
            https_on_http(1),
            http_on_https(1),
            password_wanted(1),
            kernel_dead(1),
            kernel_dead(2),
            stranger(1, 0, None),
            stranger(1, 1001, Some("alice")),
            of_another("jpserver-1.json", "/home/alice"),
            open_to_others("jpserver-1.json", "/home/alice"),
            nobody_listens(1),
            no_such_account("alice"),
            unreadable(),
            no_process(1),
            another_notebooks(),
            not_told_in_time(),
        ];
        for kind in [Kind::Server2, Kind::Notebook6, Kind::Hub, Kind::Unknown] {
            all.extend([token_refused(1, kind), token_wanted(1, kind)]);
        }
        for wanted in [Wanted::any(), theirs, there, Wanted { dir: Some("~/x".to_owned()), ..Wanted::any() }]
        {
            let unfit = [None, Some(Unfit::Socket), Some(Unfit::Malformed), Some(Unfit::Huge)];
            all.extend(unfit.map(|unfit| missing(&wanted, unfit)));
        }
        for why in &all {
            assert!(is_said_well(why), "{:?}: {why}", why.kind);
        }
        let kinds: BTreeSet<FailureKind> = all.iter().map(|why| why.kind).collect();
        let expected = [
            FailureKind::ForwardingDenied,
            MISSING,
            NOT_YOURS,
            FailureKind::TokenRefused,
            FAILED,
            FailureKind::Config,
            FailureKind::TimedOut,
        ];
        assert_eq!(kinds, BTreeSet::from(expected));
        for bad in [("", "do"), ("it is", ""), ("It is", "do"), ("it is", "do."), ("it is", "it is")] {
            assert!(!is_said_well(&Failure::new(FAILED, bad.0, bad.1)), "{bad:?}");
        }
    }
}
