//! Passphrases that a person said and that a tunnel's file lets us keep (`remember`): in memory only, wiped when
//! their time is over, sleep included, and when the daemon ends.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nbtunnel_core::Moment;
use secrecy::SecretString;

use crate::wake::Clock;

/// At least so often it is looked whether somebody's time is over: timers stand still while the machine sleeps.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Clone)]
pub(super) struct Passphrases {
    kept: Arc<Mutex<HashMap<PathBuf, Kept>>>,
    now: fn() -> Moment,
}

struct Kept {
    said: SecretString,
    until: Moment,
}

impl Default for Passphrases {
    fn default() -> Self {
        Passphrases { kept: Arc::default(), now: || Clock.now() }
    }
}

impl fmt::Debug for Passphrases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Passphrases of {} keys", self.kept().len())
    }
}

impl Passphrases {
    fn kept(&self) -> MutexGuard<'_, HashMap<PathBuf, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what opened the key in `path` for `time`; not at all if that is nothing. Says whether it is kept.
    pub(super) fn keep(&self, path: &Path, said: &SecretString, time: Duration) -> bool {
        if time.is_zero() {
            return false;
        }
        let kept = Kept { said: said.clone(), until: (self.now)() + time };
        let is_first = {
            let mut all = self.kept();
            all.insert(path.to_owned(), kept);
            all.len() == 1
        };
        if is_first {
            tokio::spawn(self.clone().wipe_in_time());
        }
        true
    }

    /// What opens the key in `path`.
    pub(super) fn of(&self, path: &Path) -> Option<SecretString> {
        let now = (self.now)();
        self.kept().get(path).filter(|kept| now < kept.until).map(|kept| kept.said.clone())
    }

    /// Whether the key in `path` can be opened.
    pub(super) fn has(&self, path: &Path) -> bool {
        self.of(path).is_some()
    }

    /// What was said of `path` does not open it any more.
    pub(super) fn forget(&self, path: &Path) {
        self.kept().remove(path);
    }

    /// Wipes all of them.
    pub(super) fn forget_all(&self) {
        self.kept().clear();
    }

    async fn wipe_in_time(self) {
        while let Some(left) = self.wipe() {
            tokio::time::sleep(left.min(LOOK_EVERY)).await;
        }
    }

    /// Wipes those whose time is over; says how long the next one has.
    fn wipe(&self) -> Option<Duration> {
        let now = (self.now)();
        let mut kept = self.kept();
        kept.retain(|_, kept| now < kept.until);
        kept.values().map(|kept| kept.until.since(now)).min()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

    use secrecy::ExposeSecret;

    use super::*;

    static NOW: AtomicU64 = AtomicU64::new(0);

    fn later(seconds: u64) {
        NOW.fetch_add(seconds, SeqCst);
    }

    #[tokio::test]
    async fn what_was_said_is_kept_for_its_time_sleep_included_and_then_wiped() {
        let now = || Moment::from_origin(Duration::from_secs(NOW.load(SeqCst)));
        let all = Passphrases { kept: Arc::default(), now };
        let (key, said) = (Path::new("/k"), SecretString::from("open sesame"));
        assert!(!all.keep(key, &said, Duration::ZERO) && !all.has(key));
        assert!(all.keep(key, &said, Duration::from_secs(3600)));
        later(3599);
        assert_eq!(all.of(key).unwrap().expose_secret(), "open sesame");
        assert!(!format!("{all:?}").contains("sesame"));
        assert_eq!(all.wipe(), Some(Duration::from_secs(1)));
        // The machine slept: timers have seen nothing of it.
        later(2);
        assert!(!all.has(key));
        assert_eq!((all.wipe(), all.kept().len()), (None, 0), "it is still in memory");
        all.keep(key, &said, Duration::from_secs(3600));
        all.forget(Path::new("/other"));
        assert!(all.has(key));
        all.forget_all();
        assert!(!all.has(key));
    }
}
