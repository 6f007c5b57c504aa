//! Puts what was seen on the way into findings, one a layer and machine, in the order of the layers. What ended the
//! way is the finding of the layer where it did; those behind it are said to be skipped.

use std::net::IpAddr;
use std::time::Duration;

use nbtunnel_core::{Failure, FailureKind, LinkReport, Step};

use super::OnFinding;
use crate::finding::{Finding, Layer, Verdict};
use crate::ssh::Stopwatch;
use crate::ssh::classify::quote;
use crate::ssh::hop::{Hop, Plan};
use crate::ssh::hostkey::OfferedKey;
use crate::ssh::report::LinkEvent;
use crate::ssh::sight::{Seen, Sight};

/// The layers of one machine.
const LAYERS: [Layer; 8] = [
    Layer::Dns,
    Layer::Tcp,
    Layer::Banner,
    Layer::KeyExchange,
    Layer::HostKey,
    Layer::Agent,
    Layer::Credentials,
    Layer::Authentication,
];

/// Why layers behind a broken one have no finding.
const NOT_REACHED: &str = "not reached";

/// Why a machine has none of its own.
const IS_UP: &str = "not looked at again: a session with it is up";

/// A walk along the machines of a plan.
pub(super) struct Walk {
    on: OnFinding,
    stopwatch: Stopwatch,
    machines: Vec<Machine>,
    /// The machine at which it is.
    here: usize,
    /// When its last step began.
    began: Duration,
}

/// One machine on the way.
struct Machine {
    hop: String,
    host: String,
    /// What was found on this machine about the agent and the keys, until it is told.
    local: Vec<Finding>,
    /// The first layer about which nothing was told.
    next: Layer,
    /// Whether anything was told about it.
    is_visited: bool,
    /// Whether it was told that we are in.
    is_in: bool,
    addresses: Vec<IpAddr>,
    methods: Vec<String>,
    /// The keys that it saw, and whether it takes them.
    keys: Vec<(String, bool)>,
}

/// What was seen of the login at the last machine.
#[derive(Clone, Copy)]
pub(super) struct Server<'a> {
    /// The methods by which one may log in; empty before it was asked.
    pub(super) methods: &'a [String],
    /// The keys that it saw, by what they are called on the way, and whether it takes them.
    pub(super) keys: &'a [(String, bool)],
}

impl Walk {
    /// Tells of the way, and stands in front of it.
    pub(super) fn new(plan: &Plan, on: OnFinding, stopwatch: Stopwatch) -> Walk {
        on(Finding::ok(Layer::Way, in_words(plan)));
        let began = stopwatch();
        Walk { on, stopwatch, machines: Vec::new(), here: 0, began }
    }

    /// What was found here about the next machine of the plan.
    pub(super) fn carries(&mut self, hop: &Hop, local: Vec<Finding>) {
        let (addresses, methods, keys) = Default::default();
        let (hop, host) = (hop.label(), hop.host.clone());
        let (next, is_visited, is_in) = (Layer::Dns, false, false);
        self.machines.push(Machine { hop, host, local, next, is_visited, is_in, addresses, methods, keys });
        self.began = (self.stopwatch)();
    }

