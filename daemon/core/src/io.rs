//! The words that core and the shell speak: what happened ([`Input`]), what is to be done ([`Output`]).

use std::time::Duration;

use crate::failure::Failure;
use crate::forward::{ForwardSpec, RemoteSpec, Target};
use crate::moment::Moment;
use crate::notebook::{NotebookInput, Task, TaskId};
use crate::spec::{Name, Policy, Route, TunnelSpec};

/// Numbers the links of one tunnel, upwards for ever. What a stale epoch reports changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// Numbers the forwards of one tunnel. A forward keeps its id for as long as its listener lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ForwardId(pub u32);

/// Names one request to a server to listen: for which forward, and the how many-th of it. What is said of an
/// older one changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenId {
    /// For which forward.
    pub forward: ForwardId,
    /// The how many-th request.
    pub request: u64,
}

/// Names one `--wait`. The shell numbers them, each once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaitId(pub u64);

/// Names one person at an `nbctl` who answers what is asked. The shell numbers them, each once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AskerId(pub u64);

/// Names a login: an account on a host, the way there and what proves who we are, as the shell resolved it.
/// Two logins with the same key are the same for everybody who wants one of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoginKey(pub String);

/// Whom a login waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Asks {
    /// Nobody but the server.
    #[default]
    Nobody,
    /// The person at an `nbctl`.
    Person,
    /// An agent, which has not signed at once: it may be asking its user.
    Agent,
}

/// What a user said with `nbctl`, against or for what the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// `nbctl start`.
    Start,
    /// `nbctl stop`.
    Stop,
    /// `nbctl restart`: close what there is and begin anew; wanted as after `start`.
    Restart,
}

/// A hint that trying now may succeed where it failed a moment ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Nudge {
    /// The machine slept and woke.
    Woke,
    /// An address or a route changed.
    Network,
    /// A human asked, or did something that parked tunnels wait for.
    Operator,
}

/// What `--wait` waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WaitFor {
    /// The link is up and every forward listens (or, on demand: every forward listens).
    Up,
    /// No link, no listener.
    Down,
}

/// How a wait ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// As asked.
    Reached,
    /// It cannot get there by itself: parked, or a forward that does not work.
    Stuck(Failure),
    /// Somebody else wanted the opposite, or removed the tunnel.
    Overtaken,
}

/// What the world did, for one tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A user's word.
    Order(Order),
    /// The file says something else now. Also cancels a [`Input::Remove`] that is under way.
    Respec(Box<TunnelSpec>),
    /// The file is gone.
    Remove,
    /// Somebody is there to answer what the server, or a key, asks: try now, and ask this person.
    Unlock(AskerId),
    /// That person is there no longer.
    Left(AskerId),
    /// Another tunnel has the login that this one needs an answer for.
    Opened,
    /// Trying now may succeed.
    Nudge(Nudge),
    /// Time passed; early ones change nothing.
    Timeout,
    /// A listener reports.
    Listener(ForwardId, ListenerReport),
    /// The far end of a forward reports; for one that listens there, our end.
    Forward(ForwardId, ForwardReport),
    /// The server was asked to listen, and this came of it.
    Remote(Epoch, ListenId, RemoteReport),
    /// Something happened to one of its notebooks. A name that is not there changes nothing, but a wish is answered.
    Notebook(Name, NotebookInput),
    /// How many local connections wait, and how many are carried, over all forwards of this tunnel.
    Activity {
        /// Accepted and waiting for a link.
        held: u32,
        /// Carried by a link.
        open: u32,
    },
    /// A link reports.
    Link(Epoch, LinkReport),
    /// The fleet lets a queued link dial.
    Go,
    /// What could be offered to the server changed.
    CredentialsChanged,
    /// A known_hosts file changed.
    KnownHostsChanged,
    /// The files were read again, ssh_config among them, and what they say of this tunnel is right.
    FilesRead,
    /// Another tunnel of ours gave up a local address.
    AddressesFreed,
    /// Answer once this is reached.
    Wait(WaitId, WaitFor),
    /// Nobody waits any more.
    Unwait(WaitId),
}

