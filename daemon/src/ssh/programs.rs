//! Turns to run programs of ours over a session. Servers let so many run over one as MaxSessions in sshd_config(5)
//! says, and refuse a further one in the words of a server that lets none run at all: here the two are told apart.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

/// So many run at a time, fewer than servers allow by default.
const MOST: usize = 4;

/// The programs of one session, whoever runs them.
pub(super) struct Programs {
    turns: Semaphore,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// Those that have a turn.
    at_work: usize,
    /// The server let one begin.
    let_in: bool,
    /// A shell read what it was told.
    ran: bool,
}

/// A turn to run one. It is over when this is dropped.
pub(super) struct Turn<'a> {
    programs: &'a Programs,
    permit: Option<SemaphorePermit<'a>>,
}

/// What it means that the server refused one.
pub(super) enum Refused<'a> {
    /// It lets none run.
    Always,
    /// It lets so many run as run now: one of them has to end, and no more are begun at a time.
    Full,
    /// It lets some run, and none of ours does: one that ended here may not have ended there.
    Leftover(Turn<'a>),
}

impl Default for Programs {
    fn default() -> Programs {
        Programs { turns: Semaphore::new(MOST), seen: Mutex::default() }
    }
}

impl Programs {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn.
    pub(super) async fn turn(&self) -> Turn<'_> {
        // Never closed.
        let permit = self.turns.acquire().await.ok();
        self.seen().at_work += 1;
        Turn { programs: self, permit }
    }

    /// Whether a shell of this server's read what it was told.
    pub(super) fn have_run(&self) -> bool {
        self.seen().ran
    }

    /// A shell did.
    pub(super) fn ran(&self) {
        self.seen().ran = true;
    }
}

impl<'a> Turn<'a> {
    /// The server let it begin.
    pub(super) fn let_in(&self) {
        self.programs.seen().let_in = true;
    }

    /// The server did not.
    pub(super) fn refused(mut self) -> Refused<'a> {
        let seen = self.programs.seen();
        let (others, let_in) = (seen.at_work > 1, seen.let_in);
        drop(seen);
        if others {
            // Those others have turns of their own, so that there is always one.
            if let Some(permit) = self.permit.take() {
                permit.forget();
            }
            return Refused::Full;
        }
        if let_in { Refused::Leftover(self) } else { Refused::Always }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.programs.seen().at_work -= 1;
    }
}
