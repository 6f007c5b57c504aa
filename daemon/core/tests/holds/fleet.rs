//! All tunnels together: turns, epochs, orders that are remembered, and the same outcome for the same seed.

use std::collections::BTreeMap;
use std::time::Duration;

use nbtunnel_core::fleet::{TURN_LASTS, TURNS};
use nbtunnel_core::{
    Change, Epoch, Fleet, FleetInput, ForwardId, Input, LinkReport, ListenerReport, Moment, Name, Nudge,
    Order, Output, TunnelSpec,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::{reported, runs};
use crate::run::draw::{Edit, Op, op, policy, spec};
use crate::run::{Broken, Checked, hold};

/// More than can dial at once.
const NAMES: u8 = 14;

#[derive(Clone, Debug)]
enum FleetOp {
    Add(u8, Box<TunnelSpec>),
    AddAll(Box<TunnelSpec>),
    Respec(u8, Vec<Edit>),
    Remove(u8),
    Tunnel(u8, Op),
    Nudge(Nudge),
    Pass(Duration),
    Sleep(Duration),
    /// The world does what all of them asked for.
    Oblige,
}

fn fleet_op() -> impl Strategy<Value = FleetOp> {
    let who = 0..NAMES;
    let edits = policy().prop_map(|policy| vec![Edit::Policy(policy), Edit::Host(true)]);
    let time = prop_oneof![3 => 0..3_000u64, 1 => 0..100_000u64].prop_map(Duration::from_millis);
    prop_oneof![
        2 => (who.clone(), spec()).prop_map(|(name, spec)| FleetOp::Add(name, Box::new(spec))),
        1 => spec().prop_map(|spec| FleetOp::AddAll(Box::new(spec))),
        1 => (who.clone(), edits).prop_map(|(name, edits)| FleetOp::Respec(name, edits)),
        2 => who.clone().prop_map(FleetOp::Remove),
        12 => (who, op()).prop_map(|(name, op)| FleetOp::Tunnel(name, op)),
        1 => select(vec![Nudge::Woke, Nudge::Network, Nudge::Operator]).prop_map(FleetOp::Nudge),
        4 => time.clone().prop_map(FleetOp::Pass),
        1 => time.prop_map(FleetOp::Sleep),
        2 => Just(FleetOp::Oblige),
    ]
}

fn name(number: u8) -> Name {
    Name::parse(&format!("t{number}")).unwrap()
}

/// A fleet, another with the same seed, and what is asked of the world.
struct World {
    fleet: Fleet,
    twin: Fleet,
    now: Moment,
    newest: BTreeMap<Name, Epoch>,
    dialling: BTreeMap<Name, (Epoch, Moment)>,
    /// What the world owes an answer to.
    owed: Vec<(Name, Input)>,
    newest_listener: BTreeMap<Name, ForwardId>,
}

impl World {
    fn new(remembered: BTreeMap<Name, Order>) -> Self {
        World {
            fleet: Fleet::new(5, remembered.clone()),
            twin: Fleet::new(5, remembered),
            now: Moment::from_origin(Duration::from_secs(50)),
            newest: BTreeMap::new(),
            dialling: BTreeMap::new(),
            owed: Vec::new(),
            newest_listener: BTreeMap::new(),
        }
    }

    fn play(ops: &[FleetOp]) -> Result<Self, Broken> {
        let remembered = [(name(0), Order::Stop), (name(1), Order::Start)];
        let mut world = World::new(remembered.into());
        ops.iter().try_for_each(|op| world.apply(op))?;
        Ok(world)
    }

    fn apply(&mut self, op: &FleetOp) -> Checked {
        let add = |number, spec: &TunnelSpec| Change::Add(name(number), Box::new(spec.clone()));
        match op {
            FleetOp::Add(number, spec) => self.handle(FleetInput::Apply(vec![add(*number, spec)])),
            FleetOp::AddAll(spec) => {
                self.handle(FleetInput::Apply((0..NAMES).map(|number| add(number, spec)).collect()))
            }
            FleetOp::Respec(number, edits) => {
                let Some(tunnel) = self.fleet.tunnels().get(&name(*number)) else { return Ok(()) };
                let mut spec = tunnel.spec().clone();
                edits.iter().for_each(|edit| edit.apply(&mut spec));
                self.handle(FleetInput::Apply(vec![Change::Respec(name(*number), Box::new(spec))]))
            }
            FleetOp::Remove(number) => self.handle(FleetInput::Apply(vec![Change::Remove(name(*number))])),
            FleetOp::Tunnel(number, op) => self.tell(name(*number), op),
            FleetOp::Nudge(nudge) => self.handle(FleetInput::Nudge(*nudge)),
            FleetOp::Pass(time) => self.pass(*time),
            FleetOp::Sleep(time) => {
                self.now = self.now + *time;
                Ok(())
            }
            FleetOp::Oblige => {
                let owed = std::mem::take(&mut self.owed);
                owed.into_iter().try_for_each(|(name, input)| self.handle(FleetInput::Tunnel(name, input)))
            }
        }
    }

    fn tell(&mut self, name: Name, op: &Op) -> Checked {
        let input = match op {
            // Turns are the fleet's alone to give; a remove and a respec come as changes.
            Op::Say(Input::Go | Input::Remove) => return Ok(()),
            Op::Say(input) => input.clone(),
            Op::Link { back, report } => {
                let newest = self.newest.get(&name).map_or(0, |epoch| epoch.0);
                Input::Link(Epoch(newest.wrapping_sub(*back as u64)), report.clone())
            }
            Op::Listener { back, report } => {
                let newest = self.newest_listener.get(&name).map_or(0, |id| id.0);
                Input::Listener(ForwardId(newest.wrapping_sub(*back as u32)), report.clone())
            }
            _ => return Ok(()),
        };
        self.handle(FleetInput::Tunnel(name, input))
    }

    fn pass(&mut self, time: Duration) -> Checked {
        let end = self.now + time;
        for _ in 0..100 {
            match self.fleet.poll_timeout() {
                Some((at, _)) if at <= end => {
                    self.now = self.now.max(at);
                    self.handle(FleetInput::Timeout)?;
                }
                Some(_) | None => break,
            }
        }
        self.now = self.now.max(end);
        Ok(())
    }

    fn handle(&mut self, input: FleetInput) -> Checked {
        self.now = self.now + Duration::from_nanos(1);
        if let FleetInput::Tunnel(name, Input::Link(epoch, report)) = &input
            && matches!(report, LinkReport::Up | LinkReport::Lost(_) | LinkReport::Closed)
        {
            self.dialling.retain(|dialling, (at, _)| dialling != name || at != epoch);
        }
        self.fleet.handle(self.now, input.clone());
        self.twin.handle(self.now, input.clone());
        let mut outputs = Vec::new();
        while let Some(output) = self.fleet.poll_output() {
            hold("the_same_seed_does_the_same", self.twin.poll_output().as_ref() == Some(&output), || {
                format!("{output:?}")
            })?;
            self.told(&output)?;
            outputs.push(output);
        }
        self.check(&input, &outputs)
    }

    fn told(&mut self, (name, output): &(Name, Output)) -> Checked {
        let mut owe = |input| self.owed.push((name.clone(), input));
        match output {
            Output::Connect(epoch, _, _) => {
                let older = self.newest.insert(name.clone(), *epoch);
                hold("epochs_only_increase", older < Some(*epoch), || format!("{name} {older:?} {epoch:?}"))?;
                self.dialling.insert(name.clone(), (*epoch, self.now));
                owe(Input::Link(*epoch, LinkReport::Up));
            }
            Output::Close(epoch) => {
                self.dialling.retain(|dialling, (at, _)| dialling != name || at != epoch);
                owe(Input::Link(*epoch, LinkReport::Closed));
            }
            Output::Probe(epoch) => owe(Input::Link(*epoch, LinkReport::Answers(Duration::from_millis(9)))),
            Output::Bind(id, spec) => {
                self.newest_listener.insert(name.clone(), *id);
                let listens = vec![spec.listen.to_string()];
                owe(Input::Listener(*id, ListenerReport::Bound { listens, note: None }));
            }
            Output::Unbind(id) => owe(Input::Listener(*id, ListenerReport::Unbound)),

            _ => {}
        }
        Ok(())
    }

    fn check(&self, input: &FleetInput, outputs: &[(Name, Output)]) -> Checked {
        let said = || format!("after {input:?}: {outputs:?}");
        let tunnels = self.fleet.tunnels();
        let young = self.dialling.values().filter(|(_, since)| *since + TURN_LASTS > self.now).count();
        hold("few_dial_at_a_time", young <= TURNS, said)?;
        let mut queued = tunnels.values().filter(|tunnel| tunnel.queued_since().is_some());
        hold("no_turn_is_wasted", young == TURNS || queued.clone().next().is_none(), said)?;
        let someone_waits = queued.any(|tunnel| tunnel.held() > 0);
        let passed_by = outputs.iter().any(|(name, output)| {
            matches!(output, Output::Connect(..))
                && tunnels.get(name).is_some_and(|tunnel| tunnel.held() == 0)
        });
        hold("whoever_is_waited_for_dials_first", !(someone_waits && passed_by), said)?;
        for (name, tunnel) in tunnels.iter().filter(|(_, tunnel)| !tunnel.is_leaving()) {
            let remembered = self.fleet.remembered().get(name).copied();
            hold("orders_are_remembered", remembered == tunnel.order(), said)?;
        }
        for (name, _) in outputs.iter().filter(|(_, output)| *output == Output::Gone) {
            let clean = !tunnels.contains_key(name) && !self.fleet.remembered().contains_key(name);
            hold("gone_is_forgotten", clean, said)?;
        }
        if *input == FleetInput::Timeout {
            let later = self.fleet.poll_timeout().is_none_or(|(at, _)| at > self.now);
            hold("a_timeout_is_followed_by_a_later_one", later, said)?;
        }
        if self.fleet.poll_timeout().is_none_or(|(at, _)| at > self.now) {
            let mut early = self.fleet.clone();
            early.handle(self.now, FleetInput::Timeout);
            hold("an_early_timeout_changes_nothing", early == self.fleet, said)?;
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(runs(400))]

    #[test]
    fn every_rule_of_the_fleet_holds_whatever_happens(ops in vec(fleet_op(), 1..60)) {
        reported(World::play(&ops))?;
    }

}

proptest! {
    #![proptest_config(runs(50))]

    #[test]
    fn everybody_gets_a_turn_though_no_server_answers(spec in spec(), ops in vec(fleet_op(), 0..20)) {
        let mut world = reported(World::play(&ops))?;
        reported(world.apply(&FleetOp::AddAll(Box::new(spec))))?;
        for number in 0..NAMES {
            reported(world.handle(FleetInput::Tunnel(name(number), Input::Order(Order::Start))))?;
            reported(world.handle(FleetInput::Tunnel(name(number), Input::Activity { held: 1, open: 0 })))?;
        }
        let before = world.newest.clone();
        // Every listener answers, no server does: a dial gives its turn away after two seconds.
        for _ in 0..20 {
            let owed = std::mem::take(&mut world.owed);
            for (name, input) in owed.into_iter().filter(|(_, input)| matches!(input, Input::Listener(..))) {
                reported(world.handle(FleetInput::Tunnel(name, input)))?;
            }
            reported(world.pass(Duration::from_secs(2)))?;
        }
        for number in 0..NAMES {
            let name = name(number);
            let dials = world.newest.get(&name) > before.get(&name)
                || world.fleet.tunnels().get(&name).is_some_and(|tunnel| tunnel.queued_since().is_none());
            prop_assert!(dials, "{name} never got a turn: {:?}", world.fleet);
        }
    }
}

#[test]
fn the_first_turn_is_for_the_tunnel_that_somebody_waits_for() {
    use proptest::strategy::ValueTree;
    let spec = spec().new_tree(&mut proptest::test_runner::TestRunner::deterministic()).unwrap().current();
    let spec = TunnelSpec { start: nbtunnel_core::Start::Login, forwards: Vec::new(), ..spec };
    let mut world = World::new(BTreeMap::new());
    world.apply(&FleetOp::AddAll(Box::new(spec))).unwrap();
    let last = world.fleet.tunnels().keys().rfind(|name| !world.newest.contains_key(*name)).cloned().unwrap();
    world.handle(FleetInput::Tunnel(last.clone(), Input::Activity { held: 1, open: 0 })).unwrap();
    let refused = nbtunnel_core::Failure::new(nbtunnel_core::FailureKind::Refused, "nobody there", "");
    let (first, (epoch, _)) = world.dialling.iter().next().map(|(name, dial)| (name.clone(), *dial)).unwrap();
    world.handle(FleetInput::Tunnel(first, Input::Link(epoch, LinkReport::Lost(refused)))).unwrap();
    assert!(world.newest.contains_key(&last), "{:?}", world.fleet);
}
