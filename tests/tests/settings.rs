//! `[daemon]` in nbtunnel.toml takes effect while the daemon runs.

use anyhow::{Result, ensure};
use nbtunnel_tests::{Sshd, World, net, wait};

#[test]
fn what_is_logged_follows_the_file() -> Result<()> {
    let (sshd, mut world) = (Sshd::start()?, World::new()?);
    let settings = world.config_dir().join("nbtunnel.toml");
    world.write("alice", &sshd.tunnel().forward(net::free_port()?, 1))?;
    std::fs::write(&settings, "[daemon]\nlog = \"error\"\n")?;
    world.log_as_the_file_says();
    world.start()?;
    world.wait_for("alice", "up")?;
    ensure!(world.nbctl(["restart", "alice", "--wait=20"])?.code == 0);
    ensure!(!world.log().contains("closing, was up"), "logged below the level:\n{}", world.log());

    std::fs::write(&settings, "[daemon]\nlog = \"info\"\n")?;
    wait::until("transitions are logged", wait::SOON, || {
        world.nbctl(["restart", "alice", "--wait=20"]).is_ok_and(|told| told.code == 0)
            && world.log().contains("closing, was up")
    })
}
