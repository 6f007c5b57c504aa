//! From what a forward should listen on to sockets that listen, or to a failure that says who is in the way.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nbtunnel_core::{Failure, FailureKind, ListenAt};
use tokio::time::timeout;

use super::keep::Lasting;
use super::listening::Listening;
use super::owner::{self, Owner};
use super::sys::{self, Unlistenable};

/// How long a name may take to resolve.
const RESOLVE: Duration = Duration::from_secs(20);

/// The sockets of one forward. Where they come from is nobody's business: they may also be adopted.
pub(super) struct Bound {
    pub(super) sockets: Vec<Listening>,
    /// The addresses, as shown to users.
    pub(super) listens: Vec<String>,
    /// What could not be had beside them, in one sentence.
    pub(super) note: Option<String>,
}

/// Listens on all that `at` means.
///
/// # Errors
/// [`FailureKind::PortInUse`], [`FailureKind::Exhausted`], [`FailureKind::Dns`] or
/// [`FailureKind::CannotListen`]. An address that is missing beside a good one is only noted.
pub(super) async fn bind(at: &ListenAt, lasting: &Arc<Lasting>) -> Result<Bound, Failure> {
    let (addresses, port, beside) = match at {
        ListenAt::Loopback(port) => {
            (vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()], *port, Beside::MayBeTaken)
        }
        ListenAt::Any(port) => {
            (vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()], *port, Beside::MayBeTaken)
        }
        ListenAt::Address(host, port) => (resolve(host).await?, *port, Beside::MustBeFree),
        ListenAt::Socket(path) => return unix(path, lasting),
    };
    all(&addresses, port, beside, lasting).await
}

/// What a second address is allowed to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beside {
    MayBeTaken,
    MustBeFree,
}

async fn all(
    addresses: &[IpAddr],
    port: u16,
    beside: Beside,
    lasting: &Arc<Lasting>,
) -> Result<Bound, Failure> {
    let mut bound = Bound { sockets: Vec::new(), listens: Vec::new(), note: None };
    let mut first_failure = None;
    let mut port = port;
    for &ip in addresses {
        let address = SocketAddr::new(ip, port);
        let failure = match Listening::tcp(address, lasting) {
            Ok((listening, at)) => {
                // All addresses of a forward have one port, also where the system chose it.
                port = at.port();
                bound.listens.push(at.to_string());
                bound.sockets.push(listening);
                continue;
            }
            Err(error) => explain(address, &error).await,
        };
        let taken = failure.kind == FailureKind::PortInUse;
        if failure.kind == FailureKind::Exhausted
            || (taken && (bound.sockets.is_empty() || beside == Beside::MustBeFree))
        {
            return Err(failure);
        }
        bound.note.get_or_insert_with(|| format!("not on {ip}: {}", failure.message));
        first_failure.get_or_insert(failure);
    }
    match first_failure {
        Some(failure) if bound.sockets.is_empty() => Err(failure),
        _ => Ok(bound),
    }
}

fn unix(path: &Path, lasting: &Arc<Lasting>) -> Result<Bound, Failure> {
    let shown = path.display();
    let socket = Listening::unix(path, lasting).map_err(|why| match why {
        Unlistenable::Taken(who) => taken(&format!("the socket {shown}"), who, "path"),
        Unlistenable::NotASocket => Failure::new(
            FailureKind::CannotListen,
            format!("{shown} is there already and is not a socket"),
            "move it away, or choose another path in the tunnel's file",
        ),
        Unlistenable::Other(error) => cannot_listen(
            &shown.to_string(),
            &error,
            "the directory of the socket must exist and be writable; see the tunnel's file",
        ),
    })?;
    Ok(Bound { sockets: vec![socket], listens: vec![shown.to_string()], note: None })
}

async fn resolve(host: &str) -> Result<Vec<IpAddr>, Failure> {
    if let Ok(ip) = host.parse() {
        return Ok(vec![ip]);
    }
    let failed = |why: String| {
        Failure::new(
            FailureKind::Dns,
            format!("the address to listen on, {host}, cannot be resolved: {why}"),
            "check the name, or write an address of this machine into the tunnel's file",
        )
    };
    let found = timeout(RESOLVE, tokio::net::lookup_host((host, 0)))
        .await
        .map_err(|_| failed(format!("no answer within {} s", RESOLVE.as_secs())))?
        .map_err(|error| failed(error.to_string()))?;
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address.ip()) {
            addresses.push(address.ip());
        }
    }
    if addresses.is_empty() { Err(failed("it has no address".into())) } else { Ok(addresses) }
}

async fn explain(address: SocketAddr, error: &io::Error) -> Failure {
    if sys::is_taken(error) {
        let who = owner::of_listener(address).await;
        return taken(&format!("port {}", address.port()), who, "local port");
    }
    match error.kind() {
        io::ErrorKind::PermissionDenied => Failure::new(
            FailureKind::CannotListen,
            format!("listening on {address} is not permitted"),
            "ports below 1024 are for privileged programs: choose a local port from 1024 up",
        ),
        io::ErrorKind::AddrNotAvailable => Failure::new(
            FailureKind::CannotListen,
            format!("{} is not an address of this machine", address.ip()),
            "choose one that it has, or leave the address out to listen on localhost",
        ),
        _ => cannot_listen(&address.to_string(), error, "choose another address in the tunnel's file"),
    }
}

fn cannot_listen(at: &str, error: &io::Error, hint: &str) -> Failure {
    if sys::is_exhaustion(error) {
        return Failure::new(
            FailureKind::Exhausted,
            format!("no file descriptor is left to listen on {at}"),
            "raise the limit of open files (ulimit -n), or close some connections",
        );
    }
    Failure::new(FailureKind::CannotListen, format!("cannot listen on {at}: {error}"), hint)
}

/// `at` is taken by `who`; `choice` is what a tunnel's file can have another one of. Nobody is told to stop
/// this very program.
fn taken(at: &str, who: Option<Owner>, choice: &str) -> Failure {
    let (who, hint) = match who {
        Some(Owner::Process { pid, .. }) if pid == std::process::id() => (
            format!("another tunnel of this nbtunneld (pid {pid})"),
            format!("`nbctl status` shows which; choose another {choice} in the file of one of the two"),
        ),
        Some(other) => {
            (other.to_string(), format!("stop it, or choose another {choice} in the tunnel's file"))
        }
        None => (
            "another program".to_owned(),
            format!("stop it, or choose another {choice} in the tunnel's file"),
        ),
    };
    Failure::new(FailureKind::PortInUse, format!("{at} is in use by {who}"), hint)
}
