//! How often a notebook is looked for, and its job asked for.

use std::time::Duration;

use super::{LONGEST_PAUSE, SEEK_EVERY};
use crate::moment::Moment;

/// A search that goes on until something is found.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Search {
    pub(super) next_at: Moment,
    /// Somebody met that it is gone: until then it is looked for at a quick pace. None: one look is enough.
    pub(super) fast_until: Option<Moment>,
    pub(super) pause: Duration,
}

/// Pauses that double.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pause {
    pub(super) next_at: Moment,
    pub(super) pause: Duration,
}

impl Search {
    pub(super) fn once(now: Moment) -> Search {
        Search { next_at: now, fast_until: None, pause: SEEK_EVERY }
    }

    pub(super) fn is_fast(&self, now: Moment) -> bool {
        self.fast_until.is_some_and(|until| now < until)
    }

    pub(super) fn later(&mut self, now: Moment) {
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.next_at = now + self.pause;
    }
}