    /// Takes in what a link says.
    pub(super) fn take(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Saw(sight) => self.saw(*sight),
            LinkEvent::Report(LinkReport::Step(step)) => self.step(step),
            // What else a link says is for its owner.
            LinkEvent::Report(_)
            | LinkEvent::Answered(..)
            | LinkEvent::Carrier(_)
            | LinkEvent::HostKey(_)
            | LinkEvent::Planned(_)
            | LinkEvent::Looked(_)
            | LinkEvent::Note(_) => {}
        }
    }

    fn step(&mut self, step: Step) {
        // Where nothing was seen before, it is the step of a session that is up, or of somebody else's login.
        if step == Step::Authenticate && self.machines.get(self.here).is_some_and(|here| here.is_visited) {
            self.tell_local();
        }
        let layer = match step {
            Step::Queued | Step::Resolve => Layer::Dns,
            Step::Tcp => Layer::Tcp,
            Step::Banner => Layer::Banner,
            Step::KeyExchange => Layer::KeyExchange,
            Step::Authenticate => Layer::Authentication,
        };
        if let Some(machine) = self.machines.get_mut(self.here) {
            let untold = if machine.local.is_empty() { Layer::Authentication } else { Layer::Agent };
            machine.next = machine.next.max(layer.min(untold));
        }
        self.began = (self.stopwatch)();
    }

    fn saw(&mut self, sight: Sight) {
        let took = (self.stopwatch)().saturating_sub(self.began);
        if let Some(number) = self.machines.iter().position(|machine| machine.hop == sight.hop) {
            self.here = number;
        }
        let Some(machine) = self.machines.get_mut(self.here) else { return };
        let finding = match sight.seen {
            Seen::Turn => return,
            Seen::Addresses(all) => {
                machine.addresses = all.iter().map(|address| address.ip()).collect();
                if machine.host.parse::<IpAddr>().is_ok() {
                    Finding::ok(Layer::Dns, format!("{} is an address already", machine.host))
                } else {
                    let addresses: Vec<String> = machine.addresses.iter().map(IpAddr::to_string).collect();
                    Finding::ok(Layer::Dns, format!("{} is {}", machine.host, addresses.join(", ")))
                        .after(took)
                }
            }
            Seen::Connected(peer) => Finding::ok(Layer::Tcp, format!("connected to {peer}")).after(took),
            Seen::Over(what) => Finding::ok(Layer::Tcp, format!("over {what}")).after(took),
            Seen::Version(line) => {
                Finding::ok(Layer::Banner, format!("it says {}", quote(&line))).after(took)
            }
            Seen::HostKey(key) => Finding::ok(Layer::HostKey, trusted(&key)).after(took),
            Seen::Methods(methods) => {
                machine.methods = methods;
                return;
            }
            Seen::Key { label, is_taken } => {
                machine.keys.push((label, is_taken));
                return;
            }
            Seen::LetIn(by) => {
                let by = match by.as_slice() {
                    [] => "it asked for nothing".to_owned(),
                    all => format!("let in by {}", all.join(", then ")),
                };
                let text = match machine.methods.as_slice() {
                    [] => by,
                    methods => format!("{by}; it takes {}", methods.join(", ")),
                };
                Finding::ok(Layer::Authentication, text).after(took)
            }
        };
        self.tell(finding);
    }

    /// The way is at its end, by `failure` if that is not the server.
    pub(super) fn ended(&mut self, failure: Option<&Failure>) {
        match failure {
            Some(failure) => self.failed(failure),
            None => {
                self.here = self.machines.len().saturating_sub(1);
                self.catch_up();
                if self.machines.last().is_some_and(|machine| !machine.is_in) {
                    self.tell(Finding::ok(Layer::Authentication, IS_UP));
                }
            }
        }
        for machine in self.machines.iter().filter(|machine| !machine.is_visited) {
            (self.on)(Finding::skipped(Layer::Way, NOT_REACHED).at(&machine.hop));
        }
    }

    fn failed(&mut self, failure: &Failure) {
        let Some(machine) = self.machines.get_mut(self.here) else { return };
        let (next, layer) = (machine.next, layer_of(failure, machine.next));
        let mut told = false;
        if layer == Layer::Credentials && !machine.local.is_empty() {
            machine.local.retain(|finding| finding.layer != Layer::Credentials);
            machine.local.push(Finding::broken(layer, failure));
            told = true;
        }
        let broken = Finding::broken(layer, &mended(failure, &machine.addresses));
        for each in LAYERS.into_iter().filter(|layer| *layer >= next) {
            match each {
                _ if each == layer && !told => {
                    told = true;
                    self.tell(broken.clone());
                }
                Layer::Agent => self.tell_local(),
                // Nothing is said of the exchange where it works: the host key tells of it.
                Layer::Credentials | Layer::KeyExchange => {}
                _ => self.tell(Finding::skipped(each, NOT_REACHED)),
            }
        }
        if !told {
            self.tell(broken);
        }
    }

    /// The login at the last machine, as far as it came.
    pub(super) fn server(&self) -> Server<'_> {
        let (methods, keys) =
            self.machines.last().map(|last| (&*last.methods, &*last.keys)).unwrap_or_default();
        Server { methods, keys }
    }

    /// Tells what is known here of the machine, before its login.
    fn tell_local(&mut self) {
        let local = self.machines.get_mut(self.here).map(|machine| std::mem::take(&mut machine.local));
        local.unwrap_or_default().into_iter().for_each(|finding| self.tell(finding));
    }

    /// Machines behind us, of which nothing was heard: a session that is up led past them.
    fn catch_up(&mut self) {
        for machine in self.machines.iter_mut().take(self.here).filter(|machine| !machine.is_in) {
            (machine.is_visited, machine.is_in) = (true, true);
            (self.on)(Finding::ok(Layer::Authentication, IS_UP).at(&machine.hop));
        }
    }

    /// Tells of a layer of the machine at which the walk is; the ones before it are done with.
    fn tell(&mut self, finding: Finding) {
        if finding.verdict != Verdict::Skipped && finding.layer < Layer::Agent {
            self.catch_up();
        }
        let behind = LAYERS.into_iter().find(|layer| *layer > finding.layer);
        let Some(machine) = self.machines.get_mut(self.here) else { return };
        machine.next = machine.next.max(behind.unwrap_or(Layer::Listener));
        machine.is_visited = true;
        machine.is_in |= (finding.layer, finding.verdict) == (Layer::Authentication, Verdict::Ok);
        let at = Some(machine.hop.clone());
        self.began = (self.stopwatch)();
        (self.on)(Finding { at, ..finding });
    }
}

