//! A tunnel and its notebook.

use std::time::Duration;

use nbtunnel_core::reconcile::Change;
use nbtunnel_core::{
    Did, Fleet, FleetInput, ForwardId, ForwardReport, ForwardSpec, Input, Launcher, LinkReport,
    ListenerReport, Moment, Name, NotebookInput, NotebookSpec, Output, Scheme, Start, Target, TaskId,
    Transition, Tunnel, TunnelSpec, WaitId, Which, Wish,
};

use super::progress::any_spec;
use super::tunnel::real;

fn alice() -> Name {
    Name::parse("alice").unwrap()
}

/// A tunnel with one notebook.
fn spec(begins: Start, start: Option<&str>) -> TunnelSpec {
    let notebook = NotebookSpec {
        name: alice(),
        host: "localhost".into(),
        which: Which::default(),
        local_port: 6000,
        scheme: Scheme::Auto,
        start: start.map(str::to_owned),
        dir: None,
        launcher: Launcher::Here,
        owner_only: None,
    };
    let listen = "6000:localhost:1".parse::<ForwardSpec>().unwrap().listen;
    let forwards = vec![ForwardSpec::new(listen, Target::Notebook(alice()))];
    TunnelSpec { start: begins, forwards, notebooks: vec![notebook], ..any_spec() }
}

/// What the world does at once for these outputs, and the task that they begin.
fn obliged(outputs: &[Output]) -> (Vec<Input>, Option<TaskId>) {
    let mut task = None;
    let mut inputs = Vec::new();
    for output in outputs {
        match output {
            Output::Bind(id, ..) => {
                inputs.push(Input::Listener(*id, ListenerReport::Bound { listens: vec![], note: None }))
            }
            Output::Unbind(id) => inputs.push(Input::Listener(*id, ListenerReport::Unbound)),
            Output::Connect(epoch, ..) => inputs.push(Input::Link(*epoch, LinkReport::Up)),
            Output::Close(epoch) => inputs.push(Input::Link(*epoch, LinkReport::Closed)),
            Output::Notebook(_, _, id, _) => task = Some(*id),
            _ => {}
        }
    }
    (inputs, task)
}

/// Tells a fleet what happens until it wants nothing more, and returns the task that it begins.
fn play(fleet: &mut Fleet, now: Moment, input: FleetInput) -> Option<TaskId> {
    let mut due = vec![input];
    let mut task = None;
    while let Some(input) = due.pop() {
        fleet.handle(now, input);
        while let Some((name, output)) = fleet.poll_output() {
            let (inputs, begun) = obliged(&[output]);
            task = begun.or(task);
            due.extend(inputs.into_iter().map(|input| FleetInput::Tunnel(name.clone(), input)));
        }
    }
    task
}

/// Lets a tunnel come up after that, until its notebook is looked for.
fn looks(tunnel: &mut Tunnel, mut due: Vec<Input>) -> TaskId {
    loop {
        let (inputs, begun) = obliged(&said(tunnel));
        if let Some(task) = begun {
            return task;
        }
        due.extend(inputs);
        if tunnel.queued_since().is_some() {
            due.push(Input::Go);
        }
        due.drain(..).for_each(|input| tunnel.handle(Moment::ZERO, input));
    }
}

fn said(tunnel: &mut Tunnel) -> Vec<Output> {
    std::iter::from_fn(|| tunnel.poll_output()).collect()
}

#[test]
fn a_listener_that_is_bound_anew_leads_where_the_notebook_is() {
    let mut tunnel = real(&spec(Start::Login, None));
    let task = looks(&mut tunnel, vec![]);
    let there = || Target::Tcp("localhost".into(), 7000);
    let found = NotebookInput::Did(task, Did::Found(there()));
    tunnel.handle(Moment::ZERO, Input::Notebook(alice(), found));
    assert!(said(&mut tunnel).contains(&Output::Retarget(ForwardId(0), there())));
    tunnel.handle(Moment::ZERO, Input::Listener(ForwardId(0), ListenerReport::Unbound));
    let outputs = said(&mut tunnel);
    let anew = outputs.iter().find_map(|output| match output {
        Output::Bind(id, _) => Some(*id),
        _ => None,
    });
    let id = anew.expect("it is bound again");
    assert!(outputs.contains(&Output::Retarget(id, there())), "{outputs:?}");
}

