//! Our line in the ssh_config of the account: where it has to stand, and where that file is.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nbtunnel_tests::child::with_mounts;
use nbtunnel_tests::terminal::Typist;
use nbtunnel_tests::told::{Told, tell};
use nbtunnel_tests::{programs, wait};

use crate::inner::Place;

/// What ssh would do for alice by this file.
fn asked(file: &Path) -> Result<String> {
    let output = Command::new(programs::system("ssh")?).arg("-F").arg(file).args(["-G", "alice"]).output()?;
    ensure!(output.status.success(), "{output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn a_line_that_came_to_stand_below_a_host_is_put_to_the_top() -> Result<()> {
    let place = Place::new()?;
    place.world.wait_for("alice", "up")?;
    let into = place.world.path("config_of_ssh");
    let at = into.display().to_string();
    let mine = "Host other\n  Port 1\n";
    let export =
        |more: &[&str]| place.world.nbctl([&["export", "ssh-config", "--yes", "--into", &at], more].concat());
    fs::write(&into, mine)?;
    ensure!(export(&[])?.code == 0);
    let line = fs::read_to_string(&into)?.lines().next().context("it is there")?.to_owned();
    let good = format!("{line}\n{mine}");
    ensure!(asked(&into)?.contains("proxycommand "), "ssh does not know alice");
    // Above every Host it may stand where it likes.
    let moved = format!("User me\n  {line}\n{mine}");
    fs::write(&into, &moved)?;
    ensure!(export(&[])?.stderr.contains("nothing changes") && asked(&into)?.contains("proxycommand "));
    for below in
        [format!("{mine}{line}\n"), format!("{mine}  {line}"), format!("Host other\n{line}\n  Port 1\n")]
    {
        fs::write(&into, &below)?;
        ensure!(!asked(&into)?.contains("proxycommand "), "the premise: {below}");
        let told = export(&[])?;
        ensure!(told.code == 0 && told.stderr.contains(&format!("+{line}\n")), "{told:?}");
        ensure!(fs::read_to_string(&into)? == good && asked(&into)?.contains("proxycommand "));
        fs::write(&into, &below)?;
        ensure!(export(&["--remove"])?.code == 0 && fs::read_to_string(&into)? == mine);
        ensure!(export(&[])?.code == 0);
    }
    ensure!(export(&["--remove"])?.code == 0 && fs::read_to_string(&into)? == mine);
    Ok(())
}

#[test]
fn unless_told_otherwise_it_is_the_file_that_ssh_reads_whatever_home_says() -> Result<()> {
    let place = Place::new()?;
    place.world.wait_for("alice", "up")?;
    let (home, passwd) = (place.world.path("account"), place.world.path("passwd"));
    fs::create_dir(&home)?;
    fs::write(&passwd, format!("somebody:x:0:0::{}:/bin/sh\n", home.display()))?;
    let script = format!("mount --bind {} /etc/passwd", passwd.display());
    let there = |command: &Command| with_mounts(&script, command);
    let run = |command: &Command| -> Result<Told> { tell(&mut there(command), &[], wait::SOON) };
    let config = home.join(".ssh/config");
    let export = there(&place.world.nbctl_command(["export", "ssh-config"]));
    for (answer, code) in [("n", 4), ("y", 0)] {
        ensure!(!config.exists(), "it was written before anybody said yes");
        let mut person = Typist::run(&export)?;
        person.sees("+Include ")?;
        person.answers("Write this?", answer)?;
        ensure!(person.ends()? == code, "{}", person.shown());
    }
    let mode = |path: &Path| -> Result<u32> { Ok(fs::metadata(path)?.permissions().mode() & 0o777) };
    ensure!((mode(&home.join(".ssh"))?, mode(&config)?) == (0o700, 0o600));
    ensure!(!place.world.path("home/.ssh").exists(), "$HOME is not where ssh looks");
    let mut ssh = place.world.command(&programs::system("ssh")?);
    let told = run(ssh.args(["-o", "BatchMode=yes", "-o", "IdentityAgent=none", "alice", "echo", "there"]))?;
    ensure!(told.code == 0 && told.stdout == "there\n", "{told:?}");
    let told = run(&place.world.nbctl_command(["export", "ssh-config", "--remove", "--yes"]))?;
    ensure!(told.code == 0 && !config.exists(), "{told:?}");
    Ok(())
}
