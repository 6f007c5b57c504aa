//! What is said to notebooks on the command line.

use clap::{Args, Subcommand};

pub(crate) const OPEN_EXAMPLES: &str = "\
Examples:
  nbctl open alice             open alice's notebook; bring up its tunnel, and start it if its file says how
  nbctl open lab/alice --lab   where two tunnels have an alice, and in JupyterLab
  nbctl open alice --print     print the URL with its token instead";

pub(crate) const URL_EXAMPLES: &str = "\
Examples:
  nbctl url alice              for VS Code (\"Existing Jupyter Server\") and PyCharm (\"Configured Server\")
  nbctl url alice --lab        with JupyterLab's path";

pub(crate) const TOKEN_EXAMPLES: &str = "\
Example:
  printf 'Authorization: token %s\\n' \"$(nbctl token alice)\" | curl -H @- http://localhost:6000/api/status";

pub(crate) const NOTEBOOK_EXAMPLES: &str = "\
Examples:
  nbctl notebook restart alice
  nbctl notebook log alice -n 20";

/// A notebook's name as every command takes it.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The name of a notebook, or TUNNEL/NOTEBOOK where several tunnels have one of that name
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// Which of the server's faces.
#[derive(Clone, Copy, Debug, Default, Args)]
#[group(multiple = false)]
pub(crate) struct Face {
    /// In JupyterLab
    #[arg(long)]
    pub lab: bool,
    /// In Jupyter Notebook
    #[arg(long)]
    pub notebook: bool,
    /// As a list of files
    #[arg(long)]
    pub tree: bool,
}

impl Face {
    /// Its path below the server's base URL; empty for what the server shows by itself.
    pub(crate) fn path(self) -> &'static str {
        match (self.lab, self.notebook || self.tree) {
            (true, _) => "lab",
            (_, true) => "tree",
            _ => "",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct OpenArgs {
    #[command(flatten)]
    pub named: Named,
    #[command(flatten)]
    pub face: Face,
    /// Print the URL with its token, and open nothing
    #[arg(long, conflicts_with = "no_browser")]
    pub print: bool,
    /// Open nothing, and print the URL without its token
    #[arg(long)]
    pub no_browser: bool,
}

#[derive(Debug, Args)]
pub(crate) struct UrlArgs {
    #[command(flatten)]
    pub named: Named,
    #[command(flatten)]
    pub face: Face,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NotebookCommand {
    /// End its server, or its job
    Stop(Named),
    /// End its server and start it anew
    Restart(Named),
    /// Show what its server wrote, if it was started from here
    Log(NotebookLogArgs),
}

#[derive(Debug, Args)]
pub(crate) struct NotebookLogArgs {
    #[command(flatten)]
    pub named: Named,
    /// At most so many of the last lines
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    pub lines: u32,
}
