//! `QueryInterruptTime`, which counts the time that the machine slept, and `QueryUnbiasedInterruptTime`, which
//! does not. Both count in steps of 100 ns.

#![allow(unsafe_code)]

use std::time::Duration;

use windows_sys::Win32::System::WindowsProgramming::{QueryInterruptTime, QueryUnbiasedInterruptTime};

pub(super) fn since_boot() -> Duration {
    let mut steps = 0u64;
    // SAFETY: `steps` is a valid place to write to, and outlives the call, which cannot fail.
    unsafe { QueryInterruptTime(&mut steps) };
    Duration::from_nanos(steps.saturating_mul(100))
}

pub(super) fn awake() -> Duration {
    let mut steps = 0u64;
    // SAFETY: `steps` is a valid place to write to, and outlives the call, which fails only without one.
    unsafe { QueryUnbiasedInterruptTime(&mut steps) };
    Duration::from_nanos(steps.saturating_mul(100))
}
