//! The simulated shell: one queue of what will happen, one loop that tells core and carries out what it says.
//!
//! It does what the daemon's driver does: events in their order, a look at the timers after each batch, a
//! nap that ends when core wants it to and after five seconds at the latest.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nbtunnel_core::{FleetInput, LinkReport, Moment, Name};

use super::chance::Chance;
use super::desk::Desk;
use super::event::Event;
use super::far::{At, Far};
use super::machine::Machine;
use super::room::Room;
use super::rules::Told;
use super::servers::Server;
use super::trace::Trace;
use super::{Broken, Checked, Report};

/// The loop looks up at least this often.
const LONGEST_NAP: Duration = Duration::from_secs(5);

/// How a run is set up.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// How many servers.
    pub hosts: usize,
    /// How many names tunnels may have.
    pub tunnels: usize,
    /// How long nothing new happens, on average; zero: nothing ever does.
    pub pace: Duration,
    /// How long what an older link carries may go on.
    pub drain: Duration,
    /// Some servers ask for what only somebody at a terminal can type.
    pub answers: bool,
    /// Tunnels have notebooks.
    pub notebooks: bool,
}

impl Style {
    /// The one that belongs to `seed`.
    pub fn of(seed: u64) -> Style {
        let mut chance = Chance::new(!seed);
        Style {
            hosts: 1 + chance.below(5),
            tunnels: [1, 3, 6, 12, 24][chance.below(5)],
            pace: Duration::from_millis([300, 1500, 5000, 20_000][chance.below(4)]),
            drain: Duration::from_secs([20, 300, 3600][chance.below(3)]),
            // One world in five; none of those that found a bug before there were such servers.
            answers: seed % 5 == 3,
            // Four in ten, again none of those.
            notebooks: matches!(seed % 10, 0 | 6 | 7 | 9),
        }
    }
}

/// The simulation.
#[derive(Debug)]
pub struct Sim<M> {
    pub(super) machine: M,
    pub(super) seed: u64,
    pub(super) style: Style,
    pub(super) now: At,
    pub(super) chance: Chance,
    pub(super) far: Far,
    /// What there is at the far end for each notebook.
    pub(super) servers: BTreeMap<(usize, Name), Server>,
    /// What is known of the logins at each server.
    pub(super) desks: Vec<Desk>,
    pub(super) rooms: Vec<Room>,
    pub(super) slots: BTreeMap<Name, usize>,
    pub(super) queue: BTreeMap<(At, u64), Event>,
    next_number: u64,
    /// When the loop looks up by itself.
    looks_at: At,
    /// Until then the machine sleeps, or the daemon is frozen; later: when that was last so.
    pub(super) awake_at: At,
    pub(super) trace: Trace,
    pub(super) told: Told,
    pub(super) steps: u64,
    pub(super) seen: BTreeMap<&'static str, u64>,
    pub(super) carried: u64,
    pub(super) touched: BTreeSet<usize>,
}

impl<M: Machine> Sim<M> {
    /// A world of its own, in which nothing has happened yet.
    pub fn new(machine: M, seed: u64, style: Style) -> Sim<M> {
        let mut chance = Chance::new(seed);
        let mut far = Far::new(&mut chance, style.hosts);
        far.ask_for_answers(if style.answers { seed } else { 0 });
        let names = (0..style.tunnels).filter_map(|slot| Name::parse(&format!("t{slot}")).ok());
        let rooms: Vec<Room> = names.map(Room::new).collect();
        let slots = rooms.iter().enumerate().map(|(slot, room)| (room.name.clone(), slot)).collect();
        Sim {
            machine,
            seed,
            style,
            now: At::ZERO,
            chance,
            servers: BTreeMap::new(),
            desks: vec![Desk::default(); style.hosts],
            far,
            rooms,
            slots,
            queue: BTreeMap::new(),
            next_number: 0,
            looks_at: At::ZERO,
            awake_at: At::ZERO,
            trace: Trace::default(),
            told: Told::default(),
            steps: 0,
            seen: BTreeMap::new(),
            carried: 0,
            touched: BTreeSet::new(),
        }
    }

