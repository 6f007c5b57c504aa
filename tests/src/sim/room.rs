//! What one tunnel holds in the simulated world, and what users and core have said of it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use nbtunnel_core::tunnel::Desire;
use nbtunnel_core::{
    AskerId, Epoch, FailureKind, ForwardId, ForwardSpec, Gate, ListenId, Name, Order, Start, TunnelSpec,
    WaitFor, WaitId,
};

use super::far::At;
use super::seat::Seat;

/// How far a link has come, in the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Looking up its credentials and the name.
    Resolve,
    /// Connecting.
    Tcp,
    /// Waiting for the version line.
    Banner,
    /// Exchanging keys.
    KeyExchange,
    /// Logging in, with so many keys left to try.
    Authenticate(u8),
    /// Waiting for a person until then.
    Person(At),
    /// Waiting for the login of another link.
    Aboard,
    /// It carries.
    Up,
    /// It ended, and has said so.
    Over,
}

/// What core knows of a link, from what it was told and what it said itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// It was told to dial.
    Dialling,
    /// It has said that it is up.
    Up,
    /// It was told to close.
    Closing,
}

/// A question that is under way.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// Its number, so that what belongs to an earlier one is not taken for this one's.
    pub number: u64,
    /// When it was asked.
    pub asked_at: At,
}

/// One link.
#[derive(Clone, Debug)]
pub struct Link {
    /// Where it leads.
    pub host: usize,
    /// How far it has come.
    pub stage: Stage,
    /// What core knows.
    pub known: Known,
    /// When it was told to dial.
    pub connected_at: At,
    /// Nothing is told before what was told earlier.
    pub told_at: At,
    /// Our address, the life of the server and the memory of the network that its connection belongs to.
    pub bound_to: (u32, u32, u32),
    /// The question under way.
    pub question: Option<Question>,
    /// Another one is wanted after it.
    pub asked_again: bool,
    /// Since when something that was sent is not acknowledged.
    pub unacknowledged: Option<At>,
    /// Since when a busy connection gets nothing back, and whether that was told.
    pub stalled: Option<(At, bool)>,
    /// A local program does not read.
    pub clogged: bool,
    /// Core knows that.
    pub known_clogged: bool,
    /// Logging in took a person.
    pub asked: bool,
    /// Who may be asked.
    pub asker: Option<AskerId>,
    /// Since when core knows that a person is waited for.
    pub asking_since: Option<At>,
    /// The session that it shares with others.
    pub shared: Option<u64>,
    /// It was told that it is worn.
    pub worn: bool,
    /// When core heard that it is up.
    pub up_at: At,
    /// Core asked, and has heard nothing since.
    pub silent_since: Option<At>,
    /// Since when it only drains.
    pub draining: Option<At>,
    /// It has said that nothing is carried any more.
    pub drained: bool,
    /// It has said that its address is gone.
    pub address_gone: bool,
    /// The way to the server has been the same, and good, for all of its life.
    pub pure: bool,
}

impl Link {
    /// One that begins to dial.
    pub fn new(now: At, host: usize, pure: bool, asker: Option<AskerId>) -> Link {
        Link {
            host,
            stage: Stage::Resolve,
            known: Known::Dialling,
            connected_at: now,
            told_at: now,
            bound_to: (0, 0, 0),
            question: None,
            asked_again: false,
            unacknowledged: None,
            stalled: None,
            clogged: false,
            known_clogged: false,
            asked: false,
            asker,
            asking_since: None,
            shared: None,
            worn: false,
            up_at: now,
            silent_since: None,
            draining: None,
            drained: false,
            address_gone: false,
            pure,
        }
    }

    /// Whether new connections may be given to it, as far as core knows.
    pub fn may_serve(&self) -> bool {
        self.known == Known::Up && self.draining.is_none()
    }
}

/// Where a listener stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listening {
    /// It is being bound.
    Binding,
    /// It listens.
    Bound,
    /// It is being closed.
    Closing,
}

/// One listener.
#[derive(Clone, Debug)]
pub struct Listener {
    /// What it is for.
    pub spec: ForwardSpec,
    /// Where it stands.
    pub listening: Listening,
}

/// A local connection.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its number.
    pub number: u64,
    /// When it came.
    pub came_at: At,
    /// Which link carries it; `None` while it is held.
    pub link: Option<Epoch>,
    /// It talks all the time.
    pub busy: bool,
    /// The notebook that it wants.
    pub notebook: Option<Name>,
}

/// What could be offered, and what was on file, when a link looked.
pub type Snapshot = (u32, u32);

