//! Logins that take a person: asked when there, never in the background, and one answer for all who need it.

use std::collections::BTreeMap;
use std::time::Duration;

use nbtunnel_core::io::About;
use nbtunnel_core::session::ANSWER_DEADLINE;
use nbtunnel_core::{
    AskerId, Asks, Change, Epoch, Failure, FailureKind, Fleet, FleetInput, Health, Input, LinkReport,
    LoginKey, Moment, Name, Order, Output, Settled, Start, State, Step, Tunnel, TunnelSpec, WaitFor, WaitId,
};

use super::progress::any_spec;
use super::tunnel::real;
use crate::run::{Broken, Run};

const PERSON: AskerId = AskerId(7);

fn newest(tunnel: &Tunnel) -> Epoch {
    Epoch(tunnel.next_epoch().0 - 1)
}

fn lost(kind: FailureKind) -> LinkReport {
    LinkReport::Lost(Failure::new(kind, "it did not work", "do something"))
}

/// Tells what its newest link says, after it was let go.
fn says(run: &mut Run<Tunnel>, reports: &[LinkReport]) -> Result<(), Broken> {
    run.step(Input::Go)?;
    for report in reports {
        run.step(Input::Link(newest(&run.machine), report.clone()))?;
    }
    Ok(())
}

fn parked(spec: TunnelSpec) -> Result<Run<Tunnel>, Broken> {
    let mut run = Run::new(&real(&spec), spec)?;
    says(&mut run, &[LinkReport::Needs(LoginKey("a".into())), lost(FailureKind::AnswerNeeded)])?;
    assert_eq!(run.machine.state(), State::Parked);
    Ok(run)
}

/// A person let it in.
fn let_in(spec: TunnelSpec) -> Result<Run<Tunnel>, Broken> {
    let mut run = parked(spec)?;
    run.step(Input::Unlock(PERSON))?;
    says(&mut run, &[LinkReport::Asking(Asks::Person), LinkReport::Asked, LinkReport::Up])?;
    run.step(Input::Link(newest(&run.machine), LinkReport::Answers(Duration::from_millis(1))))?;
    assert_eq!(run.machine.state(), State::Up);
    Ok(run)
}

/// What `tunnel` wants done after `input`.
fn told(tunnel: &mut Tunnel, now: Moment, input: Input) -> Vec<Output> {
    tunnel.handle(now, input);
    std::iter::from_fn(|| tunnel.poll_output()).collect()
}

fn logins_lost(outputs: &[Output]) -> usize {
    let lost = |output: &&Output| matches!(output, Output::Announce(told) if told.about == About::Login);
    outputs.iter().filter(lost).count()
}

#[test]
fn an_unlock_starts_what_is_stopped_and_names_who_may_be_asked() -> Result<(), Broken> {
    let spec = TunnelSpec { start: Start::Manual, ..any_spec() };
    let mut tunnel = real(&spec);
    told(&mut tunnel, Moment::ZERO, Input::Unlock(PERSON));
    let dialled = told(&mut tunnel, Moment::ZERO, Input::Go);
    assert!(matches!(dialled[..], [Output::Connect(_, _, Some(PERSON))]), "{dialled:?}");
    assert_eq!(tunnel.order(), Some(Order::Start));
    Ok(())
}

#[test]
fn what_dials_without_a_person_begins_anew_with_one() -> Result<(), Broken> {
    let spec = any_spec();
    let mut run = Run::new(&real(&spec), spec)?;
    run.step(Input::Go)?;
    let alone = newest(&run.machine);
    run.step(Input::Unlock(PERSON))?;
    run.step(Input::Go)?;
    assert!(newest(&run.machine) > alone && run.machine.state() == State::Connecting);
    Ok(())
}

#[test]
fn a_network_that_fails_keeps_the_person_and_a_refusal_does_not() -> Result<(), Broken> {
    let mut run = parked(any_spec())?;
    run.step(Input::Unlock(PERSON))?;
    says(&mut run, &[lost(FailureKind::Unreachable)])?;
    assert!(run.machine.has_asker());
    says(&mut run, &[LinkReport::Asking(Asks::Person), lost(FailureKind::AnswerNeeded)])?;
    assert!(!run.machine.has_asker() && run.machine.state() == State::Parked);
    Ok(())
}

