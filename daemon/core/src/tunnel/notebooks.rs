//! The notebooks of a tunnel, and the forwards that lead to them.

use super::link::Link;
use super::listeners::Listener;
use super::{Desire, Tunnel};
use crate::failure::{Failure, FailureKind};
use crate::forward::Target;
use crate::io::{About, Epoch, ForwardId, ForwardReport, Gate, Output, Settled, Timer, Transition, WaitId};
use crate::moment::Moment;
use crate::notebook::{Job, Launcher, Notebook, NotebookInput, NotebookSpec, NotebookView, TaskId};
use crate::spec::Name;

/// A notebook and what its listener was told.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seat {
    pub(super) notebook: Notebook,
    /// Where the listener with this number leads.
    told: Option<(ForwardId, Target)>,
}

impl Seat {
    fn new(spec: NotebookSpec, first: TaskId) -> Seat {
        Seat { notebook: Notebook::new(spec, first), told: None }
    }
}

impl Tunnel {
    pub(super) fn notebook_input(&mut self, now: Moment, name: &Name, input: NotebookInput) {
        match (self.seats.iter_mut().find(|seat| seat.notebook.spec().name == *name), input) {
            (Some(seat), input) => seat.notebook.handle(now, input),
            (None, NotebookInput::Wish(wait, _)) => self.emit(Output::Answer(wait, Settled::Overtaken)),
            (None, NotebookInput::Did(..) | NotebookInput::Look | NotebookInput::Doubt) => {}
        }
    }

    pub(super) fn notebooks_unwait(&mut self, wait: WaitId) {
        self.seats.iter_mut().for_each(|seat| seat.notebook.unwait(wait));
    }

    pub(super) fn notebooks_timed_out(&mut self, now: Moment) {
        self.seats.iter_mut().for_each(|seat| seat.notebook.timed_out(now));
    }

    pub(super) fn notebooks_timer(&self) -> Option<Timer> {
        self.seats.iter().filter_map(|seat| seat.notebook.poll_timeout()).min()
    }

    /// Whether somebody waits for one of them.
    pub(super) fn wants_a_notebook(&self) -> bool {
        self.seats.iter().any(|seat| seat.notebook.is_wanted())
    }

    pub(super) fn notebook_views(&self) -> Vec<NotebookView> {
        self.seats.iter().map(|seat| seat.notebook.view()).collect()
    }

    /// Whether what comes of this task of a notebook is still waited for.
    pub fn awaits_task(&self, name: &Name, id: TaskId) -> bool {
        self.seats.iter().any(|seat| seat.notebook.spec().name == *name && seat.notebook.awaits(id))
    }

    /// The job of a notebook, as far as it is known.
    pub fn notebook_job(&self, name: &Name) -> Option<&Job> {
        self.seats.iter().find(|seat| seat.notebook.spec().name == *name)?.notebook.job()
    }

    /// Beyond the number of every task so far, also of notebooks that are gone.
    pub fn next_task(&self) -> TaskId {
        self.seats.iter().map(|seat| seat.notebook.next_task()).fold(self.first_task, TaskId::max)
    }

    pub(super) fn seat_notebooks(&mut self) {
        let seat = |spec: &NotebookSpec| Seat::new(spec.clone(), self.first_task);
        self.seats = self.spec.notebooks.iter().map(seat).collect();
    }

    /// For one that did nothing yet: `first` lies beyond every task of an earlier tunnel of this name.
    pub fn number_tasks_from(&mut self, first: TaskId) {
        self.first_task = first;
        self.seat_notebooks();
    }

    /// Makes the notebooks those of the spec.
    pub(super) fn respec_notebooks(&mut self, now: Moment) {
        self.first_task = self.next_task();
        let mut old = std::mem::take(&mut self.seats);
        for spec in &self.spec.notebooks {
            let kept = old.iter().position(|seat| seat.notebook.spec().name == spec.name);
            let seat = match kept.map(|at| old.swap_remove(at)) {
                Some(mut seat) => {
                    seat.notebook.respec(now, spec.clone());
                    seat
                }
                None => Seat::new(spec.clone(), self.first_task),
            };
            self.seats.push(seat);
        }
        for mut seat in old {
            seat.notebook.strand(&Settled::Overtaken);
            self.outputs.extend(std::iter::from_fn(|| seat.notebook.poll_output()));
        }
    }

