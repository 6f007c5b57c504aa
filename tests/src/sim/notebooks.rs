//! Notebooks as the shell sees them: carries out tasks at the far end, holds whoever comes until it is known where the
//! server is, and tells when it is not there. And what people and the world do with them.

use std::time::Duration;

use nbtunnel_core::{
    Did, Epoch, Failure, FailureKind, FleetInput, ForwardId, ForwardReport, ForwardSpec, Gate, Input,
    Launcher, ListenAt, Name, NotebookInput, NotebookSpec, Scheme, Target, Task, TaskId, TunnelSpec, WaitId,
    Which, Wish,
};

use super::dial::Path;
use super::event::Event;
use super::machine::Machine;
use super::room::{Client, Listening, Stage};
use super::seat::{Seat, Wished};
use super::servers::{COMES_WITHIN, ClusterJob, Looks, Server};
use super::shell::Sim;
use super::{Checked, hold};

/// What is known of a place holds for so long while nobody is there.
const TRUSTED: Duration = Duration::from_millis(500);
/// A task over a path that swallows everything is looked after so often.
const SWALLOWED: Duration = Duration::from_secs(20);

/// What happens to a server by itself.
#[derive(Clone, Copy, Debug)]
pub(super) enum Turn {
    /// What was started is there.
    Comes,
    /// Its job gets a machine.
    Runs,
}

impl<M: Machine> Sim<M> {
    /// Those of a new file, with their forwards: one or two in a world that has any.
    pub(super) fn some_notebooks(&mut self, slot: usize, spec: &mut TunnelSpec) {
        if !self.style.notebooks || self.chance.one_in(4) {
            return;
        }
        let first = 6100 + 2 * u16::try_from(slot).unwrap_or(0);
        for (port, name) in (first..).zip(["alice", "bob"]).take(1 + self.chance.below(2)) {
            let Ok(name) = Name::parse(name) else { continue };
            let launcher =
                if self.chance.one_in(3) { Launcher::Slurm(Box::default()) } else { Launcher::Here };
            let start = self.chance.percent(70).then(|| "jupyter".to_owned());
            spec.forwards.push(ForwardSpec::new(ListenAt::Loopback(port), Target::Notebook(name.clone())));
            spec.notebooks.push(NotebookSpec {
                name,
                host: "localhost".into(),
                which: Which::default(),
                local_port: port,
                scheme: Scheme::Auto,
                start,
                dir: None,
                launcher,
                owner_only: None,
            });
        }
    }

    /// There is a seat for each notebook of the file.
    pub(super) fn seat_notebooks(&mut self, slot: usize) {
        let now = self.now;
        let Some(spec) = self.rooms[slot].spec.clone() else { return };
        for of in spec.notebooks {
            let in_cluster = is_in_cluster(&of);
            let key = (slot, of.name.clone());
            if self.servers.get(&key).is_none_or(|server| server.in_cluster != in_cluster) {
                let mut server = Server::new(&mut self.chance, in_cluster);
                server.changed_at = now;
                self.servers.insert(key, server);
            }
            let seat = self.rooms[slot].seats.entry(of.name.clone());
            let seat = seat.or_insert_with(|| Seat::new(now, of.clone()));
            if seat.spec != of {
                seat.forget(now);
                seat.spec = of;
            }
        }
    }

    /// There is none for any other; whoever waited for one has heard of it.
    pub(super) fn clear_seats(&mut self, slot: usize) -> Checked {
        let room = &mut self.rooms[slot];
        let Some(spec) = &room.spec else { return Ok(()) };
        let gone = |name: &Name| spec.notebooks.iter().all(|of| of.name != *name);
        let lost = room.seats.iter().find(|(name, seat)| gone(name) && !seat.wishes.is_empty());
        hold("no_wish_is_lost", lost.is_none(), || format!("t{slot}: {lost:?}"))?;
        room.seats.retain(|name, _| !gone(name));
        Ok(())
    }

    pub(super) fn begin_task(&mut self, slot: usize, epoch: Epoch, name: Name, id: TaskId, task: Task) {
        self.see(match task {
            Task::Find => "find",
            Task::Await => "await",
            Task::Start => "start",
            Task::Stop => "stop",
            Task::Queue => "queue",
            Task::Submit => "submit",
        });
        let Some(server) = self.servers.get(&(slot, name.clone())) else { return };
        let Some(takes) = server.takes(&mut self.chance) else { return };
        // Who looks sees what is there when he comes, and tells it later.
        let seen = server.looked_at(task).map(Box::new);
        self.push(takes, Event::Work { slot, name, epoch, id, task, seen });
    }

