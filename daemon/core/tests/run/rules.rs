//! The rules that concern a state, or a step from one to the next.

use std::time::Duration;

use nbtunnel_core::session::ANSWER_DEADLINE;
use nbtunnel_core::tunnel::Desire;
use nbtunnel_core::{
    Asks, FailureKind, Gate, Health, Input, Moment, Nudge, Order, Output, State, Tunnel, WaitFor,
};

use super::facts::{LinkFact, Listener, ListenerFact, all_listen, all_listen_here};
use super::ledger::{BIND_DEADLINE, CLOSE_DEADLINE, Ledger};
use super::{Checked, Machine, NOTHING, hold, told};

/// Thirty seconds and the fifth of it that chance may add.
const LONGEST_DELAY: Duration = Duration::from_secs(36);

/// The longest that is drawn.
const LONGEST_DRAIN: Duration = Duration::from_millis(3_600_037);

/// One input and what came of it.
pub(super) struct Step<'a, M> {
    pub(super) now: Moment,
    pub(super) before: &'a M,
    pub(super) after: &'a M,
    pub(super) input: &'a Input,
    /// It is about something that is over or never was.
    pub(super) stale: bool,
    pub(super) outputs: &'a [Output],
    pub(super) ledger: &'a Ledger,
}

pub(super) fn check<M: Machine>(step: &Step<'_, M>) -> Checked {
    nothing_changes_nothing(step)?;
    down_is_down(step)?;
    every_state_has_its_timer(step)?;
    forwards_are_served(step)?;
    super::remotes::check(step)?;
    parked_stays_parked(step)?;
    waits_end(step)?;
    super::respecs::check(step)?;
    let said = || step.said();
    let serves = match step.ledger.gate() {
        Some(Gate::Serve(epoch)) => matches!(step.ledger.links().get(&epoch), Some(LinkFact::Up { .. })),
        Some(Gate::Hold | Gate::Reset) => true,
        None => false,
    };
    hold("serves_only_through_a_link_that_is_up", serves, said)?;
    let links = step.ledger.links().values();
    let up = links.clone().filter(|link| matches!(link, LinkFact::Up { .. })).count();
    let dialling = links.filter(|link| matches!(link, LinkFact::Dialling)).count();
    hold("at_most_one_link_and_one_to_follow_it", up <= 1 && dialling <= 1, said)?;
    hold("transitions_form_a_chain", step.ledger.word() == step.tunnel().state().word(), said)
}

impl<M: Machine> Step<'_, M> {
    pub(super) fn tunnel(&self) -> &Tunnel {
        self.after.tunnel()
    }

    pub(super) fn said(&self) -> String {
        format!("{:?} led to {:?} and from {:?} to {:?}", self.input, self.outputs, self.before, self.after)
    }
}

/// Stale reports, early timeouts and a second settling.
fn nothing_changes_nothing<M: Machine>(step: &Step<'_, M>) -> Checked {
    let inert = |rule, from: &M, input: Input| {
        let mut machine = from.clone();
        let outputs = told(&mut machine, step.now, input);
        hold(rule, outputs.is_empty() && machine == *from, || {
            format!("after {:?}: {outputs:?} and from {from:?} to {machine:?}", step.input)
        })
    };
    // A removed tunnel is never asked again once nothing of it is left.
    if !step.outputs.contains(&Output::Gone) {
        inert("settling_twice_changes_nothing", step.after, NOTHING)?;
        if step.after.poll_timeout().is_none_or(|(at, _)| at > step.now) {
            inert("an_early_timeout_changes_nothing", step.after, Input::Timeout)?;
        }
    }
    if *step.input == Input::Timeout {
        let later = step.after.poll_timeout().is_none_or(|(at, _)| at > step.now);
        hold("a_timeout_is_followed_by_a_later_one", later, || step.said())?;
    }
    if step.stale {
        // Not simply "as before": a timer may be overdue, and any input brings that to light.
        let mut unaware = step.before.clone();
        let outputs = told(&mut unaware, step.now, NOTHING);
        let same = unaware == *step.after && outputs == step.outputs;
        hold("what_is_stale_changes_nothing", same, || step.said())?;
    }
    Ok(())
}

fn down_is_down<M: Machine>(step: &Step<'_, M>) -> Checked {
    if step.tunnel().desire() != Desire::Down {
        return Ok(());
    }
    let links = step.ledger.links().values();
    let live = links.clone().any(|link| link.is_live());
    let listens = step.ledger.listeners().values().any(|listener| listener.listens());
    let queued = step.tunnel().queued_since().is_some();
    hold("down_keeps_nothing", !live && !listens && !queued, || step.said())?;
    hold("down_resets", step.ledger.gate() == Some(Gate::Reset), || step.said())
}

