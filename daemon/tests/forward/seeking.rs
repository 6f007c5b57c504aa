//! A forward that leads to a notebook: nobody is led anywhere before somebody has looked where it is.

use super::world::*;
use nbtunnel_core::io::ListenId;
use nbtunnel_core::{
    Failure, FailureKind, ForwardId, ForwardReport, ForwardSpec, Input, ListenAt, ListenerReport, Name,
    Policy, Target,
};
use nbtunneld::forward::carrier::Tell;
use nbtunneld::forward::far_side::{FarStream, Opening, Running};
use nbtunneld::forward::{
    Accepted, Budgets, Carried, Carrier, FarMessage, FarSide, Forward, GateNow, Landing,
};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn notebook() -> Target {
    Target::Notebook(Name::parse("alice").unwrap())
}

fn at(port: u16) -> Target {
    Target::Tcp("localhost".into(), port)
}

async fn seeking(world: &World) -> (Forward, String) {
    let spec = ForwardSpec::new(ListenAt::Address("127.0.0.1".into(), 0), notebook());
    let inputs = world.inputs.clone();
    let report = Arc::new(move |input: Input| inputs.lock().unwrap().push(input));
    let (policy, gate) = (world.policy.subscribe(), world.gate.subscribe());
    let activity = world.activity.clone();
    let forward = Forward::spawn(&world.services, ForwardId(0), spec, policy, gate, activity, report);
    match world.listener(0).await {
        ListenerReport::Bound { listens, .. } => (forward, listens[0].clone()),
        other => panic!("{other:?}"),
    }
}

fn times_sought(world: &World) -> usize {
    world.forward_reports().iter().filter(|report| **report == ForwardReport::Sought).count()
}

async fn until_held(world: &World, held: u32) {
    until(|| (world.activity.held_and_open().0 == held).then_some(())).await;
}

fn refused() -> Failure {
    Failure::new(FailureKind::Refused, "nobody there", "start it")
}

#[tokio::test]
async fn whoever_comes_waits_until_the_notebook_is_found() {
    let world = World::new();
    let (forward, address) = seeking(&world).await;
    let mut link = world.link();
    let mut local = TcpStream::connect(&address).await.unwrap();
    local.write_all(b"early").await.unwrap();
    until(|| (times_sought(&world) == 1).then_some(())).await;
    until_held(&world, 1).await;
    let first = |what: &dyn Fn(&Input) -> bool| world.inputs.lock().unwrap().iter().position(what);
    let sought = first(&|input| matches!(input, Input::Forward(_, ForwardReport::Sought)));
    let held = first(&|input| *input == Input::Activity { held: 1, open: 0 });
    assert!(held.is_some() && held < sought, "core looks only for those who are held");
    forward.retarget(at(7000));
    let mut far = link.channel().await;
    assert_eq!(far.target, at(7000));
    assert_eq!(far.hears().await, Sent::Data("early".into()));
}

#[tokio::test]
async fn whoever_finds_it_gone_waits_until_it_is_found_elsewhere() {
    let world = World::new();
    let (forward, address) = seeking(&world).await;
    world.gate.send_replace(GateNow::Serve(Arc::new(Denier(refused()))));
    forward.retarget(at(7000));
    let mut local = TcpStream::connect(&address).await.unwrap();
    local.write_all(b"early").await.unwrap();
    until(|| (times_sought(&world) == 1).then_some(())).await;
    until_held(&world, 1).await;
    assert!(world.forward_reports().contains(&ForwardReport::Denied(refused())));
    let mut link = world.link();
    forward.retarget(at(7001));
    let mut far = link.channel().await;
    assert_eq!(far.target, at(7001));
    assert_eq!(far.hears().await, Sent::Data("early".into()));
}

#[tokio::test]
async fn a_server_that_forbids_it_is_no_reason_to_wait() {
    let world = World::new();
    let (forward, address) = seeking(&world).await;
    let forbidden = Failure::new(FailureKind::ForwardingDenied, "no", "ask");
    world.gate.send_replace(GateNow::Serve(Arc::new(Denier(forbidden))));
    forward.retarget(at(7000));
    let mut local = TcpStream::connect(&address).await.unwrap();
    assert_eq!(read_out(&mut local).await, (vec![], true));
}

