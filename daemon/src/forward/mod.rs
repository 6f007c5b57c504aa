//! Listeners that outlive sessions, the connections that they hold, and the pump.
//!
//! Knows nothing of SSH: a [`carrier::Carrier`] does the carrying. Driven by `effects`.

pub mod accepted;
pub mod carrier;
pub mod far;
pub mod pump;
