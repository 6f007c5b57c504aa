//! A loopback address with a random path that leads on to another URL, once. Where the system tells whose a connection
//! is, only this user's programs are let in; elsewhere whoever knows the path is, so that nobody else may learn it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::owner;

/// The longest head of a request that is read.
const LONGEST_HEAD: usize = 16 << 10;
/// How long a client may take to say what it wants, or to hear the answer.
const A_WORD: Duration = Duration::from_secs(5);
/// So many may stand in the doorway at once: browsers open connections that they may need.
const MOST: usize = 32;

const NOT_HERE: &[u8] =
    b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n";

/// A way that nobody went yet.
pub(super) struct Doorway {
    listener: TcpListener,
    at: SocketAddr,
    path: String,
}

impl Doorway {
    /// # Errors
    /// The system has no port, or no randomness.
    pub(super) async fn new() -> io::Result<Doorway> {
        let mut random = [0u8; 16];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let path = random.iter().fold("/".to_owned(), |path, byte| path + &format!("{byte:02x}"));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        Ok(Doorway { at: listener.local_addr()?, listener, path })
    }

    /// What the browser is to be given.
    pub(super) fn address(&self) -> String {
        format!("http://{}{}", self.at, self.path)
    }

    /// Sends the first who asks for it on to `url`, and nobody else; returns when that one was told.
    ///
    /// # Errors
    /// That one hung up before.
    pub(super) async fn lead_to(self, url: &str) -> io::Result<()> {
        let Doorway { listener, at, path } = self;
        let mut visitors = JoinSet::new();
        let mut guest = loop {
            tokio::select! {
                accepted = listener.accept(), if visitors.len() < MOST => {
                    // One that is gone before it was let in is no reason to close.
                    let Ok((stream, peer)) = accepted else { continue };
                    if owner::is_ours(peer, at) != Some(false) {
                        visitors.spawn(ask(stream, path.clone()));
                    }
                }
                Some(asked) = visitors.join_next() => {
                    if let Ok(Some(guest)) = asked {
                        break guest;
                    }
                }
            }
        };
        // From here on nobody else gets it.
        drop(listener);
        drop(visitors);
        let answer = format!(
            "HTTP/1.1 302 Found\r\nLocation: {url}\r\nReferrer-Policy: no-referrer\r\nCache-Control: no-store\r\n\
             Content-Length: 0\r\nConnection: close\r\n\r\n"
        );
        tell(&mut guest, answer.as_bytes()).await
    }
}

/// What a visitor wants: one who asks for `path` is returned, others are told that nothing is here.
async fn ask(mut stream: TcpStream, path: String) -> Option<TcpStream> {
    let head = timeout(A_WORD, head(&mut stream)).await.ok()?.ok()?;
    let mut words = head.split(|byte| matches!(byte, b' ' | b'\r' | b'\n'));
    if words.next() == Some(b"GET") && words.next() == Some(path.as_bytes()) {
        return Some(stream);
    }
    let _ = tell(&mut stream, NOT_HERE).await;
    None
}

/// A request up to the empty line behind its headers.
async fn head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        if head.len() > LONGEST_HEAD || stream.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    Ok(head)
}

/// Answers, and waits until it was heard: what is closed with something unread is reset, and the answer with it.
async fn tell(stream: &mut TcpStream, answer: &[u8]) -> io::Result<()> {
    stream.write_all(answer).await?;
    stream.shutdown().await?;
    let mut rest = [0u8; 512];
    let _ = timeout(A_WORD, async { while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {} }).await;
    Ok(())
}
