//! Whoever submits a job dies, or the controller is down, or freezes and takes the job when it goes on.

use std::path::Path;

use nbtunnel_tests::child::{Signal, signal_pid};
use nbtunnel_tests::programs::write_program;

use super::*;

#[test]
fn what_a_frozen_controller_takes_later_is_one_job_and_no_stop_says_it_is_cancelled_before() -> Result<()> {
    let cluster = Cluster::start()?;
    let batch = Arc::new(cluster.batch());
    // The controller freezes after the queue was asked.
    let bin = cluster.home.path().join("bin");
    fs::create_dir(&bin)?;
    let counted =
        "#!/bin/sh\ncd; echo >>asked\nwhile [ ! -e go ]; do sleep 0.05; done\nexec /usr/bin/sbatch \"$@\"\n";
    write_program(&bin.join("sbatch"), counted)?;
    let far = || Arc::new(cluster.here().env("PATH", format!("{}:/usr/bin:/bin", bin.display())));
    let asked = cluster.home.path().join("asked");
    let first = std::thread::scope(|scope| {
        let submits = scope.spawn(|| on_runtime(submit(far(), &batch)));
        wait::until("sbatch is called", wait::SOON, || asked.exists())?;
        cluster.slurm.signal_controller(Signal::Stop)?;
        fs::write(cluster.home.path().join("go"), "")?;
        anyhow::Ok(submits.join().expect("no panic"))
    })?;
    let why = first.expect_err("nobody answers");
    ensure!(why.message.contains("nobody knows yet"), "{why}");
    let why = on_runtime(cancel(far(), &batch, None)).expect_err("nobody knows what to cancel");
    ensure!(why.message.contains("does not say which jobs there are"), "{why}");

    cluster.slurm.signal_controller(Signal::Cont)?;
    let job = wait::until_some("the job shows up", SCHEDULED, || on_runtime(submit(far(), &batch)).ok())?;
    ensure!(cluster.count()? == 1, "{job:?} {:?}", cluster.slurm.jobs());
    ensure!(fs::read_to_string(&asked)?.lines().count() == 1, "sbatch was called again");
    did(cancel(far(), &batch, None))?;
    cluster.until("it is gone", || Ok(cluster.count()? == 0))
}

#[test]
fn who_is_killed_while_the_cluster_hears_him_is_not_followed_by_a_second_job() -> Result<()> {
    let cluster = Cluster::start()?;
    let batch = Arc::new(cluster.batch());
    cluster.fill()?;
    // Slow enough for somebody to be killed meanwhile.
    let bin = cluster.home.path().join("bin");
    fs::create_dir(&bin)?;
    let slow =
        "#!/bin/sh\ncd; : >heard\nwhile [ ! -e go ]; do sleep 0.05; done\nexec /usr/bin/sbatch \"$@\"\n";
    write_program(&bin.join("sbatch"), slow)?;
    let far = || Arc::new(cluster.here().env("PATH", format!("{}:/usr/bin:/bin", bin.display())));
    on_runtime(async {
        let first = tokio::spawn({
            let (far, batch) = (far(), batch.clone());
            async move { submit(far, &batch).await }
        });
        tokio::task::spawn_blocking({
            let heard = cluster.home.path().join("heard");
            move || wait::until("sbatch has begun", wait::SOON, || heard.exists())
        })
        .await??;
        signal_pid(claimant(cluster.home.path())?, Signal::Kill)?;
        first.abort();
        let second = tokio::spawn({
            let (far, batch) = (far(), batch.clone());
            async move { submit(far, &batch).await }
        });
        // Longer than anybody pauses who only doubts.
        let (span, waits) = (Duration::from_secs(5), second.abort_handle());
        let look =
            move || wait::throughout("what a dead one began is not over", span, || !waits.is_finished());
        tokio::task::spawn_blocking(look).await??;
        fs::write(cluster.home.path().join("go"), "")?;
        let job = second.await?.map_err(|why| anyhow::anyhow!("{why}"))?;
        ensure!(cluster.count()? == 1, "{job:?} {:?}", cluster.slurm.jobs());
        Ok(())
    })
}

/// The process that holds the only claim of a user.
fn claimant(home: &Path) -> Result<u32> {
    let state = fs::read_dir(home.join(".local/state/nbtunnel"))?.next().context("nothing is claimed")??;
    let claim = fs::read_link(state.path().join("claim.1"))?;
    Ok(claim.to_string_lossy().split(' ').nth(1).context("a claim names a process")?.parse()?)
}

#[test]
fn a_controller_that_is_down_is_a_failure_and_never_no_job() -> Result<()> {
    let mut cluster = Cluster::start()?;
    let batch = cluster.batch();
    let job = did(submit(cluster.far(), &batch))?;
    cluster.runs(&batch)?;
    cluster.slurm.stop_controller()?;
    let why = on_runtime(queue(cluster.far(), &batch)).expect_err("nobody knows whether there is a job");
    ensure!(why.message.contains("Unable to contact slurm controller"), "{why}");
    let why = on_runtime(submit(cluster.far(), &batch)).expect_err("nothing is submitted blindly");
    ensure!(why.message.contains("does not say which jobs there are"), "{why}");
    cluster.slurm.start_controller()?;
    ensure!(did(submit(cluster.far(), &batch))?.id == job.id && cluster.count()? == 1);
    Ok(())
}
