//! `ssh -N -L`, which nbtunnel is measured against.

use std::process::{Command, Stdio};

use anyhow::Result;

use crate::child::Running;
use crate::{Sshd, programs};

/// The command line that forwards `localhost:local` to 127.0.0.1:`remote` behind `sshd`, and reads nothing
/// of the user's own configuration.
///
/// # Errors
/// ssh is not installed.
pub fn command(sshd: &Sshd, local: u16, remote: u16) -> Result<Command> {
    command_at(sshd, sshd.port(), &[(local, remote)])
}

/// The same with several forwards, to an `sshd` that is reached through another port.
///
/// # Errors
/// As [`command`].
pub fn command_at(sshd: &Sshd, port: u16, forwards: &[(u16, u16)]) -> Result<Command> {
    let mut command = Command::new(programs::system("ssh")?);
    command.args(["-F", "none", "-N", "-o", "BatchMode=yes", "-o", "ExitOnForwardFailure=yes"]);
    command.args(["-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "GlobalKnownHostsFile=none"]);
    command.arg("-o").arg(format!("UserKnownHostsFile={}", sshd.known_hosts().display()));
    command.arg("-i").arg(sshd.user_key()).arg("-p").arg(port.to_string());
    for (local, remote) in forwards {
        command.arg("-L").arg(format!("localhost:{local}:127.0.0.1:{remote}"));
    }
    command.arg(format!("{}@{}", sshd.user(), sshd.host()));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command)
}

/// Starts it; the forward is there a moment later.
///
/// # Errors
/// As [`command`].
pub fn start(sshd: &Sshd, local: u16, remote: u16) -> Result<Running> {
    Running::spawn(&mut command(sshd, local, remote)?)
}
