//! What a file asks of the cluster, and what the cluster says to it.

use std::fs::{self, File};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use nbtunneld::launch::{cancel, queue, submit};

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

#[test]
fn a_script_that_makes_no_single_job_is_refused_before_it_is_submitted() -> Result<()> {
    let cluster = Cluster::start()?;
    let script = cluster.home.path().join("job.sh");
    let mut batch = cluster.batch();
    batch.spec.script = Some("~/job.sh".into());
    batch.command = None;
    let write = |lines: &str| fs::write(&script, format!("#!/bin/sh\n{lines}\nexec sleep 600\n"));
    for (lines, named) in [
        ("#SBATCH --comment=x --array=1-3", "--array=1-3"),
        ("#SBATCH -c 1\n\n # what follows\n#SBATCH\t-a 1-3", "-a"),
        ("#SBATCH \"--array\" 1-3", "--array"),
        ("#SBATCH --comment=\"a # b\" --ar=1-3", "--ar=1-3"),
        ("#SBATCH--array=1-3", "--array=1-3"),
        ("#SBATCH --hold -Ha1-3", "-Ha1-3"),
        ("#SBATCH -c 1 -W # for its end", "-W"),
        ("#SBATCH --exclusive --wait", "--wait"),
        ("#SBATCH --test", "--test"),
        ("#SBATCH -c 1\n#SBATCH hetjob\n#SBATCH -c 1", "hetjob"),
        ("#PBS -t 1-3", "-t"),
    ] {
        write(lines)?;
        let why = on_runtime(submit(cluster.far(), &batch)).expect_err("that makes no single job");
        ensure!(why.message.contains(&format!("asks for {named},")), "{lines}: {why}");
    }
    ensure!(cluster.count()? == 0, "{:?}", cluster.slurm.jobs());
    // Nothing of this means that to sbatch.
    for harmless in [
        "##SBATCH --array=1-3\n#SBATCH --wait-all-nodes=1 # --wait\ntrue\n#SBATCH --array=1-3",
        "#SBATCH --comment=\"run -a for all\" --comment 'uses -a'",
        "#SBATCH -J -a --mail-user -array\n#SBATCH -D/tmp",
        "#SBATCH --comment=x#y --array=1-3",
    ] {
        write(harmless)?;
        did(submit(cluster.far(), &batch)).context(harmless)?;
        ensure!(cluster.count()? == 1, "{harmless}: {:?}", cluster.slurm.jobs());
        did(cancel(cluster.far(), &batch, None))?;
        cluster.until("it is gone", || Ok(cluster.count()? == 0))?;
    }
    Ok(())
}

#[test]
fn what_old_jobs_wrote_is_cleared_after_a_month_and_nothing_else() -> Result<()> {
    let cluster = Cluster::start()?;
    let batch = cluster.batch();
    did(submit(cluster.far(), &batch))?;
    did(cancel(cluster.far(), &batch, None))?;
    cluster.until("it is gone", || Ok(cluster.count()? == 0))?;
    let kept = fs::read_dir(cluster.home.path().join(".local/state/nbtunnel"))?.next();
    let state = kept.context("nothing is kept")??.path();
    let days = |days: u64| SystemTime::now() - Duration::from_secs(days * 24 * 60 * 60);
    fs::create_dir(state.join("below"))?;
    for (name, age) in [("job-1.log", 40), ("job-2.log", 20), ("job-x.txt", 40), ("below/job-3.log", 40)] {
        File::create(state.join(name))?.set_modified(days(age))?;
    }
    did(submit(cluster.far(), &batch))?;
    let is_there = |name: &str| state.join(name).exists();
    ensure!(!is_there("job-1.log"), "it is never read again");
    ensure!(is_there("job-2.log") && is_there("job-x.txt") && is_there("below/job-3.log"));
    Ok(())
}
