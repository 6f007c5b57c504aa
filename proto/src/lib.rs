//! What goes over nbtunnel's control socket, and where the socket is. Knows no tunnel logic.
//!
//! Wire types carry no serde attributes: with bincode these corrupt silently. Any change of a wire type
//! bumps [`hello::PROTOCOL`]. The same types, written by `serde_json`, are what `nbctl --json` prints.

pub mod event;
pub mod fault;
pub mod reply;
pub mod request;
pub mod status;

pub use event::{Event, LogLine};
pub use fault::{Fault, FaultCode};
pub use reply::{HostKeyOffer, Outcome, Reached, RecordedKey, Reply};
pub use request::{Order, Request, Selection};
pub use status::{DaemonStatus, FileProblem, ForwardStatus, Problem, Status, TunnelStatus};