/// A tunnel that cannot go on by itself.
#[derive(Clone, Copy, Debug)]
pub struct Parked {
    /// Why.
    pub kind: FailureKind,
    /// When it tries again by itself, if it does.
    pub due: Option<At>,
}

/// Somebody at a terminal, who was asked to unlock a tunnel.
#[derive(Clone, Copy, Debug)]
pub struct Person {
    /// What core calls them.
    pub id: AskerId,
    /// What they wait for: when it is over, they go.
    pub wait: WaitId,
    /// They type what is right.
    pub knows: bool,
    /// How long that takes.
    pub takes: Duration,
}

/// One tunnel.
#[derive(Clone, Debug)]
pub struct Room {
    /// Its name.
    pub name: Name,
    /// What its file says, if there is one.
    pub spec: Option<TunnelSpec>,
    /// What a user said.
    pub order: Option<Order>,
    /// What happens to new local connections.
    pub gate: Gate,
    /// Its listeners.
    pub listeners: BTreeMap<ForwardId, Listener>,
    /// The requests to listen at the far end that are not taken back, by forward.
    pub remotes: BTreeMap<ForwardId, (Epoch, ListenId)>,
    /// Its notebooks.
    pub seats: BTreeMap<Name, Seat>,
    /// Which link serves, and since when.
    pub served_since: Option<(Epoch, At)>,
    /// Its links.
    pub links: BTreeMap<Epoch, Link>,
    /// The newest link of all times.
    pub newest: Epoch,
    /// A few links that are over.
    pub past: VecDeque<Epoch>,
    /// Its local connections.
    pub clients: Vec<Client>,
    /// Who waits, and since when.
    pub waits: BTreeMap<WaitId, (WaitFor, At)>,
    /// Who is there to answer.
    pub person: Option<Person>,
    /// What the last link saw when it looked.
    pub looked: Option<Snapshot>,
    /// What is looked out for.
    pub watch: Option<(Snapshot, FailureKind)>,
    /// When it dialled, lately.
    pub attempts: VecDeque<At>,
    /// When something made trying sensible, lately.
    pub encouraged: VecDeque<At>,
    /// It is parked.
    pub parked: Option<Parked>,
    /// Its keys have worked for this server and account.
    pub authenticated: bool,
    /// How many refusals were tried again in a row.
    pub refusals: usize,
    /// When somebody did something to it last.
    pub changed_at: At,
}

impl Room {
    /// A tunnel that nobody has described yet.
    pub fn new(name: Name) -> Room {
        Room {
            name,
            spec: None,
            order: None,
            gate: Gate::Hold,
            listeners: BTreeMap::new(),
            remotes: BTreeMap::new(),
            seats: BTreeMap::new(),
            served_since: None,
            links: BTreeMap::new(),
            newest: Epoch(0),
            past: VecDeque::new(),
            clients: Vec::new(),
            waits: BTreeMap::new(),
            person: None,
            looked: None,
            watch: None,
            attempts: VecDeque::new(),
            encouraged: VecDeque::new(),
            parked: None,
            authenticated: false,
            refusals: 0,
            changed_at: At::ZERO,
        }
    }

    /// What is wanted, worked out from what the file and the users said.
    pub fn desire(&self) -> Desire {
        let Some(spec) = &self.spec else { return Desire::Down };
        match (self.order, spec.start) {
            (Some(Order::Stop), _) | (None, Start::Manual) => Desire::Down,
            (_, Start::Demand) => Desire::OnDemand,
            (Some(Order::Start | Order::Restart), _) | (None, Start::Login) => Desire::Up,
        }
    }

    /// The host that its file names.
    pub fn host(&self) -> usize {
        let number = self.spec.as_ref().and_then(|spec| spec.route.host.strip_prefix('h')?.parse().ok());
        number.unwrap_or(0)
    }

    /// How many connections are held, and how many are carried.
    pub fn held_and_open(&self) -> (u32, u32) {
        let open = self.clients.iter().filter(|client| client.link.is_some()).count();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        (count(self.clients.len() - open), count(open))
    }

    /// How many connections `epoch` carries.
    pub fn carried_by(&self, epoch: Epoch) -> usize {
        self.clients.iter().filter(|client| client.link == Some(epoch)).count()
    }

    /// Something makes trying sensible.
    pub fn encourage(&mut self, now: At) {
        self.encouraged.push_back(now);
        let minute = Duration::from_secs(60);
        while self.encouraged.front().is_some_and(|at| *at + minute < now) {
            self.encouraged.pop_front();
        }
    }

    /// A human did something: it may try again.
    pub fn unpark(&mut self, now: At) {
        self.parked = None;
        self.refusals = 0;
        self.changed_at = now;
        self.encourage(now);
    }
}
