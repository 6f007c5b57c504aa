//! A cluster that does not say yes or no: stand-ins for its programs, which take their time or say what a test wants.

use std::fs::{self, File};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use nbtunnel_core::Failure;
use nbtunnel_tests::child::{Signal, signal_pid};
use nbtunnel_tests::here::Here;
use nbtunnel_tests::wait;
use nbtunneld::launch::{Batch, cancel, job_log, queue, submit};

use super::yard::{SHELLS, Yard, did, on_runtime};

const TIMES_OUT: &str =
    "echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation' >&2; exit 1";

const NO_SUCH_JOB: &str = "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1";

struct Cluster {
    yard: Yard,
    /// What its login machine calls `sh`.
    shell: &'static [&'static str],
}

impl Cluster {
    /// Its `sbatch` does `sbatch`, in the words of a shell.
    fn new(sbatch: &str) -> Result<Cluster> {
        let cluster = Cluster { yard: Yard::new()?, shell: &["sh"] };
        let yard = &cluster.yard;
        yard.stand_in(
            "sbatch",
            "for word; do case $word in --job-name=*) echo \"${word#*=}\" >~/name ;; esac; done\n\
             echo asked >>~/asked\n. ~/sbatch",
        )?;
        yard.stand_in(
            "squeue",
            "[ ! -e ~/down ] || { echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1; }\n\
             [ ! -e ~/queue ] || for id in $(cat ~/queue); do\n\
             printf '%s\\037PENDING\\037\\037\\037N/A\\037Priority\\037%s\\n' $id \"$(cat ~/name)\"; done",
        )?;
        yard.stand_in("scontrol", NO_SUCH_JOB)?;
        yard.stand_in("scancel", "echo \"$@\" >>~/cancelled; rm -f ~/queue")?;
        cluster.answers(sbatch)?;
        Ok(cluster)
    }

    fn answers(&self, sbatch: &str) -> Result<()> {
        self.yard.write("sbatch", sbatch)
    }

    fn far(&self) -> Arc<Here> {
        let path = format!("{}/bin:/usr/bin:/bin", self.yard.home().display());
        Arc::new(self.yard.here().shell(self.shell).env("PATH", path))
    }

    fn batch(&self) -> Batch {
        self.yard.batch()
    }

    fn submit(&self) -> Result<u64, Failure> {
        on_runtime(submit(self.far(), &self.batch())).map(|job| job.id)
    }

    fn cancel(&self) -> Result<(), Failure> {
        on_runtime(cancel(self.far(), &self.batch(), None))
    }

    /// How often `sbatch` was called.
    fn asked(&self) -> usize {
        self.read("asked").lines().count()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.yard.home().join(name)).unwrap_or_default()
    }

    /// It takes the job after all.
    fn takes(&self, id: u64) -> Result<()> {
        self.yard.write("queue", &id.to_string())
    }

    /// The queue was heard again that long ago.
    fn heard(&self, ago: Duration) -> Result<()> {
        let file = File::options().write(true).open(self.yard.state()?.join("answers"))?;
        Ok(file.set_modified(SystemTime::now() - ago)?)
    }
}

#[test]
fn what_the_cluster_may_still_take_is_not_submitted_again() -> Result<()> {
    let cluster = Cluster::new(TIMES_OUT)?;
    for _ in 0..3 {
        let why = cluster.submit().expect_err("it timed out");
        ensure!(
            why.message.contains("Socket timed out") && why.message.contains("nobody knows yet"),
            "{why}"
        );
        ensure!(!why.hint.contains("correct what is asked"), "{why}");
        ensure!(cluster.asked() == 1, "sbatch was called once more: {why}");
    }
    // A slow controller takes it a minute later.
    cluster.heard(Duration::from_secs(60))?;
    cluster.takes(77)?;
    let id = cluster.submit().map_err(|why| anyhow::anyhow!("{why}"))?;
    ensure!((id, cluster.asked()) == (77, 1));
    // That one is settled: once it is over, the next one is submitted at once.
    fs::remove_file(cluster.yard.home().join("queue"))?;
    cluster.answers("echo 78; echo 78 >~/queue")?;
    let id = cluster.submit().map_err(|why| anyhow::anyhow!("{why}"))?;
    ensure!((id, cluster.asked()) == (78, 2));
    Ok(())
}

