//! Where a server listens for us on one session: asks it to, takes that back, and lets in whoever comes there and
//! nobody else (RFC 4254 §7; OpenSSH's PROTOCOL, streamlocal).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nbtunnel_core::{Failure, FailureKind, ListenAt, ListenId, RemoteReport};
use russh::client::{ChannelOpenHandle, Msg};
use russh::{Channel, ChannelOpenFailure, Error};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::channel::Far;
use super::count::Count;
use super::logged_in::Session;
use crate::forward::carrier::Tell;
use crate::forward::landing::{Landing, NotLetIn};

/// Somebody may come to a port before we have read which one the server chose; never by more than this.
const UNKNOWN_YET: Duration = Duration::from_secs(10);

/// So many may wait for that at a time.
const MOST_UNKNOWN: usize = 64;

/// A place at the server, as both sides name it: what was asked for is what its channels name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Door {
    Tcp(String, u16),
    Socket(String),
}

impl Door {
    /// An address is asked for as it was written; `localhost` and none at all have meanings of their own
    /// (RFC 4254 §7.1).
    pub(super) fn of(at: &ListenAt) -> Door {
        match at {
            ListenAt::Loopback(port) => Door::Tcp("localhost".to_owned(), *port),
            ListenAt::Any(port) => Door::Tcp(String::new(), *port),
            ListenAt::Address(host, port) => Door::Tcp(host.clone(), *port),
            ListenAt::Socket(path) => Door::Socket(path.to_string_lossy().into_owned()),
        }
    }

    fn port(&self) -> u16 {
        match self {
            Door::Tcp(_, port) => *port,
            Door::Socket(_) => 0,
        }
    }
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Door::Tcp(host, port) if host.is_empty() => write!(f, "*:{port}"),
            Door::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Door::Tcp(host, port) => write!(f, "{host}:{port}"),
            Door::Socket(path) => f.write_str(path),
        }
    }
}

/// The doors of one session.
pub(super) struct Doors {
    gone: CancellationToken,
    open: Mutex<HashMap<Door, Entrance>>,
    /// The addresses where the server is choosing a port right now.
    choosing: watch::Sender<Vec<String>>,
    /// Room for those who wait until it has.
    unknown: Semaphore,
}

/// Where those who come to a door land, and for whom.
#[derive(Clone)]
struct Entrance {
    landing: Landing,
    of: LeaseOf,
}

/// What one link has of a session that may serve several.
#[derive(Clone)]
pub(super) struct LeaseOf {
    /// The link is over; the session may go on for others.
    pub(super) given_up: CancellationToken,
    /// The connections that the link carries.
    pub(super) carried: Count,
    /// Its channels that are left unread.
    pub(super) unread: Count,
}

