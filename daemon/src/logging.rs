//! Logs to stderr, where journald or launchd picks them up.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Sets up logging with `filter`, in the grammar of `tracing_subscriber::EnvFilter`.
///
/// # Errors
/// One sentence, when `filter` cannot be read.
pub fn init(filter: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|why| {
        format!("the log filter {filter:?} cannot be read: {why}; try \"info\" or \"debug\"")
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        // Whoever read stderr may be gone (a closed terminal, a pipe): telling stderr of that would panic.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    // journald writes the time itself (systemd.exec(5), JOURNAL_STREAM).
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        builder.without_time().init();
    } else {
        builder.init();
    }
    std::panic::set_hook(Box::new(|panic| tracing::error!("a fault in nbtunnel: {panic}")));
    Ok(())
}
