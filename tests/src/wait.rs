//! Waiting for conditions. The only place of the harness that sleeps, so that no test sleeps for a guess.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Long enough for anything that should happen soon, on a machine that is busy with something else.
pub const SOON: Duration = Duration::from_secs(20);

/// Between two looks at a condition: short at first, since most come true at once, then this at most.
const LOOK_EVERY: Duration = Duration::from_millis(16);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Makes every wait of this process fail from now on: somebody pressed Ctrl-C.
pub fn interrupt() {
    INTERRUPTED.store(true, Ordering::SeqCst);
}

/// Whether [`interrupt`] was called.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Waits until `holds` says so.
///
/// # Errors
/// `what` did not come true within `patience`, or somebody pressed Ctrl-C.
pub fn until(what: &str, patience: Duration, mut holds: impl FnMut() -> bool) -> Result<()> {
    until_some(what, patience, || holds().then_some(()))
}

/// Waits until `find` finds something.
///
/// # Errors
/// As [`until`].
pub fn until_some<T>(what: &str, patience: Duration, mut find: impl FnMut() -> Option<T>) -> Result<T> {
    let began = Instant::now();
    let mut nap = Duration::from_millis(1);
    loop {
        if let Some(found) = find() {
            return Ok(found);
        }
        if interrupted() {
            bail!("interrupted while waiting: {what}");
        }
        if began.elapsed() > patience {
            bail!("waited {:.1} s in vain: {what}", patience.as_secs_f64());
        }
        std::thread::sleep(nap);
        nap = LOOK_EVERY.min(nap * 2);
    }
}

/// Watches `holds` for the whole of `span`: for things that must *not* happen.
///
/// # Errors
/// `what` stopped being true.
pub fn throughout(what: &str, span: Duration, mut holds: impl FnMut() -> bool) -> Result<()> {
    let began = Instant::now();
    while began.elapsed() < span {
        if !holds() {
            bail!("no longer true after {:.1} s: {what}", began.elapsed().as_secs_f64());
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// Keeps a load at its rate: sleeps until `due`.
pub fn pace(due: Instant) {
    std::thread::sleep(due.saturating_duration_since(Instant::now()));
}
