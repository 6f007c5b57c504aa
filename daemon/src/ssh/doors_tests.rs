use std::pin::Pin;

use nbtunnel_core::{Epoch, ForwardId, Policy, Target};

use super::*;
use crate::forward::carrier::Carried;
use crate::forward::far_side::{FarSide, Opening, Running, Unopened};
use crate::forward::{Accepted, Activity, Budgets, Carrier, RemoteForward, Services};
use crate::ssh::carry::gone;
use crate::ssh::shakebed::{Shaken, shake};
use crate::ssh::testbed::{Sshd, free_port, until};

/// Only takes what is asked of it.
#[derive(Default)]
struct Captor(Mutex<Option<Landing>>);

impl FarSide for Captor {
    fn open(self: Arc<Self>, target: Target) -> Opening {
        Box::pin(std::future::ready(Err(Unopened::LinkGone(gone("t", &target)))))
    }

    fn run(self: Arc<Self>, _: String, _: Duration) -> Running {
        Box::pin(std::future::ready(Err(gone("t", &Target::Socks))))
    }
}

impl Carrier for Captor {
    fn carry(self: Arc<Self>, local: Accepted, _: Target) -> Pin<Box<dyn Future<Output = Carried> + Send>> {
        Box::pin(std::future::ready(Carried::LinkGone(local)))
    }

    fn listen(&self, _: ListenId, _: ListenAt, landing: Landing, _: Tell) {
        *self.0.lock().unwrap() = Some(landing);
    }

    fn unlisten(&self, _: ListenId, _: Tell) {}
}

fn entrance() -> Entrance {
    let (given_up, carried, unread) = Default::default();
    Entrance { landing: landing(), of: LeaseOf { given_up, carried, unread } }
}

fn landing() -> Landing {
    let services = Services::new(Handle::current(), "/nowhere".into(), Budgets::default(), |_| {});
    let report: crate::forward::Report = Arc::new(|_| {});
    let activity = Activity::new(report.clone());
    let spec = "8080:localhost:3000".parse().unwrap();
    let policy = watch::Sender::new(Policy::default()).subscribe();
    let forward = RemoteForward::new(&services, ForwardId(0), spec, policy, activity, report);
    let captor = Arc::new(Captor::default());
    let carrier: Arc<dyn Carrier> = captor.clone();
    let id = ListenId { forward: ForwardId(0), request: 1 };
    forward.listen(Epoch(1), id, ListenAt::Loopback(8080), &carrier);
    captor.0.lock().unwrap().take().unwrap()
}

fn tcp(host: &str, port: u16) -> Door {
    Door::Tcp(host.to_owned(), port)
}

#[test]
fn each_place_has_the_name_that_both_sides_use() {
    assert_eq!(Door::of(&ListenAt::Loopback(1)), tcp("localhost", 1));
    assert_eq!(Door::of(&ListenAt::Any(1)), tcp("", 1));
    assert_eq!(Door::of(&ListenAt::Address("::1".into(), 1)), tcp("::1", 1));
    assert_eq!(Door::of(&ListenAt::Socket("/run/x".into())), Door::Socket("/run/x".into()));
    assert_eq!([tcp("", 1), tcp("::1", 1)].map(|door| door.to_string()), ["*:1", "[::1]:1"]);
}

#[tokio::test]
async fn nobody_is_let_in_where_we_did_not_ask() {
    let doors = Doors::new(CancellationToken::new());
    assert!(doors.entrance(&tcp("localhost", 8080)).await.is_none());
    doors.open().insert(tcp("localhost", 8080), entrance());
    doors.open().insert(Door::Socket("/run/x".into()), entrance());
    assert!(doors.entrance(&tcp("localhost", 8080)).await.is_some());
    assert!(doors.entrance(&Door::Socket("/run/x".into())).await.is_some());
    for other in [tcp("127.0.0.1", 8080), tcp("", 8080), tcp("localhost", 8081), tcp("LOCALHOST", 8080)] {
        assert!(doors.entrance(&other).await.is_none(), "{other:?}");
    }
    assert!(doors.entrance(&Door::Socket("/run/y".into())).await.is_none());
}

