//! The sessions that several links use: those to jump hosts, those for which somebody typed an answer, and those
//! of tunnels that share.
//!
//! Who wants one that is not there boards the flight that is under way, or begins one. A session lives for as long
//! as somebody holds it; one that took a person is kept here for as long as a tunnel that used it is wanted.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use nbtunnel_core::{Failure, FailureKind, LinkReport};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Links;
use super::auth::Asked;
use super::count::{Count, One};
use super::hop::{Hop, Key, key};
use super::logged_in::{Lease, LoggedIn, silent};
use super::reach::Approach;
use super::report::{Audience, LinkEvent, Reporter};
use super::sight::Seen;
use crate::ask::Asker;

/// What a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It is the way to another machine.
    Jump {
        /// Whether somebody only looks at that way.
        is_looked_at: bool,
    },
    /// A tunnel ends there, whose file may say `share`.
    Server {
        /// What the file says.
        share: bool,
    },
    /// Somebody looks how far one gets, with a session of nobody else's unless that took an answer: as far as the
    /// login, even with nothing to log in with.
    Look,
    /// Somebody shows keys to it, whatever else is known of it: with a session of nobody else's, even when nobody can
    /// sign with them.
    Try,
}

impl Role {
    /// Whether others may use it even though nobody was asked.
    pub(super) fn is_offered(self) -> bool {
        matches!(self, Role::Jump { .. } | Role::Server { share: true })
    }

    /// Whether somebody only looks at the server itself.
    pub(super) fn is_look_at_server(self) -> bool {
        matches!(self, Role::Look | Role::Try)
    }

    /// Whether nobody but a doctor wants it.
    pub(super) fn is_look(self) -> bool {
        matches!(self, Role::Look | Role::Try | Role::Jump { is_looked_at: true })
    }
}

/// What a link wants.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) jumps: &'a [Hop],
    pub(super) to: &'a Hop,
    pub(super) role: Role,
    pub(super) tunnel: &'a str,
    pub(super) reporter: &'a Arc<Reporter>,
    pub(super) asker: Option<&'a Asker>,
}

/// All sessions that may be used by several.
#[derive(Default)]
pub(super) struct Pool(Mutex<State>);

#[derive(Default)]
struct State {
    sessions: HashMap<Key, Weak<LoggedIn>>,
    flights: HashMap<Key, Arc<Flight>>,
    /// Logins that somebody has to answer something for.
    takes_answers: HashSet<Key>,
    /// Those that took a person.
    kept: HashMap<Key, Arc<LoggedIn>>,
    /// The logins on the way of each tunnel that is wanted.
    ways: HashMap<String, HashSet<Key>>,
}

/// A login that is under way. It goes on for as long as somebody waits for it.
struct Flight {
    passengers: Count,
    audience: Audience,
    landed: watch::Sender<Option<Result<Arc<LoggedIn>, Failure>>>,
}

/// What to do for a link.
enum Next {
    Use(Arc<LoggedIn>),
    Board(Arc<Flight>, One),
    /// Nobody else's, so that it is gone to without the pool; as far as the login, if that is known to fail.
    Alone(Option<Failure>),
}

