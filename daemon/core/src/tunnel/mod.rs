//! One tunnel: what is wanted of it, its listeners, and the session that it leases.
//!
//! Its state is kept in parts that do not depend on each other (`order` and `spec` say what is wanted,
//! `forwards` and `link` what is); the one word that users see is derived in `look`. Every input only edits
//! these parts; `settle` then brings what is nearer to what is wanted. So no order of inputs can lose an
//! edge. Driven by [`crate::fleet::Fleet`].
//!
//! # Invariants
//!
//! They hold after every input, in whatever order inputs come; the random runs in `tests/properties.rs` check
//! them under these names.
//!
//! What is wanted:
//! - `down_binds_and_connects_nothing`, `down_keeps_nothing`, `down_resets`: where nothing is wanted there is no
//!   `Bind` and no `Connect`, what was there is being closed, and whoever comes is reset.
//! - `parked_stays_parked` until a human, a new route, matching credentials or known_hosts, or the schedule of a
//!   refusal: never by a wake, a network change or somebody who connects.
//! - `on_demand_connects_only_for_somebody`, and goes idle when nobody uses it.
//! - In a fair world everything that is wanted comes about in a bounded number of steps.
//!
//! Links:
//! - `at_most_one_live_link`, but for a second session that is to follow one that is suspect, worn or left unread
//!   and whose login took no person; `at_most_one_link_and_one_to_follow_it`; `drains_what_was_followed`.
//! - `epochs_only_increase` (also when a tunnel is removed and comes back), `connects_only_after_go`,
//!   `connects_where_the_file_says`, `probes_what_is_up`, `closes_what_is_live`.
//! - `serves_only_through_a_link_that_is_up`: `Gate::Serve` names the one link that is up and answers.
//! - `attempts_are_bounded`: delays follow the backoff; only what makes success likelier shortens them.
//!
//! Listeners:
//! - `each_listener_has_its_own_number`, `unbinds_what_listens`: one `Bind` a number, at most one `Unbind` after it.
//! - `an_address_is_free_before_it_is_bound_again`, `binds_what_the_file_says`,
//!   `only_what_the_file_names_listens`, `a_listener_leads_where_the_file_says`, `no_forward_is_forgotten`.
//!
//! Listeners at the far end:
//! - `a_server_is_asked_only_while_it_serves`, `each_request_has_its_own_number`, `asks_for_what_the_file_says`:
//!   only the link that takes new connections is asked to listen.
//! - `only_one_server_listens_for_a_forward`: what was asked of a session before is taken back, or is over with it.
//! - `no_remote_forward_is_forgotten`: while the link serves, each listens, is asked for, or is asked for again.
//!
//! Changes of the file:
//! - `an_address_that_stays_keeps_its_listener`: another target only retargets it.
//! - `only_a_new_route_ends_a_link`, `a_new_way_to_log_in_waits_for_the_next_login`.
//! - `tags_and_policy_change_in_place`: neither link nor listeners notice.
//!
//! Nothing from nothing:
//! - `what_is_stale_changes_nothing`: words about an epoch or a listener that is over, was never asked for, or
//!   cannot say such a thing.
//! - `an_early_timeout_changes_nothing`, `settling_twice_changes_nothing`, `tells_only_changes`,
//!   `transitions_form_a_chain`.
//! - `what_is_under_way_has_a_deadline` (binding, dialling, closing, waiting, up), `stopped_needs_no_timer`, and
//!   `a_timeout_is_followed_by_a_later_one`, so that nothing spins.
//!
//! Waits:
//! - `a_wait_is_answered_at_most_once`, `a_wait_is_answered_when_it_is_over`, `an_answer_is_true`; one that was
//!   withdrawn is never answered. `gone_when_nothing_is_left`: and only then.

mod asked;
mod draining;
mod faring;
mod link;
mod listeners;
mod look;
mod notebooks;
mod orders;
mod remotes;
mod settle;
mod successor;

use std::collections::VecDeque;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::failure::{Failure, FailureKind};
use crate::io::{AskerId, Epoch, Gate, Input, LoginKey, Order, Output, Timer, WaitFor, WaitId};
use crate::moment::Moment;
use crate::notebook::TaskId;
use crate::session::Session;
use crate::spec::{Start, TunnelSpec};
use crate::view::State;

use draining::Draining;
use link::Link;
use listeners::Forward;
use notebooks::Seat;
use remotes::Remote;
use successor::Successor;