#[test]
fn a_doubt_is_over_when_the_queue_was_without_the_job_for_two_minutes_since_it_answered() -> Result<()> {
    let cluster = Cluster::new(TIMES_OUT)?;
    cluster.submit().expect_err("it timed out");
    cluster.submit().expect_err("nobody knows");
    // While it cannot be asked, no time passes.
    cluster.heard(Duration::from_secs(180))?;
    cluster.yard.write("down", "")?;
    let why = on_runtime(queue(cluster.far(), &cluster.batch())).expect_err("it is down");
    ensure!(why.message.contains("Unable to contact"), "{why}");
    fs::remove_file(cluster.yard.home().join("down"))?;
    cluster.submit().expect_err("its time begins anew");
    ensure!(cluster.asked() == 1);
    cluster.heard(Duration::from_secs(180))?;
    cluster.answers("echo '9;cluster'; echo 9 >~/queue")?;
    let id = cluster.submit().map_err(|why| anyhow::anyhow!("{why}"))?;
    ensure!((id, cluster.asked()) == (9, 2));
    Ok(())
}

#[test]
fn every_shell_that_is_called_sh_submits_once_asks_and_cancels() -> Result<()> {
    for shell in SHELLS {
        let mut cluster = Cluster::new("echo 41; echo 41 >~/queue")?;
        cluster.shell = shell;
        cluster.yard.stand_in("sh", &format!("exec {} \"$@\"", shell.join(" ")))?;
        let told = |why: Failure| anyhow::anyhow!("{shell:?}: {why}");
        for _ in 0..2 {
            ensure!(cluster.submit().map_err(told)? == 41 && cluster.asked() == 1, "{shell:?}");
        }
        let job = on_runtime(queue(cluster.far(), &cluster.batch())).map_err(told)?;
        ensure!(job.is_some_and(|job| job.id == 41), "{shell:?}");
        cluster.cancel().map_err(told)?;
        ensure!(cluster.read("cancelled") == "41\n", "{shell:?}: {}", cluster.read("cancelled"));
        let none = on_runtime(queue(cluster.far(), &cluster.batch())).map_err(told)?;
        ensure!(none.is_none(), "{shell:?}: {none:?}");
        cluster.answers(TIMES_OUT)?;
        for _ in 0..2 {
            let why = cluster.submit().expect_err("it timed out");
            ensure!(why.message.contains("nobody knows yet") && cluster.asked() == 2, "{shell:?}: {why}");
        }
        cluster.heard(Duration::from_secs(180))?;
        cluster.answers("echo 42; echo 42 >~/queue")?;
        ensure!(cluster.submit().map_err(told)? == 42 && cluster.asked() == 3, "{shell:?}");
    }
    Ok(())
}

#[test]
fn a_refusal_is_told_from_a_doubt_by_what_sbatch_says() -> Result<()> {
    let failed = |why: &str| format!("echo 'sbatch: error: Batch job submission failed: {why}' >&2; exit 1");
    let help = "echo 'sbatch: error: contact support to connect, message 5' >&2\n";
    for (sbatch, refused) in [
        (failed("Invalid partition name specified"), true),
        (failed("Invalid account or account/partition combination specified"), true),
        (format!("{help}{}", failed("Unspecified error")), true),
        ("echo \"sbatch: unrecognized option '--nodez'\" >&2; exit 255".into(), true),
        ("echo 'sbatch: error: Unable to open file /home/a/job.sh' >&2; exit 1".into(), true),
        ("exit 127".into(), true),
        (failed("Unable to contact slurm controller (connect failure)"), false),
        (failed("Zero Bytes were transmitted or received"), false),
        (failed("Unexpected message received"), false),
        (failed("Transport endpoint is not connected"), false),
        (failed("Connection refused"), false),
        ("kill -9 $$".into(), false),
        ("exit 1".into(), false),
        ("echo welcome to the cluster".into(), false),
    ] {
        let cluster = Cluster::new(&sbatch)?;
        let why = cluster.submit().expect_err("there is no job");
        ensure!(why.hint.contains("correct what is asked") == refused, "{sbatch}: {why}");
        ensure!(why.message.contains("nobody knows yet") != refused, "{sbatch}: {why}");
        cluster.answers("echo 5; echo 5 >~/queue")?;
        ensure!(cluster.submit().is_ok() == refused, "{sbatch}");
    }
    Ok(())
}

