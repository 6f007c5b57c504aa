//! Whose turn it is to let an agent sign. An agent may ask its user each time: tunnels ask one after the other, and
//! who waited while the user said no to the same key does not ask again.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::MutexGuard;

/// The queues, one an agent.
#[derive(Default)]
pub(in crate::ssh) struct Turns(Mutex<HashMap<PathBuf, Arc<Turn>>>);

/// The queue of one agent. First come, first served; who stops waiting leaves it.
#[derive(Default)]
pub(in crate::ssh) struct Turn {
    queue: tokio::sync::Mutex<()>,
    /// How often it was not signed with a key.
    refusals: Mutex<HashMap<String, u64>>,
}

/// The right to ask the agent; it ends with this.
pub(in crate::ssh) struct Mine<'a>(#[expect(dead_code, reason = "held, not read")] MutexGuard<'a, ()>);

impl Turns {
    pub(super) fn at(&self, place: &Path) -> Arc<Turn> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(place.to_owned()).or_default())
    }
}

impl Turn {
    /// Waits for its turn with the key `fingerprint`. `None`: the agent refused it to somebody meanwhile.
    pub(in crate::ssh) async fn come(&self, fingerprint: &str) -> Option<Mine<'_>> {
        let before = self.refusals(fingerprint);
        let mine = self.queue.lock().await;
        (self.refusals(fingerprint) == before).then_some(Mine(mine))
    }

    /// The agent did not sign with the key `fingerprint`.
    pub(in crate::ssh) fn refused(&self, fingerprint: &str) {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        *refusals.entry(fingerprint.to_owned()).or_default() += 1;
    }

    fn refusals(&self, fingerprint: &str) -> u64 {
        let refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        refusals.get(fingerprint).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn one_asks_at_a_time_and_a_refusal_counts_for_all_who_waited_with_that_key() {
        let turns = Turns::default();
        let turn = turns.at(Path::new("/agent"));
        let mine = turn.come("one").await.unwrap();
        let waiting: Vec<_> = ["one", "one", "two"]
            .map(|key| {
                let turn = turns.at(Path::new("/agent"));
                tokio::spawn(async move { turn.come(key).await.is_some() })
            })
            .into();
        assert!(turns.at(Path::new("/other")).come("one").await.is_some(), "another agent is another queue");
        let mut soon = Box::pin(turn.come("two"));
        assert!(timeout(Duration::from_millis(50), &mut soon).await.is_err());
        // Who stops waiting is in nobody's way.
        drop(soon);
        turn.refused("one");
        drop(mine);
        let mut came = Vec::new();
        for waiting in waiting {
            came.push(waiting.await.unwrap());
        }
        assert_eq!(came, [false, false, true]);
        assert!(turn.come("one").await.is_some(), "who comes later asks anew");
    }
}
