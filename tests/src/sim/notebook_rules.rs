//! What must hold of notebooks, judged by what core was told of them and by what there is at the far end.

use std::time::Duration;

use nbtunnel_core::tunnel::Desire;
use nbtunnel_core::{
    Did, Epoch, ForwardId, ForwardReport, Gate, Input, Name, NotebookInput, Output, Settled, State, Target,
    Task, TaskId, Tunnel, WaitId, Wish,
};

use super::dial::Path;
use super::far::At;
use super::machine::Machine;
use super::notebooks::is_in_cluster;
use super::room::{Listener, Listening, Room};
use super::seat::{Begun, Seat, Wished};
use super::servers::Looks;
use super::shell::Sim;
use super::{Checked, hold};

/// Whoever wants to know where a notebook is hears of it within this, once its link is there: a task that was under way,
/// a wait for what was started, a quick search, and a task of his own.
const ANSWERED_WITHIN: Duration = Duration::from_secs(400);
/// The same for who wants it started: a start and the wait for it come on top.
const OPENED_WITHIN: Duration = Duration::from_secs(700);
/// Whoever is held for a server that is there is led there within this: a task that nobody answers, the longest pause,
/// the queue of the cluster.
const LED_WITHIN: Duration = Duration::from_secs(240);
/// Nobody has looked for so long that what goes on goes on slowly.
const QUIET_AFTER: Duration = Duration::from_secs(300);

impl<M: Machine> Sim<M> {
    /// Takes in what core is told, before it says anything. Whether that is about what is over.
    pub(super) fn hear_of_notebook(&mut self, slot: usize, input: &Input) -> bool {
        let now = self.now;
        let room = &mut self.rooms[slot];
        if let Input::Forward(id, report) = input
            && let Some(port) = room.listeners.get(id).and_then(|listener| listener.spec.listen.port())
            && let Some(seat) = room.seats.values_mut().find(|seat| seat.spec.local_port == port)
        {
            seat.stirred_at = now;
            // What was found before somebody waits or is refused counts no more.
            if matches!(report, ForwardReport::Sought | ForwardReport::Denied(_)) {
                seat.found = None;
            }
        }
        let Input::Notebook(name, said) = input else { return false };
        let Some(seat) = self.rooms[slot].seats.get_mut(name) else { return false };
        match said {
            NotebookInput::Did(id, did) => {
                let is_stale = !seat.awaits(*id);
                seat.hear(now, *id, did);
                is_stale
            }
            NotebookInput::Wish(..) | NotebookInput::Look | NotebookInput::Doubt => {
                seat.stirred_at = now;
                false
            }
        }
    }

    pub(super) fn notebooks_timed_out(&mut self) {
        let now = self.now;
        let seats = self.rooms.iter_mut().flat_map(|room| room.seats.values_mut());
        seats.for_each(|seat| seat.timed_out(now));
    }

    /// Whether core may begin that; from now on it is under way.
    pub(super) fn check_task(&mut self, slot: usize, begun: Begun, name: &Name) -> Checked {
        let server = self.servers.get(&(slot, name.clone()));
        let server_changed_at = server.map_or(At::ZERO, |server| server.changed_at);
        let room = &mut self.rooms[slot];
        let serves = room.links.get(&begun.epoch).is_some_and(super::room::Link::may_serve);
        let Some(seat) = room.seats.get_mut(name) else {
            return hold("only_what_the_file_names_is_looked_for", false, || format!("t{slot}: {name}"));
        };
        let said = || format!("t{slot} {name}: {begun:?} with {seat:?}");
        hold("the_far_end_is_asked_over_what_serves", serves, said)?;
        let over = seat.task.is_none_or(|before| before.epoch != begun.epoch);
        hold("one_task_of_a_notebook_at_a_time", over && begun.id >= seat.next, said)?;
        let last = seat.last.as_ref();
        let looked_first = match begun.task {
            Task::Start => last.is_some_and(|(_, of, did)| {
                *of == Task::Find && matches!(did, Did::Missing(_)) && seat.spec.start.is_some()
            }),
            Task::Submit => last.is_some_and(|(_, of, did)| *of == Task::Queue && *did == Did::Job(None)),
            Task::Find | Task::Await | Task::Stop | Task::Queue => true,
        };
        hold("nothing_is_started_before_a_look_found_nothing", looked_first, said)?;
        let wanted = |wish| seat.wishes.values().any(|wished| wished.wish == wish);
        let asked_for = match begun.task {
            Task::Start | Task::Submit => wanted(Wish::Open),
            Task::Stop => wanted(Wish::Stop),
            Task::Find | Task::Await | Task::Queue => true,
        };
        hold("nothing_is_done_that_nobody_wants", asked_for, said)?;
        seat.begin(begun);
        let stirred_at = seat.stirred_at.max(self.awake_at).max(server_changed_at);
        let quiet = seat.wishes.is_empty() && stirred_at + QUIET_AFTER < begun.at;
        // Once a minute, and at once over a new link. The queue of a cluster is asked every half minute, and a server
        // looked for after that.
        let most = if is_in_cluster(&seat.spec) { 7 } else { 3 };
        let seldom = !quiet || seat.begun.len() <= most;
        hold("nobody_is_asked_often_for_nobody", seldom, || {
            format!("t{slot} {name} at {:?}: {seat:?}", begun.at)
        })
    }

    /// Whether a forward may be led there.
    pub(super) fn check_target(&self, slot: usize, id: ForwardId, target: &Target) -> Checked {
        let room = &self.rooms[slot];
        let Some(seat) = room.listeners.get(&id).and_then(|listener| room.seat_of(listener)) else {
            return Ok(());
        };
        let looked_up = match target {
            Target::Notebook(_) => true,
            _ => seat.found.as_ref().is_some_and(|(epoch, found)| {
                found == target && room.links.get(epoch).is_some_and(super::room::Link::may_serve)
            }),
        };
        hold("nobody_is_led_where_nobody_looked", looked_up, || format!("t{slot}: {target:?} with {seat:?}"))
    }

