//! The checks can fail: each of these bugs is planted into the real machine, and found by the very checks and
//! runs that the real one passes.

use std::collections::VecDeque;
use std::time::Duration;

use nbtunnel_core::io::Timer;
use nbtunnel_core::{
    Epoch, Gate, Input, LinkReport, ListenId, Moment, Nudge, Order, Output, State, TimerReason, Tunnel,
    TunnelSpec,
};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use crate::run::draw::{op, story};
use crate::run::{Machine, Run};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Bug {
    LetsStaleEpochsThrough,
    DropsAnswers,
    ConnectsAfterStop,
    ForgetsToCloseOnRestart,
    RetriesParkedOnATimer,
    ForgetsToRetarget,
    ActsBeforeItsTime,
    ServesBeforeItIsUp,
    SleepsOnAfterAWake,
    RebindsOnEveryRespec,
    ForgetsToDrain,
    GivesUpWhoTookAPerson,
    BelievesTheSuspect,
    ForgetsToListen,
    ForgetsToUnlisten,
    LetsOlderRequestsThrough,
    ForgetsThePerson,
    WaitsForWhoLeft,
}

#[derive(Clone, Debug, PartialEq)]
struct Planted {
    tunnel: Tunnel,
    bug: Bug,
    outputs: VecDeque<Output>,
    parked_at: Option<Moment>,
    /// The newest request to a server.
    request: Option<(Epoch, ListenId)>,
}

impl Planted {
    fn new(tunnel: Tunnel, bug: Bug) -> Self {
        let mut planted = Planted { tunnel, bug, outputs: VecDeque::new(), parked_at: None, request: None };
        planted.take_outputs(&Input::Timeout);
        planted
    }

    fn take_outputs(&mut self, input: &Input) {
        while let Some(output) = self.tunnel.poll_output() {
            let output = match output {
                Output::Connect(epoch, route, _) if self.bug == Bug::ForgetsThePerson => {
                    Output::Connect(epoch, route, None)
                }
                output => output,
            };
            let dropped = match (self.bug, &output) {
                (Bug::DropsAnswers, Output::Answer(..)) | (Bug::ForgetsToRetarget, Output::Retarget(..)) => {
                    true
                }
                (Bug::ForgetsToCloseOnRestart, Output::Close(_)) => *input == Input::Order(Order::Restart),
                (Bug::ForgetsToDrain, Output::Drain(_))
                | (Bug::ForgetsToListen, Output::Listen(..))
                | (Bug::ForgetsToUnlisten, Output::Unlisten(..)) => true,
                (Bug::BelievesTheSuspect, Output::Gate(Gate::Hold)) => *input == Input::Timeout,
                _ => false,
            };
            if let (Bug::ServesBeforeItIsUp, Output::Connect(epoch, _, _)) = (self.bug, &output) {
                self.outputs.push_back(Output::Gate(Gate::Serve(*epoch)));
            }
            if let Output::Listen(epoch, id, _) = &output {
                self.request = Some((*epoch, *id));
            }
            self.outputs.extend((!dropped).then_some(output));
        }
    }
}

impl Machine for Planted {
    fn fresh(&self, now: Moment, spec: TunnelSpec, first_epoch: Epoch) -> Self {
        Planted::new(self.tunnel.fresh(now, spec, first_epoch), self.bug)
    }

