//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

mod keys;
mod notebook;

pub(crate) use keys::{KeyArgs, KeyCommand, KeygenArgs, ShowArgs, TestArgs};
pub(crate) use notebook::{Face, Named, NotebookCommand, OpenArgs, UrlArgs};

/// Drives nbtunneld, which keeps SSH tunnels up.
#[derive(Debug, Parser)]
#[command(name = "nbctl", version, about, max_term_width = 100, after_help = EXITS)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub globals: Globals,
    #[command(subcommand)]
    pub command: Command,
}

const EXITS: &str = "Exit codes: 0 done, 1 failed, 2 usage, 3 no such tunnel, 4 needs you \
                     (host key, credentials, a decision), 5 no daemon, 6 timed out.";

const ADD_EXAMPLES: &str = "\
Examples:
  nbctl add ssh me@host.example.org -p 2222
  nbctl add 'ssh -N -f -L localhost:6000:localhost:7000 me@host.example.org'
  nbctl add alice -- ssh -J me@login.example.org -L 6000:localhost:7000 me@gpu7
  nbctl add --host gpu7 'http://localhost:8888/lab?token=…'
  nbctl add --host gpu7 -          takes the URL from standard input, or asks for it
  nbctl add --host gpu7 -L 6000:localhost:7000 --start demand
  nbctl add mycluster

A line without forwards leads to the notebook that runs there, whatever its port.
Others on this machine can see what programs are called with, and shells remember it: write `-`
for a URL with a token, and paste it when asked.";

/// Above what every command takes, so that it does not stand among the command's own.
const EVERYWHERE: &str = "Options of every command";

/// What every command takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Globals {
    /// The control socket [default: $NBTUNNEL_SOCKET, else the system's place]
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// The config directory [default: $NBTUNNEL_CONFIG_DIR, else that of the running daemon]
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "DIR")]
    pub config_dir: Option<PathBuf>,
    /// Print JSON, errors too
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    pub json: bool,
    /// Say nothing but data and errors
    #[arg(short, long, global = true, help_heading = EVERYWHERE)]
    pub quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what every tunnel does
    Status(StatusArgs),
    /// Bring tunnels up
    Start(OrderArgs),
    /// Take tunnels down
    Stop(OrderArgs),
    /// Close tunnels and bring them up anew
    Restart(OrderArgs),
    /// Read the config directory again
    Reload,
    /// Check the config directory, or one tunnel file, without a daemon
    Check(CheckArgs),
    /// Show what happened
    Logs(LogsArgs),
    /// Show every transition as it happens
    Events,
    /// Write a tunnel file, from a whole ssh command line or from flags
    #[command(after_help = ADD_EXAMPLES)]
    Add(Box<AddArgs>),
    /// Make tunnel files from the Hosts of ssh_config that have LocalForward
    Import(ImportArgs),
    /// Remove tunnel files
    Rm(RmArgs),
    /// Open a tunnel file in $VISUAL or $EDITOR
    Edit(EditArgs),
    /// Look at the key that a host showed, and trust it
    Trust(TrustArgs),
    /// Start a tunnel, and answer what its server or a key asks
    Unlock(UnlockArgs),
    /// Look at every layer between here and what a tunnel leads to, and say which one breaks
    Doctor(DoctorArgs),
    /// Open a notebook in the browser
    #[command(after_help = notebook::OPEN_EXAMPLES)]
    Open(OpenArgs),
    /// Print where a notebook is, with its token
    #[command(after_help = notebook::URL_EXAMPLES)]
    Url(UrlArgs),
    /// Print a notebook's token
    #[command(after_help = notebook::TOKEN_EXAMPLES)]
    Token(Named),
    /// Stop or restart a notebook's server, or show what it wrote
    #[command(subcommand, after_help = notebook::NOTEBOOK_EXAMPLES)]
    Notebook(NotebookCommand),
    /// Carry standard input and output to the SSH server of a tunnel, as a ProxyCommand of ssh
    Proxy(ProxyArgs),
    /// Let other programs go where tunnels lead: ssh, scp, rsync, PuTTY, VS Code, PyCharm
    Export(ExportArgs),
    /// Make an SSH key pair, and say what to do with it
    Keygen(KeygenArgs),
    /// Show a public key, or try whether a server takes it
    Key(KeyArgs),
    /// Hang the daemon, to see whether somebody notices
    #[cfg(debug_assertions)]
    #[command(hide = true)]
    DebugHang,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Names or globs; all tunnels without
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Show it anew each second, and whenever something happens
    #[arg(short, long)]
    pub watch: bool,
}

