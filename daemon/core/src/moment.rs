//! Time as core sees it: an argument.

use std::ops::Add;
use std::time::Duration;

/// A moment on the shell's clock, which counts the time that the machine slept
/// (`CLOCK_BOOTTIME` on Linux). Only differences mean anything; the origin is the shell's choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(Duration);

impl Moment {
    /// The origin of the clock.
    pub const ZERO: Moment = Moment(Duration::ZERO);

    /// The moment that lies `since_origin` after the clock's origin.
    pub const fn from_origin(since_origin: Duration) -> Self {
        Moment(since_origin)
    }

    /// How long after `earlier` this is; zero if `earlier` is in fact later.
    pub fn since(self, earlier: Moment) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;

    /// Saturates instead of overflowing: a deadline that far away is as good as never.
    fn add(self, rhs: Duration) -> Moment {
        Moment(self.0.saturating_add(rhs))
    }
}
