//! The command line of `nbtunneld`.

use std::path::PathBuf;

use clap::Parser;

/// Keeps SSH tunnels to your notebooks up. Driven by nbctl; usually started at login by systemd or launchd.
#[derive(Debug, Parser)]
#[command(name = "nbtunneld", version, max_term_width = 100)]
pub struct Args {
    /// The directory with nbtunnel.toml and tunnels/ [default: $NBTUNNEL_CONFIG_DIR, ~/.config/nbtunnel]
    #[arg(long, value_name = "DIR")]
    pub config_dir: Option<PathBuf>,

    /// Where to listen for nbctl [default: $NBTUNNEL_SOCKET, nbtunnel/control.sock in $XDG_RUNTIME_DIR]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,

    /// What to log, for example "info" or "nbtunneld=debug" [default: log in nbtunnel.toml, else info]
    #[arg(long, value_name = "FILTER", env = "NBTUNNEL_LOG")]
    pub log: Option<String>,

    /// Check the configuration, or one tunnel file, and exit (what `nbctl check` runs)
    #[arg(long, value_name = "PATH", num_args = 0..=1)]
    pub check: Option<Option<PathBuf>>,

    /// Print as JSON which Hosts of ssh_config have forwards, and exit (what `nbctl import` runs)
    #[arg(long, value_name = "FILE", num_args = 0..=1, conflicts_with = "check")]
    pub list_hosts: Option<Option<PathBuf>>,

    /// With --check: print the result as JSON
    #[arg(long, requires = "check")]
    pub json: bool,
}