    /// A task is through, or its link does not let it.
    pub(super) fn work(
        &mut self,
        slot: usize,
        name: Name,
        epoch: Epoch,
        id: TaskId,
        task: Task,
        seen: Option<Box<Did>>,
    ) -> Checked {
        let link = self.rooms[slot].links.get(&epoch).filter(|link| link.stage != Stage::Over);
        let path = self.path(slot, epoch);
        if link.is_some() && path == Path::Silent {
            self.push(SWALLOWED, Event::Work { slot, name, epoch, id, task, seen });
            return Ok(());
        }
        let key = (slot, name.clone());
        let lost = || Did::Failed(super::servers::failure(FailureKind::Disconnected));
        let now = self.now;
        let did = match (seen, self.servers.get_mut(&key)) {
            _ if link.is_none() || path == Path::Broken => lost(),
            (Some(seen), _) => *seen,
            (None, None) => lost(),
            (None, Some(server)) => {
                let (did, begins) = server.carry_out(now, task);
                let (life, queued) = (server.life, task == Task::Submit);
                // Some that are started never come; the cluster forgets no job.
                let comes = queued || !self.chance.one_in(8);
                server.ended |= begins && !comes;
                if begins && comes {
                    let soon = self.chance.secs(1, COMES_WITHIN);
                    let turn = if queued { Turn::Runs } else { Turn::Comes };
                    self.push(soon, Event::Turn(slot, name.clone(), life, turn));
                }
                did
            }
        };
        self.see(match &did {
            Did::Found(..) => "notebook found",
            Did::Missing(_) => "notebook missing",
            Did::Ended(_) => "notebook ended",
            Did::Started => "notebook started",
            Did::Stopped => "notebook stopped",
            Did::Job(_) => "notebook job",
            Did::Failed(_) => "notebook failed",
        });
        self.tell_notebook(slot, &name, NotebookInput::Did(id, did))
    }

    fn tell_notebook(&mut self, slot: usize, name: &Name, input: NotebookInput) -> Checked {
        let tunnel = self.rooms[slot].name.clone();
        self.tell(FleetInput::Tunnel(tunnel, Input::Notebook(name.clone(), input)))
    }

    /// What was begun at the far end goes on.
    pub(super) fn server_turns(&mut self, slot: usize, name: &Name, life: u64, turn: Turn) {
        let now = self.now;
        let Some(server) = self.servers.get_mut(&(slot, name.clone())) else { return };
        if server.life != life {
            return;
        }
        match (turn, &mut server.job) {
            (Turn::Comes, _) => server.come(now, &mut self.chance),
            (Turn::Runs, Some(job)) => {
                job.node = Some(self.chance.draw() % 3);
                server.changed_at = now;
                let soon = self.chance.secs(1, COMES_WITHIN);
                self.push(soon, Event::Turn(slot, name.clone(), life, Turn::Comes));
            }
            (Turn::Runs, None) => {}
        }
    }

    fn listener_of(&self, slot: usize, name: &Name) -> Option<(ForwardId, Target)> {
        let room = &self.rooms[slot];
        let at = ListenAt::Loopback(room.seats.get(name)?.spec.local_port);
        let mut bound = room.listeners.iter().filter(|(_, of)| of.listening == Listening::Bound);
        bound.find(|(_, of)| of.spec.listen == at).map(|(id, of)| (*id, of.spec.target.clone()))
    }

    /// A program connects to a notebook's port.
    fn visit(&mut self, slot: usize, name: &Name) {
        let room = &self.rooms[slot];
        let hold = room.spec.as_ref().map_or(Duration::ZERO, |spec| spec.policy.hold);
        let full = room.clients.len() >= super::local::CLIENTS;
        if room.gate == Gate::Reset || full || hold.is_zero() || self.listener_of(slot, name).is_none() {
            return;
        }
        let number = self.number();
        let now = self.now;
        let client = Client { number, came_at: now, link: None, busy: false, notebook: Some(name.clone()) };
        if let Some(seat) = self.rooms[slot].seats.get_mut(name) {
            seat.arrivals += 1;
        }
        self.change_clients(slot, |clients| clients.push(client));
        self.push(hold, Event::HoldOver(slot, number));
        self.lead(slot, name);
    }

    /// Those who are held for a notebook go where it is, if that is known and the gate leads there.
    pub(super) fn lead(&mut self, slot: usize, name: &Name) {
        let waits = |client: &Client| client.link.is_none() && client.notebook.as_ref() == Some(name);
        let Gate::Serve(epoch) = self.rooms[slot].gate else { return };
        let held: Vec<u64> = self.rooms[slot].clients.iter().filter(|c| waits(c)).map(|c| c.number).collect();
        let over = self.rooms[slot].links.get(&epoch).is_none_or(|link| link.stage == Stage::Over);
        let Some((id, target)) = self.listener_of(slot, name).filter(|_| !held.is_empty() && !over) else {
            return;
        };
        let there = self.servers.get(&(slot, name.clone())).is_some_and(|server| server.is_at(&target));
        if target.notebook().is_none() && (there || self.path(slot, epoch) != Path::Alive) {
            self.see("led");
            self.change_clients(slot, |clients| {
                clients.iter_mut().filter(|c| waits(c)).for_each(|client| client.link = Some(epoch));
            });
            held.into_iter().for_each(|number| self.carry(slot, epoch, number, false));
            return;
        }
        if target.notebook().is_none() {
            self.see("refused there");
            self.forget_place(slot, name);
            let refused = Failure::new(FailureKind::Refused, "nobody listens over there", "");
            self.push(Duration::ZERO, Event::Tell(slot, Input::Forward(id, ForwardReport::Denied(refused))));
        }
        self.push(Duration::ZERO, Event::Tell(slot, Input::Forward(id, ForwardReport::Sought)));
    }

