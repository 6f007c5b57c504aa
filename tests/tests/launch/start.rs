//! One server, however often and by whomever it is started.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nbtunnel_core::{FailureKind, Target};
use nbtunnel_tests::child::{Running, Signal, signal_pid};
use nbtunnel_tests::here::Here;
use nbtunnel_tests::{Sshd, wait};
use nbtunneld::forward::far_side::{FarSide, Opening};
use nbtunneld::launch::{Begun, log, start, stop};

use super::yard::{Yard, ask, did, lives, on_runtime, ours};

#[test]
fn a_server_outlives_what_started_it_is_started_once_and_is_ended() -> Result<()> {
    let yard = Yard::new()?;
    let launch = yard.launch(yard.small("hello"));
    let (pid, port) = ours(&did(start(yard.far(), &launch))?)?;
    let said = ask(port)?;
    ensure!(said.words[1..] == ["hello"] && said.dir == yard.home().canonicalize()?, "{:?}", said.words);
    ensure!((yard.ports.0..=yard.ports.1).contains(&port), "{port} of {:?}", yard.ports);

    // Somebody else, later, on another runtime.
    let again = did(start(yard.far(), &launch))?;
    ensure!(again == Begun::Running { pid, port: Some(port), edited: false }, "{again:?}");
    ensure!(yard.servers() == [said.pid]);

    // What it wrote has a token and turns the screen black.
    let written = wait::until_some("it has written its address", wait::SOON, || {
        on_runtime(log(yard.far(), &launch, 5)).ok().filter(|log| !log.is_empty())
    })?;
    ensure!(written.contains(&format!("127.0.0.1:{port}/?token=…")), "{written}");
    ensure!(!written.contains("secret") && !written.contains('\u{1b}'), "{written}");
    let mode = |path| fs::metadata(path).map(|about| about.permissions().mode() & 0o777);
    ensure!(mode(yard.state()?)? == 0o700 && mode(yard.state()?.join("log"))? == 0o600);

    did(stop(yard.far(), &launch, None))?;
    ensure!(yard.servers().is_empty() && !lives(pid), "it is ended");
    did(stop(yard.far(), &launch, None)).context("a second stop is none")?;

    // The next one writes anew, and the last log is kept.
    let (_, port) = ours(&did(start(yard.far(), &launch))?)?;
    ask(port)?;
    ensure!(fs::read_to_string(yard.state()?.join("log.1"))?.contains("token=secret"));
    Ok(())
}

#[test]
fn ten_who_start_it_at_once_start_one() -> Result<()> {
    let yard = Yard::new()?;
    let launch = Arc::new(yard.launch(yard.small("one")));
    let begun = on_runtime(async {
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..10 {
            let (far, launch) = (yard.far(), launch.clone());
            all.spawn(async move { start(far, &launch).await });
        }
        all.join_all().await
    });
    let begun = begun.into_iter().collect::<Result<Vec<_>, _>>().map_err(|why| anyhow::anyhow!("{why}"))?;
    let first: Vec<_> = begun.iter().filter_map(|begun| ours(begun).ok()).collect();
    ensure!(first.len() == 1, "{begun:?}");
    let rest = begun.iter().filter(|begun| matches!(begun, Begun::Running { pid, .. } if *pid == first[0].0));
    ensure!(rest.count() == 9, "{begun:?}");
    ask(first[0].1)?;
    ensure!(yard.servers().len() == 1, "{:?}", yard.servers());
    Ok(())
}

/// A far end whose link breaks after a while: the shell over there is killed.
struct Breaks(Here, Duration);

impl FarSide for Breaks {
    fn open(self: Arc<Self>, target: Target) -> Opening {
        Arc::new(self.0.clone()).open(target)
    }

    fn run(self: Arc<Self>, script: String, _: Duration) -> nbtunneld::forward::far_side::Running {
        Arc::new(self.0.clone()).run(script, self.1)
    }
}

#[test]
fn who_is_killed_while_starting_leaves_one_server_or_none_and_the_next_one_has_it() -> Result<()> {
    for round in 0..24 {
        let yard = Yard::new()?;
        let launch = yard.launch(yard.small("killed"));
        let after = Duration::from_millis(2 * round);
        let cut = on_runtime(start(Arc::new(Breaks(yard.here(), after)), &launch));
        ensure!(cut.is_err(), "nobody answers so soon: {cut:?}");
        if round % 3 == 0
            && let Some(pid) = yard.claimant()
        {
            // Not only the shell, also who held the claim.
            let _ = signal_pid(pid, Signal::Kill);
        }
        let port = match did(start(yard.far(), &launch))? {
            Begun::Ours { port, .. } => port,
            // Its port is not known before it was chosen.
            Begun::Running { .. } => wait::until_some("the first one got somewhere", wait::SOON, || {
                match on_runtime(start(yard.far(), &launch)) {
                    Ok(Begun::Running { port, .. }) => port,
                    Ok(Begun::Ours { port, .. }) => Some(port),
                    Err(_) => None,
                }
            })?,
        };
        ask(port).with_context(|| format!("round {round}"))?;
        ensure!(yard.servers().len() == 1, "round {round}: {:?}", yard.servers());
    }
    Ok(())
}

