//! Time, and what wakes the daemon from outside. The only part that reads clocks; everybody else is handed
//! moments, or waits by `tokio::time`.

pub mod clock;

pub use clock::Clock;