#[derive(Debug, Args)]
#[group(id = "which", required = true, multiple = false)]
pub(crate) struct Which {
    /// Names or globs, as in 'lab-*'
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Every tunnel
    #[arg(long)]
    pub all: bool,
    /// Every tunnel with this tag
    #[arg(long, value_name = "TAG")]
    pub tag: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct OrderArgs {
    #[command(flatten)]
    pub which: Which,
    /// Return when it is done, or with the reason why not [default: at most 60 seconds]
    #[arg(long, value_name = "SECS", num_args = 0..=1, require_equals = true, default_missing_value = "60")]
    pub wait: Option<f64>,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// A config directory, a tunnel file, or the name of a tunnel
    #[arg(value_name = "PATH|NAME")]
    pub path: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// A name or a glob; everything without
    pub name: Option<String>,
    /// Go on with what happens from now on
    #[arg(short, long)]
    pub follow: bool,
    /// At most so many of the last lines
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    pub lines: u32,
}

#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// A name; and a whole ssh command line, a Host of ssh_config, user@host or the URL of a notebook; `-` is one of
    /// these that is read from standard input
    #[arg(value_name = "NAME|COMMAND|HOST|URL", num_args = 0..=3)]
    pub words: Vec<String>,
    /// The server, as in ssh: a name, an address, user@host
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
    /// A forward, in the grammar of ssh -L, as in 6000:localhost:7000
    #[arg(short = 'L', long = "forward", value_name = "FORWARD")]
    pub forwards: Vec<String>,
    /// A forward from the server back to here, in the grammar of ssh -R, as in 8080:localhost:3000
    #[arg(short = 'R', long = "remote", value_name = "FORWARD")]
    pub remotes: Vec<String>,
    /// A SOCKS proxy that leads out at the server, in the grammar of ssh -D, as in 1080
    #[arg(short = 'D', long = "dynamic", value_name = "FORWARD")]
    pub dynamics: Vec<String>,
    /// The user at the far end
    #[arg(short = 'l', long, value_name = "USER")]
    pub user: Option<String>,
    /// The port of the SSH server
    #[arg(short = 'p', long, value_name = "PORT")]
    pub port: Option<String>,
    /// The machines to go over, in the grammar of ssh -J, as in me@login.example.org,second
    #[arg(short = 'J', long, value_name = "HOSTS")]
    pub jump: Option<String>,
    /// What ssh would take after -o, as in IdentitiesOnly=yes
    #[arg(short = 'o', long = "option", value_name = "OPTION")]
    pub options: Vec<String>,
    /// A private key to offer
    #[arg(short = 'i', long = "identity-file", value_name = "FILE")]
    pub identity_files: Vec<String>,
    /// When the tunnel is up: from login on, while somebody uses it, or when you say so
    #[arg(long, value_name = "WHEN")]
    pub start: Option<StartWhen>,
    /// A word to select tunnels by
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
    /// How long new local connections wait while the tunnel is away, as in 30s
    #[arg(long, value_name = "DURATION")]
    pub hold: Option<String>,
    /// Change the tunnel that has its name, as after a platform gave it a new port; what else stands in its file stays
    #[arg(long)]
    pub replace: bool,
    /// A whole ssh command line
    #[arg(last = true, value_name = "ssh …")]
    pub command: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StartWhen {
    Login,
    Demand,
    Manual,
}

impl StartWhen {
    /// The word in the file.
    pub(crate) fn word(self) -> &'static str {
        match self {
            StartWhen::Login => "login",
            StartWhen::Demand => "demand",
            StartWhen::Manual => "manual",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// An ssh_config [default: ~/.ssh/config and the system's]
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Say what would be made, and make nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Names of tunnels
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct EditArgs {
    /// The name of a tunnel
    pub name: String,
}

#[derive(Debug, Args)]
pub(crate) struct UnlockArgs {
    /// The name of a tunnel
    pub name: String,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    #[command(subcommand)]
    pub what: Export,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Export {
    /// Keep a Host for each tunnel in a file of ours, which ~/.ssh/config includes
    SshConfig(ExportSshArgs),
    /// Print PuTTY sessions, or write them to a file that regedit imports
    Putty(ExportPuttyArgs),
    /// Print how VS Code opens a directory there
    Vscode(ExportDirArgs),
    /// Print the link by which JetBrains Gateway opens a directory there
    Pycharm(ExportDirArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ExportSshArgs {
    /// Names of tunnels; all of them without
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Show what would change, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Take them out again; without names all of them, and the line in ~/.ssh/config
    #[arg(long)]
    pub remove: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// The file that includes ours [default: ~/.ssh/config]
    #[arg(long, value_name = "FILE")]
    pub into: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ExportPuttyArgs {
    /// Names of tunnels; all of them without
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Write them there, as regedit reads it, instead of printing them
    #[arg(long, value_name = "FILE.reg")]
    pub file: Option<PathBuf>,
    /// Do not ask, even if that file is there already
    #[arg(short, long, requires = "file")]
    pub yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExportDirArgs {
    /// The name of a tunnel
    pub name: String,
    /// A directory over there
    #[arg(value_name = "DIR")]
    pub dir: Option<String>,
    /// Open it as well
    #[arg(long)]
    pub open: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ProxyArgs {
    /// The name of a tunnel
    pub name: String,
    /// Where to, as its server sees it [default: that server itself]
    #[arg(value_name = "HOST:PORT")]
    pub target: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// The name of a tunnel, or of a notebook in one; all of them without
    pub name: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct TrustArgs {
    /// The name of a tunnel
    pub name: String,
    /// Do not ask; takes --fingerprint as well
    #[arg(short, long)]
    pub yes: bool,
    /// The fingerprint that you compared, SHA256:…
    #[arg(long, value_name = "SHA256:…")]
    pub fingerprint: Option<String>,
    /// Put it in the place of another key on file
    #[arg(long)]
    pub replace: bool,
}
