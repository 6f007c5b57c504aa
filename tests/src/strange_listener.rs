//! A small SSH server whose forwards are odd: it refuses to listen, is slow to say so, makes up ports, and has people
//! come to places that nobody asked for. Channels are played by hand, message by message.

use std::fs;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, PrivateKey, key::safe_rng};
use russh::server::{self, Auth, ChannelOpenHandle, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelMsg};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::tunnel_file::{paths, quoted};
use crate::{TunnelFile, net, wait};

/// How a request to listen is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// No.
    No,
    /// Yes, after so long, in which nothing else is answered (RFC 4254 §4 keeps answers in order).
    After(Duration),
    /// Yes, and for port 0 this one. Zero: the answer names none.
    Port(u32),
}

/// A server in a thread of its own, until it is dropped. Nothing really listens.
pub struct StrangeListener {
    dir: TempDir,
    port: u16,
    runtime: Handle,
    seen: Arc<Seen>,
    direct: Receiver<Visit>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

type Answering = dyn Fn(&str, u32) -> Answer + Send + Sync;

struct Seen {
    answering: Box<Answering>,
    /// What it was asked, in words of its own: `listen HOST:PORT`, `cancel HOST:PORT`.
    asked: Mutex<Vec<String>>,
    sessions: Mutex<Vec<server::Handle>>,
    direct: Sender<Visit>,
    runtime: Handle,
}

impl Seen {
    fn note(&self, what: String) {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }
}

impl StrangeListener {
    /// One that answers requests to listen at an address and a port (a socket: its path and 0) so.
    ///
    /// # Errors
    /// No port or no thread could be had.
    pub fn answering(
        answering: impl Fn(&str, u32) -> Answer + Send + Sync + 'static,
    ) -> Result<StrangeListener> {
        let dir = tempfile::Builder::new().prefix("nbt-strange-").tempdir()?;
        let listener = net::listener()?;
        let port = listener.local_addr()?.port();
        let host_key = PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519)?;
        let public = host_key.public_key().to_openssh()?;
        fs::write(dir.path().join("known_hosts"), format!("[127.0.0.1]:{port} {public}\n"))?;
        let user_key = PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519)?;
        user_key.write_openssh_file(dir.path().join("user_key"), LineEnding::LF)?;
        let config = Arc::new(server::Config { keys: vec![host_key], ..Default::default() });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        listener.set_nonblocking(true)?;
        let listener = runtime.block_on(async { TcpListener::from_std(listener) })?;
        let (stop, mut stopped) = oneshot::channel();
        let (add, direct) = mpsc::channel();
        let handle = runtime.handle().clone();
        let seen = Arc::new(Seen {
            answering: Box::new(answering),
            asked: Mutex::default(),
            sessions: Mutex::default(),
            direct: add,
            runtime: handle.clone(),
        });
        let seeing = Arc::clone(&seen);
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                loop {
                    let accepted = tokio::select! {
                        accepted = listener.accept() => accepted,
                        _ = &mut stopped => return,
                    };
                    let Ok((stream, _)) = accepted else { continue };
                    let (config, listens) = (Arc::clone(&config), Listens(Arc::clone(&seeing)));
                    tokio::spawn(async move {
                        if let Ok(session) = server::run_stream(config, stream, listens).await {
                            let _ = session.await;
                        }
                    });
                }
            });
        });
        let (stop, thread) = (Some(stop), Some(thread));
        Ok(StrangeListener { dir, port, runtime: handle, seen, direct, stop, thread })
    }

    /// A tunnel file that leads here.
    pub fn tunnel(&self) -> TunnelFile {
        TunnelFile::default()
            .set("host", quoted("127.0.0.1"))
            .set("port", self.port)
            .set("user", quoted("somebody"))
            .set("identity_file", paths(&[&self.dir.path().join("user_key")]))
            .set("known_hosts", paths(&[&self.dir.path().join("known_hosts")]))
            .set("ssh_config", quoted("none"))
    }

    /// What it was asked so far: `listen HOST:PORT`, `cancel HOST:PORT`.
    pub fn asked(&self) -> Vec<String> {
        self.seen.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many logged in so far.
    pub fn logins(&self) -> usize {
        self.seen.sessions.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Has somebody come to a port, over the newest session.
    ///
    /// # Errors
    /// There is no session, or it lets nobody in there.
    pub fn come_to(&self, host: &str, port: u32) -> Result<Visit> {
        let session = self.newest()?;
        let opening = session.channel_open_forwarded_tcpip(host, port, "192.0.2.1", 4321);
        let channel = self.soon(opening)?.context("nobody is let in there")?;
        Ok(Visit { channel, runtime: self.runtime.clone() })
    }

    /// Has somebody come to a socket, over the newest session.
    ///
    /// # Errors
    /// As [`StrangeListener::come_to`].
    pub fn come_to_socket(&self, path: &str) -> Result<Visit> {
        let session = self.newest()?;
        let channel =
            self.soon(session.channel_open_forwarded_streamlocal(path))?.context("nobody is let in there")?;
        Ok(Visit { channel, runtime: self.runtime.clone() })
    }

    /// The next connection that is to lead out from here.
    ///
    /// # Errors
    /// None comes.
    pub fn led_out(&self) -> Result<Visit> {
        self.direct.recv_timeout(wait::SOON).context("no channel is opened")
    }

    fn newest(&self) -> Result<server::Handle> {
        let sessions = self.seen.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.last().cloned().context("nobody has logged in")
    }

    fn soon<T>(&self, what: impl Future<Output = T>) -> Result<T> {
        self.runtime.block_on(async { timeout(wait::SOON, what).await }).context("no answer comes")
    }
}

impl Drop for StrangeListener {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A channel, whoever opened it.
pub struct Visit {
    channel: Channel<Msg>,
    runtime: Handle,
}

impl Visit {
    /// Sends `bytes`.
    ///
    /// # Errors
    /// The channel takes no more.
    pub fn send(&self, bytes: &[u8]) -> Result<()> {
        Ok(self.runtime.block_on(self.channel.data_bytes(bytes.to_vec()))?)
    }

    /// Says that no more bytes come.
    ///
    /// # Errors
    /// The session is gone.
    pub fn end(&self) -> Result<()> {
        Ok(self.runtime.block_on(self.channel.eof())?)
    }

    /// Closes it, with or without an end before.
    ///
    /// # Errors
    /// The session is gone.
    pub fn close(&self) -> Result<()> {
        Ok(self.runtime.block_on(self.channel.close())?)
    }

    /// What comes up to the end or the close: the bytes, and whether it is an end.
    ///
    /// # Errors
    /// Neither comes.
    pub fn heard(&mut self) -> Result<(Vec<u8>, bool)> {
        let listening = async {
            let mut bytes = Vec::new();
            loop {
                match self.channel.wait().await {
                    Some(ChannelMsg::Data { data }) => bytes.extend_from_slice(&data),
                    Some(ChannelMsg::Eof) => return (bytes, true),
                    Some(ChannelMsg::Close) | None => return (bytes, false),
                    Some(_) => {}
                }
            }
        };
        self.runtime
            .block_on(async { timeout(wait::SOON, listening).await })
            .context("it is neither ended nor closed")
    }

    /// Waits for so many bytes, and gives them.
    ///
    /// # Errors
    /// They do not come.
    pub fn hear(&mut self, count: usize) -> Result<Vec<u8>> {
        let listening = async {
            let mut bytes = Vec::new();
            while bytes.len() < count {
                match self.channel.wait().await {
                    Some(ChannelMsg::Data { data }) => bytes.extend_from_slice(&data),
                    Some(ChannelMsg::Eof | ChannelMsg::Close) | None => anyhow::bail!("only {bytes:?} come"),
                    Some(_) => {}
                }
            }
            Ok(bytes)
        };
        self.runtime.block_on(async { timeout(wait::SOON, listening).await }).context("nothing comes")?
    }
}

/// The session with one client.
struct Listens(Arc<Seen>);

impl Listens {
    async fn asked(&self, host: &str, port: &mut u32) -> bool {
        self.0.note(format!("listen {host}:{port}"));
        match (self.0.answering)(host, *port) {
            Answer::No => return false,
            Answer::After(pause) => sleep(pause).await,
            Answer::Port(chosen) => *port = chosen,
        }
        true
    }

    async fn lead_out(&self, channel: Channel<Msg>, reply: ChannelOpenHandle) {
        reply.accept().await;
        let _ = self.0.direct.send(Visit { channel, runtime: self.0.runtime.clone() });
    }
}

impl server::Handler for Listens {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, _: &str, _: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        Ok(Auth::Accept)
    }

    async fn auth_succeeded(&mut self, session: &mut Session) -> Result<(), Self::Error> {
        self.0.sessions.lock().unwrap_or_else(PoisonError::into_inner).push(session.handle());
        Ok(())
    }

    async fn tcpip_forward(
        &mut self,
        host: &str,
        port: &mut u32,
        _: &mut Session,
    ) -> Result<bool, Self::Error> {
        Ok(self.asked(host, port).await)
    }

    async fn cancel_tcpip_forward(
        &mut self,
        host: &str,
        port: u32,
        _: &mut Session,
    ) -> Result<bool, Self::Error> {
        self.0.note(format!("cancel {host}:{port}"));
        Ok(true)
    }

    async fn streamlocal_forward(&mut self, path: &str, _: &mut Session) -> Result<bool, Self::Error> {
        Ok(self.asked(path, &mut 0).await)
    }

    async fn cancel_streamlocal_forward(&mut self, path: &str, _: &mut Session) -> Result<bool, Self::Error> {
        self.0.note(format!("cancel {path}:0"));
        Ok(true)
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.lead_out(channel, reply).await;
        Ok(())
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        channel: Channel<Msg>,
        _: &str,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.lead_out(channel, reply).await;
        Ok(())
    }
}
