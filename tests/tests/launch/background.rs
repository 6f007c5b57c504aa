//! Lines that put their server into the background and are over at once.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use nbtunnel_tests::child::{Signal, signal_pid};
use nbtunnel_tests::wait;
use nbtunneld::launch::{Begun, ended, start, stop};

use super::yard::{Yard, ask, did, ends, lives, on_runtime, ours};

#[test]
fn what_a_line_leaves_in_the_background_is_the_server_until_it_ends() -> Result<()> {
    for shell in
        [&["dash"][..], &["bash", "--posix"], &["mksh"], &["busybox", "sh"], &["zsh", "--emulate", "sh"]]
    {
        one_server(shell).with_context(|| format!("{shell:?}"))?;
    }
    Ok(())
}

fn one_server(shell: &[&str]) -> Result<()> {
    let yard = Yard::new()?;
    // Who has the claim is an `sh`, too.
    yard.stand_in("sh", &format!("exec {} \"$@\"", shell.join(" ")))?;
    let path = format!("{}/bin:/usr/bin:/bin", yard.home().display());
    let far = || Arc::new(yard.here().shell(shell).env("PATH", &path));
    let launch = yard.launch(format!("{} & echo behind", yard.small("behind")));
    let (pid, port) = ours(&did(start(far(), &launch))?)?;
    let server = ask(port)?.pid;
    for _ in 0..2 {
        let again = did(start(far(), &launch))?;
        ensure!(again == Begun::Running { pid, port: Some(port), edited: false }, "{again:?}");
    }
    ensure!(yard.servers() == [server] && on_runtime(ended(far(), &launch)).is_none());
    did(stop(far(), &launch, None))?;
    ensure!(!lives(server) && !lives(pid), "it is ended, and who had the claim");

    // It ends by itself, and so does the claim.
    let (pid, port) = ours(&did(start(far(), &launch))?)?;
    signal_pid(ask(port)?.pid, Signal::Kill)?;
    let why = wait::until_some("its end is told", wait::SOON, || on_runtime(ended(far(), &launch)))?;
    ensure!(why.message.contains("without an error") && why.message.contains("behind"), "{why}");
    wait::until("who had the claim is gone", wait::SOON, || !lives(pid))
}

#[test]
fn what_a_line_that_failed_leaves_behind_does_not_hide_that_it_failed() -> Result<()> {
    let yard = Yard::new()?;
    let launch = yard.launch("sleep 600 & echo no licence; exit 3");
    let why = ends(&yard, &launch)?;
    ensure!(why.message.contains("status 3") && why.message.contains("no licence"), "{why}");
    Ok(())
}
