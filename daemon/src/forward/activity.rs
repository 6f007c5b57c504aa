//! Whether anybody uses a tunnel: its held and carried connections, counted over all of its forwards.
//!
//! Core wants to know when either count leaves zero or comes back to it; nothing else is reported.

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use nbtunnel_core::Input;

use super::tally::Tally;
use super::{Report, lock};

/// Counts the connections of one tunnel and tells core when somebody comes or nobody is left.
pub struct Activity {
    counts: Mutex<Places>,
    report: Report,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Places {
    held: u32,
    open: u32,
}

/// Where an accepted connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Just accepted, or about to end.
    Door,
    /// Waits for a link.
    Held,
    /// Handed to a link.
    Open,
}

impl Activity {
    /// How many connections of one tunnel may wait at the same time.
    ///
    /// Nothing is read from them, so each costs its socket and what the kernel takes in for one that nobody
    /// reads: 128 KiB by default on Linux (the middle number of `tcp_rmem` in tcp(7)), 32 MiB for all of them,
    /// and nothing in this process. Its client's own send buffer fills next, and then it waits.
    pub const MAX_HELD: u32 = 256;

    /// Nobody there yet.
    pub fn new(report: Report) -> Arc<Activity> {
        Arc::new(Activity { counts: Mutex::default(), report })
    }

    /// How many connections are held and how many are carried.
    pub fn held_and_open(&self) -> (u32, u32) {
        let counts = lock(&self.counts);
        (counts.held, counts.open)
    }

    /// Moves one connection in one step, so that a held one that is carried on never looks like nobody.
    fn shift(&self, tally: &Tally, from: Place, to: Place) -> bool {
        let mut counts = lock(&self.counts);
        let before = *counts;
        if to == Place::Held && counts.held >= Self::MAX_HELD {
            return false;
        }
        match to {
            Place::Door => {}
            Place::Held => {
                counts.held += 1;
                tally.held().fetch_add(1, Relaxed);
            }
            Place::Open => {
                counts.open += 1;
                tally.open().fetch_add(1, Relaxed);
            }
        }
        match from {
            Place::Door => {}
            Place::Held => {
                counts.held -= 1;
                tally.held().fetch_sub(1, Relaxed);
            }
            Place::Open => {
                counts.open -= 1;
                tally.open().fetch_sub(1, Relaxed);
            }
        }
        if (before.held == 0) != (counts.held == 0) || (before.open == 0) != (counts.open == 0) {
            (self.report)(Input::Activity { held: counts.held, open: counts.open });
        }
        true
    }
}

impl fmt::Debug for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Activity").field(&*lock(&self.counts)).finish()
    }
}

/// The place of one connection in the counts; leaves them when dropped.
#[derive(Debug)]
pub(super) struct Counted {
    tally: Arc<Tally>,
    activity: Arc<Activity>,
    place: Place,
}

impl Counted {
    pub(super) fn new(tally: Arc<Tally>, activity: Arc<Activity>) -> Counted {
        tally.accepted();
        Counted { tally, activity, place: Place::Door }
    }

    /// Moves there; false if too many are held already.
    pub(super) fn move_to(&mut self, place: Place) -> bool {
        if place == self.place || !self.activity.shift(&self.tally, self.place, place) {
            return place == self.place;
        }
        self.place = place;
        true
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.move_to(Place::Door);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tally::Counts;
    use super::*;

    fn watched() -> (Arc<Activity>, Arc<Mutex<Vec<Input>>>) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = seen.clone();
        (Activity::new(Arc::new(move |input| sink.lock().unwrap().push(input))), seen)
    }

    #[test]
    fn only_coming_to_and_from_zero_is_told_and_never_nobody_in_between() {
        let (activity, seen) = watched();
        let tally = Arc::new(Tally::default());
        let mut a = Counted::new(tally.clone(), activity.clone());
        let mut b = Counted::new(tally.clone(), activity.clone());
        assert!(a.move_to(Place::Held) && b.move_to(Place::Held));
        assert!(a.move_to(Place::Open) && b.move_to(Place::Open));
        drop((a, b));
        let told: Vec<_> = seen.lock().unwrap().iter().map(|i| format!("{i:?}")).collect();
        let expected = ["held: 1, open: 0", "held: 1, open: 1", "held: 0, open: 2", "held: 0, open: 0"];
        assert_eq!(told, expected.map(|e| format!("Activity {{ {e} }}")));
        assert_eq!(tally.snapshot(), Counts { total: 2, ..Counts::default() });
    }

    #[test]
    fn the_257th_is_not_held() {
        let (activity, _) = watched();
        let tally = Arc::new(Tally::default());
        let mut all: Vec<_> = (0..257).map(|_| Counted::new(tally.clone(), activity.clone())).collect();
        let held = all.iter_mut().filter_map(|c| c.move_to(Place::Held).then_some(())).count();
        assert_eq!((held, tally.snapshot().held), (256, 256));
        assert!(all[0].move_to(Place::Open) && all[256].move_to(Place::Held));
    }
}
