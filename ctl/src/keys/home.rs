//! Whose keys these are: the account's home and name, as ssh(1) finds them.

use std::path::PathBuf;

use crate::exit::{CommandError, Exit};

/// The private keys that ssh(1) offers when none is named, in its order.
const USUAL: [&str; 5] = ["id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk"];

/// `~/.ssh`, where `~` is the home of the passwd entry, whatever `$HOME` says.
///
/// # Errors
/// There is no home.
pub(crate) fn ssh_dir() -> Result<PathBuf, CommandError> {
    account().map(|account| account.home.join(".ssh"))
}

/// The usual identity files, whether they exist or not.
///
/// # Errors
/// There is no home.
pub(crate) fn usual_keys() -> Result<Vec<PathBuf>, CommandError> {
    let dir = ssh_dir()?;
    Ok(USUAL.iter().map(|name| dir.join(name)).collect())
}

/// `path` with a leading `~/` replaced, which no shell did where it was quoted or stands in JSON.
///
/// # Errors
/// There is no home.
pub(crate) fn expand(path: PathBuf) -> Result<PathBuf, CommandError> {
    let path = match path.strip_prefix("~") {
        Ok(rest) => account()?.home.join(rest),
        Err(_) => path,
    };
    Ok(std::path::absolute(&path).unwrap_or(path))
}

/// Who made a key and where, in the words of ssh-keygen(1).
pub(crate) fn usual_comment() -> String {
    let user = account().map(|account| account.user).unwrap_or_default();
    [user, host_name()].into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join("@")
}

struct Account {
    home: PathBuf,
    user: String,
}

#[cfg(unix)]
fn account() -> Result<Account, CommandError> {
    match nix::unistd::User::from_uid(nix::unistd::Uid::current()) {
        Ok(Some(user)) => Ok(Account { home: user.dir, user: user.name }),
        // Accounts of some directories, and of containers, have none.
        Ok(None) | Err(_) => of_environment("USER"),
    }
}

#[cfg(not(unix))]
fn account() -> Result<Account, CommandError> {
    of_environment("USERNAME")
}

fn of_environment(user: &str) -> Result<Account, CommandError> {
    let user = std::env::var(user).unwrap_or_default();
    match std::env::home_dir().filter(|home| home.is_absolute()) {
        Some(home) => Ok(Account { home, user }),
        None => Err(CommandError::new(
            Exit::Failed,
            "this account has no home directory, in which keys would be",
            "name the key's file",
        )),
    }
}

#[cfg(unix)]
fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(not(unix))]
fn host_name() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_default().to_lowercase()
}
