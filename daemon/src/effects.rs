//! Carries out what core asks for. Keeps one room a tunnel: its listeners, its links, its gate.
//!
//! Nothing here decides anything. Results come back as events, marked with the epoch or the forward that
//! they belong to.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use nbtunnel_core::{Epoch, FailureKind, ForwardId, Gate, LinkReport, Name, Output, Policy, Route, WakesOn};
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::ask::Asker;
use crate::event::{Event, Events};
use crate::forward::FarSide;
use crate::forward::carrier::{Carrier, GateNow};
use crate::forward::{Activity, Forward, Proxy, RemoteForward, ServerAt, Services, Tally};
use crate::ssh::{Changed, Hop, Link, LinkEvent, Links, Lookout, OfferedKey, Plan, Snapshot};

/// Everything that the daemon holds in the world.
pub struct Effects {
    events: Events,
    links: Arc<Links>,
    services: Arc<Services>,
    lookout: Lookout,
    rooms: HashMap<Name, Room>,
}

/// What one tunnel holds in the world.
struct Room {
    gate: watch::Sender<GateNow>,
    policy: watch::Sender<Policy>,
    activity: Arc<Activity>,
    forwards: HashMap<ForwardId, Forward>,
    remotes: HashMap<ForwardId, RemoteForward>,
    links: HashMap<Epoch, Dialled>,
    carriers: HashMap<Epoch, Arc<dyn Carrier>>,
    server_at: ServerAt,
    /// The last login took a person.
    asked: bool,
    /// The host key that was shown last and not trusted, by which machine, and on which way.
    offered: Option<(Route, Hop, OfferedKey)>,
    /// Where the newest link goes, and over which machines.
    planned: Option<Plan>,
    /// What could be offered at the last attempt.
    looked: Option<Snapshot>,
}

/// A link and where it leads, which the file may have changed since.
struct Dialled {
    link: Link,
    route: Route,
}

impl Effects {
    /// Holds nothing yet.
    pub fn new(events: Events, links: Arc<Links>, services: Arc<Services>, runtime: Handle) -> Self {
        let changes = events.clone();
        let lookout = Lookout::new(
            &runtime,
            Arc::clone(links.agents()),
            Arc::new(move |tunnel: &str, changed: Changed| {
                if let Ok(name) = Name::parse(tunnel) {
                    let _ = changes.send(Event::Changed(name, changed));
                }
            }),
        );
        Effects { events, links, services, lookout, rooms: HashMap::new() }
    }

    /// Somebody's environment names an SSH agent, which may serve where ours names none.
    pub fn agent_is_at(&self, place: PathBuf) {
        self.links.agents().passed_by_nbctl(place);
    }

    /// Carries out one output. Those that are for people ([`Output::Announce`], [`Output::Answer`]) are the
    /// driver's. `asker` is the person whom a link may ask.
    pub fn carry_out(&mut self, name: &Name, policy: &Policy, output: Output, asker: Option<Asker>) {
        if output == Output::Gone {
            self.lookout.unwatch(name.as_str());
            self.links.unwanted(name.as_str());
            self.rooms.remove(name);
            return;
        }
        let events = &self.events;
        let room = self.rooms.entry(name.clone()).or_insert_with(|| Room::new(name, policy, events));
        match output {
            Output::Bind(id, spec) => {
                let forward = Forward::spawn(
                    &self.services,
                    id,
                    spec,
                    room.policy.subscribe(),
                    room.gate.subscribe(),
                    Arc::clone(&room.activity),
                    report(name, events),
                );
                room.forwards.insert(id, forward);
            }
            Output::Unbind(id) => {
                if let Some(forward) = room.forwards.remove(&id) {
                    forward.unbind();
                }
            }
            Output::Retarget(id, target) => {
                if let Some(forward) = room.forwards.get(&id) {
                    forward.retarget(target);
                } else if let Some(remote) = room.remotes.get(&id) {
                    remote.retarget(target);
                }
            }
            Output::OwnerOnly(id, owner_only) => {
                if let Some(forward) = room.forwards.get(&id) {
                    forward.set_owner_only(owner_only);
                }
            }
            Output::Listen(epoch, id, spec) => {
                let at = spec.listen.clone();
                let remote = room.remotes.entry(id.forward).or_insert_with(|| {
                    let (policy, activity) = (room.policy.subscribe(), Arc::clone(&room.activity));
                    let report = report(name, events);
                    RemoteForward::new(&self.services, id.forward, spec, policy, activity, report)
                });
                // Where there is none, the link is over, and that is on its way to core.
                if let Some(carrier) = room.carriers.get(&epoch) {
                    remote.listen(epoch, id, at, carrier);
                }
            }
            Output::Unlisten(epoch, id) => {
                if let (Some(carrier), Some(remote)) =
                    (room.carriers.get(&epoch), room.remotes.get(&id.forward))
                {
                    remote.unlisten(epoch, id, carrier);
                }
            }
            Output::Forget(id) => {
                room.remotes.remove(&id);
            }
            Output::Repolicy(policy) => {
                room.policy.send_replace(policy);
            }
            Output::Connect(epoch, route, _) => {
                let (name, events) = (name.clone(), events.clone());
                let (tunnel, to) = (name.to_string(), (*route).clone());
                let link = self.links.spawn_link(
                    &tunnel,
                    *route,
                    room.policy.subscribe(),
                    asker,
                    Arc::new(move |said| {
                        let _ = events.send(Event::Link(name.clone(), epoch, said));
                    }),
                );
                room.links.insert(epoch, Dialled { link, route: to });
            }
            Output::Probe(epoch) => {
                if let Some(dialled) = room.links.get(&epoch) {
                    dialled.link.probe();
                }
            }
            Output::Drain(epoch) => {
                if let Some(dialled) = room.links.get(&epoch) {
                    dialled.link.drain();
                }
            }
            Output::Close(epoch) => {
                room.carriers.remove(&epoch);
                if let Some(dialled) = room.links.get(&epoch) {
                    dialled.link.close();
                }
            }
            Output::Gate(gate) => room.set_gate(gate),
            Output::Notebook(..) | Output::Announce(_) | Output::Answer(..) | Output::Gone => {}
        }
    }

