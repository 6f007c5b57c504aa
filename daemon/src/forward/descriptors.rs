//! What happens when file descriptors run out: accepting pauses, a reserve is freed for everybody else
//! (control clients, reconnects), and accepting goes on once the reserve can be had again.
//!
//! Clients wait in the kernel's backlog meanwhile: nobody is refused.

use std::sync::Mutex;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::lock;

/// Kept free for the rest of the daemon while accepting pauses.
const RESERVE: usize = 16;

/// Beside the reserve, this many must be free before accepting goes on: room to do something with.
const HEADROOM: usize = 4;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The reserve of descriptors, shared by all listeners.
pub(super) struct Descriptors {
    state: Mutex<State>,
    on_exhausted: Box<dyn Fn(bool) + Send + Sync>,
}

struct State {
    reserve: Vec<Socket>,
    exhausted: bool,
}

impl Descriptors {
    pub(super) fn new(on_exhausted: Box<dyn Fn(bool) + Send + Sync>) -> Descriptors {
        let reserve = placeholders(RESERVE).unwrap_or_default();
        Descriptors { state: Mutex::new(State { reserve, exhausted: false }), on_exhausted }
    }

    /// To be called when an accept failed for want of a descriptor: frees the reserve and returns when
    /// accepting makes sense again.
    pub(super) async fn wait_for_some(&self) {
        self.run_out();
        let mut pause = FIRST_PAUSE;
        loop {
            tokio::time::sleep(pause).await;
            if self.recover() {
                return;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn run_out(&self) {
        let mut state = lock(&self.state);
        state.reserve.clear();
        if !state.exhausted {
            state.exhausted = true;
            (self.on_exhausted)(true);
        }
    }

    fn recover(&self) -> bool {
        let mut state = lock(&self.state);
        if !state.exhausted {
            return true;
        }
        let Some(mut reserve) = placeholders(RESERVE + HEADROOM) else { return false };
        reserve.truncate(RESERVE);
        *state = State { reserve, exhausted: false };
        (self.on_exhausted)(false);
        true
    }
}

/// Unbound datagram sockets: the cheapest descriptors that every system has.
fn placeholders(count: usize) -> Option<Vec<Socket>> {
    (0..count).map(|_| Socket::new(Domain::IPV4, Type::DGRAM, None).ok()).collect()
}