impl Doors {
    pub(super) fn new(gone: CancellationToken) -> Arc<Doors> {
        let (open, choosing) = Default::default();
        Arc::new(Doors { gone, open, choosing, unknown: Semaphore::new(MOST_UNKNOWN) })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<Door, Entrance>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody came to `door`; `stray` is called if nobody asked for that. Called by the session itself, so nothing
    /// is waited for here.
    pub(super) fn knock(
        self: &Arc<Self>,
        door: Door,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        stray: impl FnOnce(&Door) + Send + 'static,
    ) {
        let this = Arc::clone(self);
        tokio::spawn(async move {
            tokio::select! {
                // What the library keeps of the channel goes with it; the session is over.
                () = this.gone.cancelled() => {}
                entrance = this.entrance(&door) => match entrance {
                    Some(entrance) => this.let_in(&entrance, channel, reply).await,
                    None => {
                        stray(&door);
                        reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
                    }
                },
            }
        });
    }

    /// Where those who come to `door` land, if we asked for that.
    async fn entrance(&self, door: &Door) -> Option<Entrance> {
        let found = self.open().get(door).cloned();
        let (Door::Tcp(host, _), None) = (door, &found) else { return found };
        // A server that sends more of them than that at once means no good.
        let _room = self.unknown.try_acquire().ok()?;
        let mut choosing = self.choosing.subscribe();
        let chosen = choosing.wait_for(|choosing| !choosing.contains(host));
        let _ = timeout(UNKNOWN_YET, chosen).await;
        self.open().get(door).cloned()
    }

    async fn let_in(&self, entrance: &Entrance, channel: Channel<Msg>, reply: ChannelOpenHandle) {
        // It counts from here on: a session that only drains does not end under it.
        let Entrance { landing, of: LeaseOf { given_up, carried, unread } } = entrance;
        let Some(_carried) = carried.one() else {
            return reply.reject(ChannelOpenFailure::ResourceShortage).await;
        };
        match landing.arrive().await {
            Ok(visitor) => {
                reply.accept().await;
                let Far { reader, writer } =
                    Far::new(channel, &self.gone, given_up, unread, &Handle::current());
                visitor.carry(reader, writer).await;
            }
            Err(NotLetIn::Unconnected) => reply.reject(ChannelOpenFailure::ConnectFailed).await,
            Err(NotLetIn::Full) => reply.reject(ChannelOpenFailure::ResourceShortage).await,
        }
    }
}

/// What is asked of a server.
pub(super) enum Request {
    Listen { id: ListenId, door: Door, landing: Landing, tell: Tell },
    Unlisten { id: ListenId, tell: Tell },
}

/// Asks a server, one request after the other.
pub(super) struct Requests(mpsc::UnboundedSender<Request>);

impl Requests {
    /// Serves them until the link `of` whom they are is over; then the server is asked to listen no longer, if it
    /// is there still.
    pub(super) fn serve(
        doors: &Arc<Doors>,
        session: &Session,
        hop: &str,
        of: LeaseOf,
        runtime: &Handle,
    ) -> Requests {
        let (add, mut requests) = mpsc::unbounded_channel();
        let mut asker = Asker {
            doors: Arc::clone(doors),
            session: Arc::clone(session),
            hop: hop.to_owned(),
            listening: HashMap::new(),
            of,
        };
        let gone = doors.gone.clone();
        runtime.spawn(async move {
            let given_up = asker.of.given_up.clone();
            let serve = async {
                loop {
                    tokio::select! {
                        () = given_up.cancelled() => break,
                        request = requests.recv() => match request {
                            Some(request) => asker.ask(request).await,
                            None => break,
                        },
                    }
                }
                asker.leave().await;
            };
            tokio::select! {
                () = gone.cancelled() => {}
                () = serve => {}
            }
        });
        Requests(add)
    }

    /// One that comes after the end of the session is not answered: that end is known by then.
    pub(super) fn add(&self, request: Request) {
        let _ = self.0.send(request);
    }
}

struct Asker {
    doors: Arc<Doors>,
    session: Session,
    hop: String,
    listening: HashMap<ListenId, Door>,
    of: LeaseOf,
}

impl Asker {
    async fn ask(&mut self, request: Request) {
        match request {
            Request::Listen { id, door, landing, tell } => {
                match self.listen(door.clone(), landing).await {
                    Ok(door) => {
                        let port = door.port();
                        self.listening.insert(id, door);
                        tell(RemoteReport::Listens { port });
                    }
                    // The end of the session is told by others.
                    Err(Unheard::Gone) => {}
                    Err(Unheard::Not(why)) => tell(RemoteReport::Denied(why)),
                }
            }
            Request::Unlisten { id, tell } => {
                if let Some(door) = self.listening.remove(&id) {
                    self.close(door).await;
                }
                tell(RemoteReport::Closed);
            }
        }
    }

    async fn close(&self, door: Door) {
        self.doors.open().remove(&door);
        let session = self.session.read().await;
        // One that it does not know is as good as closed.
        let _ = match door {
            Door::Tcp(host, port) => session.cancel_tcpip_forward(host, port.into()).await,
            Door::Socket(path) => session.cancel_streamlocal_forward(path).await,
        };
    }

    /// Nobody who asked for it is there any more.
    async fn leave(mut self) {
        for (_, door) in std::mem::take(&mut self.listening) {
            self.close(door).await;
        }
    }

