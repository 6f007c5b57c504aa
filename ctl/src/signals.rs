//! The signals that end us, taken in where something has to be left as it was before.

/// Returns when somebody wants us to end.
pub(crate) async fn end() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let (Ok(mut hangup), Ok(mut terminate), Ok(mut quit)) =
            (signal(SignalKind::hangup()), signal(SignalKind::terminate()), signal(SignalKind::quit()))
        {
            tokio::select! {
                _ = hangup.recv() => return,
                _ = terminate.recv() => return,
                _ = quit.recv() => return,
                pressed = tokio::signal::ctrl_c() => if pressed.is_ok() { return },
            }
        }
    }
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending().await
    }
}
