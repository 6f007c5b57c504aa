//! Drives one tunnel through a random run and checks it after every input.

pub(crate) mod draw;
pub(crate) mod facts;
pub(crate) mod ledger;
mod remotes;
mod respecs;
mod rules;

use std::time::Duration;

use nbtunnel_core::io::Timer;
use nbtunnel_core::{
    Epoch, ForwardId, Input, LinkReport, ListenerReport, Moment, Output, State, Tunnel, TunnelSpec, WaitId,
};

use crate::model::Model;
use draw::Op;
use facts::{LinkFact, ListenerFact};
use ledger::Ledger;

/// The word that users see, with less detail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Rest,
    Binding,
    Trying,
    Up,
    Parked,
    Closing,
}

/// What the listeners do in the world, and the last dial.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listening {
    /// Each forward listens or has failed, and no other listener is left.
    pub(crate) settled: bool,
    /// There is none.
    pub(crate) gone: bool,
    /// So many older sessions only drain that no renewal adds another.
    pub(crate) full: bool,
    /// The last dial began so lately that whoever tells of a wake may mean one before it.
    pub(crate) dials_lately: bool,
}

/// A rule that did not hold.
#[derive(Clone, Debug)]
pub(crate) struct Broken {
    pub(crate) rule: &'static str,
    what: String,
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)
    }
}

pub(crate) type Checked = Result<(), Broken>;

/// Whether `rule` holds; `what` tells what is wrong otherwise.
pub(crate) fn hold(rule: &'static str, holds: bool, what: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(Broken { rule, what: what() }) }
}

/// A tunnel, or one with a bug in it.
pub(crate) trait Machine: Clone + PartialEq + std::fmt::Debug {
    fn fresh(&self, now: Moment, spec: TunnelSpec, first_epoch: Epoch) -> Self;
    fn handle(&mut self, now: Moment, input: Input);
    fn poll_output(&mut self) -> Option<Output>;
    fn tunnel(&self) -> &Tunnel;
    fn poll_timeout(&self) -> Option<Timer> {
        self.tunnel().poll_timeout()
    }
}

impl Machine for Tunnel {
    fn fresh(&self, now: Moment, spec: TunnelSpec, first_epoch: Epoch) -> Self {
        Tunnel::new(now, spec, first_epoch, 7, None)
    }
    fn handle(&mut self, now: Moment, input: Input) {
        Tunnel::handle(self, now, input);
    }
    fn poll_output(&mut self) -> Option<Output> {
        Tunnel::poll_output(self)
    }
    fn tunnel(&self) -> &Tunnel {
        self
    }
}

/// What `machine` answers to `input`.
fn told<M: Machine>(machine: &mut M, now: Moment, input: Input) -> Vec<Output> {
    machine.handle(now, input);
    std::iter::from_fn(|| machine.poll_output()).collect()
}

/// Changes nothing, whatever the state: nobody ever waits under this number.
const NOTHING: Input = Input::Unwait(WaitId(u64::MAX));

/// A run of one machine, from its birth on.
pub(crate) struct Run<M> {
    pub(crate) machine: M,
    pub(crate) now: Moment,
    pub(crate) ledger: Ledger,
    /// `None` once time jumped over timers: which of them fire together then is not the model's business.
    model: Option<Model>,
    waits: u64,
}

impl<M: Machine> Run<M> {
    /// `machine` only says which kind is wanted.
    pub(crate) fn new(machine: &M, spec: TunnelSpec) -> Result<Self, Broken> {
        let now = Moment::from_origin(Duration::from_secs(1000));
        let mut run = Run {
            machine: machine.fresh(now, spec.clone(), Epoch(1)),
            now,
            ledger: Ledger::default(),
            model: None,
            waits: 0,
        };
        run.born(spec, 1)?;
        Ok(run)
    }

