//! The Hosts of an ssh_config that have local forwards: what `nbtunneld --list-hosts` prints, and `nbctl import` reads.

use std::path::{Path, PathBuf};

use futures_util::{StreamExt, stream};
use nbtunnel_core::Failure;

use super::{ConfigFile, HostConfig, Query, ask, include};

/// How many are asked for at a time.
const AT_ONCE: usize = 8;
/// A name that nobody has: what it has is everybody's.
const NOBODY: &str = "nbtunnel-nobody.invalid";

/// What stands in ssh_config about one Host.
#[derive(Debug)]
pub struct Listed {
    /// The name after `Host`.
    pub host: String,
    /// Its local forwards, without those that every host has; or why ssh does not say.
    pub forwards: Result<Vec<String>, Failure>,
}

/// Every plain name after `Host` in `file`, or in the user's and the system's, in their order. `None`: there is no ssh
/// program.
///
/// # Errors
/// What [`ask()`] says of any host at all.
pub async fn list(file: Option<PathBuf>, home: &Path) -> Result<Option<Vec<Listed>>, Failure> {
    let roots = match &file {
        Some(file) => vec![file.clone()],
        None => include::usual_files(home).to_vec(),
    };
    let config = file.map_or(ConfigFile::Usual, ConfigFile::At);
    let of = |host: &str| Query { config: config.clone(), ..Query::new(host) };
    let Some(everybody) = ask(&of(NOBODY)).await? else { return Ok(None) };
    let mut names: Vec<String> = Vec::new();
    for name in roots.iter().flat_map(|root| include::follow(root, home).aliases) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let asks = stream::iter(names).map(|host| {
        let query = of(&host);
        let everybody = &everybody;
        async move {
            let own = |config: Option<HostConfig>| {
                let forwards = config.map(|config| config.local_forwards).unwrap_or_default();
                forwards.into_iter().filter(|forward| !everybody.local_forwards.contains(forward)).collect()
            };
            Listed { host, forwards: ask(&query).await.map(own) }
        }
    });
    Ok(Some(asks.buffered(AT_ONCE).collect().await))
}

/// The same as JSON, for another program.
///
/// # Errors
/// As [`list`].
pub async fn list_json(file: Option<PathBuf>, home: &Path) -> Result<String, Failure> {
    let listed = list(file, home).await?;
    let hosts = listed.as_ref().map(|listed| {
        let json = |one: &Listed| match &one.forwards {
            Ok(forwards) => serde_json::json!({ "host": one.host, "forwards": forwards }),
            Err(failure) => serde_json::json!({ "host": one.host, "problem": failure.message }),
        };
        listed.iter().map(json).collect::<Vec<_>>()
    });
    Ok(serde_json::json!({ "hosts": hosts }).to_string())
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn hosts_are_listed_with_their_own_forwards() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config");
        let text = "Host lab gpu\n LocalForward 6000 localhost:7000\nHost plain *.x\n User u\nHost bad\n \
                    VerifyHostKeyDNS yes\nHost *\n LocalForward 1 all:1\n";
        std::fs::write(&file, text).unwrap();
        let listed = list(Some(file.clone()), dir.path()).await.unwrap().unwrap();
        let shown: Vec<String> = listed
            .iter()
            .map(|one| match &one.forwards {
                Ok(forwards) => format!("{} {}", one.host, forwards.join(",")),
                Err(failure) => format!("{} {}", one.host, failure.kind.code()),
            })
            .collect();
        assert_eq!(shown, ["lab 6000:localhost:7000", "gpu 6000:localhost:7000", "plain ", "bad config"]);
        let json = list_json(Some(file), dir.path()).await.unwrap();
        assert!(json.starts_with(r#"{"hosts":[{"forwards":["6000:localhost:7000"],"host":"lab"}"#), "{json}");
    }
}
