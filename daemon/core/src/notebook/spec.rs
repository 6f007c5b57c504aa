//! What a notebook should be, as read from its section `[notebook.NAME]`. Its token is no part of this: secrets
//! never enter core.

use crate::spec::Name;

/// One notebook of a tunnel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NotebookSpec {
    /// What `nbctl open` calls it.
    pub name: Name,
    /// Its machine, seen from the far end; `localhost` is the far end itself.
    pub host: String,
    /// Which server it is.
    pub which: Which,
    /// The port on this machine where it is found: its file's, or one that was chosen once.
    pub local_port: u16,
    /// How it is spoken to.
    pub scheme: Scheme,
    /// The line that starts it, for a login shell at the far end (bash; zsh for who logs in by it); `{port}` stands for
    /// its port.
    pub start: Option<String>,
    /// Where it is started, at the far end; none for the home directory.
    pub dir: Option<String>,
    /// What runs it.
    pub launcher: Launcher,
    /// Only this user's programs may use it; none: as its tunnel says.
    pub owner_only: Option<bool>,
}

impl NotebookSpec {
    /// Whether its section says how a server is started, or a job submitted.
    pub fn can_be_started(&self) -> bool {
        let by_script = matches!(&self.launcher, Launcher::Slurm(slurm) if slurm.script.is_some());
        self.start.is_some() || by_script
    }
}

/// Which of the servers at the far end is meant. What is named has to fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Which {
    /// Its port, for good: `remote_port`.
    pub port: Option<u16>,
    /// Whose it is, by the name of the account; none: that of the login.
    pub owner: Option<String>,
    /// Its root directory.
    pub dir: Option<String>,
    /// Its port is among these, both included.
    pub ports: Option<(u16, u16)>,
}

/// How a notebook's server is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// As it says itself, or as a probe shows.
    #[default]
    Auto,
    /// Without TLS.
    Http,
    /// With TLS.
    Https,
}

/// What runs a notebook that is started from here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Launcher {
    /// The far end itself.
    #[default]
    Here,
    /// A Slurm cluster, as a batch job.
    Slurm(Box<SlurmSpec>),
}

/// What is asked of Slurm, in the words of sbatch(1). What is not named is as the cluster has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SlurmSpec {
    /// `--partition`.
    pub partition: Option<String>,
    /// `--account`.
    pub account: Option<String>,
    /// `--time`, as sbatch takes it.
    pub time: Option<String>,
    /// `--cpus-per-task`.
    pub cpus: Option<u32>,
    /// `--mem`, as sbatch takes it.
    pub memory: Option<String>,
    /// `--gres`, as sbatch takes it.
    pub gres: Option<String>,
    /// Further options, each a word for sbatch.
    pub options: Vec<String>,
    /// A batch script of the user's at the far end, in the place of `start`.
    pub script: Option<String>,
    /// The name of a job that is there already, which is taken and never submitted.
    pub job: Option<String>,
}
