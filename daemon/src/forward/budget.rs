//! A number of bytes that all connections of the daemon share.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What is left of a shared bound, in bytes.
#[derive(Debug)]
pub(super) struct Budget {
    left: AtomicU64,
}

impl Budget {
    pub(super) fn new(bytes: u64) -> Budget {
        Budget { left: AtomicU64::new(bytes) }
    }

    /// Takes all of `bytes`, or nothing.
    pub(super) fn take(&self, bytes: u64) -> bool {
        self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(bytes)).is_ok()
    }

    /// Gives back what was taken.
    pub(super) fn give(&self, bytes: u64) {
        self.left.fetch_add(bytes, Relaxed);
    }

    #[cfg(test)]
    pub(super) fn left(&self) -> u64 {
        self.left.load(Relaxed)
    }
}
