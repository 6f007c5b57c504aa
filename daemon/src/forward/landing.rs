//! Where connections that come in at the far end come out: a program of this machine, or whatever each of them
//! asks for by SOCKS. Bounded in number and in time.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nbtunnel_core::{Failure, FailureKind, Target};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::accepted::Accepted;
use super::activity::Place;
use super::asking::{self, Line, There, Unasked};
use super::far::{FarMessage, FarReader, FarWriter};
use super::local::Local;
use super::pump::pump;
use super::services::Services;
use super::standing::Standing;
use super::sys;

/// So many connections of one forward are carried at a time.
const MOST: usize = 1024;

/// So long connecting may take in all, and each address of a name.
const CONNECT: Duration = Duration::from_secs(20);
const CONNECT_EACH: Duration = Duration::from_secs(10);

/// How long the far end may take to close what was ended in order.
const CLOSE_WAIT: Duration = Duration::from_secs(60);

/// The local half of a forward that listens at the far end.
#[derive(Clone)]
pub struct Landing {
    pub(super) standing: Arc<Standing>,
    room: Arc<Semaphore>,
}

/// Somebody who came in at the far end and is let in here.
pub struct Visitor {
    landing: Landing,
    /// Already connected, where the file says to what.
    local: Option<Accepted>,
    _place: OwnedSemaphorePermit,
}

/// Why nobody is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotLetIn {
    /// Nothing here takes the connection.
    Unconnected,
    /// There are too many already.
    Full,
}

impl Landing {
    pub(super) fn new(standing: Arc<Standing>) -> Landing {
        Landing { standing, room: Arc::new(Semaphore::new(MOST)) }
    }

    /// Somebody came: connects to where the forward leads, unless that is still to be asked for.
    ///
    /// # Errors
    /// Why not. Core has been told if that is a problem of the forward.
    pub async fn arrive(&self) -> Result<Visitor, NotLetIn> {
        let _place = Arc::clone(&self.room).try_acquire_owned().map_err(|_| {
            self.standing.denied(crowded());
            NotLetIn::Full
        })?;
        let target = self.standing.target.borrow().clone();
        let local = match target {
            Target::Socks | Target::Notebook(_) | Target::Beyond { .. } => None,
            Target::Tcp(..) | Target::Socket(_) => {
                let connected = self.connect(&target).await;
                Some(connected.map_err(|failure| {
                    self.standing.denied(failure);
                    NotLetIn::Unconnected
                })?)
            }
        };
        Ok(Visitor { landing: self.clone(), local, _place })
    }

    async fn connect(&self, target: &Target) -> Result<Accepted, Failure> {
        let standing = &self.standing;
        let dialled = tokio::select! {
            dialled = timeout(CONNECT, dial(target, &standing.services)) => dialled,
            () = standing.stop.cancelled() => Ok(Err(io::ErrorKind::Interrupted.into())),
        };
        let stream = dialled.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let mut local = Accepted::new(stream.map_err(|error| unconnected(target, &error))?, standing);
        local.move_to(Place::Open);
        Ok(local)
    }
}

impl Visitor {
    /// Carries it over the open channel to its end, as [`pump`] does.
    pub async fn carry(self, reader: impl FarReader, writer: impl FarWriter) {
        match self.local {
            Some(local) => pump(local, reader, writer).await,
            None => self.landing.serve(reader, writer).await,
        }
    }
}

