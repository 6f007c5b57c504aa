//! The one loop: takes in events, tells core, has `effects` carry out what core says. Nobody imports it but
//! the program.

mod doctor;
mod exports;
mod goodbye;
mod here;
mod jobs;
mod keys;
mod layers;
mod lives;
mod loading;
mod looks;
mod memory;
mod names;
mod notebook_status;
mod notebooks;
mod proxies;
mod requests;
mod tell;
mod unlocks;
mod waits;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nbtunnel_core::{Fleet, FleetInput, Input, Moment, Name, Nudge, Output, TunnelSpec};
use nbtunnel_proto::FileProblem;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::ask::Asker;
use crate::config::{DaemonSettings, Watch};
use crate::desktop::Desktop;
use crate::effects::Effects;
use crate::event::{Asked, Event, Events};
use crate::forward::Services;
use crate::journal::Journal;
use crate::logging::Filter;
use crate::orders::Orders;
use crate::service::readiness;
use crate::ssh::{Changed, LinkEvent, Links};
use crate::wake::Clock;
use memory::Memory;
use notebooks::Notebooks;
use proxies::Proxies;
use unlocks::Unlocks;
use waits::Waits;

/// The loop looks up at least this often, whatever core says: `tokio::time` does not count sleep. After a wake
/// it looks at once, since `wake` tells of it.
const LONGEST_NAP: Duration = Duration::from_secs(5);
/// Who asks before the files were read waits so long for that, and then hears what is known.
const FIRST_READING: Duration = Duration::from_secs(5);
/// So many events are taken in before timers are looked at again.
const EVENTS_AT_ONCE: usize = 256;

/// What the program hands over to the loop.
pub struct Parts {
    /// The clock.
    pub clock: Clock,
    /// Where events go in.
    pub events: Events,
    /// Where events come out.
    pub inbox: mpsc::UnboundedReceiver<Event>,
    /// The shared services of links.
    pub links: Arc<Links>,
    /// The shared services of listeners.
    pub services: Arc<Services>,
    /// The runtime that carries data.
    pub data: Handle,
    /// Watches the directory.
    pub watch: Watch,
    /// What is logged.
    pub filter: Filter,
    /// Where orders are kept.
    pub orders_path: PathBuf,
    /// Where the history of the tunnels is kept.
    pub history_path: PathBuf,
    /// The directory that is watched.
    pub config_dir: PathBuf,
    /// Where `nbctl` finds us, as shown to users.
    pub socket: String,
    /// Spreads retries; any number.
    pub seed: u64,
}

/// The daemon.
pub struct Driver {
    clock: Clock,
    started: Moment,
    events: Events,
    inbox: mpsc::UnboundedReceiver<Event>,
    fleet: Fleet,
    effects: Effects,
    journal: Journal,
    memory: Memory,
    orders: Orders,
    /// When orders that could not be written down are tried once more.
    orders_again_at: Moment,
    waits: Waits,
    notebooks: Notebooks,
    data: Handle,
    unlocks: Unlocks,
    proxies: Proxies,
    desktop: Desktop,
    watch: Watch,
    filter: Filter,
    services: Arc<Services>,
    settings: DaemonSettings,
    config_dir: PathBuf,
    socket: String,
    /// What the files say, without those that are broken.
    specs: BTreeMap<Name, TunnelSpec>,
    problems: Vec<FileProblem>,
    /// What ssh would do for a host and its tunnel does not.
    notes: Vec<FileProblem>,
    exhausted: bool,
    loaded_once: bool,
    /// Those who asked before the files were read: there is nothing yet that could be told apart from nothing.
    early: Vec<Asked>,
    /// Those who asked for a reload, and which reading answers them.
    reloads: Vec<(u64, Asked)>,
    stopping: bool,
}

