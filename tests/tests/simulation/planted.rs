//! The rules can fail: each of these bugs is planted between the simulated shell and the real fleet, and found
//! by the rule that is there for it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use nbtunnel_core::io::Timer;
use nbtunnel_core::{
    AskerId, Did, Epoch, Fleet, FleetInput, ForwardId, ForwardReport, Gate, Input, LinkReport, Moment, Name,
    NotebookInput, Nudge, Order, Output, Settled, State, Target, Task, TaskId, Tunnel, WaitId, Wish,
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
    LeadsToYesterdaysPlace,
    LeadsBackWhereItWasRefused,
    StartsWithoutALook,
    DoesTwoThingsAtOnce,
    MissesWhatWasFound,
    ForgetsWhoWished,
    NeverSaysThatItIsNotThere,
    ReachesBeforeItLooked,
    TakesOldWorkForNew,
    LooksForNobody,
}

#[derive(Clone)]
struct Planted {
    fleet: Fleet,
    bug: Bug,
    timeouts: u64,
    drained: BTreeSet<(Name, Epoch)>,
    over: BTreeSet<(Name, Epoch)>,
    asker: BTreeMap<Name, AskerId>,
    /// Where each forward of a notebook was led last.
    places: BTreeMap<(Name, ForwardId), Target>,
    /// What was wished for, by whom.
    wishes: BTreeMap<WaitId, (Name, Wish)>,
    /// The newest task of each notebook.
    tasks: BTreeMap<(Name, Name), TaskId>,
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
            places: BTreeMap::new(),
            wishes: BTreeMap::new(),
            tasks: BTreeMap::new(),
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
            if self.bug == Bug::LooksForNobody {
                return self.doubts().into_iter().chain([FleetInput::Timeout]).collect();
            }
            let nudge = |name: &Name| FleetInput::Tunnel(name.clone(), Input::Nudge(Nudge::Operator));
            return parked.map(|(name, _)| nudge(name)).chain([FleetInput::Timeout]).collect();
        };
        match (self.bug, said) {
            (Bug::IgnoresAnswers, Input::Link(_, LinkReport::Answers(_) | LinkReport::Heard))
            | (Bug::MissesNewCredentials, Input::CredentialsChanged)
            | (Bug::KeepsWhoeverLeft, Input::Left(_))
            | (Bug::MissesThatALoginIsOpen, Input::Link(_, LinkReport::Opened(_)))
            | (Bug::DoesNotKnowThatItAsks, Input::Link(_, LinkReport::Asking(_)))
            | (Bug::MissesWhatWasFound, Input::Notebook(_, NotebookInput::Did(_, Did::Found(..))))
            | (Bug::ForgetsWhoWished, Input::Notebook(_, NotebookInput::Wish(..)))
            | (Bug::ForgetsThatAPersonWasAsked, Input::Link(_, LinkReport::Asked)) => Vec::new(),
            (Bug::TakesOldWorkForNew, Input::Notebook(notebook, NotebookInput::Did(_, did))) => {
                let newest = self.tasks.get(&(name.clone(), notebook.clone())).copied();
                let did = NotebookInput::Did(newest.unwrap_or(TaskId(0)), did.clone());
                vec![FleetInput::Tunnel(name.clone(), Input::Notebook(notebook.clone(), did))]
            }
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

    /// Each notebook may be elsewhere, although nobody said so.
    fn doubts(&self) -> Vec<FleetInput> {
        let tunnels = self.fleet.tunnels().iter();
        let notebooks = tunnels.flat_map(|(name, tunnel)| {
            tunnel.spec().notebooks.iter().map(move |spec| {
                let doubt = Input::Notebook(spec.name.clone(), NotebookInput::Doubt);
                FleetInput::Tunnel(name.clone(), doubt)
            })
        });
        notebooks.collect()
    }

    /// What is asked again in the place of an answer that it is not there.
    fn wished_again(&self, name: &Name, output: &Output) -> Option<FleetInput> {
        let Output::Answer(wait, Settled::Stuck(_)) = output else { return None };
        let is_up = self.fleet.tunnels().get(name).is_some_and(|tunnel| tunnel.state() == State::Up);
        let (notebook, wish) = self.wishes.get(wait)?;
        let wish = Input::Notebook(notebook.clone(), NotebookInput::Wish(*wait, *wish));
        let hides = self.bug == Bug::NeverSaysThatItIsNotThere && is_up;
        hides.then(|| FleetInput::Tunnel(name.clone(), wish))
    }

    /// What it says of notebooks beside what is right.
    fn say_of_notebooks(&mut self, name: &Name, output: &Output) {
        match output {
            Output::Retarget(id, to @ Target::Tcp(..)) => {
                self.places.insert((name.clone(), *id), to.clone());
            }
            Output::Gate(Gate::Serve(_)) if self.bug == Bug::LeadsToYesterdaysPlace => {
                let places = self.places.iter().filter(|((of, _), _)| of == name);
                let places = places.map(|((of, id), to)| (of.clone(), Output::Retarget(*id, to.clone())));
                self.outputs.extend(places);
            }
            Output::Notebook(via, notebook, id, task) => {
                self.tasks.insert((name.clone(), notebook.clone()), *id);
                let another = match (self.bug, task) {
                    (Bug::StartsWithoutALook, Task::Find) => Task::Start,
                    (Bug::DoesTwoThingsAtOnce, Task::Find) => Task::Find,
                    _ => return,
                };
                let another = Output::Notebook(*via, notebook.clone(), TaskId(id.0 + 1), another);
                self.outputs.push_back((name.clone(), another));
            }
            _ => {}
        }
    }

    /// What it says instead.
    fn say(&mut self, name: Name, output: Output) {
        if let Output::Drain(epoch) = output {
            self.drained.insert((name.clone(), epoch));
        }
        self.say_of_notebooks(&name, &output);
        if let (Bug::AsksInTheBackground, Output::Connect(epoch, route, None)) = (self.bug, &output) {
            let asker = self.asker.get(&name).copied();
            return self.outputs.push_back((name, Output::Connect(*epoch, route.clone(), asker)));
        }
        match (self.bug, &output) {
            (Bug::LosesAnswersToWaits, Output::Answer(..))
            | (Bug::ForgetsToClose, Output::Close(_))
            | (Bug::NeverOpensTheGate, Output::Gate(Gate::Serve(_)))
            | (Bug::StartsWithoutALook, Output::Notebook(_, _, _, Task::Find)) => return,
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
        if let FleetInput::Tunnel(_, Input::Notebook(notebook, NotebookInput::Wish(wait, wish))) = &input {
            self.wishes.insert(*wait, (notebook.clone(), *wish));
        }
        while let Some((name, output)) = self.fleet.poll_output() {
            match self.wished_again(&name, &output) {
                Some(again) => self.fleet.handle(now, again),
                None => self.say(name, output),
            }
        }
        let FleetInput::Tunnel(name, said) = input else { return };
        if let Input::Unlock(asker) = said {
            self.asker.insert(name.clone(), asker);
        }
        if let Input::Link(epoch, LinkReport::Lost(_) | LinkReport::Closed) = &said {
            self.over.insert((name.clone(), *epoch));
        }
        match (self.bug, said) {
            (Bug::LeadsBackWhereItWasRefused, Input::Forward(id, ForwardReport::Denied(_))) => {
                let place = self.places.get(&(name.clone(), id)).cloned();
                self.outputs.extend(place.map(|place| (name, Output::Retarget(id, place))));
            }
            (Bug::ReachesBeforeItLooked, Input::Notebook(_, NotebookInput::Wish(wait, Wish::Find))) => {
                self.outputs.push_back((name, Output::Answer(wait, Settled::Reached)));
            }
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
    let broken = (2000..2016).filter_map(|seed| {
        let fleet = Planted::new(Fleet::new(seed, BTreeMap::new()), bug);
        sim::run_with(fleet, seed, 15_000).err()
    });
    broken.map(|broken| broken.rule).collect()
}

#[test]
fn planted_bugs_are_found_by_the_rule_that_is_there_for_them() {
    for (bug, rule) in [
        (Bug::NeverSaysThatItIsNotThere, "every_wish_is_answered_in_time"),
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
        (Bug::LeadsToYesterdaysPlace, "nobody_is_led_where_nobody_looked"),
        (Bug::LeadsBackWhereItWasRefused, "nobody_is_led_where_nobody_looked"),
        (Bug::StartsWithoutALook, "nothing_is_started_before_a_look_found_nothing"),
        (Bug::DoesTwoThingsAtOnce, "one_task_of_a_notebook_at_a_time"),
        (Bug::MissesWhatWasFound, "whoever_waits_for_a_notebook_is_led_there"),
        (Bug::ForgetsWhoWished, "no_wish_is_lost"),
        (Bug::ReachesBeforeItLooked, "a_wish_is_answered_by_a_later_look"),
        (Bug::TakesOldWorkForNew, "what_is_stale_changes_nothing"),
        (Bug::LooksForNobody, "nobody_is_asked_often_for_nobody"),
    ] {
        let rules = found(bug);
        println!("{bug:?}: {rules:?}");
        assert!(rules.contains(rule), "{bug:?} should break {rule}, but it broke {rules:?}");
    }
}
