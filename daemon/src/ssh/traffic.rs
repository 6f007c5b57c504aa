//! What goes over one wire: how many bytes either way, and since when nothing came back for what was sent.
//!
//! Counting costs a few instructions a packet, and an idle wire wakes nobody: whoever watches for silence
//! sleeps until something was sent.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::time::Duration;

use nbtunnel_core::io::STALL;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::Stopwatch;

/// The counters of one wire.
pub(super) struct Traffic {
    stopwatch: Stopwatch,
    read: AtomicU64,
    written: AtomicU64,
    /// When something was sent that nothing has come after, in nanoseconds and never 0; 0 if there is no such.
    unanswered: AtomicU64,
    /// Whether somebody was called to watch for silence.
    is_watched: AtomicBool,
    /// How many questions are under way.
    asked: AtomicU32,
    sent: Notify,
}

impl Traffic {
    pub(super) fn new(stopwatch: Stopwatch) -> Traffic {
        Traffic {
            stopwatch,
            read: AtomicU64::new(0),
            written: AtomicU64::new(0),
            unanswered: AtomicU64::new(0),
            is_watched: AtomicBool::new(false),
            asked: AtomicU32::new(0),
            sent: Notify::new(),
        }
    }

    /// Time on the stopwatch.
    pub(super) fn now(&self) -> Duration {
        (self.stopwatch)()
    }

    /// So many bytes came.
    pub(super) fn came(&self, count: usize) {
        self.read.fetch_add(count as u64, Relaxed);
        if self.unanswered.load(Relaxed) != 0 {
            self.unanswered.store(0, SeqCst);
        }
    }

    /// So many bytes were sent.
    pub(super) fn went(&self, count: usize) {
        self.written.fetch_add(count as u64, Relaxed);
        if self.unanswered.load(Relaxed) == 0 {
            self.unanswered.store(nanos(self.now()).max(1), SeqCst);
            if self.asked.load(SeqCst) == 0 {
                self.call_watcher();
            }
        }
    }

    /// How many bytes came so far.
    pub(super) fn read(&self) -> u64 {
        self.read.load(Relaxed)
    }

    /// How many bytes went both ways.
    pub(super) fn both(&self) -> u64 {
        self.read() + self.written.load(Relaxed)
    }

    /// Whether something was sent [`STALL`] ago or earlier, and nothing has come since.
    pub(super) fn is_silent(&self) -> bool {
        self.silence_left().is_some_and(|left| left.is_zero())
    }

    /// The server is asked something. Until that is dropped, the answer has a deadline, and nobody has to watch
    /// for silence.
    pub(super) fn ask(&self) -> Question<'_> {
        self.asked.fetch_add(1, SeqCst);
        Question(self)
    }

    /// Waits until something was sent and [`STALL`] has passed over it. Returns whether nothing came since;
    /// each silence is told once. For one waiter, who should come back at once.
    pub(super) async fn is_silent_again(&self) -> bool {
        while !self.is_watched.load(SeqCst) {
            self.sent.notified().await;
        }
        if let Some(left) = self.silence_left() {
            sleep(left).await;
        }
        let since = self.unanswered.load(SeqCst);
        let is_silent = self.is_silent();
        if is_silent || since == 0 {
            self.is_watched.store(false, SeqCst);
            // Something may have been sent just before nobody watched any more.
            let now = self.unanswered.load(SeqCst);
            if now != 0 && now != since {
                self.call_watcher();
            }
        }
        is_silent
    }

    fn call_watcher(&self) {
        if !self.is_watched.swap(true, SeqCst) {
            self.sent.notify_one();
        }
    }

    /// How long the server may still be silent for what was sent; `None` when it owes nothing.
    fn silence_left(&self) -> Option<Duration> {
        let since = self.unanswered.load(SeqCst);
        (since != 0).then(|| (Duration::from_nanos(since) + STALL).saturating_sub(self.now()))
    }
}

/// A question that is under way.
pub(super) struct Question<'a>(&'a Traffic);

impl Drop for Question<'_> {
    fn drop(&mut self) {
        let Question(traffic) = self;
        if traffic.asked.fetch_sub(1, SeqCst) == 1 && traffic.unanswered.load(SeqCst) != 0 {
            traffic.call_watcher();
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "traffic_tests.rs"]
mod tests;
