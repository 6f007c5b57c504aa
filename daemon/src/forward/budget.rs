//! A number of bytes that all connections of the daemon share.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A shared bound, in bytes, and how much of it is taken.
#[derive(Debug)]
pub(super) struct Budget {
    bound: AtomicU64,
    taken: AtomicU64,
}

impl Budget {
    pub(super) fn new(bytes: u64) -> Budget {
        Budget { bound: AtomicU64::new(bytes), taken: AtomicU64::new(0) }
    }

    /// Takes all of `bytes`, or nothing.
    pub(super) fn take(&self, bytes: u64) -> bool {
        let bound = self.bound.load(Relaxed);
        let more = |taken: u64| taken.checked_add(bytes).filter(|taken| *taken <= bound);
        self.taken.fetch_update(Relaxed, Relaxed, more).is_ok()
    }

    /// Gives back what was taken.
    pub(super) fn give(&self, bytes: u64) {
        self.taken.fetch_sub(bytes, Relaxed);
    }

    /// From now on there are `bytes` in all. What is taken beyond that stays until it is given back.
    pub(super) fn set(&self, bytes: u64) {
        self.bound.store(bytes, Relaxed);
    }

    #[cfg(test)]
    pub(super) fn left(&self) -> u64 {
        self.bound.load(Relaxed).saturating_sub(self.taken.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smaller_bound_counts_once_what_is_taken_came_back() {
        let budget = Budget::new(10);
        assert!(budget.take(8) && !budget.take(3));
        budget.set(5);
        assert!(!budget.take(1));
        budget.give(8);
        assert!(budget.take(5) && !budget.take(1));
    }
}
