//! The decisions of nbtunnel, and nothing else.
//!
//! Every machine here is pure: no I/O, no clock, no randomness, no async. Time comes in as a [`Moment`],
//! chance as a seed, the world as an [`Input`]; what should be done comes out as an [`Output`]. The shell
//! (the `nbtunneld` crate) carries it out and reports back.
//!
//! A machine has three methods: `handle(now, input)` is total (every input in every state),
//! `poll_output()` is drained until `None`, and `poll_timeout()` names the next moment it wants to be woken
//! at, and why.

pub mod backoff;
pub mod failure;
pub mod fleet;
pub mod forward;
pub mod io;
pub mod moment;
pub mod notebook;
pub mod reconcile;
mod round_trip;
pub mod session;
pub mod spec;
pub mod tunnel;
pub mod view;

pub use backoff::Backoff;
pub use failure::{Failure, FailureKind, Verdict, WakesOn};
pub use fleet::{Fleet, FleetInput};
pub use forward::{ForwardKind, ForwardSpec, ListenAt, RemoteSpec, Target};
pub use io::{
    AskerId, Asks, Epoch, ForwardId, ForwardReport, Gate, Input, LinkReport, ListenId, ListenerReport,
    LoginKey, Nudge, Order, Output, RemoteReport, Settled, Step, TimerReason, Transition, WaitFor, WaitId,
};
pub use moment::Moment;
pub use notebook::{
    Did, Job, JobState, Launcher, NotebookInput, NotebookSpec, NotebookState, NotebookView, Scheme,
    SlurmSpec, Task, TaskId, Which, Wish,
};
pub use reconcile::{Change, reconcile};
pub use spec::{HostKeyPolicy, Name, Policy, Route, SshConfig, Start, TunnelSpec};
pub use tunnel::Tunnel;
pub use view::{ForwardView, Health, State, TunnelView, Wanted};
