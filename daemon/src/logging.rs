//! Logs to stderr, where journald or launchd picks them up.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// What is logged if nobody says otherwise.
pub const DEFAULT_FILTER: &str = "info";

/// Changes, while the daemon runs, what is logged.
pub struct Filter {
    set: Box<dyn Fn(EnvFilter) + Send>,
    /// The command line said what is logged; files do not change that.
    is_fixed: bool,
}

impl Filter {
    /// Logs what the file says (`None`: the default), unless the command line said otherwise.
    pub fn set(&self, filter: Option<&str>) {
        if self.is_fixed {
            return;
        }
        match EnvFilter::try_new(filter.unwrap_or(DEFAULT_FILTER)) {
            Ok(filter) => (self.set)(filter),
            Err(why) => tracing::warn!("the log filter cannot be read: {why}"),
        }
    }
}

/// Sets up logging. `fixed` is the filter that the command line names, in the grammar of
/// `tracing_subscriber::EnvFilter`.
///
/// # Errors
/// One sentence, when `fixed` cannot be read.
pub fn init(fixed: Option<&str>) -> Result<Filter, String> {
    let first = fixed.unwrap_or(DEFAULT_FILTER);
    let filter = EnvFilter::try_new(first).map_err(|why| {
        format!("the log filter {first:?} cannot be read: {why}; try \"info\" or \"debug\"")
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        // Whoever read stderr may be gone (a closed terminal, a pipe): telling stderr of that would panic.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    // journald writes the time itself (systemd.exec(5), JOURNAL_STREAM).
    let set: Box<dyn Fn(EnvFilter) + Send> = if std::env::var_os("JOURNAL_STREAM").is_some() {
        let builder = builder.without_time().with_filter_reloading();
        let handle = builder.reload_handle();
        builder.init();
        Box::new(move |filter| drop(handle.reload(filter)))
    } else {
        let builder = builder.with_filter_reloading();
        let handle = builder.reload_handle();
        builder.init();
        Box::new(move |filter| drop(handle.reload(filter)))
    };
    std::panic::set_hook(Box::new(|panic| tracing::error!("a fault in nbtunnel: {panic}")));
    Ok(Filter { set, is_fixed: fixed.is_some() })
}