#[tokio::test]
async fn whoever_comes_while_the_server_chooses_a_port_waits_for_what_it_chose() {
    let doors = Doors::new(CancellationToken::new());
    let choosing = Choosing::begin(&doors, "localhost");
    // At another address nothing is being chosen.
    assert!(doors.entrance(&tcp("", 4000)).await.is_none());
    let (good, bad) = (tcp("localhost", 4000), tcp("localhost", 4001));
    let waiting = async { tokio::join!(doors.entrance(&good), doors.entrance(&bad)) };
    let mut waiting = std::pin::pin!(waiting);
    tokio::select! {
        biased;
        _ = &mut waiting => panic!("nobody waited"),
        () = std::future::ready(()) => {}
    }
    doors.open().insert(tcp("localhost", 4000), entrance());
    drop(choosing);
    let (good, bad) = waiting.await;
    assert!(good.is_some() && bad.is_none());
}

#[tokio::test]
async fn only_so_many_wait_for_a_port_to_be_chosen() {
    let doors = Doors::new(CancellationToken::new());
    let _choosing = Choosing::begin(&doors, "localhost");
    let doors = &doors;
    let knock = |port: u16| async move { doors.entrance(&tcp("localhost", port)).await.is_some() };
    let mut waiting: Vec<_> = (1..=MOST_UNKNOWN as u16).map(|port| Box::pin(knock(port))).collect();
    for one in &mut waiting {
        assert!(is_pending(one.as_mut()), "it did not wait");
    }
    assert!(!timeout(Duration::from_secs(5), knock(9999)).await.unwrap(), "let in");
    drop(waiting);
    assert!(is_pending(Box::pin(knock(9999)).as_mut()), "there is room again");
}

/// Polls it once.
fn is_pending(one: Pin<&mut impl Future>) -> bool {
    one.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_pending()
}

/// Asks for `door` in the name of one link, and says what the server's answer was.
async fn asked(requests: &Requests, number: u64, door: &Door) -> RemoteReport {
    let (say, mut said) = mpsc::unbounded_channel();
    let id = ListenId { forward: ForwardId(0), request: number };
    let tell: Tell = Box::new(move |report| drop(say.send(report)));
    requests.add(Request::Listen { id, door: door.clone(), landing: landing(), tell });
    timeout(Duration::from_secs(20), said.recv()).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_door_is_one_link_s_until_that_is_over_though_the_session_goes_on() {
    let sshd = Sshd::start("ed25519", "");
    let mut shaken = shake(&sshd, sshd.hop()).await.unwrap();
    shaken.log_in().await;
    let Shaken { shared, session, .. } = shaken;
    let session: Session = Arc::new(tokio::sync::RwLock::new(session));
    let link = || LeaseOf {
        given_up: shared.gone.child_token(),
        carried: Count::default(),
        unread: Count::default(),
    };
    let (first, second) = (link(), link());
    let serve = |of: &LeaseOf| Requests::serve(&shared.doors, &session, "h", of.clone(), &Handle::current());
    let (ones, others) = (serve(&first), serve(&second));
    let door = tcp("localhost", free_port());
    assert!(matches!(asked(&ones, 1, &door).await, RemoteReport::Listens { .. }));
    assert!(matches!(asked(&others, 1, &door).await, RemoteReport::Denied(_)));
    assert!(shared.doors.entrance(&door).await.is_some(), "the first one's door was closed by the second");
    first.given_up.cancel();
    until("the first one's door is closed", || !shared.doors.open().contains_key(&door)).await;
    // The server may still be closing it.
    let mut number = 2;
    while !matches!(asked(&others, number, &door).await, RemoteReport::Listens { .. }) {
        number += 1;
        assert!(number < 100, "the server never lets go of it");
    }
}
