//! Where no clock is known to count sleep: the time since the first question, by one clock, so that there is
//! never a gap.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

pub(super) fn since_boot() -> Duration {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    FIRST.get_or_init(Instant::now).elapsed()
}

pub(super) fn awake() -> Duration {
    since_boot()
}
