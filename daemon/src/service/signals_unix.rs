//! SIGTERM, SIGINT and SIGHUP (signal(7)).

use tokio::signal::unix::{SignalKind, signal};

use super::Signal;

pub(super) fn listen(on: impl Fn(Signal) + Send + Clone + 'static) -> std::io::Result<()> {
    for (kind, means) in [
        (SignalKind::terminate(), Signal::Stop),
        (SignalKind::interrupt(), Signal::Stop),
        (SignalKind::hangup(), Signal::Reload),
    ] {
        let mut signals = signal(kind)?;
        let on = on.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                on(means);
            }
        });
    }
    Ok(())
}
