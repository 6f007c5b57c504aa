//! A controller that freezes while a job is submitted, and takes it when it goes on.

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
    fs::write(bin.join("sbatch"), counted)?;
    fs::set_permissions(bin.join("sbatch"), PermissionsExt::from_mode(0o755))?;
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
    let why = on_runtime(cancel(far(), &batch)).expect_err("nobody knows what to cancel");
    ensure!(why.message.contains("does not say which jobs there are"), "{why}");

    cluster.slurm.signal_controller(Signal::Cont)?;
    let job = wait::until_some("the job shows up", SCHEDULED, || on_runtime(submit(far(), &batch)).ok())?;
    ensure!(cluster.count()? == 1, "{job:?} {:?}", cluster.slurm.jobs());
    ensure!(fs::read_to_string(&asked)?.lines().count() == 1, "sbatch was called again");
    did(cancel(far(), &batch))?;
    cluster.until("it is gone", || Ok(cluster.count()? == 0))
}
