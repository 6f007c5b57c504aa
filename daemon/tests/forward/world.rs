//! A forward, its wiring, and a far end that the test speaks for.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use nbtunnel_core::{
    Failure, FailureKind, ForwardId, ForwardReport, ForwardSpec, Input, ListenAt, ListenId, ListenerReport,
    Policy, Target,
};
use nbtunneld::forward::carrier::Tell;
use nbtunneld::forward::far_side::{Opening, Running};
use nbtunneld::forward::{
    Accepted, Activity, Budgets, Carried, Carrier, FarGone, FarMessage, FarReader, FarSide, FarWriter,
    Forward, GateNow, Landing, Report, Services, Unopened, pump,
};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

/// Longer than anything here takes, even on a crowded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for `what` to become something.
pub(crate) async fn until<T>(mut what: impl FnMut() -> Option<T>) -> T {
    timeout(PATIENCE, async {
        loop {
            if let Some(found) = what() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await
    .expect("what was waited for did not happen")
}

/// Does not wait for ever.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("what was waited for did not happen")
}

/// Everything around the forwards of one tunnel.
pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) services: Arc<Services>,
    pub(crate) gate: watch::Sender<GateNow>,
    pub(crate) policy: watch::Sender<Policy>,
    pub(crate) activity: Arc<Activity>,
    pub(crate) inputs: Arc<Mutex<Vec<Input>>>,
    pub(crate) exhausted: Arc<Mutex<Vec<bool>>>,
}

impl World {
    pub(crate) fn new() -> World {
        World::with(Budgets::default(), Policy::default())
    }

    pub(crate) fn with(budgets: Budgets, policy: Policy) -> World {
        let dir = tempfile::tempdir().unwrap();
        let inputs = Arc::<Mutex<Vec<Input>>>::default();
        let exhausted = Arc::<Mutex<Vec<bool>>>::default();
        let told = exhausted.clone();
        let services = Services::new(Handle::current(), dir.path().join("state"), budgets, move |now| {
            told.lock().unwrap().push(now);
        });
        let activity = Activity::new(World::report_into(&inputs));
        World {
            dir,
            services,
            gate: watch::Sender::new(GateNow::Hold),
            policy: watch::Sender::new(policy),
            activity,
            inputs,
            exhausted,
        }
    }

    fn report_into(inputs: &Arc<Mutex<Vec<Input>>>) -> Report {
        let inputs = inputs.clone();
        Arc::new(move |input| inputs.lock().unwrap().push(input))
    }

    pub(crate) fn forward(&self, id: u32, listen: ListenAt) -> Forward {
        self.forward_to(id, listen, Target::Tcp("far".into(), 7000))
    }

    /// The same with a target of its own.
    pub(crate) fn forward_to(&self, id: u32, listen: ListenAt, target: Target) -> Forward {
        let spec = ForwardSpec::new(listen, target);
        let (policy, gate) = (self.policy.subscribe(), self.gate.subscribe());
        let report = World::report_into(&self.inputs);
        Forward::spawn(&self.services, ForwardId(id), spec, policy, gate, self.activity.clone(), report)
    }

    /// What forward `id` was told to core about its listener, latest first.
    pub(crate) async fn listener(&self, id: u32) -> ListenerReport {
        until(|| {
            self.inputs.lock().unwrap().iter().rev().find_map(|input| match input {
                Input::Listener(ForwardId(of), report) if *of == id => Some(report.clone()),
                _ => None,
            })
        })
        .await
    }

