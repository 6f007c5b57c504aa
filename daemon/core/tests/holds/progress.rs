//! What is wanted comes about, within a bounded number of steps, once the world is kind.

use std::time::Duration;

use nbtunnel_core::tunnel::Desire;
use nbtunnel_core::{
    Epoch, Failure, FailureKind, Gate, Input, LinkReport, Nudge, Order, State, Step, Tunnel, TunnelSpec,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::tunnel::{play, real};
use super::{reported, runs};
use crate::run::draw::{Edit, op, op_or_sleep, spec, story};
use crate::run::facts::{all_listen, all_listen_here};
use crate::run::{Broken, Run, draw::Op};

/// More than any way from anywhere: the longest has a bind that timed out, a close, and eight retries.
const ROUNDS: u32 = 100;

fn is_as_wanted(tunnel: &Tunnel) -> bool {
    let listens = if tunnel.state() == State::Up { all_listen(tunnel) } else { all_listen_here(tunnel) };
    match tunnel.desire() {
        Desire::Down => tunnel.state() == State::Stopped && tunnel.poll_timeout().is_none(),
        Desire::OnDemand if tunnel.held() == 0 => {
            matches!(tunnel.state(), State::Idle | State::Up) && listens
        }
        Desire::Up | Desire::OnDemand => tunnel.state() == State::Up && listens,
    }
}

/// Whether all that is wanted comes about.
fn comes_about(run: &mut Run<Tunnel>) -> Result<(), TestCaseError> {
    reported(run.step(Input::Nudge(Nudge::Operator)))?;
    let done = reported(run.be_fair(ROUNDS, is_as_wanted))?;
    prop_assert!(done, "what is wanted did not come about: {:?}", run.machine);
    prop_assert!(run.ledger.waiting().next().is_none(), "somebody still waits: {:?}", run.ledger);
    if run.machine.state() == State::Up {
        let serves = matches!(run.ledger.gate(), Some(Gate::Serve(_)));
        prop_assert!(serves, "it is up and serves nobody: {:?}", run.machine);
    }
    Ok(())
}

proptest! {
    #![proptest_config(runs(500))]

    #[test]
    fn in_a_fair_world_what_is_wanted_comes_about((spec, ops) in story(op_or_sleep(), 40)) {
        let mut run = reported(play(&spec, &ops))?;
        comes_about(&mut run)?;
        for order in [Order::Stop, Order::Start, Order::Restart, Order::Stop] {
            reported(run.step(Input::Order(order)))?;
            comes_about(&mut run)?;
        }
        prop_assert_eq!(run.machine.state(), State::Stopped);
    }

    #[test]
    fn on_demand_comes_up_for_somebody_and_goes_idle_after_them((spec, ops) in story(op(), 30)) {
        let mut run = reported(play(&spec, &ops))?;
        reported(run.apply(&Op::Respec(vec![Edit::Start(nbtunnel_core::Start::Demand)])))?;
        reported(run.step(Input::Order(Order::Start)))?;
        reported(run.step(Input::Activity { held: 1, open: 0 }))?;
        comes_about(&mut run)?;
        prop_assert_eq!(run.machine.state(), State::Up);
        reported(run.step(Input::Activity { held: 0, open: 1 }))?;
        reported(run.apply(&Op::Oblige))?;
        reported(run.step(Input::Activity { held: 0, open: 0 }))?;
        // What a person let in stays: the next login would take that person again.
        if run.ledger.took_a_person() {
            reported(run.be_fair(4 * ROUNDS, |_| false))?;
            prop_assert_eq!(run.machine.state(), State::Up);
            return Ok(());
        }
        let idle = reported(run.be_fair(4 * ROUNDS, |tunnel| tunnel.state() == State::Idle))?;
        prop_assert!(idle, "nobody is there and it does not go idle: {:?}", run.machine);
    }
}

pub(super) fn any_spec() -> TunnelSpec {
    let drawn = spec().new_tree(&mut TestRunner::deterministic()).unwrap().current();
    let policy = nbtunnel_core::Policy::default();
    TunnelSpec { start: nbtunnel_core::Start::Login, forwards: Vec::new(), policy, ..drawn }
}

/// Fails the newest link with `kind` and says how long it waits before the next one; `None`: it is parked.
fn delay_after(run: &mut Run<Tunnel>, kind: FailureKind) -> Result<Option<Duration>, Broken> {
    let newest = Epoch(run.machine.next_epoch().0 - 1);
    run.step(Input::Go)?;
    run.step(Input::Link(newest, LinkReport::Lost(Failure::new(kind, "it did not work", ""))))?;
    if run.machine.queued_since().is_some() {
        return Ok(Some(Duration::ZERO));
    }
    Ok(run.machine.view(run.now).retry_in)
}

#[test]
fn a_link_that_keeps_failing_is_tried_at_once_and_then_ever_more_seldom() -> Result<(), Broken> {
    let spec = any_spec();
    let mut run = Run::new(&real(&spec), spec)?;
    for round in 0..3 {
        for expected in [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0] {
            let delay = delay_after(&mut run, FailureKind::Unreachable)?.unwrap().as_secs_f64();
            assert!((0.8 * expected..=1.2 * expected).contains(&delay), "{delay} for {expected}");
            if delay > 0.0 && expected < 30.0 || round == 2 {
                run.apply(&Op::Pass(Duration::from_secs_f64(delay)))?;
                assert_eq!(run.machine.state(), State::Connecting);
            }
        }
        // Whatever makes success likelier begins the row anew.
        run.step(Input::Nudge([Nudge::Woke, Nudge::Network, Nudge::Operator][round]))?;
    }
    Ok(())
}

/// Brings it up, and keeps it up for so many seconds with every probe answered.
fn stay_up(run: &mut Run<Tunnel>, seconds: u64) -> Result<(), Broken> {
    run.be_fair(ROUNDS, |tunnel| tunnel.state() == State::Up)?;
    for _ in 0..seconds {
        run.apply(&Op::Pass(Duration::from_secs(1)))?;
        run.oblige()?;
    }
    Ok(())
}

#[test]
fn only_a_link_that_stays_up_for_half_a_minute_makes_failures_forgotten() -> Result<(), Broken> {
    let spec = any_spec();
    let mut run = Run::new(&real(&spec), spec)?;
    assert_eq!(delay_after(&mut run, FailureKind::Refused)?, Some(Duration::ZERO));
    stay_up(&mut run, 29)?;
    assert!(delay_after(&mut run, FailureKind::Disconnected)? > Some(Duration::ZERO));
    stay_up(&mut run, 31)?;
    assert_eq!(delay_after(&mut run, FailureKind::Disconnected)?, Some(Duration::ZERO));
    Ok(())
}

#[test]
fn a_refusal_of_keys_that_worked_is_tried_again_four_times_and_a_first_one_never() -> Result<(), Broken> {
    let spec = any_spec();
    let mut run = Run::new(&real(&spec), spec)?;
    assert_eq!(delay_after(&mut run, FailureKind::AuthRefused)?, None);
    run.step(Input::Order(Order::Start))?;
    run.be_fair(20, is_as_wanted)?;
    for expected in [Some(1), Some(5), Some(15), Some(30), None] {
        let delay = delay_after(&mut run, FailureKind::AuthRefused)?;
        assert_eq!(delay, expected.map(|minutes| Duration::from_secs(60 * minutes)));
        assert_eq!(run.machine.state(), State::Parked);
        run.apply(&Op::Pass(delay.unwrap_or(Duration::from_secs(36_000))))?;
    }
    assert_eq!(run.machine.state(), State::Parked);
    // Once the keys work again, the schedule begins anew.
    run.step(Input::CredentialsChanged)?;
    run.be_fair(20, is_as_wanted)?;
    assert_eq!(delay_after(&mut run, FailureKind::AuthRefused)?, Some(Duration::from_secs(60)));
    Ok(())
}

#[test]
fn somebody_who_comes_and_goes_does_not_make_a_dead_server_be_dialled_more_often() -> Result<(), Broken> {
    let spec = TunnelSpec { start: nbtunnel_core::Start::Demand, ..any_spec() };
    let mut run = Run::new(&real(&spec), spec)?;
    let first = run.machine.next_epoch().0;
    for _ in 0..600 {
        run.step(Input::Activity { held: 1, open: 0 })?;
        let newest = Epoch(run.machine.next_epoch().0 - 1);
        run.step(Input::Go)?;
        let refused = Failure::new(FailureKind::Refused, "nobody listens there", "");
        run.step(Input::Link(newest, LinkReport::Lost(refused)))?;
        run.step(Input::Activity { held: 0, open: 0 })?;
        run.apply(&Op::Pass(Duration::from_millis(100)))?;
    }
    let dials = run.machine.next_epoch().0 - first;
    assert!((2..=12).contains(&dials), "{dials} dials in a minute");
    Ok(())
}

#[test]
fn a_link_that_is_left_unread_is_followed_soon_though_the_first_dial_fails() -> Result<(), Broken> {
    let spec = TunnelSpec { start: nbtunnel_core::Start::Login, ..any_spec() };
    for worn_first in [false, true] {
        let mut run = Run::new(&real(&spec), spec.clone())?;
        assert!(run.be_fair(ROUNDS, is_as_wanted)?);
        let link = Epoch(run.machine.next_epoch().0 - 1);
        let unread = LinkReport::Clogged(true);
        let mut dials = link;
        for said in if worn_first { vec![LinkReport::Worn, unread] } else { vec![unread] } {
            run.step(Input::Link(link, said))?;
            dials = Epoch(run.machine.next_epoch().0 - 1);
            assert!(dials > link);
            run.step(Input::Go)?;
            let refused = Failure::new(FailureKind::Refused, "nobody listens there", "");
            run.step(Input::Link(dials, LinkReport::Lost(refused)))?;
        }
        assert_eq!(run.ledger.gate(), Some(Gate::Hold));
        run.apply(&Op::Pass(Duration::from_secs(1)))?;
        assert!(run.machine.next_epoch().0 - 1 > dials.0, "nobody dials, and new connections wait");
    }
    Ok(())
}

/// On demand, listening, nobody there.
fn idle() -> Result<Run<Tunnel>, Broken> {
    let forwards = vec!["6000:localhost:7000".parse().unwrap()];
    let spec = TunnelSpec { start: nbtunnel_core::Start::Demand, forwards, ..any_spec() };
    let mut run = Run::new(&real(&spec), spec)?;
    assert!(run.be_fair(ROUNDS, |tunnel| tunnel.state() == State::Idle)?);
    Ok(run)
}

#[test]
fn neither_a_wake_nor_a_network_nor_a_human_connects_what_nobody_uses() -> Result<(), Broken> {
    let mut run = idle()?;
    let first = run.machine.next_epoch();
    for nudge in [Nudge::Woke, Nudge::Network, Nudge::Operator] {
        run.step(Input::Nudge(nudge))?;
        run.apply(&Op::Sleep(Duration::from_secs(7200)))?;
        run.step(Input::Timeout)?;
        run.oblige()?;
        assert_eq!((run.machine.state(), run.machine.next_epoch()), (State::Idle, first), "{nudge:?}");
    }
    run.step(Input::Activity { held: 1, open: 0 })?;
    assert!(run.be_fair(ROUNDS, |tunnel| tunnel.state() == State::Up)?);
    Ok(())
}

#[test]
fn who_gives_up_waiting_during_retries_leaves_it_idle() -> Result<(), Broken> {
    let mut run = idle()?;
    run.step(Input::Activity { held: 1, open: 0 })?;
    for _ in 0..3 {
        if let Some(delay) = delay_after(&mut run, FailureKind::Refused)? {
            run.apply(&Op::Pass(delay))?;
        }
    }
    assert_eq!(run.machine.state(), State::Connecting);
    assert!(delay_after(&mut run, FailureKind::Refused)? > Some(Duration::ZERO));
    assert_eq!(run.machine.state(), State::Waiting);
    run.step(Input::Activity { held: 0, open: 0 })?;
    assert_eq!(run.machine.state(), State::Idle);
    let attempts = run.machine.next_epoch();
    run.apply(&Op::Pass(Duration::from_secs(3600)))?;
    assert_eq!((run.machine.state(), run.machine.next_epoch()), (State::Idle, attempts));
    Ok(())
}

#[test]
fn an_open_connection_keeps_it_up_and_nobody_ends_it_after_idle() -> Result<(), Broken> {
    let mut run = idle()?;
    let idle = run.machine.spec().policy.idle;
    run.step(Input::Activity { held: 1, open: 0 })?;
    assert!(run.be_fair(ROUNDS, |tunnel| tunnel.state() == State::Up)?);
    run.step(Input::Activity { held: 0, open: 1 })?;
    let second = Duration::from_secs(1);
    for _ in 0..3 * idle.as_secs() {
        run.apply(&Op::Pass(second))?;
        run.oblige()?;
        assert_eq!(run.machine.state(), State::Up);
    }
    run.step(Input::Activity { held: 0, open: 0 })?;
    let mut passed = Duration::ZERO;
    while run.machine.state() == State::Up {
        run.apply(&Op::Pass(second))?;
        run.oblige()?;
        passed += second;
    }
    assert!((idle..=idle + 2 * second).contains(&passed), "idle is {idle:?}, it took {passed:?}");
    Ok(())
}

#[test]
fn a_wake_that_is_told_again_and_again_does_not_begin_a_slow_handshake_anew() -> Result<(), Broken> {
    let spec = TunnelSpec { start: nbtunnel_core::Start::Login, forwards: Vec::new(), ..any_spec() };
    let mut run = Run::new(&real(&spec), spec)?;
    let told = |run: &mut Run<Tunnel>, step| {
        let epoch = run.machine.next_epoch().0 - 1;
        run.step(Input::Link(Epoch(epoch), LinkReport::Step(step)))?;
        for _ in 0..4 {
            run.apply(&Op::Pass(Duration::from_millis(250)))?;
            run.step(Input::Nudge(Nudge::Woke))?;
            run.step(Input::Go)?;
        }
        Ok::<_, Broken>(run.machine.next_epoch())
    };
    run.step(Input::Go)?;
    assert_eq!(run.machine.state(), State::Connecting);
    let first = run.machine.next_epoch();
    for step in [Step::Tcp, Step::Banner, Step::KeyExchange] {
        assert_eq!(told(&mut run, step)?, first, "dialled anew at {step:?}");
    }
    // But what was begun before a sleep is.
    run.apply(&Op::Sleep(Duration::from_secs(7200)))?;
    assert_ne!(told(&mut run, Step::KeyExchange)?, first);
    Ok(())
}
