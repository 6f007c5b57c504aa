//! Time, and what wakes the daemon from outside. The only part that reads clocks; everybody else is handed
//! moments, or waits by `tokio::time`. What woke us is told as a nudge with its reason; what a nudge leads to
//! is core's business.

pub mod clock;
mod gap;
mod merge;
mod network;
#[cfg_attr(target_os = "linux", path = "logind.rs")]
#[cfg_attr(target_os = "macos", path = "power_macos.rs")]
#[cfg_attr(windows, path = "power_windows.rs")]
#[cfg_attr(not(any(target_os = "linux", target_os = "macos", windows)), path = "power_other.rs")]
mod power;

pub use clock::Clock;

use std::sync::Arc;
use std::time::{Duration, Instant};

use nbtunnel_core::Nudge;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// Time since now, for measuring how long something took: it stands still while the machine sleeps, so that
/// a sleep in between does not count.
pub fn stopwatch() -> Arc<dyn Fn() -> Duration + Send + Sync> {
    let origin = Instant::now();
    Arc::new(move || origin.elapsed())
}

/// What a source noticed, and the sentence that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hint {
    nudge: Nudge,
    reason: String,
}

/// Where sources send what they noticed, from any thread.
type Hints = mpsc::UnboundedSender<Hint>;

/// Starts every source that this system has, for as long as the runtime lives: the gap between its clocks,
/// its own word on sleep, and its addresses. `on` is told when the machine woke or its network changed, and
/// in one sentence why; never twice within 250 ms. Waits for nothing, and a source that is missing is a debug
/// line: the gap alone finds every sleep.
pub fn watch(handle: &Handle, on: impl FnMut(Nudge, String) + Send + 'static) {
    let (hints, heard) = mpsc::unbounded_channel();
    handle.spawn(merge::run(heard, on));
    handle.spawn(gap::watch(hints.clone()));
    handle.spawn(network::watch(hints.clone()));
    power::start(handle, hints);
}