    fn forget_place(&mut self, slot: usize, name: &Name) {
        let Some((id, _)) = self.listener_of(slot, name) else { return };
        if let Some(listener) = self.rooms[slot].listeners.get_mut(&id) {
            listener.spec.target = Target::Notebook(name.clone());
        }
    }

    /// A place is trusted only while somebody is there.
    pub(super) fn watch_place(&mut self, slot: usize, name: &Name) {
        let Some(seat) = self.rooms[slot].seats.get(name) else { return };
        self.push(TRUSTED, Event::LeftAlone(slot, name.clone(), seat.arrivals));
    }

    pub(super) fn left_alone(&mut self, slot: usize, name: &Name, arrivals: u64) {
        let room = &self.rooms[slot];
        let used = room.clients.iter().any(|client| client.notebook.as_ref() == Some(name));
        let came = room.seats.get(name).is_none_or(|seat| seat.arrivals != arrivals);
        if !used && !came {
            self.forget_place(slot, name);
        }
    }

    /// Something happens to a notebook, or somebody wants something of it.
    pub(super) fn notebook_fate(&mut self) -> Checked {
        let slot = self.chance.below(self.rooms.len());
        let names: Vec<Name> = self.rooms[slot].seats.keys().cloned().collect();
        if names.is_empty() || self.rooms[slot].spec.is_none() {
            return Ok(());
        }
        let name = &names[self.chance.below(names.len())];
        match self.chance.below(20) {
            0..6 => self.visit(slot, name),
            6..11 => return self.wish(slot, name),
            11 => return self.tell_notebook(slot, name, NotebookInput::Look),
            12 => return self.tell_notebook(slot, name, NotebookInput::Doubt),
            // What takes minutes is seen only where nothing else happens for so long.
            13 => self.calm(),
            _ => self.server_fares(slot, name),
        }
        Ok(())
    }

    fn server_fares(&mut self, slot: usize, name: &Name) {
        let now = self.now;
        let Some(server) = self.servers.get_mut(&(slot, name.clone())) else { return };
        match self.chance.below(8) {
            0 => {
                server.end(now);
                server.stranger = self.chance.one_in(3);
            }
            1..4 => {
                server.life += 1;
                if server.in_cluster {
                    // Its job is sent to another machine, or somebody submits one.
                    let id = server.job.map_or(server.life, |job| job.id);
                    server.job = Some(ClusterJob { id, node: Some(self.chance.draw() % 3) });
                }
                server.come(now, &mut self.chance);
            }
            _ => {
                let all = [Looks::Well, Looks::Well, Looks::Slow, Looks::Fail, Looks::Mute];
                server.looks = self.chance.pick(&all).unwrap_or(Looks::Well);
                server.changed_at = now;
            }
        }
    }

    /// All can be seen well, and half of those that are gone come back.
    pub(super) fn calm_servers(&mut self) {
        let now = self.now;
        for server in self.servers.values_mut() {
            if server.looks != Looks::Well {
                (server.looks, server.changed_at) = (Looks::Well, now);
            }
            if server.port.is_none() && !server.in_cluster && self.chance.one_in(2) {
                server.come(now, &mut self.chance);
            }
        }
    }

    /// `nbctl open`, `url` or `notebook stop`.
    fn wish(&mut self, slot: usize, name: &Name) -> Checked {
        let wish = self.chance.pick(&[Wish::Find, Wish::Find, Wish::Open, Wish::Open, Wish::Stop]);
        let (wish, wait, now) = (wish.unwrap_or(Wish::Find), WaitId(self.number()), self.now);
        if let Some(seat) = self.rooms[slot].seats.get_mut(name) {
            seat.stirred_at = now;
            seat.wishes.insert(wait, Wished { wish, since: seat.next, at: now });
        }
        self.see("wish");
        if self.chance.one_in(4) {
            let patience = self.chance.secs(0, 120);
            self.push(patience, Event::HangsUp(slot, wait));
        }
        self.tell_notebook(slot, name, NotebookInput::Wish(wait, wish))
    }
}

pub(super) fn is_in_cluster(spec: &NotebookSpec) -> bool {
    matches!(spec.launcher, Launcher::Slurm(_))
}