    fn born(&mut self, spec: TunnelSpec, first_epoch: u64) -> Checked {
        let mut model = Model::new(spec, first_epoch);
        while let Some(output) = self.machine.poll_output() {
            self.ledger.told(self.now, &NOTHING, &output, self.machine.tunnel())?;
        }
        model.handle(&NOTHING, None, self.ledger.listening(self.now, self.machine.tunnel()));
        self.model = Some(model);
        self.agree(&NOTHING)
    }

    /// Carries out `op`, whatever it means in this state.
    pub(crate) fn apply(&mut self, op: &Op) -> Checked {
        match op {
            Op::Say(input) => self.step(input.clone()),
            Op::Respec(edits) => {
                let mut spec = self.machine.tunnel().spec().clone();
                edits.iter().for_each(|edit| edit.apply(&mut spec));
                self.step(Input::Respec(Box::new(spec)))
            }
            Op::Listener { back, report } => {
                let id = ForwardId(self.ledger.newest_listener().wrapping_sub(*back as u32));
                self.step(Input::Listener(id, report.clone()))
            }
            Op::Forward { back, report } => {
                let id = ForwardId(self.ledger.newest_listener().wrapping_sub(*back as u32));
                self.step(Input::Forward(id, report.clone()))
            }
            Op::Remote { back, report } => {
                let (epoch, id) = self.ledger.remotes.request(*back);
                self.step(Input::Remote(epoch, id, report.clone()))
            }
            Op::Link { back, report } => {
                let newest = self.machine.tunnel().next_epoch().0.wrapping_sub(1);
                self.step(Input::Link(Epoch(newest.wrapping_sub(*back as u64)), report.clone()))
            }
            Op::Wait(wait) => {
                self.waits += 1;
                self.step(Input::Wait(WaitId(self.waits), *wait))
            }
            Op::Unwait(back) => self.step(Input::Unwait(WaitId(self.waits.wrapping_sub(u64::from(*back))))),
            Op::Pass(time) => self.pass(*time),
            Op::Sleep(time) => {
                self.model = None;
                self.now = self.now + *time;
                Ok(())
            }
            Op::Oblige => self.oblige().map(|_| ()),
        }
    }