    /// Whether somebody who wanted something of a notebook may hear that; none: nobody did.
    pub(super) fn check_wish_answered(
        &self,
        slot: usize,
        wait: WaitId,
        settled: &Settled,
    ) -> Option<Checked> {
        let room = &self.rooms[slot];
        let seat = room.seats.values().find(|seat| seat.wishes.contains_key(&wait))?;
        let wished = seat.wishes.get(&wait)?;
        let is_true = match settled {
            Settled::Reached => was_reached(seat, wished),
            Settled::Stuck(_) => true,
            Settled::Overtaken => {
                room.desire() == Desire::Down
                    || room.spec.as_ref().is_none_or(|spec| !spec.notebooks.contains(&seat.spec))
            }
        };
        Some(hold("a_wish_is_answered_by_a_later_look", is_true, || {
            format!("t{slot}: {settled:?} for {wished:?} with {seat:?}")
        }))
    }

    /// After every turn of the loop.
    pub(super) fn check_notebooks(&self, slot: usize) -> Checked {
        let room = &self.rooms[slot];
        for (name, seat) in &room.seats {
            let quiet_since = self.world_of(slot, name);
            let serving = self.serves_since(slot).map(|since| since.max(quiet_since));
            let coming =
                self.fair_since(slot).map(|since| since.max(quiet_since) + self.comes_up_within(slot));
            let since = serving.into_iter().chain(coming).min();
            let late = seat.wishes.values().find(|wished| {
                let within = if wished.wish == Wish::Open { OPENED_WITHIN } else { ANSWERED_WITHIN };
                since.is_some_and(|since| since.max(wished.at) + within < self.now)
            });
            hold("every_wish_is_answered_in_time", late.is_none(), || {
                let tunnel = self.machine.tunnels().get(&room.name);
                format!("t{slot} {name} at {:?}: {late:?} since {since:?}, {seat:?}, {tunnel:?}", self.now)
            })?;
            let server = self.servers.get(&(slot, name.clone()));
            let is_there = server.is_some_and(|of| of.looks == Looks::Well && of.place().is_some());
            let led_since = serving.filter(|_| is_there);
            let late = room.clients.iter().find(|client| {
                let waits = client.link.is_none() && client.notebook.as_ref() == Some(name);
                waits && led_since.is_some_and(|since| since.max(client.came_at) + LED_WITHIN < self.now)
            });
            hold("whoever_waits_for_a_notebook_is_led_there", late.is_none(), || {
                let tunnel = self.machine.tunnels().get(&room.name);
                format!(
                    "t{slot} {name} at {:?}: {late:?} since {led_since:?}, {server:?}, {seat:?}, {tunnel:?}",
                    self.now
                )
            })?;
        }
        Ok(())
    }

    /// Since when the far end of a notebook, its section and this machine are as they are.
    fn world_of(&self, slot: usize, name: &Name) -> At {
        let server = self.servers.get(&(slot, name.clone())).map_or(At::ZERO, |server| server.changed_at);
        server.max(self.rooms[slot].changed_at).max(self.awake_at)
    }

    /// Since when a link serves whose path is alive.
    fn serves_since(&self, slot: usize) -> Option<At> {
        let room = &self.rooms[slot];
        let (epoch, since) = room.served_since?;
        let far = self.far.fair_since(room.host())?;
        (self.path(slot, epoch) == Path::Alive).then_some(since.max(far))
    }
}

/// What was wanted has come of a task that began after it was.
fn was_reached(seat: &Seat, wished: &Wished) -> bool {
    seat.last.as_ref().is_some_and(|(id, _, did): &(TaskId, Task, Did)| {
        let fits = match wished.wish {
            Wish::Find | Wish::Open => matches!(did, Did::Found(..)),
            Wish::Stop => *did == Did::Stopped,
        };
        fits && *id >= wished.since
    })
}

impl Room {
    /// The notebook that a listener is for.
    pub(super) fn seat_of(&self, listener: &Listener) -> Option<&Seat> {
        self.seats.values().find(|seat| listener.spec.listen.port() == Some(seat.spec.local_port))
    }

    /// Nobody is left waiting who hears nothing any more, and what serves leads only where somebody looked by it.
    pub(super) fn check_seats(&self, tunnel: &Tunnel, said: impl Fn() -> String) -> Checked {
        let waits = self.seats.values().any(|seat| !seat.wishes.is_empty());
        let in_vain = self.desire() == Desire::Down || tunnel.state() == State::Parked;
        hold("no_wish_is_lost", !waits || !in_vain, &said)?;
        let Gate::Serve(epoch) = self.gate else { return Ok(()) };
        let led = self.listeners.values().filter(|listener| listener.listening != Listening::Closing);
        let mut led = led.filter(|listener| listener.spec.target.notebook().is_none());
        let by_this_link = |of: &Listener| {
            self.seat_of(of).is_none_or(|seat| seat.found.as_ref() == Some(&(epoch, of.spec.target.clone())))
        };
        hold("nobody_is_led_where_nobody_looked", led.all(by_this_link), said)
    }
}

/// What an output begins, if it is a task of a notebook.
pub(super) fn begun(now: At, output: &Output) -> Option<(Begun, &Name)> {
    let Output::Notebook(epoch, name, id, task) = output else { return None };
    let epoch: Epoch = *epoch;
    Some((Begun { epoch, id: *id, task: *task, at: now }, name))
}
