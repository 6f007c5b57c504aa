//! The ways to the machine of a job, with stand-ins for srun and ssh that write down how they were called.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use nbtunnel_core::{Job, JobState, Target};
use nbtunnel_tests::here::Here;
use nbtunnel_tests::wait;
use nbtunneld::forward::far_side::FarSide;
use nbtunneld::launch::{KnownWays, Node};
use tempfile::TempDir;

use super::did;

/// A login machine from which srun leads nowhere.
struct Login {
    dir: TempDir,
}

impl Login {
    /// With this ssh, in which `$master` is there once it has logged in.
    fn new(ssh: &str) -> Result<Login> {
        let login = Login { dir: tempfile::Builder::new().prefix("nbt-").tempdir()? };
        for (name, does) in [("srun", "echo no step >&2; exit 1"), ("ssh", ssh), ("squeue", "")] {
            let heard = login.path("heard").display().to_string();
            let master = login.path("master").display().to_string();
            let text = format!("#!/bin/sh\necho {name} \"$@\" >>{heard}\nmaster={master}\n{does}\n");
            fs::write(login.path(name), text)?;
            fs::set_permissions(login.path(name), PermissionsExt::from_mode(0o755))?;
        }
        Ok(login)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn here(&self) -> Here {
        let path = format!("{}:/usr/bin:/bin", self.dir.path().display());
        Here::new(self.dir.path())
            .env("PATH", path)
            .env("XDG_RUNTIME_DIR", self.dir.path().display().to_string())
    }

    /// How its programs were called since somebody asked.
    fn heard(&self) -> Vec<String> {
        let heard = fs::read_to_string(self.path("heard")).unwrap_or_default();
        let _ = fs::remove_file(self.path("heard"));
        heard.lines().map(str::to_owned).collect()
    }
}

const SHELL: &str = "exec sh -s";

const SHARED: &str = "case \"$*\" in
*' -O check '*) [ -e $master ];;
*' -W '*) [ ! -e $master.closed ] || { echo refused by peer >&2; exit 255; };;
*' true') : >$master;;
esac";

fn node(here: Here, ways: &KnownWays) -> Result<Arc<Node>> {
    let state = JobState::Running { node: "n1".into() };
    let job = Job { id: 7, state, word: "RUNNING".into(), left: None };
    Node::of(Arc::new(here), &job, ways.clone()).context("it runs")
}

#[test]
fn the_way_that_led_to_a_node_is_the_first_to_be_tried_again() -> Result<()> {
    let login = Login::new(SHELL)?;
    let ways = KnownWays::default();
    let counts = [3, 1].map(|calls| -> Result<()> {
        let ran = did(node(login.here(), &ways)?.run("echo here".into(), wait::SOON))?;
        ensure!(ran.output == b"here\n", "{ran:?}");
        let heard = login.heard();
        ensure!(heard.len() == calls && heard[calls - 1].starts_with("ssh"), "{heard:?}");
        Ok(())
    });
    counts.into_iter().collect()
}

#[test]
fn a_port_that_only_a_node_sees_is_a_socket_in_a_directory_of_ours_alone() -> Result<()> {
    let login = Login::new(SHARED)?;
    let shells = [&["dash"][..], &["bash", "--posix"], &["mksh"], &["busybox", "sh"], &["ksh"]];
    let mut before = None;
    for shell in shells {
        let node = node(login.here().shell(shell), &KnownWays::default())?;
        let place = || Target::Tcp("::1".into(), 8888);
        let Target::Socket(socket) = did(node.from_login(place()))? else {
            anyhow::bail!("{shell:?} has no socket")
        };
        let dir = Path::new(&socket).parent().context("it is somewhere")?;
        ensure!(dir.starts_with(login.dir.path()) && fs::metadata(dir)?.mode() & 0o777 == 0o700, "{dir:?}");
        ensure!(before.get_or_insert(socket.clone()) == &socket, "{shell:?}: always the same");
        let heard = login.heard();
        let last = heard.last().context("ssh is called")?;
        ensure!(last.ends_with(&format!("-O forward -L {socket}:[::1]:8888 -- n1")), "{heard:#?}");
        let logins = heard.iter().filter(|line| line.ends_with("-- n1 true")).count();
        ensure!(logins == usize::from(shell == ["dash"]), "one login serves all: {heard:#?}");
        // Asked again, it asks nobody.
        ensure!(did(node.from_login(place()))? == Target::Socket(socket) && login.heard().is_empty());
        ensure!(did(node.from_login(Target::Tcp("n1".into(), 8888)))? == Target::Tcp("n1".into(), 8888));
    }
    fs::write(login.path("master.closed"), "")?;
    let why = super::on_runtime(
        node(login.here(), &KnownWays::default())?.from_login(Target::Tcp("localhost".into(), 8888)),
    );
    ensure!(why.is_err_and(|why| why.message.ends_with("refused by peer")));
    Ok(())
}

#[test]
fn a_directory_that_others_may_enter_or_have_made_holds_no_socket() -> Result<()> {
    let login = Login::new(SHARED)?;
    let squatted = login.path("nbtunnel-nodes");
    let elsewhere = login.path("elsewhere");
    fs::create_dir(&elsewhere)?;
    fs::set_permissions(&elsewhere, PermissionsExt::from_mode(0o700))?;
    type Squat = fn(&Path, &Path) -> std::io::Result<()>;
    let squats: [Squat; 3] = [
        |squatted, _| {
            fs::create_dir(squatted)?;
            fs::set_permissions(squatted, PermissionsExt::from_mode(0o750))
        },
        |squatted, _| {
            fs::set_permissions(squatted, PermissionsExt::from_mode(0o700))?;
            std::os::unix::fs::chown(squatted, Some(65534), None)
        },
        |squatted, elsewhere| {
            fs::remove_dir(squatted)?;
            std::os::unix::fs::symlink(elsewhere, squatted)
        },
    ];
    for squat in squats {
        squat(&squatted, &elsewhere)?;
        let node = node(login.here(), &KnownWays::default())?;
        let reached = did(node.from_login(Target::Tcp("localhost".into(), 8888)))?;
        ensure!(reached.to_string().starts_with("/tmp/nbtunnel-nodes-"), "{reached}");
        // Unless somebody keeps something there.
        let _ = Path::new(&reached.to_string()).parent().map(fs::remove_dir);
    }
    Ok(())
}