#[test]
fn who_stops_it_while_it_is_submitted_ends_what_was_submitted() -> Result<()> {
    let cluster =
        Cluster::new(": >~/begun; while [ ! -e ~/go ]; do sleep 0.1; done; echo 12; echo 12 >~/queue")?;
    let (far, batch) = (cluster.far(), cluster.batch());
    let home = cluster.yard.home().to_owned();
    let ended = on_runtime(async {
        let submits = tokio::spawn({
            let (far, batch) = (far.clone(), batch.clone());
            async move { submit(far, &batch).await }
        });
        wait_for(home.join("begun")).await?;
        let stops = tokio::spawn(async move { cancel(far, &batch, None).await });
        let waits = stops.abort_handle();
        let look = move || {
            wait::throughout("it does not end before it is known", Duration::from_secs(3), || {
                !waits.is_finished()
            })
        };
        tokio::task::spawn_blocking(look).await??;
        fs::write(home.join("go"), "")?;
        let _ = submits.await?;
        anyhow::Ok(stops.await?)
    })?;
    ended.map_err(|why| anyhow::anyhow!("{why}"))?;
    ensure!(cluster.read("cancelled") == "12\n", "{}", cluster.read("cancelled"));
    Ok(())
}

async fn wait_for(path: std::path::PathBuf) -> Result<()> {
    tokio::task::spawn_blocking(move || wait::until("sbatch is called", wait::SOON, || path.exists())).await?
}

#[test]
fn nobody_is_told_that_a_job_is_cancelled_which_may_still_come() -> Result<()> {
    let cluster = Cluster::new(TIMES_OUT)?;
    cluster.submit().expect_err("it timed out");
    let why = cluster.cancel().expect_err("it may still come");
    ensure!(why.message.contains("nobody knows yet") && why.hint.contains("stop it again"), "{why}");
    cluster.takes(31)?;
    cluster.cancel().map_err(|why| anyhow::anyhow!("{why}"))?;
    ensure!(cluster.read("cancelled") == "31\n", "{}", cluster.read("cancelled"));
    cluster.cancel().map_err(|why| anyhow::anyhow!("nothing is left: {why}"))?;
    Ok(())
}

#[test]
fn who_dies_while_he_submits_leaves_a_doubt() -> Result<()> {
    let cluster = Cluster::new("sleep 600 & : >~/begun; wait")?;
    let (far, batch) = (cluster.far(), cluster.batch());
    let begun = cluster.yard.home().join("begun");
    on_runtime(async {
        let submits = tokio::spawn(async move { submit(far, &batch).await });
        wait_for(begun).await?;
        submits.abort();
        anyhow::Ok(())
    })?;
    let runner = cluster.yard.claimant().context("nobody has the claim")?;
    // All of its group, as when that machine is switched off.
    let group = fs::read_dir("/proc")?.flatten().filter_map(|entry| {
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let its: u32 = stat.rsplit(") ").next()?.split(' ').nth(2)?.parse().ok()?;
        (its == runner).then(|| entry.file_name().to_str()?.parse::<u32>().ok())?
    });
    group.for_each(|pid| drop(signal_pid(pid, Signal::Kill)));
    cluster.answers("echo 5; echo 5 >~/queue")?;
    let why = cluster.submit().expect_err("it may have been heard");
    ensure!(why.message.contains("nobody knows yet") && cluster.asked() == 1, "{why}");
    did(queue(cluster.far(), &cluster.batch()))?;
    Ok(())
}

#[test]
fn who_submits_on_another_machine_for_long_is_named_and_nobody_is_told_to_kill_him() -> Result<()> {
    let cluster = Cluster::new(TIMES_OUT)?;
    cluster.submit().expect_err("it timed out");
    std::os::unix::fs::symlink("login7 4242 12", cluster.yard.state()?.join("claim.7"))?;
    let (far, batch) = (cluster.far(), cluster.batch());
    let (submitted, cancelled) =
        on_runtime(async { tokio::join!(submit(far.clone(), &batch), cancel(far.clone(), &batch, None)) });
    for why in [submitted.expect_err("he has not come to an end"), cancelled.expect_err("nor here")] {
        let says = why.message.contains("process 4242 on login7 is submitting the job");
        ensure!(says && !why.hint.contains("kill"), "{why}");
    }
    ensure!(cluster.asked() == 1, "sbatch was called once more");
    Ok(())
}

