//! Callers at a local port, one every 20 ms, each with one byte that it wants back: what an outage looks like
//! to those who use the tunnel. How long until somebody is answered, and how many were turned away?

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::wait;

/// Between two callers.
const EVERY: Duration = Duration::from_millis(20);
/// So many may wait at once; whoever comes then goes again. A tunnel holds a few more, so that a caller who is
/// cut off was not one too many.
const MOST: usize = 200;
/// How long one waits for the answer.
const PATIENCE: Duration = Duration::from_secs(120);

/// What became of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Answered,
    Refused,
    CutOff,
}

/// When each began, and when and how it ended, if it has.
type Calls = BTreeMap<Instant, Option<(Instant, Outcome)>>;

/// Callers that keep coming until this is finished or dropped.
#[derive(Debug)]
pub struct Callers {
    calls: Arc<Mutex<Calls>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What became of all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Called {
    /// Got their byte back.
    pub answered: usize,
    /// "Connection refused".
    pub refused: usize,
    /// Were let in and then cut off without an answer.
    pub cut_off: usize,
    /// Wait still.
    pub waiting: usize,
    /// The longest that one waited who was answered.
    pub longest: Duration,
}

impl Callers {
    /// Begins to call at 127.0.0.1:`port`, in the network where the calling thread is.
    ///
    /// # Errors
    /// No runtime could be had.
    pub fn start(port: u16) -> Result<Callers> {
        let (calls, stop) = (Arc::<Mutex<Calls>>::default(), Arc::<AtomicBool>::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (book, stopped) = (Arc::clone(&calls), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                while !stopped.load(Ordering::SeqCst) {
                    if waiting(&book) >= MOST {
                        tokio::time::sleep(EVERY).await;
                        continue;
                    }
                    let (book, began) = (Arc::clone(&book), Instant::now());
                    write_down(&book, began, None);
                    tokio::spawn(async move {
                        let outcome = call(port).await;
                        write_down(&book, began, Some((Instant::now(), outcome)));
                    });
                    tokio::time::sleep(EVERY).await;
                }
            });
        });
        Ok(Callers { calls, stop, thread: Some(thread) })
    }

    /// Waits until somebody is answered who called after `since`, when something broke; says how long after
    /// `since` that was.
    ///
    /// # Errors
    /// Nobody is, within `patience`.
    pub fn answered_after(&self, since: Instant, patience: Duration) -> Result<Duration> {
        self.first_answer(patience, |calls| {
            calls.range(since..).filter_map(answered).map(|at| at - since).min()
        })
    }

    /// Waits until somebody is answered after `since`, when something was mended, whenever the call was.
    ///
    /// # Errors
    /// As [`Callers::answered_after`].
    pub fn answered_again(&self, since: Instant, patience: Duration) -> Result<Duration> {
        self.first_answer(patience, |calls| {
            calls.iter().filter_map(answered).filter_map(|at| at.checked_duration_since(since)).min()
        })
    }

    fn first_answer(
        &self,
        patience: Duration,
        find: impl Fn(&Calls) -> Option<Duration>,
    ) -> Result<Duration> {
        wait::until_some("a caller is answered", patience, || {
            find(&self.calls.lock().unwrap_or_else(PoisonError::into_inner))
        })
        .with_context(|| format!("{:?}", self.so_far()))
    }

    /// What became of them so far.
    pub fn so_far(&self) -> Called {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let mut called = Called::default();
        for (began, end) in calls.iter() {
            match end {
                None => called.waiting += 1,
                Some((_, Outcome::Refused)) => called.refused += 1,
                Some((_, Outcome::CutOff)) => called.cut_off += 1,
                Some((at, Outcome::Answered)) => {
                    called.answered += 1;
                    called.longest = called.longest.max(*at - *began);
                }
            }
        }
        called
    }

    /// Waits until everybody who called before now has ended; says what became of all.
    ///
    /// # Errors
    /// Somebody waits still after `patience`.
    pub fn settle(&self, patience: Duration) -> Result<Called> {
        let now = Instant::now();
        wait::until("everybody who called was answered, or turned away", patience, || {
            let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
            calls.range(..now).all(|(_, end)| end.is_some())
        })
        .with_context(|| format!("{:?}", self.so_far()))?;
        Ok(self.so_far())
    }
}

impl Drop for Callers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn write_down(book: &Mutex<Calls>, began: Instant, end: Option<(Instant, Outcome)>) {
    book.lock().unwrap_or_else(PoisonError::into_inner).insert(began, end);
}

fn waiting(book: &Mutex<Calls>) -> usize {
    let calls = book.lock().unwrap_or_else(PoisonError::into_inner);
    calls.values().filter(|end| end.is_none()).count()
}

/// When a call was answered, if it was.
fn answered((_, end): (&Instant, &Option<(Instant, Outcome)>)) -> Option<Instant> {
    end.filter(|(_, outcome)| *outcome == Outcome::Answered).map(|(at, _)| at)
}

async fn call(port: u16) -> Outcome {
    let called = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.write_all(b"?").await?;
        stream.read_exact(&mut [0]).await?;
        io::Result::Ok(())
    };
    match timeout(PATIENCE, called).await {
        Ok(Ok(())) => Outcome::Answered,
        Ok(Err(e)) if e.kind() == ErrorKind::ConnectionRefused => Outcome::Refused,
        Ok(Err(_)) | Err(_) => Outcome::CutOff,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Server, net};

    #[test]
    fn each_fate_is_counted_as_what_it_was() {
        let echo = Server::echo().unwrap();
        let callers = Callers::start(echo.port()).unwrap();
        callers.answered_after(Instant::now(), wait::SOON).unwrap();
        let called = callers.settle(wait::SOON).unwrap();
        assert!(called.answered > 0 && called.refused + called.cut_off == 0, "{called:?}");

        let rude = Server::start(|_dropped| Ok(())).unwrap();
        let callers = Callers::start(rude.port()).unwrap();
        wait::until("some were cut off", wait::SOON, || callers.so_far().cut_off > 3).unwrap();
        assert_eq!(callers.so_far().answered, 0);

        let callers = Callers::start(net::free_port().unwrap()).unwrap();
        wait::until("some were refused", wait::SOON, || callers.so_far().refused > 3).unwrap();
        assert!(callers.answered_after(Instant::now(), Duration::from_millis(100)).is_err());
    }
}
