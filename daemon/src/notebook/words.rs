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
        format!("what listens on {port} does not answer"),
        "the server may be very busy or hang; restart it if that lasts",
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
    let at = if is_loopback(&wanted.host) { String::new() } else { format!(" on {}", shown(&wanted.host)) };
    let which = match (&wanted.dir, wanted.ports) {
        (Some(dir), _) => format!(" in {}", shown(dir)),
        (None, Some((first, last))) => format!(" on a port from {first} to {last}"),
        (None, None) => String::new(),
    };
    let hint = match unfit {
        Some(Unfit::Socket) => "the one that runs listens on a Unix socket: start it with a port",
        Some(Unfit::Malformed | Unfit::Huge) => {
            "one wrote a file that cannot be understood: set remote_port and token for it"
        }
        None if wanted.owner.is_some() => {
            "what another user's server writes down is private: set remote_port"
        }
        None => "start one over there, or set start so that `nbctl open` can",
    };
    Failure::new(MISSING, format!("no notebook's server{whose}{which} runs over there{at}"), hint)
}

/// What a far end or a file named, fit for a line.
pub(super) fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}