#[test]
fn while_nobody_says_whether_the_last_job_is_over_none_is_submitted_and_none_called_cancelled() -> Result<()>
{
    let cluster = Cluster::new("echo 5")?;
    let submit = || cluster.submit().map_err(|why| anyhow::anyhow!("{why}"));
    ensure!(submit()? == 5);
    // The queue answers with what was true before.
    let down =
        "echo 'slurm_load_jobs error: Unable to contact slurm controller (connect failure)' >&2; exit 1";
    cluster.yard.stand_in("scontrol", down)?;
    let why = cluster.submit().expect_err("it may still be there");
    ensure!(why.message.contains("does not say") && why.message.contains("Unable to contact"), "{why}");
    let why = cluster.cancel().expect_err("it may still be there");
    ensure!(why.message.contains("does not say") && why.message.contains("Unable to contact"), "{why}");
    ensure!(cluster.asked() == 1, "sbatch was called once more");

    let gone =
        "[ ! -e ~/cancelled ] || { echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1; }";
    let there = "echo \"JobId=5 JobName=$(cat ~/name) JobState=RUNNING\"";
    cluster.yard.stand_in("scontrol", &format!("{gone}\n{there}"))?;
    ensure!(submit()? == 5 && cluster.asked() == 1);
    cluster.cancel().map_err(|why| anyhow::anyhow!("{why}"))?;
    ensure!(cluster.read("cancelled") == "5\n", "{}", cluster.read("cancelled"));

    // It never answers for several clusters, and that is no reason to wait for it.
    let one = "echo 'scontrol: fatal: Only one cluster can be used at a time with scontrol' >&2; exit 1";
    for scontrol in [NO_SUCH_JOB, one] {
        let before = cluster.asked();
        cluster.yard.stand_in("scontrol", scontrol)?;
        ensure!(submit()? == 5 && cluster.asked() == before + 1, "{scontrol}");
    }
    Ok(())
}

#[test]
fn of_several_jobs_of_an_adopted_name_only_the_one_that_is_meant_is_cancelled() -> Result<()> {
    let cluster = Cluster::new("exit 1")?;
    let mut batch = cluster.batch();
    batch.spec.job = Some("train".into());
    let cancel = |only| on_runtime(cancel(cluster.far(), &batch, only));
    let done = |ended: Result<(), Failure>| ended.map_err(|why| anyhow::anyhow!("{why}"));
    cluster.yard.write("name", "train")?;
    cluster.yard.stand_in("scancel", "echo \"$@\" >>~/cancelled; sed -i \"/^$1\\$/d\" ~/queue")?;
    cluster.yard.write("queue", "11\n12\n13\n")?;
    let why = cancel(None).expect_err("it is not known which is meant");
    ensure!(
        why.message.contains("several jobs are called train") && why.message.contains("11 12 13"),
        "{why}"
    );
    ensure!(why.hint.contains("scancel") && cluster.read("cancelled").is_empty(), "{why}");
    done(cancel(Some(12)))?;
    ensure!(cluster.read("cancelled") == "12\n", "{}", cluster.read("cancelled"));
    done(cancel(Some(12)))?;
    ensure!(cluster.read("queue") == "11\n13\n", "who is gone is not followed by another");
    cluster.yard.write("queue", "13\n")?;
    done(cancel(None))?;
    ensure!(cluster.read("cancelled") == "12\n13\n", "the only one is meant: {}", cluster.read("cancelled"));
    Ok(())
}

#[test]
fn of_several_jobs_of_an_adopted_name_the_log_is_that_of_the_one_that_is_followed() -> Result<()> {
    let cluster = Cluster::new("exit 1")?;
    let mut batch = cluster.batch();
    batch.spec.job = Some("train".into());
    cluster.yard.write("name", "train")?;
    cluster.yard.write("queue", "11\n12\n")?;
    cluster.yard.stand_in("scontrol", "echo \"JobId=$4 StdErr=x StdOut=$HOME/$4.out Power=\"")?;
    for id in ["11", "12"] {
        cluster.yard.write(&format!("{id}.out"), &format!("of {id}\n"))?;
    }
    for (only, log) in [(Some(11), "of 11\n"), (None, "of 12\n")] {
        ensure!(did(job_log(cluster.far(), &batch, 5, only))? == log);
    }
    Ok(())
}
