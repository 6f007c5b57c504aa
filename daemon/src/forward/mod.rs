//! Listeners that outlive sessions, the connections that they hold, and the pump.
//!
//! Knows nothing of SSH: a [`carrier::Carrier`] does the carrying. Driven by `effects`.

pub mod accepted;
pub mod activity;
mod asking;
mod bind;
mod budget;
pub mod carrier;
mod connection;
mod descriptors;
pub mod far;
pub mod far_side;
mod guard;
pub mod keep;
pub mod landing;
pub mod listener;
mod listening;
mod local;
mod owner;
pub mod proxy;
pub mod pump;
mod queue;
pub mod remote;
mod seeking;
pub mod services;
pub mod socks;
mod spool;
mod standing;
mod sys;
pub mod tally;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use accepted::Accepted;
pub use activity::Activity;
pub use carrier::{Carried, Carrier, GateNow};
pub use far::{FarGone, FarMessage, FarReader, FarWriter};
pub use far_side::{Duplex, FarSide, FarStream, Ran, Unopened};
pub use guard::TELLS_OWNERS;
pub use keep::Keep;
pub use landing::Landing;
pub use listener::Forward;
pub use proxy::{Ending, NoWay, Proxy, RawStream, ServerAt};
pub use pump::pump;
pub use remote::RemoteForward;
pub use services::{Budgets, Services};
pub(crate) use spool::private_dir;
pub use tally::{Counts, Tally};

/// Takes what happened to core. Called with a lock of this module held, so that reports keep their order: it
/// must return at once (push into an unbounded channel) and never call back.
pub type Report = Arc<dyn Fn(nbtunnel_core::Input) + Send + Sync>;

/// Locks, whatever a panic elsewhere left behind: every value guarded here is whole between two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
