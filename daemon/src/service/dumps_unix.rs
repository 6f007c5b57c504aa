//! No image of our memory is written: there may be answers in it that somebody typed.

use rustix::process::{Resource, Rlimit, setrlimit};

/// Keeps the system from writing images of our memory.
pub fn forbid() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(why) = setrlimit(Resource::Core, none) {
        tracing::debug!("the system may write images of our memory: {why}");
    }
}
