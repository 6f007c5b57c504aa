//! Time, and what wakes the daemon from outside. The only part that reads clocks; everybody else is handed
//! moments, or waits by `tokio::time`.

pub mod clock;

pub use clock::Clock;

use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time since now, for measuring how long something took: it stands still while the machine sleeps, so that
/// a sleep in between does not count.
pub fn stopwatch() -> Arc<dyn Fn() -> Duration + Send + Sync> {
    let origin = Instant::now();
    Arc::new(move || origin.elapsed())
}