    /// Takes what a forward met, if that says something of a notebook. Whether it was all about the notebook.
    pub(super) fn notebook_met(&mut self, now: Moment, id: ForwardId, report: &ForwardReport) -> bool {
        let Some(forward) = self.forwards.iter().find(|forward| forward.id == Some(id)) else { return false };
        let Some(name) = forward.spec.target.notebook() else { return false };
        let Some(seat) = self.seats.iter_mut().find(|seat| seat.notebook.spec().name == *name) else {
            return false;
        };
        match report {
            // The shell leads nobody there any more.
            ForwardReport::Denied(why) if is_elsewhere(why.kind) => {
                seat.told = Some((id, Target::Notebook(name.clone())));
                seat.notebook.refused(now);
                true
            }
            ForwardReport::Sought => {
                seat.told = Some((id, Target::Notebook(name.clone())));
                seat.notebook.sought(now);
                true
            }
            ForwardReport::Missed(count) => {
                if let Some(why) = missed(*count, &seat.notebook) {
                    let about = About::Forward(forward.spec.to_string());
                    let (from, to, why) = ("held", "reset", Some(why));
                    self.outputs.push_back(Output::Announce(Transition {
                        about,
                        from,
                        to,
                        why,
                        retry_in: None,
                    }));
                }
                true
            }
            ForwardReport::Denied(_)
            | ForwardReport::Served
            | ForwardReport::SlowReader(_)
            | ForwardReport::Refused(_)
            | ForwardReport::Unsure(_)
            | ForwardReport::Expired(_)
            | ForwardReport::Overflow { .. } => false,
        }
    }

    /// Looks for them over the link that serves by `gate`, and leads their forwards where they are. To be done before
    /// the gate is told: nobody is led to where they were when another link served.
    pub(super) fn settle_notebooks(&mut self, now: Moment, gate: Gate) {
        let via = match gate {
            Gate::Serve(epoch) => Some(epoch),
            Gate::Hold | Gate::Reset => None,
        };
        let in_vain = self.in_vain(via);
        let is_wanted = self.wants_a_notebook();
        if std::mem::replace(&mut self.notebook_wanted, is_wanted) || is_wanted {
            // Whoever hears where it is comes next.
            self.unused_since = now;
        }
        for seat in &mut self.seats {
            seat.notebook.over(now, via);
            if let Some(settled) = &in_vain {
                seat.notebook.strand(settled);
            }
            if self.held == 0 {
                seat.notebook.rest(now);
            }
            seat.notebook.settle(now);
            let name = &seat.notebook.spec().name;
            let forward = self.forwards.iter().find(|forward| forward.spec.target.notebook() == Some(name));
            let listens = forward.filter(|forward| {
                matches!(forward.listener, Listener::Binding { .. } | Listener::Bound { .. })
            });
            if let Some(id) = listens.and_then(|forward| forward.id) {
                let target = seat.notebook.target();
                let before = match seat.told.take() {
                    Some((told, target)) if told == id => target,
                    Some(_) | None => Target::Notebook(name.clone()),
                };
                if before != target {
                    self.outputs.push_back(Output::Retarget(id, target.clone()));
                }
                seat.told = Some((id, target));
            }
            self.outputs.extend(std::iter::from_fn(|| seat.notebook.poll_output()));
        }
    }

    /// What those hear who wait for a notebook, if there will be no link to look for it.
    fn in_vain(&self, via: Option<Epoch>) -> Option<Settled> {
        match &self.link {
            _ if via.is_some() => None,
            _ if self.desire() == Desire::Down => Some(Settled::Overtaken),
            Link::Parked { why, .. } => Some(Settled::Stuck(why.clone())),
            Link::None | Link::Live(_) | Link::Waiting { .. } | Link::Closing { .. } => None,
        }
    }
}

/// The notebook was not there for connections that were held; the shell tells of many at once.
fn missed(count: u32, notebook: &Notebook) -> Option<Failure> {
    let NotebookSpec { name, start, launcher, .. } = notebook.spec();
    let who = match count {
        0 => return None,
        1 => format!("a connection waited in vain for the notebook {name} and was reset"),
        many => format!("{many} connections waited in vain for the notebook {name} and were reset"),
    };
    let why = notebook.view().problem.map(|why| format!(": {}", why.message)).unwrap_or_default();
    let hint = if start.is_some() || *launcher != Launcher::Here {
        format!("start it with `nbctl open {name}`; `nbctl notebook log {name}` shows what it wrote")
    } else {
        format!("start its server over there, or set start so that `nbctl open {name}` can")
    };
    Some(Failure::new(FailureKind::NotebookMissing, who + &why, hint))
}

/// Whether a denial means that the server is gone from where it was.
fn is_elsewhere(kind: FailureKind) -> bool {
    matches!(kind, FailureKind::Refused | FailureKind::TimedOut)
}