    /// Takes in what a link says, and returns what of it core has to know and what people may want to know.
    pub fn link_said(
        &mut self,
        name: &Name,
        epoch: Epoch,
        said: LinkEvent,
    ) -> (Option<LinkReport>, Option<String>) {
        let Some(room) = self.rooms.get_mut(name) else { return (None, None) };
        match said {
            LinkEvent::Report(report) => {
                match report {
                    LinkReport::Lost(_) | LinkReport::Closed => {
                        room.links.remove(&epoch);
                        room.carriers.remove(&epoch);
                    }
                    LinkReport::Up => room.offered = None,
                    LinkReport::Asked | LinkReport::Typed(_) => room.asked = true,
                    LinkReport::Step(_)
                    | LinkReport::Asking(_)
                    | LinkReport::Needs(_)
                    | LinkReport::Opened(_)
                    | LinkReport::Answers(_)
                    | LinkReport::Heard
                    | LinkReport::Unanswered
                    | LinkReport::AddressGone
                    | LinkReport::Clogged(_)
                    | LinkReport::Worn
                    | LinkReport::Drained => {}
                }
                return (Some(report), None);
            }
            LinkEvent::Answered(question, took) => {
                let newest = room.links.get(&epoch).map(|dialled| dialled.link.questions());
                let is_newest = newest == Some(question);
                return (Some(if is_newest { LinkReport::Answers(took) } else { LinkReport::Heard }), None);
            }
            LinkEvent::Carrier(carrier) => {
                room.carriers.insert(epoch, carrier);
                // Whoever was asked, it says right after this.
                room.asked = false;
            }
            LinkEvent::HostKey(shown) => {
                let (hop, offered) = *shown;
                room.offered = room.links.get(&epoch).map(|dialled| (dialled.route.clone(), hop, offered));
            }
            LinkEvent::Planned(plan) => room.planned = Some(*plan),
            LinkEvent::Looked(looked) => room.looked = Some(looked),
            LinkEvent::Note(text) => return (None, Some(text)),
            LinkEvent::Saw(_) => {}
        }
        (None, None)
    }

    /// A way over what the tunnel leads by, for somebody who is no forward.
    pub fn proxy(&self, name: &Name) -> Option<Proxy> {
        let room = self.rooms.get(name)?;
        let (policy, gate) = (room.policy.subscribe(), room.gate.subscribe());
        Some(Proxy::new(&self.services, policy, gate, &room.activity, room.server_at.clone()))
    }

    /// Nobody wants a tunnel any more, nor what was kept for it.
    pub fn unwanted(&self, name: &Name) {
        self.links.unwanted(name.as_str());
    }