/// What a listener reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenerReport {
    /// It listens, at these addresses. `note` tells of an address that could not be had beside a good one.
    Bound {
        /// The addresses, as shown to users.
        listens: Vec<String>,
        /// What is missing, in one sentence.
        note: Option<String>,
    },
    /// It could not be bound, or died.
    Failed(Failure),
    /// It is closed.
    Unbound,
}

/// What came of asking a server to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoteReport {
    /// It listens.
    Listens {
        /// At this port, also where it chose one itself. A socket has none: 0.
        port: u16,
    },
    /// It would not.
    Denied(Failure),
    /// It listens no more.
    Closed,
}

/// What the far end of a forward reports; only changes are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForwardReport {
    /// The server would not, or could not, connect a channel to the target.
    Denied(Failure),
    /// A channel was opened.
    Served,
    /// Somebody waits for the notebook that it leads to, which nobody has found yet.
    Sought,
    /// A local program does not read (`None`: it reads again).
    SlowReader(Option<Failure>),
    /// So many connections were held for as long as they may be, and reset.
    Expired(u32),
    /// The same while the link was there, and the notebook that they were to be led to was not.
    Missed(u32),
    /// As many connections are held as may be; whoever came beyond them was reset.
    Overflow {
        /// How many may be held.
        most: u32,
    },
    /// Connections of others than our own user were reset; the failure says how many and whose.
    Refused(Failure),
    /// Nobody can tell whose the connections are, so that all are reset (`None`: it can be told again, or need not).
    Unsure(Option<Failure>),
}

/// What a link reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkReport {
    /// It came to this step.
    Step(Step),
    /// Whom the login waits for now. While that is somebody, its step has [`crate::session::ANSWER_DEADLINE`].
    Asking(Asks),
    /// This login cannot go on without an answer: nobody is there to give one, and `Lost` follows, or somebody is
    /// being asked, who may leave it standing.
    Needs(LoginKey),
    /// This login took an answer and is there now, for everybody who needs it. Comes before `Up` of each link over that
    /// session, so that whoever is up already is up over another one.
    Opened(LoginKey),
    /// It logs in by this, for which somebody typed an answer, now or for another link over the same session.
    /// `Asked` comes before.
    Typed(LoginKey),
    /// Logging in took a person: an answer that was typed, a key that was touched. Comes before `Up`, if at
    /// all. Such a link is not replaced by another one without need.
    Asked,
    /// It is authenticated and carries channels.
    Up,
    /// The newest probe was answered, in this time.
    Answers(Duration),
    /// Something came from the server while a probe is unanswered. Told about once a second at most.
    Heard,
    /// Something was sent, and nothing has come from the server for [`STALL`].
    Unanswered,
    /// Its local address is no longer one of this machine. Told instead of asking the server.
    AddressGone,
    /// It is left unread because of a local program that does not read (`true`), or is read again. While it
    /// is not read, its silence means nothing.
    Clogged(bool),
    /// It has carried [`Policy::renew_bytes`].
    Worn,
    /// It was to end when nothing is carried any more ([`Output::Drain`]), and now nothing is.
    Drained,
    /// It ended by itself. Nothing more comes from it.
    Lost(Failure),
    /// It ended because it was closed. Nothing more comes from it.
    Closed,
}

/// So long nothing comes back for what was sent before [`LinkReport::Unanswered`] is told.
pub const STALL: Duration = Duration::from_secs(3);

/// The steps of connecting, in order. Each has a deadline of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Waiting for its turn to dial.
    Queued,
    /// Resolving the name.
    Resolve,
    /// Connecting TCP.
    Tcp,
    /// Waiting for the server's version line.
    Banner,
    /// Exchanging keys and checking the host key.
    KeyExchange,
    /// Proving who we are.
    Authenticate,
}

impl Step {
    /// The word that users see.
    pub const fn word(self) -> &'static str {
        match self {
            Step::Queued => "queued",
            Step::Resolve => "resolving",
            Step::Tcp => "tcp",
            Step::Banner => "banner",
            Step::KeyExchange => "key_exchange",
            Step::Authenticate => "authenticating",
        }
    }
}

