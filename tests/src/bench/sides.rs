//! The two that are compared, side by side: `ssh -N -L` and a daemon with the same forwards.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nbtunnel_tests::child::Running;
use nbtunnel_tests::{Sshd, TunnelFile, World, net, plain_ssh, wait};

/// The columns of most tables.
pub(crate) const BOTH: &[&str] = &["ssh -N -L", "nbtunnel"];

/// One tunnel by each of them, with the same forwards.
pub(crate) struct Sides {
    _ssh: Running,
    pub(crate) world: World,
    /// The local ports, ssh's first, in the order of the remote ones.
    pub(crate) ports: [Vec<u16>; 2],
}

impl Sides {
    /// Starts both towards `sshd`, which is reached through port `at`, and waits until they carry.
    pub(crate) fn start(sshd: &Sshd, at: u16, remotes: &[u16]) -> Result<Sides> {
        know_at(sshd, at)?;
        let ssh = |forwards: &[(u16, u16)]| plain_ssh::command_at(sshd, at, forwards);
        Sides::of(sshd.tunnel().set("port", at), remotes, ssh)
    }

    /// The same over a jump host that ssh_config at `config` knows as `jump`; `file` says so to ours.
    pub(crate) fn over(
        jump: &str,
        config: &Path,
        sshd: &Sshd,
        remotes: &[u16],
        file: impl Fn(TunnelFile) -> TunnelFile,
    ) -> Result<Sides> {
        let ssh = |forwards: &[(u16, u16)]| {
            let plain = plain_ssh::command_at(sshd, sshd.port(), forwards)?;
            let mut command = Command::new(plain.get_program());
            command.args(["-J", jump, "-F"]).arg(config);
            // In the place of `-F none`, with which it begins.
            command.args(plain.get_args().skip(2));
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            Ok(command)
        };
        Sides::of(file(sshd.tunnel()), remotes, ssh)
    }

    fn of(
        file: TunnelFile,
        remotes: &[u16],
        ssh: impl Fn(&[(u16, u16)]) -> Result<Command>,
    ) -> Result<Sides> {
        let locals = || remotes.iter().map(|_| net::free_port()).collect::<Result<Vec<_>>>();
        let (theirs, ours) = (locals()?, locals()?);
        let forwards: Vec<_> = theirs.iter().copied().zip(remotes.iter().copied()).collect();
        let ssh = Running::spawn(&mut ssh(&forwards)?)?;
        for &local in &theirs {
            wait::until("ssh listens", wait::SOON, || net::connect(local, wait::SOON).is_ok())?;
        }
        let file = ours.iter().zip(remotes).fold(file, |file, (local, remote)| file.forward(*local, *remote));
        let world = world(&[file])?;
        Ok(Sides { _ssh: ssh, world, ports: [theirs, ours] })
    }

    /// Measures both, ssh first. Each is given its local ports.
    pub(crate) fn each(&self, mut measure: impl FnMut(&[u16]) -> Result<f64>) -> Result<[f64; 2]> {
        Ok([measure(&self.ports[0])?, measure(&self.ports[1])?])
    }
}

/// A daemon with these tunnels, all up.
pub(crate) fn world(files: &[TunnelFile]) -> Result<World> {
    let mut world = World::new()?;
    world.quiet();
    for (number, file) in files.iter().enumerate() {
        world.write(&name(number), file)?;
    }
    world.start()?;
    until_all_up(&world, files.len(), wait::SOON)?;
    Ok(world)
}

/// What the tunnel of that number is called.
pub(crate) fn name(number: usize) -> String {
    format!("bench-{number}")
}

/// Waits until `count` tunnels are up.
pub(crate) fn until_all_up(world: &World, count: usize, patience: Duration) -> Result<()> {
    wait::until("all tunnels are up", patience, || up(world).is_ok_and(|up| up == count))
        .with_context(|| world.log())
}

/// How many tunnels are up.
pub(crate) fn up(world: &World) -> Result<usize> {
    let status = world.status()?;
    let tunnels = status["tunnels"].as_array().context("tunnels is a list")?;
    Ok(tunnels.iter().filter(|tunnel| tunnel["state"] == "up").count())
}

/// Lets known_hosts know the server at that port too.
fn know_at(sshd: &Sshd, at: u16) -> Result<()> {
    if at != sshd.port() {
        let line = sshd.known_hosts_line()?.replacen(&sshd.port().to_string(), &at.to_string(), 1);
        File::options().append(true).open(sshd.known_hosts())?.write_all(line.as_bytes())?;
    }
    Ok(())
}

/// Tries until an echo at the other end of `port` answers.
pub(crate) fn first_byte(port: u16) -> Result<()> {
    let began = Instant::now();
    while !net::echoes(port, Duration::from_secs(10)) {
        ensure!(began.elapsed() < wait::SOON, "no byte came through port {port}");
        wait::pace(Instant::now() + Duration::from_millis(1));
    }
    Ok(())
}