#[test]
fn a_question_that_is_not_answered_parks_and_is_not_asked_again() -> Result<(), Broken> {
    let mut run = parked(any_spec())?;
    run.step(Input::Unlock(PERSON))?;
    says(&mut run, &[LinkReport::Asking(Asks::Person)])?;
    let asked = run.machine.next_epoch();
    let view = run.machine.view(run.now);
    assert_eq!((view.asks, view.answer_in), (Asks::Person, Some(ANSWER_DEADLINE)));
    run.apply(&crate::run::draw::Op::Pass(ANSWER_DEADLINE + Duration::from_secs(3600)))?;
    assert_eq!(run.machine.problem().map(|why| why.kind), Some(FailureKind::AnswerNeeded));
    assert_eq!((run.machine.state(), run.machine.next_epoch()), (State::Parked, asked));
    Ok(())
}

#[test]
fn a_suspect_link_that_took_a_person_is_followed_only_with_a_person() -> Result<(), Broken> {
    let mut run = let_in(any_spec())?;
    let link = newest(&run.machine);
    run.step(Input::Link(link, LinkReport::AddressGone))?;
    run.apply(&crate::run::draw::Op::Pass(Duration::from_secs(60)))?;
    assert_eq!(newest(&run.machine), link, "a code was asked for in the background");
    run.step(Input::Unlock(PERSON))?;
    let mut waits = run.machine.clone();
    while waits.poll_output().is_some() {}
    assert!(told(&mut waits, run.now, Input::Wait(WaitId(9), WaitFor::Up)).is_empty());
    says(&mut run, &[LinkReport::Asking(Asks::Person)])?;
    let next = newest(&run.machine);
    assert!(next > link);
    assert_eq!(run.machine.view(run.now).asks, Asks::Person, "the status shows who is waited for");
    waits = run.machine.clone();
    let refused = told(&mut waits, run.now, Input::Link(next, lost(FailureKind::AnswerNeeded)));
    assert!(!refused.contains(&Output::Answer(WaitId(9), Settled::Reached)));
    let settled = told(&mut waits, run.now, Input::Wait(WaitId(10), WaitFor::Up));
    assert!(matches!(&settled[..], [Output::Answer(WaitId(10), Settled::Stuck(_))]), "{settled:?}");
    says(&mut run, &[LinkReport::Asked, LinkReport::Up])?;
    assert_eq!(run.machine.state(), State::Up);
    Ok(())
}

#[test]
fn nobody_is_asked_for_a_worn_link_that_answers_again() -> Result<(), Broken> {
    let mut run = let_in(any_spec())?;
    let link = newest(&run.machine);
    run.step(Input::Link(link, LinkReport::Worn))?;
    run.step(Input::Link(link, LinkReport::AddressGone))?;
    run.step(Input::Unlock(PERSON))?;
    says(&mut run, &[LinkReport::Step(Step::Authenticate)])?;
    let next = newest(&run.machine);
    assert!(next > link, "who is there may answer while the link does not");
    let answers = Input::Link(link, LinkReport::Answers(Duration::from_millis(1)));
    let outputs = told(&mut run.machine.clone(), run.now, answers);
    assert!(outputs.contains(&Output::Close(next)), "a code is asked for though the link works: {outputs:?}");
    Ok(())
}

#[test]
fn a_lost_login_is_told_once_and_only_if_it_takes_a_person_again() -> Result<(), Broken> {
    let spec = any_spec();
    let run = let_in(spec)?;
    let (mut tunnel, now) = (run.machine.clone(), run.now);
    let link = newest(&tunnel);
    let outputs = told(&mut tunnel, now, Input::Link(link, lost(FailureKind::Disconnected)));
    assert_eq!(logins_lost(&outputs), 0, "it may come back by itself");
    let mut back = tunnel.clone();
    for (machine, end, expected) in
        [(&mut tunnel, lost(FailureKind::AnswerNeeded), 1), (&mut back, LinkReport::Up, 0)]
    {
        told(machine, now, Input::Go);
        let next = newest(machine);
        let outputs = told(machine, now, Input::Link(next, end));
        assert_eq!(logins_lost(&outputs), expected, "{outputs:?}");
    }
    told(&mut tunnel, now, Input::Order(Order::Start));
    told(&mut tunnel, now, Input::Go);
    let next = newest(&tunnel);
    let again = told(&mut tunnel, now, Input::Link(next, lost(FailureKind::AnswerNeeded)));
    assert_eq!(logins_lost(&again), 0, "it was told already");
    Ok(())
}

