//! What listens at the far end: how often a server is asked, and for what.

use std::time::Duration;

use nbtunnel_core::{
    Change, Epoch, Failure, FailureKind, Fleet, FleetInput, ForwardId, ForwardKind, Gate, Input, LinkReport,
    ListenId, ListenerReport, Moment, Name, Output, Policy, RemoteReport, RemoteSpec, Start, State, Tunnel,
    TunnelSpec, WaitFor, WaitId,
};

use super::progress::any_spec;
use super::tunnel::real;
use crate::run::Broken;

/// A tunnel that is up, and says what it wants of the world.
struct Up {
    tunnel: Tunnel,
    now: Moment,
}

impl Up {
    fn new(remotes: &[&str], policy: Policy) -> Up {
        let remotes = remotes.iter().map(|text| text.parse().unwrap()).collect();
        let spec = TunnelSpec { start: Start::Login, forwards: Vec::new(), remotes, policy, ..any_spec() };
        let mut up = Up { tunnel: real(&spec), now: Moment::ZERO };
        up.dial();
        up
    }

    fn say(&mut self, input: Input) -> Vec<Output> {
        self.now = self.now + Duration::from_millis(1);
        self.tunnel.handle(self.now, input);
        std::iter::from_fn(|| self.tunnel.poll_output()).collect()
    }

    fn newest(&self) -> nbtunnel_core::Epoch {
        nbtunnel_core::Epoch(self.tunnel.next_epoch().0 - 1)
    }

    /// Its next session logs in; what is asked of the server then.
    fn dial(&mut self) -> Vec<(ListenId, RemoteSpec)> {
        self.say(Input::Go);
        let mut outputs = self.say(Input::Link(self.newest(), LinkReport::Up));
        outputs.extend(self.say(Input::Link(self.newest(), LinkReport::Answers(Duration::from_millis(9)))));
        asked(outputs)
    }

    fn answer(&mut self, id: ListenId, report: RemoteReport) -> Vec<Output> {
        self.say(Input::Remote(self.newest(), id, report))
    }

    /// Lets time pass until a server is asked again; how long that took.
    fn until_asked(&mut self) -> (Duration, ListenId, RemoteSpec) {
        let began = self.now;
        for _ in 0..1000 {
            let (at, _) = self.tunnel.poll_timeout().unwrap();
            self.now = self.now.max(at);
            let outputs = self.say(Input::Timeout);
            let probed = outputs.iter().any(|output| matches!(output, Output::Probe(_)));
            if probed {
                self.say(Input::Link(self.newest(), LinkReport::Answers(Duration::from_millis(9))));
            }
            if let Some((id, spec)) = asked(outputs).into_iter().next() {
                return (self.now.since(began), id, spec);
            }
        }
        panic!("nobody is asked again: {:?}", self.tunnel);
    }
}

fn asked(outputs: Vec<Output>) -> Vec<(ListenId, RemoteSpec)> {
    outputs
        .into_iter()
        .filter_map(|output| if let Output::Listen(_, id, spec) = output { Some((id, spec)) } else { None })
        .collect()
}

fn denied() -> RemoteReport {
    RemoteReport::Denied(Failure::new(FailureKind::ForwardingDenied, "it does not listen there", "ask"))
}

fn first(up: &mut Up) -> (ListenId, RemoteSpec) {
    up.say(Input::Link(up.newest(), LinkReport::Lost(Failure::new(FailureKind::Disconnected, "", ""))));
    while up.tunnel.queued_since().is_none() {
        up.now = up.tunnel.poll_timeout().unwrap().0;
        up.say(Input::Timeout);
    }
    up.dial().remove(0)
}

#[test]
fn a_denial_is_retried_ever_more_seldom_and_troubles_nobody_else() {
    let mut up = Up::new(&["8080:localhost:3000", "8081:localhost:3000"], Policy::default());
    let (id, _) = first(&mut up);
    let other = ListenId { request: id.request + 1, ..id };
    let other = ListenId { forward: ForwardId(other.forward.0 + 1), ..other };
    up.answer(other, RemoteReport::Listens { port: 8081 });
    up.answer(id, denied());
    let mut waits = Vec::new();
    for _ in 0..24 {
        let (waited, id, _) = up.until_asked();
        waits.push(waited.as_secs_f64());
        up.answer(id, denied());
    }
    assert!((0.3..0.7).contains(&waits[0]) && (20.0..40.0).contains(&waits[23]), "{waits:?}");
    // Whoever comes back after a cut has the port soon: the dead session may go at any moment.
    assert!(waits[..10].iter().all(|wait| *wait < 5.0), "{waits:?}");
    let view = up.tunnel.view(up.now);
    assert_eq!(view.state, State::Up);
    assert_eq!(view.forwards[0].kind, ForwardKind::Remote);
    assert!(view.forwards[0].problem.is_some() && view.forwards[1].problem.is_none());
    assert_eq!(view.forwards[1].listens, ["localhost:8081"]);
}

