//! A small SSH server that asks what PAM never would: nothing at all, several things at once, things that may be
//! seen, and words that would move a terminal's cursor.

use std::borrow::Cow;
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::Result;
use russh::keys::{Algorithm, PrivateKey, key::safe_rng};
use russh::server::{self, Auth, Response};
use russh::{MethodKind, MethodSet};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::TunnelFile;
use crate::net;

/// What is asked at once.
#[derive(Clone, Debug)]
pub struct Round {
    /// The name of the request.
    pub title: &'static str,
    /// What is said about it.
    pub instructions: &'static str,
    /// What is asked, and whether the answer may be seen.
    pub prompts: &'static [(&'static str, bool)],
    /// The right answers.
    pub answers: &'static [&'static str],
}

/// A server in a thread of its own, until it is dropped.
#[derive(Debug)]
pub struct StrangeServer {
    dir: TempDir,
    port: u16,
    heard: Arc<Mutex<Vec<Vec<String>>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl StrangeServer {
    /// One that asks these rounds, one after the other.
    ///
    /// # Errors
    /// No port or no thread could be had.
    pub fn asking(rounds: Vec<Round>) -> Result<StrangeServer> {
        let dir = tempfile::Builder::new().prefix("nbt-strange-").tempdir()?;
        let listener = net::listener()?;
        let port = listener.local_addr()?.port();
        let host_key = PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519)?;
        let public = host_key.public_key().to_openssh()?;
        fs::write(dir.path().join("known_hosts"), format!("[127.0.0.1]:{port} {public}\n"))?;
        let config = Arc::new(server::Config {
            keys: vec![host_key],
            methods: MethodSet::from(&[MethodKind::KeyboardInteractive][..]),
            auth_rejection_time: std::time::Duration::from_millis(50),
            ..Default::default()
        });
        let heard: Arc<Mutex<Vec<Vec<String>>>> = Arc::default();
        let hearing = Arc::clone(&heard);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        listener.set_nonblocking(true)?;
        let listener = runtime.block_on(async { TcpListener::from_std(listener) })?;
        let (stop, mut stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                loop {
                    let accepted = tokio::select! {
                        accepted = listener.accept() => accepted,
                        _ = &mut stopped => return,
                    };
                    let Ok((stream, _)) = accepted else { continue };
                    let heard = Arc::clone(&hearing);
                    let asks = Asks { rounds: rounds.clone(), at: 0, heard };
                    let config = Arc::clone(&config);
                    tokio::spawn(async move {
                        if let Ok(session) = server::run_stream(config, stream, asks).await {
                            let _ = session.await;
                        }
                    });
                }
            });
        });
        Ok(StrangeServer { dir, port, heard, stop: Some(stop), thread: Some(thread) })
    }

    /// A tunnel file that leads here.
    pub fn tunnel(&self) -> TunnelFile {
        TunnelFile::without_key(self.port, self.dir.path())
    }

    /// What was answered, round by round.
    pub fn heard(&self) -> Vec<Vec<String>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for StrangeServer {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The dialogue with one client.
struct Asks {
    rounds: Vec<Round>,
    at: usize,
    heard: Arc<Mutex<Vec<Vec<String>>>>,
}

impl server::Handler for Asks {
    type Error = russh::Error;

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        _user: &str,
        _submethods: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, Self::Error> {
        match response {
            None => self.at = 0,
            Some(answers) => {
                let text = |bytes: bytes::Bytes| String::from_utf8_lossy(&bytes).into_owned();
                let answers: Vec<String> = answers.map(text).collect();
                let right = self.rounds.get(self.at).is_some_and(|round| round.answers == answers);
                self.heard.lock().unwrap_or_else(PoisonError::into_inner).push(answers);
                if !right {
                    return Ok(Auth::reject());
                }
                self.at += 1;
            }
        }
        Ok(match self.rounds.get(self.at) {
            None => Auth::Accept,
            Some(round) => Auth::Partial {
                name: Cow::Borrowed(round.title),
                instructions: Cow::Borrowed(round.instructions),
                prompts: round.prompts.iter().map(|(text, echo)| (Cow::Borrowed(*text), *echo)).collect(),
            },
        })
    }
}
