//! Bytes on their way to a slow local reader, in order: first in memory, then on disk, and in between what
//! is about to be written there.
//!
//! The queue itself never waits; [`Queue::turn`] does, beside whatever else its owner waits for.

use std::collections::VecDeque;
use std::future::pending;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};

use super::budget::Budget;
use super::services::Services;
use super::spool::{Reading, Spool, Writing};

/// What one queue may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// In memory, in bytes.
    pub(super) buffer: u64,
    /// What every queue has in memory without asking, and where reading back from disk begins.
    pub(super) floor: u64,
    /// The unit of the disk.
    pub(super) chunk: usize,
    /// What a message takes beside its bytes; a flood of tiny ones must not outgrow the bound.
    pub(super) overhead: u64,
}

impl Bounds {
    /// The bounds of a connection whose policy grants it `buffer` bytes.
    pub(super) fn of(buffer: u64) -> Bounds {
        Bounds { buffer, floor: 256 << 10, chunk: 1 << 20, overhead: 128 }
    }
}

/// How long a full queue waits before it looks whether others gave disk back.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// The bytes that wait for one local reader. Order: `head`, the spool, `tail`.
pub(super) struct Queue {
    bounds: Bounds,
    memory: Arc<Budget>,
    /// What of the shared memory is charged to us.
    charged: u64,
    head: VecDeque<Bytes>,
    head_cost: u64,
    spool: Spool,
    job: Option<Job>,
    /// There was no room on disk, or the disk failed, when it was last tried.
    stuck: bool,
    /// The disk failed; not tried again before something was taken out.
    broken: bool,
    tail: VecDeque<Bytes>,
    tail_bytes: usize,
}

enum Job {
    Write(Writing),
    Read(Reading),
}

impl Queue {
    pub(super) fn new(bounds: Bounds, services: &Services) -> Queue {
        Queue {
            bounds,
            memory: services.memory.clone(),
            charged: 0,
            head: VecDeque::new(),
            head_cost: 0,
            spool: Spool::new(services.state_dir.clone(), bounds.chunk, services.spool.clone()),
            job: None,
            stuck: false,
            broken: false,
            tail: VecDeque::new(),
            tail_bytes: 0,
        }
    }

    /// Whether more may be pushed.
    pub(super) fn takes(&self) -> bool {
        self.tail_bytes < 2 * self.bounds.chunk
    }

    /// Whether it takes no more because memory and disk are used up.
    pub(super) fn is_full(&self) -> bool {
        self.stuck && !self.takes()
    }

    /// Whether anything waits on disk or for it.
    pub(super) fn spills(&self) -> bool {
        !self.spool.is_empty() || !self.tail.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.head.is_empty() && !self.spills()
    }

    /// How much can be written out now: what [`Queue::front`] begins to show. In bytes, or a little more.
    pub(super) fn ready(&self) -> u64 {
        self.head_cost
    }

    /// Puts `bytes` behind all others.
    pub(super) fn push(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        if !self.spills() && self.fits(self.cost(&bytes)) {
            self.push_head(bytes);
            return;
        }
        self.tail_bytes += bytes.len();
        self.tail.push_back(bytes);
        // Tiny messages are put together before their number weighs more than their bytes.
        let overhead = self.tail.len() as u64 * self.bounds.overhead;
        if self.tail.len() > 1 && overhead > self.bounds.chunk as u64 {
            let mut whole = BytesMut::with_capacity(self.tail_bytes);
            self.tail.drain(..).for_each(|bytes| whole.extend_from_slice(&bytes));
            self.tail.push_back(whole.freeze());
        }
    }

