//! Where a server listens for us on one session: asks it to, takes that back, and lets in whoever comes there and
//! nobody else (RFC 4254 §7; OpenSSH's PROTOCOL, streamlocal).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nbtunnel_core::{Failure, FailureKind, ListenAt, ListenId, RemoteReport};
use russh::client::{ChannelOpenHandle, Msg};
use russh::{Channel, ChannelOpenFailure, Error};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::carry::Far;
use super::count::Count;
use super::logged_in::Session;
use crate::forward::carrier::Tell;
use crate::forward::landing::{Landing, NotLetIn};

/// Somebody may come to a port before we have read which one the server chose; never by more than this.
const UNKNOWN_YET: Duration = Duration::from_secs(10);

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

    /// The same, with the port that the server chose.
    fn chosen(self, chosen: u32) -> Door {
        match (self, u16::try_from(chosen)) {
            (Door::Tcp(host, 0), Ok(port)) => Door::Tcp(host, port),
            (door, _) => door,
        }
    }
}

/// The doors of one session.
pub(super) struct Doors {
    gone: CancellationToken,
    open: Mutex<HashMap<Door, Entrance>>,
    /// The addresses where the server is choosing a port right now.
    choosing: watch::Sender<Vec<String>>,
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
        Arc::new(Doors { gone, open, choosing })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<Door, Entrance>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody came to `door`. Called by the session itself, so nothing is waited for here.
    pub(super) fn knock(self: &Arc<Self>, door: Door, channel: Channel<Msg>, reply: ChannelOpenHandle) {
        let this = Arc::clone(self);
        tokio::spawn(async move {
            tokio::select! {
                // What the library keeps of the channel goes with it; the session is over.
                () = this.gone.cancelled() => {}
                entrance = this.entrance(&door) => match entrance {
                    Some(entrance) => this.let_in(&entrance, channel, reply).await,
                    None => reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await,
                },
            }
        });
    }

    /// Where those who come to `door` land, if we asked for that.
    async fn entrance(&self, door: &Door) -> Option<Entrance> {
        let found = self.open().get(door).cloned();
        let (Door::Tcp(host, _), None) = (door, &found) else { return found };
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
                let asked = self.listen(door.clone(), landing).await;
                match asked {
                    Ok(door) => {
                        let port = door.port();
                        self.listening.insert(id, door);
                        tell(RemoteReport::Listens { port });
                    }
                    // The end of the session is told by others.
                    Err(error) if !matches!(error, Error::RequestDenied) => {}
                    Err(_) => tell(RemoteReport::Denied(denied(&self.hop, &door))),
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

    async fn listen(&self, door: Door, landing: Landing) -> Result<Door, Error> {
        // Another link over the same session has it: the server would say no, too.
        if self.doors.open().contains_key(&door) {
            return Err(Error::RequestDenied);
        }
        let landing = Entrance { landing, of: self.of.clone() };
        let session = self.session.read().await;
        let opened = match &door {
            Door::Tcp(host, 0) => {
                let _choosing = Choosing::begin(&self.doors, host);
                let port = session.tcpip_forward(host.clone(), 0).await?;
                let door = door.chosen(port);
                self.doors.open().insert(door.clone(), landing);
                return Ok(door);
            }
            // Known before the server is asked: somebody may come before we have read its answer.
            Door::Tcp(host, port) => {
                self.doors.open().insert(door.clone(), landing);
                session.tcpip_forward(host.clone(), u32::from(*port)).await.map(drop)
            }
            Door::Socket(path) => {
                self.doors.open().insert(door.clone(), landing);
                session.streamlocal_forward(path.clone()).await
            }
        };
        if opened.is_err() {
            self.doors.open().remove(&door);
        }
        opened.map(|()| door)
    }
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
        Door::Tcp(host, port) => (
            format!("{hop} does not listen on {}:{port}", if host.is_empty() { "*" } else { host }),
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

#[cfg(test)]
#[path = "doors_tests.rs"]
mod tests;
