//! An SSH server inside the demo, so that a fresh machine needs nothing else: one user, one throwaway key,
//! and forwards to this machine only. Not for tests of throughput: two russh ends can block each other.

use std::fs;
use std::net::{Ipv4Addr, Shutdown, TcpStream as StdTcpStream};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};
use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, PrivateKey, PublicKey, key::safe_rng};
use russh::server::{self, Auth, ChannelOpenHandle, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelOpenFailure};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::TunnelFile;
use crate::net;
use crate::tunnel_file::{paths, quoted};

/// Who may log in.
const USER: &str = "researcher";

/// A server in a thread of its own, until it is dropped.
#[derive(Debug)]
pub struct SshServer {
    dir: TempDir,
    port: u16,
    orders: Option<UnboundedSender<(Order, mpsc::Sender<Result<()>>)>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone, Copy, Debug)]
enum Order {
    Come,
    Go,
}

impl SshServer {
    /// Makes keys and starts to listen.
    ///
    /// # Errors
    /// No key, no port or no thread could be had.
    pub fn start() -> Result<SshServer> {
        let dir = tempfile::Builder::new().prefix("nbt-server-").tempdir()?;
        let port = net::free_port()?;
        let host_key = PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519)?;
        let user_key = PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519)?;
        user_key.write_openssh_file(dir.path().join("user_key"), LineEnding::LF)?;
        let public = host_key.public_key().to_openssh()?;
        fs::write(dir.path().join("known_hosts"), format!("[127.0.0.1]:{port} {public}\n"))?;

        let config = Arc::new(server::Config { keys: vec![host_key], nodelay: true, ..Default::default() });
        let (orders, inbox) = unbounded_channel();
        let allowed = user_key.public_key().clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::spawn(move || runtime.block_on(serve(port, config, allowed, inbox)));
        let server = SshServer { dir, port, orders: Some(orders), thread: Some(thread) };
        server.order(Order::Come)?;
        Ok(server)
    }

    /// Cuts every connection, without a word, and listens no more.
    ///
    /// # Errors
    /// The server's thread has ended.
    pub fn go_away(&self) -> Result<()> {
        self.order(Order::Go)
    }

    /// Listens again, on the same port and with the same key.
    ///
    /// # Errors
    /// The port was taken meanwhile, or the server's thread has ended.
    pub fn come_back(&self) -> Result<()> {
        self.order(Order::Come)
    }

    /// The TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A tunnel file that leads here.
    pub fn tunnel(&self) -> TunnelFile {
        TunnelFile::default()
            .set("host", "\"127.0.0.1\"")
            .set("port", self.port)
            .set("user", quoted(USER))
            .set("identity_file", paths(&[&self.path("user_key")]))
            .set("known_hosts", paths(&[&self.path("known_hosts")]))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn order(&self, order: Order) -> Result<()> {
        let (done, answer) = mpsc::channel();
        let orders = self.orders.as_ref().context("the demo's server has ended")?;
        orders.send((order, done)).map_err(|_| anyhow!("the demo's server has ended"))?;
        answer.recv().context("the demo's server has ended")?
    }
}

impl Drop for SshServer {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(
    port: u16,
    config: Arc<server::Config>,
    allowed: PublicKey,
    mut orders: UnboundedReceiver<(Order, mpsc::Sender<Result<()>>)>,
) {
    let mut listener: Option<TcpListener> = None;
    let mut connections: Vec<StdTcpStream> = Vec::new();
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                None => return,
                Some((Order::Come, done)) => {
                    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
                    let _ = done.send(match bound {
                        Ok(bound) => {
                            listener = Some(bound);
                            Ok(())
                        }
                        Err(e) => Err(anyhow!("cannot listen on 127.0.0.1:{port}: {e}")),
                    });
                }
                Some((Order::Go, done)) => {
                    listener = None;
                    for connection in connections.drain(..) {
                        let _ = connection.shutdown(Shutdown::Both);
                    }
                    let _ = done.send(Ok(()));
                }
            },
            Ok(stream) = accept(listener.as_ref()) => {
                // A second handle to the socket, by which it can be cut whatever the session does.
                let Ok((stream, cut)) = doubled(stream) else { continue };
                connections.push(cut);
                let (config, guard) = (Arc::clone(&config), Guard { allowed: allowed.clone() });
                tokio::spawn(async move {
                    // A session that fails ends; the client hears of it by its connection.
                    if let Ok(session) = server::run_stream(config, stream, guard).await {
                        let _ = session.await;
                    }
                });
            }
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> std::io::Result<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}

