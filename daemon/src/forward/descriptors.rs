//! What happens when file descriptors run out: accepting pauses, a reserve is freed for everybody else
//! (control clients, reconnects), and accepting goes on once the reserve can be had again.
//!
//! Clients wait in the kernel's backlog meanwhile: nobody is refused.

use std::sync::Mutex;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::sync::watch;

use super::lock;

/// Kept free for the rest of the daemon while accepting pauses.
const RESERVE: usize = 16;

/// Beside the reserve, this many must be free before accepting goes on: room to do something with.
const HEADROOM: usize = 4;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The reserve of descriptors, shared by all listeners.
pub(super) struct Descriptors {
    reserve: Mutex<Vec<Socket>>,
    /// Set while accepting pauses. Changed only with the reserve locked.
    exhausted: watch::Sender<bool>,
    on_exhausted: Box<dyn Fn(bool) + Send + Sync>,
}

impl Descriptors {
    pub(super) fn new(on_exhausted: Box<dyn Fn(bool) + Send + Sync>) -> Descriptors {
        let reserve = placeholders(RESERVE).unwrap_or_default();
        Descriptors { reserve: Mutex::new(reserve), exhausted: watch::Sender::new(false), on_exhausted }
    }

    /// Whether accepting pauses, to be waited for. One listener that ran out stops them all: the reserve is
    /// not for those who were luckier.
    pub(super) fn exhausted(&self) -> watch::Receiver<bool> {
        self.exhausted.subscribe()
    }

    /// Returns when accepting makes sense again. Everybody who waits looks by itself, since any of them may
    /// stop waiting.
    pub(super) async fn wait_for_some(&self) {
        let mut pause = FIRST_PAUSE;
        loop {
            tokio::time::sleep(pause).await;
            if self.recover() {
                return;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// To be called when an accept failed for want of a descriptor: pauses accepting and frees the reserve.
    pub(super) fn run_out(&self) {
        let mut reserve = lock(&self.reserve);
        if !self.exhausted.send_replace(true) {
            (self.on_exhausted)(true);
        }
        reserve.clear();
    }

    fn recover(&self) -> bool {
        let mut reserve = lock(&self.reserve);
        if !*self.exhausted.borrow() {
            return true;
        }
        let Some(mut all) = placeholders(RESERVE + HEADROOM) else { return false };
        all.truncate(RESERVE);
        *reserve = all;
        self.exhausted.send_replace(false);
        (self.on_exhausted)(false);
        true
    }
}

/// Unbound datagram sockets: the cheapest descriptors that every system has.
fn placeholders(count: usize) -> Option<Vec<Socket>> {
    (0..count).map(|_| Socket::new(Domain::IPV4, Type::DGRAM, None).ok()).collect()
}
