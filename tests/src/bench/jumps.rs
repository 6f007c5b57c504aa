//! Bytes a second and round trips over a jump host, beside `ssh -J`, which runs a second ssh for it.

use anyhow::Result;
use nbtunnel_tests::tunnel_file::quoted;
use nbtunnel_tests::{Server, Sshd};

use crate::Args;
use crate::sides::{BOTH, Sides};
use crate::table::Table;
use crate::traffic::{download, upload};

pub(crate) fn measure(args: &Args) -> Result<Table> {
    let (source, sink) = (Server::source()?, Server::sink()?);
    let (sshd, jump) = (Sshd::start()?, Sshd::start()?);
    // The same words for both: ssh has no other way to give a jump host its own key.
    let config = jump.path("ssh_config");
    std::fs::write(
        &config,
        format!(
            "Host jump\n HostName 127.0.0.1\n Port {}\n User {}\n IdentityFile {}\n IdentitiesOnly yes\n \
             IdentityAgent none\n UserKnownHostsFile {}\n GlobalKnownHostsFile none\n",
            jump.port(),
            jump.user(),
            jump.user_key().display(),
            jump.known_hosts().display()
        ),
    )?;
    let remotes = [source.port(), sink.port()];
    let sides = Sides::over("jump", &config, &sshd, &remotes, |file| {
        file.set("ssh_config", quoted(&config.display().to_string())).set("jump", "[\"jump\"]")
    })?;
    let mut table = Table::new(BOTH);
    for _ in 0..args.rounds {
        let down = sides.each(|ports| download(ports[0], args.mib))?;
        table.row("download over a jump host", "MiB/s").push(&down);
        let up = sides.each(|ports| upload(ports[1], args.mib))?;
        table.row("upload over a jump host", "MiB/s").push(&up);
    }
    Ok(table)
}
