//! What a carried connection's two ends see of each other.

use super::world::*;
use nbtunnel_core::{Failure, FailureKind, ForwardReport, Target};
use nbtunneld::forward::{FarMessage, GateNow};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn bytes_go_both_ways_and_are_counted() {
    let world = World::new();
    let (forward, address) = world.listening().await;
    let (mut local, mut far) = world.connected(&address).await;
    assert_eq!(far.target, Target::Tcp("far".into(), 7000));
    assert_eq!(far.origin.0, "127.0.0.1");
    assert_eq!(far.origin.1, local.local_addr().unwrap().port());
    local.write_all(b"ping").await.unwrap();
    assert_eq!(far.hears().await, Sent::Data("ping".into()));
    far.data(b"pong!");
    let mut answer = [0; 5];
    soon(local.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"pong!");
    let counts = until(|| Some(forward.tally().snapshot()).filter(|c| c.bytes_in == 5)).await;
    assert_eq!((counts.open, counts.held, counts.total, counts.bytes_out), (1, 0, 1, 4));
    drop(local);
    far.say(FarMessage::Eof);
    far.say(FarMessage::Close);
    until(|| (forward.tally().snapshot().open == 0).then_some(())).await;
}

#[tokio::test]
async fn the_local_end_leaves_the_other_direction_open() {
    let world = World::new();
    let (_forward, address) = world.listening().await;
    let (mut local, mut far) = world.connected(&address).await;
    local.write_all(b"question").await.unwrap();
    local.shutdown().await.unwrap();
    assert_eq!(far.hears_all().await, (b"question".to_vec(), Sent::Eof));
    far.data(b"late answer");
    far.say(FarMessage::Eof);
    assert_eq!(read_out(&mut local).await, (b"late answer".to_vec(), false));
    // Both directions ended: ours is the second close.
    far.say(FarMessage::Close);
    assert_eq!(far.hears().await, Sent::Close);
    far.until_let_go().await;
}

#[tokio::test]
async fn the_far_end_leaves_the_other_direction_open() {
    let world = World::new();
    let (_forward, address) = world.listening().await;
    let (mut local, mut far) = world.connected(&address).await;
    far.data(b"greeting");
    far.say(FarMessage::Eof);
    assert_eq!(read_out(&mut local).await, (b"greeting".to_vec(), false));
    local.write_all(b"still here").await.unwrap();
    assert_eq!(far.hears().await, Sent::Data("still here".into()));
    local.shutdown().await.unwrap();
    assert_eq!(far.hears().await, Sent::Eof);
    far.say(FarMessage::Close);
    assert_eq!(far.hears().await, Sent::Close);
    far.until_let_go().await;
}

#[tokio::test]
async fn a_stream_that_was_cut_off_ends_in_a_reset() {
    let world = World::new();
    let (_forward, address) = world.listening().await;
    for how in [FarMessage::Close, FarMessage::Gone] {
        let (mut local, mut far) = world.connected(&address).await;
        far.data(b"half of");
        let mut begin = [0; 7];
        soon(local.read_exact(&mut begin)).await.unwrap();
        far.say(how.clone());
        assert_eq!(read_out(&mut local).await, (vec![], true), "{how:?}");
        assert_eq!(far.hears().await, Sent::Close);
        far.until_let_go().await;
    }
}

#[tokio::test]
async fn what_is_whole_arrives_whole_even_if_the_session_goes() {
    let world = World::new();
    let (_forward, address) = world.listening().await;
    let whole = vec![7; 8 << 20];
    for how in [FarMessage::Close, FarMessage::Gone] {
        let (mut local, mut far) = world.connected(&address).await;
        whole.chunks(32 << 10).for_each(|part| far.data(part));
        far.say(FarMessage::Eof);
        far.say(how.clone());
        let (bytes, reset) = read_out(&mut local).await;
        assert!(bytes == whole && !reset, "{how:?}: {} bytes, reset {reset}", bytes.len());
        assert_eq!(far.hears().await, Sent::Close);
        far.until_let_go().await;
    }
}

#[tokio::test]
async fn a_local_reset_closes_the_channel() {
    let world = World::new();
    let (forward, address) = world.listening().await;
    let (local, mut far) = world.connected(&address).await;
    reset(local);
    assert_eq!(far.hears().await, Sent::Close);
    // It may still be sending: that is read away until its close.
    far.data(b"too late");
    far.say(FarMessage::Close);
    far.until_let_go().await;
    until(|| (forward.tally().snapshot().open == 0).then_some(())).await;
}

