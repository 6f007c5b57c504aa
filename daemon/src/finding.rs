//! What a look at one layer of a tunnel found, in the shell's own words: `ssh` looks at the way, the driver at the
//! rest, and `control::convert` puts it into the words of the wire.

use std::time::Duration;

use nbtunnel_core::{Failure, FailureKind};

/// One look at one layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub layer: Layer,
    /// Which machine on the way, or which forward, it is about.
    pub at: Option<String>,
    /// How it is.
    pub verdict: Verdict,
    /// What sort of failure it is, where it is one.
    pub kind: Option<FailureKind>,
    /// What was found, in one sentence.
    pub message: String,
    /// What to do; empty when there is nothing to be done.
    pub hint: String,
    /// How long it took, where something was waited for.
    pub took: Option<Duration>,
}

/// The layers, in the order in which a connection meets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    /// The daemon itself.
    Daemon,
    /// What it was built with.
    Build,
    /// The files of the config directory.
    Config,
    /// What ssh_config says of the host.
    SshConfig,
    /// The machines and programs on the way.
    Way,
    /// The name of a machine.
    Dns,
    /// A connection to it.
    Tcp,
    /// Its first words.
    Banner,
    /// What is spoken with it.
    KeyExchange,
    /// By what it is recognised.
    HostKey,
    /// The SSH agent.
    Agent,
    /// Key files and certificates.
    Credentials,
    /// The login.
    Authentication,
    /// The near end of a forward.
    Listener,
    /// The far end of a forward.
    Target,
    /// The far end of a remote forward, where it listens.
    Remote,
    /// A notebook's server: whether one is there, and whose.
    Notebook,
    /// What answers there, and how it is spoken to.
    Server,
    /// Whether it lets us in.
    Token,
    /// What it runs.
    Kernel,
}

/// How a layer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, or need not work, and somebody may want to know.
    Warn,
    /// It keeps the tunnel from working.
    Broken,
    /// Not looked at.
    Skipped,
}

impl Layer {
    /// The stable word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Layer::Daemon => "daemon",
            Layer::Build => "build",
            Layer::Config => "config",
            Layer::SshConfig => "ssh_config",
            Layer::Way => "way",
            Layer::Dns => "dns",
            Layer::Tcp => "tcp",
            Layer::Banner => "banner",
            Layer::KeyExchange => "key_exchange",
            Layer::HostKey => "host_key",
            Layer::Agent => "agent",
            Layer::Credentials => "credentials",
            Layer::Authentication => "authentication",
            Layer::Listener => "listener",
            Layer::Target => "target",
            Layer::Remote => "remote",
            Layer::Notebook => "notebook",
            Layer::Server => "server",
            Layer::Token => "token",
            Layer::Kernel => "kernel",
        }
    }
}

impl Verdict {
    /// The stable word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Broken => "broken",
            Verdict::Skipped => "skipped",
        }
    }
}

impl Finding {
    fn new(layer: Layer, verdict: Verdict, message: impl Into<String>) -> Finding {
        let (at, kind, hint, took) = (None, None, String::new(), None);
        Finding { layer, at, verdict, kind, message: message.into(), hint, took }
    }

    /// All is well.
    pub fn ok(layer: Layer, message: impl Into<String>) -> Finding {
        Finding::new(layer, Verdict::Ok, message)
    }

    /// Something that somebody may want to know, and what to do about it.
    pub fn warn(layer: Layer, message: impl Into<String>, hint: impl Into<String>) -> Finding {
        Finding { hint: hint.into(), ..Finding::new(layer, Verdict::Warn, message) }
    }

    /// It does not work, and this is why.
    pub fn broken(layer: Layer, failure: &Failure) -> Finding {
        let (kind, hint) = (Some(failure.kind), failure.hint.clone());
        Finding { kind, hint, ..Finding::new(layer, Verdict::Broken, failure.message.clone()) }
    }

    /// It was not looked at, and this is why.
    pub fn skipped(layer: Layer, why: impl Into<String>) -> Finding {
        Finding::new(layer, Verdict::Skipped, why)
    }

    /// The same about one machine, or one forward.
    #[must_use]
    pub fn at(self, at: impl Into<String>) -> Finding {
        Finding { at: Some(at.into()), ..self }
    }

    /// The same with how long it took.
    #[must_use]
    pub fn after(self, took: Duration) -> Finding {
        Finding { took: Some(took), ..self }
    }
}
