//! A tick of the runtime. Its clock may stand still while the machine sleeps: then the tick comes up to its
//! whole time after the wake, and the system's own word is usually there before.

use std::time::Duration;

pub(super) struct Tick {
    every: Duration,
}

impl Tick {
    /// To be made within a runtime.
    pub(super) fn every(every: Duration) -> Tick {
        Tick { every }
    }

    /// Returns at the next tick.
    pub(super) async fn next(&mut self) {
        tokio::time::sleep(self.every).await;
    }
}
