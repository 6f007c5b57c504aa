//! This machine as the far end of a link that is no SSH session: scripts are run by a shell here, between nothing,
//! and as the user whose home directory is named.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use nbtunnel_core::{Failure, FailureKind, Target};
use nbtunneld::forward::far_side::{FarSide, Opening, Ran, Running, Unopened};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::process::Command;

/// A far end that is this machine.
#[derive(Clone, Debug)]
pub struct Here {
    shell: Vec<String>,
    env: Vec<(String, String)>,
    /// Machines that can be reached from here; they are this one, too.
    known: Vec<String>,
}

impl Here {
    /// With that home directory, and nothing else but a `PATH`.
    pub fn new(home: impl Into<PathBuf>) -> Here {
        let home = home.into().display().to_string();
        let path = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin".to_owned();
        let env = vec![("HOME".into(), home), ("PATH".into(), path), ("SHELL".into(), "/bin/bash".into())];
        Here { shell: vec!["sh".into()], env, known: Vec::new() }
    }

    /// From where a machine called `node` can be reached, which is this one, too.
    pub fn beside(node: &str) -> Arc<Here> {
        Arc::new(Here::new("/").knows(node))
    }

    /// With `sh`, a `PATH`, and the variables that are named.
    pub fn with<const N: usize>(variables: [(&str, OsString); N]) -> Arc<Here> {
        Here::in_shell(&["sh"], variables)
    }

    /// With another shell, a program and its arguments, and the variables that are named.
    pub fn in_shell<const N: usize>(shell: &[&str], variables: [(&str, OsString); N]) -> Arc<Here> {
        let with = |here: Here, (name, value): (&str, OsString)| here.env(name, value.to_string_lossy());
        Arc::new(variables.into_iter().fold(Here::new("/nonexistent").shell(shell), with))
    }

    /// With another program as `sh`.
    #[must_use]
    pub fn shell(mut self, words: &[&str]) -> Here {
        self.shell = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// With this in its environment, in the place of what was there.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Here {
        self.env.retain(|(there, _)| there != name);
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// Where this name leads to 127.0.0.1.
    #[must_use]
    pub fn knows(mut self, name: &str) -> Here {
        self.known.push(name.to_owned());
        self
    }

    /// What is in its environment.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.env.iter().find(|(there, _)| there == name).map(|(_, value)| value.as_str())
    }

    /// The shell, about to read `script`. Whoever drops its process kills it, and it alone.
    ///
    /// # Errors
    /// There is no such shell.
    pub async fn spawn(&self, script: &str) -> std::io::Result<tokio::process::Child> {
        let (program, words) = self.shell.split_first().ok_or(std::io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(words).arg("-s").env_clear().envs(self.env.iter().map(|(name, value)| (name, value)));
        let home = self.get("HOME").filter(|home| std::path::Path::new(home).is_dir());
        command.current_dir(home.unwrap_or("/"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        if let Some(mut pipe) = child.stdin.take() {
            pipe.write_all(format!("(\n:\n{script}\n) </dev/null\n").as_bytes()).await?;
        }
        Ok(child)
    }
}

impl FarSide for Here {
    fn open(self: Arc<Self>, target: Target) -> Opening {
        Box::pin(async move {
            let denied = |why: String| Unopened::Denied(Failure::new(FailureKind::Refused, why, "start it"));
            let Target::Tcp(host, port) = &target else { return Err(denied(format!("{target} is no port"))) };
            let host = if self.known.contains(host) { "127.0.0.1" } else { host.as_str() };
            match TcpStream::connect((host, *port)).await {
                Ok(stream) => Ok(Box::new(stream) as _),
                Err(why) => Err(denied(format!("{target}: {why}"))),
            }
        })
    }

    fn run(self: Arc<Self>, script: String, patience: Duration) -> Running {
        Box::pin(async move {
            let broken = |why: std::io::Error| {
                Failure::new(FailureKind::Internal, format!("no shell: {why}"), "install one")
            };
            let child = self.spawn(&script).await.map_err(broken)?;
            match tokio::time::timeout(patience, child.wait_with_output()).await {
                Ok(Ok(said)) => Ok(Ran {
                    output: said.stdout,
                    errors: String::from_utf8_lossy(&said.stderr).trim().to_owned(),
                    status: said.status.code().and_then(|code| u32::try_from(code).ok()),
                }),
                Ok(Err(why)) => Err(broken(why)),
                Err(_) => Err(Failure::new(FailureKind::TimedOut, "it takes too long", "wait")),
            }
        })
    }
}
