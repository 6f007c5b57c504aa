//! The rules can fail: each of these bugs is planted between the simulated shell and the real fleet, and found
//! by the rule that is there for it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use nbtunnel_core::io::Timer;
use nbtunnel_core::{
    AskerId, Epoch, Fleet, FleetInput, Gate, Input, LinkReport, Moment, Name, Nudge, Order, Output, State,
    Tunnel,
};
use nbtunnel_tests::sim::{self, Machine};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Bug {
    DropsEveryFiftiethTimeout,
    IgnoresAnswers,
    ServesAStaleEpoch,
    LosesAnswersToWaits,
    AnswersWaitsTwice,
    ConnectsAfterStop,
    RetriesWhatIsParked,
    MissesNewCredentials,
    ForgetsToClose,
    ForgetsThatAPersonWasAsked,
    NeverEndsADrain,
    TakesStaleReportsForNewOnes,
    RetriesWithoutDelay,
    NeverOpensTheGate,
    KeepsWhoeverLeft,
    MissesThatALoginIsOpen,
    DoesNotKnowThatItAsks,
    AsksInTheBackground,
}

#[derive(Clone)]
struct Planted {
    fleet: Fleet,
    bug: Bug,
    timeouts: u64,
    drained: BTreeSet<(Name, Epoch)>,
    over: BTreeSet<(Name, Epoch)>,
    asker: BTreeMap<Name, AskerId>,
    outputs: VecDeque<(Name, Output)>,
}

impl Planted {
    fn new(fleet: Fleet, bug: Bug) -> Self {
        Planted {
            fleet,
            bug,
            timeouts: 0,
            drained: BTreeSet::new(),
            over: BTreeSet::new(),
            asker: BTreeMap::new(),
            outputs: VecDeque::new(),
        }
    }

    /// What the fleet is told instead.
    fn twisted(&mut self, input: FleetInput) -> Vec<FleetInput> {
        let FleetInput::Tunnel(name, said) = &input else {
            if input != FleetInput::Timeout {
                return vec![input];
            }
            self.timeouts += 1;
            if self.bug == Bug::DropsEveryFiftiethTimeout && self.timeouts.is_multiple_of(50) {
                return Vec::new();
            }
            let parked = self.fleet.tunnels().iter().filter(|(_, tunnel)| {
                self.bug == Bug::RetriesWhatIsParked && tunnel.state() == State::Parked
            });
            let nudge = |name: &Name| FleetInput::Tunnel(name.clone(), Input::Nudge(Nudge::Operator));
            return parked.map(|(name, _)| nudge(name)).chain([FleetInput::Timeout]).collect();
        };
        match (self.bug, said) {
            (Bug::IgnoresAnswers, Input::Link(_, LinkReport::Answers(_) | LinkReport::Heard))
            | (Bug::MissesNewCredentials, Input::CredentialsChanged)
            | (Bug::KeepsWhoeverLeft, Input::Left(_))
            | (Bug::MissesThatALoginIsOpen, Input::Link(_, LinkReport::Opened(_)))
            | (Bug::DoesNotKnowThatItAsks, Input::Link(_, LinkReport::Asking(_)))
            | (Bug::ForgetsThatAPersonWasAsked, Input::Link(_, LinkReport::Asked)) => Vec::new(),
            (Bug::TakesStaleReportsForNewOnes, Input::Link(epoch, report))
                if self.over.contains(&(name.clone(), *epoch)) =>
            {
                let newest = self.fleet.tunnels().get(name).map_or(0, |tunnel| tunnel.next_epoch().0 - 1);
                vec![FleetInput::Tunnel(name.clone(), Input::Link(Epoch(newest), report.clone()))]
            }
            (Bug::RetriesWithoutDelay, Input::Link(_, LinkReport::Lost(_))) => {
                let nudge = FleetInput::Tunnel(name.clone(), Input::Nudge(Nudge::Network));
                vec![input.clone(), nudge]
            }
            _ => vec![input],
        }
    }

    /// What it says instead.
    fn say(&mut self, name: Name, output: Output) {
        if let Output::Drain(epoch) = output {
            self.drained.insert((name.clone(), epoch));
        }
        if let (Bug::AsksInTheBackground, Output::Connect(epoch, route, None)) = (self.bug, &output) {
            let asker = self.asker.get(&name).copied();
            return self.outputs.push_back((name, Output::Connect(*epoch, route.clone(), asker)));
        }
        match (self.bug, &output) {
            (Bug::LosesAnswersToWaits, Output::Answer(..))
            | (Bug::ForgetsToClose, Output::Close(_))
            | (Bug::NeverOpensTheGate, Output::Gate(Gate::Serve(_))) => return,
            (Bug::NeverEndsADrain, Output::Close(epoch))
                if self.drained.contains(&(name.clone(), *epoch)) =>
            {
                return;
            }
            (Bug::AnswersWaitsTwice, Output::Answer(..)) => {
                self.outputs.push_back((name.clone(), output.clone()))
            }
            _ => {}
        }
        self.outputs.push_back((name, output));
    }
}