#[test]
fn a_server_whose_starter_was_killed_still_counts_until_it_is_gone() -> Result<()> {
    let yard = Yard::new()?;
    let launch = yard.launch(yard.small("orphan"));
    let (pid, port) = ours(&did(start(yard.far(), &launch))?)?;
    let server = ask(port)?.pid;
    signal_pid(pid, Signal::Kill)?;
    wait::until("the one who held the claim is gone", wait::SOON, || !lives(pid))?;
    let begun = did(start(yard.far(), &launch))?;
    ensure!(begun == Begun::Running { pid, port: Some(port), edited: false }, "{begun:?}");
    did(stop(yard.far(), &launch, None))?;
    ensure!(!lives(server), "its group is ended, though the leader is gone");
    let (next, port) = ours(&did(start(yard.far(), &launch))?)?;
    ensure!(next != pid);
    ask(port)?;
    Ok(())
}

#[test]
fn a_server_that_does_not_listen_to_a_request_is_killed() -> Result<()> {
    let yard = Yard::new()?;
    let launch = yard.launch(yard.small("stubborn"));
    let (_, port) = ours(&did(start(yard.far(), &launch))?)?;
    let server = ask(port)?.pid;
    did(stop(yard.far(), &launch, None))?;
    ensure!(!lives(server));
    Ok(())
}

#[test]
fn a_server_that_was_found_is_ended_if_it_is_the_users() -> Result<()> {
    let yard = Yard::new()?;
    let launch = yard.launch(yard.small("never started"));
    let mut own = Running::spawn(Command::new("sleep").arg("600"))?;
    did(stop(yard.far(), &launch, Some(own.id())))?;
    own.wait(wait::SOON)?;
    let mut other =
        Running::spawn(Command::new("setpriv").args(["--reuid", "12345", "--clear-groups", "sleep", "600"]))?;
    wait::until("it has become another's", wait::SOON, || {
        fs::read_to_string(format!("/proc/{}/status", other.id())).is_ok_and(|s| s.contains("Uid:\t12345"))
    })?;
    let why = on_runtime(stop(yard.far(), &launch, Some(other.id()))).expect_err("not ours");
    ensure!(why.kind == FailureKind::NotYours, "{why}");
    ensure!(other.ended().is_none(), "another user's process is left alone");
    Ok(())
}

#[test]
fn a_server_that_was_found_beside_the_one_that_was_started_is_left_alone() -> Result<()> {
    let yard = Yard::new()?;
    let launch = yard.launch(yard.small("started"));
    let (pid, port) = ours(&did(start(yard.far(), &launch))?)?;
    let server = ask(port)?.pid;
    let mut bystander = Running::spawn(Command::new("sleep").arg("600"))?;
    did(stop(yard.far(), &launch, Some(bystander.id())))?;
    ensure!(!lives(server) && !lives(pid), "what was started is ended");
    ensure!(bystander.ended().is_none(), "what was found may be another notebook's");
    Ok(())
}

#[test]
fn where_nothing_was_started_there_is_no_log() -> Result<()> {
    let yard = Yard::new()?;
    let why = on_runtime(log(yard.far(), &yard.launch("true"), 9)).expect_err("no log");
    ensure!(why.kind == FailureKind::NotebookMissing, "{why}");
    Ok(())
}

#[test]
fn a_server_outlives_the_session_over_which_it_was_started() -> Result<()> {
    let yard = Yard::new()?;
    let mut sshd = Sshd::start()?;
    let known = format!("UserKnownHostsFile={}", sshd.known_hosts().display());
    let (key, port) = (sshd.user_key().display().to_string(), sshd.port().to_string());
    let login = format!("{}@{}", sshd.user(), sshd.host());
    // The account's own home directory stays as it is.
    let shell = format!("cd {0} && exec env HOME={0} SHELL=/bin/bash sh", yard.home().display());
    let words =
        ["ssh", "-F", "none", "-i", &key, "-p", &port, "-o", &known, "-o", "BatchMode=yes", &login, &shell];
    let far = || Arc::new(yard.here().shell(&words));
    let launch = yard.launch(yard.small("far away"));
    // ssh ends only when nothing holds the session's output open any more.
    let (pid, port) = ours(&did(start(far(), &launch))?)?;
    let server = ask(port)?.pid;
    wait::until("the session is over", wait::SOON, || sshd.sessions().is_empty())?;
    sshd.stop()?;
    ensure!(ask(port)?.pid == server);
    sshd.start_again()?;
    ensure!(did(start(far(), &launch))? == Begun::Running { pid, port: Some(port), edited: false });
    did(stop(far(), &launch, None))?;
    ensure!(!lives(server));
    Ok(())
}
