//! What happens when file descriptors run out. In a process of its own, since the limit is the process's.
#![cfg(unix)]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "helpers of tests stand outside of test functions"
)]

#[path = "forward/world.rs"]
#[allow(dead_code, reason = "shared with the other tests of forwards")]
mod world;

use nbtunnel_core::{ListenAt, ListenerReport};
use nbtunneld::forward::FarMessage;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use world::{Sent, World, read_out, soon, until};

/// The limit is one for the whole process.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test]
async fn accepting_pauses_leaves_descriptors_for_others_and_goes_on_by_itself() {
    let _turn = TURN.lock().await;
    let old = getrlimit(Resource::Nofile);
    let world = World::new();
    let (forward, address) = world.listening().await;
    let mut link = world.link();
    // The clients are in this process too, so they are made first, while the limit is high.
    let clients: Vec<TcpStream> = (0..400).map(|_| TcpStream::connect(&address).unwrap()).collect();
    let opened = std::fs::read_dir("/dev/fd").unwrap().count() as u64;
    setrlimit(Resource::Nofile, Rlimit { current: Some(opened + 60), ..old }).unwrap();

    until(|| (*world.exhausted.lock().unwrap() == [true]).then_some(())).await;
    let carried = forward.tally().snapshot().total;
    assert!((40..=80).contains(&carried), "{carried}");
    // Others still get descriptors, and those that are carried still work.
    let reserve: Vec<_> = (0..8).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
    let mut far = link.channel().await;
    (&clients[0]).write_all(b"through").unwrap();
    assert_eq!(far.hears().await, Sent::Data("through".into()));
    // Several pauses long nothing changes: it neither spins nor flaps while nothing is free.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!(*world.exhausted.lock().unwrap(), [true]);
    assert_eq!(forward.tally().snapshot().total, carried);
    drop((reserve, far));

    setrlimit(Resource::Nofile, old).unwrap();
    until(|| (world.exhausted.lock().unwrap().last() == Some(&false)).then_some(())).await;
    // Everybody who waited in the backlog is served, in the end.
    for client in &clients[1..] {
        client.shutdown(Shutdown::Write).unwrap();
        let far = link.channel().await;
        far.say(FarMessage::Data("served".into()));
        far.say(FarMessage::Eof);
        far.say(FarMessage::Close);
    }
    for client in clients.into_iter().skip(1) {
        client.set_nonblocking(true).unwrap();
        let mut client = tokio::net::TcpStream::from_std(client).unwrap();
        assert_eq!(soon(read_out(&mut client)).await, (b"served".to_vec(), false));
    }
    assert_eq!(forward.tally().snapshot().total, 400);
}

#[tokio::test]
async fn the_reserve_is_not_eaten_up_by_another_listener() {
    let _turn = TURN.lock().await;
    let old = getrlimit(Resource::Nofile);
    let world = World::new();
    let _link = world.link();
    let (one, address) = world.listening().await;
    let two = world.forward(1, ListenAt::Address("127.0.0.1".into(), 0));
    let other = match world.listener(1).await {
        ListenerReport::Bound { listens, .. } => listens[0].clone(),
        other => panic!("{other:?}"),
    };
    // Nobody is accepted before we wait for something.
    let _clients: Vec<TcpStream> =
        (0..400).map(|n| TcpStream::connect(if n % 2 == 0 { &address } else { &other }).unwrap()).collect();
    let opened = std::fs::read_dir("/dev/fd").unwrap().count() as u64;
    setrlimit(Resource::Nofile, Rlimit { current: Some(opened + 60), ..old }).unwrap();
    until(|| (*world.exhausted.lock().unwrap() == [true]).then_some(())).await;
    // Longer than several pauses.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let others: Vec<_> = (0..8).map_while(|_| std::fs::File::open("/dev/null").ok()).collect();
    let carried = one.tally().snapshot().total + two.tally().snapshot().total;
    setrlimit(Resource::Nofile, old).unwrap();
    assert_eq!((others.len(), *world.exhausted.lock().unwrap() == [true]), (8, true), "{carried} carried");
}
