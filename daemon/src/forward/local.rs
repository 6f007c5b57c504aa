//! The socket of a local connection, TCP or Unix-domain, used by both directions through a shared reference.
//!
//! Tokio's owned halves are no use here: dropping the writing one ends the stream cleanly, and a stream that
//! was cut off must look cut off.

use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use bytes::BytesMut;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::owner::{self, Owner};
use super::sys;

/// A local socket.
#[derive(Debug)]
pub(super) enum Local {
    Tcp(TcpStream),
    Unix(sys::UnixStream),
}

impl From<TcpStream> for Local {
    fn from(stream: TcpStream) -> Local {
        Local::Tcp(stream)
    }
}

impl From<sys::UnixStream> for Local {
    fn from(stream: sys::UnixStream) -> Local {
        Local::Unix(stream)
    }
}

impl Local {
    /// Resolves when reading gives something: bytes, the end, or an error.
    pub(super) async fn readable(&self) -> io::Result<()> {
        self.ready(Interest::READABLE).await
    }

    /// Resolves when writing may take something.
    pub(super) async fn writable(&self) -> io::Result<()> {
        self.ready(Interest::WRITABLE).await
    }

    /// Resolves when the peer reset the connection, without taking anything from it.
    pub(super) async fn failed(&self) {
        let _ = self.ready(Interest::ERROR).await;
    }

    async fn ready(&self, interest: Interest) -> io::Result<()> {
        match self {
            Local::Tcp(stream) => stream.ready(interest).await,
            Local::Unix(stream) => stream.ready(interest).await,
        }
        .map(drop)
    }

    pub(super) fn try_read(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        match self {
            Local::Tcp(stream) => stream.try_read_buf(buffer),
            Local::Unix(stream) => stream.try_read_buf(buffer),
        }
    }

    pub(super) fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Local::Tcp(stream) => stream.try_write_vectored(slices),
            Local::Unix(stream) => stream.try_write_vectored(slices),
        }
    }

    /// Tells the peer that no more bytes come.
    pub(super) fn shutdown_write(&self) -> io::Result<()> {
        match self {
            Local::Tcp(stream) => SockRef::from(stream).shutdown(Shutdown::Write),
            Local::Unix(stream) => sys::shutdown_write(stream),
        }
    }

    /// Makes the coming close a reset (SO_LINGER with zero, socket(7)). A Unix-domain socket has no resets:
    /// its close alone must do.
    pub(super) fn will_reset(&self) {
        if let Local::Tcp(stream) = self {
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }

    /// Where the connection comes from, as SSH wants it told (RFC 4254 §7.2).
    pub(super) fn origin(&self) -> (String, u16) {
        match self {
            Local::Tcp(stream) => {
                stream.peer_addr().map(|peer| (canonical(peer).ip().to_string(), peer.port()))
            }
            Local::Unix(_) => Ok(("127.0.0.1".to_owned(), 0)),
        }
        .unwrap_or_else(|_| ("127.0.0.1".to_owned(), 0))
    }

    /// The two ends of a TCP connection, the peer's first.
    pub(super) fn ends(&self) -> Option<(SocketAddr, SocketAddr)> {
        match self {
            Local::Tcp(stream) => {
                Some((canonical(stream.peer_addr().ok()?), canonical(stream.local_addr().ok()?)))
            }
            Local::Unix(_) => None,
        }
    }

    /// The program at the other end, if the system tells.
    pub(super) fn peer(&self) -> impl Future<Output = Option<Owner>> + Send + 'static {
        let ends = self.ends();
        let known = match self {
            Local::Tcp(_) => None,
            Local::Unix(stream) => sys::peer_process(stream),
        };
        async move {
            match ends {
                Some((peer, ours)) => owner::of_client(peer, ours).await,
                None => known,
            }
        }
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