#[test]
fn a_late_answer_is_taken_for_no_other_notebook_of_that_name() {
    let (now, name) = (Moment::ZERO, Name::parse("lab").unwrap());
    let with = Box::new(spec(Start::Login, None));
    let without = Box::new(TunnelSpec { notebooks: vec![], forwards: vec![], ..*with.clone() });
    let mut fleet = Fleet::new(1, Default::default());
    let mut apply = |change| play(&mut fleet, now, FleetInput::Apply(vec![change]));
    let first = apply(Change::Add(name.clone(), with.clone())).expect("it is looked for");
    // Its section comes and goes, and then its file.
    apply(Change::Respec(name.clone(), without));
    let second = apply(Change::Respec(name.clone(), with.clone())).expect("it is looked for");
    apply(Change::Remove(name.clone()));
    let third = apply(Change::Add(name.clone(), with)).expect("it is looked for");
    assert!(first < second && second < third, "{first:?} {second:?} {third:?}");
}

#[test]
fn whoever_heard_where_it_is_finds_the_link_of_a_tunnel_on_demand() {
    let mut spec = spec(Start::Demand, None);
    spec.policy.idle = Duration::from_secs(1);
    let mut tunnel = real(&spec);
    let mut now = Moment::ZERO;
    let wish = Input::Notebook(alice(), NotebookInput::Wish(WaitId(1), Wish::Find));
    let task = looks(&mut tunnel, vec![wish]);
    // The far end is slow to say where it is.
    now = now + Duration::from_secs(2);
    let found = Did::Found(Target::Tcp("localhost".into(), 7000));
    tunnel.handle(now, Input::Notebook(alice(), NotebookInput::Did(task, found)));
    let (at, reason) = tunnel.poll_timeout().expect("it is to be closed some time");
    let outputs: Vec<Output> = std::iter::from_fn(|| tunnel.poll_output()).collect();
    assert!(outputs.iter().any(|output| matches!(output, Output::Answer(WaitId(1), _))), "{outputs:?}");
    assert!(at > now, "{reason:?} lies in the past");
    tunnel.handle(now, Input::Timeout);
    let closed = std::iter::from_fn(|| tunnel.poll_output()).any(|output| matches!(output, Output::Close(_)));
    assert!(!closed, "the link is closed just after somebody heard that it is there");
}

#[test]
fn held_connections_of_a_notebook_that_is_not_there_are_told_so_with_what_to_do() {
    let told = |start: Option<&str>, count| {
        let spec = spec(Start::Login, start);
        let mut tunnel = real(&spec);
        while tunnel.poll_output().is_some() {}
        tunnel.handle(Moment::ZERO, Input::Forward(ForwardId(0), ForwardReport::Missed(count)));
        std::iter::from_fn(|| tunnel.poll_output()).find_map(|output| match output {
            Output::Announce(Transition { from: "held", to: "reset", why, .. }) => why,
            _ => None,
        })
    };
    let one = told(None, 1).expect("it is told");
    assert_eq!(one.message, "a connection waited in vain for the notebook alice and was reset");
    assert!(one.hint.contains("set start"), "{one}");
    let many = told(Some("jupyter lab"), 3).expect("it is told");
    assert_eq!(many.message, "3 connections waited in vain for the notebook alice and were reset");
    assert!(
        many.hint.contains("nbctl open alice") && many.hint.contains("nbctl notebook log alice"),
        "{many}"
    );
    assert_eq!(told(None, 0), None);
}
