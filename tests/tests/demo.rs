//! The demo ends well, both ways.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use nbtunnel_tests::programs::Programs;
use nbtunnel_tests::told::{Told, tell};

fn demo(args: &[&str]) -> Result<Told> {
    let programs = Programs::find()?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
    command.args(args);
    if let Some(dir) = programs.nbctl.parent() {
        command.env("NBTUNNEL_BIN_DIR", dir);
    }
    let told = tell(&mut command, &[], Duration::from_secs(120))?;
    ensure!(told.code == 0, "the demo failed: {told:?}");
    ensure!(told.stdout.contains("alice"), "no table was shown: {told:?}");
    ensure!(told.stdout.ends_with("Every step held.\n"), "{told:?}");
    Ok(told)
}

#[test]
fn every_step_holds_with_the_server_inside() -> Result<()> {
    demo(&["--once"]).map(drop)
}

#[test]
fn every_step_holds_with_a_real_sshd() -> Result<()> {
    let told = demo(&["--once", "--sshd"])?;
    ensure!(told.stdout.contains("a real sshd"), "{told:?}");
    Ok(())
}
