//! What a file asks of the cluster, and what the cluster says to it.

use std::sync::Arc;

use anyhow::{Result, ensure};
use nbtunneld::launch::{queue, submit};

use super::{Cluster, did, on_runtime};

#[test]
fn what_the_cluster_refuses_is_told_in_its_words_and_may_be_corrected() -> Result<()> {
    let cluster = Cluster::start()?;
    let mut batch = cluster.batch();
    batch.spec.partition = Some("no such; partition".into());
    let why = on_runtime(submit(cluster.far(), &batch)).expect_err("there is none");
    ensure!(why.message.contains("Invalid partition name specified"), "{why}");
    // The user's own words and preferences hide nothing and change no name.
    batch.spec.partition = None;
    batch.spec.options = vec!["--comment=two words".into(), "-J".into(), "another".into()];
    let far = || {
        Arc::new(
            cluster
                .here()
                .env("SQUEUE_STATES", "SUSPENDED")
                .env("SQUEUE_FORMAT", "%i")
                .env("SBATCH_WAIT", "1"),
        )
    };
    let job = did(submit(far(), &batch))?;
    ensure!(did(submit(far(), &batch))?.id == job.id && cluster.count()? == 1);
    ensure!(did(queue(far(), &batch))?.is_some_and(|found| found.id == job.id));
    let comment = cluster.slurm.run("scontrol", &["show", "job", "-o", &job.id.to_string()])?;
    ensure!(
        comment.contains("Comment=two words") && comment.contains("JobName=nbtunnel-alice-"),
        "{comment}"
    );
    for option in ["--array=1-3", "-a1-3", "--wait"] {
        batch.spec.options = vec![option.into()];
        let why = on_runtime(submit(far(), &batch)).expect_err("that makes no single job");
        ensure!(why.message.contains(option), "{why}");
    }
    Ok(())
}