#[test]
fn a_chosen_port_is_asked_for_again_for_a_minute_and_then_another_will_do() {
    let mut up = Up::new(&["0:localhost:3000"], Policy::default());
    let (id, spec) = first(&mut up);
    assert_eq!(spec.listen.port(), Some(0));
    up.answer(id, RemoteReport::Listens { port: 41_234 });
    assert_eq!(up.tunnel.view(up.now).forwards[0].listens, ["localhost:41234"]);
    let (mut id, mut spec) = first(&mut up);
    let began = up.now;
    while spec.listen.port() == Some(41_234) {
        assert!(up.now.since(began) < Duration::from_secs(75), "it is asked for without end");
        up.answer(id, denied());
        (_, id, spec) = up.until_asked();
    }
    assert_eq!(spec.listen.port(), Some(0));
    assert!(up.now.since(began) > Duration::from_secs(55), "it is given up too soon");
    up.answer(id, RemoteReport::Listens { port: 45_678 });
    assert_eq!(up.tunnel.view(up.now).forwards[0].listens, ["localhost:45678"]);
}

#[test]
fn a_port_that_was_chosen_before_a_restart_is_asked_for_again_by_the_same_forward_alone() {
    let parse = |text: &str| text.parse::<RemoteSpec>().unwrap();
    let kept = |text: &str, port| (parse(text), port);
    let name = Name::parse("a").unwrap();
    let ports =
        vec![kept("0:h:1", 41_001), kept("0:h:1", 41_002), kept("0:gone:1", 41_003), kept("80:h:1", 5)];
    let remotes = ["0:h:1", "0:h:1", "0:h:1", "0:other:1", "80:h:1"].map(parse).to_vec();
    let spec = TunnelSpec { start: Start::Login, remotes, ..any_spec() };
    let mut fleet = Fleet::new(1, Default::default()).with_ports([(name.clone(), ports)].into());
    let now = Moment::from_origin(Duration::from_secs(9));
    let mut asked_by_a_new_one = || {
        fleet.handle(now, FleetInput::Apply(vec![Change::Add(name.clone(), Box::new(spec.clone()))]));
        let newest = Epoch(fleet.tunnels()[&name].next_epoch().0 - 1);
        let mut say = |said| {
            fleet.handle(now, FleetInput::Tunnel(name.clone(), Input::Link(newest, said)));
            std::iter::from_fn(|| fleet.poll_output().map(|(_, output)| output)).collect::<Vec<_>>()
        };
        let asked = asked(say(LinkReport::Up));
        fleet.handle(now, FleetInput::Apply(vec![Change::Remove(name.clone())]));
        fleet.handle(now, FleetInput::Tunnel(name.clone(), Input::Link(newest, LinkReport::Closed)));
        assert!(fleet.tunnels().is_empty());
        while fleet.poll_output().is_some() {}
        asked.iter().map(|(_, spec)| spec.listen.port().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(asked_by_a_new_one(), [41_001, 41_002, 0, 0, 80]);
    // Another one that has its name later never had them.
    assert_eq!(asked_by_a_new_one(), [0, 0, 0, 0, 80]);
}

#[test]
fn the_session_before_lets_go_before_the_next_one_is_asked() {
    let mut up = Up::new(&["8080:localhost:3000"], Policy::default());
    let (id, _) = first(&mut up);
    up.answer(id, RemoteReport::Listens { port: 8080 });
    let old = up.newest();
    up.say(Input::Link(old, LinkReport::Worn));
    up.say(Input::Go);
    let outputs = up.say(Input::Link(up.newest(), LinkReport::Up));
    assert!(outputs.contains(&Output::Unlisten(old, id)), "{outputs:?}");
    assert_eq!(asked(outputs), []);
    let outputs = up.say(Input::Remote(old, id, RemoteReport::Closed));
    assert_eq!(asked(outputs).len(), 1);
}

#[test]
fn all_or_nothing_closes_the_link_and_tries_again_ever_more_seldom() -> Result<(), Broken> {
    let policy = Policy { all_or_nothing: true, ..Policy::default() };
    let mut up = Up::new(&["8080:localhost:3000"], policy);
    let (mut id, _) = first(&mut up);
    let mut waits = Vec::new();
    for _ in 0..10 {
        let outputs = up.answer(id, denied());
        assert!(outputs.iter().any(|output| matches!(output, Output::Close(_))), "{outputs:?}");
        let began = up.now;
        if up.tunnel.state() == State::Waiting {
            let problem = up.tunnel.view(up.now).problem.unwrap();
            assert_eq!(problem.kind, FailureKind::ForwardingDenied);
            let (at, _) = up.tunnel.poll_timeout().unwrap();
            up.now = at;
            up.say(Input::Timeout);
        }
        waits.push(up.now.since(began).as_secs_f64());
        (id, _) = up.dial().remove(0);
    }
    assert!(waits[9] > 20.0 && waits.is_sorted_by(|a, b| a < b || *b > 20.0), "{waits:?}");
    let outputs = up.answer(id, RemoteReport::Listens { port: 8080 });
    assert!(!outputs.iter().any(|output| matches!(output, Output::Close(_))));
    assert_eq!(up.tunnel.state(), State::Up);
    Ok(())
}

#[test]
fn a_port_that_is_taken_stays_told_while_it_is_tried_again() {
    let forwards = vec!["6000:localhost:7000".parse().unwrap()];
    let spec = TunnelSpec { start: Start::Login, forwards, remotes: Vec::new(), ..any_spec() };
    let mut up = Up { tunnel: real(&spec), now: Moment::ZERO };
    let taken = Failure::new(FailureKind::PortInUse, "port 6000 is in use", "stop it");
    let problem = |up: &Up| up.tunnel.view(up.now).forwards[0].problem.clone();
    up.say(Input::Listener(ForwardId(0), ListenerReport::Failed(taken.clone())));
    (up.now, _) = up.tunnel.poll_timeout().unwrap();
    let outputs = up.say(Input::Timeout);
    assert!(outputs.iter().any(|output| matches!(output, Output::Bind(ForwardId(1), _))), "{outputs:?}");
    assert_eq!(problem(&up), Some(taken));
    up.say(Input::Listener(ForwardId(1), ListenerReport::Bound { listens: vec![], note: None }));
    assert_eq!(problem(&up), None);
}

#[test]
fn all_or_nothing_does_not_dial_before_every_listener_is_there() {
    let forwards = vec!["6000:localhost:7000".parse().unwrap()];
    let policy = Policy { all_or_nothing: true, ..Policy::default() };
    let spec = TunnelSpec { start: Start::Login, forwards, remotes: Vec::new(), policy, ..any_spec() };
    let mut up = Up { tunnel: real(&spec), now: Moment::ZERO };
    let taken = Failure::new(FailureKind::PortInUse, "port 6000 is in use", "stop it");
    let failed = ListenerReport::Failed(taken.clone());
    up.say(Input::Listener(ForwardId(0), failed));
    assert_eq!((up.tunnel.state(), up.tunnel.queued_since()), (State::Binding, None));
    assert_eq!(up.tunnel.view(up.now).problem, Some(taken));
    let outputs = up.say(Input::Wait(WaitId(1), WaitFor::Up));
    assert!(outputs.iter().any(|output| matches!(output, Output::Answer(..))), "{outputs:?}");
    let (at, _) = up.tunnel.poll_timeout().unwrap();
    up.now = at;
    up.say(Input::Timeout);
    assert_eq!(up.tunnel.queued_since(), None, "it dials while it binds");
    let bound = ListenerReport::Bound { listens: vec!["127.0.0.1:6000".into()], note: None };
    up.say(Input::Listener(ForwardId(1), bound));
    assert!(up.tunnel.queued_since().is_some());
    up.dial();
    assert_eq!(up.tunnel.state(), State::Up);
    let gate = up.say(Input::Listener(
        ForwardId(1),
        ListenerReport::Failed(Failure::new(FailureKind::CannotListen, "it died", "")),
    ));
    assert!(gate.iter().any(|output| matches!(output, Output::Close(_))), "{gate:?}");
    assert!(!gate.contains(&Output::Gate(Gate::Reset)), "{gate:?}");
}
