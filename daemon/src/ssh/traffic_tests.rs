use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use super::*;

/// A wire whose time a test sets, in milliseconds.
fn wire() -> (Traffic, impl Fn(u64)) {
    let clock = Arc::new(AtomicU64::new(0));
    let hand = Arc::clone(&clock);
    let stopwatch = Arc::new(move || Duration::from_millis(clock.load(SeqCst)));
    (Traffic::new(stopwatch), move |now| hand.store(now, SeqCst))
}

fn is_waiting(waits: impl Future) -> bool {
    pin!(waits).poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

#[tokio::test]
async fn silence_after_something_sent_is_told_once_until_something_comes() {
    let (wire, set) = wire();
    for start in [1_000, 20_000] {
        set(start);
        wire.went(1);
        set(start + 2_000);
        wire.went(1);
        assert!(!wire.is_silent() && is_waiting(wire.is_silent_again()));
        set(start + 3_000);
        assert!(wire.is_silent_again().await, "counted from the first byte");
        wire.went(1);
        set(start + 9_000);
        assert!(wire.is_silent() && is_waiting(wire.is_silent_again()), "the same silence");
        wire.came(1);
        assert!(!wire.is_silent() && is_waiting(wire.is_silent_again()));
    }
    assert_eq!((wire.read(), wire.both()), (2, 8));
}

#[tokio::test]
async fn what_is_answered_is_no_silence_and_then_nobody_watches() {
    let (wire, set) = wire();
    wire.came(5);
    set(100_000);
    assert!(is_waiting(wire.is_silent_again()), "nothing was sent");
    wire.went(1);
    wire.came(1);
    assert!(!wire.is_silent_again().await);
    set(200_000);
    assert!(is_waiting(wire.is_silent_again()) && !wire.is_watched.load(SeqCst));
    // Answered in time, and something else sent right after: its time begins anew.
    wire.went(1);
    set(202_000);
    wire.came(1);
    wire.went(1);
    set(203_000);
    assert!(!wire.is_silent() && is_waiting(wire.is_silent_again()));
    set(205_000);
    assert!(wire.is_silent_again().await);
}

#[tokio::test]
async fn a_question_needs_no_watcher_but_what_is_sent_beside_it_does() {
    let (wire, set) = wire();
    let question = wire.ask();
    wire.went(1);
    set(60_000);
    assert!(is_waiting(wire.is_silent_again()));
    wire.came(1);
    drop(question);
    assert!(is_waiting(wire.is_silent_again()), "it was answered");
    let question = wire.ask();
    wire.went(1);
    wire.came(1);
    wire.went(1);
    drop(question);
    set(63_000);
    assert!(wire.is_silent_again().await);
}
