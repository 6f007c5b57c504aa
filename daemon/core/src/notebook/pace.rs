//! How often a notebook is looked for, and its job asked for.

use std::time::Duration;

use super::{LONGEST_PAUSE, Notebook, QUEUE_EVERY, SEEK_EVERY, SEEK_FAST};
use crate::moment::Moment;

/// One that was looked for in vain is looked for within that time when somebody comes.
const SOON: Duration = Duration::from_secs(2);

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

    /// Somebody came and was not led there. Whoever comes while it is looked for quickly does not make it quicker; one
    /// that has been gone for long is looked for soon, and not twice a second again.
    pub(super) fn seek(&mut self, now: Moment) {
        match self.fast_until {
            Some(until) if now < until => {}
            Some(_) => (self.next_at, self.pause) = (self.next_at.min(now + SOON), SOON),
            None => (self.fast_until, self.pause) = (Some(now + SEEK_FAST), SEEK_EVERY),
        }
    }

    pub(super) fn is_fast(&self, now: Moment) -> bool {
        self.fast_until.is_some_and(|until| now < until)
    }

    pub(super) fn later(&mut self, now: Moment) {
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.next_at = now + self.pause;
    }
}

impl Notebook {
    /// Only the queue can say where it is to be looked for.
    fn has_no_machine(&self) -> bool {
        self.in_a_cluster() && !self.runs()
    }

    /// A look at where it is, now.
    pub(super) fn look(&mut self, now: Moment) {
        if self.has_no_machine() {
            let queue = self.queue.get_or_insert(Pause { next_at: now, pause: QUEUE_EVERY });
            queue.next_at = now;
            return;
        }
        let search = self.search.get_or_insert(Search::once(now));
        search.next_at = now;
    }

    /// Whatever ended the search (a start, a stop, another section, another link), somebody may still be held.
    pub(super) fn seek_who_is_held(&mut self, now: Moment) {
        let is_idle = match self.has_no_machine() {
            true => self.queue.is_none(),
            false => self.search.is_none(),
        };
        if self.sought && self.via.is_some() && is_idle {
            self.seek(now);
        }
    }

    /// Looks until it is found, at a quick pace at first.
    pub(super) fn seek(&mut self, now: Moment) {
        self.sought = true;
        if !self.has_no_machine() {
            self.search.get_or_insert(Search::once(now)).seek(now);
        }
        self.ask_the_queue(now);
    }

    /// Perhaps its job went to another machine, or is over. However many come, it is asked every 2 s at most.
    pub(super) fn ask_the_queue(&mut self, now: Moment) {
        self.ask_the_queue_every(now, QUEUE_EVERY);
    }

    pub(super) fn ask_the_queue_every(&mut self, now: Moment, pause: Duration) {
        if self.in_a_cluster() {
            let next_at = self.queue_asked_at.map_or(now, |asked_at| now.max(asked_at + pause));
            let queue = self.queue.get_or_insert(Pause { next_at, pause: QUEUE_EVERY });
            queue.next_at = queue.next_at.min(next_at);
        }
    }

    /// Nobody is held. Who comes next says so, and what nobody waits for is not looked for.
    pub fn rest(&mut self, now: Moment) {
        let is_slow = |search: &mut Search| search.fast_until.is_some_and(|until| until <= now);
        // Without a job nothing but the queue is asked, and its next answer is the last one.
        let has_no_job = self.in_a_cluster() && self.job.is_none();
        if self.wishes.is_empty() && (self.search.take_if(is_slow).is_some() || has_no_job) {
            self.sought = false;
        }
    }
}
