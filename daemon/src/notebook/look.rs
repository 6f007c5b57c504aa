//! How a notebook fares, from Jupyter's own status calls, and which layer broke: port, scheme, server, token, kernel.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use nbtunnel_core::{Failure, FailureKind, Scheme};
use serde::Deserialize;
use tokio::time::sleep;

use super::http::{self, Place};
use super::probe::{self, Door, Guess, Trouble};
use super::{Server, verify, words};
use crate::forward::far_side::FarSide;

/// A look is over by then, however far away the server is.
const PATIENCE: Duration = Duration::from_secs(15);

const LINK_GONE: &str = "link gone";
const TOKEN_REFUSED: &str = "server ok · token refused";

/// Numbers looks. What an older one saw changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LookId(pub u64);

/// How far a look came. Each but the last carries the sentence that says why no further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// The link is gone: nothing is known of the server.
    LinkGone(Failure),
    /// The far end does not say whose its port is, so that nobody was spoken to.
    Unsure(Failure),
    /// No server on its port, or another user's.
    PortRefused(Failure),
    /// It speaks https where http was expected, or the reverse.
    WrongScheme(Failure),
    /// What answers is no Jupyter server.
    NotJupyter(Failure),
    /// Something takes connections and does not answer.
    Silent(Failure),
    /// The server answers, and refuses the token; its version is known.
    TokenRefused(Failure, Option<String>),
    /// The server lets us in, and does not say how its kernels are.
    KernelsUntold(Failure),
    /// The server is well, and a kernel of it is dead.
    KernelDead(Failure, Vitals),
    /// All is well.
    Fine(Vitals),
}

/// What the server tells of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vitals {
    /// The server's version.
    pub version: Option<String>,
    /// Kernels that run.
    pub kernels: u32,
    /// Kernels that compute.
    pub busy: u32,
    /// Kernels that died and do not start again.
    pub dead: u32,
    /// When something was last done there, as the server writes it (ISO 8601, UTC).
    pub last_activity: Option<String>,
}

impl Health {
    /// Why not all is well.
    pub fn why(&self) -> Option<&Failure> {
        match self {
            Health::LinkGone(why)
            | Health::Unsure(why)
            | Health::PortRefused(why)
            | Health::WrongScheme(why)
            | Health::NotJupyter(why)
            | Health::Silent(why)
            | Health::TokenRefused(why, _)
            | Health::KernelsUntold(why)
            | Health::KernelDead(why, _) => Some(why),
            Health::Fine(_) => None,
        }
    }

    /// What the server told, if it did.
    pub fn vitals(&self) -> Option<&Vitals> {
        match self {
            Health::KernelDead(_, vitals) | Health::Fine(vitals) => Some(vitals),
            Health::LinkGone(_)
            | Health::Unsure(_)
            | Health::PortRefused(_)
            | Health::WrongScheme(_)
            | Health::NotJupyter(_)
            | Health::Silent(_)
            | Health::TokenRefused(..)
            | Health::KernelsUntold(_) => None,
        }
    }

    /// Whether what was found there may be elsewhere by now. A token that was refused already when it was found would
    /// be found again.
    pub fn is_doubtful(&self, found: &Server) -> bool {
        match self {
            Health::PortRefused(_) | Health::WrongScheme(_) | Health::NotJupyter(_) | Health::Silent(_) => {
                true
            }
            Health::TokenRefused(..) => found.token_problem.is_none() && !found.password,
            Health::LinkGone(_)
            | Health::Unsure(_)
            | Health::KernelsUntold(_)
            | Health::KernelDead(..)
            | Health::Fine(_) => false,
        }
    }

    /// The layers in a line: `server ok · token refused`.
    pub fn words(&self) -> String {
        match self {
            Health::LinkGone(_) => LINK_GONE.to_owned(),
            Health::Unsure(why) | Health::PortRefused(why) => format!("ssh ok · {}", why.message),
            Health::WrongScheme(why) | Health::NotJupyter(why) | Health::Silent(why) => {
                format!("port ok · {}", why.message)
            }
            Health::TokenRefused(..) => TOKEN_REFUSED.to_owned(),
            Health::KernelsUntold(why) | Health::KernelDead(why, _) => format!("server ok · {}", why.message),
            Health::Fine(_) => "server ok".to_owned(),
        }
    }
}

/// The layers in a line, where a search met `why` and there was no server to look at.
pub fn words_of(why: &Failure) -> String {
    match why.kind {
        FailureKind::Disconnected | FailureKind::DeadPeer => LINK_GONE.to_owned(),
        FailureKind::TokenRefused => TOKEN_REFUSED.to_owned(),
        _ => format!("ssh ok · {}", why.message),
    }
}