/// Where `failure` belongs that came at `next`.
fn layer_of(failure: &Failure, next: Layer) -> Layer {
    match failure.kind {
        FailureKind::HostKeyUnknown | FailureKind::HostKeyChanged => Layer::HostKey,
        FailureKind::NoCredentials | FailureKind::PassphraseNeeded => Layer::Credentials,
        FailureKind::AuthRefused | FailureKind::AnswerNeeded => Layer::Authentication,
        FailureKind::NoCommonAlgorithm => Layer::KeyExchange,
        FailureKind::Dns => Layer::Dns,
        _ if next > Layer::HostKey => Layer::Authentication,
        _ => next,
    }
}

/// The way, in a sentence.
fn in_words(plan: &Plan) -> String {
    let server = format!("{}@{}", plan.server.user, plan.server.label());
    let first = plan.jumps.first().unwrap_or(&plan.server);
    let by = match &first.dialling.proxy_command {
        Some(command) => format!(" by the ProxyCommand {}", quote(command)),
        None => String::new(),
    };
    if plan.jumps.is_empty() {
        return if by.is_empty() { format!("straight to {server}") } else { format!("to {server}{by}") };
    }
    let over: Vec<String> = plan.jumps.iter().map(|hop| format!("{}@{}", hop.user, hop.label())).collect();
    format!("to {server} over {}{by}", over.join(", then "))
}

/// A key that is trusted, and why.
fn trusted(key: &OfferedKey) -> String {
    let on_file = key.recorded.iter().find(|recorded| recorded.fingerprint == key.fingerprint);
    let place = match on_file {
        Some(on_file) => format!("on file at {}:{}", on_file.file.display(), on_file.line),
        // It was only now written down, or stands there under a name without the port.
        None => "which is trusted".to_owned(),
    };
    format!("{} {}, {place}", key.algorithm, key.fingerprint)
}

/// The same failure, with the hint that macOS deserves: it refuses programs the local network, and its error says
/// nothing of it.
fn mended(failure: &Failure, addresses: &[IpAddr]) -> Failure {
    let local_network = cfg!(target_os = "macos")
        && failure.kind == FailureKind::Unreachable
        && addresses.iter().any(|address| match address {
            IpAddr::V4(address) => address.is_private() || address.is_link_local(),
            IpAddr::V6(address) => address.is_unique_local() || address.is_unicast_link_local(),
        });
    if !local_network {
        return failure.clone();
    }
    let hint = "allow nbtunneld in System Settings, Privacy & Security, Local Network; then start it again";
    Failure::new(failure.kind, failure.message.clone(), hint)
}

#[cfg(test)]
#[cfg(unix)]
#[path = "walk_tests.rs"]
mod tests;
