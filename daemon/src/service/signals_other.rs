//! Ctrl-C, the only signal that there is.

use super::Signal;

pub(super) fn listen(on: impl Fn(Signal) + Send + Clone + 'static) -> std::io::Result<()> {
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            on(Signal::Stop);
        }
    });
    Ok(())
}