impl Driver {
    /// A daemon that has read nothing yet.
    pub fn new(parts: Parts) -> Self {
        let (orders, remembered) = Orders::open(parts.orders_path);
        let proxies = Proxies::new(parts.data.clone());
        let (memory, known) = Memory::open(parts.history_path);
        Driver {
            started: parts.clock.now(),
            clock: parts.clock,
            effects: Effects::new(
                parts.events.clone(),
                parts.links,
                Arc::clone(&parts.services),
                parts.data.clone(),
            ),
            events: parts.events,
            inbox: parts.inbox,
            fleet: Fleet::new(parts.seed, remembered).with_ports(known.ports),
            journal: Journal::default(),
            memory,
            orders,
            orders_again_at: parts.clock.now(),
            waits: Waits::default(),
            notebooks: Notebooks::with(known.lives),
            data: parts.data,
            unlocks: Unlocks::default(),
            proxies,
            desktop: Desktop::new(&Handle::current()),
            watch: parts.watch,
            filter: parts.filter,
            services: parts.services,
            settings: DaemonSettings::default(),
            config_dir: parts.config_dir,
            socket: parts.socket,
            specs: BTreeMap::new(),
            problems: Vec::new(),
            notes: Vec::new(),
            exhausted: false,
            loaded_once: false,
            early: Vec::new(),
            reloads: Vec::new(),
            stopping: false,
        }
    }

