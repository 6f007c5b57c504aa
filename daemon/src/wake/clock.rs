//! The clock that core's moments come from: it goes on while the machine sleeps, so that what is overdue
//! after a night is seen to be overdue.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nbtunnel_core::Moment;

#[cfg_attr(unix, path = "clock_unix.rs")]
#[cfg_attr(windows, path = "clock_windows.rs")]
#[cfg_attr(not(any(unix, windows)), path = "clock_other.rs")]
mod system;

/// The system's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock;

impl Clock {
    /// Now, on the clock that counts sleep. All moments of one boot are comparable.
    pub fn now(self) -> Moment {
        Moment::from_origin(continuous())
    }

    /// Milliseconds since 1970-01-01 UTC, for people to read; it jumps when the time is set.
    pub fn wall_ms(self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Since boot, on the clock that counts sleep.
pub(super) fn continuous() -> Duration {
    system::since_boot()
}

/// On the clock that stands still while the machine sleeps.
pub(super) fn awake() -> Duration {
    system::awake()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_forward_and_as_fast_as_other_clocks() {
        let (clock, other) = (Clock, std::time::Instant::now());
        let (start, wall) = (clock.now(), clock.wall_ms());
        let mut last = start;
        while other.elapsed() < Duration::from_millis(50) {
            let now = clock.now();
            assert!(now >= last);
            last = now;
        }
        let elapsed = clock.now().since(start);
        assert!(elapsed >= Duration::from_millis(49) && elapsed < Duration::from_secs(20), "{elapsed:?}");
        assert!(clock.wall_ms() >= wall + 40);
    }
}