#[tokio::test]
async fn who_comes_after_the_last_one_left_is_led_there_only_after_another_look() {
    let trusted = Duration::from_millis(50);
    let world = World::with(Budgets::default(), Policy { trusted, ..Policy::default() });
    let (forward, address) = seeking(&world).await;
    let mut link = world.link();
    let first = TcpStream::connect(&address).await.unwrap();
    until_held(&world, 1).await;
    forward.retarget(at(7000));
    let mut far = link.channel().await;
    // While somebody is there, others are led where he is, however long that lasts.
    tokio::time::sleep(4 * trusted).await;
    let second = TcpStream::connect(&address).await.unwrap();
    let other = link.channel().await;
    assert_eq!((times_sought(&world), &other.target), (1, &at(7000)));
    drop((first, second, other));
    assert_eq!(far.hears_all().await.1, Sent::Eof);
    drop(far);
    until(|| (world.activity.held_and_open().1 == 0).then_some(())).await;
    tokio::time::sleep(4 * trusted).await;
    let _late = TcpStream::connect(&address).await.unwrap();
    until_held(&world, 1).await;
    assert_eq!(times_sought(&world), 2);
    forward.retarget(at(7001));
    assert_eq!(link.channel().await.target, at(7001));
}

#[tokio::test]
async fn who_keeps_a_connection_that_the_far_end_has_ended_vouches_for_nobody() {
    let trusted = Duration::from_millis(50);
    let world = World::with(Budgets::default(), Policy { trusted, ..Policy::default() });
    let (forward, address) = seeking(&world).await;
    let mut link = world.link();
    let mut kept = TcpStream::connect(&address).await.unwrap();
    until_held(&world, 1).await;
    forward.retarget(at(7000));
    let mut far = link.channel().await;
    far.say(FarMessage::Eof);
    assert_eq!(soon(kept.read(&mut [0])).await.unwrap(), 0);
    tokio::time::sleep(4 * trusted).await;
    // It is still carried: the other direction may go on.
    kept.write_all(b"late").await.unwrap();
    assert_eq!(far.hears().await, Sent::Data("late".into()));
    let _late = TcpStream::connect(&address).await.unwrap();
    until_held(&world, 1).await;
    assert_eq!((times_sought(&world), world.activity.held_and_open().1), (2, 1));
    // Nor does whoever still talks to the one before vouch for the next.
    forward.retarget(at(7001));
    let next = link.channel().await;
    assert_eq!(next.target, at(7001));
    let _other = TcpStream::connect(&address).await.unwrap();
    let other = link.channel().await;
    forward.retarget(at(7002));
    tokio::time::sleep(4 * trusted).await;
    let _last = TcpStream::connect(&address).await.unwrap();
    until_held(&world, 1).await;
    assert_eq!((times_sought(&world), other.target.clone()), (3, at(7001)));
}

#[tokio::test]
async fn who_waits_in_vain_is_told_to_have_waited_for_what_was_not_there() {
    let hold = Duration::from_millis(50);
    let world = World::with(Budgets::default(), Policy { hold, ..Policy::default() });
    let (_forward, address) = seeking(&world).await;
    let told = |what: &ForwardReport| world.forward_reports().contains(what).then_some(());
    // There is no link.
    let mut local = TcpStream::connect(&address).await.unwrap();
    assert_eq!(read_out(&mut local).await, (vec![], true));
    until(|| told(&ForwardReport::Expired(1))).await;
    // There is one, and no notebook. A look at where it is takes longer than anybody is held for a link here.
    let _link = world.link();
    let mut local = TcpStream::connect(&address).await.unwrap();
    assert_eq!(read_out(&mut local).await, (vec![], true));
    until(|| told(&ForwardReport::Missed(1))).await;
    assert!(told(&ForwardReport::Expired(2)).is_none());
}

fn socket() -> Target {
    Target::Socket("/run/node/1".into())
}

/// A link to a machine where a socket takes every connection and leads nowhere.
struct Shallow;

impl FarSide for Shallow {
    fn open(self: Arc<Self>, _: Target) -> Opening {
        Box::pin(async {
            // A round trip, in which others come.
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok(Box::new(tokio::io::duplex(1).0) as FarStream)
        })
    }

    fn run(self: Arc<Self>, _: String, _: Duration) -> Running {
        Box::pin(std::future::ready(Err(refused())))
    }
}

impl Carrier for Shallow {
    fn carry(self: Arc<Self>, _: Accepted, _: Target) -> Pin<Box<dyn Future<Output = Carried> + Send>> {
        Box::pin(std::future::ready(Carried::Over))
    }