    /// Looks out for what a tunnel waits for that is parked, or whose link could not be followed.
    pub fn look_out(&mut self, name: &Name, refused: Option<FailureKind>) {
        self.lookout.unwatch(name.as_str());
        let Some(nbtunnel_core::Verdict::Park(wakes_on)) = refused.map(FailureKind::verdict) else { return };
        let what = match wakes_on {
            WakesOn::Human => return,
            WakesOn::Credentials => Changed::Credentials,
            WakesOn::KnownHosts => Changed::KnownHosts,
        };
        if let Some(looked) = self.rooms.get(name).and_then(|room| room.looked.clone()) {
            self.lookout.watch(name.as_str(), looked, what);
        }
    }

    /// The host key that was shown last on the way of `route` and not trusted, and which machine showed it. What
    /// was shown on another way says nothing about this one.
    pub fn offered(&self, name: &Name, route: &Route) -> Option<(&Hop, &OfferedKey)> {
        let (shown_at, hop, offered) = self.rooms.get(name)?.offered.as_ref()?;
        shown_at.leads_where(route).then_some((hop, offered))
    }

    /// The far end of this link, while it is there.
    pub fn far_side(&self, name: &Name, epoch: Epoch) -> Option<Arc<dyn FarSide>> {
        let carrier = self.rooms.get(name)?.carriers.get(&epoch)?;
        Some(Arc::clone(carrier) as Arc<dyn FarSide>)
    }

    /// The far end of the link that takes new connections, if there is one.
    pub fn far_side_now(&self, name: &Name) -> Option<Arc<dyn FarSide>> {
        match &*self.rooms.get(name)?.gate.borrow() {
            GateNow::Serve(carrier) => Some(Arc::clone(carrier) as Arc<dyn FarSide>),
            GateNow::Hold | GateNow::Reset => None,
        }
    }

    /// What all links share.
    pub fn links(&self) -> &Arc<Links> {
        &self.links
    }

    /// Where its newest link goes, as it was found out last.
    pub fn planned(&self, name: &Name) -> Option<&Plan> {
        self.rooms.get(name)?.planned.as_ref()
    }

    /// Whether its last login took a person.
    pub fn asked(&self, name: &Name) -> bool {
        self.rooms.get(name).is_some_and(|room| room.asked)
    }

    /// The counters of one forward.
    pub fn tally(&self, name: &Name, id: ForwardId) -> Option<&Arc<Tally>> {
        let room = self.rooms.get(name)?;
        let here = room.forwards.get(&id).map(Forward::tally);
        here.or_else(|| room.remotes.get(&id).map(RemoteForward::tally))
    }

    /// Closes every listener, or leaves it to whoever keeps it for the next daemon, and begins to close every
    /// link.
    pub fn close_all(&mut self) {
        self.links.forget_passphrases();
        self.services.leave_listeners();
        for room in self.rooms.values_mut() {
            for (_, forward) in room.forwards.drain() {
                forward.unbind();
            }
            room.remotes.clear();
            room.gate.send_replace(GateNow::Reset);
            room.links.values().for_each(|dialled| dialled.link.close());
        }
    }

    /// How many links are not over yet.
    pub fn links_left(&self) -> usize {
        self.rooms.values().map(|room| room.links.len()).sum()
    }
}

impl Room {
    fn new(name: &Name, policy: &Policy, events: &Events) -> Self {
        Room {
            gate: watch::Sender::new(GateNow::Hold),
            policy: watch::Sender::new(policy.clone()),
            activity: Activity::new(report(name, events)),
            forwards: HashMap::new(),
            remotes: HashMap::new(),
            links: HashMap::new(),
            carriers: HashMap::new(),
            server_at: ServerAt::default(),
            asked: false,
            offered: None,
            planned: None,
            looked: None,
        }
    }

    fn set_gate(&mut self, gate: Gate) {
        let now = match gate {
            Gate::Hold => GateNow::Hold,
            Gate::Reset => GateNow::Reset,
            // A link that is up has said who carries for it. Should that ever not be so, waiting is safe.
            Gate::Serve(epoch) => {
                self.carriers.get(&epoch).map_or(GateNow::Hold, |carrier| GateNow::Serve(Arc::clone(carrier)))
            }
        };
        self.gate.send_replace(now);
    }
}

/// How the listeners of a tunnel report.
fn report(name: &Name, events: &Events) -> crate::forward::Report {
    let (name, events) = (name.clone(), events.clone());
    Arc::new(move |input| {
        let _ = events.send(Event::Tunnel(name.clone(), input));
    })
}
