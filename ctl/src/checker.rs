//! Lets the daemon's own program check a configuration, so that there is one judge of what is right.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use nbtunnel_proto::FileProblem;
use serde::{Deserialize, Serialize};

use crate::exit::{CommandError, Exit};
use crate::tunnel_file::Draft;

/// What `nbtunneld --check --json` prints.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// The directory that was checked.
    pub config_dir: String,
    /// The tunnels that are right.
    pub tunnels: Vec<String>,
    /// What is wrong.
    pub problems: Vec<FileProblem>,
    /// What ssh would do for a host and its tunnel does not.
    #[serde(default)]
    pub notes: Vec<FileProblem>,
}

/// Checks a config directory or one tunnel file; without `path` the config directory itself.
///
/// # Errors
/// When the program cannot be found or does not answer as it should.
pub(crate) fn check(path: Option<&Path>, config_dir: Option<&Path>) -> Result<Report, CommandError> {
    let program = program();
    let mut command = Command::new(&program);
    if let Some(dir) = config_dir {
        command.arg("--config-dir").arg(dir);
    }
    command.arg("--check");
    if let Some(path) = path {
        // An absolute path cannot be taken for an option.
        command.arg(std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    }
    let output = run(command.arg("--json"), "checks the configuration")?;
    serde_json::from_slice(&output.stdout).map_err(|_| {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
        CommandError::new(
            Exit::Failed,
            format!("{} did not check the configuration ({}): {said}", program.display(), output.status),
            "use the nbtunneld that was installed with this nbctl",
        )
    })
}

/// A Host of ssh_config, as `nbtunneld --list-hosts` prints it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Host {
    /// The name after `Host`.
    pub host: String,
    /// Its local forwards.
    #[serde(default)]
    pub forwards: Vec<String>,
    /// Why ssh does not say.
    pub problem: Option<String>,
}

/// The Hosts of `file`, or of the usual ssh_config.
///
/// # Errors
/// When a program cannot be found, or ssh_config cannot be read.
pub(crate) fn hosts(file: Option<&Path>) -> Result<Vec<Host>, CommandError> {
    #[derive(Deserialize)]
    struct Listing {
        hosts: Option<Vec<Host>>,
    }
    let mut command = Command::new(program());
    command.arg("--list-hosts").args(file);
    let output = run(&mut command, "reads ssh_config")?;
    match serde_json::from_slice::<Listing>(&output.stdout) {
        Ok(Listing { hosts: Some(hosts) }) => Ok(hosts),
        Ok(Listing { hosts: None }) => Err(CommandError::new(
            Exit::Failed,
            "there is no ssh program, which alone can read ssh_config",
            "install OpenSSH's client, or make tunnels with `nbctl add`",
        )),
        Err(_) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("nbtunneld said nothing");
            let said = said.strip_prefix("nbtunneld: ").unwrap_or(said);
            Err(CommandError::new(Exit::Failed, said, "mend that, and try again"))
        }
    }
}

/// Runs nbtunneld, which `does` something for us.
fn run(command: &mut Command, does: &str) -> Result<Output, CommandError> {
    command.stdin(Stdio::null()).output().map_err(|error| {
        let message = match error.kind() {
            io::ErrorKind::NotFound => format!("nbtunneld, which {does}, cannot be found"),
            _ => format!("{}, which {does}, cannot be run: {error}", command.get_program().display()),
        };
        CommandError::new(
            Exit::Failed,
            message,
            "install it beside nbctl or on the PATH, or set NBTUNNELD to where it is",
        )
    })
}

/// Checks a draft, whose problems then stand under the name of the file that it is to become.
///
/// # Errors
/// As [`check`].
pub(crate) fn check_draft(draft: &Draft, place: &Path, config_dir: &Path) -> Result<Report, CommandError> {
    let mut report = check(Some(draft.path()), Some(config_dir))?;
    let hidden = draft.path().strip_prefix(config_dir).unwrap_or(draft.path()).to_string_lossy();
    let shown = place.strip_prefix(config_dir).unwrap_or(place).to_string_lossy();
    for problem in report.problems.iter_mut().chain(&mut report.notes) {
        if problem.file.as_deref() == Some(&hidden) {
            problem.file = Some(shown.to_string());
        }
    }
    Ok(report)
}

/// `$NBTUNNELD`, else beside this program, else whatever the PATH has.
fn program() -> PathBuf {
    if let Some(named) = std::env::var_os("NBTUNNELD").filter(|named| !named.is_empty()) {
        return named.into();
    }
    let mut name = OsString::from("nbtunneld");
    name.push(std::env::consts::EXE_SUFFIX);
    let beside = std::env::current_exe().ok().map(|program| program.with_file_name(&name));
    beside.filter(|program| program.is_file()).unwrap_or_else(|| name.into())
}
