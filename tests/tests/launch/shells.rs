//! The scripts at whatever far end: every `sh`, programs that do less than those of a large system, and systems on which
//! some are missing.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use nbtunnel_tests::wait;
use nbtunneld::launch::{Begun, log, start, stop};

use super::yard::{SHELLS, Yard, ask, did, lives, ours};

/// That a server is started by that `sh` and the programs in `bin` of the home directory, followed by those of `path`:
/// once, with signs of life, and ended.
fn serves(yard: &Yard, shell: &[&str], path: &str) -> Result<()> {
    let path = format!("{}/bin{path}", yard.home().display());
    let far = || Arc::new(yard.here().shell(shell).env("PATH", &path));
    let launch = yard.launch(yard.small("sh"));
    let (pid, port) = ours(&did(start(far(), &launch))?)?;
    let server = ask(port)?.pid;
    let sign = yard.state()?.join("alive.1");
    wait::until("it gives a sign of life", wait::SOON, || sign.exists())?;
    let again = did(start(far(), &launch))?;
    ensure!(again == Begun::Running { pid, port: Some(port), edited: false }, "{again:?}");
    ensure!(did(log(far(), &launch, 3))?.contains("listening"));
    did(stop(far(), &launch, None))?;
    ensure!(yard.servers().is_empty() && !lives(server) && !lives(pid), "something is left");
    ours(&did(start(far(), &launch))?)?;
    Ok(())
}

#[test]
fn every_shell_that_is_called_sh_runs_the_scripts() -> Result<()> {
    for shell in SHELLS {
        let yard = Yard::new()?;
        // The runner is an `sh`, too.
        yard.stand_in("sh", &format!("exec {} \"$@\"", shell.join(" ")))?;
        serves(&yard, shell, ":/usr/bin:/bin").with_context(|| format!("{shell:?}"))?;
    }
    Ok(())
}

/// Makes these programs those of the home directory's `bin`.
fn install(yard: &Yard, programs: &[&str], from: impl Fn(&str) -> String) -> Result<()> {
    fs::create_dir_all(yard.home().join("bin"))?;
    for program in programs {
        symlink(from(program), yard.home().join("bin").join(program))?;
    }
    Ok(())
}

#[test]
fn a_far_end_with_busybox_alone_runs_the_scripts() -> Result<()> {
    let yard = Yard::new()?;
    let applets = String::from_utf8(Command::new("busybox").arg("--list").output()?.stdout)?;
    let applets: Vec<_> = applets.lines().collect();
    install(&yard, &applets, |_| "/usr/bin/busybox".to_owned())?;
    serves(&yard, &["sh"], "")
}

#[test]
fn a_far_end_without_setsid_or_perl_runs_the_scripts_and_ends_what_they_started() -> Result<()> {
    let programs = [
        "awk", "bash", "cat", "chmod", "date", "env", "head", "id", "ln", "ls", "mkdir", "mv", "nohup", "ps",
        "readlink", "rm", "sed", "sh", "sleep", "sort", "stat", "tail", "touch", "tr", "uname",
    ];
    let place = |program: &str| {
        let place = ["/usr/bin", "/bin"].map(|dir| format!("{dir}/{program}"));
        place.into_iter().find(|place| Path::new(place).exists()).unwrap_or_default()
    };
    // What else makes a process group: Python, or bash.
    for also in [&["python3"][..], &[]] {
        let yard = Yard::new()?;
        install(&yard, &programs, place)?;
        install(&yard, also, place)?;
        serves(&yard, &["sh"], "").with_context(|| format!("with {also:?}"))?;
    }
    Ok(())
}
