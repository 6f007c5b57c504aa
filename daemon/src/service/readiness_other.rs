//! Stands in where no service manager wants to be told how we are.

use std::time::Duration;

/// Does nothing here.
pub fn ready(_status: &str) {}

/// Does nothing here.
pub fn reloading() {}

/// Does nothing here.
pub fn stopping() {}

/// Does nothing here.
pub fn watchdog() {}

/// Nobody asks.
pub fn watchdog_interval() -> Option<Duration> {
    None
}