    async fn listen(&self, door: Door, landing: Landing) -> Result<Door, Unheard> {
        let landing = Entrance { landing, of: self.of.clone() };
        let session = self.session.read().await;
        let opened = match &door {
            Door::Tcp(host, 0) => {
                let _choosing = Choosing::begin(&self.doors, host);
                let chosen = session.tcpip_forward(host.clone(), 0).await;
                let chosen = chosen.map_err(|error| self.unheard(&error, &door))?;
                let port = u16::try_from(chosen).ok().filter(|port| *port != 0);
                let port = port.ok_or_else(|| Unheard::Not(no_port(&self.hop)))?;
                let door = Door::Tcp(host.clone(), port);
                self.enter(&door, landing)?;
                return Ok(door);
            }
            // Known before the server is asked: somebody may come before we have read its answer.
            Door::Tcp(host, port) => {
                self.enter(&door, landing)?;
                session.tcpip_forward(host.clone(), u32::from(*port)).await.map(drop)
            }
            Door::Socket(path) => {
                self.enter(&door, landing)?;
                session.streamlocal_forward(path.clone()).await
            }
        };
        opened.map_err(|error| {
            self.doors.open().remove(&door);
            self.unheard(&error, &door)
        })?;
        Ok(door)
    }

    /// Whoever comes to `door` lands there from now on, unless others do already: those of another link over the
    /// same session, or a server gives one port twice.
    fn enter(&self, door: &Door, landing: Entrance) -> Result<(), Unheard> {
        match self.doors.open().entry(door.clone()) {
            Entry::Occupied(_) => Err(Unheard::Not(doubled(&self.hop, door))),
            Entry::Vacant(free) => {
                free.insert(landing);
                Ok(())
            }
        }
    }

    fn unheard(&self, error: &Error, door: &Door) -> Unheard {
        match error {
            Error::RequestDenied => Unheard::Not(denied(&self.hop, door)),
            _ => Unheard::Gone,
        }
    }
}

/// Why nobody listens at a door.
enum Unheard {
    /// The session is over.
    Gone,
    /// The server would not, or cannot for us.
    Not(Failure),
}

/// Stands for as long as the server chooses a port at an address.
struct Choosing<'a>(&'a Doors, String);

impl Choosing<'_> {
    fn begin<'a>(doors: &'a Doors, host: &str) -> Choosing<'a> {
        doors.choosing.send_modify(|choosing| choosing.push(host.to_owned()));
        Choosing(doors, host.to_owned())
    }
}

impl Drop for Choosing<'_> {
    fn drop(&mut self) {
        self.0.choosing.send_modify(|choosing| choosing.retain(|host| *host != self.1));
    }
}

/// A server says no more than that.
fn denied(hop: &str, door: &Door) -> Failure {
    let (message, hint) = match door {
        Door::Tcp(_, 0) => (
            format!("{hop} does not listen for this forward"),
            "ask its administrator: AllowTcpForwarding, PermitListen and GatewayPorts in sshd_config decide",
        ),
        Door::Tcp(..) => (
            format!("{hop} does not listen on {door}"),
            "if something has that port there, such as a session that is not given up yet, it is had as soon as \
             that is gone; else AllowTcpForwarding, PermitListen and GatewayPorts in its sshd_config forbid it",
        ),
        Door::Socket(path) => (
            format!("{hop} does not listen on {path}"),
            "remove the socket there if an earlier session left it, or have StreamLocalBindUnlink set in its \
             sshd_config; AllowStreamLocalForwarding may also forbid it",
        ),
    };
    Failure::new(FailureKind::ForwardingDenied, message, hint)
}

/// It listens, it says, on a port that there is not.
fn no_port(hop: &str) -> Failure {
    Failure::new(
        FailureKind::ForwardingDenied,
        format!("{hop} was to choose a port for this forward, and names none"),
        "write a port instead of 0 into the tunnel's file; that server does not choose one properly",
    )
}

fn doubled(hop: &str, door: &Door) -> Failure {
    Failure::new(
        FailureKind::ForwardingDenied,
        format!("{door} at {hop} belongs to another forward over the same session"),
        "`nbctl status` shows which; choose another port or socket for one of the two",
    )
}

#[cfg(test)]
#[path = "doors_tests.rs"]
mod tests;
