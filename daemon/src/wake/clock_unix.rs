//! `CLOCK_BOOTTIME` on Linux, `CLOCK_MONOTONIC_RAW` on macOS: both count the time that the machine slept.
//! Beside each the clock that goes as fast and does not.
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

#[cfg(target_vendor = "apple")]
const STANDS_STILL: libc::clockid_t = libc::CLOCK_UPTIME_RAW;
#[cfg(not(target_vendor = "apple"))]
const STANDS_STILL: libc::clockid_t = libc::CLOCK_MONOTONIC;

pub(super) fn awake() -> Duration {
    read(STANDS_STILL).unwrap_or_default()
}

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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::Command;

    use super::*;

    /// Two hours are added to CLOCK_BOOTTIME and to no other clock.
    const SHIM: &str = r#"
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <time.h>
        int clock_gettime(clockid_t id, struct timespec *t) {
            int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
            int code = real(id, t);
            if (code == 0 && id == CLOCK_BOOTTIME) t->tv_sec += 7200;
            return code;
        }
    "#;

    #[test]
    fn a_preloaded_library_can_play_a_sleep() {
        if std::env::var_os("NBTUNNEL_TEST_SHIM").is_some() {
            let awake = read(libc::CLOCK_MONOTONIC).unwrap();
            assert!(since_boot() - awake >= Duration::from_secs(7200));
            return;
        }
        let temp = tempfile::tempdir().unwrap();
        let (source, shim) = (temp.path().join("shim.c"), temp.path().join("shim.so"));
        std::fs::write(&source, SHIM).unwrap();
        let mut compiler = Command::new("cc");
        let compiled = compiler.args(["-shared", "-fPIC", "-o"]).arg(&shim).arg(&source).arg("-ldl").status();
        assert!(compiled.unwrap().success());
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "wake::clock::system::tests::a_preloaded_library_can_play_a_sleep"])
            .env("NBTUNNEL_TEST_SHIM", "1")
            .env("LD_PRELOAD", &shim)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{output:?}");
    }
}
