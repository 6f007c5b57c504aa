//! Few descriptors and many connections.

#![cfg(target_os = "linux")]

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nbtunnel_tests::{Server, Sshd, World, net, wait};

/// The processor time that a process has used (proc(5)), in clock ticks of 10 ms.
fn ticks(pid: u32) -> Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<_> = stat.rsplit_once(')').context("it has a name")?.1.split_whitespace().collect();
    let of = |at: usize| fields.get(at).and_then(|word| word.parse::<u64>().ok()).context("a count of ticks");
    Ok(of(11)? + of(12)?)
}

#[test]
fn four_hundred_connections_with_256_descriptors_are_survived_and_told() -> Result<()> {
    let (sshd, echo) = (Sshd::start()?, Server::echo()?);
    let (mut world, local) = (World::new()?, net::free_port()?);
    world.write("alice", &sshd.tunnel().forward(local, echo.port()))?;

    let daemon = world.daemon_command();
    let mut limited = Command::new("sh");
    // The hard limit too, since the daemon raises the soft one to it.
    limited
        .args(["-c", "ulimit -n 256 && exec \"$@\"", "sh"])
        .arg(daemon.get_program())
        .args(daemon.get_args());
    limited.env_clear().envs(daemon.get_envs().filter_map(|(name, value)| Some((name, value?))));
    world.start_by(limited)?;
    world.wait_for("alice", "up")?;
    let pid = world.daemon()?.id();

    let mut many = Vec::new();
    for _ in 0..400 {
        many.push(net::connect(local, wait::SOON)?);
    }
    wait::until("a problem is shown", wait::SOON, || {
        world.status().is_ok_and(|status| status.to_string().contains("descriptor"))
    })?;
    wait::throughout("status answers", Duration::from_secs(2), || world.status().is_ok())?;
    // Left alone, so that all the time that is used is used for nothing.
    let before = ticks(pid)?;
    wait::pace(Instant::now() + Duration::from_secs(2));
    let used = ticks(pid)? - before;
    ensure!(used < 20, "it spins: {} ms of processor time in two seconds", used * 10);

    drop(many);
    wait::until("it carries again", wait::SOON, || net::echoes(local, Duration::from_secs(5)))?;
    wait::until("the problem is gone", wait::SOON, || {
        world.status().is_ok_and(|status| !status.to_string().contains("descriptor"))
    })?;
    ensure!(world.tunnel("alice")?["reconnects"] == 0, "the link was lost over it");
    Ok(())
}