    fn handle(&mut self, now: Moment, input: Input) {
        let newest = Epoch(self.tunnel.next_epoch().0.saturating_sub(1));
        match (self.bug, input.clone()) {
            (Bug::LetsStaleEpochsThrough, Input::Link(epoch, report)) if epoch < newest => {
                self.tunnel.handle(now, Input::Link(newest, report));
            }
            (Bug::LetsOlderRequestsThrough, Input::Remote(_, _, report)) => {
                if let Some((epoch, id)) = self.request {
                    self.tunnel.handle(now, Input::Remote(epoch, id, report));
                }
            }
            (Bug::RetriesParkedOnATimer, Input::Timeout)
                if self.parked_at.is_some_and(|at| at + Duration::from_secs(60) <= now) =>
            {
                self.tunnel.handle(now, Input::Nudge(Nudge::Operator));
            }
            (Bug::ActsBeforeItsTime, Input::Timeout) => {
                self.tunnel.handle(now + Duration::from_secs(1), Input::Timeout);
            }
            (Bug::SleepsOnAfterAWake, Input::Nudge(Nudge::Woke))
            | (Bug::GivesUpWhoTookAPerson, Input::Link(_, LinkReport::Asked))
            | (Bug::WaitsForWhoLeft, Input::Left(_)) => {}
            (Bug::RebindsOnEveryRespec, Input::Respec(spec)) => {
                let bare = TunnelSpec { forwards: Vec::new(), ..(*spec).clone() };
                self.tunnel.handle(now, Input::Respec(Box::new(bare)));
                self.tunnel.handle(now, Input::Respec(spec));
            }
            (Bug::ConnectsAfterStop, Input::Order(Order::Stop)) => {
                self.tunnel.handle(now, input.clone());
                let route = Box::new(self.tunnel.spec().route.clone());
                self.outputs.push_back(Output::Connect(self.tunnel.next_epoch(), route, None));
            }
            (_, input) => self.tunnel.handle(now, input),
        }
        self.parked_at = (self.tunnel.state() == State::Parked).then(|| self.parked_at.unwrap_or(now));
        self.take_outputs(&input);
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn tunnel(&self) -> &Tunnel {
        &self.tunnel
    }

    fn poll_timeout(&self) -> Option<Timer> {
        let retry = self.parked_at.map(|at| (at + Duration::from_secs(60), TimerReason::Retry));
        self.tunnel
            .poll_timeout()
            .into_iter()
            .chain(retry.filter(|_| self.bug == Bug::RetriesParkedOnATimer))
            .min()
    }
}

/// Runs the checks on a machine with `bug` until `rule` is found broken, and returns how many things have to
/// happen for that.
fn found(bug: Bug, rule: &str) -> Option<usize> {
    let config = Config { cases: 12_000, failure_persistence: None, ..Config::default() };
    let chance = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let outcome = TestRunner::new_with_rng(config, chance).run(&story(op(), 60), |(spec, ops)| {
        let kind = Planted::new(Tunnel::new(Moment::ZERO, spec.clone(), Epoch(1), 0, None), bug);
        let mut ops = ops.iter();
        let played = Run::new(&kind, spec).and_then(|mut run| ops.try_for_each(|op| run.apply(op)));
        match played {
            Err(broken) if broken.rule == rule => Err(TestCaseError::fail(broken.to_string())),
            _ => Ok(()),
        }
    });
    match outcome {
        Err(TestError::Fail(_, (_, ops))) => Some(ops.len()),
        Ok(()) | Err(TestError::Abort(_)) => None,
    }
}

#[test]
fn every_planted_bug_is_found_and_shrunk_to_a_few_steps() {
    for (bug, rule) in [
        (Bug::LetsStaleEpochsThrough, "what_is_stale_changes_nothing"),
        (Bug::DropsAnswers, "a_wait_is_answered_when_it_is_over"),
        (Bug::ConnectsAfterStop, "down_binds_and_connects_nothing"),
        (Bug::ForgetsToCloseOnRestart, "at_most_one_live_link"),
        (Bug::RetriesParkedOnATimer, "parked_stays_parked"),
        (Bug::ForgetsToRetarget, "a_listener_leads_where_the_file_says"),
        (Bug::ActsBeforeItsTime, "an_early_timeout_changes_nothing"),
        (Bug::ServesBeforeItIsUp, "serves_only_through_a_link_that_is_up"),
        (Bug::SleepsOnAfterAWake, "agrees_with_the_model"),
        (Bug::RebindsOnEveryRespec, "an_address_that_stays_keeps_its_listener"),
        (Bug::ForgetsToDrain, "at_most_one_link_and_one_to_follow_it"),
        (Bug::GivesUpWhoTookAPerson, "at_most_one_live_link"),
        (Bug::BelievesTheSuspect, "agrees_with_the_model"),
        (Bug::ForgetsToListen, "no_remote_forward_is_forgotten"),
        (Bug::ForgetsToUnlisten, "nothing_listens_for_what_is_forgotten"),
        (Bug::LetsOlderRequestsThrough, "what_is_stale_changes_nothing"),
        (Bug::ForgetsThePerson, "asks_whoever_is_there"),
        (Bug::WaitsForWhoLeft, "agrees_with_the_model"),
    ] {
        let steps = found(bug, rule);
        assert!(steps.is_some_and(|steps| steps <= 12), "{bug:?} should break {rule}: {steps:?}");
    }
}
