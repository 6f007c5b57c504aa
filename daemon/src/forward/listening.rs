//! One socket that listens for a forward. Closed for good when it is dropped, unless the daemon itself ends and
//! somebody keeps its sockets for the next one.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};
use tokio::net::TcpListener;

use super::keep::Lasting;
use super::local::Local;
use super::sys::{self, Unlistenable};

/// How many connections the kernel keeps for us while accepting pauses (listen(2)).
const BACKLOG: i32 = 1024;

/// One socket that listens.
pub(super) struct Listening {
    door: Door,
    lasting: Arc<Lasting>,
}

enum Door {
    Tcp(TcpListener),
    Unix(sys::UnixSocket),
}

impl Listening {
    /// Listens at `address`, with the socket that listens there for us already if there is one. Says where,
    /// since the system may choose the port.
    pub(super) fn tcp(address: SocketAddr, lasting: &Arc<Lasting>) -> io::Result<(Listening, SocketAddr)> {
        let socket = match lasting.adopt(&address.into()) {
            Some(socket) => socket,
            None => match fresh(address) {
                // Perhaps by one of our own, of a forward that has another address since we were restarted.
                Err(error) if error.kind() == ErrorKind::AddrInUse && lasting.make_way(&address.into()) => {
                    fresh(address)?
                }
                made => made?,
            },
        };
        socket.set_nonblocking(true)?;
        let listener = TcpListener::from_std(socket.into())?;
        let at = listener.local_addr()?;
        Ok((Listening::new(Door::Tcp(listener), lasting), at))
    }

    /// Listens at `path`, with the socket that listens there for us already if there is one.
    pub(super) fn unix(path: &Path, lasting: &Arc<Lasting>) -> Result<Listening, Unlistenable> {
        let kept = SockAddr::unix(path).ok().and_then(|at| lasting.adopt(&at));
        let socket = match kept {
            Some(socket) => sys::UnixSocket::adopt(socket, path, BACKLOG)?,
            None => sys::UnixSocket::bind(path, BACKLOG)?,
        };
        Ok(Listening::new(Door::Unix(socket), lasting))
    }

    fn new(door: Door, lasting: &Arc<Lasting>) -> Listening {
        let listening = Listening { door, lasting: Arc::clone(lasting) };
        lasting.keep(listening.door.socket());
        listening
    }

    /// Where it listens, if only programs of this machine reach it there by TCP.
    pub(super) fn loopback(&self) -> Option<SocketAddr> {
        match &self.door {
            Door::Tcp(listener) => {
                listener.local_addr().ok().filter(|at| at.ip().to_canonical().is_loopback())
            }
            Door::Unix(_) => None,
        }
    }

    /// The next connection. Cancel safe.
    pub(super) async fn accept(&self) -> io::Result<Local> {
        match &self.door {
            Door::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Best effort: what a notebook sends is small, and waits for nobody.
                let _ = stream.set_nodelay(true);
                Ok(Local::Tcp(stream))
            }
            Door::Unix(socket) => socket.accept().await.map(Local::Unix),
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if !self.lasting.leaves() {
            self.lasting.let_go(self.door.socket());
        } else if let Door::Unix(socket) = &mut self.door {
            socket.stays();
        }
    }
}

impl Door {
    fn socket(&self) -> SockRef<'_> {
        match self {
            Door::Tcp(listener) => SockRef::from(listener),
            Door::Unix(socket) => socket.socket(),
        }
    }
}

fn fresh(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    sys::claim(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}
