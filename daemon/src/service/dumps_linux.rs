//! No image of our memory is written or looked at: there may be answers in it that somebody typed.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Keeps our memory to ourselves. A limit alone does not stop the system from handing an image to a program that
/// collects them (core(5)). Children that we start are as before.
pub fn forbid() {
    if let Err(why) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::debug!("the system may write images of our memory: {why}");
    }
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(why) = setrlimit(Resource::Core, none) {
        tracing::debug!("the system may write images of our memory: {why}");
    }
}
