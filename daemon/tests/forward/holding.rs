//! What happens to connections while there is no link.

use super::world::*;
use nbtunnel_core::{ForwardReport, Input, ListenerReport, Policy, Target};
use nbtunneld::forward::{Budgets, FarMessage, GateNow};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

fn holding(hold: Duration) -> World {
    World::with(Budgets::default(), Policy { hold, ..Policy::default() })
}

async fn until_held(world: &World, held: u32) {
    until(|| (world.activity.held_and_open().0 == held).then_some(())).await;
}

/// As many as are held at most.
async fn hold_256(world: &World, address: &str) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for _ in 0..256 {
        held.push(TcpStream::connect(address).await.unwrap());
    }
    until_held(world, 256).await;
    held
}

#[tokio::test]
async fn a_held_connection_is_carried_by_the_next_link() {
    let world = World::new();
    let (forward, address) = world.listening().await;
    let mut local = TcpStream::connect(&address).await.unwrap();
    local.write_all(b"early").await.unwrap();
    until_held(&world, 1).await;
    assert_eq!(forward.tally().snapshot().held, 1);
    let mut far = world.link().channel().await;
    assert_eq!(far.hears().await, Sent::Data("early".into()));
    assert_eq!(world.activity.held_and_open(), (0, 1));
    assert!(world.inputs.lock().unwrap().contains(&Input::Activity { held: 1, open: 0 }));
}

#[tokio::test]
async fn a_held_connection_that_half_closed_is_carried() {
    let world = World::new();
    let (_forward, address) = world.listening().await;
    let mut local = TcpStream::connect(&address).await.unwrap();
    local.write_all(b"all I say").await.unwrap();
    local.shutdown().await.unwrap();
    until_held(&world, 1).await;
    let mut far = world.link().channel().await;
    assert_eq!(far.hears_all().await, (b"all I say".to_vec(), Sent::Eof));
    far.data(b"heard");
    far.say(FarMessage::Eof);
    assert_eq!(read_out(&mut local).await, (b"heard".to_vec(), false));
}

#[tokio::test]
async fn a_held_connection_that_resets_is_dropped() {
    let world = World::new();
    let (_forward, address) = world.listening().await;
    let mut local = TcpStream::connect(&address).await.unwrap();
    local.write_all(b"changed my mind").await.unwrap();
    until_held(&world, 1).await;
    reset(local);
    until_held(&world, 0).await;
    assert_eq!(world.activity.held_and_open(), (0, 0));
}

#[tokio::test]
async fn a_hold_that_takes_too_long_ends_in_a_reset() {
    let world = holding(Duration::from_millis(50));
    let (_forward, address) = world.listening().await;
    let mut local = TcpStream::connect(&address).await.unwrap();
    assert_eq!(read_out(&mut local).await, (vec![], true));
    until_held(&world, 0).await;
}

#[tokio::test]
async fn a_hold_of_zero_and_a_closed_gate_reset_at_once() {
    let world = holding(Duration::ZERO);
    let (_forward, address) = world.listening().await;
    let mut local = TcpStream::connect(&address).await.unwrap();
    assert_eq!(read_out(&mut local).await, (vec![], true));
    world.policy.send_modify(|policy| policy.hold = PATIENCE * 10);
    let mut local = TcpStream::connect(&address).await.unwrap();
    until_held(&world, 1).await;
    world.gate.send_replace(GateNow::Reset);
    assert_eq!(read_out(&mut local).await, (vec![], true));
    let mut local = TcpStream::connect(&address).await.unwrap();
    assert_eq!(read_out(&mut local).await, (vec![], true));
}

#[tokio::test]
async fn a_link_that_went_before_the_channel_was_opened_gives_the_connection_back() {
    let world = World::new();
    let (_forward, address) = world.listening().await;
    drop(world.link());
    let mut local = TcpStream::connect(&address).await.unwrap();
    local.write_all(b"patient").await.unwrap();
    until_held(&world, 1).await;
    let mut far = world.link().channel().await;
    assert_eq!(far.hears().await, Sent::Data("patient".into()));
}

#[tokio::test]
async fn a_dead_link_that_is_still_in_the_gate_does_not_make_patience_endless() {
    let world = holding(Duration::from_millis(50));
    let (_forward, address) = world.listening().await;
    drop(world.link());
    let mut local = TcpStream::connect(&address).await.unwrap();
    assert_eq!(read_out(&mut local).await, (vec![], true));
}