impl Landing {
    /// Asks a client of the proxy what it wants, connects it, and carries it to its end.
    async fn serve(&self, mut reader: impl FarReader, mut writer: impl FarWriter) {
        let mut line = There { reader: &mut reader, writer: &mut writer };
        let heard = tokio::select! {
            heard = asking::hear(&mut line) => heard,
            () = self.standing.stop.cancelled() => Err(Unasked::Gone),
        };
        if let Ok(asked) = heard {
            match self.connect(&asked.request.target).await {
                Ok(local) => {
                    if line.write(asked.request.granted()).await {
                        let reader = Preceded { first: Some(asked.early), reader };
                        return pump(local, reader, writer).await;
                    }
                }
                Err(failure) => {
                    line.write(asked.request.refused(failure.kind)).await;
                }
            }
        }
        let _ = writer.eof().await;
        let closing = async {
            tokio::join!(writer.close(), async {
                while !matches!(reader.next().await, FarMessage::Close | FarMessage::Gone) {}
            })
        };
        let _ = timeout(CLOSE_WAIT, closing).await;
    }
}

impl fmt::Debug for Landing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Landing").field("listen", &self.standing.listen).finish_non_exhaustive()
    }
}

/// A reader of which something was read already.
struct Preceded<R> {
    first: Option<Bytes>,
    reader: R,
}

impl<R: FarReader> FarReader for Preceded<R> {
    async fn next(&mut self) -> FarMessage {
        match self.first.take().filter(|bytes| !bytes.is_empty()) {
            Some(bytes) => FarMessage::Data(bytes),
            None => self.reader.next().await,
        }
    }

    fn gone(&self) -> impl Future<Output = ()> + Send {
        self.reader.gone()
    }

    fn unread(&mut self, is_unread: bool) {
        self.reader.unread(is_unread);
    }
}

async fn dial(target: &Target, services: &Services) -> io::Result<Local> {
    let (host, port) = match target {
        Target::Tcp(host, port) => (host, *port),
        Target::Socket(path) => return sys::connect(Path::new(path)).await.map(Local::Unix),
        Target::Socks | Target::Notebook(_) | Target::Beyond { .. } => {
            return Err(io::ErrorKind::Unsupported.into());
        }
    };
    let mut failed = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses(host, port, services).await? {
        let connected = timeout(CONNECT_EACH, TcpStream::connect(address)).await;
        match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => {
                // Best effort, as for those that come in here.
                let _ = stream.set_nodelay(true);
                return Ok(Local::Tcp(stream));
            }
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

async fn addresses(host: &str, port: u16, services: &Services) -> io::Result<Vec<SocketAddr>> {
    if let Ok(ip) = host.parse() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    if host.eq_ignore_ascii_case("localhost") {
        return Ok(vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]);
    }
    // A lookup cannot be cancelled and takes a thread: few at a time, whoever may come.
    let _turn = services.lookups.acquire().await.map_err(io::Error::other)?;
    let found: Vec<_> = tokio::net::lookup_host((host, port))
        .await
        .map_err(|error| io::Error::new(io::ErrorKind::HostUnreachable, Unresolved(error.to_string())))?
        .collect();
    Ok(found)
}

/// A name that has no address.
#[derive(Debug)]
struct Unresolved(String);

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unresolved {}

fn crowded() -> Failure {
    Failure::new(
        FailureKind::Exhausted,
        format!("{MOST} connections are open through this forward; further ones are refused"),
        "find out who opens so many at the far end, or spread them over several forwards",
    )
}

fn unconnected(target: &Target, error: &io::Error) -> Failure {
    const HINT: &str = "start what should answer there, or correct the target of the forward";
    let unresolved = error.get_ref().is_some_and(|why| why.is::<Unresolved>());
    let (kind, message) = match error.kind() {
        _ if unresolved => {
            (FailureKind::Dns, format!("{target} cannot be resolved on this machine: {error}"))
        }
        _ if sys::is_exhaustion(error) => {
            (FailureKind::Exhausted, format!("no file descriptor is left to connect to {target}"))
        }
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => {
            (FailureKind::Refused, format!("nothing answers on {target} at this machine"))
        }
        io::ErrorKind::TimedOut => (FailureKind::TimedOut, format!("{target} does not answer this machine")),
        _ => (FailureKind::Unreachable, format!("{target} cannot be reached from this machine: {error}")),
    };
    Failure::new(kind, message, HINT)
}
