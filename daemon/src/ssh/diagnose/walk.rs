//! Puts what was seen on the way into findings, one a layer and machine, in the order of the layers. What ended the
//! way is the finding of the layer where it did; those behind it are said to be skipped.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use nbtunnel_core::{Failure, FailureKind, LinkReport, Step};

use super::OnFinding;
use crate::finding::{Finding, Layer};
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

/// A walk along the machines of a plan.
pub(super) struct Walk {
    on: OnFinding,
    stopwatch: Stopwatch,
    /// The machines that it was not at yet, with that at which it is in front.
    ahead: VecDeque<Machine>,
    /// Those of which is not known yet what is here for them.
    unprepared: VecDeque<Hop>,
    /// The next layer of the machine at which it is.
    next: Layer,
    /// Whether that machine let us in.
    is_in: bool,
    /// When its last step began.
    began: Duration,
    /// Its last address, for the hint about this machine's own network.
    addresses: Vec<IpAddr>,
    methods: Vec<String>,
}

struct Machine {
    hop: String,
    host: String,
    /// What was found on this machine about the agent and the keys.
    local: Vec<Finding>,
}

impl Walk {
    /// Tells of the way, and stands in front of its first machine.
    pub(super) fn new(plan: &Plan, on: OnFinding, stopwatch: Stopwatch) -> Walk {
        let unprepared = plan.jumps.iter().chain([&plan.server]).cloned().collect();
        on(Finding::ok(Layer::Way, in_words(plan)));
        let began = stopwatch();
        let (ahead, addresses, methods) = Default::default();
        Walk { on, stopwatch, ahead, unprepared, next: Layer::Dns, is_in: false, began, addresses, methods }
    }

    /// What was found here about the next machine of the plan.
    pub(super) fn carries(&mut self, local: Vec<Finding>) {
        if let Some(hop) = self.unprepared.pop_front() {
            self.ahead.push_back(Machine { hop: hop.label(), host: hop.host, local });
        }
        self.began = (self.stopwatch)();
    }

    /// Takes in what a link says.
    pub(super) fn take(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Saw(sight) => self.saw(*sight),
            LinkEvent::Report(LinkReport::Step(step)) => {
                if step == Step::Authenticate && self.next > Layer::HostKey {
                    self.tell_local();
                }
                self.began = (self.stopwatch)();
            }
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

    fn saw(&mut self, sight: Sight) {
        let took = (self.stopwatch)().saturating_sub(self.began);
        match sight.seen {
            Seen::Turn => self.turn(&sight.hop),
            Seen::Addresses(all) => {
                self.addresses = all.iter().map(|address| address.ip()).collect();
                let host = self.ahead.front().map(|machine| machine.host.clone()).unwrap_or_default();
                let found = if host.parse::<IpAddr>().is_ok() {
                    Finding::ok(Layer::Dns, format!("{host} is an address already"))
                } else {
                    let addresses: Vec<String> = self.addresses.iter().map(IpAddr::to_string).collect();
                    Finding::ok(Layer::Dns, format!("{host} is {}", addresses.join(", "))).after(took)
                };
                self.tell(found);
            }
            Seen::Connected(peer) => {
                self.tell(Finding::ok(Layer::Tcp, format!("connected to {peer}")).after(took));
            }
            Seen::Version(line) => {
                self.tell(Finding::ok(Layer::Banner, format!("it says {}", quote(&line))).after(took));
            }
            Seen::HostKey(key) => {
                self.tell(Finding::ok(Layer::HostKey, trusted(&key)).after(took));
            }
            Seen::Methods(methods) => self.methods = methods,
            Seen::LetIn(by) => {
                let by = match by.as_slice() {
                    [] => "it asked for nothing".to_owned(),
                    all => format!("let in by {}", all.join(", then ")),
                };
                let text = match self.methods.as_slice() {
                    [] => by,
                    methods => format!("{by}; it takes {}", methods.join(", ")),
                };
                self.tell(Finding::ok(Layer::Authentication, text).after(took));
                self.is_in = true;
            }
        }
    }

    /// The walk comes to `hop`. Machines in between were not visited: somebody else's session leads past them.
    fn turn(&mut self, hop: &str) {
        if !self.ahead.iter().any(|machine| machine.hop == hop) {
            return;
        }
        while self.ahead.front().is_some_and(|machine| machine.hop != hop) {
            if !std::mem::take(&mut self.is_in) {
                let why = "not looked at again: a session to it is up already";
                self.tell(Finding::ok(Layer::Authentication, why));
            }
            self.ahead.pop_front();
            self.next = Layer::Dns;
        }
        self.methods.clear();
        self.addresses.clear();
    }

    /// The way is at its end, by `failure` if that is not the server.
    pub(super) fn ended(&mut self, failure: Option<&Failure>) {
        if let Some(failure) = failure {
            let layer = self.layer_of(failure);
            let mut told = false;
            if let Some(local) = self.ahead.front_mut().filter(|_| layer == Layer::Credentials) {
                local.local.retain(|finding| finding.layer != Layer::Credentials);
                local.local.push(Finding::broken(layer, failure));
                told = true;
            }
            let next = self.next;
            for each in LAYERS.into_iter().filter(|layer| *layer >= next) {
                match each {
                    Layer::Agent => self.tell_local(),
                    Layer::Credentials => {}
                    _ if each == layer => {
                        told = true;
                        self.tell(Finding::broken(layer, &mended(failure, &self.addresses)));
                    }
                    // Nothing is said of it where it works, since the host key tells of it.
                    Layer::KeyExchange => {}
                    _ => self.tell(Finding::skipped(each, NOT_REACHED)),
                }
            }
            if !told {
                self.tell(Finding::broken(layer, failure));
            }
            self.ahead.pop_front();
        } else {
            self.ahead.clear();
        }
        for machine in std::mem::take(&mut self.ahead) {
            (self.on)(Finding::skipped(Layer::Way, NOT_REACHED).at(machine.hop));
        }
    }

    /// Where on the way `failure` belongs.
    fn layer_of(&self, failure: &Failure) -> Layer {
        match failure.kind {
            FailureKind::HostKeyUnknown | FailureKind::HostKeyChanged => Layer::HostKey,
            FailureKind::NoCredentials | FailureKind::PassphraseNeeded => Layer::Credentials,
            FailureKind::AuthRefused | FailureKind::AnswerNeeded => Layer::Authentication,
            FailureKind::NoCommonAlgorithm => Layer::KeyExchange,
            FailureKind::Dns => Layer::Dns,
            _ if self.next > Layer::HostKey => Layer::Authentication,
            _ => self.next,
        }
    }

    /// What is known here of the machine.
    fn tell_local(&mut self) {
        let local = self.ahead.front_mut().map(|machine| std::mem::take(&mut machine.local));
        local.unwrap_or_default().into_iter().for_each(|finding| self.tell(finding));
        self.next = self.next.max(Layer::Authentication);
    }

    /// Tells of a layer of the machine at which the walk is; the ones before it are done with.
    fn tell(&mut self, finding: Finding) {
        if let Some(behind) = LAYERS.into_iter().find(|layer| *layer > finding.layer) {
            self.next = self.next.max(behind);
        }
        let at = self.ahead.front().map(|machine| machine.hop.clone());
        self.began = (self.stopwatch)();
        (self.on)(Finding { at, ..finding });
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
