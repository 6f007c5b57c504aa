//! What is to follow a link that does not serve, or that has served for long enough.

use std::time::Duration;

use nbtunnel_core::{Epoch, Failure, FailureKind, Gate, Input, LinkReport, Nudge, State, Tunnel, TunnelSpec};

use super::progress::any_spec;
use super::tunnel::real;
use crate::run::draw::Op;
use crate::run::{Broken, Run};

/// A tunnel that is up and always wanted.
fn up(spec: TunnelSpec) -> Result<Run<Tunnel>, Broken> {
    let mut run = Run::new(&real(&spec), spec)?;
    assert!(run.be_fair(20, |tunnel| tunnel.state() == State::Up)?);
    Ok(run)
}

fn newest(run: &Run<Tunnel>) -> Epoch {
    Epoch(run.machine.next_epoch().0 - 1)
}

fn fail(run: &mut Run<Tunnel>, kind: FailureKind) -> Result<(), Broken> {
    run.step(Input::Go)?;
    let failure = Failure::new(kind, "it did not work", "do something");
    run.step(Input::Link(newest(run), LinkReport::Lost(failure)))?;
    Ok(())
}

/// Its next session logs in.
fn follow(run: &mut Run<Tunnel>) -> Result<(), Broken> {
    run.step(Input::Go)?;
    run.step(Input::Link(newest(run), LinkReport::Up))?;
    run.step(Input::Link(newest(run), LinkReport::Answers(Duration::from_millis(1))))?;
    Ok(())
}

#[test]
fn a_link_that_is_left_unread_is_followed_soon_though_the_first_dial_failed() -> Result<(), Broken> {
    let mut run = up(any_spec())?;
    let link = newest(&run);
    run.step(Input::Link(link, LinkReport::Clogged(true)))?;
    for _ in 0..3 {
        fail(&mut run, FailureKind::Refused)?;
        assert_eq!(run.ledger.gate(), Some(Gate::Hold), "whoever comes is held meanwhile");
        run.apply(&Op::Pass(Duration::from_secs(3)))?;
        run.step(Input::Timeout)?;
        assert!(run.machine.queued_since().is_some(), "nobody tries again: {:?}", run.machine);
    }
    follow(&mut run)?;
    assert_eq!(run.ledger.gate(), Some(Gate::Serve(newest(&run))));
    Ok(())
}

#[test]
fn a_renewal_that_failed_does_not_stand_in_the_way_of_a_link_that_is_left_unread() -> Result<(), Broken> {
    let mut run = up(any_spec())?;
    let link = newest(&run);
    run.step(Input::Link(link, LinkReport::Worn))?;
    fail(&mut run, FailureKind::Refused)?;
    assert_eq!(run.machine.queued_since(), None, "what works is renewed later");
    run.step(Input::Link(link, LinkReport::Clogged(true)))?;
    assert!(run.machine.queued_since().is_some(), "nobody tries again: {:?}", run.machine);
    Ok(())
}

#[test]
fn renewals_wait_rather_than_cut_off_what_older_sessions_carry() -> Result<(), Broken> {
    let mut run = up(any_spec())?;
    let mut sessions = vec![newest(&run)];
    for _ in 0..20 {
        run.step(Input::Link(newest(&run), LinkReport::Worn))?;
        if run.machine.queued_since().is_none() {
            break;
        }
        follow(&mut run)?;
        sessions.push(newest(&run));
    }
    assert_eq!(run.machine.queued_since(), None, "there is no end to sessions");
    assert_eq!(run.machine.view(run.now).draining, sessions.len() - 1, "a session was cut off");
    run.step(Input::Link(sessions[3], LinkReport::Drained))?;
    assert!(run.machine.queued_since().is_some(), "there is room again");
    Ok(())
}

#[test]
fn a_silent_server_is_a_problem_until_it_answers_and_says_when_it_is_tried_again() -> Result<(), Broken> {
    let mut run = up(any_spec())?;
    let link = newest(&run);
    run.step(Input::Link(link, LinkReport::AddressGone))?;
    let kind = |run: &Run<Tunnel>| run.machine.view(run.now).problem.map(|why| why.kind);
    assert_eq!(kind(&run), Some(FailureKind::DeadPeer));
    fail(&mut run, FailureKind::Refused)?;
    fail(&mut run, FailureKind::Refused)?;
    assert_eq!((kind(&run), run.machine.view(run.now).health.is_some()), (Some(FailureKind::DeadPeer), true));
    assert!(run.machine.view(run.now).retry_in.is_some(), "{:?}", run.machine);
    run.step(Input::Link(link, LinkReport::Answers(Duration::from_millis(1))))?;
    let view = run.machine.view(run.now);
    assert_eq!((view.problem, view.retry_in), (None, None));
    Ok(())
}

#[test]
fn a_successor_that_needs_somebody_is_a_problem_before_the_link_is_lost() -> Result<(), Broken> {
    let mut run = up(any_spec())?;
    let link = newest(&run);
    run.step(Input::Link(link, LinkReport::AddressGone))?;
    fail(&mut run, FailureKind::HostKeyChanged)?;
    let kind = |run: &Run<Tunnel>| run.machine.refusal().map(|why| why.kind);
    assert_eq!(kind(&run), Some(FailureKind::HostKeyChanged));
    assert_eq!(run.machine.problem().map(|why| why.kind), Some(FailureKind::HostKeyChanged));
    run.step(Input::KnownHostsChanged)?;
    assert_eq!((kind(&run), run.machine.queued_since().is_some()), (None, true));
    fail(&mut run, FailureKind::HostKeyChanged)?;
    run.step(Input::Nudge(Nudge::Operator))?;
    assert_eq!((kind(&run), run.machine.queued_since().is_some()), (None, true));
    Ok(())
}
