//! Ways over a tunnel's session for `nbctl proxy`: who waits for one, and how those ended that there were.

use std::collections::BTreeMap;
use std::sync::Arc;

use nbtunnel_core::{Failure, Name, State, Target, Wanted};
use nbtunnel_proto::{Fault, FaultCode, Reply};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::Driver;
use crate::event::{Asked, ClientId, Event};
use crate::forward::{Ending, NoWay, RawStream};

/// So many are kept in mind, with those that ended.
const MOST: usize = 256;

/// All of them.
pub(super) struct Proxies {
    /// Where bytes are carried.
    data: Handle,
    next: u64,
    /// Those whose connection is not handed over yet.
    waiting: Vec<Waiting>,
    ends: BTreeMap<u64, (Name, Arc<Ending>)>,
}

struct Waiting {
    asked: Asked,
    name: Name,
    take: oneshot::Sender<RawStream>,
}

impl Proxies {
    pub(super) fn new(data: Handle) -> Proxies {
        Proxies { data, next: 0, waiting: Vec::new(), ends: BTreeMap::new() }
    }

    fn add(
        &mut self,
        name: &Name,
        ending: Arc<Ending>,
        asked: &Asked,
    ) -> (u64, oneshot::Receiver<RawStream>) {
        self.next += 1;
        self.ends.insert(self.next, (name.clone(), ending));
        // Those that are still there hold their end themselves.
        let over = self.ends.iter().find(|(_, (_, ending))| Arc::strong_count(ending) == 1);
        if self.ends.len() > MOST
            && let Some(oldest) = over.map(|(number, _)| *number)
        {
            self.ends.remove(&oldest);
        }
        let (take, taken) = oneshot::channel();
        self.waiting.push(Waiting { asked: asked.clone(), name: name.clone(), take });
        (self.next, taken)
    }

    /// A connection is there to be carried.
    pub(super) fn raw(&mut self, client: ClientId, stream: RawStream) {
        if let Some(at) = self.waiting.iter().position(|waiting| waiting.asked.client == client) {
            let _ = self.waiting.swap_remove(at).take.send(stream);
        }
    }

    /// Nobody waits there any more.
    pub(super) fn hung_up(&mut self, client: ClientId) {
        self.waiting.retain(|waiting| waiting.asked.client != client);
    }

    /// Something keeps a tunnel away: who waits for it is told.
    pub(super) fn kept_waiting(&self, name: &Name, why: &Failure) {
        self.waiting
            .iter()
            .filter(|waiting| waiting.name == *name)
            .for_each(|waiting| tell(&waiting.asked, why));
    }
}

fn tell(asked: &Asked, why: &Failure) {
    asked.answer(Reply::Progress(why.to_string()));
}

impl Driver {
    pub(super) fn proxy(&mut self, asked: &Asked, name: &str, target: Option<&str>) -> Result<(), Fault> {
        let name = self.one(name)?;
        let target = target.map(parse).transpose()?;
        let view = self.fleet.tunnels().get(&name).map(|tunnel| tunnel.view(self.clock.now()));
        let proxy = self.effects.proxy(&name).ok_or_else(|| stopped(&name))?;
        if let Some(view) = &view {
            if view.wanted == Wanted::Down {
                return Err(stopped(&name));
            }
            if view.state != State::Up
                && let Some(why) = &view.problem
            {
                tell(asked, why);
            }
        }
        let (number, taken) = self.proxies.add(&name, proxy.ending(), asked);
        let (asked, events) = (asked.clone(), self.events.clone());
        self.proxies.data.spawn(async move {
            let (mut proxy, mut taken) = (proxy, taken);
            let ready = tokio::select! {
                ready = proxy.ready(target) => ready,
                // Nobody waits for it any more.
                _ = &mut taken => return,
            };
            if let Err(why) = ready {
                let _ = events.send(Event::NoWay(asked, name, why));
                return;
            }
            asked.answer(Reply::Proxied { number });
            drop(asked);
            if let Ok(raw) = taken.await {
                proxy.carry(raw).await;
            }
        });
        Ok(())
    }

    pub(super) fn no_way(&mut self, asked: &Asked, name: &Name, why: NoWay) {
        self.proxies.hung_up(asked.client);
        let view = self.fleet.tunnels().get(name).map(|tunnel| tunnel.view(self.clock.now()));
        let fault = match (why, view) {
            (NoWay::Failed(failure), _) => fault_of(&failure),
            (NoWay::Full, _) => Fault::new(
                FaultCode::Failed,
                format!("too many connections wait for {name} already"),
                format!("see what keeps it away: `nbctl status {name}`"),
            ),
            (NoWay::Shut, Some(view)) if view.wanted == Wanted::Down => stopped(name),
            (NoWay::Shut | NoWay::Expired, Some(view)) if view.problem.is_some() => {
                let why = view.problem.map(|why| fault_of(&why));
                why.unwrap_or_else(|| away(name))
            }
            (NoWay::Shut | NoWay::Expired, _) => away(name),
        };
        asked.answer(Reply::Fault(fault));
    }

    pub(super) fn proxy_end(&self, number: u64) -> Result<Reply, Fault> {
        let Some((name, ending)) = self.proxies.ends.get(&number) else {
            return Err(Fault::new(
                FaultCode::Failed,
                "nbtunneld was started anew, and what it carried was cut off",
                "run it again",
            ));
        };
        match ending.cut() {
            None => Ok(Reply::Done),
            Some(Some(failure)) => Err(fault_of(&failure)),
            Some(None) => {
                let wanted =
                    self.fleet.tunnels().get(name).map(|tunnel| tunnel.view(self.clock.now()).wanted);
                Err(if wanted == Some(Wanted::Down) { stopped(name) } else { lost(name) })
            }
        }
    }
}

/// `host:port`, the host in brackets if it is an address with colons.
fn parse(target: &str) -> Result<Target, Fault> {
    let split = target.rsplit_once(':').and_then(|(host, port)| {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = bare.unwrap_or(host);
        let is_host = !host.is_empty() && (bare.is_some() || !host.contains(':')) && host.is_ascii();
        let port = port.parse().ok().filter(|port| *port != 0)?;
        is_host.then(|| Target::Tcp(host.to_owned(), port))
    });
    split.ok_or_else(|| {
        Fault::new(
            FaultCode::Usage,
            format!("{target:?} is no host and port"),
            "write it as in localhost:22 or [::1]:22",
        )
    })
}

fn fault_of(why: &Failure) -> Fault {
    let code = match why.verdict() {
        nbtunnel_core::Verdict::Park(_) => FaultCode::NeedsYou,
        nbtunnel_core::Verdict::Retry => FaultCode::Failed,
    };
    Fault::new(code, why.message.clone(), why.hint.clone())
}

fn stopped(name: &Name) -> Fault {
    Fault::new(
        FaultCode::Failed,
        format!("the tunnel {name} is stopped"),
        format!("start it with `nbctl start {name}`"),
    )
}

fn away(name: &Name) -> Fault {
    Fault::new(
        FaultCode::Failed,
        format!("the tunnel {name} did not come up in time"),
        format!("see what it is doing with `nbctl status {name}`"),
    )
}

fn lost(name: &Name) -> Fault {
    Fault::new(
        FaultCode::Failed,
        format!("the tunnel {name} lost its link"),
        "reconnecting brings it back: run ssh again",
    )
}