    /// A forward on a port that the system chose, and its address.
    pub(crate) async fn listening(&self) -> (Forward, String) {
        let forward = self.forward(0, ListenAt::Address("127.0.0.1".into(), 0));
        match self.listener(0).await {
            ListenerReport::Bound { listens, .. } => (forward, listens[0].clone()),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn forward_reports(&self) -> Vec<ForwardReport> {
        let inputs = self.inputs.lock().unwrap();
        inputs
            .iter()
            .filter_map(|i| if let Input::Forward(_, r) = i { Some(r.clone()) } else { None })
            .collect()
    }

    /// Opens the gate to a new link.
    pub(crate) fn link(&self) -> Link {
        let (opened, channels) = mpsc::unbounded_channel();
        self.gate.send_replace(GateNow::Serve(Arc::new(Opener { opened })));
        Link { channels }
    }

    /// A connection through a new link, both ends.
    pub(crate) async fn connected(&self, address: &str) -> (TcpStream, FarEnd) {
        let mut link = self.link();
        let local = TcpStream::connect(address).await.unwrap();
        (local, link.channel().await)
    }
}

/// A link, as its far end sees it.
pub(crate) struct Link {
    channels: mpsc::UnboundedReceiver<FarEnd>,
}

impl Link {
    pub(crate) async fn channel(&mut self) -> FarEnd {
        soon(self.channels.recv()).await.unwrap()
    }
}

/// What arrived at the far end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    Data(Bytes),
    Eof,
    Close,
}

/// The far end of one channel. Dropped, the session is gone.
pub(crate) struct FarEnd {
    pub(crate) target: Target,
    pub(crate) origin: (String, u16),
    pub(crate) send: mpsc::UnboundedSender<FarMessage>,
    pub(crate) sent: mpsc::Receiver<Sent>,
    waiting: Arc<AtomicUsize>,
    unread: Arc<AtomicBool>,
    _alive: watch::Sender<()>,
}

impl FarEnd {
    /// Whether the pump has taken all that was sent to it.
    pub(crate) fn is_drained(&self) -> bool {
        self.waiting.load(SeqCst) == 0
    }

    /// Whether it was told that it is left unread.
    pub(crate) fn is_unread(&self) -> bool {
        self.unread.load(SeqCst)
    }

    pub(crate) fn data(&self, bytes: &[u8]) {
        self.waiting.fetch_add(1, SeqCst);
        let _ = self.send.send(FarMessage::Data(Bytes::copy_from_slice(bytes)));
    }

    pub(crate) fn say(&self, message: FarMessage) {
        self.waiting.fetch_add(1, SeqCst);
        let _ = self.send.send(message);
    }

    pub(crate) async fn hears(&mut self) -> Sent {
        soon(self.sent.recv()).await.expect("the channel was dropped without a close")
    }

    /// All bytes up to the next word that is not data, and that word.
    pub(crate) async fn hears_all(&mut self) -> (Vec<u8>, Sent) {
        let mut all = Vec::new();
        loop {
            match self.hears().await {
                Sent::Data(bytes) => all.extend_from_slice(&bytes),
                word => return (all, word),
            }
        }
    }

    /// Waits until the pump let go of its ends, in order.
    pub(crate) async fn until_let_go(mut self) {
        soon(self.send.closed()).await;
        assert_eq!(soon(self.sent.recv()).await, None);
    }
}

struct Opener {
    opened: mpsc::UnboundedSender<FarEnd>,
}

impl FarSide for Opener {
    fn open(self: Arc<Self>, _: Target) -> Opening {
        Box::pin(std::future::ready(Err(Unopened::Denied(nothing_there()))))
    }

    fn run(self: Arc<Self>, _: String, _: Duration) -> Running {
        Box::pin(std::future::ready(Err(nothing_there())))
    }
}

impl Carrier for Opener {
    fn carry(
        self: Arc<Self>,
        local: Accepted,
        target: Target,
    ) -> Pin<Box<dyn Future<Output = Carried> + Send>> {
        Box::pin(async move {
            let (send, reader) = mpsc::unbounded_channel();
            let (writer, sent) = mpsc::channel(4);
            let waiting = Arc::<AtomicUsize>::default();
            let unread = Arc::<AtomicBool>::default();
            let (alive, gone) = watch::channel(());
            let (counter, flag) = (waiting.clone(), unread.clone());
            let far = FarEnd { target, origin: local.origin(), send, sent, waiting, unread, _alive: alive };
            if self.opened.send(far).is_err() {
                return Carried::LinkGone(local);
            }
            pump(local, Reader(reader, counter, flag, gone), Writer(writer)).await;
            Carried::Over
        })
    }