    fn listen(&self, _: ListenId, _: ListenAt, _: Landing, _: Tell) {}

    fn unlisten(&self, _: ListenId, _: Tell) {}
}

#[tokio::test]
async fn whoever_comes_by_a_socket_that_leads_nowhere_waits_until_the_notebook_is_found() {
    let world = World::new();
    let (forward, address) = seeking(&world).await;
    world.gate.send_replace(GateNow::Serve(Arc::new(Shallow)));
    forward.retarget(socket());
    let mut local = TcpStream::connect(&address).await.unwrap();
    local.write_all(b"early").await.unwrap();
    until(|| (times_sought(&world) == 1).then_some(())).await;
    until_held(&world, 1).await;
    let mut link = world.link();
    forward.retarget(at(7001));
    let mut far = link.channel().await;
    assert_eq!(far.hears().await, Sent::Data("early".into()));
}

#[tokio::test]
async fn all_who_come_together_by_a_socket_that_leads_nowhere_wait() {
    const ALL: usize = 6;
    let world = World::new();
    let (forward, address) = seeking(&world).await;
    let mut all = Vec::new();
    for _ in 0..ALL {
        all.push(TcpStream::connect(&address).await.unwrap());
    }
    until_held(&world, ALL as u32).await;
    forward.retarget(socket());
    world.gate.send_replace(GateNow::Serve(Arc::new(Shallow)));
    // Whoever is not held was closed.
    until(|| world.forward_reports().iter().any(is_denied).then_some(())).await;
    until_held(&world, ALL as u32).await;
    let mut link = world.link();
    forward.retarget(at(7001));
    for _ in 0..ALL {
        assert_eq!(link.channel().await.target, at(7001));
    }
}

fn is_denied(report: &ForwardReport) -> bool {
    matches!(report, ForwardReport::Denied(why) if why.kind == FailureKind::Refused)
}

#[tokio::test]
async fn who_hears_nothing_by_a_socket_while_others_are_there_has_the_next_one_wait() {
    let world = World::new();
    let (forward, address) = seeking(&world).await;
    let mut link = world.link();
    forward.retarget(socket());
    let _stays = TcpStream::connect(&address).await.unwrap();
    let far = link.channel().await;
    // The server is gone; whoever is carried to it has not noticed.
    world.gate.send_replace(GateNow::Serve(Arc::new(Shallow)));
    let mut local = TcpStream::connect(&address).await.unwrap();
    assert_eq!(read_out(&mut local).await, (vec![], true));
    until(|| world.forward_reports().iter().any(is_denied).then_some(())).await;
    let _next = TcpStream::connect(&address).await.unwrap();
    until_held(&world, 1).await;
    assert_eq!((times_sought(&world), &far.target), (1, &socket()));
}

#[tokio::test]
async fn who_leaves_after_he_was_answered_by_a_socket_takes_nobody_away() {
    let world = World::new();
    let (forward, address) = seeking(&world).await;
    let mut link = world.link();
    forward.retarget(socket());
    let _stays = TcpStream::connect(&address).await.unwrap();
    let _far = link.channel().await;
    let mut local = TcpStream::connect(&address).await.unwrap();
    let mut far = link.channel().await;
    far.data(b"hello");
    far.say(FarMessage::Close);
    assert_eq!(read_out(&mut local).await.0, b"hello");
    assert_eq!(far.hears_all().await.1, Sent::Close);
    until(|| (world.activity.held_and_open().1 == 1).then_some(())).await;
    let _next = TcpStream::connect(&address).await.unwrap();
    assert_eq!(link.channel().await.target, socket());
    assert!(!world.forward_reports().iter().any(is_denied));
}

#[tokio::test]
async fn who_leaves_a_port_without_a_word_takes_nobody_away() {
    let world = World::new();
    let (forward, address) = seeking(&world).await;
    let mut link = world.link();
    forward.retarget(at(7000));
    let _stays = TcpStream::connect(&address).await.unwrap();
    let _far = link.channel().await;
    // Whoever closes before he is accepted is refused by the guard.
    let leaves = TcpStream::connect(&address).await.unwrap();
    let far = link.channel().await;
    drop((leaves, far));
    until(|| (world.activity.held_and_open().1 == 1).then_some(())).await;
    let _next = TcpStream::connect(&address).await.unwrap();
    assert_eq!(link.channel().await.target, at(7000));
    assert!(!world.forward_reports().iter().any(is_denied));
}
