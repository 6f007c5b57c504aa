//! One tunnel, whatever the world does.

use nbtunnel_core::io::About;
use nbtunnel_core::{
    Epoch, Failure, FailureKind, ForwardId, ForwardReport, Input, LinkReport, ListenerReport, Moment, Output,
    Start, State, Transition, Tunnel, TunnelSpec,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::progress::any_spec;
use super::{reported, runs};
use crate::run::draw::{Edit, op, op_or_sleep, spec, story};
use crate::run::{Broken, Run, draw::Op};

/// Only says which kind of machine is meant.
pub(super) fn real(spec: &TunnelSpec) -> Tunnel {
    Tunnel::new(Moment::ZERO, spec.clone(), Epoch(1), 0, None)
}

pub(super) fn play(spec: &TunnelSpec, ops: &[Op]) -> Result<Run<Tunnel>, Broken> {
    let mut run = Run::new(&real(spec), spec.clone())?;
    ops.iter().try_for_each(|op| run.apply(op))?;
    Ok(run)
}

#[test]
fn a_denial_is_forgotten_once_the_forward_leads_elsewhere_or_is_served() -> Result<(), Broken> {
    let drawn = spec().new_tree(&mut TestRunner::deterministic()).unwrap().current();
    let forwards = vec!["6000:localhost:7000".parse().unwrap()];
    let spec = TunnelSpec { start: Start::Login, forwards, ..drawn };
    let mut run = play(&spec, &[Op::Oblige, Op::Oblige])?;
    let problem = |run: &Run<Tunnel>| run.machine.view(run.now).forwards[0].problem.clone();
    let denied = || {
        let why = Failure::new(FailureKind::ForwardingDenied, "the server forbids it", "");
        Op::Forward { back: 0, report: ForwardReport::Denied(why) }
    };
    for cure in
        [Op::Respec(vec![Edit::Retarget(7001)]), Op::Forward { back: 0, report: ForwardReport::Served }]
    {
        run.apply(&denied())?;
        assert!(problem(&run).is_some());
        run.apply(&cure)?;
        assert_eq!(problem(&run), None, "after {cure:?}");
    }
    Ok(())
}

#[test]
fn held_connections_that_are_given_up_are_told_with_how_long_they_waited() -> Result<(), Broken> {
    let drawn = spec().new_tree(&mut TestRunner::deterministic()).unwrap().current();
    let forwards = vec!["6000:localhost:7000".parse().unwrap()];
    let spec = TunnelSpec { start: Start::Login, forwards, ..drawn };
    let mut tunnel = real(&spec);
    // Its first listener.
    let id = ForwardId(0);
    let mut told = |report| {
        while tunnel.poll_output().is_some() {}
        tunnel.handle(Moment::ZERO, Input::Forward(id, report));
        std::iter::from_fn(|| tunnel.poll_output()).collect::<Vec<_>>()
    };
    let sentence = |outputs: Vec<Output>| match outputs.as_slice() {
        [Output::Announce(Transition { about: About::Forward(forward), from, to, why: Some(why), .. })] => {
            format!("{forward}: {from} -> {to}: {}", why.message)
        }
        other => panic!("{other:?}"),
    };
    let about = "localhost:6000:localhost:7000: held -> reset";
    for (count, who) in [
        (1, "a connection waited 30 s for the tunnel and was"),
        (3, "3 connections waited 30 s for the tunnel and were"),
    ] {
        assert_eq!(sentence(told(ForwardReport::Expired(count))), format!("{about}: {who} reset"));
    }
    let overflow = told(ForwardReport::Overflow { most: 256 });
    assert_eq!(
        sentence(overflow),
        format!("{about}: 256 connections wait for the tunnel; further ones are reset")
    );
    assert_eq!(told(ForwardReport::Expired(0)), []);
    Ok(())
}

#[test]
fn a_listener_that_cannot_tell_who_comes_in_has_a_problem_until_it_can_or_is_bound_anew() -> Result<(), Broken>
{
    let forwards = vec!["6000:localhost:7000".parse().unwrap()];
    let spec = TunnelSpec { start: Start::Login, forwards, ..any_spec() };
    let mut tunnel = real(&spec);
    while tunnel.poll_output().is_some() {}
    let unsure = || Failure::new(FailureKind::Config, "nobody can tell", "");
    let mut told = |id, report| {
        tunnel.handle(Moment::ZERO, Input::Forward(ForwardId(id), report));
        let announced = std::iter::from_fn(|| tunnel.poll_output()).filter_map(|output| match output {
            Output::Announce(Transition { from, to, .. }) => Some((from, to)),
            _ => None,
        });
        let announced: Vec<_> = announced.collect();
        (announced, tunnel.view(Moment::ZERO).forwards[0].problem.clone())
    };
    assert_eq!(told(0, ForwardReport::Refused(unsure())), (vec![("bound", "refused")], None));
    for _ in 0..2 {
        let first = told(0, ForwardReport::Unsure(Some(unsure())));
        assert_eq!(first, (vec![("bound", "refusing")], Some(unsure())));
        assert_eq!(told(0, ForwardReport::Unsure(Some(unsure()))), (vec![], Some(unsure())));
        assert_eq!(told(0, ForwardReport::Unsure(None)), (vec![("refusing", "bound")], None));
    }
    told(0, ForwardReport::Unsure(Some(unsure())));
    tunnel.handle(Moment::ZERO, Input::Listener(ForwardId(0), ListenerReport::Unbound));
    let bound_anew =
        std::iter::from_fn(|| tunnel.poll_output()).any(|output| matches!(output, Output::Bind(..)));
    assert!(bound_anew && tunnel.view(Moment::ZERO).forwards[0].problem.is_none());
    Ok(())
}

#[test]
fn files_that_are_right_again_wake_who_met_them_while_they_were_wrong_and_nobody_else() -> Result<(), Broken>
{
    for (kind, wakes) in [(FailureKind::Config, true), (FailureKind::HostKeyUnknown, false)] {
        let spec = any_spec();
        let mut run = Run::new(&real(&spec), spec)?;
        run.step(Input::Go)?;
        let lost = LinkReport::Lost(Failure::new(kind, "it did not work", ""));
        run.step(Input::Link(Epoch(run.machine.next_epoch().0 - 1), lost))?;
        assert_eq!(run.machine.state(), State::Parked);
        run.step(Input::FilesRead)?;
        assert_eq!(run.machine.state() == State::Connecting, wakes, "{kind:?}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(runs(1500))]

    #[test]
    fn every_rule_holds_and_the_model_agrees_whatever_happens((spec, ops) in story(op(), 80)) {
        reported(play(&spec, &ops))?;
    }

    #[test]
    fn every_rule_holds_when_the_machine_sleeps_over_its_timers((spec, ops) in story(op_or_sleep(), 60)) {
        reported(play(&spec, &ops))?;
    }
}
