//! The counters of one forward. They live in the shell: core never sees a byte count.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Counts connections and bytes of one forward. Shared; reading it costs nothing.
#[derive(Debug, Default)]
pub struct Tally {
    open: AtomicU32,
    held: AtomicU32,
    total: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    refused: AtomicU64,
}

/// What a [`Tally`] showed at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that are carried now.
    pub open: u32,
    /// Connections that wait for a link now.
    pub held: u32,
    /// Connections that were ever accepted.
    pub total: u64,
    /// Bytes handed to local programs.
    pub bytes_in: u64,
    /// Bytes taken from local programs.
    pub bytes_out: u64,
    /// Connections of others that were reset at the door; they count nowhere else.
    pub refused: u64,
}

impl Tally {
    /// The counters now. Each is exact; together they may be a moment apart.
    pub fn snapshot(&self) -> Counts {
        Counts {
            open: self.open.load(Relaxed),
            held: self.held.load(Relaxed),
            total: self.total.load(Relaxed),
            bytes_in: self.bytes_in.load(Relaxed),
            bytes_out: self.bytes_out.load(Relaxed),
            refused: self.refused.load(Relaxed),
        }
    }

    pub(super) fn accepted(&self) {
        self.total.fetch_add(1, Relaxed);
    }

    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    pub(super) fn read_in(&self, bytes: usize) {
        self.bytes_in.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn read_out(&self, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn held(&self) -> &AtomicU32 {
        &self.held
    }

    pub(super) fn open(&self) -> &AtomicU32 {
        &self.open
    }
}
