//! A ProxyCommand: run as ssh runs it, by the user's shell, its standard streams under a session.
//!
//! What it complains of is told; it ends with the stream, with all that it began; and when it ends by itself, the
//! session learns how before the stream does.

use std::io;
use std::pin::Pin;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use nbtunnel_core::{Failure, FailureKind};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, BufReader, ReadBuf};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::classify::quote;
use super::handler::Shared;
use super::proxy_system as system;

/// How long it may take to end when it is asked to, before it is made to.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How long the end of its output waits for its own end, which says why.
const LINGERS: Duration = Duration::from_secs(2);

/// So many bytes of a line that it complains with are read.
const MOST_OF_LINE: u64 = 4 << 10;

/// So many lines of one command are told.
const MOST_LINES: usize = 64;

/// What a service manager told us is not for children.
const OURS: [&str; 6] =
    ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"];

/// Tells an `nbctl proxy` in it which tunnel is on its way: that one would wait for itself.
const FOR_TUNNEL: &str = "NBTUNNEL_CONNECTS";

/// The standard streams of a command. It is ended when this is dropped.
pub(super) struct ProxyStream {
    from: ChildStdout,
    to: Option<ChildStdin>,
    /// How it ended is known to the session, or need not be waited for.
    explained: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    _stop: DropGuard,
}

impl ProxyStream {
    /// Runs `command` for the session of `shared`.
    ///
    /// # Errors
    /// The system did not start a shell.
    pub(super) fn run(command: &str, shared: &Arc<Shared>, runtime: &Handle) -> Result<Self, Failure> {
        let mut shell = Command::from(system::shell(command));
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        for name in OURS {
            shell.env_remove(name);
        }
        shell.env(FOR_TUNNEL, shared.reporter.tunnel());
        let failed = |why: &dyn std::fmt::Display| {
            Failure::new(
                FailureKind::Exhausted,
                format!("the ProxyCommand for {} could not be started: {why}", shared.hop),
                "check SHELL, and the limits on processes and open files (ulimit -a)",
            )
        };
        let mut child = shell.spawn().map_err(|error| failed(&error))?;
        let (Some(to), Some(from), Some(complaints)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(failed(&"it has no standard streams"));
        };
        let stop = CancellationToken::new();
        let (tell, explained) = oneshot::channel::<()>();
        let keeper = Keeper { child, shared: Arc::clone(shared), last: Arc::default(), stop: stop.clone() };
        runtime.spawn(async move {
            keeper.keep(complaints).await;
            drop(tell);
        });
        let explained = async {
            let _ = timeout(LINGERS, explained).await;
        };
        Ok(ProxyStream { from, to: Some(to), explained: Some(Box::pin(explained)), _stop: stop.drop_guard() })
    }
}

impl ProxyStream {
    /// Its end comes after the reason for it.
    fn poll_explained(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(explained) = &mut self.explained {
            ready!(explained.as_mut().poll(cx));
            self.explained = None;
        }
        Poll::Ready(())
    }
}

/// Looks after a command that runs.
struct Keeper {
    child: Child,
    shared: Arc<Shared>,
    /// What it said last.
    last: Arc<Mutex<String>>,
    stop: CancellationToken,
}

impl Keeper {
    /// Until it has ended, whoever wanted that.
    async fn keep(mut self, complaints: ChildStderr) {
        let group = system::Group::led_by(&self.child);
        let telling = tell(complaints, Arc::clone(&self.shared), Arc::clone(&self.last));
        let telling = tokio::spawn(telling);
        tokio::select! {
            ended = self.child.wait() => {
                // What it began may hold its standard streams still.
                group.kill();
                let _ = timeout(LAST_WORDS / 4, telling).await;
                if !self.stop.is_cancelled() && let Ok(status) = ended {
                    self.explain(status);
                }
            }
            () = self.stop.cancelled() => {
                group.terminate();
                group.until_leader_ends(LAST_WORDS).await;
                group.kill();
                let _ = self.child.start_kill();
                let _ = self.child.wait().await;
                telling.abort();
            }
        }
    }

    fn explain(&self, status: ExitStatus) {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let said = if last.is_empty() { String::new() } else { format!(": {last}") };
        let how = match status.code() {
            Some(code) => format!("ended with status {code}"),
            None => format!("was ended ({status})"),
        };
        self.shared.blame(Failure::new(
            FailureKind::Disconnected,
            format!("the ProxyCommand for {} {how}{said}", self.shared.hop),
            "it is run again by itself; if it stays so, try the same command in a terminal",
        ));
    }
}

/// Tells what it complains of, line by line.
async fn tell(complaints: ChildStderr, shared: Arc<Shared>, last: Arc<Mutex<String>>) {
    let mut complaints = BufReader::new(complaints);
    let mut told = 0;
    loop {
        let mut line = Vec::new();
        match (&mut complaints).take(MOST_OF_LINE).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let line = quote(&String::from_utf8_lossy(&line));
        if line.is_empty() {
            continue;
        }
        if told < MOST_LINES {
            told += 1;
            shared.reporter.note(&format!("the ProxyCommand for {} says: {line}", shared.hop));
        }
        *last.lock().unwrap_or_else(PoisonError::into_inner) = line;
    }
}

impl AsyncRead for ProxyStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.from).poll_read(cx, buf))?;
        if buf.filled().len() == before && buf.remaining() > 0 {
            ready!(this.poll_explained(cx));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ProxyStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let Some(to) = &mut this.to else { return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) };
        let written = ready!(Pin::new(to).poll_write(cx, buf));
        if written.is_err() {
            ready!(this.poll_explained(cx));
        }
        Poll::Ready(written)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().to.as_mut().map_or(Poll::Ready(Ok(())), |to| Pin::new(to).poll_flush(cx))
    }

    /// Closes its standard input, at which most end by themselves.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().to = None;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
#[cfg(unix)]
#[path = "proxy_command_tests.rs"]
mod tests;
