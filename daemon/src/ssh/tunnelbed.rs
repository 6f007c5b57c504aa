//! A listener, a real sshd, and links between them, for tests of all of it together.

use std::sync::{Arc, Mutex};

use nbtunnel_core::{ForwardId, ForwardSpec, Input, ListenAt, Policy, Route, Target};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::AgentAt;
use super::testbed::{Sshd, Watched, free_port, links, start_with, until};
use crate::forward::{Activity, Budgets, Forward, GateNow, Services};

pub(super) struct Tunnel {
    pub(super) sshd: Sshd,
    pub(super) gate: watch::Sender<GateNow>,
    pub(super) activity: Arc<Activity>,
    pub(super) policy: watch::Sender<Policy>,
    pub(super) forward: Forward,
    port: u16,
}

impl Tunnel {
    /// Listens here, leads to `target` over there, and holds until a link is up.
    pub(super) async fn new(target: u16) -> Tunnel {
        Tunnel::with(target, Budgets::default(), Policy::default()).await
    }

    pub(super) async fn with(target: u16, budgets: Budgets, policy: Policy) -> Tunnel {
        let target = Target::Tcp("127.0.0.1".into(), target);
        Tunnel::by(Sshd::start("ed25519", ""), target, budgets, policy).await
    }

    /// The same by that server.
    pub(super) async fn by(sshd: Sshd, target: Target, budgets: Budgets, policy: Policy) -> Tunnel {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hear = Arc::clone(&heard);
        let report: Arc<dyn Fn(Input) + Send + Sync> =
            Arc::new(move |input| hear.lock().unwrap().push(input));
        let services = Services::new(Handle::current(), sshd.at("state"), budgets, |_| {});
        let (gate, policy) = (watch::Sender::new(GateNow::Hold), watch::Sender::new(policy));
        let activity = Activity::new(Arc::clone(&report));
        let port = free_port();
        let spec = ForwardSpec::new(ListenAt::Loopback(port), target);
        let forward = Forward::spawn(
            &services,
            ForwardId(1),
            spec,
            policy.subscribe(),
            gate.subscribe(),
            Arc::clone(&activity),
            report,
        );
        until("it listens", || !heard.lock().unwrap().is_empty()).await;
        Tunnel { sshd, gate, activity, policy, forward, port }
    }

    /// A link that is up, to which the gate leads from now on.
    pub(super) async fn link(&self) -> Watched {
        self.link_by(self.sshd.route()).await
    }

    /// The same that follows `route`.
    pub(super) async fn link_by(&self, route: Route) -> Watched {
        let mut link = start_with(&links(AgentAt::Nowhere), route, self.policy.clone());
        link.up().await;
        self.gate.send_replace(GateNow::Serve(link.carrier.clone().unwrap()));
        link
    }

    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).await.unwrap()
    }
}

/// Sends back whatever comes, to its end.
pub(super) async fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.into_split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    port
}
