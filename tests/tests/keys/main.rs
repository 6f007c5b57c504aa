//! Keys, from `nbctl keygen` over the page of a platform (here: authorized_keys) to `nbctl key test`: with a real
//! ssh-keygen, a real sshd and a real terminal.
#![cfg(target_os = "linux")]

mod making;
mod trying;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use nbtunnel_tests::told::tell;
use nbtunnel_tests::{Told, World, programs, wait};
use serde_json::Value;

/// What ssh-keygen makes of it.
fn ssh_keygen(args: &[&str], file: &Path) -> Result<String> {
    let mut command = std::process::Command::new(programs::system("ssh-keygen")?);
    let told = tell(command.args(args).arg("-f").arg(file), &[], wait::SOON)?;
    ensure!(told.code == 0, "{told:?}");
    Ok(told.stdout.trim().to_owned())
}

fn json(told: &Told) -> Result<Value> {
    serde_json::from_str(&told.stdout).with_context(|| format!("no JSON: {told:?}"))
}

/// Runs `nbctl` with `args`, in words, and with one path behind them.
fn with_path(world: &World, args: &[&str], path: &Path) -> Result<Told> {
    let path = path.to_str().context("no text")?;
    world.nbctl(args.iter().copied().chain([path]))
}