/// An orderly close may take so long before it counts as done.
const CLOSE_DEADLINE: Duration = Duration::from_secs(3);
/// A refusal of keys that worked earlier is tried again after these.
const REFUSAL_RETRIES: [Duration; 4] =
    [Duration::from_secs(60), Duration::from_secs(300), Duration::from_secs(900), Duration::from_secs(1800)];

/// What is wanted of a tunnel, from its file and from what users said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Desire {
    /// Nothing: no listener, no link.
    Down,
    /// Listeners; a link while somebody uses it.
    OnDemand,
    /// Listeners and a link.
    Up,
}

/// The state machine of one tunnel.
#[derive(Clone, Debug, PartialEq)]
pub struct Tunnel {
    spec: TunnelSpec,
    /// What a user said, against or for what the file says.
    order: Option<Order>,
    /// The file is gone.
    removing: bool,

    forwards: Vec<Forward>,
    /// Forwards that the file no longer has, until their listeners are closed.
    leaving: Vec<Forward>,
    /// Forwards that listen at the far end.
    remotes: Vec<Remote>,
    seats: Vec<Seat>,
    /// Beyond every task of notebooks that are gone.
    first_task: TaskId,
    /// Somebody waited for one of them a moment ago.
    notebook_wanted: bool,
    next_forward: u32,
    next_request: u64,

    link: Link,
    /// What is to follow the link, while that may still answer. Only beside one that is up.
    successor: Successor,
    /// What came before the link and only finishes what it carries, oldest first.
    draining: Vec<Draining>,
    /// Users know that the link is suspect.
    suspicion_told: bool,
    next_epoch: u64,
    /// Who may be asked at the next attempt, and at the one that is under way.
    asker: Option<AskerId>,
    /// The login that the last attempt needed an answer for.
    needs: Option<LoginKey>,
    /// The login that its link took a person for was opened anew since: a successor takes nobody.
    joins: bool,
    /// Why the session was lost that a person had let in, until users know.
    lost_login: Option<Failure>,
    backoff: Backoff,
    /// The credentials worked at least once.
    authenticated: bool,
    /// How many of [`REFUSAL_RETRIES`] were used up.
    refusals: usize,
    /// How often it came up.
    ups: u64,

    held: u32,
    open: u32,
    /// Since when nobody uses it.
    unused_since: Moment,

    waits: Vec<(WaitId, WaitFor)>,
    gate: Option<Gate>,
    announced: State,
    announced_at: Moment,
    /// Why the next transition happens, for its announcement.
    because: Option<Failure>,
    /// Why the last attempt failed, for those who look while the next one is under way.
    failed_with: Option<Failure>,
    outputs: VecDeque<Output>,
}

impl Tunnel {
    /// A tunnel that does not exist in the world yet. `first_epoch` lies beyond every epoch of an earlier
    /// tunnel of this name; `order` is what a user said before a restart of the daemon.
    pub fn new(now: Moment, spec: TunnelSpec, first_epoch: Epoch, seed: u64, order: Option<Order>) -> Self {
        let mut tunnel = Tunnel {
            forwards: spec.forwards.iter().cloned().map(Forward::new).collect(),
            remotes: spec.remotes.iter().cloned().map(Remote::new).collect(),
            seats: Vec::new(),
            first_task: TaskId(0),
            notebook_wanted: false,
            spec,
            order,
            removing: false,
            leaving: Vec::new(),
            next_forward: 0,
            next_request: 0,
            link: Link::None,
            successor: Successor::None,
            draining: Vec::new(),
            suspicion_told: false,
            next_epoch: first_epoch.0,
            asker: None,
            needs: None,
            joins: false,
            lost_login: None,
            backoff: Backoff::new(seed),
            authenticated: false,
            refusals: 0,
            ups: 0,
            held: 0,
            open: 0,
            unused_since: now,
            waits: Vec::new(),
            gate: None,
            announced: State::Stopped,
            announced_at: now,
            because: None,
            failed_with: None,
            outputs: VecDeque::new(),
        };
        tunnel.seat_notebooks();
        tunnel.settle(now);
        tunnel
    }