/// Asks `server` how it fares, once it was seen that its port is still its owner's: its token goes there.
pub async fn look(far: Arc<dyn FarSide>, server: &Server) -> Health {
    let mut late = pin!(sleep(PATIENCE));
    let verified = tokio::select! {
        verified = verify(Arc::clone(&far), server) => verified,
        () = &mut late => return Health::Unsure(words::not_told_in_time()),
    };
    if let Err(why) = verified {
        return match why.kind {
            FailureKind::NotebookMissing | FailureKind::NotYours => Health::PortRefused(why),
            FailureKind::Disconnected | FailureKind::DeadPeer => Health::LinkGone(why),
            _ => Health::Unsure(why),
        };
    }
    let asked = tokio::select! {
        asked = ask(&far, server) => asked,
        () = &mut late => return Health::Silent(words::silent(server.port)),
    };
    match asked {
        Ok(health) => health,
        Err(Trouble::Link(why)) => Health::LinkGone(why),
        Err(Trouble::Port(why)) => Health::PortRefused(why),
        Err(Trouble::Scheme(why)) => Health::WrongScheme(why),
        Err(Trouble::Server(why)) => Health::NotJupyter(why),
        Err(Trouble::Silent(why)) => Health::Silent(why),
    }
}

async fn ask(far: &Arc<dyn FarSide>, server: &Server) -> Result<Health, Trouble> {
    let guess = Guess {
        host: &server.host,
        port: server.port,
        // As it was found; a browser that is on the way speaks so.
        scheme: if server.https { Scheme::Https } else { Scheme::Http },
        https: server.https,
        base_url: Some(&server.base_url),
    };
    let answers = probe::identify(far, guess).await?;
    let (door, status) = probe::knock(far, guess, &answers, server.token.as_ref()).await?;
    let kind = if answers.kind == super::Kind::Unknown { server.kind } else { answers.kind };
    if door == Door::Shut {
        let why = match &server.token {
            Some(_) => words::token_refused(server.port, kind),
            None if server.password => words::password_wanted(server.port),
            None => words::token_wanted(server.port, kind),
        };
        return Ok(Health::TokenRefused(why, answers.version));
    }
    let place = Place { host: guess.host, port: guess.port, https: answers.https };
    let path = format!("{}api/kernels", answers.base_url);
    let kernels = http::get(far, place, &path, server.token.as_ref()).await;
    let kernels = kernels.map_err(|why| probe::trouble(guess, why))?;
    // None that are told are not the same as none.
    let told =
        Some(&kernels).filter(|kernels| kernels.status == 200).and_then(|kernels| counted(&kernels.body));
    let Some(mut vitals) = told else {
        return Ok(Health::KernelsUntold(words::kernels_untold(kernels.status)));
    };
    vitals.version = answers.version;
    vitals.last_activity = last_activity(&status.body);
    Ok(match vitals.dead {
        0 => Health::Fine(vitals),
        dead => Health::KernelDead(words::kernel_dead(dead), vitals),
    })
}

/// How many there are; none if that cannot be understood.
fn counted(body: &[u8]) -> Option<Vitals> {
    #[derive(Deserialize)]
    struct Kernel {
        #[serde(default)]
        execution_state: String,
    }
    let kernels: Vec<Kernel> = serde_json::from_slice(body).ok()?;
    let count = |state: Option<&str>| {
        let fits = |kernel: &&Kernel| state.is_none_or(|state| kernel.execution_state == state);
        u32::try_from(kernels.iter().filter(fits).count()).unwrap_or(u32::MAX)
    };
    let (busy, dead) = (count(Some("busy")), count(Some("dead")));
    Some(Vitals { kernels: count(None), busy, dead, ..Vitals::default() })
}

fn last_activity(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Status {
        last_activity: String,
    }
    let status: Status = serde_json::from_slice(body).ok()?;
    let usual = |byte: u8| byte.is_ascii_digit() || b"TZ:+-. ".contains(&byte);
    Some(status.last_activity).filter(|at| at.len() <= 40 && at.bytes().all(usual))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_server_says_of_its_kernels_is_counted_or_not_told() {
        let three =
            br#"[{"execution_state":"busy"},{"execution_state":"dead"},{"execution_state":"idle","x":[]}]"#;
        assert_eq!(counted(three), Some(Vitals { kernels: 3, busy: 1, dead: 1, ..Vitals::default() }));
        assert_eq!(counted(b"[]"), Some(Vitals::default()));
        for odd in [&b""[..], b"{}", b"[1]", b"[{\"execution_state\":7}]", b"\xff"] {
            assert_eq!(counted(odd), None);
        }
        let told = |at: &str| last_activity(format!("{{\"last_activity\":\"{at}\"}}").as_bytes());
        assert!(told("2026-11-22T16:05:01.979244Z").is_some());
        assert_eq!(told("\\u001b[2J"), None);
    }
}