    /// Goes on for so many steps.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub fn run(&mut self, steps: u64) -> Result<Report, Box<Broken>> {
        let end = self.steps + steps;
        let mut played = self.begin();
        while played.is_ok() && self.steps < end {
            played = self.turn();
        }
        played.map(|()| self.summary()).map_err(|mut broken| {
            broken.seed = self.seed;
            broken.step = self.steps;
            broken.last = self.trace.last().map(str::to_owned).collect();
            broken
        })
    }

    pub(super) fn summary(&self) -> Report {
        Report {
            steps: self.steps,
            days: self.now.as_secs() / 86_400,
            seen: self.seen.clone(),
            carried: self.carried,
            trace: self.trace.hash(),
        }
    }

    fn begin(&mut self) -> Checked {
        if self.steps > 0 || self.style.pace.is_zero() {
            return Ok(());
        }
        for slot in 0..self.rooms.len() {
            if !self.chance.one_in(4) {
                self.write_file(slot)?;
            }
        }
        self.push(Duration::ZERO, Event::Fate);
        Ok(())
    }

    /// One turn of the loop: the next event and all others of that moment, or the end of a nap.
    pub(super) fn turn(&mut self) -> Checked {
        let next = self.queue.first_key_value().map(|((at, _), _)| *at);
        match next {
            Some(at) if at <= self.looks_at || self.queue_goes_first(at) => {
                self.now = self.now.max(at);
                while let Some(entry) = self.queue.first_entry() {
                    if entry.key().0 > self.now {
                        break;
                    }
                    let event = entry.remove();
                    self.happen(event)?;
                }
            }
            _ => self.now = self.now.max(self.looks_at),
        }
        if self.now >= self.awake_at {
            if self.machine.poll_timeout().is_some_and(|(at, _)| at <= moment(self.now)) {
                self.tell(FleetInput::Timeout)?;
            }
            self.plan_look();
        }
        self.check_everything()
    }

    /// While the machine sleeps the loop looks at nothing.
    fn queue_goes_first(&self, at: At) -> bool {
        at < self.awake_at
    }

    fn plan_look(&mut self) {
        let due = self.machine.poll_timeout().map(|(at, _)| at.since(Moment::ZERO));
        let nap = self.now + LONGEST_NAP;
        let wake = due.map_or(nap, |due| due.max(self.now).min(nap));
        // A sleep ends a little late, and in steps of a millisecond.
        self.looks_at = wake + self.chance.millis(0, 2);
    }

    /// Says that `event` happens `later`.
    pub(super) fn push(&mut self, later: Duration, event: Event) {
        self.push_at(self.now + later, event);
    }

    pub(super) fn push_at(&mut self, at: At, event: Event) {
        let at = if event.is_local() { at.max(self.awake_at) } else { at };
        self.next_number += 1;
        self.queue.insert((at, self.next_number), event);
    }

    /// A number that was never used.
    pub(super) fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// Nothing happens in this machine for `lasting`. Timers do not count sleep, so they come later by it;
    /// to a frozen process everything comes at once when it goes on.
    pub(super) fn stand_still(&mut self, lasting: Duration, asleep: bool) {
        let until = self.now + lasting;
        self.awake_at = until;
        let queue = std::mem::take(&mut self.queue);
        self.queue = queue
            .into_iter()
            .map(|((at, number), event)| match (event.is_local(), asleep) {
                (false, _) => ((at, number), event),
                (true, true) => ((at + lasting, number), event),
                (true, false) => ((at.max(until), number), event),
            })
            .collect();
        self.looks_at = if asleep { self.looks_at.max(self.now) + lasting } else { self.looks_at.max(until) };
        for link in self.rooms.iter_mut().flat_map(|room| room.links.values_mut()) {
            link.pure = false;
        }
    }

    /// Begins anew as after a crash of the daemon: only what users said is kept.
    pub(super) fn crash(&mut self) -> Checked {
        let remembered = self.machine.remembered().clone();
        let seed = self.chance.draw();
        self.machine = self.machine.reborn(seed, remembered);
        self.queue.retain(|_, event| !event.is_local());
        self.told = Told::default();
        self.desks.fill(Desk::default());
        self.awake_at = self.now;
        let mut changes = Vec::new();
        for room in &mut self.rooms {
            let (name, spec, order) = (room.name.clone(), room.spec.take(), room.order);
            *room = Room::new(name.clone());
            room.changed_at = self.now;
            if let Some(spec) = spec {
                room.order = order;
                changes.push(nbtunnel_core::Change::Add(name, Box::new(spec.clone())));
                room.spec = Some(spec);
            }
        }
        (0..self.rooms.len()).for_each(|slot| self.seat_notebooks(slot));
        self.see("crash");
        self.trace.line(format_args!("{:?} the daemon crashed", self.now));
        self.tell(FleetInput::Apply(changes))
    }

    /// Tells core, checks what it says, and carries that out.
    pub(super) fn tell(&mut self, input: FleetInput) -> Checked {
        self.steps += 1;
        self.touched.clear();
        match &input {
            FleetInput::Tunnel(name, _) => self.touched.extend(self.slots.get(name)),
            FleetInput::Apply(changes) => {
                self.touched.extend(changes.iter().filter_map(|change| self.slots.get(change.name())));
            }
            FleetInput::Nudge(_) | FleetInput::Timeout => {}
        }
        self.before_telling(&input)?;
        self.machine.handle(moment(self.now), input.clone());
        let mut outputs = Vec::new();
        while let Some((name, output)) = self.machine.poll_output() {
            if let Some(slot) = self.slots.get(&name) {
                outputs.push((*slot, output));
            }
        }
        self.trace.line(format_args!(
            "{:?} {} -> {}",
            self.now,
            super::trace::input(&input),
            super::trace::outputs(&outputs)
        ));
        self.after_telling(&input, &outputs)?;
        for (slot, output) in outputs {
            self.touched.insert(slot);
            self.check_output(slot, &output, &input)?;
            self.carry_out(slot, output);
        }
        self.check_touched(&input)
    }

    /// Counts what happened.
    pub(super) fn see(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    fn happen(&mut self, event: Event) -> Checked {
        match event {
            Event::Tell(slot, input) => {
                let name = self.rooms[slot].name.clone();
                return self.tell(FleetInput::Tunnel(name, input));
            }
            Event::Said(slot, epoch, report) => return self.said(slot, epoch, report),
            Event::Nudged(nudge) => return self.tell(FleetInput::Nudge(nudge)),
            Event::HangsUp(slot, id) => return self.hang_up(slot, id),
            Event::Trust(slot) => return self.trust(slot),
            Event::Look(slot) => return self.look(slot),
            Event::Fate => return self.fate(),
            Event::Dial(slot, epoch) => return self.dial(slot, epoch),
            Event::Work { slot, name, epoch, id, task, seen } => {
                return self.work(slot, name, epoch, id, task, seen);
            }
            Event::Turn(slot, name, life, turn) => self.server_turns(slot, &name, life, turn),
            Event::LeftAlone(slot, name, arrivals) => self.left_alone(slot, &name, arrivals),
            Event::Typed(slot, epoch) => self.typed(slot, epoch),
            Event::Answer(slot, epoch, number) => self.answer(slot, epoch, number),
            Event::Tick(slot, epoch, number) => self.tick(slot, epoch, number),
            Event::GaveUpAsking(slot, epoch, number) => self.gave_up_asking(slot, epoch, number),
            Event::Stall(slot, epoch) => self.stall(slot, epoch),
            Event::Killed(slot, epoch) => self.lose(slot, epoch, super::probe::disconnected()),
            Event::Closed(slot, epoch) => self.end(slot, epoch, LinkReport::Closed),
            Event::Reads(slot, epoch) => self.clog(slot, epoch, false),
            Event::Binds(slot, id) => self.binds(slot, id),
            Event::Unbinds(slot, id) => self.unbinds(slot, id),
            Event::HoldOver(slot, number) => return self.hold_over(slot, number),
            Event::Leaves(slot, number) => self.leaves(slot, number),
            Event::Mend(mend) => self.mend(mend),
        }
        Ok(())
    }
}

/// What core calls this moment.
pub(super) fn moment(at: At) -> Moment {
    Moment::from_origin(at)
}
