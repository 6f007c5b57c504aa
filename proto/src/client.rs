//! nbctl's end of the control socket: connect, ask, read what is streamed.

use std::io;
use std::time::Duration;

use futures_util::StreamExt;
use interprocess::local_socket::GenericFilePath;
use interprocess::local_socket::prelude::*;
use interprocess::local_socket::tokio::Stream;
use interprocess::local_socket::traits::tokio::Stream as _;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio_util::codec::FramedRead;

use crate::codec::{self, Assembly, Frames};
use crate::endpoint::Endpoint;
use crate::fault::{Fault, FaultCode};
use crate::hello::Hello;
use crate::reply::Reply;
use crate::request::Request;
use crate::system;

/// A connection that is no protocol any more: what the system has for one.
pub type Raw = system::Raw;

/// How long the daemon may take to say who it is: with socket activation it is started by the connection.
pub const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long to wait before a full accept queue is tried again.
const QUEUE_FULL: Duration = Duration::from_millis(50);

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client {
    requests: WriteHalf<Stream>,
    replies: FramedRead<ReadHalf<Stream>, Frames>,
    assembly: Assembly,
    daemon: Hello,
}

impl Client {
    /// Connects and makes sure that the daemon is ours and speaks our protocol.
    ///
    /// # Errors
    /// [`FaultCode::NoDaemon`] when nobody listens, [`FaultCode::TimedOut`] when nobody answers,
    /// [`FaultCode::Version`] when the two programs differ, else [`FaultCode::Failed`] or what the daemon says.
    pub async fn connect(endpoint: &Endpoint) -> Result<Client, Fault> {
        tokio::time::timeout(HANDSHAKE, Self::shake_hands(endpoint)).await.unwrap_or_else(|_| {
            Err(Fault::new(
                FaultCode::TimedOut,
                format!(
                    "nbtunneld at {} did not answer within {} s",
                    endpoint.display(),
                    HANDSHAKE.as_secs()
                ),
                "restart nbtunneld; its log says what it was doing",
            ))
        })
    }

    async fn shake_hands(endpoint: &Endpoint) -> Result<Client, Fault> {
        let mut stream = connect(endpoint).await?;
        system::check_peer(&stream, "the daemon")?;
        let ours = Hello::ours();
        // A daemon that refuses us hangs up at once; what it says first is worth more than this error.
        let _ = ours.write(&mut stream).await;
        let daemon = Hello::read(&mut stream).await?;
        Hello::agree(&ours, &daemon)?;
        let (read, write) = tokio::io::split(stream);
        Ok(Client {
            requests: write,
            replies: FramedRead::new(read, Frames::new(codec::MAX_FRAME)),
            assembly: Assembly::default(),
            daemon,
        })
    }

    /// Who the daemon said it is.
    pub fn daemon(&self) -> &Hello {
        &self.daemon
    }

    /// Sends a request; [`Client::next`] gives the replies.
    ///
    /// # Errors
    /// [`FaultCode::Protocol`] for a request that is too long. That the daemon has hung up is said by
    /// [`Client::next`], since it may have said why.
    pub async fn send(&mut self, request: &Request) -> Result<(), Fault> {
        let frame = codec::request_frame(request)?;
        let _ = self.requests.write_all(&frame).await;
        let _ = self.requests.flush().await;
        Ok(())
    }

    /// Sends a request and waits for the first reply, for as long as that takes.
    ///
    /// # Errors
    /// What the daemon answered as [`Reply::Fault`]; [`FaultCode::NoDaemon`] when it hung up instead.
    pub async fn ask(&mut self, request: &Request) -> Result<Reply, Fault> {
        self.send(request).await?;
        match self.next().await? {
            Some(reply) => Ok(reply),
            None => Err(Fault::new(
                FaultCode::NoDaemon,
                "nbtunneld hung up without an answer",
                "try again; if it stays so, look into the log of nbtunneld",
            )),
        }
    }

    /// Gives the connection up as a protocol, after [`Reply::Proxied`]: it carries raw bytes from now on, of which some
    /// may be here already.
    ///
    /// # Errors
    /// [`FaultCode::Failed`] when the system does not give the connection away.
    pub fn into_raw(self) -> Result<(Vec<u8>, Raw), Fault> {
        let early = self.replies.read_buffer().to_vec();
        Ok((early, system::raw(self.replies.into_inner().unsplit(self.requests))?))
    }

    /// The next reply of a stream; `None` when the daemon has hung up. Cancel safe.
    ///
    /// # Errors
    /// What the daemon answered as [`Reply::Fault`], or [`FaultCode::Protocol`].
    pub async fn next(&mut self) -> Result<Option<Reply>, Fault> {
        loop {
            let Some(frame) = self.replies.next().await else { return Ok(None) };
            match self.assembly.push(&frame?)? {
                Some(Reply::Fault(fault)) => return Err(fault),
                Some(reply) => return Ok(Some(reply)),
                None => {}
            }
        }
    }
}

async fn connect(endpoint: &Endpoint) -> Result<Stream, Fault> {
    let refused = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Fault::new(
            FaultCode::NoDaemon,
            format!("no nbtunneld is running at {}", endpoint.display()),
            START,
        ),
        _ => Fault::new(
            FaultCode::Failed,
            format!("{} cannot be connected to: {error}", endpoint.display()),
            "check --socket and $NBTUNNEL_SOCKET, and that the daemon runs as the same user",
        ),
    };
    loop {
        let name = endpoint.path().to_fs_name::<GenericFilePath>().map_err(refused)?;
        match Stream::connect(name).await {
            Ok(stream) => return Ok(stream),
            // Linux says this of a Unix socket whose accept queue is full, and gives nothing to wait on.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => tokio::time::sleep(QUEUE_FULL).await,
            Err(error) => return Err(refused(error)),
        }
    }
}

/// How to get a daemon.
#[cfg(target_os = "linux")]
pub const START: &str =
    "start it with `systemctl --user start nbtunneld`, or run `nbtunneld` in another terminal";
/// How to get a daemon.
#[cfg(not(target_os = "linux"))]
pub const START: &str = "run `nbtunneld` in another terminal, or install it so that it starts at login";
