//! The ways to the machine of a job, with stand-ins for srun and ssh that write down how they were called.

use std::fs;
use std::future::ready;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nbtunnel_core::{Failure, FailureKind, Job, JobState, Target};
use nbtunnel_tests::here::Here;
use nbtunnel_tests::programs::write_program;
use nbtunnel_tests::{net, wait};
use nbtunneld::forward::far_side::{FarSide, Going, Opening, Running};
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
        let login = Login { dir: tempfile::Builder::new().prefix("nbt-").tempdir_in("/var/tmp")? };
        for (name, does) in [("srun", "echo no step >&2; exit 1"), ("ssh", ssh), ("squeue", "")] {
            let heard = login.path("heard").display().to_string();
            let master = login.path("master").display().to_string();
            let text = format!("#!/bin/sh\necho {name} \"$@\" >>{heard}\nmaster={master}\n{does}\n");
            write_program(&login.path(name), &text)?;
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
    node_of(Arc::new(here), ways)
}

fn node_of(login: Arc<dyn FarSide>, ways: &KnownWays) -> Result<Arc<Node>> {
    let state = JobState::Running { node: "n1".into() };
    let job = Job { id: 7, state, word: "RUNNING".into(), left: None };
    Node::of(login, &job, ways.clone()).context("it runs")
}

/// A login machine by way of which this one logs in to `node`, where there is one.
struct Jump {
    login: Here,
    node: Option<Here>,
    asked: Arc<AtomicUsize>,
}

impl FarSide for Jump {
    fn open(self: Arc<Self>, target: Target) -> Opening {
        Arc::new(self.login.clone()).open(target)
    }

    fn run(self: Arc<Self>, script: String, patience: Duration) -> Running {
        Arc::new(self.login.clone()).run(script, patience)
    }

    fn beyond(self: Arc<Self>, machine: String) -> Going {
        self.asked.fetch_add(1, Relaxed);
        let node = self.node.clone().map(|node| Arc::new(node) as Arc<dyn FarSide>);
        let no = || Failure::new(FailureKind::AuthRefused, format!("{machine} refused every key"), "add one");
        Box::pin(ready(node.ok_or_else(no)))
    }
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
    let shells = [&["dash"][..], &["bash", "--posix"], &["mksh"], &["busybox", "sh"], &["ksh93"]];
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
    ensure!(why.is_err_and(|why| why.message.contains("does not get there: refused by peer;")));
    Ok(())
}

const CLOSED: &str = "echo no entry >&2; exit 255";

