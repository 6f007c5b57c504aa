//! Where the configuration and the lasting state are, found in the same way by both programs.
//! The XDG Base Directory Specification, and what stands in for it on macOS and Windows.

use std::path::{Path, PathBuf};

use crate::endpoint::{Env, environment};
use crate::fault::{Fault, FaultCode};
use crate::system;

/// The config directory: `flag` (`--config-dir`), else `$NBTUNNEL_CONFIG_DIR`, else
/// `$XDG_CONFIG_HOME/nbtunnel`, else `~/.config/nbtunnel` (on macOS too); `%APPDATA%\nbtunnel` on Windows.
/// It need not exist.
///
/// # Errors
/// [`FaultCode::Failed`] when it hangs on a home directory that is unset or not there.
pub fn config_dir(flag: Option<PathBuf>) -> Result<PathBuf, Fault> {
    config_dir_in(flag, &environment)
}

/// The config directory where nothing names another.
///
/// # Errors
/// As [`config_dir`].
pub fn usual_config_dir() -> Result<PathBuf, Fault> {
    system::config_home(&environment).map(|home| home.join("nbtunnel"))
}

/// The directory for lasting state: `$XDG_STATE_HOME/nbtunnel`, else `~/.local/state/nbtunnel`; below
/// `Application Support` on macOS, `%LOCALAPPDATA%` on Windows. It need not exist.
///
/// # Errors
/// [`FaultCode::Failed`] when it hangs on a home directory that is unset or not there.
pub fn state_dir() -> Result<PathBuf, Fault> {
    system::state_home(&environment).map(|home| home.join("nbtunnel"))
}

fn config_dir_in(flag: Option<PathBuf>, env: Env<'_>) -> Result<PathBuf, Fault> {
    match flag.or_else(|| env("NBTUNNEL_CONFIG_DIR").map(PathBuf::from)) {
        Some(dir) => std::path::absolute(&dir).map_err(|error| {
            Fault::new(
                FaultCode::Usage,
                format!("{} cannot be the config directory: {error}", dir.display()),
                "give --config-dir (or $NBTUNNEL_CONFIG_DIR) an absolute path",
            )
        }),
        None => system::config_home(env).map(|home| home.join("nbtunnel")),
    }
}

/// What helps where there is no home to look for the configuration in.
pub(crate) const NAME_CONFIG_DIR: &str =
    "name the config directory with --config-dir or $NBTUNNEL_CONFIG_DIR";

/// A directory that the environment has to name, and that has to be there.
pub(crate) fn home_var(env: Env<'_>, name: &str, what: &str, instead: &str) -> Result<PathBuf, Fault> {
    let hint = format!("set {name}, or {instead}");
    let Some(home) = env(name).map(PathBuf::from) else {
        return Err(Fault::new(
            FaultCode::Failed,
            format!("{name} is not set, so {what} cannot be known"),
            hint,
        ));
    };
    if !home.is_absolute() || !is_dir(&home) {
        let message = format!("{name} is {}, which is not a directory", home.display());
        return Err(Fault::new(FaultCode::Failed, message, hint));
    }
    Ok(home)
}

fn is_dir(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.is_dir())
}

#[cfg(all(test, unix))]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn config(flag: Option<&str>, vars: &[(&str, &str)]) -> Result<PathBuf, Fault> {
        let env =
            |name: &str| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value));
        config_dir_in(flag.map(PathBuf::from), &env)
    }

    #[test]
    fn the_flag_wins_then_the_variable_then_xdg_then_home() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().to_str().unwrap();
        let all = [("NBTUNNEL_CONFIG_DIR", "/n"), ("XDG_CONFIG_HOME", "/x"), ("HOME", home)];
        assert_eq!(config(Some("/f"), &all).unwrap(), Path::new("/f"));
        assert_eq!(config(None, &all).unwrap(), Path::new("/n"));
        assert_eq!(config(None, &all[1..]).unwrap(), Path::new("/x/nbtunnel"));
        assert_eq!(config(None, &all[2..]).unwrap(), Path::new(home).join(".config/nbtunnel"));
        assert_eq!(
            config(None, &[("XDG_CONFIG_HOME", "relative"), ("HOME", home)]).unwrap(),
            Path::new(home).join(".config/nbtunnel")
        );
    }

    #[test]
    fn a_home_that_is_unset_or_not_there_is_said_in_one_sentence() {
        assert!(config(None, &[]).unwrap_err().message.starts_with("HOME is not set"));
        let fault = config(None, &[("HOME", "/nonexistent/home")]).unwrap_err();
        assert_eq!(fault.message, "HOME is /nonexistent/home, which is not a directory");
        assert!(fault.hint.contains("--config-dir"));
        // The state directory has no such option: what helps there is another variable.
        let env = |name: &str| (name == "HOME").then(|| OsString::from("/nonexistent/home"));
        let fault = system::state_home(&env).unwrap_err();
        assert!(fault.hint.contains("XDG_STATE_HOME") && !fault.hint.contains("--config-dir"), "{fault:?}");
    }
}
