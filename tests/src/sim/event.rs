//! What will happen in a simulated world: the queue of the simulated shell holds these.

use nbtunnel_core::{Did, Epoch, ForwardId, Input, LinkReport, Name, Nudge, Task, TaskId, WaitId};

use super::notebooks::Turn;

/// What will happen.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// Core is told this about a tunnel.
    Tell(usize, Input),
    /// A link reports.
    Said(usize, Epoch, LinkReport),
    /// Core is told this about all tunnels.
    Nudged(Nudge),
    /// A link that dials goes on.
    Dial(usize, Epoch),
    /// The answer to a question may be here.
    Answer(usize, Epoch, u64),
    /// A second has passed since a question.
    Tick(usize, Epoch, u64),
    /// A question was asked for a minute.
    GaveUpAsking(usize, Epoch, u64),
    /// A busy connection may have stalled.
    Stall(usize, Epoch),
    /// The server or the network ends a link.
    Killed(usize, Epoch),
    /// A close is through.
    Closed(usize, Epoch),
    /// A local program reads again.
    Reads(usize, Epoch),
    /// A bind answers.
    Binds(usize, ForwardId),
    /// A close of a listener answers.
    Unbinds(usize, ForwardId),
    /// A local connection was held long enough.
    HoldOver(usize, u64),
    /// A local connection ends.
    Leaves(usize, u64),
    /// What was to be done for a notebook is through; who looked saw that.
    Work { slot: usize, name: Name, epoch: Epoch, id: TaskId, task: Task, seen: Option<Box<Did>> },
    /// What was begun at the far end of a notebook goes on, unless its life is another one by then.
    Turn(usize, Name, u64, Turn),
    /// Nobody has used a notebook since so many came.
    LeftAlone(usize, Name, u64),
    /// The lookout looks.
    Look(usize),
    /// A person answers what was asked, or whoever asked sees that nobody will.
    Typed(usize, Epoch),
    /// Nobody waits any more.
    HangsUp(usize, WaitId),
    /// A human looks after a host key.
    Trust(usize),
    /// Something new happens in the world.
    Fate,
    /// Something in the world mends.
    Mend(super::weather::Mend),
}

impl Event {
    /// Whether it happens inside this machine, which sleeps and freezes.
    pub(super) fn is_local(&self) -> bool {
        !matches!(self, Event::Fate | Event::Mend(_) | Event::Turn(..))
    }
}
