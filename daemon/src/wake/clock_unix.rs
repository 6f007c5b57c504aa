//! `CLOCK_BOOTTIME` on Linux, `CLOCK_MONOTONIC_RAW` on macOS: both count the time that the machine slept.
//!
//! Read through libc and not by the raw system call, so that a preloaded library can play a sleep.

#![allow(unsafe_code)]

use std::time::Duration;

#[cfg(any(target_os = "linux", target_os = "android"))]
const COUNTS_SLEEP: libc::clockid_t = libc::CLOCK_BOOTTIME;
#[cfg(target_vendor = "apple")]
const COUNTS_SLEEP: libc::clockid_t = libc::CLOCK_MONOTONIC_RAW;
#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
const COUNTS_SLEEP: libc::clockid_t = libc::CLOCK_MONOTONIC;

pub(super) fn since_boot() -> Duration {
    read(COUNTS_SLEEP).or_else(|| read(libc::CLOCK_MONOTONIC)).unwrap_or_default()
}

fn read(clock: libc::clockid_t) -> Option<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec to write to, and outlives the call.
    let result = unsafe { libc::clock_gettime(clock, &mut time) };
    let (seconds, nanos) = (u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?);
    (result == 0).then(|| Duration::new(seconds, nanos))
}