    /// Time passes, and every timer fires in its very moment.
    fn pass(&mut self, time: Duration) -> Checked {
        let end = self.now + time;
        // A link that is up and never answers, or retries for hours, has many timers.
        for _ in 0..40 {
            match self.machine.poll_timeout() {
                Some((at, _)) if at <= end => self.fire()?,
                Some(_) | None => {
                    self.now = end;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn fire(&mut self) -> Checked {
        if let Some((at, _)) = self.machine.poll_timeout() {
            self.now = self.now.max(at);
            self.handle(Input::Timeout)?;
        }
        Ok(())
    }

    /// The world does everything that it was asked for, with success. Returns whether there was something.
    pub(crate) fn oblige(&mut self) -> Result<bool, Broken> {
        let mut due = Vec::new();
        for (id, listener) in self.ledger.listeners() {
            let listens = vec![listener.spec.listen.to_string()];
            match listener.fact {
                ListenerFact::Asked { .. } => {
                    due.push(Input::Listener(*id, ListenerReport::Bound { listens, note: None }));
                }
                ListenerFact::Closing { .. } => due.push(Input::Listener(*id, ListenerReport::Unbound)),
                ListenerFact::Bound | ListenerFact::Gone => {}
            }
        }
        for (epoch, link) in self.ledger.links() {
            match link {
                LinkFact::Dialling => due.push(Input::Link(*epoch, LinkReport::Up)),
                LinkFact::Up { probed: true } => {
                    due.push(Input::Link(*epoch, LinkReport::Answers(Duration::from_millis(20))));
                }
                LinkFact::Draining { .. } => due.push(Input::Link(*epoch, LinkReport::Drained)),
                LinkFact::Closing { .. } => due.push(Input::Link(*epoch, LinkReport::Closed)),
                LinkFact::Up { probed: false } | LinkFact::Ended => {}
            }
        }
        due.extend(self.ledger.remotes.due(self.ledger.links()));
        due.extend(self.ledger.unread().map(|epoch| Input::Link(epoch, LinkReport::Clogged(false))));
        if self.machine.tunnel().queued_since().is_some() {
            due.push(Input::Go);
        }
        let any = !due.is_empty();
        due.into_iter().try_for_each(|input| self.step(input))?;
        Ok(any)
    }

    /// The world is kind and time passes: until nothing is left to be done, at most `rounds` times.
    pub(crate) fn be_fair(&mut self, rounds: u32, done: impl Fn(&Tunnel) -> bool) -> Result<bool, Broken> {
        for _ in 0..rounds {
            if !self.oblige()? {
                if done(self.machine.tunnel()) {
                    return Ok(true);
                }
                self.fire()?;
            }
        }
        Ok(done(self.machine.tunnel()))
    }

    /// One input, a nanosecond after the one before: so no two timers of different origin ever tie.
    pub(crate) fn step(&mut self, input: Input) -> Checked {
        let next = self.now + Duration::from_nanos(1);
        if self.model.is_some() && self.machine.poll_timeout().is_some_and(|(at, _)| at <= next) {
            self.fire()?;
        }
        self.now = self.now.max(next);
        self.handle(input)
    }

    fn handle(&mut self, input: Input) -> Checked {
        let before = self.machine.clone();
        let fired = before.poll_timeout().filter(|(at, _)| *at <= self.now).map(|(_, reason)| reason);
        let stale = self.ledger.is_stale(&input, before.tunnel());
        self.ledger.happened(self.now, &input, before.tunnel());
        let outputs = told(&mut self.machine, self.now, input.clone());
        for output in &outputs {
            self.ledger.told(self.now, &input, output, self.machine.tunnel())?;
        }
        self.ledger.settled(self.machine.tunnel());
        rules::check(&rules::Step {
            now: self.now,
            before: &before,
            after: &self.machine,
            input: &input,
            stale,
            outputs: &outputs,
            ledger: &self.ledger,
        })?;
        let listening = self.ledger.listening(self.now, self.machine.tunnel());
        if let Some(model) = &mut self.model {
            model.handle(&input, fired.filter(|_| input == Input::Timeout), listening);
            self.agree(&input)?;
        }
        if outputs.contains(&Output::Gone) {
            self.begin_anew()?;
        }
        Ok(())
    }

    fn agree(&self, input: &Input) -> Checked {
        let Some(model) = &self.model else { return Ok(()) };
        let tunnel = self.machine.tunnel();
        let listening = self.ledger.listening(self.now, tunnel);
        let real = (phase(tunnel.state()), self.ledger.gate(), tunnel.desire());
        let ours = (model.phase(listening), Some(model.gate()), model.desire());
        hold("agrees_with_the_model", real == ours, || {
            format!(
                "after {input:?} it is {real:?} and should be {ours:?}: {listening:?} {model:?} {tunnel:?}"
            )
        })
    }

    /// As the fleet does it when the file comes back later.
    fn begin_anew(&mut self) -> Checked {
        let (spec, epoch) = (self.machine.tunnel().spec().clone(), self.machine.tunnel().next_epoch());
        self.machine = self.machine.fresh(self.now, spec.clone(), epoch);
        let timely = self.model.is_some();
        self.ledger.begin_anew();
        self.born(spec, epoch.0)?;
        self.model = self.model.take().filter(|_| timely);
        Ok(())
    }
}

fn phase(state: State) -> Phase {
    match state {
        State::Stopped | State::Idle => Phase::Rest,
        State::Binding => Phase::Binding,
        State::Connecting | State::Waiting => Phase::Trying,
        State::Up => Phase::Up,
        State::Parked => Phase::Parked,
        State::Closing => Phase::Closing,
    }
}
