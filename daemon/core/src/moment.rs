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

    /// The last moment up to this one that is a multiple of `unit` after the origin.
    pub(crate) fn round_down(self, unit: Duration) -> Self {
        let over = self.0.as_nanos().checked_rem(unit.as_nanos()).unwrap_or(0);
        Moment(self.0.saturating_sub(Duration::from_nanos(u64::try_from(over).unwrap_or(0))))
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
