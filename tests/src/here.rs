//! This machine as the far end of a link: scripts run in its `sh`, streams are its sockets. For what uses a link and
//! knows nothing of SSH.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use nbtunnel_core::{Failure, FailureKind, Target};
use nbtunneld::forward::far_side::{FarSide, FarStream, Opening, Ran, Running, Unopened};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::process::Command;

/// Whose environment it has.
#[derive(Debug)]
pub struct Here {
    shell: Vec<OsString>,
    environment: BTreeMap<OsString, OsString>,
    node: Option<String>,
}

impl Here {
    /// With `sh`, a `PATH`, and the variables that are named.
    pub fn with<const N: usize>(variables: [(&str, OsString); N]) -> Arc<Here> {
        Here::in_shell(&["sh"], variables)
    }

    /// From where a machine called `node` can be reached, which is this one, too.
    pub fn beside(node: &str) -> Arc<Here> {
        Arc::new(Here {
            shell: vec!["sh".into()],
            environment: [("PATH".into(), "/usr/bin:/bin".into())].into(),
            node: Some(node.to_owned()),
        })
    }

    /// With another shell: a program and its arguments.
    pub fn in_shell<const N: usize>(shell: &[&str], variables: [(&str, OsString); N]) -> Arc<Here> {
        let usual = [("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), ("HOME", "/nonexistent")];
        let mut environment: BTreeMap<OsString, OsString> =
            usual.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        environment.extend(variables.into_iter().map(|(name, value)| (name.into(), value)));
        Arc::new(Here { node: None, shell: shell.iter().map(OsString::from).collect(), environment })
    }
}

impl FarSide for Here {
    fn open(self: Arc<Self>, target: Target) -> Opening {
        Box::pin(async move {
            let Target::Tcp(host, port) = target else {
                return Err(Unopened::Denied(failed("no such target")));
            };
            let host = if self.node.as_ref() == Some(&host) { "127.0.0.1".to_owned() } else { host };
            let stream = TcpStream::connect((host, port)).await;
            let stream = stream.map_err(|error| Unopened::Denied(failed(&error.to_string())))?;
            Ok(Box::new(stream) as FarStream)
        })
    }

    fn run(self: Arc<Self>, script: String, patience: Duration) -> Running {
        Box::pin(async move {
            let ran = tokio::time::timeout(patience, self.shell(&script)).await;
            ran.unwrap_or_else(|_| Err(failed("the script takes too long")))
        })
    }
}

impl Here {
    async fn shell(&self, script: &str) -> Result<Ran, Failure> {
        let told = |error: std::io::Error| failed(&error.to_string());
        let (program, arguments) = self.shell.split_first().ok_or_else(|| failed("no shell"))?;
        let mut command = Command::new(program);
        command.args(arguments).arg("-s").env_clear().envs(&self.environment).current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(told)?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(script.as_bytes()).await.map_err(told)?;
        }
        let output = child.wait_with_output().await.map_err(told)?;
        let status = output.status.code().and_then(|code| u32::try_from(code).ok());
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok(Ran { output: output.stdout, errors, status })
    }
}

fn failed(why: &str) -> Failure {
    Failure::new(FailureKind::Refused, why, "")
}
