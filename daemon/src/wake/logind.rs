//! What logind says of sleep (`org.freedesktop.login1(5)`, PrepareForSleep): earlier than the gap between the
//! clocks, and in words. Optional: containers and WSL have no logind, and some systems no bus.

use std::time::Duration;

use futures_util::StreamExt;
use nbtunnel_core::Nudge;
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};
use zbus::proxy::{Builder, CacheProperties, SignalStream};
use zbus::{Connection, Proxy};

use super::{Hint, Hints};

/// A bus that does not answer within this time is none.
const BUS_DEADLINE: Duration = Duration::from_secs(20);
/// A bus that is not there is looked for again after this, and then after twice as long each time…
const AGAIN_IN: Duration = Duration::from_secs(1);
/// …but at least this often.
const AGAIN_IN_AT_MOST: Duration = Duration::from_secs(60);

/// Listens in the background.
pub(super) fn start(handle: &Handle, hints: Hints) {
    handle.spawn(watch(hints));
}

async fn watch(hints: Hints) {
    let mut pause = AGAIN_IN;
    loop {
        match timeout(BUS_DEADLINE, subscribe()).await {
            Ok(Ok((bus, signals))) => {
                tracing::debug!("logind will tell of sleep");
                pause = AGAIN_IN;
                follow(signals, &hints).await;
                drop(bus);
                tracing::debug!("the system bus went away, and logind with it");
            }
            Ok(Err(why)) => tracing::debug!("logind cannot tell of sleep: {why}"),
            Err(_) => tracing::debug!("logind cannot tell of sleep: the system bus does not answer"),
        }
        if hints.is_closed() {
            return;
        }
        sleep(pause).await;
        pause = (pause * 2).min(AGAIN_IN_AT_MOST);
    }
}

/// The bus and its signals. A logind that comes later, or is replaced, is heard as well.
async fn subscribe() -> zbus::Result<(Connection, SignalStream<'static>)> {
    let bus = Connection::system().await?;
    let logind: Proxy<'_> = Builder::new(&bus)
        .destination("org.freedesktop.login1")?
        .path("/org/freedesktop/login1")?
        .interface("org.freedesktop.login1.Manager")?
        .cache_properties(CacheProperties::No)
        .build()
        .await?;
    let signals = logind.receive_signal("PrepareForSleep").await?;
    Ok((bus, signals))
}

/// Until the bus goes away.
async fn follow(mut signals: SignalStream<'static>, hints: &Hints) {
    while let Some(signal) = signals.next().await {
        match signal.body().deserialize::<bool>() {
            Ok(true) => tracing::debug!("the machine is about to sleep (logind)"),
            Ok(false) => {
                let reason = "the machine woke (logind)".to_owned();
                if hints.send(Hint { nudge: Nudge::Woke, reason }).is_err() {
                    return;
                }
            }
            Err(why) => tracing::debug!("logind said something else than was agreed: {why}"),
        }
    }
}