#[tokio::test]
async fn the_257th_held_connection_is_reset_and_the_others_are_carried() {
    let world = World::new();
    let (_forward, address) = world.listening().await;
    let held = hold_256(&world, &address).await;
    let mut one_more = TcpStream::connect(&address).await.unwrap();
    assert_eq!(read_out(&mut one_more).await, (vec![], true));
    let mut link = world.link();
    for _ in 0..256 {
        let far = link.channel().await;
        far.data(b"x");
        far.say(FarMessage::Eof);
        far.say(FarMessage::Close);
    }
    for mut local in held {
        assert_eq!(read_out(&mut local).await, (b"x".to_vec(), false));
    }
}

#[tokio::test]
async fn connections_go_to_the_new_target_after_retarget() {
    let world = World::new();
    let (forward, address) = world.listening().await;
    let _held = TcpStream::connect(&address).await.unwrap();
    until_held(&world, 1).await;
    forward.retarget(Target::Socket("/run/there".into()));
    assert_eq!(world.link().channel().await.target, Target::Socket("/run/there".into()));
}

#[tokio::test]
async fn unbind_resets_who_is_held_and_who_is_carried_and_reports_once() {
    let world = World::new();
    let (forward, address) = world.listening().await;
    let (mut carried, mut far) = world.connected(&address).await;
    world.gate.send_replace(GateNow::Hold);
    let mut held = TcpStream::connect(&address).await.unwrap();
    until_held(&world, 1).await;
    forward.unbind();
    assert_eq!(read_out(&mut held).await, (vec![], true));
    assert_eq!(read_out(&mut carried).await, (vec![], true));
    assert_eq!(far.hears().await, Sent::Close);
    until(|| (world.activity.held_and_open() == (0, 0)).then_some(())).await;
    assert_eq!(
        until(|| {
            let inputs = world.inputs.lock().unwrap();
            let unbound = |i: &&Input| matches!(i, Input::Listener(_, ListenerReport::Unbound));
            Some(inputs.iter().filter(unbound).count()).filter(|count| *count > 0)
        })
        .await,
        1
    );
    assert!(TcpStream::connect(&address).await.is_err());
}

fn given_up(world: &World) -> Vec<ForwardReport> {
    let is_so = |r: &ForwardReport| matches!(r, ForwardReport::Expired(_) | ForwardReport::Overflow { .. });
    world.forward_reports().into_iter().filter(is_so).collect()
}

#[tokio::test]
async fn those_whose_hold_ended_are_told_together_and_seldom() {
    let world = holding(Duration::from_millis(50));
    let (_forward, address) = world.listening().await;
    for _ in 0..2 {
        let mut all = Vec::new();
        for _ in 0..3 {
            all.push(TcpStream::connect(&address).await.unwrap());
        }
        for local in &mut all {
            assert_eq!(read_out(local).await, (vec![], true));
        }
    }
    // Nobody says how many of them come together, but each is counted once, in two words at most.
    let told = until(|| {
        let told = given_up(&world);
        let count = |r: &ForwardReport| if let ForwardReport::Expired(count) = r { *count } else { 0 };
        (told.iter().map(count).sum::<u32>() == 6).then_some(told)
    })
    .await;
    assert!(told.len() <= 2, "{told:?}");
}

#[tokio::test]
async fn that_too_many_are_held_is_told_once_and_not_for_each() {
    let world = World::new();
    let (_forward, address) = world.listening().await;
    let _held = hold_256(&world, &address).await;
    for _ in 0..50 {
        let mut one_more = TcpStream::connect(&address).await.unwrap();
        assert_eq!(read_out(&mut one_more).await, (vec![], true));
    }
    let told = until(|| Some(given_up(&world)).filter(|told| !told.is_empty())).await;
    assert_eq!(told, [ForwardReport::Overflow { most: 256 }]);
}

#[tokio::test]
async fn of_what_a_held_client_sends_only_the_kernel_keeps_a_little() {
    let world = World::new();
    let (_forward, address) = world.listening().await;
    let mut local = TcpStream::connect(&address).await.unwrap();
    // The client's own socket takes some too; without a bound this would tell more of it than of us.
    socket2::SockRef::from(&local).set_send_buffer_size(64 << 10).unwrap();
    until_held(&world, 1).await;
    let chunk = vec![7; 64 << 10];
    let mut sent = 0;
    // Stopped for a second, it is stopped.
    while let Ok(written) = tokio::time::timeout(Duration::from_secs(1), local.write(&chunk)).await {
        sent += written.unwrap();
        assert!(sent < 16 << 20, "the client can send on and on while it is held");
    }
    assert!(sent > 0);
    // None of it is lost.
    let mut far = world.link().channel().await;
    let mut arrived = 0;
    while arrived < sent {
        let Sent::Data(bytes) = far.hears().await else { panic!("{arrived} of {sent} bytes came") };
        assert!(bytes.iter().all(|byte| *byte == 7));
        arrived += bytes.len();
    }
    assert_eq!(arrived, sent);
}
