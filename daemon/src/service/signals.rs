//! The signals that the daemon obeys, as events.

#[cfg(unix)]
#[path = "signals_unix.rs"]
mod system;
#[cfg(not(unix))]
#[path = "signals_other.rs"]
mod system;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// End in an orderly way (SIGTERM, SIGINT, Ctrl-C).
    Stop,
    /// Read the configuration again (SIGHUP).
    Reload,
}

/// Passes signals on to `on` from now on. Runs inside tokio.
///
/// # Errors
/// The system does not let us listen for signals.
pub fn listen(on: impl Fn(Signal) + Send + Clone + 'static) -> std::io::Result<()> {
    system::listen(on)
}