fn doubled(stream: TcpStream) -> std::io::Result<(TcpStream, StdTcpStream)> {
    let stream = stream.into_std()?;
    let second = stream.try_clone()?;
    Ok((TcpStream::from_std(stream)?, second))
}

/// Decides what one client may do: log in with the throwaway key, and reach this machine.
struct Guard {
    allowed: PublicKey,
}

impl server::Handler for Guard {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        let known = user == USER && key.public_key.key_data() == self.allowed.key_data();
        Ok(if known { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _originator_address: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        let here = matches!(host, "localhost" | "127.0.0.1" | "::1");
        let Some(port) = u16::try_from(port).ok().filter(|_| here) else {
            reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
            return Ok(());
        };
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
            Err(_) => reply.reject(ChannelOpenFailure::ConnectFailed).await,
            Ok(mut target) => {
                reply.accept().await;
                tokio::spawn(async move {
                    let mut channel = channel.into_stream();
                    // Either side may end it; both sides notice by themselves.
                    let _ = tokio::io::copy_bidirectional(&mut channel, &mut target).await;
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::child::Running;
    use crate::{Server, programs, wait};

    fn ssh(server: &SshServer, key: &std::path::Path, forward: &str) -> Running {
        let mut command = Command::new(programs::system("ssh").unwrap());
        command.args(["-F", "none", "-N", "-o", "BatchMode=yes", "-o", "IdentityAgent=none"]);
        command.args(["-o", "IdentitiesOnly=yes", "-o", "GlobalKnownHostsFile=none", "-o"]);
        command.arg(format!("UserKnownHostsFile={}", server.path("known_hosts").display()));
        command.arg("-i").arg(key).arg("-p").arg(server.port().to_string());
        command.arg("-L").arg(forward).arg(format!("{USER}@127.0.0.1"));
        command.stderr(std::process::Stdio::null());
        Running::spawn(&mut command).unwrap()
    }

    #[test]
    fn openssh_can_use_it_until_it_goes_away_and_again_when_it_is_back() {
        let (server, echo) = (SshServer::start().unwrap(), Server::echo().unwrap());
        let key = server.path("user_key");
        let local = net::free_port().unwrap();
        let forward = format!("{local}:localhost:{}", echo.port());
        let mut first = ssh(&server, &key, &forward);
        wait::until("it carries", wait::SOON, || net::echoes(local, wait::SOON)).unwrap();
        server.go_away().unwrap();
        first.wait(wait::SOON).unwrap();
        // A child between fork and exec may hold its listener a moment longer.
        wait::until("it listens no more", wait::SOON, || net::connect(server.port(), wait::SOON).is_err())
            .unwrap();
        server.come_back().unwrap();
        let _second = ssh(&server, &key, &forward);
        wait::until("it carries again", wait::SOON, || net::echoes(local, wait::SOON)).unwrap();
    }

    #[test]
    fn another_key_and_another_machine_are_refused() {
        let server = SshServer::start().unwrap();
        let stranger = server.path("stranger");
        crate::sshd::keygen(&stranger, "").unwrap();
        let local = net::free_port().unwrap();
        let mut refused = ssh(&server, &stranger, &format!("{local}:localhost:1"));
        assert_eq!(refused.wait(wait::SOON).unwrap().code(), Some(255));

        let _ssh = ssh(&server, &server.path("user_key"), &format!("{local}:192.0.2.1:80"));
        wait::until("ssh listens", wait::SOON, || net::connect(local, wait::SOON).is_ok()).unwrap();
        assert!(!net::echoes(local, wait::SOON));
    }
}
