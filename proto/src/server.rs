//! The daemon's end of the control socket: listen, shake hands, then requests in and replies out.
//! It knows nothing of tunnels, counts no clients and spawns no task: the caller does.

use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use interprocess::local_socket::tokio::Stream;
use interprocess::local_socket::traits::tokio::Listener as _;
use tokio::io::{ReadHalf, WriteHalf};
use tokio::time::Sleep;
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};
use zeroize::Zeroize;

use crate::codec::{self, Frames};
use crate::endpoint::Endpoint;
use crate::fault::{Fault, FaultCode};
use crate::hello::Hello;
use crate::reply::Reply;
use crate::request::Request;
use crate::system;

/// A listening socket that a service manager handed over; never made where none does that.
pub type Inherited = system::Inherited;

/// A connection that is no protocol any more: what the system has for one.
pub type Raw = system::Raw;

/// How long a client may take to say who it is.
pub const HANDSHAKE: Duration = Duration::from_secs(2);

/// How long a client may take from the first byte of a request to its last.
pub const REQUEST: Duration = Duration::from_secs(5);

/// The listening control socket.
#[derive(Debug)]
pub struct Listener {
    inner: interprocess::local_socket::tokio::Listener,
    /// What we bound and may unlink; `None` for a socket that was handed over.
    bound: Option<system::Bound>,
}

impl Listener {
    /// Binds the socket, mode 0600, in place of one that a dead daemon left. The caller has prepared the
    /// endpoint, holds its lock, and runs inside tokio.
    ///
    /// # Errors
    /// [`FaultCode::Failed`] with what stands in the way.
    pub fn bind(endpoint: &Endpoint) -> Result<Listener, Fault> {
        let (inner, bound) = system::bind(endpoint.path())?;
        Ok(Listener { inner, bound: Some(bound) })
    }

    /// Adopts a listening socket handed over by a service manager (sd_listen_fds(3)). It is never unlinked.
    ///
    /// # Errors
    /// [`FaultCode::Failed`] for a descriptor that is no listening Unix stream socket.
    pub fn adopt(socket: Inherited) -> Result<Listener, Fault> {
        Ok(Listener { inner: system::adopt(socket)?, bound: None })
    }

    /// Waits for the next client. Cancel safe.
    ///
    /// # Errors
    /// Those of accept(2); EMFILE and ENFILE among them, after which the caller pauses.
    pub async fn accept(&self) -> std::io::Result<Incoming> {
        Ok(Incoming { stream: self.inner.accept().await? })
    }

    /// Stops listening and unlinks the socket if it is our own. The caller still holds the lock.
    pub fn unlink(self) {
        if let Some(bound) = self.bound {
            bound.unlink();
        }
    }
}

/// A client that has not said yet who it is.
#[derive(Debug)]
pub struct Incoming {
    stream: Stream,
}

impl Incoming {
    /// Makes sure that the peer is our own user and speaks our protocol, within [`HANDSHAKE`]. A peer that
    /// can be told why not has been told when this fails; the caller only has to log it.
    ///
    /// # Errors
    /// [`FaultCode::Version`], [`FaultCode::Protocol`], [`FaultCode::TimedOut`], or [`FaultCode::Failed`]
    /// for another user.
    pub async fn handshake(self) -> Result<Connection, Fault> {
        let mut stream = self.stream;
        let shake = async {
            let peer = system::check_peer(&stream, "the client");
            // A client that is gone before our hello is seen by what is read next.
            let _ = Hello::ours().write(&mut stream).await;
            match peer {
                Ok(()) => Hello::read(&mut stream).await,
                Err(fault) => Err(fault),
            }
        };
        let hello = tokio::time::timeout(HANDSHAKE, shake).await.unwrap_or_else(|_| {
            Err(Fault::new(
                FaultCode::TimedOut,
                format!("the client did not say who it is within {} s", HANDSHAKE.as_secs()),
                "use nbctl to talk to nbtunneld",
            ))
        });
        let mut connection = Connection::new(stream);
        match hello {
            // Our hello has told a client of another version all that it can understand.
            Ok(hello) => Hello::agree(&hello, &Hello::ours()).map(|()| connection),
            Err(fault) => {
                let answer = Reply::Fault(fault.clone());
                let _ = tokio::time::timeout(HANDSHAKE, connection.send(&answer)).await;
                Err(fault)
            }
        }
    }
}

/// A client of ours. Drop it to hang up.
#[derive(Debug)]
pub struct Connection {
    requests: FramedRead<ReadHalf<Stream>, Frames>,
    replies: FramedWrite<WriteHalf<Stream>, LengthDelimitedCodec>,
    /// Runs while a request has begun and not ended.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Connection {
    fn new(stream: Stream) -> Self {
        let (read, write) = tokio::io::split(stream);
        Connection {
            requests: FramedRead::new(read, Frames::new(codec::MAX_REQUEST)),
            replies: FramedWrite::new(write, codec::writer(codec::MAX_FRAME)),
            stalled: None,
        }
    }

    /// The next request; `None` when the client has hung up. Cancel safe, so that it can also watch for the
    /// hang-up while something is streamed. Waits for ever between requests, and [`REQUEST`] inside one.
    ///
    /// # Errors
    /// [`FaultCode::Protocol`] or [`FaultCode::TimedOut`]: send it to the client as [`Reply::Fault`], under a
    /// deadline, and drop the connection.
    pub async fn next_request(&mut self) -> Result<Option<Request>, Fault> {
        match poll_fn(|cx| self.poll_frame(cx)).await? {
            Some(mut frame) => {
                let request = codec::decode(&frame).map(Some);
                // There may have been answers in it.
                frame.as_mut().zeroize();
                request
            }
            None => Ok(None),
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<bytes::BytesMut>, Fault>> {
        if let Poll::Ready(frame) = self.requests.poll_next_unpin(cx) {
            self.stalled = None;
            return Poll::Ready(frame.transpose());
        }
        if !self.requests.decoder().midway {
            return Poll::Pending;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(REQUEST)));
        stalled.as_mut().poll(cx).map(|()| {
            Err(Fault::new(
                FaultCode::TimedOut,
                format!("a request was begun and not finished within {} s", REQUEST.as_secs()),
                "send a request in one piece",
            ))
        })
    }

    /// Gives the connection up as a protocol: it carries raw bytes from now on.
    ///
    /// # Errors
    /// [`FaultCode::Protocol`] for a client that sent something before it could know of that; [`FaultCode::Failed`] when
    /// the system does not give the connection away.
    pub fn into_raw(self) -> Result<Raw, Fault> {
        if !self.requests.read_buffer().is_empty() {
            return Err(Fault::new(
                FaultCode::Protocol,
                "bytes came before the connection was raw",
                "use the nbctl that was installed with nbtunneld",
            ));
        }
        Ok(system::raw(self.requests.into_inner().unsplit(self.replies.into_inner()))?)
    }

    /// Sends one reply, whatever its size, in as many frames as it takes. Callers put a deadline around it: a
    /// client that does not read is dropped, not waited for. When that deadline cuts it off, drop the
    /// connection.
    ///
    /// # Errors
    /// [`FaultCode::Failed`] when the client is gone; [`FaultCode::Protocol`] for a reply beyond every bound.
    pub async fn send(&mut self, reply: &Reply) -> Result<(), Fault> {
        for frame in codec::reply_frames(reply)? {
            self.replies.send(frame).await?;
        }
        Ok(())
    }
}
