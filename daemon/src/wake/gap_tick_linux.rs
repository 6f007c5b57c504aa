//! A tick on the clock that counts sleep (`timerfd_create(2)`, CLOCK_BOOTTIME): one that came due while the
//! machine slept is there when it wakes, where a timer of the runtime would wait for the rest of its time.

#![allow(unsafe_code)]

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;

pub(super) struct Tick {
    every: Duration,
    /// `None` where the system gives no such timer.
    timer: Option<AsyncFd<OwnedFd>>,
}

impl Tick {
    /// To be made within a runtime.
    pub(super) fn every(every: Duration) -> Tick {
        let timer = timer(every)
            .inspect_err(|why| {
                tracing::debug!("no timer counts sleep, so a wake is seen a little later: {why}")
            })
            .ok();
        Tick { every, timer }
    }

    /// Returns at the next tick; those that were missed are one.
    pub(super) async fn next(&mut self) {
        match &self.timer {
            None => tokio::time::sleep(self.every).await,
            Some(timer) => {
                if let Err(why) = ticked(timer).await {
                    tracing::debug!("the timer that counts sleep failed: {why}");
                    self.timer = None;
                }
            }
        }
    }
}

fn timer(every: Duration) -> std::io::Result<AsyncFd<OwnedFd>> {
    let fd = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
    let every = Timespec::try_from(every).map_err(std::io::Error::other)?;
    timerfd_settime(&fd, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: every, it_value: every })?;
    // SAFETY: an `OwnedFd` stays open, and the same, for as long as it lives.
    Ok(unsafe { AsyncFd::register(fd) }?)
}

async fn ticked(timer: &AsyncFd<OwnedFd>) -> std::io::Result<()> {
    loop {
        let mut ready = timer.readable().await?;
        // How many ticks there were.
        let mut count = [0; 8];
        if let Ok(read) = ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut count)?)) {
            return read.map(drop);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn it_ticks_again_and_again_and_not_at_once() {
        let start = Instant::now();
        let mut tick = Tick::every(Duration::from_millis(50));
        assert!(tick.timer.is_some(), "this system has no such timer");
        for _ in 0..4 {
            tick.next().await;
        }
        assert!(start.elapsed() >= Duration::from_millis(190), "{:?}", start.elapsed());
        // What was missed is one tick.
        std::thread::sleep(Duration::from_millis(200));
        let start = Instant::now();
        tick.next().await;
        tick.next().await;
        tick.next().await;
        assert!(start.elapsed() >= Duration::from_millis(40), "{:?}", start.elapsed());
        assert!(tick.timer.is_some());
    }
}
