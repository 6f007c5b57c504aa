//! Everything that can happen to the daemon, in one closed enum. Adding to it makes the compiler list every
//! place to think about.

use nbtunnel_core::{AskerId, Epoch, Failure, Input, Name, Nudge, TaskId};
use nbtunnel_proto::{Reply, Request, Secret};
use tokio::sync::mpsc;

use crate::ask::Question;
use crate::config::Loaded;
use crate::forward::{NoWay, RawStream};
use crate::notebook::{Done, Health, LookId};
use crate::ssh::{Changed, LinkEvent, Written};

/// Where parts of the shell send what happened to them.
pub type Events = mpsc::UnboundedSender<Event>;

/// Numbers the connections of `nbctl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// What happened.
pub enum Event {
    /// Something that core is told as it is.
    Tunnel(Name, Input),
    /// A link says something.
    Link(Name, Epoch, LinkEvent),
    /// What a parked tunnel waits for may have come.
    Changed(Name, Changed),
    /// The directory was read.
    Loaded(Box<Loaded>),
    /// `nbctl` asks.
    Asked(Asked),
    /// A login asks this person.
    Question(AskerId, Question),
    /// The person at this client answered the question with this number.
    Answers(ClientId, u64, Vec<Secret>),
    /// This client's connection is raw bytes from now on.
    Raw(ClientId, RawStream),
    /// There is no way for who asked for one.
    NoWay(Asked, Name, NoWay),
    /// A client is gone: nobody waits for its answers any more.
    HungUp(ClientId),
    /// What came of a task for this notebook of a tunnel.
    Notebook(Name, Name, TaskId, Box<Done>),
    /// How this notebook of a tunnel fared when it was looked at.
    Looked(Name, Name, LookId, Box<Health>),
    /// Whoever asked for the status of these waited long enough for looks.
    StatusDue(Asked, Vec<String>),
    /// A host key was written down, or not.
    Trusted(Asked, Name, Result<Written, Failure>),
    /// Descriptors ran out, or are there again.
    Exhausted(bool),
    /// The machine woke, or its network changed; and why we think so.
    Nudged(Nudge, String),
    /// Read the directory again.
    Reload,
    /// End.
    Stop,
}

/// A request and the way back.
#[derive(Clone)]
pub struct Asked {
    /// Whose it is.
    pub client: ClientId,
    /// What is asked.
    pub request: Request,
    /// Takes the answers; bounded, so that a client that does not read is noticed.
    pub answer: mpsc::Sender<Reply>,
}

impl Asked {
    /// Sends an answer. One that cannot be sent has nobody left to read it.
    pub fn answer(&self, reply: Reply) {
        let _ = self.answer.try_send(reply);
    }
}
