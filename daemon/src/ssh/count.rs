//! How many of something there are right now, to wait for the first and for the last of them.

use std::sync::Arc;

use tokio::sync::watch;

/// A number that its parts keep: each [`One`] counts for as long as it lives.
#[derive(Clone, Default)]
pub(super) struct Count(Arc<watch::Sender<Counted>>);

#[derive(Default)]
struct Counted {
    number: u32,
    is_closed: bool,
}

/// Counts as one until it is dropped.
pub(super) struct One(Count);

impl Count {
    /// One more; `None` when it is closed.
    pub(super) fn one(&self) -> Option<One> {
        let mut is_in = false;
        self.0.send_if_modified(|counted| {
            is_in = !counted.is_closed;
            counted.number += u32::from(is_in);
            is_in
        });
        is_in.then(|| One(self.clone()))
    }

    /// Waits until there is one.
    pub(super) async fn some(&self) {
        // The sender is ours, so nobody can hang up.
        let _ = self.0.subscribe().wait_for(|counted| counted.number > 0).await;
    }

    /// Waits until there is none.
    pub(super) async fn none(&self) {
        let _ = self.0.subscribe().wait_for(|counted| counted.number == 0).await;
    }

    /// Waits until there is none, and lets none come after that.
    pub(super) async fn closed(&self) {
        loop {
            self.none().await;
            let close = |counted: &mut Counted| {
                counted.is_closed = counted.number == 0;
                counted.is_closed
            };
            if self.0.send_if_modified(close) {
                return;
            }
        }
    }
}

impl Drop for One {
    fn drop(&mut self) {
        self.0.0.send_modify(|counted| counted.number -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn is_ready(waits: impl Future) -> bool {
        pin!(waits).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn the_first_and_the_last_are_noticed_and_none_comes_after_the_close() {
        let count = Count::default();
        assert!(is_ready(count.none()) && !is_ready(count.some()));
        let (first, second) = (count.one(), count.one());
        assert!(!is_ready(count.none()) && is_ready(count.some()) && !is_ready(count.closed()));
        drop(first);
        assert!(!is_ready(count.closed()));
        assert!(count.one().is_some(), "it only waits to be closed");
        drop(second);
        assert!(is_ready(count.closed()) && is_ready(count.none()));
        assert!(count.one().is_none());
    }
}
