//! Stands in where no service manager hands sockets over.

use super::store::Handed;

/// A control socket that was handed over; there are none here.
pub use nbtunnel_proto::server::Inherited;

/// What was handed to this process: nothing.
#[derive(Debug, Default)]
pub struct HandedOver {
    /// None.
    pub control: Vec<Inherited>,
    /// None.
    pub forwards: Handed,
}

/// Nothing is handed over here.
pub fn take() -> HandedOver {
    HandedOver::default()
}