#[test]
fn who_leaves_takes_an_on_demand_tunnel_down_with_them() -> Result<(), Broken> {
    let mut run = {
        let spec = TunnelSpec { start: Start::Demand, ..any_spec() };
        Run::new(&real(&spec), spec)?
    };
    run.step(Input::Unlock(PERSON))?;
    says(&mut run, &[lost(FailureKind::Unreachable), lost(FailureKind::Unreachable)])?;
    run.step(Input::Left(AskerId(PERSON.0 + 1)))?;
    assert!(run.machine.has_asker(), "somebody else left");
    run.step(Input::Left(PERSON))?;
    let attempts = run.machine.next_epoch();
    says(&mut run, &[lost(FailureKind::Unreachable)])?;
    run.apply(&crate::run::draw::Op::Pass(Duration::from_secs(3600)))?;
    assert_eq!((run.machine.state(), run.machine.next_epoch()), (State::Idle, attempts));
    Ok(())
}

#[test]
fn a_question_that_was_left_standing_is_helped_by_another_answer() {
    let name = |name: &str| Name::parse(name).unwrap();
    let mut fleet = Fleet::new(1, BTreeMap::new());
    let mut now = Moment::from_origin(Duration::from_secs(9));
    let add = |at: &str| Change::Add(name(at), Box::new(any_spec()));
    fleet.handle(now, FleetInput::Apply(["a", "b"].map(add).into()));
    let says = |fleet: &mut Fleet, now, at: &str, report| {
        let epoch = newest(&fleet.tunnels()[&name(at)]);
        fleet.handle(now, FleetInput::Tunnel(name(at), Input::Link(epoch, report)));
    };
    fleet.handle(now, FleetInput::Tunnel(name("a"), Input::Unlock(PERSON)));
    says(&mut fleet, now, "a", LinkReport::Needs(LoginKey("here".into())));
    says(&mut fleet, now, "a", LinkReport::Asking(Asks::Person));
    says(&mut fleet, now, "b", LinkReport::Asking(Asks::Person));
    now = now + ANSWER_DEADLINE;
    fleet.handle(now, FleetInput::Timeout);
    let parked = |fleet: &Fleet, at: &str| fleet.tunnels()[&name(at)].state() == State::Parked;
    assert!(parked(&fleet, "a") && parked(&fleet, "b"));
    fleet.handle(now, FleetInput::Tunnel(name("b"), Input::Unlock(PERSON)));
    says(&mut fleet, now, "b", LinkReport::Opened(LoginKey("here".into())));
    assert_eq!(fleet.tunnels()[&name("a")].state(), State::Connecting);
}

/// Both are up over the session that somebody opened `by` a login, which then stops answering.
fn stuck(by: [&str; 2]) -> (Fleet, Moment) {
    let mut fleet = Fleet::new(1, BTreeMap::new());
    let now = Moment::from_origin(Duration::from_secs(9));
    let add = |at: &str| Change::Add(Name::parse(at).unwrap(), Box::new(any_spec()));
    fleet.handle(now, FleetInput::Apply(["a", "b"].map(add).into()));
    for (at, login) in ["a", "b"].into_iter().zip(by) {
        let reports = [
            LinkReport::Asked,
            LinkReport::Typed(LoginKey(login.into())),
            LinkReport::Up,
            LinkReport::AddressGone,
        ];
        reports.into_iter().for_each(|report| tell(&mut fleet, now, at, report));
    }
    while fleet.poll_output().is_some() {}
    (fleet, now)
}

/// What the newest session of a tunnel says.
fn tell(fleet: &mut Fleet, now: Moment, at: &str, report: LinkReport) {
    let name = Name::parse(at).unwrap();
    let epoch = newest(&fleet.tunnels()[&name]);
    fleet.handle(now, FleetInput::Tunnel(name, Input::Link(epoch, report)));
}

/// Those that dial, and whether with somebody to be asked.
fn dials(fleet: &mut Fleet) -> Vec<(String, bool)> {
    let outputs = std::iter::from_fn(|| fleet.poll_output());
    let dial = |(name, output): (Name, Output)| match output {
        Output::Connect(_, _, asker) => Some((name.as_str().to_owned(), asker.is_some())),
        _ => None,
    };
    outputs.filter_map(dial).collect()
}