    /// The oldest bytes, as far as `slices` reaches; returns how many were filled.
    pub(super) fn front<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        slices.iter_mut().zip(&self.head).map(|(slice, bytes)| *slice = IoSlice::new(bytes)).count()
    }

    /// Takes out the `count` oldest bytes, which [`Queue::front`] showed.
    pub(super) fn consume(&mut self, mut count: usize) {
        while let Some(first) = self.head.front_mut() {
            if count < first.len() {
                first.advance(count);
                self.head_cost -= count as u64;
                break;
            }
            count -= first.len();
            self.head_cost -= first.len() as u64 + self.bounds.overhead;
            self.head.pop_front();
        }
        let wanted = self.head_cost.saturating_sub(self.bounds.floor);
        if let Some(too_much) = self.charged.checked_sub(wanted) {
            self.memory.give(too_much);
            self.charged = wanted;
        }
        self.broken = false;
    }

    /// Moves on what can be moved, and begins at most one transfer to or from the disk. To be called after
    /// every push, consume and turn, on a tokio runtime.
    pub(super) fn arrange(&mut self) {
        if self.job.is_some() {
            return;
        }
        self.stuck = false;
        if self.spool.is_empty() {
            while let Some(first) = self.tail.front() {
                if !self.fits(self.cost(first)) {
                    break;
                }
                let Some(bytes) = self.tail.pop_front() else { break };
                self.tail_bytes -= bytes.len();
                self.push_head(bytes);
            }
        } else if self.head_cost <= self.bounds.floor {
            self.job = self.spool.read().map(Job::Read);
            return;
        }
        if self.tail_bytes < self.bounds.chunk {
            return;
        }
        if self.broken || !self.spool.has_room() {
            self.stuck = true;
            return;
        }
        let chunk = self.cut_chunk();
        match self.spool.write(chunk) {
            Ok(job) => self.job = Some(Job::Write(job)),
            Err(chunk) => self.put_back(chunk),
        }
    }

    /// Whether [`Queue::turn`] has something to wait for.
    pub(super) fn is_busy(&self) -> bool {
        self.job.is_some() || self.stuck
    }

    /// Waits for the transfer that is under way, or for a moment to look again when full. Cancel safe.
    ///
    /// # Errors
    /// What was on disk cannot be read back: the rest of the stream is lost.
    pub(super) async fn turn(&mut self) -> io::Result<()> {
        match &mut self.job {
            None if self.stuck => {
                tokio::time::sleep(LOOK_AGAIN).await;
                self.broken = false;
                Ok(())
            }
            None => pending().await,
            Some(Job::Write(job)) => {
                let done = job.await;
                self.job = None;
                let (chunk, outcome) = done.map_err(io::Error::other)?;
                if let Err(error) = self.spool.written(outcome) {
                    tracing::warn!(%error, "what waits for a slow local program cannot be written to disk");
                    self.put_back(chunk);
                    self.broken = true;
                }
                Ok(())
            }
            Some(Job::Read(job)) => {
                let done = job.await;
                self.job = None;
                let bytes = done.map_err(io::Error::other).flatten()?;
                self.spool.was_read();
                self.push_head(bytes);
                self.broken = false;
                Ok(())
            }
        }
    }

    fn cost(&self, bytes: &Bytes) -> u64 {
        bytes.len() as u64 + self.bounds.overhead
    }

    /// Whether `cost` more may stay in memory; charges the shared bound for it if so.
    fn fits(&mut self, cost: u64) -> bool {
        if self.head.is_empty() {
            return true;
        }
        let after = self.head_cost + cost;
        if after > self.bounds.buffer.max(self.bounds.floor) {
            return false;
        }
        let more = after.saturating_sub(self.bounds.floor).saturating_sub(self.charged);
        let granted = self.memory.take(more);
        if granted {
            self.charged += more;
        }
        granted
    }

    fn push_head(&mut self, bytes: Bytes) {
        self.head_cost += self.cost(&bytes);
        self.head.push_back(bytes);
    }

    /// Takes exactly one chunk from the front of the tail.
    fn cut_chunk(&mut self) -> Bytes {
        let mut chunk = BytesMut::with_capacity(self.bounds.chunk);
        while let Some(first) = self.tail.front_mut() {
            let part = first.split_to(first.len().min(self.bounds.chunk - chunk.len()));
            chunk.extend_from_slice(&part);
            if !first.is_empty() {
                break;
            }
            self.tail.pop_front();
        }
        self.tail_bytes -= chunk.len();
        chunk.freeze()
    }

    fn put_back(&mut self, chunk: Bytes) {
        self.tail_bytes += chunk.len();
        self.tail.push_front(chunk);
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.memory.give(self.charged);
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
