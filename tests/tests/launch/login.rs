//! Where Slurm's programs are, if only a login shell knows that: it is asked seldom.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use nbtunnel_core::{Failure, Job, JobState};
use nbtunnel_tests::here::Here;
use nbtunnel_tests::wait;
use nbtunneld::forward::far_side::FarSide;
use nbtunneld::launch::{KnownWays, Node, queue};

use super::yard::{Yard, did, on_runtime};

/// A login machine whose usual `PATH` lacks Slurm.
struct Login {
    yard: Yard,
}

impl Login {
    fn new() -> Result<Login> {
        let login = Login { yard: Yard::new()? };
        login.yard.stand_in(
            "login",
            "echo asked >>~/logins\nPATH=$PATH:$(cat ~/path) SLURM_CONF=/etc/$(cat ~/path)\n\
             export PATH SLURM_CONF\nexec sh -c \"$3\"",
        )?;
        // This machine's own cluster is none of the test's.
        let tools = login.yard.home().join("tools");
        fs::create_dir(&tools)?;
        for tool in fs::read_dir("/usr/bin")?.flatten() {
            if !["squeue", "srun"].iter().any(|name| tool.file_name() == *name) {
                symlink(tool.path(), tools.join(tool.file_name()))?;
            }
        }
        login.has_slurm_in("slurm")?;
        Ok(login)
    }

    /// That is where a login finds it from now on, and nowhere else.
    fn has_slurm_in(&self, place: &str) -> Result<()> {
        let dir = self.yard.home().join(place);
        for (name, does) in [
            ("squeue", "echo $SLURM_CONF >~/conf; [ ! -e ~/down ] || { echo down >&2; exit 1; }"),
            ("srun", "exec sh -s"),
        ] {
            self.yard.stand_in(name, does)?;
            fs::create_dir_all(&dir)?;
            fs::rename(self.yard.home().join("bin").join(name), dir.join(name))?;
        }
        self.yard.write("path", &dir.display().to_string())
    }

    fn far(&self) -> Arc<Here> {
        let home = self.yard.home().display();
        Arc::new(
            self.yard.here().env("PATH", format!("{home}/tools")).env("SHELL", format!("{home}/bin/login")),
        )
    }

    fn asks(&self) -> Result<Option<Job>, Failure> {
        on_runtime(queue(self.far(), &self.yard.batch()))
    }

    /// The queue was asked once more, and answered; so often has the login shell been asked by then.
    fn logins(&self) -> Result<usize> {
        self.asks().map_err(|why| anyhow::anyhow!("{why}"))?;
        Ok(fs::read_to_string(self.yard.home().join("logins")).unwrap_or_default().lines().count())
    }

    fn kept(&self) -> Result<PathBuf> {
        let all = fs::read_dir(self.yard.home().join(".local/state/nbtunnel"))?.flatten();
        let mut kept = all.filter(|entry| entry.file_name().to_string_lossy().starts_with("slurm."));
        Ok(kept.next().context("nothing is kept")?.path())
    }
}

#[test]
fn a_login_shell_is_asked_once_where_slurm_is_and_again_when_it_is_not_there() -> Result<()> {
    let login = Login::new()?;
    for _ in 0..3 {
        ensure!(login.logins()? == 1);
    }
    let conf = fs::read_to_string(login.yard.home().join("conf"))?;
    ensure!(conf == format!("/etc/{}/slurm\n", login.yard.home().display()), "{conf}");
    ensure!(fs::metadata(login.kept()?)?.permissions().mode() & 0o777 == 0o600);
    // So do they who go to a job's machine.
    let state = JobState::Running { node: "n1".into() };
    let job = Job { id: 7, state, word: "RUNNING".into(), left: None };
    let node = Node::of(login.far(), &job, KnownWays::default()).context("it runs")?;
    ensure!(did(node.run("echo there".into(), wait::SOON))?.output == b"there\n");
    ensure!(login.logins()? == 1);

    fs::rename(login.yard.home().join("slurm"), login.yard.home().join("slurm-23"))?;
    login.has_slurm_in("slurm-24")?;
    ensure!(login.logins()? == 2 && login.logins()? == 2);
    let conf = fs::read_to_string(login.yard.home().join("conf"))?;
    ensure!(conf.ends_with("slurm-24\n"), "{conf}");
    Ok(())
}

#[test]
fn what_was_kept_and_led_to_a_failure_is_asked_for_anew() -> Result<()> {
    let login = Login::new()?;
    ensure!(login.logins()? == 1);
    login.yard.write("down", "")?;
    ensure!(login.asks().is_err_and(|why| why.message.contains("down")));
    fs::remove_file(login.yard.home().join("down"))?;
    // Its configuration may lie elsewhere by now.
    ensure!(login.logins()? == 2 && login.logins()? == 2);
    Ok(())
}

#[test]
fn what_somebody_else_keeps_there_is_not_believed() -> Result<()> {
    let login = Login::new()?;
    ensure!(login.logins()? == 1);
    let theirs = login.yard.home().join("theirs");
    login.yard.stand_in("squeue", ": >~/deceived")?;
    fs::rename(login.yard.home().join("bin"), &theirs)?;
    let kept = login.kept()?;
    fs::write(&kept, format!("PATH={}\n", theirs.display()))?;
    chown(&kept, Some(12345), None)?;
    login.yard.stand_in("login", &fs::read_to_string(theirs.join("login"))?)?;
    ensure!(login.logins()? == 2 && !login.yard.home().join("deceived").exists());
    // Of the user's own, whatever is no such line is nothing.
    fs::write(&kept, ": >~/deceived\nPATH=$(: >~/deceived)\n`: >~/deceived`\n")?;
    ensure!(login.logins()? == 3 && !login.yard.home().join("deceived").exists());
    Ok(())
}