    /// Runs until it is told to stop, and then until everything is closed.
    pub async fn run(mut self) {
        let _fault = goodbye::Fault(Arc::clone(&self.services));
        let watchdog = readiness::watchdog_interval().map_or(LONGEST_NAP, |every| every.min(LONGEST_NAP));
        let mut alive_at = self.started;
        while !self.stopping {
            let now = self.clock.now();
            let due = self.fleet.poll_timeout().map(|(at, _)| at.since(now));
            let nap = due.unwrap_or(LONGEST_NAP).min(watchdog);
            tokio::select! {
                biased;
                event = self.inbox.recv() => match event {
                    Some(event) => self.handle(event),
                    None => self.stopping = true,
                },
                () = tokio::time::sleep(nap) => {}
            }
            // What else is there already costs no further look at every tunnel's timers.
            for _ in 0..EVENTS_AT_ONCE {
                if self.stopping {
                    break;
                }
                let Ok(event) = self.inbox.try_recv() else { break };
                self.handle(event);
            }
            let now = self.clock.now();
            if self.fleet.poll_timeout().is_some_and(|(at, _)| at <= now) {
                self.tell(FleetInput::Timeout);
            }
            if !self.early.is_empty() && self.started + FIRST_READING <= now {
                self.answer_early();
            }
            self.end_unlocks();
            // Answers wait in their channels until this loop next yields, so nobody has one before this.
            self.keep_orders(now);
            self.keep_history(now);
            // Not at each event: there may be thousands of them in a second.
            if alive_at <= now {
                alive_at = now + watchdog / 2;
                readiness::watchdog();
            }
        }
        self.say_goodbye().await;
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Tunnel(name, input @ Input::Remote(..)) => {
                self.tell(FleetInput::Tunnel(name.clone(), input));
                self.keep_ports(&name);
            }
            Event::Tunnel(name, input) => self.tell(FleetInput::Tunnel(name, input)),
            Event::Link(name, epoch, said) => self.link_said(name, epoch, said),
            Event::Changed(name, Changed::Credentials) => {
                self.tell(FleetInput::Tunnel(name, Input::CredentialsChanged));
            }
            Event::Changed(name, Changed::KnownHosts) => {
                self.tell(FleetInput::Tunnel(name, Input::KnownHostsChanged));
            }
            Event::Loaded(loaded) => self.loaded(*loaded),
            Event::Asked(asked) if !self.loaded_once && self.clock.now() < self.started + FIRST_READING => {
                self.early.push(asked);
            }
            Event::Asked(asked) => self.asked(asked),
            Event::Question(asker, question) => self.unlocks.asks(asker, question),
            Event::Answers(client, number, answers) => self.unlocks.answers(client, number, answers),
            Event::HungUp(client) => {
                self.person_left(client);
                self.proxies.hung_up(client);
                self.early.retain(|asked| asked.client != client);
                let notebooks = self.notebooks.hung_up(client);
                for (name, wait) in self.waits.hung_up(client).into_iter().chain(notebooks) {
                    self.tell(FleetInput::Tunnel(name, Input::Unwait(wait)));
                }
                self.reloads.retain(|(_, asked)| asked.client != client);
            }
            Event::Notebook(tunnel, notebook, id, done) => self.notebook_did((tunnel, notebook), id, *done),
            Event::Looked(tunnel, notebook, id, health) => self.looked(&(tunnel, notebook), id, *health),
            Event::StatusDue(asked, names) => self.status_due(&asked, &names),
            Event::Raw(client, stream) => self.proxies.raw(client, stream),
            Event::NoWay(asked, name, why) => self.no_way(&asked, &name, why),
            Event::Trusted(asked, name, result) => self.trusted(&asked, name, result),
            Event::Exhausted(exhausted) => self.exhausted(exhausted),
            Event::Nudged(nudge, reason) => {
                self.note(None, &reason);
                self.tell(FleetInput::Nudge(nudge));
            }
            Event::Reload => {
                self.note(None, "asked to read the configuration again");
                readiness::reloading();
                self.watch.reload_now();
            }
            Event::Stop => self.stopping = true,
        }
    }

    fn link_said(&mut self, name: Name, epoch: nbtunnel_core::Epoch, said: LinkEvent) {
        let (report, note) = self.effects.link_said(&name, epoch, said);
        if let Some(note) = note {
            self.note(Some(&name), &note);
        }
        if let Some(report) = report {
            self.tell(FleetInput::Tunnel(name, Input::Link(epoch, report)));
        }
    }

    /// Tells core, and carries out what it says.
    fn tell(&mut self, input: FleetInput) {
        let now = self.clock.now();
        self.fleet.handle(now, input);
        while let Some((name, output)) = self.fleet.poll_output() {
            match output {
                Output::Announce(transition) => self.announce(&name, transition),
                Output::Answer(wait, settled) => {
                    if let Some(settled) = self.notebook_settled(wait, settled) {
                        self.waits.answered(wait, settled);
                    }
                }
                Output::Gone => {
                    self.effects.carry_out(&name, &nbtunnel_core::Policy::default(), Output::Gone, None);
                    self.journal.forget(name.as_str());
                    self.memory.gone(&name, now);
                }
                Output::Connect(_, _, Some(asker)) => {
                    let asker = self.unlocks.asker(asker);
                    self.carry_out(&name, output, asker);
                }
                Output::Notebook(epoch, notebook, id, task) => {
                    self.notebook_task(name, epoch, notebook, id, task);
                }
                Output::Bind(..)
                | Output::Unbind(_)
                | Output::Retarget(..)
                | Output::OwnerOnly(..)
                | Output::Listen(..)
                | Output::Unlisten(..)
                | Output::Forget(_)
                | Output::Repolicy(_)
                | Output::Connect(..)
                | Output::Probe(_)
                | Output::Drain(_)
                | Output::Close(_)
                | Output::Gate(_) => self.carry_out(&name, output, None),
            }
        }
    }

    fn carry_out(&mut self, name: &Name, output: Output, asker: Option<Asker>) {
        let policy = self.fleet.tunnels().get(name).map(|tunnel| tunnel.spec().policy.clone());
        self.effects.carry_out(name, &policy.unwrap_or_default(), output, asker);
    }

    /// Writes down what users said, once for everything that one event brought. Nobody has been told by then:
    /// answers leave when the loop waits.
    fn keep_orders(&mut self, now: Moment) {
        if self.orders_again_at <= now {
            self.orders_again_at = now + LONGEST_NAP;
            self.orders.try_again();
        }
        if let Err(why) = self.orders.keep(self.fleet.remembered()) {
            self.note(None, &format!("what you started and stopped cannot be written down: {why}"));
        }
    }

    fn answer_early(&mut self) {
        for asked in std::mem::take(&mut self.early) {
            self.asked(asked);
        }
    }

    fn exhausted(&mut self, exhausted: bool) {
        if self.exhausted != exhausted {
            self.exhausted = exhausted;
            self.note(
                None,
                if exhausted {
                    "out of file descriptors: new connections wait until some are closed"
                } else {
                    "file descriptors are there again: new connections are taken"
                },
            );
        }
    }

    /// Wakes what waits, because a human did something.
    pub(super) fn nudge(&mut self, name: Name) {
        self.tell(FleetInput::Tunnel(name, Input::Nudge(Nudge::Operator)));
    }
}