    fn listen(&self, _: ListenId, _: ListenAt, _: Landing, _: Tell) {}

    fn unlisten(&self, _: ListenId, _: Tell) {}
}

struct Reader(mpsc::UnboundedReceiver<FarMessage>, Arc<AtomicUsize>, Arc<AtomicBool>, watch::Receiver<()>);

impl FarReader for Reader {
    async fn next(&mut self) -> FarMessage {
        let Some(message) = self.0.recv().await else { return FarMessage::Gone };
        self.1.fetch_sub(1, SeqCst);
        message
    }

    fn gone(&self) -> impl Future<Output = ()> + Send {
        let mut gone = self.3.clone();
        async move { while gone.changed().await.is_ok() {} }
    }

    fn unread(&mut self, is_unread: bool) {
        self.2.store(is_unread, SeqCst);
    }
}

struct Writer(mpsc::Sender<Sent>);

impl FarWriter for Writer {
    async fn write(&mut self, data: Bytes) -> Result<(), FarGone> {
        self.0.send(Sent::Data(data)).await.map_err(|_| FarGone)
    }

    async fn eof(&mut self) -> Result<(), FarGone> {
        self.0.send(Sent::Eof).await.map_err(|_| FarGone)
    }

    async fn close(&mut self) {
        let _ = self.0.send(Sent::Close).await;
    }
}

/// A link whose server denies every channel.
pub(crate) struct Denier(pub(crate) Failure);

impl FarSide for Denier {
    fn open(self: Arc<Self>, _: Target) -> Opening {
        Box::pin(std::future::ready(Err(Unopened::Denied(nothing_there()))))
    }

    fn run(self: Arc<Self>, _: String, _: Duration) -> Running {
        Box::pin(std::future::ready(Err(nothing_there())))
    }
}

impl Carrier for Denier {
    fn carry(self: Arc<Self>, local: Accepted, _: Target) -> Pin<Box<dyn Future<Output = Carried> + Send>> {
        Box::pin(std::future::ready(Carried::Denied(self.0.clone(), local)))
    }

    fn listen(&self, _: ListenId, _: ListenAt, _: Landing, _: Tell) {}

    fn unlisten(&self, _: ListenId, _: Tell) {}
}

fn nothing_there() -> Failure {
    Failure::new(FailureKind::Refused, "only local connections go there", "")
}

/// A link with a fault of ours in it.
pub(crate) struct Panicker;

impl FarSide for Panicker {
    fn open(self: Arc<Self>, _: Target) -> Opening {
        Box::pin(std::future::ready(Err(Unopened::Denied(nothing_there()))))
    }

    fn run(self: Arc<Self>, _: String, _: Duration) -> Running {
        Box::pin(std::future::ready(Err(nothing_there())))
    }
}

impl Carrier for Panicker {
    fn carry(self: Arc<Self>, _: Accepted, _: Target) -> Pin<Box<dyn Future<Output = Carried> + Send>> {
        Box::pin(async { panic!("as the test wants it") })
    }

    fn listen(&self, _: ListenId, _: ListenAt, _: Landing, _: Tell) {}

    fn unlisten(&self, _: ListenId, _: Tell) {}
}

/// Reads to the end: the bytes, and whether it ended with a reset.
pub(crate) async fn read_out(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> (Vec<u8>, bool) {
    use tokio::io::AsyncReadExt;
    let mut all = Vec::new();
    match soon(stream.read_to_end(&mut all)).await {
        Ok(_) => (all, false),
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => (all, true),
        Err(error) => panic!("{error}"),
    }
}

/// Makes the client's coming close a reset.
pub(crate) fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}