#[test]
fn where_ssh_does_not_get_there_from_the_login_machine_it_goes_from_here_by_way_of_it() -> Result<()> {
    let (login, there, listener) = (Login::new(CLOSED)?, tempfile::tempdir()?, net::listener()?);
    let port = listener.local_addr()?.port();
    let (asked, ways) = (Arc::<AtomicUsize>::default(), KnownWays::default());
    let by = |node: Option<Here>| {
        node_of(Arc::new(Jump { login: login.here(), node, asked: asked.clone() }), &ways)
    };
    let place = |port| Target::Tcp("127.0.0.1".into(), port);
    let machine = || Some(Here::new(there.path()).env("PATH", "/usr/bin:/bin").env("AM", "the node"));
    let expected = Target::Beyond { machine: "n1".into(), host: "127.0.0.1".into(), port };

    // Neither gets there.
    let why = super::on_runtime(by(None)?.from_login(place(port))).expect_err("nobody is let in");
    for said in ["no entry", "refused every key", "nor does ssh from here"] {
        ensure!(why.message.contains(said) && why.hint.contains("ssh -J"), "{said}: {why}");
    }
    let why = super::on_runtime(by(None)?.run("echo \"$AM\"".into(), wait::SOON)).expect_err("no way");
    ensure!(why.message.contains("no step") && why.message.contains("refused every key"), "{why}");

    // From here alone; what led there is tried first from then on, and leaves the others alone.
    login.heard();
    for calls in [3, 0] {
        let ran = did(by(machine())?.run("echo \"$AM\"".into(), wait::SOON))?;
        ensure!(ran.output == b"the node\n", "{ran:?}");
        let heard = login.heard();
        ensure!(heard.len() == calls, "{heard:?}");
    }
    for is_first in [true, false] {
        let (node, before) = (by(machine())?, asked.load(Relaxed));
        ensure!(did(node.from_login(place(port)))? == expected);
        ensure!(did(node.from_login(expected.clone()))? == expected);
        ensure!(did(node.from_login(place(port)))? == expected && asked.load(Relaxed) == before + 1);
        ensure!(login.heard().is_empty() != is_first);
    }
    // Nobody listens there.
    let nobody = net::free_port()?;
    let why = super::on_runtime(by(machine())?.from_login(place(nobody))).expect_err("nobody listens");
    for said in ["no entry", "ssh from here by way of it does, but", &nobody.to_string()] {
        ensure!(why.message.contains(said) && !why.hint.contains("ssh -J"), "{said}: {why}");
    }

    // And back to what works.
    let text = format!("#!/bin/sh\nmaster={}\n{SHARED}\n", login.path("master").display());
    write_program(&login.path("ssh"), &text)?;
    ensure!(matches!(did(by(None)?.from_login(place(port)))?, Target::Socket(_)));
    let before = asked.load(Relaxed);
    ensure!(matches!(did(by(None)?.from_login(place(port)))?, Target::Socket(_)));
    ensure!(asked.load(Relaxed) == before, "it is tried in vain again");
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

/// Where the machine's directory for what is temporary is `tmp` of this one.
fn with_own_tmp(login: &Login) -> Here {
    let tmp = login.path("tmp").display().to_string();
    let line = "mount --bind \"$0\" /tmp && exec sh \"$@\"";
    login.here().env("XDG_RUNTIME_DIR", "").shell(&["unshare", "--mount", "sh", "-c", line, &tmp])
}

#[test]
fn who_takes_the_usual_directory_first_keeps_nobody_from_a_nodes_ports() -> Result<()> {
    let login = Login::new(SHARED)?;
    let me = fs::metadata(login.dir.path())?.uid();
    let taken = login.path("tmp").join(format!("nbtunnel-nodes-{me}"));
    fs::create_dir_all(&taken)?;
    fs::set_permissions(&taken, PermissionsExt::from_mode(0o700))?;
    std::os::unix::fs::chown(&taken, Some(12345), None)?;
    // The directory of its socket, as the login machine calls it and as this one does.
    let reach = || -> Result<(PathBuf, PathBuf)> {
        let node = node(with_own_tmp(&login), &KnownWays::default())?;
        let socket = did(node.from_login(Target::Tcp("localhost".into(), 8888)))?.to_string();
        let dir = Path::new(&socket).parent().context("it is somewhere")?;
        Ok((dir.to_owned(), login.path("tmp").join(dir.strip_prefix("/tmp")?)))
    };
    let (dir, here) = reach()?;
    let about = fs::metadata(&here)?;
    ensure!(here != taken && (about.mode() & 0o777, about.uid()) == (0o700, me), "{dir:?}");
    ensure!(reach()?.0 == dir, "always the same");
    // Emptied at a boot, and made again.
    fs::remove_dir(&here)?;
    ensure!(reach()?.0 == dir && here.is_dir());
    // Or by somebody else before.
    std::os::unix::fs::chown(&here, Some(12345), None)?;
    let (another, its) = reach()?;
    ensure!(another != dir && fs::metadata(&its)?.uid() == me, "{another:?}");
    ensure!(reach()?.0 == another);
    fs::remove_dir(&its)?;
    std::os::unix::fs::symlink(login.dir.path(), &its)?;
    ensure!(reach()?.0 != another);
    Ok(())
}
