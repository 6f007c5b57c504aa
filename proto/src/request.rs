//! What nbctl asks.

use serde::{Deserialize, Serialize};

use crate::answer::Secret;

/// One question. A connection carries one request after the other; [`Request::Logs`] with `follow` and
/// [`Request::Events`] end it only when the client hangs up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Answered by [`crate::Reply::Status`]. No names: all of them. Names may be globs.
    Status {
        /// Names or globs (`*`, `?`, `[…]`).
        names: Vec<String>,
    },
    /// Answered by [`crate::Reply::Ordered`].
    Order {
        /// Which tunnels.
        select: Selection,
        /// What to do.
        order: Order,
        /// Answer only when each of them is there, or cannot get there.
        wait: bool,
    },
    /// Read the directory again. Answered by [`crate::Reply::Reloaded`].
    Reload,
    /// Answered by [`crate::Reply::Log`] for each line, then [`crate::Reply::Done`] unless `follow`.
    Logs {
        /// A name or glob; `None`: all tunnels and the daemon.
        name: Option<String>,
        /// At most so many of the last lines.
        lines: u32,
        /// Go on with what happens from now on.
        follow: bool,
    },
    /// Answered by [`crate::Reply::Event`] for each, until the client hangs up.
    Events,
    /// The host key that the server showed last. Answered by [`crate::Reply::HostKey`].
    HostKey {
        /// The tunnel.
        name: String,
    },
    /// Trust exactly this key. Answered by [`crate::Reply::Trusted`].
    Trust {
        /// The tunnel.
        name: String,
        /// `SHA256:…` of the key that was shown.
        fingerprint: String,
        /// Put it in the place of the key on file.
        replace: bool,
    },
    /// Start this tunnel now, and ask here what its server or a key asks: [`crate::Reply::Ask`] for each, in its
    /// time. Answered by [`crate::Reply::Ordered`] when it is up, or cannot get there. Who hangs up cancels it.
    Unlock {
        /// The tunnel.
        name: String,
    },
    /// The answers to a [`crate::Reply::Ask`], as many as there were prompts. Those to one that another has
    /// followed meanwhile go nowhere. The only request that may
    /// come before the one before it, an [`Request::Unlock`], was answered; itself it has no answer.
    Answers {
        /// The number of the question.
        number: u64,
        /// In the order of the prompts.
        answers: Vec<Secret>,
    },
    /// What the environment of the asker names, for the daemon's own environment may be older. Has no answer; another
    /// request follows at once.
    Environment {
        /// `SSH_AUTH_SOCK`: where the SSH agent is.
        agent: String,
    },
    /// Look at every layer. Answered by [`crate::Reply::Finding`] for each, then [`crate::Reply::Done`]. Ends when
    /// the client hangs up.
    Doctor {
        /// The tunnel; `None`: what all tunnels share, and then each of them.
        name: Option<String>,
    },
    /// Something with a notebook. Answered by [`crate::Reply::Progress`] for each step, then by
    /// [`crate::Reply::Notebook`]; a stop by [`crate::Reply::Done`], a log by [`crate::Reply::Text`]. Who hangs up
    /// waits no longer; what was begun goes on.
    Notebook {
        /// `NAME` of a section, or `TUNNEL/NAME`. The tunnel's own name where it has one notebook.
        name: String,
        /// What.
        ask: NotebookAsk,
    },
    /// A way over the tunnel's session, for nbctl's standard streams. [`crate::Reply::Progress`] for whatever keeps it
    /// waiting, then [`crate::Reply::Proxied`]; from there on the connection is raw bytes, in both directions.
    Proxy {
        /// The tunnel.
        name: String,
        /// `host:port` as its server sees it; `None`: that server's own SSH server.
        target: Option<String>,
    },
    /// How the way with this number ended, once no more bytes come. Answered by [`crate::Reply::Done`] if in order, else
    /// by a fault.
    ProxyEnd {
        /// The number of [`crate::Reply::Proxied`].
        number: u64,
    },
    /// What another SSH client has to know to go where tunnels lead. Answered by [`crate::Reply::SshHosts`].
    SshHosts {
        /// Names or globs; none: all of them.
        names: Vec<String>,
    },
    /// What a tunnel offers to its server. Asks no server. Answered by [`crate::Reply::Keys`].
    Keys {
        /// The tunnel.
        name: String,
    },
    /// Log in to a tunnel's server by key alone, with a session of its own, which is closed again. Answered by
    /// [`crate::Reply::Finding`] for each layer, then [`crate::Reply::Keys`]. Ends when the client hangs up.
    TestKey {
        /// The tunnel.
        name: String,
        /// A key file that alone is offered; `None`: what the tunnel offers.
        file: Option<String>,
    },
    /// Stop in the middle of everything, for ever, as a fault of the daemon would: for tests of who watches it.
    /// The last one always, so that the others have the same bytes in a release, which does not have it.
    #[cfg(debug_assertions)]
    Hang,
}

impl Request {
    /// What is asked, in one word, for the log: nothing of what the user wrote stands in it.
    pub const fn word(&self) -> &'static str {
        match self {
            Request::Status { .. } => "status",
            Request::Order { .. } => "an order",
            Request::Reload => "a reload",
            Request::Logs { .. } => "logs",
            Request::Events => "events",
            Request::HostKey { .. } => "a host key",
            Request::Trust { .. } => "trust",
            Request::Unlock { .. } => "an unlock",
            Request::Answers { .. } => "to be heard",
            Request::Environment { .. } => "a look at its environment",
            Request::Doctor { .. } => "a diagnosis",
            Request::Notebook { .. } => "a notebook",
            Request::Proxy { .. } => "a way to its server",
            Request::ProxyEnd { .. } => "the end of a way",
            Request::SshHosts { .. } => "the hosts of tunnels",
            Request::Keys { .. } => "its keys",
            Request::TestKey { .. } => "a test of keys",
            #[cfg(debug_assertions)]
            Request::Hang => "a hang",
        }
    }
}

/// What is wanted of a notebook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NotebookAsk {
    /// Where it is. Its tunnel is started if it has to be, and its server, if its file says how.
    Open,
    /// Where it is, nothing started.
    Find,
    /// End its server, or its job.
    Stop,
    /// End its server and start it anew; where it is then.
    Restart,
    /// What its server wrote, as far as it was started from here.
    Log {
        /// At most so many of the last lines.
        lines: u32,
    },
}

/// Which tunnels an order is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Selection {
    /// Every one.
    All,
    /// These names or globs. A name that fits none is a fault, and then nothing is done.
    Names(Vec<String>),
    /// Those with this tag.
    Tag(String),
}

/// What to do with a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Order {
    /// Want it.
    Start,
    /// Do not want it.
    Stop,
    /// Close what there is and begin anew.
    Restart,
}
