//! What goes over nbtunnel's control socket, and where the socket is. Knows no tunnel logic.
//!
//! Wire types carry no serde attributes: with bincode these corrupt silently. Any change of a wire type
//! bumps [`hello::PROTOCOL`]. The same types, written by `serde_json`, are what `nbctl --json` prints.

pub mod answer;
pub mod client;
pub mod codec;
pub mod endpoint;
pub mod event;
pub mod fault;
pub mod finding;
pub mod hello;
pub mod keys;
pub mod places;
pub mod reply;
pub mod request;
pub mod server;
pub mod status;
mod system;

pub use answer::{Prompt, Question, Secret};
pub use client::Client;
pub use endpoint::Endpoint;
pub use event::{Event, LogLine};
pub use fault::{Fault, FaultCode};
pub use finding::Finding;
pub use keys::{Keys, OfferedKey};
pub use reply::{HostKeyOffer, NotebookAt, Outcome, Reached, RecordedKey, Reply, SshHost};
pub use request::{NotebookAsk, Order, Request, Selection};
pub use server::{Connection, Incoming, Listener};
pub use status::{
    DaemonStatus, FileProblem, ForwardStatus, History, JobStatus, NotebookServer, NotebookStatus,
    PastFailure, Problem, Status, TunnelStatus,
};
