//! The config directory: reads it, checks it, watches it.
//!
//! `gather` takes the files in, `read` makes sense of them, `watch` does both again whenever something
//! changes. Bad input is a problem with a place and a hint, never an error, a wait or a panic. What a
//! change means for the tunnels is decided by `nbtunnel_core::reconcile`.

mod check;
mod document;
mod environment;
mod followed;
mod gather;
mod here;
mod hosts;
mod layer;
mod links;
mod notebook;
mod notebook_values;
mod owner_only;
mod ports;
mod read;
mod schema;
mod syntax;
#[cfg_attr(unix, path = "system_unix.rs")]
#[cfg_attr(not(unix), path = "system_other.rs")]
mod system;
mod values;
mod vet;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use nbtunnel_core::{Name, TunnelSpec};
use nbtunnel_proto::{FileProblem, Secret};

pub use check::{Report, check, check_main};
pub use watch::{OnLoaded, Watch, spawn};

/// What the files do not say and depend on.
#[derive(Clone, Debug)]
pub struct Context {
    /// What `~` stands for: the home of the passwd entry, as in ssh, whatever `$HOME` says.
    pub home: PathBuf,
    /// The user at the far end where nobody names one.
    pub user: String,
    /// The variables that are the top layer, `NBTUNNEL_CFG__…`; others are ignored.
    pub env: BTreeMap<String, String>,
    /// Whether ssh is asked what ssh_config says of each host.
    pub ask_ssh: bool,
    /// The file that remembers the local ports which were chosen for notebooks; none: nothing remembers them.
    pub ports_path: Option<PathBuf>,
    /// Whether forwards serve only this user's programs where no file says.
    pub owner_only: bool,
}

impl Context {
    /// That of the user who runs this process.
    pub fn of_this_user() -> Context {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let (home, user) = match system::passwd_entry() {
            Some((home, user)) => (Some(home), Some(user)),
            None => (None, None),
        };
        Context {
            home: home.or_else(|| etcetera::home_dir().ok()).unwrap_or_default(),
            user: user
                .or_else(|| variable("USER"))
                .or_else(|| variable("LOGNAME"))
                .or_else(|| variable("USERNAME"))
                .unwrap_or_default(),
            env: std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .filter(|(name, _)| name.starts_with("NBTUNNEL_CFG__"))
                .collect(),
            ask_ssh: true,
            ports_path: None,
            owner_only: owner_only::usual(&system::kernel_release()),
        }
    }
}

/// What is said once where [`Context::owner_only`] is off.
pub const LETS_IN_OTHERS: &str = "this Linux runs inside Windows, whose browser comes to forwards as another user: all \
    programs of this machine are let in, except where a file says `owner_only = true`";

/// Settings of the daemon as a whole, from `[daemon]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonSettings {
    /// A filter of tracing-subscriber, such as `info` or `nbtunneld=debug`.
    pub log: Option<String>,
    /// How many bytes may wait on disk for slow local readers, all together.
    pub spool: u64,
}

impl Default for DaemonSettings {
    fn default() -> Self {
        DaemonSettings { log: None, spool: 4 << 30 }
    }
}

/// What the config directory says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// The tunnels whose files are good.
    pub tunnels: BTreeMap<Name, TunnelSpec>,
    /// The tokens that the files name, by tunnel and notebook.
    pub tokens: BTreeMap<(Name, Name), Secret>,
    /// Tunnels whose file is there and bad: they stay as they were.
    pub broken: BTreeSet<Name>,
    /// The directory or `nbtunnel.toml` cannot be read: everything stays as it was.
    pub all_broken: bool,
    /// Settings of the daemon as a whole; the defaults if `all_broken`.
    pub daemon: DaemonSettings,
    /// Everything that is wrong, in the order of the files.
    pub problems: Vec<FileProblem>,
    /// What ssh would do for a host and a tunnel does not, in the order of the files. Nothing is wrong with these.
    pub notes: Vec<FileProblem>,
    /// Differs when what was found differs. Means nothing outside this process.
    pub digest: u64,
    /// How many calls of [`Watch::reload_now`] were made before this reading began.
    pub asked: u64,
}

/// Where the local ports that were chosen for notebooks are kept, for what runs by `config_dir`.
pub fn ports_path(state_dir: &Path, config_dir: &Path) -> PathBuf {
    crate::history_file::kept_path("ports", state_dir, config_dir)
}

/// Reads the directory. Blocks for as long as the disk does: call it where that does no harm.
pub fn load(dir: &Path, ctx: &Context) -> Loaded {
    let mut hosts = hosts::Hosts::new(&ctx.home);
    let mut loaded = read::interpret_asking(&gather::Gathered::from_dir(dir), ctx, &mut hosts);
    ports::Ports::open(ctx.ports_path.clone()).choose(&mut loaded);
    summed_up(loaded)
}

/// The most problems that are carried around; `nbtunneld --check` shows all of them.
const MOST_PROBLEMS: usize = 200;

fn summed_up(mut loaded: Loaded) -> Loaded {
    loaded.notes.truncate(MOST_PROBLEMS);
    if loaded.problems.len() > MOST_PROBLEMS {
        let more = loaded.problems.len() - MOST_PROBLEMS;
        loaded.problems.truncate(MOST_PROBLEMS);
        let flaw =
            values::Flaw::new(format!("there are {more} more problems"), "`nbctl check` shows all of them");
        loaded.problems.push(read::whole_file("", flaw));
    }
    loaded
}

#[cfg(test)]
mod bytes_tests;
#[cfg(test)]
mod notebook_tests;
#[cfg(test)]
mod ports_tests;
#[cfg(test)]
#[cfg(unix)]
mod ssh_tests;
#[cfg(test)]
mod tests;