impl Pool {
    /// A share in the session that is wanted: one that is there, or a new one.
    ///
    /// # Errors
    /// Why it could not be had. `answer_needed` without a word to the server, when it is known to ask; whoever only
    /// looks goes as far as the login.
    pub(super) async fn get(&self, links: &Arc<Links>, wanted: Wanted<'_>) -> Result<Lease, Failure> {
        let key = key(wanted.jumps, wanted.to);
        wanted.reporter.saw(wanted.to, Seen::Turn);
        if wanted.role == Role::Try {
            let gone = wanted.approach(links, Arc::clone(wanted.reporter), None).go().await?;
            return Ok(Lease::new(Arc::new(gone), wanted.tunnel));
        }
        let mut is_first = false;
        loop {
            let next = self.next(links, &key, wanted, &mut is_first)?;
            let landed = match next {
                Next::Use(session) => {
                    if session.answers().await {
                        if let Some(audience) = &session.audience {
                            audience.add(wanted.reporter);
                        }
                        return Ok(Lease::new(session, wanted.tunnel));
                    }
                    if session.is_there() && session.asked != Asked::Nobody && wanted.asker.is_none() {
                        return Err(silent(&session.shared.hop));
                    }
                    self.set_aside(&key, &session);
                    continue;
                }
                Next::Alone(no_login) => {
                    let (is_look, reporter) = (no_login.is_some(), Arc::clone(wanted.reporter));
                    let approach = Approach { no_login, ..wanted.approach(links, reporter, None) };
                    match approach.go().await {
                        Ok(gone) => return Ok(Lease::new(Arc::new(gone), wanted.tunnel)),
                        // Somebody answered meanwhile, for another tunnel.
                        Err(why) if why.kind.wants_an_answer() && !is_look && self.has_answered(&key) => {
                            continue;
                        }
                        Err(why) => {
                            self.failed(&key, &why);
                            return Err(why);
                        }
                    }
                }
                Next::Board(flight, _seat) => {
                    flight.audience.add(wanted.reporter);
                    let mut landed = flight.landed.subscribe();
                    drop(flight);
                    let landed = landed.wait_for(Option::is_some).await.map(|landed| landed.clone());
                    landed.ok().flatten()
                }
            };
            match landed {
                Some(Ok(session)) if is_first || wanted.may_use(&session) => {
                    return Ok(Lease::new(session, wanted.tunnel));
                }
                // It turned out to be somebody's own.
                Some(Ok(_)) => {}
                // Whoever was asked, if anybody, gave no answer: somebody else is here who may.
                Some(Err(why)) if why.kind.wants_an_answer() && wanted.asker.is_some() && !is_first => {}
                Some(Err(why)) => return Err(why),
                None => return Err(lost(wanted.to)),
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks what there is, and begins a flight if there is nothing.
    fn next(
        &self,
        links: &Arc<Links>,
        key: &Key,
        wanted: Wanted<'_>,
        is_first: &mut bool,
    ) -> Result<Next, Failure> {
        let mut state = self.state();
        let there = state.sessions.get(key).and_then(Weak::upgrade).filter(|session| session.is_there());
        // Whoever has it and wants another one has a reason to doubt it, or to replace it.
        if let Some(session) = there
            && wanted.may_use(&session)
            && !(matches!(wanted.role, Role::Server { .. }) && session.is_held_by(wanted.tunnel))
        {
            return Ok(Next::Use(session));
        }
        if let Some(flight) = state.flights.get(key)
            && let Some(seat) = flight.passengers.one()
        {
            *is_first = false;
            return Ok(Next::Board(Arc::clone(flight), seat));
        }
        let takes_answers = state.takes_answers.contains(key);
        if wanted.asker.is_none() && takes_answers {
            drop(state);
            wanted.reporter.tell(LinkEvent::Report(LinkReport::Needs(wanted.to.login_key())));
            let why = needs_answer(wanted);
            return if wanted.role.is_look() { Ok(Next::Alone(Some(why))) } else { Err(why) };
        }
        if wanted.asker.is_none() && !wanted.role.is_offered() {
            return Ok(Next::Alone(None));
        }
        let flight = Arc::new(Flight {
            passengers: Count::default(),
            audience: Audience::default(),
            landed: watch::Sender::new(None),
        });
        let Some(seat) = flight.passengers.one() else { return Err(lost(wanted.to)) };
        state.flights.insert(key.clone(), Arc::clone(&flight));
        *is_first = true;
        let reporter = flight.audience.reporter(wanted.tunnel);
        let approach = wanted.approach(links, reporter, Some(flight.audience.clone()));
        links.data.spawn(fly(Arc::clone(links), key.clone(), Arc::clone(&flight), approach));
        Ok(Next::Board(flight, seat))
    }

    /// Whether there is a session that somebody answered for.
    fn has_answered(&self, key: &Key) -> bool {
        let session = self.state().sessions.get(key).and_then(Weak::upgrade);
        session.is_some_and(|session| session.is_there() && session.asked == Asked::Typed)
    }

    /// Nobody new uses it from now on.
    fn set_aside(&self, key: &Key, session: &Arc<LoggedIn>) {
        let mut state = self.state();
        if state.sessions.get(key).is_some_and(|known| Weak::as_ptr(known) == Arc::as_ptr(session)) {
            state.sessions.remove(key);
        }
        let kept = state.kept.get(key).is_some_and(|kept| Arc::ptr_eq(kept, session));
        let kept = kept.then(|| state.kept.remove(key));
        drop(state);
        drop(kept);
    }

    fn failed(&self, key: &Key, why: &Failure) {
        if why.kind == FailureKind::AnswerNeeded {
            self.state().takes_answers.insert(key.clone());
        }
    }

    /// A flight is over.
    fn landed(&self, key: &Key, flight: &Arc<Flight>, result: &Result<Arc<LoggedIn>, Failure>) {
        let mut state = self.state();
        if state.flights.get(key).is_some_and(|known| Arc::ptr_eq(known, flight)) {
            state.flights.remove(key);
        }
        let session = match result {
            Ok(session) => session,
            Err(why) => {
                drop(state);
                return self.failed(key, why);
            }
        };
        if session.asked == Asked::Typed {
            state.takes_answers.insert(key.clone());
        } else {
            state.takes_answers.remove(key);
        }
        if session.asked == Asked::Typed || session.is_offered {
            state.sessions.insert(key.clone(), Arc::downgrade(session));
            let is_wanted = state.ways.values().any(|way| way.contains(key));
            if session.asked != Asked::Nobody && is_wanted {
                // A kept one that it replaces was set aside, or is held by whoever has it.
                state.kept.insert(key.clone(), Arc::clone(session));
            }
        }
        state.sessions.retain(|_, session| session.strong_count() > 0);
    }

    /// The way of `tunnel` leads over these machines now: over none of them when it is not wanted any more.
    /// Returns what nobody wants any more, to be given up.
    pub(super) fn leads_over(&self, tunnel: &str, way: HashSet<Key>) -> Vec<Lease> {
        let mut state = self.state();
        if way.is_empty() {
            state.ways.remove(tunnel);
        } else {
            state.ways.insert(tunnel.to_owned(), way);
        }
        let State { kept, ways, .. } = &mut *state;
        let unwanted = kept
            .extract_if(|key, session| !session.is_there() || !ways.values().any(|way| way.contains(key)));
        unwanted.map(|(_, session)| Lease::new(session, tunnel)).collect()
    }
}

/// One flight, from its beginning to its end.
async fn fly(links: Arc<Links>, key: Key, flight: Arc<Flight>, approach: Approach) {
    let hop = approach.to.clone();
    let reporter = Arc::clone(&approach.reporter);
    // A task of its own, so that a panic in it is this login's failure and nobody else's.
    let mut going = JoinSet::new();
    going.spawn(approach.go());
    let result = tokio::select! {
        gone = going.join_next() => match gone {
            Some(Ok(gone)) => gone.map(Arc::new),
            Some(Err(_)) | None => Err(lost(&hop)),
        },
        // Nobody wants it any more, and nobody can board it.
        () = flight.passengers.closed() => Err(lost(&hop)),
    };
    links.pool.landed(&key, &flight, &result);
    if matches!(&result, Ok(session) if session.asked == Asked::Typed) {
        // Only now: whoever comes because of it finds the session. And before it is given to anybody: who is up by then
        // is up over another one.
        reporter.tell(LinkEvent::Report(LinkReport::Opened(hop.login_key())));
    }
    let to_forget = result.as_ref().ok().filter(|session| session.asked != Asked::Nobody).map(Arc::clone);
    flight.landed.send_replace(Some(result));
    drop(flight);
    if let Some(session) = to_forget {
        let gone = session.shared.gone.clone();
        let session = {
            let weak = Arc::downgrade(&session);
            drop(session);
            weak
        };
        gone.cancelled().await;
        if let Some(session) = session.upgrade() {
            links.pool.set_aside(&key, &session);
        }
    }
}

impl Wanted<'_> {
    fn approach(&self, links: &Arc<Links>, reporter: Arc<Reporter>, audience: Option<Audience>) -> Approach {
        Approach {
            links: Arc::clone(links),
            jumps: self.jumps.to_vec(),
            to: self.to.clone(),
            role: self.role,
            tunnel: self.tunnel.to_owned(),
            reporter,
            audience,
            asker: self.asker.cloned(),
            no_login: None,
            by: None,
        }
    }

    /// Whether it is one that several may use, and this one may.
    fn may_use(&self, session: &LoggedIn) -> bool {
        session.asked == Asked::Typed || session.is_offered && self.role.is_offered()
    }
}

fn needs_answer(wanted: Wanted<'_>) -> Failure {
    Failure::new(
        FailureKind::AnswerNeeded,
        format!("{} asks {} for something that only a person can answer", wanted.to.label(), wanted.to.user),
        format!("answer it with `nbctl unlock {}`", wanted.tunnel),
    )
}

fn lost(hop: &Hop) -> Failure {
    Failure::new(
        FailureKind::Internal,
        format!("the login at {} failed inside nbtunnel", hop.label()),
        "it is tried again by itself; please report it, with the daemon's log",
    )
}
