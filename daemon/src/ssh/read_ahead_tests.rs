use std::io::{ErrorKind, Write};
use std::net::Shutdown;
use std::pin::pin;

use proptest::prelude::*;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::*;

/// Longer than anything here takes, even on a crowded machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Enough, in reads of [`MUCH`], to begin bulk.
const ENOUGH: usize = 2 << 20;

async fn pair() -> (TcpStream, ReadAhead) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (sender, accepted) =
        tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    let sender = sender.unwrap();
    sender.set_nodelay(true).unwrap();
    (sender, ReadAhead::new(accepted.unwrap().0))
}

fn bytes(from: usize, count: usize) -> Vec<u8> {
    (from..from + count).map(|i| (i ^ (i >> 8) ^ (i >> 16)) as u8).collect()
}

/// Sends `count` bytes of the pattern from `from` on while `reader` takes exactly these.
async fn carry(sender: &mut TcpStream, reader: &mut ReadAhead, from: usize, count: usize) {
    let sent = bytes(from, count);
    let mut got = vec![0; count];
    let both = async { tokio::join!(sender.write_all(&sent), reader.read_exact(&mut got)) };
    let (wrote, read) = timeout(PATIENCE, both).await.expect("it hangs");
    wrote.unwrap();
    read.unwrap();
    assert!(got == sent, "a byte is wrong");
}

/// Brings it into bulk, and says how many bytes that took.
async fn into_bulk(sender: &mut TcpStream, reader: &mut ReadAhead) -> usize {
    let mut sent = 0;
    while !in_bulk(reader) {
        carry(sender, reader, sent, ENOUGH).await;
        sent += ENOUGH;
        assert!(sent < 1 << 30, "bulk never begins");
    }
    sent
}

fn in_bulk(reader: &ReadAhead) -> bool {
    matches!(reader.pace, Pace::Bulk { .. })
}

#[tokio::test]
async fn a_stream_that_stalls_anywhere_around_the_mark_never_hangs() {
    let mark = HIGHEST;
    let sizes =
        [1, 2, MUCH - 1, MUCH, MUCH + 1, mark - 1, mark, mark + 1, BULK - 1, BULK, BULK + 1, 2 * BULK];
    let (mut sender, mut reader) = pair().await;
    let mut at = 0;
    for size in sizes {
        // A fresh pattern each time, since bulk may have ended in the stall before.
        at += into_bulk(&mut sender, &mut reader).await;
        // What comes is all that comes: read_exact returns only if every one of these bytes is handed on.
        carry(&mut sender, &mut reader, at, size).await;
    }
}

#[tokio::test]
async fn the_end_and_a_reset_come_through_a_mark_and_after_the_bytes() {
    for resets in [false, true] {
        let (mut sender, mut reader) = pair().await;
        into_bulk(&mut sender, &mut reader).await;
        sender.write_all(b"the last").await.unwrap();
        let mut last = [0; 8];
        if resets {
            timeout(PATIENCE, reader.read_exact(&mut last)).await.expect("it hangs").unwrap();
            socket2::SockRef::from(&sender).set_linger(Some(Duration::ZERO)).unwrap();
        } else {
            socket2::SockRef::from(&sender).shutdown(Shutdown::Write).unwrap();
            timeout(PATIENCE, reader.read_exact(&mut last)).await.expect("it hangs").unwrap();
        }
        assert_eq!(&last, b"the last");
        drop(sender);
        let end = timeout(PATIENCE, reader.read(&mut last)).await.expect("it hangs");
        match end {
            Ok(count) => assert!(count == 0 && !resets),
            Err(error) => assert!(error.kind() == ErrorKind::ConnectionReset && resets, "{error}"),
        }
    }
}

#[tokio::test]
async fn little_that_comes_while_we_are_polled_for_other_reasons_is_not_put_off() {
    let (mut sender, mut reader) = pair().await;
    into_bulk(&mut sender, &mut reader).await;
    let mut byte = [0];
    let mut reading = pin!(reader.read(&mut byte));
    let mut polls = 0;
    let read = timeout(PATIENCE, async {
        loop {
            tokio::select! {
                biased;
                read = &mut reading => return read.unwrap(),
                // Oftener than the timer, as the writes of a busy session do.
                () = tokio::task::yield_now() => {
                    polls += 1;
                    if polls == 10 {
                        sender.write_all(b"x").await.unwrap();
                    }
                }
            }
        }
    });
    assert_eq!(read.await.expect("it hangs"), 1);
}

#[tokio::test]
async fn an_idle_stream_keeps_no_large_buffer_and_sets_no_timer() {
    let (mut sender, mut reader) = pair().await;
    into_bulk(&mut sender, &mut reader).await;
    let mut byte = [0];
    let reading = async {
        let read = timeout(Duration::from_millis(50), reader.read(&mut byte)).await;
        assert!(read.is_err(), "nothing was sent");
    };
    // A crowded machine may come back to us so late that both timers are due: then once more.
    timeout(PATIENCE, reading).await.unwrap();
    while in_bulk(&reader) {
        let _ = timeout(Duration::from_millis(50), reader.read(&mut byte)).await;
    }
    assert!(reader.buffer.capacity() <= SMALL, "{} bytes are kept", reader.buffer.capacity());
    // Every byte wakes it again.
    carry(&mut sender, &mut reader, 0, 1).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn however_the_bytes_come_and_are_taken_they_are_the_same(
        sent in prop::collection::vec((1_usize..400_000, 0_u64..3), 1..40),
        taken in prop::collection::vec(1_usize..70_000, 1..20),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (sender, mut reader) = pair().await;
            let total = sent.iter().map(|(count, _)| count).sum::<usize>();
            let sender = sender.into_std().unwrap();
            sender.set_nonblocking(false).unwrap();
            let sending = std::thread::spawn(move || {
                let (mut sender, mut at) = (sender, 0);
                for (count, pause) in sent {
                    sender.write_all(&bytes(at, count)).unwrap();
                    at += count;
                    std::thread::sleep(Duration::from_millis(pause));
                }
            });
            let (mut got, mut sizes) = (Vec::with_capacity(total), taken.iter().cycle());
            loop {
                let mut piece = vec![0; *sizes.next().unwrap()];
                match timeout(PATIENCE, reader.read(&mut piece)).await.expect("it hangs").unwrap() {
                    0 => break,
                    count => got.extend_from_slice(&piece[..count]),
                }
            }
            sending.join().unwrap();
            assert!(got == bytes(0, total), "{} of {total} bytes", got.len());
        });
    }
}
