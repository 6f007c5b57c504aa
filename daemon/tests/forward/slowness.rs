//! Local programs that do not read.

use super::world::*;
use nbtunnel_core::{ForwardReport, Policy};
use nbtunneld::forward::{Budgets, FarMessage};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PACKET: usize = 32 << 10;

fn packet(number: usize) -> Vec<u8> {
    (0..PACKET).map(|i| (i / 251 + i + number) as u8 ^ (number >> 8) as u8).collect()
}

/// Pushes `count` packets to a client that does not read, and waits until the pump has taken all.
async fn stall(far: &FarEnd, count: usize, taken: impl Fn() -> bool) {
    (0..count).for_each(|number| far.data(&packet(number)));
    until(|| taken().then_some(())).await;
}

async fn check(local: &mut TcpStream, count: usize) {
    let mut got = vec![0; PACKET];
    for number in 0..count {
        soon(local.read_exact(&mut got)).await.unwrap();
        assert!(got == packet(number), "packet {number}");
    }
}

async fn one_stalled_reader(budgets: Budgets, policy: Policy) {
    const COUNT: usize = (48 << 20) / PACKET;
    let world = World::with(budgets, policy);
    let (_forward, address) = world.listening().await;
    let mut link = world.link();
    let mut slow = TcpStream::connect(&address).await.unwrap();
    let slow_far = link.channel().await;
    let mut quick = TcpStream::connect(&address).await.unwrap();
    let mut quick_far = link.channel().await;
    stall(&slow_far, COUNT, || slow_far.is_drained()).await;
    for round in 0..100u8 {
        quick.write_all(&[round]).await.unwrap();
        assert_eq!(quick_far.hears().await, Sent::Data(vec![round].into()));
        quick_far.data(&[round]);
        assert_eq!(soon(quick.read_u8()).await.unwrap(), round);
    }
    slow_far.say(FarMessage::Eof);
    slow_far.say(FarMessage::Close);
    check(&mut slow, COUNT).await;
    assert_eq!(read_out(&mut slow).await, (vec![], false));
    assert!(!world.forward_reports().iter().any(|r| matches!(r, ForwardReport::SlowReader(_))));
}

#[tokio::test]
async fn what_waits_in_memory_for_one_stops_no_other_and_arrives_intact() {
    one_stalled_reader(Budgets::default(), Policy::default()).await;
}

#[tokio::test]
async fn what_waits_on_disk_for_one_stops_no_other_and_arrives_intact() {
    one_stalled_reader(Budgets::default(), Policy { buffer: 1 << 20, ..Policy::default() }).await;
    one_stalled_reader(Budgets { memory: 0, spool: 1 << 30 }, Policy::default()).await;
}

#[tokio::test]
async fn when_disk_is_full_too_the_reader_waits_and_the_local_program_is_named() {
    const COUNT: usize = (48 << 20) / PACKET;
    let world = World::with(
        Budgets { memory: 1 << 20, spool: 8 << 20 },
        Policy { buffer: 4 << 20, ..Policy::default() },
    );
    let (_forward, address) = world.listening().await;
    let (mut local, far) = world.connected(&address).await;
    let told =
        || world.forward_reports().into_iter().filter(|r| *r != ForwardReport::Served).collect::<Vec<_>>();
    stall(&far, COUNT, || !told().is_empty()).await;
    assert!(!far.is_drained());
    until(|| far.is_unread().then_some(())).await;
    let Some(ForwardReport::SlowReader(Some(failure))) = told().pop() else { panic!("{:?}", told()) };
    assert_eq!(failure.kind.code(), "slow_reader");
    if cfg!(target_os = "linux") {
        let me = format!("(pid {})", std::process::id());
        assert!(failure.message.contains(&me), "{failure}");
    }
    far.say(FarMessage::Eof);
    far.say(FarMessage::Close);
    check(&mut local, COUNT).await;
    assert_eq!(read_out(&mut local).await, (vec![], false));
    until(|| (told().last() == Some(&ForwardReport::SlowReader(None))).then_some(())).await;
    assert_eq!(told().len() % 2, 0);
    assert!(!far.is_unread());
}

#[tokio::test]
async fn when_the_session_goes_a_stalled_reader_is_reset_whatever_waits_for_it() {
    let world = World::with(Budgets::default(), Policy { buffer: 1 << 20, ..Policy::default() });
    let (_forward, address) = world.listening().await;
    let (mut local, far) = world.connected(&address).await;
    stall(&far, 400, || far.is_drained()).await;
    drop(far);
    let (bytes, reset) = read_out(&mut local).await;
    assert!(reset && bytes.len() < 400 * PACKET, "{} bytes", bytes.len());
}

#[tokio::test]
async fn when_the_session_goes_a_reader_that_it_was_left_unread_for_is_let_go_too() {
    const COUNT: usize = (16 << 20) / PACKET;
    for whole in [false, true] {
        let world = World::with(Budgets { memory: 0, spool: 0 }, Policy::default());
        let (_forward, address) = world.listening().await;
        let (mut local, far) = world.connected(&address).await;
        stall(&far, COUNT, || far.is_unread()).await;
        let slow = || world.forward_reports().pop();
        until(|| matches!(slow(), Some(ForwardReport::SlowReader(Some(_)))).then_some(())).await;
        if whole {
            far.say(FarMessage::Eof);
        }
        drop(far);
        if whole {
            // All of it is here: only the reader is missing.
            check(&mut local, COUNT).await;
            assert_eq!(read_out(&mut local).await, (vec![], false));
        }
        // Without a byte being read, where it was cut off.
        until(|| (slow() == Some(ForwardReport::SlowReader(None))).then_some(())).await;
        assert!(whole || read_out(&mut local).await.1, "it looks complete");
    }
}