#[test]
fn who_is_stuck_in_a_login_that_somebody_opened_anew_joins_it_without_being_asked() {
    let (mut fleet, now) = stuck(["here", "here"]);
    assert!(dials(&mut fleet).is_empty(), "nobody is there");
    fleet.handle(now, FleetInput::Tunnel(Name::parse("a").unwrap(), Input::Unlock(PERSON)));
    assert_eq!(dials(&mut fleet), [("a".to_owned(), true)]);
    tell(&mut fleet, now, "a", LinkReport::Opened(LoginKey("here".into())));
    assert_eq!(dials(&mut fleet), [("b".to_owned(), false)]);
    tell(&mut fleet, now, "b", LinkReport::Asked);
    tell(&mut fleet, now, "b", LinkReport::Typed(LoginKey("here".into())));
    tell(&mut fleet, now, "b", LinkReport::Up);
    assert_eq!(fleet.tunnels()[&Name::parse("b").unwrap()].view(now).health, Some(Health::Ok));
}

#[test]
fn who_came_up_by_what_was_opened_does_not_join_it_once_more() {
    let (mut fleet, now) = stuck(["here", "here"]);
    fleet.handle(now, FleetInput::Tunnel(Name::parse("a").unwrap(), Input::Unlock(PERSON)));
    tell(&mut fleet, now, "a", LinkReport::Opened(LoginKey("here".into())));
    tell(&mut fleet, now, "b", LinkReport::Asked);
    tell(&mut fleet, now, "b", LinkReport::Typed(LoginKey("here".into())));
    tell(&mut fleet, now, "b", LinkReport::Up);
    dials(&mut fleet);
    tell(&mut fleet, now, "b", LinkReport::AddressGone);
    assert!(dials(&mut fleet).is_empty(), "what was opened is what it has");
}

#[test]
fn who_is_stuck_in_another_login_or_finds_nothing_new_stays_where_it_is() {
    let (mut fleet, now) = stuck(["here", "there"]);
    fleet.handle(now, FleetInput::Tunnel(Name::parse("a").unwrap(), Input::Unlock(PERSON)));
    tell(&mut fleet, now, "a", LinkReport::Opened(LoginKey("here".into())));
    assert_eq!(dials(&mut fleet), [("a".to_owned(), true)]);
    // What was opened is over before it was joined.
    let (mut fleet, now) = stuck(["here", "here"]);
    fleet.handle(now, FleetInput::Tunnel(Name::parse("a").unwrap(), Input::Unlock(PERSON)));
    tell(&mut fleet, now, "a", LinkReport::Opened(LoginKey("here".into())));
    dials(&mut fleet);
    tell(&mut fleet, now, "b", lost(FailureKind::AnswerNeeded));
    assert!(dials(&mut fleet).is_empty(), "it is tried once");
    assert_eq!(fleet.tunnels()[&Name::parse("b").unwrap()].view(now).health, Some(Health::Suspect));
}

#[test]
fn one_answer_wakes_all_who_need_the_same_login_and_nobody_else() {
    let name = |name: &str| Name::parse(name).unwrap();
    let mut fleet = Fleet::new(1, BTreeMap::new());
    let now = Moment::from_origin(Duration::from_secs(9));
    let add = |at: &str| Change::Add(name(at), Box::new(any_spec()));
    fleet.handle(now, FleetInput::Apply(["a", "b", "c"].map(add).into()));
    let says = |fleet: &mut Fleet, at: &str, report| {
        let epoch = newest(&fleet.tunnels()[&name(at)]);
        fleet.handle(now, FleetInput::Tunnel(name(at), Input::Link(epoch, report)));
    };
    for (at, login) in [("a", "here"), ("b", "here"), ("c", "there")] {
        says(&mut fleet, at, LinkReport::Needs(LoginKey(login.into())));
        says(&mut fleet, at, lost(FailureKind::AnswerNeeded));
    }
    let state = |fleet: &Fleet, at: &str| fleet.tunnels()[&name(at)].state();
    assert_eq!(["a", "b", "c"].map(|at| state(&fleet, at)), [State::Parked; 3]);
    fleet.handle(now, FleetInput::Tunnel(name("a"), Input::Unlock(PERSON)));
    says(&mut fleet, "a", LinkReport::Up);
    assert_eq!(["b", "c"].map(|at| state(&fleet, at)), [State::Parked; 2]);
    says(&mut fleet, "a", LinkReport::Opened(LoginKey("here".into())));
    assert_eq!(["b", "c"].map(|at| state(&fleet, at)), [State::Connecting, State::Parked]);
}