/// What happens to new local connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gate {
    /// They are carried by this link.
    Serve(Epoch),
    /// They wait.
    Hold,
    /// They are reset at once.
    Reset,
}

/// What is to be done, for one tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Listen. Answered by [`Input::Listener`].
    Bind(ForwardId, ForwardSpec),
    /// Stop listening. Answered by [`ListenerReport::Unbound`]. What is held there is reset.
    Unbind(ForwardId),
    /// New connections of this forward go elsewhere from now on.
    Retarget(ForwardId, Target),
    /// From now on this says whether only our own user may come in there: see [`ForwardSpec::owner_only`].
    OwnerOnly(ForwardId, Option<bool>),
    /// Ask the server of this link to listen. Answered by [`Input::Remote`]; its requests are served in order.
    Listen(Epoch, ListenId, RemoteSpec),
    /// Ask it to listen no more; what came to it already goes on. Answered by [`RemoteReport::Closed`].
    Unlisten(Epoch, ListenId),
    /// This forward listens at no server any more: what is carried for it is reset.
    Forget(ForwardId),
    /// Do this for a notebook, over this link. Answered by [`NotebookInput::Did`].
    Notebook(Epoch, Name, TaskId, Task),
    /// Times and bounds changed.
    Repolicy(Policy),
    /// Dial. Answered by [`Input::Link`] until `Lost` or `Closed`. What has to be asked is asked of the person, if
    /// there is one.
    Connect(Epoch, Box<Route>, Option<AskerId>),
    /// Ask the server whether it is there. Answered by [`LinkReport::Answers`], or not.
    Probe(Epoch),
    /// It gets no new connection; tell by [`LinkReport::Drained`] when it carries none any more.
    Drain(Epoch),
    /// End it. Answered by [`LinkReport::Closed`] or [`LinkReport::Lost`].
    Close(Epoch),
    /// What happens to new local connections from now on.
    Gate(Gate),
    /// Something users may want to know.
    Announce(Transition),
    /// A wait ended. Each wait gets exactly one.
    Answer(WaitId, Settled),
    /// It was removed and nothing of it is left.
    Gone,
}

/// A transition of the word that users see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Which part changed.
    pub about: About,
    /// The state before: a word of [`crate::view::State`], or of the forward.
    pub from: &'static str,
    /// The state now.
    pub to: &'static str,
    /// Why, if something failed.
    pub why: Option<Failure>,
    /// When it will be tried again, if it will.
    pub retry_in: Option<Duration>,
}

/// What a transition is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// The tunnel as a whole.
    Tunnel,
    /// The login that a person had answered for, after its session was lost: from `open` to `lost`.
    Login,
    /// Its link, while the tunnel as a whole stays up: the words are `ok`, `suspect`, `replaced`, `renewed`.
    Link,
    /// One notebook of it, by its name: the words are those of [`crate::notebook::NotebookState`].
    Notebook(String),
    /// One forward of it, as shown to users.
    Forward(String),
}

/// Why a machine wants to be woken. Every timer has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimerReason {
    /// A step of connecting has a deadline.
    StepDeadline,
    /// The next attempt is due.
    Retry,
    /// Silence lasted long enough for a probe.
    ProbeDue,
    /// A suspect link has used up the patience with it.
    Patience,
    /// The answer to a probe has a deadline.
    ProbeDeadline,
    /// A link is so old that another one is to follow it.
    Renew,
    /// What an older link still carries has a deadline.
    Drain,
    /// A close has a deadline.
    CloseDeadline,
    /// A listener answers by then or counts as failed.
    BindDeadline,
    /// A listener that failed is tried again.
    BindRetry,
    /// A server answers by then whether it listens, or listens no more.
    ListenDeadline,
    /// A server that would not listen is asked again.
    ListenRetry,
    /// It has been up long enough for the backoff to be forgotten.
    Steady,
    /// Nobody uses an on-demand link.
    Idle,
    /// A notebook is looked for, or a look at it has a deadline.
    Notebook,
    /// A slow dial gives its turn to another.
    Turn,
}

/// A moment and the reason for it.
pub type Timer = (Moment, TimerReason);