impl Machine for Planted {
    fn reborn(&self, seed: u64, remembered: BTreeMap<Name, Order>) -> Self {
        Planted::new(Fleet::new(seed, remembered), self.bug)
    }

    fn handle(&mut self, now: Moment, input: FleetInput) {
        for input in self.twisted(input.clone()) {
            self.fleet.handle(now, input);
        }
        while let Some((name, output)) = self.fleet.poll_output() {
            self.say(name, output);
        }
        let FleetInput::Tunnel(name, said) = input else { return };
        if let Input::Unlock(asker) = said {
            self.asker.insert(name.clone(), asker);
        }
        if let Input::Link(epoch, LinkReport::Lost(_) | LinkReport::Closed) = &said {
            self.over.insert((name.clone(), *epoch));
        }
        match (self.bug, said) {
            (Bug::ServesAStaleEpoch, Input::Link(epoch, LinkReport::Lost(_))) => {
                self.outputs.push_back((name, Output::Gate(Gate::Serve(epoch))));
            }
            (Bug::ConnectsAfterStop, Input::Order(Order::Stop)) => {
                if let Some(tunnel) = self.fleet.tunnels().get(&name) {
                    let route = Box::new(tunnel.spec().route.clone());
                    self.outputs.push_back((name, Output::Connect(tunnel.next_epoch(), route, None)));
                }
            }
            _ => {}
        }
    }

    fn poll_output(&mut self) -> Option<(Name, Output)> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Timer> {
        self.fleet.poll_timeout()
    }

    fn tunnels(&self) -> &BTreeMap<Name, Tunnel> {
        self.fleet.tunnels()
    }

    fn remembered(&self) -> &BTreeMap<Name, Order> {
        self.fleet.remembered()
    }
}

/// Which rules find `bug`, in some worlds.
fn found(bug: Bug) -> BTreeSet<&'static str> {
    let broken = (2000..2012).filter_map(|seed| {
        let fleet = Planted::new(Fleet::new(seed, BTreeMap::new()), bug);
        sim::run_with(fleet, seed, 15_000).err()
    });
    broken.map(|broken| broken.rule).collect()
}

#[test]
fn planted_bugs_are_found_by_the_rule_that_is_there_for_them() {
    for (bug, rule) in [
        (Bug::DropsEveryFiftiethTimeout, "no_timer_lies_in_the_past"),
        (Bug::IgnoresAnswers, "a_link_on_a_living_path_is_kept"),
        (Bug::ServesAStaleEpoch, "only_what_is_up_serves"),
        (Bug::LosesAnswersToWaits, "no_wait_is_lost"),
        (Bug::AnswersWaitsTwice, "a_wait_is_answered_once"),
        (Bug::ConnectsAfterStop, "what_is_not_wanted_never_connects"),
        (Bug::RetriesWhatIsParked, "a_parked_tunnel_waits"),
        (Bug::MissesNewCredentials, "what_is_wanted_and_possible_comes_up"),
        (Bug::ForgetsToClose, "what_is_not_wanted_is_closed"),
        (Bug::ForgetsThatAPersonWasAsked, "a_link_that_needs_a_person_is_kept"),
        (Bug::NeverEndsADrain, "older_links_end_by_a_deadline"),
        (Bug::TakesStaleReportsForNewOnes, "what_is_stale_changes_nothing"),
        (Bug::RetriesWithoutDelay, "attempts_are_bounded"),
        (Bug::NeverOpensTheGate, "what_is_wanted_and_possible_comes_up"),
        (Bug::KeepsWhoeverLeft, "only_who_is_there_is_asked"),
        (Bug::MissesThatALoginIsOpen, "one_answer_serves_all"),
        (Bug::DoesNotKnowThatItAsks, "whoever_is_asked_has_time"),
        (Bug::AsksInTheBackground, "only_who_is_there_is_asked"),
    ] {
        let rules = found(bug);
        println!("{bug:?}: {rules:?}");
        assert!(rules.contains(rule), "{bug:?} should break {rule}, but it broke {rules:?}");
    }
}