    /// Takes in what happened. Total: every input in every state; what does not apply changes nothing.
    pub fn handle(&mut self, now: Moment, input: Input) {
        match input {
            Input::Order(order) => self.ordered(now, order),
            Input::Respec(spec) => self.respec(now, *spec),
            Input::Remove => {
                // Whoever comes under this name later has not been spoken of yet, nor logged in.
                (self.order, self.authenticated) = (None, false);
                self.removing = true;
            }
            Input::Unlock(asker) => self.unlock(now, asker),
            Input::Left(asker) => self.left(asker),
            Input::Opened => self.login_opened(),
            Input::Nudge(nudge) => self.nudged(now, nudge),
            Input::Timeout => self.timed_out(now),
            Input::Listener(id, report) => self.listener_reported(now, id, report),
            Input::Forward(id, report) => self.forward_reported(now, id, report),
            Input::Remote(epoch, id, report) => self.remote_reported(now, epoch, id, report),
            Input::Notebook(name, input) => self.notebook_input(now, &name, input),
            Input::Activity { held, open } => self.activity(now, held, open),
            Input::Link(epoch, report) => self.session_reported(now, epoch, report),
            Input::Go => self.go(now),
            Input::CredentialsChanged => self.unpark(|kind| {
                matches!(
                    kind,
                    FailureKind::NoCredentials | FailureKind::AuthRefused | FailureKind::PassphraseNeeded
                )
            }),
            Input::KnownHostsChanged => {
                self.unpark(|kind| matches!(kind, FailureKind::HostKeyUnknown | FailureKind::HostKeyChanged))
            }
            // An attempt met what was wrong for a while and left no trace in the spec.
            Input::FilesRead => self.unpark(|kind| kind == FailureKind::Config),
            Input::AddressesFreed => self.retry_listeners(now, |kind| kind == FailureKind::PortInUse),
            Input::Wait(id, wait) => self.waits.push((id, wait)),
            Input::Unwait(id) => {
                self.waits.retain(|(waiting, _)| *waiting != id);
                self.notebooks_unwait(id);
            }
        }
        self.settle(now);
    }

    /// The next thing to be done; to be drained until `None` after every [`Tunnel::handle`].
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When it wants [`Input::Timeout`], and why.
    pub fn poll_timeout(&self) -> Option<Timer> {
        let listeners = self.forwards.iter().chain(&self.leaving).filter_map(Forward::timer);
        let policy = &self.spec.policy;
        let links =
            [self.link.timer(policy), self.successor_timer(), self.draining_timer(), self.remotes_timer()];
        listeners
            .chain(links.into_iter().flatten())
            .chain(self.idle_timer())
            .chain(self.notebooks_timer())
            .min()
    }

    /// What is wanted of it.
    pub fn desire(&self) -> Desire {
        if self.removing {
            return Desire::Down;
        }
        match (self.order, self.spec.start) {
            (Some(Order::Stop), _) | (None, Start::Manual) => Desire::Down,
            (_, Start::Demand) => Desire::OnDemand,
            (Some(Order::Start | Order::Restart), _) | (None, Start::Login) => Desire::Up,
        }
    }

    /// On demand, and nobody waits for a link.
    fn is_unneeded(&self) -> bool {
        self.desire() == Desire::OnDemand
            && self.held == 0
            && self.asker.is_none()
            && !self.wants_a_notebook()
    }

    /// What its file says.
    pub fn spec(&self) -> &TunnelSpec {
        &self.spec
    }

    /// What a user said last, if anything.
    pub fn order(&self) -> Option<Order> {
        self.order
    }

    /// Whether its file is gone, and it only stays until nothing of it is left.
    pub fn is_leaving(&self) -> bool {
        self.removing
    }

    /// How many local connections wait for it.
    pub fn held(&self) -> u32 {
        self.held
    }

    /// The epoch after the last one used.
    pub fn next_epoch(&self) -> Epoch {
        Epoch(self.next_epoch)
    }

    /// The session that waits for its turn or dials; a tunnel has at most one.
    fn dialling(&self) -> Option<&Session> {
        let link = self.link.session().filter(|session| !session.is_up());
        link.or(self.successor.session())
    }

    /// Since when it waits for its turn to dial.
    pub fn queued_since(&self) -> Option<Moment> {
        self.dialling().filter(|session| session.is_queued())?.dialling_since()
    }

    /// Since when it dials, its turn having come.
    pub fn dialling_since(&self) -> Option<Moment> {
        self.dialling().filter(|session| !session.is_queued())?.dialling_since()
    }

    fn emit(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    fn timed_out(&mut self, now: Moment) {
        self.listeners_timed_out(now);
        self.remotes_timed_out(now);
        self.link_timed_out(now);
        self.successor_timed_out(now);
        self.draining_timed_out(now);
        self.notebooks_timed_out(now);
    }

    fn activity(&mut self, now: Moment, held: u32, open: u32) {
        let was_used = self.held > 0 || self.open > 0;
        let is_used = held > 0 || open > 0;
        if was_used != is_used {
            self.unused_since = now;
        }
        self.held = held;
        self.open = open;
    }
}