#[tokio::test]
async fn a_local_reset_is_seen_while_the_far_end_takes_nothing() {
    let world = World::new();
    let (forward, address) = world.listening().await;
    let (mut local, mut far) = world.connected(&address).await;
    // More than the far end takes (it reads nothing yet), less than blocks us here.
    local.write_all(&vec![1; 256 << 10]).await.unwrap();
    until(|| (far.sent.len() == 4).then_some(())).await;
    reset(local);
    until(|| (forward.tally().snapshot().open == 0).then_some(())).await;
    let (_, word) = far.hears_all().await;
    assert_eq!(word, Sent::Close);
    far.say(FarMessage::Close);
    far.until_let_go().await;
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_a_download_closes_the_channel() {
    let world = World::new();
    let (_forward, address) = world.listening().await;
    let (local, mut far) = world.connected(&address).await;
    far.data(b"begin");
    drop(local);
    // Its end comes first, or, if it left before reading, only the close.
    let word = loop {
        far.data(&[0; 1000]);
        match far.sent.try_recv() {
            Ok(Sent::Eof) => {}
            Ok(word) => break word,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    assert_eq!(word, Sent::Close);
    far.say(FarMessage::Close);
    far.until_let_go().await;
}

#[tokio::test]
async fn a_large_upload_and_a_large_download_at_once_arrive_intact() {
    let world = World::new();
    let (forward, address) = world.listening().await;
    let (mut local, mut far) = world.connected(&address).await;
    let bytes: Vec<u8> = (0..5_000_000u32).map(|i| (i ^ (i >> 8)) as u8).collect();
    let (mut read, mut write) = local.split();
    let sending = async {
        write.write_all(&bytes).await.unwrap();
        write.shutdown().await.unwrap();
    };
    bytes.chunks(32_000).for_each(|part| far.data(part));
    far.say(FarMessage::Eof);
    let (down, ((), up)) =
        tokio::join!(read_out(&mut read), async { tokio::join!(sending, far.hears_all()) });
    assert!(down == (bytes.clone(), false));
    assert!(up == (bytes, Sent::Eof));
    let counts = forward.tally().snapshot();
    assert_eq!((counts.bytes_in, counts.bytes_out), (5_000_000, 5_000_000));
}

#[tokio::test]
async fn only_changes_of_the_far_ends_word_are_told() {
    let world = World::new();
    let (_forward, address) = world.listening().await;
    let failure = Failure::new(FailureKind::ForwardingDenied, "no", "");
    for denials in 1..=2 {
        world.gate.send_replace(GateNow::Serve(Arc::new(Denier(failure.clone()))));
        for _ in 0..3 {
            let mut local = TcpStream::connect(&address).await.unwrap();
            assert_eq!(read_out(&mut local).await, (vec![], true));
        }
        until(|| (world.forward_reports().len() == 2 * denials - 1).then_some(())).await;
        for _ in 0..3 {
            let _ends = world.connected(&address).await;
        }
        until(|| (world.forward_reports().len() == 2 * denials).then_some(())).await;
    }
    let (denied, served) = (ForwardReport::Denied(failure), ForwardReport::Served);
    assert_eq!(world.forward_reports(), [denied.clone(), served.clone(), denied, served]);
}

#[tokio::test]
async fn a_panic_in_a_connection_is_a_reset_of_that_connection() {
    let world = World::new();
    let (_forward, address) = world.listening().await;
    world.gate.send_replace(GateNow::Serve(Arc::new(Panicker)));
    let mut local = TcpStream::connect(&address).await.unwrap();
    assert_eq!(read_out(&mut local).await, (vec![], true));
    let (_local, _far) = world.connected(&address).await;
    assert_eq!(world.activity.held_and_open(), (0, 1));
}

#[tokio::test]
async fn what_still_comes_is_read_away_while_the_close_waits_for_the_session() {
    let world = World::new();
    let (forward, address) = world.listening().await;
    let (mut local, mut far) = world.connected(&address).await;
    local.write_all(&vec![1; 256 << 10]).await.unwrap();
    until(|| (far.sent.len() == 4).then_some(())).await;
    reset(local);
    until(|| (forward.tally().snapshot().open == 0).then_some(())).await;
    // The close cannot be sent before somebody takes the four messages; the session waits for us first.
    (0..100).for_each(|_| far.data(b"more"));
    until(|| far.is_drained().then_some(())).await;
    assert_eq!(far.hears_all().await.1, Sent::Close);
    far.say(FarMessage::Close);
    far.until_let_go().await;
}
