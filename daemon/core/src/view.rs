//! What users see of a tunnel. Derived from its parts whenever somebody looks, never stored.

use std::time::Duration;

use crate::failure::Failure;
use crate::forward::ForwardKind;
use crate::io::{Asks, ForwardId, Step};
use crate::spec::TunnelSpec;

/// A tunnel as users see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelView {
    /// What its file says.
    pub spec: TunnelSpec,
    /// What is wanted.
    pub wanted: Wanted,
    /// What is.
    pub state: State,
    /// Which step of connecting, while connecting.
    pub step: Option<Step>,
    /// Whom it waits for, while connecting.
    pub asks: Asks,
    /// How long that is waited for.
    pub answer_in: Option<Duration>,
    /// Whether the server answers, while up.
    pub health: Option<Health>,
    /// How long it has been in this state.
    pub since: Duration,
    /// How many attempts failed since it was last up and steady.
    pub attempt: u32,
    /// Until the next attempt, while waiting.
    pub retry_in: Option<Duration>,
    /// How many older sessions only finish what they carry.
    pub draining: usize,
    /// How often it came up again after it had been up.
    pub reconnects: u64,
    /// The smoothed round trip to the server.
    pub rtt: Option<Duration>,
    /// What is wrong, if something is.
    pub problem: Option<Failure>,
    /// Its forwards, in the file's order: first those that listen here, then those that listen there.
    pub forwards: Vec<ForwardView>,
    /// Its notebooks, in the file's order.
    pub notebooks: Vec<crate::notebook::NotebookView>,
}

/// A forward as users see it. Its counters are the shell's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardView {
    /// Which kind it is.
    pub kind: ForwardKind,
    /// The number of its listener, while it has one.
    pub id: Option<ForwardId>,
    /// Its spec, as text.
    pub listen: String,
    /// Where it leads.
    pub target: String,
    /// The addresses that it listens on now.
    pub listens: Vec<String>,
    /// An address that could not be had beside good ones.
    pub note: Option<String>,
    /// What is wrong with it, if something is.
    pub problem: Option<Failure>,
}

/// What is wanted of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// Connected.
    Up,
    /// Listening; connected while somebody uses it.
    Demand,
    /// Nothing.
    Down,
}

impl Wanted {
    /// The word that users see.
    pub const fn word(self) -> &'static str {
        match self {
            Wanted::Up => "up",
            Wanted::Demand => "demand",
            Wanted::Down => "down",
        }
    }
}

/// What a tunnel is doing, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Not wanted, and nothing is left of it.
    Stopped,
    /// On demand, listening, nobody there.
    Idle,
    /// Its listeners are being bound before the first dial.
    Binding,
    /// Dialling.
    Connecting,
    /// Carries connections.
    Up,
    /// An attempt failed; the next one is timed.
    Waiting,
    /// Trying again cannot help until something changes.
    Parked,
    /// Being closed.
    Closing,
}

impl State {
    /// The word that users see.
    pub const fn word(self) -> &'static str {
        match self {
            State::Stopped => "stopped",
            State::Idle => "idle",
            State::Binding => "binding",
            State::Connecting => "connecting",
            State::Up => "up",
            State::Waiting => "waiting",
            State::Parked => "parked",
            State::Closing => "closing",
        }
    }
}

/// Whether an up link answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Health {
    /// The last probe was answered.
    Ok,
    /// A probe was not answered in time.
    Suspect,
}

impl Health {
    /// The word that users see.
    pub const fn word(self) -> &'static str {
        match self {
            Health::Ok => "ok",
            Health::Suspect => "suspect",
        }
    }
}