fn every_state_has_its_timer<M: Machine>(step: &Step<'_, M>) -> Checked {
    let tunnel = step.tunnel();
    let timer = step.after.poll_timeout().map(|(at, _)| at);
    let by = |moment: Moment| {
        hold("what_is_under_way_has_a_deadline", timer.is_some_and(|at| at <= moment), || step.said())
    };
    for listener in step.ledger.listeners().values() {
        match listener.fact {
            ListenerFact::Asked { at } => by(at + BIND_DEADLINE)?,
            ListenerFact::Closing { at, .. } if at + CLOSE_DEADLINE > step.now => by(at + CLOSE_DEADLINE)?,
            ListenerFact::Closing { .. } | ListenerFact::Bound | ListenerFact::Gone => {}
        }
    }
    let draining = |link: &LinkFact| matches!(link, LinkFact::Draining { .. });
    if step.ledger.links().values().any(draining) {
        by(step.now + LONGEST_DRAIN)?;
    }
    for link in step.ledger.links().values() {
        if let LinkFact::Closing { at } = link
            && *at + CLOSE_DEADLINE > step.now
        {
            by(*at + CLOSE_DEADLINE)?;
        }
    }
    let policy = &tunnel.spec().policy;
    match tunnel.state() {
        State::Binding => by(step.now + BIND_DEADLINE)?,
        // Deadlines that were set under an older policy stand.
        State::Connecting if tunnel.queued_since().is_none() => {
            let usual = policy.connect_timeout.max(Duration::from_millis(20_019));
            let asks = tunnel.view(step.now).asks != Asks::Nobody;
            by(step.now + if asks { ANSWER_DEADLINE } else { usual })?;
        }
        State::Closing => by(step.now + CLOSE_DEADLINE)?,
        State::Waiting => {
            by(step.now + LONGEST_DELAY)?;
            let retry_in = tunnel.view(step.now).retry_in;
            hold("what_is_under_way_has_a_deadline", retry_in.is_some(), || step.said())?;
        }
        State::Up => {
            // One that is left unread waits for its reader alone.
            let health = tunnel.view(step.now).health;
            let unread = step.ledger.gate() == Some(Gate::Hold) && health == Some(Health::Ok);
            hold("what_is_under_way_has_a_deadline", timer.is_some() || unread, || step.said())?;
        }
        State::Stopped => hold("stopped_needs_no_timer", timer.is_none(), || step.said())?,
        State::Connecting | State::Idle | State::Parked => {}
    }
    Ok(())
}

/// Each forward of a wanted tunnel listens, is about to, or has failed and will be tried again; and where it
/// listens, it leads where the file says.
fn forwards_are_served<M: Machine>(step: &Step<'_, M>) -> Checked {
    let tunnel = step.tunnel();
    if tunnel.desire() == Desire::Down {
        return Ok(());
    }
    let closing = step.ledger.listeners().values().any(|l| matches!(l.fact, ListenerFact::Closing { .. }));
    for (forward, spec) in tunnel.view(step.now).forwards.iter().zip(&tunnel.spec().forwards) {
        let known = forward.id.and_then(|id| step.ledger.listeners().get(&id));
        let retried = forward.problem.is_some() && step.after.poll_timeout().is_some();
        hold("no_forward_is_forgotten", known.is_some() || retried || closing, || step.said())?;
        let right = known.is_none_or(|listener| !listener.listens() || listener.spec == *spec);
        hold("a_listener_leads_where_the_file_says", right, || step.said())?;
    }
    let named = |listener: &Listener| tunnel.spec().forwards.contains(&listener.spec);
    let strays = step.ledger.listeners().values().any(|listener| listener.listens() && !named(listener));
    hold("only_what_the_file_names_listens", !strays, || step.said())
}

fn parked_stays_parked<M: Machine>(step: &Step<'_, M>) -> Checked {
    let before = step.before.tunnel();
    if before.state() != State::Parked || step.tunnel().state() == State::Parked {
        return Ok(());
    }
    let kind = before.problem().map(|why| why.kind);
    let due = step.before.poll_timeout().is_some_and(|(at, _)| at <= step.now);
    let may = match step.input {
        Input::Order(Order::Start | Order::Restart) | Input::Nudge(Nudge::Operator) => true,
        Input::Unlock(_) => true,
        Input::Opened => kind.is_some_and(FailureKind::wants_an_answer),
        Input::Respec(spec) => spec.route != before.spec().route || step.tunnel().desire() == Desire::Down,
        Input::Order(Order::Stop) | Input::Remove => step.tunnel().desire() == Desire::Down,
        Input::CredentialsChanged => matches!(
            kind,
            Some(FailureKind::NoCredentials | FailureKind::AuthRefused | FailureKind::PassphraseNeeded)
        ),
        Input::KnownHostsChanged => {
            matches!(kind, Some(FailureKind::HostKeyUnknown | FailureKind::HostKeyChanged))
        }
        Input::FilesRead => kind == Some(FailureKind::Config),
        Input::Timeout => kind == Some(FailureKind::AuthRefused) && due,
        _ => false,
    };
    hold("parked_stays_parked", may, || step.said())
}

/// Nobody is left waiting for what has been reached or cannot be reached any more.
fn waits_end<M: Machine>(step: &Step<'_, M>) -> Checked {
    let tunnel = step.tunnel();
    let listens = all_listen(tunnel);
    for (_, wait) in step.ledger.waiting() {
        let over = match (wait, tunnel.state()) {
            (WaitFor::Down, state) => state == State::Stopped || tunnel.desire() != Desire::Down,
            (WaitFor::Up, _) if tunnel.desire() == Desire::Down => true,
            // One that does not answer is not what was waited for.
            (WaitFor::Up, State::Up) => listens && tunnel.view(step.now).health == Some(Health::Ok),
            (WaitFor::Up, State::Idle) => all_listen_here(tunnel),
            (WaitFor::Up, state) => state == State::Parked,
        };
        hold("a_wait_is_answered_when_it_is_over", !over, || step.said())?;
    }
    Ok(())
}
